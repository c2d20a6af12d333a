"""What a callback is, and several called as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Logs = dict[str, Any]  # Figures by name: floats, and arrays of metrics that have several.


class Callback:
    """Base of the callbacks: subclass it and override the hooks you need.

    Attributes:
        model: The model that is being trained.
        params: ``{"verbose", "epochs", "steps", "samples"}`` of this run; steps are batches.

    Hooks receive ``logs``, the figures so far: ``loss`` and the metrics, and at the end of an epoch their ``val_``
    twins.

    Example:
        >>> from fastconv.callbacks import Callback
        >>> class PrintLoss(Callback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         print(epoch, logs["loss"])
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before training with the run's parameters."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Called before training with the model."""
        self.model = model

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch; not called when training ends by an exception."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch; ``epoch`` counts from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Another name for ``on_train_batch_begin``."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Another name for ``on_train_batch_end``."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a training batch."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a training batch; ``logs`` are the means over the epoch so far."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before an evaluation, that of an epoch's end too."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of an evaluation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of a prediction."""


_BATCH_HOOKS = {
    "on_train_batch_begin": "on_batch_begin",
    "on_train_batch_end": "on_batch_end",
    "on_test_batch_begin": None,
    "on_test_batch_end": None,
    "on_predict_batch_begin": None,
    "on_predict_batch_end": None,
}


class CallbackList:
    """Several callbacks called as one, in their order.

    Batch hooks that no callback overrides are not called at all: ``wants(hook)`` tells, so that the training loop need
    not even gather their logs.

    Args:
        callbacks: The callbacks.
        model: Handed to each.
        params: Handed to each.
    """

    def __init__(self, callbacks: Iterable[Callback], model: Any, params: dict[str, Any]) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            callback.set_params(params)
            callback.set_model(model)
        self._listeners = {hook: [c for c in self.callbacks if _overrides(c, hook)] for hook in _BATCH_HOOKS}

    def wants(self, hook: str) -> bool:
        """Whether any callback overrides this batch hook."""
        return bool(self._listeners[hook])

    def call(self, hook: str, *args: Any) -> None:
        """Call ``hook`` of every callback (batch hooks: of those that override it)."""
        for callback in self._listeners.get(hook, self.callbacks):
            getattr(callback, hook)(*args)

    def close(self) -> None:
        """Let go of bars and files, also after an exception."""
        for callback in self.callbacks:
            close = getattr(callback, "close", None)
            if callable(close):
                close()


def _overrides(callback: Callback, hook: str) -> bool:
    """Whether a batch hook, or its other name, is the callback's own: by subclass or set on the instance."""
    for name in (hook, _BATCH_HOOKS[hook]):
        if name is None:
            continue
        method = getattr(callback, name)
        if getattr(method, "__func__", method) is not getattr(Callback, name):
            return True
    return False
