"""The optimisers' updates, in place: one pass over a parameter, its gradient and its state.

All arrays are C-contiguous, of one shape and one type, and belong to the caller's optimiser.
"""

from __future__ import annotations

from .._core import _elementwise
from .._typing import Array
from .._validation import check_update


def sgd_update(
    param: Array,
    grad: Array,
    velocity: Array | None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> None:
    """``velocity = momentum*velocity - learning_rate*grad``; ``param += velocity``, or Nesterov's look-ahead.

    Without velocity: ``param -= learning_rate * grad``.
    """
    check_update("sgd_update", param=param, grad=grad, velocity=velocity)
    _elementwise.sgd(param, grad, velocity, param.size, param.itemsize, learning_rate, momentum, nesterov)


def adam_update(
    param: Array, grad: Array, m: Array, v: Array, *, alpha: float, beta_1: float, beta_2: float, epsilon: float
) -> None:
    """Adam with the bias-corrected step ``alpha = learning_rate * sqrt(1 - beta_2**t) / (1 - beta_1**t)``.

    ``m += (grad - m)*(1 - beta_1)``; ``v += (grad**2 - v)*(1 - beta_2)``; ``param -= alpha*m / (sqrt(v) + epsilon)``.

    References:
        D. Kingma, J. Ba: Adam, arXiv:1412.6980, end of section 2.
    """
    check_update("adam_update", param=param, grad=grad, m=m, v=v)
    _elementwise.adam([param], [grad], [m], [v], param.itemsize, alpha, beta_1, beta_2, epsilon)


def adam_updates(
    params: list[Array],
    grads: list[Array],
    ms: list[Array],
    vs: list[Array],
    *,
    alpha: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """`adam_update` of several parameters of one type in one call, for arrays that are known to fit.

    LeNet's ten take 15 us instead of 36: most of a call for a small one is its checks.
    """
    if params:
        _elementwise.adam(params, grads, ms, vs, params[0].itemsize, alpha, beta_1, beta_2, epsilon)


def rmsprop_update(param: Array, grad: Array, v: Array, *, learning_rate: float, rho: float, epsilon: float) -> None:
    """``v = rho*v + (1 - rho)*grad**2``; ``param -= learning_rate * grad / sqrt(v + epsilon)``."""
    check_update("rmsprop_update", param=param, grad=grad, v=v)
    _elementwise.rmsprop(param, grad, v, param.size, param.itemsize, learning_rate, rho, epsilon)
