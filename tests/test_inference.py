"""Inference by chains of compiled steps gives what the layers give one by one, and sees every change of the model."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import fastconv as fc
from fastconv import callbacks, layers, models
from fastconv.models.inference import Inference
from fastconv.ops.inference import CHUNK_MOST, FEW, Chain


@pytest.fixture(autouse=True)
def threads():
    before = fc.get_num_threads()
    yield
    fc.set_num_threads(before)


def one_by_one(model, x):
    for layer in model.layers:
        x = layer(x)
    return x


def images(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def lenet(dtype="float32", activation="softmax"):
    return models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.ZeroPadding2D(2, dtype=dtype),
            layers.Conv2D(6, 5, activation="relu", dtype=dtype),
            layers.MaxPooling2D(dtype=dtype),
            layers.Conv2D(16, 5, dtype=dtype),
            layers.ReLU(dtype=dtype),
            layers.AveragePooling2D(dtype=dtype),
            layers.Conv2D(120, 5, activation="relu", dtype=dtype),
            layers.Flatten(dtype=dtype),
            layers.Dropout(0.5, dtype=dtype),
            layers.Dense(84, activation="tanh", dtype=dtype),
            layers.Dense(10, activation=activation, dtype=dtype),
        ]
    )


STACKS = {
    "strides, dilation, groups": [
        layers.Input((13, 11, 4)),
        layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(6, 2, dilation_rate=2, groups=2, use_bias=False),
        layers.Activation("relu"),
        layers.GlobalMaxPooling2D(),
        layers.Dense(5),
        layers.Softmax(),
    ],
    "channels in the lanes": [
        layers.Input((12, 11, 3)),
        layers.Conv2D(32, 3, strides=2, padding="same"),
        layers.Conv2D(32, 3, padding="same", groups=32, activation="relu"),
        layers.Conv2D(32, 3, padding="same", groups=8),
        layers.Conv2D(32, 3, strides=2, groups=32, use_bias=False),
        layers.Flatten(),
        layers.Dense(4),
    ],
    "pooling with strides and padding": [
        layers.Input((9, 10, 3)),
        layers.MaxPooling2D(3, strides=2, padding="same"),
        layers.AveragePooling2D((2, 3), padding="same"),
        layers.Conv2D(33, 1),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Reshape((33,)),
        layers.Dense(3, activation="sigmoid"),
    ],
    "layers without a step between": [
        layers.Input((8, 8, 2)),
        layers.Rescaling(0.5),
        layers.Conv2D(4, 3, padding="same"),
        layers.BatchNormalization(),
        layers.LeakyReLU(),
        layers.DepthwiseConv2D(3, activation="relu"),
        layers.Flatten(),
        layers.Dense(7, activation="gelu"),
        layers.Dense(2),
    ],
    "channels first": [
        layers.Input((2, 8, 8)),
        layers.Conv2D(4, 3, data_format="channels_first", activation="relu"),
        layers.MaxPooling2D(data_format="channels_first"),
        layers.Flatten(data_format="channels_first"),
        layers.Dense(3, activation="softmax"),
    ],
    "dense over several axes": [
        layers.Input((5, 4)),
        layers.Dense(6, activation="relu"),
        layers.Dense(3, activation="softmax"),
    ],
    "nothing is computed": [layers.Input((4, 4, 1)), layers.Dropout(0.5), layers.Flatten()],
    "many weights": [
        layers.Input((40,)),
        layers.Dense(4000, activation="relu"),
        layers.Dense(65, activation="relu"),
        layers.Dense(1),
    ],
}


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("n", [0, 1, FEW, FEW + 1, 70])
def test_equal_to_the_layers_one_by_one(stack, n):
    model = models.Sequential(stack)
    x = images(n, *model.input_shape[1:])
    expected = one_by_one(model, x)
    for output in (model(x), model.predict(x, verbose=0), model.predict(x, batch_size=3, verbose=0)):
        assert output.shape == expected.shape and output.dtype == expected.dtype
        assert np.array_equal(output, expected)


@pytest.mark.parametrize("isa", fc.available_isas())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_isa_and_type(isa, dtype):
    model = lenet(dtype)
    x = images(9, 28, 28, 1, dtype=dtype)
    before = fc.get_isa()
    try:
        fc.set_isa(isa)
        assert np.array_equal(model.predict(x, verbose=0), one_by_one(model, x))
        assert np.array_equal(model.predict(x[:1], verbose=0), one_by_one(model, x[:1]))
    finally:
        fc.set_isa(before)


def test_the_bits_depend_neither_on_threads_nor_on_neighbours():
    model = lenet()
    x = images(3 * CHUNK_MOST + 5, 28, 28, 1)
    expected = model.predict(x, verbose=0)
    for threads in (1, 2, 3, 5):
        fc.set_num_threads(threads)
        assert np.array_equal(model.predict(x, verbose=0), expected)
        assert np.array_equal(model(x[7:8]), expected[7:8])
        assert np.array_equal(model.predict(x[2:13], batch_size=4, verbose=0), expected[2:13])


def test_nan_and_inf_reach_their_own_image_only():
    model = lenet(activation="linear")
    x = images(20, 28, 28, 1)
    clean = model.predict(x, verbose=0)
    x[3, 5, 5, 0], x[17, 20, 20, 0] = np.nan, np.inf
    output = model.predict(x, verbose=0)
    others = [i for i in range(20) if i not in (3, 17)]
    assert np.isnan(output[3]).all()
    assert np.array_equal(output[others], clean[others])
    assert np.array_equal(output, one_by_one(model, x), equal_nan=True)


def test_changed_weights_count():
    model = lenet()
    x = images(2, 28, 28, 1)
    first = model(x)
    model.layers[1].kernel[...] *= 2
    assert not np.array_equal(model(x), first)
    assert np.array_equal(model(x), one_by_one(model, x))
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    assert np.allclose(model(x), 0.1, rtol=1e-6)


def test_changed_layers_count():
    model = lenet()
    x = images(2, 28, 28, 1)
    model(x)
    model.layers[-1].activation = fc.activations.linear
    assert np.array_equal(model(x), one_by_one(model, x))
    model.pop()
    assert model(x).shape == (2, 84)
    model.add(layers.Dense(3))
    assert np.array_equal(model(x), one_by_one(model, x))


def test_layers_of_ones_own():
    class Doubled(layers.Conv2D):
        def call(self, x, training=False):
            return 2 * super().call(x, training)

    class Mean(layers.Layer):  # Its output has another shape than compute_output_shape says.
        def call(self, x, training=False):
            return x - x.mean(axis=0, keepdims=True)

    model = models.Sequential([layers.Input((6, 6, 1)), Doubled(3, 3), layers.Flatten(), Mean(), layers.Dense(2)])
    x = images(8, 6, 6, 1)
    assert np.array_equal(model(x), one_by_one(model, x))
    assert not Inference(model.layers, (6, 6, 1)).frugal
    # Such a layer sees the batches that the caller asked for.
    expected = np.concatenate([one_by_one(model, x[:4]), one_by_one(model, x[4:])])
    assert np.array_equal(model.predict(x, batch_size=4, verbose=0), expected)


def test_images_of_any_size():
    model = models.Sequential(
        [layers.Input((None, None, 2)), layers.Conv2D(3, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    )
    for size in (3, 8, 64):
        x = images(2, size, size + 1, 2)
        assert np.array_equal(model(x), one_by_one(model, x))
    with pytest.raises(ValueError, match="smaller kernel or larger images"):
        model(images(2, 2, 2, 2))


def test_large_images_are_shared_out_among_the_threads():
    model = models.Sequential(
        [
            layers.Input((200, 190, 3)),
            layers.Conv2D(20, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(5, 3),
        ]
    )
    x = images(2, 200, 190, 3)
    expected = one_by_one(model, x)
    for threads in (1, 2, 3):
        fc.set_num_threads(threads)
        assert np.array_equal(model(x), expected)


def test_one_image_is_shared_out_among_the_threads():
    """By blocks of pixels or by output channels, whose weights each thread packs for itself."""
    stack = [layers.Input((20, 19, 24)), layers.Conv2D(96, 3, activation="relu"), layers.Conv2D(168, 3, strides=2)]
    model, x = models.Sequential(stack), images(3, 20, 19, 24)
    expected = []
    for count in (1, 2, 3, 4):
        fc.set_num_threads(count)
        expected.append(one_by_one(model, x[:1]))
        np.testing.assert_array_equal(model(x[:1]), expected[0])
        np.testing.assert_array_equal(expected[-1], expected[0])
    np.testing.assert_array_equal(model(x)[:1], expected[0])


def test_predict_gives_memory_of_its_own():
    model = models.Sequential([layers.Input((2, 2, 1)), layers.Flatten()])
    x = images(3, 2, 2, 1)
    assert not np.shares_memory(model.predict(x, verbose=0), x)


def test_outputs_in_the_middle_of_training():
    x, y = images(8, 5, 4), np.zeros((8, 5), int)
    seen = []

    class Look(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(self.model.predict(x, verbose=0))

    model = models.Sequential([layers.Input((5, 4)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=4, epochs=1, verbose=0, callbacks=[Look()], validation_data=(x, y))
    assert len(seen) == 2
    for output in seen:
        assert np.allclose(output.sum(axis=-1), 1, rtol=1e-5)
    assert np.array_equal(seen[-1], model.predict(x, verbose=0))
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("kind", ["dense", "layer", "not joined"])
def test_evaluate_is_the_loss_of_what_predict_gives(kind):
    last = {
        "dense": [layers.Dense(10, activation="softmax")],
        "layer": [layers.Dense(10), layers.Softmax()],
        "not joined": [layers.Dense(10, activation="sigmoid")],
    }[kind]
    model = models.Sequential([layers.Input((6,)), *last])
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    x, y = images(50, 6), np.eye(10)[np.arange(50) % 10]
    p = model.predict(x, verbose=0).astype(float)
    p /= p.sum(axis=-1, keepdims=True)
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert loss == pytest.approx(-np.log(p[y == 1]).mean(), rel=1e-5)
    assert accuracy == pytest.approx((p.argmax(-1) == y.argmax(-1)).mean())
    assert model.test_on_batch(x, y)[0] == pytest.approx(loss, rel=1e-5)


def test_several_threads_share_a_model():
    model = lenet()
    x = images(40, 28, 28, 1)
    expected = model.predict(x, verbose=0)
    fresh = models.Sequential(model.layers)
    outputs = [None] * 8

    def work(i):
        for _ in range(5):
            outputs[i] = fresh.predict(x[i * 5 :], verbose=0)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i, output in enumerate(outputs):
        assert np.array_equal(output, expected[i * 5 :])


def test_a_chain_refuses_images_of_another_shape():
    chain = Chain([fc.ops.inference.relu_step((3,))], (3,), "float32")
    with pytest.raises(ValueError, match=r"x must have shape \(2, 3\)"):
        chain(np.ones((2, 4), "float32"))
