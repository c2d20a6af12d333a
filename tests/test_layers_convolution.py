"""Depthwise, separable and transposed convolution layers, batch normalisation: by hand, rules, errors, files."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from oracle import assert_exact, assert_within, gamma, integers, normals

import fastconv as fc
from fastconv import layers, models, utils


def built(layer: layers.Layer, x: np.ndarray, seed: int = 0) -> layers.Layer:
    """The layer with weights of small whole numbers."""
    layer.build(x.shape)
    rng = np.random.default_rng(seed)
    layer.set_weights([integers(rng, weight.shape) for weight in layer.weights])
    return layer


X = integers(np.random.default_rng(1), (2, 6, 5, 3))


def test_depthwise_keeps_channels_apart() -> None:
    layer = built(layers.DepthwiseConv2D(2, depth_multiplier=2), X)
    y = layer(X)
    assert y.shape == (2, 5, 4, 6)
    for c in range(3):
        for m in range(2):
            alone = fc.conv2d(X[..., c : c + 1], layer.kernel[:, :, c : c + 1, m : m + 1])[..., 0]
            assert_exact(y[..., 2 * c + m], alone + layer.bias[2 * c + m])


def test_separable_is_depthwise_then_one_by_one() -> None:
    options = {"strides": (2, 1), "padding": "same"}
    layer = built(layers.SeparableConv2D(4, (2, 3), depth_multiplier=2, activation="relu", **options), X)
    between = layers.DepthwiseConv2D((2, 3), depth_multiplier=2, use_bias=False, **options)
    between.build(X.shape)
    between.set_weights([layer.depthwise_kernel])
    mixing = layers.Conv2D(4, 1, activation="relu")
    mixing.build((None, *between.output_shape[1:]))
    mixing.set_weights([layer.pointwise_kernel, layer.bias])
    y = layer(X, training=True)
    assert_exact(y, mixing(between(X, training=True), training=True))
    g = integers(np.random.default_rng(2), y.shape)
    assert_exact(layer.backward(g), between.backward(mixing.backward(g)))
    grads = [*between.grads, *mixing.grads]
    assert all(np.array_equal(a, b) for a, b in zip(layer.grads, grads, strict=True))
    assert not hasattr(layers.SeparableConv2D(3, 2), "pointwise_kernel")


def test_transpose_by_hand() -> None:
    layer = layers.Conv2DTranspose(1, 2, strides=2, bias_initializer="ones")
    x = np.array([[1, 2], [3, 4]], "float32").reshape(1, 2, 2, 1)
    layer.build(x.shape)
    layer.set_weights([np.array([[1, 0], [0, 10]]).reshape(2, 2, 1, 1), [1]])
    expected = [[2, 1, 3, 1], [1, 11, 1, 21], [4, 1, 5, 1], [1, 31, 1, 41]]
    assert_exact(layer(x)[0, :, :, 0], expected)


@pytest.mark.parametrize("make", [
    lambda **k: layers.DepthwiseConv2D(3, **k),
    lambda **k: layers.SeparableConv2D(4, 3, **k),
    lambda **k: layers.Conv2DTranspose(4, 3, **k),
])  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"strides": 2, "padding": "same", "activation": "relu"}], ids=str)
def test_channels_first_is_channels_last_moved(make, options) -> None:
    last = built(make(**options), X)
    y = last(X, training=True)
    moved = np.moveaxis(X, -1, 1)
    first = make(data_format="channels_first", **options)
    first.build(moved.shape)
    first.set_weights(last.get_weights())
    assert_exact(first(moved, training=True), np.moveaxis(y, -1, 1))
    assert first.compute_output_shape((None, 3, 6, 5)) == (None, *np.moveaxis(y, -1, 1).shape[1:])
    g = integers(np.random.default_rng(3), y.shape)
    assert_exact(first.backward(np.moveaxis(g, -1, 1)), np.moveaxis(last.backward(g), -1, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first.grads, last.grads, strict=True))


def test_unknown_sizes_and_aliases() -> None:
    assert layers.Conv2DTranspose(4, 3, 2).compute_output_shape((None, None, 5, 3)) == (None, None, 11, 4)
    assert layers.DepthwiseConv2D(3).compute_output_shape((None, None, 5, None)) == (None, None, 3, None)
    assert layers.SeparableConvolution2D is layers.SeparableConv2D
    assert layers.Convolution2DTranspose is layers.Conv2DTranspose


def test_batch_normalization_by_hand() -> None:
    # Mean 2 and variance 3 a channel; epsilon 1: the deviations are halved.
    layer = layers.BatchNormalization(momentum=0.75, epsilon=1.0)
    x = np.array([[-1, 5], [3, 1], [3, 1], [3, 1]], "float32")
    assert np.array_equal(x.mean(axis=0), [2, 2])
    assert np.array_equal(x.var(axis=0), [3, 3])
    layer.build(x.shape)
    layer.set_weights([[2, 4], [1, -1], [0, 8], [1, 5]])
    assert_exact(layer(x, training=True), [[-2, 5], [2, -3], [2, -3], [2, -3]])
    assert_exact(layer.moving_mean, [0.5, 6.5])
    assert_exact(layer.moving_variance, [1.5, 4.5])
    weights = layer.get_weights()
    expected = 2 * (x[:, 0] - 0.5) / np.sqrt(2.5) + 1
    assert_within(layer(x)[:, 0], expected, gamma(8, np.float32) * np.abs(expected).max())
    assert all(np.array_equal(a, b) for a, b in zip(weights, layer.weights, strict=True))


def test_batch_normalization_parts_and_axis() -> None:
    x = normals(np.random.default_rng(0), (3, 4, 5, 2), np.float64)
    for axis in (-1, 1, 2, -2):
        layer = layers.BatchNormalization(axis, center=False, scale=False, epsilon=1e-9, dtype="float64")
        y = layer(x, training=True)
        others = tuple(i for i in range(4) if i != axis % 4)
        assert layer._weight_names == ["moving_mean", "moving_variance"]
        assert layer.weights[0].shape == (x.shape[axis],)
        assert layer.trainable_weights == []
        assert_within(y.mean(axis=others), np.zeros(x.shape[axis]), gamma(x.size, np.float64))
        assert_within(y.var(axis=others), np.ones(x.shape[axis]), 1e-8 / x.var(axis=others))
        layer.backward(np.ones_like(y))
        assert layer.grads == []
        assert layer.gamma is None
        assert layer.beta is None
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 2"):
        again = layers.BatchNormalization()
        again(x)
        again(x[..., :1])
    with pytest.raises(ValueError, match="expected ndim=4, found ndim=3"):
        again(x[0])


def test_frozen_batch_normalization_uses_and_keeps_its_moving_moments() -> None:
    layer = layers.BatchNormalization(dtype="float64")
    x = normals(np.random.default_rng(0), (8, 3), np.float64)
    for _ in range(5):
        layer(x, training=True)
    layer.trainable = False
    kept = layer.get_weights()
    assert_exact(layer(x, training=True), layer(x))
    grad = layer.backward(np.ones_like(x))
    assert all(np.array_equal(a, b) for a, b in zip(kept, layer.weights, strict=True))
    assert layer.grads == []
    expected = np.broadcast_to(1 / np.sqrt(layer.moving_variance + layer.epsilon), x.shape)
    assert_within(grad, expected, gamma(8, np.float64) * expected)
    assert len(layer.non_trainable_weights) == 4


def test_an_empty_batch_leaves_the_moving_moments_alone() -> None:
    layer = layers.BatchNormalization()
    layer.build((None, 3))
    kept = layer.get_weights()
    layer(np.empty((0, 3), "float32"), training=True)
    assert all(np.array_equal(a, b) for a, b in zip(kept, layer.weights, strict=True))


def deep(module=layers) -> list:
    """A stack with all the layers that have weights of their own kind, and those that draw numbers."""
    return [
        module.RandomTranslation(0.1, (-0.1, 0.2), fill_mode="constant", seed=1),
        module.RandomRotation((-0.1, 0.2)),
        module.RandomZoom(0.1, seed=3),
        module.RandomFlip("horizontal"),
        module.Conv2D(4, 3, padding="same", use_bias=False),
        module.BatchNormalization(momentum=0.5),
        module.ReLU(),
        module.DepthwiseConv2D(3, depth_multiplier=2),
        module.BatchNormalization(scale=False, momentum=0.5),
        module.SeparableConv2D(6, 3, padding="same", activation="relu", pointwise_regularizer="l2"),
        module.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1),
        module.Dropout(0.2),
        module.GlobalAveragePooling2D(),
        module.Dense(3, activation="softmax"),
    ]


def trained(epochs: int = 2) -> tuple[models.Sequential, np.ndarray, np.ndarray]:
    utils.set_random_seed(3)
    rng = np.random.default_rng(0)
    x, y = rng.random((24, 8, 8, 2), "float32"), rng.integers(0, 3, 24)
    model = models.Sequential([layers.Input((8, 8, 2)), *deep()])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, batch_size=8, verbose=0)
    return model, x, y


def test_training_moves_every_weight_and_saving_keeps_them(tmp_path) -> None:
    (start, x, _), (model, _, _) = trained(0), trained()
    for layer, before in zip(model.layers, start.layers, strict=True):
        assert all(not np.array_equal(a, b) for a, b in zip(before.weights, layer.weights, strict=True)), layer.name
    model.save(tmp_path / "m.keras")
    twin = models.load_model(tmp_path / "m.keras")
    assert np.array_equal(twin.predict(x), model.predict(x))
    assert all(np.array_equal(a, b) for a, b in zip(twin.get_weights(), model.get_weights(), strict=True))
    assert len(twin.trainable_weights) == len(model.trainable_weights)
    configs = [json.loads(json.dumps([layer.get_config() for layer in one.layers])) for one in (model, twin)]
    assert configs[0] == configs[1]
    model.save_weights(tmp_path / "m.weights.h5")
    start.load_weights(tmp_path / "m.weights.h5")
    assert np.array_equal(start.predict(x), model.predict(x))
    assert model.count_params() == sum(weight.size for weight in model.weights)


def test_files_hold_no_keys_that_earlier_keras_refuses(tmp_path) -> None:
    model, _, _ = trained(1)
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        config = json.loads(archive.read("config.json"))
    kept = [layer["config"] for layer in config["config"]["layers"] if layer["class_name"] == "BatchNormalization"]
    assert len(kept) == 2
    assert all("epsilon" in one and not {"renorm", "synchronized", "renorm_momentum"} & one.keys() for one in kept)


def test_keras_and_we_read_each_others_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    try:
        import keras
    except ImportError:
        pytest.skip("keras and a backend are not installed")
    model, x, y = trained()
    model.save(tmp_path / "ours.keras")
    theirs = keras.models.load_model(tmp_path / "ours.keras")
    assert np.max(np.abs(theirs.predict(x, verbose=0) - model.predict(x))) < 1e-5
    theirs.fit(x, y, epochs=1, verbose=0)
    theirs.save(tmp_path / "theirs.keras")
    back = models.load_model(tmp_path / "theirs.keras")
    assert np.max(np.abs(theirs.predict(x, verbose=0) - back.predict(x))) < 1e-5
    assert back.optimizer.iterations == model.optimizer.iterations + 1

    made = keras.Sequential([keras.layers.Input((8, 8, 2)), *deep(keras.layers)])
    made.compile("adam", "sparse_categorical_crossentropy")
    made.fit(x, y, verbose=0)
    made.save(tmp_path / "made.keras")
    made.save_weights(tmp_path / "made.weights.h5")
    read = models.load_model(tmp_path / "made.keras")
    assert np.max(np.abs(made.predict(x, verbose=0) - read.predict(x))) < 1e-5
    model.load_weights(tmp_path / "made.weights.h5")
    assert np.array_equal(model.predict(x), read.predict(x))
    model.save_weights(tmp_path / "back.weights.h5")
    other = keras.Sequential([keras.layers.Input((8, 8, 2)), *deep(keras.layers)])
    other.load_weights(tmp_path / "back.weights.h5")
    assert np.max(np.abs(made.predict(x, verbose=0) - other.predict(x, verbose=0))) < 1e-5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: layers.DepthwiseConv2D(0), ValueError, "DepthwiseConv2D: kernel_size must be at least 1"),
        (
            lambda: layers.DepthwiseConv2D(3, depth_multiplier=0),
            ValueError,
            "DepthwiseConv2D: Invalid value for argument `depth_multiplier`: Expected a strictly positive integer",
        ),
        (lambda: layers.DepthwiseConv2D(3, padding="full"), ValueError, "padding must be one of 'valid', 'same'"),
        (
            lambda: layers.DepthwiseConv2D(3, depthwise_constraint="max_norm"),
            ValueError,
            "`depthwise_constraint` is not supported",
        ),
        (lambda: layers.DepthwiseConv2D(7)(X), ValueError, r"Computed output size would be zero or negative"),
        (lambda: layers.DepthwiseConv2D(3)(X[0]), ValueError, "expected min_ndim=4, found ndim=3"),
        (lambda: layers.SeparableConv2D(0, 3), ValueError, "SeparableConv2D: Invalid value for argument `filters`"),
        (
            lambda: layers.SeparableConv2D(2, 3, pointwise_constraint="max_norm"),
            ValueError,
            "`pointwise_constraint` is not supported",
        ),
        (
            lambda: layers.SeparableConv2D(2, 3).build((None, 5, 5, None)),
            ValueError,
            "axis -1 of the input shape must be known",
        ),
        (
            lambda: layers.Conv2DTranspose(2, 3, strides=2, output_padding=2),
            ValueError,
            r"Conv2DTranspose: `output_padding` must be strictly less than `strides`.*output_padding=\(2, 2\)",
        ),
        (
            lambda: layers.Conv2DTranspose(2, 3, strides=2, dilation_rate=2),
            ValueError,
            "Conv2DTranspose: `strides > 1` not supported in conjunction with `dilation_rate > 1`",
        ),
        (
            lambda: layers.Conv2DTranspose(2, 4, 2, "same", 0)(X[:, :1]),
            ValueError,
            r"output size would be zero or negative.*output_padding=\(0, 0\). Use more output_padding",
        ),
        (lambda: layers.BatchNormalization(momentum=2), ValueError, "momentum must be at least 0 and at most 1"),
        (lambda: layers.BatchNormalization(epsilon=-1), ValueError, "epsilon must be at least 0"),
        (lambda: layers.BatchNormalization("a"), TypeError, "axis must be an integer"),
        (lambda: layers.BatchNormalization(4)(X), ValueError, r"Axis 4 is out of bounds for input shape \(None, 6, 5"),
        (
            lambda: layers.BatchNormalization(1).build((None, None, 3)),
            ValueError,
            "axis 1 of the input shape must be known",
        ),
        (lambda: layers.BatchNormalization(renorm=True), ValueError, "BatchNormalization: `renorm` is not supported"),
        (lambda: layers.BatchNormalization(synchronized=True), ValueError, "`synchronized` is not supported"),
        (lambda: layers.BatchNormalization(gamma_constraint="x"), ValueError, "`gamma_constraint` is not supported"),
    ],
)
def test_errors(make, error, message) -> None:
    with pytest.raises(error, match=message):
        make()
