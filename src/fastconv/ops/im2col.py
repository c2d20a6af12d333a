"""The explicit patch matrix, its adjoint, and convolution as a matrix product over it.

The matrix is made for a slab of images, or of rows of one, at a time, so memory stays bounded; the product runs on the
same register tile as the direct kernels, where a row of patches is an image of one row, kh*kw columns and c channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from .. import _shapes
from .._core import _conv_im2col, _runtime
from .._core._conv_direct import ConvPlan
from .._core._conv_grad_kernel import GradKernelPlan
from .._typing import Array, ArrayLike, Padding, Size2D
from .._validation import (
    as_array,
    as_padding,
    as_pair,
    as_shape4,
    check_elements,
    check_ndim,
    check_shape,
    window_error,
)
from ._arrays import contiguous, result_empty
from ._dispatch import ConvProblem
from ._plans import plan_cache

SLAB_ELEMENTS = 1 << 21  # of patches at a time: 8 MB of float32, about what a core's share of L3 holds


def im2col(
    x: ArrayLike,
    kernel_size: Size2D,
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
) -> Array:
    """The matrix of all patches that a window meets: convolution becomes ``im2col(x) @ kernel.reshape(-1, filters)``.

    Args:
        x: images (n, h, w, c), float32 or float64.
        kernel_size: the window, an int or a pair (h, w).
        strides, padding, dilation_rate: as for :func:`fastconv.conv2d`.

    Returns:
        (n*oh*ow, kh*kw*c): one row an output pixel, in the order (n, oh, ow); columns in the order (kh, kw, c);
        zeros where the window lies on padding.

    Raises:
        TypeError, ValueError: as conv2d.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.im2col(np.arange(9, dtype="float32").reshape(1, 3, 3, 1), 2)[0]
        array([0., 1., 3., 4.], dtype=float32)

    References:
        K. Chellapilla, S. Puri, P. Simard: High performance convolutional neural networks for document processing,
        2006, section 2.
    """
    x = as_array("im2col", "x", x)
    check_ndim("im2col", "x", x, 4, "(n, h, w, c)")
    geometry = _geometry("im2col", x.shape, kernel_size, strides, padding, dilation_rate)
    cols = result_empty(_cols_shape(x.shape, geometry), x.dtype)
    _conv_im2col.im2col(contiguous(x), cols, itemsize=x.itemsize, n=x.shape[0], **geometry)
    return cols


def col2im(
    cols: ArrayLike,
    input_shape: tuple[int, int, int, int],
    kernel_size: Size2D,
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
) -> Array:
    """The adjoint of :func:`im2col`: adds every patch back into the image cells that it came from.

    Args:
        cols: (n*oh*ow, kh*kw*c), float32 or float64.
        input_shape: the images' shape (n, h, w, c).
        kernel_size, strides, padding, dilation_rate: as given to im2col.

    Returns:
        (n, h, w, c); a cell's value is the sum of all its entries in cols.

    Raises:
        TypeError, ValueError: as im2col; also cols of another shape than im2col gives.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.col2im(np.ones((4, 4), "float32"), (1, 3, 3, 1), 2)[0, :, :, 0]
        array([[1., 2., 1.],
               [2., 4., 2.],
               [1., 2., 1.]], dtype=float32)
    """
    cols = as_array("col2im", "cols", cols)
    shape = as_shape4("col2im", "input_shape", input_shape)
    geometry = _geometry("col2im", shape, kernel_size, strides, padding, dilation_rate)
    check_shape("col2im", "cols", cols, _cols_shape(shape, geometry), "(n*oh*ow, kh*kw*c)")
    images = result_empty(shape, cols.dtype)
    _conv_im2col.col2im(contiguous(cols), images, itemsize=cols.itemsize, n=shape[0], **geometry)
    return images


def _geometry(
    where: str, shape: tuple[int, ...], kernel_size: Any, strides: Any, padding: Any, dilation: Any
) -> dict[str, Any]:
    size = (shape[1], shape[2])
    window = as_pair(where, "kernel_size", kernel_size)
    steps = as_pair(where, "strides", strides)
    spread = as_pair(where, "dilation_rate", dilation)
    pads = _shapes.resolve_padding(as_padding(where, padding), size, window, steps, spread)
    grid = _shapes.output_hw(size, window, steps, spread, pads)
    if min(grid) < 1 or min(size) < 1:
        raise window_error(where, size, window, spread, pads)
    check_elements(where, shape[0] * grid[0] * grid[1] * window[0] * window[1] * shape[3])
    return {
        "image": shape[1:],
        "grid": grid,
        "window": window,
        "strides": steps,
        "dilation": spread,
        "origin": (pads[0][0], pads[1][0]),
    }


def _cols_shape(shape: tuple[int, ...], geometry: dict[str, Any]) -> tuple[int, int]:
    (oh, ow), (kh, kw) = geometry["grid"], geometry["window"]
    return shape[0] * oh * ow, kh * kw * shape[3]


# --- algorithm="im2col" -----------------------------------------------------------------------------------------------


def all_finite(array: Array) -> bool:
    """Whether an array has neither inf nor nan; one pass that writes nothing."""
    return _conv_im2col.finite(contiguous(array), itemsize=array.itemsize, count=array.size)


def _slabs(p: ConvProblem) -> Iterator[tuple[slice, slice, dict[str, Any]]]:
    """Images, the rows of patches of some of their pixels, and where those lie, a bounded slab at a time.

    Some images whole, or some rows of one, or some pixels of a row. Independent of the threads.
    """
    pixels = max(SLAB_ELEMENTS // (p.kh * p.kw * p.ic), 1)
    images = max(pixels // (p.oh * p.ow), 1)
    rows = min(max(pixels // p.ow, 1), p.oh)
    cols = min(pixels, p.ow)
    for img, row, col in product(range(0, p.n, images), range(0, p.oh, rows), range(0, p.ow, cols)):
        grid = min(rows, p.oh - row), min(cols, p.ow - col)
        count = min(images, p.n - img)
        first = (img * p.oh + row) * p.ow + col
        geometry = {
            "n": count,
            "image": (p.ih, p.iw, p.ic),
            "grid": grid,
            "window": (p.kh, p.kw),
            "strides": p.strides,
            "dilation": p.dilation,
            "origin": (p.pads[0][0] - row * p.strides[0], p.pads[1][0] - col * p.strides[1]),
        }
        yield slice(img, img + count), slice(first, first + count * grid[0] * grid[1]), geometry


@plan_cache
def _product_plan(p: ConvProblem, rows: int, itemsize: int, isa: str) -> ConvPlan:
    """patches (rows, taps, c) times kernel: a convolution of one-row images with a kernel as wide as they are."""
    taps, inputs, outputs = p.kh * p.kw, p.ic // p.groups, p.oc // p.groups
    return ConvPlan(
        isa=isa,
        itemsize=itemsize,
        image=(rows, 1, taps, p.ic),
        grid=(1, 1),
        steps=(1, 1),
        tap_rows=[0],
        tap_cols=range(taps),
        tap_weights=[tap * inputs * p.oc for tap in range(taps)],
        groups=p.groups,
        group_inputs=inputs,
        group_outputs=outputs,
        weight_strides=(p.oc, 1, outputs),
        out_strides=(0, p.oc, p.oc, p.oc),
    )


@plan_cache
def _patch_grad_plan(p: ConvProblem, tap: int, rows: int, itemsize: int, isa: str) -> ConvPlan:
    """grad_output (rows, filters) times one tap's kernel, transposed, into that tap's columns of the patches."""
    taps, inputs, outputs = p.kh * p.kw, p.ic // p.groups, p.oc // p.groups
    return ConvPlan(
        isa=isa,
        itemsize=itemsize,
        image=(rows, 1, 1, p.oc),
        grid=(1, 1),
        steps=(1, 1),
        tap_rows=[0],
        tap_cols=[0],
        tap_weights=[tap * inputs * p.oc],
        groups=p.groups,
        group_inputs=outputs,
        group_outputs=inputs,
        weight_strides=(1, p.oc, outputs),
        out_strides=(tap * p.ic, taps * p.ic, taps * p.ic, taps * p.ic),
    )


@plan_cache
def _kernel_grad_plan(p: ConvProblem, rows: int, itemsize: int, isa: str) -> GradKernelPlan:
    """patches (rows, taps, c), transposed, times grad_output (rows, filters)."""
    return GradKernelPlan(
        isa=isa,
        itemsize=itemsize,
        image=(rows, 1, p.kh * p.kw, p.ic),
        grid=(1, 1),
        steps=(1, 1),
        tap_rows=[0],
        tap_cols=range(p.kh * p.kw),
        groups=p.groups,
        group_inputs=p.ic // p.groups,
        group_outputs=p.oc // p.groups,
    )


def forward(p: ConvProblem, x: Array, kernel: Array, bias: Array | None, y: Array, activation: int | None) -> None:
    """conv2d by im2col; arguments as the direct kernel's."""
    pixels = y.reshape(-1, p.oc)
    for images, rows, geometry in _slabs(p):
        cols = _patches(x[images], geometry)
        plan = _product_plan(p, len(cols), x.itemsize, _runtime.get_isa())
        plan(cols, kernel, bias, pixels[rows], activation or 0)


def grad_input(p: ConvProblem, grad_output: Array, kernel: Array, gx: Array) -> None:
    """conv2d_grad_input by patches' gradients and col2im."""
    pixels = grad_output.reshape(-1, p.oc)
    for images, rows, geometry in _slabs(p):
        grad = pixels[rows]
        cols = np.empty((len(grad), p.kh * p.kw * p.ic), kernel.dtype)
        for tap in range(p.kh * p.kw):
            _patch_grad_plan(p, tap, len(grad), kernel.itemsize, _runtime.get_isa())(grad, kernel, None, cols, 0)
        part = gx[images]
        begun = rows.start % (p.oh * p.ow) > 0
        _conv_im2col.col2im(cols, part, itemsize=cols.itemsize, accumulate=begun, **geometry)


def grad_kernel(p: ConvProblem, x: Array, grad_output: Array, gk: Array) -> None:
    """conv2d_grad_kernel as patches, transposed, times grad_output; slabs are added in order."""
    pixels = grad_output.reshape(-1, p.oc)
    gk[...] = 0
    part = np.empty_like(gk)
    for images, rows, geometry in _slabs(p):
        cols = _patches(x[images], geometry)
        _kernel_grad_plan(p, len(cols), x.itemsize, _runtime.get_isa())(cols, pixels[rows], part)
        with np.errstate(invalid="ignore"):  # inf - inf is nan, as in any other order of this sum
            gk += part


def _patches(x: Array, geometry: dict[str, Any]) -> Array:
    cols = result_empty(_cols_shape(x.shape, geometry), x.dtype)
    _conv_im2col.im2col(x, cols, itemsize=x.itemsize, **geometry)
    return cols
