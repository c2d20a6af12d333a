"""MNIST in one pass: 99 % of the test images right after a few seconds of training on two cores.

Follows train_mnist_fast (github.com/tuomaso): conv 5x5x24, max-pool, ReLU, conv 3x3x32, max-pool, ReLU, dense 256 ReLU,
dense 10; one epoch of the 60,000 training images, Adam with beta_1 0.7 and beta_2 0.9, learning rate in one cycle.
There 99.04 % in the mean of 30 seeds, 0.76 s on a GTX 1660 Ti.

Two things differ. The two outer rows and columns of pixels, which hold 0.2 % of the ink, are cut off: a quarter of the
time. Batches have 128 images, not 256, and the learning rate goes up to 0.007, not 0.01, which gains as much accuracy
as the narrower view loses. ReLU stands before the pooling here; since the largest value of a window is the same before
and after ReLU, so is the network, and fastconv trains convolution, ReLU and pooling in one go.

Accuracy is that after the last step, in the mean of ten seeds; none is picked. The settings were chosen with
--validate, which leaves the test images alone. Times are those of `Sequential.fit`: bringing the images from bytes to
standardised floats is done once before it, and its time printed.

  python mnist_speedrun.py                     ten seeds; networks and figures in speedrun_output/
  python mnist_speedrun.py --seeds 1 --seed 7  one of them
  python mnist_speedrun.py --quick             two seeds on a part of the images
"""

from __future__ import annotations

import sys
from typing import Any

import common
import numpy as np
import series

import fastconv as fc
from fastconv import layers

ARTICLE = common.Article(
    "speedrun", epochs=1, batch_size=128, learning_rate=0.007, decay="one-cycle", quick_epochs=1, verbose=0
)
SEEDS = 10
# Of all pixels of MNIST's 60,000 training images.
MEAN, DEVIATION = 0.1307, 0.3081
BORDER = 2


def prepare(images: np.ndarray) -> np.ndarray:
    """The middle 24x24 pixels, standardised."""
    middle = images[:, BORDER:-BORDER, BORDER:-BORDER]
    return (middle - np.float32(MEAN)) / np.float32(DEVIATION)


def build_model() -> Any:
    """Two convolutions and a dense layer of 256: 141,466 parameters."""
    return fc.models.Sequential(
        [
            layers.Input((28 - 2 * BORDER, 28 - 2 * BORDER, 1)),
            layers.Conv2D(24, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_speedrun",
    )


def main(arguments: list[str] | None = None) -> int:
    options = series.parse_options(__doc__, ARTICLE, arguments, seeds=SEEDS)
    train, test = series.begin(options, prepare)

    def make_model() -> Any:
        model = build_model()
        optimizer = common.adam(options, len(train[0]), beta_1=0.7, beta_2=0.9)
        model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    series.run(make_model, train, test, options)
    return 0


if __name__ == "__main__":
    sys.exit(common.run_program(main))
