"""Layers that move numbers without changing them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _validation
from ..ops._arrays import contiguous
from ..ops.copies import zero_pad
from ..ops.inference import Step, pad_step
from .base import Array, Layer, Shape, as_data_format, image_layout, join_image_shape, split_image_shape


class Flatten(Layer):
    """All axes but the batch in one; a view of the input where that is possible.

    With ``data_format="channels_first"`` the channels are first moved to the end, as in Keras, so that both formats
    give the same order.

    Input shape:
        ``(n, …)``.

    Output shape:
        ``(n, product of the other axes)``; ``(n, 1)`` for input ``(n,)``.

    Args:
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Example:
        >>> import numpy as np
        >>> Flatten()(np.ones((2, 5, 5, 16), "float32")).shape
        (2, 400)
    """

    _min_ndim = 1

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = as_data_format("Flatten", data_format)

    def call(self, x: Array, training: bool = False) -> Array:
        moved = np.moveaxis(x, 1, -1) if self._moves(x.ndim) else x
        y = moved.reshape(x.shape[0], math.prod(x.shape[1:]))
        self._keep(training, y.shape, moved.shape)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, moved_shape = self._recall(grad_output)
        grad = grad_output.reshape(moved_shape)
        return np.moveaxis(grad, -1, 1) if self._moves(grad.ndim) else grad

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        return None if self._moves(len(x_shape) + 1) else Step((math.prod(x_shape),))

    def _moves(self, ndim: int) -> bool:
        return self.data_format == "channels_first" and ndim > 2

    def compute_output_shape(self, input_shape: Any) -> Shape:
        n, *sizes = self._check_shape(input_shape)
        return n, None if None in sizes else math.prod(sizes)  # type: ignore[arg-type]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(Layer):
    """The same numbers under another shape; a view of the input where that is possible.

    Input shape:
        ``(n, …)``.

    Output shape:
        ``(n, *target_shape)``, a -1 in it replaced by what makes the sizes agree.

    Args:
        target_shape: shape of one sample, without the batch axis; one size may be -1.
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: more than one -1, a size below it, or input of another total size.

    Example:
        >>> import numpy as np
        >>> Reshape((7, 7, -1))(np.ones((2, 98), "float32")).shape
        (2, 7, 7, 2)
    """

    _min_ndim = 1

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = _validation.as_target_shape(target_shape)

    def call(self, x: Array, training: bool = False) -> Array:
        y = x.reshape(self.compute_output_shape(x.shape))  # type: ignore[arg-type]
        self._keep(training, y.shape, x.shape)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, input_shape = self._recall(grad_output)
        return grad_output.reshape(input_shape)

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        return Step(self.compute_output_shape((None, *x_shape))[1:])  # type: ignore[arg-type]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        n, *sizes = self._check_shape(input_shape)
        if None in sizes:
            return (n, *(None if size == -1 else size for size in self.target_shape))
        total = math.prod(sizes)  # type: ignore[arg-type]
        known = math.prod(size for size in self.target_shape if size != -1)
        if -1 in self.target_shape and known > 0 and total % known == 0:
            return (n, *(total // known if size == -1 else size for size in self.target_shape))
        if -1 in self.target_shape or known != total:
            raise _validation.reshape_size(self.name, tuple(sizes), self.target_shape)
        return (n, *self.target_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": self.target_shape}


class ZeroPadding2D(Layer):
    """Rows and columns of zeros around the images.

    Input shape:
        ``(n, h, w, c)``, or ``(n, c, h, w)`` with ``data_format="channels_first"``.

    Output shape:
        ``(n, top + h + bottom, left + w + right, c)``, or channels first.

    Args:
        padding: an int, a pair (vertical, horizontal), or ((top, bottom), (left, right)). Default 1 on each side.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        **kwargs: ``name``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a wrong padding; input that has not 4 axes.

    Example:
        >>> import numpy as np
        >>> ZeroPadding2D(2)(np.ones((1, 28, 28, 1), "float32")).shape
        (1, 32, 32, 1)
    """

    _ndim = 4

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(padding, str):
            raise _validation.invalid_argument(
                "ZeroPadding2D", "padding", padding, "expected an int, a pair, or ((top, bottom), (left, right))"
            )
        self.padding = _as_pads(padding)
        self.data_format = as_data_format("ZeroPadding2D", data_format)
        self._layout = image_layout(self.data_format)

    def call(self, x: Array, training: bool = False) -> Array:
        y = self._empty("output", self.compute_output_shape(x.shape))
        zero_pad(self._images(contiguous(x)), self._images(y), self.padding)
        self._keep(training, y.shape, x.shape)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, input_shape = self._recall(grad_output)
        return grad_output[self._interior(input_shape)]

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        return pad_step(x_shape, self.padding) if self.data_format == "channels_last" else None

    def _images(self, x: Array) -> Array:
        """A contiguous ``x`` as images (n, h, w, c), or (n·c, h, w) where each channel is an image of its own."""
        n, c, *size = x.shape
        return x if self.data_format == "channels_last" else x.reshape(n * c, *size)

    def _interior(self, input_shape: tuple[int, ...]) -> tuple[slice, ...]:
        """Where the input lies in the output."""
        _, (h, w), _ = split_image_shape(input_shape, self.data_format)
        (top, _), (left, _) = self.padding
        rows, columns = slice(top, top + h), slice(left, left + w)  # type: ignore[operator]
        first = self.data_format == "channels_first"
        return (slice(None), slice(None), rows, columns) if first else (slice(None), rows, columns, slice(None))

    def compute_output_shape(self, input_shape: Any) -> Shape:
        n, size, channels = split_image_shape(self._check_shape(input_shape), self.data_format)
        padded = tuple(
            None if length is None else length + sum(pads) for length, pads in zip(size, self.padding, strict=True)
        )
        return join_image_shape(n, padded, channels, self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}


def _as_pads(value: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) from the three forms; in a pair an int stands for both sides, as in Keras."""
    if isinstance(value, (tuple, list)) and len(value) == 2 and any(isinstance(side, (tuple, list)) for side in value):
        vertical, horizontal = (_validation.as_pair("ZeroPadding2D", "padding", side, 0) for side in value)
        return vertical, horizontal
    vertical_pad, horizontal_pad = _validation.as_pair("ZeroPadding2D", "padding", value, 0)
    return (vertical_pad, vertical_pad), (horizontal_pad, horizontal_pad)
