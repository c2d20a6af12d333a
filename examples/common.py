"""What the example programs share: options, data, the training loop with its reports, results, and `--predict`."""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import digit_image
import numpy as np

import fastconv as fc

Split = tuple[np.ndarray, np.ndarray]
DECAYS = ("none", "cosine", "one-cycle")
# --quick: this many images to train on, and to test on.
QUICK_TRAIN, QUICK_TEST = 10_000, 2_000
RESULT_FILE = "result.json"


@dataclass(frozen=True)
class Article:
    """The settings with which a published system is trained; options replace them."""

    system: str
    epochs: int
    batch_size: int
    learning_rate: float = 1e-3
    decay: str = "none"
    quick_epochs: int = 3
    verbose: int = 1


# Options


def add_common_options(
    parser: argparse.ArgumentParser, *, output_dir: str, learning_rate: float = 1e-3, verbose: int = 1
) -> None:
    """The options that every training program has."""
    parser.add_argument("--epochs", type=positive(int), help="passes over the training images (default: see above)")
    parser.add_argument("--batch-size", type=positive(int), help="images for each step (default: the article's)")
    parser.add_argument("--learning-rate", type=positive(float), help=f"of Adam (default: {learning_rate:g})")
    parser.add_argument("--images", type=positive(int), metavar="N", help="train on the first N images only")
    parser.add_argument("--threads", type=positive(int), help="CPU threads (default: all that this process may use)")
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
        default=verbose,
        help="1: a progress bar; 2: one line for each epoch; 0: accuracies and times only (default: %(default)s)",
    )


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """The options of a program that reads a picture with a trained network."""
    parser.add_argument(
        "--predict", type=Path, metavar="PICTURE", help="read the digit on a picture with a saved model; no training"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="the saved model for --predict (default: in the output directory)"
    )


def parse_options(
    description: str | None,
    article: Article,
    arguments: list[str] | None,
    add_own: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.Namespace:
    """The options of a program that follows ``article``, each with its value; ``add_own`` adds the program's."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if add_own:
        add_own(parser)
    add_common_options(
        parser,
        output_dir=f"{article.system}_output",
        learning_rate=article.learning_rate,
        verbose=article.verbose,
    )
    parser.add_argument(
        "--decay",
        choices=DECAYS,
        default=article.decay,
        help="of the learning rate: none, as in the articles; along a cosine to 0 in the last step; or in one cycle "
        f"from a 25th of it up and down to 0 (default: {article.decay})",
    )
    options = parser.parse_args(arguments)
    options.system = article.system
    options.epochs = options.epochs or (article.quick_epochs if options.quick else article.epochs)
    options.batch_size = options.batch_size or article.batch_size
    options.learning_rate = options.learning_rate or article.learning_rate
    return options


def positive(kind: type) -> Callable[[str], Any]:
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


# Data


def begin(options: argparse.Namespace) -> tuple[Split, Split]:
    """Set threads and seed, make the output directory, and load the images."""
    if options.threads:
        fc.set_num_threads(options.threads)
    options.output_dir.mkdir(parents=True, exist_ok=True)  # before the training: it may not be allowed
    (x_train, y_train), test = load_mnist(options.data_dir, quick=options.quick)
    fc.utils.set_random_seed(options.seed)
    return (x_train[: options.images], y_train[: options.images]), test


def load_mnist(data_dir: Path | None, *, quick: bool) -> tuple[Split, Split]:
    """MNIST with images as float32 (n, 28, 28, 1) from 0 to 1; ``quick``: 10,000 images to train and 2,000 to test."""
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        (x_train, y_train), (x_test, y_test) = fc.datasets.mnist.load_data(data_dir)
    for notice in notices:
        print(f"NOTICE: {notice.message}\n", file=sys.stderr)
    if quick:
        x_train, y_train = x_train[:QUICK_TRAIN], y_train[:QUICK_TRAIN]
        x_test, y_test = x_test[:QUICK_TEST], y_test[:QUICK_TEST]
    return (_as_input(x_train), y_train), (_as_input(x_test), y_test)


def _as_input(images: np.ndarray) -> np.ndarray:
    return images[..., None].astype(np.float32) / np.float32(255)


def hold_out(data: Split, count: int) -> tuple[Split, Split]:
    """All but the last ``count`` images, and these, as Keras splits."""
    x, y = data
    return (x[:-count], y[:-count]), (x[-count:], y[-count:])


# Training


def adam(options: argparse.Namespace, images: int, warmup: float = 0.3, **settings: float) -> Any:
    """Adam with the learning rate and decay of ``options``, for training on so many images; ``settings`` go to it.

    warmup: part of the steps in which the rate rises, where it goes in one cycle.
    """
    rate: Any = options.learning_rate
    steps = options.epochs * -(-images // options.batch_size)
    if options.decay == "cosine":
        rate = fc.optimizers.schedules.CosineDecay(rate, decay_steps=steps)
    elif options.decay == "one-cycle":
        rate = fc.optimizers.schedules.OneCycle(rate, total_steps=steps, warmup_fraction=warmup)
    return fc.optimizers.Adam(rate, **settings)


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
        if self.verbose == 0 and "val_accuracy" in self.history:
            accuracy = f"validation accuracy {self.history['val_accuracy'][-1]:.2%}"
            print(
                f"epoch {epoch + 1:{len(str(self.epochs))}d}/{self.epochs}: {accuracy}, {self.seconds[-1]:.1f} s",
                flush=True,
            )


def train(
    model: Any, data: Split, options: argparse.Namespace, *, callbacks: Iterable[Any] = (), **fit_options: Any
) -> Report:
    """Fit ``model``; Ctrl-C ends the training and keeps what has been learnt. ``fit_options`` go to ``fit``."""
    report = Report(options.epochs, options.verbose)
    if part := fit_options.get("validation_split"):
        held_out = len(data[0]) - int(len(data[0]) * (1 - part))
    else:
        held_out = len(fit_options["validation_data"][0])
    print(
        f"\nTraining on {len(data[0]) - (held_out if part else 0):,} images, validating on {held_out:,}, for "
        f"{options.epochs} epochs; {fc.get_num_threads()} threads, seed {options.seed}.\n",
        flush=True,
    )
    started = time.perf_counter()
    interrupted = False
    try:
        model.fit(
            *data,
            batch_size=options.batch_size,
            epochs=options.epochs,
            verbose=options.verbose,
            callbacks=[report, *callbacks],
            **fit_options,
        )
    except KeyboardInterrupt:
        interrupted = True
    done = len(report.seconds)
    if interrupted or done < options.epochs:
        print(f"\nTraining was stopped after {done} whole epochs of {options.epochs}; going on with what was learnt.")
    if done:
        mean = sum(report.seconds) / done
        print(f"\nTrained {done} epochs in {time.perf_counter() - started:.1f} s, {mean:.2f} s each, with validation.")
    return report


def report_accuracy(model: Any, test: Split) -> tuple[float, float]:
    """Print and return loss and accuracy on the test images."""
    loss, accuracy = model.evaluate(*test, verbose=0)
    print(f"Test accuracy: {accuracy:.2%} of {len(test[0]):,} images (loss {loss:.4f})\n")
    return float(loss), float(accuracy)


def finish(model: Any, report: Report, test: Split, options: argparse.Namespace, variant: str = "") -> None:
    """Print the accuracy on the test images, and write it with its settings into ``result.json``.

    ``variant`` names what departs from the program's default.
    """
    loss, accuracy = report_accuracy(model, test)
    figures = {"test_images": len(test[0]), "loss": loss, "accuracy": accuracy}
    write_result(model, report, options, variant, **figures)


def write_result(model: Any, report: Report, options: argparse.Namespace, variant: str, **figures: Any) -> None:
    """Write the settings of a training and its figures into ``result.json``."""
    result = {
        "system": options.system,
        "variant": variant,
        "seed": options.seed,
        "epochs": len(report.seconds),
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "decay": options.decay,
        "threads": fc.get_num_threads(),
        "isa": fc.get_isa(),
        "parameters": model.count_params(),
        **figures,
        "seconds": report.seconds,
        "history": report.history,
    }
    (options.output_dir / RESULT_FILE).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def save_and_check(model: Any, path: Path, x: np.ndarray) -> None:
    """Save ``model``, load it again, and make sure that both predict the same bits for ``x``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    loaded = fc.models.load_model(path)
    if not np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0)):
        raise ValueError(f"{path}: the model loaded from the file predicts otherwise than the one that was saved.")
    print(f"Saved {path} ({path.stat().st_size / 1e3:,.0f} kB); loaded again, it predicts the same, bit for bit.")


# Pictures


def can_draw() -> bool:
    """Whether matplotlib is there; says so if it is not."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        print('No pictures: matplotlib is not installed (pip install "fastconv[examples]").')
        return False
    return True


def save_figures(figures: dict[str, Any], directory: Path) -> None:
    """Write each figure under its name."""
    for name, figure in figures.items():
        figure.savefig(directory / name)
    print(f"Pictures in {directory}/: {', '.join(sorted(figures))}")


def probabilities(model: Any, x: np.ndarray) -> np.ndarray:
    """What ``model`` predicts for ``x``, as probabilities (n, classes), also if its last layer gives logits."""
    output = model.predict(x, verbose=0)
    last = model.layers[-1].get_config()
    return output if last.get("activation") == "softmax" else fc.softmax(output)


def mistakes(chances: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Numbers of the images that are read wrongly, from the surest to the least sure."""
    wrong = np.flatnonzero(chances.argmax(axis=1) != y)
    return wrong[np.argsort(-chances[wrong].max(axis=1), kind="stable")]


# Reading a picture


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
