"""Activations as layers of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _validation, activations, ops
from ..ops.inference import Step, relu_step
from .base import Array, Layer
from .kernel_layer import joined_activation


class Activation(Layer):
    """Any activation function as a layer.

    Input shape, output shape:
        Any; the output is shaped like the input.

    Args:
        activation: name, or callable (see `fastconv.activations` for what training one of your own takes).
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: no such activation.

    Example:
        >>> import numpy as np
        >>> Activation("relu")(np.array([-1.0, 2.0], "float32"))
        array([0., 2.], dtype=float32)
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    @property
    def final_activation(self) -> str | None:
        return joined_activation(self.activation)

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        return relu_step(x_shape) if self.activation is activations.relu else Step(x_shape)

    @property
    def inference_activation(self) -> Callable[[Array], Array] | None:
        return None if self.activation in (activations.relu, activations.linear) else self.activation

    def call(self, x: Array, training: bool = False) -> Array:
        if self.activation is activations.linear or self._gives_logits():
            self._keep(training, x.shape, None)
            return x
        if self.activation is activations.relu:
            y = ops.relu(x, out=self._empty("output", x.shape))
        else:
            y = _validation.activation_result(f"Layer '{self.name}'", self.activation, self.activation(x), x)
        if training:
            self._keep(True, y.shape, y if activations.gradient_of(self.activation).uses == "output" else x)
        else:
            self._keep(False, y.shape)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, kept = self._recall(grad_output)
        if kept is None or not self._needs_input_grad:
            return grad_output if self._needs_input_grad else None
        if self.activation is activations.relu:
            return ops.relu_grad(grad_output, kept, out=self._empty("grad_input", grad_output.shape))
        return activations.gradient_of(self.activation).function(grad_output, kept)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class ReLU(Layer):
    """Rectified linear unit: ``max(x, 0)``.

    In general ``negative_slope * (x - threshold)`` up to the threshold, ``x`` above it, never more than ``max_value``.

    Input shape, output shape:
        Any; the output is shaped like the input.

    Args:
        max_value: upper limit, not negative. Default none.
        negative_slope: slope up to the threshold, not negative. Default 0.
        threshold: where x starts to pass, not negative. Default 0.
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: an argument is negative, or None where it must not be.

    Example:
        >>> import numpy as np
        >>> ReLU(max_value=6.0)(np.array([-1.0, 2.0, 9.0], "float32"))
        array([0., 2., 6.], dtype=float32)
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else _not_negative("ReLU", "max_value", max_value)
        self.negative_slope = _not_negative("ReLU", "negative_slope", negative_slope)
        self.threshold = _not_negative("ReLU", "threshold", threshold)

    @property
    def _is_plain(self) -> bool:
        return self.max_value is None and self.negative_slope == 0 and self.threshold == 0

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        return relu_step(x_shape) if self._is_plain else None

    def call(self, x: Array, training: bool = False) -> Array:
        if self._is_plain:
            y = ops.relu(x, out=self._empty("output", x.shape))
        else:
            y = activations.rectify(x, self.negative_slope, self.max_value, self.threshold)
        self._keep(training, y.shape, y if self._is_plain else x)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, kept = self._recall(grad_output)
        if not self._needs_input_grad:
            return None
        if self._is_plain:
            return ops.relu_grad(grad_output, kept, out=self._empty("grad_input", grad_output.shape))
        return activations.rectify_grad(grad_output, kept, self.negative_slope, self.max_value, self.threshold)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


class LeakyReLU(Layer):
    """``x`` where positive, ``negative_slope * x`` elsewhere.

    Input shape, output shape:
        Any; the output is shaped like the input.

    Args:
        negative_slope: not negative. Default 0.3.
        **kwargs: ``name``, ``dtype``, ``input_shape``; ``alpha``, the older name of ``negative_slope``.

    Raises:
        ValueError: the slope is negative or None.

    Example:
        >>> import numpy as np
        >>> LeakyReLU(0.5)(np.array([-1.0, 2.0], "float32"))
        array([-0.5,  2. ], dtype=float32)

    References:
        Maas et al.: Rectifier nonlinearities improve neural network acoustic models, ICML 2013.
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        negative_slope = kwargs.pop("alpha", negative_slope)
        super().__init__(**kwargs)
        self.negative_slope = _not_negative("LeakyReLU", "negative_slope", negative_slope)

    def call(self, x: Array, training: bool = False) -> Array:
        y = activations.rectify(x, self.negative_slope, None, 0.0)
        self._keep(training, y.shape, x)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, x = self._recall(grad_output)
        if not self._needs_input_grad:
            return None
        return activations.rectify_grad(grad_output, x, self.negative_slope, None, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negative_slope": self.negative_slope}


class Softmax(Layer):
    """Scores become probabilities: ``exp(x) / sum(exp(x))`` along an axis, without overflow.

    Input shape, output shape:
        Any; the output is shaped like the input.

    Args:
        axis: the axis, or the axes together, that sum to 1. Default the last.
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: the input has no such axis.

    Example:
        >>> import numpy as np
        >>> Softmax()(np.array([[1e4, 1e4]], "float32"))
        array([[0.5, 0.5]], dtype=float32)
    """

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, (tuple, list)):
            self.axis: int | list[int] = [_validation.as_index("Softmax", "axis", one) for one in axis]
            if not self.axis:
                raise _validation.invalid_argument("Softmax", "axis", axis, "expected at least one axis")
        else:
            self.axis = _validation.as_index("Softmax", "axis", axis)

    @property
    def final_activation(self) -> str | None:
        return "softmax" if self.axis in (-1, [-1]) else None

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        return Step(x_shape) if self.final_activation else None

    @property
    def inference_activation(self) -> Callable[[Array], Array] | None:
        return ops.softmax

    def call(self, x: Array, training: bool = False) -> Array:
        if self._gives_logits():
            self._keep(training, x.shape, None)
            return x
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        if len({axis % x.ndim for axis in axes if -x.ndim <= axis < x.ndim}) != len(axes):
            raise _validation.invalid_argument(
                self.name, "axis", self.axis, f"expected different axes of the input, whose shape is {x.shape}"
            )
        y = _from_rows(ops.softmax(_to_rows(x, axes)), x.shape, axes)
        self._keep(training, y.shape, y, axes)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, *kept = self._recall(grad_output)
        if kept[0] is None or not self._needs_input_grad:
            return grad_output if self._needs_input_grad else None
        y, axes = kept
        return _from_rows(ops.softmax_grad(_to_rows(grad_output, axes), _to_rows(y, axes)), y.shape, axes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def _to_rows(x: Array, axes: list[int]) -> Array:
    """``axes`` moved to the end and joined into one; a view where the last axis alone is meant."""
    if axes == [-1]:
        return x
    moved = np.moveaxis(x, axes, range(-len(axes), 0))
    size = math.prod(x.shape[axis] for axis in axes)
    return np.ascontiguousarray(moved.reshape(*moved.shape[: -len(axes)], size))


def _from_rows(rows: Array, shape: tuple[int, ...], axes: list[int]) -> Array:
    """The inverse of :func:`_to_rows`."""
    if axes == [-1]:
        return rows
    moved = rows.reshape(*rows.shape[:-1], *(shape[axis] for axis in axes))
    return np.ascontiguousarray(np.moveaxis(moved, range(-len(axes), 0), axes))


def _not_negative(where: str, name: str, value: Any) -> float:
    valid = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not valid or not value >= 0:
        raise _validation.invalid_argument(where, name, value, f"{name} cannot be None or a negative value")
    return float(value)
