"""A model that trains and whoever else uses its layers: callbacks, parts of the model, subclasses, copies, settings."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fastconv as fc
from fastconv import callbacks, layers, models, utils


def data(n: int = 12, shape: tuple[int, ...] = (8, 8, 2)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(n, *shape)).astype(np.float32), rng.integers(0, 3, n)


def network(data_format: str = "channels_last", conv: type = layers.Conv2D) -> models.Sequential:
    utils.set_random_seed(1)
    shape = (8, 8, 2) if data_format == "channels_last" else (2, 8, 8)
    stack = [
        layers.Input(shape),
        conv(4, 3, activation="relu", dtype="float64", data_format=data_format),
        layers.MaxPooling2D(2, dtype="float64", data_format=data_format),
        conv(3, 2, activation="relu", dtype="float64", data_format=data_format),
        layers.MaxPooling2D(2, dtype="float64", data_format=data_format),
        layers.Flatten(dtype="float64"),
        layers.Dense(3, activation="softmax", dtype="float64"),
    ]
    model = models.Sequential(stack)
    model.compile(fc.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return model


def step_by_layers(model: models.Sequential, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """The gradients of one batch, layer by layer, without any of what `fit` joins."""
    output = model(x, training=True)
    onehot = utils.to_categorical(y, 3)
    grad = np.where(onehot > 0, -1 / np.maximum(output, 1e-7), 0) / len(x)
    model.backward(grad)
    return [grad.copy() for layer in model.layers for grad in layer.grads]


def gradients_of_fit(model: models.Sequential, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """The same from the update that one step of SGD makes."""
    before = model.get_weights()
    model.fit(x, y, batch_size=len(x), epochs=1, shuffle=False, verbose=0)
    return [(old - new) / 0.1 for old, new in zip(before, model.get_weights(), strict=True)]


class Scaled(layers.Conv2D):
    """A convolution of the user's own, which inherits the fused relu."""

    def call(self, x, training=False):
        return 2 * super().call(x, training)

    def backward(self, grad_output):
        return super().backward(2 * np.asarray(grad_output))


class Shifted(layers.Conv2D):
    def call(self, x, training=False):
        return super().call(x, training) + 1


@pytest.mark.parametrize("conv", [layers.Conv2D, Scaled, Shifted])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_gradients_are_those_of_the_layers(conv, data_format):
    x, y = data()
    x = x if data_format == "channels_last" else np.ascontiguousarray(np.moveaxis(x, -1, 1))
    model = network(data_format, conv)
    expected = step_by_layers(model, x, y)
    for found, wanted in zip(gradients_of_fit(model, x, y), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_data_formats_mixed():
    x, y = data()
    model = models.Sequential(
        [
            layers.Input((8, 8, 2)),
            layers.Conv2D(4, 3, padding="same", activation="relu", dtype="float64", data_format="channels_first"),
            layers.MaxPooling2D(2, dtype="float64"),
            layers.Flatten(dtype="float64"),
            layers.Dense(3, activation="softmax", dtype="float64"),
        ]
    )
    model.compile(fc.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    expected = step_by_layers(model, x, y)
    for found, wanted in zip(gradients_of_fit(model, x, y), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def weights_after_fit(each_batch) -> list[np.ndarray]:
    x, y = data(24)
    model = network()
    watcher = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: each_batch(model, x, y))
    model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[watcher])
    return model.get_weights()


def test_what_a_callback_computes_leaves_training_alone():
    expected = weights_after_fit(lambda model, x, y: None)

    def predicts(model, x, y):
        model.predict(x, verbose=0)

    def trains_another_on_a_part(model, x, y):
        part = models.Sequential(copy.deepcopy(model.layers[:2]))
        part(x, training=True)

    def runs_a_part(model, x, y):
        part = models.Sequential(model.layers[:2])
        output = part(x, training=True)
        part.backward(np.ones_like(output))
        bias = model.layers[0].grads[1].copy()
        plain = copy.deepcopy(model.layers[0])
        pooling = layers.MaxPooling2D(2, dtype="float64")
        output = pooling(plain(x, training=True), training=True)
        plain.backward(pooling.backward(np.ones_like(output)))
        np.testing.assert_allclose(bias, plain.grads[1])

    for each in (predicts, trains_another_on_a_part, runs_a_part):
        for found, wanted in zip(weights_after_fit(each), expected, strict=True):
            np.testing.assert_array_equal(found, wanted, err_msg=each.__name__)


def test_training_within_training():
    x, y = data(24)

    def train(model, x, y):
        model.train_on_batch(x[:8], y[:8])

    weights_after_fit(train)  # the outer fit goes on
    model = network()
    tail = models.Sequential(model.layers[1:])
    tail.compile("sgd", "sparse_categorical_crossentropy")
    inner = callbacks.LambdaCallback(
        on_train_begin=lambda logs=None: tail.train_on_batch(np.zeros((4, 6, 6, 4)), y[:4]),
    )
    expected = None
    for watchers in ([], [inner]):
        tail.set_weights(network().get_weights()[2:])
        model.set_weights(network().get_weights())
        if watchers:  # what the inner training did is undone before the first batch
            watchers.append(
                callbacks.LambdaCallback(on_epoch_begin=lambda e, logs: model.set_weights(network().get_weights()))
            )
        model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0, callbacks=watchers)
        expected = expected or model.get_weights()
    for found, wanted in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_predictions_in_a_callback_have_memory_of_their_own():
    x = data(70, (6, 6, 2))[0]
    model = models.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.Conv2DTranspose(1, 3)])
    model.compile("sgd", "mse")
    model.build((None, 6, 6, 2))
    seen = []

    def look(epoch, logs):
        one, other = model(x[:8]), model(x[8:16])
        seen.append((model.predict(x, batch_size=8, verbose=0), one, other, model.get_weights()))

    model.fit(x, np.zeros((70, 6, 6, 1)), verbose=0, callbacks=[callbacks.LambdaCallback(on_epoch_end=look)])
    ((all_rows, one, other, weights),) = seen
    model.set_weights(weights)
    expected = np.concatenate([model(x[i : i + 8]) for i in range(0, 70, 8)])
    np.testing.assert_array_equal(all_rows, expected)
    np.testing.assert_array_equal(np.concatenate([one, other]), expected[:16])


COPIES = [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_made_in_training_has_no_part_in_it(copied):
    x, y = data(24)
    copies = []
    weights_after_fit(lambda model, x, y: copies.append(copied(model)))
    for twin in copies:
        first = twin.layers[0]
        one, other = first(x[:8]), first(x[8:16])
        assert not np.shares_memory(one, other)
        np.testing.assert_array_equal(np.concatenate([one, other]), first(x[:16]))
        np.testing.assert_allclose(twin.predict(x, verbose=0).sum(axis=1), 1)  # probabilities, no logits
        output = first(x[:8], training=True)
        assert first.backward(np.ones_like(output)).shape == x[:8].shape
    expected = network()
    expected.set_weights(copies[0].get_weights())
    for model in (expected, copies[0]):
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for found, wanted in zip(copies[0].get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("copied", COPIES)
def test_a_model_that_has_predicted_can_be_copied(copied):
    x, _ = data()
    model = network()
    expected = model.predict(x, verbose=0)
    other = copied(model)
    np.testing.assert_array_equal(other.predict(x, verbose=0), expected)
    other.layers[0].kernel[...] = 0
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    assert not np.array_equal(other.predict(x, verbose=0), expected)


def test_settings_that_change_after_a_prediction_count():
    x = np.full((2, 3), 5, np.float32)
    model = models.Sequential([layers.Input((3,)), layers.ReLU(max_value=2)])
    assert model(x).max() == 2
    model.layers[0].max_value = 3
    assert model(x).max() == 3


def test_trainable_that_changes_during_training_is_refused():
    x, y = data()
    model = network()

    def freeze(batch, logs):
        model.layers[0].trainable = False

    with pytest.raises(ValueError, match="trainable changed during training"):
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[callbacks.LambdaCallback(on_train_batch_end=freeze)])
    model.fit(x, y, batch_size=4, verbose=0)


def test_a_gradient_that_a_layer_keeps_stays():
    class Keeps(layers.Layer):
        def call(self, x, training=False):
            self._keep(training, x.shape)
            return x

        def backward(self, grad_output):
            (grad_output,) = self._recall(grad_output)
            self.kept, self.copied = grad_output, grad_output.copy()
            return grad_output

    x, y = data()
    keeps = Keeps()
    stack = [layers.Conv2D(4, 3, activation="relu"), keeps, layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(3)]
    model = models.Sequential([layers.Input((8, 8, 2)), *stack])
    model.compile("sgd", fc.losses.SparseCategoricalCrossentropy(from_logits=True))
    watch = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: np.testing.assert_array_equal(keeps.kept, keeps.copied)
    )
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[watch])


@pytest.mark.parametrize("isa", fc.available_isas())
def test_one_filter_gives_the_same_bits_on_any_number_of_threads(isa):
    """Chunks of images depend on the threads; the order of a sum must not."""
    fc.set_isa(isa)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(16, 8, 8, 64)).astype(np.float32)
    kernel = rng.normal(size=(1, 1, 64, 1)).astype(np.float32)
    model = models.Sequential([layers.Input((8, 8, 64)), layers.Conv2D(64, 1), layers.Conv2D(1, 1)])
    answers = []
    for threads in (1, 2, 3, 5, 8):
        fc.set_num_threads(threads)
        pooled = fc.ops.conv2d_max_pool2d(x, kernel)[0]
        np.testing.assert_array_equal(pooled, fc.max_pool2d(fc.conv2d(x, kernel)))
        answers.append((model.predict(x, verbose=0), pooled, fc.conv2d(x, kernel), fc.conv2d(x[:3], kernel)))
    for found in answers[1:]:
        for a, b in zip(found, answers[0], strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(answers[0][3], answers[0][2][:3])


def test_a_layer_forgets_shapes_when_its_settings_change():
    layer = layers.MaxPooling2D(2)
    x = np.zeros((1, 8, 8, 1), np.float32)
    assert layer(x).shape == (1, 4, 4, 1)
    layer.padding = "same"  # the shape is asked for anew, and nothing stale is handed out
    assert layer._last_shapes == (None, None)
