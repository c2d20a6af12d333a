"""Batch normalisation: the moments of each channel, the affine map they define, and its gradient.

A channel's numbers lie a stride apart, or in runs. Here x is seen as rows of whole groups of channels, long enough for
NumPy's vector loops, and a channel's factor as a row that repeats it; rows are taken in blocks, so that intermediate
arrays stay in the cache. Sums over blocks are kept in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from .._typing import Array, ArrayLike
from .._validation import as_array, as_arrays, as_index, as_number, axis_error, check_shape
from ._arrays import Result, contiguous

# Numbers in a row, at least, and in a block of rows. Of blocks of 2**13 … 2**18 this one was the quickest for batches
# of 128 × 28 × 28 × 6, 128 × 14 × 14 × 32 and 128 × 3200: shorter ones are overhead, and above 128 kB the C library
# asks the system for the memory of every intermediate array.
_ROW = 1024
_BLOCK = 2**15


class _Rows:
    """How an array of a given shape is cut into rows, and what a row's columns mean."""

    def __init__(self, shape: tuple[int, ...], axis: int) -> None:
        self.channels, inner = shape[axis], prod(shape[axis + 1 :])
        outer = list(shape[:axis])
        repeats = 1
        while inner == 1 and len(outer) > 1 and repeats * self.channels < _ROW:
            repeats *= outer.pop()
        self.groups = repeats, self.channels, inner
        self.shape = prod(outer), prod(self.groups)
        self.count = prod(shape) // max(self.channels, 1)

    def spread(self, values: Array, dtype: np.dtype) -> Array:
        """A value for each channel as a row."""
        return np.broadcast_to(values.astype(dtype)[:, None], self.groups).reshape(-1)

    def fold(self, row: Array) -> Array:
        """A row's sum for each channel, float64."""
        return row.reshape(self.groups).sum(axis=(0, 2), dtype=np.float64)

    def blocks(self) -> Iterator[slice]:
        rows, length = self.shape
        step = max(_BLOCK // max(length, 1), 1)
        return (slice(first, min(first + step, rows)) for first in range(0, rows, step))


def channel_moments(x: ArrayLike, axis: int = -1) -> tuple[Array, Array]:
    """Mean and variance of each channel, over all other axes.

    Args:
        x: float32 or float64, any shape.
        axis: the axis of the channels.

    Returns:
        (mean, variance), each (c,) of x's type: ``mean[c] = sum x[…, c] / m``, ``variance[c] = sum (x[…, c] -
        mean[c])**2 / m`` (not ``m - 1``); of nothing, NaN.

    Raises:
        TypeError: x is not float32 or float64.
        ValueError: no such axis.

    References:
        T. Chan, G. Golub, R. LeVeque: Algorithms for computing the sample variance, Am. Stat. 37, 1983, section 1.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.ops.channel_moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
        (array([2., 5.]), array([1., 0.]))
    """
    x = contiguous(as_array("channel_moments", "x", x))
    rows = _rows("channel_moments", x, axis)
    flat = x.reshape(rows.shape)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        total = np.zeros(rows.shape[1])
        for block in rows.blocks():
            total += flat[block].sum(axis=0)
        near = (rows.fold(total) / rows.count).astype(x.dtype)
        center = rows.spread(near, x.dtype)
        # What rounding took from the mean is found again in the deviations from it, which are small.
        first, second = np.zeros((2, rows.shape[1]))
        for block in rows.blocks():
            deviation = flat[block] - center
            first += deviation.sum(axis=0)
            second += np.square(deviation, out=deviation).sum(axis=0)
        missed = rows.fold(first) / rows.count
        variance = np.maximum(rows.fold(second) / rows.count - missed**2, 0)
    return (near + missed).astype(x.dtype), variance.astype(x.dtype)


def batch_normalization(
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    axis: int = -1,
    offset: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    epsilon: float = 1e-3,
    *,
    out: Array | None = None,
) -> Array:
    """Shift and scale each channel by given moments: ``scale * (x - mean) / sqrt(variance + epsilon) + offset``.

    Args:
        x: float32 or float64, any shape, c channels along ``axis``.
        mean, variance: (c,).
        axis: the axis of the channels. Default: the last.
        offset, scale: (c,). Default: 0 and 1.
        epsilon: added to the variance, against a division by 0.
        out: array for the result.

    Returns:
        An array like x.

    Raises:
        TypeError: an input is not float32 or float64.
        ValueError: no such axis, another number of channels, a bad ``out``.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> x = np.array([[1.0, 5.0], [3.0, 5.0]])
        >>> fc.ops.batch_normalization(x, *fc.ops.channel_moments(x), epsilon=0.25, offset=np.ones(2)).round(3)
        array([[0.106, 1.   ],
               [1.894, 1.   ]])

    References:
        S. Ioffe, C. Szegedy: Batch normalization, arXiv:1502.03167, algorithm 1.
    """
    where = "batch_normalization"
    x, mean, variance, offset, scale = _arrays(where, x=x, mean=mean, variance=variance, offset=offset, scale=scale)
    rows = _rows(where, x, axis)
    factor, _ = _factors(where, rows, variance, scale, epsilon)
    center = rows.spread(_channel(where, "mean", mean, rows), x.dtype)
    stretch = rows.spread(factor, x.dtype)
    shift = None if offset is None else rows.spread(_channel(where, "offset", offset, rows), x.dtype)
    y = Result(where, x.shape, x.dtype, out, inputs=(x, mean, variance, offset, scale))
    flat, to = contiguous(x).reshape(rows.shape), y.array.reshape(rows.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        for block in rows.blocks():
            part = np.subtract(flat[block], center, out=to[block])
            part *= stretch
            if shift is not None:
                part += shift
    return y.finish()


def batch_normalization_grad(
    grad_output: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    axis: int = -1,
    scale: ArrayLike | None = None,
    epsilon: float = 1e-3,
    *,
    out: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Gradients of :func:`batch_normalization` with the moments of x itself, as in training.

    Args:
        grad_output: gradient of the output, shaped like x.
        x: the input.
        mean, variance: (c,), of :func:`channel_moments`; they depend on x, and the gradient takes that into account.
        axis, scale, epsilon: as given to batch_normalization.
        out: array for the gradient in x.

    Returns:
        (grad_input, grad_scale, grad_offset): with m numbers in a channel, ``xn = (x - mean) / sqrt(variance +
        epsilon)`` and sums over the channel, ``grad_offset = sum g``, ``grad_scale = sum g * xn`` and
        ``grad_input = scale / sqrt(variance + epsilon) * (g - grad_offset / m - xn * grad_scale / m)``.

    Raises:
        TypeError, ValueError: as batch_normalization; also a grad_output that is not shaped like x.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> x, g = np.array([[-1.0], [1.0]]), np.array([[0.0], [1.0]])
        >>> gx, gs, go = fc.ops.batch_normalization_grad(g, x, *fc.ops.channel_moments(x), epsilon=3.0)
        >>> gx.ravel(), gs, go
        (array([-0.1875,  0.1875]), array([0.5]), array([1.]))

    References:
        S. Ioffe, C. Szegedy: Batch normalization, arXiv:1502.03167, section 3.
    """
    where = "batch_normalization_grad"
    grad_output, x, mean, variance, scale = _arrays(
        where, grad_output=grad_output, x=x, mean=mean, variance=variance, scale=scale
    )
    check_shape(where, "grad_output", grad_output, x.shape, "x's shape")
    rows = _rows(where, x, axis)
    factor, inverse = _factors(where, rows, variance, scale, epsilon)
    center = rows.spread(_channel(where, "mean", mean, rows), x.dtype)
    gx = Result(where, x.shape, x.dtype, out, inputs=(grad_output, x, mean, variance, scale))
    flat, grads = contiguous(x).reshape(rows.shape), contiguous(grad_output).reshape(rows.shape)
    to = gx.array.reshape(rows.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        totals = np.zeros((2, rows.shape[1]))
        for block in rows.blocks():
            deviation = flat[block] - center
            totals[0] += grads[block].sum(axis=0)
            totals[1] += np.multiply(deviation, grads[block], out=deviation).sum(axis=0)
        grad_offset, grad_scale = rows.fold(totals[0]), rows.fold(totals[1]) * inverse
        m = max(rows.count, 1)
        stretch = rows.spread(factor, x.dtype)
        slope = rows.spread(-factor * inverse * grad_scale / m, x.dtype)
        shift = rows.spread(-factor * grad_offset / m, x.dtype)
        for block in rows.blocks():
            deviation = flat[block] - center
            deviation *= slope
            part = np.multiply(grads[block], stretch, out=to[block])
            part += deviation
            part += shift
    return gx.finish(), grad_scale.astype(x.dtype), grad_offset.astype(x.dtype)


def _rows(where: str, x: Array, axis: int) -> _Rows:
    axis = as_index(where, "axis", axis)
    if not -x.ndim <= axis < x.ndim:
        raise axis_error(where, axis, x.shape)
    return _Rows(x.shape, axis % x.ndim)


def _arrays(where: str, **values: ArrayLike | None) -> list[Any]:
    """The arrays in their common type; None stays None where it may be."""
    given = {name: value for name, value in values.items() if value is not None or name not in ("offset", "scale")}
    arrays = dict(zip(given, as_arrays(where, **given), strict=True))
    return [arrays.get(name) for name in values]


def _channel(where: str, name: str, values: Array, rows: _Rows) -> Array:
    check_shape(where, name, values, (rows.channels,), "one value a channel")
    return values


def _factors(where: str, rows: _Rows, variance: Array, scale: Array | None, epsilon: float) -> tuple[Array, Array]:
    """What each channel is multiplied by, and that without the scale, in float64."""
    epsilon = as_number(where, "epsilon", epsilon, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = 1 / np.sqrt(_channel(where, "variance", variance, rows).astype(np.float64) + epsilon)
    return inverse if scale is None else inverse * _channel(where, "scale", scale, rows), inverse
