"""Batches of images, each seen through an affine map of its own, and the adjoint: the arithmetic of augmentation.

An output pixel (row i, column j) of an image with the map ``[a0, a1, a2, b0, b1, b2]`` is the image at row
``b0·j + b1·i + b2``, column ``a0·j + a1·i + a2``: Keras's convention. The images are widened first as the fill mode
says, as far as the maps reach, so that afterwards no pixel needs a case of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .base import Array

FILL_MODES = ("reflect", "wrap", "constant", "nearest")
INTERPOLATIONS = ("nearest", "bilinear")
# Output pixels that are worked on at a time: of 2**11 … 2**15 the quickest for batches of 128 × 28 × 28, or within a
# sixth of it. Above 128 kB the C library asks the system for the memory of every intermediate array.
_PIXELS = 2**13


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
        self._bilinear = sampling.interpolation == "bilinear"
        self._maps = maps.astype(dtype).T[:, :, None, None]
        _, h, w, _ = shape
        self._grid = np.arange(h, dtype=dtype)[:, None], np.arange(w, dtype=dtype)
        # Where no map turns, rows depend on i and columns on j alone, and their arrays stay as small.
        self._turns = bool(self._maps[1].any() or self._maps[3].any())
        # An affine map has its extremes in the corners, after rounding too.
        rows, cols = self._coordinates(slice(None), (self._grid[0][[0, -1]], self._grid[1][[0, -1]]))
        top, left = max(0, -int(np.floor(rows.min()))), max(0, -int(np.floor(cols.min())))
        bottom, right = max(h, int(np.floor(rows.max())) + 2), max(w, int(np.floor(cols.max())) + 2)
        self._rows = source_indices(-top, bottom, h, sampling.fill_mode)
        self._cols = source_indices(-left, right, w, sampling.fill_mode)
        self._origin, self._wide = (top, left), (len(self._rows), len(self._cols))

    def forward(self, images: Array, out: Array | None = None) -> Array:
        """The images (n, h, w, c) through the maps."""
        out = np.empty(self._shape, images.dtype) if out is None else out
        channels = self._shape[3]
        wide = [self._widen(images[..., channel]) for channel in range(channels)]
        for part in self._parts():
            places, weights = self._places(part)
            for channel in range(channels):
                values = self._read(wide[channel][part], places)
                out[part, ..., channel] = _blend(values, *weights) if self._bilinear else values[0]
        return out

    def backward(self, grads: Array, out: Array | None = None) -> Array:
        """The adjoint: each gradient goes back to the pixels that were read, with their weights."""
        out = np.empty(self._shape, grads.dtype) if out is None else out
        out[...] = 0
        size = self._wide[0] * self._wide[1]
        for part in self._parts():
            places, weights = self._places(part)
            count = len(places)
            for channel in range(self._shape[3]):
                grad = grads[part, ..., channel]
                wide = np.zeros(count * size)
                for offset, share in zip(self._taps(), self._shares(grad, weights), strict=True):
                    wide += np.bincount((places + offset).ravel(), share.ravel(), minlength=count * size)
                self._narrow(wide.reshape(count, *self._wide), out[part, ..., channel])
        return out

    def _parts(self) -> Iterator[slice]:
        """The batch in parts whose arrays stay in the cache."""
        n, h, w, _ = self._shape
        step = max(_PIXELS // (h * w), 1)
        return (slice(first, min(first + step, n)) for first in range(0, n, step))

    def _coordinates(self, part: slice, grid: tuple[Array, Array]) -> tuple[Array, Array]:
        """Rows and columns that are read, as floats that broadcast to (images, h, w)."""
        a0, a1, a2, b0, b1, b2 = self._maps[:, part]
        i, j = grid
        if self._turns:
            return b0 * j + (b1 * i + b2), a0 * j + (a1 * i + a2)
        return b1 * i + b2, a0 * j + a2

    def _places(self, part: slice) -> tuple[Array, tuple[Array, ...]]:
        """The first pixel that each output pixel reads, counted in the part's widened images, and the weights."""
        rows, cols = self._coordinates(part, self._grid)
        weights: tuple[Array, ...] = ()
        if self._bilinear:
            whole = np.floor(rows), np.floor(cols)
            weights = rows - whole[0], cols - whole[1]
            rows, cols = whole
        else:  # halves away from 0
            rows, cols = (np.trunc(np.copysign(0.5, axis, dtype=axis.dtype) + axis) for axis in (rows, cols))
        (top, left), (height, width) = self._origin, self._wide
        first = (np.arange(len(rows)) * (height * width) + (top * width + left))[:, None, None]
        places = rows.astype(np.intp) * width + first
        if self._turns:
            places += cols.astype(np.intp)
            return places, weights
        return places + cols.astype(np.intp), weights

    def _taps(self) -> tuple[int, ...]:
        """How far behind its place each of an output pixel's inputs lies: itself; right, below, below and right."""
        width = self._wide[1]
        return (0, 1, width, width + 1) if self._bilinear else (0,)

    def _read(self, wide: Array, places: Array) -> list[Array]:
        """The values of all taps. Every place is inside; mode="clip" spares the check, and the copy that it costs."""
        flat = wide.reshape(-1)
        return [flat[offset:].take(places, mode="clip") for offset in self._taps()]

    def _shares(self, grad: Array, weights: tuple[Array, ...]) -> list[Array]:
        """The gradient as it goes to each tap."""
        if not self._bilinear:
            return [grad]
        down, right = weights
        lower = grad * down
        upper = grad - lower
        return [upper * (1 - right), upper * right, lower * (1 - right), lower * right]

    def _widen(self, plane: Array) -> Array:
        """One channel (n, h, w) of the batch, extended to all that the maps read."""
        n, h, w = plane.shape
        top, left = self._origin
        wide = np.empty((n, *self._wide), plane.dtype)
        middle = wide[:, top : top + h]
        middle[:, :, left : left + w] = plane
        if self._sampling.fill_mode == "constant":
            for border in (middle[:, :, :left], middle[:, :, left + w :], wide[:, :top], wide[:, top + h :]):
                border[...] = self._sampling.fill_value
        else:
            for place in (slice(left), slice(left + w, None)):
                middle[:, :, place] = plane[:, :, self._cols[place]]
            for place in (slice(top), slice(top + h, None)):
                wide[:, place] = middle[:, self._rows[place]]
        return wide

    def _narrow(self, wide: Array, out: Array) -> None:
        """The adjoint of ``_widen``, added to ``out``."""
        real_rows, real_cols = self._rows >= 0, self._cols >= 0
        narrow = np.zeros((*out.shape[:2], self._wide[1]))
        for row, source in zip(np.flatnonzero(real_rows), self._rows[real_rows], strict=True):
            narrow[:, source] += wide[:, row]
        for col, source in zip(np.flatnonzero(real_cols), self._cols[real_cols], strict=True):
            out[:, :, source] += narrow[:, :, col]


def _blend(values: list[Array], down: Array, right: Array) -> Array:
    """Four neighbours, weighted by the place between them; written over the first."""
    upper, upper_right, lower, lower_right = values
    for left, other in ((upper, upper_right), (lower, lower_right)):
        other -= left
        other *= right
        left += other
    lower -= upper
    lower *= down
    upper += lower
    return upper
