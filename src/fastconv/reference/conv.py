"""Convolution, its two gradients, and im2col, as nested loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from ._arguments import (
    cells,
    check_channels,
    float_type,
    from_channels_last,
    pads_and_output,
    pair,
    round_to,
    shape_channels_last,
    to_channels_last,
)


def conv2d(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    strides: Any = 1,
    padding: Any = "valid",
    dilation_rate: Any = 1,
    groups: int = 1,
    activation: str | None = None,
    data_format: str = "channels_last",
) -> np.ndarray:
    """Slide each filter over each image; every output cell is one sum of products.

    As in every deep-learning library the kernel is not flipped (mathematicians call it a cross-correlation)::

        y[n, i, j, f] = bias[f] + sum over a, b, c of
                        x[n, i * stride_h + a * dilation_h - top, j * stride_w + b * dilation_w - left, c]
                        * kernel[a, b, c, f]

    where cells outside the image (the padding) add nothing. With ``groups`` the channels and the filters are cut into
    that many equal parts, and a filter sees only the channels of its own part.

    Args:
        x: images, ``(n, h, w, c)``, or ``(n, c, h, w)`` with ``data_format="channels_first"``.
        kernel: ``(kh, kw, c // groups, filters)``.
        bias: ``(filters,)``, or None for no bias.
        strides: cells that the window moves from one output cell to the next, an int or ``(h, w)``.
        padding: ``"valid"``, ``"same"``, an int, ``(ph, pw)`` or ``((top, bottom), (left, right))``.
        dilation_rate: distance between the kernel's cells on the image, an int or ``(h, w)``.
        groups: parts into which channels and filters are cut.
        activation: None or ``"relu"``, ``max(y, 0)``, which lets NaN through.
        data_format: ``"channels_last"`` or ``"channels_first"``.

    Returns:
        ``(n, oh, ow, filters)`` with ``oh = (h + top + bottom - ((kh - 1) * dilation_h + 1)) // stride_h + 1`` and
        ``ow`` alike. Summed in float64, then rounded once to the type of the arguments.

    Example:
        >>> image = np.arange(9.0).reshape(1, 3, 3, 1)
        >>> conv2d(image, np.ones((2, 2, 1, 1)))[0, :, :, 0]
        array([[ 8., 12.],
               [20., 24.]])

    References:
        V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, sections 2, 5.1.
    """
    dtype = float_type(*(array for array in (x, kernel, bias) if array is not None))
    images = to_channels_last(x, data_format)
    n, h, w, in_channels = images.shape
    kh, kw, channels, filters = np.shape(kernel)
    check_channels("conv2d", in_channels, channels, filters, groups)
    (stride_h, stride_w), (dilation_h, dilation_w) = pair(strides), pair(dilation_rate)
    ((top, _), (left, _)), (oh, ow) = pads_and_output(
        (h, w), (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w), padding
    )
    y = np.full((n, oh, ow, filters), np.nan)
    image_cells, kernel_cells = cells(images), cells(kernel)
    bias_cells = cells(np.zeros(filters) if bias is None else bias)

    for image, row, col, f in product(range(n), range(oh), range(ow), range(filters)):
        first_channel = f // (filters // groups) * channels
        total = bias_cells[f]
        for a in range(kh):
            in_row = row * stride_h + a * dilation_h - top
            if not 0 <= in_row < h:
                continue
            for b in range(kw):
                in_col = col * stride_w + b * dilation_w - left
                if not 0 <= in_col < w:
                    continue
                for c in range(channels):
                    total += image_cells[image, in_row, in_col, first_channel + c] * kernel_cells[a, b, c, f]
        if activation == "relu" and total < 0:
            total = 0.0
        y[image, row, col, f] = total

    return round_to(from_channels_last(y, data_format), dtype)


def conv2d_grad_input(
    grad_output: Any,
    kernel: Any,
    input_shape: Any,
    *,
    strides: Any = 1,
    padding: Any = "valid",
    dilation_rate: Any = 1,
    groups: int = 1,
    data_format: str = "channels_last",
) -> np.ndarray:
    """Gradient of a loss with respect to the images, from its gradient with respect to the convolution's output.

    Each output cell hands its gradient back to the input cells that it was summed from, weighted as they were::

        grad_input[n, i * stride_h + a * dilation_h - top, j * stride_w + b * dilation_w - left, c]
            += grad_output[n, i, j, f] * kernel[a, b, c, f]          for all i, j, f, a, b, c

    Args:
        grad_output: ``(n, oh, ow, filters)``, the shape of ``conv2d``'s result.
        kernel: ``(kh, kw, c // groups, filters)``.
        input_shape: shape of the images, in the order that ``data_format`` says.
        strides, padding, dilation_rate, groups, data_format: as given to ``conv2d``.

    Returns:
        An array of shape ``input_shape``.

    Example:
        >>> conv2d_grad_input(np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1)), (1, 3, 3, 1))[0, :, :, 0]
        array([[1., 2., 1.],
               [2., 4., 2.],
               [1., 2., 1.]])

    References:
        I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", MIT Press 2016, section 9.5.
    """
    dtype = float_type(grad_output, kernel)
    grads = to_channels_last(grad_output, data_format)
    n, h, w, all_channels = shape_channels_last(input_shape, data_format)
    kh, kw, channels, filters = np.shape(kernel)
    check_channels("conv2d_grad_input", all_channels, channels, filters, groups)
    (stride_h, stride_w), (dilation_h, dilation_w) = pair(strides), pair(dilation_rate)
    ((top, _), (left, _)), (oh, ow) = pads_and_output(
        (h, w), (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w), padding
    )
    result = np.zeros((n, h, w, all_channels))
    grad_cells, kernel_cells, grad_input = cells(grads), cells(kernel), cells(result)

    for image, row, col, f in product(range(n), range(oh), range(ow), range(filters)):
        first_channel = f // (filters // groups) * channels
        g = grad_cells[image, row, col, f]
        for a in range(kh):
            in_row = row * stride_h + a * dilation_h - top
            if not 0 <= in_row < h:
                continue
            for b in range(kw):
                in_col = col * stride_w + b * dilation_w - left
                if not 0 <= in_col < w:
                    continue
                for c in range(channels):
                    grad_input[image, in_row, in_col, first_channel + c] += g * kernel_cells[a, b, c, f]

    return round_to(from_channels_last(result, data_format), dtype)


def conv2d_grad_kernel(
    x: Any,
    grad_output: Any,
    kernel_size: Any,
    *,
    strides: Any = 1,
    padding: Any = "valid",
    dilation_rate: Any = 1,
    groups: int = 1,
    data_format: str = "channels_last",
) -> np.ndarray:
    """Gradient of a loss with respect to the kernel, from its gradient with respect to the convolution's output.

    Each kernel cell gathers the gradient of every output cell that it went into, weighted by the input it met there::

        grad_kernel[a, b, c, f] = sum over n, i, j of grad_output[n, i, j, f]
            * x[n, i * stride_h + a * dilation_h - top, j * stride_w + b * dilation_w - left, c]

    Args:
        x: images, ``(n, h, w, c)`` or as ``data_format`` says.
        grad_output: ``(n, oh, ow, filters)``, the shape of ``conv2d``'s result.
        kernel_size: ``(kh, kw)`` or an int.
        strides, padding, dilation_rate, groups, data_format: as given to ``conv2d``.

    Returns:
        ``(kh, kw, c // groups, filters)``.

    Example:
        >>> image = np.arange(9.0).reshape(1, 3, 3, 1)
        >>> conv2d_grad_kernel(image, np.ones((1, 2, 2, 1)), 2)[:, :, 0, 0]
        array([[ 8., 12.],
               [20., 24.]])

    References:
        I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", MIT Press 2016, section 9.5.
    """
    dtype = float_type(x, grad_output)
    images, grads = to_channels_last(x, data_format), to_channels_last(grad_output, data_format)
    n, h, w, all_channels = images.shape
    filters = grads.shape[3]
    kh, kw = pair(kernel_size)
    (stride_h, stride_w), (dilation_h, dilation_w) = pair(strides), pair(dilation_rate)
    ((top, _), (left, _)), (oh, ow) = pads_and_output(
        (h, w), (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w), padding
    )
    channels = all_channels // groups
    grad_kernel = np.full((kh, kw, channels, filters), np.nan)
    image_cells, grad_cells = cells(images), cells(grads)

    for a, b, c, f in product(range(kh), range(kw), range(channels), range(filters)):
        channel = f // (filters // groups) * channels + c
        total = 0.0
        for row in range(oh):
            in_row = row * stride_h + a * dilation_h - top
            if not 0 <= in_row < h:
                continue
            for col in range(ow):
                in_col = col * stride_w + b * dilation_w - left
                if not 0 <= in_col < w:
                    continue
                for image in range(n):
                    total += image_cells[image, in_row, in_col, channel] * grad_cells[image, row, col, f]
        grad_kernel[a, b, c, f] = total

    return round_to(grad_kernel, dtype)


def im2col(x: Any, kernel_size: Any, *, strides: Any = 1, padding: Any = "valid", dilation_rate: Any = 1) -> np.ndarray:
    """Write the window of each output cell as one row of a matrix, so that a convolution becomes a matrix product.

    ::

        cols[(n * oh + i) * ow + j, (a * kw + b) * c + channel]
            = x[n, i * stride_h + a * dilation_h - top, j * stride_w + b * dilation_w - left, channel], 0 in the padding

    so ``conv2d(x, kernel) == (im2col(x, (kh, kw)) @ kernel.reshape(-1, filters)).reshape(n, oh, ow, filters)``.

    Args:
        x: images, ``(n, h, w, c)``.
        kernel_size: ``(kh, kw)`` or an int.
        strides, padding, dilation_rate: as for ``conv2d``.

    Returns:
        ``(n * oh * ow, kh * kw * c)``.

    Example:
        >>> im2col(np.arange(9.0).reshape(1, 3, 3, 1), 2)
        array([[0., 1., 3., 4.],
               [1., 2., 4., 5.],
               [3., 4., 6., 7.],
               [4., 5., 7., 8.]])

    References:
        K. Chellapilla, S. Puri, P. Simard, "High performance convolutional neural networks for document processing",
        IWFHR 2006, section 3.
    """
    n, h, w, channels = np.shape(x)
    kh, kw = pair(kernel_size)
    (stride_h, stride_w), (dilation_h, dilation_w) = pair(strides), pair(dilation_rate)
    ((top, _), (left, _)), (oh, ow) = pads_and_output(
        (h, w), (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w), padding
    )
    result = np.zeros((n * oh * ow, kh * kw * channels))
    image_cells, cols = cells(x), cells(result)

    for image, row, col in product(range(n), range(oh), range(ow)):
        for a, b, c in product(range(kh), range(kw), range(channels)):
            in_row = row * stride_h + a * dilation_h - top
            in_col = col * stride_w + b * dilation_w - left
            if 0 <= in_row < h and 0 <= in_col < w:
                cols[(image * oh + row) * ow + col, (a * kw + b) * channels + c] = image_cells[image, in_row, in_col, c]

    return round_to(result, float_type(x))


def col2im(
    cols: Any,
    input_shape: Any,
    kernel_size: Any,
    *,
    strides: Any = 1,
    padding: Any = "valid",
    dilation_rate: Any = 1,
) -> np.ndarray:
    """Add each row of the matrix back onto the window that ``im2col`` reads it from: its adjoint.

    For all arrays, ``sum(im2col(x) * cols) == sum(x * col2im(cols))``. A cell that lies in several windows receives
    the sum of its copies, so ``col2im(im2col(x))`` is ``x`` times the number of windows over each cell.

    Args:
        cols: ``(n * oh * ow, kh * kw * c)``.
        input_shape: ``(n, h, w, c)``.
        kernel_size: ``(kh, kw)`` or an int.
        strides, padding, dilation_rate: as for ``im2col``.

    Returns:
        An array of shape ``input_shape``.

    Example:
        >>> col2im(np.ones((4, 4)), (1, 3, 3, 1), 2)[0, :, :, 0]
        array([[1., 2., 1.],
               [2., 4., 2.],
               [1., 2., 1.]])

    References:
        K. Chellapilla, S. Puri, P. Simard, "High performance convolutional neural networks for document processing",
        IWFHR 2006, section 3.
    """
    n, h, w, channels = (int(size) for size in input_shape)
    kh, kw = pair(kernel_size)
    (stride_h, stride_w), (dilation_h, dilation_w) = pair(strides), pair(dilation_rate)
    ((top, _), (left, _)), (oh, ow) = pads_and_output(
        (h, w), (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w), padding
    )
    result = np.zeros((n, h, w, channels))
    cols_cells, images = cells(cols), cells(result)

    for image, row, col in product(range(n), range(oh), range(ow)):
        for a, b, c in product(range(kh), range(kw), range(channels)):
            in_row = row * stride_h + a * dilation_h - top
            in_col = col * stride_w + b * dilation_w - left
            if 0 <= in_row < h and 0 <= in_col < w:
                images[image, in_row, in_col, c] += cols_cells[
                    (image * oh + row) * ow + col, (a * kw + b) * channels + c
                ]

    return round_to(result, float_type(cols))
