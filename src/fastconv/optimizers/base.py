"""What all optimizers share: learning rate, state, step counter, clipping and weight decay."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import _validation
from . import schedules

# What stands for a learning rate: a number, a schedule, or a function without arguments that gives the next one.
Rate = float | schedules.LearningRateSchedule | Callable[[], float]

# Keras's arguments for which only the value that means "off" is understood.
_OFF: dict[str, tuple[Any, ...]] = {
    "use_ema": (False,),
    "ema_momentum": (0.99, None),
    "ema_overwrite_frequency": (None,),
    "loss_scale_factor": (None,),
    "gradient_accumulation_steps": (None,),
}


class Optimizer:
    """Base of the optimizers: state, step counter, clipping and weight decay; subclasses update one parameter,
    or all at once.

    Args:
        learning_rate: The step size: a positive number (0 is allowed), which can be set at any time; a
            `schedules.LearningRateSchedule`, asked before each step; or a function without arguments.
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
        learning_rate: Rate,
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
        if not isinstance(self.name, str):
            raise _validation.wrong_type(where, "name", name, "a string")
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self._rate: Rate = 0.0
        self.iterations = 0
        self.learning_rate = learning_rate
        self.built = False
        self._parameters: list[np.ndarray] = []
        self._undecayed: list[np.ndarray] = []
        self._decayed: list[bool] = []
        self._index: dict[int, int] = {}
        self._slots: list[np.ndarray] = []

    @property
    def learning_rate(self) -> Any:
        """The step size of the next step, a float; set a number, a schedule or a function.

        Raises:
            TypeError: a number in the place of a schedule, as in Keras; what is no learning rate at all.
            ValueError: a negative number, NaN or Inf.
        """
        rate = self._rate
        if isinstance(rate, float):
            return rate
        value = rate(self.iterations) if isinstance(rate, schedules.LearningRateSchedule) else rate()
        return _validation.as_number(type(self).__name__, "learning_rate", value, 0)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if callable(value) and not isinstance(value, type):
            self._rate = value
            return
        where = type(self).__name__
        number = _validation.as_number(where, "learning_rate", value, 0)
        if isinstance(self._rate, schedules.LearningRateSchedule):
            raise _validation.rate_is_scheduled(where, self._rate, value)
        self._rate = number

    def exclude_from_weight_decay(self, var_list: list[np.ndarray] | None = None, var_names: Any = None) -> None:
        """Leave these parameters out of the weight decay, in place of those that an earlier call named.

        Args:
            var_list: Live arrays, such as ``layer.weights[1:]``.
            var_names: Must be None: arrays have no names.

        Raises:
            ValueError: the optimizer is built already.
            NotImplementedError: ``var_names``.

        Example:
            >>> import numpy as np
            >>> from fastconv.optimizers import AdamW
            >>> kernel, bias = np.ones((2, 2)), np.ones(2)
            >>> optimizer = AdamW(learning_rate=0.5, weight_decay=0.5)
            >>> optimizer.exclude_from_weight_decay([bias])
            >>> optimizer.apply([0 * kernel, 0 * bias], [kernel, bias])
            >>> kernel[0].tolist(), bias.tolist()
            ([0.75, 0.75], [1.0, 1.0])
        """
        where = f"{type(self).__name__}.exclude_from_weight_decay"
        if var_names:
            raise _validation.unsupported(where, f"var_names={var_names!r}", "Give the arrays as var_list.")
        if self.built:
            raise _validation.wrong_state(where, "the optimizer is built already.", "Call it before the first step.")
        self._undecayed = list(var_list or ())

    def build(self, variables: list[np.ndarray]) -> None:
        """Make the state (zeros) for these parameters; a second call only looks whether it has one for each.

        Args:
            variables: The arrays that ``apply`` will update in place, contiguous float32 or float64.

        Raises:
            ValueError: a variable that the state was not built for.
        """
        if self.built:
            self._places(f"{type(self).__name__}.build", variables)
            return
        self._parameters = list(variables)
        self._index = {id(variable): i for i, variable in enumerate(self._parameters)}
        left_out = {id(variable) for variable in self._undecayed}
        self._decayed = [self.weight_decay is not None and id(variable) not in left_out for variable in variables]
        self._undecayed = []
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
        """The state as Keras stores it: step counter, learning rate (if a number), moments per parameter (live)."""
        rate = [np.array(self._rate, np.float32)] if isinstance(self._rate, float) else []
        return [np.array(self.iterations, np.int64), *rate, *self._slots]

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
        if isinstance(self._rate, float):
            rate = float(new.pop(1))
            if np.float32(rate) != np.float32(self._rate):  # A rate kept in float32 must not lose our digits.
                self.learning_rate = rate
        for slot, value in zip(self._slots, new[1:], strict=True):
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
        rate = self.learning_rate
        grads = self._clipped(grads)
        self._begin_step(rate)
        # Gradients of another type or order, misaligned or read-only are copied.
        grads = [
            grad if grad.dtype == variable.dtype and grad.flags.carray else np.array(grad, variable.dtype, order="C")
            for grad, variable in zip(grads, variables, strict=True)
        ]
        if self.weight_decay is not None:
            for i, variable in zip(indices, variables, strict=True):
                if self._decayed[i]:
                    variable *= variable.dtype.type(1 - self.weight_decay * rate)
        self._update_all(indices, variables, grads, rate)
        self.iterations += 1

    def _indices(self, grads: list[np.ndarray], variables: list[np.ndarray]) -> list[int]:
        """The place of each variable in the state; refuse what does not fit before any variable is touched."""
        where = f"{type(self).__name__}.apply"
        if len(grads) != len(variables):
            raise _validation.wrong_state(
                where, f"received {len(grads)} gradients for {len(variables)} variables.", "Give one for each."
            )
        indices = self._places(where, variables)
        for grad, variable in zip(grads, variables, strict=True):
            if grad.shape != variable.shape:
                raise _validation.wrong_state(
                    where, f"a gradient has shape {grad.shape}, its variable {variable.shape}.", "They must be equal."
                )
            _validation.check_variable(where, variable)
        return indices

    def _places(self, where: str, variables: list[np.ndarray]) -> list[int]:
        """The place of each variable in the state."""
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

    def _update_all(
        self, indices: list[int], variables: list[np.ndarray], grads: list[np.ndarray], rate: float
    ) -> None:
        """Move the parameters ``indices``, in place."""
        for i, variable, grad in zip(indices, variables, grads, strict=True):
            self._update(i, variable, grad, rate)

    def _update(self, i: int, variable: np.ndarray, grad: np.ndarray, rate: float) -> None:
        """Move parameter ``i``, in place."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Arguments that ``from_config`` rebuilds the optimizer from; keys as in Keras.

        Raises:
            ValueError: a learning rate that cannot be written down: a function, or a schedule without ``get_config``.
        """
        return {
            "name": self.name,
            "learning_rate": self._rate if isinstance(self._rate, float) else schedules.serialize(self._rate),
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
        } | {key: values[0] for key, values in _OFF.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Optimizer:
        """An optimizer from what ``get_config`` gave; its state starts anew.

        Args:
            config: The arguments.
            custom_objects: Name → class, of a schedule that is not fastconv's.
        """
        if isinstance(config.get("learning_rate"), Mapping):
            config = config | {"learning_rate": schedules.deserialize(config["learning_rate"], custom_objects)}
        return cls(**config)


def _norm(grads: list[np.ndarray]) -> float:
    return math.sqrt(sum(float(np.vdot(grad, grad)) for grad in grads))


def _to_norm(grad: np.ndarray, norm: float, limit: float) -> np.ndarray:
    return grad * grad.dtype.type(limit / norm) if norm > limit else grad
