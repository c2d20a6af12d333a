"""Activations with their gradients: relu and softmax, and what conv2d and dense can apply to their result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._core import _elementwise
from .._typing import Array, ArrayLike
from .._validation import (
    activation_error,
    activation_result,
    as_array,
    as_arrays,
    as_index,
    as_number,
    axis_error,
    check_shape,
    key_error,
)
from ._arrays import Result, contiguous, result_empty

LINEAR, RELU = 0, 1  # fc_kernels.h's enum fc_activation


def relu(x: ArrayLike, *, out: Array | None = None) -> Array:
    """``max(x, 0)`` element by element; NaN stays NaN.

    Args:
        x: float32 or float64, any shape.
        out: array for the result; may be x itself.

    Returns:
        An array like x.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.relu(np.array([-1.0, 2.0]))
        array([0., 2.])
    """
    x = as_array("relu", "x", x)
    y = Result("relu", x.shape, x.dtype, out, inputs=() if out is x else (x,))
    _elementwise.relu(contiguous(x), y.array, x.size, x.itemsize)
    return y.finish()


def relu_grad(grad_output: ArrayLike, y: ArrayLike, *, out: Array | None = None) -> Array:
    """Gradient of :func:`relu`: grad_output where relu's output y is not 0, else 0. A NaN in y lets it pass.

    Args:
        grad_output: gradient of relu's output, any shape.
        y: relu's output, of the same shape.
        out: array for the result; may be grad_output itself.

    Returns:
        An array like y.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.relu_grad(np.array([3.0, 4.0]), fc.relu(np.array([-1.0, 2.0])))
        array([0., 4.])
    """
    in_place = out is not None and out is grad_output
    grad_output, y = as_arrays("relu_grad", grad_output=grad_output, y=y)
    check_shape("relu_grad", "grad_output", grad_output, y.shape, "y's shape")
    gx = Result("relu_grad", y.shape, y.dtype, out, inputs=(y,) if in_place else (grad_output, y))
    _elementwise.relu_grad(contiguous(grad_output), contiguous(y), gx.array, y.size, y.itemsize)
    return gx.finish()


def dropout(x: ArrayLike, rate: float, key: int, *, out: Array | None = None) -> Array:
    """``x / (1 - rate)``, or 0 with probability ``rate``: where the element's random number, of 16 bits, says so.

    The same call with the gradient of the result gives the gradient of x: the mask comes from ``key`` and the element's
    place alone, whatever the threads and the instruction set are, and is kept nowhere.

    Args:
        x: float32 or float64, any shape.
        rate: probability of a 0, from 0 to 1; met to 2**-17.
        key: 64 random bits, from 0 to 2**64 - 1.
        out: array for the result; may be x itself.

    Returns:
        An array like x.

    Raises:
        TypeError: x is not float32 or float64, key not an integer.
        ValueError: a rate or a key out of range, a bad ``out``.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> y = fc.ops.dropout(np.ones(10_000), 0.25, 2026)
        >>> np.unique(y), round(float(y.mean()), 1)
        (array([0.        , 1.33333333]), 1.0)

    References:
        N. Srivastava et al.: Dropout: a simple way to prevent neural networks from overfitting, JMLR 15, 2014.
    """
    in_place = out is not None and out is x
    x, rate = as_array("dropout", "x", x), as_number("dropout", "rate", rate, 0, 1)
    key = as_index("dropout", "key", key)
    if not 0 <= key < 2**64:
        raise key_error("dropout", key)
    y = Result("dropout", x.shape, x.dtype, out, inputs=() if in_place else (x,))
    scale = 1 / (1 - rate) if rate < 1 else 0.0
    _elementwise.dropout(contiguous(x), y.array, x.size, x.itemsize, key, round(rate * 2**16), scale)
    return y.finish()


def softmax(x: ArrayLike, axis: int = -1) -> Array:
    """``exp(x) / sum(exp(x))`` along an axis, shifted by the maximum so that large logits do not overflow.

    Args:
        x: float32 or float64 logits of any shape.
        axis: the axis that sums to 1.

    Returns:
        An array like x; a row with a NaN, or with +inf, is NaN.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.softmax(np.array([0.0, 1e4]))
        array([0., 1.])
    """
    x = _along("softmax", as_array("softmax", "x", x), axis)
    rows = contiguous(x if axis in (-1, x.ndim - 1) else np.moveaxis(x, axis, -1))
    y = result_empty(rows.shape, rows.dtype)
    n = rows.shape[-1]
    _elementwise.softmax(rows, y, rows.size // max(n, 1), n, rows.itemsize)
    return y if axis in (-1, x.ndim - 1) else np.ascontiguousarray(np.moveaxis(y, -1, axis))


def softmax_grad(grad_output: ArrayLike, y: ArrayLike, axis: int = -1) -> Array:
    """Gradient of :func:`softmax`: ``y * (grad_output - sum(grad_output * y))`` along the axis, from its output y.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.softmax_grad(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
        array([ 0.25, -0.25])
    """
    grad_output, y = as_arrays("softmax_grad", grad_output=grad_output, y=y)
    check_shape("softmax_grad", "grad_output", grad_output, y.shape, "y's shape")
    _along("softmax_grad", y, axis)
    with np.errstate(invalid="ignore", under="ignore"):
        return y * (grad_output - (grad_output * y).sum(axis=axis, keepdims=True))


def _along(where: str, x: Array, axis: int) -> Array:
    if not -x.ndim <= as_index(where, "axis", axis) < x.ndim:
        raise axis_error(where, axis, x.shape)
    return x


def _sigmoid(x: Array) -> Array:
    # exp of a negative number only, so that neither side overflows.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype, copy=False)


_BY_NAME: dict[str, Callable[[Array], Array]] = {"sigmoid": _sigmoid, "tanh": np.tanh, "softmax": softmax}


def kernel_activation(where: str, activation: Any) -> int | None:
    """The kernels' code of an activation that they fuse, None for one that is applied afterwards."""
    if activation is None or activation == "linear":
        return LINEAR
    if activation == "relu" or activation is relu:
        return RELU
    if callable(activation) or (isinstance(activation, str) and activation in _BY_NAME):
        return None
    raise activation_error(where, activation, ("linear", "relu", *_BY_NAME))


def apply_activation(where: str, activation: Any, y: Array) -> Array:
    """An activation that the kernels do not fuse."""
    if isinstance(activation, str):
        return _BY_NAME[activation](y)
    return activation_result(where, activation, activation(y), y)
