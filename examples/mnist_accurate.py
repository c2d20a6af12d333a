"""A small network that reads MNIST accurately: fewer parameters than LeNet-5, 99.4 % after less than a minute.

conv 5x5x24, pool, conv 3x3x32, conv 3x3x48, pool, conv 3x3x64, dense 10, each convolution with ReLU and followed by
batch normalisation. What makes it accurate is that it never sees the same image twice: each is turned, shifted and
scaled a little at random, anew in each epoch, as in s4_digit_recogniser.py. Adam, learning rate in one cycle, batches
of 128.

Accuracy is that after the last epoch, in the mean of five seeds; none is picked. The settings were chosen with
--validate, which leaves the test images alone: it trains on 50,000 of the training images and measures on the other
10,000. Times are those of `Sequential.fit`, augmentation included.

  python mnist_accurate.py                     five seeds; networks and figures in accurate_output/
  python mnist_accurate.py --seeds 1 --seed 3  one of them
  python mnist_accurate.py --quick             two seeds, few epochs, on a part of the images
"""

from __future__ import annotations

import sys
from typing import Any

import common
import s4_digit_recogniser as s4
import series

import fastconv as fc
from fastconv import layers

ARTICLE = common.Article(
    "accurate", epochs=6, batch_size=128, learning_rate=0.01, decay="one-cycle", quick_epochs=2, verbose=0
)
SEEDS = 5


def build_model() -> Any:
    """Four convolutions with batch normalisation, and augmentation before them: 55,594 parameters."""
    return fc.models.Sequential(
        [
            layers.Input((28, 28, 1)),
            *s4.augmentation(),
            _convolution(24, 5),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(),
            _convolution(32, 3, "same"),
            layers.BatchNormalization(),
            _convolution(48, 3),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(),
            _convolution(64, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_accurate",
    )


def _convolution(filters: int, kernel_size: int, padding: str = "valid") -> Any:
    return layers.Conv2D(filters, kernel_size, padding=padding, activation="relu", kernel_initializer="he_uniform")


def main(arguments: list[str] | None = None) -> int:
    options = series.parse_options(__doc__, ARTICLE, arguments, seeds=SEEDS)
    train, test = series.begin(options)

    def make_model() -> Any:
        model = build_model()
        optimizer = common.adam(options, len(train[0]))
        model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    series.run(make_model, train, test, options)
    return 0


if __name__ == "__main__":
    sys.exit(common.run_program(main))
