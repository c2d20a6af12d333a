from .._shapes import Pair
from .._typing import Array

def winners_narrow(isa: str, itemsize: int, rows: int, run: int) -> bool: ...

class WinnersBase:
    def __init__(
        self,
        *,
        isa: str,
        itemsize: int,
        image: tuple[int, int, int, int],
        width: int,
        kernel: Pair,
        steps: Pair,
        row_dilation: int,
        origin: Pair,
        filters: int,
        grid: Pair,
        window: Pair,
        windows: Pair,
        window_origin: Pair,
    ) -> None: ...
    @property
    def work(self) -> float: ...
    @property
    def nbytes(self) -> int: ...

class WinnersPlan(WinnersBase):
    def __call__(self, x: Array, grads: Array, indices: Array, out: Array) -> bool: ...

class WinnersInputPlan(WinnersBase):
    def __call__(self, grads: Array, indices: Array, kernel: Array, out: Array) -> bool: ...
