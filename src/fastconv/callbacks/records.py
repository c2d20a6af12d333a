"""Small callbacks: the history, functions as hooks, a CSV file, the stop at NaN."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from typing import IO, Any

from .. import _validation
from .base import Callback, Logs


class History(Callback):
    """Keeps the figures of every epoch; ``fit`` returns it, and it stays on ``model.history``.

    Attributes:
        history: ``{"loss": [...], "accuracy": [...], "val_loss": [...], …}``, one entry per epoch.
        epoch: The numbers of the epochs, from 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []
        self.model.history = self

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(value)


class TerminateOnNaN(Callback):
    """Stops training when the loss is NaN or infinite.

    Args:
        raise_error: Raise a RuntimeError instead of stopping quietly. Default False.
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if math.isfinite(loss):
            return
        if self.raise_error:
            raise _validation.training_failed(f"the loss of batch {batch} is {loss}.")
        print(f"Batch {batch}: the loss is {loss}, training stops")
        self.model.stop_training = True


class LambdaCallback(Callback):
    """A callback made of functions, one for each hook that is given.

    Args:
        on_epoch_begin, on_epoch_end: Functions of (epoch, logs).
        on_train_begin, on_train_end: Functions of (logs).
        on_train_batch_begin, on_train_batch_end: Functions of (batch, logs).
        **kwargs: Any other hook by its name.

    Example:
        >>> from fastconv.callbacks import LambdaCallback
        >>> show = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., None] | None = None,
        on_epoch_end: Callable[..., None] | None = None,
        on_train_begin: Callable[..., None] | None = None,
        on_train_end: Callable[..., None] | None = None,
        on_train_batch_begin: Callable[..., None] | None = None,
        on_train_batch_end: Callable[..., None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        hooks = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        self.__dict__.update(kwargs)
        self.__dict__.update({name: hook for name, hook in hooks.items() if hook is not None})


class CSVLogger(Callback):
    """Writes the figures of every epoch as a line of a CSV file.

    Args:
        filename: The file; its first line names the columns.
        separator: Default ``","``.
        append: Continue a file that is there. Default False: start it anew.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._file: IO[str] | None = None
        self._writer: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._header = not (self.append and os.path.exists(self.filename) and os.path.getsize(self.filename))
        self._file = open(self.filename, "a" if self.append else "w", newline="", encoding="utf-8")  # noqa: SIM115
        self._writer = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._file is None:
            return
        row = {"epoch": epoch} | (logs or {})
        if self._writer is None:
            self._writer = csv.DictWriter(
                self._file, list(row), restval="NA", extrasaction="ignore", delimiter=self.separator
            )
            if self._header:
                self._writer.writeheader()
        self._writer.writerow(row)
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; called after an exception too."""
        if self._file is not None:
            self._file.close()
            self._file = None
