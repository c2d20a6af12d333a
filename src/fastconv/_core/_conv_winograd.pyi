from collections.abc import Sequence

from .._shapes import Pair
from .._typing import Array

class WinogradPlan:
    work: float
    nbytes: int
    def __init__(
        self,
        *,
        isa: str,
        itemsize: int,
        m: int,
        image: tuple[int, int, int, int],
        grid: Pair,
        origin: Pair,
        tap_weights: Sequence[int],
        groups: int,
        group_inputs: int,
        group_outputs: int,
        weight_strides: tuple[int, int, int],
    ) -> None: ...
    def __call__(self, x: Array, kernel: Array, bias: Array | None, out: Array, activation: int) -> None: ...
