"""Callbacks: hooks in Keras's order, progress, early stop, checkpoints."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest

from fastconv import callbacks, layers, models, optimizers
from fastconv.metrics import MeanMetricWrapper


def make_model(rate=0.1, metrics=None, weighted_metrics=None):
    model = models.Sequential([layers.Input((3,)), layers.Dense(1, kernel_initializer="zeros")])
    model.compile(optimizers.SGD(rate), "mse", metrics=metrics, weighted_metrics=weighted_metrics)
    return model


def make_data(n=10):
    return np.ones((n, 3), "float32"), np.ones((n, 1), "float32")


class Recorder(callbacks.Callback):
    """Writes down every hook."""

    def __init__(self):
        super().__init__()
        self.calls = []


def _record(name):
    def hook(self, *args):
        self.calls.append((name, *[arg for arg in args if isinstance(arg, int)]))

    return hook


for _name in [
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_predict_begin",
    "on_predict_end",
    "on_predict_batch_begin",
    "on_predict_batch_end",
]:
    setattr(Recorder, _name, _record(_name))


def test_hooks_are_called_in_order():
    x, y = make_data(4)
    recorder = Recorder()
    model = make_model()
    model.fit(x, y, batch_size=3, callbacks=[recorder], validation_data=(x, y), verbose=0)
    assert recorder.calls == [
        ("on_train_begin",),
        ("on_epoch_begin", 0),
        ("on_train_batch_begin", 0),
        ("on_train_batch_end", 0),
        ("on_train_batch_begin", 1),
        ("on_train_batch_end", 1),
        ("on_test_begin",),
        ("on_test_batch_begin", 0),
        ("on_test_batch_end", 0),
        ("on_test_batch_begin", 1),
        ("on_test_batch_end", 1),
        ("on_test_end",),
        ("on_epoch_end", 0),
        ("on_train_end",),
    ]
    assert recorder.model is model
    assert recorder.params["epochs"] == 1
    assert recorder.params["steps"] == 2
    recorder.calls.clear()
    model.predict(x, batch_size=4, callbacks=recorder)
    assert [call[0] for call in recorder.calls] == [
        "on_predict_begin",
        "on_predict_batch_begin",
        "on_predict_batch_end",
        "on_predict_end",
    ]


def test_batch_hooks_have_two_names_and_get_running_means():
    seen = []

    class Old(callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            seen.append((batch, sorted(logs)))

    x, y = make_data(4)
    make_model(metrics=["accuracy"]).fit(x, y, batch_size=2, callbacks=Old(), verbose=0)
    assert seen == [(0, ["accuracy", "loss"]), (1, ["accuracy", "loss"])]


def test_lambda_callback():
    seen = []
    callback = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append((epoch, "loss" in logs)),
        on_train_batch_end=lambda batch, logs: seen.append(batch),
    )
    make_model().fit(*make_data(4), batch_size=2, callbacks=[callback], verbose=0)
    assert seen == [0, 1, (0, True)]


def test_what_is_no_callback_is_refused():
    with pytest.raises(TypeError, match=r"fastconv\.callbacks\.Callback objects"):
        make_model().fit(*make_data(), callbacks=[print], verbose=0)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_progress_is_a_line_per_epoch_where_there_is_no_terminal(verbose, capsys):
    x, y = make_data()
    make_model(metrics=["accuracy"]).fit(x, y, epochs=2, verbose=verbose, validation_data=(x, y))
    out = capsys.readouterr()
    lines = out.out.splitlines()
    assert len(lines) == 2
    assert not out.err
    for number, line in enumerate(lines, 1):
        assert line.startswith(f"Epoch {number}/2 - ")
        for word in ("images/s", "loss: ", "accuracy: ", "val_loss: ", "val_accuracy: ", "s - "):
            assert word in line


def shown(text):
    """What a terminal shows in the end: a carriage return starts the line anew, and later text covers earlier."""
    lines = []
    for line in text.split("\n"):
        cells = ""
        for part in line.split("\r"):
            cells = part + cells[len(part) :]
        lines.append(cells.rstrip())
    return lines


@pytest.mark.parametrize("columns", [0, 1, 20, 80, 130, 300])
def test_progress_on_a_terminal_is_a_bar_that_gives_way_to_a_whole_line(columns, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(callbacks.ProgressBar, "INTERVAL", 0.0)
    x, y = make_data()
    model = make_model(metrics=["accuracy"])
    model.fit(x, y, epochs=2, batch_size=4, verbose=1, validation_data=(x, y))
    text = stream.getvalue()
    line = r"Epoch {}/2 - \d+\.\ds - [\d,]+ images/s - loss: \S+ - accuracy: \S+ - val_loss: \S+ - val_accuracy: \S+"
    *lines, last = shown(text)
    assert last == ""
    assert len(lines) == 2
    for number, epoch in enumerate(lines, 1):
        assert re.fullmatch(line.format(number), epoch)
    bars = [part for part in re.split(r"[\r\n]", text) if "%|" in part]
    assert max(len(part.rstrip()) for part in re.split(r"[\r\n]", text) if "images/s" not in part) <= (
        max(columns - 1, 1) if columns else 79
    )
    if columns == 0 or columns >= 80:
        assert bars[0].startswith("Epoch 1/2   0%|")
        assert any(re.fullmatch(r"Epoch 1/2 100%\|#+\| 00:00<00:00 - loss: \S+ - accuracy: \S+ *", bar) for bar in bars)
    assert "| ," not in text


def test_progress_of_an_epoch_that_does_not_end_stays(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("COLUMNS", "80")

    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_model().fit(*make_data(), batch_size=4, verbose=1, callbacks=[Stop()])
    *lines, last = shown(stream.getvalue())
    assert last == ""
    assert len(lines) == 1
    assert lines[0].startswith("Epoch 1/1   0%|")


def test_progress_of_a_prediction(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    x, _ = make_data()
    make_model().predict(x)
    assert re.fullmatch(r"Predict - \d+\.\ds - [\d,]+ images/s", shown(stream.getvalue())[0])


def test_verbose_0_is_quiet(capsys):
    x, y = make_data()
    model = make_model()
    model.fit(x, y, verbose=0)
    model.evaluate(x, y, verbose=0)
    model.predict(x)
    out = capsys.readouterr()
    assert not out.out
    assert not out.err
    model.evaluate(x, y)
    assert capsys.readouterr().out.startswith("Evaluate - ")
    with pytest.raises(ValueError, match="verbose must be one of"):
        model.fit(x, y, verbose=3)


class Scripted(callbacks.Callback):
    """Puts figures of its own into the logs, before the callbacks behind it see them."""

    def __init__(self, name, values):
        super().__init__()
        self.name, self.values = name, values

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]
        self.model.layers[0].weights[1][...] = epoch


@pytest.mark.parametrize(
    ("values", "options", "epochs"),
    [
        ([1.0, 0.5, 0.6, 0.7, 0.1], {"patience": 2}, 4),
        ([1.0, 0.5, 0.6, 0.4, 0.5], {"patience": 2}, 5),
        ([1.0, 0.95, 0.93, 0.91, 0.9], {"patience": 2, "min_delta": 0.2}, 3),
        ([0.1, 0.2, 0.3, 0.2, 0.1], {"patience": 1, "mode": "max"}, 4),
        ([3.0, 2.0, 1.5, 1.4, 1.3], {"patience": 2, "baseline": 1.0}, 3),
        ([1.0, 2.0, 3.0, 4.0, 5.0], {"patience": 1, "start_from_epoch": 2}, 4),
    ],
)
def test_early_stopping(values, options, epochs):
    stop = callbacks.EarlyStopping(monitor="figure", **({"mode": "min"} | options))
    history = make_model().fit(*make_data(), epochs=5, callbacks=[Scripted("figure", values), stop], verbose=0)
    # A baseline that is never reached stops after `patience` epochs without having beaten it, as in Keras.
    assert len(history.epoch) == (5 if "baseline" in options else epochs)


def test_early_stopping_puts_the_best_weights_back(capsys):
    stop = callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True, verbose=1)
    model = make_model()
    x, y = make_data()
    scripted = Scripted("val_loss", [1.0, 0.5, 0.6, 0.7, 0.1])
    model.fit(x, y, epochs=5, callbacks=[scripted, stop], verbose=0)
    assert stop.stopped_epoch == 3
    assert stop.best_epoch == 1
    assert model.get_weights()[1] == 1
    assert "early stopping" in capsys.readouterr().out


def test_early_stopping_needs_its_figure_and_a_direction():
    with pytest.warns(UserWarning, match="'val_loss' is not among the figures"):
        make_model().fit(*make_data(), callbacks=[callbacks.EarlyStopping()], verbose=0)
    stop = callbacks.EarlyStopping("figure")
    with pytest.raises(ValueError, match="mode='max' or mode='min'"):
        make_model().fit(*make_data(), epochs=2, callbacks=[Scripted("figure", [1, 2]), stop], verbose=0)
    accuracy = callbacks.EarlyStopping("accuracy", patience=5)
    make_model(metrics=["accuracy"]).fit(*make_data(), epochs=2, callbacks=[accuracy], verbose=0)
    with pytest.raises(ValueError, match="mode must be one of"):
        callbacks.EarlyStopping(mode="up")


def test_a_nan_is_never_an_improvement(tmp_path):
    nan = float("nan")
    stop = callbacks.EarlyStopping("figure", mode="min", patience=3, restore_best_weights=True)
    best = callbacks.ModelCheckpoint(tmp_path / "best.keras", "figure", save_best_only=True, mode="min", verbose=1)
    model = make_model()
    scripted = Scripted("figure", [nan, 1.0, nan, 2.0, nan, 0.0])
    history = model.fit(*make_data(), epochs=6, callbacks=[scripted, stop, best], verbose=0)
    assert len(history.epoch) == 5
    assert model.get_weights()[1] == 1
    assert models.load_model(tmp_path / "best.keras").get_weights()[1] == 1


def test_checkpoints(tmp_path):
    model = make_model()
    every = callbacks.ModelCheckpoint(tmp_path / "new" / "{epoch:02d}-{figure:.1f}.keras")
    best = callbacks.ModelCheckpoint(tmp_path / "best.keras", "figure", save_best_only=True, mode="min")
    weights = callbacks.ModelCheckpoint(tmp_path / "last.weights.h5", save_weights_only=True)
    scripted = Scripted("figure", [1.0, 0.5, 0.6])
    model.fit(*make_data(), epochs=3, callbacks=[scripted, every, best, weights], verbose=0)
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["01-1.0.keras", "02-0.5.keras", "03-0.6.keras"]
    assert models.load_model(tmp_path / "best.keras").get_weights()[1] == 1
    twin = make_model()
    twin.load_weights(tmp_path / "last.weights.h5")
    assert twin.get_weights()[1] == 2


def test_checkpoints_by_batches(tmp_path):
    saver = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}.keras", save_freq=3)
    make_model().fit(*make_data(8), batch_size=2, epochs=2, callbacks=[saver], verbose=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-3.keras", "2-2.keras"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filepath": "a.h5"}, r"must end in \.keras"),
        ({"filepath": "a.keras", "save_weights_only": True}, r"\.weights\.h5"),
        ({"filepath": "a.keras", "save_freq": 0}, "save_freq=0"),
    ],
)
def test_checkpoint_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        callbacks.ModelCheckpoint(**options)


def test_terminate_on_nan(capsys):
    x, y = make_data(8)
    model = make_model(rate=1e30)
    history = model.fit(x * 1e4, y, batch_size=1, epochs=5, callbacks=[callbacks.TerminateOnNaN()], verbose=0)
    assert len(history.epoch) == 1
    assert "training stops" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="the loss of batch"):
        make_model(1e30).fit(x * 1e4, y, batch_size=1, callbacks=[callbacks.TerminateOnNaN(True)], verbose=0)


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    x, y = make_data()
    for append in (False, True):
        logger = callbacks.CSVLogger(path, append=append)
        make_model().fit(x, y, epochs=2, validation_data=(x, y), callbacks=[logger], verbose=0)
    rows = list(csv.DictReader(path.open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "0", "1"]
    assert list(rows[0]) == ["epoch", "loss", "val_loss"]
    assert float(rows[0]["loss"]) > float(rows[1]["loss"])


def test_a_figure_without_a_direction_needs_a_mode():
    def good(y_true, y_pred):
        return -np.abs(y_true - y_pred).mean(axis=-1)

    for metric in (good, MeanMetricWrapper(good, name="good")):
        model = make_model(metrics=[metric])
        with pytest.raises(ValueError, match=r"EarlyStopping: cannot tell whether monitor='val_good'"):
            model.fit(*make_data(), validation_split=0.5, callbacks=[callbacks.EarlyStopping("val_good")], verbose=0)
    model = make_model(metrics=["accuracy"])
    with pytest.raises(ValueError, match=r"EarlyStopping: cannot tell whether monitor='val_acc'"):
        model.fit(*make_data(), validation_split=0.5, callbacks=[callbacks.EarlyStopping("val_acc")], verbose=0)


def test_a_weighted_metric_of_a_name_that_is_taken_can_be_watched():
    model = make_model(metrics=["accuracy"], weighted_metrics=["accuracy"])
    stop = callbacks.EarlyStopping("val_weighted_accuracy")
    history = model.fit(*make_data(), validation_split=0.5, callbacks=[stop], verbose=0)
    assert model.metrics_names == ["loss", "accuracy", "weighted_accuracy"]
    assert set(model.metrics_names) <= set(history.history)


def test_csv_logger_continues_with_the_columns_of_the_file(tmp_path):
    path, (x, y) = tmp_path / "log.csv", make_data()
    make_model(metrics=["accuracy"]).fit(x, y, callbacks=[callbacks.CSVLogger(path)], verbose=0)
    again = callbacks.CSVLogger(path, append=True)
    make_model(metrics=["accuracy"]).fit(x, y, validation_split=0.5, callbacks=[again], verbose=0)
    make_model(metrics=[]).fit(x, y, callbacks=[again], verbose=0)
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    assert header == ["epoch", "accuracy", "loss"]
    assert [len(row) for row in rows] == [3, 3, 3]
    assert rows[2][1] == "NA"


def test_callbacks_of_a_prediction_see_its_outputs():
    x, _ = make_data()
    seen = []

    class Seeing(callbacks.Callback):
        def on_predict_batch_end(self, batch, logs=None):
            seen.append(np.array(logs["outputs"]))

    whole = make_model().predict(x, batch_size=5, callbacks=[Seeing()], verbose=0)
    assert np.array_equal(np.concatenate(seen), whole)
