"""Record what the layers of real Keras give: ``python tests/record_keras_layers.py`` writes data/keras_layers.npz.

Needs keras and jax, and is no test: ``test_layers_keras`` replays the file without them. For every case the file holds
the layer's config as Keras writes it, an input, the weights, the output in training, an upstream gradient, the
gradients that jax finds for it, the weights afterwards, and the output outside training; for augmentation also the
random numbers that Keras drew. All is float64, and the inputs are eighths, so that the file packs well.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_ENABLE_X64", "1")

import numpy as np

FILE = Path(__file__).parent / "data" / "keras_layers.npz"
IMAGES, FIRST = (2, 6, 5, 3), (2, 3, 6, 5)
ROWS = (3, 7)

# (class, arguments, shape of the input)
CASES: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("Conv2D", {"filters": 2, "kernel_size": 3}, IMAGES),
    ("Conv2D", {"filters": 4, "kernel_size": (3, 2), "strides": (2, 1), "padding": "same"}, (2, 6, 5, 2)),
    ("Conv2D", {"filters": 4, "kernel_size": 2, "dilation_rate": 2, "groups": 2, "use_bias": False}, (2, 6, 5, 4)),
    ("Conv2D", {"filters": 2, "kernel_size": 3, "padding": "same", "activation": "tanh"}, (1, 4, 5, 2)),
    ("DepthwiseConv2D", {"kernel_size": 3}, IMAGES),
    ("DepthwiseConv2D", {"kernel_size": (3, 2), "strides": 2, "padding": "same", "depth_multiplier": 2}, IMAGES),
    ("DepthwiseConv2D", {"kernel_size": 2, "dilation_rate": 2, "use_bias": False, "activation": "relu"}, IMAGES),
    ("SeparableConv2D", {"filters": 4, "kernel_size": 3}, IMAGES),
    ("SeparableConv2D", {
        "filters": 2, "kernel_size": (2, 3), "strides": 2, "padding": "same", "depth_multiplier": 2,
        "activation": "relu", "use_bias": False,
    }, IMAGES),
    ("SeparableConv2D", {"filters": 2, "kernel_size": 2, "dilation_rate": (2, 1), "activation": "elu"}, (1, 5, 4, 2)),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": 3}, (2, 3, 4, 3)),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": 2, "strides": 3}, (2, 3, 2, 3)),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}, (2, 3, 4, 3)),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": (4, 1), "strides": (3, 2), "padding": "same"}, (2, 3, 4, 3)),
    ("Conv2DTranspose", {
        "filters": 2, "kernel_size": (3, 4), "strides": 3, "padding": "same", "output_padding": (2, 0),
    }, (1, 3, 4, 3)),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": (1, 5), "strides": 2, "padding": "same", "output_padding": 1},
     (1, 3, 4, 2)),
    ("Conv2DTranspose", {
        "filters": 2, "kernel_size": (3, 2), "strides": (2, 3), "output_padding": (1, 2), "use_bias": False,
        "activation": "relu",
    }, (1, 3, 4, 3)),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": (3, 2), "dilation_rate": (2, 1), "padding": "same"},
     (2, 3, 4, 2)),
    ("Dense", {"units": 4}, ROWS),
    ("Dense", {"units": 3, "activation": "softmax", "use_bias": False}, (2, 3, 4)),
    ("MaxPooling2D", {}, IMAGES),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, IMAGES),
    ("AveragePooling2D", {"pool_size": (2, 3)}, IMAGES),
    ("AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, IMAGES),
    ("GlobalMaxPooling2D", {}, IMAGES),
    ("GlobalMaxPooling2D", {"data_format": "channels_first", "keepdims": True}, FIRST),
    ("GlobalAveragePooling2D", {"keepdims": True}, IMAGES),
    ("GlobalAveragePooling2D", {"data_format": "channels_first"}, FIRST),
    ("Flatten", {}, IMAGES),
    ("Flatten", {"data_format": "channels_first"}, FIRST),
    ("Reshape", {"target_shape": (5, -1)}, IMAGES),
    ("ZeroPadding2D", {"padding": ((1, 2), (0, 3))}, (1, 3, 4, 2)),
    ("ZeroPadding2D", {"padding": (1, 2), "data_format": "channels_first"}, (1, 2, 3, 4)),
    *(("Activation", {"activation": name}, ROWS) for name in (
        "elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "relu", "relu6", "selu", "sigmoid",
        "silu", "softmax", "softplus", "softsign", "tanh",
    )),
    ("ReLU", {}, ROWS),
    ("ReLU", {"max_value": 1.5, "negative_slope": 0.25, "threshold": 0.5}, ROWS),
    ("LeakyReLU", {"negative_slope": 0.25}, ROWS),
    ("Softmax", {}, ROWS),
    ("Softmax", {"axis": 1}, (2, 3, 4)),
    ("Rescaling", {"scale": 0.25, "offset": -1.0}, ROWS),
    ("BatchNormalization", {}, IMAGES),
    ("BatchNormalization", {"axis": 1, "momentum": 0.75, "epsilon": 0.125}, FIRST),
    ("BatchNormalization", {"center": False}, (5, 3)),
    ("BatchNormalization", {"scale": False, "momentum": 0.5}, (4, 3, 2)),
    ("BatchNormalization", {"trainable": False}, IMAGES),
    ("BatchNormalization", {
        "gamma_initializer": "uniform", "beta_initializer": {"class_name": "Constant", "config": {"value": 2.0}},
        "moving_mean_initializer": "ones", "gamma_regularizer": "l2",
    }, (4, 3)),
    *(("RandomTranslation", {
        "height_factor": 0.6, "width_factor": (-0.3, 0.9), "fill_mode": mode, "interpolation": interpolation,
        "fill_value": 0.5,
    }, (3, 5, 4, 1)) for mode in ("reflect", "wrap", "constant", "nearest") for interpolation in (
        "bilinear", "nearest")),
    *(("RandomRotation", {"factor": 0.3, "fill_mode": mode}, (3, 5, 4, 1)) for mode in (
        "reflect", "wrap", "constant", "nearest")),
    ("RandomRotation", {"factor": (0.05, 0.2), "interpolation": "nearest", "fill_mode": "constant"}, (2, 4, 5, 2)),
    ("RandomRotation", {"factor": 0.2}, (2, 4, 5, 2)),
    ("RandomZoom", {"height_factor": 0.5}, (3, 5, 4, 1)),
    ("RandomZoom", {"height_factor": (0.3, 0.9), "width_factor": (-0.6, -0.2), "fill_mode": "constant"}, (3, 5, 4, 1)),
    ("RandomZoom", {"height_factor": 1.0, "width_factor": 0.8, "fill_mode": "wrap", "interpolation": "nearest"},
     (3, 5, 4, 1)),
    *(("RandomFlip", {"mode": mode}, (6, 2, 3, 1)) for mode in ("horizontal", "vertical", "horizontal_and_vertical")),
    ("RandomFlip", {"data_format": "channels_first"}, (6, 1, 2, 3)),
]  # fmt: skip
# With jax, Keras's own type rules bring float64 down to float32 in these layers (and in tanh), and where augmentation
# looks is computed in float32 anyway.
COMPUTED_IN_FLOAT32 = ("BatchNormalization", "GlobalAveragePooling2D")
DRAWN = ("translations", "angle", "height_zoom", "width_zoom", "flips")


def eighths(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Signed multiples of 1/8, each number once, none of them at a corner of an activation: no tie in a maximum."""
    count = int(np.prod(shape))
    return ((rng.permutation(count) - count // 2).reshape(shape) + 0.375) / 8


def record(kind: str, arguments: dict[str, Any], shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the case's description, its arrays by name) as Keras computes them."""
    import jax
    import keras

    rng = np.random.default_rng(zlib.crc32(json.dumps([kind, arguments, shape]).encode()))
    layer = getattr(keras.layers, kind)(dtype="float64", name="layer", **arguments)
    layer.build((None, *shape[1:]))
    x = eighths(rng, shape)
    weights = [eighths(rng, tuple(weight.shape)) for weight in layer.weights]
    if kind == "BatchNormalization":
        weights[-1] = np.abs(weights[-1]) + 0.5  # the moving variance
    layer.set_weights(weights)
    inference = layer(x, training=False)
    arrays: dict[str, Any] = {"x": x, "inference": inference}
    arrays |= {f"weight{i}": weight for i, weight in enumerate(weights)}

    if kind.startswith("Random"):
        drawn = layer.get_random_transformation(x, training=True)
        arrays |= {name: drawn[name] for name in DRAWN if name in drawn}

        def run(trainable: Any, x: Any) -> Any:
            return layer.transform_images(x, drawn, training=True), []
    else:
        states = [variable.value for variable in layer.non_trainable_variables]

        def run(trainable: Any, x: Any) -> Any:
            training = {"training": True} if kind == "BatchNormalization" else {}
            return layer.stateless_call(trainable, states, x, **training)

    trainable = [variable.value for variable in layer.trainable_variables]
    y, pull, after = jax.vjp(run, trainable, jax.numpy.asarray(x), has_aux=True)
    upstream = eighths(rng, y.shape)
    grads, grad_input = pull(jax.numpy.asarray(upstream, y.dtype))
    arrays |= {"y": y, "upstream": upstream, "grad_input": grad_input}
    arrays |= {f"grad{i}": grad for i, grad in enumerate(grads)}
    arrays |= {f"after{i}": state for i, state in enumerate(after)}
    single = kind in COMPUTED_IN_FLOAT32 or kind.startswith("Random") or y.dtype == "float32"
    case = {
        "class_name": kind,
        "config": layer.get_config(),
        "weights": [weight.path.split("/")[-1] for weight in layer.weights],
        "computed_in": "float32" if single else "float64",
    }
    return case, {name: np.asarray(array, np.float64) for name, array in arrays.items()}


def main() -> None:
    """Write the file: one flat array of all values, and a JSON text that says what they are."""
    import keras

    keras.config.set_floatx("float64")
    cases, values = [], []
    for number, (kind, arguments, shape) in enumerate(CASES):
        case, arrays = record(kind, arguments, shape)
        cases.append({"name": f"{number} {kind}", **case, "shapes": {k: list(v.shape) for k, v in arrays.items()}})
        values += [array.ravel() for array in arrays.values()]
    text = json.dumps({"keras": keras.__version__, "cases": cases}).encode()
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, cases=np.frombuffer(text, np.uint8), values=np.concatenate(values))
    print(f"{FILE}: {len(cases)} cases of Keras {keras.__version__}, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
