from .._typing import Array

def read(
    wide: Array,
    maps: Array,
    out: Array,
    *,
    itemsize: int,
    shape: tuple[int, ...],
    wide_size: tuple[int, ...],
    origin: tuple[int, ...],
    bilinear: bool,
) -> None: ...
def spread(
    grads: Array,
    maps: Array,
    wide: Array,
    *,
    itemsize: int,
    shape: tuple[int, ...],
    wide_size: tuple[int, ...],
    origin: tuple[int, ...],
    bilinear: bool,
) -> None: ...
