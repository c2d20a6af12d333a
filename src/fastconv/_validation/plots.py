"""Checks of what is to be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def as_curves(history: Any) -> dict[str, np.ndarray]:
    """The curves of a History, or of its dict, that have a point: name → values."""
    curves = getattr(history, "history", history)
    if not isinstance(curves, Mapping):
        raise TypeError(
            f"plot_history: history must be what fit returns or its .history, received {type(history).__name__}."
        )
    drawn = {str(name): np.asarray(values, dtype=float) for name, values in curves.items() if len(values)}
    if not drawn:
        raise ValueError(f"plot_history: history has no epoch to draw. Received the keys {sorted(map(str, curves))}.")
    return drawn


def as_filters(layer_or_kernel: Any) -> np.ndarray:
    """The kernel (kh, kw, in_channels, filters) of a layer, or the array itself."""
    if hasattr(layer_or_kernel, "get_weights"):
        weights = layer_or_kernel.get_weights()
        if not weights:
            name = getattr(layer_or_kernel, "name", "")
            raise ValueError(
                f"plot_filters: layer {name!r} has no weights. Build it first (call it or its model on an input), and "
                "choose a convolution layer."
            )
        layer_or_kernel = weights[0]
    kernel = np.asarray(layer_or_kernel)
    if kernel.ndim != 4 or kernel.size == 0:
        raise ValueError(
            "plot_filters: expected a convolution layer or a kernel (kh, kw, in_channels, filters), received "
            f"shape={kernel.shape}."
        )
    return kernel


def as_feature_maps(maps: Any) -> np.ndarray:
    """One image's output, (h, w, channels)."""
    array = np.asarray(maps)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim != 3 or array.size == 0:
        raise ValueError(
            "plot_feature_maps: maps must be one image's output (h, w, channels) or (1, h, w, channels), received "
            f"maps.shape={array.shape}." + (" Take one image: maps[0]." if array.ndim == 4 else "")
        )
    return array


def as_pictures(where: str, images: Any) -> np.ndarray:
    """(n, h, w) of grey values or (n, h, w, 3) of colours."""
    array = np.asarray(images)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3) or not len(array):
        raise ValueError(
            f"{where}: images must be (n, h, w), (n, h, w, 1) or (n, h, w, 3) with n >= 1, received "
            f"images.shape={array.shape}." + (" Add the first axis: images[None]." if array.ndim == 2 else "")
        )
    return array


def as_probabilities(where: str, probabilities: Any) -> np.ndarray:
    """(n, classes), checked to look like probabilities, since logits would be drawn without a sign that they are."""
    array = np.asarray(probabilities, dtype=float)
    if array.ndim != 2 or array.shape[1] < 2:
        raise ValueError(f"{where}: probabilities must be (n, classes), received probabilities.shape={array.shape}.")
    if array.size and not (array.min() >= 0 and array.max() <= 1.001):
        raise ValueError(
            f"{where}: probabilities must lie between 0 and 1, received {array.min():.4g} to {array.max():.4g}. If the "
            "model gives logits: fastconv.softmax(logits)."
        )
    return array


def as_class_names(where: str, class_names: Sequence[str] | None, classes: int) -> list[str]:
    """One name for each class; without names, their numbers."""
    names = [str(i) for i in range(classes)] if class_names is None else [str(name) for name in class_names]
    if len(names) != classes:
        raise ValueError(
            f"{where}: class_names must have one name for each of {classes} classes, received {len(names)}."
        )
    return names


def check_not_empty(where: str, **arrays: np.ndarray) -> None:
    """Refuse arrays of which none has an element."""
    if not any(array.size for array in arrays.values()):
        raise ValueError(f"{where}: {' and '.join(arrays)} are empty. Give at least one element.")
