from .._shapes import Pair
from .._typing import Array

def winners_fit(isa: str, itemsize: int, rows: int, run: int) -> bool: ...

class WinnersPlan:
    def __init__(
        self,
        *,
        isa: str,
        itemsize: int,
        image: tuple[int, int, int, int],
        grid: Pair,
        steps: Pair,
        kernel: Pair,
        row_dilation: int,
        origin: Pair,
        filters: int,
        pixels: int,
    ) -> None: ...
    @property
    def work(self) -> float: ...
    @property
    def nbytes(self) -> int: ...
    def __call__(self, x: Array, grads: Array, indices: Array, out: Array) -> bool: ...
