"""Pictures of training, of what a network has learnt, and of what it gets wrong. Needs matplotlib.

Each function returns a :class:`matplotlib.figure.Figure` that belongs to the caller alone: no window is opened and
pyplot's global state is not touched, so they work on machines without a display and in threads. Save one with
``figure.savefig("name.png")``; in a notebook, after ``%matplotlib inline``, it shows as the value of a cell.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._validation import (
    as_class_names,
    as_count,
    as_curves,
    as_feature_maps,
    as_filters,
    as_labels,
    as_pictures,
    as_probabilities,
    check_not_empty,
    check_same_length,
    missing_extra,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "plot_confidence_histogram",
    "plot_confusion_matrix",
    "plot_feature_maps",
    "plot_filters",
    "plot_history",
    "plot_predictions",
]

# Colours that stay apart for colour-blind readers and in grey print (M. Okabe, K. Ito, "Color universal design", 2008).
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
# Width of a letter of a heading: of 11 points, in DejaVu Sans 0.09 inches on average, and some to spare.
HEADING_INCHES = 0.095


def plot_history(history: Any) -> Figure:
    """Draw loss, accuracy and every other metric against the epoch, training and validation together.

    Args:
        history: what ``fit`` returns, or its ``.history``: ``{"loss": [...], "val_loss": [...], ...}``, one value an
        epoch.

    Returns:
        Figure with one panel for each metric; the ``val_`` curve of a metric shares its panel.

    Raises:
        TypeError: neither a history nor a dict.
        ValueError: there is no epoch in it.
        ImportError: matplotlib is not installed.

    Example:
        >>> figure = plot_history({"loss": [0.9, 0.4], "val_loss": [0.5, 0.3]})
        >>> [axes.get_title() for axes in figure.axes]
        ['Loss']
    """
    curves = as_curves(history)
    metrics = list(dict.fromkeys(name.removeprefix("val_") for name in curves))
    figure = _figure(4.8 * len(metrics), 3.6)
    from matplotlib.ticker import MaxNLocator

    epochs = getattr(history, "epoch", None)
    for panel, metric in zip(_grid(figure, 1, len(metrics)), metrics, strict=True):
        for name, label, colour, marker in (
            (metric, "training", BLUE, "o"),
            (f"val_{metric}", "validation", ORANGE, "s"),
        ):
            if name in curves:
                # fit counts epochs from 0, people from 1.
                steps = np.asarray(epochs) + 1 if epochs and len(epochs) == len(curves[name]) else None
                x = np.arange(1, len(curves[name]) + 1) if steps is None else steps
                panel.plot(x, curves[name], color=colour, marker=marker, markersize=4, label=label)
        panel.set_title(metric.replace("_", " ").capitalize())
        panel.set_xlabel("epoch")
        panel.set_ylabel(metric.replace("_", " "))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        first, last = panel.dataLim.intervalx
        panel.set_xlim(first - 0.5, last + 0.5)  # no tick at an epoch 0; one epoch is a dot in the middle
        panel.grid(alpha=0.3)
        panel.legend()
    return figure


def plot_filters(layer_or_kernel: Any, *, max_filters: int = 64, title: str | None = None) -> Figure:
    """Draw the filters of a convolution as pictures, negative weights blue, zero white, positive weights red.

    With one input channel each filter is one picture. With several, row f of the figure shows filter f, one picture
    for each input channel. All pictures share one colour scale, so their strengths compare.

    Args:
        layer_or_kernel: a convolution layer that has its weights, or a kernel (kh, kw, in_channels, filters).
        max_filters: how many pictures, or rows with several input channels, and how many input channels are drawn at
            most. Default 64.
        title: heading of the figure; default: the layer's name and its shape.

    Returns:
        Figure with a colour bar.

    Raises:
        ValueError: the layer has no weights yet, or the kernel does not have four axes.
        ImportError: matplotlib is not installed.

    Example:
        >>> kernel = np.random.default_rng(0).normal(size=(5, 5, 1, 6))
        >>> figure = plot_filters(kernel)
        >>> sum(axes.get_title().isdigit() for axes in figure.axes)
        6
    """
    kernel = as_filters(layer_or_kernel)
    name = getattr(layer_or_kernel, "name", None)
    kh, kw, channels, filters = kernel.shape
    max_filters = as_count("plot_filters", "max_filters", max_filters, 1)
    shown_filters, shown_channels = min(filters, max_filters), min(channels, max_filters)
    limit = float(np.nanmax(np.abs(kernel), initial=0.0)) or 1.0
    style: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    if channels == 1:
        columns = _columns(shown_filters, 8)
        rows = math.ceil(shown_filters / columns)
        figure = _figure(max(4.0, columns + 1.2), max(2.2, 1.12 * rows + 0.9))
        panels = _grid(figure, rows, columns)
        for f, panel in enumerate(panels[:shown_filters]):
            image = panel.imshow(kernel[:, :, 0, f], **style)
            panel.set_title(str(f), fontsize=8, pad=2)
        _hide_ticks(panels)
    else:
        rows = shown_filters
        figure = _figure(max(4.0, 0.45 * shown_channels + 1.6), max(2.6, 0.45 * rows + 1.0))
        panels = _grid(figure, 1, 1)
        # One mosaic: a panel for each of filters x channels would take matplotlib minutes. NaN, grey, parts the tiles.
        mosaic = np.full((rows * (kh + 1) + 1, shown_channels * (kw + 1) + 1), np.nan)
        for f in range(shown_filters):
            for c in range(shown_channels):
                top, left = f * (kh + 1) + 1, c * (kw + 1) + 1
                mosaic[top : top + kh, left : left + kw] = kernel[:, :, c, f]
        image = panels[0].imshow(mosaic, **style)
        panels[0].set_facecolor("#555555")
        panels[0].set_yticks(np.arange(rows) * (kh + 1) + (kh + 1) / 2, [str(f) for f in range(rows)], fontsize=7)
        panels[0].set_xticks(
            np.arange(shown_channels) * (kw + 1) + (kw + 1) / 2, [str(c) for c in range(shown_channels)], fontsize=7
        )
        panels[0].tick_params(length=0)
        panels[0].set_xlabel("input channel")
        panels[0].set_ylabel("filter")
    figure.colorbar(image, ax=panels, label="weight", shrink=min(1.0, 4.0 / rows), aspect=25)
    cut = shown_filters < filters or shown_channels < channels
    part = f" (first {shown_filters} filters, {shown_channels} input channels)" if cut else ""
    heading = f"{name + ': ' if name else ''}{filters} filters {kh}x{kw}x{channels}{part}"
    _head(figure, heading if title is None else title)
    return figure


def plot_feature_maps(maps: Any, *, max_maps: int = 64, title: str | None = None) -> Figure:
    """Draw what one image becomes after a layer: one picture for each channel.

    Args:
        maps: output of a layer for one image, (h, w, channels) or (1, h, w, channels), channels last.
        max_maps: how many channels are drawn at most. Default 64.
        title: heading of the figure; default: the shape.

    Returns:
        Figure with one grey picture for each channel, all on one scale (dark: low, bright: high), and a colour bar.

    Raises:
        ValueError: not the output for one image.
        ImportError: matplotlib is not installed.

    Example:
        >>> figure = plot_feature_maps(np.random.default_rng(0).random((14, 14, 6)))
        >>> sum(axes.get_title().isdigit() for axes in figure.axes)
        6
    """
    array = as_feature_maps(maps)
    height, width, channels = array.shape
    shown = min(channels, as_count("plot_feature_maps", "max_maps", max_maps, 1))
    columns = _columns(shown, 8)
    rows = math.ceil(shown / columns)
    figure = _figure(max(4.0, 1.1 * columns + 1.2), max(2.2, 1.25 * rows + 0.6))
    panels = _grid(figure, rows, columns)
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    for c, panel in enumerate(panels[:shown]):
        image = panel.imshow(array[:, :, c], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        panel.set_title(str(c), fontsize=8, pad=2)
    _hide_ticks(panels)
    figure.colorbar(image, ax=panels, label="activation", shrink=min(1.0, 4.0 / rows), aspect=25)
    part = f" (first {shown})" if shown < channels else ""
    _head(figure, f"{channels} feature maps {height}x{width}{part}" if title is None else title)
    return figure


def plot_predictions(
    images: Any,
    probabilities: Any,
    labels: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    columns: int = 4,
    title: str | None = None,
) -> Figure:
    """Draw images, each beside a bar chart of the probabilities that the network gives its classes.

    The predicted class's bar is blue if it is right, red if it is wrong, and then the true class's bar is green.

    Args:
        images: (n, h, w), (n, h, w, 1) or, in colour, (n, h, w, 3).
        probabilities: (n, classes), each row adding up to 1.
        labels: true classes (n,) or one-hot (n, classes). Default None: not known, nothing is marked wrong.
        class_names: names of the classes; default: their numbers.
        columns: how many images stand in a row. Default 4.
        title: heading of the figure. Default: none.

    Returns:
        Figure with 2·n panels.

    Raises:
        ValueError: shapes that do not fit each other, or no image.
        ImportError: matplotlib is not installed.

    Example:
        >>> figure = plot_predictions(np.zeros((1, 28, 28)), [[0.1, 0.9]], labels=[1])
        >>> figure.axes[0].get_title()
        '1 (90.0 %)'
    """
    where = "plot_predictions"
    pictures = as_pictures(where, images)
    chances = as_probabilities(where, probabilities)
    check_same_length(where, images=pictures, probabilities=chances)
    truth = None if labels is None else as_labels(where, "labels", labels, chances.shape[1])
    if truth is not None:
        check_same_length(where, images=pictures, labels=truth)
    names = as_class_names(where, class_names, chances.shape[1])
    columns = min(as_count("plot_predictions", "columns", columns, 1), len(pictures))
    rows = math.ceil(len(pictures) / columns)
    long_names = max(map(len, names)) > 3
    figure = _figure(max(3.2, (3.6 if long_names else 2.9) * columns), 1.75 * rows + (0.5 if title else 0.1))
    panels = _grid(figure, rows, 2 * columns, width_ratios=[1.0, 1.15] * columns)
    for i, (picture, row) in enumerate(zip(pictures, chances, strict=True)):
        photo, bars = panels[2 * i], panels[2 * i + 1]
        guess = int(row.argmax())
        wrong = truth is not None and truth[i] != guess
        photo.imshow(picture, cmap="gray" if picture.ndim == 2 else None, interpolation="nearest")
        _hide_ticks([photo])
        said = f"{names[guess]} ({100 * row[guess]:.1f} %)"
        photo.set_title(f"{said}\ntrue: {names[truth[i]]}" if wrong and truth is not None else said, fontsize=9)
        photo.title.set_color(RED if wrong else "black")
        colours = [GREY] * len(row)
        colours[guess] = RED if wrong else BLUE
        if wrong and truth is not None:
            colours[int(truth[i])] = GREEN
        bars.barh(np.arange(len(row)), row, color=colours)
        bars.set_xlim(0, 1)
        bars.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        bars.set_yticks(np.arange(len(row)), names)
        bars.tick_params(labelsize=6.5, length=2, pad=1)
        bars.invert_yaxis()
        for side in ("top", "right"):
            bars.spines[side].set_visible(False)
    for spare in panels[2 * len(pictures) :]:
        spare.set_visible(False)
    if title:
        _head(figure, title)
    return figure


def plot_confidence_histogram(probabilities: Any, labels: Any, *, bins: int = 20) -> Figure:
    """Draw how sure the network is: its highest probability for each image, of all images and of the wrong ones.

    A good network is sure where it is right and unsure where it is wrong. Counts are on a logarithmic axis, since the
    wrong ones are few.

    Args:
        probabilities: (n, classes), each row adding up to 1.
        labels: true classes (n,) or one-hot (n, classes).
        bins: number of bars between the lowest possible highest probability, 1/classes, and 1. Default 20.

    Returns:
        Figure with one panel.

    Raises:
        ValueError: shapes that do not fit each other.
        ImportError: matplotlib is not installed.

    Example:
        >>> figure = plot_confidence_histogram([[0.1, 0.9], [0.6, 0.4]], [1, 1])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['all 2 images', '1 wrongly read']
    """
    where = "plot_confidence_histogram"
    chances = as_probabilities(where, probabilities)
    truth = as_labels(where, "labels", labels, chances.shape[1])
    check_same_length(where, probabilities=chances, labels=truth)
    highest = np.minimum(chances.max(axis=1), 1.0)  # a float32 softmax may give 1.0000001
    wrong = highest[chances.argmax(axis=1) != truth]
    bins = as_count("plot_confidence_histogram", "bins", bins, 1)
    edges = np.linspace(1 / chances.shape[1], 1, bins + 1).tolist()
    figure = _figure(6.0, 3.8)
    (panel,) = _grid(figure, 1, 1)
    panel.hist(highest, edges, color=BLUE, alpha=0.45, label=f"all {len(highest):,} images")
    panel.hist(wrong, edges, color=RED, label=f"{len(wrong):,} wrongly read")
    panel.set_yscale("log")
    panel.set_ylim(0.7, max(2.0, 2.0 * len(highest)))
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else "")
    panel.set_xlim(edges[0], 1)
    panel.set_xlabel("highest probability")
    panel.set_ylabel("images (logarithmic)")
    panel.set_title("How sure the network is")
    panel.grid(alpha=0.3, axis="y")
    panel.legend(loc="upper left")
    return figure


def plot_confusion_matrix(
    y_true: Any, y_pred: Any, *, class_names: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """Draw which class is taken for which: row = true class, column = prediction, the number of images in each cell.

    The colour is the share of the row and leaves the diagonal out, so the mistakes stand out however few they are.

    Args:
        y_true: true classes (n,) or one-hot (n, classes).
        y_pred: predicted classes (n,) or probabilities (n, classes).
        class_names: names of the classes; default: their numbers.
        title: heading; default: the accuracy.

    Returns:
        Figure with one panel and a colour bar.

    Raises:
        ValueError: no image, or shapes that do not fit each other.
        ImportError: matplotlib is not installed.

    Example:
        >>> figure = plot_confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2])
        >>> figure.axes[0].get_title()
        '3 of 4 right (75.00 %)'
    """
    where = "plot_confusion_matrix"
    truth, guess = as_labels(where, "y_true", y_true), as_labels(where, "y_pred", y_pred)
    check_same_length(where, y_true=truth, y_pred=guess)
    check_not_empty(where, y_true=truth, y_pred=guess)
    if class_names is not None:
        classes = len(class_names)
    else:
        widths = [np.shape(y)[1] for y in (y_true, y_pred) if np.ndim(y) == 2]
        classes = (
            max(*widths, int(truth.max()) + 1, int(guess.max()) + 1)
            if widths
            else int(max(truth.max(), guess.max())) + 1
        )
    names = as_class_names(where, class_names, max(classes, int(truth.max()) + 1, int(guess.max()) + 1))
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (truth, guess), 1)
    shares = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, np.nan)
    size = max(3.8, 0.52 * len(names) + 1.4)
    figure = _figure(size + 1.1, size)
    (panel,) = _grid(figure, 1, 1)
    highest = float(np.nanmax(shares, initial=0.0)) or 1.0
    image = panel.imshow(np.ma.masked_invalid(shares), cmap="Oranges", vmin=0, vmax=highest)
    panel.set_facecolor("#DCEBF5")
    if len(names) <= 30:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                dark = row != column and shares[row, column] > 0.6 * highest
                weight = "bold" if row == column else "normal"
                panel.text(
                    column,
                    row,
                    f"{count}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    weight=weight,
                    color="white" if dark else "black",
                )
    turn = 45 if max(map(len, names)) > 3 else 0
    panel.set_xticks(np.arange(len(names)), names, rotation=turn, ha="right" if turn else "center", fontsize=8)
    panel.set_yticks(np.arange(len(names)), names, fontsize=8)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    right = int(np.trace(counts))
    panel.set_title(f"{right:,} of {len(truth):,} right ({100 * right / len(truth):.2f} %)" if title is None else title)
    figure.colorbar(image, ax=panel, label="mistakes, % of the true class", shrink=0.85)
    return figure


def _figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that arranges its panels by itself."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise missing_extra("fastconv.plots", "matplotlib", "examples") from None
    return Figure(figsize=(width, height), dpi=120, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def _head(figure: Figure, title: str) -> None:
    """Put a heading over the figure, on several lines if it is longer than the figure is wide."""
    letters = max(10, int(figure.get_figwidth() / HEADING_INCHES))
    lines = [line for given in title.split("\n") for line in textwrap.wrap(given, letters) or [""]]
    figure.set_figheight(figure.get_figheight() + 0.2 * (len(lines) - 1))
    figure.suptitle("\n".join(lines), fontsize=11)


def _grid(figure: Figure, rows: int, columns: int, width_ratios: list[float] | None = None) -> list[Axes]:
    return list(figure.subplots(rows, columns, squeeze=False, width_ratios=width_ratios).flat)


def _columns(count: int, at_most: int) -> int:
    """Columns of a grid: few items in one row, more in rows as equal as can be."""
    rows = math.ceil(count / at_most)
    return math.ceil(count / rows)


def _hide_ticks(panels: Sequence[Axes]) -> None:
    for panel in panels:
        panel.set_xticks([])
        panel.set_yticks([])
        if not panel.has_data():
            panel.set_visible(False)
