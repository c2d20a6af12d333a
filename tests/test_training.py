"""fit, evaluate and predict: what is learnt, what is reported, what an interrupt leaves behind."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import callbacks, layers, losses, metrics, models, optimizers, utils


def make_model(
    classes=3, optimizer="adam", loss="sparse_categorical_crossentropy", metric=("accuracy",), seed=0, l2=0.0
):
    utils.set_random_seed(seed)
    model = models.Sequential(
        [
            layers.Input((6, 6, 1)),
            layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2" if l2 else None),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(classes, activation="softmax"),
        ]
    )
    model.compile(optimizer, loss, metrics=list(metric))
    return model


def make_data(n=30, classes=3, seed=0):
    """Images with a bright band whose place is the class: separable."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, classes, n)
    x = generator.normal(0, 0.1, (n, 6, 6, 1)).astype("float32")
    for i, label in enumerate(y):
        x[i, 2 * label : 2 * label + 2] += 1
    return x, y


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [("Adam", {}), ("RMSprop", {}), ("SGD", {"momentum": 0.9, "nesterov": True})],
)
@pytest.mark.parametrize("one_hot", [False, True])
def test_a_separable_problem_is_learnt(optimizer, options, one_hot):
    x, y = make_data(300)
    targets = utils.to_categorical(y, 3) if one_hot else y
    rule = getattr(optimizers, optimizer)(0.01, **options)
    model = make_model(optimizer=rule, loss=f"{'' if one_hot else 'sparse_'}categorical_crossentropy")
    history = model.fit(x, targets, epochs=12, validation_split=0.2, verbose=0)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(len(values) == 12 for values in history.history.values())
    assert history.epoch == list(range(12))
    assert history.history["val_accuracy"][-1] == 1.0
    assert history.history["loss"][-1] < 0.3 < history.history["loss"][0]
    x_test, y_test = make_data(100, seed=1)
    assert np.mean(model.predict(x_test).argmax(axis=1) == y_test) == 1.0


def test_a_line_is_fitted():
    utils.set_random_seed(0)
    model = models.Sequential([layers.Input((1,)), layers.Dense(1)])
    model.compile(optimizers.SGD(0.1), "mse")
    x = np.linspace(-1, 1, 64)
    history = model.fit(x[:, None], 3 * x + 2, epochs=60, verbose=0)
    assert list(history.history) == ["loss"]
    kernel, bias = model.get_weights()
    assert kernel[0, 0] == pytest.approx(3, abs=1e-3)
    assert bias[0] == pytest.approx(2, abs=1e-3)


def test_one_epoch_equals_the_steps_written_out():
    """Two layers, plain gradient descent, batches in order: against NumPy alone."""
    utils.set_random_seed(0)
    model = models.Sequential(
        [
            layers.Input((5,)),
            layers.Dense(4, activation="relu", kernel_regularizer="l2"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(10, 5)).astype("float32"), generator.integers(0, 3, 10)
    weight = generator.uniform(0.5, 2, 10)
    a, b, c, d = (w.astype(np.float64) for w in model.get_weights())
    total = hits = 0.0
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
        xs, ys, n = x[rows].astype(np.float64), y[rows], len(y[rows])
        h = np.maximum(xs @ a + b, 0)
        p = softmax(h @ c + d)
        total += n * (np.mean(-np.log(p[np.arange(n), ys]) * weight[rows]) + 0.01 * (a * a).sum())
        hits += (p.argmax(axis=1) == ys).sum()
        g = (p - np.eye(3)[ys]) * weight[rows, None] / n
        gh = (g @ c.T) * (h > 0)
        a, b, c, d = a - 0.5 * (xs.T @ gh + 0.02 * a), b - 0.5 * gh.sum(0), c - 0.5 * h.T @ g, d - 0.5 * g.sum(0)
    history = model.fit(x, y, batch_size=4, shuffle=False, sample_weight=weight, verbose=0).history
    assert history["loss"][0] == pytest.approx(total / 10, rel=1e-5)
    assert history["accuracy"][0] == hits / 10
    for weight_now, expected in zip(model.get_weights(), (a, b, c, d), strict=True):
        assert np.max(np.abs(weight_now - expected)) < 1e-5


def test_evaluate_is_the_mean_over_samples():
    x, y = make_data(31)
    model = make_model(l2=0.01)
    p = model.predict(x)
    losses_each = -np.log(p[np.arange(31), y].astype(np.float64))
    penalty = 0.01 * float((model.get_weights()[0].astype(np.float64) ** 2).sum())
    loss, accuracy = model.evaluate(x, y, batch_size=8, verbose=0)
    assert loss == pytest.approx(losses_each.mean() + penalty, rel=1e-5)
    assert accuracy == np.mean(p.argmax(axis=1) == y)
    weight = np.linspace(0, 2, 31)
    weighted = model.evaluate(x, y, batch_size=8, verbose=0, sample_weight=weight, return_dict=True)
    assert weighted["loss"] == pytest.approx((losses_each * weight).mean() + penalty, rel=1e-5)
    assert weighted["accuracy"] == accuracy
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert isinstance(model.evaluate(x, y, verbose=0), float)


@pytest.mark.parametrize("last", ["dense", "layer", "activation"])
def test_softmax_and_crossentropy_are_joined(last):
    """Logits of ±1e4 through a softmax: probabilities would be 0, their logarithm infinite or clipped."""
    stack = {
        "dense": [layers.Dense(2, activation="softmax")],
        "layer": [layers.Dense(2), layers.Softmax()],
        "activation": [layers.Dense(2), layers.Activation("softmax")],
    }[last]
    model = models.Sequential([layers.Input((2,)), *stack])
    model.set_weights([1e4 * np.eye(2), np.zeros(2)])
    model.compile(optimizers.SGD(1.0), "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = np.array([[1.0, -1.0], [1.0, -1.0]], "float32"), np.array([1, 0])
    assert model.evaluate(x, y, verbose=0) == [1e4, 0.5]
    assert model.train_on_batch(x, y, return_dict=True) == {"loss": 1e4, "accuracy": 0.5}
    # The gradient in the logits is (p - t) / n: [1, -1] / 2 for the first sample, 0 for the second.
    assert model.get_weights()[1].tolist() == [-0.5, 0.5]
    assert model.predict(x).tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert model(x).tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_metrics_that_need_probabilities_get_them():
    def largest(y_true, y_pred):
        return y_pred.max(axis=-1)

    x, y = make_data(10)
    model = make_model(metric=(largest,))
    history = model.fit(x, y, epochs=1, verbose=0, shuffle=False, batch_size=10).history
    assert 1 / 3 <= history["largest"][0] <= 1
    expected = float(model.predict(x).max(axis=1).mean())
    assert model.evaluate(x, y, verbose=0)[1] == pytest.approx(expected, rel=1e-6)


def test_from_logits_is_the_same_training():
    x, y = make_data(20)
    first = make_model()
    second = make_model()
    second.pop()
    second.add(layers.Dense(3))
    second.set_weights(first.get_weights())
    second.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    for model in (first, second):
        model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    assert first.history.history == second.history.history


def test_validation_split_takes_the_last_part():
    x, y = make_data(25)
    model, twin = make_model(), make_model()
    for one, options in ((model, {"validation_split": 0.2}), (twin, {"validation_data": (x[20:], y[20:])})):
        rows = slice(None) if one is model else slice(20)
        utils.set_random_seed(1)
        one.fit(x[rows], y[rows], epochs=2, batch_size=8, verbose=0, **options)
    assert model.history.history == twin.history.history
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), twin.get_weights(), strict=True))


def test_class_and_sample_weights_count_like_repeated_samples():
    x, y = make_data(12)
    classes = {0: 2, 1: 1, 2: 3}
    each = np.array([classes[label] for label in y])
    repeated = np.repeat(np.arange(12), each)
    final = []
    summed = losses.SparseCategoricalCrossentropy(reduction="sum")
    for rows, options in (
        (slice(None), {"class_weight": classes}),
        (slice(None), {"sample_weight": each}),
        (repeated, {}),
    ):
        model = make_model(optimizer=optimizers.SGD(0.02), loss=summed)
        model.fit(x[rows], y[rows], batch_size=100, epochs=3, shuffle=False, verbose=0, **options)
        final.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(final[0], final[1], strict=True))
    for a, b in zip(final[0], final[2], strict=True):
        assert np.max(np.abs(a - b)) < 1e-6


def test_class_weights_of_one_hot_targets_and_unnamed_classes():
    x, y = make_data(12)
    final = []
    for loss, targets in (
        ("sparse_categorical_crossentropy", y),
        ("categorical_crossentropy", utils.to_categorical(y, 3)),
    ):
        model = make_model(loss=loss)
        model.fit(x, targets, class_weight={1: 5.0}, shuffle=False, verbose=0)
        final.append(model.get_weights())
    assert all(np.max(np.abs(a - b)) < 1e-6 for a, b in zip(*final, strict=True))


def test_the_same_seed_gives_the_same_bits():
    x, y = make_data(40)
    results = []
    for seed in (1, 1, 2):
        model = make_model(seed=seed)
        model.fit(x, y, epochs=2, batch_size=8, verbose=0)
        results.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(results[0], results[1], strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(results[0], results[2], strict=True))


def test_every_sample_is_seen_once_per_epoch():
    class Seen(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.values = []

        def call(self, x, training=False):
            self._keep(training, x.shape)
            self.values += x[:, 0].tolist()
            return x

        def backward(self, grad_output):
            return grad_output

    spy = Seen()
    model = models.Sequential([layers.Input((1,)), spy, layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.arange(11, dtype="float32")[:, None]
    model.fit(x, x, batch_size=4, epochs=2, verbose=0)
    first, second = spy.values[:11], spy.values[11:]
    assert sorted(first) == sorted(second) == list(range(11))
    assert first != second
    spy.values.clear()
    model.fit(x, x, batch_size=4, shuffle=False, verbose=0)
    assert spy.values == list(range(11))


def test_initial_epoch_and_a_second_fit():
    x, y = make_data(10)
    seen = []
    model = make_model()
    spy = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))
    history = model.fit(x, y, epochs=5, initial_epoch=3, callbacks=[spy], verbose=0)
    assert seen == history.epoch == [3, 4]
    assert model.optimizer.iterations == 2
    again = model.fit(x, y, epochs=1, verbose=0)
    assert again is not history
    assert model.history is again
    assert model.optimizer.iterations == 3


def test_float64_noncontiguous_and_flat_images():
    x, y = make_data(16)
    expected = make_model()
    expected.fit(x, y, epochs=1, verbose=0)
    wide = np.zeros((16, 6, 12, 1), "float32")
    wide[:, :, ::2] = x
    for other in (x.astype("float64"), wide[:, :, ::2], np.asfortranarray(x), x[..., 0], x.astype(">f4")):
        model = make_model()
        model.fit(other, y, epochs=1, verbose=0)
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), expected.get_weights(), strict=True))
        assert np.array_equal(model.predict(other), expected.predict(x))


def test_a_float64_model_trains_in_float64():
    model = models.Sequential(
        [layers.Input((3,), dtype="float64"), layers.Dense(2, activation="softmax", dtype="float64")]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(np.ones((4, 3)), np.array([0, 1, 0, 1]), verbose=0)
    assert model.weights[0].dtype == np.float64
    assert model.predict(np.ones((2, 3))).dtype == np.float64


def test_frozen_layers_stay_as_they_are():
    x, y = make_data(20)
    model = make_model()
    model.layers[0].trainable = False
    before = model.get_weights()
    model.fit(x, y, epochs=1, verbose=0)
    after = model.get_weights()
    assert np.array_equal(before[0], after[0])
    assert not np.array_equal(before[2], after[2])
    model.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=1, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(after, model.get_weights(), strict=True))


def test_nothing_goes_back_past_the_first_layer_that_learns():
    class Front(layers.Layer):
        def call(self, x, training=False):
            self._keep(training, x.shape)
            return x

    model = models.Sequential([layers.Input((3,)), Front(), layers.Dense(2), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 3), "float32"), np.ones(4), verbose=0)
    model(np.ones((1, 3), "float32"), training=True)
    with pytest.raises(NotImplementedError):
        model.backward(np.ones((1, 1), "float32"))


def test_buffers_are_reused_within_fit_and_given_back():
    x, y = make_data(40)
    model = make_model()
    model.fit(x, y, batch_size=16, verbose=0)
    first = model.predict(x[:8])
    kept = first.copy()
    model.predict(x[8:16])
    assert np.array_equal(first, kept)
    for layer in model.layers:
        assert not layer._reuse_buffers
        assert not layer._emit_logits
        assert layer._needs_input_grad
        assert not layer._buffers


def test_train_and_test_on_batch():
    x, y = make_data(12)
    model, twin = make_model(), make_model()
    values = [model.train_on_batch(x, y) for _ in range(3)]
    twin.fit(x, y, batch_size=12, epochs=3, shuffle=False, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), twin.get_weights(), strict=True))
    # As in Keras (3.15) each call tells of its own batch alone.
    assert [value[0] for value in values] == pytest.approx(twin.history.history["loss"])
    assert model.test_on_batch(x, y) == pytest.approx(twin.evaluate(x, y, batch_size=12, verbose=0))
    assert np.array_equal(model.predict_on_batch(x), twin.predict(x, batch_size=12))


def test_predict():
    x, _ = make_data(11)
    model = make_model()
    whole = model.predict(x, batch_size=11)
    assert np.max(np.abs(model.predict(x, batch_size=4) - whole)) < 1e-6
    assert model.predict(x[:0]).shape == (0, 3)
    unbuilt = models.Sequential([layers.Flatten(), layers.Dense(2)])
    assert unbuilt.predict(x).shape == (11, 2)


def test_stop_training_ends_after_the_batch():
    x, y = make_data(20)

    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    model = make_model()
    history = model.fit(x, y, batch_size=4, epochs=3, callbacks=[Stop()], verbose=0)
    assert model.optimizer.iterations == 2
    assert len(history.epoch) == 1


def test_metric_objects_keep_their_names():
    x, y = make_data(8)
    model = make_model(metric=("acc", metrics.SparseCategoricalAccuracy("mine")))
    assert list(model.fit(x, y, verbose=0).history) == ["loss", "acc", "mine"]
    assert model.metrics_names == ["loss", "acc", "mine"]


@pytest.mark.parametrize("last", ["dense", "activation"])
def test_sigmoid_and_binary_crossentropy_are_joined(last):
    """Logits of ±1e4 through a sigmoid: answers that are certain and wrong still say which way to go."""
    stack = [layers.Dense(1, kernel_initializer="ones", activation="sigmoid" if last == "dense" else None)]
    model = models.Sequential(
        [layers.Input((1,)), *stack, *([layers.Activation("sigmoid")] if last != "dense" else [])]
    )
    model.compile(optimizers.SGD(1.0), "binary_crossentropy", metrics=["accuracy", "bce"])
    x, y = np.array([[1e4], [1e4]], "float32"), np.array([1, 0])
    loss, accuracy, figure = model.evaluate(x, y, verbose=0)
    assert (loss, accuracy) == (5e3, 0.5)
    # The metric has probabilities, clipped: 1 - 1e-7 in float32.
    assert figure == pytest.approx(-np.log(1 - float(np.float32(1 - 1e-7))) / 2, rel=1e-5)
    model.train_on_batch(x, y)
    assert model.get_weights()[1].tolist() == [-0.5]  # (p - t) / n = [0, 1] / 2.
    assert model.predict(x).tolist() == [[0.0], [0.0]]


def test_weighted_metrics_and_names_that_meet():
    x, y = make_data(12)
    weight = np.arange(12.0)
    model = make_model(metric=())
    hits = metrics.SparseCategoricalAccuracy
    model.compile(
        "sgd", "sparse_categorical_crossentropy", ["acc", hits("acc")], weighted_metrics=["acc", hits("mine")]
    )
    figures = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    assert list(figures) == ["loss", "acc", "acc_1", "weighted_acc", "mine"]
    right = model.predict(x).argmax(axis=1) == y
    assert figures["acc"] == figures["acc_1"] == pytest.approx(right.mean())
    assert figures["weighted_acc"] == figures["mine"] == pytest.approx((right * weight).sum() / weight.sum())
    plain = model.evaluate(x, y, verbose=0, return_dict=True)
    assert plain["weighted_acc"] == plain["acc"]
    model.reset_metrics()
    assert model.test_on_batch(x, y, sample_weight=weight)[3] == pytest.approx(figures["mine"])


def test_relu_behind_max_pooling_gives_the_same_bits():
    # fit takes relu's gradient behind the pooling, from fewer cells; layer by layer it is taken where it stands.
    def model():
        utils.set_random_seed(5)
        return models.Sequential(
            [
                layers.Input((9, 8, 2)),
                layers.Conv2D(7, 3, activation="relu", padding="same"),
                layers.MaxPooling2D(3, strides=2, padding="same"),
                layers.Flatten(),
                layers.Dense(4),
            ]
        )

    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(6, 9, 8, 2)).astype("float32"), rng.normal(size=(6, 4)).astype("float32")
    fitted, by_hand = model(), model()
    fitted.compile("sgd", "mse")
    fitted.fit(x, y, batch_size=6, epochs=1, verbose=0, shuffle=False)

    gradient = losses.MeanSquaredError().value_and_grad(y, by_hand(x, training=True))[1]
    for layer in reversed(by_hand.layers):
        gradient = layer.backward(gradient)
    assert (by_hand.layers[0].grads[0] != 0).all()
    for layer in by_hand.layers:
        for weight, grad in zip(layer.trainable_weights, layer.grads, strict=True):
            weight -= np.float32(0.01) * grad
    for ours, theirs in zip(fitted.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)
    assert not fitted.layers[0]._relu_grad_behind


def test_several_threads_may_predict_with_one_model():
    from threading import Thread

    model = models.Sequential(
        [layers.Input((12, 12, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(3)]
    )
    x = np.random.default_rng(3).normal(size=(40, 12, 12, 1)).astype("float32")
    expected = model.predict(x, batch_size=8, verbose=0)
    wrong = []

    def work():
        for _ in range(20):
            if not np.array_equal(model.predict(x, batch_size=8, verbose=0), expected):
                wrong.append(1)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    first = model(x[:4])
    kept = first.copy()
    model(x[4:8])
    np.testing.assert_array_equal(first, kept)


def test_sample_weights_may_have_an_axis_too_many():
    x, y = make_data(12)
    weight = np.linspace(0, 2, 12)
    a, b = make_model(), make_model()
    a.fit(x, y, sample_weight=weight, validation_data=(x, y, weight), shuffle=False, verbose=0)
    b.fit(x, y, sample_weight=weight[:, None], validation_data=(x, y, weight[:, None]), shuffle=False, verbose=0)
    assert a.history.history == b.history.history
    assert all(np.array_equal(p, q) for p, q in zip(a.get_weights(), b.get_weights(), strict=True))


def test_lists_of_one_output_and_losses_as_metrics():
    x, y = make_data(12)
    model = make_model()
    model.compile("sgd", ["sparse_categorical_crossentropy"], metrics=[["accuracy"]])
    model.fit(x, y, verbose=0)
    assert model.metrics_names == ["loss", "accuracy"]
    model.compile("sgd", losses.MeanAbsoluteError(), metrics=[losses.MeanSquaredError()])
    figures = model.evaluate(x, utils.to_categorical(y, 3), batch_size=12, return_dict=True, verbose=0)
    expected = np.mean((model.predict(x) - utils.to_categorical(y, 3)) ** 2)
    assert figures["mean_squared_error"] == pytest.approx(expected, rel=1e-5)
    assert model.metrics[1].direction == "down"
