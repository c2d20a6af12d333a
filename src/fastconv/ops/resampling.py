"""Affine maps of widened images, and the adjoint. All arrays are C-contiguous and belong to the caller.

A map ``[a0, a1, a2, b0, b1, b2]`` says that the output pixel (i, j) is the image at row ``b0·j + b1·i + b2``, column
``a0·j + a1·i + a2``; the caller has widened the images so far that every pixel which the maps read is inside.
"""

from __future__ import annotations

from .._core import _resampling
from .._typing import Array


def read_affine(wide: Array, maps: Array, out: Array, *, origin: tuple[int, int], bilinear: bool) -> None:
    """``out`` (n, h, w, c) from ``wide`` (n, height, width, c) by ``maps`` (n, 6), all of one float type.

    ``origin``: the row and the column of ``wide`` where the images themselves begin. ``bilinear``: a value between the
    pixels is blended from four; else it is that of the nearest one.
    """
    _resampling.read(
        wide, maps, out,
        itemsize=out.itemsize, shape=out.shape, wide_size=wide.shape[1:3], origin=origin, bilinear=bilinear,
    )  # fmt: skip


def spread_affine(grads: Array, maps: Array, wide: Array, *, origin: tuple[int, int], bilinear: bool) -> None:
    """The adjoint: each of ``grads`` (n, h, w, c) is added to the pixels of ``wide``, float64, that were read."""
    _resampling.spread(
        grads, maps, wide,
        itemsize=grads.itemsize, shape=grads.shape, wide_size=wide.shape[1:3], origin=origin, bilinear=bilinear,
    )  # fmt: skip
