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


def test_weights_that_are_columns_zeros_or_wrong():
    values = [1.0, np.nan, 3.0]
    assert metrics.Mean()(values, sample_weight=[[1], [0], [3]]) == 2.5
    with pytest.raises(ValueError, match=r"sample_weight of shape \(2,\) does not fit figures of shape \(3,\)"):
        metrics.Mean()(values, sample_weight=[1, 2])


def test_accuracy_of_class_numbers():
    assert metrics.Accuracy()([1, 2, 3], [[1], [2], [0]]) == pytest.approx(2 / 3)
    assert metrics.Accuracy()([1, 2], [1, 0], sample_weight=[3, 1]) == 0.75
    assert type(metrics.get("accuracy")) is metrics.Accuracy


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k(k):
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]])
    labels = np.array([1, 1, 0, 0])
    hits = {1: [0, 1, 0, 1], 2: [1, 1, 0, 1]}.get(k, [1, 1, 1, 1])
    assert metrics.sparse_top_k_categorical_accuracy(labels, p, k).tolist() == hits
    assert metrics.top_k_categorical_accuracy(np.eye(3)[labels], p, k).tolist() == hits
    assert metrics.SparseTopKCategoricalAccuracy(k)(labels[:, None], p) == np.mean(hits)
    assert metrics.TopKCategoricalAccuracy(k)(np.eye(3)[labels], p, [1, 0, 0, 1]) == (hits[0] + hits[3]) / 2


def test_top_k_of_images_sorted_numbers_and_oddities():
    p = np.random.default_rng(0).random((2, 3, 4, 5))
    labels = p.argsort(axis=-1)[..., -2]
    assert metrics.SparseTopKCategoricalAccuracy(2)(labels, p) == 1
    assert metrics.SparseTopKCategoricalAccuracy(1)(labels, p) == 0
    by_number = metrics.SparseTopKCategoricalAccuracy(2, from_sorted_ids=True)
    assert by_number([7, 8], [[9, 7, 8], [9, 7, 8]]) == 0.5
    assert not by_number.accepts_logits
    assert metrics.SparseTopKCategoricalAccuracy(2)([7, -1], [[0.1, 0.2], [0.1, 0.2]]) == 0  # No such class.
    assert metrics.SparseTopKCategoricalAccuracy(2)([0], [[np.nan, 0.2, 0.1]]) == 0
    with pytest.raises(ValueError, match="k must be at least 1"):
        metrics.TopKCategoricalAccuracy(0)


def test_precision_and_recall_by_hand():
    y = np.array([[1, 0, 1], [0, 0, 1]])
    p = np.array([[0.9, 0.6, 0.2], [0.4, 0.1, 0.7]])
    assert metrics.Precision()(y, p) == pytest.approx(2 / 3)
    assert metrics.Recall()(y, p) == pytest.approx(2 / 3)
    assert metrics.Precision([0.0, 0.5, 0.95])(y, p) == pytest.approx([0.5, 2 / 3, 0.0])
    assert metrics.Recall([0.0, 0.5, 0.95])(y, p) == pytest.approx([1.0, 2 / 3, 0.0])
    assert metrics.Precision(class_id=1)(y, p) == 0
    assert metrics.Recall(class_id=2)(y, p) == 0.5
    assert metrics.Precision(top_k=1)(y, p) == 1
    assert metrics.Recall(top_k=2)(y, p) == pytest.approx(2 / 3)
    assert metrics.Precision(top_k=2, thresholds=0.5)(y, p) == pytest.approx(2 / 3)
    assert metrics.Precision()(y, p, sample_weight=[3, 1]) == pytest.approx(4 / 7)
    assert metrics.Precision()([1, 0], [[0.9], [0.8]], sample_weight=[1, 3]) == 0.25
    both = metrics.Recall()
    both.update_state(y[:1], p[:1])
    both.update_state(y[1:], p[1:])
    assert both.result() == pytest.approx(2 / 3)
    both.reset_state()
    assert both.result() == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.Precision(1.5), "thresholds must be at least 0 and at most 1"),
        (lambda: metrics.Recall([0.5, -1]), "thresholds must be at least 0"),
        (lambda: metrics.Precision(top_k=0), "top_k must be at least 1"),
        (lambda: metrics.Precision(class_id=-1), "class_id must be at least 0"),
        (lambda: metrics.Precision(class_id=3)(np.eye(3), np.eye(3)), "have no class 3"),
        (lambda: metrics.Recall()([0, 1, 2], np.eye(3)), r"to_categorical\(y, classes\)"),
        (lambda: metrics.Precision()(np.eye(3), np.eye(3), [1, 2]), "does not fit"),
        (lambda: metrics.Mean(dtype="int8"), "dtype must be"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_losses_as_metrics():
    y, p = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.5, 0.5], [0.25, 0.75]])
    assert metrics.MeanSquaredError()(y, p) == pytest.approx((0.25 + 0.5625) / 2)
    assert metrics.MeanAbsoluteError()(y, p, [1, 0]) == 0.5
    root = metrics.RootMeanSquaredError()
    root.update_state(y[:1], p[:1])
    assert root(y[1:], p[1:]) == pytest.approx(np.sqrt((0.25 + 0.5625) / 2))
    mean = -(np.log(0.5) + np.log(0.25)) / 2
    assert metrics.CategoricalCrossentropy()(y, p) == pytest.approx(mean)
    assert metrics.SparseCategoricalCrossentropy()([1, 0], p) == pytest.approx(mean)
    assert metrics.SparseCategoricalCrossentropy(ignore_class=0)([1, 0], p) == pytest.approx(-np.log(0.5))
    assert metrics.SparseCategoricalCrossentropy(ignore_class=0)([1, 0], p, [2, 9]) == pytest.approx(-np.log(0.5))
    assert metrics.BinaryCrossentropy(from_logits=True)(y, 0 * p) == pytest.approx(np.log(2))
    assert metrics.CategoricalCrossentropy(label_smoothing=0.5)(y, y * 0 + 0.5) == pytest.approx(np.log(2))
    assert metrics.get("mse").name == "mse"
    assert metrics.MeanSquaredError().name == "mean_squared_error"


@pytest.mark.parametrize(
    "metric",
    [
        metrics.Accuracy(),
        metrics.TopKCategoricalAccuracy(3, "top"),
        metrics.SparseTopKCategoricalAccuracy(2, from_sorted_ids=True),
        metrics.Precision([0.2, 0.4], class_id=1),
        metrics.Recall(0.3, top_k=2),
        metrics.RootMeanSquaredError(),
        metrics.BinaryCrossentropy(label_smoothing=0.1),
        metrics.SparseCategoricalCrossentropy(ignore_class=2),
    ],
    ids=lambda metric: type(metric).__name__,
)
def test_configs_go_round(metric):
    again = metrics.deserialize(metrics.serialize(metric))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()


def test_get():
    assert metrics.get("binary_accuracy").name == "binary_accuracy"
    metric = metrics.BinaryAccuracy("b", threshold=0.7)
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
