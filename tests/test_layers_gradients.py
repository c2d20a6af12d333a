"""Layers' gradients: exact adjoints on integers, central differences in float64 with a random upstream gradient."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import layers, regularizers

EPS = float(np.finfo(np.float64).eps)
STEP = 1e-5

# Layers that are linear in their input: ⟨layer(x), g⟩ = ⟨x, backward(g)⟩ must hold bit for bit on integers.
LINEAR = {
    "conv": (lambda: layers.Conv2D(3, 3, use_bias=False), (2, 6, 5, 2)),
    "conv same strided": (
        lambda: layers.Conv2D(3, (3, 2), strides=(2, 1), padding="same", use_bias=False), (2, 6, 5, 2),
    ),
    "conv dilated grouped": (lambda: layers.Conv2D(4, 2, dilation_rate=2, groups=2, use_bias=False), (2, 6, 5, 4)),
    "conv channels_first": (
        lambda: layers.Conv2D(3, 3, padding="same", data_format="channels_first", use_bias=False), (2, 2, 6, 5),
    ),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False), (2, 6, 5, 3)),
    "depthwise same strided": (
        lambda: layers.DepthwiseConv2D((3, 2), (2, 1), "same", data_format="channels_first", use_bias=False),
        (2, 3, 6, 5),
    ),
    "separable": (
        lambda: layers.SeparableConv2D(4, 3, padding="same", depth_multiplier=2, use_bias=False), (2, 5, 4, 3),
    ),
    "separable channels_first": (
        lambda: layers.SeparableConv2D(2, 3, strides=2, data_format="channels_first", use_bias=False), (2, 3, 6, 5),
    ),
    "transpose": (lambda: layers.Conv2DTranspose(3, 3, use_bias=False), (2, 4, 5, 2)),
    "transpose same strided": (
        lambda: layers.Conv2DTranspose(3, (3, 4), (2, 3), "same", use_bias=False), (2, 4, 3, 2),
    ),
    "transpose output_padding": (
        lambda: layers.Conv2DTranspose(3, 2, 3, output_padding=(2, 1), data_format="channels_first", use_bias=False),
        (2, 2, 4, 3),
    ),
    "transpose dilated": (
        lambda: layers.Conv2DTranspose(3, 3, padding="same", dilation_rate=2, use_bias=False), (2, 4, 5, 2),
    ),
    "dense": (lambda: layers.Dense(4, use_bias=False), (3, 5)),
    "dense 3-D": (lambda: layers.Dense(4, use_bias=False), (2, 3, 5)),
    "average": (lambda: layers.AveragePooling2D(2), (2, 6, 4, 3)),
    "flatten": (layers.Flatten, (2, 3, 4, 5)),
    "flatten channels_first": (lambda: layers.Flatten(data_format="channels_first"), (2, 3, 4, 5)),
    "reshape": (lambda: layers.Reshape((5, -1)), (2, 3, 4, 5)),
    "padding": (lambda: layers.ZeroPadding2D(((1, 2), (0, 3))), (2, 3, 4, 5)),
    "padding channels_first": (lambda: layers.ZeroPadding2D((1, 2), data_format="channels_first"), (2, 3, 4, 5)),
    "rescaling": (lambda: layers.Rescaling([1.0, 2.0, 4.0]), (2, 4, 4, 3)),
    "dropout": (lambda: layers.Dropout(0.5, seed=3), (6, 20)),
    "dropout of channels": (lambda: layers.Dropout(0.5, noise_shape=(None, 1, 1, None), seed=3), (3, 4, 4, 5)),
    "input": (lambda: layers.Input((3, 4)), (2, 3, 4)),
    "global average": (layers.GlobalAveragePooling2D, (2, 4, 4, 3)),
}  # fmt: skip

# Linear too, and drawn anew at every call: by the nearest pixel whole numbers stay whole.
NEAREST = {"interpolation": "nearest", "seed": 5}
DRAWN = {
    **{
        f"{cls.__name__} {mode}": (
            lambda cls=cls, mode=mode: cls(0.9 if cls is layers.RandomZoom else (-0.7, 0.9), fill_mode=mode, **NEAREST)
            if cls is not layers.RandomTranslation else cls(0.8, (-0.2, 1.0), fill_mode=mode, **NEAREST),
            (5, 4, 6, 2),
        )
        for cls in (layers.RandomTranslation, layers.RandomRotation, layers.RandomZoom)
        for mode in ("reflect", "wrap", "constant", "nearest")
    },
    "RandomTranslation channels_first": (
        lambda: layers.RandomTranslation(0.5, 0.5, data_format="channels_first", **NEAREST), (5, 2, 4, 6),
    ),
    "RandomFlip": (lambda: layers.RandomFlip(seed=5), (5, 4, 6, 2)),
    "RandomFlip one image": (lambda: layers.RandomFlip("vertical", seed=5), (4, 6, 2)),
    "RandomRotation one image": (lambda: layers.RandomRotation(0.4, **NEAREST), (4, 6, 2)),
}  # fmt: skip

# Every layer, at points where it has a derivative.
SMOOTH = {
    **LINEAR,
    "conv bias": (lambda: layers.Conv2D(3, 3, bias_initializer="ones"), (2, 5, 5, 2)),
    "conv relu": (lambda: layers.Conv2D(3, 3, activation="relu"), (2, 5, 5, 2)),
    "conv relu channels_first": (
        lambda: layers.Conv2D(3, 3, activation="relu", data_format="channels_first"), (2, 2, 5, 5),
    ),
    "conv tanh": (lambda: layers.Conv2D(3, 2, activation="tanh", padding="same"), (2, 4, 4, 2)),
    "conv gelu": (lambda: layers.Conv2D(3, 2, activation="gelu"), (2, 4, 4, 2)),
    "conv penalised": (
        lambda: layers.Conv2D(2, 2, kernel_regularizer=regularizers.L1L2(0.1, 0.2), bias_regularizer="l2"),
        (2, 4, 4, 2),
    ),
    "depthwise relu": (lambda: layers.DepthwiseConv2D(3, activation="relu"), (2, 5, 4, 3)),
    "separable tanh": (lambda: layers.SeparableConv2D(3, 2, activation="tanh", strides=2), (2, 5, 4, 2)),
    "separable penalised": (
        lambda: layers.SeparableConv2D(
            2, 2, activation="relu", depthwise_regularizer="l2", pointwise_regularizer=regularizers.L1(0.1),
            bias_regularizer="l2",
        ),
        (2, 4, 4, 2),
    ),
    "transpose relu": (
        lambda: layers.Conv2DTranspose(2, 3, 2, activation="relu", kernel_regularizer="l2"), (2, 3, 3, 2),
    ),
    "transpose sigmoid": (
        lambda: layers.Conv2DTranspose(2, 2, 3, "same", data_format="channels_first", activation="sigmoid"),
        (2, 3, 3, 2),
    ),
    "batch normalization": (layers.BatchNormalization, (3, 4, 3, 2)),
    "batch normalization penalised": (
        lambda: layers.BatchNormalization(gamma_regularizer="l2", beta_regularizer=regularizers.L1(0.1)), (9, 4),
    ),
    "batch normalization channels_first": (lambda: layers.BatchNormalization(1, scale=False), (3, 2, 4, 3)),
    "batch normalization without beta": (lambda: layers.BatchNormalization(center=False, epsilon=0.1), (8, 3)),
    "batch normalization frozen": (lambda: layers.BatchNormalization(trainable=False), (3, 4, 3, 2)),
    "dense softmax": (lambda: layers.Dense(4, activation="softmax"), (3, 5)),
    "dense relu": (lambda: layers.Dense(4, activation="relu"), (3, 5)),
    "dense silu": (lambda: layers.Dense(4, activation="silu", kernel_regularizer="l2"), (2, 3, 5)),
    "max": (lambda: layers.MaxPooling2D(2), (2, 5, 6, 3)),
    "max same overlapping": (lambda: layers.MaxPooling2D(3, strides=2, padding="same"), (2, 5, 6, 3)),
    "max channels_first": (lambda: layers.MaxPooling2D((2, 3), data_format="channels_first"), (2, 3, 5, 6)),
    "average same": (lambda: layers.AveragePooling2D(3, strides=2, padding="same"), (2, 5, 6, 3)),
    "average channels_first": (lambda: layers.AveragePooling2D(3, 1, data_format="channels_first"), (2, 3, 5, 6)),
    "global max": (layers.GlobalMaxPooling2D, (2, 4, 5, 3)),
    "global max channels_first": (lambda: layers.GlobalMaxPooling2D("channels_first", keepdims=True), (2, 3, 4, 5)),
    "global average channels_first": (lambda: layers.GlobalAveragePooling2D("channels_first", True), (2, 3, 4, 5)),
    "activation elu": (lambda: layers.Activation("elu"), (3, 7)),
    "activation relu": (lambda: layers.Activation("relu"), (3, 7)),
    "activation linear": (lambda: layers.Activation("linear"), (3, 7)),
    "relu": (layers.ReLU, (3, 7)),
    "relu general": (lambda: layers.ReLU(max_value=1.5, negative_slope=0.25, threshold=0.5), (5, 9)),
    "leaky relu": (layers.LeakyReLU, (3, 7)),
    "softmax": (layers.Softmax, (3, 7)),
    "softmax axis 1": (lambda: layers.Softmax(axis=1), (2, 3, 4)),
    "softmax axes": (lambda: layers.Softmax(axis=(1, 2)), (2, 3, 4)),
    "rescaling offset": (lambda: layers.Rescaling(0.3, offset=-1.0), (3, 7)),
}  # fmt: skip


def double(make) -> layers.Layer:
    """The layer in float64: the same constructor, the type changed before anything is built."""
    layer = make()
    config = layer.get_config()
    config["dtype"] = "float64"
    return type(layer).from_config(config)


def integers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-4, 5, shape).astype("float64")


@pytest.mark.parametrize("name", LINEAR | DRAWN)
def test_adjoint_exactly(name: str) -> None:
    rng = np.random.default_rng(7)
    make, shape = (LINEAR | DRAWN)[name]
    layer = double(make)
    layer.build(shape)
    layer.set_weights([integers(rng, weight.shape) for weight in layer.weights])
    x = 36 * integers(rng, shape)  # divisible by every window's size: averages are exact too
    y = layer(x, training=True)
    g = 36 * integers(rng, y.shape)
    grad_input = layer.backward(g)
    assert (y * g).sum() == (x * grad_input).sum()
    assert (g != 0).any()
    if layer.weights:  # linear in the kernel too
        assert (y * g).sum() == (layer.weights[0] * layer.grads[0]).sum()


@pytest.mark.parametrize("name", SMOOTH)
def test_central_differences(name: str) -> None:
    rng = np.random.default_rng(11)
    make, shape = SMOOTH[name]
    layer = double(make)
    # Distinct values, at least 0.01 apart and from every corner of the activations (0, 0.5, 1.5): no tie in a maximum.
    x = (rng.permutation(np.prod(shape)).reshape(shape) - np.prod(shape) // 2 + 0.37) * 0.017
    layer.build(shape)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    normalizes = isinstance(layer, layers.BatchNormalization)
    if normalizes:
        np.abs(layer.moving_variance, out=layer.moving_variance)
    y = layer(x, training=True)
    upstream = rng.normal(size=y.shape)
    grad_input = layer.backward(upstream)
    mask = y / x if isinstance(layer, layers.Dropout) else None  # the same mask for every evaluation

    def value() -> float:
        output = layer(x, training=normalizes) if mask is None else x * mask
        return float((output * upstream).sum()) + layer.regularization_loss()

    # Rounding: a sum of y·g and of the penalties, and as many again inside y. Truncation: third derivatives of order 1.
    scale = float(np.abs(y * upstream).sum()) + layer.regularization_loss() + float(np.abs(upstream).sum())
    bound = 64 * EPS * scale / STEP + 100 * STEP**2 * float(np.abs(upstream).sum())
    for array, grad in [(x, grad_input), *zip(layer.trainable_weights, layer.grads, strict=True)]:
        assert grad.shape == array.shape
        for place in rng.permutation(array.size)[:40]:
            index = np.unravel_index(place, array.shape)
            original = array[index]
            array[index] = original + STEP
            up = value()
            array[index] = original - STEP
            down = value()
            array[index] = original
            assert not abs((up - down) / (2 * STEP) - grad[index]) > bound


def test_gradient_of_a_maximum_goes_to_the_first_of_equals() -> None:
    for layer in (layers.MaxPooling2D(2), layers.GlobalMaxPooling2D(keepdims=True)):
        y = layer(np.full((1, 2, 2, 1), -1.0, "float32"), training=True)
        assert y.ravel() == -1
        assert np.array_equal(layer.backward(np.full((1, 1, 1, 1), 3.0, "float32")).ravel(), [3, 0, 0, 0])


def test_a_layer_backward_twice_gives_the_same() -> None:
    layer = layers.Conv2D(2, 2, kernel_regularizer="l2", activation="relu")
    y = layer(np.random.default_rng(0).normal(size=(2, 4, 4, 1)), training=True)
    first = layer.backward(np.ones_like(y)), [grad.copy() for grad in layer.grads]
    second = layer.backward(np.ones_like(y)), layer.grads
    assert np.array_equal(first[0], second[0])
    assert all(np.array_equal(a, b) for a, b in zip(first[1], second[1], strict=True))
