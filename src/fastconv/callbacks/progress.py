"""The progress of training, evaluation and prediction: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import IO, Any

from .base import Callback, Logs


def format_figure(value: float) -> str:
    """Four decimals, or scientific where these would show nothing."""
    return f"{value:.4f}" if value == 0 or not 0 < abs(value) < 1e-3 else f"{value:.4e}"


class ProgressBar(Callback):
    """Shows progress: per epoch the time, images per second, loss and metrics.

    Args:
        verbose: 1: a bar (tqdm) that becomes the epoch's line; 2: the line alone. Where the output is not a terminal (a
            file, a pipe, a notebook), 1 gives lines too.
        stream: Where to. Default: ``sys.stdout`` at the time of use.

    Images per second count the training alone, the time shown in seconds includes validation.
    """

    INTERVAL = 0.1  # Seconds between two refreshes of the bar, as in tqdm itself.

    def __init__(self, verbose: int = 1, stream: IO[str] | None = None) -> None:
        super().__init__()
        self.verbose = verbose
        self._stream = stream
        self._bar: Any = None
        self._in_training = False
        self._seen = self._shown = 0
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
        self._seen = self._shown = 0
        self._rate = 0.0
        self._start = time.perf_counter()
        self._next = self._start + self.INTERVAL
        if self.verbose == 1 and self.on_terminal:
            # Here, so that `import fastconv` does not pay for it.
            from tqdm import tqdm  # type: ignore[import-untyped]

            self._bar = tqdm(
                total=self.params.get("samples"),
                desc=label,
                unit="img",
                file=self.stream,
                leave=True,
                dynamic_ncols=True,
                bar_format="{desc} {percentage:3.0f}%|{bar:20}| {postfix}",
            )

    def _advance(self, size: int, logs: Logs | None) -> None:
        self._seen += size
        now = time.perf_counter()
        if self._bar is not None and now >= self._next:
            self._next = now + self.INTERVAL
            self._rate = self._seen / max(now - self._start, 1e-9)
            self._refresh(logs, now)

    def _refresh(self, logs: Logs | None, now: float) -> None:
        self._bar.set_postfix_str(self._figures(logs, now), refresh=False)
        self._bar.update(self._seen - self._shown)
        self._bar.refresh()
        self._shown = self._seen

    def _stop_clock(self) -> None:
        self._rate = self._seen / max(time.perf_counter() - self._start, 1e-9)

    def _figures(self, logs: Logs | None, now: float) -> str:
        parts = [f"{now - self._start:.1f}s", f"{self._rate:,.0f} images/s"]
        return " - ".join(parts + [f"{key}: {format_figure(value)}" for key, value in (logs or {}).items()])

    def _finish(self, logs: Logs | None) -> None:
        now = time.perf_counter()
        if self._bar is not None:
            self._refresh(logs, now)
            self.close()
        else:
            self.stream.write(f"{self._label} - {self._figures(logs, now)}\n")
            self.stream.flush()

    def close(self) -> None:
        """End the bar, leaving its line; called after an exception too."""
        bar, self._bar = self._bar, None
        self._in_training = False
        if bar is not None:
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
        size = self.params["batch_size"]
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
