"""What the tests judge by: exact integer data, guarded buffers, Higham's bound. No fastconv code in here."""

from __future__ import annotations

from typing import Any

import numpy as np

GUARD_BYTES = 256
GUARD = 0xFF  # four or eight of these bytes are a NaN, so that a value read from the guard poisons the answer
DTYPES = (np.float32, np.float64)


def integers(rng: np.random.Generator, shape: Any, dtype: Any = np.float32, largest: int = 4) -> np.ndarray:
    """Whole numbers from -largest to largest: with these every sum of products below 2**24 is exact in float32."""
    return rng.integers(-largest, largest + 1, shape).astype(dtype)


def normals(rng: np.random.Generator, shape: Any, dtype: Any = np.float32) -> np.ndarray:
    """Random signed numbers that are not round."""
    return rng.standard_normal(shape).astype(dtype)


# 25200 is divisible by the number of cells of every part of a window of at most 6 x 6 cells.
COMMON_MULTIPLE = 25200


def whole_averages(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    """Whole numbers whose shares are whole too, whatever number of a window's cells they are divided among."""
    return integers(rng, shape, dtype) * np.dtype(dtype).type(COMMON_MULTIPLE)


def poison(dtype: Any) -> Any:
    """A value that no test's data have: NaN, or an integer type's largest."""
    dtype = np.dtype(dtype)
    return np.nan if dtype.kind == "f" else True if dtype.kind == "b" else np.iinfo(dtype).max


class Guarded:
    """An array in the middle of a larger buffer whose margins must stay as they are.

    ``offset`` shifts the array by that many bytes, so that it is misaligned.
    """

    def __init__(self, shape: Any, dtype: Any, offset: int = 0) -> None:
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        start = GUARD_BYTES + offset
        self._buffer = np.full(start + size + GUARD_BYTES, GUARD, np.uint8)
        self._margins = (self._buffer[:start], self._buffer[start + size :])
        self.array = self._buffer[start : start + size].view(dtype).reshape(shape)

    def check(self) -> None:
        """Fail if anything was written before or behind the array."""
        for side, margin in zip(("before", "behind"), self._margins, strict=True):
            assert (margin == GUARD).all(), f"something was written {side} the array of shape {self.array.shape}"


def guarded_copy(array: np.ndarray, offset: int = 0) -> Guarded:
    """A copy of the array between guard bytes, C-contiguous."""
    guarded = Guarded(array.shape, array.dtype, offset)
    guarded.array[...] = array
    return guarded


def guarded_nan(shape: Any, dtype: Any) -> Guarded:
    """An output buffer that holds NaN until something is written: a cell that is skipped shows."""
    guarded = Guarded(shape, dtype)
    guarded.array[...] = poison(dtype)
    return guarded


def spoil_free_memory(nbytes: int) -> None:
    """Leave NaN in the memory that the allocator most likely hands out next, for outputs that nobody can pre-fill."""
    for _ in range(2):
        np.full(max(nbytes, 8) // 8, np.nan)


def unit_roundoff(dtype: Any) -> float:
    """Largest relative error of one rounded operation: 2**-24 in float32, 2**-53 in float64."""
    return float(np.finfo(dtype).eps) / 2


def gamma(terms: int, dtype: Any) -> float:
    """Higham's gamma_K = K u / (1 - K u): what K roundings in a row can cost, relative to the sum of magnitudes.

    N. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM 2002, section 3.1.
    """
    product = terms * unit_roundoff(dtype)
    assert product < 1, "the sum is too long for this bound"
    return product / (1 - product)


def assert_exact(actual: Any, expected: Any, dtype: Any = None, what: str = "") -> None:
    """Same shape, same type, same values; a NaN equals only a NaN."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if dtype is not None:
        assert actual.dtype == np.dtype(dtype), f"{what}: dtype {actual.dtype}, expected {np.dtype(dtype)}"
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    if (actual == expected).all():  # the quick and usual case
        return
    np.testing.assert_array_equal(actual, expected, err_msg=what)


def assert_same_bits(actual: np.ndarray, expected: np.ndarray, what: str = "") -> None:
    """Same shape, type and bytes: even the sign of zero and the bits of a NaN."""
    assert actual.dtype == expected.dtype, what
    assert actual.shape == expected.shape, what
    assert actual.tobytes() == expected.tobytes(), f"{what}: largest difference {np.abs(actual - expected).max()}"


def assert_within(actual: Any, expected: Any, bound: Any, what: str = "") -> None:
    """Every error at or below its own bound. A NaN in the error fails."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    error = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    bad = ~(error <= bound)
    if bad.any():
        excess = np.where(bad, error / np.broadcast_to(np.maximum(bound, 1e-300), error.shape), 0)
        worst = np.unravel_index(np.argmax(np.nan_to_num(excess, nan=np.inf)), error.shape)
        raise AssertionError(
            f"{what}: {bad.sum()} of {bad.size} cells out of bound; at {tuple(map(int, worst))} "
            f"{actual[worst]!r}, expected {expected[worst]!r}"
        )


def numerical_gradient(loss: Any, array: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of ``loss()`` for each cell of a float64 array, which is put back cell by cell."""
    gradient = np.empty_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        array[place] = kept + step
        above = loss()
        array[place] = kept - step
        below = loss()
        array[place] = kept
        gradient[place] = (above - below) / (2 * step)
    return gradient
