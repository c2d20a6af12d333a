"""Every layer against what real Keras gave, recorded by ``record_keras_layers.py``: configs, outputs, gradients.

And, where Keras is installed, models of these layers through ``.keras`` files in both directions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle import assert_within, gamma

from fastconv import layers
from fastconv.layers import augmentation

FILE = Path(__file__).parent / "data" / "keras_layers.npz"
# Roundings in a row that may lie between two ways to compute a layer of at most 40 terms a sum and a few functions.
ROUNDINGS = 1000


def read_cases() -> list[dict[str, Any]]:
    with np.load(FILE) as file:
        cases, values = json.loads(file["cases"].tobytes())["cases"], file["values"]
    start = 0
    for case in cases:
        case["arrays"] = {}
        for name, shape in case["shapes"].items():
            size = int(np.prod(shape))
            case["arrays"][name] = values[start : start + size].reshape(shape)
            start += size
    assert start == values.size
    return cases


CASES = read_cases()
EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])


def replayed(case: dict[str, Any]) -> layers.Layer:
    """The layer, with Keras's weights; an augmentation draws what Keras drew."""
    layer = layers.deserialize({"class_name": case["class_name"], "config": case["config"]})
    arrays = case["arrays"]
    layer.build((None, *arrays["x"].shape[1:]))
    layer.set_weights([arrays[f"weight{i}"] for i in range(len(case["weights"]))])
    if isinstance(layer, layers.RandomTranslation):
        right, down = arrays["translations"].T
        layer._maps = lambda n, h, w: augmentation.translation_maps(down, right)
    elif isinstance(layer, layers.RandomRotation):
        layer._maps = lambda n, h, w: augmentation.rotation_maps(arrays["angle"], h, w)
    elif isinstance(layer, layers.RandomZoom):
        zooms = arrays["height_zoom"][:, 0], arrays["width_zoom"][:, 0]
        layer._maps = lambda n, h, w: augmentation.zoom_maps(*zooms, h, w)
    elif isinstance(layer, layers.RandomFlip):

        class Recorded:
            def random(self, n: int) -> np.ndarray:
                return 1 - arrays["flips"].ravel()  # Keras flips where its number is at most one half

        layer._generator = Recorded()
    return layer


def assert_close(actual: Any, expected: np.ndarray, dtype: Any, what: str) -> None:
    bound = gamma(ROUNDINGS, dtype) * max(float(np.abs(expected).max(initial=0)), 1)
    assert_within(actual, expected, bound, what)


def test_the_record_covers_every_layer_and_is_small() -> None:
    assert FILE.stat().st_size < 200_000
    missing = set(layers._TABLE) - {case["class_name"] for case in CASES}
    assert missing == {"Dropout", "InputLayer"}  # the one is random, the other computes nothing


@EVERY
def test_config(case: dict[str, Any]) -> None:
    layer = layers.deserialize({"class_name": case["class_name"], "config": case["config"]})
    assert json.loads(json.dumps(layer.get_config())) == case["config"]


@EVERY
def test_weights_stand_in_keras_order(case: dict[str, Any]) -> None:
    layer = replayed(case)
    assert layer._weight_names == case["weights"]
    trained = [name for name in case["arrays"] if name.startswith("grad") and name != "grad_input"]
    assert len(layer.trainable_weights) == len(trained)
    assert len(layer.weights) == len(layer.trainable_weights) + len(layer.non_trainable_weights)


@EVERY
def test_outputs_and_gradients(case: dict[str, Any]) -> None:
    layer, arrays = replayed(case), case["arrays"]
    dtype = np.dtype(case["computed_in"])
    y = layer(arrays["x"])
    assert_close(y, arrays["inference"], dtype, "outside training")
    y = layer(arrays["x"], training=True)
    assert y.dtype == np.float64
    assert_close(y, arrays["y"], dtype, "output")
    assert layer.compute_output_shape(arrays["x"].shape) == arrays["y"].shape
    grad_input = layer.backward(arrays["upstream"])
    assert_close(grad_input, arrays["grad_input"], dtype, "gradient of the input")
    for i, (weight, grad) in enumerate(zip(layer._trainable(), layer.grads, strict=True)):
        if weight.regularizer is not None:
            grad = grad - weight.regularizer.gradient(weight.value)
        assert_close(grad, arrays[f"grad{i}"], dtype, f"gradient {i}")
    for i, weight in enumerate(layer.non_trainable_weights if layer.trainable else []):
        assert_close(weight, arrays[f"after{i}"], dtype, f"state {i}")
