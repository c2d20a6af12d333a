"""Transposed convolution and its gradients, as nested loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from .._shapes import Pads, Pair, transposed_size
from ._arguments import (
    cells,
    float_type,
    from_channels_last,
    pair,
    round_to,
    shape_channels_last,
    to_channels_last,
)


def conv2d_transpose(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    strides: Any = 1,
    padding: Any = "valid",
    output_padding: Any = None,
    dilation_rate: Any = 1,
    data_format: str = "channels_last",
) -> np.ndarray:
    """Paint the kernel onto the output at every input cell, weighted by the cell; where paint overlaps it adds up.

    ::

        y[n, i * stride_h + a * dilation_h - top, j * stride_w + b * dilation_w - left, f]
            += x[n, i, j, c] * kernel[a, b, f, c]          for all i, j, c, a, b, f

    What falls outside the output is dropped; the bias is added to every cell.

    Args:
        x: images, ``(n, h, w, c)``, or ``(n, c, h, w)`` with ``data_format="channels_first"``.
        kernel: ``(kh, kw, filters, c)``.
        bias: ``(filters,)``, or None for no bias.
        strides: cells between the paintings of neighbouring input cells, an int or ``(h, w)``.
        padding: ``"valid"``, ``"same"``, an int, ``(ph, pw)`` or ``((top, bottom), (left, right))``.
        output_padding: rows and columns more at the end, an int or ``(h, w)``; None: what ``padding`` needs.
        dilation_rate: distance between the kernel's cells on the output, an int or ``(h, w)``.
        data_format: ``"channels_last"`` or ``"channels_first"``.

    Returns:
        ``(n, oh, ow, filters)``, with ``eff = (kh - 1) * dilation_h + 1``: ``oh = (h - 1) * stride_h + eff +
        output_padding`` for ``"valid"`` (without output_padding ``(h - 1) * stride_h + max(eff, stride_h)``), ``oh = h
        * stride_h`` for ``"same"`` (with output_padding ``(h - 1) * stride_h + eff % 2 + output_padding``).

    Example:
        >>> x = np.array([[1.0, 2.0]]).reshape(1, 1, 2, 1)
        >>> conv2d_transpose(x, np.array([[10.0, 1.0, 1.0]]).reshape(1, 3, 1, 1), strides=(1, 2))[0, :, :, 0]
        array([[10.,  1., 21.,  2.,  2.]])

    References:
        V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, section 4.
    """
    dtype = float_type(*(array for array in (x, kernel, bias) if array is not None))
    images = to_channels_last(x, data_format)
    n, h, w, channels = images.shape
    kh, kw, filters, _ = np.shape(kernel)
    (stride_h, stride_w), (dilation_h, dilation_w) = pair(strides), pair(dilation_rate)
    (oh, ow), ((top, _), (left, _)) = _output_and_pads(
        (h, w), (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w), padding, output_padding
    )
    y = np.zeros((n, oh, ow, filters)) + (0.0 if bias is None else np.asarray(bias, np.float64))
    image_cells, kernel_cells, output = cells(images), cells(kernel), cells(y)

    for image, row, col, c in product(range(n), range(h), range(w), range(channels)):
        value = image_cells[image, row, col, c]
        for a in range(kh):
            out_row = row * stride_h + a * dilation_h - top
            if not 0 <= out_row < oh:
                continue
            for b in range(kw):
                out_col = col * stride_w + b * dilation_w - left
                if not 0 <= out_col < ow:
                    continue
                for f in range(filters):
                    output[image, out_row, out_col, f] += value * kernel_cells[a, b, f, c]

    return round_to(from_channels_last(y, data_format), dtype)


def conv2d_transpose_grad_input(
    grad_output: Any,
    kernel: Any,
    input_shape: Any,
    *,
    strides: Any = 1,
    padding: Any = "valid",
    output_padding: Any = None,
    dilation_rate: Any = 1,
    data_format: str = "channels_last",
) -> np.ndarray:
    """Gradient with respect to the images: each input cell gathers from all output cells that it painted.

    ::

        grad_input[n, i, j, c] = sum over a, b, f of
            grad_output[n, i * stride_h + a * dilation_h - top, j * stride_w + b * dilation_w - left, f]
            * kernel[a, b, f, c]

    Args:
        grad_output: ``(n, oh, ow, filters)``, the shape of ``conv2d_transpose``'s result.
        kernel: ``(kh, kw, filters, c)``.
        input_shape: shape of the images, in the order that ``data_format`` says.
        strides, padding, output_padding, dilation_rate, data_format: as given to ``conv2d_transpose``.

    Returns:
        An array of shape ``input_shape``.

    Example:
        >>> conv2d_transpose_grad_input(np.ones((1, 1, 3, 1)), np.ones((1, 2, 1, 1)), (1, 1, 2, 1))[0, :, :, 0]
        array([[2., 2.]])
    """
    grads = to_channels_last(grad_output, data_format)
    n, h, w, channels = shape_channels_last(input_shape, data_format)
    kh, kw, filters, _ = np.shape(kernel)
    (stride_h, stride_w), (dilation_h, dilation_w) = pair(strides), pair(dilation_rate)
    (oh, ow), ((top, _), (left, _)) = _output_and_pads(
        (h, w), (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w), padding, output_padding
    )
    result = np.zeros((n, h, w, channels))
    grad_cells, kernel_cells = cells(grads), cells(kernel)

    for image, row, col, c in product(range(n), range(h), range(w), range(channels)):
        total = 0.0
        for a, b, f in product(range(kh), range(kw), range(filters)):
            out_row = row * stride_h + a * dilation_h - top
            out_col = col * stride_w + b * dilation_w - left
            if 0 <= out_row < oh and 0 <= out_col < ow:
                total += grad_cells[image, out_row, out_col, f] * kernel_cells[a, b, f, c]
        result[image, row, col, c] = total

    return round_to(from_channels_last(result, data_format), float_type(grad_output, kernel))


def conv2d_transpose_grad_kernel(
    x: Any,
    grad_output: Any,
    kernel_size: Any,
    *,
    strides: Any = 1,
    padding: Any = "valid",
    output_padding: Any = None,
    dilation_rate: Any = 1,
    data_format: str = "channels_last",
) -> np.ndarray:
    """Gradient with respect to the kernel: each kernel cell gathers over all the places where it was painted.

    ::

        grad_kernel[a, b, f, c] = sum over n, i, j of x[n, i, j, c]
            * grad_output[n, i * stride_h + a * dilation_h - top, j * stride_w + b * dilation_w - left, f]

    Args:
        x: images, ``(n, h, w, c)`` or as ``data_format`` says.
        grad_output: ``(n, oh, ow, filters)``, the shape of ``conv2d_transpose``'s result.
        kernel_size: ``(kh, kw)`` or an int.
        strides, padding, output_padding, dilation_rate, data_format: as given to ``conv2d_transpose``.

    Returns:
        ``(kh, kw, filters, c)``.

    Example:
        >>> x, grads = np.array([[1.0, 2.0]]).reshape(1, 1, 2, 1), np.array([[1.0, 2.0, 3.0]]).reshape(1, 1, 3, 1)
        >>> conv2d_transpose_grad_kernel(x, grads, (1, 2))[0, :, 0, 0]
        array([5., 8.])
    """
    images, grads = to_channels_last(x, data_format), to_channels_last(grad_output, data_format)
    n, h, w, channels = images.shape
    filters = grads.shape[3]
    (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w) = pair(kernel_size), pair(strides), pair(dilation_rate)
    (oh, ow), ((top, _), (left, _)) = _output_and_pads(
        (h, w), (kh, kw), (stride_h, stride_w), (dilation_h, dilation_w), padding, output_padding
    )
    result = np.zeros((kh, kw, filters, channels))
    image_cells, grad_cells = cells(images), cells(grads)

    for a, b, f, c in product(range(kh), range(kw), range(filters), range(channels)):
        total = 0.0
        for image, row, col in product(range(n), range(h), range(w)):
            out_row = row * stride_h + a * dilation_h - top
            out_col = col * stride_w + b * dilation_w - left
            if 0 <= out_row < oh and 0 <= out_col < ow:
                total += image_cells[image, row, col, c] * grad_cells[image, out_row, out_col, f]
        result[a, b, f, c] = total

    return round_to(result, float_type(x, grad_output))


def _output_and_pads(
    size: Pair, window: Pair, strides: Pair, dilation: Pair, padding: Any, output_padding: Any
) -> tuple[Pair, Pads]:
    """A transposed convolution's output (height, width), and what is cut off before and behind."""
    if not isinstance(padding, str):
        if isinstance(padding, (tuple, list)) and isinstance(padding[0], (tuple, list)):
            padding = (pair(padding[0]), pair(padding[1]))
        else:
            rows, cols = pair(padding)
            padding = ((rows, rows), (cols, cols))
    extra: tuple[Any, Any] = (None, None) if output_padding is None else pair(output_padding)
    (oh, vertical), (ow, horizontal) = (
        transposed_size(
            size[axis],
            window[axis],
            strides[axis],
            dilation[axis],
            padding if isinstance(padding, str) else padding[axis],
            extra[axis],
        )
        for axis in (0, 1)
    )
    return (oh, ow), (vertical, horizontal)
