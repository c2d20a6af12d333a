"""What a metric is, and the weighted mean that most of them are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .. import _validation


class Metric:
    """Base of the metrics: ``update_state`` on each batch, ``result`` at any time, ``reset_state`` for a new epoch.

    Args:
        name: The key under which histories hold the figure. Defaults to the class's own name in snake case.
        dtype: ``"float32"``, ``"float64"`` or None, as Keras has it; figures are summed in float64 whatever it is.
    """

    default_name: ClassVar[str] = "metric"
    # "up": more is better; "down": less is better; None: nobody knows. Callbacks with mode="auto" go by it.
    direction: str | None = None
    # True where logits give the same figure as their softmax, which training then need not compute.
    accepts_logits: ClassVar[bool] = False

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or self.default_name
        if not isinstance(self.name, str):
            raise _validation.wrong_type(type(self).__name__, "name", name, "a string")
        _validation.as_layer_dtype(type(self).__name__, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch."""
        raise NotImplementedError

    def result(self) -> Any:
        """The figure over everything since the last ``reset_state``: a float, or an array of several."""
        raise NotImplementedError

    def reset_state(self) -> None:
        """Forget all batches."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
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

    Args:
        name: Default ``"mean"``.
        dtype: see `Metric`.

    Example:
        >>> from fastconv.metrics import Mean
        >>> mean = Mean()
        >>> mean.update_state([1.0, 2.0])
        >>> mean.update_state(6.0, sample_weight=2)
        >>> mean.result()
        3.75
    """

    default_name = "mean"

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.total = 0.0
        self.count = 0.0

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Take in ``values`` of any shape, each with weight 1, or with weights that broadcast along the first axes.

        Raises:
            ValueError: weights that do not fit the values.
        """
        values = _validation.as_numeric(type(self).__name__, "values", values)
        if sample_weight is None:
            self.total += float(values.sum(dtype=np.float64))
            self.count += values.size
            return
        weight = spread_weight(type(self).__name__, sample_weight, values.shape)
        # A weight of 0 leaves its value out, be it NaN.
        self.total += float(np.multiply(values, weight, where=weight != 0, out=np.zeros(values.shape)).sum())
        self.count += float(weight.sum())

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0

    def reset_state(self) -> None:
        self.total = 0.0
        self.count = 0.0


def spread_weight(where: str, sample_weight: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Weights per sample (n,), or for more of the first axes, as float64 of ``shape``."""
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.ndim == len(shape) + 1 and weight.shape[-1] == 1:
        weight = weight[..., 0]
    aligned = weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim))
    try:
        return np.broadcast_to(aligned, shape)
    except ValueError:
        raise _validation.wrong_state(
            where, f"sample_weight of shape {weight.shape} does not fit figures of shape {shape}.",
            "Give one weight per sample."
        ) from None  # fmt: skip


class MeanMetricWrapper(Mean):
    """The mean over samples of ``fn(y_true, y_pred)``, which gives one value per sample.

    Args:
        fn: A function of (targets, predictions).
        name: Defaults to the function's name.
        dtype: see `Metric`.
        **kwargs: Further arguments of the function.

    Example:
        >>> import numpy as np
        >>> from fastconv.metrics import MeanMetricWrapper
        >>> metric = MeanMetricWrapper(lambda t, p, power: abs(t - p)[:, 0] ** power, name="cubes", power=3)
        >>> metric(np.zeros((2, 1)), np.array([[1.0], [3.0]]))
        14.0
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        if not callable(fn):
            raise _validation.wrong_type(type(self).__name__, "fn", fn, "a function of (y_true, y_pred)")
        super().__init__(name or getattr(fn, "__name__", self.default_name), dtype)
        self.fn = fn
        self._arguments = kwargs

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        super().update_state(self.fn(y_true, y_pred, **self._arguments), sample_weight)


def same_rank(where: str, y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions of one shape; targets (n,) beside predictions (n, 1), or the other way round, get the
    missing axis.
    """
    y_true, y_pred = with_missing_axis(
        _validation.as_numeric(where, "y_true", y_true), _validation.as_numeric(where, "y_pred", y_pred)
    )
    if y_true.shape != y_pred.shape:
        raise _validation.wrong_state(
            where, f"targets have shape {y_true.shape}, predictions {y_pred.shape}.",
            "They must be equal: for integer labels, fastconv.utils.to_categorical(y, classes)."
        )  # fmt: skip
    return y_true, y_pred


def with_missing_axis(y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A last axis of length 1 that one of the two lacks is added."""
    if y_true.ndim + 1 == y_pred.ndim and y_pred.shape[-1] == 1:
        return y_true[..., None], y_pred
    if y_pred.ndim + 1 == y_true.ndim and y_true.shape[-1] == 1:
        return y_true, y_pred[..., None]
    return y_true, y_pred
