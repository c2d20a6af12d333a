"""Figures and weights as TensorBoard shows them, written by tensorboardX, without TensorFlow."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

import numpy as np

from .. import _validation
from .base import Callback, Logs


class TensorBoard(Callback):
    """Writes the figures of training, and the weights if wanted, for ``tensorboard --logdir logs``.

    As in Keras there is a folder ``train`` and a folder ``validation``, so that the two curves stand in one diagram.
    Tags are Keras's: ``epoch_loss`` and its kin against the epoch, ``epoch_learning_rate``, ``batch_loss`` against the
    batch, ``evaluation_loss_vs_iterations`` for each evaluation. Needs the extra ``tensorboard``.

    Args:
        log_dir: The folder. Default ``"logs"``. Give each run one of its own: ``f"logs/{name}"``.
        histogram_freq: Every so many epochs, histograms of all weights. Default 0: never.
        write_graph: Write the table of the layers as the text ``model``. Default True.
        write_images: Together with histograms, the weights as grey pictures: kernels of a convolution side by side.
            Default False.
        write_steps_per_second: Default False.
        update_freq: ``"epoch"`` (default), ``"batch"``, or a number of batches: write the running figures that often.
        profile_batch, embeddings_freq, embeddings_metadata: Must be 0 or None; see `Sequential.profile` for times.

    Raises:
        ImportError: tensorboardX is not installed.
        ValueError, NotImplementedError: an argument that cannot be used.

    Example:
        >>> from fastconv.callbacks import TensorBoard
        >>> board = TensorBoard("logs/first", histogram_freq=1)  # doctest: +SKIP
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        super().__init__()
        where = "TensorBoard"
        for name, value in (("profile_batch", profile_batch), ("embeddings_freq", embeddings_freq)):
            if value:
                raise _validation.unsupported(where, f"{name}={value!r}", f"Leave {name} out.")
        if embeddings_metadata is not None:
            raise _validation.unsupported(where, "embeddings_metadata", "Leave it out.")
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = _validation.as_index(where, "histogram_freq", histogram_freq)
        self.write_graph = bool(write_graph)
        self.write_images = bool(write_images)
        self.write_steps_per_second = bool(write_steps_per_second)
        self.update_freq = 0 if update_freq == "epoch" else 1 if update_freq == "batch" else update_freq
        if update_freq not in ("epoch", "batch"):
            _validation.as_number(where, "update_freq", _validation.as_index(where, "update_freq", update_freq), 1)
        try:
            self._make_writer: Any = importlib.import_module("tensorboardX").SummaryWriter
        except ImportError:
            raise _validation.missing_extra("callbacks.TensorBoard", "tensorboardX", "tensorboard") from None
        self._writers: dict[str, Any] = {}
        self._train_batches = self._test_batches = 0
        self._epoch_start = self._batch_start = 0.0
        self._epoch_iterations = 0

    def _writer(self, part: str) -> Any:
        """The writer of ``"train"`` or ``"validation"``, made when there is something to write."""
        if part not in self._writers:
            self._writers[part] = self._make_writer(os.path.join(self.log_dir, part))
        return self._writers[part]

    def _scalars(self, part: str, prefix: str, logs: Logs, step: int, suffix: str = "") -> None:
        for name, value in logs.items():
            # A metric with several figures (a precision for each threshold) gives a curve for each.
            for i, number in enumerate(np.ravel(value)):
                index = f"_{i}" if np.ndim(value) else ""
                self._writer(part).add_scalar(f"{prefix}{name}{index}{suffix}", float(number), step)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._train_batches = self._test_batches = 0
        if self.write_graph:
            lines: list[str] = []
            self.model.summary(print_fn=lines.append)
            self._writer("train").add_text("model", "".join(f"    {line}\n" for line in lines), 0)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch_start = time.perf_counter()
        self._epoch_iterations = self.model.optimizer.iterations

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._batch_start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._train_batches += 1
        if self.update_freq and self._train_batches % int(self.update_freq) == 0:
            figures = dict(logs or {})
            if self.write_steps_per_second:
                figures["steps_per_second"] = 1 / max(time.perf_counter() - self._batch_start, 1e-9)
            self._scalars("train", "batch_", figures, self._train_batches)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._test_batches += 1
        if self.update_freq and self._test_batches % int(self.update_freq) == 0:
            self._scalars("validation", "batch_", logs or {}, self._test_batches)

    def on_test_end(self, logs: Logs | None = None) -> None:
        steps = self.model.optimizer.iterations
        self._scalars("validation", "evaluation_", logs or {}, steps, "_vs_iterations")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        train = {name: value for name, value in logs.items() if not name.startswith("val_")}
        train["learning_rate"] = self.model.optimizer.learning_rate
        if self.write_steps_per_second:
            steps = self.model.optimizer.iterations - self._epoch_iterations
            train["steps_per_second"] = steps / max(time.perf_counter() - self._epoch_start, 1e-9)
        self._scalars("train", "epoch_", train, epoch)
        validation = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        self._scalars("validation", "epoch_", validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._weights(epoch)
        for writer in self._writers.values():
            writer.flush()

    def _weights(self, epoch: int) -> None:
        """Histograms, and pictures, of all weights, named after layer and weight."""
        writer = self._writer("train")
        for layer in self.model.layers:
            for name, weight in layer._weights.items():
                tag = f"{layer.name}/{name}"
                writer.add_histogram(f"{tag}/histogram", weight.value, epoch)
                if self.write_images:
                    writer.add_images(f"{tag}/image", as_pictures(weight.value), epoch, dataformats="NHWC")

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; called after an exception too."""
        writers, self._writers = self._writers, {}
        for writer in writers.values():
            writer.close()


def as_pictures(weight: np.ndarray) -> np.ndarray:
    """Weights as grey pictures (n, h, w, 1) from 0 to 1: one of a vector or matrix, one per pair of channels else."""
    if weight.ndim < 2:
        pictures = weight.reshape(1, 1, -1)
    else:
        pictures = np.moveaxis(weight.reshape(*weight.shape[:2], -1), -1, 0)
    low, high = float(pictures.min(initial=np.inf)), float(pictures.max(initial=-np.inf))
    scale = high - low if high > low else 1.0
    return np.asarray(((pictures - low) / scale)[..., None], dtype=np.float32)
