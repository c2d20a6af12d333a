"""How a model computes outputs outside training: chains of compiled steps, and layers called one by one between them.

Nothing here writes to a layer, so several threads may use one model at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from ..layers.base import Layer
from ..ops.inference import FEW, Chain, Step, chains, softmax_step

Array = np.ndarray
Stage = Callable[[Array], Array]
PACKAGE = __name__.split(".")[0]


class _Part(NamedTuple):
    """A step or a function of the batch, the shape of a sample that it takes, and the layer's type."""

    what: Step | Stage
    x_shape: tuple[int, ...]
    dtype: str


class Inference:
    """The outputs of a stack of layers for samples of one shape.

    Args:
        layers: built layers.
        x_shape: shape of a sample.

        logits: leave out a final softmax or sigmoid (``Layer.final_activation``) where that is possible.

    Attributes:
        frugal: whether all is compiled steps, so that batches of any size take little more memory than their output.
        on_logits: whether a final activation is left out.
        fresh: whether the output is memory of its own, neither the input's nor a layer's buffer.
    """

    def __init__(self, layers: Sequence[Layer], x_shape: tuple[int, ...], logits: bool = False) -> None:
        self._marks = [(layer, layer._weights, layer._edits) for layer in layers]
        parts: list[_Part] = []
        shape: Any = x_shape
        known = True  # Behind a layer of the user's own the shape is what that makes it, not what it says.
        for layer in layers:
            known = known and is_ours(type(layer))
            y_shape: Any = layer.compute_output_shape((None, *shape))[1:]
            step = layer.inference_step(shape) if known else None
            parts.append(_Part(_called(layer) if step is None else step, shape, layer.dtype))
            shape = y_shape
            after = None if step is None else layer.inference_activation
            if after is not None:
                parts.append(_Part(_as_step(layer, shape) or after, shape, layer.dtype))
            activated = after is not None
        self.on_logits = logits and activated and layers[-1].final_activation is not None
        if self.on_logits:
            parts.pop()
        self._few, self._many = _compiled(parts, few=True), _compiled(parts, few=False)
        last = self._few[-1]
        self.fresh = isinstance(last, Chain) and last.computes
        self.frugal = all(isinstance(stage, Chain) for stage in self._many)
        self._last_layer, self._last_is_ours = layers[-1], is_ours(type(layers[-1]))

    def fits(self, layers: Sequence[Layer]) -> bool:
        """Whether these are still the layers, the weights and the settings that the chains were made from."""
        if len(layers) != len(self._marks):
            return False
        for layer, (was, weights, edits) in zip(layers, self._marks, strict=True):
            if layer is not was or layer._weights is not weights or layer._edits != edits:
                return False
        return True

    def __call__(self, x: Array) -> Array:
        """Outputs (n, …) for samples (n, …)."""
        for stage in self._few if len(x) <= FEW else self._many:
            x = stage(x)
        # In a callback of `fit` layers write to the same memory at each call; one of the user's own may do so always.
        if not self.fresh and (self._last_layer._reuse_buffers or not self._last_is_ours):
            return x.copy()
        return x


def _called(layer: Layer) -> Stage:
    """The layer's own call; in the middle of a ``fit`` its final activation may be switched off."""

    def call(x: Array) -> Array:
        y = layer(x)
        return layer.inference_activation(y) if layer.inference_activation and layer._gives_logits() else y

    return call


def _as_step(layer: Layer, shape: tuple[int, ...]) -> Step | None:
    """The layer's ``inference_activation`` as a step, if it is a softmax over all of a sample."""
    return softmax_step(shape[0]) if layer.final_activation == "softmax" and len(shape) == 1 else None


def _compiled(parts: list[_Part], few: bool) -> list[Stage]:
    """The parts, with neighbouring steps of one type joined to chains."""
    stages: list[Any] = []
    for (is_step, dtype), group in groupby(parts, lambda part: (isinstance(part.what, Step), part.dtype)):
        members = list(group)
        what: list[Any] = [part.what for part in members]
        stages += chains(what, members[0].x_shape, dtype, few) if is_step else what
    return stages


def is_ours(kind: type[Layer]) -> bool:
    """Whether the class is the package's own, whose ``inference_step`` is what its ``call`` does."""
    return kind.__module__.split(".")[0] == PACKAGE
