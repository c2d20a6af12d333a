"""L2 pooling and its gradient, equal to the naive loops where sums are squares, within a bound elsewhere."""

from __future__ import annotations

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
)
from problems import POOL_PROBLEMS, Pool

import fastconv as fc
from fastconv import reference


@pytest.mark.parametrize("problem", POOL_PROBLEMS, ids=str)
def test_equal_to_the_reference(problem, isa):
    # The sum of squares is exact and the root of IEEE is rounded once, from float64 to float32 without harm.
    fc.set_num_threads(3)
    data = problem.arrays()
    expected = reference.l2_pool2d(data["x"], **problem.options)
    for dtype in DTYPES:
        x, out = guarded_copy(data["x"].astype(dtype)), guarded_nan(expected.shape, dtype)
        assert fc.l2_pool2d(x.array, **problem.options, out=out.array) is out.array
        assert_exact(out.array, expected.astype(dtype), dtype)
        x.check()
        out.check()
        assert_exact(x.array, data["x"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", POOL_PROBLEMS[::2], ids=str)
def test_gradient(problem, dtype):
    data = problem.arrays(normals, dtype)
    # Whole windows of zeros, where there is no derivative: 0.
    data["x"][: len(data["x"]) // 2, ..., :1] = 0
    exact = {name: array.astype(np.float64) for name, array in data.items()}
    grad = fc.l2_pool2d_grad(data["grad_output"], data["x"], **problem.options)
    expected = reference.l2_pool2d_grad(exact["grad_output"], exact["x"], **problem.options)
    window = np.prod(problem.pool_size) if isinstance(problem.pool_size, tuple) else problem.pool_size**2
    size = reference.l2_pool2d_grad(np.abs(exact["grad_output"]), np.abs(exact["x"]), **problem.options)
    assert grad.dtype == dtype
    assert_within(grad, expected, gamma(3 * int(window) + 8, dtype) * size)


@pytest.mark.parametrize("problem", POOL_PROBLEMS[3:40:6], ids=str)
def test_central_differences(problem):
    data = problem.arrays(normals)
    x, g = data["x"], data["grad_output"]
    step = 1e-5
    numerical = numerical_gradient(lambda: float((fc.l2_pool2d(x, **problem.options) * g).sum()), x, step)
    grad = fc.l2_pool2d_grad(g, x, **problem.options)
    # A window of one cell is |x|: no derivative at 0, and rounding elsewhere. Third derivatives are at most 3 / y**2.
    norms = fc.l2_pool2d(x, **problem.options)
    smallest = norms[norms > 0].min(initial=1.0)
    bound = gamma(200, np.float64) * np.abs(g).sum() * norms.max(initial=1) / step + step**2 * np.abs(g).sum() * (
        3 / min(smallest, 1) ** 2
    )
    assert_within(grad, numerical, bound)


def test_pythagoras_and_padding():
    x = np.array([[3.0, 0, 5], [4, 0, 12]]).reshape(1, 2, 3, 1)
    assert_exact(fc.l2_pool2d(x, padding="same")[0, :, :, 0], [[5.0, 13.0]])
    first = np.moveaxis(x, -1, 1).copy()
    assert_exact(fc.l2_pool2d(first, padding="same", data_format="channels_first")[0, 0], [[5.0, 13.0]])


def test_nan_and_inf():
    x = integers(np.random.default_rng(0), (1, 4, 4, 1), np.float64)
    x[0, 0, 0, 0], x[0, 2, 2, 0] = np.nan, -np.inf
    y = fc.l2_pool2d(x)[0, :, :, 0]
    assert np.isnan(y[0, 0])
    assert y[1, 1] == np.inf
    assert np.isfinite(y[0, 1])
    grad = fc.l2_pool2d_grad(np.ones((1, 2, 2, 1)), x)[0, :, :, 0]
    assert np.isnan(grad[:2, :2]).all()
    assert np.isfinite(grad[:2, 2:]).all()


def test_what_lies_in_a_cell_of_no_window_does_not_matter():
    x = np.ones((1, 5, 7, 2))
    expected = fc.l2_pool2d_grad(np.ones((1, 2, 3, 2)), x)
    assert (expected[:, 4] == 0).all()
    for value in (np.nan, np.inf, -np.inf):
        x[:, 4], x[:, :, 6] = value, value
        assert_exact(fc.l2_pool2d_grad(np.ones((1, 2, 3, 2)), x), expected)


def test_errors():
    x = np.ones((2, 4, 4, 3), "float32")
    with pytest.raises(ValueError, match=r"l2_pool2d: x must have 4 axes"):
        fc.l2_pool2d(x[0])
    with pytest.raises(ValueError, match=r"l2_pool2d_grad: grad_output must have shape \(2, 2, 2, 3\)"):
        fc.l2_pool2d_grad(x, x)
    with pytest.raises(TypeError, match="l2_pool2d: x must be float32 or float64"):
        fc.l2_pool2d(x.astype(int))
    assert fc.l2_pool2d(Pool(0, 4, 4, 3).arrays()["x"]).shape == (0, 2, 2, 3)
