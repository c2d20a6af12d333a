"""The table of `Sequential.summary`, laid out as Keras 3 prints it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..layers.base import Layer
    from .sequential import Sequential

_HEADER = ("Layer (type)", "Output Shape", "Param #")
_SHARES = (0.45, 0.80)  # Where the columns end, as parts of the width: Keras's.
_WIDTH = 88


def readable_size(size: float) -> str:
    """Bytes in the largest unit that leaves a number of at least 1.

    Example:
        >>> readable_size(246824)
        '241.04 KB'
    """
    units = ("B", "KB", "MB", "GB", "TB")
    for unit in units[:-1]:
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} {units[-1]}"


def _size(arrays: Iterable[np.ndarray]) -> tuple[int, str]:
    arrays = list(arrays)
    return sum(array.size for array in arrays), readable_size(sum(array.nbytes for array in arrays))


def _wrap(text: str, width: int) -> list[str]:
    """``text`` in pieces of at most ``width`` characters, cut at spaces where there are any."""
    lines = []
    while len(text) > width:
        cut = text.rfind(" ", 1, width + 1)
        cut = cut if cut > 0 else width
        lines.append(text[:cut])
        text = text[cut:].lstrip()
    return [*lines, text]


def _row(cells: list[list[str]], widths: tuple[int, ...], edge: str) -> list[str]:
    """The lines of one row; the last column is flush right."""
    lines = []
    for i in range(max(map(len, cells))):
        texts = [cell[i] if i < len(cell) else "" for cell in cells]
        padded = [text.ljust(width) for text, width in zip(texts[:-1], widths[:-1], strict=True)]
        padded.append(texts[-1].rjust(widths[-1]))
        lines.append(f"{edge} " + f" {edge} ".join(padded) + f" {edge}")
    return lines


def _layer_cells(layer: Layer) -> tuple[str, str, str]:
    shape = str(layer.output_shape) if layer.built else "?"
    params = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
    return f"{layer.name} ({type(layer).__name__})", shape, params


def summary_lines(model: Sequential, line_length: int | None = None) -> list[str]:
    """The lines of the table and of the totals below it."""
    total = line_length or min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns - 4)
    inner = max(total - 10, 30)  # Without the four edges and the blanks beside them.
    first, second = int(_SHARES[0] * inner), int(_SHARES[1] * inner)
    widths = (first, second - first, inner - second)

    def rule(left: str, middle: str, right: str, fill: str) -> str:
        return left + middle.join(fill * (width + 2) for width in widths) + right

    lines = [f'Model: "{model.name}"', rule("┏", "┳", "┓", "━")]
    lines += _row([[text] for text in _HEADER], widths, "┃")
    lines.append(rule("┡", "╇", "┩", "━"))
    for i, layer in enumerate(model.layers):
        if i:
            lines.append(rule("├", "┼", "┤", "─"))
        cells = [_wrap(text, width) for text, width in zip(_layer_cells(layer), widths, strict=True)]
        lines += _row(cells, widths, "│")
    lines.append(rule("└", "┴", "┘", "─"))
    for title, arrays in (
        ("Total params", model.weights),
        ("Trainable params", model.trainable_weights),
        ("Non-trainable params", model.non_trainable_weights),
    ):
        count, size = _size(arrays)
        lines.append(f" {title}: {count:,} ({size})")
    if model.optimizer is not None and model.optimizer.built:
        count, size = _size(model.optimizer.variables)
        lines.append(f" Optimizer params: {count:,} ({size})")
    return lines
