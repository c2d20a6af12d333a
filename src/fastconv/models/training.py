"""The loops behind `Sequential.fit`, `evaluate` and `predict`.

What makes them quick is that they do little: everything that can be checked, cast or looked up is so once, before the
first batch; batches are gathered into one buffer; the layers write into the same memory at every step; nothing goes
back past the first layer that learns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _random, _validation, activations
from ..callbacks import Callback, CallbackList, History, ProgressBar
from ..layers import MaxPooling2D
from ..ops.copies import take
from .inference import is_ours
from .interrupts import InterruptGuard

if TYPE_CHECKING:
    from ..layers.base import Layer
    from ..metrics import Metric
    from .sequential import Sequential

Array = np.ndarray

# Samples of a batch of ``predict`` that no callback sees.
PREDICT_BATCH = 1024


class Data(NamedTuple):
    """Checked arrays of one data set: images in the model's type, targets as the loss takes them, weights or None."""

    x: Array
    y: Array
    weight: Array | None

    def __len__(self) -> int:
        return len(self.x)


def prepare(model: Sequential, where: str, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None) -> Data:
    """Check and cast a data set once, for any number of epochs; build the model at the end, when nothing can fail."""
    if y is None:
        raise _validation.wrong_state(where, "y is missing.", "Give the targets as the second argument.")
    x = model._as_input(where, x)
    if x.dtype.kind == "f" and x.dtype != model._dtype():
        x = x.astype(model._dtype())
    y = _validation.as_numeric(where, "y", y)
    if y.ndim == 0:
        raise _validation.wrong_state(where, "y is a scalar.", "Give one target per sample.")
    _validation.check_same_length(where, x=x, y=y)
    if not len(x):
        raise _validation.wrong_state(where, f"x has no samples: x.shape={x.shape}.", "Give at least one.")
    out_shape = model.compute_output_shape(x.shape)
    out_dtype = np.dtype(model.layers[-1].dtype)
    targets = model.loss.prepare_targets(y, out_shape, out_dtype, where)
    weight = None
    if sample_weight is not None:
        if class_weight is not None:
            raise _validation.wrong_state(where, "received class_weight and sample_weight.", "Give one of them.")
        shape = model.loss.losses_shape((len(x), *out_shape[1:]))
        weight = _validation.as_sample_weight(where, sample_weight, len(x), out_dtype, shape)
    elif class_weight is not None:
        weight = _class_weights(where, targets, class_weight, out_dtype)
    model._build_for(x.shape)
    return Data(x, targets, weight)


def _class_weights(where: str, targets: Array, class_weight: Any, dtype: np.dtype) -> Array:
    """One weight per sample: that of its class, 1 for classes that are not named."""
    if not isinstance(class_weight, Mapping):
        raise _validation.wrong_type(where, "class_weight", class_weight, "a dict of class → weight")
    if targets.ndim > 2:
        raise _validation.wrong_state(
            where, f"class_weight with targets of shape {targets.shape}.", "Use sample_weight."
        )
    if targets.ndim == 2:
        targets = targets.argmax(axis=-1) if targets.shape[1] > 1 else targets[:, 0]
    labels = np.rint(targets).astype(np.int64)
    weight = np.ones(len(labels), dtype)
    for label, value in class_weight.items():
        label = _validation.as_index(where, "a key of class_weight", label)
        weight[labels == label] = _validation.as_number(where, f"class_weight[{label}]", value)
    return weight


def split(
    model: Sequential, where: str, x: Any, y: Any, sample_weight: Any, part: float
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """(first rows, last rows): the last ``part`` of the samples is for validation, unshuffled, as in Keras."""
    x, y = model._as_input(where, x), _validation.as_numeric(where, "y", y)
    if y.ndim:
        _validation.check_same_length(where, x=x, y=y)
    at = int(np.floor(len(x) * (1.0 - part)))
    if not 0 < at < len(x):
        raise _validation.wrong_state(
            where,
            f"validation_split={part} of {len(x)} samples leaves {at} to train on and {len(x) - at} to validate on.",
            "Both must be at least one.",
        )
    if sample_weight is None:
        return (x[:at], y[:at], None), (x[at:], y[at:], None)
    weight = _validation.as_sample_weight(where, sample_weight, len(x), np.dtype(np.float64))
    return (x[:at], y[:at], weight[:at]), (x[at:], y[at:], weight[at:])


def batches(data: Data, size: int, order: Array | None = None) -> Iterator[tuple[int, Array, Array, Array | None]]:
    """(first row, x, y, weight) batch by batch: rows in ``order``, gathered into one buffer, or views without it."""
    n = len(data)
    if order is None:
        for start in range(0, n, size):
            part = slice(start, start + size)
            yield start, data.x[part], data.y[part], None if data.weight is None else data.weight[part]
        return
    x = np.ascontiguousarray(data.x)
    buffer = np.empty((min(size, n), *x.shape[1:]), x.dtype)
    for start in range(0, n, size):
        rows = order[start : start + size]
        batch = buffer[: len(rows)]
        take(x, rows, batch)
        yield start, batch, data.y[rows], None if data.weight is None else data.weight[rows]


def joins_loss(model: Sequential) -> bool:
    """Whether the last layer ends in the activation that the loss computes together with itself, from logits: softmax
    and crossentropy, or sigmoid and binary crossentropy.
    """
    last = model.layers[-1].final_activation
    return last is not None and last == model.loss.joins


class Pass:
    """The model's layers made ready for many training steps; within ``with``, their buffers are reused.

    Where the loss can be joined with the last layer's activation, that layer gives logits (``_emit_logits``), and
    ``on_logits`` says so to whoever computes the loss.

    Args:
        model: A built model.
        guard: Keeps Ctrl-C away while the layers' switches are set and set back.
    """

    def __init__(self, model: Sequential, guard: InterruptGuard) -> None:
        self._guard = guard
        self.layers: list[Layer] = model.layers
        self.on_logits = joins_loss(model)
        learning = [i for i, layer in enumerate(self.layers) if layer.trainable_weights]
        self.first = learning[0] if learning else len(self.layers)
        self._learning = [self.layers[i] for i in learning]
        self.variables: list[Array] = [weight for layer in self._learning for weight in layer.trainable_weights]
        # What the forward pass itself moves: the moments of batch normalisation.
        self._moving = [w.value for layer in self.layers for w in layer._weights.values() if not w.trainable]
        self.regularized = regularized(self.layers)
        # Where relu stands before a max-pooling, the pooling takes relu's gradient, from its fewer cells; two layers
        # that are fused are one step forward, and mostly one back.
        self._joined = list(_relu_before_pooling(self.layers))
        self._steps: list[Callable[..., Array]] = list(self.layers)
        # Going back: the layer that takes a gradient, the one that gives the next, and what is done between.
        self._back: list[tuple[Layer, Layer, Callable[..., Any]]] = [
            (layer, layer, layer.backward) for layer in self.layers[self.first :]
        ]
        for layer, behind in self._joined:
            if behind.fits_behind(layer):
                at = self._steps.index(layer)
                self._steps[at : at + 2] = [partial(behind.call_behind, layer)]
                gives = [last for _, last, _ in self._back]
                if layer in gives and behind.goes_back_behind(layer):
                    at = gives.index(layer)
                    self._back[at : at + 2] = [(behind, layer, partial(behind.backward_behind, layer))]
        self._before: list[tuple[int, bool, int]] = []

    def __enter__(self) -> Pass:
        self._before = [(la._reuse_buffers, la._needs_input_grad, la._emit_logits) for la in self.layers]
        try:
            with self._guard:
                if self.on_logits:
                    self.layers[-1]._emit_logits = threading.get_ident()
                for i, layer in enumerate(self.layers):
                    layer._reuse_buffers = threading.get_ident()
                    layer._needs_input_grad = i != self.first
        except BaseException:  # Ctrl-C, delivered at the end of the guarded block.
            self._restore()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._guard:
            self._restore()

    def _restore(self) -> None:
        if self.on_logits:
            self.layers[-1]._emit_logits = self._before[-1][2]
        for layer, (reuse, needs, _) in zip(self.layers, self._before, strict=True):
            layer._reuse_buffers, layer._needs_input_grad = reuse, needs
            layer._bias_grad = None
            layer._overwrites_grad_output = False
            if not reuse:
                layer._release_buffers()
        self._join(False)

    def _join(self, on: bool) -> None:
        """From forward to backward only: a callback may use the same layers otherwise."""
        for layer, behind in self._joined:
            layer._relu_grad_behind, behind._relu_before = on, layer if on else None

    def forward(self, x: Array) -> Array:
        """The output of all layers for a batch; it lives until the next batch."""
        self._join(True)
        for step in self._steps:
            x = step(x, training=True)
        return x

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """A step that fails, or is broken off, leaves what the forward pass moves as it was."""
        before = [array.copy() for array in self._moving]
        try:
            yield
        except BaseException:
            for array, values in zip(self._moving, before, strict=True):
                array[...] = values
            raise

    def backward(self, grad: Array) -> list[Array]:
        """From the gradient of the output to those of ``variables``."""
        buffer = None  # the reused memory that `grad` lies in, of a layer that is done with it
        for takes, gives, back in reversed(self._back):
            takes._overwrites_grad_output = buffer is not None and grad.base is buffer.base
            grad = back(grad)
            takes._overwrites_grad_output = False
            # A layer of the user's own may keep the gradient that it was given.
            buffer = gives._buffers.get("grad_input", buffer) if is_ours(type(gives)) else None
        self._join(False)
        grads = [grad for layer in self._learning for grad in layer.grads]
        if len(grads) != len(self.variables):
            raise _validation.wrong_state(
                "Sequential.fit", "a layer's trainable changed during training.", "Change it between two calls."
            )
        return grads


def _relu_before_pooling(layers: list[Layer]) -> Iterator[tuple[Layer, MaxPooling2D]]:
    """The layers with a fused relu whose gradient the max-pooling behind them can take."""
    for layer, behind in pairwise(layers):
        if type(behind) is MaxPooling2D and is_ours(type(layer)):
            same = getattr(layer, "data_format", "channels_last") == behind.data_format
            if same and getattr(layer, "_fused_activation", None) == "relu":
                yield layer, behind


def regularized(layers: list[Layer]) -> list[Layer]:
    """The layers that have a regulariser on a weight that learns."""
    return [layer for layer in layers if any(weight.regularizer is not None for weight in layer._trainable())]


def penalty(layers: list[Layer]) -> float:
    """The regularisers' part of the loss."""
    return sum(layer.regularization_loss() for layer in layers)


class Figures:
    """The loss and the metrics of an epoch, each the mean over the samples so far."""

    def __init__(self, model: Sequential, data: Data) -> None:
        self._model = model
        self.metrics = model._resolve_metrics(data.y)
        self._unweighted = len(self.metrics) - len(model._weighted_identifiers)
        self._names = figure_names(self.metrics, self._unweighted)

    def reset(self) -> None:
        """Start a new epoch."""
        self._model.reset_metrics()

    def add(self, value: float, y: Array, output: Array, on_logits: bool, weight: Array | None) -> None:
        """Take in a batch: its mean loss, its predictions (logits if ``on_logits``) and the weights of its samples."""
        mean = self._model._loss_mean
        mean.total += value * len(y)
        mean.count += len(y)
        probabilities = None
        for i, metric in enumerate(self.metrics):
            prediction = output
            if on_logits and not metric.accepts_logits:
                if probabilities is None:
                    probabilities = activations.get(self._model.loss.joins)(output)
                prediction = probabilities
            if i < self._unweighted:
                metric.update_state(y, prediction)
            else:
                metric.update_state(y, prediction, weight)

    def logs(self, prefix: str = "") -> dict[str, float]:
        """The figures by name, the loss first."""
        return {f"{prefix}loss": self._model._loss_mean.result()} | {
            prefix + name: metric.result() for name, metric in zip(self._names, self.metrics, strict=True)
        }


def figure_names(metrics: list[Metric], unweighted: int) -> list[str]:
    """A name for each metric, all different: those behind the first ``unweighted`` may get a prefix, as in Keras."""
    names: list[str] = []
    for i, metric in enumerate(metrics):
        name = base = metric.name if i < unweighted or metric.name not in names else f"weighted_{metric.name}"
        count = 0
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names.append(name)
    return names


def train_step(model: Sequential, run: Pass, guard: InterruptGuard, x: Array, y: Array, weight: Array | None) -> Any:
    """One step on one batch: forward, loss, back, update. Gives (loss, output)."""
    with run.kept():
        output = run.forward(x)
        value, grad = model.loss.compute(y, output, weight, on_logits=run.on_logits)
        if run.regularized:
            value += penalty(run.regularized)
        grads = run.backward(grad) if run.variables else []
    if run.variables:
        with guard:
            model.optimizer.apply(grads, run.variables)
    return value, output


def progress_mode(where: str, verbose: Any) -> int:
    """0, 1 or 2 of ``verbose``; ``"auto"`` is 1."""
    verbose = _validation.as_choice(where, "verbose", verbose, ("auto", 0, 1, 2))
    return 1 if verbose == "auto" else int(verbose)


def as_callbacks(where: str, callbacks: Any) -> list[Callback]:
    """None, one callback, or several, as a list."""
    if callbacks is None:
        return []
    several = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
    for callback in several:
        if not isinstance(callback, Callback):
            raise _validation.wrong_type(where, "callbacks", callback, "fastconv.callbacks.Callback objects")
    return several


def evaluate(
    model: Sequential, data: Data, batch_size: int, callbacks: CallbackList, guard: InterruptGuard
) -> dict[str, float]:
    """Loss and metrics over a data set."""
    figures = Figures(model, data)
    figures.reset()
    callbacks.call("on_test_begin", None)
    begin, end = callbacks.wants("on_test_batch_begin"), callbacks.wants("on_test_batch_end")
    inference = model._inference(data.x.shape[1:], joins_loss(model))
    with_penalty = regularized(model.layers)
    for index, (_, x, y, weight) in enumerate(batches(data, batch_size)):
        if begin:
            callbacks.call("on_test_batch_begin", index, None)
        output = inference(x)
        value, _ = model.loss.compute(y, output, weight, on_logits=inference.on_logits)
        figures.add(value + penalty(with_penalty), y, output, inference.on_logits, weight)
        if end:
            callbacks.call("on_test_batch_end", index, figures.logs())
    logs = figures.logs()
    callbacks.call("on_test_end", logs)
    return logs


def predict(model: Sequential, x: Array, batch_size: int, callbacks: CallbackList) -> Array:
    """The model's output for every sample, computed in batches, gathered in one array."""
    callbacks.call("on_predict_begin", None)
    begin, end = callbacks.wants("on_predict_batch_begin"), callbacks.wants("on_predict_batch_end")
    inference = model._inference(x.shape[1:])
    if inference.frugal and not begin and not end:
        # Nobody sees the batches, and they cost little memory: larger ones are quicker, and still short for Ctrl-C.
        batch_size = max(batch_size, PREDICT_BATCH)
    starts = range(0, len(x), batch_size) or (0,)
    results = []
    for index, start in enumerate(starts):
        if begin:
            callbacks.call("on_predict_batch_begin", index, None)
        results.append(inference(x[start : start + batch_size]))
        if end:
            callbacks.call("on_predict_batch_end", index, {"outputs": results[-1]})
    callbacks.call("on_predict_end", None)
    return results[0] if len(results) == 1 and inference.fresh else np.concatenate(results)


def fit(
    model: Sequential,
    data: Data,
    validation: Data | None,
    *,
    batch_size: int,
    epochs: int,
    verbose: int,
    callbacks: list[Callback],
    shuffle: bool,
    initial_epoch: int,
) -> History:
    """The training loop; see `Sequential.fit`."""
    history = History()
    everyone = [history, *([ProgressBar(verbose)] if verbose else []), *callbacks]
    steps = -(-len(data) // batch_size)
    params = {
        "verbose": verbose, "epochs": epochs, "steps": steps, "samples": len(data), "batch_size": batch_size
    }  # fmt: skip
    listeners = CallbackList(everyone, model, params)
    guard = InterruptGuard()
    model.stop_training = False
    logs: dict[str, float] = {}
    try:
        with guard.installed(), Pass(model, guard) as run:
            model.optimizer.build(run.variables)
            listeners.call("on_train_begin", None)
            for epoch in range(initial_epoch, epochs):
                listeners.call("on_epoch_begin", epoch, None)
                logs = _epoch(model, run, data, batch_size, shuffle, listeners, guard)
                if validation is not None:
                    val_logs = evaluate(model, validation, batch_size, listeners, guard)
                    logs |= {f"val_{name}": value for name, value in val_logs.items()}
                try:
                    for callback in everyone[1:]:
                        callback.on_epoch_end(epoch, logs)
                finally:  # Last, since callbacks may add figures; the epoch is over even if one of them fails.
                    with guard:
                        history.on_epoch_end(epoch, logs)
                if model.stop_training:
                    break
        listeners.call("on_train_end", logs)
    finally:
        listeners.close()
    return history


def _epoch(
    model: Sequential,
    run: Pass,
    data: Data,
    batch_size: int,
    shuffle: bool,
    listeners: CallbackList,
    guard: InterruptGuard,
) -> dict[str, float]:
    """One pass over the training data."""
    figures = Figures(model, data)
    figures.reset()
    begin, end = listeners.wants("on_train_batch_begin"), listeners.wants("on_train_batch_end")
    order = _random.default_generator().permutation(len(data)) if shuffle else None
    for index, (_, x, y, weight) in enumerate(batches(data, batch_size, order)):
        if begin:
            listeners.call("on_train_batch_begin", index, None)
        value, output = train_step(model, run, guard, x, y, weight)
        figures.add(value, y, output, run.on_logits, weight)
        if end:
            listeners.call("on_train_batch_end", index, figures.logs())
        if model.stop_training:
            break
    return figures.logs()
