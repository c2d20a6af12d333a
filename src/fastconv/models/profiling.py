"""Where a model's time goes: `Sequential.profile`."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _config

if TYPE_CHECKING:
    from ..layers.base import Layer
    from .stack import LayerStack

Array = np.ndarray

# A call is timed so often, and for so long in all, that the median is steady: a fifth of a second a layer at most.
CALLS, SECONDS = 15, 0.2
_HEADER = ("Layer (type)", "Output shape", "Time", "Share", "GFLOP/s", "Of peak")


class LayerProfile(NamedTuple):
    """One layer's row. ``seconds`` is the median of the calls; what a layer without multiply-adds has not is None."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    seconds: float
    share: float
    gflops: float | None
    part_of_peak: float | None


class Profile:
    """The times of a model's layers for one batch. ``print`` shows a table.

    Attributes:
        layers: A `LayerProfile` per layer: name, kind, output_shape, seconds, share, gflops, part_of_peak.
        seconds: The sum of the layers' times.
        model_seconds: Time of the whole model as ``predict`` runs it, neighbouring layers in one; None for training.
        training: Whether the gradients are in the times.
        threads, isa: What it ran on.
        peak_gflops: What these threads could reach at best: multiply-adds in registers only, measured.
    """

    def __init__(
        self,
        layers: list[LayerProfile],
        model_seconds: float | None,
        training: bool,
        threads: int,
        isa: str,
        peak_gflops: float,
    ) -> None:
        self.layers = layers
        self.seconds = sum(row.seconds for row in layers)
        self.model_seconds = model_seconds
        self.training = training
        self.threads, self.isa, self.peak_gflops = threads, isa, peak_gflops

    def __repr__(self) -> str:
        return f"<Profile of {len(self.layers)} layers, {_seconds(self.seconds)}>"

    def __str__(self) -> str:
        rows = [_HEADER, *map(_cells, self.layers), ("All layers", "", _seconds(self.seconds), "100.0%", "", "")]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_line(row, widths) for row in rows]
        rule = "─" * len(lines[0])
        lines[1:1], lines[-1:] = [rule], [rule, lines[-1]]
        if self.model_seconds is not None:
            lines.append(f"The model as predict runs it, layers joined: {_seconds(self.model_seconds)}")
        what = "Forward and backward" if self.training else "Forward"
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        lines.append(f"{what}, {threads}, {self.isa}; peak {self.peak_gflops:.0f} GFLOP/s of multiply-adds, measured")
        return "\n".join(line.rstrip() for line in lines)


def profile(model: LayerStack, x: Array, training: bool) -> Profile:
    """The layers' times for a batch; the model stays as it is."""
    threads = _config.get_num_threads()
    peak = threads * _config.measure_peak(model.layers[0].dtype)
    model(x)  # builds it
    whole = None if training else _time(lambda: model(x))
    rows: list[tuple[Layer, tuple[int, ...], float, float]] = []
    learning = False  # the first layers, up to one that learns, have no way back
    for layer in model.layers:
        needs_input_grad, learning = learning, learning or bool(layer.trainable_weights)
        # Training moves weights' statistics and random states: a copy's.
        timed = copy.deepcopy(layer) if training else layer
        y = timed(x, training=training)
        products = 1
        if training and learning:
            timed._needs_input_grad = needs_input_grad
            products += bool(layer.trainable_weights) + needs_input_grad
            seconds = _time(partial(_there_and_back, timed, x, np.ones_like(y)))
        else:
            seconds = _time(partial(timed, x, training=training))
        rows.append((layer, y.shape, seconds, products * layer.multiply_adds(x.shape)))
        x = y
    peak = max(peak, threads * _config.measure_peak(model.layers[0].dtype))  # the CPU's speed may have changed
    total = sum(seconds for _, _, seconds, _ in rows)
    layers = [
        LayerProfile(
            layer.name,
            type(layer).__name__,
            shape,
            seconds,
            seconds / total,
            2e-9 * work / seconds if work else None,
            2e-9 * work / seconds / peak if work else None,
        )
        for layer, shape, seconds, work in rows
    ]
    return Profile(layers, whole, training, threads, _config.get_isa(), peak)


def _there_and_back(layer: Layer, x: Array, grad_output: Array) -> None:
    layer(x, training=True)
    layer.backward(grad_output)


def _time(call: Callable[[], Any]) -> float:
    """Seconds of a call: the median of some, after one to warm up."""
    call()
    samples: list[float] = []
    while len(samples) < CALLS and sum(samples) < SECONDS:
        start = time.perf_counter()
        call()
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def _cells(row: LayerProfile) -> tuple[str, ...]:
    speed = "–" if row.gflops is None else f"{row.gflops:.1f}"
    part = "–" if row.part_of_peak is None else f"{row.part_of_peak:.0%}"
    return f"{row.name} ({row.kind})", str(row.output_shape), _seconds(row.seconds), f"{row.share:.1%}", speed, part


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Text flush left, figures flush right."""
    texts = [cell.ljust(width) for cell, width in zip(cells[:2], widths, strict=False)]
    return "  ".join([*texts, *(cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True))])


def _seconds(value: float) -> str:
    """With the unit that leaves a number of at least 1."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"
