"""Max and average pooling over NHWC images, and their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from .. import _shapes
from .._core import _pooling
from .._typing import Array, ArrayLike, DataFormat, Padding, Size2D
from .._validation import (
    as_array,
    as_indices,
    as_padding,
    as_pair,
    as_shape4,
    check_apart,
    check_elements,
    check_ndim,
    check_shape,
    indices_out_error,
    indices_range_error,
    padding_window_error,
    window_error,
)
from ._arrays import Result, as_nhwc, check_format
from ._dispatch import to_format, to_nhwc

INT32_MAX = 2**31 - 1
INT32, INT64, FLOAT64 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.float64)
INDEX_UNSIGNED = {INT32: np.uint32, INT64: np.uint64}


@dataclass(frozen=True, eq=False)
class PoolProblem:
    """One pooling in NHWC: sizes in elements, pads resolved."""

    image: tuple[int, int, int, int]
    grid: tuple[int, int]
    window: tuple[int, int]
    strides: tuple[int, int]
    origin: tuple[int, int]  # pads at the top and at the left

    @cached_property
    def y_shape(self) -> tuple[int, int, int, int]:
        return self.image[0], *self.grid, self.image[3]

    @cached_property
    def cells(self) -> int:
        """Cells of an image's plane, which the indices count."""
        return self.image[1] * self.image[2]

    def covered(self, axis: int) -> Array:
        """Whether each of an image's rows (axis 0) or columns (axis 1) lies in a window."""
        size, window = self.image[axis + 1], self.window[axis]
        first = np.arange(self.grid[axis]) * self.strides[axis] - self.origin[axis]
        edges = np.zeros(size + 1, np.int64)
        np.add.at(edges, np.clip(first, 0, size), 1)
        np.add.at(edges, np.clip(first + window, 0, size), -1)
        return edges[:size].cumsum() > 0

    @cached_property
    def geometry(self) -> dict[str, Any]:
        """The kernels' arguments."""
        return {
            "image": self.image,
            "grid": self.grid,
            "window": self.window,
            "strides": self.strides,
            "origin": self.origin,
        }


def max_pool2d(
    x: ArrayLike,
    pool_size: Size2D = 2,
    *,
    strides: Size2D | None = None,
    padding: Padding = "valid",
    data_format: DataFormat = "channels_last",
    return_indices: bool = False,
    out: Array | None = None,
    indices_out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """The maximum of every window, channel by channel.

    Args:
        x: images (n, h, w, c), or (n, c, h, w) with ``data_format="channels_first"``; float32 or float64.
        pool_size: the window, an int or a pair (h, w).
        strides: its step; default: pool_size.
        padding: as for :func:`fastconv.conv2d`. A padded cell is never picked: the maximum is over the real cells
            only, and a window that would lie on padding alone is refused.
        data_format: ``"channels_last"`` or ``"channels_first"``.
        return_indices: also give where each maximum was found, for :func:`max_pool2d_grad`.
        out: array for the result.
        indices_out: array for the indices, of their type.

    Returns:
        y (n, oh, ow, c), ``oh = (h + top + bottom - ph) // stride + 1``; with return_indices (y, indices): indices
        like y, ``row * w + column`` in the image's plane, int32 for float32 (int64 beyond 2**31 cells) and int64
        for float64. On ties the first cell in row-major order wins; a NaN wins over everything.

    Raises:
        TypeError, ValueError: as conv2d; also indices_out without return_indices.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> x = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
        >>> fc.max_pool2d(x)[0, :, :, 0]
        array([[ 5.,  7.],
               [13., 15.]], dtype=float32)
    """
    where = "max_pool2d"
    x, p = _prepare(where, x, pool_size, strides, padding, data_format)
    if indices_out is not None and not return_indices:
        raise indices_out_error(where)
    y = Result(where, p.y_shape, x.dtype, out, data_format, (x,))
    images, found = as_nhwc(x, data_format), None
    if return_indices:
        index_dtype = pool_indices_dtype(p.image, x.dtype)
        found = Result(where, p.y_shape, index_dtype, indices_out, data_format, (x,), name="indices_out")
        check_apart(where, "indices_out", indices_out, "out", out)
    if found is not None and found.array.itemsize > x.itemsize:
        _max_pool_bands(images, p, y.array, found.array)
    else:
        indices = None if found is None else found.array
        _pooling.pool2d(images, y.array, indices, itemsize=x.itemsize, is_max=True, **p.geometry)
    return (y.finish(), found.finish()) if found else y.finish()


def max_pool2d_grad(
    grad_output: ArrayLike,
    indices: ArrayLike,
    input_shape: tuple[int, int, int, int],
    *,
    pool_size: Size2D = 2,
    strides: Size2D | None = None,
    padding: Padding = "valid",
    data_format: DataFormat = "channels_last",
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`max_pool2d`: every gradient goes to the cell that won its window.

    Args:
        grad_output: gradient of max_pool2d's output.
        indices: as max_pool2d returned them, of grad_output's shape, int32 or int64.
        input_shape: shape of max_pool2d's input.
        pool_size, strides, padding, data_format: as given to max_pool2d.
        out: array for the result.

    Returns:
        An array of input_shape; where windows overlap, gradients add up.

    Raises:
        TypeError, ValueError: as max_pool2d; indices outside the image's plane.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> y, indices = fc.max_pool2d(np.arange(4.0).reshape(1, 2, 2, 1), return_indices=True)
        >>> fc.max_pool2d_grad(np.array([[[[5.0]]]]), indices, (1, 2, 2, 1))[0, :, :, 0]
        array([[0., 0.],
               [0., 5.]])
    """
    where = "max_pool2d_grad"
    grad_output, p = _prepare_grad(where, grad_output, input_shape, pool_size, strides, padding, data_format)
    indices = as_indices(where, indices)
    check_shape(where, "indices", indices, grad_output.shape, "grad_output's shape")
    # One pass: as unsigned numbers, negative ones are large.
    if indices.size and indices.view(INDEX_UNSIGNED[indices.dtype]).max() >= p.cells:
        raise indices_range_error(where, indices, p.cells)
    gx = Result(where, p.image, grad_output.dtype, out, data_format, (grad_output, indices))
    grads, winners = as_nhwc(grad_output, data_format), as_nhwc(indices, data_format)
    if p.cells > INT32_MAX and grad_output.itemsize == 4:
        _scatter(grads, winners, gx.array)
    else:
        _pooling.max_pool2d_grad(
            grads,
            winners.astype(_index_dtype(grad_output.dtype), copy=False),
            gx.array,
            itemsize=grad_output.itemsize,
            n=p.image[0],
            in_pixels=p.cells,
            out_pixels=p.grid[0] * p.grid[1],
            c=p.image[3],
        )
    return gx.finish()


def max_pool2d_grad_unchecked(
    grad_output: Array,
    indices: Array,
    input_shape: tuple[int, int, int, int],
    *,
    pool_size: Size2D = 2,
    strides: Size2D | None = None,
    padding: Padding = "valid",
    data_format: DataFormat = "channels_last",
    out: Array | None = None,
) -> Array:
    """:func:`max_pool2d_grad` for indices that max_pool2d gave for the same problem; others give a wrong gradient.

    Windows side by side, the usual case, are written in one pass, without zeroing the image first and reading the
    indices twice.
    """
    where = "max_pool2d_grad_unchecked"
    grad_output, p = _prepare_grad(where, grad_output, input_shape, pool_size, strides, padding, data_format)
    indices = as_indices(where, indices)
    check_shape(where, "indices", indices, grad_output.shape, "grad_output's shape")
    if p.strides != p.window or indices.dtype != _index_dtype(grad_output.dtype):
        return max_pool2d_grad(
            grad_output, indices, input_shape, pool_size=pool_size, strides=strides, padding=padding,
            data_format=data_format, out=out,
        )  # fmt: skip
    gx = Result(where, p.image, grad_output.dtype, out, data_format, (grad_output, indices))
    _pooling.max_pool2d_spread(
        as_nhwc(grad_output, data_format),
        as_nhwc(indices, data_format),
        gx.array,
        itemsize=grad_output.itemsize,
        **p.geometry,
    )
    return gx.finish()


def avg_pool2d(
    x: ArrayLike,
    pool_size: Size2D = 2,
    *,
    strides: Size2D | None = None,
    padding: Padding = "valid",
    data_format: DataFormat = "channels_last",
    count_include_pad: bool = False,
    out: Array | None = None,
) -> Array:
    """The mean of every window, channel by channel.

    Args:
        x, pool_size, strides, padding, data_format, out: as for :func:`max_pool2d`.
        count_include_pad: divide by the whole window, padding counted as zeros. Default: the mean of the real cells.

    Returns:
        y (n, oh, ow, c) as max_pool2d.

    Raises:
        TypeError, ValueError: as max_pool2d.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.avg_pool2d(np.arange(4.0).reshape(1, 2, 2, 1))[0, 0, 0, 0]
        np.float64(1.5)
    """
    where = "avg_pool2d"
    x, p = _prepare(where, x, pool_size, strides, padding, data_format)
    y = Result(where, p.y_shape, x.dtype, out, data_format, (x,))
    _pooling.pool2d(
        as_nhwc(x, data_format),
        y.array,
        None,
        itemsize=x.itemsize,
        is_max=False,
        window_cells=p.window[0] * p.window[1] if count_include_pad else 0,
        **p.geometry,
    )
    return y.finish()


def avg_pool2d_grad(
    grad_output: ArrayLike,
    input_shape: tuple[int, int, int, int],
    *,
    pool_size: Size2D = 2,
    strides: Size2D | None = None,
    padding: Padding = "valid",
    data_format: DataFormat = "channels_last",
    count_include_pad: bool = False,
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`avg_pool2d`: every gradient is spread evenly over its window's cells.

    Args:
        grad_output: gradient of avg_pool2d's output.
        input_shape: shape of avg_pool2d's input.
        pool_size, strides, padding, data_format, count_include_pad: as given to avg_pool2d.
        out: array for the result.

    Returns:
        An array of input_shape.

    Raises:
        TypeError, ValueError: as avg_pool2d.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.avg_pool2d_grad(np.array([[[[4.0]]]]), (1, 2, 2, 1))[0, :, :, 0]
        array([[1., 1.],
               [1., 1.]])
    """
    where = "avg_pool2d_grad"
    grad_output, p = _prepare_grad(where, grad_output, input_shape, pool_size, strides, padding, data_format)
    gx = Result(where, p.image, grad_output.dtype, out, data_format, (grad_output,))
    _pooling.avg_pool2d_grad(
        as_nhwc(grad_output, data_format),
        gx.array,
        itemsize=grad_output.itemsize,
        window_cells=p.window[0] * p.window[1] if count_include_pad else 0,
        **p.geometry,
    )
    return gx.finish()


def bands(p: PoolProblem, most: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], PoolProblem]]:
    """Each image's pooling as poolings of bands of its rows that have at most ``most`` cells, or one row of windows.

    Yields where a band's image and its outputs are, as (image, rows), and its problem.
    """
    n, ih, iw, c = p.image
    rows = max((most // iw - p.window[0]) // p.strides[0] + 1, 1)
    for image in range(n):
        one = slice(image, image + 1)
        for first in range(0, p.grid[0], rows):
            last = min(first + rows, p.grid[0])
            start = first * p.strides[0] - p.origin[0]
            top, bottom = max(start, 0), min((last - 1) * p.strides[0] - p.origin[0] + p.window[0], ih)
            origin, grid = (top - start, p.origin[1]), (last - first, p.grid[1])
            band = PoolProblem((1, bottom - top, iw, c), grid, p.window, p.strides, origin)
            yield (one, slice(top, bottom)), (one, slice(first, last)), band


def _max_pool_bands(x: Array, p: PoolProblem, y: Array, indices: Array) -> None:
    """Maxima and int64 indices of planes whose cells int32 cannot count: bands are planes that it can.

    Where one row of windows alone meets more cells, it runs in float64, whose indices are int64.
    """
    for cells, outputs, band in bands(p, INT32_MAX):
        dtype = FLOAT64 if band.cells > INT32_MAX else x.dtype
        maxima, places = np.empty(band.y_shape, dtype), np.empty(band.y_shape, _index_dtype(dtype))
        image = x[cells].astype(dtype, copy=False)
        _pooling.pool2d(image, maxima, places, itemsize=dtype.itemsize, is_max=True, **band.geometry)
        y[outputs] = maxima
        np.add(places, cells[1].start * p.image[2], out=indices[outputs])


def _scatter(grads: Array, winners: Array, gx: Array) -> None:
    """max_pool2d_grad where the kernels' indices, as wide as their elements, cannot count the plane's cells."""
    gx[...] = 0
    n, _, _, c = gx.shape
    planes = gx.reshape(n, -1, c)
    with np.errstate(invalid="ignore", over="ignore"):
        for image in range(n):
            np.add.at(planes[image], (winners[image].reshape(-1, c), np.arange(c)), grads[image].reshape(-1, c))


def pool_indices_dtype(
    shape: tuple[int, int, int, int], dtype: np.dtype, data_format: DataFormat = "channels_last"
) -> np.dtype:
    """The type of the indices that max_pool2d gives for images of this shape and type.

    As wide as the elements, and wider where these cannot count a plane's cells.
    """
    _, ih, iw, _ = to_nhwc(shape, data_format)
    return INT64 if ih * iw > INT32_MAX else _index_dtype(dtype)


def _index_dtype(dtype: np.dtype) -> np.dtype:
    """The kernels' indices are as wide as their elements."""
    return INT32 if dtype.itemsize == 4 else INT64


def pool_problem(
    where: str, shape: tuple[int, ...], pool_size: Any, strides: Any, padding: Any, data_format: str
) -> PoolProblem:
    window = as_pair(where, "pool_size", pool_size)
    steps = window if strides is None else as_pair(where, "strides", strides)
    return _pool_problem(where, to_nhwc(shape, data_format), window, steps, as_padding(where, padding))


@lru_cache(maxsize=512)
def _pool_problem(
    where: str, shape: tuple[int, ...], window: _shapes.Pair, steps: _shapes.Pair, padding: str | _shapes.Pads
) -> PoolProblem:
    n, ih, iw, c = shape
    pads = _shapes.resolve_padding(padding, (ih, iw), window, steps, (1, 1))
    grid = _shapes.output_hw((ih, iw), window, steps, (1, 1), pads)
    if min(grid) < 1 or min(ih, iw) < 1:
        raise window_error(where, (ih, iw), window, (1, 1), pads)
    for axis, size in enumerate((ih, iw)):
        if pads[axis][0] >= window[axis] or (grid[axis] - 1) * steps[axis] - pads[axis][0] >= size:
            raise padding_window_error(where, window, pads)
    check_elements(where, n * ih * iw * c, n * grid[0] * grid[1] * c, ih + sum(pads[0]), iw + sum(pads[1]))
    return PoolProblem((n, ih, iw, c), grid, window, steps, (pads[0][0], pads[1][0]))


def _prepare(
    where: str, x: Any, pool_size: Any, strides: Any, padding: Any, data_format: str
) -> tuple[Array, PoolProblem]:
    check_format(where, data_format)
    x = as_array(where, "x", x)
    check_ndim(where, "x", x, 4, "(n, h, w, c)" if data_format == "channels_last" else "(n, c, h, w)")
    return x, pool_problem(where, x.shape, pool_size, strides, padding, data_format)


def _prepare_grad(
    where: str, grad_output: Any, input_shape: Any, pool_size: Any, strides: Any, padding: Any, data_format: str
) -> tuple[Array, PoolProblem]:
    check_format(where, data_format)
    grad_output = as_array(where, "grad_output", grad_output)
    shape = as_shape4(where, "input_shape", input_shape)
    p = pool_problem(where, shape, pool_size, strides, padding, data_format)
    check_shape(where, "grad_output", grad_output, to_format(p.y_shape, data_format), "the pooling's output")
    return grad_output, p
