"""A list of records as a table: aligned text, Markdown, or CSV with unrounded numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STYLES = ("text", "markdown", "csv")
ABSENT = "–"


@dataclass(frozen=True)
class Column:
    """One figure: its heading, its key in the records, and how people read it."""

    heading: str
    key: str
    show: Callable[[Any], str] = str
    left: bool = False


def render(records: Sequence[Mapping[str, Any]], columns: Sequence[Column], style: str) -> str:
    """The table in one of ``STYLES``. A value that is missing or None is shown as a dash, in CSV as nothing."""
    if style == "csv":
        return _csv(records, columns)
    rows = [[_cell(record.get(column.key), column) for column in columns] for record in records]
    widths = [max(len(text) for text in texts) for texts in zip([c.heading for c in columns], *rows, strict=True)]
    lines = [[column.heading for column in columns], *rows]
    aligned = [
        [text.ljust(width) if column.left else text.rjust(width)
         for text, width, column in zip(line, widths, columns, strict=True)]
        for line in lines
    ]  # fmt: skip
    if style == "markdown":
        pairs = zip(widths, columns, strict=True)
        rule = ["-" * width if column.left else "-" * (width - 1) + ":" for width, column in pairs]
        return "\n".join(f"| {' | '.join(line)} |" for line in [aligned[0], rule, *aligned[1:]])
    rule = ["-" * width for width in widths]
    return "\n".join("  ".join(line).rstrip() for line in [aligned[0], rule, *aligned[1:]])


def with_figures(columns: Sequence[Column], records: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns that at least one record has a value for."""
    return [column for column in columns if any(record.get(column.key) is not None for record in records)]


def notes(lines: Mapping[str, str], style: str) -> str:
    """The lines above a table."""
    if style == "markdown":
        return "\n".join(f"- {name}: {text}" for name, text in lines.items()) + "\n"
    prefix = "# " if style == "csv" else ""
    width = max(map(len, lines), default=0) + 1
    return "\n".join(f"{prefix}{name + ':':{width}} {text}" for name, text in lines.items())


def seconds(value: float) -> str:
    """Three figures, with the unit that suits them."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1 or unit == "µs":
            return f"{significant(value * factor)} {unit}"
    raise AssertionError


def significant(value: float) -> str:
    """Three figures, whole from 100 on: 0.123, 1.23, 12.3, 123, 12,345."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def percent(value: float) -> str:
    """Two figures: 53%, 5.3%, 0.0053%."""
    return f"{value:.0%}" if value >= 0.0995 or not value else f"{float(f'{100 * value:.2g}'):.10g}%"


def times(value: float) -> str:
    """A ratio: 0.07, 0.97, 1.50, 12.3, 1,230."""
    return f"{value:.2f}" if value < 10 else significant(value)


def scientific(value: float) -> str:
    return f"{value:.1e}"


def _cell(value: Any, column: Column) -> str:
    return ABSENT if value is None else column.show(value)


def _csv(records: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.key for column in columns])
    for record in records:
        values = (record.get(column.key) for column in columns)
        writer.writerow(["" if value is None else value for value in values])
    return text.getvalue().rstrip("\n")
