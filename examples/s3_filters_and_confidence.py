"""S3: what filters do to a digit, what a network has learnt, and how sure it is of its answers.

Follows "Introduction to convolutional neural networks", written for Keras 2:

  1. Ten random 3x3 filters and the Laplacian on a digit, by 2-D convolution, same size, mirrored at the border.
  2. conv 3x3x32, pool, dropout, dense 10 softmax, on the first 20,000 training images: batches of 128, 6 epochs,
     validated on the test images after each. --deeper: a second conv 3x3x64 and a dense layer of 128.
  3. The probabilities of one digit and of a wrongly read one as bar charts; how sure the network is of wrong and of all
     answers; its 32 filters; and the 32 feature maps of a digit, from a model cut after its first layer.

The article does not name rates of dropout or of learning; README.md beside this file says how these were found.

  python s3_filters_and_confidence.py             6 epochs on MNIST; pictures and the model in s3_output/
  python s3_filters_and_confidence.py --deeper    the deeper network
  python s3_filters_and_confidence.py --quick     a part of the images
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import common
import numpy as np

import fastconv as fc
from fastconv import layers

ARTICLE = common.Article("s3", epochs=6, batch_size=128, learning_rate=2e-2, decay="one-cycle", quick_epochs=6)
TRAIN_IMAGES = 20_000
LAPLACIAN = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])


def build_model() -> Any:
    """One convolution between dropouts: 54,410 parameters."""
    return fc.models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_s3",
    )


def build_deeper() -> Any:
    """The article's deeper variant: 1,199,882 parameters."""
    return fc.models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_s3_deeper",
    )


def filter_digit(digit: np.ndarray, seed: int) -> list[tuple[str, np.ndarray]]:
    """``digit`` (28, 28), then what ten random filters and the Laplacian make of it."""
    rng = np.random.default_rng(seed)
    filters = [(f"random filter {number}", rng.normal(size=(3, 3))) for number in range(10)]
    return [
        ("digit", digit),
        *(
            (name, fc.convolve2d(digit, kernel, mode="same", boundary="symm"))
            for name, kernel in [*filters, ("Laplacian", LAPLACIAN.astype(np.float64))]
        ),
    ]


def write_pictures(model: Any, report: Any, test: common.Split, directory: Path) -> None:
    """Curves, probabilities, confidence, filters and feature maps of the trained ``model``."""
    x, y = test
    chances = common.probabilities(model, x)
    first_layer = fc.models.Sequential(model.layers[:1])  # shares its weights with the model
    drawn = {
        "digit.png": fc.plots.plot_predictions(x[:1], chances[:1], y[:1], title="A digit and its probabilities"),
        "confidence.png": fc.plots.plot_confidence_histogram(chances, y),
        "learned_filters.png": fc.plots.plot_filters(model.layers[0], title="The 32 learned filters 3x3"),
        "feature_maps.png": fc.plots.plot_feature_maps(
            first_layer(x[:1]), title="A digit after the first layer: 32 feature maps 26x26"
        ),
    }
    wrong = common.mistakes(chances, y)
    if len(wrong):
        one = wrong[[len(wrong) // 2]]  # neither the surest mistake nor the least sure one
        title = f"A wrongly read digit, one of {len(wrong):,}"
        drawn["wrong_digit.png"] = fc.plots.plot_predictions(x[one], chances[one], y[one], title=title)
    else:
        print("No digit was read wrongly: wrong_digit.png is not written.")
    if report.history:
        drawn["training.png"] = fc.plots.plot_history(report.history)
    common.save_figures(drawn, directory)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deeper", action="store_true", help="a second convolution and a dense layer more")


def main(arguments: list[str] | None = None) -> int:
    options = common.parse_options(__doc__, ARTICLE, arguments, add_options)
    options.images = options.images or TRAIN_IMAGES
    train, test = common.begin(options)
    if common.can_draw():
        import figures

        panels = filter_digit(test[0][0, :, :, 0], options.seed)
        title = "A digit, and 3x3 filters on it: dark is negative, bright positive"
        common.save_figures(
            {"filters_on_a_digit.png": figures.pictures(panels, columns=4, title=title)}, options.output_dir
        )

    model = build_deeper() if options.deeper else build_model()
    settings = {"warmup": 0.15, "beta_2": 0.99} if options.decay == "one-cycle" else {}
    model.compile(
        optimizer=common.adam(options, len(train[0]), **settings),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.summary()
    report = common.train(model, train, options, validation_data=test)
    common.finish(model, report, test, options, "deeper" if options.deeper else "")
    common.save_and_check(model, options.output_dir / f"{model.name}.keras", test[0])
    if common.can_draw():
        write_pictures(model, report, test, options.output_dir)
    return 0


if __name__ == "__main__":
    sys.exit(common.run_program(main))
