"""Gradient descent, plain and with momentum."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validation
from ..ops.updates import sgd_update
from .base import Optimizer, Rate


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    Plain: w -= rate·g. With momentum: v = momentum·v - rate·g; w += v. Nesterov: w += momentum·v - rate·g.

    Args:
        learning_rate: A number or a schedule. Default 0.01.
        momentum: In [0, 1]. Default 0.
        nesterov: Default False.
        weight_decay, clipnorm, clipvalue, global_clipnorm, name: see `Optimizer`.

    Example:
        >>> from fastconv.optimizers import SGD
        >>> SGD(momentum=0.9).get_config()["momentum"]
        0.9
    """

    default_name = "sgd"

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **kwargs)
        self.momentum = _validation.as_number("SGD", "momentum", momentum, 0, 1)
        self.nesterov = bool(nesterov)

    def _make_slots(self) -> None:
        self._velocities = self._zeros() if self.momentum else [None] * len(self._parameters)

    def _update(self, i: int, variable: np.ndarray, grad: np.ndarray, rate: float) -> None:
        sgd_update(
            variable, grad, self._velocities[i], learning_rate=rate, momentum=self.momentum, nesterov=self.nesterov
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"momentum": self.momentum, "nesterov": self.nesterov}
