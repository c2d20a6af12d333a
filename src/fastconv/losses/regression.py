"""Losses of numbers: squared, absolute, and Huber's between the two."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validation
from .base import Loss


class _Regression(Loss):
    """A loss that is the mean, over the last axis, of a function of y_pred - y_true."""

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(name, reduction, dtype)

    def prepare_targets(self, y_true: Any, pred_shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
        return _validation.as_targets(where, y_true, pred_shape, dtype, one_hot=False)


class MeanSquaredError(_Regression):
    """Mean of squared differences: loss[i] = mean over the last axis of (y_true - y_pred)².

    Targets and predictions have one shape (n, …, k); targets (n,) also fit predictions (n, 1).

    Args:
        reduction: see `Loss`.
        name: Defaults to ``"mean_squared_error"``.
        dtype: see `Loss`.

    Example:
        >>> from fastconv.losses import MeanSquaredError
        >>> import numpy as np
        >>> MeanSquaredError()([[0.0, 1.0]], np.array([[0.0, 3.0]]))
        2.0
    """

    default_name = "mean_squared_error"

    def _losses(
        self, targets: np.ndarray, y_pred: np.ndarray, on_logits: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        difference = y_pred - targets
        last = max(1, y_pred.shape[-1])
        losses = np.einsum("...i,...i->...", difference, difference) / y_pred.dtype.type(last)
        difference *= y_pred.dtype.type(2 / last)
        return losses, difference, None


class MeanAbsoluteError(_Regression):
    """Mean of absolute differences: loss[i] = mean over the last axis of |y_true - y_pred|.

    Its gradient is that of the sign; where the two are equal it takes the subgradient 0. Shapes as `MeanSquaredError`.

    Args:
        reduction: see `Loss`.
        name: Defaults to ``"mean_absolute_error"``.
        dtype: see `Loss`.

    Example:
        >>> from fastconv.losses import MeanAbsoluteError
        >>> import numpy as np
        >>> MeanAbsoluteError()([[0.0, 1.0]], np.array([[0.0, 3.0]]))
        1.0
    """

    default_name = "mean_absolute_error"

    def _losses(
        self, targets: np.ndarray, y_pred: np.ndarray, on_logits: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        difference = y_pred - targets
        kind = y_pred.dtype.type
        last = max(1, y_pred.shape[-1])
        return np.abs(difference).sum(axis=-1) / kind(last), np.sign(difference) * kind(1 / last), None


class Huber(_Regression):
    """Squares of small differences, absolute values of large ones, so that an outlier pulls with bounded force.

    loss[i] = mean over the last axis of ½d² where |d| <= delta, else delta·|d| - ½delta², with d = y_pred - y_true.
    Shapes as `MeanSquaredError`.

    Args:
        delta: Where the square ends, a positive number. Default 1.
        reduction: see `Loss`.
        name: Defaults to ``"huber_loss"``.
        dtype: see `Loss`.

    References:
        Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35 (1964), section 5.

    Example:
        >>> from fastconv.losses import Huber
        >>> import numpy as np
        >>> Huber()([[0.0, 1.0]], np.array([[1.0, 4.0]]))
        1.5
    """

    default_name = "huber_loss"

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.delta = _validation.as_number("Huber", "delta", delta, 0, open_low=True)

    def _losses(
        self, targets: np.ndarray, y_pred: np.ndarray, on_logits: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        difference = y_pred - targets
        kind = y_pred.dtype.type
        delta, last = kind(self.delta), max(1, y_pred.shape[-1])
        clipped = np.clip(difference, -delta, delta)  # The derivative; clipped·(d - clipped/2) is the value.
        losses = (clipped * (difference - clipped * kind(0.5))).sum(axis=-1) / kind(last)
        clipped *= kind(1 / last)
        return losses, clipped, None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"delta": self.delta}


def mean_squared_error(y_true: Any, y_pred: Any) -> np.ndarray:
    """Mean squared error of each sample, (n, …) for predictions (n, …, k). See `MeanSquaredError`.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import mse
        >>> mse([[0.0, 1.0]], np.array([[0.0, 3.0]])).tolist()
        [2.0]
    """
    return np.asarray(MeanSquaredError(reduction=None)(y_true, y_pred))


def mean_absolute_error(y_true: Any, y_pred: Any) -> np.ndarray:
    """Mean absolute error of each sample, (n, …) for predictions (n, …, k). See `MeanAbsoluteError`.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import mae
        >>> mae([[0.0, 1.0]], np.array([[0.0, 3.0]])).tolist()
        [1.0]
    """
    return np.asarray(MeanAbsoluteError(reduction=None)(y_true, y_pred))


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> np.ndarray:
    """Huber's loss of each sample, (n, …) for predictions (n, …, k). See `Huber`.

    Example:
        >>> import numpy as np
        >>> from fastconv.losses import huber
        >>> huber([[0.0, 1.0]], np.array([[1.0, 4.0]])).tolist()
        [1.5]
    """
    return np.asarray(Huber(delta, reduction=None)(y_true, y_pred))
