"""Losses, optimisers, schedules, metrics, weights and callbacks against what real Keras gave, replayed from a file.

``record_keras_training.py`` wrote it; ``keras_cases.py`` says what is in it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_cases import (
    CALLBACKS,
    FITS,
    LOSSES,
    METRICS,
    OPTIMIZERS,
    REDUCTIONS,
    ROWS,
    SCHEDULE_STEPS,
    SCHEDULES,
    STEPS,
    make_optimizer,
    run_callback,
    run_fit,
    targets_and_predictions,
)

import fastconv
from fastconv import losses, metrics, models, optimizers

FILE = Path(__file__).parent / "data" / "keras_training.npz"


def read() -> dict[str, np.ndarray]:
    """The arrays by name."""
    with np.load(FILE, allow_pickle=False) as file:
        index, data = json.loads(str(file["index"])), file["data"].tobytes()
    arrays, start = {}, 0
    for name, dtype, shape in index:
        count = int(np.prod(shape, dtype=int))
        arrays[name] = np.frombuffer(data, dtype, count, start).reshape(shape)
        start += count * np.dtype(dtype).itemsize
    return arrays


RECORDED = read()
INPUTS = {name.removeprefix("inputs/"): array for name, array in RECORDED.items() if name.startswith("inputs/")}


def expect(ours: Any, theirs: np.ndarray, roundings: int) -> None:
    """Two float32 computations of a result, of at most ``roundings`` operations each on numbers of its size.

    Each errs by half an ulp per operation, in its own order of summation.
    """
    ours = np.asarray(ours, np.float64)
    assert ours.shape == theirs.shape
    bound = roundings * np.finfo(np.float32).eps * max(1e-3, float(np.max(np.abs(theirs), initial=0)))
    assert not np.max(np.abs(ours - theirs), initial=0) > bound
    assert np.isfinite(ours).all()


def same_config(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every key that both write has one value, to the digits of float32 in which Keras keeps rates."""
    assert ours["class_name"] == theirs["class_name"]
    assert ours["module"] == theirs["module"]
    for key, value in ours["config"].items():
        assert key in theirs["config"], key
        other = theirs["config"][key]
        if isinstance(value, dict):
            same_config(value, other)
        elif isinstance(value, float):
            assert np.float32(value) == np.float32(other), key
        elif key != "name":
            assert value == other, key


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    cls, options, kind = LOSSES[name]
    y, pred = targets_and_predictions(kind, INPUTS)
    values, grads = [], []
    for reduction in REDUCTIONS:
        loss = getattr(losses, cls)(reduction=reduction, **options)
        for weight in (None, INPUTS["weight"]):
            value, grad = loss.value_and_grad(y, pred, weight)
            assert grad.dtype == np.float32
            values.append(value)
            grads.append(grad)
    # Some ten operations for each of 60 numbers, then their sum.
    expect(values, RECORDED[f"losses/{name}/values"], 70)
    expect(grads, RECORDED[f"losses/{name}/grads"], 70)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    optimizer = make_optimizer(fastconv, name)
    variables = [INPUTS["start_0"].copy(), INPUTS["start_1"].copy()]
    path = []
    for step in range(STEPS):
        optimizer.apply([INPUTS["grads_0"][step], INPUTS["grads_1"][step]], variables)
        path.append(np.concatenate([variable.ravel() for variable in variables]))
    expect(path, RECORDED[f"optimizers/{name}/path"], 20 * STEPS + bias_correction(name))


def bias_correction(name: str) -> int:
    """Roundings that Keras adds in Adam: 1 - beta_2**t in float32 is wrong by up to 1 / (1 - beta_2) ulps."""
    optimizer = make_optimizer(fastconv, name)
    return int(STEPS * optimizer.learning_rate / (1 - optimizer.beta_2)) if hasattr(optimizer, "beta_2") else 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_configs_of_optimizers(name):
    theirs = json.loads(str(RECORDED[f"optimizers/{name}/config"]))
    same_config(optimizers.serialize(make_optimizer(fastconv, name)), theirs)
    same_config(optimizers.serialize(optimizers.deserialize(theirs)), theirs)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    cls, options = SCHEDULES[name]
    schedule = getattr(optimizers.schedules, cls)(**options)
    expect([schedule(step) for step in SCHEDULE_STEPS], RECORDED[f"schedules/{name}/rates"], 20)
    theirs = json.loads(str(RECORDED[f"schedules/{name}/config"]))
    same_config(optimizers.schedules.serialize(schedule), theirs)
    again = optimizers.schedules.deserialize(theirs)
    assert [again(step) for step in SCHEDULE_STEPS] == [schedule(step) for step in SCHEDULE_STEPS]


@pytest.mark.parametrize("name", METRICS)
def test_metrics(name):
    cls, options, kind = METRICS[name]
    y, pred = targets_and_predictions(kind, INPUTS)
    metric = getattr(metrics, cls)(**options)
    results = []
    for weighted in (False, True):
        metric.reset_state()
        for rows in (slice(0, ROWS // 2), slice(ROWS // 2, ROWS)):
            metric.update_state(y[rows], pred[rows], INPUTS["weight"][rows] if weighted else None)
            results.append(metric.result())
    expect(results, RECORDED[f"metrics/{name}/results"], 70)
    theirs = json.loads(str(RECORDED[f"metrics/{name}/config"]))
    same_config(metrics.serialize(metric), theirs)
    assert metric.name == re.sub(r"_\d+$", "", theirs["config"]["name"])  # Keras numbers some in each process.
    again = metrics.deserialize(theirs)
    assert again(y, pred) == pytest.approx(getattr(metrics, cls)(**options)(y, pred))


@pytest.mark.parametrize("name", FITS)
def test_class_and_sample_weights(name):
    history, weights = run_fit(fastconv, name, INPUTS)
    figures = [str(figure) for figure in RECORDED[f"fits/{name}/figures"]]
    assert set(history) == set(figures)
    # Nine steps through two layers: sums of at most twelve terms, forward and back.
    expect([history[figure] for figure in figures], RECORDED[f"fits/{name}/history"], 9 * 60)
    expect(np.concatenate([weight.ravel() for weight in weights]), RECORDED[f"fits/{name}/weights"], 9 * 60)


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks(name):
    rates, last = run_callback(fastconv, name, INPUTS)
    expect(rates, RECORDED[f"callbacks/{name}/rates"], 4)
    assert last == RECORDED[f"callbacks/{name}/last"]


def test_a_file_of_keras_is_trained_on_as_keras_does(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(RECORDED["file/bytes"].tobytes())
    model = models.load_model(path)
    assert type(model.optimizer) is optimizers.AdamW
    assert model.optimizer.iterations == 3
    assert model.optimizer.learning_rate == 0.05  # Behind the first boundary.
    assert model.loss.label_smoothing == 0.1
    x, y = INPUTS["x"], INPUTS["one_hot"]
    history = model.fit(x, y, batch_size=5, epochs=1, shuffle=False, verbose=0, sample_weight=INPUTS["weight"]).history
    figures = [str(figure) for figure in RECORDED["file/figures"]]
    assert set(history) == set(figures)
    for i, figure in enumerate(figures):
        expect(history[figure][0], RECORDED[f"file/history_{i}"], 3 * 60)
    roundings = 3 * 60 + bias_correction("adamw_piecewise")
    expect(np.concatenate([weight.ravel() for weight in model.get_weights()]), RECORDED["file/weights"], roundings)


def test_the_file_is_small():
    assert FILE.stat().st_size < 100_000
