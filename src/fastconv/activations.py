"""Activation functions and their derivatives. Names, arguments and defaults are those of Keras 3.

Each function maps an array to an array of the same shape. Beside each stands its gradient, registered by
``@_gradient(uses)``: from the upstream gradient and from the function's output where that is enough (it is then the
only array that a layer keeps), from its input otherwise. Where Keras's function has a corner, the derivative there is
the one of the side named in the gradient.

An activation of one's own is any callable; to train with it, give it an attribute ``gradient``:

Example:
    >>> import numpy as np
    >>> def square(x):
    ...     return x * x
    >>> square.gradient = lambda grad_output, x: 2 * x * grad_output
    >>> gradient_of(square).function(np.array([1.0]), np.array([3.0]))
    array([6.])
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import _validation, ops

Array = np.ndarray
Activation = Callable[..., Array]


class Gradient(NamedTuple):
    """How to go back through an activation: ``function(grad_output, kept) -> grad_input``."""

    uses: str  # what `kept` is: the activation's "input" or its "output"
    function: Callable[[Array, Array], Array]


_GRADIENTS: dict[Activation, Gradient] = {}
_TABLE: dict[str, Activation] = {}


def _gradient(uses: str, function: Callable[[Array, Array], Array]) -> Callable[[Activation], Activation]:
    """Register an activation under its name, with its gradient at default arguments."""

    def register(activation: Activation) -> Activation:
        _GRADIENTS[activation] = Gradient(uses, function)
        _TABLE[activation.__name__] = activation
        return activation

    return register


def gradient_of(activation: Activation) -> Gradient:
    """The gradient of an activation of this module, or of a callable with an attribute ``gradient(grad_output, x)``.

    Raises:
        ValueError: a callable that does not say its derivative.
    """
    known = _GRADIENTS.get(activation)
    if known is not None:
        return known
    function = getattr(activation, "gradient", None)
    if function is None:
        raise _validation.not_differentiable(activation)
    return Gradient("input", function)


def _as_array(x: Any, where: str) -> Array:
    return _validation.as_array(where, "x", x)


@_gradient("output", lambda grad_output, y: grad_output)
def linear(x: Any) -> Array:
    """The identity ``x``: no activation."""
    return _as_array(x, "linear")


def rectify(x: Array, negative_slope: float, max_value: float | None, threshold: float) -> Array:
    """The general ReLU of :func:`relu`, for an array."""
    # Without a slope a plain 0: 0 * (-inf) would be NaN.
    below = negative_slope * (x - threshold) if negative_slope else x.dtype.type(0)
    y = np.where(x <= threshold, below, x)
    return y if max_value is None else np.minimum(y, max_value, out=y)


def rectify_grad(
    grad_output: Array, x: Array, negative_slope: float, max_value: float | None, threshold: float
) -> Array:
    """Gradient of :func:`rectify` from its input; at a corner the slope of the left, at ``max_value`` 0."""
    below = negative_slope * grad_output if negative_slope else grad_output.dtype.type(0)
    grad = np.where(x <= threshold, below, grad_output)
    if max_value is not None:
        grad[x >= max_value] = 0
    return grad


@_gradient("output", lambda grad_output, y: ops.relu_grad(grad_output, y))
def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Array:
    """Rectified linear unit: ``max(x, 0)``.

    In general ``negative_slope * (x - threshold)`` up to the threshold, ``x`` above it, and never more than
    ``max_value``.

    Args:
        x: array of any shape.
        negative_slope: slope up to the threshold. Default 0.
        max_value: upper limit. Default none.
        threshold: where the function starts to pass x on. Default 0.

    Returns:
        Array shaped like x.

    Example:
        >>> relu([-2.0, 3.0, 8.0], max_value=6.0)
        array([0., 3., 6.])
    """
    x = _as_array(x, "relu")
    if negative_slope == 0 and max_value is None and threshold == 0:
        return ops.relu(x)
    return rectify(x, negative_slope, max_value, threshold)


@_gradient("output", lambda grad_output, y: grad_output * ((y > 0) & (y < 6)))
def relu6(x: Any) -> Array:
    """ReLU cut at 6: ``min(max(x, 0), 6)``."""
    return np.clip(_as_array(x, "relu6"), 0, 6)


@_gradient("output", lambda grad_output, y: np.where(y <= 0, y.dtype.type(0.2) * grad_output, grad_output))
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Array:
    """``x`` where positive, ``negative_slope * x`` elsewhere.

    Args:
        x: array of any shape.
        negative_slope: default 0.2 (the LeakyReLU layer's default is 0.3, as in Keras).

    Example:
        >>> leaky_relu([-10.0, 5.0])
        array([-2.,  5.])
    """
    return rectify(_as_array(x, "leaky_relu"), negative_slope, None, 0.0)


# For x < 0 the output is e^x - 1, so that the derivative e^x is y + 1.
@_gradient("output", lambda grad_output, y: grad_output * np.where(y > 0, 1, y + 1))
def elu(x: Any, alpha: float = 1.0) -> Array:
    """Exponential linear unit: ``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere.

    References:
        Clevert et al., arXiv:1511.07289.
    """
    x = _as_array(x, "elu")
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


@_gradient("output", lambda grad_output, y: grad_output * np.where(y > 0, _SELU_SCALE, y + _SELU_SCALE * _SELU_ALPHA))
def selu(x: Any) -> Array:
    """Scaled exponential linear unit, ``1.0507 * elu(x, 1.6733)``; wants LecunNormal weights.

    References:
        Klambauer et al., arXiv:1706.02515.
    """
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


@_gradient("output", lambda grad_output, y: grad_output * np.where(y > 0, 1, y + 1))
def celu(x: Any, alpha: float = 1.0) -> Array:
    """Continuously differentiable ELU: ``x`` where positive, ``alpha * (exp(x / alpha) - 1)`` elsewhere.

    References:
        Barron, arXiv:1704.07483.
    """
    x = _as_array(x, "celu")
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


def _logistic(x: Array) -> Array:
    # exp of a non-positive number only: nothing overflows, and each half keeps its relative accuracy.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


@_gradient("output", lambda grad_output, y: grad_output * (y * (1 - y)))
def sigmoid(x: Any) -> Array:
    """Logistic function ``1 / (1 + exp(-x))``.

    Example:
        >>> sigmoid([-1e4, 0.0, 1e4])
        array([0. , 0.5, 1. ])
    """
    return _logistic(_as_array(x, "sigmoid"))


@_gradient("input", lambda grad_output, x: grad_output * _logistic(-x))
def log_sigmoid(x: Any) -> Array:
    """``log(sigmoid(x))``, without overflow."""
    x = _as_array(x, "log_sigmoid")
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


@_gradient("output", lambda grad_output, y: grad_output * (1 - y * y))
def tanh(x: Any) -> Array:
    """Hyperbolic tangent."""
    return np.tanh(_as_array(x, "tanh"))


@_gradient("input", lambda grad_output, x: grad_output * _logistic(x))
def softplus(x: Any) -> Array:
    """``log(exp(x) + 1)``, a smooth ReLU, without overflow."""
    return _softplus(_as_array(x, "softplus"))


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@_gradient("input", lambda grad_output, x: grad_output / np.square(1 + np.abs(x)))
def softsign(x: Any) -> Array:
    """``x / (abs(x) + 1)``."""
    x = _as_array(x, "softsign")
    return x / (1 + np.abs(x))


def _silu_grad(grad_output: Array, x: Array) -> Array:
    s = _logistic(x)
    return grad_output * (s * (1 + x * (1 - s)))


@_gradient("input", _silu_grad)
def silu(x: Any) -> Array:
    """``x * sigmoid(x)``, also known as swish.

    References:
        Ramachandran et al., arXiv:1710.05941.
    """
    x = _as_array(x, "silu")
    return x * _logistic(x)


def _mish_grad(grad_output: Array, x: Array) -> Array:
    t = np.tanh(_softplus(x))
    return grad_output * (t + x * (1 - t * t) * _logistic(x))


@_gradient("input", _mish_grad)
def mish(x: Any) -> Array:
    """``x * tanh(softplus(x))``.

    References:
        Misra, arXiv:1908.08681.
    """
    x = _as_array(x, "mish")
    return x * np.tanh(_softplus(x))


@functools.cache
def _erf_table() -> tuple[Array, Array]:
    nodes = np.arange(0, 6 * 64 + 1) / 64
    return nodes, np.array([math.erf(node) for node in nodes])


def _erf(x: Array) -> Array:
    """The error function, which NumPy lacks: Taylor's series about the nearest of 385 nodes, 1/64 apart, on [0, 6].

    With h = x - node, |h| ≤ 1/128: erf(node + h) = erf(node) + 2/√π e^(-node²) Σ (-1)^k H_k(node) h^(k+1) / (k+1)!,
    with the Hermite polynomials H_k. Eight terms leave less than 1e-16 of the value; beyond 6 erf is 1 in float64.
    """
    nodes, values = _erf_table()
    magnitude = np.minimum(np.abs(x.astype(np.float64)), 6)
    with np.errstate(invalid="ignore"):
        index = np.nan_to_num(np.rint(magnitude * 64)).astype(np.intp)
    node = nodes[index]
    h = magnitude - node
    hermite, following = np.ones_like(node), 2 * node
    term, total = h, h
    for k in range(1, 8):
        term = term * (-h) / (k + 1)
        total = total + following * term
        hermite, following = following, 2 * node * following - 2 * k * hermite
    result = values[index] + (2 / math.sqrt(math.pi)) * np.exp(-node * node) * total
    return np.copysign(np.minimum(result, 1), x).astype(x.dtype)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1 + _erf(x / math.sqrt(2)))


def _gelu_grad(grad_output: Array, x: Array) -> Array:
    return grad_output * (_normal_cdf(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


@_gradient("input", _gelu_grad)
def gelu(x: Any, approximate: bool = False) -> Array:
    """Gaussian error linear unit: ``x * Φ(x)``, Φ the normal distribution function.

    Args:
        x: array of any shape.
        approximate: with tanh in Φ's place: ``x / 2 * (1 + tanh(sqrt(2 / π) * (x + 0.044715 x³)))``. Default False.

    References:
        Hendrycks, Gimpel, arXiv:1606.08415.
    """
    x = _as_array(x, "gelu")
    if approximate:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return x * _normal_cdf(x)


@_gradient("output", lambda grad_output, y: grad_output * y)
def exponential(x: Any) -> Array:
    """``exp(x)``."""
    return np.exp(_as_array(x, "exponential"))


@_gradient("output", lambda grad_output, y: grad_output * ((y > 0) & (y < 1)) / 6)
def hard_sigmoid(x: Any) -> Array:
    """``x / 6 + 0.5``, cut to [0, 1]."""
    return np.clip(_as_array(x, "hard_sigmoid") / 6 + 0.5, 0, 1)


@_gradient("input", lambda grad_output, x: grad_output * np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5)))
def hard_silu(x: Any) -> Array:
    """``x * hard_sigmoid(x)``, also known as hard swish.

    References:
        Howard et al., arXiv:1905.02244, section 5.2.
    """
    x = _as_array(x, "hard_silu")
    return x * np.clip(x / 6 + 0.5, 0, 1)


@_gradient("output", lambda grad_output, y: grad_output * ((y > -1) & (y < 1)))
def hard_tanh(x: Any) -> Array:
    """``x``, cut to [-1, 1]."""
    return np.clip(_as_array(x, "hard_tanh"), -1, 1)


@_gradient("output", lambda grad_output, y: ops.softmax_grad(grad_output, y))
def softmax(x: Any, axis: int = -1) -> Array:
    """``exp(x) / sum(exp(x))`` along an axis: scores become probabilities. Without overflow.

    Args:
        x: array of any shape.
        axis: the axis that sums to 1. Default the last.

    Example:
        >>> softmax([1e4, 1e4])
        array([0.5, 0.5])
    """
    return ops.softmax(_as_array(x, "softmax"), axis=axis)


@_gradient("output", lambda grad_output, y: grad_output - np.exp(y) * grad_output.sum(axis=-1, keepdims=True))
def log_softmax(x: Any, axis: int = -1) -> Array:
    """``log(softmax(x))``, without overflow.

    Args:
        x: array of any shape.
        axis: the axis whose exponentials sum to 1. Default the last.
    """
    x = _as_array(x, "log_softmax")
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


swish = silu
hard_swish = hard_silu
_TABLE.update(swish=silu, hard_swish=hard_silu)


def get(identifier: Any) -> Activation:
    """An activation from its name, its dictionary, or itself; None is :func:`linear`.

    Raises:
        ValueError: no such activation.

    Example:
        >>> get("swish").__name__
        'silu'
    """
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        return deserialize(identifier)
    if isinstance(identifier, Mapping):
        # Keras writes a function of a user's own as {"class_name": "function", "config": its name}.
        return deserialize(identifier.get("config"))
    if callable(identifier):
        return identifier
    raise _validation.unknown_identifier("activation function", identifier, _TABLE)


def serialize(activation: Activation) -> str:
    """The name under which :func:`get` finds the activation.

    Raises:
        ValueError: an activation that is not of this module.
    """
    name = getattr(activation, "__name__", "")
    if _TABLE.get(name) is not activation:
        raise _validation.not_serializable("keras.activations", activation)
    return name


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Activation:
    """The activation of that name; ``custom_objects`` are looked through first."""
    activation = {**_TABLE, **(custom_objects or {})}.get(config) if isinstance(config, str) else None
    if activation is None:
        raise _validation.unknown_identifier("activation function", config, _TABLE)
    return activation
