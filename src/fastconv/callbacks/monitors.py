"""Callbacks that watch one figure: early stop, checkpoints, and a learning rate that falls when nothing improves."""

from __future__ import annotations

import math
import os
import warnings
from typing import Any

import numpy as np

from .. import _validation
from .base import Callback, Logs


class _Monitor(Callback):
    """Watches one figure and tells whether it has become better."""

    def __init__(self, monitor: str, mode: str, min_delta: float, best: float | None) -> None:
        super().__init__()
        where = type(self).__name__
        if not isinstance(monitor, str):
            raise _validation.wrong_type(where, "monitor", monitor, "the name of a figure in the logs")
        self.monitor = monitor
        self.mode = _validation.as_choice(where, "mode", mode, ("auto", "min", "max"))
        self.min_delta = abs(_validation.as_number(where, "min_delta", min_delta))
        self.best = best

    def _upwards(self) -> bool:
        """Whether more is better, by ``mode``, or by the metric's own direction."""
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return False
        names = getattr(self.model, "metrics_names", ())
        for known, metric in zip(names, getattr(self.model, "metrics", ()), strict=False):
            if known == name and metric.direction is not None:
                return metric.direction == "up"
        raise _validation.wrong_state(
            type(self).__name__,
            f"cannot tell whether monitor={self.monitor!r} should rise or fall.",
            "Give mode='max' or mode='min'.",
        )

    def _better(self, value: float, than: float | None) -> bool:
        """Whether ``value`` improves on ``than`` by more than ``min_delta``: anything on None, but a NaN never."""
        upwards = self._upwards()
        if math.isnan(value):
            return False
        if than is None:
            return True
        return value - self.min_delta > than if upwards else value + self.min_delta < than

    def _value(self, logs: Logs | None) -> float | None:
        logs = logs or {}
        self._upwards()  # a misspelt name is an error in the first epoch, not at the end
        if self.monitor not in logs:
            warnings.warn(
                f"{type(self).__name__}: {self.monitor!r} is not among the figures of this epoch: {', '.join(logs)}.",
                stacklevel=2,
            )
        return logs.get(self.monitor)


class EarlyStopping(_Monitor):
    """Stops training when a figure has not become better for some epochs.

    Args:
        monitor: The figure. Default ``"val_loss"``.
        min_delta: A smaller change is no improvement. Default 0.
        patience: Stop after this many epochs without improvement. Default 0.
        verbose: 1 says when it acts. Default 0.
        mode: ``"min"``, ``"max"``, or ``"auto"`` (default): by the figure.
        baseline: The figure must become better than this too. Default None.
        restore_best_weights: At the end, put back the weights of the best epoch. Default False.
        start_from_epoch: Epochs before this one are not watched. Default 0.

    Example:
        >>> from fastconv.callbacks import EarlyStopping
        >>> stop = EarlyStopping(monitor="val_accuracy", patience=3, restore_best_weights=True)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, None)
        self.patience = _validation.as_count("EarlyStopping", "patience", patience)
        self.verbose = verbose
        self.baseline = None if baseline is None else _validation.as_number("EarlyStopping", "baseline", baseline)
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = _validation.as_count("EarlyStopping", "start_from_epoch", start_from_epoch)
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_epoch = 0
        self.best_weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self._value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:  # Until another is better, be this one NaN.
            self.best_weights = self.model.get_weights()
            self.best_epoch = epoch
        self.wait += 1
        if self._better(value, self.best):
            self.best = value
            self.best_epoch = epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self._better(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                print(f"Restoring the weights of the best epoch: {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(_Monitor):
    """Saves the model, or its weights, after every epoch, or after every so many batches.

    Args:
        filepath: May hold fields: ``"run/{epoch:02d}-{val_loss:.3f}.keras"``. Folders are made. Must end in ``.keras``,
            or in ``.weights.h5`` or ``.weights.npz`` with ``save_weights_only``.
        monitor: The figure for ``save_best_only``. Default ``"val_loss"``.
        verbose: 1 says when it saves. Default 0.
        save_best_only: Save only when the figure has become better. Default False.
        save_weights_only: Default False.
        mode: ``"min"``, ``"max"``, or ``"auto"`` (default): by the figure.
        save_freq: ``"epoch"`` (default), or a number of batches.
        initial_value_threshold: The figure must be better than this. Default None.

    Raises:
        ValueError: a file name or frequency that cannot be used.

    Example:
        >>> from fastconv.callbacks import ModelCheckpoint
        >>> keep = ModelCheckpoint("best.keras", monitor="val_accuracy", save_best_only=True)
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, 0, initial_value_threshold)
        if initial_value_threshold is not None:
            _validation.as_number("ModelCheckpoint", "initial_value_threshold", initial_value_threshold)
        self.filepath = os.fspath(filepath)
        endings = (".weights.h5", ".weights.npz") if save_weights_only else (".keras",)
        if not self.filepath.endswith(endings):
            raise _validation.wrong_state(
                "ModelCheckpoint", f"received filepath={self.filepath!r}.", f"It must end in {' or '.join(endings)}."
            )
        if save_freq != "epoch" and (not isinstance(save_freq, int) or isinstance(save_freq, bool) or save_freq < 1):
            raise _validation.wrong_state(
                "ModelCheckpoint", f"received save_freq={save_freq!r}.", "It must be 'epoch' or a number of batches."
            )
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self._epoch = 0
        self._batches = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            return
        self._batches += 1
        if self._batches >= int(self.save_freq):
            self._batches = 0
            self._save(self._epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: Logs) -> None:
        fields = logs | {"epoch": epoch + 1} | ({} if batch is None else {"batch": batch + 1})
        try:
            path = self.filepath.format(**fields)
        except KeyError as error:
            raise _validation.unknown_name("ModelCheckpoint", "field of filepath", error.args[0], fields) from None
        if self.save_best_only:
            value = self._value(logs)
            if value is not None:
                if not self._better(value, self.best):
                    if self.verbose:
                        best = "nothing" if self.best is None else f"{self.best:.5f}"
                        print(f"Epoch {epoch + 1}: {self.monitor} did not improve from {best}")
                    return
                self.best = value
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")


class ReduceLROnPlateau(_Monitor):
    """Multiplies the learning rate by a factor when a figure has not become better for some epochs.

    The rate of each epoch is entered into the logs, and so into the history, as ``learning_rate``.

    Args:
        monitor: The figure. Default ``"val_loss"``.
        factor: New rate / old rate, in (0, 1). Default 0.1.
        patience: Act after this many epochs without improvement. Default 10.
        verbose: 1 says when it acts. Default 0.
        mode: ``"min"``, ``"max"``, or ``"auto"`` (default): by the figure.
        min_delta: A smaller change is no improvement. Default 1e-4.
        cooldown: Epochs after a reduction before it counts again. Default 0.
        min_lr: The rate does not fall below this. Default 0.

    Raises:
        ValueError: an argument outside its range.
        TypeError: the optimizer follows a schedule, whose rate cannot be set.

    Example:
        >>> from fastconv.callbacks import ReduceLROnPlateau
        >>> slower = ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=5, min_lr=1e-5)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, None)
        where = "ReduceLROnPlateau"
        self.factor = _validation.as_number(where, "factor", factor, 0, open_low=True)
        if self.factor >= 1:
            raise _validation.wrong_state(where, f"received factor={factor!r}.", "It must be below 1.")
        self.patience = _validation.as_count(where, "patience", patience)
        self.verbose = verbose
        self.cooldown = _validation.as_count(where, "cooldown", cooldown)
        self.min_lr = _validation.as_number(where, "min_lr", min_lr, 0)
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best = None
        self.wait = 0
        self.cooldown_counter = 0

    def in_cooldown(self) -> bool:
        """Whether the last reduction was too short ago to count epochs again."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        optimizer: Any = self.model.optimizer
        rate = logs["learning_rate"] = optimizer.learning_rate
        value = self._value(logs)
        if value is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._better(value, self.best):
            self.best = value
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                optimizer.learning_rate = max(rate * self.factor, self.min_lr)
                if self.verbose:
                    print(f"Epoch {epoch + 1}: reducing the learning rate to {optimizer.learning_rate:g}")
                self.cooldown_counter = self.cooldown
                self.wait = 0
