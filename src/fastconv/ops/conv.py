"""Two-dimensional convolution (cross-correlation, as in Keras) and its gradients, over NHWC images."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from .. import _shapes
from .._core import _runtime
from .._core._conv_direct import ConvPlan
from .._core._conv_grad_kernel import GradKernelPlan, pixel_cost
from .._typing import Array, ArrayLike, DataFormat, Padding, Size2D
from .._validation import algorithm_error, as_arrays, as_index, as_pair, as_shape4, check_ndim, check_shape
from . import _conv_winograd, _dispatch, im2col
from ._arrays import Result, as_nhwc, check_format, contiguous
from ._conv_depthwise import (
    depthwise_grad_input_plan,
    depthwise_grad_kernel_plan,
    depthwise_plan,
    fits_lanes,
)
from ._dispatch import ConvProblem, conv_problem, to_format, to_nhwc
from ._plans import plan_cache
from .activations import LINEAR, RELU, apply_activation, kernel_activation


def conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
    groups: int = 1,
    activation: Any = None,
    data_format: DataFormat = "channels_last",
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Two-dimensional convolution of a batch of images with a bank of filters.

    Like every deep-learning framework this slides the kernel without flipping it (cross-correlation).

    Args:
        x: images (n, h, w, c), or (n, c, h, w) with ``data_format="channels_first"``; float32 or float64.
        kernel: filters (kh, kw, c // groups, filters), in both data formats.
        bias: (filters,), added to every pixel. Default: none.
        strides: step of the window, an int or a pair (h, w).
        padding: ``"valid"`` (none), ``"same"`` (TensorFlow's rule: output ``ceil(size / stride)``, an odd total puts
            the extra row or column at the bottom or right), an int, a pair (ph, pw), or
            ((top, bottom), (left, right)).
        dilation_rate: distance of the kernel's taps, an int or a pair (h, w).
        groups: channels and filters are cut into this many groups; each filter sees its own group's channels.
        activation: None, ``"relu"`` (fused into the same pass), ``"sigmoid"``, ``"tanh"``, ``"softmax"``, or a function
            of the result.
        data_format: ``"channels_last"`` or ``"channels_first"``.
        algorithm: ``"auto"``, ``"direct"``, ``"im2col"`` or, for 3x3 kernels with strides and dilation_rate of 1,
            ``"winograd"``, which "auto" never takes; see the notes below and :func:`explain_conv2d`.
        out: array for the result, of its shape and type, that overlaps no input.

    Returns:
        y of shape (n, oh, ow, filters), ``oh = (h + top + bottom - (kh - 1)*dilation - 1) // stride + 1``, with
        ``y[n,i,j,f] = act(bias[f] + sum x[n, i*sh + a*dh - top, j*sw + b*dw - left, c] * kernel[a,b,c,f])`` over
        a, b and c. The result's type is float64 if one input is, else float32.

    Winograd's algorithm multiplies 2.25 to 4 times less often, on transformed tiles of the image. On 3x3 layers of 64
    and more channels it took a half of the direct kernels' time in the mean (benchmarks/winograd.py). The price:

    - more rounding: errors were up to 1.3 times the direct kernels' with tiles of 2x2 output pixels, up to 5 times with
      those of 4x4. The latter are taken where they save a fifth of the multiplications or more.
    - a NaN or an Inf in x spreads to all pixels whose tile reads it, up to 3 cells further than its windows reach, and
      an Inf becomes a NaN there. So may values near the type's largest, which the transforms add up. In the kernel
      they spread to all pixels of their filter.

    Raises:
        TypeError: an input is not float32 or float64.
        ValueError: shapes or options that do not go together, a window that does not fit, a bad ``out``, an algorithm
            that cannot run the problem.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> x = np.ones((1, 4, 4, 1), "float32")
        >>> fc.conv2d(x, np.ones((3, 3, 1, 2), "float32"), padding="same")[0, :, :, 0]
        array([[4., 6., 6., 4.],
               [6., 9., 9., 6.],
               [6., 9., 9., 6.],
               [4., 6., 6., 4.]], dtype=float32)

    References:
        V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, arXiv:1603.07285, section 2.
        A. Lavin, S. Gray: Fast algorithms for convolutional neural networks, arXiv:1509.09308 (Winograd).
    """
    check_format("conv2d", data_format)
    if bias is None:
        x, kernel = as_arrays("conv2d", x=x, kernel=kernel)
    else:
        x, kernel, bias = as_arrays("conv2d", x=x, kernel=kernel, bias=bias)
    problem = _problem("conv2d", x, kernel, strides, padding, dilation_rate, groups, data_format)
    if bias is not None:
        check_shape("conv2d", "bias", bias, (problem.oc,), "one value a filter: (kernel.shape[3],)")
        bias = contiguous(bias)
    fused = kernel_activation("conv2d", activation)
    run = _RUN_FORWARD[_algorithm("conv2d", algorithm, problem, kernel)]
    y = Result("conv2d", problem.y_shape, x.dtype, out, data_format, (x, kernel, bias), apart=fused is None)
    run(problem, as_nhwc(x, data_format), contiguous(kernel), bias, y.array, fused)
    if fused is None:
        y.array[...] = apply_activation("conv2d", activation, y.array)
    return y.finish()


def conv2d_grad_input(
    grad_output: ArrayLike,
    kernel: ArrayLike,
    input_shape: tuple[int, int, int, int],
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
    groups: int = 1,
    data_format: DataFormat = "channels_last",
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`conv2d` with respect to its input; also known as transposed convolution.

    Args:
        grad_output: gradient of conv2d's output, (n, oh, ow, filters) or (n, filters, oh, ow).
        kernel: the filters (kh, kw, c // groups, filters).
        input_shape: shape of conv2d's input x, (n, h, w, c) or (n, c, h, w).
        strides, padding, dilation_rate, groups, data_format, algorithm: as given to conv2d.
        out: array for the result.

    Returns:
        An array like x: ``gx[n,i,j,c] = sum grad_output[n,p,q,f] * kernel[a,b,c,f]`` over all p, q, a, b, f with
        ``p*sh + a*dh - top == i`` and ``q*sw + b*dw - left == j``: the adjoint of conv2d in x.

    Raises:
        TypeError, ValueError: as conv2d; also a grad_output whose shape is not that of conv2d's output.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> g = np.ones((1, 2, 2, 1), "float32")
        >>> fc.conv2d_grad_input(g, np.ones((2, 2, 1, 1), "float32"), (1, 3, 3, 1))[0, :, :, 0]
        array([[1., 2., 1.],
               [2., 4., 2.],
               [1., 2., 1.]], dtype=float32)

    References:
        V. Dumoulin, F. Visin, arXiv:1603.07285, section 4.
    """
    where = "conv2d_grad_input"
    check_format(where, data_format)
    grad_output, kernel = as_arrays(where, grad_output=grad_output, kernel=kernel)
    shape = as_shape4(where, "input_shape", input_shape)
    check_ndim(where, "kernel", kernel, 4, "(kh, kw, in_channels // groups, filters)")
    problem = conv_problem(where, shape, kernel.shape, strides, padding, dilation_rate, groups, data_format)
    expected = to_format(problem.y_shape, data_format)
    check_shape(where, "grad_output", grad_output, expected, "conv2d's output for this input_shape")
    run = _RUN_GRAD_INPUT[_dispatch.resolve_algorithm(where, algorithm, problem)]
    gx = Result(where, problem.x_shape, kernel.dtype, out, data_format, (grad_output, kernel))
    run(problem, as_nhwc(grad_output, data_format), contiguous(kernel), gx.array)
    return gx.finish()


def conv2d_grad_kernel(
    x: ArrayLike,
    grad_output: ArrayLike,
    kernel_size: Size2D,
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
    groups: int = 1,
    data_format: DataFormat = "channels_last",
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`conv2d` with respect to its kernel.

    Args:
        x: conv2d's input, (n, h, w, c) or (n, c, h, w).
        grad_output: gradient of conv2d's output, (n, oh, ow, filters) or (n, filters, oh, ow).
        kernel_size: the kernel's height and width, an int or a pair.
        strides, padding, dilation_rate, groups, data_format: as given to conv2d.
        algorithm: ``"auto"``, ``"direct"`` or ``"im2col"``.
        out: array for the result.

    Returns:
        (kh, kw, c // groups, filters):
        ``gk[a,b,c,f] = sum x[n, p*sh + a*dh - top, q*sw + b*dw - left, c] * grad_output[n,p,q,f]`` over n, p and q.
        The sum over the batch is cut into a fixed number of parts: the bits do not depend on the threads.

    Raises:
        TypeError, ValueError: as conv2d; also a grad_output whose shape is not that of conv2d's output.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> x = np.arange(9, dtype="float32").reshape(1, 3, 3, 1)
        >>> fc.conv2d_grad_kernel(x, np.ones((1, 2, 2, 1), "float32"), 2)[:, :, 0, 0]
        array([[ 8., 12.],
               [20., 24.]], dtype=float32)
    """
    where = "conv2d_grad_kernel"
    check_format(where, data_format)
    x, grad_output = as_arrays(where, x=x, grad_output=grad_output)
    check_ndim(where, "x", x, 4, _layout(data_format))
    check_ndim(where, "grad_output", grad_output, 4, _layout(data_format))
    kh, kw = as_pair(where, "kernel_size", kernel_size)
    channels = to_nhwc(x.shape, data_format)[3]
    filters = to_nhwc(grad_output.shape, data_format)[3]
    kernel_shape = (kh, kw, channels // max(as_index(where, "groups", groups), 1), filters)
    problem = conv_problem(where, x.shape, kernel_shape, strides, padding, dilation_rate, groups, data_format)
    expected = to_format(problem.y_shape, data_format)
    check_shape(where, "grad_output", grad_output, expected, "conv2d's output for this x and kernel_size")
    if algorithm == "winograd":
        raise algorithm_error(where, algorithm, _dispatch.NO_GRAD_KERNEL)
    run = _RUN_GRAD_KERNEL[_algorithm(where, algorithm, problem, grad_output)]
    gk = Result(where, problem.kernel_shape, x.dtype, out, inputs=(x, grad_output))
    run(problem, as_nhwc(x, data_format), as_nhwc(grad_output, data_format), gk.array)
    return gk.finish()


def explain_conv2d(
    x_shape: tuple[int, int, int, int],
    kernel_shape: tuple[int, int, int, int],
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
    groups: int = 1,
    activation: Any = None,
    data_format: DataFormat = "channels_last",
    algorithm: str = "auto",
) -> str:
    """Which algorithm :func:`conv2d` takes for these shapes and options, and why, as text.

    Args:
        x_shape, kernel_shape: shapes as conv2d's arrays would have.
        strides, padding, dilation_rate, groups, activation, data_format, algorithm: as for conv2d.

    Returns:
        A few lines: the problem, its multiply-adds, the algorithm with the reason, instruction set and threads.

    Raises:
        ValueError: a problem that conv2d would refuse.

    Example:
        >>> import fastconv as fc
        >>> print(fc.explain_conv2d((128, 28, 28, 1), (5, 5, 1, 6), padding="same").splitlines()[0])
        x (128, 28, 28, 1) * kernel (5, 5, 1, 6) -> y (128, 28, 28, 6)
    """
    where = "explain_conv2d"
    check_format(where, data_format)
    kernel_activation(where, activation)
    shapes = as_shape4(where, "x_shape", x_shape), as_shape4(where, "kernel_shape", kernel_shape)
    problem = conv_problem(where, *shapes, strides, padding, dilation_rate, groups, data_format)
    chosen = _dispatch.resolve_algorithm(where, algorithm, problem)
    reason = _dispatch.choose_algorithm(problem)[1] if algorithm == "auto" else "asked for"
    if chosen == "winograd":
        m = _dispatch.winograd_m(problem.oh, problem.ow)
        reason += f"; F({m}x{m}, 3x3), {_dispatch.winograd_products(problem, m):,} multiply-adds of transformed tiles"
    serial = problem.multiply_adds < _runtime.SERIAL_WORK_LIMIT
    threads = 1 if serial else _runtime.get_num_threads()
    return "\n".join(
        (
            f"x {problem.x_shape} * kernel {problem.kernel_shape} -> y {problem.y_shape}",
            f"strides {problem.strides}, pads {problem.pads}, dilation {problem.dilation}, groups {problem.groups}",
            f"{problem.multiply_adds:,} multiply-adds",
            f"algorithm: {chosen}: {reason}",
            f"instruction set: {_runtime.get_isa()}; threads: {threads}"
            + (" (too little work for a second one)" if serial else ""),
        )
    )


def _algorithm(where: str, algorithm: str, problem: ConvProblem, factor: Array) -> str:
    """The algorithm to run. Patches hold zeros for padding, and 0 * inf is nan: where the other factor is not finite
    the direct kernels, which can leave padding out, take over.
    """
    name = _dispatch.resolve_algorithm(where, algorithm, problem)
    padded = problem.pads != ((0, 0), (0, 0))
    return "direct" if name == "im2col" and padded and not im2col.all_finite(factor) else name


def _layout(data_format: str) -> str:
    return "(n, h, w, c)" if data_format == "channels_last" else "(n, c, h, w)"


def _problem(where: str, x: Array, kernel: Array, *options: Any) -> ConvProblem:
    check_ndim(where, "x", x, 4, _layout(options[-1]))
    check_ndim(where, "kernel", kernel, 4, "(kh, kw, in_channels // groups, filters)")
    return conv_problem(where, x.shape, kernel.shape, *options)


# --- direct -----------------------------------------------------------------------------------------------------------


@plan_cache
def forward_plan(p: ConvProblem, itemsize: int, isa: str) -> ConvPlan:
    inputs = p.ic // p.groups
    (top, _), (left, _) = p.pads
    return ConvPlan(
        isa=isa,
        itemsize=itemsize,
        image=p.x_shape,
        grid=(p.oh, p.ow),
        steps=p.strides,
        tap_rows=[a * p.dilation[0] - top for a in range(p.kh)],
        tap_cols=[b * p.dilation[1] - left for b in range(p.kw)],
        tap_weights=[tap * inputs * p.oc for tap in range(p.kh * p.kw)],
        groups=p.groups,
        group_inputs=inputs,
        group_outputs=p.oc // p.groups,
        weight_strides=(p.oc, 1, p.oc // p.groups),
        out_strides=(0, p.oh * p.ow * p.oc, p.ow * p.oc, p.oc),
    )


@plan_cache
def _grad_input_plans(p: ConvProblem, itemsize: int, isa: str) -> list[ConvPlan]:
    """One dense sweep over grad_output for each of the stride*stride phases of the input's pixels.

    Input row i receives tap a from output row (i + top - a*dilation) / stride, where that divides: so the rows
    i = phase, phase + stride, ... all take the same taps, at offsets that grow by one from row to row. Phases that no
    tap reaches have no sweep; the gradient is 0 there.
    """
    inputs = p.ic // p.groups
    plans = []
    row_phases = _phases(p.ih, p.pads[0][0], p.kh, p.strides[0], p.dilation[0])
    col_phases = _phases(p.iw, p.pads[1][0], p.kw, p.strides[1], p.dilation[1])
    for (i, rows), (j, cols) in product(row_phases, col_phases):
        plans.append(
            ConvPlan(
                isa=isa,
                itemsize=itemsize,
                image=p.y_shape,
                grid=(-(-(p.ih - i) // p.strides[0]), -(-(p.iw - j) // p.strides[1])),
                steps=(1, 1),
                tap_rows=[offset for offset, _ in rows],
                tap_cols=[offset for offset, _ in cols],
                tap_weights=[(a * p.kw + b) * inputs * p.oc for _, a in rows for _, b in cols],
                groups=p.groups,
                group_inputs=p.oc // p.groups,
                group_outputs=inputs,
                weight_strides=(1, p.oc, p.oc // p.groups),
                out_strides=(
                    (i * p.iw + j) * p.ic,
                    p.ih * p.iw * p.ic,
                    p.strides[0] * p.iw * p.ic,
                    p.strides[1] * p.ic,
                ),
            )
        )
    return plans


def _phases(size: int, pad: int, taps: int, stride: int, dilation: int) -> list[tuple[int, list[tuple[int, int]]]]:
    """(phase, its taps) of an axis, for the phases that have taps."""
    found = [(phase, _shapes.phase_taps(phase + pad, taps, stride, dilation)) for phase in range(min(stride, size))]
    return [(phase, reached) for phase, reached in found if reached]


@plan_cache
def _grad_kernel_plan(p: ConvProblem, fold: int, itemsize: int, isa: str) -> GradKernelPlan:
    (top, _), (left, _) = p.pads
    return GradKernelPlan(
        isa=isa,
        itemsize=itemsize,
        image=p.x_shape,
        grid=(p.oh, p.ow // fold),
        steps=(p.strides[0], p.strides[1] * fold),
        tap_rows=[a * p.dilation[0] - top for a in range(p.kh)],
        tap_cols=[b * p.dilation[1] - left for b in range(p.kw + (fold - 1) * p.strides[1])],
        groups=p.groups,
        group_inputs=p.ic // p.groups,
        group_outputs=p.oc // p.groups * fold,
    )


@lru_cache(maxsize=512)
def _grad_kernel_fold(p: ConvProblem, itemsize: int, isa: str) -> int:
    """How many neighbouring pixels of a row to take as one with as many times the filters, where filters are few.

    The kernel of such a pixel is as wide as all their windows together. The cycles for a row of pixels are reckoned; a
    fold must win clearly, for its result is larger and is added up afterwards.
    """
    if p.groups > 1 or p.dilation[1] > 1:
        return 1

    def cost(fold: int) -> float:
        row = (p.kw + (fold - 1) * p.strides[1]) * p.ic
        return pixel_cost(isa=isa, itemsize=itemsize, rows=p.kh, row=row, channels=fold * p.oc) / fold

    lanes = _runtime.vector_lanes(itemsize, isa)
    folds = [fold for fold in range(2, min(p.ow, lanes) + 1) if p.ow % fold == 0 and fold * p.oc <= 2 * lanes]
    best = min(folds, key=cost, default=1)
    return best if cost(best) < 0.8 * cost(1) else 1


def _forward_direct(
    p: ConvProblem, x: Array, kernel: Array, bias: Array | None, y: Array, activation: int | None
) -> None:
    isa = _runtime.get_isa()
    plan: Any = depthwise_plan if fits_lanes(p, x.itemsize, isa) else forward_plan
    plan(p, x.itemsize, isa)(x, kernel, bias, y, activation or LINEAR)


def run_grad_input_plans(
    p: ConvProblem, grad_output: Array, kernel: Array, bias: Array | None, gx: Array, activation: int
) -> None:
    """grad_input by the direct kernels; conv2d_transpose is the same with a bias and an activation."""
    isa = _runtime.get_isa()
    if fits_lanes(p, kernel.itemsize, isa):
        depthwise_grad_input_plan(p, kernel.itemsize, isa)(grad_output, kernel, bias, gx, activation)
        return
    plans = _grad_input_plans(p, kernel.itemsize, isa)
    if len(plans) < min(p.strides[0], p.ih) * min(p.strides[1], p.iw):
        # Cells that no tap reaches.
        untouched = np.zeros(p.ic, gx.dtype) if bias is None else bias
        gx[...] = np.where(untouched < 0, 0, untouched) if activation == RELU else untouched
    for plan in plans:
        plan(grad_output, kernel, bias, gx, activation)


def _grad_input_direct(p: ConvProblem, grad_output: Array, kernel: Array, gx: Array) -> None:
    run_grad_input_plans(p, grad_output, kernel, None, gx, LINEAR)


def _grad_kernel_direct(p: ConvProblem, x: Array, grad_output: Array, gk: Array) -> None:
    isa = _runtime.get_isa()
    if fits_lanes(p, x.itemsize, isa, grad_kernel=True):
        depthwise_grad_kernel_plan(p, x.itemsize, isa)(x, grad_output, gk)
    else:
        run_grad_kernel_plan(p, gk, lambda plan, out: plan(x, grad_output, out))


def run_grad_kernel_plan(p: ConvProblem, gk: Array, run: Callable[[GradKernelPlan, Array], None]) -> None:
    """grad_kernel by the direct kernels: ``run`` executes a plan into an array."""
    isa = _runtime.get_isa()
    fold = _grad_kernel_fold(p, gk.itemsize, isa)
    plan = _grad_kernel_plan(p, fold, gk.itemsize, isa)
    if fold == 1:
        run(plan, gk)
        return
    wide = np.empty((p.kh, p.kw + (fold - 1) * p.strides[1], p.ic, fold, p.oc), gk.dtype)
    run(plan, wide)
    plan.add_pixels(wide, gk, rows=p.kh, cols=p.kw, fold=fold, stride=p.strides[1])


_RUN_FORWARD = {"direct": _forward_direct, "im2col": im2col.forward, "winograd": _conv_winograd.forward}
_RUN_GRAD_INPUT = {"direct": _grad_input_direct, "im2col": im2col.grad_input, "winograd": _conv_winograd.grad_input}
_RUN_GRAD_KERNEL = {"direct": _grad_kernel_direct, "im2col": im2col.grad_kernel}
