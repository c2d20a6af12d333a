"""Layers that act in training only, against overfitting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import _random, _validation, ops
from ..ops.inference import Step
from .base import Array, Layer


class Dropout(Layer):
    """In training each number is set to 0 with probability ``rate``, the others are multiplied by ``1 / (1 - rate)``.

    The expected value stays the same; outside training the input passes unchanged.

    Input shape, output shape:
        Any; the output is shaped like the input.

    Args:
        rate: probability of a 0, from 0 to 1.
        noise_shape: shape of the random mask, broadcast over the input; None in it stands for the input's length.
            ``(None, 1, 1, None)`` drops whole channels of an image. Default: every number by itself.
        seed: non-negative int, for a sequence of masks of its own; None: from `fastconv.utils.set_random_seed`.
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: rate outside 0 … 1, or a wrong noise_shape or seed.

    Example:
        >>> import numpy as np
        >>> layer = Dropout(0.25, seed=0)
        >>> y = layer(np.ones((100, 100), "float32"), training=True)
        >>> np.unique(y)
        array([0.       , 1.3333334], dtype=float32)

    References:
        Srivastava et al.: Dropout: a simple way to prevent neural networks from overfitting, JMLR 15, 2014.
    """

    def __init__(
        self, rate: float, noise_shape: Iterable[int | None] | None = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not 0 <= rate <= 1:
            raise _validation.invalid_argument("Dropout", "rate", rate, "Expected a float value between 0 and 1")
        self.rate = rate
        self.seed = None if seed is None else _validation.as_seed("Dropout", seed)
        self.noise_shape = None if noise_shape is None else _validation.as_shape("Dropout", "noise_shape", noise_shape)
        if self.noise_shape is not None and 0 in self.noise_shape:
            raise _validation.invalid_argument(
                "Dropout", "noise_shape", self.noise_shape, "Expected all dimensions to be positive integers or None"
            )
        self._generator = _random.derive(self.seed)

    def call(self, x: Array, training: bool = False) -> Array:
        if not training or self.rate == 0:
            self._keep(training, x.shape, None)
            return x
        key = int(self._generator.bit_generator.random_raw())
        noise = key if self.noise_shape is None else self._noise(x.shape, key)
        y = self._drop(x, noise, self._empty("output", x.shape))
        self._keep(training, y.shape, noise)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, noise = self._recall(grad_output)
        if not self._needs_input_grad:
            return None
        if noise is None:
            return grad_output
        return self._drop(grad_output, noise, self._grad_buffer("grad_input", grad_output))

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        return Step(x_shape)

    def _drop(self, x: Array, noise: int | Array, out: Array) -> Array:
        """``x`` under a mask: that of a key, made anew on the way back rather than kept, or one to broadcast."""
        if isinstance(noise, int):
            return ops.dropout(x, self.rate, noise, out=out)
        return np.multiply(x, noise, out=out)

    def _noise(self, input_shape: tuple[int, ...], key: int) -> Array:
        """The mask times 1 / (1 - rate), of ``noise_shape``."""
        assert self.noise_shape is not None
        if len(self.noise_shape) != len(input_shape) or any(
            size not in (None, 1, length) for size, length in zip(self.noise_shape, input_shape, strict=True)
        ):
            raise _validation.invalid_argument(
                self.name, "noise_shape", self.noise_shape, f"expected a shape that broadcasts to {input_shape}"
            )
        shape = tuple(
            length if size is None else size for size, length in zip(self.noise_shape, input_shape, strict=True)
        )
        return ops.dropout(np.ones(shape, self.dtype), self.rate, key)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed, "noise_shape": self.noise_shape}
