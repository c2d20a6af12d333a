"""Convolution and max-pooling of one grey picture as nested loops: each output element by itself, nothing clever.

This is what the articles print to explain the two operations, and what fastconv computes thousands of times faster.
"VALID" keeps to windows inside the picture, so rows and columns that do not fill a window are dropped. "SAME" gives
ceil(size / stride) outputs; windows hang over the border by as much on both sides as can be, the odd cell at the end.
"""

from __future__ import annotations

import numpy as np


def convolve(image: np.ndarray, kernel: np.ndarray, stride: int = 1, padding: str = "VALID") -> np.ndarray:
    """Filter ``image`` (h, w) with ``kernel`` (kh, kw): the sum of products at each place of the window.

    Beyond the border the picture counts as 0. The kernel is not turned over: what networks call a convolution.
    """
    height, width = image.shape
    kernel_height, kernel_width = kernel.shape
    rows, top = window_count(height, kernel_height, stride, padding)
    columns, left = window_count(width, kernel_width, stride, padding)
    result = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            total = 0.0
            for a in range(kernel_height):
                for b in range(kernel_width):
                    y, x = i * stride - top + a, j * stride - left + b  # the stride moves the window
                    if 0 <= y < height and 0 <= x < width:
                        total += image[y, x] * kernel[a, b]
            result[i, j] = total
    return result


def max_pool(image: np.ndarray, size: int = 2, stride: int | None = None, padding: str = "VALID") -> np.ndarray:
    """The largest cell of ``image`` (h, w) in each window of size x size; cells beyond the border do not count."""
    stride = size if stride is None else stride
    height, width = image.shape
    rows, top = window_count(height, size, stride, padding)
    columns, left = window_count(width, size, stride, padding)
    result = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            largest = None  # not 0: a window may hold negative numbers only
            for a in range(size):
                for b in range(size):
                    y, x = i * stride - top + a, j * stride - left + b
                    if 0 <= y < height and 0 <= x < width and (largest is None or image[y, x] > largest):
                        largest = image[y, x]
            result[i, j] = largest
    return result


def window_count(size: int, window: int, stride: int, padding: str) -> tuple[int, int]:
    """How many windows there are along one axis, and how many cells the first one hangs over the border.

    Example:
        >>> window_count(5, 2, 2, "VALID"), window_count(5, 2, 2, "SAME")
        ((2, 0), (3, 0))
        >>> window_count(28, 3, 1, "SAME")
        (28, 1)
    """
    if padding == "VALID":
        return (size - window) // stride + 1, 0
    if padding != "SAME":
        raise ValueError(f'padding must be "VALID" or "SAME", not "{padding}".')
    count = -(-size // stride)
    return count, max((count - 1) * stride + window - size, 0) // 2


def clamp(image: np.ndarray) -> np.ndarray:
    """Whole grey values from 0 to 255, as a picture file has them: what a filter gives beyond is cut off."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
