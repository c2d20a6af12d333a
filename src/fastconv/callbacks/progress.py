"""The progress of training, evaluation and prediction: a line for each epoch, and on a terminal a bar before it."""

from __future__ import annotations

import shutil
import sys
import time
from typing import IO, Any

import numpy as np

from .. import _validation
from .base import Callback, Logs


def format_figure(value: Any) -> str:
    """Four decimals, or scientific where these would show nothing; several figures in brackets."""
    if np.ndim(value):
        return f"[{' '.join(map(format_figure, value))}]"
    return f"{value:.4f}" if value == 0 or not 0 < abs(value) < 1e-3 else f"{value:.4e}"


def _figures(logs: Logs | None) -> list[str]:
    return [f"{key}: {format_figure(value)}" for key, value in (logs or {}).items()]


def _columns() -> int:
    """Columns of the terminal that a bar may fill; 80 where a terminal does not know its width and says 0."""
    return max(shutil.get_terminal_size().columns - 1, 1)


class ProgressBar(Callback):
    """Shows progress: a line per epoch with the time, images per second, loss and metrics, and a bar on the way there.

    Args:
        verbose: 1: a bar (tqdm) while an epoch runs, then the epoch's line in its place; 2: the lines alone. Where the
            output is not a terminal (a file, a pipe, a notebook), 1 gives the lines alone too.
        stream: Where to. Default: ``sys.stdout`` at the time of use.

    The bar is cut to the terminal's width; the line is written whole. Images per second count the training alone, the
    time shown in seconds includes validation.
    """

    INTERVAL = 0.1  # Seconds between two refreshes of the bar, as in tqdm itself.
    BAR_COLUMNS_MAX = 100

    def __init__(self, verbose: int = 1, stream: IO[str] | None = None) -> None:
        super().__init__()
        self.verbose = int(_validation.as_choice("ProgressBar", "verbose", verbose, (0, 1, 2)))
        self._stream = stream
        self._bar: Any = None
        self._in_training = False
        self._seen = 0
        self._rate = 0.0
        self._start = self._next = 0.0

    @property
    def stream(self) -> IO[str]:
        """The stream that is written to."""
        return self._stream or sys.stdout

    @property
    def on_terminal(self) -> bool:
        """Whether the stream is a terminal."""
        isatty = getattr(self.stream, "isatty", None)
        return isatty is not None and bool(isatty())

    def _open(self, label: str) -> None:
        """Start a bar of ``params["samples"]`` images, or only the clock."""
        self._label = label
        self._seen = 0
        self._rate = 0.0
        self._start = time.perf_counter()
        self._next = self._start + self.INTERVAL
        if self.verbose == 1 and self.on_terminal:
            # Here, so that `import fastconv` does not pay for it.
            from tqdm import tqdm

            # nrows: left to itself, tqdm shows nothing on a terminal that does not know its size and says 0.
            self._bar = tqdm(
                total=self.params.get("samples"),
                file=self.stream,
                leave=False,
                ncols=_columns(),
                nrows=24,
                bar_format=label,
            )
            self._refresh(None)

    def _advance(self, size: int, logs: Logs | None) -> None:
        self._seen += size
        now = time.perf_counter()
        if self._bar is not None and (now >= self._next or self._seen >= self.params["samples"]):
            self._next = now + self.INTERVAL
            self._refresh(logs)

    def _refresh(self, logs: Logs | None) -> None:
        # The figures are part of the format, since tqdm puts a comma before its own postfix.
        figures = "".join(f" - {figure}" for figure in _figures(logs)).replace("{", "{{").replace("}", "}}")
        self._bar.bar_format = f"{self._label} {{percentage:3.0f}}%|{{bar}}| {{elapsed}}<{{remaining}}{figures}"
        self._bar.ncols = min(_columns(), self.BAR_COLUMNS_MAX)
        self._bar.n = self._seen
        self._bar.refresh()

    def _stop_clock(self) -> None:
        self._rate = self._seen / max(time.perf_counter() - self._start, 1e-9)

    def _finish(self, logs: Logs | None) -> None:
        """Put the line in the place of the bar."""
        seconds = time.perf_counter() - self._start
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        parts = (self._label, f"{seconds:.1f}s", f"{self._rate:,.0f} images/s", *_figures(logs))
        self.stream.write(" - ".join(parts) + "\n")
        self.stream.flush()

    def close(self) -> None:
        """Let go of the bar, called after an exception too: what an unfinished epoch came to stays to be seen."""
        bar, self._bar = self._bar, None
        self._in_training = False
        if bar is not None:
            bar.leave = True
            bar.close()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._in_training = True
        width = len(str(self.params["epochs"]))
        self._open(f"Epoch {epoch + 1:{width}d}/{self.params['epochs']}")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._advance(self._batch_size(batch), logs)
        if self._seen >= self.params["samples"]:
            self._stop_clock()

    def _batch_size(self, batch: int) -> int:
        size: int = self.params["batch_size"]
        return min(size, self.params["samples"] - batch * size)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not self._rate:
            self._stop_clock()
        self._finish(logs)
        self._in_training = False

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if not self._in_training:
            self._open("Evaluate")

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not self._in_training:
            self._advance(self._batch_size(batch), logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self._in_training:
            self._stop_clock()
            self._finish(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._open("Predict")

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._advance(self._batch_size(batch), logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._stop_clock()
        self._finish(logs)
