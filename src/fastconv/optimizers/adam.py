"""Adam, and AdamW with its decay of the weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _validation
from ..ops.updates import adam_update, adam_updates
from .base import Optimizer, Rate


class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradient and of its square.

    At step t: m += (g - m)(1 - beta_1); v += (g² - v)(1 - beta_2);
    w -= rate·√(1 - beta_2^t) / (1 - beta_1^t) · m / (√v + epsilon). With ``amsgrad``, v is replaced by its largest
    value.

    Args:
        learning_rate: A number or a schedule. Default 0.001.
        beta_1, beta_2: Decay of the two means, in [0, 1). Defaults 0.9, 0.999.
        epsilon: "Epsilon hat" of the paper, section 2. Default 1e-7.
        amsgrad: Default False.
        weight_decay, clipnorm, clipvalue, global_clipnorm, name: see `Optimizer`.

    References:
        Kingma and Ba, "Adam: a method for stochastic optimization", arXiv:1412.6980, algorithm 1 and section 2.
        Reddi, Kale and Kumar, "On the convergence of Adam and beyond", arXiv:1904.09237 (AMSGrad).

    Example:
        >>> from fastconv.optimizers import Adam
        >>> Adam(learning_rate=0.01).learning_rate
        0.01
    """

    default_name = "adam"

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **kwargs)
        for key, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            if _validation.as_number("Adam", key, beta, 0, 1) == 1:
                raise _validation.wrong_state("Adam", f"received {key}={beta!r}.", "It must be below 1.")
        self.beta_1 = float(beta_1)
        self.beta_2 = float(beta_2)
        self.epsilon = _validation.as_number("Adam", "epsilon", epsilon, 0)
        self.amsgrad = bool(amsgrad)
        self._alpha = 0.0

    def _make_slots(self) -> None:
        self._momentums, self._velocities = [], []
        for parameter in self._parameters:  # Keras interleaves them: m0, v0, m1, v1, …
            self._momentums.append(np.zeros_like(parameter))
            self._velocities.append(np.zeros_like(parameter))
            self._slots += [self._momentums[-1], self._velocities[-1]]
        self._velocity_hats = self._zeros() if self.amsgrad else []

    def _begin_step(self, rate: float) -> None:
        step = self.iterations + 1
        self._alpha = rate * math.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)

    def _update_all(
        self, indices: list[int], variables: list[np.ndarray], grads: list[np.ndarray], rate: float
    ) -> None:
        one_by_one = self.amsgrad or type(self)._update is not Adam._update
        if one_by_one or len({variable.dtype for variable in variables}) > 1:
            super()._update_all(indices, variables, grads, rate)
            return
        adam_updates(
            list(variables),
            grads,
            [self._momentums[i] for i in indices],
            [self._velocities[i] for i in indices],
            alpha=self._alpha,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
        )

    def _update(self, i: int, variable: np.ndarray, grad: np.ndarray, rate: float) -> None:
        m, v = self._momentums[i], self._velocities[i]
        if not self.amsgrad:
            adam_update(
                variable, grad, m, v, alpha=self._alpha, beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon
            )
            return
        kind = variable.dtype.type
        m += (grad - m) * kind(1 - self.beta_1)
        v += (grad * grad - v) * kind(1 - self.beta_2)
        v_hat = self._velocity_hats[i]
        np.maximum(v_hat, v, out=v_hat)
        variable -= kind(self._alpha) * m / (np.sqrt(v_hat) + kind(self.epsilon))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }


class AdamW(Adam):
    """Adam with decoupled weight decay: before each step of Adam, w -= rate · weight_decay · w.

    Unlike an L2 penalty, which Adam would scale by its running means, the decay shrinks all parameters alike.

    Args:
        learning_rate: A number or a schedule. Default 0.001.
        weight_decay: Default 0.004. `exclude_from_weight_decay` leaves parameters out.
        beta_1, beta_2, epsilon, amsgrad: see `Adam`.
        clipnorm, clipvalue, global_clipnorm, name: see `Optimizer`.

    Raises:
        ValueError: ``weight_decay=None``; that is `Adam`.

    References:
        Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv:1711.05101, algorithm 2.

    Example:
        >>> import numpy as np
        >>> from fastconv.optimizers import AdamW
        >>> weight = np.array([1.0])
        >>> AdamW(learning_rate=0.5, weight_decay=0.5).apply([np.zeros(1)], [weight])
        >>> weight.tolist()
        [0.75]
    """

    default_name = "adamw"

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if weight_decay is None:
            raise _validation.invalid_argument("AdamW", "weight_decay", weight_decay, "expected a non-negative float")
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay, clipnorm, clipvalue, global_clipnorm, name,
            **kwargs,
        )  # fmt: skip
