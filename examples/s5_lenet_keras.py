"""S5: LeNet-5 in Keras's words, with its summary and a line of progress for each epoch.

Follows the article on LeNet-5 written for Keras: conv 5x5x6 "same", pool, conv 5x5x16, pool, conv 5x5x120 that sees its
whole input at once, dense 84, dense 10 softmax. Adam, categorical cross-entropy, batches of 128, 20 epochs, the last
tenth of the training images for validation: each epoch's line has loss, accuracy, val_loss and val_accuracy.

  python s5_lenet_keras.py                  20 epochs on MNIST; the model in s5_output/
  python s5_lenet_keras.py --decay none     with the article's constant learning rate
  python s5_lenet_keras.py --quick          a part of the images
"""

from __future__ import annotations

import sys
from typing import Any

import common

import fastconv as fc
from fastconv import layers
from fastconv.utils import to_categorical

ARTICLE = common.Article("s5", epochs=20, batch_size=128, decay="cosine")
CLASSES = 10


def build_model() -> Any:
    """LeNet-5 on 28x28, whose last convolution sees its whole input at once: 61,706 parameters."""
    return fc.models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(120, 5, activation="relu"),
            layers.Flatten(),
            layers.Dense(84, activation="relu"),
            layers.Dense(CLASSES, activation="softmax"),
        ],
        name="lenet_s5",
    )


def main(arguments: list[str] | None = None) -> int:
    options = common.parse_options(__doc__, ARTICLE, arguments)
    (x_train, y_train), (x_test, y_test) = common.begin(options)
    train, test = (x_train, to_categorical(y_train, CLASSES)), (x_test, to_categorical(y_test, CLASSES))
    model = build_model()
    model.compile(
        optimizer=common.adam(options, round(0.9 * len(x_train))), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    model.summary()
    report = common.train(model, train, options, validation_split=0.1)
    common.finish(model, report, test, options)
    common.save_and_check(model, options.output_dir / "lenet_s5.keras", x_test)
    if report.history and common.can_draw():
        common.save_figures({"training.png": fc.plots.plot_history(report.history)}, options.output_dir)
    return 0


if __name__ == "__main__":
    sys.exit(common.run_program(main))
