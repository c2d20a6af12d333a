"""Types of the public signatures."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
ArrayLike: TypeAlias = Any  # anything with __array__, the buffer protocol or __dlpack__
Size2D: TypeAlias = int | tuple[int, int]
Padding: TypeAlias = str | int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]
DataFormat: TypeAlias = Literal["channels_last", "channels_first"]
