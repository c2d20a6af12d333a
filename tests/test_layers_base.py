"""What all layers share: names, configs, weights, types, buffers, and that a failed call changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from layer_table import DTYPE, EVERY, KERNELS, LAYERS, WEIGHTS, batch, initializer, lists, make

from fastconv import _random, activations, initializers, layers, regularizers
from fastconv.layers import naming


@EVERY
def test_config_is_that_of_keras(kind: str) -> None:
    expected = {"name": "mine", "trainable": True, "dtype": DTYPE, **LAYERS[kind][3]}
    assert make(kind, name="mine").get_config() == expected


@EVERY
def test_config_round_trip_through_json(kind: str) -> None:
    layer = make(kind, name="mine", trainable=False, dtype="float64")
    layer(batch(kind, "float64"))
    again = type(layer).from_config(lists(layer.get_config()))
    assert again.get_config() == layer.get_config()
    assert (again.name, again.trainable, again.dtype) == ("mine", False, "float64")
    written = layers.serialize(layer)
    assert written["module"] == "keras.layers"
    assert written["class_name"] == kind
    assert lists(written["build_config"]) == {"input_shape": [None, *LAYERS[kind][1][1:]]}
    read = layers.deserialize(lists(written))
    assert type(read) is type(layer)
    assert read.get_config() == layer.get_config()


def test_config_round_trip_of_everything_that_can_be_set() -> None:
    layer = layers.Conv2D(
        4, (3, 2), strides=(2, 1), padding="SAME", data_format="channels_first", groups=2, activation="swish",
        use_bias=False, kernel_initializer=initializers.HeNormal(seed=3), bias_regularizer="l2",
        kernel_regularizer=regularizers.L1L2(0.1, 0.2),
    )  # fmt: skip
    config = layer.get_config()
    assert config["padding"] == "same"
    assert config["activation"] == "silu"
    assert config["kernel_initializer"] == initializer("HeNormal", seed=3, input_axes=None, output_axes=None)
    assert config["kernel_regularizer"]["config"] == {"l1": 0.1, "l2": 0.2}
    assert layers.Conv2D.from_config(lists(config)).get_config() == config
    assert layers.Conv2D(2, 1, dilation_rate=3).get_config()["dilation_rate"] == (3, 3)


@EVERY
def test_names_are_numbered_as_in_keras(kind: str) -> None:
    naming.reset_names()
    name = LAYERS[kind][2]
    assert [make(kind).name for _ in range(3)] == [name, f"{name}_1", f"{name}_2"]
    assert make(kind, name="other").name == "other"
    assert make(kind).name == f"{name}_3"
    assert repr(make(kind, name="n")) == f"<{kind} name=n, built=False>"


@EVERY
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_output_shape_and_type(kind: str, training: bool, dtype: str) -> None:
    layer = make(kind, dtype=dtype)
    x = batch(kind)
    expected = layer.compute_output_shape(x.shape)
    y = layer(x, training=training)
    assert y.shape == expected == layer.compute_output_shape(list(x.shape))
    assert y.dtype == dtype
    assert layer.built
    assert layer.input_shape == (None, *x.shape[1:])
    assert layer.output_shape == (None, *expected[1:])
    if training:
        grad = layer.backward(np.ones_like(y))
        assert grad.shape == x.shape
        assert grad.dtype == dtype


@EVERY
def test_unknown_sizes_stay_unknown(kind: str) -> None:
    layer = make(kind)
    shape = LAYERS[kind][1]
    known = layer.compute_output_shape(shape)
    unknown = layer.compute_output_shape((None, *shape[1:]))
    assert unknown == (None, *known[1:])


@EVERY
def test_input_of_other_float_type_and_layout_is_converted_not_changed(kind: str) -> None:
    layer = make(kind)
    x = batch(kind, "float64")
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]))
    wide[..., ::2] = x
    strided = wide[..., ::2]
    strided.flags.writeable = False
    y = layer(x)
    assert y.dtype == np.float32
    assert np.array_equal(layer(strided), y)
    assert np.array_equal(strided, x)
    assert np.array_equal(layer(x.astype(">f8")), y)
    assert np.array_equal(layer(x.tolist()), y)


@EVERY
def test_empty_batch(kind: str) -> None:
    layer = make(kind)
    x = batch(kind)[:0]
    y = layer(x, training=True)
    assert y.shape == layer.compute_output_shape(x.shape)
    assert layer.backward(y).shape == x.shape
    assert all(not grad.any() for grad in layer.grads)


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if not kind.startswith(("Rescaling", "Random"))])
def test_integers_are_refused_with_advice(kind: str) -> None:
    with pytest.raises(TypeError, match=r'must be float32 or float64, received int32.*x.astype\("float32"\)'):
        make(kind)(np.ones(LAYERS[kind][1], "int32"))


@EVERY
def test_backward_without_training_call(kind: str) -> None:
    layer = make(kind)
    grad = np.ones(layer.compute_output_shape(LAYERS[kind][1]), "float32")
    with pytest.raises(RuntimeError, match=r"backward needs the forward pass.*layer\(x, training=True\)"):
        layer.backward(grad)
    layer(batch(kind))
    with pytest.raises(RuntimeError, match="backward needs the forward pass"):
        layer.backward(grad)


@EVERY
def test_wrong_upstream_gradient_changes_nothing(kind: str) -> None:
    layer = make(kind)
    y = layer(batch(kind), training=True)
    right = layer.backward(np.ones_like(y))
    grads = [grad.copy() for grad in layer.grads]
    with pytest.raises(ValueError, match=r"grad_output must have the shape of the layer's last output.*Received"):
        layer.backward(np.ones((*y.shape, 1), "float32"))
    with pytest.raises(TypeError, match="grad_output must be float32 or float64"):
        layer.backward(np.ones(y.shape, "int64"))
    assert all(np.array_equal(a, b) for a, b in zip(grads, layer.grads, strict=True))
    assert np.array_equal(layer.backward(np.ones_like(y)), right)


@EVERY
def test_an_inference_call_in_between_does_not_disturb_backward(kind: str) -> None:
    layer = make(kind)
    y = layer(batch(kind), training=True)
    upstream = np.random.default_rng(3).normal(size=y.shape)
    grad = layer.backward(upstream).copy()
    layer(batch(kind, seed=5))
    assert np.array_equal(layer.backward(upstream), grad)


@EVERY
def test_no_input_gradient_where_it_is_needless(kind: str) -> None:
    layer = make(kind)
    y = layer(batch(kind), training=True)
    layer.backward(np.ones_like(y))
    grads = layer.grads
    layer._needs_input_grad = False
    if kind not in ("Flatten", "Reshape", "ZeroPadding2D"):  # a view costs nothing
        assert layer.backward(np.ones_like(y)) is None
    assert all(np.array_equal(a, b) for a, b in zip(grads, layer.grads, strict=True))


@EVERY
def test_reused_buffers_give_the_same_numbers_in_the_same_memory(kind: str) -> None:
    _random.set_seed(4)
    plain = make(kind)
    _random.set_seed(4)
    reusing = make(kind)
    reusing._reuse_buffers = threading.get_ident()
    places: list[set[int]] = []
    for step, size in enumerate((4, 4, 3, 4, 5)):
        x = np.random.default_rng(step).normal(size=(size, *LAYERS[kind][1][1:])).astype("float32")
        expected, y = plain(x, training=True), reusing(x, training=True)
        assert np.array_equal(y, expected)
        upstream = np.random.default_rng(step + 9).normal(size=y.shape).astype("float32")
        expected_grad, grad = plain.backward(upstream), reusing.backward(upstream)
        assert np.array_equal(grad, expected_grad)
        assert all(np.array_equal(a, b) for a, b in zip(plain.grads, reusing.grads, strict=True))
        places.append({buffer.ctypes.data for buffer in reusing._buffers.values()})
    assert places[0] == places[1] == places[2] == places[3]
    reusing(x)  # overwrites what backward would need
    with pytest.raises(RuntimeError, match="backward needs the forward pass"):
        reusing.backward(upstream)
    reusing._release_buffers()
    assert not reusing._buffers


@EVERY
def test_user_calls_never_share_memory(kind: str) -> None:
    layer = make(kind)
    x, other = batch(kind), batch(kind, seed=1)
    first = layer(x).copy()
    kept = layer(x)
    layer(other)
    assert np.array_equal(kept, first)


@EVERY
def test_weights_and_counts(kind: str) -> None:
    layer = make(kind)
    expected = WEIGHTS.get(kind, {})
    if not expected:
        assert layer.count_params() == 0
    layer(batch(kind))
    assert layer._weight_names == list(expected)
    assert [weight.shape for weight in layer.weights] == list(expected.values())
    assert layer.count_params() == sum(int(np.prod(shape)) for shape in expected.values())
    moving = sum(name.startswith("moving") for name in expected)
    kept = layer.weights[: len(expected) - moving]
    assert all(a is b for a, b in zip(kept, layer.trainable_weights, strict=True))
    assert len(layer.non_trainable_weights) == moving
    layer.trainable = False
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == len(expected)


@KERNELS
def test_get_and_set_weights(kind: str) -> None:
    layer = make(kind)
    x = batch(kind)
    layer(x)
    live = layer.weights
    copies = layer.get_weights()
    copies[0][...] = 7
    assert not (layer.weights[0] == 7).any()
    layer.set_weights(copies)
    assert layer.weights[0] is live[0]  # in place: optimisers hold these arrays
    assert (live[0] == 7).all()
    other = make(kind)
    other.build(x.shape)
    other.set_weights([weight.astype("float64") for weight in layer.get_weights()])
    assert np.array_equal(other(x), layer(x))
    layer.weights[0][...] = 0  # the live array
    assert not layer.kernel.any()


@KERNELS
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda w: w[:1], ValueError, r"with a weight list of length 1, but the layer was expecting 2 weights"),
        (lambda w: [w[0] + 1, w[1][:-1]], ValueError, r"weight shape \(\d,\) is not compatible with provided weight"),
        (lambda w: [w[0] + 1, w[1][None]], ValueError, "is not compatible with provided weight shape"),
        (lambda w: [w[0] + 1, w[1] * 1j], TypeError, r"weights\[1\] must hold numbers, received dtype complex"),
        (lambda w: None, ValueError, "takes a list of arrays, received NoneType"),
    ],
)
def test_set_weights_changes_all_or_nothing(kind: str, change, error: type[Exception], message: str) -> None:
    layer = make(kind)
    layer(batch(kind))
    before = layer.get_weights()
    with pytest.raises(error, match=message):
        layer.set_weights(change(layer.get_weights()))
    assert all(np.array_equal(a, b) for a, b in zip(before, layer.weights, strict=True))


def test_set_weights_and_count_params_before_build() -> None:
    with pytest.raises(ValueError, match=r"expecting 0 weights. A layer has no weights before it is built"):
        layers.Dense(3, name="d").set_weights([np.ones((2, 3)), np.ones(3)])
    with pytest.raises(ValueError, match=r"call `count_params` on layer 'd', but the layer isn't built.*layer.build"):
        layers.Dense(3, name="d").count_params()
    with pytest.raises(AttributeError, match="Layer 'd' has no output_shape yet"):
        _ = layers.Dense(3, name="d").output_shape
    assert not hasattr(layers.Dense(3), "kernel")


@KERNELS
def test_build_is_done_once_and_a_failed_first_call_leaves_the_layer_unbuilt(kind: str) -> None:
    layer = make(kind, bias_initializer=lambda shape, dtype=None: np.ones(5))
    for attempt in (lambda: layer(batch(kind)), lambda: layer.build(LAYERS[kind][1])):
        with pytest.raises(ValueError, match="for a weight's first values"):
            attempt()
        assert not layer.built
        assert layer.weights == []
    layer.bias_initializer = initializers.get("ones")
    layer.build(LAYERS[kind][1])
    weight = layer.weights[0]
    layer.build(LAYERS[kind][1])
    layer(batch(kind))
    assert layer.weights[0] is weight
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 4"):
        layer.build((None, *LAYERS[kind][1][1:-1], 5))


def test_a_failed_call_of_a_built_layer_keeps_backward_possible() -> None:
    layer = layers.Conv2D(2, 3, activation="relu")
    y = layer(np.ones((1, 5, 5, 1), "float32"), training=True)
    grad = layer.backward(np.ones_like(y))
    with pytest.raises(ValueError, match="Computed output size would be zero or negative"):
        layer(np.ones((1, 2, 2, 1), "float32"), training=True)
    assert np.array_equal(layer.backward(np.ones_like(y)), grad)


@KERNELS
def test_frozen_layer_passes_gradients_on(kind: str) -> None:
    layer = make(kind, trainable=False, kernel_regularizer="l2")
    y = layer(batch(kind), training=True)
    assert layer.backward(np.ones_like(y)).any()
    assert layer.grads == []
    assert layer.regularization_loss() == 0


@KERNELS
def test_regularizers_join_loss_and_gradient(kind: str) -> None:
    init = initializers.RandomNormal(seed=1)
    plain = make(kind, kernel_initializer=init, bias_initializer="ones")
    penalised = make(
        kind, kernel_initializer=init, bias_initializer="ones", kernel_regularizer=regularizers.L2(0.5),
        bias_regularizer=regularizers.L1(0.25),
    )  # fmt: skip
    for layer in (plain, penalised):
        layer.backward(np.ones_like(layer(batch(kind), training=True)))
    kernel, bias = plain.weights
    assert plain.regularization_loss() == 0
    assert penalised.regularization_loss() == pytest.approx(0.5 * np.square(kernel).sum() + 0.25 * bias.size)
    assert np.array_equal(penalised.grads[0], plain.grads[0] + kernel * np.float32(1.0))
    assert np.array_equal(penalised.grads[1], plain.grads[1] + np.float32(0.25))


@KERNELS
def test_global_seed_governs_first_weights(kind: str) -> None:
    def weights() -> list[np.ndarray]:
        layer = make(kind)
        layer(batch(kind))
        return layer.get_weights()

    _random.set_seed(5)
    first, second = weights(), weights()
    _random.set_seed(5)
    again = weights()
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], second[0])
    limit = np.sqrt(6 / sum(initializers.compute_fans(first[0].shape)))
    assert limit / 2 < np.abs(first[0]).max() <= limit
    assert not first[1].any()


@KERNELS
@pytest.mark.parametrize("activation", [None, "relu", "tanh", "silu"])
def test_activation_is_the_activation_of_the_linear_layer(kind: str, activation: str | None) -> None:
    init = initializers.RandomNormal(stddev=1.0, seed=1)
    linear = make(kind, kernel_initializer=init, bias_initializer="ones")
    active = make(kind, kernel_initializer=init, bias_initializer="ones", activation=activation)
    assert np.array_equal(active(batch(kind)), activations.get(activation)(linear(batch(kind))))


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
@pytest.mark.parametrize("build", [
    lambda name: layers.Dense(3, activation=name, kernel_initializer=initializers.RandomNormal(seed=1)),
    lambda name: layers.Activation(name),
    lambda name: layers.Softmax() if name == "softmax" else layers.Activation(name),
])  # fmt: skip
def test_a_loss_may_take_over_the_final_activation(name: str, build: Callable[[str], layers.Layer]) -> None:
    layer = build(name)
    assert layer.final_activation == name
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    y = layer(x, training=True)
    upstream = np.random.default_rng(1).normal(size=y.shape).astype("float32")
    grad = layer.backward(upstream)
    layer._emit_logits = threading.get_ident()
    logits = layer(x, training=True)
    activation = activations.get(name)
    assert np.array_equal(activation(logits), y)
    grad_logits = activations.gradient_of(activation).function(upstream, y)
    assert np.array_equal(layer.backward(grad_logits), grad)


def test_only_softmax_over_the_last_axis_is_taken_over() -> None:
    assert layers.Softmax(axis=1).final_activation is None
    assert layers.Dense(3, activation="relu").final_activation is None
    assert layers.Flatten().final_activation is None


def test_input_shape_argument() -> None:
    assert layers.Conv2D(3, 2, input_shape=(28, 28, 1))._input_shape_arg == (28, 28, 1)
    assert layers.Dense(3, input_dim=5)._input_shape_arg == (5,)
    assert layers.Dense(3)._input_shape_arg is None
    assert "input_shape" not in layers.Dense(3, input_shape=(5,)).get_config()


def test_custom_layer_and_custom_activation() -> None:
    class Scale(layers.Layer):
        def build(self, input_shape):
            self._factor = self.add_weight("factor", (), initializers.Constant(3.0), regularizers.L2(1.0))

        def call(self, x, training=False):
            self._keep(training, x.shape, x)
            return x * self._factor

        def backward(self, grad_output):
            grad_output, x = self._recall(grad_output)
            self._set_grads([np.array((grad_output * x).sum(), x.dtype)])
            return grad_output * self._factor

    layer = Scale()
    assert layer.name.startswith("scale")
    y = layer(np.full((2, 2), 2.0), training=True)
    assert (y == 6).all()
    assert (layer.backward(np.ones((2, 2))) == 3).all()
    assert layer.grads[0] == 8 + 2 * 3
    assert layer.count_params() == 1
    again = layers.deserialize(layers.serialize(layer), custom_objects={"Scale": Scale})
    assert type(again) is Scale

    def cube(x):
        return x**3

    dense = layers.Dense(2, activation=cube)
    dense(np.ones((1, 2), "float32"))
    with pytest.raises(ValueError, match="Activation cube has no gradient"):
        dense(np.ones((1, 2), "float32"), training=True)
    cube.gradient = lambda grad_output, x: 3 * x * x * grad_output
    y = dense(np.ones((1, 2), "float32"), training=True)
    assert dense.backward(np.ones_like(y)).shape == (1, 2)
    with pytest.raises(ValueError, match="cannot be serialized"):
        dense.get_config()


@pytest.mark.parametrize(
    ("make_layer", "error", "message"),
    [
        (lambda: layers.Dense(3, foo=1), ValueError, r"Unrecognized keyword arguments passed to Dense: \{'foo': 1\}"),
        (lambda: layers.Dense(3, name="a/b"), ValueError, "`name` must be a string and cannot contain character `/`"),
        (lambda: layers.Dense(3, name=4), ValueError, "`name` must be a string"),
        (lambda: layers.Dense(3, dtype="float16"), ValueError, "dtype must be 'float32' or 'float64'.*'float16'"),
        (lambda: layers.Dense(3, dtype="foo"), ValueError, "dtype must be 'float32' or 'float64'"),
        (lambda: layers.Dense(3, input_shape="abc"), ValueError, "input_shape must be a tuple of ints and None"),
        (lambda: layers.Dense(3, input_shape=(-2,)), ValueError, "must not hold negative sizes"),
        (lambda: layers.Dense(3, kernel_constraint="max_norm"), ValueError, "`kernel_constraint` is not supported"),
        (lambda: layers.Conv2D(3, 2, activity_regularizer="l2"), ValueError, "`activity_regularizer` is not supported"),
        (lambda: layers.Dense(3, lora_rank=2), ValueError, "Dense: `lora_rank` is not supported"),
        (lambda: layers.Dense(3, activation="foo"), ValueError, "Could not interpret activation function identifier"),
        (lambda: layers.Dense(3, kernel_initializer="foo"), ValueError, "Could not interpret initializer identifier"),
        (lambda: layers.Dense(3, kernel_regularizer="foo"), ValueError, "Could not interpret regularizer identifier"),
        (lambda: layers.Dense(3)(layers.Input((4,))), TypeError, r"no functional API: put the layers into.*Sequential"),
        (lambda: layers.Dense(3)("hello"), TypeError, "x must be float32 or float64"),
        (lambda: layers.deserialize({"class_name": "Lambda", "config": {}}), ValueError, "Could not interpret layer"),
        (lambda: layers.deserialize({"class_name": "Dense", "config": [1]}), ValueError, "Could not interpret layer"),
        (lambda: layers.Dense(3).build((None, None)), ValueError, "cannot be built: axis -1 of the input shape must"),
    ],
)
def test_errors(make_layer: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_layer()


def test_large_weights_start_on_a_cache_line():
    """Vectors across two lines are read in twice the time: dense layers of one image take 1.1 to 1.3 times as long."""
    for units in (100, 101, 128):
        layer = layers.Dense(units)
        layer.build((None, 700))
        assert layer.kernel.ctypes.data % 64 == 0
        assert layer.kernel.flags.c_contiguous and layer.kernel.flags.writeable
