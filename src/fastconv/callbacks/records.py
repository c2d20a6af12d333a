"""Small callbacks: the history, functions as hooks, a CSV file, a rate for each epoch, the stop at NaN."""

from __future__ import annotations

import csv
import inspect
import math
import os
from collections.abc import Callable
from typing import IO, Any

import numpy as np

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
        hooks |= kwargs
        for name, hook in hooks.items():
            if not hasattr(Callback, name) or not name.startswith("on_"):
                known = (known for known in dir(Callback) if known.startswith("on_"))
                raise _validation.unknown_name("LambdaCallback", "event", name, known)
            if hook is not None and not callable(hook):
                raise _validation.wrong_type("LambdaCallback", name, hook, "a function")
        self.__dict__.update({name: hook for name, hook in hooks.items() if hook is not None})


class LearningRateScheduler(Callback):
    """Sets the learning rate at the beginning of every epoch.

    The rate of each epoch is entered into the logs, and so into the history, as ``learning_rate``. For a rate that
    changes from step to step, give the optimizer one of `optimizers.schedules`.

    Args:
        schedule: A function of (epoch, present rate), or of the epoch alone, that gives the new rate; epochs count
            from 0.
        verbose: 1 says what it sets. Default 0.

    Raises:
        TypeError: what the function gives is no number, or the optimizer follows a schedule of its own.

    Example:
        >>> from fastconv.callbacks import LearningRateScheduler
        >>> halve = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch % 10 == 9 else rate)
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        if not callable(schedule):
            raise _validation.wrong_type("LearningRateScheduler", "schedule", schedule, "a function of (epoch, rate)")
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = _takes_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        arguments = (epoch, optimizer.learning_rate) if self._takes_rate else (epoch,)
        rate = _validation.as_number("LearningRateScheduler", "the rate of schedule", self.schedule(*arguments), 0)
        optimizer.learning_rate = rate
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is {rate:g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


def _takes_two(function: Callable[..., Any]) -> bool:
    """Whether a function can be called with two arguments; where it does not say, it can."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


class CSVLogger(Callback):
    """Writes the figures of every epoch as a line of a CSV file: the epoch from 0, then the figures by name.

    Args:
        filename: The file; its first line names the columns.
        separator: Default ``","``.
        append: Continue a file that is there, with its columns: figures that it has none for are left out, and missing
            ones are ``NA``. Default False: start it anew.

    Example:
        >>> from fastconv.callbacks import CSVLogger
        >>> log = CSVLogger("training.csv", append=True)
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename = os.fspath(filename)
        if not isinstance(separator, str) or len(separator) != 1:
            raise _validation.wrong_type("CSVLogger", "separator", separator, "a string of one character")
        self.separator = separator
        self.append = append
        self._file: IO[str] | None = None
        self._writer: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._columns = self._present_columns() if self.append else []
        self._file = open(self.filename, "a" if self.append else "w", newline="", encoding="utf-8")  # noqa: SIM115
        self._writer = None

    def _present_columns(self) -> list[str]:
        """The columns that the first line of the file names, if there is one."""
        if not os.path.exists(self.filename):
            return []
        with open(self.filename, newline="", encoding="utf-8") as file:
            return next(csv.reader(file, delimiter=self.separator), [])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._file is None:
            return
        figures = sorted((logs or {}).items())
        row = {"epoch": epoch} | {key: np.asarray(value).tolist() for key, value in figures}
        if self._writer is None:
            self._writer = csv.DictWriter(
                self._file, self._columns or list(row), restval="NA", extrasaction="ignore", delimiter=self.separator
            )
            if not self._columns:
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
