"""Losses against written-out formulas, hand-computed values and central differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastconv import losses

LOSSES = {
    "mse": (losses.MeanSquaredError(), "real"),
    "mae": (losses.MeanAbsoluteError(), "real"),
    "huber": (losses.Huber(), "real"),
    "huber_small": (losses.Huber(0.25), "real"),
    "binary": (losses.BinaryCrossentropy(), "one_hot"),
    "binary_logits": (losses.BinaryCrossentropy(from_logits=True), "one_hot"),
    "binary_smoothed": (losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2), "one_hot"),
    "binary_smoothed_p": (losses.BinaryCrossentropy(label_smoothing=0.2), "one_hot"),
    "categorical": (losses.CategoricalCrossentropy(), "one_hot"),
    "categorical_logits": (losses.CategoricalCrossentropy(from_logits=True), "one_hot"),
    "categorical_smoothed": (losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2), "one_hot"),
    "categorical_smoothed_p": (losses.CategoricalCrossentropy(label_smoothing=0.2), "one_hot"),
    "sparse": (losses.SparseCategoricalCrossentropy(), "labels"),
    "sparse_logits": (losses.SparseCategoricalCrossentropy(from_logits=True), "labels"),
    "sparse_ignored": (losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1), "labels"),
}


def make_case(kind, rng, shape=(6, 4)):
    """Targets and float64 predictions (probabilities that do not sum to 1 serve as logits too)."""
    pred = rng.uniform(0.1, 0.9, shape)
    labels = rng.integers(0, shape[-1], shape[:-1])
    if kind == "real":
        return rng.normal(size=shape), pred
    return (labels if kind == "labels" else np.eye(shape[-1])[labels]), pred


def difference_quotient(function, x, step=1e-6):
    """Gradient of a scalar function by central differences."""
    grad = np.empty_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        grad[index] = (function(up) - function(down)) / (2 * step)
    return grad


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_that_of_the_value(name, reduction, weighted, rng):
    template, kind = LOSSES[name]
    loss = type(template).from_config(template.get_config() | {"reduction": reduction})
    y, pred = make_case(kind, rng)
    weight = rng.uniform(0.5, 2, len(pred)) if weighted else None
    value, grad = loss.value_and_grad(y, pred, weight)
    assert isinstance(value, float)
    assert grad.shape == pred.shape
    expected = difference_quotient(lambda p: loss(y, p, weight), pred)
    # Central differences err by step² times the third derivative, and by rounding / step: 1e-8 of the values here.
    assert np.max(np.abs(grad - expected)) <= 1e-7 * max(1.0, np.max(np.abs(expected)))


def test_values_by_hand():
    p = np.array([[0.05, 0.95, 0.0], [0.1, 0.8, 0.1]])
    expected = [-math.log(0.95), -math.log(0.1)]
    assert losses.sparse_categorical_crossentropy([1, 2], p) == pytest.approx(expected, rel=1e-12)
    assert losses.categorical_crossentropy([[0, 1, 0], [0, 0, 1]], p) == pytest.approx(expected, rel=1e-12)
    assert losses.SparseCategoricalCrossentropy()([1, 2], p) == pytest.approx(np.mean(expected), rel=1e-12)
    assert losses.mse([[1.0, 2.0]], np.array([[3.0, 2.0]])).tolist() == [2.0]
    assert losses.MeanSquaredError()([1.0, 3.0], np.array([[2.0], [3.0]])) == 0.5
    assert losses.MeanSquaredError(reduction="sum")([1.0, 3.0], np.array([[2.0], [3.0]])) == 1.0


def test_values_of_numbers_and_answers_by_hand():
    # d = [-1, 3]: absolute values 1 and 3; Huber with delta 2: 0.5 and 2·3 - 2.
    assert losses.mae([[1.0, 0.0]], np.array([[0.0, 3.0]])).tolist() == [2.0]
    assert losses.huber([[1.0, 0.0]], np.array([[0.0, 3.0]]), delta=2.0).tolist() == [2.25]
    value, grad = losses.Huber(2.0).value_and_grad([[1.0, 0.0]], np.array([[0.0, 3.0]]))
    assert (value, grad.tolist()) == (2.25, [[-0.5, 1.0]])
    assert losses.MeanAbsoluteError().value_and_grad([[1.0, 1.0]], np.array([[1.0, 3.0]]))[1].tolist() == [[0.0, 0.5]]
    p = np.array([[0.2], [0.7]])
    expected = [-math.log(0.8), -math.log(0.7)]
    assert losses.bce([0, 1], p) == pytest.approx(expected)
    assert losses.BinaryCrossentropy(label_smoothing=0.2)([0, 1], p) == pytest.approx(
        np.mean([-0.1 * math.log(q) - 0.9 * math.log(1 - q) for q in (0.2, 0.3)])
    )
    assert losses.BinaryCrossentropy(axis=1)(np.ones((2, 3, 4)), np.full((2, 3, 4), 0.5)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_answers_of_any_certainty_are_exact(dtype):
    z = np.array([[1e4], [-1e4], [1e4], [-1e4], [0.0]], dtype)
    loss = losses.BinaryCrossentropy(from_logits=True, reduction="sum")
    value, grad = loss.value_and_grad([1, 0, 0, 1, 1], z)
    assert value == pytest.approx(2e4 + math.log(2), rel=1e-7)
    assert grad[:, 0].tolist() == [0, 0, 1, -1, -0.5]
    # As in Keras a certain answer is clipped, and 1 - (1 - 1e-7) is 1.19e-7 in float32.
    clipped = [-math.log(1e-7), -math.log(1 - float(dtype(1 - 1e-7)))]
    assert losses.bce([1, 0], np.array([[0.0], [1.0]], dtype)) == pytest.approx(clipped, rel=1e-6)


def test_joined_with_sigmoid_equals_the_two_in_turn(rng):
    z = rng.normal(size=(5, 3))
    p = 1 / (1 + np.exp(-z))
    for smoothing in (0.0, 0.3):
        loss = losses.BinaryCrossentropy(label_smoothing=smoothing)
        assert loss.joins == "sigmoid"
        targets = loss.prepare_targets(rng.integers(0, 2, (5, 3)), p.shape, p.dtype, "test")
        joined, grad_z = loss.compute(targets, z, on_logits=True)
        apart, grad_p = loss.compute(targets, p)
        assert joined == pytest.approx(apart, rel=1e-12)
        assert np.max(np.abs(grad_z - p * (1 - p) * grad_p)) < 1e-15
    assert losses.BinaryCrossentropy(from_logits=True).joins is None


def test_probabilities_are_normalised_and_clipped_as_in_keras():
    # q = p / sum p; a zero is clipped to 1e-7.
    assert losses.sparse_categorical_crossentropy([0], np.array([[1.0, 3.0]])) == pytest.approx([-math.log(0.25)])
    assert losses.sparse_categorical_crossentropy([0], np.array([[0.0, 1.0]])) == pytest.approx([-math.log(1e-7)])


def test_label_smoothing_by_hand():
    # t = [0.1, 0.9] for s = 0.2 and two classes.
    p = np.array([[0.3, 0.7]])
    value = losses.CategoricalCrossentropy(label_smoothing=0.2)([[0, 1]], p)
    assert value == pytest.approx(-0.1 * math.log(0.3) - 0.9 * math.log(0.7))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_logits_of_any_size_are_exact(scale, dtype):
    z = np.array([[scale, -scale, 0.0], [-scale, scale, 0.0]], dtype)
    right, grad = losses.SparseCategoricalCrossentropy(from_logits=True).value_and_grad([0, 1], z)
    wrong, grad_wrong = losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum").value_and_grad(
        [1, 0], z
    )
    assert np.isfinite([right, wrong]).all()
    assert np.isfinite(grad).all()
    assert grad.dtype == dtype
    if scale == 1e4:
        assert right == 0.0
        assert wrong == 4e4
        assert grad_wrong.tolist() == [[1, -1, 0], [-1, 1, 0]]
        one_hot = losses.CategoricalCrossentropy(from_logits=True, reduction="sum")
        value, grad_one_hot = one_hot.value_and_grad([[0, 1, 0], [1, 0, 0]], z)
        assert value == 4e4
        assert np.array_equal(grad_one_hot, grad_wrong)


def test_joined_with_softmax_equals_the_two_in_turn(rng):
    z = rng.normal(size=(5, 4))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    for name in ("sparse", "categorical", "categorical_smoothed_p"):
        loss, kind = LOSSES[name]
        y, _ = make_case(kind, rng, (5, 4))
        targets = loss.prepare_targets(y, p.shape, p.dtype, "test")
        assert loss.joins
        joined, grad_z = loss.compute(targets, z, on_logits=True)
        apart, grad_p = loss.compute(targets, p)
        behind = p * (grad_p - (grad_p * p).sum(axis=1, keepdims=True))
        assert joined == pytest.approx(apart, rel=1e-12)
        assert np.max(np.abs(grad_z - behind)) < 1e-13


def test_weights_count_like_repeated_samples(rng):
    y, p = make_case("labels", rng)
    weight = np.array([1, 2, 0, 1, 3, 1])
    repeated = np.repeat(np.arange(6), weight)
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    assert loss(y, p, weight) == pytest.approx(loss(y[repeated], p[repeated]), rel=1e-13)
    mean = losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    plain = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert mean(y, p, weight) == pytest.approx(plain(y[repeated], p[repeated]), rel=1e-13)
    assert plain(y, p, weight) == pytest.approx(loss(y, p, weight) / 6, rel=1e-13)


def test_ignored_class_leaves_its_samples_out(rng):
    y, p = make_case("labels", rng)
    y[:2] = 1
    y[2:] = 3
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1)
    plain = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert loss(y, p) == pytest.approx(plain(y[2:], p[2:]), rel=1e-13)
    outside = np.where(y == 1, -1, y)
    assert losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)(outside, p) == loss(y, p)


def test_images_and_other_class_axes(rng):
    y, p = make_case("labels", rng, (2, 3, 5, 4))
    channels_first = np.moveaxis(p, -1, 1)
    last = losses.SparseCategoricalCrossentropy(from_logits=True)
    first = losses.SparseCategoricalCrossentropy(from_logits=True, axis=1)
    weight = np.array([1.0, 3.0])
    value, grad = last.value_and_grad(y, p, weight)
    value_first, grad_first = first.value_and_grad(y, channels_first, weight)
    assert value == value_first
    assert np.array_equal(np.moveaxis(grad_first, 1, -1), grad)
    assert not first.joins


def test_labels_of_every_form():
    p = np.array([[0.2, 0.8], [0.6, 0.4]])
    loss = losses.SparseCategoricalCrossentropy()
    expected = loss([1, 0], p)
    for y in ([[1], [0]], np.array([1, 0], np.uint8), np.array([1.0, 0.0]), np.array([True, False])):
        assert loss(y, p) == expected
    assert losses.CategoricalCrossentropy()(np.array([[0, 1], [1, 0]], np.uint8), p) == expected


def test_empty_batch():
    for loss in (losses.SparseCategoricalCrossentropy(from_logits=True), losses.SparseCategoricalCrossentropy()):
        value, grad = loss.value_and_grad(np.zeros(0, int), np.zeros((0, 3)))
        assert value == 0.0
        assert grad.shape == (0, 3)


@pytest.mark.parametrize(
    ("loss", "y", "pred", "message"),
    [
        (
            losses.SparseCategoricalCrossentropy(),
            [3, 0],
            np.ones((2, 3)),
            r"labels must be 0 … 2, received 3 at index 0",
        ),
        (losses.SparseCategoricalCrossentropy(), [0, -1], np.ones((2, 3)), r"received -1 at index 1"),
        (losses.SparseCategoricalCrossentropy(), [0.5, 1], np.ones((2, 3)), r"must be integers, received .*0\.5"),
        (losses.SparseCategoricalCrossentropy(), [np.nan, 1], np.ones((2, 3)), r"NaN or Inf"),
        (losses.SparseCategoricalCrossentropy(), [0, 1, 1], np.ones((2, 3)), r"shape \(2,\).*received y.shape=\(3,\)"),
        (losses.SparseCategoricalCrossentropy(), np.eye(3)[:2], np.ones((2, 3)), r"categorical_crossentropy"),
        (losses.CategoricalCrossentropy(), [0, 1], np.ones((2, 3)), r"sparse_categorical_crossentropy"),
        (losses.CategoricalCrossentropy(), [[0, np.nan]], np.ones((1, 2)), r"NaN or Inf"),
        (losses.MeanSquaredError(), np.ones((2, 2)), np.ones((2, 3)), r"predictions' shape \(2, 3\)"),
        (losses.BinaryCrossentropy(), np.ones((2, 2)), np.ones((2, 3)), r"predictions' shape \(2, 3\)"),
        (losses.BinaryCrossentropy(axis=0), np.ones((2, 3)), np.ones((2, 3)), r"no axis 0 behind"),
        (losses.MeanSquaredError(), [[np.inf]], np.ones((1, 1)), r"NaN or Inf"),
    ],
)
def test_wrong_targets_are_named(loss, y, pred, message):
    with pytest.raises(ValueError, match=message):
        loss(y, pred)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="reduction must be one of"):
        losses.MeanSquaredError(reduction="average")
    with pytest.raises(ValueError, match="delta must be above 0"):
        losses.Huber(0)
    with pytest.raises(ValueError, match="dtype must be"):
        losses.MeanSquaredError(dtype="float16")
    with pytest.raises(ValueError, match="label_smoothing must be at least 0 and at most 1, received 2"):
        losses.CategoricalCrossentropy(label_smoothing=2)
    with pytest.raises(TypeError, match='astype\\("float32"\\)'):
        losses.MeanSquaredError()([[1]], np.array([[1]]))
    with pytest.raises(ValueError, match=r"sample_weight must have one weight per sample \(2\)"):
        losses.MeanSquaredError()([1.0, 2.0], np.ones((2, 1)), [1.0])
    with pytest.raises(ValueError, match="sample_weight holds NaN"):
        losses.MeanSquaredError()([1.0, 2.0], np.ones((2, 1)), [1.0, np.nan])


def test_get():
    assert losses.get(None) is None
    assert isinstance(losses.get("mse"), losses.MeanSquaredError)
    assert isinstance(losses.get("sparse_categorical_crossentropy"), losses.SparseCategoricalCrossentropy)
    assert isinstance(losses.get("CategoricalCrossentropy"), losses.CategoricalCrossentropy)
    assert isinstance(losses.get(losses.categorical_crossentropy), losses.CategoricalCrossentropy)
    loss = losses.CategoricalCrossentropy(True, 0.1)
    assert losses.get(loss) is loss
    again = losses.get({"class_name": "CategoricalCrossentropy", "config": loss.get_config()})
    assert again.get_config() == loss.get_config()
    for name, cls in (("mae", "MeanAbsoluteError"), ("huber", "Huber"), ("BCE", "BinaryCrossentropy")):
        assert type(losses.get(name)).__name__ == cls
    again = losses.deserialize(losses.serialize(losses.Huber(3.0, reduction="sum")))
    assert (again.delta, again.reduction) == (3.0, "sum")
    assert losses.deserialize(None) is None

    class Mine(losses.MeanSquaredError):
        pass

    assert type(losses.deserialize(losses.serialize(Mine()), {"Mine": Mine})) is Mine
    with pytest.raises(ValueError, match="unknown loss 'Mine'"):
        losses.deserialize(losses.serialize(Mine()))
    with pytest.raises(ValueError, match="unknown loss 'hinge'"):
        losses.get("hinge")
    with pytest.raises(TypeError, match="subclass it"):
        losses.get(lambda y, p: 0)


def test_binary_crossentropy_of_one_axis():
    y, p = np.array([0.0, 1.0, 1.0]), np.array([0.25, 0.5, 0.75])
    expected = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    value, grad = losses.BinaryCrossentropy().value_and_grad(y, p)
    assert value == pytest.approx(expected)
    assert grad == pytest.approx((p - y) / (p * (1 - p)) / 3)
