"""Losses watched as metrics: the mean over all samples, without the regularisers that training adds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _validation, losses
from .base import Mean, spread_weight


class _LossMetric(Mean):
    """The mean of a loss over samples.

    Args:
        loss: An unreduced loss.
        name, dtype: see `Metric`.
    """

    direction = "down"

    def __init__(self, loss: losses.Loss, name: str | None, dtype: Any) -> None:
        super().__init__(name or loss.name, dtype)
        self._loss = loss

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        y_pred = _validation.as_numeric(type(self).__name__, "y_pred", y_pred)
        if y_pred.dtype.kind != "f":
            y_pred = y_pred.astype(np.float64)
        super().update_state(self._loss(y_true, y_pred), sample_weight)

    def get_config(self) -> dict[str, Any]:
        options = {key: value for key, value in self._loss.get_config().items() if key not in ("name", "reduction")}
        return super().get_config() | options


class MeanSquaredError(_LossMetric):
    """Mean of squared differences, see `losses.MeanSquaredError`.

    Args:
        name: Defaults to ``"mean_squared_error"``.
        dtype: see `Metric`.

    Example:
        >>> from fastconv.metrics import MeanSquaredError
        >>> MeanSquaredError()([[0.0, 1.0]], [[0.0, 3.0]])
        2.0
    """

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(losses.MeanSquaredError(reduction=None), name, dtype)


class RootMeanSquaredError(_LossMetric):
    """Square root of the mean of squared differences, taken after all batches.

    Args:
        name: Defaults to ``"root_mean_squared_error"``.
        dtype: see `Metric`.

    Example:
        >>> from fastconv.metrics import RootMeanSquaredError
        >>> RootMeanSquaredError()([[0.0, 1.0]], [[4.0, 5.0]])
        4.0
    """

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(losses.MeanSquaredError(reduction=None), name or "root_mean_squared_error", dtype)

    def result(self) -> float:
        return math.sqrt(super().result())


class MeanAbsoluteError(_LossMetric):
    """Mean of absolute differences, see `losses.MeanAbsoluteError`.

    Args:
        name: Defaults to ``"mean_absolute_error"``.
        dtype: see `Metric`.

    Example:
        >>> from fastconv.metrics import MeanAbsoluteError
        >>> MeanAbsoluteError()([[0.0, 1.0]], [[0.0, 3.0]])
        1.0
    """

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(losses.MeanAbsoluteError(reduction=None), name, dtype)


class BinaryCrossentropy(_LossMetric):
    """Mean crossentropy of yes-or-no answers, see `losses.BinaryCrossentropy`.

    Args:
        name: Defaults to ``"binary_crossentropy"``.
        dtype: see `Metric`.
        from_logits: Predictions are logits. Default False.
        label_smoothing: Default 0.

    Example:
        >>> from fastconv.metrics import BinaryCrossentropy
        >>> round(BinaryCrossentropy()([1, 0], [[0.5], [0.5]]), 6)
        0.693147
    """

    def __init__(
        self, name: str | None = None, dtype: Any = None, from_logits: bool = False, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(losses.BinaryCrossentropy(from_logits, label_smoothing, reduction=None), name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["axis"]  # Which Keras's metric does not have.
        return config


class CategoricalCrossentropy(_LossMetric):
    """Mean crossentropy with one-hot targets, see `losses.CategoricalCrossentropy`.

    Args:
        name: Defaults to ``"categorical_crossentropy"``.
        dtype: see `Metric`.
        from_logits: Predictions are logits. Default False.
        label_smoothing: Default 0.
        axis: The class axis. Default -1.

    Example:
        >>> from fastconv.metrics import CategoricalCrossentropy
        >>> round(CategoricalCrossentropy()([[0, 1]], [[0.5, 0.5]]), 6)
        0.693147
    """

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        loss = losses.CategoricalCrossentropy(from_logits, label_smoothing, axis, reduction=None)
        super().__init__(loss, name, dtype)


class SparseCategoricalCrossentropy(_LossMetric):
    """Mean crossentropy with integer labels, see `losses.SparseCategoricalCrossentropy`.

    Args:
        name: Defaults to ``"sparse_categorical_crossentropy"``.
        dtype: see `Metric`.
        from_logits: Predictions are logits. Default False.
        ignore_class: A label whose samples are left out. Default None.
        axis: The class axis. Default -1.

    Example:
        >>> from fastconv.metrics import SparseCategoricalCrossentropy
        >>> round(SparseCategoricalCrossentropy()([1], [[0.5, 0.5]]), 6)
        0.693147
    """

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits, ignore_class, None, axis), name, dtype)
        self.ignore_class = ignore_class

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        if self.ignore_class is not None:
            counted = np.asarray(y_true) != self.ignore_class
            sample_weight = (
                counted
                if sample_weight is None
                else counted * spread_weight(type(self).__name__, sample_weight, counted.shape)
            )
        super().update_state(y_true, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.ignore_class is None:
            del config["ignore_class"]  # Which older versions of Keras's metric do not have.
        return config
