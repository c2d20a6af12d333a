"""Batch normalisation and its gradient, one channel at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arguments import float_type, round_to


def channel_moments(x: Any, axis: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each channel, over all other axes.

    ::

        mean[c] = sum of x[..., c] / m,  variance[c] = sum of (x[..., c] - mean[c]) ** 2 / m,  m numbers a channel

    Args:
        x: an array of any shape.
        axis: the axis of the channels.

    Returns:
        ``(mean, variance)``, each with one number a channel.

    Example:
        >>> channel_moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
        (array([2., 5.]), array([1., 0.]))
    """
    mean, variance = [], []
    for values in _channels(x, axis):
        mean.append(sum(values) / len(values))
        variance.append(sum((value - mean[-1]) ** 2 for value in values) / len(values))
    return round_to(np.array(mean), float_type(x)), round_to(np.array(variance), float_type(x))


def batch_normalization(
    x: Any, mean: Any, variance: Any, axis: int = -1, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> np.ndarray:
    """Shift and scale each channel by given moments.

    ::

        y[..., c] = scale[c] * (x[..., c] - mean[c]) / sqrt(variance[c] + epsilon) + offset[c]

    Args:
        x: an array of any shape.
        mean, variance: one number a channel.
        axis: the axis of the channels.
        offset, scale: one number a channel; None for 0 and 1.
        epsilon: added to the variance, against a division by 0.

    Returns:
        An array like ``x``.

    Example:
        >>> batch_normalization(np.array([[1.0], [3.0]]), [2.0], [1.0], epsilon=0.0, offset=[10.0]).ravel()
        array([ 9., 11.])

    References:
        S. Ioffe, C. Szegedy, "Batch normalization", arXiv:1502.03167, algorithm 1.
    """
    result = []
    for c, values in enumerate(_channels(x, axis)):
        factor, shift = 1.0 if scale is None else float(scale[c]), 0.0 if offset is None else float(offset[c])
        deviation = float(np.sqrt(float(variance[c]) + epsilon))
        result.append([factor * (value - float(mean[c])) / deviation + shift for value in values])
    return _joined(result, x, axis)


def batch_normalization_grad(
    grad_output: Any, x: Any, mean: Any, variance: Any, axis: int = -1, scale: Any = None, epsilon: float = 1e-3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of ``batch_normalization`` with the moments of ``x`` itself, which move with ``x``.

    ::

        xn = (x - mean) / sqrt(variance + epsilon)
        grad_offset[c] = sum of g[..., c],  grad_scale[c] = sum of g[..., c] * xn[..., c]
        grad_input[..., c] = scale[c] / sqrt(variance[c] + epsilon)
                             * (g[..., c] - grad_offset[c] / m - xn[..., c] * grad_scale[c] / m)

    Args:
        grad_output: the gradient ``g`` of the output, shaped like ``x``.
        x: the input.
        mean, variance: the moments of ``x``.
        axis, scale, epsilon: as given to ``batch_normalization``.

    Returns:
        ``(grad_input, grad_scale, grad_offset)``.

    Example:
        >>> g, x = np.array([[0.0], [1.0]]), np.array([[-1.0], [1.0]])
        >>> batch_normalization_grad(g, x, [0.0], [1.0], epsilon=3.0)[0].ravel()
        array([-0.1875,  0.1875])

    References:
        S. Ioffe, C. Szegedy, "Batch normalization", arXiv:1502.03167, section 3.
    """
    result, grad_scale, grad_offset = [], [], []
    for c, (values, grads) in enumerate(zip(_channels(x, axis), _channels(grad_output, axis), strict=True)):
        factor, m = 1.0 if scale is None else float(scale[c]), len(values)
        deviation = float(np.sqrt(float(variance[c]) + epsilon))
        normal = [(value - float(mean[c])) / deviation for value in values]
        grad_offset.append(sum(grads))
        grad_scale.append(sum(g * xn for g, xn in zip(grads, normal, strict=True)))
        result.append(
            [
                factor / deviation * (g - grad_offset[-1] / m - xn * grad_scale[-1] / m)
                for g, xn in zip(grads, normal, strict=True)
            ]
        )
    dtype = float_type(x, grad_output)
    return _joined(result, x, axis), round_to(np.array(grad_scale), dtype), round_to(np.array(grad_offset), dtype)


def _channels(x: Any, axis: int) -> list[list[float]]:
    """The numbers of each channel, as Python floats."""
    array = np.moveaxis(np.asarray(x, np.float64), axis, 0)
    return [values.ravel().tolist() for values in array]


def _joined(channels: list[list[float]], x: Any, axis: int) -> np.ndarray:
    """The way back: an array like ``x``."""
    moved = np.moveaxis(np.asarray(x), axis, 0).shape
    return round_to(np.moveaxis(np.array(channels, np.float64).reshape(moved), 0, axis), float_type(x))
