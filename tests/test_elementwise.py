"""ReLU, softmax and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import (
    DTYPES,
    assert_exact,
    assert_within,
    gamma,
    guarded_copy,
    normals,
    numerical_gradient,
    spoil_free_memory,
    unit_roundoff,
)

import fastconv as fc
from fastconv import ops

# Inf and NaN are values here, not accidents: no operation warns of them.
pytestmark = pytest.mark.filterwarnings("error")

SHAPES = ((0,), (1,), (7,), (8,), (9,), (16,), (17,), (31, 3), (2, 3, 4, 5), (0, 4), (3, 1001), (400_003,))
ROWS = ((1, 1), (3, 2), (2, 10), (5, 16), (4, 17), (0, 10), (130, 10), (2, 3, 4, 33), (2, 1000), (5_003, 10))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_relu(shape, dtype, isa, threads, rng):
    x = guarded_copy(normals(rng, shape, dtype))
    kept = x.array.copy()
    spoil_free_memory(x.array.nbytes)
    y = fc.relu(x.array)
    assert_exact(y, np.where(kept > 0, kept, 0).astype(dtype), dtype)
    assert_exact(x.array, kept)
    x.check()
    grad_output = guarded_copy(normals(rng, shape, dtype))
    assert_exact(fc.relu_grad(grad_output.array, y), np.where(kept > 0, grad_output.array, 0).astype(dtype), dtype)
    grad_output.check()


def test_relu_by_hand():
    x = np.array([-1.5, -0.0, 0.0, 2.0, np.nan, np.inf, -np.inf], np.float32)
    assert_exact(fc.relu(x), np.array([0, 0, 0, 2, np.nan, np.inf, 0], np.float32))
    upstream = np.array([-3.0, 5, 7, -11], np.float32)
    assert_exact(fc.relu_grad(upstream, np.array([0, 0, 1e-45, 2], np.float32)), np.array([0, 0, 7, -11], np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (7, 6), (9, 3, 5, 17), (400, 33), (70, 20, 20, 16)], ids=str)
@pytest.mark.parametrize("in_place", [False, True])
def test_relu_bias_grad_is_the_two_in_one(shape, dtype, in_place, isa, threads, rng):
    y = np.maximum(normals(rng, shape, dtype), 0)
    grad_output = guarded_copy(normals(rng, shape, dtype))
    expected = fc.relu_grad(grad_output.array, y)
    summed = ops.bias_grad(expected)
    out = grad_output if in_place else guarded_copy(np.full(shape, np.nan, dtype))
    bias_out = guarded_copy(np.full(shape[-1:], np.nan, dtype))
    results = ops.relu_bias_grad(grad_output.array, y, out=out.array, bias_out=bias_out.array)
    assert results[0] is out.array
    assert results[1] is bias_out.array
    assert_exact(out.array, expected, dtype)
    assert_exact(bias_out.array, summed, dtype)
    for guarded in (grad_output, out, bias_out):
        guarded.check()


def test_relu_bias_grad_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"relu_bias_grad: expected grad_output and y .* received shapes \(2, 3\)"):
        ops.relu_bias_grad(np.ones((2, 3)), np.ones((3, 2)))


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024, 1025, 8192, 300_001])
def test_dropout_masks_come_from_key_and_place_alone(size, rng):
    x = normals(rng, (size,), np.float32)
    masks = []
    for isa in fc.available_isas():
        fc.set_isa(isa)
        for threads in (1, 2, 3):
            fc.set_num_threads(threads)
            for dtype in DTYPES:
                given = guarded_copy(x.astype(dtype))
                out = guarded_copy(np.full(size, np.nan, dtype))
                ops.dropout(given.array, 0.25, 2**64 - 3, out=out.array)
                kept = out.array != 0
                assert_exact(out.array, np.where(kept, given.array * dtype(1 / 0.75), 0).astype(dtype), dtype)
                ops.dropout(given.array, 0.25, 2**64 - 3, out=given.array)
                assert_exact(given.array, out.array)
                given.check()
                out.check()
                masks.append(kept)
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    longer = ops.dropout(np.ones(size + 700), 0.25, 2**64 - 3) != 0
    if size % 1024 == 0:
        assert np.array_equal(longer[:size], masks[0])
    if size > 1000:
        assert abs(masks[0].mean() - 0.75) <= 5 * np.sqrt(0.25 * 0.75 / size)


def test_dropout_masks_look_independent():
    """Correlations within a mask, and between those of near keys, stay within five deviations of chance."""
    size, rate = 1 << 18, 0.5

    def signs(key):
        return np.where(ops.dropout(np.ones(size, np.float32), rate, key) != 0, 1.0, -1.0)

    first, limit = signs(12345), 5 / np.sqrt(size)
    for lag in (1, 2, 3, 4, 8, 16, 28, 64, 511, 512, 513, 1024, 4096):
        assert abs(np.mean(first[lag:] * first[:-lag])) <= 5 / np.sqrt(size - lag)
    for other in (12344, 12346, 12345 ^ 1 << 17, 12345 + 2**32, 12345 + 2**33, 12345 | 1 << 63, 0, 2**64 - 1):
        assert abs(np.mean(first * signs(other))) <= limit
        for lag in (1, 2, 16, 512):  # nor is one key's mask another's, moved
            assert abs(np.mean(first[lag:] * signs(other)[:-lag])) <= 5 / np.sqrt(size - lag)
            assert abs(np.mean(first[:-lag] * signs(other)[lag:])) <= 5 / np.sqrt(size - lag)
    for bits in range(12):  # sums over aligned runs have the variance of independent signs
        runs = first.reshape(-1, 1 << bits).sum(axis=1)
        deviation = np.sqrt(2 / len(runs))
        assert abs(np.mean(runs**2) / (1 << bits) - 1) <= 6 * deviation


def exact_softmax(x, axis):
    """Softmax in long double, and the distance of each cell from its row's maximum."""
    x = x.astype(np.longdouble)
    distance = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    powers = np.exp(distance)
    return powers / powers.sum(axis=axis, keepdims=True), np.abs(distance)


def softmax_bound(y, distance, dtype, axis):
    """A row's sum, one exp of a few units, and the rounding of x - max, which exp magnifies by |x - max|."""
    length = y.shape[axis]
    relative = gamma(length + 8, dtype) + 2 * unit_roundoff(dtype) * (distance + distance.max(initial=0))
    return (relative * y).astype(np.float64) + float(np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ROWS, ids=str)
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax(shape, axis, dtype, isa, rng):
    if shape[axis] == 0:
        pytest.skip("softmax over no cells at all")
    x = guarded_copy(normals(rng, shape, dtype) * 8)
    kept = x.array.copy()
    spoil_free_memory(x.array.nbytes)
    y = fc.softmax(x.array, axis=axis)
    expected, distance = exact_softmax(kept, axis)
    assert y.dtype == dtype
    assert_within(y, expected.astype(np.float64), softmax_bound(expected, distance, dtype, axis))
    x.check()
    assert_exact(x.array, kept)
    total = y.astype(np.float64).sum(axis=axis)
    assert_within(total, np.ones_like(total), gamma(2 * shape[axis] + 60, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ROWS, ids=str)
@pytest.mark.parametrize("axis", [-1, 0])
def test_softmax_grad(shape, axis, dtype, isa, rng):
    if shape[axis] == 0:
        pytest.skip("softmax over no cells at all")
    y = exact_softmax(normals(rng, shape, np.float64), axis)[0].astype(dtype)
    grad_output = normals(rng, shape, dtype)
    wide, upstream = y.astype(np.float64), grad_output.astype(np.float64)
    expected = wide * (upstream - (upstream * wide).sum(axis=axis, keepdims=True))
    magnitude = wide * (np.abs(upstream) + (np.abs(upstream) * wide).sum(axis=axis, keepdims=True))
    answer = fc.softmax_grad(grad_output, y, axis=axis)
    assert answer.dtype == dtype
    bound = gamma(shape[axis] + 4, dtype) * magnitude + float(np.finfo(dtype).tiny)
    assert_within(answer, expected, bound)


def test_softmax_grad_against_central_differences(rng):
    x, grad_output = normals(rng, (3, 5), np.float64), normals(rng, (3, 5), np.float64)
    step = 2.0**-17
    numerical = numerical_gradient(lambda: np.vdot(fc.softmax(x), grad_output), x, step)
    # Truncation: step^2 / 6 times a third derivative below 1 per cell; rounding: a few units over the step.
    magnitude = np.abs(grad_output).sum()
    bound = magnitude * (step**2 + gamma(100, np.float64) / step)
    assert_within(fc.softmax_grad(grad_output, fc.softmax(x)), numerical, bound)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_huge_logits(dtype, isa):
    x = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4], [3e38, 0, -3e38]], dtype)
    y = fc.softmax(x)
    third = np.asarray(1, dtype) / np.asarray(3, dtype)
    expected = np.array([[1, 0, 0], [third] * 3, [0.5, 0.5, 0], [1, 0, 0]], np.float64)
    assert_within(y, expected, 4 * unit_roundoff(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_is_invariant_under_a_shift_that_is_exact(dtype, rng, isa):
    x = rng.integers(-20, 20, (9, 21)).astype(dtype)
    assert_exact(fc.softmax(x + dtype(1024)), fc.softmax(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_over_the_whole_range_of_exp(dtype, isa):
    # Row by row [0, -d]: exp itself, from 1 down to where it vanishes.
    distance = np.linspace(0, -np.log(np.finfo(dtype).tiny) + 5, 4001)
    x = np.stack([np.zeros_like(distance), -distance], axis=1).astype(dtype)
    expected, apart = exact_softmax(x, -1)
    relative = gamma(10, dtype) + 2 * unit_roundoff(dtype) * apart
    bound = (relative * expected).astype(np.float64) + float(np.finfo(dtype).tiny)
    assert_within(fc.softmax(x), expected.astype(np.float64), bound)
