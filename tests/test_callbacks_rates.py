"""Callbacks that set the learning rate, and those that write: CSV files, TensorBoard."""

from __future__ import annotations

import csv
import sys
import types

import numpy as np
import pytest
from test_callbacks import Scripted, make_data, make_model

from fastconv import callbacks, layers, metrics, models, optimizers
from fastconv.callbacks import tensorboard


def rates_of(callback, values, rate=1.0):
    """Learning rates by epoch, as the history holds them."""
    model = make_model(rate)
    options = {"epochs": len(values), "verbose": 0, "callbacks": [Scripted("figure", values), callback]}
    return model.fit(*make_data(), **options).history["learning_rate"]


@pytest.mark.parametrize(
    ("options", "values", "expected"),
    [
        ({"patience": 2}, [3, 2, 2, 2, 2, 2], [1, 1, 1, 1, 0.5, 0.5]),
        ({"patience": 1, "cooldown": 2}, [1, 1, 1, 1, 1, 1], [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "min_lr": 0.3}, [1, 1, 1, 1, 1], [1, 1, 0.5, 0.3, 0.3]),
        ({"patience": 1, "min_delta": 0.5}, [2, 1.75, 1.25, 1.2], [1, 1, 0.5, 0.5]),
        ({"patience": 1, "mode": "max"}, [1, 2, 1, 3], [1, 1, 1, 0.5]),
        ({"patience": 0}, [1, 1, 1], [1, 1, 0.5]),
        ({"patience": 1}, [float("nan")] * 3, [1, 0.5, 0.25]),
    ],
)
def test_a_plateau_lowers_the_rate(options, values, expected):
    callback = callbacks.ReduceLROnPlateau("figure", factor=0.5, **({"mode": "min"} | options))
    assert rates_of(callback, values) == expected
    assert rates_of(callback, values) == expected  # A second training starts anew.


def test_a_plateau_says_what_it_does_and_needs_its_figure(capsys):
    callback = callbacks.ReduceLROnPlateau("figure", factor=0.5, patience=1, verbose=1, mode="min")
    rates_of(callback, [1, 1, 2])
    assert capsys.readouterr().out == (
        "Epoch 2: reducing the learning rate to 0.5\nEpoch 3: reducing the learning rate to 0.25\n"
    )
    with pytest.warns(UserWarning, match="'val_loss' is not among the figures"):
        make_model().fit(*make_data(), callbacks=callbacks.ReduceLROnPlateau(), verbose=0)
    scheduled = make_model()
    scheduled.compile(optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 10)), "mse")
    with pytest.raises(TypeError, match="follows CosineDecay"):
        scheduled.fit(*make_data(), epochs=3, verbose=0, callbacks=[Scripted("figure", [1, 1, 1]), callback])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 1.0}, r"factor=1\.0\. It must be below 1"),
        ({"factor": 0.0}, "factor must be above 0"),
        ({"min_lr": -1}, "min_lr must be at least 0"),
        ({"mode": "up"}, "mode must be one of"),
    ],
)
def test_plateau_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        callbacks.ReduceLROnPlateau(**options)


def test_a_rate_for_each_epoch(capsys):
    with_rate = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate, verbose=1)
    assert rates_of(with_rate, [1, 1, 1]) == [1, 0.5, 0.25]
    assert "Epoch 3: the learning rate is 0.25" in capsys.readouterr().out
    assert rates_of(callbacks.LearningRateScheduler(lambda epoch: 0.1 * (epoch + 1)), [1, 1]) == [0.1, 0.2]
    assert rates_of(callbacks.LearningRateScheduler(optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)), [1, 1]) == [
        1,
        0.5,
    ]


def test_errors_of_the_users_function_are_not_swallowed():
    def wrong(epoch, rate):
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        rates_of(callbacks.LearningRateScheduler(wrong), [1])
    with pytest.raises(TypeError, match="the rate of schedule must be a number, received None"):
        rates_of(callbacks.LearningRateScheduler(lambda epoch: None), [1])
    with pytest.raises(ValueError, match="the rate of schedule must be at least 0"):
        rates_of(callbacks.LearningRateScheduler(lambda epoch: -1.0), [1])
    with pytest.raises(TypeError, match="schedule must be a function"):
        callbacks.LearningRateScheduler(0.1)


def test_figures_that_callbacks_add_reach_the_history_even_in_the_last_epoch():
    def fail(epoch, logs):
        logs["mine"] = epoch
        if epoch == 1:
            raise RuntimeError("mine")

    model = make_model()
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(*make_data(), epochs=3, callbacks=callbacks.LambdaCallback(on_epoch_end=fail), verbose=0)
    assert model.history.history["mine"] == [0, 1]
    assert len(model.history.history["loss"]) == 2


def make_wide_model():
    """A model with a metric that gives two figures."""
    model = models.Sequential(
        [layers.Input((4, 4, 2)), layers.Conv2D(3, 2, name="conv"), layers.Flatten(), layers.Dense(2, "sigmoid")],
        name="wide",
    )
    model.compile("adam", "bce", metrics=["accuracy", metrics.Precision([0.25, 0.75])])
    generator = np.random.default_rng(0)
    return model, generator.random((8, 4, 4, 2), "float32"), generator.integers(0, 2, (8, 2))


def test_metrics_with_several_figures_are_shown_and_written(tmp_path, capsys):
    model, x, y = make_wide_model()
    log = callbacks.CSVLogger(tmp_path / "log.csv")
    history = model.fit(x, y, epochs=2, verbose=2, callbacks=[log, callbacks.LearningRateScheduler(lambda epoch: 0.5)])
    assert np.shape(history.history["precision"]) == (2, 2)
    assert "precision: [0." in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    # As in Keras in the order of the alphabet; what a later callback adds comes too late for this one.
    assert list(rows[0]) == ["epoch", "accuracy", "loss", "precision"]
    assert rows[0]["precision"] == str(history.history["precision"][0].tolist())


class FakeWriter:
    """What tensorboardX's SummaryWriter is asked to write."""

    made: list[FakeWriter]

    def __init__(self, folder):
        self.folder, self.calls, self.open = folder, [], True
        FakeWriter.made.append(self)

    def __getattr__(self, name):
        def call(*args, **kwargs):
            assert self.open
            self.calls.append((name, *args))

        return call

    def close(self):
        self.open = False

    def scalars(self):
        return [call[1:] for call in self.calls if call[0] == "add_scalar"]


@pytest.fixture
def writers(monkeypatch):
    FakeWriter.made = []
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=FakeWriter))
    return FakeWriter.made


def test_tensorboard_has_the_tags_of_keras(writers, tmp_path):
    x, y = make_data()
    model = make_model(0.125, metrics=["accuracy"])
    history = model.fit(
        x, y, epochs=2, validation_data=(x, y), callbacks=callbacks.TensorBoard(tmp_path), verbose=0
    ).history
    assert [writer.folder for writer in writers] == [str(tmp_path / "train"), str(tmp_path / "validation")]
    assert not any(writer.open for writer in writers)
    train, validation = writers
    assert train.scalars() == [
        (f"epoch_{name}", value, epoch)
        for epoch in (0, 1)
        for name, value in (
            ("loss", history["loss"][epoch]),
            ("accuracy", history["accuracy"][epoch]),
            ("learning_rate", 0.125),
        )
    ]
    assert ("epoch_loss", history["val_loss"][1], 1) in validation.scalars()
    assert ("evaluation_accuracy_vs_iterations", history["val_accuracy"][0], 1) in validation.scalars()
    text = next(call for call in train.calls if call[0] == "add_text")
    assert text[1] == "model"
    assert "Total params" in text[2]


def test_tensorboard_by_batches_with_weights(writers, tmp_path):
    model, x, y = make_wide_model()
    board = callbacks.TensorBoard(
        tmp_path, histogram_freq=2, write_images=True, write_graph=False, write_steps_per_second=True, update_freq=2
    )
    model.fit(x, y, batch_size=2, epochs=3, callbacks=board, verbose=0)
    (train,) = writers
    tags = [(tag, step) for tag, _, step in train.scalars()]
    assert [step for tag, step in tags if tag == "batch_loss"] == [2, 4, 6, 8, 10, 12]
    assert ("batch_precision_1", 2) in tags
    assert ("epoch_steps_per_second", 2) in tags
    pictures = [(call[1], np.shape(call[2]), call[3]) for call in train.calls if call[0] == "add_images"]
    assert ("conv/kernel/image", (6, 2, 2, 1), 2) in pictures
    assert ("conv/bias/image", (1, 1, 3, 1), 0) in pictures
    assert [call[3] for call in train.calls if call[:2] == ("add_histogram", "conv/kernel/histogram")] == [0, 2]
    assert not [call for call in train.calls if call[0] == "add_text"]


def test_tensorboard_closes_after_an_exception(writers, tmp_path):
    def fail(epoch, logs):
        raise RuntimeError

    board = callbacks.TensorBoard(tmp_path)
    with pytest.raises(RuntimeError):
        make_model().fit(*make_data(), verbose=0, callbacks=[board, callbacks.LambdaCallback(on_epoch_end=fail)])
    assert not any(writer.open for writer in writers)


def test_tensorboard_needs_its_extra_and_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'needs tensorboardX.*pip install "fastconv\[tensorboard\]"'):
        callbacks.TensorBoard()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"update_freq": 0}, ValueError, "update_freq must be at least 1"),
        ({"update_freq": "hour"}, TypeError, "update_freq must be an integer"),
        ({"profile_batch": 3}, NotImplementedError, "profile_batch=3"),
        ({"embeddings_freq": 1}, NotImplementedError, "embeddings_freq=1"),
    ],
)
@pytest.mark.usefixtures("writers")
def test_tensorboard_arguments(options, error, message):
    with pytest.raises(error, match=message):
        callbacks.TensorBoard(**options)


def test_pictures_of_weights():
    assert tensorboard.as_pictures(np.array([1.0, 3.0, 2.0]))[0, 0, :, 0].tolist() == [0, 1, 0.5]
    kernel = np.arange(36.0).reshape(3, 3, 2, 2)
    pictures = tensorboard.as_pictures(kernel)
    assert pictures.shape == (4, 3, 3, 1)
    assert np.allclose(pictures[1, ..., 0] * 35, kernel[:, :, 0, 1])
    assert tensorboard.as_pictures(np.ones((2, 3))).max() == 0
    assert tensorboard.as_pictures(np.ones(0)).shape == (1, 1, 0, 1)


def test_real_event_files(tmp_path):
    pytest.importorskip("tensorboardX")
    model, x, y = make_wide_model()
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1, write_images=True, update_freq="batch")
    model.fit(x, y, epochs=1, validation_split=0.25, callbacks=board, verbose=0)
    for part in ("train", "validation"):
        (file,) = (tmp_path / part).iterdir()
        assert b"epoch_loss" in file.read_bytes()
