"""Optimizers: how gradients move the weights. Arguments, defaults and formulas are those of Keras 3.

Each update is one fused pass over a parameter in ``fastconv.ops.updates``: it reads and writes every array once.
Variants that are seldom used (clipping, weight decay, AMSGrad, centered RMSprop) are NumPy, here. Learning rates that
change from step to step are in `schedules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import _objects, _validation
from . import schedules
from .adam import Adam, AdamW
from .base import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "deserialize", "get", "schedules", "serialize"]

_CLASSES: dict[str, type[Optimizer]] = {cls.__name__: cls for cls in (SGD, Adam, AdamW, RMSprop)}
_BY_NAME: dict[str, Any] = {name.lower(): cls for name, cls in _CLASSES.items()}


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """Keras's dictionary of an optimizer, without its state.

    Example:
        >>> from fastconv import optimizers
        >>> optimizers.serialize(optimizers.SGD(0.5))["config"]["learning_rate"]
        0.5
    """
    return _objects.serialize(optimizer, "keras.optimizers")


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Optimizer:
    """The inverse of :func:`serialize`; its schedule and itself are looked up in ``custom_objects`` too.

    Raises:
        ValueError: an unknown optimizer or schedule.

    Example:
        >>> from fastconv import optimizers
        >>> optimizers.deserialize({"class_name": "SGD", "config": {"momentum": 0.5}}).momentum
        0.5
    """
    name = config.get("class_name") if isinstance(config, Mapping) else config
    arguments = config.get("config") if isinstance(config, Mapping) else None
    cls = {**_CLASSES, **(custom_objects or {})}.get(name) if isinstance(name, str) else None
    if cls is None or not isinstance(arguments, dict):
        raise _validation.unknown_name("optimizers.deserialize", "optimizer", name, _CLASSES)
    return cls.from_config(arguments, custom_objects)


def get(identifier: Any) -> Optimizer:
    """The optimizer that ``identifier`` names: a name in any case, an `Optimizer`, its class, or a config.

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
        return deserialize(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()  # type: ignore[call-arg]
    raise _validation.wrong_type("optimizers.get", "optimizer", identifier, "a name or an Optimizer")
