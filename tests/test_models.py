"""Sequential: building, shapes, sharing, weights, the summary."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from fastconv import layers, models, utils


def lenet():
    return models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu", name="first"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Conv2D(16, 5, activation="relu", name="second"),
            layers.MaxPooling2D(2, name="pool_again"),
            layers.Flatten(name="flat"),
            layers.Dense(120, activation="relu", name="wide"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(84, activation="relu", name="narrow"),
            layers.Dense(10, activation="softmax", name="digits"),
        ],
        name="lenet",
    )


def test_a_model_with_an_input_is_built_at_once():
    model = lenet()
    assert model.built
    assert model.name == "lenet"
    assert len(model.layers) == 9
    assert model.input_shape == (None, 28, 28, 1)
    assert model.output_shape == (None, 10)
    assert model.count_params() == 61_706
    assert [w.shape for w in model.weights][:3] == [(5, 5, 1, 6), (6,), (5, 5, 6, 16)]
    assert len(model.trainable_weights) == 10
    assert model.non_trainable_weights == []
    assert model.compute_output_shape((7, 28, 28, 1)) == (7, 10)


def test_input_shape_of_the_first_layer_serves_too():
    model = models.Sequential([layers.Conv2D(2, 3, input_shape=(8, 8, 1)), layers.Flatten()])
    assert model.built
    assert model.output_shape == (None, 72)


def test_a_model_without_a_shape_is_built_later():
    model = models.Sequential([layers.Flatten(), layers.Dense(3)])
    assert not model.built
    for attribute in ("input_shape", "output_shape"):
        with pytest.raises(AttributeError, match=f"no {attribute} yet"):
            getattr(model, attribute)
    with pytest.raises(ValueError, match="isn't built"):
        model.count_params()
    model.build((None, 2, 5))
    assert model.built
    assert model.count_params() == 33
    with pytest.raises(ValueError, match="input shape is"):
        model.build((None, 2, 6))
    by_data = models.Sequential([layers.Flatten(), layers.Dense(3)])
    assert by_data(np.zeros((4, 2, 5), "float32")).shape == (4, 3)
    assert by_data.input_shape == (None, 2, 5)


def test_add_and_pop():
    model = models.Sequential()
    model.add(layers.Input((4,)))
    model.add(layers.Dense(3))
    model.add(layers.Dense(2))
    assert model.output_shape == (None, 2)
    last = model.pop()
    assert last.units == 2
    assert model.output_shape == (None, 3)
    model.add(layers.Dense(5))
    assert model(np.zeros((1, 4), "float32")).shape == (1, 5)


def test_what_cannot_be_added():
    model = models.Sequential([layers.Input((4, 4, 1)), layers.Flatten(name="flat")])
    with pytest.raises(ValueError, match="'flat' is in this model already"):
        model.add(layers.Flatten(name="flat"))
    with pytest.raises(ValueError, match="must be the first layer"):
        model.add(layers.Input((3,)))
    with pytest.raises(TypeError, match="a fastconv layer"):
        model.add("dense")
    with pytest.raises(TypeError, match="a model's layers are added one by one"):
        model.add(models.Sequential([layers.Dense(2)]))
    with pytest.raises(ValueError, match=r"(?i)conv2d"):
        model.add(layers.Conv2D(2, 3))
    assert [layer.name for layer in model.layers] == ["flat"]
    with pytest.raises(ValueError, match="no layer to pop"):
        models.Sequential().pop()
    with pytest.raises(ValueError, match="has no layers"):
        models.Sequential()(np.zeros((1, 2), "float32"))


def test_layers_are_shared():
    model = lenet()
    front = models.Sequential(model.layers[:1])
    x = np.random.default_rng(0).normal(size=(2, 28, 28, 1)).astype("float32")
    assert front.built
    before = front.predict(x)
    assert before.shape == (2, 28, 28, 6)
    assert np.array_equal(before, model.layers[0](x))
    model.layers[0].weights[1][...] += 1
    assert not np.array_equal(front.predict(x), before)
    back = models.Sequential(model.layers[1:])
    assert np.array_equal(back(front(x)), model(x))


def test_call_backward_and_training():
    model = lenet()
    x = np.ones((2, 28, 28, 1), "float32")
    assert np.array_equal(model(x), model(x))
    assert not np.array_equal(model(x, training=True), model(x))  # The dropout.
    y = model(x, training=True)
    assert model.backward(np.ones_like(y)).shape == x.shape
    assert [g.shape for g in model.layers[0].grads] == [(5, 5, 1, 6), (6,)]


def test_images_without_their_channel_axis_serve_as_in_keras():
    model = lenet()
    x = np.random.default_rng(0).normal(size=(3, 28, 28)).astype("float32")
    assert np.array_equal(model(x), model(x[..., None]))
    assert np.array_equal(model.predict(x), model.predict(x[..., None]))


def test_bytes_are_refused_unless_a_layer_takes_them():
    x = np.full((2, 28, 28, 1), 255, np.uint8)
    with pytest.raises(TypeError, match=r'x\.astype\("float32"\) / 255'):
        lenet().predict(x)
    model = models.Sequential([layers.Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.Flatten()])
    assert np.max(np.abs(model.predict(x) - 1)) < 1e-6


def test_weights():
    model = lenet()
    weights = model.get_weights()
    weights[0][...] = 7
    assert not np.array_equal(model.get_weights()[0], weights[0])
    model.set_weights(weights)
    assert np.array_equal(model.layers[0].weights[0], weights[0])
    before = model.get_weights()
    with pytest.raises(ValueError, match="length 1"):
        model.set_weights(weights[:1])
    with pytest.raises(ValueError, match="not compatible"):
        model.set_weights([w + 1 for w in weights[:-1]] + [np.zeros(11)])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_get_layer_and_trainable():
    model = lenet()
    assert model.get_layer("second") is model.layers[2]
    assert model.get_layer(index=-1) is model.layers[-1]
    with pytest.raises(ValueError, match="unknown layer 'third'"):
        model.get_layer("third")
    with pytest.raises(ValueError, match="name or an index"):
        model.get_layer()
    model.trainable = False
    assert model.trainable_weights == []
    assert len(model.non_trainable_weights) == 10


def test_config_makes_the_same_model():
    utils.set_random_seed(0)
    model = lenet()
    twin = models.Sequential.from_config(model.get_config())
    assert twin.name == "lenet"
    assert [layer.get_config() for layer in twin.layers] == [layer.get_config() for layer in model.layers]
    assert twin.built
    twin.set_weights(model.get_weights())
    x = np.ones((2, 28, 28, 1), "float32")
    assert np.array_equal(twin(x), model(x))


def test_copies_train_alone():
    model = models.Sequential([layers.Input((2,)), layers.Dense(1)])
    model.compile("adam", "mse")
    x, y = np.ones((4, 2), "float32"), np.ones(4)
    model.fit(x, y, verbose=0)
    twin = copy.deepcopy(model)
    before = model.get_weights()
    twin.fit(x, y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    model.fit(x, y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(twin.get_weights(), model.get_weights(), strict=True))


def test_summary(capsys):
    model = models.Sequential(
        [layers.Input((8, 8, 1)), layers.Conv2D(1000, 3, name="conv"), layers.Flatten(name="flat")], name="mine"
    )
    model.layers[0].trainable = False
    lines = []
    model.summary(line_length=76, print_fn=lines.append)
    assert lines == [
        'Model: "mine"',
        "┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━┓",
        "┃ Layer (type)                  ┃ Output Shape            ┃        Param # ┃",
        "┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━┩",
        "│ conv (Conv2D)                 │ (None, 6, 6, 1000)      │         10,000 │",
        "├───────────────────────────────┼─────────────────────────┼────────────────┤",
        "│ flat (Flatten)                │ (None, 36000)           │              0 │",
        "└───────────────────────────────┴─────────────────────────┴────────────────┘",
        " Total params: 10,000 (39.06 KB)",
        " Trainable params: 0 (0.00 B)",
        " Non-trainable params: 10,000 (39.06 KB)",
    ]
    model.summary()
    assert capsys.readouterr().out.startswith('Model: "mine"\n')


def test_summary_of_what_is_not_built_and_of_long_names():
    lines = []
    name = "a_name_that_is_much_too_long_for_its_column_in_the_table"
    models.Sequential([layers.Dense(2, name=name)]).summary(line_length=60, print_fn=lines.append)
    text = "\n".join(lines)
    assert "(unbuilt)" in text
    assert "?" in text
    assert "".join(line.split("│")[1].strip() for line in lines if line.startswith("│")).startswith(name)
    assert len({len(line) for line in lines[1:-3]}) == 1


def test_summary_tells_the_optimizers_size():
    model = models.Sequential([layers.Input((2,)), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.ones((2, 2), "float32"), np.ones(2), verbose=0)
    lines = []
    model.summary(print_fn=lines.append)
    assert " Total params: 3 (12.00 B)" in lines
    assert lines[-1].startswith(" Optimizer params: 8 (")


def test_variables_are_the_weights():
    model = models.Sequential([layers.Input((4,)), layers.Dense(3), layers.BatchNormalization()])
    model.layers[0].trainable = False
    for part in (model, *model.layers):
        for kind in ("", "trainable_", "non_trainable_"):
            weights, variables = getattr(part, f"{kind}weights"), getattr(part, f"{kind}variables")
            assert len(weights) == len(variables)
            assert all(a is b for a, b in zip(weights, variables, strict=True))
    assert [len(model.variables), len(model.trainable_variables), len(model.non_trainable_variables)] == [6, 2, 4]
