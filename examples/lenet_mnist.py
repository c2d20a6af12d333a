"""LeNet-5 learns to read handwritten digits: train it, test it, save it, and let it read a picture of yours.

Two forms of the network, as two published articles build it (s1_... and s5_... beside this file); 61,706 parameters:

  s5   28x28, conv 5x5x6 "same", pool, conv 5x5x16, pool, conv 5x5x120, dense 84, dense 10 softmax; 4 epochs (default)
  s1   28x28 padded to 32x32, conv 5x5x6, pool, conv 5x5x16, pool, dense 120, dense 84, dense 10 logits; 10 epochs

ReLU after each layer, max-pooling 2x2, batches of 128, Adam with a learning rate of 0.001. On a training set of 10,000
images or fewer (without a network, or with --quick) the default is 15 epochs for both.

  python lenet_mnist.py                                    train on MNIST and write lenet_output/
  python lenet_mnist.py --arch s1 --epochs 10
  python lenet_mnist.py --predict photo.jpg                what digit is on the picture?
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import common
import numpy as np
import s1_lenet_and_loops as s1
import s5_lenet_keras as s5

import fastconv as fc

EPOCHS = {"s1": 10, "s5": 4}
# Epochs for a small training set, where an epoch is short and teaches less.
SMALL, EPOCHS_SMALL = 10_000, 15
DIGITS = [str(digit) for digit in range(10)]


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=sorted(EPOCHS), default="s5", help="which form of LeNet (default: s5)")
    common.add_common_options(parser, output_dir="lenet_output")
    common.add_prediction_options(parser)
    return parser.parse_args(arguments)


def write_pictures(model: Any, report: common.Report, test: common.Split, directory: Path) -> None:
    """Training curves, learnt filters, and what the network gets wrong in the test images."""
    x, y = test
    chances = common.probabilities(model, x)
    first = next(layer for layer in model.layers if isinstance(layer, fc.layers.Conv2D))
    figures = {
        "filters.png": fc.plots.plot_filters(first),
        "confidence.png": fc.plots.plot_confidence_histogram(chances, y),
        "confusion.png": fc.plots.plot_confusion_matrix(y, chances.argmax(axis=1), class_names=DIGITS),
    }
    if report.history:
        figures["training.png"] = fc.plots.plot_history(report.history)
    wrong = common.mistakes(chances, y)
    if len(wrong):
        shown = wrong[np.linspace(0, len(wrong) - 1, min(12, len(wrong))).round().astype(int)]
        title = f"{len(wrong):,} of {len(y):,} digits read wrongly, from the surest to the least sure"
        figures["wrong_digits.png"] = fc.plots.plot_predictions(x[shown], chances[shown], y[shown], title=title)
    common.save_figures(figures, directory)


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    model_file: Path = options.model or options.output_dir / f"lenet_{options.arch}.keras"
    if options.predict:
        if options.threads:
            fc.set_num_threads(options.threads)
        common.predict_picture(options.predict, model_file)
        return 0

    train, test = common.begin(options)
    options.epochs = options.epochs or (EPOCHS_SMALL if len(train[0]) <= SMALL else EPOCHS[options.arch])
    options.batch_size = options.batch_size or 128
    model = (s1 if options.arch == "s1" else s5).build_model()
    model.compile(
        optimizer=fc.optimizers.Adam(options.learning_rate or 1e-3),
        loss=fc.losses.SparseCategoricalCrossentropy(from_logits=options.arch == "s1"),
        metrics=["accuracy"],
    )
    model.summary()
    # The articles' splits: s1 keeps 5,000 of 60,000 images back for validation, s5 a tenth; the last, as in Keras.
    train, validation = common.hold_out(train, max(1, len(train[0]) // (12 if options.arch == "s1" else 10)))
    report = common.train(model, train, options, validation_data=validation)
    common.report_accuracy(model, test)
    common.save_and_check(model, model_file, test[0])
    if common.can_draw():
        write_pictures(model, report, test, options.output_dir)
    print(f"\nTry it on a picture of yours: python {Path(sys.argv[0])} --model {model_file} --predict PICTURE")
    return 0


if __name__ == "__main__":
    sys.exit(common.run_program(main))
