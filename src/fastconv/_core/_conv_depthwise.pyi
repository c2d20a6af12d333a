from collections.abc import Sequence

from .._shapes import Pair
from .._typing import Array

class DepthwisePlan:
    def __init__(
        self,
        *,
        isa: str,
        itemsize: int,
        image: tuple[int, int, int, int],
        grid: Pair,
        kernel_size: Pair,
        group_size: int,
        multiplier: int,
        row_phases: Sequence[tuple[int, int, int, int, list[int], list[int]]],
        col_phases: Sequence[tuple[int, int, int, int, list[int], list[int]]],
        transposed: bool,
        pairs: tuple[int, int, int] | None = None,
    ) -> None: ...
    @property
    def work(self) -> float: ...
    @property
    def nbytes(self) -> int: ...
    def __call__(self, x: Array, kernel: Array, bias: Array | None, out: Array, activation: int) -> None: ...
