"""Each layer against hand-computed values, its shape rules, and its error messages."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
import pytest

from fastconv import _random, layers

SQUARE = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)


def test_conv2d_by_hand() -> None:
    # The 4 x 4 image 0 … 15 under the kernel [[1, 2], [3, 4]]: not flipped.
    layer = layers.Conv2D(1, 2, strides=2, activation="relu")
    layer.build(SQUARE.shape)
    layer.set_weights([np.array([[1, 2], [3, 4]]).reshape(2, 2, 1, 1), [-40.0]])
    assert np.array_equal(layer(SQUARE)[0, :, :, 0], [[0, 14], [74, 94]])


def test_conv2d_same_puts_the_odd_cell_behind() -> None:
    layer = layers.Conv2D(1, 2, padding="same", kernel_initializer="ones")
    assert np.array_equal(layer(np.ones((1, 2, 3, 1), "float32"))[0, :, :, 0], [[4, 4, 2], [2, 2, 1]])


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_conv2d_channels_first_is_channels_last_moved(use_bias: bool, activation: str | None) -> None:
    options = {"padding": "same", "strides": 2, "use_bias": use_bias, "activation": activation}
    last = layers.Conv2D(3, 3, **options)
    first = layers.Conv2D(3, 3, data_format="channels_first", **options)
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (2, 5, 6, 2)).astype("float32")
    y = last(x, training=True)
    first.build((None, 2, 5, 6))
    first.set_weights(last.get_weights())
    assert np.array_equal(first(np.moveaxis(x, -1, 1), training=True), np.moveaxis(y, -1, 1))
    upstream = rng.integers(-3, 4, y.shape).astype("float32")
    grad = last.backward(upstream)
    assert np.array_equal(first.backward(np.moveaxis(upstream, -1, 1)), np.moveaxis(grad, -1, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first.grads, last.grads, strict=True))


@pytest.mark.parametrize("size", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("strides", [1, 2, 3, 7])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_window_shapes(size: int, kernel: int, strides: int, padding: str) -> None:
    shape = (2, size, size + 1, 3)
    expected = [math.ceil(n / strides) if padding == "same" else (n - kernel) // strides + 1 for n in shape[1:3]]
    for layer, channels in (
        (layers.Conv2D(4, kernel, strides=strides, padding=padding), 4),
        (layers.MaxPooling2D(kernel, strides, padding), 3),
        (layers.AveragePooling2D(kernel, strides, padding), 3),
    ):
        if min(expected) < 1:
            with pytest.raises(ValueError, match=r"Computed output size would be zero or negative. Received: inputs"):
                layer.compute_output_shape(shape)
            with pytest.raises(ValueError, match=r"Use padding='same', a smaller"):
                layer(np.ones(shape, "float32"))
        else:
            assert layer.compute_output_shape(shape) == (2, *expected, channels)
            assert layer(np.ones(shape, "float32")).shape == (2, *expected, channels)
    unknown = layers.Conv2D(4, kernel, padding=padding).compute_output_shape((None, None, None, 3))
    assert unknown == (None, None, None, 4)


def test_pooling_by_hand() -> None:
    assert np.array_equal(layers.MaxPooling2D()(SQUARE)[0, :, :, 0], [[5, 7], [13, 15]])
    assert np.array_equal(layers.AveragePooling2D()(SQUARE)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    # "same" on 5 x 5 gives 3 x 3; the border windows hold one column or row only.
    five = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)
    expected = [[6, 8, 9], [16, 18, 19], [21, 23, 24]]
    assert np.array_equal(layers.MaxPooling2D(padding="same")(five)[0, :, :, 0], expected)
    expected = [[3, 5, 6.5], [13, 15, 16.5], [20.5, 22.5, 24]]
    assert np.array_equal(layers.AveragePooling2D(padding="same")(five)[0, :, :, 0], expected)
    # Padded cells are never picked.
    assert (layers.MaxPooling2D(3, padding="same")(-1 - five) < 0).all()


@pytest.mark.parametrize("training", [False, True])
def test_global_pooling(training: bool) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (2, 4, 2, 3)).astype("float32")
    moved = np.moveaxis(x, -1, 1)
    for cls, function in ((layers.GlobalMaxPooling2D, np.max), (layers.GlobalAveragePooling2D, np.mean)):
        expected = function(x, axis=(1, 2))
        assert np.array_equal(cls()(x, training=training), expected)
        assert np.array_equal(cls(data_format="channels_first")(moved, training=training), expected)
        assert np.array_equal(cls(keepdims=True)(x, training=training), expected[:, None, None, :])
        first = cls("channels_first", keepdims=True)
        assert np.array_equal(first(moved, training=training), expected[:, :, None, None])
        assert first.compute_output_shape((None, 3, None, None)) == (None, 3, 1, 1)
        with pytest.raises(ValueError, match="images must not be empty"):
            cls()(np.ones((1, 0, 2, 3), "float32"))


def test_dense_by_hand() -> None:
    layer = layers.Dense(2, activation="relu")
    layer.build((None, 3))
    layer.set_weights([[[1, 2], [3, 4], [5, 6]], [-1.0, -100.0]])
    assert np.array_equal(layer(np.array([[1.0, 1.0, 2.0]], "float32")), [[13, 0]])
    assert layer(np.ones((4, 5, 3), "float32")).shape == layer.compute_output_shape((4, 5, 3)) == (4, 5, 2)


def test_flatten_and_reshape_are_views() -> None:
    x = np.arange(24, dtype="float32").reshape(2, 3, 4)
    assert np.shares_memory(layers.Flatten()(x), x)
    assert np.array_equal(layers.Flatten()(x), x.reshape(2, 12))
    assert layers.Flatten()(np.ones(3, "float32")).shape == (3, 1)
    assert layers.Flatten().compute_output_shape((None, 3, None)) == (None, None)
    first = layers.Flatten(data_format="channels_first")
    image = np.arange(24, dtype="float32").reshape(1, 2, 3, 4)
    assert np.array_equal(first(image), np.moveaxis(image, 1, -1).reshape(1, 24))
    assert np.array_equal(layers.Reshape((2, -1))(x), x.reshape(2, 2, 6))
    assert layers.Reshape((6, -1)).compute_output_shape((None, 3, 4)) == (None, 6, 2)
    assert layers.Reshape((6, -1)).compute_output_shape((None, None, 4)) == (None, 6, None)
    assert layers.Reshape(()).compute_output_shape((5, 1)) == (5,)


def test_zero_padding() -> None:
    x = np.ones((1, 1, 2, 1), "float32")
    y = layers.ZeroPadding2D(((1, 0), (2, 1)))(x)
    assert np.array_equal(y[0, :, :, 0], [[0, 0, 0, 0, 0], [0, 0, 1, 1, 0]])
    assert layers.ZeroPadding2D((1, 2)).get_config()["padding"] == ((1, 1), (2, 2))
    assert layers.ZeroPadding2D((1, (2, 3))).padding == ((1, 1), (2, 3))
    shape = layers.ZeroPadding2D(2, data_format="channels_first").compute_output_shape((None, 1, 28, None))
    assert shape == (None, 1, 32, None)
    reusing = layers.ZeroPadding2D(1)
    reusing._reuse_buffers = threading.get_ident()
    for size in (3, 2):
        assert reusing(np.ones((size, 1, 1, 1), "float32")).sum() == size


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_rate_scale_and_independence(rate: float, dtype: str) -> None:
    layer = layers.Dropout(rate, seed=1, dtype=dtype)
    x = np.ones((500, 400), dtype)
    y = layer(x, training=True)
    kept = y != 0
    assert np.allclose(y[kept], 1 / (1 - rate), rtol=2 * np.finfo(dtype).eps, atol=0)
    deviation = math.sqrt(rate * (1 - rate))
    assert abs(kept.mean() - (1 - rate)) <= 5 * deviation / math.sqrt(x.size)
    assert np.abs(kept.mean(axis=0) - (1 - rate)).max() <= 5 * deviation / math.sqrt(500)
    assert not np.array_equal(layer(x, training=True) != 0, kept)  # a new mask for each call
    upstream = np.full_like(x, 2)
    again = layer(x, training=True)
    assert np.array_equal(layer.backward(upstream), 2 * again)


def test_dropout_at_rest_and_at_the_ends() -> None:
    x = np.arange(12, dtype="float32").reshape(3, 4)
    assert np.array_equal(layers.Dropout(0.5)(x), x)
    assert np.array_equal(layers.Dropout(0)(x, training=True), x)
    assert not layers.Dropout(1)(x, training=True).any()
    assert layers.Dropout(1.0).compute_output_shape((3, 4)) == (3, 4)


def test_dropout_seeds() -> None:
    x = np.ones((50, 50), "float32")

    def mask(**kwargs: object) -> np.ndarray:
        return layers.Dropout(0.5, **kwargs)(x, training=True)

    assert np.array_equal(mask(seed=3), mask(seed=3))
    assert not np.array_equal(mask(seed=3), mask(seed=4))
    assert not np.array_equal(mask(), mask())
    _random.set_seed(8)
    first = mask()
    _random.set_seed(8)
    assert np.array_equal(first, mask())


def test_dropout_noise_shape() -> None:
    y = layers.Dropout(0.5, noise_shape=(None, 1, 3), seed=0)(np.ones((20, 5, 3), "float32"), training=True)
    assert np.array_equal(y, np.broadcast_to(y[:, :1], y.shape))
    assert len(np.unique(y)) == 2


def test_activation_layers() -> None:
    x = np.array([[-10.0, -1.0, 0.0, 0.5, 2.0, 9.0]], "float32")
    assert np.array_equal(layers.ReLU()(x), np.maximum(x, 0))
    expected = [[-2.75, -0.5, -0.25, -0.125, 2, 6]]
    assert np.array_equal(layers.ReLU(max_value=6, negative_slope=0.25, threshold=1)(x), expected)
    assert np.array_equal(layers.LeakyReLU(0.5)(x), [[-5, -0.5, 0, 0.5, 2, 9]])
    assert layers.LeakyReLU(alpha=0.1).negative_slope == 0.1
    assert layers.Activation("relu")(np.array([np.nan], "float32")).shape == (1,)


def test_softmax_axes() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    for axis, axes in ((-1, (2,)), (1, (1,)), ([1, 2], (1, 2)), ((0, -1), (0, 2))):
        y = layers.Softmax(axis=axis, dtype="float64")(x)
        expected = np.exp(x) / np.exp(x).sum(axis=axes, keepdims=True)
        assert not (np.abs(y - expected) > 40 * np.finfo(float).eps).any()
    assert layers.Softmax((1, 2)).get_config()["axis"] == [1, 2]
    assert np.isfinite(layers.Softmax()(np.array([[1e4, -1e4]], "float32"))).all()


def test_rescaling() -> None:
    bytes_ = np.array([[[0, 51], [255, 102]]], "uint8")
    assert np.allclose(layers.Rescaling(1 / 255)(bytes_), [[[0, 0.2], [1, 0.4]]])
    assert np.allclose(layers.Rescaling(1 / 127.5, offset=-1)(bytes_), [[[-1, -0.6], [1, -0.2]]])
    layer = layers.Rescaling(np.array([1.0, 2.0]), offset=(3.0, 4.0), dtype="float64")
    assert np.array_equal(layer(bytes_), [[[3, 106], [258, 208]]])
    assert layer.get_config()["scale"] == [1.0, 2.0]
    keras_array = {"class_name": "__numpy__", "config": {"value": [1.0, 2.0], "dtype": "float64"}}
    assert layers.Rescaling.from_config({"scale": keras_array, "offset": 0.0}).scale == [1.0, 2.0]


def test_input_layer() -> None:
    layer = layers.Input((28, 28, 1), name="digits")
    assert layer.batch_shape == layer.input_shape == layer.output_shape == (None, 28, 28, 1)
    assert layer.get_config() == {
        "batch_shape": (None, 28, 28, 1), "dtype": "float32", "sparse": False, "ragged": False, "name": "digits",
        "optional": False,
    }  # fmt: skip
    assert type(layers.deserialize(layers.serialize(layer))) is layers.InputLayer
    assert "build_config" not in layers.serialize(layer)
    x = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype("uint8")
    y = layer(x)  # the missing channel axis and the type are mended, as in Keras
    assert y.dtype == np.float32
    assert np.array_equal(y[..., 0], x)
    assert layers.Input((28, 28))(x[..., None]).shape == (3, 28, 28)
    assert layers.Input((4,), batch_size=2).batch_shape == layers.Input(batch_shape=(2, 4)).batch_shape == (2, 4)
    assert layers.Input((4,), dtype="uint8")(np.ones((1, 4), "uint8")).dtype == np.uint8
    assert layers.Input((None, 4))(np.ones((2, 7, 4), "float32")).shape == (2, 7, 4)
    assert layer.count_params() == 0
    assert layers.InputLayer((4,)).name.startswith("input_layer")


CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "rank": (
        lambda: layers.Conv2D(3, 2, name="c")(np.ones((5, 5, 1), "float32")),
        r"layer 'c' is incompatible with the layer: expected min_ndim=4, found ndim=3. Full shape received: "
        r"\(5, 5, 1\). The layer takes \(n, h, w, c\). Add the missing axis: x\[None\] for the batch",
    ),
    "rank above": (
        lambda: layers.MaxPooling2D(data_format="channels_first")(np.ones((1, 1, 5, 5, 1), "float32")),
        r"expected ndim=4, found ndim=5.*The layer takes \(n, c, h, w\)",
    ),
    "dense rank": (lambda: layers.Dense(3)(np.ones(4, "float32")), "expected min_ndim=2, found ndim=1"),
    "channels": (
        lambda: _other_channels("channels_last"),
        r"expected axis -1 of input shape to have value 2, but received input with shape \(1, 5, 5, 3\)",
    ),
    "channels first": (
        lambda: _other_channels("channels_first"),
        r"expected axis 1 of input shape to have value 5, but received input with shape \(1, 4, 5, 5\)",
    ),
    "features": (
        lambda: _twice(layers.Dense(3), (1, 5), (1, 4)),
        r"expected axis -1 of input shape to have value 5, but received input with shape \(1, 4\)",
    ),
    "groups": (lambda: layers.Conv2D(3, 2, groups=2), r"filters must be evenly divisible.*groups=2, filters=3"),
    "group channels": (
        lambda: layers.Conv2D(4, 2, groups=2)(np.ones((1, 5, 5, 3), "float32")),
        "input channels must be evenly divisible.*groups=2, but the input has 3 channels",
    ),
    "filters": (lambda: layers.Conv2D(0, 2), "`filters`: Expected a strictly positive integer. Received: filters=0"),
    "filters type": (lambda: layers.Conv2D(2.0, 2), "`filters`: Expected a strictly positive integer"),
    "units": (lambda: layers.Dense(True), "`units`: Expected a strictly positive integer. Received: units=True"),
    "kernel size": (lambda: layers.Conv2D(3, (1, 2, 3)), r"kernel_size must be an int or a pair .*\(1, 2, 3\)"),
    "kernel zero": (lambda: layers.Conv2D(3, 0), "kernel_size must be at least 1"),
    "strides": (lambda: layers.Conv2D(3, 2, strides=0), "strides must be at least 1"),
    "both": (
        lambda: layers.Conv2D(3, 2, strides=2, dilation_rate=2),
        r"`strides > 1` not supported in conjunction with `dilation_rate > 1`.*fastconv.conv2d takes both",
    ),
    "padding": (lambda: layers.Conv2D(3, 2, padding="full"), "padding must be one of 'valid', 'same', received 'full'"),
    "data format": (lambda: layers.MaxPooling2D(data_format="NHWC"), "data_format must be one of 'channels_last'"),
    "pool": (lambda: layers.MaxPooling2D(0), "MaxPooling2D: pool_size must be at least 1"),
    "rate": (lambda: layers.Dropout(2), "`rate`: Expected a float value between 0 and 1. Received: rate=2"),
    "rate nan": (lambda: layers.Dropout(float("nan")), "`rate`: Expected a float value between 0 and 1"),
    "seed": (lambda: layers.Dropout(0.5, seed=1.5), "Argument `seed` must be a non-negative integer"),
    "noise": (
        lambda: layers.Dropout(0.5, noise_shape=(2,))(np.ones((1, 5), "float32"), training=True),
        r"`noise_shape`: expected a shape that broadcasts to \(1, 5\)",
    ),
    "noise zero": (lambda: layers.Dropout(0.5, noise_shape=(0, 1)), "`noise_shape`: Expected all dimensions to be"),
    "slope": (lambda: layers.LeakyReLU(-1), "negative_slope cannot be None or a negative value. Received"),
    "relu slope": (lambda: layers.ReLU(negative_slope=None), "negative_slope cannot be None or a negative value"),
    "relu max": (lambda: layers.ReLU(max_value=-1), "max_value cannot be None or a negative value"),
    "softmax axis": (lambda: layers.Softmax(3)(np.ones((1, 2), "float32")), "`axis`: expected different axes"),
    "softmax twice": (lambda: layers.Softmax((1, -1))(np.ones((1, 2), "float32")), "`axis`: expected different axes"),
    "reshape": (
        lambda: layers.Reshape((3, 3))(np.ones((1, 5), "float32")),
        r"total size of the tensor must be unchanged. Received: input_shape=\(5,\), target_shape=\(3, 3\)",
    ),
    "reshape rest": (lambda: layers.Reshape((3, -1))(np.ones((1, 5), "float32")), "total size of the tensor must be"),
    "reshape twice": (lambda: layers.Reshape((-1, -1)), r"at most one unknown dimension \(-1\)"),
    "reshape negative": (lambda: layers.Reshape((-2,)), "must be a non-negative integer, or `-1`"),
    "padding pair": (lambda: layers.ZeroPadding2D((1, 2, 3)), r"padding must be an int or a pair .*\(1, 2, 3\)"),
    "padding text": (lambda: layers.ZeroPadding2D("same"), "`padding`: expected an int, a pair"),
    "no shape": (lambda: layers.Input(), r"You must pass a `shape` argument"),
    "two shapes": (lambda: layers.Input((3,), batch_shape=(1, 3)), "You cannot pass both"),
    "sparse": (lambda: layers.Input((3,), sparse=True), "`sparse` is not supported"),
    "input data": (
        lambda: layers.Input((28, 28, 1))(np.ones((2, 27, 28, 1))),
        "expected axis 1 of input shape to have value 28",
    ),
    "input rank": (lambda: layers.Input((28, 28, 1))(np.ones((2, 28))), "expected ndim=4, found ndim=2"),
    "scale": (
        lambda: layers.Rescaling([1.0, 2.0])(np.ones((1, 3), "float32")),
        r"`scale` must broadcast to the input. Received: scale of shape \(2,\), input of shape \(1, 3\)",
    ),
}


def _twice(layer: layers.Layer, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    layer(np.ones(first, "float32"))
    layer(np.ones(second, "float32"))


def _other_channels(data_format: str) -> None:
    first, second = ((1, 5, 5, 2), (1, 5, 5, 3)) if data_format == "channels_last" else ((1, 5, 5, 5), (1, 4, 5, 5))
    _twice(layers.Conv2D(3, 2, data_format=data_format), first, second)


@pytest.mark.parametrize("name", CALLS)
def test_messages(name: str) -> None:
    action, message = CALLS[name]
    with pytest.raises(ValueError, match=message):
        action()
