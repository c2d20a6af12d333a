from collections.abc import Sequence

from .._shapes import Pair
from .._typing import Array

def pixel_cost(*, isa: str, itemsize: int, rows: int, row: int, channels: int) -> int: ...

class GradKernelPlan:
    def __init__(
        self,
        *,
        isa: str,
        itemsize: int,
        image: tuple[int, int, int, int],
        grid: Pair,
        steps: Pair,
        tap_rows: Sequence[int],
        tap_cols: Sequence[int],
        groups: int,
        group_inputs: int,
        group_outputs: int,
    ) -> None: ...
    @property
    def work(self) -> float: ...
    @property
    def nbytes(self) -> int: ...
    def __call__(self, x: Array, grad_output: Array, out: Array) -> None: ...
    def behind_pooling(
        self,
        x: Array,
        grad_output: Array,
        indices: Array,
        out: Array,
        *,
        image: tuple[int, int, int, int],
        grid: Pair,
        window: Pair,
        strides: Pair,
        origin: Pair,
    ) -> None: ...
    def add_pixels(self, wide: Array, out: Array, *, rows: int, cols: int, fold: int, stride: int) -> None: ...
