"""Copies of images on all threads, for arrays that are known to fit: C-contiguous, of one type."""

from __future__ import annotations

import math

from .._core import _copies
from .._shapes import Pads
from .._typing import Array


def take(x: Array, places: Array, out: Array) -> None:
    """``out[i] = x[places[i]]`` for int64 ``places`` within ``x``: a batch from its places in a data set."""
    _copies.take(x, places, out, math.prod(x.shape[1:]), x.itemsize)


def zero_pad(x: Array, out: Array, pads: Pads) -> None:
    """Zeros around images: ``x`` (n, h, w, …) within ``out`` (n, top + h + bottom, left + w + right, …)."""
    n, h, w, *pixel = x.shape
    _copies.pad(x, out, x.itemsize, (n, h, w, math.prod(pixel)), pads)
