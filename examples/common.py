"""What the example programs share: options, data, the training loop with its reports, pictures, and `--predict`."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import digit_image
import numpy as np

import fastconv as fc

Split = tuple[np.ndarray, np.ndarray]


def add_common_options(parser: argparse.ArgumentParser, *, output_dir: str) -> None:
    """The options that every example has."""
    parser.add_argument("--epochs", type=_positive(int), help="passes over the training images (default: see above)")
    parser.add_argument("--batch-size", type=_positive(int), help="images for each step (default: the article's)")
    parser.add_argument("--learning-rate", type=_positive(float), help="of Adam (default: 0.001)")
    parser.add_argument("--threads", type=_positive(int), help="CPU threads (default: all that this process may use)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and shuffling (default: 1)")
    parser.add_argument(
        "--data-dir", type=Path, help="directory with the four MNIST files (default: see fastconv.datasets)"
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path(output_dir), help=f"for what is written (default: {output_dir}/)"
    )
    parser.add_argument("--quick", action="store_true", help="a short run on a part of the images")
    parser.add_argument(
        "--verbose",
        type=int,
        choices=(0, 1, 2),
        default=1,
        help="1: a progress bar (default); 2: one line for each epoch; 0: validation accuracy and time only",
    )
    parser.add_argument(
        "--predict", type=Path, metavar="PICTURE", help="read the digit on a picture with a saved model; no training"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="the saved model for --predict (default: in the output directory)"
    )


def _positive(kind: type) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be greater than 0, not {text}")
        return value

    convert.__name__ = kind.__name__  # argparse names it in "invalid int value"
    return convert


def run_program(main: Callable[[], int]) -> int:
    """Call ``main``; what a user can cause becomes one clear line and an exit code, not a traceback."""
    try:
        return main()
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except (OSError, ImportError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def load_mnist(data_dir: Path | None, *, quick: bool) -> tuple[Split, Split]:
    """MNIST with images as float32 (n, 28, 28, 1) from 0 to 1; ``quick``: 10,000 images to train and 2,000 to test."""
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        (x_train, y_train), (x_test, y_test) = fc.datasets.mnist.load_data(data_dir)
    for notice in notices:
        print(f"NOTICE: {notice.message}\n", file=sys.stderr)
    if quick:
        x_train, y_train, x_test, y_test = x_train[:10_000], y_train[:10_000], x_test[:2_000], y_test[:2_000]
    return (_as_input(x_train), y_train), (_as_input(x_test), y_test)


def _as_input(images: np.ndarray) -> np.ndarray:
    return images[..., None].astype(np.float32) / np.float32(255)


@dataclass
class Report(fc.callbacks.Callback):
    """Notes each epoch's figures and time; prints them where ``fit`` itself is silent."""

    epochs: int
    verbose: int
    seconds: list[float] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)
    started: float = 0.0

    def __post_init__(self) -> None:
        super().__init__()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seconds.append(time.perf_counter() - self.started)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if self.verbose == 0:
            accuracy = f"validation accuracy {self.history['val_accuracy'][-1]:.2%}"
            print(
                f"epoch {epoch + 1:{len(str(self.epochs))}d}/{self.epochs}: {accuracy}, {self.seconds[-1]:.1f} s",
                flush=True,
            )


def train(
    model: Any, x: np.ndarray, y: np.ndarray, *, epochs: int, batch_size: int, verbose: int, **options: Any
) -> Report:
    """Fit ``model``; Ctrl-C ends the training and keeps what has been learnt. ``options`` go to ``fit``."""
    report = Report(epochs, verbose)
    started = time.perf_counter()
    interrupted = False
    try:
        model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=verbose, callbacks=[report], **options)
    except KeyboardInterrupt:
        interrupted = True
    done = len(report.seconds)
    if interrupted or done < epochs:
        print(f"\nTraining was stopped after {done} whole epochs of {epochs}; going on with what has been learnt.")
    if done:
        mean = sum(report.seconds) / done
        print(f"\nTrained {done} epochs in {time.perf_counter() - started:.1f} s, {mean:.2f} s each, with validation.")
    return report


def save_and_check(model: Any, path: Path, x: np.ndarray) -> None:
    """Save ``model``, load it again, and make sure that both predict the same bits for ``x``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    loaded = fc.models.load_model(path)
    if not np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0)):
        raise ValueError(f"{path}: the model loaded from the file predicts otherwise than the one that was saved.")
    print(f"Saved {path} ({path.stat().st_size / 1e3:.0f} kB); loaded again, it predicts the same, bit for bit.")


def probabilities(model: Any, x: np.ndarray) -> np.ndarray:
    """What ``model`` predicts for ``x``, as probabilities (n, classes), also if its last layer gives logits."""
    output = model.predict(x, verbose=0)
    last = model.layers[-1].get_config()
    return output if last.get("activation") == "softmax" else fc.softmax(output)


def write_pictures(model: Any, report: Report, x: np.ndarray, y: np.ndarray, directory: Path) -> None:
    """Training curves, learnt filters, and what the network gets wrong in the images ``x`` with labels ``y``."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        print('No pictures: matplotlib is not installed (pip install "fastconv[examples]").')
        return
    directory.mkdir(parents=True, exist_ok=True)
    chances = probabilities(model, x)
    guesses = chances.argmax(axis=1)
    wrong = np.flatnonzero(guesses != y)
    mistakes = len(wrong)
    # Twelve of them, from the surest to the least sure.
    wrong = wrong[np.argsort(-chances[wrong].max(axis=1), kind="stable")]
    wrong = wrong[np.linspace(0, mistakes - 1, min(12, mistakes)).round().astype(int)]
    convolutions = [layer for layer in model.layers if isinstance(layer, fc.layers.Conv2D)]
    figures = {
        "filters.png": fc.plots.plot_filters(convolutions[0]),
        "confidence.png": fc.plots.plot_confidence_histogram(chances, y),
        "confusion.png": fc.plots.plot_confusion_matrix(y, guesses, class_names=[str(i) for i in range(10)]),
    }
    if report.history:
        figures["training.png"] = fc.plots.plot_history(report.history)
    if len(wrong):
        figures["wrong_digits.png"] = fc.plots.plot_predictions(
            x[wrong],
            chances[wrong],
            y[wrong],
            title=f"{mistakes:,} of {len(y):,} digits read wrongly, from the surest to the least sure",
        )
    for name, figure in figures.items():
        figure.savefig(directory / name)
    print(f"Pictures in {directory}/: {', '.join(sorted(figures))}")


def predict_picture(picture: Path, model_file: Path) -> None:
    """Read the digit on ``picture`` with the saved model and print its probabilities as a bar chart of text."""
    if not model_file.is_file():
        raise FileNotFoundError(f"There is no saved model {model_file}. Train first, or name one with --model FILE.")
    digit = digit_image.read_digit(picture)
    (chances,) = probabilities(fc.models.load_model(model_file), digit[None, :, :, None])
    print(f"{picture}: {int(chances.argmax())}\n\n{bar_chart(chances)}")


def bar_chart(chances: np.ndarray, width: int = 40) -> str:
    """One line for each class: its number, its probability, a bar of that length."""
    bar = "█" if "utf" in (getattr(sys.stdout, "encoding", "") or "").lower() else "#"
    return "\n".join(
        f"  {i}  {chance:7.2%}  {bar * round(float(chance) * width)}".rstrip() for i, chance in enumerate(chances)
    )
