"""What Dense and the convolutions share: a kernel, an optional bias, an activation behind them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .. import _validation, activations, initializers, ops, regularizers
from .base import Array, Layer

# Activations that a loss computes together with itself; only their default axis, the last one.
_JOINED_WITH_LOSS = {activations.softmax: "softmax", activations.sigmoid: "sigmoid"}


def joined_activation(activation: Any) -> str | None:
    """The name of an activation that a loss may take over, see ``Layer.final_activation``."""
    return _JOINED_WITH_LOSS.get(activation)


class KernelLayer(Layer):
    """Base of the layers ``activation(linear(x, kernel) + bias)``.

    Args:
        activation: name or callable. Default none.
        use_bias: default True.
        kernel_initializer, bias_initializer: name, object or dictionary. Defaults ``"glorot_uniform"``, ``"zeros"``.
        kernel_regularizer, bias_regularizer: name, object or dictionary. Default none.
        kernel_constraint, bias_constraint: not supported, must be None.
        **kwargs: those of :class:`Layer`.
    """

    def __init__(
        self,
        *,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _validation.refuse_unsupported(
            type(self).__name__,
            {"kernel_constraint": kernel_constraint, "bias_constraint": bias_constraint},
            "Use a regularizer, or change layer.weights between training steps.",
        )
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def _add_kernel_and_bias(self, kernel_shape: tuple[int, ...], filters: int) -> None:
        self.add_weight("kernel", kernel_shape, self.kernel_initializer, self.kernel_regularizer)
        self._add_bias(filters)

    def _add_bias(self, filters: int) -> None:
        if self.use_bias:
            self.add_weight("bias", (filters,), self.bias_initializer, self.bias_regularizer)

    def multiply_adds(self, input_shape: tuple[int, ...]) -> int:
        kernels = [weight for weight in self.weights if weight.ndim > 1]
        return self._positions(input_shape) * sum(kernel.size for kernel in kernels)

    def _positions(self, input_shape: tuple[int, ...]) -> int:
        """How often each number of a kernel is multiplied: once a pixel of the output."""
        return self._pixels(self.compute_output_shape(input_shape))

    def _pixels(self, shape: Any) -> int:
        channels = 1 if getattr(self, "data_format", None) == "channels_first" else -1
        return prod(shape) // max(shape[channels], 1)

    @property
    def kernel(self) -> Array:
        """The live kernel."""
        return self._weight("kernel")

    @property
    def bias(self) -> Array | None:
        """The live bias; None without one."""
        return self._weights["bias"].value if "bias" in self._weights else None

    @property
    def final_activation(self) -> str | None:
        return joined_activation(self.activation)

    @property
    def inference_activation(self) -> Callable[[Array], Array] | None:
        return None if self._fused_activation or self.activation is activations.linear else self.activation

    @property
    def _fused_activation(self) -> str | None:
        """The activation that the kernel computes in the same pass."""
        return "relu" if self.activation is activations.relu else None

    def _activate(self, z: Array, training: bool, *kept: Any) -> Array:
        """The activation of ``z``, unless the kernel has computed it; keeps ``kept`` and what its gradient needs."""
        if self._fused_activation or self.activation is activations.linear or self._gives_logits():
            needs_output = self._fused_activation and not self._relu_grad_behind
            self._keep(training, z.shape, *kept, z if needs_output else None)
            return z
        y = _validation.activation_result(f"Layer '{self.name}'", self.activation, self.activation(z), z)
        if training:
            uses_output = activations.gradient_of(self.activation).uses == "output"
            self._keep(training, y.shape, *kept, y if uses_output else z)
        else:
            self._keep(training, y.shape)
        return y

    def _grad_z_and_bias(
        self, grad_output: Array, kept: Array | None, data_format: str = "channels_last"
    ) -> tuple[Array, list[Array]]:
        """The gradient of ``z``, and that of the bias in a list, which is empty where none is wanted.

        ``kept`` is the last of the values that ``_activate`` kept.
        """
        channels = grad_output.shape[1 if data_format == "channels_first" else -1]
        bias = [self._empty("grad_bias", (channels,))] if self.use_bias and self.trainable else []
        ready, self._bias_grad = self._bias_grad, None
        if kept is None:
            grad_z = grad_output
        elif self._fused_activation:
            out = self._grad_buffer("grad_activation", grad_output)
            if bias and data_format == "channels_last":
                ops.relu_bias_grad(grad_output, kept, out=out, bias_out=bias[0])
                return out, bias
            grad_z = ops.relu_grad(grad_output, kept, out=out)
        else:
            grad_z = activations.gradient_of(self.activation).function(grad_output, kept)
        if bias and ready is not None:
            return grad_z, [ready]
        for out in bias:
            ops.bias_grad(np.moveaxis(grad_z, 1, -1) if data_format == "channels_first" else grad_z, out=out)
        return grad_z, bias

    def _kernel_config(self) -> dict[str, Any]:
        return {
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": optional(regularizers.serialize, self.kernel_regularizer),
            "bias_regularizer": optional(regularizers.serialize, self.bias_regularizer),
            "kernel_constraint": None,
            "bias_constraint": None,
        }


def optional(function: Any, value: Any) -> Any:
    """``function(value)``; None stays None."""
    return None if value is None else function(value)


def as_positive(where: str, name: str, value: Any) -> int:
    """A count of filters, units or groups: an int from 1 up."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 1:
        raise _validation.invalid_argument(where, name, value, "Expected a strictly positive integer")
    return int(value)
