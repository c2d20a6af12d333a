"""Every stateless operation on a small problem, in one table, for tests of what holds for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from oracle import integers
from problems import EXACT_ALGORITHMS

import fastconv as fc
from fastconv import ops


@dataclass(frozen=True)
class Operation:
    """A function, the shapes of its array arguments by name, and how to call it with them."""

    name: str
    shapes: dict[str, tuple[int, ...]]
    call: Callable[..., Any]
    takes_out: bool = False

    def __str__(self) -> str:
        return self.name

    def arrays(self, dtype: Any = np.float32, make: Any = integers, seed: int = 0) -> dict[str, np.ndarray]:
        """Signed data for every array argument, the same for every call."""
        rng = np.random.default_rng((seed, len(self.name)))
        return {name: make(rng, shape, dtype) for name, shape in self.shapes.items()}


def _conv_operations(algorithm: str, data_format: str) -> list[Operation]:
    options: dict[str, Any] = {
        "strides": (2, 1),
        "padding": "same",
        "groups": 2,
        "algorithm": algorithm,
        "data_format": data_format,
    }
    images, outputs = (3, 7, 6, 4), (3, 4, 6, 10)
    if data_format == "channels_first":
        images, outputs = ((shape[0], shape[3], *shape[1:3]) for shape in (images, outputs))
    kernel = (3, 2, 2, 10)
    tail = f"[{algorithm} {data_format}]"
    return [
        Operation(
            f"conv2d{tail}",
            {"x": images, "kernel": kernel, "bias": (10,)},
            lambda x, kernel, bias, **out: fc.conv2d(x, kernel, bias, activation="relu", **options, **out),
            takes_out=True,
        ),
        Operation(
            f"conv2d_grad_input{tail}",
            {"grad_output": outputs, "kernel": kernel},
            lambda grad_output, kernel: fc.conv2d_grad_input(grad_output, kernel, images, **options),
        ),
        Operation(
            f"conv2d_grad_kernel{tail}",
            {"x": images, "grad_output": outputs},
            lambda x, grad_output: fc.conv2d_grad_kernel(x, grad_output, (3, 2), **options),
        ),
    ]


def _winograd_operations(data_format: str) -> list[Operation]:
    options: dict[str, Any] = {"padding": "same", "algorithm": "winograd", "data_format": data_format}
    images, outputs, kernel = (2, 7, 6, 4), (2, 7, 6, 5), (3, 3, 4, 5)
    if data_format == "channels_first":
        images, outputs = ((shape[0], shape[3], *shape[1:3]) for shape in (images, outputs))
    return [
        Operation(
            f"conv2d[winograd {data_format}]",
            {"x": images, "kernel": kernel, "bias": (5,)},
            lambda x, kernel, bias, **out: fc.conv2d(x, kernel, bias, activation="relu", **options, **out),
            takes_out=True,
        ),
        Operation(
            f"conv2d_grad_input[winograd {data_format}]",
            {"grad_output": outputs, "kernel": kernel},
            lambda grad_output, kernel, **out: fc.conv2d_grad_input(grad_output, kernel, images, **options, **out),
            takes_out=True,
        ),
    ]


def _max_pool_both(x: np.ndarray) -> np.ndarray:
    """The maxima and, behind them in the same type, where they were."""
    y, indices = fc.max_pool2d(x, 3, strides=2, return_indices=True)
    return np.concatenate([y, indices.astype(y.dtype)])


def _pool_operations() -> list[Operation]:
    images, outputs = (2, 5, 6, 3), (2, 3, 3, 3)
    # Cells 0, 2, 4 of each row of windows: a valid choice for 2 x 2 windows with "same" padding on 5 x 6 cells.
    indices = np.broadcast_to((np.arange(3)[:, None] * 12 + np.arange(3) * 2)[None, :, :, None], outputs).copy()
    return [
        Operation("max_pool2d", {"x": images}, lambda x: fc.max_pool2d(x, padding="same")),
        Operation("max_pool2d with indices", {"x": images}, _max_pool_both),
        Operation(
            "max_pool2d_grad",
            {"grad_output": outputs},
            lambda grad_output: fc.max_pool2d_grad(grad_output, indices, images, padding="same"),
        ),
        Operation("avg_pool2d", {"x": images}, lambda x: fc.avg_pool2d(x, padding="same")),
        Operation(
            "avg_pool2d_grad",
            {"grad_output": outputs},
            lambda grad_output: fc.avg_pool2d_grad(grad_output, images, padding="same"),
        ),
        Operation("l2_pool2d", {"x": images}, lambda x, **out: fc.l2_pool2d(x, padding="same", **out), takes_out=True),
        Operation(
            "l2_pool2d_grad",
            {"grad_output": outputs, "x": images},
            lambda grad_output, x, **out: fc.l2_pool2d_grad(grad_output, x, padding="same", **out),
            takes_out=True,
        ),
    ]


def _transpose_operations(data_format: str) -> list[Operation]:
    options: dict[str, Any] = {"strides": (2, 3), "padding": "same", "data_format": data_format}
    images, outputs, kernel = (3, 4, 3, 5), (3, 8, 9, 2), (3, 4, 2, 5)
    if data_format == "channels_first":
        images, outputs = ((shape[0], shape[3], *shape[1:3]) for shape in (images, outputs))
    return [
        Operation(
            f"conv2d_transpose[{data_format}]",
            {"x": images, "kernel": kernel, "bias": (2,)},
            lambda x, kernel, bias, **out: fc.conv2d_transpose(x, kernel, bias, activation="relu", **options, **out),
            takes_out=True,
        ),
        Operation(
            f"conv2d_transpose_grad_input[{data_format}]",
            {"grad_output": outputs, "kernel": kernel},
            lambda grad_output, kernel, **out: fc.conv2d_transpose_grad_input(
                grad_output, kernel, images, **options, **out
            ),
            takes_out=True,
        ),
        Operation(
            f"conv2d_transpose_grad_kernel[{data_format}]",
            {"x": images, "grad_output": outputs},
            lambda x, grad_output, **out: fc.conv2d_transpose_grad_kernel(x, grad_output, (3, 4), **options, **out),
            takes_out=True,
        ),
    ]


def _depthwise_operations(data_format: str) -> list[Operation]:
    options: dict[str, Any] = {"strides": (2, 1), "padding": "same", "data_format": data_format}
    images, outputs, kernel = (3, 7, 6, 5), (3, 4, 6, 10), (3, 2, 5, 2)
    if data_format == "channels_first":
        images, outputs = ((shape[0], shape[3], *shape[1:3]) for shape in (images, outputs))
    return [
        Operation(
            f"depthwise_conv2d[{data_format}]",
            {"x": images, "kernel": kernel, "bias": (10,)},
            lambda x, kernel, bias, **out: fc.depthwise_conv2d(x, kernel, bias, **options, **out),
            takes_out=True,
        ),
        Operation(
            f"depthwise_conv2d_grad_input[{data_format}]",
            {"grad_output": outputs, "kernel": kernel},
            lambda grad_output, kernel, **out: fc.depthwise_conv2d_grad_input(
                grad_output, kernel, images, **options, **out
            ),
            takes_out=True,
        ),
        Operation(
            f"depthwise_conv2d_grad_kernel[{data_format}]",
            {"x": images, "grad_output": outputs},
            lambda x, grad_output, **out: fc.depthwise_conv2d_grad_kernel(x, grad_output, (3, 2), **options, **out),
            takes_out=True,
        ),
    ]


def _normalization_operations() -> list[Operation]:
    images, channels = (3, 4, 5, 6), (6,)
    return [
        Operation("channel_moments", {"x": images}, lambda x: np.stack(ops.channel_moments(x))),
        Operation(
            "batch_normalization",
            {"x": images, "mean": channels, "variance": channels, "offset": channels, "scale": channels},
            lambda x, mean, variance, offset, scale, **out: ops.batch_normalization(
                x, mean, variance, -1, offset, scale, 30.0, **out
            ),
            takes_out=True,
        ),
        Operation(
            "batch_normalization_grad",
            {"grad_output": images, "x": images, "mean": channels, "variance": channels, "scale": channels},
            lambda grad_output, x, mean, variance, scale: np.concatenate(
                [array.ravel() for array in ops.batch_normalization_grad(grad_output, x, mean, variance, -1, scale, 30)]
            ),
        ),
    ]


OPERATIONS = (
    *(
        operation
        for algorithm in EXACT_ALGORITHMS
        for data_format in ("channels_last", "channels_first")
        for operation in _conv_operations(algorithm, data_format)
    ),
    *(
        operation
        for data_format in ("channels_last", "channels_first")
        for make in (_winograd_operations, _transpose_operations, _depthwise_operations)
        for operation in make(data_format)
    ),
    *_pool_operations(),
    *_normalization_operations(),
    Operation("im2col", {"x": (2, 5, 4, 3)}, lambda x: fc.im2col(x, 3, strides=2, padding="same", dilation_rate=1)),
    Operation(
        "col2im", {"cols": (2 * 3 * 2, 27)}, lambda cols: fc.col2im(cols, (2, 5, 4, 3), 3, strides=2, padding="same")
    ),
    Operation("relu", {"x": (3, 5, 7)}, fc.relu),
    Operation("relu_grad", {"grad_output": (3, 5, 7), "y": (3, 5, 7)}, fc.relu_grad),
    Operation("softmax", {"x": (4, 6)}, fc.softmax),
    Operation("softmax axis 0", {"x": (4, 6)}, lambda x: fc.softmax(x, axis=0)),
    Operation("softmax_grad", {"grad_output": (4, 6), "y": (4, 6)}, fc.softmax_grad),
    Operation(
        "dense",
        {"x": (4, 9), "kernel": (9, 5), "bias": (5,)},
        lambda x, kernel, bias, **out: ops.dense(x, kernel, bias, activation="relu", **out),
        takes_out=True,
    ),
    Operation("dense_grad_input", {"grad_output": (4, 5), "kernel": (9, 5)}, ops.dense_grad_input),
    Operation("dense_grad_kernel", {"x": (4, 9), "grad_output": (4, 5)}, ops.dense_grad_kernel),
    Operation("bias_grad", {"grad_output": (2, 3, 4, 5)}, ops.bias_grad),
)

ARGUMENTS = [(operation, name) for operation in OPERATIONS for name in operation.shapes]
