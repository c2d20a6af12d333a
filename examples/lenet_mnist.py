"""LeNet-5 learns to read handwritten digits: train it, test it, save it, and let it read a picture of yours.

Two forms of the network, as two published tutorials build it; both have 61,706 parameters:

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

import fastconv as fc
from fastconv import layers

EPOCHS = {"s1": 10, "s5": 4}
# Epochs for a small training set, where an epoch is short and teaches less.
SMALL, EPOCHS_SMALL = 10_000, 15


def build_s5() -> Any:
    """LeNet-5 as a Keras tutorial builds it: the last convolution sees its whole input at once."""
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
            layers.Dense(10, activation="softmax"),
        ],
        name="lenet_s5",
    )


def build_s1() -> Any:
    """LeNet-5 as a TensorFlow 1 tutorial builds it: padded to 32x32, truncated-normal weights, logits at the end."""

    def weights() -> Any:
        return fc.initializers.TruncatedNormal(mean=0.0, stddev=0.1)

    return fc.models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.ZeroPadding2D(2),
            layers.Conv2D(6, 5, activation="relu", kernel_initializer=weights()),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu", kernel_initializer=weights()),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu", kernel_initializer=weights()),
            layers.Dense(84, activation="relu", kernel_initializer=weights()),
            layers.Dense(10, kernel_initializer=weights()),
        ],
        name="lenet_s1",
    )


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=sorted(EPOCHS), default="s5", help="which form of LeNet (default: s5)")
    common.add_common_options(parser, output_dir="lenet_output")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    model_file: Path = options.model or options.output_dir / f"lenet_{options.arch}.keras"
    if options.threads:
        fc.set_num_threads(options.threads)
    if options.predict:
        common.predict_picture(options.predict, model_file)
        return 0

    options.output_dir.mkdir(parents=True, exist_ok=True)  # before the training: it may not be allowed
    (x_train, y_train), (x_test, y_test) = common.load_mnist(options.data_dir, quick=options.quick)
    epochs = options.epochs or (EPOCHS_SMALL if len(x_train) <= SMALL else EPOCHS[options.arch])
    fc.utils.set_random_seed(options.seed)
    model = build_s1() if options.arch == "s1" else build_s5()
    model.compile(
        optimizer=fc.optimizers.Adam(options.learning_rate or 1e-3),
        loss=fc.losses.SparseCategoricalCrossentropy(from_logits=True)
        if options.arch == "s1"
        else "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.summary()
    # The tutorials' splits: s1 keeps 5,000 of 60,000 images back for validation, s5 a tenth; the last, as in Keras.
    held_out = max(1, len(x_train) // (12 if options.arch == "s1" else 10))
    x_held_out, y_held_out = x_train[-held_out:], y_train[-held_out:]
    x_train, y_train = x_train[:-held_out], y_train[:-held_out]
    print(
        f"\nTraining on {len(x_train):,} images, validating on {held_out:,}, for {epochs} epochs; "
        f"{fc.get_num_threads()} threads, seed {options.seed}.\n",
        flush=True,
    )
    report = common.train(
        model,
        x_train,
        y_train,
        epochs=epochs,
        batch_size=options.batch_size or 128,
        verbose=options.verbose,
        validation_data=(x_held_out, y_held_out),
    )
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"Test accuracy: {accuracy:.2%} of {len(x_test):,} images (loss {loss:.4f})\n")
    common.save_and_check(model, model_file, x_test)
    common.write_pictures(model, report, x_test, y_test, options.output_dir)
    print(f"\nTry it on a picture of yours: python {Path(sys.argv[0])} --model {model_file} --predict PICTURE")
    return 0


if __name__ == "__main__":
    sys.exit(common.run_program(main))
