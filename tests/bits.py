"""One hash over forward passes, gradients and a training run: the same for every number of threads and every run.

    python tests/bits.py [--threads N] [--isa NAME]

prints the hash, with nothing that may differ. ``test_determinism.py`` compares them.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator

import numpy as np
from operations import OPERATIONS
from oracle import DTYPES, normals
from problems import EXACT_ALGORITHMS

import fastconv as fc
from fastconv import layers, models, ops, optimizers, utils

# (x, kernel, options): enough work for several threads, odd sizes in every direction.
LAYERS = (
    ((21, 28, 28, 1), (5, 5, 1, 6), {"padding": "same"}),
    ((12, 14, 14, 6), (5, 5, 6, 16), {}),
    ((3, 13, 15, 33), (3, 3, 33, 37), {"padding": "same"}),
    ((3, 21, 19, 16), (3, 3, 16, 40), {"strides": 2, "padding": "same"}),
    ((11, 17, 17, 12), (3, 3, 4, 24), {"groups": 3, "dilation_rate": 2}),
    ((7, 9, 11, 70), (1, 1, 70, 50), {"data_format": "channels_last"}),
)


def layer(dtype, x_shape, kernel_shape, options, algorithm, data=normals):
    """Forward and all gradients of one layer."""
    rng = np.random.default_rng(7)
    x, kernel, bias = (data(rng, shape, dtype) for shape in (x_shape, kernel_shape, kernel_shape[-1:]))
    options = {**options, "algorithm": algorithm}
    y = fc.conv2d(x, kernel, bias, activation="relu", **options)
    grad_output = data(rng, y.shape, dtype)
    grad_input = fc.conv2d_grad_input(grad_output, kernel, x.shape, **options)
    grad_kernel = fc.conv2d_grad_kernel(x, grad_output, kernel_shape[:2], **options)
    return np.concatenate([array.ravel() for array in (y, grad_input, grad_kernel, ops.bias_grad(grad_output))])


def other_operations(dtype):
    """Pooling, softmax and dense on sizes that are worth several threads."""
    rng = np.random.default_rng(8)
    x = normals(rng, (9, 25, 23, 13), dtype)
    y, indices = fc.max_pool2d(x, 3, strides=2, padding="same", return_indices=True)
    flat, kernel = normals(rng, (131, 257), dtype), normals(rng, (257, 129), dtype)
    grad_output = normals(rng, (131, 129), dtype)
    answers = (
        y,
        fc.max_pool2d_grad(y, indices, x.shape, pool_size=3, strides=2, padding="same"),
        fc.avg_pool2d(x, 3, strides=2, padding="same"),
        fc.avg_pool2d_grad(y, x.shape, pool_size=3, strides=2, padding="same"),
        fc.im2col(x, 3),
        fc.relu(x),
        fc.softmax(flat),
        fc.softmax(x, axis=1),
        ops.dense(flat, kernel),
        ops.dense_grad_input(grad_output, kernel),
        ops.dense_grad_kernel(flat, grad_output),
        ops.bias_grad(x),
    )
    return np.concatenate([answer.ravel() for answer in answers])


def behind_pooling(dtype):
    """A convolution with a max pooling behind it, and both gradients."""
    for x_shape, kernel_shape, padding in (
        ((41, 28, 28, 1), (5, 5, 1, 6), "same"),
        ((33, 14, 14, 6), (5, 5, 6, 16), "valid"),
        ((9, 12, 13, 24), (3, 3, 24, 49), "same"),
        ((3, 31, 29, 16), (3, 3, 16, 64), "same"),
    ):
        rng = np.random.default_rng(9)
        x, kernel = normals(rng, x_shape, dtype), normals(rng, kernel_shape, dtype)
        y, indices = ops.conv2d_max_pool2d(x, kernel, padding=padding, activation="relu")
        yield y
        yield ops.conv2d_max_pool2d_grad_kernel(x, y, indices, kernel_shape[:2], padding=padding)
        yield ops.conv2d_max_pool2d_grad_input(y, indices, kernel, x_shape, padding=padding)


def training() -> Iterator[np.ndarray]:
    """Weights, losses and predictions of an epoch of a small network: convolution, pooling, normalisation, dropout."""
    utils.set_random_seed(11)
    rng = np.random.default_rng(11)
    x, y = normals(rng, (300, 14, 14, 3)), rng.integers(0, 10, 300)
    model = models.Sequential(
        [
            layers.Input((14, 14, 3)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.Conv2D(24, 3, strides=2, padding="same", activation="relu"),
            layers.AveragePooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=60, epochs=1, validation_split=0.2, verbose=0)
    yield from model.get_weights()
    yield np.array([values[-1] for _, values in sorted(history.history.items())])
    yield model.predict(x, verbose=0)


def everything() -> Iterator[np.ndarray]:
    """Every answer that the hash is made of."""
    for dtype in DTYPES:
        for algorithm in ("auto", *EXACT_ALGORITHMS):
            for shapes in LAYERS:
                yield layer(dtype, *shapes, algorithm)
        yield other_operations(dtype)
        yield from behind_pooling(dtype)
        for operation in OPERATIONS:
            yield operation.call(**operation.arrays(dtype, normals))
    yield from training()


def digest() -> str:
    """SHA-256 of the shapes, types and bytes of all answers."""
    found = hashlib.sha256()
    for array in everything():
        found.update(f"{array.shape}{array.dtype}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="default: as many as the process may use")
    parser.add_argument("--isa", choices=fc.available_isas(), help="default: the best")
    options = parser.parse_args()
    if options.threads:
        fc.set_num_threads(options.threads)
    if options.isa:
        fc.set_isa(options.isa)
    print(digest())


if __name__ == "__main__":
    main()
