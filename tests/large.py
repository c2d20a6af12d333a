"""Arrays of more than 2**31 elements that take a few megabytes: the same pages of memory again and again (Linux)."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from math import prod
from typing import Any

import numpy as np

MAP_FIXED = 0x10
MAP_NORESERVE = 0x4000
# Elements until the array repeats itself. A prime number of pages: an offset that has lost its upper bits, 2**31 or
# 2**32 elements or bytes, lands on another cell.
PERIOD = 4099 * mmap.PAGESIZE // 4


def repeating(shape: tuple[int, ...], values: np.ndarray | None = None) -> np.ndarray:
    """A float32 array whose flat cell i is the cell i % PERIOD of ``values`` (of PERIOD), or of zeros."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    period = 4 * PERIOD
    size = -(-4 * prod(shape) // period) * period
    file = os.memfd_create("repeating")
    os.ftruncate(file, period)
    start = libc.mmap(None, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    for offset in range(0, size, period):
        flags = mmap.MAP_SHARED | MAP_FIXED
        address = libc.mmap(start + offset, period, mmap.PROT_READ | mmap.PROT_WRITE, flags, file, 0)
        assert address == start + offset, os.strerror(ctypes.get_errno())
    os.close(file)
    memory = (ctypes.c_float * prod(shape)).from_address(start)
    weakref.finalize(memory, libc.munmap, start, size)
    array = np.frombuffer(memory, np.float32).reshape(shape)
    if values is not None:
        array.reshape(-1)[:PERIOD] = values
    return array


def cells(values: np.ndarray, shape: tuple[int, ...], *places: Any) -> np.ndarray:
    """The cells of ``repeating(shape, values)`` at some places, worked out in Python's integers and int64."""
    flat = np.zeros((), np.int64)
    for size, place in zip(shape, np.broadcast_arrays(*places), strict=True):
        flat = flat * size + place.astype(np.int64)
    return values[flat % PERIOD]
