"""Checks of the memory that results go to."""

from __future__ import annotations

from typing import Any

import numpy as np

from .ops import FLOATS


def check_out(
    where: str,
    out: Any,
    shape: tuple[int, ...],
    dtype: np.dtype,
    *inputs: np.ndarray | None,
    name: str = "out",
) -> None:
    """The argument ``name``, where a result goes, must be a writeable array of the result's shape and type.

    It must share no memory with an input, nor one of its cells with another.
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{where}: {name} must be a numpy array, received {type(out).__name__}.")
    if out.shape != shape or (out.dtype is not dtype and out.dtype != dtype):
        raise ValueError(
            f"{where}: {name} must have shape {shape} and dtype {dtype}, received shape {out.shape} and dtype "
            f"{out.dtype}. Make it with numpy.empty({shape}, {str(dtype)!r})."
        )
    if not out.flags.writeable:
        raise ValueError(f"{where}: {name} is read-only. Make it with numpy.empty({shape}, {str(dtype)!r}).")
    if not out.flags.c_contiguous and _cells_overlap(out):
        raise ValueError(
            f"{where}: cells of {name} share memory with each other (strides {out.strides} bytes). Make it with "
            f"numpy.empty({shape}, {str(dtype)!r})."
        )
    for array in inputs:
        if array is not None and _share_memory(out, array):
            raise ValueError(f"{where}: {name} overlaps an input; give it memory of its own.")


def check_apart(where: str, first: str, a: np.ndarray | None, second: str, b: np.ndarray | None) -> None:
    """Two results must not go to the same memory."""
    if a is not None and b is not None and _share_memory(a, b):
        raise ValueError(f"{where}: {first} overlaps {second}; give each memory of its own.")


def indices_out_error(where: str) -> ValueError:
    """An array for indices that nobody asked for."""
    return ValueError(
        f"{where}: indices_out is given, but return_indices is False. Pass return_indices=True, or leave it out."
    )


def check_update(where: str, **arrays: np.ndarray | None) -> None:
    """An optimiser's arrays: one shape, one type, contiguous and writeable, since they are changed in place."""
    param = arrays["param"]
    assert param is not None
    for name, array in arrays.items():
        if array is None:
            continue
        if array.dtype not in FLOATS or array.dtype != param.dtype or array.shape != param.shape:
            raise ValueError(
                f"{where}: {name} must have the shape and type of param, {param.shape} and {param.dtype} "
                f"(float32 or float64), received {array.shape} and {array.dtype}."
            )
        if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
            raise ValueError(f"{where}: {name} must be C-contiguous, aligned and writeable.")


def check_variable(where: str, variable: np.ndarray) -> None:
    """A parameter that an optimiser is about to change in place."""
    if not (variable.flags.carray and variable.dtype in FLOATS):
        raise ValueError(
            f"{where}: a variable must be float32 or float64, C-contiguous, aligned and writeable, received "
            f"{variable.dtype} with {'writeable' if variable.flags.writeable else 'read-only'} memory and strides "
            f"{variable.strides}. Make it with numpy.array(variable, 'float32')."
        )


def _cells_overlap(array: np.ndarray) -> bool:
    """Whether two cells of an array may be the same memory; never so for what slices and transposes give."""
    reach = array.itemsize
    for stride, size in sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True)):
        if size > 1:
            if stride < reach:
                return array.size > 0
            reach += stride * (size - 1)
    return False


def _share_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have a byte in common; True where finding out would take too long."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return bool(np.shares_memory(a, b, max_work=10_000))  # type: ignore[arg-type]  # NumPy's stub has -1 and 0 only
    except np.exceptions.TooHardError:
        return True
