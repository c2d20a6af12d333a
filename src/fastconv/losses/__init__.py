"""Losses: how far predictions are from targets, with the gradient that training follows.

Every loss is a callable object, as in Keras, and gives its gradient with its value through ``value_and_grad``.
Crossentropies on logits use log-sum-exp, so that logits of ±1e4 neither overflow nor lose the gradient.
`Sequential.fit` joins a final softmax or sigmoid to its crossentropy and works on the logits: the gradient is then
(p - t) / n, with no division by a tiny p.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import _objects, _validation
from .base import Loss
from .crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)
from .regression import Huber, MeanAbsoluteError, MeanSquaredError, huber, mean_absolute_error, mean_squared_error

bce, mae, mse = binary_crossentropy, mean_absolute_error, mean_squared_error

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "bce",
    "binary_crossentropy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "huber",
    "mae",
    "mean_absolute_error",
    "mean_squared_error",
    "mse",
    "serialize",
    "sparse_categorical_crossentropy",
]

_BY_FUNCTION: dict[Callable[..., Any], type[Loss]] = {
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    mean_squared_error: MeanSquaredError,
    mean_absolute_error: MeanAbsoluteError,
    huber: Huber,
}
_CLASSES: dict[str, type[Loss]] = {cls.__name__: cls for cls in _BY_FUNCTION.values()}
_BY_NAME: dict[str, type[Loss]] = _CLASSES | {function.__name__: cls for function, cls in _BY_FUNCTION.items()}
_BY_NAME |= {"mse": MeanSquaredError, "MSE": MeanSquaredError, "mae": MeanAbsoluteError, "MAE": MeanAbsoluteError}
_BY_NAME |= {"bce": BinaryCrossentropy, "BCE": BinaryCrossentropy}


def serialize(loss: Loss) -> dict[str, Any]:
    """Keras's dictionary of a loss.

    Example:
        >>> from fastconv import losses
        >>> losses.serialize(losses.Huber(2.0))["config"]["delta"]
        2.0
    """
    return _objects.serialize(loss, "keras.losses")


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Loss | None:
    """The inverse of :func:`serialize`; names and None are understood too, as compiled models are saved with them.

    Raises:
        ValueError: an unknown loss.

    Example:
        >>> from fastconv import losses
        >>> losses.deserialize({"class_name": "Huber", "config": {"delta": 2.0}}).delta
        2.0
    """
    name = config.get("class_name") if isinstance(config, Mapping) else config
    custom = custom_objects or {}
    if isinstance(name, str) and name in custom:
        arguments = config.get("config") if isinstance(config, Mapping) else None
        return get(custom[name].from_config(arguments) if isinstance(arguments, dict) else custom[name])
    return get(config)


def get(identifier: Any) -> Loss | None:
    """The loss that ``identifier`` names: a name, a `Loss`, one of this module's functions, a config, or None.

    Raises:
        ValueError: an unknown name.
        TypeError: anything else; a function of your own has no gradient here, subclass `Loss` instead.

    Example:
        >>> from fastconv import losses
        >>> losses.get("mse").name
        'mean_squared_error'
    """
    if identifier is None or isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        if identifier not in _BY_NAME:
            raise _validation.unknown_name("losses.get", "loss", identifier, _BY_NAME)
        return _BY_NAME[identifier]()
    if isinstance(identifier, dict):
        name, config = identifier.get("class_name"), identifier.get("config")
        if name == "function" and isinstance(config, str):
            return get(config)
        if not isinstance(name, str) or name not in _CLASSES or not isinstance(config, dict):
            raise _validation.unknown_name("losses.get", "loss", name, _CLASSES)
        return _CLASSES[name].from_config(config)
    if callable(identifier) and identifier in _BY_FUNCTION:
        return _BY_FUNCTION[identifier]()
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    raise _validation.wrong_type(
        "losses.get", "loss", identifier, "a name, a Loss (subclass it to give a loss and its gradient) or None"
    )
