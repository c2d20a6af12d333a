"""`Sequential`: a stack of layers with the training interface of Keras."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import _validation, losses, optimizers
from .. import metrics as metrics_module
from ..callbacks import CallbackList, History, ProgressBar
from ..layers.base import Layer
from . import onnx, profiling, saving, training
from .interrupts import InterruptGuard
from .occupancy import Occupancy
from .profiling import Profile
from .stack import LayerStack, Shape
from .summary import summary_lines

Array = np.ndarray


class Sequential(LayerStack):
    """Layers one after another: the output of each is the input of the next.

    A model whose first layer says its input shape (``Input(shape)``, or ``input_shape=`` of any layer) is built while
    layers are added; any other is built by ``build`` or by the first data that it sees. Layers are shared, not copied:
    ``Sequential(model.layers[:k])`` has the same weights as ``model``, and gives its k-th intermediate activation.

    Args:
        layers: Layers, or None to ``add`` them later.
        name: Default: ``"sequential"``, numbered.

    Attributes:
        optimizer, loss: Set by ``compile``.
        history: The `History` of the last ``fit``, kept also when that was interrupted.
        stop_training: Set it from a callback to end training after the running batch.

    Example:
        >>> import numpy as np
        >>> from fastconv import layers, models
        >>> model = models.Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")])
        >>> model.count_params()
        15
        >>> model(np.zeros((2, 4), "float32")).shape
        (2, 3)
    """

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        super().__init__(layers, name)
        self.optimizer: Any = None
        self.loss: Any = None
        self._metric_identifiers: list[Any] = []
        self._weighted_identifiers: list[Any] = []
        self._metrics: list[metrics_module.Metric] | None = None
        self._loss_mean = metrics_module.Mean("loss")
        self.history: History | None = None
        self.stop_training = False
        self._occupancy = Occupancy()

    def summary(self, line_length: int | None = None, print_fn: Any = None) -> None:
        """Print a table of the layers: name, output shape, parameters, and the totals.

        Args:
            line_length: Width in characters. Default: that of the terminal, at most 88.
            print_fn: Called with each line instead of ``print``.
        """
        for line in summary_lines(self, line_length):
            (print_fn or print)(line)

    def profile(self, x: Any, training: bool = False, print_fn: Any = None) -> Profile:
        """Print where the time goes: for each layer its time, share, GFLOP/s and part of this machine's measured peak.

        Each layer is timed by itself, on the output of those before it. ``predict`` and ``fit`` join neighbouring
        layers where they can, so the whole model takes less than the sum; its time stands below the table. Nothing
        about the model changes.

        Args:
            x: Samples (n, …), as for ``predict``.
            training: Time a layer's forward pass and its gradients, as ``fit`` needs them. Default False: inference.
            print_fn: Called with each line instead of ``print``.

        Returns:
            A `Profile`: the printed figures, in ``layers`` one record per layer.

        Raises:
            TypeError, ValueError: data that do not fit, or no samples.

        Example:
            >>> import numpy as np
            >>> from fastconv import layers, models
            >>> model = models.Sequential([layers.Input((28, 28, 1)), layers.Conv2D(6, 5), layers.Flatten()])
            >>> found = model.profile(np.zeros((8, 28, 28, 1), "float32"), print_fn=lambda line: None)
            >>> [row.kind for row in found.layers], found.layers[0].output_shape
            (['Conv2D', 'Flatten'], (8, 24, 24, 6))
        """
        where = "Sequential.profile"
        x = self._as_input(where, x)
        if not len(x):
            raise _validation.no_samples(where)
        found = profiling.profile(self, x, bool(training))
        for line in str(found).splitlines():
            (print_fn or print)(line)
        return found

    # Training

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        distribution: Any = None,
        *,
        weighted_metrics: Any = None,
    ) -> None:
        """Say how to train. Training state (moments, step counter) starts anew.

        Args:
            optimizer: A name or an `Optimizer`. Default ``"rmsprop"``.
            loss: A name or a `Loss`.
            metrics: Names, `Metric` objects or functions of (y_true, y_pred), one or a list.
            distribution: Must be None.
            weighted_metrics: Metrics that take the class or sample weights into account; ``metrics`` do not.

        Raises:
            ValueError, TypeError: something unknown; the model keeps its former settings.
            NotImplementedError: a ``distribution``.
        """
        where = "Sequential.compile"
        if distribution is not None:
            raise _validation.unsupported(
                where, "distribution", "A later version trains in several processes; leave it out."
            )
        new_loss = losses.get(loss[0] if isinstance(loss, (list, tuple)) and len(loss) == 1 else loss)
        if new_loss is not None and new_loss.reduction in (None, "none"):
            raise _validation.wrong_state(
                where, "the loss has no reduction.", "Training needs a scalar: reduction='sum_over_batch_size'."
            )
        identifiers, weighted = _as_list(metrics), _as_list(weighted_metrics)
        self._make_metrics(identifiers + weighted, (None,), (None, 2))
        self.optimizer = optimizers.get(optimizer)
        self.loss = new_loss
        self._metric_identifiers, self._weighted_identifiers = identifiers, weighted
        self._metrics = None
        self._loss_mean.reset_state()

    @property
    def compiled(self) -> bool:
        """Whether ``compile`` was called."""
        return self.optimizer is not None

    @property
    def metrics(self) -> list[metrics_module.Metric]:
        """The loss's mean and the metrics, once data has told which accuracy ``"accuracy"`` is."""
        return [self._loss_mean, *(self._metrics or [])]

    @property
    def metrics_names(self) -> list[str]:
        """Names of ``metrics``, as in the history: all different."""
        found = self._metrics or []
        return ["loss", *training.figure_names(found, len(found) - len(self._weighted_identifiers))]

    def reset_metrics(self) -> None:
        """Start the means of the loss and the metrics anew."""
        for metric in self.metrics:
            metric.reset_state()

    @staticmethod
    def _make_metrics(identifiers: list[Any], target_shape: Shape, pred_shape: Shape) -> list[metrics_module.Metric]:
        return [
            metrics_module.accuracy_for(identifier, target_shape, pred_shape)
            if isinstance(identifier, str) and identifier.lower() in metrics_module.ACCURACY_NAMES
            else metrics_module.get(identifier)
            for identifier in identifiers
        ]

    def _resolve_metrics(self, targets: Array) -> list[metrics_module.Metric]:
        """The metrics for targets like these, the same objects from call to call.

        New ones are tried on a sample: one that does not fit is refused before a weight changes.
        """
        if self._metrics is None:
            identifiers = self._metric_identifiers + self._weighted_identifiers
            found = self._make_metrics(identifiers, targets.shape, self.output_shape)
            shape: Any = (1, *self.output_shape[1:])
            prediction = np.full(shape, 0.5, self.layers[-1].dtype)
            with np.errstate(all="ignore"):
                for metric in found:
                    metric.update_state(targets[:1], prediction)
                    metric.reset_state()
            self._metrics = found
        return self._metrics

    def _require_compiled(self, where: str) -> None:
        self._require_layers()
        if self.optimizer is None:
            raise _validation.wrong_state(
                where, "the model is not compiled.", "Call model.compile(optimizer, loss) first."
            )
        if self.loss is None:
            raise _validation.wrong_state(
                where, "the model was compiled without a loss.", "Call model.compile(loss=…)."
            )

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = 32,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
    ) -> History:
        """Train on arrays for some epochs.

        Ctrl-C leaves a model that can be used and trained further: an update is applied wholly or not at all, and the
        history so far is on ``model.history``. Data are checked before anything changes.

        Args:
            x: Samples (n, …), float32 or float64.
            y: Targets, one per sample, as the loss takes them.
            batch_size: Samples per update. Default 32.
            epochs: The number of the last epoch; ``epochs - initial_epoch`` are run. Default 1.
            verbose: 0 quiet, 1 a bar and then a line per epoch, 2 the lines alone, ``"auto"`` (default) as 1. See
                `ProgressBar`.
            callbacks: `Callback` objects.
            validation_split: The last part of the samples is validated on and not trained on. Default 0.
            validation_data: ``(x, y)`` or ``(x, y, sample_weight)``; takes precedence over ``validation_split``.
            shuffle: A new order at each epoch. Default True.
            class_weight: Weight of each class, a dict; 1 for classes that it does not name.
            sample_weight: Weights of the samples in the loss, (n,).
            initial_epoch: The number of the first epoch. Default 0.

        Returns:
            `History`; its ``history`` holds ``loss``, the metrics, and their ``val_`` twins, one entry per epoch. They
            are means over the samples of the epoch, while the weights were moving; the loss includes the regularisers.

        Raises:
            TypeError, ValueError: data that do not fit; a model that is not compiled.

        Example:
            >>> import numpy as np
            >>> from fastconv import layers, models
            >>> model = models.Sequential([layers.Input((2,)), layers.Dense(1)])
            >>> model.compile("sgd", "mse")
            >>> history = model.fit(np.ones((8, 2)), np.ones((8, 1)), epochs=3, verbose=0)
            >>> len(history.history["loss"])
            3
        """
        where = "Sequential.fit"
        self._require_compiled(where)
        size = self._batch_size(where, batch_size)
        last = _validation.as_index(where, "epochs", epochs)
        first = _validation.as_index(where, "initial_epoch", initial_epoch)
        _validation.as_number(where, "epochs", last, 0)
        _validation.as_number(where, "initial_epoch", first, 0)
        several = training.as_callbacks(where, callbacks)
        mode = training.progress_mode(where, verbose)
        part = _validation.as_number(where, "validation_split", validation_split, 0, 1)
        validation = None
        if validation_data is not None:
            validation = self._validation_data(where, validation_data)
        elif part:
            (x, y, sample_weight), held_out = training.split(self, where, x, y, sample_weight, part)
            validation = training.prepare(self, f"{where}: validation_split", *held_out)
        data = training.prepare(self, where, x, y, sample_weight, class_weight)
        with self._occupancy.taken(where, trains=True, layers=self.layers):
            return training.fit(
                self, data, validation, batch_size=size, epochs=last, verbose=mode, callbacks=several,
                shuffle=bool(shuffle), initial_epoch=first,
            )  # fmt: skip

    def _validation_data(self, where: str, validation_data: Any) -> training.Data:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise _validation.wrong_type(
                where, "validation_data", validation_data, "a tuple (x, y) or (x, y, sample_weight)"
            )
        return training.prepare(self, f"{where}: validation_data", *validation_data)

    @staticmethod
    def _batch_size(where: str, batch_size: Any) -> int:
        size = _validation.as_index(where, "batch_size", 32 if batch_size is None else batch_size)
        _validation.as_number(where, "batch_size", size, 1)
        return size

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = 32,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        return_dict: bool = False,
        callbacks: Any = None,
    ) -> Any:
        """Loss and metrics on arrays.

        Args:
            x, y, sample_weight: As for ``fit``.
            batch_size: Samples per batch. Default 32.
            verbose: 0 quiet, 1 a bar, 2 a line, ``"auto"`` (default) as 1.
            return_dict: Give a dict by name instead of a list. Default False.
            callbacks: `Callback` objects.

        Returns:
            The loss, a float, if there are no metrics; else ``[loss, metric, …]``; or a dict.
        """
        where = "Sequential.evaluate"
        self._require_compiled(where)
        size = self._batch_size(where, batch_size)
        several, mode = training.as_callbacks(where, callbacks), training.progress_mode(where, verbose)
        data = training.prepare(self, where, x, y, sample_weight)
        guard = InterruptGuard()
        listeners = self._listeners(several, mode, len(data), size)
        try:
            with guard.installed(), self._occupancy.taken(where, trains=False):
                logs = training.evaluate(self, data, size, listeners, guard)
        finally:
            listeners.close()
        return logs if return_dict else _loss_or_list(logs)

    def _listeners(self, callbacks: list[Any], mode: int, samples: int, batch_size: int) -> CallbackList:
        params = {"verbose": mode, "steps": -(-samples // batch_size), "samples": samples, "batch_size": batch_size}
        return CallbackList(([ProgressBar(mode)] if mode else []) + callbacks, self, params)

    def predict(self, x: Any, batch_size: int | None = 32, verbose: str | int = "auto", callbacks: Any = None) -> Array:
        """The output for every sample, computed in batches.

        Args:
            x: Samples (n, …), float32 or float64.
            batch_size: Samples per batch. Default 32.
            verbose: 0 quiet, 1 a bar, 2 a line, ``"auto"`` (default): a bar on a terminal, else quiet.
            callbacks: `Callback` objects.

        Returns:
            Array (n, …) of the last layer's output.
        """
        where = "Sequential.predict"
        size = self._batch_size(where, batch_size)
        several, mode = training.as_callbacks(where, callbacks), training.progress_mode(where, verbose)
        x = self._as_input(where, x)
        if verbose == "auto" and not ProgressBar().on_terminal:
            mode = 0
        listeners = self._listeners(several, mode, len(x), size)
        try:
            return training.predict(self, x, size, listeners)
        finally:
            listeners.close()

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One update on one batch.

        Returns:
            As ``evaluate``: the loss, a list, or a dict, of this batch alone.
        """
        where = "Sequential.train_on_batch"
        self._require_compiled(where)
        data = training.prepare(self, where, x, y, sample_weight, class_weight)
        guard = InterruptGuard()
        taken = self._occupancy.taken(where, trains=True, layers=self.layers)
        with taken, guard.installed(), training.Pass(self, guard) as run:
            self.optimizer.build(run.variables)
            figures = training.Figures(self, data)
            figures.reset()
            value, output = training.train_step(self, run, guard, *data)
            figures.add(value, data.y, output, run.on_logits, data.weight)
            return figures.logs() if return_dict else _loss_or_list(figures.logs())

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch, without an update; see ``train_on_batch`` for what is returned."""
        where = "Sequential.test_on_batch"
        self._require_compiled(where)
        data = training.prepare(self, where, x, y, sample_weight)
        inference = self._inference(data.x.shape[1:], training.joins_loss(self))
        output = inference(data.x)
        value, _ = self.loss.compute(data.y, output, data.weight, on_logits=inference.on_logits)
        value += training.penalty(training.regularized(self.layers))
        with self._occupancy.taken(where, trains=False):
            figures = training.Figures(self, data)
            figures.reset()
            figures.add(value, data.y, output, inference.on_logits, data.weight)
            return figures.logs() if return_dict else _loss_or_list(figures.logs())

    def predict_on_batch(self, x: Any) -> Array:
        """The output for one batch."""
        return self(x)

    # Files

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Save layers, weights, compile settings and the optimizer's state; see `saving.save_model`."""
        saving.save_model(self, filepath, overwrite)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Save the weights alone; see `saving.save_weights`."""
        saving.save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Load weights that ``save_weights`` or ``save`` wrote; see `saving.load_weights`."""
        saving.load_weights(self, filepath)

    def export(self, filepath: str | os.PathLike[str], format: str = "onnx", verbose: bool | None = None) -> None:
        """Write the model as an ONNX graph for prediction, which ONNX Runtime and many others load.

        The graph takes ``input``, batches shaped as ``predict`` takes them, of any length, and gives ``output``. Its
        outputs are those of ``predict`` but for rounding. Dropout and augmentation, which act in training only, are
        left out. The file is complete or not written at all.

        Args:
            filepath: Where to write; ends in ``.onnx``.
            format: ``"onnx"``.
            verbose: Print where the model was written. Default: no.

        Raises:
            ImportError: the package onnx is missing: ``pip install "fastconv[onnx]"``.
            ValueError: another format, a model that is not built, a layer or an activation of one's own.

        Example::

            model.export("digits.onnx")
            session = onnxruntime.InferenceSession("digits.onnx")
            (probabilities,) = session.run(None, {"input": images})
        """
        if format != "onnx":
            raise _validation.unknown_name("Sequential.export", "format", format, ("onnx",))
        self._require_layers()
        onnx.export(self, filepath)
        if verbose:
            print(f"Saved the model at {os.fspath(filepath)!r}.")

    def get_config(self) -> dict[str, Any]:
        """Layers and name in Keras's form, without weights."""
        return saving.model_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Sequential:
        """A new model from the result of ``get_config``."""
        return saving.model_from_config(config, cls)


def _as_list(metrics: Any) -> list[Any]:
    """None, one metric, several, or, as Keras takes them for its one output, a list of these in a list, as a list."""
    if isinstance(metrics, (list, tuple)) and len(metrics) == 1 and isinstance(metrics[0], (list, tuple)):
        metrics = metrics[0]
    return [] if metrics is None else list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]


def _loss_or_list(logs: dict[str, float]) -> Any:
    """What Keras gives: the loss alone, or a list of loss and metrics."""
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
