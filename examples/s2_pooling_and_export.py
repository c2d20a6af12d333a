"""S2: pooling explained, a wide network with its accuracy curve for TensorBoard, and its export.

Follows "Convolutional Neural Networks Tutorial in TensorFlow":

  1. Max-pooling with SAME: a 5x5 grid gives 3x3; mean and L2-norm pooling beside it.
  2. conv 5x5x32, pool, conv 5x5x64, pool, dense 1000, dense 10 softmax; Adam, batches of 50, 10 epochs on the 60,000
     training images; accuracy on the test images after each epoch, as a curve and as a log for TensorBoard
     (pip install "fastconv[tensorboard]").
  3. What a reader of it asks: how to deploy the network. It is saved as .keras, which Keras 3 loads, and as an ONNX
     graph (pip install "fastconv[onnx]"), which ONNX Runtime and many others run; if that is installed, it is tried.

  python s2_pooling_and_export.py               10 epochs on MNIST; everything in s2_output/
  tensorboard --logdir s2_output/logs           the curves in a browser
  python s2_pooling_and_export.py --quick       a part of the images
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import common
import numpy as np

import fastconv as fc
from fastconv import layers

ARTICLE = common.Article("s2", epochs=10, batch_size=50, decay="cosine", quick_epochs=2)
GRID = np.array(
    [
        [3, 1, 0, 2, 4],
        [1, 5, 2, 0, 1],
        [0, 2, 7, 1, 0],
        [4, 0, 1, 3, 6],
        [-2, -1, 2, 5, -3],
    ]
)


def build_model() -> Any:
    """Two wide convolutions and a wide dense layer: 3,199,106 parameters."""
    return fc.models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Conv2D(64, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Flatten(),
            layers.Dense(1000, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_s2",
    )


def show_pooling(directory: Path) -> None:
    """Pool ``GRID`` in three ways, 2x2 with SAME: the windows at the end hold what is left of the grid."""
    grid = GRID[None, :, :, None].astype(np.float64)
    pooled = [
        (name, pool(grid, 2, padding="same")[0, :, :, 0])
        for name, pool in (("maximum", fc.max_pool2d), ("mean", fc.avg_pool2d), ("L2 norm", fc.l2_pool2d))
    ]
    print("Pooling 2x2 with SAME of this 5x5 grid gives 3x3:\n")
    for name, values in [("grid", GRID), *pooled]:
        print(f"{name}:\n{np.array2string(values, precision=2, suppress_small=True)}\n")
    if common.can_draw():
        import figures

        arrays = [("5x5", GRID), *pooled]
        title = "Pooling 2x2, stride 2, SAME: windows that hang over the border count the cells inside"
        common.save_figures({"pooling.png": figures.grids(arrays, title=title, windows={0: (2, 2)})}, directory)


def tensorboard(directory: Path) -> list[Any]:
    """The callback that writes the curves for TensorBoard; none, with a notice, where tensorboardX is missing."""
    try:
        return [fc.callbacks.TensorBoard(directory / "logs")]
    except ImportError as error:
        print(f"No log for TensorBoard: {error}")
        return []


def export(model: Any, path: Path, x: np.ndarray) -> None:
    """Write the ONNX graph, and hold what ONNX Runtime makes of it against ``predict``."""
    try:
        model.export(path)
    except ImportError as error:
        print(f"No ONNX graph: {error}")
        return
    print(f"Wrote {path} ({path.stat().st_size / 1e3:,.0f} kB).")
    if importlib.util.find_spec("onnxruntime") is None:
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": x})
    difference = float(np.abs(found - model.predict(x, verbose=0)).max())
    if not difference < 1e-4:
        raise ValueError(f"{path}: ONNX Runtime's probabilities differ by {difference:.1e}.")
    print(f"ONNX Runtime gives the same probabilities for {len(x)} images, to {difference:.0e}.")


def main(arguments: list[str] | None = None) -> int:
    options = common.parse_options(__doc__, ARTICLE, arguments)
    train, test = common.begin(options)
    show_pooling(options.output_dir)
    model = build_model()
    model.compile(
        optimizer=common.adam(options, len(train[0])), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.summary()
    callbacks = tensorboard(options.output_dir)
    report = common.train(model, train, options, validation_data=test, callbacks=callbacks)
    common.finish(model, report, test, options)

    common.save_and_check(model, options.output_dir / "mnist_s2.keras", test[0])
    export(model, options.output_dir / "mnist_s2.onnx", test[0][:256])
    if report.history and common.can_draw():
        curve = {name: values for name, values in report.history.items() if name.endswith("accuracy")}
        common.save_figures({"accuracy.png": fc.plots.plot_history(curve)}, options.output_dir)
    return 0


if __name__ == "__main__":
    sys.exit(common.run_program(main))
