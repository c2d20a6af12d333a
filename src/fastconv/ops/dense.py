"""Dense (fully connected) products and their gradients: 1x1 convolutions on the same kernels and the same threads."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .._core import _elementwise, _runtime
from .._core._conv_direct import ConvPlan
from .._core._conv_grad_kernel import GradKernelPlan
from .._typing import Array, ArrayLike
from .._validation import as_array, as_arrays, check_apart, check_ndim, check_shape, dense_error
from ._arrays import Result, contiguous
from ._plans import plan_cache
from .activations import apply_activation, kernel_activation

# Where the kernel's transposition costs more than the transposition of the result: few rows, a large kernel. With 50
# rows of 3136 -> 1000 the gradient takes 1.3 ms instead of 2.6 (one thread, AVX-512).
SWAPPED_ROWS, SWAPPED_SIZE = 256, 1 << 16


def dense(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    activation: Any = None,
    out: Array | None = None,
) -> Array:
    """``act(x @ kernel + bias)``.

    Args:
        x: (..., inputs), float32 or float64.
        kernel: (inputs, units).
        bias: (units,). Default: none.
        activation: as for :func:`fastconv.conv2d`; relu is fused.
        out: array (..., units) for the result.

    Returns:
        (..., units).

    Raises:
        TypeError, ValueError: types or shapes that do not go together.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.dense(np.array([[1.0, 2.0]]), np.array([[1.0], [1.0]]), np.array([0.5]))
        array([[3.5]])
    """
    if bias is None:
        x, kernel = as_arrays("dense", x=x, kernel=kernel)
    else:
        x, kernel, bias = as_arrays("dense", x=x, kernel=kernel, bias=bias)
    check_ndim("dense", "kernel", kernel, 2, "(inputs, units)")
    if x.ndim < 1 or x.shape[-1] != kernel.shape[0]:
        raise dense_error("dense", x.shape, kernel.shape)
    inputs, units = kernel.shape
    if bias is not None:
        check_shape("dense", "bias", bias, (units,), "(units,)")
        bias = contiguous(bias)
    fused = kernel_activation("dense", activation)
    y = Result("dense", (*x.shape[:-1], units), x.dtype, out, inputs=(x, kernel, bias), apart=fused is None)
    plan = product_plan(prod(x.shape[:-1]), inputs, units, False, x.itemsize, _runtime.get_isa())
    plan(contiguous(x), contiguous(kernel), bias, y.array, fused or 0)
    if fused is None:
        y.array[...] = apply_activation("dense", activation, y.array)
    return y.finish()


def dense_grad_input(grad_output: ArrayLike, kernel: ArrayLike, *, out: Array | None = None) -> Array:
    """Gradient of :func:`dense` with respect to x: ``grad_output @ kernel.T``, (..., inputs)."""
    where = "dense_grad_input"
    grad_output, kernel = as_arrays(where, grad_output=grad_output, kernel=kernel)
    check_ndim(where, "kernel", kernel, 2, "(inputs, units)")
    inputs, units = kernel.shape
    if grad_output.ndim < 1 or grad_output.shape[-1] != units:
        raise dense_error(where, grad_output.shape, kernel.shape)
    shape = (*grad_output.shape[:-1], inputs)
    gx = Result(where, shape, kernel.dtype, out, inputs=(grad_output, kernel))
    rows, isa = prod(shape[:-1]), _runtime.get_isa()
    if _runtime.vector_lanes(kernel.itemsize, isa) // 2 <= rows <= SWAPPED_ROWS and kernel.size >= SWAPPED_SIZE:
        # kernel @ grad_output.T packs the small grad_output instead of the large kernel.
        swapped = np.empty((inputs, rows), kernel.dtype)
        plan = product_plan(inputs, units, rows, True, kernel.itemsize, isa)
        plan(contiguous(kernel), contiguous(grad_output), None, swapped, 0)
        gx.array.reshape(rows, inputs)[...] = swapped.T
    else:
        plan = product_plan(rows, units, inputs, True, kernel.itemsize, isa)
        plan(contiguous(grad_output), contiguous(kernel), None, gx.array, 0)
    return gx.finish()


def dense_grad_kernel(x: ArrayLike, grad_output: ArrayLike, *, out: Array | None = None) -> Array:
    """Gradient of :func:`dense` with respect to the kernel: ``x.T @ grad_output`` over all rows, (inputs, units)."""
    where = "dense_grad_kernel"
    x, grad_output = as_arrays(where, x=x, grad_output=grad_output)
    if x.ndim < 1 or x.shape[:-1] != grad_output.shape[:-1]:
        raise dense_error(where, x.shape, grad_output.shape)
    inputs, units = x.shape[-1], grad_output.shape[-1]
    gk = Result(where, (inputs, units), x.dtype, out, inputs=(x, grad_output))
    plan = _kernel_grad_plan(prod(x.shape[:-1]), inputs, units, x.itemsize, _runtime.get_isa())
    plan(contiguous(x), contiguous(grad_output), gk.array)
    return gk.finish()


def bias_grad(grad_output: ArrayLike, *, out: Array | None = None) -> Array:
    """Gradient of a bias: the sum of grad_output (..., channels) over all axes but the last, in a fixed order."""
    grad_output = as_array("bias_grad", "grad_output", grad_output)
    if grad_output.ndim < 1:
        raise dense_error("bias_grad", grad_output.shape, ())
    channels = grad_output.shape[-1]
    gb = Result("bias_grad", (channels,), grad_output.dtype, out, inputs=(grad_output,))
    rows = prod(grad_output.shape[:-1])
    _elementwise.sum_rows(contiguous(grad_output), gb.array, rows, channels, grad_output.itemsize)
    return gb.finish()


def relu_bias_grad(
    grad_output: ArrayLike, y: ArrayLike, *, out: Array | None = None, bias_out: Array | None = None
) -> tuple[Array, Array]:
    """``relu_grad(grad_output, y)`` and the ``bias_grad`` of that, in one pass over memory.

    Args:
        grad_output, y: gradient of relu's output, and that output, (..., channels).
        out: array for relu's gradient; may be grad_output itself.
        bias_out: array (channels,) for the bias's gradient.

    Returns:
        (gradient like y, gradient (channels,)).
    """
    where = "relu_bias_grad"
    in_place = out is not None and out is grad_output
    grad_output, y = as_arrays(where, grad_output=grad_output, y=y)
    if y.ndim < 1 or grad_output.shape != y.shape:
        raise dense_error(where, grad_output.shape, y.shape)
    gx = Result(where, y.shape, y.dtype, out, inputs=(y,) if in_place else (grad_output, y))
    gb = Result(where, y.shape[-1:], y.dtype, bias_out, inputs=(grad_output, y), name="bias_out")
    check_apart(where, "bias_out", bias_out, "out", out)
    rows = prod(y.shape[:-1])
    _elementwise.sum_rows(contiguous(grad_output), gb.array, rows, y.shape[-1], y.itemsize, contiguous(y), gx.array)
    return gx.finish(), gb.finish()


@plan_cache
def product_plan(rows: int, inputs: int, units: int, transposed: bool, itemsize: int, isa: str) -> ConvPlan:
    """A 1x1 convolution of `rows` one-pixel images; transposed: the kernel is stored (units, inputs)."""
    return ConvPlan(
        isa=isa,
        itemsize=itemsize,
        image=(rows, 1, 1, inputs),
        grid=(1, 1),
        steps=(1, 1),
        tap_rows=[0],
        tap_cols=[0],
        tap_weights=[0],
        groups=1,
        group_inputs=inputs,
        group_outputs=units,
        weight_strides=(1, inputs, 0) if transposed else (units, 1, 0),
        out_strides=(0, units, units, units),
    )


@plan_cache
def _kernel_grad_plan(rows: int, inputs: int, units: int, itemsize: int, isa: str) -> GradKernelPlan:
    return GradKernelPlan(
        isa=isa,
        itemsize=itemsize,
        image=(rows, 1, 1, inputs),
        grid=(1, 1),
        steps=(1, 1),
        tap_rows=[0],
        tap_cols=[0],
        groups=1,
        group_inputs=inputs,
        group_outputs=units,
    )
