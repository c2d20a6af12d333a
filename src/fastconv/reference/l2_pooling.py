"""L2 pooling and its gradient, as nested loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from ._arguments import cells, float_type, from_channels_last, pads_and_output, pair, round_to, to_channels_last


def l2_pool2d(
    x: Any, pool_size: Any = 2, *, strides: Any = None, padding: Any = "valid", data_format: str = "channels_last"
) -> np.ndarray:
    """Take the Euclidean norm of each window, per channel.

    ::

        y[n, i, j, c] = np.sqrt(sum of x[n, r, s, c] ** 2 over the cells (r, s) of the window that lie in the image)

    Args:
        x: images, ``(n, h, w, c)`` or as ``data_format`` says.
        pool_size: size of the window, an int or ``(h, w)``.
        strides: cells that the window moves, an int or ``(h, w)``; None means ``pool_size``.
        padding: as for ``conv2d``.
        data_format: ``"channels_last"`` or ``"channels_first"``.

    Returns:
        ``(n, oh, ow, c)`` with ``oh = (h + top + bottom - pool_h) // stride_h + 1``.

    Example:
        >>> l2_pool2d(np.array([3.0, 0.0, 0.0, -4.0]).reshape(1, 2, 2, 1)).ravel()
        array([5.])
    """
    images = to_channels_last(x, data_format)
    n, h, w, channels = images.shape
    (pool_h, pool_w), (stride_h, stride_w) = pair(pool_size), pair(pool_size if strides is None else strides)
    ((top, _), (left, _)), (oh, ow) = pads_and_output((h, w), (pool_h, pool_w), (stride_h, stride_w), (1, 1), padding)
    y = np.full((n, oh, ow, channels), np.nan)
    image_cells = cells(images)

    for image, row, col, c in product(range(n), range(oh), range(ow), range(channels)):
        total = 0.0
        for a, b in product(range(pool_h), range(pool_w)):
            in_row, in_col = row * stride_h + a - top, col * stride_w + b - left
            if 0 <= in_row < h and 0 <= in_col < w:
                total += image_cells[image, in_row, in_col, c] ** 2
        y[image, row, col, c] = float(np.sqrt(total))

    return round_to(from_channels_last(y, data_format), float_type(x))


def l2_pool2d_grad(
    grad_output: Any,
    x: Any,
    *,
    pool_size: Any = 2,
    strides: Any = None,
    padding: Any = "valid",
    data_format: str = "channels_last",
) -> np.ndarray:
    """Hand each output cell's gradient to the input cells of its window, in proportion to their values.

    ::

        grad_input[n, r, s, c] += grad_output[n, i, j, c] * x[n, r, s, c] / y[n, i, j, c]

    for each real cell (r, s) of the window of (i, j); nothing from a window whose norm is 0.

    Args:
        grad_output: ``(n, oh, ow, c)`` or as ``data_format`` says.
        x: images, as given to ``l2_pool2d``.
        pool_size, strides, padding, data_format: as given to ``l2_pool2d``.

    Returns:
        An array like ``x``.

    Example:
        >>> l2_pool2d_grad(np.full((1, 1, 1, 1), 10.0), np.array([3.0, 0.0, 0.0, -4.0]).reshape(1, 2, 2, 1)).ravel()
        array([ 6.,  0.,  0., -8.])
    """
    images, grads = to_channels_last(x, data_format), to_channels_last(grad_output, data_format)
    n, h, w, channels = images.shape
    (pool_h, pool_w), (stride_h, stride_w) = pair(pool_size), pair(pool_size if strides is None else strides)
    ((top, _), (left, _)), (oh, ow) = pads_and_output((h, w), (pool_h, pool_w), (stride_h, stride_w), (1, 1), padding)
    norms = l2_pool2d(images.astype(np.float64), pool_size, strides=strides, padding=padding)
    result = np.zeros((n, h, w, channels))
    image_cells, grad_cells, norm_cells, grad_input = cells(images), cells(grads), cells(norms), cells(result)

    for image, row, col, c in product(range(n), range(oh), range(ow), range(channels)):
        norm = norm_cells[image, row, col, c]
        if norm == 0:
            continue
        for a, b in product(range(pool_h), range(pool_w)):
            in_row, in_col = row * stride_h + a - top, col * stride_w + b - left
            if 0 <= in_row < h and 0 <= in_col < w:
                share = grad_cells[image, row, col, c] / norm
                grad_input[image, in_row, in_col, c] += image_cells[image, in_row, in_col, c] * share

    return round_to(from_channels_last(result, data_format), float_type(x, grad_output))
