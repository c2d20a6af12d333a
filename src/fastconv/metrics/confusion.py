"""Precision and recall: what is behind an accuracy, counted from hits and misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _validation
from .base import Metric, same_rank, spread_weight


class _Counts(Metric):
    """Weighted numbers of true positives, false positives and false negatives, for each threshold."""

    direction = "up"

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        where = type(self).__name__
        several = isinstance(thresholds, (list, tuple, np.ndarray))
        given: Any = thresholds if several else [] if thresholds is None else [thresholds]
        given = [_validation.as_number(where, "thresholds", value, 0, 1) for value in given]
        self.init_thresholds = given if several else (given or [None])[0]
        # With top_k alone, each of the k predictions counts as positive, however small.
        self.thresholds = given or [0.5 if top_k is None else -np.inf]
        self.top_k = None if top_k is None else _validation.as_index(where, "top_k", top_k)
        self.class_id = None if class_id is None else _validation.as_index(where, "class_id", class_id)
        for key, value, least in (("top_k", top_k, 1), ("class_id", class_id, 0)):
            if value is not None:
                _validation.as_number(where, key, value, least)
        self.reset_state()

    def reset_state(self) -> None:
        self.true_positives, self.false_positives, self.false_negatives = np.zeros((3, len(self.thresholds)))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch.

        Args:
            y_true: What is (nonzero) and what is not (zero), shaped like ``y_pred``: (n,), (n, classes), …
            y_pred: Probabilities; above a threshold they say yes.
            sample_weight: None, or weights (n,) or shaped like ``y_pred``.

        Raises:
            ValueError: shapes that do not fit, or a class_id that the predictions do not have.
        """
        where = type(self).__name__
        y_true, y_pred = same_rank(where, y_true, y_pred)
        weight = None if sample_weight is None else spread_weight(where, sample_weight, y_pred.shape)
        candidates = _largest(y_pred, self.top_k) if self.top_k is not None else np.ones(y_pred.shape, bool)
        if self.class_id is not None:
            if y_pred.ndim < 2 or self.class_id >= y_pred.shape[-1]:
                raise _validation.wrong_state(
                    where, f"predictions of shape {y_pred.shape} have no class {self.class_id}.",
                    "They must be shaped (n, …, classes), with more classes than class_id."
                )  # fmt: skip
            y_true, y_pred, candidates = (array[..., self.class_id] for array in (y_true, y_pred, candidates))
            weight = None if weight is None else weight[..., self.class_id]
        positive = y_true.astype(bool)
        for i, threshold in enumerate(self.thresholds):
            said = candidates & (y_pred > threshold)
            self.true_positives[i] += _total(said & positive, weight)
            self.false_positives[i] += _total(said & ~positive, weight)
            self.false_negatives[i] += _total(~said & positive, weight)

    def _share(self, others: np.ndarray) -> Any:
        """true positives / (true positives + others), 0 where there is neither; a float for one threshold."""
        total = self.true_positives + others
        share = np.divide(self.true_positives, total, out=np.zeros(len(total)), where=total != 0)
        return float(share[0]) if len(share) == 1 else share

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "thresholds": self.init_thresholds,
            "top_k": self.top_k,
            "class_id": self.class_id,
        }


class Precision(_Counts):
    """How much of what was found is right: true positives / (true positives + false positives).

    Targets and predictions have one shape, (n,) or (n, …, classes); all classes are counted together unless
    ``class_id`` picks one. Integer labels go through ``utils.to_categorical`` first.

    Args:
        thresholds: A prediction above it is a yes. A number or several, in [0, 1]; several give an array of figures.
            Default 0.5, or none with ``top_k``.
        top_k: Only the k largest predictions of a row can be a yes; of equal ones, those first in the row.
        class_id: Count this class alone.
        name: Defaults to ``"precision"``.
        dtype: see `Metric`.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> from fastconv.metrics import Precision
        >>> Precision()([0, 1, 1, 1], [1.0, 0.0, 1.0, 0.9]) == 2 / 3
        True
        >>> Precision(thresholds=[0.0, 0.5])([1, 0], [0.9, 0.4]).tolist()
        [0.5, 1.0]
    """

    default_name = "precision"

    def result(self) -> Any:
        return self._share(self.false_positives)


class Recall(_Counts):
    """How much of what is there was found: true positives / (true positives + false negatives).

    Args:
        thresholds, top_k, class_id, name, dtype: see `Precision`; the name defaults to ``"recall"``.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> from fastconv.metrics import Recall
        >>> Recall()([0, 1, 1, 1], [1.0, 0.0, 1.0, 0.9]) == 2 / 3
        True
    """

    default_name = "recall"

    def result(self) -> Any:
        return self._share(self.false_negatives)


def _largest(y_pred: np.ndarray, k: int) -> np.ndarray:
    """True at the k largest of the last axis; of equal ones, the first."""
    order = np.argsort(-y_pred, axis=-1, kind="stable")[..., :k]
    chosen = np.zeros(y_pred.shape, bool)
    np.put_along_axis(chosen, order, True, axis=-1)
    return chosen


def _total(cells: np.ndarray, weight: np.ndarray | None) -> float:
    return float(np.count_nonzero(cells) if weight is None else weight[cells].sum())
