"""Layers that prepare images."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validation
from .base import Array, Layer


class Rescaling(Layer):
    """``x * scale + offset``, in training and outside; the one layer that takes images of integers.

    ``Rescaling(1 / 255)`` maps bytes to [0, 1], ``Rescaling(1 / 127.5, offset=-1)`` to [-1, 1].

    Input shape, output shape:
        Any; the output is shaped like the input.

    Args:
        scale: number, or a list or array that broadcasts against the input (one for each channel, say).
        offset: likewise. Default 0.
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: scale or offset does not broadcast to the input's shape.

    Example:
        >>> import numpy as np
        >>> Rescaling(1 / 255)(np.array([[0, 255]], "uint8"))
        array([[0., 1.]], dtype=float32)
    """

    _takes_integers = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = _plain(scale)
        self.offset = _plain(offset)
        self._scale = np.array(_validation.as_numeric("Rescaling", "scale", self.scale), self.dtype)
        self._offset = np.array(_validation.as_numeric("Rescaling", "offset", self.offset), self.dtype)

    def call(self, x: Array, training: bool = False) -> Array:
        for name, value in (("scale", self._scale), ("offset", self._offset)):
            _validation.check_broadcast(self.name, name, value.shape, x.shape)
        y = np.multiply(x, self._scale, out=self._empty("output", x.shape))
        y += self._offset
        self._keep(training, y.shape)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        (grad_output,) = self._recall(grad_output)
        if not self._needs_input_grad:
            return None
        return np.multiply(grad_output, self._scale, out=self._empty("grad_input", grad_output.shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


def _plain(value: Any) -> Any:
    """A number or nested lists, from these, an array, or Keras's dictionary of an array."""
    if isinstance(value, dict):
        value = value.get("config", {}).get("value")
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
