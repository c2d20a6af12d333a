"""`Sequential.export`: ONNX Runtime gives what `predict` gives, for every layer, option and activation."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import activations, layers, models, utils

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def run(path, x: np.ndarray) -> np.ndarray:
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (y,) = session.run(["output"], {"input": x})
    return y


def exported(stack: list, tmp_path, x: np.ndarray, whole: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(what predict gives, what ONNX Runtime gives). whole: weights are small whole numbers, so that sums are exact."""
    model = models.Sequential([layers.Input(x.shape[1:]), *stack])
    rng = np.random.default_rng(3)
    for weight in model.weights:
        weight[...] = rng.integers(-3, 4, weight.shape) if whole else weight
    path = tmp_path / "model.onnx"
    model.export(path)
    return model.predict(x, verbose=0), run(path, x)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-4, 5, shape).astype(np.float32)


WINDOWS = [
    {"strides": 1, "padding": "valid"},
    {"strides": 1, "padding": "same"},
    {"strides": (2, 3), "padding": "same"},
    {"strides": (3, 1), "padding": "valid"},
]
DILATED = [*WINDOWS, {"dilation_rate": (2, 3), "padding": "same"}, {"dilation_rate": 2, "padding": "valid"}]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("options", DILATED, ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda **o: layers.Conv2D(6, (3, 2), activation="relu", **o),
        lambda **o: layers.Conv2D(6, 2, groups=2, use_bias=False, **o),
        lambda **o: layers.DepthwiseConv2D((2, 3), depth_multiplier=2, **o),
        lambda **o: layers.SeparableConv2D(5, 3, depth_multiplier=2, **o),
        lambda **o: layers.Conv2DTranspose(3, (3, 4), **o),
        lambda **o: layers.Conv2DTranspose(3, 2, use_bias=False, activation="relu", **o),
    ],
    ids=["conv", "groups", "depthwise", "separable", "transposed", "transposed small"],
)
def test_convolutions(make, options, data_format, tmp_path):
    expected, found = exported([make(**options, data_format=data_format)], tmp_path, images(3, 8, 8, 8), whole=True)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("options", WINDOWS, ids=str)
@pytest.mark.parametrize("kind", [layers.MaxPooling2D, layers.AveragePooling2D])
def test_pooling(kind, options, data_format, tmp_path):
    stack = [kind((2, 3), **options, data_format=data_format)]
    expected, found = exported(stack, tmp_path, images(3, 7, 8, 5))
    np.testing.assert_allclose(found, expected, rtol=3e-7)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("kind", [layers.GlobalMaxPooling2D, layers.GlobalAveragePooling2D])
def test_global_pooling(kind, data_format, keepdims, tmp_path):
    stack = [layers.Conv2D(4, 1, data_format=data_format), kind(data_format=data_format, keepdims=keepdims)]
    expected, found = exported(stack, tmp_path, images(3, 8, 4, 5), whole=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "stack",
    [
        [layers.ZeroPadding2D(((1, 2), (0, 3)))],
        [layers.ZeroPadding2D(2, data_format="channels_first"), layers.MaxPooling2D(2, data_format="channels_first")],
        [layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(7), layers.Reshape((7, 1))],
        [layers.Conv2D(4, 3), layers.Flatten(data_format="channels_first"), layers.Dense(3, use_bias=False)],
        [layers.Conv2D(4, 3), layers.Reshape((-1, 2)), layers.Dense(3), layers.Dropout(0.5)],
        [layers.Rescaling(2.0, -1), layers.MaxPooling2D(2), layers.Rescaling([1.0, 2, 3, 4, 5], 0)],
        [layers.Conv2D(4, 3), layers.RandomFlip(), layers.RandomZoom(0.1), layers.RandomRotation(0.1)],
        [layers.Dense(3), layers.RandomTranslation(0.1, 0.1), layers.MaxPooling2D(2), layers.Dense(2, "relu")],
        [layers.MaxPooling2D(2), layers.Conv2D(3, 2, data_format="channels_first"), layers.MaxPooling2D(2)],
    ],
    ids=lambda stack: " ".join(type(layer).__name__ for layer in stack),
)  # fmt: skip
def test_shapes(stack, tmp_path):
    expected, found = exported(stack, tmp_path, images(3, 8, 8, 5), whole=True)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", sorted(activations._TABLE))
def test_activations(name, tmp_path):
    """By a layer of its own between images that lie the other way round, and by a convolution's argument."""
    utils.set_random_seed(1)
    x = np.linspace(-8, 8, 4 * 5 * 6 * 3, dtype=np.float32).reshape(4, 5, 6, 3)
    for stack in (
        [layers.MaxPooling2D(1), layers.Activation(name), layers.MaxPooling2D(1)],
        [layers.Conv2D(2, 1, activation=name), layers.MaxPooling2D(1)],
    ):
        expected, found = exported(stack, tmp_path, x)
        # Some units of the last place of the largest input and output, where curves cross zero; exp has its own scale.
        rounding = 8 * np.finfo(np.float32).eps * max(8, np.abs(expected).max() if name != "exponential" else 8)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=rounding)


@pytest.mark.parametrize(
    "layer",
    [
        layers.ReLU(),
        layers.ReLU(max_value=2),
        layers.ReLU(negative_slope=0.3),
        layers.ReLU(negative_slope=0.3, threshold=1, max_value=3),
        layers.ReLU(threshold=1.5),
        layers.LeakyReLU(),
        layers.Softmax(),
        layers.Softmax(axis=1),
        layers.Softmax(axis=[1, 2]),
    ],
    ids=lambda layer: str({**layer.get_config(), "name": ""}),
)
def test_activation_layers(layer, tmp_path):
    expected, found = exported([layers.MaxPooling2D(2), layer], tmp_path, images(3, 8, 8, 5))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("options", [{}, {"center": False}, {"scale": False, "epsilon": 0.1}], ids=str)
def test_batch_normalization(axis, options, tmp_path):
    model = models.Sequential(
        [layers.Input((8, 6, 5)), layers.MaxPooling2D(1), layers.BatchNormalization(axis=axis, **options)]
    )
    rng = np.random.default_rng(2)
    for weight in model.weights:
        weight[...] = rng.uniform(0.5, 2, weight.shape)
    x = images(4, 8, 6, 5)
    model.export(tmp_path / "bn.onnx")
    np.testing.assert_allclose(run(tmp_path / "bn.onnx", x), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


def test_images_of_any_size(tmp_path):
    stack = [
        layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        layers.MaxPooling2D(2, padding="same"),
        layers.Conv2D(4, 3, dilation_rate=2, padding="same"),
        layers.Conv2DTranspose(3, 3, strides=2, padding="same"),
        layers.Reshape((-1, 3)),
        layers.Dense(2),
    ]
    model = models.Sequential([layers.Input((None, None, 2)), *stack])
    model.export(tmp_path / "any.onnx")
    for size in ((9, 12), (16, 7)):
        x = images(2, *size, 2)
        np.testing.assert_allclose(run(tmp_path / "any.onnx", x), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pads", [1, 2, 3])
@pytest.mark.parametrize("between", [[], [layers.Dropout(0.1)], [layers.Activation("linear")], [layers.Rescaling(1)]])
@pytest.mark.parametrize("stack", [[], [layers.Conv2D(2, 1)]], ids=["image", "behind conv"])
def test_padding_before_pooling_counts(stack, between, pads, tmp_path):
    """The zeros win over negative cells; ONNX Runtime's optimiser must not take them for the pooling's own padding."""
    for pooling in (layers.MaxPooling2D(3), layers.AveragePooling2D(2)):
        whole = [*stack, layers.ZeroPadding2D(pads), *between, pooling]
        expected, found = exported(whole, tmp_path, -1 - np.abs(images(3, 8, 8, 2)), whole=True)
        np.testing.assert_array_equal(found, expected)


def test_float64(tmp_path):
    """ONNX Runtime convolves float32 only; the reference implementation judges."""
    model = models.Sequential(
        [layers.Input((8, 8, 2)), layers.Conv2D(3, 3, dtype="float64"), layers.Flatten(), layers.Dense(4)]
    )
    path, x = tmp_path / "both.onnx", images(2, 8, 8, 2).astype(np.float64)
    model.export(path)
    (y,) = pytest.importorskip("onnx.reference").ReferenceEvaluator(str(path)).run(None, {"input": x})
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


def test_network(tmp_path):
    """LeNet-5 with all that trains it: the same classes for batches of any length."""
    model = models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(),
            layers.Conv2D(16, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(84, activation="gelu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.export(tmp_path / "lenet.onnx", verbose=True)
    for n in (1, 7):
        x = np.random.default_rng(n).uniform(0, 1, (n, 28, 28, 1)).astype(np.float32)
        np.testing.assert_allclose(run(tmp_path / "lenet.onnx", x), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_errors_leave_the_file(tmp_path):
    class Own(layers.Layer):
        def call(self, x, training=False):
            return x

    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    own = models.Sequential([layers.Input((4,)), layers.Dense(2), Own(name="mine")])
    with pytest.raises(ValueError, match=r"layer 'mine' \(Own\) has no ONNX form"):
        own.export(path)
    curve = models.Sequential([layers.Input((4,)), layers.Dense(2, activation=lambda z: z * 2, name="curved")])
    with pytest.raises(ValueError, match=r"layer 'curved' .activation <lambda>. has no ONNX form"):
        curve.export(path)
    with pytest.raises(ValueError, match="isn't built"):
        models.Sequential([layers.Dense(2)]).export(path)
    with pytest.raises(ValueError, match=r"must end in \.onnx"):
        models.Sequential([layers.Input((4,)), layers.Dense(2)]).export(tmp_path / "model.pb")
    with pytest.raises(ValueError, match=r"unknown format 'tf_saved_model'\. Known: onnx"):
        own.export(path, format="tf_saved_model")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_every_layer_of_the_package_has_a_form():
    from fastconv.models.onnx import _ACTIVATIONS, _WRITERS

    assert set(layers._TABLE.values()) - set(_WRITERS) == {layers.InputLayer}
    assert set(activations._TABLE.values()) == set(_ACTIVATIONS)
