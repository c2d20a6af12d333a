"""Depthwise convolution and its gradients, as nested loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from ._arguments import (
    cells,
    float_type,
    from_channels_last,
    pads_and_output,
    pair,
    round_to,
    shape_channels_last,
    to_channels_last,
)


def depthwise_conv2d(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    strides: Any = 1,
    padding: Any = "valid",
    dilation_rate: Any = 1,
    data_format: str = "channels_last",
) -> np.ndarray:
    """Slide over each channel the filters that are its own.

    ::

        y[n, i, j, c * multiplier + m] = bias[c * multiplier + m] + sum over a, b of
            x[n, i * stride_h + a * dilation_h - top, j * stride_w + b * dilation_w - left, c] * kernel[a, b, c, m]

    Args:
        x: images, ``(n, h, w, c)`` or as ``data_format`` says.
        kernel: ``(kh, kw, c, multiplier)``.
        bias: ``(c * multiplier,)``, or None for no bias.
        strides, padding, dilation_rate, data_format: as for ``conv2d``.

    Returns:
        ``(n, oh, ow, c * multiplier)``, ``oh`` and ``ow`` as for ``conv2d``.

    Example:
        >>> x = np.array([1.0, 2.0]).reshape(1, 1, 1, 2)
        >>> depthwise_conv2d(x, np.array([[1.0, 10.0], [20.0, 30.0]]).reshape(1, 1, 2, 2)).ravel()
        array([ 1., 10., 40., 60.])

    References:
        F. Chollet, "Xception: deep learning with depthwise separable convolutions", arXiv:1610.02357.
    """
    dtype = float_type(*(array for array in (x, kernel, bias) if array is not None))
    images = to_channels_last(x, data_format)
    n, h, w, channels = images.shape
    kh, kw, _, multiplier = np.shape(kernel)
    (stride_h, stride_w), (dilation_h, dilation_w) = pair(strides), pair(dilation_rate)
    ((top, _), (left, _)), (oh, ow) = pads_and_output(
        (h, w), (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w), padding
    )
    y = np.full((n, oh, ow, channels * multiplier), np.nan)
    image_cells, kernel_cells = cells(images), cells(kernel)
    bias_cells = cells(np.zeros(channels * multiplier) if bias is None else bias)

    for image, row, col, c, m in product(range(n), range(oh), range(ow), range(channels), range(multiplier)):
        total = bias_cells[c * multiplier + m]
        for a, b in product(range(kh), range(kw)):
            in_row = row * stride_h + a * dilation_h - top
            in_col = col * stride_w + b * dilation_w - left
            if 0 <= in_row < h and 0 <= in_col < w:
                total += image_cells[image, in_row, in_col, c] * kernel_cells[a, b, c, m]
        y[image, row, col, c * multiplier + m] = total

    return round_to(from_channels_last(y, data_format), dtype)


def depthwise_conv2d_grad_input(
    grad_output: Any,
    kernel: Any,
    input_shape: Any,
    *,
    strides: Any = 1,
    padding: Any = "valid",
    dilation_rate: Any = 1,
    data_format: str = "channels_last",
) -> np.ndarray:
    """Gradient of ``depthwise_conv2d`` with respect to the images.

    ::

        grad_input[n, i * stride_h + a * dilation_h - top, j * stride_w + b * dilation_w - left, c]
            += grad_output[n, i, j, c * multiplier + m] * kernel[a, b, c, m]          for all i, j, c, m, a, b

    Args:
        grad_output: ``(n, oh, ow, c * multiplier)``, the shape of ``depthwise_conv2d``'s result.
        kernel: ``(kh, kw, c, multiplier)``.
        input_shape: shape of the images, in the order that ``data_format`` says.
        strides, padding, dilation_rate, data_format: as given to ``depthwise_conv2d``.

    Returns:
        An array of shape ``input_shape``.

    Example:
        >>> depthwise_conv2d_grad_input(np.ones((1, 1, 1, 1)), np.full((1, 2, 1, 1), 3.0), (1, 1, 2, 1)).ravel()
        array([3., 3.])
    """
    grads = to_channels_last(grad_output, data_format)
    n, h, w, channels = shape_channels_last(input_shape, data_format)
    kh, kw, _, multiplier = np.shape(kernel)
    (stride_h, stride_w), (dilation_h, dilation_w) = pair(strides), pair(dilation_rate)
    ((top, _), (left, _)), (oh, ow) = pads_and_output(
        (h, w), (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w), padding
    )
    result = np.zeros((n, h, w, channels))
    grad_cells, kernel_cells, grad_input = cells(grads), cells(kernel), cells(result)

    for image, row, col, c, m in product(range(n), range(oh), range(ow), range(channels), range(multiplier)):
        g = grad_cells[image, row, col, c * multiplier + m]
        for a, b in product(range(kh), range(kw)):
            in_row = row * stride_h + a * dilation_h - top
            in_col = col * stride_w + b * dilation_w - left
            if 0 <= in_row < h and 0 <= in_col < w:
                grad_input[image, in_row, in_col, c] += g * kernel_cells[a, b, c, m]

    return round_to(from_channels_last(result, data_format), float_type(grad_output, kernel))


def depthwise_conv2d_grad_kernel(
    x: Any,
    grad_output: Any,
    kernel_size: Any,
    *,
    strides: Any = 1,
    padding: Any = "valid",
    dilation_rate: Any = 1,
    data_format: str = "channels_last",
) -> np.ndarray:
    """Gradient of ``depthwise_conv2d`` with respect to the kernel.

    ::

        grad_kernel[a, b, c, m] = sum over n, i, j of grad_output[n, i, j, c * multiplier + m]
            * x[n, i * stride_h + a * dilation_h - top, j * stride_w + b * dilation_w - left, c]

    Args:
        x: images, ``(n, h, w, c)`` or as ``data_format`` says.
        grad_output: ``(n, oh, ow, c * multiplier)``, the shape of ``depthwise_conv2d``'s result.
        kernel_size: ``(kh, kw)`` or an int.
        strides, padding, dilation_rate, data_format: as given to ``depthwise_conv2d``.

    Returns:
        ``(kh, kw, c, multiplier)``.

    Example:
        >>> x = np.array([1.0, 2.0]).reshape(1, 1, 2, 1)
        >>> depthwise_conv2d_grad_kernel(x, np.array([10.0, 1.0]).reshape(1, 1, 2, 1), 1).ravel()
        array([12.])
    """
    images, grads = to_channels_last(x, data_format), to_channels_last(grad_output, data_format)
    n, h, w, channels = images.shape
    multiplier = grads.shape[3] // channels
    (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w) = pair(kernel_size), pair(strides), pair(dilation_rate)
    ((top, _), (left, _)), (oh, ow) = pads_and_output(
        (h, w), (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w), padding
    )
    result = np.zeros((kh, kw, channels, multiplier))
    image_cells, grad_cells = cells(images), cells(grads)

    for a, b, c, m in product(range(kh), range(kw), range(channels), range(multiplier)):
        total = 0.0
        for image, row, col in product(range(n), range(oh), range(ow)):
            in_row = row * stride_h + a * dilation_h - top
            in_col = col * stride_w + b * dilation_w - left
            if 0 <= in_row < h and 0 <= in_col < w:
                total += image_cells[image, in_row, in_col, c] * grad_cells[image, row, col, c * multiplier + m]
        result[a, b, c, m] = total

    return round_to(result, float_type(x, grad_output))
