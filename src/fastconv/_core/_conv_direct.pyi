from collections.abc import Sequence

from .._shapes import Pair
from .._typing import Array

class ConvPlan:
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
        tap_weights: Sequence[int],
        groups: int,
        group_inputs: int,
        group_outputs: int,
        weight_strides: tuple[int, int, int],
        out_strides: tuple[int, int, int, int],
    ) -> None: ...
    @property
    def work(self) -> float: ...
    @property
    def nbytes(self) -> int: ...
    def __call__(self, x: Array, kernel: Array, bias: Array | None, out: Array, activation: int) -> None: ...
