"""Maximum and average pooling and their gradients, as nested loops."""

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


def max_pool2d(
    x: Any,
    pool_size: Any = 2,
    *,
    strides: Any = None,
    padding: Any = "valid",
    data_format: str = "channels_last",
    return_indices: bool = False,
) -> Any:
    """Keep the largest real cell of each window, per channel.

    ::

        y[n, i, j, c] = max of x[n, r, s, c] over the cells (r, s) of the window that lie in the image
        r from i * stride_h - top to i * stride_h - top + pool_h - 1, s alike

    The maximum starts from the first real cell, so a window of negatives gives a negative, and a padded cell is never
    picked. A NaN is larger than everything. Between equals, the first in row-major order is picked; between NaNs too.

    Args:
        x: images, ``(n, h, w, c)`` or as ``data_format`` says.
        pool_size: size of the window, an int or ``(h, w)``.
        strides: cells that the window moves, an int or ``(h, w)``; None means ``pool_size``.
        padding: as for ``conv2d``. A window must hold at least one real cell.
        data_format: ``"channels_last"`` or ``"channels_first"``.
        return_indices: return also where each maximum was found.

    Returns:
        ``y`` of shape ``(n, oh, ow, c)`` with ``oh = (h + top + bottom - pool_h) // stride_h + 1``, or
        ``(y, indices)``: int64, shaped like ``y``, the flat index ``row * w + col`` of the picked cell in its
        image's ``(h, w)`` plane.

    Raises:
        ValueError: a window lies wholly in the padding, so that it has no maximum.

    Example:
        >>> x = -np.arange(16.0).reshape(1, 4, 4, 1)
        >>> y, indices = max_pool2d(x, 2, return_indices=True)
        >>> y[0, :, :, 0]
        array([[ -0.,  -2.],
               [ -8., -10.]])
        >>> indices[0, :, :, 0]
        array([[ 0,  2],
               [ 8, 10]])

    References:
        V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, section 3.
    """
    images = to_channels_last(x, data_format)
    n, h, w, channels = images.shape
    (pool_h, pool_w), (stride_h, stride_w) = pair(pool_size), pair(pool_size if strides is None else strides)
    ((top, _), (left, _)), (oh, ow) = pads_and_output((h, w), (pool_h, pool_w), (stride_h, stride_w), (1, 1), padding)
    y = np.full((n, oh, ow, channels), np.nan)
    indices = np.full((n, oh, ow, channels), -1, np.int64)
    image_cells = cells(images)

    for image, row, col, c in product(range(n), range(oh), range(ow), range(channels)):
        largest, where = 0.0, -1
        for a in range(pool_h):
            in_row = row * stride_h + a - top
            if not 0 <= in_row < h:
                continue
            for b in range(pool_w):
                in_col = col * stride_w + b - left
                if not 0 <= in_col < w:
                    continue
                value = image_cells[image, in_row, in_col, c]
                first = where == -1
                first_nan = value != value and largest == largest
                if first or first_nan or value > largest:
                    largest, where = value, in_row * w + in_col
        if where == -1:
            raise ValueError(f"max_pool2d: the window of output cell ({row}, {col}) lies wholly in the padding.")
        y[image, row, col, c] = largest
        indices[image, row, col, c] = where

    answer = round_to(from_channels_last(y, data_format), float_type(x))
    return (answer, np.ascontiguousarray(from_channels_last(indices, data_format))) if return_indices else answer


def max_pool2d_grad(
    grad_output: Any,
    indices: Any,
    input_shape: Any,
    *,
    pool_size: Any = 2,
    strides: Any = None,
    padding: Any = "valid",
    data_format: str = "channels_last",
) -> np.ndarray:
    """Hand each output cell's gradient to the one input cell that was its maximum.

    ::

        grad_input[n, indices[n, i, j, c] // w, indices[n, i, j, c] % w, c] += grad_output[n, i, j, c]

    A cell that was the maximum of several windows receives the sum.

    Args:
        grad_output: ``(n, oh, ow, c)`` or as ``data_format`` says.
        indices: as ``max_pool2d(..., return_indices=True)`` gives them.
        input_shape: shape of the images, in the order that ``data_format`` says.
        pool_size, strides, padding: as given to ``max_pool2d``; the indices say everything, so they are not looked at.
        data_format: ``"channels_last"`` or ``"channels_first"``.

    Returns:
        An array of shape ``input_shape``.

    Raises:
        ValueError: an index lies outside the image.

    Example:
        >>> x = np.array([[1.0, 3.0], [4.0, 2.0]]).reshape(1, 2, 2, 1)
        >>> _, indices = max_pool2d(x, 2, return_indices=True)
        >>> max_pool2d_grad(np.full((1, 1, 1, 1), 5.0), indices, x.shape)[0, :, :, 0]
        array([[0., 0.],
               [5., 0.]])

    References:
        I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", MIT Press 2016, section 9.3.
    """
    grads, places = to_channels_last(grad_output, data_format), to_channels_last(indices, data_format)
    n, h, w, channels = shape_channels_last(input_shape, data_format)
    result = np.zeros((n, h, w, channels))
    grad_cells, grad_input = cells(grads), cells(result)

    for image, row, col, c in np.ndindex(grads.shape):
        where = int(places[image, row, col, c])
        if not 0 <= where < h * w:
            raise ValueError(f"max_pool2d_grad: index {where} lies outside the image of {h} x {w} cells.")
        grad_input[image, where // w, where % w, c] += grad_cells[image, row, col, c]

    return round_to(from_channels_last(result, data_format), float_type(grad_output))


def avg_pool2d(
    x: Any,
    pool_size: Any = 2,
    *,
    strides: Any = None,
    padding: Any = "valid",
    data_format: str = "channels_last",
    count_include_pad: bool = False,
) -> np.ndarray:
    """Average each window, per channel.

    ::

        y[n, i, j, c] = (sum of x[n, r, s, c] over the cells (r, s) of the window that lie in the image) / count

    where ``count`` is the number of those cells, or, with ``count_include_pad``, always ``pool_h * pool_w``.

    Args:
        x: images, ``(n, h, w, c)`` or as ``data_format`` says.
        pool_size: size of the window, an int or ``(h, w)``.
        strides: cells that the window moves, an int or ``(h, w)``; None means ``pool_size``.
        padding: as for ``conv2d``.
        data_format: ``"channels_last"`` or ``"channels_first"``.
        count_include_pad: count the padded cells, which are 0, too.

    Returns:
        ``(n, oh, ow, c)`` with ``oh = (h + top + bottom - pool_h) // stride_h + 1``.

    Raises:
        ValueError: a window lies wholly in the padding and ``count_include_pad`` is False: nothing to average.

    Example:
        >>> x = np.arange(16.0).reshape(1, 4, 4, 1)
        >>> avg_pool2d(x, 2)[0, :, :, 0]
        array([[ 2.5,  4.5],
               [10.5, 12.5]])

    References:
        V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, section 3.
    """
    images = to_channels_last(x, data_format)
    n, h, w, channels = images.shape
    (pool_h, pool_w), (stride_h, stride_w) = pair(pool_size), pair(pool_size if strides is None else strides)
    ((top, _), (left, _)), (oh, ow) = pads_and_output((h, w), (pool_h, pool_w), (stride_h, stride_w), (1, 1), padding)
    y = np.full((n, oh, ow, channels), np.nan)
    image_cells = cells(images)

    for image, row, col, c in product(range(n), range(oh), range(ow), range(channels)):
        total, count = 0.0, 0
        for a in range(pool_h):
            in_row = row * stride_h + a - top
            if not 0 <= in_row < h:
                continue
            for b in range(pool_w):
                in_col = col * stride_w + b - left
                if not 0 <= in_col < w:
                    continue
                total += image_cells[image, in_row, in_col, c]
                count += 1
        if count_include_pad:
            count = pool_h * pool_w
        if count == 0:
            raise ValueError(f"avg_pool2d: the window of output cell ({row}, {col}) lies wholly in the padding.")
        y[image, row, col, c] = total / count

    return round_to(from_channels_last(y, data_format), float_type(x))


def avg_pool2d_grad(
    grad_output: Any,
    input_shape: Any,
    *,
    pool_size: Any = 2,
    strides: Any = None,
    padding: Any = "valid",
    data_format: str = "channels_last",
    count_include_pad: bool = False,
) -> np.ndarray:
    """Share each output cell's gradient equally among the input cells that it averaged.

    ::

        grad_input[n, r, s, c] += grad_output[n, i, j, c] / count      for each real cell (r, s) of the window of (i, j)

    Args:
        grad_output: ``(n, oh, ow, c)`` or as ``data_format`` says.
        input_shape: shape of the images, in the order that ``data_format`` says.
        pool_size, strides, padding, data_format, count_include_pad: as given to ``avg_pool2d``.

    Returns:
        An array of shape ``input_shape``.

    Example:
        >>> avg_pool2d_grad(np.full((1, 1, 1, 1), 8.0), (1, 2, 2, 1))[0, :, :, 0]
        array([[2., 2.],
               [2., 2.]])

    References:
        I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", MIT Press 2016, section 9.3.
    """
    grads = to_channels_last(grad_output, data_format)
    n, h, w, channels = shape_channels_last(input_shape, data_format)
    (pool_h, pool_w), (stride_h, stride_w) = pair(pool_size), pair(pool_size if strides is None else strides)
    ((top, _), (left, _)), (oh, ow) = pads_and_output((h, w), (pool_h, pool_w), (stride_h, stride_w), (1, 1), padding)
    result = np.zeros((n, h, w, channels))
    grad_cells, grad_input = cells(grads), cells(result)

    for image, row, col, c in product(range(n), range(oh), range(ow), range(channels)):
        window = [
            (in_row, in_col)
            for in_row in range(row * stride_h - top, row * stride_h - top + pool_h)
            for in_col in range(col * stride_w - left, col * stride_w - left + pool_w)
            if 0 <= in_row < h and 0 <= in_col < w
        ]
        count = pool_h * pool_w if count_include_pad else len(window)
        for in_row, in_col in window:
            grad_input[image, in_row, in_col, c] += grad_cells[image, row, col, c] / count

    return round_to(from_channels_last(result, data_format), float_type(grad_output))
