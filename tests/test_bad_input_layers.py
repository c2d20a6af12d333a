"""Wrong calls of every layer, activation, initialiser and regulariser. Each line: the call, the error, its words."""

from __future__ import annotations

import inspect
from typing import Any

import bad_input
import numpy as np
import pytest
from layer_table import LAYERS, batch, make

import fastconv as fc
from fastconv import activations, initializers, layers, regularizers

V, T = ValueError, TypeError

# Arguments that any layer with a parameter of this name refuses. {layer} is the class; the call is made with the other
# arguments of `layer_table`.
ARGUMENTS: list[tuple[str, str, type[Exception], str]] = [
    ("filters", "0", V, "`filters`.*strictly positive.*filters=0"),
    ("filters", "-3", V, "`filters`.*filters=-3"),
    ("filters", "2.5", V, "`filters`.*filters=2.5"),
    ("filters", "'6'", V, "`filters`.*filters='6'"),
    ("filters", "True", V, "`filters`.*filters=True"),
    ("filters", "None", V, "`filters`.*filters=None"),
    ("units", "0", V, "`units`.*strictly positive.*units=0"),
    ("units", "-1", V, "`units`.*units=-1"),
    ("units", "3.0", V, "`units`.*units=3.0"),
    ("units", "(3,)", V, r"`units`.*units=\(3,\)"),
    ("depth_multiplier", "0", V, "depth_multiplier"),
    ("depth_multiplier", "1.5", V, "depth_multiplier"),
    ("groups", "0", V, "`groups`.*groups=0"),
    ("groups", "2.0", V, "`groups`.*groups=2.0"),
    ("kernel_size", "0", V, "{layer}: kernel_size must be at least 1"),
    ("kernel_size", "(3, 3, 3)", V, r"{layer}: kernel_size must be an int or a pair"),
    ("kernel_size", "2.0", T, "{layer}: kernel_size must be an integer"),
    ("kernel_size", "None", T, "{layer}: kernel_size must be an integer"),
    ("pool_size", "0", V, "{layer}: pool_size must be at least 1"),
    ("pool_size", "'2'", T, "{layer}: pool_size must be an integer"),
    ("strides", "0", V, "{layer}: strides must be at least 1"),
    ("strides", "(1, 2, 3)", V, "{layer}: strides must be an int or a pair"),
    ("strides", "1.5", T, "{layer}: strides must be an integer"),
    ("strides", "2**64", V, "{layer}: strides .*64 bits"),
    ("dilation_rate", "0", V, "{layer}: dilation_rate must be at least 1"),
    ("dilation_rate", "'1'", T, "{layer}: dilation_rate must be an integer"),
    ("padding", "'full'", V, "{layer}: padding must be .*'full'"),
    ("padding", "None", (V, T), "{layer}: padding must be"),
    (
        "data_format",
        "'NCHW'",
        V,
        "{layer}: data_format must be one of 'channels_last', 'channels_first', received 'NCHW'",
    ),
    ("data_format", "1", V, "{layer}: data_format must be one of"),
    ("activation", "'rleu'", V, "Could not interpret activation.* identifier: 'rleu'. Known: .*relu"),
    ("activation", "5", V, "Could not interpret activation.* identifier: 5"),
    ("kernel_initializer", "'nonsense'", V, "Could not interpret initializer identifier: 'nonsense'. Known: "),
    ("depthwise_initializer", "'nonsense'", V, "Could not interpret initializer identifier: 'nonsense'"),
    ("bias_initializer", "3", V, "Could not interpret initializer identifier: 3"),
    ("kernel_regularizer", "'l9'", V, "Could not interpret regularizer identifier: 'l9'. Known: "),
    ("bias_regularizer", "{'class_name': 'os.system'}", V, "Could not interpret regularizer identifier"),
    ("kernel_constraint", "'max_norm'", V, "`kernel_constraint` is not supported"),
    ("beta_constraint", "'max_norm'", V, "`beta_constraint` is not supported"),
    ("lora_rank", "4", V, "`lora_rank` is not supported"),
    ("rate", "-0.1", V, "rate.*-0.1"),
    ("rate", "1.5", V, "rate.*1.5"),
    ("rate", "'half'", V, "rate.*'half'"),
    ("rate", "np.nan", V, "rate.*nan"),
    ("seed", "-1", V, "`seed` must be a non-negative integer or None. Received: seed=-1"),
    ("seed", "1.5", V, "`seed` must be a non-negative integer or None. Received: seed=1.5"),
    ("noise_shape", "5", (V, T), "noise_shape"),
    ("momentum", "'a'", (V, T), "momentum"),
    ("momentum", "1.5", V, "momentum"),
    ("epsilon", "'a'", (V, T), "epsilon"),
    ("epsilon", "-1", V, "epsilon"),
    ("axis", "0.5", (V, T), "axis must be an integer"),
    ("renorm", "True", V, "`renorm` is not supported"),
    ("synchronized", "True", V, "`synchronized` is not supported"),
    ("max_value", "-1", V, "max_value"),
    ("max_value", "'a'", V, "max_value"),
    ("negative_slope", "-1", V, "negative_slope"),
    ("negative_slope", "None", V, "negative_slope"),
    ("threshold", "-1", V, "threshold"),
    ("threshold", "'a'", V, "threshold"),
    ("target_shape", "5", V, "Reshape: `target_shape` must be a tuple of ints, received 5"),
    ("target_shape", "(-1, -1)", V, "at most one unknown dimension"),
    ("target_shape", "(-2, 3)", V, "non-negative integer, or `-1`"),
    ("target_shape", "(2.0, 3)", T, "Reshape: target_shape must be an integer"),
    ("fill_mode", "'mirror'", V, "fill_mode.*'mirror'"),
    ("interpolation", "'cubic'", V, "interpolation.*'cubic'"),
    ("fill_value", "'white'", (V, T), "fill_value"),
    ("factor", "2", V, r"`factor` argument should be a number .*factor=2"),
    ("factor", "'a'", V, "`factor` argument should be a number"),
    ("height_factor", "(1, 2, 3)", V, "`height_factor` argument should be"),
    ("height_factor", "np.nan", V, "`height_factor` argument should be"),
    ("width_factor", "1.5", V, "`width_factor` argument should be"),
    ("mode", "'diagonal'", V, "mode.*'diagonal'"),
    ("scale", "'big'", (V, T), "scale"),
    ("offset", "object()", (V, T), "offset"),
    ("output_padding", "(5, 5)", V, "`output_padding` must be strictly less than `strides`"),
    ("output_padding", "'a'", T, "output_padding must be an integer"),
    # of every layer
    ("name", "5", V, "`name` must be a string and cannot contain character `/`. Received: name=5"),
    ("name", "'a/b'", V, "cannot contain character `/`"),
    ("dtype", "'int32'", V, "{layer}: dtype must be 'float32' or 'float64'. Received: dtype='int32'"),
    ("dtype", "'float16'", V, "{layer}: dtype must be"),
    ("dtype", "object()", V, "{layer}: dtype must be"),
    ("dtype", "{'config': 5}", V, "{layer}: dtype must be"),
    ("input_shape", "5", V, "{layer}: input_shape must be a tuple of ints and None, received 5"),
    ("input_shape", "'28'", V, "{layer}: input_shape must be a tuple"),
    ("input_shape", "{'h': 28}", V, "{layer}: input_shape must be a tuple"),
    ("input_shape", "(28, -1)", V, "{layer}: input_shape must not hold negative sizes"),
    ("input_shape", "(28.0,)", T, "{layer}: input_shape must be an integer"),
    ("input_shape", "(2**64,)", V, "beyond 64 bits"),
    ("activity_regularizer", "'l2'", V, "`activity_regularizer` is not supported"),
    ("surprise", "1", V, "Unrecognized keyword arguments passed to {layer}: .*surprise"),
]

# What each class is made with when one argument is wrong.
MAKE: dict[str, dict[str, str]] = {
    "Conv2D": {"filters": "3", "kernel_size": "2"},
    "DepthwiseConv2D": {"kernel_size": "2"},
    "SeparableConv2D": {"filters": "3", "kernel_size": "2"},
    "Conv2DTranspose": {"filters": "3", "kernel_size": "2"},
    "Dense": {"units": "3"},
    "Reshape": {"target_shape": "(4, -1)"},
    "Dropout": {"rate": "0.5"},
    "Activation": {"activation": "'relu'"},
    "RandomTranslation": {"height_factor": "0.1", "width_factor": "0.1"},
    "RandomRotation": {"factor": "0.1"},
    "RandomZoom": {"height_factor": "0.1"},
    "Rescaling": {"scale": "2.0"},
}


def _argument_cases() -> list[bad_input.Case]:
    cases = []
    for kind in LAYERS:
        takes = set(inspect.signature(getattr(layers, kind)).parameters)
        takes |= {"name", "dtype", "input_shape", "activity_regularizer", "surprise"}
        for argument, value, error, pattern in ARGUMENTS:
            if argument in takes and (kind, argument) not in EXCEPTIONS:
                given = {**MAKE.get(kind, {}), argument: value}
                text = ", ".join(f"{name}={word}" for name, word in given.items())
                cases.append((f"layers.{kind}({text})", error, pattern.replace("{layer}", kind)))
    return cases


# (layer, argument) → these mean something else there.
EXCEPTIONS = {
    ("ZeroPadding2D", "padding"), ("BatchNormalization", "scale"), ("Rescaling", "input_shape_"),
    ("LeakyReLU", "threshold"),
}  # fmt: skip

OTHERS: list[bad_input.Case] = [
    ("layers.ZeroPadding2D(-1)", V, "ZeroPadding2D: padding must be at least 0"),
    ("layers.ZeroPadding2D('same')", (V, T), "ZeroPadding2D: "),
    (
        "layers.Conv2D(3, 2, strides=2, dilation_rate=2)",
        V,
        "`strides > 1` not supported in conjunction with `dilation_rate > 1`",
    ),
    ("layers.Conv2D(3, 2, groups=2)", V, "evenly divisible by the number of groups"),
    ("layers.Conv2DTranspose(3, 2, strides=2, dilation_rate=2)", V, "`strides > 1` not supported"),
    ("layers.Softmax(axis=[])", V, "at least one axis"),
    ("layers.Softmax(axis='last')", T, "axis must be an integer"),
    ("layers.Layer(sparse=True)", V, "Unrecognized keyword arguments passed to Layer"),
    ("layers.Layer()(X)", NotImplementedError, "Layer has no call"),
    ("layers.Input()", V, "shape"),
    ("layers.Input(5)", V, "shape must be a tuple of ints and None, received 5"),
    ("layers.Input((28, -1))", V, "negative"),
    ("layers.Input((28,), batch_shape=(None, 28))", V, "shape"),
    ("layers.Input((28,), batch_size='3')", (V, T), "batch_size"),
    ("layers.Input((28,), sparse=True)", V, "sparse"),
    ("layers.Input((28,), dtype='text')", V, "dtype"),
    # calls
    (
        "conv(X[0])",
        V,
        r"Input 0 of layer 'c' is incompatible with the layer: expected min_ndim=4, found ndim=3.*x\[None\]",
    ),
    ("conv(X[..., :3])", V, "expected axis -1 of input shape to have value 4, but received input with shape"),
    ("conv(X.astype('int32'))", T, r"Layer 'c': x must be float32 or float64, received int32.*x\.astype"),
    ("conv(None)", T, "Layer 'c': x must be"),
    ("conv(layers.Dense(3))", T, "takes arrays, received .*Sequential"),
    ("conv(X[:, :1])", V, "Computed output size would be zero or negative.*inputs.shape=\\(2, 1, 5, 4\\)"),
    ("conv.backward(X)", V, "grad_output must have the shape of the layer's last output"),
    ("conv.backward(None)", T, "grad_output must be"),
    ("fresh.backward(X)", RuntimeError, r"Call layer\(x, training=True\) first"),
    ("fresh.count_params()", V, "isn't built"),
    ("fresh.kernel", AttributeError, "no kernel yet"),
    ("fresh.input_shape", AttributeError, "no input_shape yet"),
    ("fresh.set_weights([X])", V, r"A layer has no weights before it is built: layer\.build"),
    ("fresh.build(5)", V, "input_shape must be a tuple"),
    ("fresh.build((None, 6, 5, None))", V, "axis -1 of the input shape must be known"),
    ("fresh.build((None, 6, 5, 2**62))", (V, MemoryError), "."),
    ("fresh.compute_output_shape((1, 2, 3))", V, "expected min_ndim=4"),
    ("fresh.compute_output_shape(5)", (V, T), "."),
    ("conv.set_weights([])", V, "weight list of length 0, but the layer was expecting 2"),
    ("conv.set_weights([X, X])", V, "is not compatible with provided weight shape"),
    ("conv.set_weights(5)", V, "takes a list of arrays, received int"),
    ("conv.set_weights([conv.kernel, ['a', 'b', 'c']])", T, r"weights\[1\] must hold numbers"),
    ("conv.set_weights([conv.kernel, None])", T, r"weights\[1\] must"),
    ("layers.Conv2D.from_config({'filters': 3})", (V, T), "kernel_size"),
    ("layers.Conv2D.from_config({'filters': 3, 'kernel_size': 2, 'odd': 1})", V, "odd"),
    ("layers.Conv2D.from_config(5)", (V, T), "."),
    ("layers.deserialize(5)", V, "Could not interpret layer identifier: 5"),
    (
        "layers.deserialize({'class_name': 'Lambda', 'config': {}})",
        V,
        "Could not interpret layer identifier.*Lambda.*Known",
    ),
    ("layers.deserialize({'class_name': 'Conv2D', 'config': 5})", V, "Could not interpret layer identifier"),
    ("layers.deserialize({'class_name': ['Conv2D'], 'config': {}})", V, "Could not interpret layer identifier"),
    ("layers.serialize(5)", (V, T), "."),
    ("layers.Dense(3)(np.float32(1))", V, "expected min_ndim=2, found ndim=0"),
    ("layers.Dense(3)(X[0, 0, 0])", V, "expected min_ndim=2, found ndim=1"),
    ("layers.Reshape((7, 7))(X)", V, "total size of the tensor must be unchanged"),
    ("layers.BatchNormalization(axis=7)(X)", V, "Axis 7 is out of bounds"),
    ("layers.Softmax(axis=9)(X)", V, "axis"),
    ("layers.MaxPooling2D(9)(X)", V, "Computed output size would be zero or negative"),
    ("layers.AveragePooling2D(2)(X[0])", V, "expected ndim=4"),
    ("layers.GlobalMaxPooling2D()(X[0])", V, "expected ndim=4"),
    ("layers.GlobalMaxPooling2D()(X[:, :0])", V, "."),
    ("layers.Dropout(0.5, noise_shape=(3, 1))(X, training=True)", V, "noise_shape"),
    ("layers.RandomFlip()(X[0, 0])", V, "ndim"),
    ("layers.Rescaling(np.ones(7))(X)", V, "must broadcast to the input"),
    ("layers.Activation(lambda x: x)(X, training=True)", V, "has no gradient"),
    ("layers.Dense(3, activation=lambda x: x[:1])(X)", V, "shape"),
    ("layers.Activation(broken)(X)", V, "user's own has failed"),
    # activations
    ("activations.get('rleu')", V, "Could not interpret activation.* identifier: 'rleu'. Known: "),
    ("activations.get(5)", V, "identifier: 5"),
    ("activations.deserialize({'class_name': 'eval'})", V, "identifier"),
    ("activations.serialize(lambda x: x)", V, "."),
    ("activations.gradient_of(len)", V, "has no gradient, so a layer that uses it cannot be trained"),
    ("activations.relu('a')", T, "must be"),
    ("activations.softmax(X, axis=9)", V, "axis"),
    ("activations.softmax(X, axis='a')", T, "axis must be an integer"),
    ("activations.log_softmax(X, axis=9)", V, "axis"),
    # initialisers
    ("initializers.get('nonsense')", V, "Could not interpret initializer identifier: 'nonsense'. Known: "),
    ("initializers.get({'class_name': '__import__'})", V, "identifier"),
    ("initializers.serialize(len)", V, "cannot be serialized"),
    ("initializers.VarianceScaling(scale=0)", V, "scale"),
    ("initializers.VarianceScaling(mode='fan')", V, "mode"),
    ("initializers.VarianceScaling(distribution='cauchy')", V, "distribution"),
    ("initializers.GlorotUniform(seed=-1)", V, "seed"),
    ("initializers.GlorotUniform(seed='a')", V, "seed"),
    ("initializers.RandomNormal(stddev=-1)((2, 2))", V, "stddev"),
    ("initializers.RandomNormal(mean='a')((2, 2))", (V, T), "mean"),
    ("initializers.RandomUniform('a', 1)((2, 2))", (V, T), "minval"),
    ("initializers.TruncatedNormal(stddev=-1)((2, 2))", V, "stddev"),
    ("initializers.Constant('a')((2, 2))", (V, T), "value"),
    ("initializers.Identity()((2, 2, 2))", V, "rank 3"),
    ("initializers.Orthogonal()((2,))", V, "rank 1"),
    ("initializers.Orthogonal(gain='a')((2, 2))", (V, T), "gain"),
    ("layers.Dense(3, kernel_initializer=lambda shape, dtype: np.zeros((1, 1)))(X)", V, "Expected `shape` to be"),
    # regularisers
    ("regularizers.get('l9')", V, "Could not interpret regularizer identifier: 'l9'. Known: "),
    ("regularizers.get(5)", V, "identifier: 5"),
    ("regularizers.serialize(len)", V, "cannot be serialized"),
    ("regularizers.L2(-1)", V, "l2"),
    ("regularizers.L2('a')", (V, T), "l2"),
    ("regularizers.L1(np.nan)", V, "l1"),
    ("regularizers.L1L2(0, np.inf)", V, "l2"),
    ("layers.Dense(3, kernel_regularizer=5)", V, "identifier: 5"),
]

CASES = [*_argument_cases(), *OTHERS]


def broken(x: np.ndarray) -> np.ndarray:
    raise ValueError("an activation of the user's own has failed")


def names() -> dict[str, Any]:
    """Built and unbuilt layers; the built one holds what a training step leaves behind."""
    fc.utils.set_random_seed(1)
    x = batch("Conv2D")
    conv = layers.Conv2D(3, 2, name="c", activation="relu", kernel_regularizer="l2")
    conv.backward(np.ones_like(conv(x, training=True)))
    return {
        "layers": layers, "activations": activations, "initializers": initializers, "regularizers": regularizers,
        "np": np, "X": x, "conv": conv, "fresh": layers.Conv2D(3, 2, name="f"), "broken": broken,
    }  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
def test_wrong_arguments(kind):
    given = names()
    tried = [case for case in _argument_cases() if case[0].startswith(f"layers.{kind}(")]
    assert len(tried) >= 10
    for case in tried:
        bad_input.check(case, given)


@pytest.mark.parametrize("case", OTHERS, ids=[call for call, _, _ in OTHERS])
def test_wrong_calls(case):
    bad_input.check(case, names())


@pytest.mark.parametrize("kind", LAYERS)
def test_a_failed_step_leaves_the_layer_as_it_was(kind):
    x = batch(kind)
    layer = make(kind)
    y = layer(x, training=True)
    layer.backward(np.ones_like(y))
    given = {"layer": layer, "x": x, "y": y, "np": np}
    rank = x.ndim
    cases: list[bad_input.Case] = [
        ("layer(x.astype('complex64'), training=True)", T, "x must"),
        ("layer('image')", T, "x must"),
        ("layer(None, training=True)", T, "x must"),
        ("layer.backward(y[:1])", V, "grad_output must have the shape"),
        ("layer.backward(y.astype('complex64'))", T, "grad_output must be float32 or float64"),
        ("layer.set_weights([y] * 9)", V, "weight list of length 9"),
        ("layer.set_weights('abc')", V, "takes a list of arrays"),
    ]
    if rank == 4 and kind not in ("Activation", "BatchNormalization", "Flatten"):
        cases.append(("layer(x[0, 0], training=True)", V, "ndim"))
    for case in cases:
        bad_input.check(case, given)


def test_every_class_has_wrong_calls():
    for module in (layers, initializers, regularizers):
        classes = {
            name
            for name in dir(module)
            if inspect.isclass(getattr(module, name)) and getattr(module, name).__module__.startswith("fastconv")
            and getattr(module, name).__name__ == name and not name.startswith("_")
        }  # fmt: skip
        # bases, and those that take nothing
        classes -= {"Initializer", "RandomInitializer", "Regularizer", "Zeros", "Ones", "InputLayer"}
        classes -= {"GlorotNormal", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform"}  # as GlorotUniform
        assert [name for name in sorted(classes) if not bad_input.spoken_for(CASES, name)] == []
    assert len(CASES) > 500
