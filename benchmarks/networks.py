"""Five published networks for MNIST, compiled and ready to train; the files of their names in layers/ list layers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fastconv as fc
from fastconv import layers


class Network(NamedTuple):
    """How a network is made, and the batch that its article trains it with."""

    build: Callable[[], Any]
    batch_size: int
    parameters: int


def lenet_s1() -> Any:
    """LeNet-5 of a TensorFlow 1 tutorial: 28x28 padded to 32x32, logits at the end."""

    def initial() -> Any:
        return fc.initializers.TruncatedNormal(mean=0.0, stddev=0.1)

    model = _model(
        layers.ZeroPadding2D(2),
        layers.Conv2D(6, 5, activation="relu", kernel_initializer=initial()),
        layers.MaxPooling2D(2),
        layers.Conv2D(16, 5, activation="relu", kernel_initializer=initial()),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(120, activation="relu", kernel_initializer=initial()),
        layers.Dense(84, activation="relu", kernel_initializer=initial()),
        layers.Dense(10, kernel_initializer=initial()),
    )
    return _compile(model, fc.losses.SparseCategoricalCrossentropy(from_logits=True))


def mnist_s2() -> Any:
    """Two wide 5x5 convolutions and a dense layer of 1,000."""
    model = _model(
        layers.Conv2D(32, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2, padding="same"),
        layers.Conv2D(64, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2, padding="same"),
        layers.Flatten(),
        layers.Dense(1000, activation="relu"),
        layers.Dense(10, activation="softmax"),
    )
    return _compile(model)


def mnist_s3() -> Any:
    """One 3x3 convolution between dropouts."""
    model = _model(
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(0.25),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    )
    return _compile(model)


def mnist_s4() -> Any:
    """Three 3x3 convolutions, two dense layers, four dropouts."""
    model = _model(
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
        layers.Dense(10, activation="softmax"),
    )
    return _compile(model)


def lenet_s5() -> Any:
    """LeNet-5 of a Keras tutorial: its third convolution sees its whole input at once."""
    model = _model(
        layers.Conv2D(6, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(16, 5, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(120, 5, activation="relu"),
        layers.Flatten(),
        layers.Dense(84, activation="relu"),
        layers.Dense(10, activation="softmax"),
    )
    return _compile(model)


NETWORKS = {
    "lenet_s1": Network(lenet_s1, 128, 61_706),
    "mnist_s2": Network(mnist_s2, 50, 3_199_106),
    "mnist_s3": Network(mnist_s3, 128, 54_410),
    "mnist_s4": Network(mnist_s4, 64, 511_306),
    "lenet_s5": Network(lenet_s5, 128, 61_706),
}


def random_batch(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise of the digits' shape and range, with labels: a step of an untrained network takes about as long on it."""
    rng = np.random.default_rng(1)
    return rng.random((size, 28, 28, 1), dtype=np.float32), rng.integers(0, 10, size)


def mnist() -> tuple[np.ndarray, np.ndarray] | None:
    """MNIST's training images, as floats from 0 to 1, and labels; None where FASTCONV_DATA_DIR is not set."""
    if not os.environ.get("FASTCONV_DATA_DIR"):
        return None
    (x, y), _ = fc.datasets.mnist.load_data()
    return (x[..., None] / 255).astype(np.float32), y.astype(np.int64)


def _model(*stack: Any) -> Any:
    return fc.models.Sequential([layers.Input((28, 28, 1)), *stack])


def _compile(model: Any, loss: Any = "sparse_categorical_crossentropy") -> Any:
    model.compile(optimizer=fc.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"])
    return model
