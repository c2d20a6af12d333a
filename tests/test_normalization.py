"""Moments, batch normalisation and its gradients against the naive ones, and against central differences."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import DTYPES, assert_exact, assert_within, gamma, guarded_nan, normals, numerical_gradient

from fastconv import ops, reference
from fastconv.ops import normalization

# (shape, axis): channels last and first, few and many, one number a channel, rows beyond a block.
SHAPES = (
    ((4, 3), -1), ((5, 1), -1), ((1, 4), -1), ((2, 3, 4, 5), -1), ((2, 3, 4, 5), 3), ((2, 3, 4, 5), 1),
    ((2, 3, 4, 5), -2), ((4, 3, 2), 0), ((3, 9, 8, 17), -1), ((3, 17, 9, 8), 1), ((7, 130), -1), ((2, 1, 1, 6), -1),
    ((2, 6, 1, 1), 1),
)  # fmt: skip
CASES = pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)


def data(shape: tuple[int, ...], axis: int, dtype: type) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(shape)
    c = shape[axis]
    arrays = {"x": normals(rng, shape, dtype) + dtype(3), "g": normals(rng, shape, dtype)}
    return arrays | {"offset": normals(rng, (c,), dtype), "scale": normals(rng, (c,), dtype)}


def across(values: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """One value a channel, shaped to broadcast."""
    sizes = [1] * len(shape)
    sizes[axis] = -1
    return values.reshape(sizes)


@pytest.fixture(params=[normalization._BLOCK, 16], ids="block{}".format)
def block(request, monkeypatch):
    """The usual blocks, which hold all of a small array, and tiny ones."""
    monkeypatch.setattr(normalization, "_BLOCK", request.param)
    monkeypatch.setattr(normalization, "_ROW", min(request.param, normalization._ROW))


def test_whole_numbers_are_exact():
    # Mean 2, variance 3, epsilon 1: all roots and quotients are exact.
    deviations = np.array([-3.0, 1, 1, 1, -1, -1, -1, 3]) * np.sqrt(1.0)
    x = np.stack([2 + deviations, 2 - deviations], axis=-1)
    assert (deviations**2).mean() == 3
    for dtype in DTYPES:
        typed = x.astype(dtype)
        mean, variance = ops.channel_moments(typed)
        assert_exact(mean, [2, 2], dtype)
        assert_exact(variance, [3, 3], dtype)
        y = ops.batch_normalization(
            typed, mean, variance, offset=np.array([1, -1], dtype), scale=np.array([4, 2], dtype), epsilon=1.0
        )
        assert_exact(y[:, 0], 1 + 2 * deviations, dtype)
        assert_exact(y[:, 1], -1 - deviations, dtype)
        g = np.eye(8, 2, dtype=dtype) * 8
        results = ops.batch_normalization_grad(g, typed, mean, variance, scale=np.array([4, 2], dtype), epsilon=1.0)
        expected = reference.batch_normalization_grad(g, x, [2, 2], [3, 3], scale=[4, 2], epsilon=1.0)
        for result, right in zip(results, expected, strict=True):
            assert_exact(result, right, dtype)


@CASES
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments(shape, axis, dtype, block):
    x = data(shape, axis, dtype)["x"]
    mean, variance = ops.channel_moments(x, axis)
    exact_mean, exact_variance = reference.channel_moments(x.astype(np.float64), axis)
    assert mean.dtype == variance.dtype == dtype
    length = x.size // shape[axis] + 4
    size, _ = reference.channel_moments(np.abs(x).astype(np.float64), axis)
    assert_within(mean, exact_mean, gamma(length, dtype) * size)
    # The error of the mean enters squared, that of each deviation relative to x.
    assert_within(
        variance, exact_variance, gamma(length, dtype) * (exact_variance + size**2 * gamma(length, dtype)) * 4
    )


@CASES
@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_and_gradients(shape, axis, dtype, block):
    d = data(shape, axis, dtype)
    exact = {name: array.astype(np.float64) for name, array in d.items()}
    epsilon = 0.01
    mean, variance = (array.astype(dtype) for array in reference.channel_moments(d["x"], axis))
    args = mean.astype(np.float64), variance.astype(np.float64), axis
    out = guarded_nan(shape, dtype)
    y = ops.batch_normalization(d["x"], mean, variance, axis, d["offset"], d["scale"], epsilon, out=out.array)
    assert y is out.array
    out.check()
    expected = reference.batch_normalization(exact["x"], *args, exact["offset"], exact["scale"], epsilon)
    stretch = across(np.abs(exact["scale"]) / np.sqrt(args[1] + epsilon), shape, axis)
    size = (np.abs(exact["x"]) + np.abs(across(args[0], shape, axis))) * stretch
    assert_within(y, expected, gamma(8, dtype) * (size + np.abs(across(exact["offset"], shape, axis))))

    grads = ops.batch_normalization_grad(d["g"], d["x"], mean, variance, axis, d["scale"], epsilon)
    expected = reference.batch_normalization_grad(exact["g"], exact["x"], *args, exact["scale"], epsilon)
    length = d["x"].size // shape[axis] + 16
    others = tuple(i for i in range(len(shape)) if i != axis % len(shape))
    normal = (np.abs(exact["x"]) + np.abs(across(args[0], shape, axis))) / np.sqrt(
        across(args[1], shape, axis) + epsilon
    )
    sizes = {
        "offset": np.abs(exact["g"]).sum(axis=others),
        "scale": (np.abs(exact["g"]) * normal).sum(axis=others),
    }
    count = d["x"].size / shape[axis]
    mixed = across(sizes["offset"], shape, axis) / count + normal * across(sizes["scale"], shape, axis) / count
    bounds = stretch * (np.abs(exact["g"]) + mixed), sizes["scale"], sizes["offset"]
    for grad, right, bound in zip(grads, expected, bounds, strict=True):
        assert grad.dtype == dtype
        assert_within(grad, right, gamma(length, dtype) * bound)


@CASES
def test_central_differences(shape, axis):
    d = data(shape, axis, np.float64)
    epsilon = 0.1

    def value() -> float:
        moments = ops.channel_moments(d["x"], axis)
        y = ops.batch_normalization(d["x"], *moments, axis, d["offset"], d["scale"], epsilon)
        return float((y * d["g"]).sum())

    moments = ops.channel_moments(d["x"], axis)
    grads = ops.batch_normalization_grad(d["g"], d["x"], *moments, axis, d["scale"], epsilon)
    step = 1e-5
    weight = float(np.abs(d["g"]).sum() * (np.abs(d["scale"]).max() / np.sqrt(epsilon) * 10 + 1))
    bound = gamma(d["x"].size + 50, np.float64) * weight / step + 100 * step**2 * weight
    for name, grad in zip(("x", "scale", "offset"), grads, strict=True):
        if d[name].size <= 200:
            assert_within(grad, numerical_gradient(value, d[name], step), bound, name)


def test_a_large_mean_does_not_drown_the_variance():
    x = (1e4 + normals(np.random.default_rng(0), (4096, 3), np.float64)).astype(np.float32)
    mean, variance = ops.channel_moments(x)
    exact = x.astype(np.float64)
    assert_within(mean, exact.mean(axis=0), gamma(2, np.float32) * 1e4)
    assert_within(variance, exact.var(axis=0), gamma(len(x), np.float32) * exact.var(axis=0))


def test_empty_batch_and_missing_factors():
    empty = np.empty((0, 3, 4), np.float32)
    mean, variance = ops.channel_moments(empty)
    assert np.isnan(mean).all()
    assert np.isnan(variance).all()
    ones = np.ones(4, np.float32)
    assert ops.batch_normalization(empty, ones, ones).shape == empty.shape
    gx, gs, go = ops.batch_normalization_grad(empty, empty, ones, ones)
    assert gx.shape == empty.shape
    assert_exact(gs, np.zeros(4))
    assert_exact(go, np.zeros(4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, c: ops.channel_moments(x, 2), ValueError, "axis 2 is out of range"),
        (lambda x, c: ops.channel_moments(x.astype(int)), TypeError, "x must be float32 or float64"),
        (lambda x, c: ops.batch_normalization(x, c, c[:2]), ValueError, r"variance must have shape \(3,\)"),
        (lambda x, c: ops.batch_normalization(x, c[:2], c), ValueError, r"mean must have shape \(3,\)"),
        (lambda x, c: ops.batch_normalization(x, c, c, offset=c[:2]), ValueError, r"offset must have shape \(3,\)"),
        (lambda x, c: ops.batch_normalization(x, c, c, scale=c[:2]), ValueError, r"scale must have shape \(3,\)"),
        (lambda x, c: ops.batch_normalization(x, c, c, 5), ValueError, "axis 5 is out of range"),
        (lambda x, c: ops.batch_normalization(x, c, c, out=x), ValueError, "out overlaps an input"),
        (
            lambda x, c: ops.batch_normalization_grad(x[:2], x, c, c),
            ValueError,
            r"grad_output must have shape \(4, 3\)",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((4, 3), np.float32), np.ones(3, np.float32))
