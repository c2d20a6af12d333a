"""Crossentropies over classes and over yes-or-no answers, from probabilities or, without overflow, from logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validation
from .base import Loss

EPSILON = 1e-7  # Probabilities are clipped to [EPSILON, 1 - EPSILON], as keras.config.epsilon() has it.


class _Crossentropy(Loss):
    """What both crossentropies share: -Σ t·log p over the class axis, from logits or from probabilities."""

    def __init__(self, from_logits: bool, axis: int, reduction: str | None, name: str | None, dtype: Any) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = bool(from_logits)
        self.axis = _validation.as_index(type(self).__name__, "axis", axis)

    @property
    def joins(self) -> str | None:  # type: ignore[override]
        """Softmax runs over the last axis, so only a loss over that axis can take its logits."""
        return "softmax" if not self.from_logits and self.axis == -1 else None

    def _class_axis(self, where: str, ndim: int) -> int:
        if ndim < 2 or not -ndim <= self.axis < ndim or self.axis % ndim == 0:
            raise _validation.wrong_state(
                where,
                f"predictions with {ndim} axes have no class axis {self.axis}.",
                "Predictions must be shaped (n, …, classes).",
            )
        return self.axis % ndim

    def _align(self, scale: np.ndarray) -> np.ndarray:
        return np.expand_dims(scale, self.axis)

    def _losses(
        self, targets: np.ndarray, y_pred: np.ndarray, on_logits: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        last = self.axis in (-1, y_pred.ndim - 1)
        z = y_pred if last else np.moveaxis(y_pred, self.axis, -1)
        losses, grad, mask = (self._from_logits if on_logits or self.from_logits else self._from_probabilities)(
            targets, z
        )
        return losses, np.ascontiguousarray(grad if last else np.moveaxis(grad, -1, self.axis)), mask

    def _from_logits(self, targets: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        raise NotImplementedError

    def _from_probabilities(
        self, targets: np.ndarray, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        raise NotImplementedError


def _shifted_softmax(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(z - max z, log Σ exp(z - max z), softmax z) over the last axis; no exponent is above 0, so nothing overflows."""
    shifted = z - z.max(axis=-1, keepdims=True)
    p = np.exp(shifted)
    total = p.sum(axis=-1, keepdims=True)
    p /= total
    return shifted, np.log(total[..., 0]), p


def _clipped_crossentropy(t: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses and gradient for probabilities: normalised, then clipped to [EPSILON, 1 - EPSILON] as Keras does.

    The gradient is that of exactly this formula: zero where the clip holds, and through q = p / Σ p otherwise.
    """
    total = p.sum(axis=-1, keepdims=True)
    q = p / total
    low, high = p.dtype.type(EPSILON), p.dtype.type(1 - EPSILON)
    clipped = np.clip(q, low, high)
    losses = -(t * np.log(clipped)).sum(axis=-1)
    grad_q = -(t / clipped)
    grad_q *= (q >= low) & (q <= high)
    return losses, (grad_q - (grad_q * q).sum(axis=-1, keepdims=True)) / total


class CategoricalCrossentropy(_Crossentropy):
    """Crossentropy with one-hot (or soft) targets: loss[i] = -Σ_c t[i, c]·log p[i, c].

    Targets and predictions are both shaped (n, …, classes).

    Args:
        from_logits: Predictions are logits z; p = softmax(z). Default False: probabilities, normalised and clipped to
            [1e-7, 1 - 1e-7].
        label_smoothing: s in [0, 1]: t becomes t·(1 - s) + s / classes. Default 0.
        axis: The class axis. Default -1.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: shapes that differ (integer labels want `SparseCategoricalCrossentropy`), NaN in the targets.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import CategoricalCrossentropy
        >>> round(CategoricalCrossentropy(from_logits=True)([[0, 1]], np.array([[0.0, 0.0]])), 6)
        0.693147
    """

    default_name = "categorical_crossentropy"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, axis, reduction, name, dtype)
        self.label_smoothing = _validation.as_number(type(self).__name__, "label_smoothing", label_smoothing, 0, 1)

    def prepare_targets(self, y_true: Any, pred_shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
        self._class_axis(where, len(pred_shape))
        return _validation.as_targets(where, y_true, pred_shape, dtype, one_hot=True)

    def _smoothed(self, targets: np.ndarray) -> np.ndarray:
        t = np.moveaxis(targets, self.axis, -1)
        if self.label_smoothing:
            t = t * t.dtype.type(1 - self.label_smoothing) + t.dtype.type(self.label_smoothing / t.shape[-1])
        return t

    def _from_logits(self, targets: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        t = self._smoothed(targets)
        shifted, log_total, p = _shifted_softmax(z)
        mass = t.sum(axis=-1)
        losses = log_total * mass - np.einsum("...c,...c->...", t, shifted)
        p *= mass[..., None]
        p -= t
        return losses, p, None

    def _from_probabilities(
        self, targets: np.ndarray, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        return *_clipped_crossentropy(self._smoothed(targets), p), None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "axis": self.axis,
        }


class SparseCategoricalCrossentropy(_Crossentropy):
    """Crossentropy with integer labels: loss[i] = -log p[i, label[i]].

    Labels are shaped (n, …) or (n, …, 1), integers (of any type) in 0 … classes - 1; predictions (n, …, classes).

    Args:
        from_logits: Predictions are logits z; p = softmax(z). Default False: probabilities, normalised and clipped to
            [1e-7, 1 - 1e-7].
        ignore_class: A label whose samples count nothing (their share of the mean is left out too). Default None.
        axis: The class axis. Default -1.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: labels that are out of range, NaN or not whole, or whose shape does not fit.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import SparseCategoricalCrossentropy
        >>> SparseCategoricalCrossentropy(from_logits=True)([0], np.array([[1e4, -1e4]]))
        0.0
    """

    default_name = "sparse_categorical_crossentropy"

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, axis, reduction, name, dtype)
        where = type(self).__name__
        self.ignore_class = None if ignore_class is None else _validation.as_index(where, "ignore_class", ignore_class)

    def prepare_targets(self, y_true: Any, pred_shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
        axis = self._class_axis(where, len(pred_shape))
        shape = pred_shape[:axis] + pred_shape[axis + 1 :]
        return _validation.as_class_labels(where, y_true, shape, pred_shape[axis], self.ignore_class)

    def _masked(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if self.ignore_class is None:
            return labels, None
        mask = labels != self.ignore_class
        return np.where(mask, labels, 0), mask

    def _from_logits(self, targets: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        labels, mask = self._masked(targets)
        shifted, log_total, p = _shifted_softmax(z)
        rows, columns = np.arange(labels.size), labels.reshape(-1)
        flat = p.reshape(-1, z.shape[-1])
        losses = log_total - shifted.reshape(flat.shape)[rows, columns].reshape(labels.shape)
        flat[rows, columns] -= 1
        return losses, flat.reshape(z.shape), mask

    def _from_probabilities(
        self, targets: np.ndarray, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        labels, mask = self._masked(targets)
        one_hot = (labels[..., None] == np.arange(p.shape[-1])).astype(p.dtype)
        return *_clipped_crossentropy(one_hot, p), mask

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
            "axis": self.axis,
        }


class BinaryCrossentropy(Loss):
    """Crossentropy of yes-or-no answers: loss[i] = mean over an axis of -t·log p - (1 - t)·log(1 - p).

    Targets and predictions have one shape (n, …, k), each number an answer of its own; targets (n,) also fit
    predictions (n, 1). A model that ends in a sigmoid is trained on the sigmoid's input, which loses no gradient.

    Args:
        from_logits: Predictions are logits z; p = sigmoid(z). Default False: probabilities, clipped to
            [1e-7, 1 - 1e-7].
        label_smoothing: s in [0, 1]: t becomes t·(1 - s) + s / 2. Default 0.
        axis: The axis of the mean. Default -1.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: shapes that differ, or NaN in the targets.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import BinaryCrossentropy
        >>> round(BinaryCrossentropy()([1, 0], np.array([[0.5], [0.5]])), 6)
        0.693147
    """

    default_name = "binary_crossentropy"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = bool(from_logits)
        self.label_smoothing = _validation.as_number(type(self).__name__, "label_smoothing", label_smoothing, 0, 1)
        self.axis = _validation.as_index(type(self).__name__, "axis", axis)

    @property
    def joins(self) -> str | None:  # type: ignore[override]
        """A sigmoid before this loss is computed together with it."""
        return None if self.from_logits else "sigmoid"

    def prepare_targets(self, y_true: Any, pred_shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
        ndim = len(pred_shape)
        if not -ndim <= self.axis < ndim or (ndim > 1 and self.axis % ndim == 0):
            raise _validation.wrong_state(
                where, f"predictions of shape {pred_shape} have no axis {self.axis} behind that of the samples.",
                "Predictions must be shaped (n, …, k).",
            )  # fmt: skip
        return _validation.as_targets(where, y_true, pred_shape, dtype, one_hot=False)

    def _align(self, scale: np.ndarray) -> np.ndarray:
        return np.expand_dims(scale, self.axis)

    def _losses(
        self, targets: np.ndarray, y_pred: np.ndarray, on_logits: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        kind, t = y_pred.dtype.type, targets
        if self.label_smoothing:
            t = t * kind(1 - self.label_smoothing) + kind(self.label_smoothing / 2)
        if on_logits or self.from_logits:
            small = np.exp(-np.abs(y_pred))  # At most 1, so that neither part overflows.
            each = np.maximum(y_pred, 0) - y_pred * t + np.log1p(small)
            grad = np.where(y_pred >= 0, kind(1), small) / (kind(1) + small) - t
        else:
            low, high = kind(EPSILON), kind(1 - EPSILON)
            p = np.clip(y_pred, low, high)
            each = -(t * np.log(p) + (1 - t) * np.log(1 - p))
            grad = (p - t) / (p * (1 - p)) * ((y_pred >= low) & (y_pred <= high))
        count = kind(max(1, y_pred.shape[self.axis]))
        return each.sum(axis=self.axis) / count, grad / count, None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "axis": self.axis,
        }


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> np.ndarray:
    """Crossentropy of each sample with one-hot targets, (n, …). See `CategoricalCrossentropy`.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import categorical_crossentropy
        >>> categorical_crossentropy([[0, 1]], np.array([[0.5, 0.5]])).round(4).tolist()
        [0.6931]
    """
    return np.asarray(CategoricalCrossentropy(from_logits, label_smoothing, axis, reduction=None)(y_true, y_pred))


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> np.ndarray:
    """Crossentropy of each sample with integer labels, (n, …). See `SparseCategoricalCrossentropy`.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import sparse_categorical_crossentropy
        >>> sparse_categorical_crossentropy([1], np.array([[0.5, 0.5]])).round(4).tolist()
        [0.6931]
    """
    loss = SparseCategoricalCrossentropy(from_logits, ignore_class, None, axis)
    return np.asarray(loss(y_true, y_pred))


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> np.ndarray:
    """Crossentropy of yes-or-no answers of each sample, (n, …). See `BinaryCrossentropy`.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import binary_crossentropy
        >>> binary_crossentropy([[0, 1]], np.array([[0.5, 0.5]])).round(4).tolist()
        [0.6931]
    """
    return np.asarray(BinaryCrossentropy(from_logits, label_smoothing, axis, reduction=None)(y_true, y_pred))
