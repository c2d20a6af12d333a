from .._shapes import Pair
from .._typing import Array

def filter2d(
    x: Array,
    kernel: Array,
    out: Array,
    itemsize: int,
    fillvalue: float,
    image: tuple[int, int, int],
    grid: Pair,
    window: Pair,
    origin: Pair,
    boundary: int,
    rotate: bool,
) -> None: ...
