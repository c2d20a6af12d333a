from .._typing import Array

def relu(x: Array, y: Array, count: int, itemsize: int) -> None: ...
def relu_grad(grad: Array, y: Array, out: Array, count: int, itemsize: int) -> None: ...
def softmax(x: Array, y: Array, rows: int, n: int, itemsize: int) -> None: ...
def dropout(x: Array, out: Array, count: int, itemsize: int, key: int, threshold: int, scale: float) -> None: ...
def sum_rows(
    x: Array,
    out: Array,
    rows: int,
    n: int,
    itemsize: int,
    relu_y: Array | None = None,
    grad: Array | None = None,
) -> None: ...
def sgd(
    w: Array,
    g: Array,
    velocity: Array | None,
    count: int,
    itemsize: int,
    rate: float,
    momentum: float,
    nesterov: bool,
) -> None: ...
def adam(
    w: list[Array],
    g: list[Array],
    m: list[Array],
    v: list[Array],
    itemsize: int,
    alpha: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None: ...
def rmsprop(
    w: Array,
    g: Array,
    v: Array,
    count: int,
    itemsize: int,
    rate: float,
    rho: float,
    epsilon: float,
) -> None: ...
