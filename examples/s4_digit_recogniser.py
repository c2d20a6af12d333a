"""S4: a digit recogniser with three convolutions, dropout and data augmentation.

Follows the article on a CovNet digit recogniser, written for Keras:

  1. A worked example: a 4x4 image, a 2x2 filter, and the 3x3 result.
  2. Sample digits, and what augmentation makes of them.
  3. conv 3x3x32, conv 3x3x64, pool, conv 3x3x128, pool, dense 128, dense 64, dense 10 softmax, with dropout after each
     pooling and each hidden dense layer; Adam, categorical cross-entropy, batches of 64, 30 epochs on the 60,000
     training images, validated on the test images; curves of loss and accuracy.

The article imports data augmentation; here each training image is turned, shifted and scaled a little at random, anew
in each epoch; --no-augmentation trains on the images as they are. The learning rate goes down along a cosine: at a
constant one (--decay none) the last epoch is 99.5 % with one seed and 99.1 % with another.

  python s4_digit_recogniser.py                      30 epochs on MNIST; pictures and the model in s4_output/
  python s4_digit_recogniser.py --no-augmentation
  python s4_digit_recogniser.py --quick              a part of the images
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
from fastconv.utils import to_categorical

ARTICLE = common.Article("s4", epochs=30, batch_size=64, decay="cosine", quick_epochs=2)
CLASSES = 10
# The worked example: the filter answers where ink is on its left and none on its right.
IMAGE = np.array([[1, 0, 2, 3], [4, 6, 6, 8], [3, 1, 1, 0], [1, 2, 2, 4]])
FILTER = np.array([[1, -1], [1, -1]])


def augmentation(*seeds: int) -> list[Any]:
    """Layers that turn by up to 10 degrees, shift by up to 2 pixels and scale by up to a tenth, in training only."""
    rotation, translation, zoom = seeds or (None, None, None)
    return [
        layers.RandomRotation(10 / 360, fill_mode="constant", seed=rotation),
        layers.RandomTranslation(2 / 28, 2 / 28, fill_mode="constant", seed=translation),
        layers.RandomZoom(0.1, fill_mode="constant", seed=zoom),
    ]


def build_model(augmented: bool = True) -> Any:
    """Three convolutions, two hidden dense layers, four dropouts: 511,306 parameters, with augmentation or without."""
    return fc.models.Sequential(
        [
            layers.Input((28, 28, 1)),
            *(augmentation() if augmented else []),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Conv2D(128, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.25),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.25),
            layers.Dense(CLASSES, activation="softmax"),
        ],
        name="mnist_s4",
    )


def worked_example() -> np.ndarray:
    """``FILTER`` at each place of ``IMAGE``: 4x4 * 2x2 gives 3x3."""
    return fc.correlate2d(IMAGE, FILTER, mode="valid")


def show_beginnings(train: common.Split, directory: Path) -> None:
    """The worked example, sample digits, and augmented ones."""
    result = worked_example()
    first = " ".join(f"{a}·{b:+d}" for a, b in zip(IMAGE[:2, :2].flat, FILTER.flat, strict=True))
    print(f"\nThe worked example, 4x4 * 2x2 = 3x3; its first number is {first} = {result[0, 0]:.0f}:\n{result}\n")
    if not common.can_draw():
        return
    import figures

    x, y = train
    chosen = np.concatenate([np.flatnonzero(y == digit)[:2] for digit in range(CLASSES)])
    samples = [(str(y[i]), x[i, :, :, 0]) for i in chosen]
    image = x[chosen[2 * 5] : chosen[2 * 5] + 1]  # a five
    changed = np.repeat(image, 12, axis=0)
    for layer in augmentation(1, 2, 3):  # seeds of their own: the training's random numbers stay as they are
        changed = layer(changed, training=True)
    augmented = [("as it is", image[0, :, :, 0]), *(("", one[:, :, 0]) for one in changed[:11])]
    drawn = {
        "worked_example.png": figures.grids(
            [("image 4x4", IMAGE), ("filter 2x2", FILTER), ("result 3x3", result)],
            title="Each number of the result: a window of the image times the filter, added up",
            windows={0: (2, None), 1: (2, None), 2: (1, None)},
            signs=("*", "="),
        ),
        "samples.png": figures.pictures(samples, columns=10, title="Sample digits", limits=(0, 1), size=0.9),
        "augmentation.png": figures.pictures(
            augmented, columns=6, title="One digit, turned, shifted and scaled at random", limits=(0, 1), size=1.1
        ),
    }
    common.save_figures(drawn, directory)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--augmentation",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="change the training images at random, anew in each epoch (default: yes)",
    )


def main(arguments: list[str] | None = None) -> int:
    options = common.parse_options(__doc__, ARTICLE, arguments, add_options)
    train, test = common.begin(options)
    model = build_model(options.augmentation)
    model.compile(optimizer=common.adam(options, len(train[0])), loss="categorical_crossentropy", metrics=["accuracy"])
    model.summary()
    show_beginnings(train, options.output_dir)
    train, test = ((x, to_categorical(y, CLASSES)) for x, y in (train, test))
    report = common.train(model, train, options, validation_data=test)
    common.finish(model, report, test, options, "" if options.augmentation else "without augmentation")
    common.save_and_check(model, options.output_dir / "mnist_s4.keras", test[0])
    if report.history and common.can_draw():
        common.save_figures({"training.png": fc.plots.plot_history(report.history)}, options.output_dir)
    return 0


if __name__ == "__main__":
    sys.exit(common.run_program(main))
