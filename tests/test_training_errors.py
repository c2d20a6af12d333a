"""Wrong data and settings: named, and found before anything has changed."""

from __future__ import annotations

import numpy as np
import pytest
from test_training import make_data, make_model

from fastconv import layers, losses, metrics, models, optimizers


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"x": np.zeros((30, 6, 6, 1), np.uint8)}, TypeError, r'x\.astype\("float32"\) / 255'),
        ({"x": np.zeros((30, 6, 6, 1), np.int32)}, TypeError, r'x\.astype\("float32"\)'),
        ({"x": np.zeros((29, 6, 6, 1))}, ValueError, "same length"),
        ({"x": np.zeros((30, 6, 6, 2))}, ValueError, r"\(30, 6, 6, 2\)|channels|shape"),
        ({"x": np.zeros((0, 6, 6, 1)), "y": np.zeros(0, int)}, ValueError, "no samples"),
        ({"y": None}, ValueError, "y is missing"),
        ({"y": np.full(30, 3)}, ValueError, "labels must be 0 … 2, received 3"),
        ({"y": np.full(30, np.nan)}, ValueError, "NaN"),
        ({"y": np.zeros((30, 3))}, ValueError, "categorical_crossentropy"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer"),
        ({"epochs": "3"}, TypeError, "epochs must be an integer"),
        ({"validation_split": 1.0}, ValueError, "leaves 0 to train on"),
        ({"validation_split": 1.5}, ValueError, "at most 1"),
        ({"validation_data": 3}, TypeError, "a tuple"),
        ({"validation_data": (np.zeros((2, 6, 6, 1)), [0, 7])}, ValueError, "validation_data: labels must be"),
        ({"sample_weight": np.ones(3)}, ValueError, "one weight per sample"),
        ({"sample_weight": np.ones((30, 2))}, ValueError, r"shape \(30,\), received shape \(30, 2\)"),
        ({"sample_weight": np.ones((30, 1, 1))}, ValueError, r"received shape \(30, 1, 1\)"),
        ({"validation_data": (np.zeros((2, 6, 6, 1)), [0, 1], np.ones((2, 2)))}, ValueError, r"shape \(2, 2\)"),
        ({"sample_weight": np.ones(30), "class_weight": {0: 1}}, ValueError, "Give one of them"),
        ({"class_weight": [1, 2]}, TypeError, "a dict"),
        ({"class_weight": {0: np.nan}}, ValueError, r"class_weight\[0\]"),
    ],
)
def test_wrong_data_change_nothing(options, error, message):
    x, y = make_data(30)
    model = make_model()
    before = model.get_weights()
    with pytest.raises(error, match=message):
        model.fit(**({"x": x, "y": y, "verbose": 0} | options))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.optimizer.iterations == 0


def test_wrong_data_leave_a_model_unbuilt():
    model = models.Sequential([layers.Flatten(), layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    x, _ = make_data(4)
    with pytest.raises(ValueError, match="labels must be"):
        model.fit(x, [0, 1, 2, 3], verbose=0)
    assert not model.built


def test_compile_is_needed_and_checked():
    x, y = make_data(4)
    model = models.Sequential([layers.Flatten(), layers.Dense(3)])
    with pytest.raises(ValueError, match=r"Call model\.compile"):
        model.fit(x, y)
    model.compile("adam")
    with pytest.raises(ValueError, match="without a loss"):
        model.evaluate(x, y)
    with pytest.raises(NotImplementedError, match="distribution is not available in this version"):
        model.compile("adam", "mse", distribution=object())
    with pytest.raises(ValueError, match="no reduction"):
        model.compile("adam", losses.MeanSquaredError(reduction=None))
    with pytest.raises(ValueError, match="unknown metric 'accuracies'"):
        model.compile("sgd", "mse", metrics=["accuracies"])
    assert type(model.optimizer) is optimizers.Adam
    assert model.loss is None


@pytest.mark.parametrize(
    "metric",
    ["categorical_accuracy", "binary_accuracy", "mse", metrics.Precision(), lambda y_true, y_pred: None],
    ids=["categorical", "binary", "mse", "precision", "none"],
)
@pytest.mark.parametrize("call", ["fit", "train_on_batch"])
def test_a_metric_that_does_not_fit_is_refused_before_anything_changes(metric, call):
    x, y = make_data(8)
    model = models.Sequential([layers.Input((6, 6, 1)), layers.BatchNormalization(), layers.Flatten(), layers.Dense(3)])
    model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True), metrics=[metric])
    before = model.get_weights()
    with pytest.raises((ValueError, TypeError)):
        getattr(model, call)(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("call", ["fit", "train_on_batch"])
def test_an_optimizer_that_no_longer_fits_is_refused_before_anything_changes(call):
    x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    model = models.Sequential([layers.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)])
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    model.layers[0].trainable = True
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"SGD\.build: variable 0 is none of those .* Compile the model again"):
        getattr(model, call)(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_function_is_no_regularizer():
    with pytest.raises(TypeError, match=r"subclass it to give a penalty and its gradient"):
        layers.Dense(1, kernel_regularizer=lambda weight: (weight**2).sum())


class Untaught(layers.Layer):
    def call(self, x, training=False):
        return x

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.parametrize("call", ["fit", "train_on_batch"])
@pytest.mark.parametrize("broken", [Untaught, lambda: layers.Dropout(0.5, noise_shape=(None, 3))], ids=["own", "noise"])
def test_a_step_that_fails_leaves_the_moments_as_they_were(broken, call):
    x, y = np.random.default_rng(0).random((8, 4), "float32"), np.ones((8, 2), "float32")
    model = models.Sequential(
        [layers.Input((4,)), layers.Dense(4), layers.BatchNormalization(), broken(), layers.Dense(2)]
    )
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises((ValueError, NotImplementedError, AttributeError, TypeError)):
        getattr(model, call)(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
