from .._shapes import Pair
from .._typing import Array

def im2col(
    x: Array,
    cols: Array,
    *,
    itemsize: int,
    n: int,
    image: tuple[int, int, int],
    grid: Pair,
    window: Pair,
    strides: Pair,
    dilation: Pair,
    origin: Pair,
) -> None: ...
def finite(x: Array, *, itemsize: int, count: int) -> bool: ...
def col2im(
    cols: Array,
    out: Array,
    *,
    itemsize: int,
    n: int,
    image: tuple[int, int, int],
    grid: Pair,
    window: Pair,
    strides: Pair,
    dilation: Pair,
    origin: Pair,
    accumulate: bool = False,
) -> None: ...
