"""Maximum and average pooling and their gradients, equal to the naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import (
    COMMON_MULTIPLE,
    DTYPES,
    assert_exact,
    assert_within,
    gamma,
    guarded_copy,
    normals,
    numerical_gradient,
    spoil_free_memory,
    whole_averages,
)
from problems import POOL_PROBLEMS, Pool

import fastconv as fc
from fastconv import ops, reference
from fastconv.ops.pooling import pool_indices_dtype


@pytest.mark.parametrize("problem", POOL_PROBLEMS, ids=str)
def test_max_pool2d(problem, isa):
    fc.set_num_threads(3)
    data = problem.arrays()
    expected, places = reference.max_pool2d(data["x"], **problem.options, return_indices=True)
    for dtype in DTYPES:
        x = guarded_copy(data["x"].astype(dtype))
        spoil_free_memory(expected.size * 8)
        y = fc.max_pool2d(x.array, **problem.options)
        assert_exact(y, expected, dtype)
        y, indices = fc.max_pool2d(x.array, **problem.options, return_indices=True)
        assert_exact(y, expected, dtype)
        assert indices.dtype in (np.int32, np.int64)
        assert_exact(indices, places)
        x.check()
        assert_exact(x.array, data["x"])
        grad_output = guarded_copy(data["grad_output"].astype(dtype))
        grad = fc.max_pool2d_grad(grad_output.array, indices, problem.input_shape, **problem.options)
        assert_exact(
            grad,
            reference.max_pool2d_grad(data["grad_output"], places, problem.input_shape, **problem.options),
            dtype,
        )
        grad_output.check()


@pytest.mark.parametrize("problem", POOL_PROBLEMS, ids=str)
def test_max_pool2d_grad_of_trusted_indices(problem, isa):
    """What the layers call: the same gradient, here into guarded memory that holds no zeros."""
    data = problem.arrays()
    places = reference.max_pool2d(data["x"], **problem.options, return_indices=True)[1]
    expected = reference.max_pool2d_grad(data["grad_output"], places, problem.input_shape, **problem.options)
    for threads, dtype in ((1, np.float32), (3, np.float32), (1, np.float64), (2, np.float64)):
        fc.set_num_threads(threads)
        kind = pool_indices_dtype(problem.input_shape, np.dtype(dtype))
        assert fc.max_pool2d(data["x"].astype(dtype), **problem.options, return_indices=True)[1].dtype == kind
        grad_output = guarded_copy(data["grad_output"].astype(dtype))
        indices = guarded_copy(places.astype(kind))
        out = guarded_copy(np.full(problem.input_shape, np.nan, dtype))
        ops.max_pool2d_grad_unchecked(
            grad_output.array, indices.array, problem.input_shape, **problem.options, out=out.array
        )
        assert_exact(out.array, expected, dtype)
        for guarded in (grad_output, indices, out):
            guarded.check()


@pytest.mark.parametrize("include", [False, True], ids=["real cells", "padded too"])
@pytest.mark.parametrize("problem", POOL_PROBLEMS, ids=str)
def test_avg_pool2d(problem, include, isa):
    fc.set_num_threads(3)
    # Rounded once: the float64 quotient of an exact sum, rounded to float32, is the float32 quotient.
    data = problem.arrays()
    options = {**problem.options, "count_include_pad": include}
    expected = reference.avg_pool2d(data["x"], **options)
    upstream = problem.arrays(whole_averages)["grad_output"]
    grad_expected = reference.avg_pool2d_grad(upstream, problem.input_shape, **options)
    for dtype in DTYPES:
        x = guarded_copy(data["x"].astype(dtype))
        spoil_free_memory(expected.size * 8)
        assert_exact(fc.avg_pool2d(x.array, **options), expected.astype(dtype), dtype)
        x.check()
        assert_exact(x.array, data["x"])
        grad_output = guarded_copy(upstream.astype(dtype))
        grad = fc.avg_pool2d_grad(grad_output.array, problem.input_shape, **options)
        assert_exact(grad, grad_expected, dtype)
        grad_output.check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", POOL_PROBLEMS[::3], ids=str)
def test_floats_within_highams_bound(problem, dtype):
    data = problem.arrays(normals, dtype)
    pool = problem.pool_size if isinstance(problem.pool_size, tuple) else (problem.pool_size,) * 2
    bound = gamma(pool[0] * pool[1] + 2, dtype)
    # The maximum is one of the cells: no rounding at all.
    assert_exact(fc.max_pool2d(data["x"], **problem.options), reference.max_pool2d(data["x"], **problem.options))
    exact = {name: array.astype(np.float64) for name, array in data.items()}
    assert_within(
        fc.avg_pool2d(data["x"], **problem.options),
        reference.avg_pool2d(exact["x"], **problem.options),
        bound * reference.avg_pool2d(np.abs(exact["x"]), **problem.options),
    )
    shape = problem.input_shape
    assert_within(
        fc.avg_pool2d_grad(data["grad_output"], shape, **problem.options),
        reference.avg_pool2d_grad(exact["grad_output"], shape, **problem.options),
        bound * reference.avg_pool2d_grad(np.abs(exact["grad_output"]), shape, **problem.options),
    )


@pytest.mark.parametrize("problem", [p for p in POOL_PROBLEMS if 0 < np.prod(p.input_shape) <= 200][:20], ids=str)
def test_gradients_against_central_differences(problem):
    rng = np.random.default_rng(problem.seed)
    # Distinct cells further apart than the step, so that the maximum stays where it is.
    x = rng.permutation(int(np.prod(problem.input_shape))).reshape(problem.input_shape).astype(np.float64)
    grad_output = normals(rng, problem.output_shape, np.float64)
    step = 2.0**-5
    bound = 2 * gamma(grad_output.size + 30, np.float64) * x.size * np.abs(grad_output).sum() / step
    _, indices = fc.max_pool2d(x, **problem.options, return_indices=True)
    grad = fc.max_pool2d_grad(grad_output, indices, x.shape, **problem.options)
    assert_within(
        numerical_gradient(lambda: np.vdot(fc.max_pool2d(x, **problem.options), grad_output), x, step), grad, bound
    )
    grad = fc.avg_pool2d_grad(grad_output, x.shape, **problem.options)
    assert_within(
        numerical_gradient(lambda: np.vdot(fc.avg_pool2d(x, **problem.options), grad_output), x, step), grad, bound
    )


@pytest.mark.parametrize("problem", [p for p in POOL_PROBLEMS if np.prod(p.output_shape) >= 50][::8], ids=str)
def test_equal_to_the_reference_with_work_for_every_thread(problem, isa, threads):
    # The images again and again, each time scaled by another whole number: pools scale with their images.
    data = problem.arrays()
    expected, places = reference.max_pool2d(data["x"], **problem.options, return_indices=True)
    average = reference.avg_pool2d(data["x"], **problem.options)
    grad = reference.max_pool2d_grad(data["grad_output"], places, problem.input_shape, **problem.options)
    shared = reference.avg_pool2d_grad(COMMON_MULTIPLE * data["grad_output"], problem.input_shape, **problem.options)
    times = 1 + 400_000 // expected.size
    scale = np.array([1.0, 2, 4])[np.arange(times) % 3].reshape(-1, 1, 1, 1, 1)

    def again(array):
        return (scale * array).reshape(-1, *array.shape[1:])

    dtype = DTYPES[times % 2]
    x, grad_output = again(data["x"]).astype(dtype), again(data["grad_output"]).astype(dtype)
    y, indices = fc.max_pool2d(x, **problem.options, return_indices=True)
    assert_exact(y, again(expected), dtype)
    assert_exact(indices, np.tile(places, (times, 1, 1, 1)))
    assert_exact(fc.max_pool2d_grad(grad_output, indices, x.shape, **problem.options), again(grad), dtype)
    assert_exact(fc.avg_pool2d(x, **problem.options), again(average.astype(dtype)), dtype)
    answer = fc.avg_pool2d_grad(grad_output * dtype(COMMON_MULTIPLE), x.shape, **problem.options)
    assert_exact(answer, again(shared), dtype)


def test_padding_is_never_picked_among_negatives(isa):
    x = -1 - np.arange(50, dtype=np.float32).reshape(1, 5, 5, 2)
    y = fc.max_pool2d(x, 3, strides=2, padding="same")
    assert (y < 0).all()
    assert_exact(y, reference.max_pool2d(x, 3, strides=2, padding="same"))


@pytest.mark.parametrize("channels", [1, 3, 8, 16, 17])
def test_ties_take_the_first_cell(channels, isa):
    x = np.zeros((1, 6, 6, channels), np.float32)
    _, indices = fc.max_pool2d(x, 3, strides=1, padding="same", return_indices=True)
    expected = reference.max_pool2d(x, 3, strides=1, padding="same", return_indices=True)[1]
    assert_exact(indices, expected)
    assert indices[0, 3, 3, 0] == 2 * 6 + 2


def test_overlapping_windows_add_their_gradients():
    x = np.zeros((1, 3, 3, 1), np.float32)
    x[0, 1, 1, 0] = 1
    _, indices = fc.max_pool2d(x, 2, strides=1, return_indices=True)
    grad = fc.max_pool2d_grad(np.full((1, 2, 2, 1), -2.5, np.float32), indices, x.shape, pool_size=2, strides=1)
    expected = np.zeros((3, 3), np.float32)
    expected[1, 1] = -10
    assert_exact(grad[0, :, :, 0], expected)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_indices_of_either_integer_type(dtype, rng):
    x, grad_output = normals(rng, (2, 4, 4, 3)), normals(rng, (2, 2, 2, 3))
    _, indices = fc.max_pool2d(x, return_indices=True)
    assert_exact(
        fc.max_pool2d_grad(grad_output, indices.astype(dtype), x.shape),
        reference.max_pool2d_grad(grad_output, indices, x.shape),
    )


@pytest.mark.parametrize("wrong", [-1, 16, 2**31 - 1, -(2**31), 2**32, 2**32 + 3, -(2**32), 2**63 - 1])
def test_an_index_outside_the_image_is_refused(wrong, threads):
    indices = np.zeros((2, 2, 2, 3), np.int64)
    indices[1, 1, 0, 2] = wrong
    with pytest.raises(ValueError, match=r"max_pool2d_grad: .*ind"):
        fc.max_pool2d_grad(np.ones((2, 2, 2, 3), np.float32), indices, (2, 4, 4, 3))


def test_a_window_of_padding_alone_is_refused():
    x = np.ones((1, 3, 3, 1), np.float32)
    for pool in (fc.max_pool2d, fc.avg_pool2d):
        with pytest.raises(ValueError, match=r"pool2d: .*padding"):
            pool(x, 2, padding=2)


def test_some_problems_were_tried():
    assert len(POOL_PROBLEMS) >= 90
    assert all(isinstance(problem, Pool) for problem in POOL_PROBLEMS)
