"""What is compared with Keras: losses, optimisers, schedules, metrics, weights, callbacks; each as Keras spells it.

``record_keras_training.py`` runs these cases in Keras, ``test_keras_training.py`` in fastconv: ``api`` is either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS, CLASSES = 12, 5
STEPS = 8
SCHEDULE_STEPS = (0, 1, 2, 3, 5, 9, 10, 11, 19, 20, 29, 30, 31, 40, 99, 1000)

# name: (class, arguments, kind of the data)
LOSSES: dict[str, tuple[str, dict[str, Any], str]] = {
    "mse": ("MeanSquaredError", {}, "numbers"),
    "mae": ("MeanAbsoluteError", {}, "numbers"),
    "huber": ("Huber", {}, "numbers"),
    "huber_small": ("Huber", {"delta": 0.25}, "numbers"),
    "binary": ("BinaryCrossentropy", {}, "answers"),
    "binary_smoothed": ("BinaryCrossentropy", {"label_smoothing": 0.2}, "answers"),
    "binary_logits": ("BinaryCrossentropy", {"from_logits": True}, "answers_logits"),
    "binary_logits_smoothed": ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "answers_logits"),
    "categorical": ("CategoricalCrossentropy", {}, "one_hot"),
    "categorical_smoothed": ("CategoricalCrossentropy", {"label_smoothing": 0.2}, "one_hot"),
    "categorical_logits": ("CategoricalCrossentropy", {"from_logits": True}, "one_hot_logits"),
    "categorical_logits_smoothed": (
        "CategoricalCrossentropy",
        {"from_logits": True, "label_smoothing": 0.1},
        "one_hot_logits",
    ),
    "sparse": ("SparseCategoricalCrossentropy", {}, "labels"),
    "sparse_logits": ("SparseCategoricalCrossentropy", {"from_logits": True}, "labels_logits"),
}
REDUCTIONS = ("sum_over_batch_size", "sum", "mean_with_sample_weight")

SCHEDULES: dict[str, tuple[str, dict[str, Any]]] = {
    "exponential": ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5}),
    "staircase": (
        "ExponentialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.9, "staircase": True},
    ),
    "piecewise": ("PiecewiseConstantDecay", {"boundaries": [2, 10, 30], "values": [0.1, 0.05, 0.01, 0.001]}),
    "cosine": ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 30}),
    "cosine_alpha": ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 20, "alpha": 0.1}),
    "cosine_warmup": (
        "CosineDecay",
        {"initial_learning_rate": 0.001, "decay_steps": 20, "alpha": 0.05, "warmup_target": 0.2, "warmup_steps": 10},
    ),
}

# name: (class, arguments); a learning rate that is a string is one of SCHEDULES.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"learning_rate": 0.1}),
    "momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.9}),
    "nesterov": ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
    "sgd_decay": ("SGD", {"learning_rate": 0.1, "weight_decay": 0.1}),
    "sgd_clipvalue": ("SGD", {"learning_rate": 0.1, "clipvalue": 0.5}),
    "sgd_clipnorm": ("SGD", {"learning_rate": 0.1, "clipnorm": 1.0}),
    "sgd_global_clipnorm": ("SGD", {"learning_rate": 0.1, "global_clipnorm": 1.0}),
    "sgd_cosine": ("SGD", {"learning_rate": "cosine_warmup", "momentum": 0.9}),
    "rmsprop": ("RMSprop", {"learning_rate": 0.01}),
    "rmsprop_momentum": ("RMSprop", {"learning_rate": 0.01, "rho": 0.8, "momentum": 0.5}),
    "rmsprop_centered": ("RMSprop", {"learning_rate": 0.01, "momentum": 0.5, "centered": True}),
    "adam": ("Adam", {"learning_rate": 0.01}),
    "adam_amsgrad": ("Adam", {"learning_rate": 0.01, "beta_1": 0.7, "beta_2": 0.9, "amsgrad": True}),
    "adam_exponential": ("Adam", {"learning_rate": "exponential", "epsilon": 1e-5}),
    "adamw": ("AdamW", {"learning_rate": 0.01}),
    "adamw_decay": ("AdamW", {"learning_rate": 0.05, "weight_decay": 0.2, "clipnorm": 1.0}),
    "adamw_piecewise": ("AdamW", {"learning_rate": "piecewise", "weight_decay": 0.1, "amsgrad": True}),
}

# name: (class, arguments, kind of the data)
METRICS: dict[str, tuple[str, dict[str, Any], str]] = {
    "accuracy": ("Accuracy", {}, "guesses"),
    "binary_accuracy": ("BinaryAccuracy", {"threshold": 0.4}, "answers"),
    "categorical_accuracy": ("CategoricalAccuracy", {}, "one_hot"),
    "sparse_accuracy": ("SparseCategoricalAccuracy", {}, "labels"),
    "top_2": ("TopKCategoricalAccuracy", {"k": 2}, "one_hot"),
    "top_2_ties": ("TopKCategoricalAccuracy", {"k": 2}, "ties"),
    "sparse_top_3": ("SparseTopKCategoricalAccuracy", {"k": 3}, "labels"),
    "sparse_top_5": ("SparseTopKCategoricalAccuracy", {}, "labels"),
    "precision": ("Precision", {}, "answers"),
    "precision_thresholds": ("Precision", {"thresholds": [0.2, 0.55]}, "answers"),
    "precision_class": ("Precision", {"class_id": 2, "thresholds": 0.3}, "answers"),
    "precision_top": ("Precision", {"top_k": 2}, "one_hot"),
    "precision_top_ties": ("Precision", {"top_k": 2}, "ties"),
    "precision_top_class": ("Precision", {"top_k": 2, "class_id": 1, "thresholds": 0.1}, "one_hot"),
    "recall": ("Recall", {}, "answers"),
    "recall_thresholds": ("Recall", {"thresholds": [0.2, 0.55]}, "answers"),
    "recall_class": ("Recall", {"class_id": 0}, "answers"),
    "recall_top": ("Recall", {"top_k": 3}, "one_hot"),
    "mse": ("MeanSquaredError", {}, "numbers"),
    "rmse": ("RootMeanSquaredError", {}, "numbers"),
    "mae": ("MeanAbsoluteError", {}, "numbers"),
    "binary_crossentropy": ("BinaryCrossentropy", {"label_smoothing": 0.1}, "answers"),
    "categorical_crossentropy": ("CategoricalCrossentropy", {"from_logits": True}, "one_hot_logits"),
    "sparse_crossentropy": ("SparseCategoricalCrossentropy", {}, "labels"),
}

# name: (loss, kind of the targets, arguments of fit)
FITS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plain": ("sparse_categorical_crossentropy", "labels", {}),
    "sample_weight": ("sparse_categorical_crossentropy", "labels", {"sample_weight": "weight"}),
    "class_weight": ("sparse_categorical_crossentropy", "labels", {"class_weight": {0: 2.0, 3: 0.25}}),
    "class_weight_one_hot": ("categorical_crossentropy", "one_hot", {"class_weight": {0: 2.0, 3: 0.25}}),
    "weighted_validation": ("categorical_crossentropy", "one_hot", {"sample_weight": "weight", "validation": True}),
}
FIT_BATCH, FIT_EPOCHS = 5, 3

# A figure that callbacks watch, epoch by epoch, and the callbacks: name: (class, arguments)
WATCHED = (1.0, 0.8, 0.81, 0.79995, 0.85, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6)
CALLBACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "plateau": ("ReduceLROnPlateau", {"factor": 0.5, "patience": 2}),
    "plateau_cooldown": ("ReduceLROnPlateau", {"factor": 0.1, "patience": 1, "cooldown": 2, "min_lr": 0.002}),
    "plateau_delta": ("ReduceLROnPlateau", {"factor": 0.5, "patience": 3, "min_delta": 0.3}),
    "plateau_max": ("ReduceLROnPlateau", {"factor": 0.5, "patience": 2, "mode": "max"}),
    "stop": ("EarlyStopping", {"patience": 2}),
    "stop_delta": ("EarlyStopping", {"patience": 3, "min_delta": 0.1}),
    "stop_baseline": ("EarlyStopping", {"patience": 4, "baseline": 0.7}),
    "stop_late": ("EarlyStopping", {"patience": 1, "start_from_epoch": 4}),
    "stop_restore": ("EarlyStopping", {"patience": 3, "restore_best_weights": True}),
}


def make_inputs() -> dict[str, np.ndarray]:
    """All numbers that the cases start from: drawn once, kept in the file."""
    rng = np.random.default_rng(20240229)
    labels = rng.integers(0, CLASSES, ROWS)
    logits = 2 * rng.normal(size=(ROWS, CLASSES))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ties = np.round(probabilities * 4) / 4
    arrays = {
        "labels": labels,
        "one_hot": np.eye(CLASSES)[labels],
        "answers": rng.integers(0, 2, (ROWS, CLASSES)),
        "numbers": rng.normal(size=(ROWS, CLASSES)),
        "logits": logits,
        "probabilities": probabilities,
        "ties": ties,
        "guesses": np.where(rng.random(ROWS) < 0.5, labels, rng.integers(0, CLASSES, ROWS)),
        "weight": rng.uniform(0.1, 3, ROWS),
        "x": rng.normal(size=(ROWS, 4)),
        "kernel_1": rng.normal(size=(4, 6)) / 2,
        "kernel_2": rng.normal(size=(6, CLASSES)) / 2,
        "start_0": rng.normal(size=(3, 4)),
        "start_1": rng.normal(size=(5,)),
        "grads_0": rng.normal(size=(STEPS, 3, 4)),
        "grads_1": rng.normal(size=(STEPS, 5)),
    }
    return {name: array.astype(np.int32 if array.dtype.kind == "i" else np.float32) for name, array in arrays.items()}


def targets_and_predictions(kind: str, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """The two arrays of a kind of data."""
    if kind == "guesses":
        return inputs["labels"], inputs["guesses"]
    if kind == "ties":
        return inputs["one_hot"], inputs["ties"]
    if kind == "numbers":
        return inputs["numbers"], inputs["logits"]
    return inputs[kind.removesuffix("_logits")], inputs["logits" if kind.endswith("_logits") else "probabilities"]


def make_optimizer(api: Any, name: str) -> Any:
    """The optimizer of a case, with its schedule."""
    cls, arguments = OPTIMIZERS[name]
    rate = arguments["learning_rate"]
    if isinstance(rate, str):
        schedule, options = SCHEDULES[rate]
        arguments = arguments | {"learning_rate": getattr(api.optimizers.schedules, schedule)(**options)}
    return getattr(api.optimizers, cls)(**arguments)


def make_model(api: Any, inputs: dict[str, Any], optimizer: Any = None, loss: str = "mse", **settings: Any) -> Any:
    """Two dense layers with recorded weights and an L2 penalty, compiled."""
    model = api.models.Sequential(
        [
            api.layers.Input((4,)),
            api.layers.Dense(6, activation="relu", kernel_regularizer="l2", name="first"),
            api.layers.Dense(CLASSES, activation="softmax", name="second"),
        ],
        name="small",
    )
    model.set_weights([inputs["kernel_1"], np.zeros(6), inputs["kernel_2"], np.zeros(CLASSES)])
    model.compile(optimizer=optimizer or api.optimizers.SGD(0.2), loss=loss, **settings)
    return model


def run_fit(api: Any, name: str, inputs: dict[str, Any]) -> tuple[dict[str, list[float]], list[np.ndarray]]:
    """History and final weights of a case of FITS."""
    loss, kind, options = FITS[name]
    options = dict(options)
    x, y, weight = inputs["x"], inputs[kind], inputs["weight"]
    if options.pop("validation", False):
        options["validation_data"] = (x[::-1], y[::-1], weight)
    if options.get("sample_weight") == "weight":
        options["sample_weight"] = weight
    model = make_model(api, inputs, loss=loss, metrics=["accuracy"], weighted_metrics=["accuracy"])
    history = model.fit(x, y, batch_size=FIT_BATCH, epochs=FIT_EPOCHS, shuffle=False, verbose=0, **options)
    return history.history, model.get_weights()


def run_callback(api: Any, name: str, inputs: dict[str, Any]) -> tuple[list[float], float]:
    """Learning rates before each epoch that was run, and the first bias at the end, which tells the epoch."""

    class Script(api.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.rates: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.rates.append(float(np.asarray(self.model.optimizer.learning_rate)))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["figure"] = WATCHED[epoch]
            weights = self.model.get_weights()
            weights[1][0] = epoch
            self.model.set_weights(weights)

    cls, options = CALLBACKS[name]
    callback = getattr(api.callbacks, cls)(**({"monitor": "figure", "mode": "min"} | options))
    script = Script()
    model = make_model(api, inputs, api.optimizers.SGD(0.1), "categorical_crossentropy")
    x, y = inputs["x"], inputs["one_hot"]
    model.fit(x, y, epochs=len(WATCHED), batch_size=ROWS, verbose=0, callbacks=[script, callback])
    return script.rates, float(model.get_weights()[1][0])
