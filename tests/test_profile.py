"""`Sequential.profile`: figures that belong together, and a model that stays as it was."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, models


def network(data_format: str = "channels_last") -> models.Sequential:
    shape = (12, 12, 4) if data_format == "channels_last" else (4, 12, 12)
    return models.Sequential(
        [
            layers.Input(shape),
            layers.RandomFlip(seed=1) if data_format == "channels_last" else layers.Dropout(0.1),
            layers.Conv2D(6, 3, strides=2, padding="same", groups=2, activation="relu", data_format=data_format),
            layers.BatchNormalization(axis=-1 if data_format == "channels_last" else 1),
            layers.DepthwiseConv2D(3, depth_multiplier=2, data_format=data_format),
            layers.SeparableConv2D(5, 2, data_format=data_format),
            layers.Conv2DTranspose(3, 2, strides=2, data_format=data_format),
            layers.Dropout(0.5, seed=1),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_multiply_adds(data_format):
    n, sizes = 5, [0] * 9
    sizes[1] = 6 * 6 * 9 * 2 * 6  # pixels x taps x channels of a group x filters
    sizes[3] = 4 * 4 * 9 * 6 * 2
    sizes[4] = 3 * 3 * (4 * 12 + 12 * 5)
    sizes[5] = 3 * 3 * 4 * 5 * 3  # pixels of the input
    sizes[8] = 6 * 6 * 3 * 10
    model = network(data_format)
    shape = (n, *model.input_shape[1:])
    for layer, expected in zip(model.layers, sizes, strict=True):
        assert layer.multiply_adds(shape) == n * expected, layer.name
        shape = layer.compute_output_shape(shape)


@pytest.mark.parametrize("training", [False, True])
def test_figures_belong_together(training, capsys):
    model = network()
    x = np.random.default_rng(1).normal(size=(8, 12, 12, 4)).astype(np.float32)
    weights, states = model.get_weights(), [layer.__dict__.copy() for layer in model.layers]
    drawn = [layer._generator.bit_generator.state for layer in model.layers if hasattr(layer, "_generator")]
    found = model.profile(x, training=training)
    assert [row.name for row in found.layers] == [layer.name for layer in model.layers]
    assert [row.output_shape[0] for row in found.layers] == [8] * 9
    assert sum(row.share for row in found.layers) == pytest.approx(1)
    assert found.seconds == pytest.approx(sum(row.seconds for row in found.layers))
    for i, (layer, row) in enumerate(zip(model.layers, found.layers, strict=True)):
        work = layer.multiply_adds((8, *layer.input_shape[1:]))
        products = 1 if not training else 2 if i == 1 else 3  # the first that learns hands no gradient on
        assert (row.gflops is None) == (work == 0)
        if work:
            assert row.gflops == pytest.approx(2e-9 * products * work / row.seconds)
            assert row.part_of_peak == pytest.approx(row.gflops / found.peak_gflops)
            assert 0 < row.part_of_peak < 1.2
    assert found.threads == fc.get_num_threads()
    assert found.isa == fc.get_isa()
    assert (found.model_seconds is None) == training
    out = capsys.readouterr().out
    assert out == f"{found}\n"
    assert all(row.name in out for row in found.layers)
    assert max(map(len, out.splitlines())) <= 130
    # Nothing has changed: weights, statistics, random states, what layers keep.
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert drawn == [layer._generator.bit_generator.state for layer in model.layers if hasattr(layer, "_generator")]
    for layer, before in zip(model.layers, states, strict=True):
        for name in ("_needs_input_grad", "_reuse_buffers", "_emit_logits", "_buffers", "grads"):
            assert layer.__dict__[name] == before[name], f"{layer.name}.{name}"


def test_a_layer_of_ones_own():
    class Twice(layers.Layer):
        def call(self, x, training=False):
            self._keep(training, x.shape)
            return 2 * x

        def backward(self, grad_output):
            (grad_output,) = self._recall(grad_output)
            return 2 * grad_output

    model = models.Sequential([layers.Dense(3), Twice(), layers.Dense(2)])  # not built yet
    lines: list[str] = []
    found = model.profile(np.ones((4, 5), np.float32), training=True, print_fn=lines.append)
    assert [row.kind for row in found.layers] == ["Dense", "Twice", "Dense"]
    products = [round(row.gflops * row.seconds / 2e-9) if row.gflops else 0 for row in found.layers]
    assert products == [2 * 4 * 15, 0, 3 * 4 * 6]  # with the gradients
    assert "\n".join(lines) == str(found)


def test_errors():
    model = models.Sequential([layers.Input((5,)), layers.Dense(3)])
    with pytest.raises(ValueError, match="x has no samples"):
        model.profile(np.ones((0, 5), np.float32))
    with pytest.raises(ValueError, match="5"):
        model.profile(np.ones((2, 4), np.float32), print_fn=lambda line: None)
    with pytest.raises(ValueError, match="no layers"):
        models.Sequential().profile(np.ones((2, 4), np.float32))
