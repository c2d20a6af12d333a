"""Small helpers that scripts use around a model, named as in ``keras.utils``."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from . import _validation


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """One-hot rows from integer labels.

    Args:
        x: Integers in 0 … num_classes - 1, of shape (n, …); a last axis of length 1 is dropped.
        num_classes: Defaults to max(x) + 1.

    Returns:
        float64 array of shape x.shape + (num_classes,): 1 at each label, 0 elsewhere.

    Raises:
        TypeError: labels that are not numbers.
        ValueError: labels that are negative, not whole, or ≥ num_classes.

    Example:
        >>> from fastconv.utils import to_categorical
        >>> to_categorical([0, 2], 3).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    labels = _validation.as_numeric("to_categorical", "x", x)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is not None:
        num_classes = _validation.as_index("to_categorical", "num_classes", num_classes)
        _validation.as_number("to_categorical", "num_classes", num_classes, 0)
    labels = _validation.as_class_numbers("to_categorical", "x", labels, num_classes)
    if num_classes is None:
        num_classes = int(labels.max()) + 1 if labels.size else 0
    _validation.check_elements("to_categorical", labels.size * num_classes)
    categorical = np.zeros((labels.size, num_classes))
    categorical[np.arange(labels.size), labels.reshape(-1)] = 1
    return categorical.reshape(*labels.shape, num_classes)


def confusion_matrix(y_true: Any, y_pred: Any, num_classes: int | None = None) -> np.ndarray:
    """How often each class was taken for each: counts[t, p] samples of class t were predicted to be p.

    Args:
        y_true: Class numbers (n,) or (n, 1), or one-hot rows (n, classes).
        y_pred: Class numbers, or probabilities or logits (n, classes), of which the largest counts.
        num_classes: Defaults to the width of rows (n, classes), else to the largest number + 1.

    Returns:
        int64 array (num_classes, num_classes), whose sum is n and whose diagonal holds what is right.

    Raises:
        ValueError: lengths that differ, numbers that are negative, not whole, or ≥ num_classes.

    Example:
        >>> from fastconv.utils import confusion_matrix
        >>> confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2]).tolist()
        [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    """
    where = "confusion_matrix"
    widths = [np.shape(labels)[1] for labels in (y_true, y_pred) if np.ndim(labels) == 2 and np.shape(labels)[1] > 1]
    if num_classes is not None:
        num_classes = _validation.as_index(where, "num_classes", num_classes)
        _validation.as_number(where, "num_classes", num_classes, 0)
    truth = _validation.as_labels(where, "y_true", y_true, num_classes)
    guess = _validation.as_labels(where, "y_pred", y_pred, num_classes)
    _validation.check_same_length(where, y_true=truth, y_pred=guess)
    if num_classes is None:
        num_classes = max(*widths, 0, *(int(labels.max(initial=-1)) + 1 for labels in (truth, guess)))
    _validation.check_elements(where, num_classes**2)
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (truth, guess), 1)
    return counts


def set_random_seed(seed: int) -> None:
    """Seed everything random: fastconv's generator (weights, dropout, shuffling), NumPy's and Python's global ones.

    After the same seed, the same script gives the same bits, for every thread count, on one instruction set.

    Args:
        seed: An integer in 0 … 2³² - 1.

    Raises:
        TypeError, ValueError: a seed that is not such an integer.

    Example:
        >>> from fastconv.utils import set_random_seed
        >>> set_random_seed(42)
    """
    from . import _random

    value = _validation.as_index("set_random_seed", "seed", seed)
    _validation.as_number("set_random_seed", "seed", value, 0, 2**32 - 1)
    random.seed(value)
    np.random.seed(value)
    _random.set_seed(value)
