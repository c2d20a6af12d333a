from collections.abc import Sequence

from .._shapes import Pair
from .._typing import Array

class DepthwiseGradPlan:
    def __init__(
        self,
        *,
        isa: str,
        itemsize: int,
        image: tuple[int, int, int, int],
        grid: Pair,
        group_size: int,
        multiplier: int,
        row_phases: Sequence[tuple[int, int, int, int, list[int], list[int]]],
        col_phases: Sequence[tuple[int, int, int, int, list[int], list[int]]],
    ) -> None: ...
    @property
    def work(self) -> float: ...
    @property
    def nbytes(self) -> int: ...
    def __call__(self, x: Array, grad_output: Array, out: Array) -> None: ...
