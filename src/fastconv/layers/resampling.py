"""Batches of images, each seen through an affine map of its own, and the adjoint: the arithmetic of augmentation.

An output pixel (row i, column j) of an image with the map ``[a0, a1, a2, b0, b1, b2]`` is the image at row
``b0·j + b1·i + b2``, column ``a0·j + a1·i + a2``: Keras's convention. The images are widened first as the fill mode
says, as far as the maps reach, so that afterwards no pixel needs a case of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ops.resampling import read_affine, spread_affine
from .base import Array

FILL_MODES = ("reflect", "wrap", "constant", "nearest")
INTERPOLATIONS = ("nearest", "bilinear")


class Sampling(NamedTuple):
    """How a value is read between the pixels and beyond the border."""

    interpolation: str = "bilinear"
    fill_mode: str = "reflect"
    fill_value: float = 0.0


def source_indices(first: int, last: int, size: int, fill_mode: str) -> Array:
    """Which real row stands at the positions first … last - 1 of an image of ``size`` rows; -1: the fill value.

    ``reflect`` d c b a | a b c d | d c b a, ``wrap`` a b c d | a b c d | a b c d, ``nearest`` a a a | a b c d | d d d.

    Example:
        >>> source_indices(-2, 5, 3, "reflect").tolist(), source_indices(-2, 5, 3, "wrap").tolist()
        ([1, 0, 0, 1, 2, 2, 1], [1, 2, 0, 1, 2, 0, 1])
    """
    positions = np.arange(first, last)
    if fill_mode == "wrap":
        return positions % size
    if fill_mode == "reflect":
        positions %= 2 * size
        return np.minimum(positions, 2 * size - 1 - positions)
    if fill_mode == "nearest":
        return positions.clip(0, size - 1)
    return np.where((positions >= 0) & (positions < size), positions, -1)


class Resampler:
    """The maps of one batch, ready to be applied to its images, and to gradients in the other direction.

    Args:
        maps: (n, 6), float64.
        shape: the images', (n, h, w, c).
        dtype: the images' type, in which coordinates and weights are computed too.
        sampling: how to read.

    Example:
        >>> shift = np.array([[1.0, 0, -1, 0, 1, 0]])  # each pixel reads its left neighbour
        >>> image = np.array([[1.0, 2, 3], [4, 5, 6]]).reshape(1, 2, 3, 1)
        >>> Resampler(shift, image.shape, image.dtype, Sampling(fill_mode="constant")).forward(image)[0, :, :, 0]
        array([[0., 1., 2.],
               [0., 4., 5.]])
    """

    def __init__(self, maps: Array, shape: tuple[int, ...], dtype: np.dtype, sampling: Sampling) -> None:
        self._shape, self._sampling = shape, sampling
        self._maps = np.ascontiguousarray(maps, dtype)
        _, h, w, _ = shape
        # An affine map has its extremes in the corners, after rounding too.
        a0, a1, a2, b0, b1, b2 = self._maps.T[:, :, None, None]
        i, j = np.array([[0], [h - 1]], dtype), np.array([0, w - 1], dtype)
        rows, cols = b0 * j + (b1 * i + b2), a0 * j + (a1 * i + a2)
        top, left = max(0, -int(np.floor(rows.min()))), max(0, -int(np.floor(cols.min())))
        bottom, right = max(h, int(np.floor(rows.max())) + 2), max(w, int(np.floor(cols.max())) + 2)
        self._rows = source_indices(-top, bottom, h, sampling.fill_mode)
        self._cols = source_indices(-left, right, w, sampling.fill_mode)
        self._origin, self._wide = (top, left), (len(self._rows), len(self._cols))

    def forward(self, images: Array, out: Array | None = None) -> Array:
        """The images (n, h, w, c) through the maps."""
        y = out if out is not None and out.flags.c_contiguous else np.empty(self._shape, images.dtype)
        read_affine(self._widen(images), self._maps, y, origin=self._origin, bilinear=self._bilinear())
        return self._into(out, y)

    def backward(self, grads: Array, out: Array | None = None) -> Array:
        """The adjoint: each gradient goes back to the pixels that were read, with their weights."""
        n, _, _, channels = self._shape
        wide = np.zeros((n, *self._wide, channels))
        spread_affine(np.ascontiguousarray(grads), self._maps, wide, origin=self._origin, bilinear=self._bilinear())
        return self._into(out, self._narrow(wide).astype(grads.dtype))

    def _bilinear(self) -> bool:
        return self._sampling.interpolation == "bilinear"

    @staticmethod
    def _into(out: Array | None, result: Array) -> Array:
        """``result``, or ``out`` with its values."""
        if out is None or out is result:
            return result
        out[...] = result
        return out

    def _widen(self, images: Array) -> Array:
        """The images (n, h, w, c), extended to all that the maps read."""
        n, h, w, channels = images.shape
        top, left = self._origin
        wide = np.empty((n, *self._wide, channels), images.dtype)
        middle = wide[:, top : top + h]
        middle[:, :, left : left + w] = images
        if self._sampling.fill_mode == "constant":
            for border in (middle[:, :, :left], middle[:, :, left + w :], wide[:, :top], wide[:, top + h :]):
                border[...] = self._sampling.fill_value
        else:
            for place in (slice(left), slice(left + w, None)):
                middle[:, :, place] = images[:, :, self._cols[place]]
            for place in (slice(top), slice(top + h, None)):
                wide[:, place] = middle[:, self._rows[place]]
        return wide

    def _narrow(self, wide: Array) -> Array:
        """The adjoint of ``_widen``."""
        n, h, _, channels = self._shape
        real_rows, real_cols = self._rows >= 0, self._cols >= 0
        low = np.zeros((n, h, self._wide[1], channels))
        for row, source in zip(np.flatnonzero(real_rows), self._rows[real_rows], strict=True):
            low[:, source] += wide[:, row]
        narrow = np.zeros(self._shape)
        for col, source in zip(np.flatnonzero(real_cols), self._cols[real_cols], strict=True):
            narrow[:, :, source] += low[:, :, col]
        return narrow
