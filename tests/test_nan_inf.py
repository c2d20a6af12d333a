"""NaN and Inf reach exactly the cells that IEEE arithmetic says, on every path: the naive loops are the judge."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import DTYPES, assert_exact, integers, normals
from problems import Conv, Pool

import fastconv as fc
from fastconv import ops, reference

# Inf and NaN are values here, not accidents: no operation warns of them.
pytestmark = pytest.mark.filterwarnings("error")

SPECIAL = (np.nan, np.inf, -np.inf)
CONVS = (
    Conv(2, 6, 7, 3, 3, 3, 5),
    Conv(2, 6, 7, 3, 3, 3, 5, padding="same", bias=True),
    Conv(1, 9, 20, 4, 3, 3, 17, padding="same"),
    Conv(1, 7, 6, 2, 3, 3, 4, strides=2, padding="same"),
    Conv(1, 8, 8, 2, 2, 2, 4, strides=3),
    Conv(1, 9, 9, 2, 3, 3, 4, dilation_rate=2, padding="same"),
    Conv(2, 6, 6, 4, 3, 3, 6, groups=2, padding=1),
    Conv(1, 6, 6, 1, 5, 5, 6, padding=((3, 0), (1, 2)), bias=True),
    Conv(2, 7, 7, 3, 3, 3, 8, data_format="channels_first", padding="same"),
    Conv(2, 5, 5, 9, 1, 1, 16),
)
POOLS = (
    Pool(2, 6, 6, 3, 2),
    Pool(2, 7, 6, 8, 3, 2, "same"),
    Pool(1, 9, 9, 17, 2, 1, 1),
    Pool(2, 6, 7, 3, (2, 3), 2, data_format="channels_first", padding="same"),
)


def sprinkled(rng, array, count=3):
    """A copy with a few special values in random cells."""
    array = array.copy()
    array.ravel()[rng.choice(array.size, min(count, array.size), replace=False)] = rng.choice(SPECIAL, count)[
        : array.size
    ]
    return array


@pytest.mark.parametrize("spoilt", ["x", "kernel", "grad_output", "bias"])
@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("problem", CONVS, ids=str)
def test_conv2d(problem, algorithm, spoilt, isa, rng):
    if spoilt == "bias" and not problem.bias:
        pytest.skip("no bias in this problem")
    clean = problem.arrays()
    for dtype in DTYPES:
        data = {**clean, spoilt: sprinkled(rng, clean[spoilt])}
        typed = {name: None if a is None else a.astype(dtype) for name, a in data.items()}
        options, kernel_size = problem.options, (problem.kh, problem.kw)
        for activation in (None, "relu"):
            y = fc.conv2d(
                typed["x"], typed["kernel"], typed["bias"], activation=activation, algorithm=algorithm, **options
            )
            expected = reference.conv2d(data["x"], data["kernel"], data["bias"], activation=activation, **options)
            assert_exact(y, expected, dtype, f"conv2d {activation}")
        assert_exact(
            fc.conv2d_grad_input(
                typed["grad_output"], typed["kernel"], problem.input_shape, algorithm=algorithm, **options
            ),
            reference.conv2d_grad_input(data["grad_output"], data["kernel"], problem.input_shape, **options),
            dtype,
            "grad_input",
        )
        assert_exact(
            fc.conv2d_grad_kernel(typed["x"], typed["grad_output"], kernel_size, algorithm=algorithm, **options),
            reference.conv2d_grad_kernel(data["x"], data["grad_output"], kernel_size, **options),
            dtype,
            "grad_kernel",
        )


@pytest.mark.parametrize("value", SPECIAL)
@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_one_cell_reaches_the_windows_that_hold_it_and_no_other(algorithm, value, isa):
    kernel = np.ones((3, 3, 2, 20), np.float32)
    for row in range(5):
        for col in range(14):
            x = np.ones((1, 5, 14, 2), np.float32)
            x[0, row, col, 1] = value
            y = fc.conv2d(x, kernel, padding="same", algorithm=algorithm)
            touched = np.zeros((5, 14), bool)
            touched[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2] = True
            assert_exact(~np.isfinite(y[0]), np.broadcast_to(touched[:, :, None], (5, 14, 20)))
            assert_exact(y[0][touched], np.full((touched.sum(), 20), value, np.float32))


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_padding_never_turns_inf_into_nan(algorithm, isa):
    x, kernel = np.full((1, 4, 4, 3), np.inf, np.float32), np.ones((3, 3, 3, 8), np.float32)
    assert (fc.conv2d(x, kernel, padding="same", algorithm=algorithm) == np.inf).all()
    assert (fc.conv2d(np.ones_like(x), kernel * np.inf, padding="same", algorithm=algorithm) == np.inf).all()
    grad_output = np.ones((1, 4, 4, 8), np.float32)
    grad = fc.conv2d_grad_input(grad_output, kernel * np.inf, x.shape, padding="same", algorithm=algorithm)
    assert (grad == np.inf).all()
    grad = fc.conv2d_grad_kernel(x, grad_output, 3, padding="same", algorithm=algorithm)
    assert (grad == np.inf).all()


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_overflow_is_infinite(algorithm, isa):
    largest = np.finfo(np.float32).max
    x = np.full((1, 3, 3, 2), largest, np.float32)
    assert (fc.conv2d(x, np.full((2, 2, 2, 5), -2, np.float32), algorithm=algorithm) == -np.inf).all()


@pytest.mark.parametrize("problem", POOLS, ids=str)
def test_pooling(problem, isa, rng):
    for _ in range(5):
        x = sprinkled(rng, problem.arrays()["x"], 12)
        expected, places = reference.max_pool2d(x, **problem.options, return_indices=True)
        average = reference.avg_pool2d(x, **problem.options)
        grad_output = sprinkled(rng, problem.arrays()["grad_output"], 5)
        grad = reference.max_pool2d_grad(grad_output, places, x.shape, **problem.options)
        shared = reference.avg_pool2d_grad(grad_output, x.shape, **problem.options)
        for dtype in DTYPES:
            y, indices = fc.max_pool2d(x.astype(dtype), **problem.options, return_indices=True)
            assert_exact(y, expected, dtype)
            assert_exact(fc.max_pool2d(x.astype(dtype), **problem.options), expected, dtype)
            assert_exact(indices, places)
            typed = grad_output.astype(dtype)
            assert_exact(fc.max_pool2d_grad(typed, indices, x.shape, **problem.options), grad, dtype)
            assert_exact(np.isnan(fc.avg_pool2d(x.astype(dtype), **problem.options)), np.isnan(average))
            assert_exact(np.isinf(fc.avg_pool2d(x.astype(dtype), **problem.options)), np.isinf(average))
            answer = fc.avg_pool2d_grad(typed, x.shape, **problem.options)
            assert_exact(np.isnan(answer), np.isnan(shared))
            assert_exact(np.isinf(answer), np.isinf(shared))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("channels", [1, 2, 7, 8, 16, 33])
def test_a_max_pool_window_with_nan_gives_nan_wherever_it_lies(channels, place, isa):
    x = normals(np.random.default_rng(0), (1, 2, 2, channels))
    x[0, place // 2, place % 2, :] = np.nan
    y, indices = fc.max_pool2d(x, return_indices=True)
    assert np.isnan(y).all()
    assert (indices == place).all()
    assert np.isnan(fc.max_pool2d(x)).all()
    assert np.isnan(fc.avg_pool2d(x)).all()


def test_max_pool_of_minus_infinity(isa):
    x = np.full((1, 4, 4, 9), -np.inf, np.float32)
    y, indices = fc.max_pool2d(x, 3, strides=1, padding="same", return_indices=True)
    assert (y == -np.inf).all()
    assert_exact(indices, reference.max_pool2d(x, 3, strides=1, padding="same", return_indices=True)[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu(dtype, isa):
    x = np.tile(np.array([np.nan, np.inf, -np.inf, -1, 2], dtype), 9)
    assert_exact(fc.relu(x), np.tile(np.array([np.nan, np.inf, 0, 0, 2], dtype), 9))
    upstream = np.array([np.nan, np.inf, -np.inf, np.nan], dtype)
    assert_exact(fc.relu_grad(upstream, np.array([1, 2, 3, 0], dtype)), np.array([np.nan, np.inf, -np.inf, 0], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(dtype, isa):
    x = np.zeros((4, 11), dtype)
    x[0, 3] = np.nan
    x[1, 5] = np.inf
    x[2, 7] = -np.inf
    y = fc.softmax(x)
    # A NaN in the row, and Inf - Inf in the row of an Inf, spoil their own row; exp(-Inf) is 0.
    assert np.isnan(y[0]).all()
    assert np.isnan(y[1, 5])
    assert np.isfinite(y[2:]).all()
    assert y[2, 7] == 0
    assert_exact(y[3], np.full(11, y[3, 0]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dense(dtype, isa, rng):
    x, kernel, bias = integers(rng, (5, 19), np.float64), integers(rng, (19, 23), np.float64), np.zeros(23)
    x[1, 3], x[2, 18], kernel[7, 22], bias[4] = np.nan, np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        expected = reference.conv2d(x.reshape(5, 1, 1, 19), kernel.reshape(1, 1, 19, 23), bias).reshape(5, 23)
    assert_exact(ops.dense(x.astype(dtype), kernel.astype(dtype), bias.astype(dtype)), expected, dtype)
    assert_exact(
        ops.dense(x.astype(dtype), kernel.astype(dtype), bias.astype(dtype), activation="relu"),
        np.where(expected < 0, 0, expected),
        dtype,
    )
