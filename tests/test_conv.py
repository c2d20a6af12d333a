"""conv2d and its gradients, every algorithm: equal to the naive loops bit for bit on whole numbers, within Higham's
bound on others; three gradient checks. Widen ``problems.py`` and these tests widen with it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from oracle import (
    DTYPES,
    assert_exact,
    assert_within,
    gamma,
    guarded_copy,
    guarded_nan,
    integers,
    normals,
    numerical_gradient,
    spoil_free_memory,
)
from problems import CONV_PROBLEMS, EXACT_ALGORITHMS, LARGE_CONV_PROBLEMS, Conv, conv_answers, random_convs

import fastconv as fc
from fastconv import reference

ALGORITHMS = EXACT_ALGORITHMS
FLOAT_PROBLEMS = tuple(problem for problem in CONV_PROBLEMS if problem.macs)[::3]
SMALL_PROBLEMS = tuple(problem for problem in random_convs(seed=3, count=60) if problem.macs <= 4000)[:12]


def run(problem: Conv, dtype, **options):
    """All three operations on the problem's integer data, between guard bytes, into memory that holds NaN."""
    data = {name: None if a is None else guarded_copy(a.astype(dtype)) for name, a in problem.arrays().items()}
    x, kernel, grad_output = (data[name].array for name in ("x", "kernel", "grad_output"))
    bias = None if data["bias"] is None else data["bias"].array
    out = guarded_nan(problem.output_shape, dtype)
    y = fc.conv2d(x, kernel, bias, activation=problem.activation, out=out.array, **problem.options, **options)
    assert y is out.array
    spoil_free_memory(x.nbytes)
    grad_input = fc.conv2d_grad_input(grad_output, kernel, problem.input_shape, **problem.options, **options)
    spoil_free_memory(kernel.nbytes)
    kernel_size = (problem.kh, problem.kw)
    grad_kernel = fc.conv2d_grad_kernel(x, grad_output, kernel_size, **problem.options, **options)
    out.check()
    for name, original in problem.arrays().items():
        if original is not None:
            data[name].check()
            assert_exact(data[name].array, original, what=f"{name} was modified:")
    return {"conv2d": y, "conv2d_grad_input": grad_input, "conv2d_grad_kernel": grad_kernel}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("problem", CONV_PROBLEMS, ids=str)
def test_equal_to_the_reference(problem, algorithm, isa):
    fc.set_num_threads(3)
    expected = conv_answers(problem)
    for dtype in DTYPES:
        for name, answer in run(problem, dtype, algorithm=algorithm).items():
            assert_exact(answer, expected[name], dtype, f"{name} {np.dtype(dtype)}")


@pytest.mark.parametrize("problem", CONV_PROBLEMS, ids=str)
def test_auto_is_equal_to_the_reference(problem):
    expected = conv_answers(problem)
    for dtype in DTYPES:
        for name, answer in run(problem, dtype).items():
            assert_exact(answer, expected[name], dtype, f"{name} {np.dtype(dtype)}")


@pytest.mark.parametrize("problem", CONV_PROBLEMS[::4], ids=str)
def test_without_out(problem):
    data = problem.arrays(dtype=np.float32)
    spoil_free_memory(4 * int(np.prod(problem.output_shape)))
    y = fc.conv2d(data["x"], data["kernel"], data["bias"], activation=problem.activation, **problem.options)
    assert_exact(y, conv_answers(problem)["conv2d"], np.float32)


@cache
def float_answers(problem: Conv, dtype):
    """The loops' answers on numbers that are not round, and for each cell the sum of magnitudes behind it."""
    data = problem.arrays(normals, dtype)
    exact = {name: None if a is None else a.astype(np.float64) for name, a in data.items()}
    sizes = {name: None if a is None else np.abs(a) for name, a in exact.items()}
    kernel_size = (problem.kh, problem.kw)

    def all_three(d):
        return {
            "conv2d": reference.conv2d(d["x"], d["kernel"], d["bias"], **problem.options),
            "conv2d_grad_input": reference.conv2d_grad_input(
                d["grad_output"], d["kernel"], problem.input_shape, **problem.options
            ),
            "conv2d_grad_kernel": reference.conv2d_grad_kernel(
                d["x"], d["grad_output"], kernel_size, **problem.options
            ),
        }

    return data, all_three(exact), all_three(sizes)


def sum_lengths(problem: Conv) -> dict[str, int]:
    """Most terms that one cell of each answer can be a sum of."""
    kh, kw, channels, filters = problem.kernel_shape
    oh, ow = problem.output_hw
    return {
        "conv2d": kh * kw * channels + 1,
        "conv2d_grad_input": kh * kw * filters // problem.groups,
        "conv2d_grad_kernel": problem.n * oh * ow,
    }


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", FLOAT_PROBLEMS, ids=str)
def test_floats_within_highams_bound(problem, dtype, algorithm, isa):
    data, expected, magnitude = float_answers(problem, dtype)
    options = {**problem.options, "algorithm": algorithm}
    answers = {
        "conv2d": fc.conv2d(data["x"], data["kernel"], data["bias"], **options),
        "conv2d_grad_input": fc.conv2d_grad_input(data["grad_output"], data["kernel"], problem.input_shape, **options),
        "conv2d_grad_kernel": fc.conv2d_grad_kernel(
            data["x"], data["grad_output"], (problem.kh, problem.kw), **options
        ),
    }
    for name, answer in answers.items():
        # The reference's own sum, in float64, is of the same length: both errors are in the bound.
        length = sum_lengths(problem)[name] + 1
        bound = (gamma(length, dtype) + gamma(length, np.float64)) * magnitude[name]
        assert answer.dtype == dtype
        assert_within(answer, expected[name], bound, name)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", FLOAT_PROBLEMS, ids=str)
def test_gradients_are_adjoints(problem, dtype, algorithm):
    # <conv(x, w), g> = <x, grad_input(g, w)> = <w, grad_kernel(x, g)>: no reference, another random gradient.
    data = problem.arrays(lambda rng, shape, d: normals(rng, shape, d) - rng.random(shape).astype(d) / 2, dtype)
    x, kernel, grad_output = data["x"], data["kernel"], data["grad_output"]
    options = {**problem.options, "algorithm": algorithm}

    def inner(a, b):
        return np.vdot(a.astype(np.float64), b.astype(np.float64))

    forward = inner(fc.conv2d(x, kernel, **options), grad_output)
    by_input = inner(x, fc.conv2d_grad_input(grad_output, kernel, problem.input_shape, **options))
    by_kernel = inner(kernel, fc.conv2d_grad_kernel(x, grad_output, (problem.kh, problem.kw), **options))
    magnitude = inner(reference.conv2d(np.abs(x), np.abs(kernel), **problem.options), np.abs(grad_output))
    longest = max(sum_lengths(problem).values())
    cells = max(x.size, kernel.size, grad_output.size)
    bound = 2 * (gamma(longest + 1, dtype) + gamma(cells, np.float64)) * magnitude
    assert_within(by_input, forward, bound)
    assert_within(by_kernel, forward, bound)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("problem", SMALL_PROBLEMS, ids=str)
def test_gradients_against_central_differences(problem, algorithm):
    data = problem.arrays(normals, np.float64)
    x, kernel, grad_output = data["x"], data["kernel"], data["grad_output"]
    options = {**problem.options, "algorithm": algorithm}

    def loss():
        return np.vdot(fc.conv2d(x, kernel, **options), grad_output)

    # The loss is linear in each cell, so that the differences err by rounding alone.
    step = 2.0**-10
    magnitude = np.vdot(reference.conv2d(np.abs(x) + step, np.abs(kernel) + step, **problem.options), abs(grad_output))
    bound = 2 * gamma(problem.macs + 8, np.float64) * magnitude / step
    grad_input = fc.conv2d_grad_input(grad_output, kernel, problem.input_shape, **options)
    assert_within(numerical_gradient(loss, x, step), grad_input, bound)
    grad_kernel = fc.conv2d_grad_kernel(x, grad_output, (problem.kh, problem.kw), **options)
    assert_within(numerical_gradient(loss, kernel, step), grad_kernel, bound)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("problem", LARGE_CONV_PROBLEMS, ids=str)
def test_equal_to_the_reference_with_work_for_every_thread(problem, algorithm, isa):
    data, expected, small = problem.arrays(), problem.answers(), problem.problem
    options = {**small.options, "algorithm": algorithm}
    dtype = DTYPES[problem.times % 2]
    x, kernel, grad_output = (guarded_copy(data[name].astype(dtype)) for name in ("x", "kernel", "grad_output"))
    for threads in (1, 2, 3):
        fc.set_num_threads(threads)
        out = guarded_nan(expected["conv2d"].shape, dtype)
        fc.conv2d(x.array, kernel.array, out=out.array, **options)
        assert_exact(out.array, expected["conv2d"], dtype)
        grad_input = fc.conv2d_grad_input(grad_output.array, kernel.array, x.array.shape, **options)
        assert_exact(grad_input, expected["conv2d_grad_input"], dtype)
        grad_kernel = fc.conv2d_grad_kernel(x.array, grad_output.array, (small.kh, small.kw), **options)
        assert_exact(grad_kernel, expected["conv2d_grad_kernel"], dtype)
        for buffer in (x, kernel, grad_output, out):
            buffer.check()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pairs_and_ints_mean_the_same(algorithm, rng):
    x, kernel = normals(rng, (2, 9, 9, 3)), normals(rng, (3, 3, 3, 4))
    one = fc.conv2d(x, kernel, strides=2, padding=1, dilation_rate=2, algorithm=algorithm)
    for padding in ((1, 1), ((1, 1), (1, 1)), [1, 1], np.int64(1)):
        other = fc.conv2d(x, kernel, strides=(2, 2), padding=padding, dilation_rate=[2, 2], algorithm=algorithm)
        assert_exact(other, one)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_formats_are_transposes_of_each_other(algorithm, rng):
    x, kernel = normals(rng, (2, 6, 5, 3)), normals(rng, (3, 3, 3, 4))
    last = fc.conv2d(x, kernel, algorithm=algorithm)
    first = fc.conv2d(x.transpose(0, 3, 1, 2), kernel, data_format="channels_first", algorithm=algorithm)
    assert_exact(first.transpose(0, 2, 3, 1), last)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("spoilt", ["x", "kernel"])
@pytest.mark.parametrize("filters", [1, 3, 6])
def test_padding_meets_no_infinite_weight_along_rows(filters, spoilt, value, isa, rng):
    data = {"x": integers(rng, (2, 9, 32, 1)), "kernel": integers(rng, (5, 5, 1, filters))}
    data[spoilt][1, 4, 0, 0] = value
    y = fc.conv2d(**data, padding="same")
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, reference.conv2d(**data, padding="same"))
    assert np.isfinite(y).any()


def test_some_problems_were_tried():
    assert len(CONV_PROBLEMS) >= 150
    assert len(LARGE_CONV_PROBLEMS) >= 25
    assert len(FLOAT_PROBLEMS) >= 40
    assert len(SMALL_PROBLEMS) == 12
