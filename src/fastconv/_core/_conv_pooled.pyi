from .._shapes import Pair
from .._typing import Array
from ._conv_direct import ConvPlan

def conv2d_max_pool2d(
    plan: ConvPlan,
    x: Array,
    kernel: Array,
    bias: Array | None,
    y: Array,
    indices: Array,
    activation: int,
    n: int,
    chunks: int,
    *,
    itemsize: int,
    image: tuple[int, int, int, int],
    grid: Pair,
    window: Pair,
    strides: Pair,
    origin: Pair,
) -> None: ...
