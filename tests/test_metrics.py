"""Metrics on hand-made batches, and the choice that "accuracy" stands for."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import metrics


def test_mean_is_weighted_and_starts_anew():
    mean = metrics.Mean()
    assert mean.result() == 0.0
    mean.update_state([1.0, 3.0])
    mean.update_state([[2.0, 2.0], [4.0, 8.0]], sample_weight=[0.0, 1.0])
    assert mean.result() == (1 + 3 + 4 + 8) / 4
    mean.reset_state()
    assert mean(5.0) == 5.0


def test_accuracies_over_batches():
    sparse, categorical = metrics.SparseCategoricalAccuracy(), metrics.CategoricalAccuracy()
    p = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    for rows, labels in ((slice(0, 2), [1, 1]), (slice(2, 3), [[1]])):
        sparse.update_state(labels, p[rows])
        categorical.update_state(np.eye(2)[np.ravel(labels)], p[rows])
    assert sparse.result() == categorical.result() == 2 / 3
    assert metrics.SparseCategoricalAccuracy()([1, 1], p[:2], sample_weight=[3, 1]) == 0.75
    assert metrics.BinaryAccuracy()([1, 0, 1], [[0.6], [0.5], [0.4]]) == pytest.approx(2 / 3)
    assert metrics.BinaryAccuracy(threshold=0.3)([[1], [0]], [[0.4], [0.35]]) == 0.5


def test_accuracy_of_images():
    p = np.zeros((2, 3, 3, 4))
    p[..., 2] = 1
    y = np.full((2, 3, 3), 2)
    y[0, 0, 0] = 1
    assert metrics.SparseCategoricalAccuracy()(y, p) == pytest.approx(17 / 18)


@pytest.mark.parametrize(
    ("target", "pred", "expected"),
    [
        ((8,), (8, 1), metrics.BinaryAccuracy),
        ((8, 1), (8, 1), metrics.BinaryAccuracy),
        ((8,), (8, 10), metrics.SparseCategoricalAccuracy),
        ((8, 1), (8, 10), metrics.SparseCategoricalAccuracy),
        ((8, 10), (8, 10), metrics.CategoricalAccuracy),
        ((8, 4, 4), (8, 4, 4, 3), metrics.SparseCategoricalAccuracy),
    ],
)
def test_accuracy_is_chosen_as_in_keras(target, pred, expected):
    metric = metrics.accuracy_for("acc", target, pred)
    assert type(metric) is expected
    assert metric.name == "acc"


def test_get():
    assert metrics.get("binary_accuracy").name == "binary_accuracy"
    metric = metrics.BinaryAccuracy("b", 0.7)
    assert metrics.get(metric) is metric
    again = metrics.get({"class_name": "BinaryAccuracy", "config": metric.get_config() | {"dtype": "float32"}})
    assert again.get_config() == {"name": "b", "threshold": 0.7}

    def absolute(y_true, y_pred):
        return np.abs(y_true - y_pred)[:, 0]

    wrapped = metrics.get(absolute)
    assert wrapped.name == "absolute"
    assert wrapped(np.zeros((2, 1)), np.array([[1.0], [2.0]])) == 1.5
    with pytest.raises(ValueError, match="unknown metric 'f1'"):
        metrics.get("f1")
    with pytest.raises(TypeError, match="a name, a Metric or a function"):
        metrics.get(3)
