"""S1: convolution and pooling as loops, then LeNet-5 on 32x32 pixels.

Follows IBM's developer article "Convolutional neural networks", written for TensorFlow 1:

  1. Two programs of nested loops: a vertical-edge filter on a digit, its result clamped to 0...255, and max-pooling.
     They are held against fastconv's own operations.
  2. LeNet-5: 28x28 padded to 32x32, conv 5x5x6, pool, conv 5x5x16, pool, dense 120, dense 84, dense 10 logits; weights
     from a truncated normal distribution, softmax cross-entropy on logits, Adam 0.001, batches of 128, 10 epochs, the
     last 5,000 training images for validation after each epoch.

The article's constant rate gives 98.8 % here, as it gives 98.5 % there; along a cosine to 0 it is more.

  python s1_lenet_and_loops.py                  10 epochs on MNIST; pictures and the model in s1_output/
  python s1_lenet_and_loops.py --decay none     with the article's constant learning rate
  python s1_lenet_and_loops.py --quick          a part of the images
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import common
import loops
import numpy as np

import fastconv as fc
from fastconv import layers

ARTICLE = common.Article("s1", epochs=10, batch_size=128, decay="cosine")
VERTICAL_EDGES = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]])


def build_model() -> Any:
    """LeNet-5 on digits padded to 32x32, with logits at the end: 61,706 parameters."""

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


def filter_by_loops(digit: np.ndarray) -> np.ndarray:
    """The vertical edges of ``digit`` (28, 28), 0 to 255, by loops, for each stride and padding as fastconv's own."""
    image = digit.astype(np.float64)
    for stride in (1, 2, 3):
        for padding in ("VALID", "SAME"):
            by_loops = loops.convolve(image, VERTICAL_EDGES, stride, padding)
            fast = fc.conv2d(
                image[None, :, :, None],
                VERTICAL_EDGES[:, :, None, None].astype(np.float64),
                strides=stride,
                padding=padding.lower(),
            )
            _check_equal(f"convolution, stride {stride}, {padding}", by_loops, fast)
    return loops.convolve(image, VERTICAL_EDGES)


def pool_by_loops(image: np.ndarray) -> np.ndarray:
    """``image`` (h, w) pooled 2x2 by loops, which is checked for several windows, strides and paddings."""
    for size, stride in ((2, 2), (3, 2), (2, 3), (3, 3)):
        for padding in ("VALID", "SAME"):
            by_loops = loops.max_pool(image, size, stride, padding)
            fast = fc.max_pool2d(image[None, :, :, None], size, strides=stride, padding=padding.lower())
            _check_equal(f"max-pooling {size}x{size}, stride {stride}, {padding}", by_loops, fast)
    return loops.max_pool(image, 2)


def _check_equal(what: str, by_loops: np.ndarray, fast: np.ndarray) -> None:
    """Whole numbers: sums are exact, so the two must not differ at all."""
    if not np.array_equal(by_loops, fast[0, :, :, 0]):
        raise ArithmeticError(f"{what}: the loops and fastconv differ.")


def show_loops(digit: np.ndarray, directory: Path) -> None:
    """Filter and pool ``digit``; write the clamped result as an image file, and all steps as a figure."""
    edges = filter_by_loops(digit)
    pooled = pool_by_loops(edges)
    clamped = loops.clamp(edges)
    print(
        f"By loops: a digit {digit.shape} with a vertical-edge filter gives {edges.shape}, {edges.min():.0f} to "
        f"{edges.max():.0f}, clamped to {clamped.min()} to {clamped.max()}; max-pooled 2x2, {pooled.shape}.\n"
        "With strides 1, 2, 3, VALID and SAME, the loops equal fc.conv2d and fc.max_pool2d to the last bit.\n"
    )
    if not common.can_draw():
        return
    import figures
    from PIL import Image  # comes with matplotlib

    Image.fromarray(clamped).save(directory / "vertical_edges.png")
    steps = [
        ("digit", digit),
        ("vertical edges,\nclamped to 0…255", clamped),
        ("the same, max-pooled 2x2", loops.clamp(pooled)),
    ]
    figure = figures.pictures(steps, columns=3, size=2.4, limits=(0, 255), title="Convolution and pooling by loops")
    common.save_figures({"loops.png": figure}, directory)


def main(arguments: list[str] | None = None) -> int:
    options = common.parse_options(__doc__, ARTICLE, arguments)
    train, test = common.begin(options)
    show_loops(np.rint(255 * test[0][0, :, :, 0]).astype(np.int64), options.output_dir)

    train, validation = common.hold_out(train, max(1, len(train[0]) // 12))  # 5,000 of 60,000
    model = build_model()
    model.compile(
        optimizer=common.adam(options, len(train[0])),
        loss=fc.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.summary()
    report = common.train(model, train, options, validation_data=validation)
    common.finish(model, report, test, options)
    common.save_and_check(model, options.output_dir / "lenet_s1.keras", test[0])
    if report.history and common.can_draw():
        common.save_figures({"training.png": fc.plots.plot_history(report.history)}, options.output_dir)
    return 0


if __name__ == "__main__":
    sys.exit(common.run_program(main))
