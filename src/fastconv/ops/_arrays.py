"""Arrays as the kernels want them: contiguous, aligned NHWC; and back to the user's data format."""

from __future__ import annotations

import numpy as np

from .._core import _runtime
from .._validation import DATA_FORMATS, as_choice, check_out

LINED_MIN = 1 << 14  # elements; 0.5 us for the line, beside at least 10 us for the result


def contiguous(array: np.ndarray) -> np.ndarray:
    """The same values, C-contiguous and aligned; a copy only where needed."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.array(array, order="C", subok=False)


def lined_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Uninitialised memory from the start of a cache line on.

    A vector across two lines is read and written in twice the time, and then a pixel's channels share a line with the
    next one's: into lined memory 1x1 convolutions that expand few channels take half to three quarters of the time.
    """
    return _runtime.lined_empty(shape, dtype, 0)


def result_empty(shape: tuple[int, ...], dtype: np.dtype, beside: np.ndarray | None = None) -> np.ndarray:
    """Memory for a result of the array `beside`; lined, unless it is so small that this takes longer than it brings."""
    return _runtime.lined_empty(shape, dtype, LINED_MIN, beside)


def check_format(where: str, data_format: str) -> None:
    if data_format != "channels_last":
        as_choice(where, "data_format", data_format, DATA_FORMATS)


def as_nhwc(array: np.ndarray, data_format: str) -> np.ndarray:
    """An image batch of the user's data format as contiguous (n, h, w, c)."""
    return contiguous(array if data_format == "channels_last" else array.transpose(0, 2, 3, 1))


class Result:
    """Where an operation writes: the user's `out` if the kernels can write to it directly, else an array to copy.

    `array` is contiguous NHWC memory for the kernels; `finish()` gives what the user gets. With ``apart`` it is never
    `out` itself: what may still fail leaves `out` as it was.
    """

    def __init__(
        self,
        where: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        out: np.ndarray | None = None,
        data_format: str = "channels_last",
        inputs: tuple[np.ndarray | None, ...] = (),
        apart: bool = False,
        name: str = "out",
    ) -> None:
        # shape: NHWC, or any shape with channels_last; name: of the argument `out`
        self.out = out
        self.channels_first = data_format == "channels_first"
        source = inputs[0] if inputs else None
        if out is None:
            self.array = result_empty(shape, dtype, source)
            return
        plain = type(out) is np.ndarray and not (apart or self.channels_first)
        if plain and out.dtype is dtype and out.shape == shape and _runtime.is_own_memory(out, dtype.itemsize, inputs):
            self.array = out  # what a training loop gives: 1 us less than the checks below
            return
        expected = (shape[0], shape[3], shape[1], shape[2]) if self.channels_first else shape
        check_out(where, out, expected, dtype, *inputs, name=name)
        direct = not (apart or self.channels_first) and out.flags.c_contiguous and out.flags.aligned
        self.array = out if direct else result_empty(shape, dtype, source)

    def finish(self) -> np.ndarray:
        if self.array is self.out:
            return self.array
        result = self.array.transpose(0, 3, 1, 2) if self.channels_first else self.array
        if self.out is None:
            return np.ascontiguousarray(result) if self.channels_first else result
        self.out[...] = result
        return self.out
