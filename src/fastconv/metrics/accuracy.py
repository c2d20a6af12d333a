"""Accuracies: how often predictions are right, or nearly."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validation
from .base import Mean, Metric, same_rank

ACCURACY_NAMES = ("accuracy", "acc")  # What `accuracy_for` resolves.


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> np.ndarray:
    """1.0 where (y_pred > threshold) equals y_true, else 0.0; shape (n, …, k).

    Example:
        >>> from fastconv.metrics import binary_accuracy
        >>> binary_accuracy([1, 0], [[0.9], [0.6]]).tolist()
        [[1.0], [0.0]]
    """
    y_true, y_pred = same_rank("binary_accuracy", y_true, y_pred)
    return ((y_pred > threshold) == y_true).astype(np.float32)


def categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1.0 where the largest prediction is at the largest target (one-hot rows), else 0.0; shape (n, …).

    Example:
        >>> from fastconv.metrics import categorical_accuracy
        >>> categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.8], [0.3, 0.7]]).tolist()
        [1.0, 0.0]
    """
    y_true, y_pred = _rows("categorical_accuracy", y_true, y_pred)
    return (np.argmax(y_true, axis=-1) == np.argmax(y_pred, axis=-1)).astype(np.float32)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1.0 where the largest prediction is at the integer label, else 0.0; shape (n, …).

    Example:
        >>> from fastconv.metrics import sparse_categorical_accuracy
        >>> sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.3, 0.7]]).tolist()
        [1.0, 0.0]
    """
    labels, y_pred = _labels("sparse_categorical_accuracy", y_true, y_pred)
    return (labels == np.argmax(y_pred, axis=-1)).astype(np.float32)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> np.ndarray:
    """1.0 where the largest target (one-hot rows) is among the k largest predictions, else 0.0; shape (n, …).

    Predictions that equal the k-th largest count as being among them, as in Keras.

    Example:
        >>> from fastconv.metrics import top_k_categorical_accuracy
        >>> top_k_categorical_accuracy([[0, 0, 1], [0, 1, 0]], [[0.5, 0.2, 0.3], [0.5, 0.2, 0.3]], k=2).tolist()
        [1.0, 0.0]
    """
    where = "top_k_categorical_accuracy"
    y_true, y_pred = _rows(where, y_true, y_pred)
    return _in_top_k(np.argmax(y_true, axis=-1), y_pred, _as_k(where, k))


def sparse_top_k_categorical_accuracy(
    y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False
) -> np.ndarray:
    """1.0 where the integer label is among the k largest predictions, else 0.0; shape (n, …).

    With ``from_sorted_ids`` the predictions are class numbers, the likeliest first, in the place of probabilities.

    Example:
        >>> from fastconv.metrics import sparse_top_k_categorical_accuracy
        >>> sparse_top_k_categorical_accuracy([2, 1], [[0.5, 0.2, 0.3], [0.5, 0.2, 0.3]], k=2).tolist()
        [1.0, 0.0]
    """
    where = "sparse_top_k_categorical_accuracy"
    labels, y_pred = _labels(where, y_true, y_pred)
    k = _as_k(where, k)
    if from_sorted_ids:
        return (y_pred[..., :k] == labels[..., None]).any(axis=-1).astype(np.float32)
    return _in_top_k(labels, y_pred, k)


def _rows(where: str, y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """One-hot targets and predictions of one shape (n, …, classes)."""
    y_true, y_pred = same_rank(where, y_true, y_pred)
    if not y_pred.ndim or not y_pred.shape[-1]:
        raise _no_classes(where, y_pred)
    return y_true, y_pred


def _labels(where: str, y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n, …), without a last axis of length 1, and predictions (n, …, classes)."""
    labels, y_pred = _validation.as_numeric(where, "y_true", y_true), _validation.as_numeric(where, "y_pred", y_pred)
    if labels.ndim and labels.ndim == y_pred.ndim and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if not y_pred.ndim or not y_pred.shape[-1]:
        raise _no_classes(where, y_pred)
    _validation.check_shape(where, "y_true", labels, y_pred.shape[:-1], "one label for each row of y_pred")
    return labels, y_pred


def _no_classes(where: str, y_pred: np.ndarray) -> ValueError:
    return _validation.wrong_state(
        where, f"y_pred has shape {y_pred.shape}.", "It must be (n, …, classes) with at least one class."
    )


def _in_top_k(labels: np.ndarray, y_pred: np.ndarray, k: int) -> np.ndarray:
    classes = y_pred.shape[-1]
    known = (labels >= 0) & (labels < classes)
    places = np.where(known, labels, 0).astype(np.intp)
    score = np.take_along_axis(y_pred, places[..., None], axis=-1)
    above = np.count_nonzero(y_pred > score, axis=-1)
    return (known & (above < k) & ~np.isnan(score[..., 0])).astype(np.float32)


class Accuracy(Mean):
    """Part of the predictions that equal their targets: for class numbers, where others take probabilities.

    The name ``"accuracy"`` in ``compile`` stands for another one, chosen by shapes: see `accuracy_for`.

    Args:
        name: Defaults to ``"accuracy"``.
        dtype: see `Metric`.

    Example:
        >>> from fastconv.metrics import Accuracy
        >>> Accuracy()([[1], [2], [3], [4]], [[0], [2], [3], [4]])
        0.75
    """

    default_name = "accuracy"
    direction = "up"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        y_true, y_pred = same_rank(type(self).__name__, y_true, y_pred)
        super().update_state(y_true == y_pred, sample_weight)


class BinaryAccuracy(Mean):
    """Part of the predictions that lie on the target's side of the threshold.

    Args:
        name: Defaults to ``"binary_accuracy"``.
        dtype: see `Metric`.
        threshold: Default 0.5.

    Example:
        >>> from fastconv.metrics import BinaryAccuracy
        >>> BinaryAccuracy()([[1], [0]], [[0.9], [0.6]])
        0.5
    """

    default_name = "binary_accuracy"
    direction = "up"

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype)
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


class TopKCategoricalAccuracy(Mean):
    """Part of the samples whose largest target (one-hot rows) is among the k largest predictions.

    Predictions that equal the k-th largest count as being among them, as in Keras.

    Args:
        k: Default 5. With no more classes than that, the figure is 1.
        name: Defaults to ``"top_k_categorical_accuracy"``.
        dtype: see `Metric`.

    Example:
        >>> from fastconv.metrics import TopKCategoricalAccuracy
        >>> TopKCategoricalAccuracy(k=2)([[0, 0, 1], [0, 1, 0]], [[0.5, 0.2, 0.3], [0.5, 0.2, 0.3]])
        0.5
    """

    default_name = "top_k_categorical_accuracy"
    direction = "up"
    accepts_logits = True

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.k = _as_k(type(self).__name__, k)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        super().update_state(top_k_categorical_accuracy(y_true, y_pred, self.k), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"k": self.k}


class SparseTopKCategoricalAccuracy(Mean):
    """Part of the samples whose integer label is among the k largest predictions; labels are (n,) or (n, 1).

    Args:
        k: Default 5. With no more classes than that, the figure is 1.
        name: Defaults to ``"sparse_top_k_categorical_accuracy"``.
        dtype: see `Metric`.
        from_sorted_ids: Predictions are class numbers, the likeliest first. Default False.

    Example:
        >>> from fastconv.metrics import SparseTopKCategoricalAccuracy
        >>> SparseTopKCategoricalAccuracy(k=2)([2, 1], [[0.5, 0.2, 0.3], [0.5, 0.2, 0.3]])
        0.5
    """

    default_name = "sparse_top_k_categorical_accuracy"
    direction = "up"

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None, from_sorted_ids: bool = False) -> None:
        super().__init__(name, dtype)
        self.k = _as_k(type(self).__name__, k)
        self.from_sorted_ids = bool(from_sorted_ids)

    @property
    def accepts_logits(self) -> bool:  # type: ignore[override]
        """Logits are ordered as their softmax is."""
        return not self.from_sorted_ids

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        hits = sparse_top_k_categorical_accuracy(y_true, y_pred, self.k, self.from_sorted_ids)
        super().update_state(hits, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"k": self.k} | ({"from_sorted_ids": True} if self.from_sorted_ids else {})


def _as_k(where: str, k: Any) -> int:
    return _validation.as_count(where, "k", k, 1)


def accuracy_for(name: str, target_shape: tuple[int | None, ...], pred_shape: tuple[int | None, ...]) -> Metric:
    """The accuracy that ``"accuracy"`` stands for, by Keras's rule on the shapes (both with the batch axis).

    Predictions with a last axis of 1: binary. Targets with fewer axes, or with a last axis of 1: sparse. Else:
    categorical.

    Example:
        >>> from fastconv.metrics import accuracy_for
        >>> type(accuracy_for("acc", (None,), (None, 10))).__name__
        'SparseCategoricalAccuracy'
    """
    if pred_shape[-1] == 1:
        return BinaryAccuracy(name)
    if len(target_shape) < len(pred_shape) or target_shape[-1] == 1:
        return SparseCategoricalAccuracy(name)
    return CategoricalAccuracy(name)
