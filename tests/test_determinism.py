"""The same bits for every thread count, for every run, and for several Python threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from operations import OPERATIONS
from oracle import DTYPES, assert_same_bits, normals

import fastconv as fc
from fastconv import ops

THREADS = (1, 2, 3, 5)

# (x, kernel, options): enough work for several threads, odd sizes in every direction.
LAYERS = (
    ((21, 28, 28, 1), (5, 5, 1, 6), {"padding": "same"}),
    ((12, 14, 14, 6), (5, 5, 6, 16), {}),
    ((3, 13, 15, 33), (3, 3, 33, 37), {"padding": "same"}),
    ((3, 21, 19, 16), (3, 3, 16, 40), {"strides": 2, "padding": "same"}),
    ((11, 17, 17, 12), (3, 3, 4, 24), {"groups": 3, "dilation_rate": 2}),
    ((7, 9, 11, 70), (1, 1, 70, 50), {"data_format": "channels_last"}),
)


def layer(dtype, x_shape, kernel_shape, options, algorithm, data=normals):
    """Forward and both gradients of one layer."""
    rng = np.random.default_rng(7)
    x, kernel, bias = (data(rng, shape, dtype) for shape in (x_shape, kernel_shape, kernel_shape[-1:]))
    options = {**options, "algorithm": algorithm}
    y = fc.conv2d(x, kernel, bias, activation="relu", **options)
    grad_output = data(rng, y.shape, dtype)
    grad_input = fc.conv2d_grad_input(grad_output, kernel, x.shape, **options)
    grad_kernel = fc.conv2d_grad_kernel(x, grad_output, kernel_shape[:2], **options)
    return np.concatenate([array.ravel() for array in (y, grad_input, grad_kernel, ops.bias_grad(grad_output))])


def other_operations(dtype):
    """Pooling, softmax and dense on sizes that are worth several threads."""
    rng = np.random.default_rng(8)
    x = normals(rng, (9, 25, 23, 13), dtype)
    y, indices = fc.max_pool2d(x, 3, strides=2, padding="same", return_indices=True)
    flat, kernel = normals(rng, (131, 257), dtype), normals(rng, (257, 129), dtype)
    grad_output = normals(rng, (131, 129), dtype)
    answers = (
        y,
        fc.max_pool2d_grad(y, indices, x.shape, pool_size=3, strides=2, padding="same"),
        fc.avg_pool2d(x, 3, strides=2, padding="same"),
        fc.avg_pool2d_grad(y, x.shape, pool_size=3, strides=2, padding="same"),
        fc.im2col(x, 3),
        fc.relu(x),
        fc.softmax(flat),
        fc.softmax(x, axis=1),
        ops.dense(flat, kernel),
        ops.dense_grad_input(grad_output, kernel),
        ops.dense_grad_kernel(flat, grad_output),
        ops.bias_grad(x),
    )
    return np.concatenate([answer.ravel() for answer in answers])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
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


@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
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
