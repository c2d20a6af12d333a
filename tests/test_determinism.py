"""The same bits for every thread count, for every run, and for several Python threads at once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bits
import numpy as np
import pytest
from bits import LAYERS, layer, other_operations
from operations import OPERATIONS
from oracle import DTYPES, assert_same_bits, normals
from problems import EXACT_ALGORITHMS

import fastconv as fc
from fastconv._core import _runtime

THREADS = (1, 2, 3, 5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ["auto", *EXACT_ALGORITHMS])
@pytest.mark.parametrize("shapes", LAYERS, ids=lambda shapes: f"{shapes[0]} {shapes[1]}")
def test_a_layer_on_any_number_of_threads(shapes, algorithm, dtype, isa):
    answers = []
    for threads in (*THREADS, 1):
        fc.set_num_threads(threads)
        answers.append(layer(dtype, *shapes, algorithm))
    for threads, answer in zip((*THREADS, 1), answers, strict=True):
        assert_same_bits(answer, answers[0], f"{threads} threads")


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_operations_on_any_number_of_threads(dtype, isa):
    answers = []
    for threads in (*THREADS, 1):
        fc.set_num_threads(threads)
        answers.append(other_operations(dtype))
    for threads, answer in zip((*THREADS, 1), answers, strict=True):
        assert_same_bits(answer, answers[0], f"{threads} threads")


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_small_calls_on_any_number_of_threads(operation, isa):
    data = operation.arrays(np.float32, normals)
    answers = []
    for threads in THREADS:
        fc.set_num_threads(threads)
        answers.append(operation.call(**data))
    for answer in answers:
        assert_same_bits(answer, answers[0])


@pytest.mark.parametrize("algorithm", ["auto", *EXACT_ALGORITHMS])
def test_a_batch_is_its_images_one_by_one(algorithm, isa):
    # Not promised for the rounding, but for whole numbers: no image may see its neighbour.
    rng = np.random.default_rng(9)
    x = rng.integers(-4, 5, (5, 7, 6, 3)).astype(np.float32)
    kernel = rng.integers(-4, 5, (3, 3, 3, 10)).astype(np.float32)
    whole = fc.conv2d(x, kernel, padding="same", algorithm=algorithm)
    single = [fc.conv2d(image[None], kernel, padding="same", algorithm=algorithm) for image in x]
    assert_same_bits(whole, np.concatenate(single))


def test_eight_python_threads_on_shared_inputs():
    rng = np.random.default_rng(10)
    x, kernel = normals(rng, (4, 20, 20, 8)), normals(rng, (3, 3, 8, 16))
    grad_output = normals(rng, (4, 18, 18, 16))

    def work(_):
        y = fc.conv2d(x, kernel)
        grad_input = fc.conv2d_grad_input(grad_output, kernel, x.shape)
        grad_kernel = fc.conv2d_grad_kernel(x, grad_output, 3)
        return np.concatenate([a.ravel() for a in (y, grad_input, grad_kernel, fc.max_pool2d(x), fc.softmax(x))])

    expected = work(0)
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(work, range(48)):
            assert_same_bits(answer, expected)


@pytest.fixture(scope="module")
def hashes():
    """The hash of everything on one thread, for each instruction set that a test asks for."""
    return {}


def hash_of(isa, threads, hashes=None):
    fc.set_isa(isa)
    fc.set_num_threads(threads)
    if hashes is None:
        return bits.digest()
    if isa not in hashes:
        hashes[isa] = bits.digest()
    return hashes[isa]


@pytest.mark.parametrize("threads", THREADS)
def test_one_hash_for_every_number_of_threads(threads, isa, hashes):
    expected = hash_of(isa, 1, hashes)
    assert hash_of(isa, threads) == expected


def test_one_hash_however_small_the_calls_that_are_shared_out(hashes):
    best = fc.available_isas()[0]
    expected = hash_of(best, 1, hashes)
    _runtime.set_serial_work(0)
    try:
        assert hash_of(best, 3) == expected
    finally:
        _runtime.set_serial_work(_runtime.SERIAL_WORK_LIMIT)


@pytest.mark.parametrize("isa_name", fc.available_isas())
def test_one_hash_from_run_to_run(isa_name, hashes):
    expected = hash_of(isa_name, 1, hashes)
    program = str(Path(bits.__file__))
    for run, threads in enumerate((1, 3)):
        # Another order of hashed names, another set of environment variables, another process.
        environment = {**os.environ, "PYTHONHASHSEED": str(run + 1), "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, program, "--isa", isa_name, "--threads", str(threads)]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert answer.stdout.strip() == expected


def test_the_hash_sees_one_bit(monkeypatch):
    before = bits.digest()

    def spoilt(original=bits.training):
        for array in original():
            array = array.copy()
            array.view(np.uint8).flat[0] ^= 1
            yield array

    monkeypatch.setattr(bits, "training", spoilt)
    assert bits.digest() != before
