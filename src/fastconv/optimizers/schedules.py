"""Learning rates that change from step to step. Names, arguments, formulas and configs are Keras's.

A schedule stands wherever ``learning_rate`` does and is asked before every step, with the number of steps taken so far.
It goes into the configs of optimizers, and into ``.keras`` files. `OneCycle` is the one that Keras does not have.

A schedule of one's own is a class with ``__call__(step)``; with ``get_config`` too, it can be saved:

Example:
    >>> class Halving(LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 0.1 * 0.5 ** (step // 1000)
    >>> Halving()(2500)
    0.025
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .. import _objects, _validation


class LearningRateSchedule:
    """Base of the schedules: subclasses compute the learning rate of a step."""

    def __call__(self, step: int) -> float:
        """The learning rate after ``step`` steps; the first step is made with that of ``step=0``."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Arguments that ``from_config`` rebuilds the schedule from; keys as in Keras.

        Raises:
            ValueError: a schedule of one's own that does not have this method.
        """
        raise _validation.not_serializable("keras.optimizers.schedules", self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """A schedule from what ``get_config`` gave."""
        return cls(**config)


class ExponentialDecay(LearningRateSchedule):
    """Shrinks the rate by one factor every so many steps: initial_learning_rate · decay_rate^(step / decay_steps).

    Args:
        initial_learning_rate: The rate of the first step.
        decay_steps: Steps in which the rate is multiplied once by ``decay_rate``.
        decay_rate: The factor.
        staircase: Round step / decay_steps down, so that the rate falls in stairs. Default False.
        name: Default ``"ExponentialDecay"``.

    Raises:
        ValueError: a negative rate, or decay_steps that are not positive.

    Example:
        >>> from fastconv.optimizers.schedules import ExponentialDecay
        >>> [ExponentialDecay(0.5, decay_steps=10, decay_rate=0.25)(step) for step in (0, 5, 10)]
        [0.5, 0.25, 0.125]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        where = type(self).__name__
        self.initial_learning_rate = _validation.as_number(where, "initial_learning_rate", initial_learning_rate, 0)
        self.decay_steps = _positive(where, "decay_steps", decay_steps)
        self.decay_rate = _validation.as_number(where, "decay_rate", decay_rate, 0)
        self.staircase = bool(staircase)
        self.name = name

    def __call__(self, step: int) -> float:
        power = step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** (math.floor(power) if self.staircase else power)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }


class PiecewiseConstantDecay(LearningRateSchedule):
    """One rate after the other: values[i] for boundaries[i - 1] < step <= boundaries[i].

    Args:
        boundaries: Steps at which the rate changes, rising.
        values: The rates, one more than the boundaries.
        name: Default ``"PiecewiseConstant"``.

    Raises:
        ValueError: lengths that do not go together, boundaries that do not rise, or a negative rate.

    Example:
        >>> from fastconv.optimizers.schedules import PiecewiseConstantDecay
        >>> rate = PiecewiseConstantDecay([100, 200], [0.1, 0.01, 0.001])
        >>> rate(100), rate(101), rate(5000)
        (0.1, 0.01, 0.001)
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        where = type(self).__name__
        for argument, given in (("boundaries", boundaries), ("values", values)):
            if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
                raise _validation.wrong_type(where, argument, given, "a list of numbers")
        self.boundaries = [_number(where, "boundaries", boundary) for boundary in boundaries]
        self.values = [_validation.as_number(where, "values", value, 0) for value in values]
        self.name = name
        if len(self.values) != len(self.boundaries) + 1:
            raise _validation.wrong_state(
                where,
                f"received {len(self.boundaries)} boundaries and {len(self.values)} values.",
                "Give one value more than boundaries.",
            )
        if any(late <= early for early, late in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise _validation.invalid_argument(where, "boundaries", boundaries, "expected numbers that rise")

    def __call__(self, step: int) -> float:
        return self.values[bisect_left(self.boundaries, step)]

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": list(self.boundaries), "values": list(self.values), "name": self.name}


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the initial rate down, after a linear warm-up if wanted.

    Without ``warmup_target``: rate(step) = initial_learning_rate · c(step / decay_steps), where
    c(x) = (1 - alpha)·(1 + cos(π·min(x, 1))) / 2 + alpha. With it, the rate first runs straight from
    initial_learning_rate to warmup_target in warmup_steps, then warmup_target · c((step - warmup_steps) / decay_steps).

    Args:
        initial_learning_rate: The rate of the first step.
        decay_steps: Length of the cosine, without the warm-up.
        alpha: The last rate, as part of that from which the cosine starts. Default 0.
        name: Default ``"CosineDecay"``.
        warmup_target: The rate at the end of the warm-up. Default None: no warm-up.
        warmup_steps: Length of the warm-up. Default 0.

    Raises:
        ValueError: a negative rate, or decay_steps that are not positive.

    References:
        Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", arXiv:1608.03983, equation 5;
        the warm-up: Goyal et al., arXiv:1706.02677, section 2.2.

    Example:
        >>> from fastconv.optimizers.schedules import CosineDecay
        >>> rate = CosineDecay(0.0, decay_steps=100, warmup_target=0.5, warmup_steps=10)
        >>> rate(0), rate(5), rate(10), round(rate(60), 6), rate(110)
        (0.0, 0.25, 0.5, 0.25, 0.0)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        where = type(self).__name__
        self.initial_learning_rate = _validation.as_number(where, "initial_learning_rate", initial_learning_rate, 0)
        self.decay_steps = _positive(where, "decay_steps", decay_steps)
        self.alpha = _validation.as_number(where, "alpha", alpha, 0)
        self.name = name
        self.warmup_target = (
            None if warmup_target is None else _validation.as_number(where, "warmup_target", warmup_target, 0)
        )
        _validation.as_number(where, "warmup_steps", warmup_steps, 0)
        self.warmup_steps = _number(where, "warmup_steps", warmup_steps)

    def __call__(self, step: int) -> float:
        start = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return start + (self.warmup_target - start) * step / self.warmup_steps
            start, step = self.warmup_target, step - self.warmup_steps  # type: ignore[assignment]
        cosine = (1 + math.cos(math.pi * min(step / self.decay_steps, 1.0))) / 2
        return start * ((1 - self.alpha) * cosine + self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "alpha": self.alpha,
            "name": self.name,
            "warmup_target": self.warmup_target,
            "warmup_steps": self.warmup_steps,
        }


class OneCycle(LearningRateSchedule):
    """Up to a high rate and down to almost none, once over the whole training: the quick way to a good result.

    With T = total_steps and peak = warmup_fraction·T - 1, the rate runs from low = max_learning_rate / div_factor at
    step 0 to max_learning_rate at step ``peak``, then down to low / final_div_factor at step T - 1, where it stays.
    Between a and b it follows a + (b - a)·(1 - cos(π·x)) / 2 (``"cosine"``) or a + (b - a)·x (``"linear"``), x from 0
    to 1. Defaults and values are those of ``torch.optim.lr_scheduler.OneCycleLR``. Keras has none: it needs
    ``custom_objects`` or ``compile=False`` for a file that holds it.

    Args:
        max_learning_rate: The highest rate.
        total_steps: Steps of the whole training: epochs · ceil(samples / batch_size).
        warmup_fraction: Part of the steps in which the rate rises, in [0, 1]. Default 0.3.
        div_factor: max_learning_rate / first rate. Default 25.
        final_div_factor: First rate / last rate. Default 1e4.
        anneal: ``"cosine"`` (default) or ``"linear"``.
        name: Default ``"OneCycle"``.

    Raises:
        ValueError: an argument outside its range.

    References:
        Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates",
        arXiv:1708.07120, section 4.

    Example:
        >>> from fastconv.optimizers.schedules import OneCycle
        >>> rate = OneCycle(0.5, total_steps=11, warmup_fraction=0.5454545454545454, div_factor=10, anneal="linear")
        >>> [round(rate(step), 4) for step in (0, 1, 5, 10, 11)]
        [0.05, 0.14, 0.5, 0.0, 0.0]
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        warmup_fraction: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        anneal: str = "cosine",
        name: str = "OneCycle",
    ) -> None:
        where = type(self).__name__
        self.max_learning_rate = _validation.as_number(where, "max_learning_rate", max_learning_rate, 0)
        self.total_steps = _validation.as_index(where, "total_steps", total_steps)
        _validation.as_number(where, "total_steps", total_steps, 1)
        self.warmup_fraction = _validation.as_number(where, "warmup_fraction", warmup_fraction, 0, 1)
        self.div_factor = _validation.as_number(where, "div_factor", div_factor, 0, open_low=True)
        self.final_div_factor = _validation.as_number(where, "final_div_factor", final_div_factor, 0, open_low=True)
        self.anneal = _validation.as_choice(where, "anneal", anneal, ("cosine", "linear"))
        self.name = name

    def __call__(self, step: int) -> float:
        peak, last = self.warmup_fraction * self.total_steps - 1, self.total_steps - 1
        high = self.max_learning_rate
        low = high / self.div_factor
        if step < peak:
            return self._between(low, high, step / peak)
        part = (step - peak) / (last - peak) if last > peak else float(step > last)  # Without a way down, it jumps.
        return self._between(high, low / self.final_div_factor, min(part, 1.0))

    def _between(self, start: float, end: float, part: float) -> float:
        if self.anneal == "cosine":
            return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
        return start + (end - start) * part

    def get_config(self) -> dict[str, Any]:
        return {
            "max_learning_rate": self.max_learning_rate,
            "total_steps": self.total_steps,
            "warmup_fraction": self.warmup_fraction,
            "div_factor": self.div_factor,
            "final_div_factor": self.final_div_factor,
            "anneal": self.anneal,
            "name": self.name,
        }


def _number(where: str, name: str, value: Any) -> float:
    """A finite number; a whole one stays an int, as configs have it."""
    number = _validation.as_number(where, name, value)
    return int(value) if number == int(number) and not isinstance(value, float) else number


def _positive(where: str, name: str, value: Any) -> float:
    _validation.as_number(where, name, value, 0, open_low=True)
    return _number(where, name, value)


_TABLE: dict[str, Callable[..., LearningRateSchedule]] = {
    cls.__name__: cls for cls in (ExponentialDecay, PiecewiseConstantDecay, CosineDecay, OneCycle)
}


def serialize(learning_rate_schedule: Any) -> dict[str, Any]:
    """Keras's dictionary of a schedule.

    Raises:
        ValueError: a schedule of one's own without ``get_config``.

    Example:
        >>> from fastconv.optimizers import schedules
        >>> schedules.serialize(schedules.ExponentialDecay(0.1, 100, 0.5))["class_name"]
        'ExponentialDecay'
    """
    config = _objects.serialize(learning_rate_schedule, "keras.optimizers.schedules")
    cls = type(learning_rate_schedule)
    if cls is OneCycle or _TABLE.get(cls.__name__) is not cls:  # What Keras must be told of by custom_objects.
        config |= {"module": cls.__module__, "registered_name": cls.__name__}
    return config


def deserialize(
    config: Mapping[str, Any] | str, custom_objects: Mapping[str, Any] | None = None
) -> LearningRateSchedule:
    """The inverse of :func:`serialize`; a class that is not fastconv's must be in ``custom_objects``.

    Raises:
        ValueError: an unknown schedule.

    Example:
        >>> from fastconv.optimizers import schedules
        >>> rate = schedules.CosineDecay(0.1, 100)
        >>> schedules.deserialize(schedules.serialize(rate)).get_config() == rate.get_config()
        True
    """
    schedule: LearningRateSchedule = _objects.deserialize(config, _TABLE, "learning rate schedule", custom_objects)
    return schedule
