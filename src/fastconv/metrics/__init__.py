"""Metrics: figures that are watched during training, accumulated over batches, as in Keras.

`Sequential.compile(metrics=["accuracy"])` picks binary, sparse or categorical accuracy by the shapes of targets and
predictions, as Keras does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import _objects, _validation, losses
from ..utils import confusion_matrix
from .accuracy import (
    ACCURACY_NAMES,
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    accuracy_for,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from .base import Mean, MeanMetricWrapper, Metric
from .confusion import Precision, Recall
from .means import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
)

__all__ = [
    "ACCURACY_NAMES",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "accuracy_for",
    "binary_accuracy",
    "categorical_accuracy",
    "confusion_matrix",
    "deserialize",
    "get",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]

_SNAKE_CASE: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "binary_accuracy": BinaryAccuracy,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_accuracy": CategoricalAccuracy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "mean": Mean,
    "mean_absolute_error": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "precision": Precision,
    "recall": Recall,
    "root_mean_squared_error": RootMeanSquaredError,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
}
_CLASSES: dict[str, type[Metric]] = {cls.__name__: cls for cls in _SNAKE_CASE.values()}
_BY_NAME: dict[str, type[Metric]] = _CLASSES | _SNAKE_CASE
_BY_NAME |= {"mse": MeanSquaredError, "MSE": MeanSquaredError, "mae": MeanAbsoluteError, "MAE": MeanAbsoluteError}
_BY_NAME |= {"bce": BinaryCrossentropy, "BCE": BinaryCrossentropy}


def serialize(metric: Metric) -> dict[str, Any]:
    """Keras's dictionary of a metric, without what it has seen.

    Example:
        >>> from fastconv import metrics
        >>> metrics.serialize(metrics.Precision(0.7))["config"]["thresholds"]
        0.7
    """
    return _objects.serialize(metric, "keras.metrics")


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Metric:
    """The inverse of :func:`serialize`.

    Raises:
        ValueError: an unknown metric.

    Example:
        >>> from fastconv import metrics
        >>> metrics.deserialize({"class_name": "TopKCategoricalAccuracy", "config": {"k": 3}}).k
        3
    """
    name = config.get("class_name") if isinstance(config, Mapping) else config
    arguments = config.get("config") if isinstance(config, Mapping) else None
    cls = {**_CLASSES, **(custom_objects or {})}.get(name) if isinstance(name, str) else None
    if cls is None or not isinstance(arguments, dict):
        raise _validation.unknown_name("metrics.deserialize", "metric", name, _CLASSES)
    return cls.from_config(arguments)


def get(identifier: Any) -> Metric:
    """The metric that ``identifier`` names: a name, a `Metric`, its class, a function of (y_true, y_pred), a `Loss`, or
    a config.

    A model resolves ``"accuracy"`` by shapes; see `accuracy_for`.

    Raises:
        ValueError: an unknown name.
        TypeError: anything else.

    Example:
        >>> from fastconv import metrics
        >>> metrics.get("sparse_categorical_accuracy").name
        'sparse_categorical_accuracy'
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        if identifier not in _BY_NAME:
            raise _validation.unknown_name("metrics.get", "metric", identifier, (*_BY_NAME, *ACCURACY_NAMES))
        return _BY_NAME[identifier](name=identifier)
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()
    if isinstance(identifier, losses.Loss):
        metric = MeanMetricWrapper(identifier, identifier.name)
        metric.direction = "down"
        return metric
    if callable(identifier):
        return MeanMetricWrapper(identifier)
    raise _validation.wrong_type("metrics.get", "metric", identifier, "a name, a Metric or a function")
