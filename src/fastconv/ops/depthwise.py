"""Depthwise convolution: every channel has filters of its own; and its gradients."""

from __future__ import annotations

from typing import Any

from .._typing import Array, ArrayLike, DataFormat, Padding, Size2D
from .._validation import (
    as_arrays,
    as_pair,
    as_shape4,
    check_ndim,
    check_shape,
    depthwise_channels_error,
    depthwise_multiplier_error,
)
from ._arrays import Result, as_nhwc, check_format, contiguous
from ._dispatch import ConvProblem, conv_problem, to_format, to_nhwc
from .activations import apply_activation, kernel_activation
from .conv import _forward_direct as forward_direct
from .conv import _grad_input_direct as grad_input_direct
from .conv import _grad_kernel_direct as grad_kernel_direct

_KERNEL = "(kh, kw, channels, multiplier)"


def depthwise_conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
    data_format: DataFormat = "channels_last",
    activation: Any = None,
    out: Array | None = None,
) -> Array:
    """Convolution of each channel by itself: channels are not summed over, so it costs 1/filters of conv2d's work.

    Args:
        x: images (n, h, w, c), or (n, c, h, w) with ``data_format="channels_first"``; float32 or float64.
        kernel: (kh, kw, c, multiplier), in both data formats: ``multiplier`` filters for each channel.
        bias: (c * multiplier,), added to every pixel. Default: none.
        strides, padding, dilation_rate, data_format, activation, out: as for :func:`conv2d`.

    Returns:
        y of shape (n, oh, ow, c * multiplier), ``oh`` and ``ow`` as for conv2d:
        ``y[n,i,j, c*multiplier + m] = act(bias[c*multiplier + m] + sum x[n, i*sh + a*dh - top, j*sw + b*dw - left, c]
        * kernel[a,b,c,m])`` over a and b.

    Raises:
        TypeError: an input is not float32 or float64.
        ValueError: shapes or options that do not go together, a window that does not fit, a bad ``out``.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> x = np.stack([np.ones((3, 3)), np.full((3, 3), 2.0)], axis=-1)[None]
        >>> kernel = np.ones((3, 3, 2, 1))
        >>> fc.depthwise_conv2d(x, kernel)
        array([[[[ 9., 18.]]]])

    References:
        F. Chollet: Xception: deep learning with depthwise separable convolutions, arXiv:1610.02357.
    """
    where = "depthwise_conv2d"
    check_format(where, data_format)
    if bias is None:
        x, kernel = as_arrays(where, x=x, kernel=kernel)
    else:
        x, kernel, bias = as_arrays(where, x=x, kernel=kernel, bias=bias)
    check_ndim(where, "x", x, 4, _layout(data_format))
    check_ndim(where, "kernel", kernel, 4, _KERNEL)
    p = _problem(where, x.shape, kernel.shape, strides, padding, dilation_rate, data_format)
    if bias is not None:
        meaning = "one value an output channel: (kernel.shape[2] * kernel.shape[3],)"
        check_shape(where, "bias", bias, (p.oc,), meaning)
        bias = contiguous(bias)
    fused = kernel_activation(where, activation)
    y = Result(where, p.y_shape, x.dtype, out, data_format, (x, kernel, bias), apart=fused is None)
    forward_direct(p, as_nhwc(x, data_format), contiguous(kernel), bias, y.array, fused)
    if fused is None:
        y.array[...] = apply_activation(where, activation, y.array)
    return y.finish()


def depthwise_conv2d_grad_input(
    grad_output: ArrayLike,
    kernel: ArrayLike,
    input_shape: tuple[int, int, int, int],
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
    data_format: DataFormat = "channels_last",
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`depthwise_conv2d` with respect to its input.

    Args:
        grad_output: gradient of the output, (n, oh, ow, c * multiplier) or (n, c * multiplier, oh, ow).
        kernel: (kh, kw, c, multiplier).
        input_shape: shape of depthwise_conv2d's input x.
        strides, padding, dilation_rate, data_format: as given to depthwise_conv2d.
        out: array for the result.

    Returns:
        An array like x: ``gx[n,i,j,c] = sum grad_output[n,p,q, c*multiplier + m] * kernel[a,b,c,m]`` over all p, q, a,
        b, m with ``p*sh + a*dh - top == i`` and ``q*sw + b*dw - left == j``.

    Raises:
        TypeError, ValueError: as depthwise_conv2d; also a grad_output whose shape is not that of its output.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> g, kernel = np.ones((1, 1, 1, 2)), np.full((2, 2, 2, 1), 3.0)
        >>> fc.depthwise_conv2d_grad_input(g, kernel, (1, 2, 2, 2))[0, :, :, 1]
        array([[3., 3.],
               [3., 3.]])
    """
    where = "depthwise_conv2d_grad_input"
    check_format(where, data_format)
    grad_output, kernel = as_arrays(where, grad_output=grad_output, kernel=kernel)
    shape = as_shape4(where, "input_shape", input_shape)
    check_ndim(where, "kernel", kernel, 4, _KERNEL)
    p = _problem(where, shape, kernel.shape, strides, padding, dilation_rate, data_format)
    expected = to_format(p.y_shape, data_format)
    check_shape(where, "grad_output", grad_output, expected, "depthwise_conv2d's output for this input_shape")
    gx = Result(where, p.x_shape, kernel.dtype, out, data_format, (grad_output, kernel))
    grad_input_direct(p, as_nhwc(grad_output, data_format), contiguous(kernel), gx.array)
    return gx.finish()


def depthwise_conv2d_grad_kernel(
    x: ArrayLike,
    grad_output: ArrayLike,
    kernel_size: Size2D,
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
    data_format: DataFormat = "channels_last",
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`depthwise_conv2d` with respect to its kernel.

    Args:
        x: depthwise_conv2d's input, (n, h, w, c) or (n, c, h, w).
        grad_output: gradient of the output, (n, oh, ow, c * multiplier) or (n, c * multiplier, oh, ow).
        kernel_size: the kernel's height and width, an int or a pair.
        strides, padding, dilation_rate, data_format: as given to depthwise_conv2d.
        out: array for the result.

    Returns:
        (kh, kw, c, multiplier): ``gk[a,b,c,m] = sum x[n, p*sh + a*dh - top, q*sw + b*dw - left, c] *
        grad_output[n,p,q, c*multiplier + m]`` over n, p and q.

    Raises:
        TypeError, ValueError: as depthwise_conv2d; also a grad_output whose shape is not that of its output.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
        >>> fc.depthwise_conv2d_grad_kernel(x, np.ones((1, 2, 2, 2)), 1)[0, 0, :, 0]
        array([12., 16.])
    """
    where = "depthwise_conv2d_grad_kernel"
    check_format(where, data_format)
    x, grad_output = as_arrays(where, x=x, grad_output=grad_output)
    check_ndim(where, "x", x, 4, _layout(data_format))
    check_ndim(where, "grad_output", grad_output, 4, _layout(data_format))
    channels, outputs = to_nhwc(x.shape, data_format)[3], to_nhwc(grad_output.shape, data_format)[3]
    if channels < 1 or outputs % channels or not outputs:
        raise depthwise_multiplier_error(where, x.shape, grad_output.shape, channels, outputs)
    kernel_shape = (*as_pair(where, "kernel_size", kernel_size), channels, outputs // channels)
    p = _problem(where, x.shape, kernel_shape, strides, padding, dilation_rate, data_format)
    expected = to_format(p.y_shape, data_format)
    check_shape(where, "grad_output", grad_output, expected, "depthwise_conv2d's output for this x and kernel_size")
    gk = Result(where, kernel_shape, x.dtype, out, inputs=(x, grad_output))
    grad_kernel_direct(p, as_nhwc(x, data_format), as_nhwc(grad_output, data_format), gk.array)
    return gk.finish()


def _problem(
    where: str,
    x_shape: Any,
    kernel_shape: tuple[int, ...],
    strides: Any,
    padding: Any,
    dilation_rate: Any,
    data_format: str,
) -> ConvProblem:
    """The same as a convolution with as many groups as channels.

    Its kernel (kh, kw, 1, channels * multiplier) holds the same numbers in the same order: channel c's filters are
    c*multiplier + m, which is where conv2d puts the filters of group c.
    """
    channels = to_nhwc(x_shape, data_format)[3]
    kh, kw, kernel_channels, multiplier = kernel_shape
    if channels != kernel_channels or min(kernel_shape) < 1:
        raise depthwise_channels_error(where, x_shape, kernel_shape, channels)
    grouped = (kh, kw, 1, channels * multiplier)
    return conv_problem(where, x_shape, grouped, strides, padding, dilation_rate, channels, data_format)


def _layout(data_format: str) -> str:
    return "(n, h, w, c)" if data_format == "channels_last" else "(n, c, h, w)"
