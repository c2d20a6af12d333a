"""Plots: what is drawn, on which data, and what is refused. No display is needed and pyplot is never imported."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from fastconv import plots

matplotlib = pytest.importorskip("matplotlib", reason="plots need matplotlib")

RNG = np.random.default_rng(0)


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def drawn(figure, tmp_path) -> bytes:
    """The figure as PNG, which also proves that it can be laid out."""
    figure.savefig(tmp_path / "figure.png")
    data = (tmp_path / "figure.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 2000
    return data


HISTORY = {"loss": [1.0, 0.5], "accuracy": [0.7, 0.9], "val_loss": [0.8, 0.6], "val_accuracy": [0.75, 0.85]}


@pytest.mark.parametrize("history", [HISTORY, SimpleNamespace(history=HISTORY, epoch=[0, 1])])
def test_history(history, tmp_path):
    figure = plots.plot_history(history)
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy"]
    for axes, metric in zip(figure.axes, ("loss", "accuracy"), strict=True):
        assert axes.get_xlabel() == "epoch"
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation"]
        for line, name in zip(axes.lines, (metric, f"val_{metric}"), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2])
            np.testing.assert_array_equal(line.get_ydata(), HISTORY[name])
    drawn(figure, tmp_path)


def test_history_that_was_continued():
    figure = plots.plot_history(SimpleNamespace(history={"loss": [0.3, 0.2]}, epoch=[4, 5]))
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [5, 6])


def test_history_of_one_epoch(tmp_path):
    figure = plots.plot_history({"loss": [0.3]})
    drawn(figure, tmp_path)
    low, high = figure.axes[0].get_xlim()
    assert [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high] == [1]


def test_history_refused():
    with pytest.raises(ValueError, match="history has no epoch"):
        plots.plot_history({})
    with pytest.raises(TypeError, match=r"must be what fit returns or its \.history, received int"):
        plots.plot_history(3)


@pytest.mark.parametrize("filters", [1, 6, 9, 32])
def test_filters_one_channel(filters, tmp_path):
    kernel = RNG.normal(size=(5, 3, 1, filters)).astype(np.float32)
    figure = plots.plot_filters(kernel)
    panels = [axes for axes in figure.axes if axes.get_title().isdigit()]
    assert [axes.get_title() for axes in panels] == [str(f) for f in range(filters)]
    for f, axes in enumerate(panels):
        (image,) = axes.images
        np.testing.assert_array_equal(image.get_array(), kernel[:, :, 0, f])
        assert image.get_clim() == (-np.abs(kernel).max(), np.abs(kernel).max())
    assert figure.get_suptitle() == f"{filters} filters 5x3x1"
    drawn(figure, tmp_path)


def test_filters_many_channels(tmp_path):
    kernel = RNG.normal(size=(3, 3, 6, 16))
    figure = plots.plot_filters(kernel)
    (image,) = figure.axes[0].images
    mosaic = np.ma.filled(image.get_array(), np.nan)
    assert mosaic.shape == (16 * 4 + 1, 6 * 4 + 1)
    np.testing.assert_array_equal(mosaic[4 * 7 + 1 : 4 * 7 + 4, 4 * 2 + 1 : 4 * 2 + 4], kernel[:, :, 2, 7])
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("input channel", "filter")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list("012345")
    drawn(figure, tmp_path)


def test_filters_are_cut_with_a_note():
    figure = plots.plot_filters(np.ones((3, 3, 1, 100)), max_filters=10)
    assert figure.get_suptitle() == "100 filters 3x3x1 (first 10 filters, 1 input channels)"


def test_filters_of_a_layer():
    kernel = RNG.normal(size=(3, 3, 1, 4))
    layer = SimpleNamespace(name="conv2d", get_weights=lambda: [kernel, np.zeros(4)])
    assert plots.plot_filters(layer).get_suptitle() == "conv2d: 4 filters 3x3x1"


def test_filters_refused():
    with pytest.raises(ValueError, match=r"layer 'flatten' has no weights\. Build it first"):
        plots.plot_filters(SimpleNamespace(name="flatten", get_weights=list))
    with pytest.raises(ValueError, match=r"kernel \(kh, kw, in_channels, filters\), received shape=\(10, 84\)"):
        plots.plot_filters(np.zeros((10, 84)))


def test_all_zero_filters(tmp_path):
    drawn(plots.plot_filters(np.zeros((3, 3, 1, 2))), tmp_path)


@pytest.mark.parametrize("batch", [False, True])
def test_feature_maps(batch, tmp_path):
    maps = RNG.normal(size=(14, 12, 6)).astype(np.float32)
    figure = plots.plot_feature_maps(maps[None] if batch else maps)
    panels = [axes for axes in figure.axes if axes.get_title().isdigit()]
    for c, axes in enumerate(panels):
        np.testing.assert_array_equal(axes.images[0].get_array(), maps[:, :, c])
        assert axes.images[0].get_clim() == (maps.min(), maps.max())
    assert len(panels) == 6
    assert figure.get_suptitle() == "6 feature maps 14x12"
    drawn(figure, tmp_path)


def test_feature_maps_refused():
    with pytest.raises(ValueError, match=r"received maps\.shape=\(2, 4, 4, 3\)\. Take one image: maps\[0\]"):
        plots.plot_feature_maps(np.zeros((2, 4, 4, 3)))
    with pytest.raises(ValueError, match=r"received maps\.shape=\(4, 4\)"):
        plots.plot_feature_maps(np.zeros((4, 4)))


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 28, 28, 1), (3, 28, 28, 3)])
@pytest.mark.parametrize("labels", [[0, 1, 1], np.eye(2)[[0, 1, 1]]])
def test_predictions(shape, labels, tmp_path):
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.75, 0.25]])
    figure = plots.plot_predictions(RNG.random(shape), chances, labels, title="Digits")
    photos, bars = figure.axes[0:6:2], figure.axes[1:6:2]
    assert [axes.get_title() for axes in photos] == ["0 (90.0 %)", "1 (80.0 %)", "0 (75.0 %)\ntrue: 1"]
    for axes, row in zip(bars, chances, strict=True):
        np.testing.assert_allclose([bar.get_width() for bar in axes.patches], row)
    right, wrong = (matplotlib.colors.to_hex(bars[i].patches[0].get_facecolor()).upper() for i in (0, 2))
    assert (right, wrong) == (plots.BLUE, plots.RED)
    assert matplotlib.colors.to_hex(bars[2].patches[1].get_facecolor()).upper() == plots.GREEN
    drawn(figure, tmp_path)


def test_long_titles_are_wrapped():
    title = "2,000 of 10,000 digits read wrongly, from the surest to the least sure, and\nanother line"
    figure = plots.plot_predictions(np.zeros((1, 28, 28)), [[0.1, 0.9]], title=title)
    lines = figure.get_suptitle().split("\n")
    assert lines[-1] == "another line"
    assert " ".join(lines[:-1]) == title.split("\n")[0]
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_predictions_names_and_spare_panels(tmp_path):
    figure = plots.plot_predictions(np.zeros((3, 8, 8)), [[0.4, 0.6]] * 3, class_names=["Coat", "Bag"], columns=2)
    assert figure.axes[0].get_title() == "Bag (60.0 %)"
    assert [axes.get_visible() for axes in figure.axes] == [True] * 6 + [False] * 2
    drawn(figure, tmp_path)


@pytest.mark.parametrize(
    ("images", "chances", "labels", "message"),
    [
        (np.zeros((2, 8, 8)), [[0.5, 0.5]], None, r"images and probabilities must have the same length"),
        (np.zeros((1, 8, 8)), [[0.5, 0.5]], [0, 1], r"images and labels must have the same length"),
        (
            np.zeros((1, 8, 8)),
            [[0.5, 0.5]],
            [2],
            r"labels must be class numbers, whole, from 0 and below 2; received 2 at index 0",
        ),
        (np.zeros((1, 8, 8)), [[0.5, 0.5]], [0.5], r"labels must be class numbers"),
        (np.zeros((8, 8)), [[0.5, 0.5]], None, r"Add the first axis: images\[None\]"),
        (np.zeros((0, 8, 8)), np.zeros((0, 2)), None, r"n >= 1"),
        (np.zeros((1, 8, 8)), [[-3.0, 7.0]], None, r"received -3 to 7\. If the model gives logits"),
        (np.zeros((1, 8, 8)), [[np.nan, 0.5]], None, r"must lie between 0 and 1"),
        (np.zeros((1, 8, 8)), [0.5, 0.5], None, r"probabilities must be \(n, classes\)"),
    ],
)
def test_predictions_refused(images, chances, labels, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_predictions(images, chances, labels)


def test_confidence_histogram(tmp_path):
    chances = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [1.0000001, 0.0, 0.0]], np.float32)
    figure = plots.plot_confidence_histogram(chances, [0, 1, 0, 0], bins=10)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["all 4 images", "1 wrongly read"]
    counts = [bar.get_height() for bar in axes.patches]
    assert (sum(counts[:10]), sum(counts[10:])) == (4, 1)
    assert axes.get_xlabel() == "highest probability"
    drawn(figure, tmp_path)


def test_confidence_histogram_without_mistakes(tmp_path):
    drawn(plots.plot_confidence_histogram(np.eye(3), [0, 1, 2]), tmp_path)


@pytest.mark.parametrize("one_hot", [False, True])
def test_confusion_matrix(one_hot, tmp_path):
    truth, guess = np.array([0, 1, 1, 2, 2, 2]), np.array([0, 1, 2, 2, 2, 0])
    figure = plots.plot_confusion_matrix(np.eye(3)[truth] if one_hot else truth, np.eye(3)[guess] if one_hot else guess)
    axes = figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "1", (1, 1): "1", (2, 1): "1", (2, 2): "2", (0, 2): "1"}  # (column, row)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert axes.get_title() == "4 of 6 right (66.67 %)"
    drawn(figure, tmp_path)


def test_confusion_matrix_names_and_perfect(tmp_path):
    figure = plots.plot_confusion_matrix([0, 1], [0, 1], class_names=["Shirt", "Sandal", "Bag"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["Shirt", "Sandal", "Bag"]
    drawn(figure, tmp_path)


def test_confusion_matrix_refused():
    with pytest.raises(ValueError, match="are empty"):
        plots.plot_confusion_matrix([], [])
    with pytest.raises(ValueError, match="y_true and y_pred must have the same length"):
        plots.plot_confusion_matrix([1], [1, 2])
    with pytest.raises(ValueError, match="one name for each of 3 classes, received 2"):
        plots.plot_confusion_matrix([2], [2], class_names=["a", "b"])


def test_pyplot_is_left_alone():
    code = (
        "import sys, fastconv.plots as p, numpy as np; assert 'matplotlib' not in sys.modules;"
        "p.plot_history({'loss': [1.0]}).savefig(__import__('io').BytesIO());"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_threads_draw_the_same(tmp_path):
    def draw(into: list) -> None:
        into.append(np.asarray(plots.plot_history(HISTORY).axes[0].lines[0].get_ydata()))

    results: list[np.ndarray] = []
    threads = [threading.Thread(target=draw, args=(results,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(result, results[0]) for result in results)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ImportError, match=r'needs matplotlib, which is not installed: pip install "fastconv\[examples\]"'
    ):
        plots.plot_history(HISTORY)
