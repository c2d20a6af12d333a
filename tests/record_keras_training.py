"""Runs the cases of ``keras_cases.py`` in Keras and writes ``data/keras_training.npz``, which tests replay without it.

pip install "keras>=3.5" jax h5py && python tests/record_keras_training.py
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np
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
    make_inputs,
    make_model,
    make_optimizer,
    run_callback,
    run_fit,
    targets_and_predictions,
)

PATH = Path(__file__).parent / "data" / "keras_training.npz"


def record_losses(inputs: dict[str, np.ndarray], out: dict[str, np.ndarray]) -> None:
    """Values and gradients, for each reduction without and with weights."""
    for name, (cls, options, kind) in LOSSES.items():
        y, pred = targets_and_predictions(kind, inputs)
        values, grads = [], []
        for reduction in REDUCTIONS:
            loss = getattr(keras.losses, cls)(reduction=reduction, **options)
            for weight in (None, inputs["weight"]):
                value, grad = jax.value_and_grad(lambda p, y=y, w=weight, f=loss: f(y, p, sample_weight=w))(pred)
                values.append(np.asarray(value))
                grads.append(np.asarray(grad))
        out[f"losses/{name}/values"] = np.array(values, np.float32)
        out[f"losses/{name}/grads"] = np.array(grads, np.float32)


def record_optimizers(inputs: dict[str, np.ndarray], out: dict[str, np.ndarray]) -> None:
    """Both variables after every step, and the config."""
    for name in OPTIMIZERS:
        optimizer = make_optimizer(keras, name)
        variables = [keras.Variable(inputs["start_0"]), keras.Variable(inputs["start_1"])]
        path = []
        for step in range(STEPS):
            optimizer.apply([jax.numpy.asarray(inputs[f"grads_{i}"][step]) for i in (0, 1)], variables)
            path.append(np.concatenate([np.asarray(variable.value).ravel() for variable in variables]))
        out[f"optimizers/{name}/path"] = np.array(path, np.float32)
        out[f"optimizers/{name}/config"] = np.array(json.dumps(keras.optimizers.serialize(optimizer)))


def record_schedules(out: dict[str, np.ndarray]) -> None:
    """Rates at some steps, and the config."""
    for name, (cls, options) in SCHEDULES.items():
        schedule = getattr(keras.optimizers.schedules, cls)(**options)
        out[f"schedules/{name}/rates"] = np.array([float(schedule(step)) for step in SCHEDULE_STEPS], np.float32)
        out[f"schedules/{name}/config"] = np.array(json.dumps(keras.optimizers.schedules.serialize(schedule)))


def record_metrics(inputs: dict[str, np.ndarray], out: dict[str, np.ndarray]) -> None:
    """Results after each of two batches, without and with weights, and the config."""
    for name, (cls, options, kind) in METRICS.items():
        y, pred = targets_and_predictions(kind, inputs)
        results = []
        for weighted in (False, True):
            metric = getattr(keras.metrics, cls)(**options)
            for rows in (slice(0, ROWS // 2), slice(ROWS // 2, ROWS)):
                metric.update_state(y[rows], pred[rows], inputs["weight"][rows] if weighted else None)
                results.append(np.asarray(metric.result()))
        out[f"metrics/{name}/results"] = np.array(results, np.float32)
        out[f"metrics/{name}/config"] = np.array(json.dumps(keras.metrics.serialize(metric)))


def record_training(inputs: dict[str, np.ndarray], out: dict[str, np.ndarray]) -> None:
    """Histories with class and sample weights; what callbacks do; a file of a trained model."""
    for name in FITS:
        history, weights = run_fit(keras, name, inputs)
        out[f"fits/{name}/figures"] = np.array(list(history))
        out[f"fits/{name}/history"] = np.array(list(history.values()), np.float32)
        out[f"fits/{name}/weights"] = np.concatenate([weight.ravel() for weight in weights])
    for name in CALLBACKS:
        rates, last = run_callback(keras, name, inputs)
        out[f"callbacks/{name}/rates"] = np.array(rates, np.float32)
        out[f"callbacks/{name}/last"] = np.array(last)
    model = make_model(
        keras,
        inputs,
        make_optimizer(keras, "adamw_piecewise"),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy", keras.metrics.TopKCategoricalAccuracy(k=2), keras.metrics.Precision([0.2, 0.6])],
        weighted_metrics=["mse"],
    )
    x, y, weight = inputs["x"], inputs["one_hot"], inputs["weight"]
    model.fit(x, y, batch_size=5, epochs=1, shuffle=False, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        out["file/bytes"] = np.frombuffer(path.read_bytes(), np.uint8)
    # Of this exact state: the next epoch as Keras runs it.
    history = model.fit(x, y, batch_size=5, epochs=1, shuffle=False, verbose=0, sample_weight=weight).history
    out["file/figures"] = np.array(list(history))
    for i, value in enumerate(history.values()):
        out[f"file/history_{i}"] = np.asarray(value[0], np.float32)
    out["file/weights"] = np.concatenate([array.ravel() for array in model.get_weights()])


def main() -> None:
    """Write the file."""
    inputs = make_inputs()
    out: dict[str, np.ndarray] = {f"inputs/{name}": array for name, array in inputs.items()}
    out["keras_version"] = np.array(keras.__version__)
    record_losses(inputs, out)
    record_optimizers(inputs, out)
    record_schedules(out)
    record_metrics(inputs, out)
    record_training(inputs, out)
    PATH.parent.mkdir(exist_ok=True)
    # One array of bytes and an index: an .npz member each would cost 250 bytes for every number.
    np.savez_compressed(PATH, **pack(out))
    print(f"{PATH}: {len(out)} arrays, {PATH.stat().st_size:,} bytes, Keras {keras.__version__}")


def pack(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names, types, shapes and bytes of all arrays in two."""
    index = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return {"index": np.array(json.dumps(index)), "data": np.frombuffer(data, np.uint8)}


if __name__ == "__main__":
    main()
