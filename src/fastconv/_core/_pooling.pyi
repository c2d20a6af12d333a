from .._shapes import Pair
from .._typing import Array

def pool2d(
    x: Array,
    y: Array,
    indices: Array | None,
    *,
    itemsize: int,
    image: tuple[int, int, int, int],
    grid: Pair,
    window: Pair,
    strides: Pair,
    origin: Pair,
    is_max: bool,
    window_cells: int = 0,
) -> None: ...
def avg_pool2d_grad(
    grad_output: Array,
    out: Array,
    *,
    itemsize: int,
    image: tuple[int, int, int, int],
    grid: Pair,
    window: Pair,
    strides: Pair,
    origin: Pair,
    window_cells: int = 0,
) -> None: ...
def max_pool2d_spread(
    grad_output: Array,
    indices: Array,
    out: Array,
    *,
    itemsize: int,
    image: tuple[int, int, int, int],
    grid: Pair,
    window: Pair,
    strides: Pair,
    origin: Pair,
) -> None: ...
def max_pool2d_grad(
    grad_output: Array,
    indices: Array,
    out: Array,
    *,
    itemsize: int,
    n: int,
    in_pixels: int,
    out_pixels: int,
    c: int,
) -> None: ...
