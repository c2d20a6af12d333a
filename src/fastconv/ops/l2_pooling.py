"""L2 pooling, the root of the sum of squares of every window, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._core import _pooling
from .._typing import Array, ArrayLike, DataFormat, Padding, Size2D
from .._validation import as_arrays, check_shape
from ._arrays import Result, as_nhwc
from ._dispatch import to_format
from .pooling import PoolProblem, _prepare, bands

# Average pooling's kernels divide a window's sum by its cells; told that a window has one cell, they sum.
_SUM = 1
SQUARES = 1 << 22  # elements of squares at a time, 16 MB of float32


def l2_pool2d(
    x: ArrayLike,
    pool_size: Size2D = 2,
    *,
    strides: Size2D | None = None,
    padding: Padding = "valid",
    data_format: DataFormat = "channels_last",
    out: Array | None = None,
) -> Array:
    """The Euclidean norm of every window, channel by channel.

    Args:
        x: images (n, h, w, c), or (n, c, h, w) with ``data_format="channels_first"``; float32 or float64.
        pool_size: the window, an int or a pair (h, w).
        strides: its step; default: pool_size.
        padding: as for :func:`conv2d`. Padded cells add nothing; a window on padding alone is refused.
        data_format: ``"channels_last"`` or ``"channels_first"``.
        out: array for the result.

    Returns:
        y (n, oh, ow, c), ``oh = (h + top + bottom - ph) // stride + 1``:
        ``y[n,i,j,c] = sqrt(sum x[n, i*sh + a - top, j*sw + b - left, c]**2)`` over a and b.

    Raises:
        TypeError, ValueError: as :func:`max_pool2d`.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.l2_pool2d(np.array([3.0, 0.0, 0.0, -4.0]).reshape(1, 2, 2, 1))[0, 0, 0, 0]
        np.float64(5.0)

    References:
        A. Hyvärinen, U. Köster: Complex cell pooling and the statistics of natural images, Network 18, 2007.
    """
    where = "l2_pool2d"
    x, p = _prepare(where, x, pool_size, strides, padding, data_format)
    y = Result(where, p.y_shape, x.dtype, out, data_format, (x,))
    _norms(as_nhwc(x, data_format), p, y.array)
    return y.finish()


def l2_pool2d_grad(
    grad_output: ArrayLike,
    x: ArrayLike,
    *,
    pool_size: Size2D = 2,
    strides: Size2D | None = None,
    padding: Padding = "valid",
    data_format: DataFormat = "channels_last",
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`l2_pool2d`: every gradient is spread over its window in proportion to the cells.

    Args:
        grad_output: gradient of l2_pool2d's output.
        x: l2_pool2d's input.
        pool_size, strides, padding, data_format: as given to l2_pool2d.
        out: array for the result.

    Returns:
        An array like x: ``gx[cell] = x[cell] * sum grad_output[window] / y[window]`` over the windows that hold the
        cell; a window of zeros, where the norm has no derivative, adds 0.

    Raises:
        TypeError, ValueError: as l2_pool2d; also a grad_output whose shape is not that of its output.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> x = np.array([3.0, 0.0, 0.0, -4.0]).reshape(1, 2, 2, 1)
        >>> fc.l2_pool2d_grad(np.full((1, 1, 1, 1), 10.0), x)[0, :, :, 0]
        array([[ 6.,  0.],
               [ 0., -8.]])
    """
    where = "l2_pool2d_grad"
    grad_output, x = as_arrays(where, grad_output=grad_output, x=x)
    x, p = _prepare(where, x, pool_size, strides, padding, data_format)
    check_shape(where, "grad_output", grad_output, to_format(p.y_shape, data_format), "the pooling's output")
    gx = Result(where, p.image, x.dtype, out, data_format, (grad_output, x))
    images = as_nhwc(x, data_format)
    share = np.empty(p.y_shape, x.dtype)
    _norms(images, p, share)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        nothing = share == 0
        np.divide(as_nhwc(grad_output, data_format), share, out=share)
        share[nothing] = 0
        _pooling.avg_pool2d_grad(share, gx.array, itemsize=x.itemsize, window_cells=_SUM, **p.geometry)
        np.multiply(gx.array, images, out=gx.array)
    for axis in (0, 1):
        # Cells of no window: 0, whatever they hold, where 0 * inf would be nan.
        index: list[Any] = [slice(None)] * 4
        index[axis + 1] = ~p.covered(axis)
        if index[axis + 1].any():
            gx.array[tuple(index)] = 0
    return gx.finish()


def _norms(images: Array, p: PoolProblem, y: Array) -> None:
    whole = (slice(None), slice(None))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        # Squares of a large batch are made a band at a time: a second batch of memory would be needed for nothing else.
        parts = bands(p, SQUARES // p.image[3]) if images.size > SQUARES else ((whole, whole, p),)
        for cells, outputs, part in parts:
            squares = np.square(images[cells])
            _pooling.pool2d(
                squares, y[outputs], None, itemsize=y.itemsize, is_max=False, window_cells=_SUM, **part.geometry
            )
        np.sqrt(y, out=y)
