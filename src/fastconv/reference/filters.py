"""Filters on one channel at a time, as nested loops: what ``scipy.signal.convolve2d`` and ``correlate2d`` compute."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from ._arguments import cells, float_type, round_to


def convolve2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> np.ndarray:
    """Convolve each channel of an image with a kernel.

    ::

        y[i, j] = sum over a, b of in1[i + top - a, j + left - b] * in2[a, b]

    where (top, left) is (0, 0) for ``"full"``, ``(kh - 1) // 2, (kw - 1) // 2`` for ``"same"`` and
    ``(kh - 1, kw - 1)`` for ``"valid"``.

    Args:
        in1: image, ``(h, w)`` or ``(h, w, c)``.
        in2: kernel, ``(kh, kw)``.
        mode: size of the answer: ``"full"``, ``(h + kh - 1, w + kw - 1)``; ``"same"``, ``(h, w)``; ``"valid"``,
            ``(h - kh + 1, w - kw + 1)``. For ``"valid"`` image and kernel change places if the kernel is the larger.
        boundary: what is read beside the image: ``"fill"``, fillvalue; ``"wrap"``, the other side; ``"symm"``, the
            mirror image.
        fillvalue: a number. 0 is not multiplied but left out, so that not even an Inf in the kernel meets it.

    Returns:
        The answer, in the common type of the arguments, float64 for whole numbers.

    Example:
        >>> convolve2d([[1, 2, 3]], [[1, 10]])
        array([[ 1., 12., 23., 30.]])

    References:
        R. Gonzalez, R. Woods, "Digital Image Processing", 4th ed., Pearson 2018, section 3.4.
    """
    dtype, in1, in2 = float_type(in1, in2), np.asarray(in1), np.asarray(in2)
    if mode == "valid" and (in1.shape[0] < in2.shape[0] or in1.shape[1] < in2.shape[1]):
        return round_to(_each_channel(in1, lambda kernel: _correlate(in2, kernel[::-1, ::-1], (0, 0), mode)), dtype)
    kh, kw = in2.shape
    above, left = {"full": (kh - 1, kw - 1), "same": (kh // 2, kw // 2), "valid": (0, 0)}[mode]
    kernel = in2[::-1, ::-1]
    y = _each_channel(in1, lambda image: _correlate(image, kernel, (above, left), mode, boundary, fillvalue))
    return round_to(y, dtype)


def correlate2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> np.ndarray:
    """Slide a kernel over each channel of an image.

    ::

        y[i, j] = sum over a, b of in1[i + a - top, j + b - left] * in2[a, b]

    where (top, left) is ``(kh - 1, kw - 1)`` for ``"full"``, ``(kh - 1) // 2, (kw - 1) // 2`` for ``"same"`` and (0, 0)
    for ``"valid"``. If image and kernel change places, the answer is turned by 180 degrees.

    Args:
        in1, in2, mode, boundary, fillvalue: as for ``convolve2d``.

    Returns:
        As ``convolve2d``.

    Example:
        >>> correlate2d([[1, 2, 3]], [[1, 10]])
        array([[10., 21., 32.,  3.]])

    References:
        R. Gonzalez, R. Woods, "Digital Image Processing", 4th ed., Pearson 2018, section 3.4.
    """
    dtype, in1, in2 = float_type(in1, in2), np.asarray(in1), np.asarray(in2)
    if mode == "valid" and (in1.shape[0] < in2.shape[0] or in1.shape[1] < in2.shape[1]):
        y = _each_channel(in1, lambda kernel: _correlate(in2, kernel, (0, 0), mode)[::-1, ::-1])
        return round_to(y, dtype)
    kh, kw = in2.shape
    above, left = {"full": (kh - 1, kw - 1), "same": ((kh - 1) // 2, (kw - 1) // 2), "valid": (0, 0)}[mode]
    y = _each_channel(in1, lambda image: _correlate(image, in2, (above, left), mode, boundary, fillvalue))
    return round_to(y, dtype)


def _each_channel(array: np.ndarray, plane_filter: Any) -> np.ndarray:
    """The filter on every plane of (h, w) or (h, w, c)."""
    if array.ndim == 2:
        return plane_filter(array)
    return np.stack([plane_filter(array[:, :, c]) for c in range(array.shape[2])], axis=2)


def _correlate(
    image: np.ndarray,
    kernel: np.ndarray,
    origin: tuple[int, int],
    mode: str,
    boundary: str = "fill",
    fillvalue: float = 0,
) -> np.ndarray:
    """One plane; the first window begins origin = (rows, columns) above and left of the image."""
    (h, w), (kh, kw), (above, left) = image.shape, kernel.shape, origin
    oh, ow = {"full": (h + kh - 1, w + kw - 1), "same": (h, w), "valid": (h - kh + 1, w - kw + 1)}[mode]
    y = np.full((oh, ow), np.nan)
    image_cells, kernel_cells = cells(image), cells(np.ascontiguousarray(kernel))

    for row, col in product(range(oh), range(ow)):
        total = 0.0
        for a, b in product(range(kh), range(kw)):
            in_row, in_col = row + a - above, col + b - left
            if boundary == "fill" and not (0 <= in_row < h and 0 <= in_col < w):
                if fillvalue != 0:
                    total += float(fillvalue) * kernel_cells[a, b]
                continue
            total += image_cells[_inside(in_row, h, boundary), _inside(in_col, w, boundary)] * kernel_cells[a, b]
        y[row, col] = total
    return y


def _inside(place: int, size: int, boundary: str) -> int:
    """The row or column of the image that is read for a place beside it, however far away."""
    if boundary == "wrap":
        return place % size
    place %= 2 * size
    return place if place < size else 2 * size - 1 - place
