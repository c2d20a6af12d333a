"""Metrics: figures that are watched during training, accumulated over batches, as in Keras.

`Sequential.compile(metrics=["accuracy"])` picks binary, sparse or categorical accuracy by the shapes of targets and
predictions, as Keras does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from . import _validation


class Metric:
    """Base of the metrics: ``update_state`` on each batch, ``result`` at any time, ``reset_state`` for a new epoch.

    Args:
        name: The key under which histories hold the figure. Defaults to the class's own name in snake case.
    """

    default_name: ClassVar[str] = "metric"
    # "up": more is better; "down": less is better. Callbacks with mode="auto" go by it.
    direction: ClassVar[str] = "down"
    # True where logits give the same figure as their softmax, which training then need not compute.
    accepts_logits: ClassVar[bool] = False

    def __init__(self, name: str | None = None) -> None:
        self.name = name or self.default_name

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch."""
        raise NotImplementedError

    def result(self) -> float:
        """The figure over everything since the last ``reset_state``."""
        raise NotImplementedError

    def reset_state(self) -> None:
        """Forget all batches."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> float:
        """``update_state`` with these arguments, then ``result``."""
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """Arguments that ``from_config`` rebuilds the metric from; keys as in Keras."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """A metric from what ``get_config`` gave."""
        return cls(**{key: value for key, value in config.items() if key != "dtype"})


class Mean(Metric):
    """Weighted mean of the values seen: Σ w·value / Σ w.

    Example:
        >>> from fastconv.metrics import Mean
        >>> mean = Mean()
        >>> mean.update_state([1.0, 2.0])
        >>> mean.update_state(6.0, sample_weight=2)
        >>> mean.result()
        3.75
    """

    default_name = "mean"

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.total = 0.0
        self.count = 0.0

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Take in ``values`` of any shape, each with weight 1, or with weights that broadcast along the first axes."""
        values = np.asarray(values)
        if sample_weight is None:
            self.total += float(values.sum(dtype=np.float64))
            self.count += values.size
            return
        weight = np.asarray(sample_weight, dtype=np.float64)
        weight = np.broadcast_to(weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim)), values.shape)
        self.total += float((values * weight).sum())
        self.count += float(weight.sum())

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0

    def reset_state(self) -> None:
        self.total = 0.0
        self.count = 0.0


class MeanMetricWrapper(Mean):
    """The mean over samples of ``fn(y_true, y_pred)``, which gives one value per sample.

    Args:
        fn: A function of (targets, predictions).
        name: Defaults to the function's name.

    Example:
        >>> import numpy as np
        >>> from fastconv.metrics import MeanMetricWrapper
        >>> metric = MeanMetricWrapper(lambda t, p: abs(t - p)[:, 0], name="mae")
        >>> metric(np.zeros((2, 1)), np.array([[1.0], [3.0]]))
        2.0
    """

    def __init__(self, fn: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__(name or getattr(fn, "__name__", self.default_name))
        self.fn = fn

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        super().update_state(self.fn(y_true, y_pred), sample_weight)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> np.ndarray:
    """1.0 where (y_pred > threshold) equals y_true, else 0.0; shape (n, …, k)."""
    y_true, y_pred = _same_rank(np.asarray(y_true), np.asarray(y_pred))
    return ((y_pred > threshold) == y_true).astype(np.float32)


def categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1.0 where the largest prediction is at the largest target (one-hot rows), else 0.0; shape (n, …).

    Example:
        >>> from fastconv.metrics import categorical_accuracy
        >>> categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.8], [0.3, 0.7]]).tolist()
        [1.0, 0.0]
    """
    return (np.argmax(y_true, axis=-1) == np.argmax(y_pred, axis=-1)).astype(np.float32)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1.0 where the largest prediction is at the integer label, else 0.0; shape (n, …).

    Example:
        >>> from fastconv.metrics import sparse_categorical_accuracy
        >>> sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.3, 0.7]]).tolist()
        [1.0, 0.0]
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    return (y_true == np.argmax(y_pred, axis=-1)).astype(np.float32)


def _same_rank(y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets (n,) beside predictions (n, 1), or the other way round, get the missing axis."""
    if y_true.ndim + 1 == y_pred.ndim and y_pred.shape[-1] == 1:
        return y_true[..., None], y_pred
    if y_pred.ndim + 1 == y_true.ndim and y_true.shape[-1] == 1:
        return y_true, y_pred[..., None]
    return y_true, y_pred


class BinaryAccuracy(Mean):
    """Part of the predictions that lie on the target's side of the threshold.

    Args:
        name: Defaults to ``"binary_accuracy"``.
        threshold: Default 0.5.

    Example:
        >>> from fastconv.metrics import BinaryAccuracy
        >>> BinaryAccuracy()([[1], [0]], [[0.9], [0.6]])
        0.5
    """

    default_name = "binary_accuracy"
    direction = "up"

    def __init__(self, name: str | None = None, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = _validation.as_number("BinaryAccuracy", "threshold", threshold)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        super().update_state(binary_accuracy(y_true, y_pred, self.threshold), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"threshold": self.threshold}


class CategoricalAccuracy(Mean):
    """Part of the samples whose largest prediction is at the largest target; targets are one-hot rows (n, classes).

    Example:
        >>> from fastconv.metrics import CategoricalAccuracy
        >>> CategoricalAccuracy()([[0, 1], [1, 0]], [[0.2, 0.8], [0.3, 0.7]])
        0.5
    """

    default_name = "categorical_accuracy"
    direction = "up"
    accepts_logits = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        super().update_state(categorical_accuracy(y_true, y_pred), sample_weight)


class SparseCategoricalAccuracy(Mean):
    """Part of the samples whose largest prediction is at the integer label; labels are (n,) or (n, 1).

    Example:
        >>> from fastconv.metrics import SparseCategoricalAccuracy
        >>> SparseCategoricalAccuracy()([1, 0], [[0.2, 0.8], [0.3, 0.7]])
        0.5
    """

    default_name = "sparse_categorical_accuracy"
    direction = "up"
    accepts_logits = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        super().update_state(sparse_categorical_accuracy(y_true, y_pred), sample_weight)


_CLASSES: dict[str, type[Metric]] = {
    cls.__name__: cls for cls in (Mean, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy)
}
_BY_NAME: dict[str, type[Metric]] = _CLASSES | {cls.default_name: cls for cls in _CLASSES.values()}
ACCURACY_NAMES = ("accuracy", "acc")


def accuracy_for(name: str, target_shape: tuple[int | None, ...], pred_shape: tuple[int | None, ...]) -> Metric:
    """The accuracy that ``"accuracy"`` stands for, by Keras's rule on the shapes (both with the batch axis).

    Predictions with a last axis of 1: binary. Targets with fewer axes, or with a last axis of 1: sparse. Else
        categorical.
    """
    if pred_shape[-1] == 1:
        return BinaryAccuracy(name)
    if len(target_shape) < len(pred_shape) or target_shape[-1] == 1:
        return SparseCategoricalAccuracy(name)
    return CategoricalAccuracy(name)


def get(identifier: Any) -> Metric:
    """The metric that ``identifier`` names: a name, a `Metric`, a function of (y_true, y_pred), or a config.

    ``"accuracy"`` depends on shapes and is resolved by the model; see `accuracy_for`.

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
        return _BY_NAME[identifier](identifier)
    if isinstance(identifier, dict):
        name, config = identifier.get("class_name"), identifier.get("config")
        if not isinstance(name, str) or name not in _CLASSES or not isinstance(config, dict):
            raise _validation.unknown_name("metrics.get", "metric", name, _CLASSES)
        return _CLASSES[name].from_config(config)
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()
    if callable(identifier):
        return MeanMetricWrapper(identifier)
    raise _validation.wrong_type("metrics.get", "metric", identifier, "a name, a Metric or a function")
