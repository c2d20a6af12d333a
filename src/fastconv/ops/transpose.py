"""Transposed convolution: the adjoint of conv2d as an operation of its own, and its gradients.

Nothing new is computed here. Forward runs the plans of conv2d_grad_input, with a bias and an activation; the gradient
in the input is conv2d, that in the kernel conv2d_grad_kernel with images and gradients exchanged.
"""

from __future__ import annotations

from typing import Any

from .. import _shapes
from .._typing import Array, ArrayLike, DataFormat, Padding, Size2D
from .._validation import (
    as_arrays,
    as_padding,
    as_pair,
    as_shape4,
    check_ndim,
    check_output_padding,
    check_shape,
    transpose_channels_error,
    transpose_size_error,
)
from ._arrays import Result, as_nhwc, check_format, contiguous
from ._dispatch import ConvProblem, conv_problem, to_format, to_nhwc
from .activations import apply_activation, kernel_activation
from .conv import _forward_direct as forward_direct
from .conv import _grad_kernel_direct as grad_kernel_direct
from .conv import run_grad_input_plans

_KERNEL = "(kh, kw, filters, in_channels)"


def conv2d_transpose(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    output_padding: Size2D | None = None,
    dilation_rate: Size2D = 1,
    data_format: DataFormat = "channels_last",
    activation: Any = None,
    out: Array | None = None,
) -> Array:
    """Transposed convolution: every input cell paints the kernel, weighted, onto the output. It enlarges images.

    It is the adjoint of :func:`conv2d`, and so undoes its change of shape (not of values); some call it deconvolution.

    Args:
        x: images (n, h, w, c), or (n, c, h, w) with ``data_format="channels_first"``; float32 or float64.
        kernel: (kh, kw, filters, c), in both data formats: channels and filters exchanged, as in Keras.
        bias: (filters,), added to every pixel. Default: none.
        strides: distance at which neighbouring input cells paint, an int or a pair (h, w).
        padding: ``"valid"``, ``"same"``, or explicit pads as for conv2d, which here are taken off the output.
        output_padding: rows and columns more at the bottom and at the right, an int or a pair, less than strides.
            Default: as many as ``padding`` needs for the sizes below.
        dilation_rate: distance of the kernel's taps, an int or a pair (h, w).
        data_format: ``"channels_last"`` or ``"channels_first"``.
        activation: as for conv2d.
        out: array for the result, of its shape and type, that overlaps no input.

    Returns:
        y of shape (n, oh, ow, filters): with ``eff = (kh - 1)*dilation + 1`` and output_padding ``op``, ``"valid"``:
        ``oh = (h - 1)*stride + eff + op``, by default ``(h - 1)*stride + max(eff, stride)``; ``"same"``:
        ``oh = h*stride``, or ``(h - 1)*stride + eff % 2 + op`` if op is given; explicit pads:
        ``oh = (h - 1)*stride + eff - top - bottom + op``. The values:
        ``y[n,i,j,f] = act(bias[f] + sum x[n,p,q,c] * kernel[a,b,f,c])`` over all p, q, a, b, c with
        ``p*sh + a*dh - top == i`` and ``q*sw + b*dw - left == j``.

    Raises:
        TypeError: an input is not float32 or float64.
        ValueError: shapes or options that do not go together, an empty output, a bad ``out``.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
        >>> fc.conv2d_transpose(x, np.ones((2, 2, 1, 1)), strides=2)[0, :, :, 0]
        array([[1., 1., 2., 2.],
               [1., 1., 2., 2.],
               [3., 3., 4., 4.],
               [3., 3., 4., 4.]])

    References:
        V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, arXiv:1603.07285, section 4.
    """
    where = "conv2d_transpose"
    check_format(where, data_format)
    if bias is None:
        x, kernel = as_arrays(where, x=x, kernel=kernel)
    else:
        x, kernel, bias = as_arrays(where, x=x, kernel=kernel, bias=bias)
    check_ndim(where, "x", x, 4, _layout(data_format))
    check_ndim(where, "kernel", kernel, 4, _KERNEL)
    p = _problem(where, x.shape, kernel.shape, strides, padding, output_padding, dilation_rate, data_format)
    if bias is not None:
        check_shape(where, "bias", bias, (p.ic,), "one value a filter: (kernel.shape[2],)")
        bias = contiguous(bias)
    fused = kernel_activation(where, activation)
    y = Result(where, p.x_shape, x.dtype, out, data_format, (x, kernel, bias), apart=fused is None)
    x, kernel = as_nhwc(x, data_format), contiguous(kernel)
    run_grad_input_plans(p, x, kernel, bias, y.array, fused or 0)
    if fused is None:
        y.array[...] = apply_activation(where, activation, y.array)
    return y.finish()


def conv2d_transpose_grad_input(
    grad_output: ArrayLike,
    kernel: ArrayLike,
    input_shape: tuple[int, int, int, int],
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    output_padding: Size2D | None = None,
    dilation_rate: Size2D = 1,
    data_format: DataFormat = "channels_last",
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`conv2d_transpose` with respect to its input: a plain convolution.

    Args:
        grad_output: gradient of conv2d_transpose's output, (n, oh, ow, filters) or (n, filters, oh, ow).
        kernel: (kh, kw, filters, c).
        input_shape: shape of conv2d_transpose's input x.
        strides, padding, output_padding, dilation_rate, data_format: as given to conv2d_transpose.
        out: array for the result.

    Returns:
        An array like x: ``gx[n,p,q,c] = sum grad_output[n, p*sh + a*dh - top, q*sw + b*dw - left, f] *
        kernel[a,b,f,c]`` over a, b and f.

    Raises:
        TypeError, ValueError: as conv2d_transpose; also a grad_output whose shape is not that of its output.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> g = np.arange(16.0).reshape(1, 4, 4, 1)
        >>> fc.conv2d_transpose_grad_input(g, np.ones((2, 2, 1, 1)), (1, 2, 2, 1), strides=2)[0, :, :, 0]
        array([[10., 18.],
               [42., 50.]])
    """
    where = "conv2d_transpose_grad_input"
    check_format(where, data_format)
    grad_output, kernel = as_arrays(where, grad_output=grad_output, kernel=kernel)
    shape = as_shape4(where, "input_shape", input_shape)
    check_ndim(where, "kernel", kernel, 4, _KERNEL)
    p = _problem(where, shape, kernel.shape, strides, padding, output_padding, dilation_rate, data_format)
    _check_grad_output(where, grad_output, p, data_format)
    gx = Result(where, p.y_shape, kernel.dtype, out, data_format, (grad_output, kernel))
    forward_direct(p, as_nhwc(grad_output, data_format), contiguous(kernel), None, gx.array, 0)
    return gx.finish()


def conv2d_transpose_grad_kernel(
    x: ArrayLike,
    grad_output: ArrayLike,
    kernel_size: Size2D,
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    output_padding: Size2D | None = None,
    dilation_rate: Size2D = 1,
    data_format: DataFormat = "channels_last",
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`conv2d_transpose` with respect to its kernel.

    Args:
        x: conv2d_transpose's input, (n, h, w, c) or (n, c, h, w).
        grad_output: gradient of its output, (n, oh, ow, filters) or (n, filters, oh, ow).
        kernel_size: the kernel's height and width, an int or a pair.
        strides, padding, output_padding, dilation_rate, data_format: as given to conv2d_transpose.
        out: array for the result.

    Returns:
        (kh, kw, filters, c): ``gk[a,b,f,c] = sum grad_output[n, p*sh + a*dh - top, q*sw + b*dw - left, f] *
        x[n,p,q,c]`` over n, p and q.

    Raises:
        TypeError, ValueError: as conv2d_transpose; also a grad_output whose shape is not that of its output.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> x, g = np.ones((1, 2, 2, 1)), np.arange(16.0).reshape(1, 4, 4, 1)
        >>> fc.conv2d_transpose_grad_kernel(x, g, 2, strides=2)[:, :, 0, 0]
        array([[20., 24.],
               [36., 40.]])
    """
    where = "conv2d_transpose_grad_kernel"
    check_format(where, data_format)
    x, grad_output = as_arrays(where, x=x, grad_output=grad_output)
    check_ndim(where, "x", x, 4, _layout(data_format))
    check_ndim(where, "grad_output", grad_output, 4, _layout(data_format))
    filters, channels = to_nhwc(grad_output.shape, data_format)[3], to_nhwc(x.shape, data_format)[3]
    kernel_shape = (*as_pair(where, "kernel_size", kernel_size), filters, channels)
    p = _problem(where, x.shape, kernel_shape, strides, padding, output_padding, dilation_rate, data_format)
    _check_grad_output(where, grad_output, p, data_format)
    gk = Result(where, p.kernel_shape, x.dtype, out, inputs=(x, grad_output))
    grad_kernel_direct(p, as_nhwc(grad_output, data_format), as_nhwc(x, data_format), gk.array)
    return gk.finish()


def _problem(
    where: str,
    input_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    strides: Any,
    padding: Any,
    output_padding: Any,
    dilation_rate: Any,
    data_format: str,
) -> ConvProblem:
    """The convolution whose adjoint is asked for: its image is our output, its output our image."""
    steps, dilation = as_pair(where, "strides", strides), as_pair(where, "dilation_rate", dilation_rate)
    pads = as_padding(where, padding)
    extra = None if output_padding is None else as_pair(where, "output_padding", output_padding, 0)
    if extra is not None:
        check_output_padding(where, extra, steps)
    n, h, w, c = to_nhwc(input_shape, data_format)
    kh, kw, filters, channels = kernel_shape
    if channels != c or min(kernel_shape) < 1:
        raise transpose_channels_error(where, input_shape, kernel_shape, c)
    sizes, around = [], []
    for axis, size in enumerate((h, w)):
        length, pair = _shapes.transposed_size(
            size,
            kernel_shape[axis],
            steps[axis],
            dilation[axis],
            pads if isinstance(pads, str) else pads[axis],
            None if extra is None else extra[axis],
        )
        sizes.append(length)
        around.append(pair)
    if min(h, w, *sizes) < 1:
        raise transpose_size_error(where, (h, w), (kh, kw), (sizes[0], sizes[1]))
    image: Any = to_format((n, sizes[0], sizes[1], filters), data_format)
    kernel: Any = kernel_shape
    return conv_problem(where, image, kernel, steps, tuple(around), dilation, 1, data_format)


def _check_grad_output(where: str, grad_output: Array, p: ConvProblem, data_format: str) -> None:
    expected = to_format(p.x_shape, data_format)
    check_shape(where, "grad_output", grad_output, expected, "conv2d_transpose's output for these options")


def _layout(data_format: str) -> str:
    return "(n, h, w, c)" if data_format == "channels_last" else "(n, c, h, w)"
