"""What the loops need before they start: pairs, pads, and arrays that hand out plain Python floats."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from .._shapes import Pads, Pair, output_hw, resolve_padding


def pair(value: Any) -> Pair:
    """An int stands for both directions: ``3`` means ``(3, 3)``."""
    if isinstance(value, (tuple, list)):
        height, width = value
        return int(height), int(width)
    return int(value), int(value)


def check_channels(where: str, in_channels: int, channels: int, filters: int, groups: int) -> None:
    """Refuse a kernel whose channels are not the image's: the loops would leave some out, or read beyond."""
    if groups < 1 or filters % groups or channels * groups != in_channels:
        raise ValueError(
            f"{where}: a kernel of {channels} channels and {filters} filters in {groups} groups does not fit images of "
            f"{in_channels} channels."
        )


def pads_and_output(size: Pair, window: Pair, strides: Pair, dilation: Pair, padding: Any) -> tuple[Pads, Pair]:
    """The four pads ((top, bottom), (left, right)) and the output's (height, width)."""
    if not isinstance(padding, str):
        if isinstance(padding, (tuple, list)) and isinstance(padding[0], (tuple, list)):
            padding = (pair(padding[0]), pair(padding[1]))
        else:
            vertical, horizontal = pair(padding)
            padding = ((vertical, vertical), (horizontal, horizontal))
    pads = resolve_padding(padding, size, window, strides, dilation)
    return pads, output_hw(size, window, strides, dilation, pads)


def cells(array: Any) -> memoryview[float]:
    """The array's cells as float64, to be read as ``cells[image, row, col, channel]``; written too, if it is float64.

    A memoryview gives and takes plain Python floats: twice as fast as NumPy's scalars, the same IEEE double arithmetic,
    and an Inf or NaN on the way raises no warning.
    """
    return cast("memoryview[float]", np.asarray(array, dtype=np.float64).data)


def float_type(*arrays: Any) -> np.dtype:
    """The type of the answer: ``numpy.result_type`` of the arguments, float64 for whole numbers."""
    dtype = np.result_type(*(np.asarray(array) for array in arrays))
    return dtype.newbyteorder("=") if dtype.kind == "f" else np.dtype(np.float64)


def round_to(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The float64 answer, rounded once, to the type of the arguments."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array).astype(dtype, copy=False)


def to_channels_last(array: Any, data_format: str) -> np.ndarray:
    """``(n, c, h, w)`` seen as ``(n, h, w, c)``; an array that is channels-last already is left alone."""
    array = np.asarray(array)
    return np.moveaxis(array, 1, -1) if data_format == "channels_first" else array


def from_channels_last(array: np.ndarray, data_format: str) -> np.ndarray:
    """The way back: ``(n, h, w, c)`` seen as ``(n, c, h, w)`` if that is the caller's format."""
    return np.moveaxis(array, -1, 1) if data_format == "channels_first" else array


def shape_channels_last(shape: Any, data_format: str) -> tuple[int, int, int, int]:
    """The four sizes in the order (n, h, w, c)."""
    n, *rest = shape
    h, w, c = (*rest[1:], rest[0]) if data_format == "channels_first" else rest
    return int(n), int(h), int(w), int(c)
