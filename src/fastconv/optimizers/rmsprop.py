"""RMSprop, plain, centered and with momentum."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validation
from ..ops.updates import rmsprop_update
from .base import Optimizer, Rate


class RMSprop(Optimizer):
    """RMSprop: gradients divided by the root of a running mean of their squares.

    v = rho·v + (1 - rho)·g²; w -= rate·g / √(v + epsilon). Centered: v less the square of the mean gradient. With
    momentum: b = momentum·b + rate·g / √…; w -= b.

    Args:
        learning_rate: A number or a schedule. Default 0.001.
        rho: Decay of the means, in [0, 1]. Default 0.9.
        momentum: In [0, 1]. Default 0.
        epsilon: Default 1e-7.
        centered: Default False.
        weight_decay, clipnorm, clipvalue, global_clipnorm, name: see `Optimizer`.

    References:
        Hinton, "Neural networks for machine learning", lecture 6e; the centered form: Graves, arXiv:1308.0850, section
        4.2.

    Example:
        >>> from fastconv.optimizers import RMSprop
        >>> RMSprop().get_config()["rho"]
        0.9
    """

    default_name = "rmsprop"

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **kwargs)
        self.rho = _validation.as_number("RMSprop", "rho", rho, 0, 1)
        self.momentum = _validation.as_number("RMSprop", "momentum", momentum, 0, 1)
        self.epsilon = _validation.as_number("RMSprop", "epsilon", epsilon, 0)
        self.centered = bool(centered)

    def _make_slots(self) -> None:
        self._velocities = self._zeros()
        self._momentums = self._zeros() if self.momentum else []
        self._averages = self._zeros() if self.centered else []

    def _update(self, i: int, variable: np.ndarray, grad: np.ndarray, rate: float) -> None:
        v = self._velocities[i]
        if not self.centered and not self.momentum:
            rmsprop_update(variable, grad, v, learning_rate=rate, rho=self.rho, epsilon=self.epsilon)
            return
        kind = variable.dtype.type
        rho, rest = kind(self.rho), kind(1 - self.rho)
        v *= rho
        v += rest * grad * grad
        denominator = v + kind(self.epsilon)
        if self.centered:
            average = self._averages[i]
            average *= rho
            average += rest * grad
            denominator -= average * average
        increment = kind(rate) * grad / np.sqrt(denominator)
        if self.momentum:
            step = self._momentums[i]
            step *= kind(self.momentum)
            step += increment
            increment = step
        variable -= increment

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }
