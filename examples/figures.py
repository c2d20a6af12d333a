"""Figures that several example programs draw and ``fastconv.plots`` does not have. They need matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Fills that stay apart for colour-blind readers; see fastconv.plots.
PALE_BLUE, PALE_ORANGE = "#CCE4F2", "#FBE9C6"


def pictures(
    images: Sequence[tuple[str, np.ndarray]],
    *,
    columns: int,
    title: str,
    limits: tuple[float, float] | None = None,
    size: float = 1.7,
) -> Any:
    """Grey pictures with captions, ``columns`` in a row, each ``size`` inches wide.

    ``limits``: what black and white stand for; default: the least and the greatest value of each picture.
    """
    rows = math.ceil(len(images) / columns)
    height, width = images[0][1].shape
    lines = max(caption.count("\n") + 1 for caption, _ in images)
    figure = _figure(size * columns + 0.2, (size * height / width + 0.2 * lines) * rows + 0.3, title)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    low, high = limits or (None, None)
    for panel, (caption, image) in zip(panels, images, strict=False):
        panel.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        panel.set_title(caption, fontsize=9)
    for panel in panels:
        panel.axis("off")
    return figure


def grids(
    arrays: Sequence[tuple[str, np.ndarray]],
    *,
    title: str,
    windows: Mapping[int, tuple[int, int | None]] | None = None,
    signs: Sequence[str] = (),
) -> Any:
    """Small arrays as tables of their numbers, side by side.

    ``windows``: by the array's place in the row, the (size, stride) of windows over it, shaded in turns as far as they
    lie in it; with stride None the first one only. ``signs``: what stands between two arrays.
    """
    widths = [array.shape[1] for _, array in arrays]
    figure = _figure(0.55 * sum(widths) + 0.5 * len(arrays) + 0.3, 0.55 * max(len(a) for _, a in arrays) + 1.1, title)
    panels = figure.subplots(1, len(arrays), squeeze=False, width_ratios=widths)[0]
    for number, (panel, (caption, array)) in enumerate(zip(panels, arrays, strict=True)):
        _grid(panel, array, (windows or {}).get(number))
        panel.set_title(caption, fontsize=10)
        if number < len(signs):
            panel.text(1.0, 0.5, f"  {signs[number]}", transform=panel.transAxes, fontsize=16, va="center")
    return figure


def _grid(panel: Any, array: np.ndarray, windows: tuple[int, int | None] | None) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = array.shape
    if windows:
        size, stride = windows
        for i, y in enumerate(range(0, rows, stride or rows)):
            for j, x in enumerate(range(0, columns, stride or columns)):
                colour = PALE_ORANGE if (i + j) % 2 else PALE_BLUE
                corner, extent = (x - 0.5, y - 0.5), (min(size, columns - x), min(size, rows - y))
                panel.add_patch(Rectangle(corner, *extent, facecolor=colour, edgecolor="black", linewidth=1.5))
    for (y, x), value in np.ndenumerate(array):
        panel.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="#777777", linewidth=0.6))
        panel.text(x, y, f"{value:.3g}".replace("-", "\N{MINUS SIGN}"), ha="center", va="center", fontsize=10)
    panel.set_xlim(-0.6, columns - 0.4)
    panel.set_ylim(rows - 0.4, -0.6)
    panel.set_aspect("equal")
    panel.axis("off")


def _figure(width: float, height: float, title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width, 0.085 * len(title) + 0.4), height), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure
