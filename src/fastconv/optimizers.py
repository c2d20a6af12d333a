"""Optimizers: how gradients move the weights. Arguments, defaults and formulas are those of Keras 3.

Each update is one fused pass over a parameter in ``fastconv.ops.updates``: it reads and writes every array once.
Variants that are seldom used (clipping, weight decay, AMSGrad, centered RMSprop) are NumPy, here.
"""

from __future__ import annotations

import inspect
import math
from typing import Any, ClassVar

import numpy as np

from . import _validation
from .ops.updates import adam_update, rmsprop_update, sgd_update

# Keras's arguments for which only the value that means "off" is understood.
_OFF: dict[str, tuple[Any, ...]] = {
    "use_ema": (False,),
    "ema_momentum": (0.99, None),
    "ema_overwrite_frequency": (None,),
    "loss_scale_factor": (None,),
    "gradient_accumulation_steps": (None,),
}


class Optimizer:
    """Base of the optimizers: state, step counter, clipping and weight decay; subclasses update one parameter.

    Args:
        learning_rate: The step size, a positive number (0 is allowed). Can be set at any time.
        weight_decay: Each step first shrinks every parameter by the factor 1 - learning_rate·weight_decay. Default
            None.
        clipnorm: Each gradient with an L2 norm above this is scaled down to it. Default None.
        clipvalue: Each gradient's elements are clipped to ±clipvalue. Default None.
        global_clipnorm: All gradients together are scaled down to this L2 norm. Default None.
        name: Defaults to the class's name in lower case.
        **kwargs: Keras's further arguments (``use_ema`` and its kin), accepted with the values that mean "off".

    Attributes:
        iterations: Number of steps taken.
    """

    default_name: ClassVar[str] = "optimizer"

    def __init__(
        self,
        learning_rate: float,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        where = type(self).__name__
        for key, value in kwargs.items():
            if key not in _OFF:
                raise _validation.unknown_name(where, "argument", key, inspect.signature(type(self)).parameters)
            if value not in _OFF[key]:
                raise _validation.unsupported(where, f"{key}={value!r}", f"Leave {key} out.")
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {key: value for key, value in clips.items() if value is not None}
        if len(given) > 1:
            raise _validation.wrong_state(where, f"received {', '.join(given)}.", "Give only one way of clipping.")
        for key, value in given.items():
            _validation.as_number(where, key, value, 0, open_low=True)
        if weight_decay is not None:
            _validation.as_number(where, "weight_decay", weight_decay, 0)
        self.name = name or self.default_name
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.learning_rate = learning_rate
        self.iterations = 0
        self.built = False
        self._parameters: list[np.ndarray] = []
        self._index: dict[int, int] = {}
        self._slots: list[np.ndarray] = []

    @property
    def learning_rate(self) -> float:
        """The step size of the next step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = _validation.as_number(type(self).__name__, "learning_rate", value, 0)

    def build(self, variables: list[np.ndarray]) -> None:
        """Make the state (zeros) for these parameters; a second call does nothing.

        Args:
            variables: The arrays that ``apply`` will update in place, contiguous float32 or float64.
        """
        if self.built:
            return
        self._parameters = list(variables)
        self._index = {id(variable): i for i, variable in enumerate(self._parameters)}
        self._make_slots()
        self.built = True

    def _make_slots(self) -> None:
        """Fill ``_slots`` in the order in which Keras stores them."""

    def _zeros(self) -> list[np.ndarray]:
        """One array of zeros like each parameter, entered into ``_slots``."""
        arrays = [np.zeros_like(parameter) for parameter in self._parameters]
        self._slots.extend(arrays)
        return arrays

    @property
    def variables(self) -> list[np.ndarray]:
        """The state as Keras stores it: step counter, learning rate, then moments per parameter (live arrays)."""
        return [np.array(self.iterations, np.int64), np.array(self.learning_rate, np.float32), *self._slots]

    def get_weights(self) -> list[np.ndarray]:
        """Copies of ``variables``."""
        return [variable.copy() for variable in self.variables]

    def set_weights(self, weights: list[Any]) -> None:
        """Set the state from what ``get_weights`` gave; checked whole before anything changes.

        Raises:
            ValueError: not built yet, or arrays that differ from ``variables`` in number or shape.
        """
        where = f"{type(self).__name__}.set_weights"
        if not self.built:
            raise _validation.wrong_state(where, "the optimizer has no state yet.", "Call build(variables) first.")
        new = [np.asarray(weight) for weight in weights]
        old = self.variables
        _validation.check_new_weights(where, new, old, [f"variable {i}" for i in range(len(old))])
        iterations = _validation.as_index(where, "iterations", new[0][()])
        rate = float(new[1])
        if np.float32(rate) != np.float32(self.learning_rate):  # A rate kept in float32 must not lose our digits.
            self.learning_rate = rate
        for slot, value in zip(self._slots, new[2:], strict=True):
            slot[...] = value
        self.iterations = iterations

    def apply(self, grads: list[np.ndarray], trainable_variables: list[np.ndarray] | None = None) -> None:
        """One step: move every variable along its gradient, in place.

        Args:
            grads: One gradient per variable, of its shape.
            trainable_variables: The variables; at the first call the state is built for them. Default: those of
                ``build``.

        Raises:
            ValueError: numbers or shapes that differ, or a variable that the state was not built for.

        Example:
            >>> import numpy as np
            >>> from fastconv.optimizers import SGD
            >>> weight = np.array([1.0, 2.0])
            >>> SGD(learning_rate=0.5).apply([np.array([1.0, -1.0])], [weight])
            >>> weight.tolist()
            [0.5, 2.5]
        """
        variables = self._parameters if trainable_variables is None else trainable_variables
        if not self.built:
            self.build(variables)
        indices = self._indices(grads, variables)
        rate = self._learning_rate
        grads = self._clipped(grads)
        self._begin_step(rate)
        for i, variable, grad in zip(indices, variables, grads, strict=True):
            if grad.dtype != variable.dtype or not grad.flags.c_contiguous:
                grad = np.ascontiguousarray(grad, variable.dtype)
            if self.weight_decay is not None:
                variable *= variable.dtype.type(1 - self.weight_decay * rate)
            self._update(i, variable, grad, rate)
        self.iterations += 1

    def _indices(self, grads: list[np.ndarray], variables: list[np.ndarray]) -> list[int]:
        """The place of each variable in the state; refuse what does not fit before any variable is touched."""
        where = f"{type(self).__name__}.apply"
        if len(grads) != len(variables):
            raise _validation.wrong_state(
                where, f"received {len(grads)} gradients for {len(variables)} variables.", "Give one for each."
            )
        indices = [self._index.get(id(variable), -1) for variable in variables]
        if -1 in indices:  # After a deep copy the arrays are the right ones, but live elsewhere.
            self._index = {id(variable): i for i, variable in enumerate(self._parameters)}
            indices = [self._index.get(id(variable), -1) for variable in variables]
        if -1 in indices:
            raise _validation.wrong_state(
                where,
                f"variable {indices.index(-1)} is none of those that the optimizer was built with.",
                "Compile the model again, or make a new optimizer.",
            )
        for grad, variable in zip(grads, variables, strict=True):
            if grad.shape != variable.shape:
                raise _validation.wrong_state(
                    where, f"a gradient has shape {grad.shape}, its variable {variable.shape}.", "They must be equal."
                )
        return indices

    def _clipped(self, grads: list[np.ndarray]) -> list[np.ndarray]:
        if self.clipvalue is not None:
            return [np.clip(grad, -self.clipvalue, self.clipvalue) for grad in grads]
        if self.clipnorm is not None:
            return [_to_norm(grad, _norm([grad]), self.clipnorm) for grad in grads]
        if self.global_clipnorm is not None:
            norm = _norm(grads)
            return [_to_norm(grad, norm, self.global_clipnorm) for grad in grads]
        return grads

    def _begin_step(self, rate: float) -> None:
        """What a step computes once for all parameters."""

    def _update(self, i: int, variable: np.ndarray, grad: np.ndarray, rate: float) -> None:
        """Move parameter ``i``, in place."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Arguments that ``from_config`` rebuilds the optimizer from; keys as in Keras."""
        return {
            "name": self.name,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
        } | {key: values[0] for key, values in _OFF.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """An optimizer from what ``get_config`` gave; its state starts anew."""
        return cls(**config)


def _norm(grads: list[np.ndarray]) -> float:
    return math.sqrt(sum(float(np.vdot(grad, grad)) for grad in grads))


def _to_norm(grad: np.ndarray, norm: float, limit: float) -> np.ndarray:
    return grad * grad.dtype.type(limit / norm) if norm > limit else grad


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    Plain: w -= rate·g. With momentum: v = momentum·v - rate·g; w += v. Nesterov: w += momentum·v - rate·g.

    Args:
        learning_rate: Default 0.01.
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
        learning_rate: float = 0.01,
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


class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradient and of its square.

    At step t: m += (g - m)(1 - beta_1); v += (g² - v)(1 - beta_2);
    w -= rate·√(1 - beta_2^t) / (1 - beta_1^t) · m / (√v + epsilon). With ``amsgrad``, v is replaced by its largest
    value.

    Args:
        learning_rate: Default 0.001.
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
        learning_rate: float = 0.001,
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


class RMSprop(Optimizer):
    """RMSprop: gradients divided by the root of a running mean of their squares.

    v = rho·v + (1 - rho)·g²; w -= rate·g / √(v + epsilon). Centered: v less the square of the mean gradient. With
    momentum: b = momentum·b + rate·g / √…; w -= b.

    Args:
        learning_rate: Default 0.001.
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
        learning_rate: float = 0.001,
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


_CLASSES: dict[str, type[Optimizer]] = {cls.__name__: cls for cls in (SGD, Adam, RMSprop)}
_BY_NAME: dict[str, Any] = {name.lower(): cls for name, cls in _CLASSES.items()}


def get(identifier: Any) -> Optimizer:
    """The optimizer that ``identifier`` names: a name in any case, an `Optimizer`, or a config.

    Raises:
        ValueError: an unknown name.
        TypeError: anything else.

    Example:
        >>> from fastconv import optimizers
        >>> type(optimizers.get("adam")).__name__
        'Adam'
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        if identifier.lower() not in _BY_NAME:
            raise _validation.unknown_name("optimizers.get", "optimizer", identifier, _BY_NAME)
        return _BY_NAME[identifier.lower()]()
    if isinstance(identifier, dict):
        name, config = identifier.get("class_name"), identifier.get("config")
        if not isinstance(name, str) or name not in _CLASSES or not isinstance(config, dict):
            raise _validation.unknown_name("optimizers.get", "optimizer", name, _CLASSES)
        return _CLASSES[name].from_config(config)
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()  # type: ignore[call-arg]
    raise _validation.wrong_type("optimizers.get", "optimizer", identifier, "a name or an Optimizer")
