"""Convolution layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _shapes, _validation, ops
from ..ops.inference import Step, conv2d_step
from .base import Array, Shape, as_data_format, image_layout, join_image_shape, split_image_shape
from .kernel_layer import KernelLayer, as_positive


class BaseConv2D(KernelLayer):
    """What the convolution layers share: the arguments of a window, the call, and the way back.

    A class names its operation and the two gradients; they take the arguments ``_options`` beside the arrays.

    Args:
        kernel_size, strides, padding, data_format, dilation_rate: as :class:`Conv2D`.
        **kwargs: those of `KernelLayer`.
    """

    _min_ndim = _max_ndim = 4
    _operation: Callable[..., Array]
    _operation_grad_input: Callable[..., Array]
    _operation_grad_kernel: Callable[..., Array]

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int],
        padding: str,
        data_format: str | None,
        dilation_rate: int | tuple[int, int],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        where = type(self).__name__
        self.kernel_size = _validation.as_pair(where, "kernel_size", kernel_size)
        self.strides = _validation.as_pair(where, "strides", strides)
        self.padding = as_layer_padding(where, padding)
        self.data_format = as_data_format(where, data_format)
        self.dilation_rate = _validation.as_pair(where, "dilation_rate", dilation_rate)
        self._layout = image_layout(self.data_format)
        self._options: dict[str, Any] = {
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "data_format": self.data_format,
        }

    def _known_channels(self, input_shape: Shape) -> int:
        """The input's channels, from now on fixed; called by ``build``."""
        axis = 1 if self.data_format == "channels_first" else -1
        channels = input_shape[axis]
        if channels is None:
            raise _validation.unknown_axis(self.name, input_shape, axis)
        self.compute_output_shape(input_shape)  # refuses an image that is smaller than the kernel
        self._axis_sizes = {axis: channels}
        return channels

    def call(self, x: Array, training: bool = False) -> Array:
        z = self._operation(
            x,
            self.kernel,
            self.bias,
            activation=self._fused_activation,
            out=self._empty("output", self._output_shape_for(x)),
            **self._options,
        )
        return self._activate(z, training, x)

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, x, kept = self._recall(grad_output)
        grad_z, grad_bias = self._grad_z_and_bias(grad_output, kept, self.data_format)
        kernel = self.kernel
        if self.trainable:
            grad_kernel = self._operation_grad_kernel(
                x, grad_z, self.kernel_size, out=self._empty("grad_kernel", kernel.shape), **self._options
            )
            self._set_grads([grad_kernel, *grad_bias])
        else:
            self._set_grads([])
        if not self._needs_input_grad:
            return None
        return self._operation_grad_input(
            grad_z, kernel, x.shape, out=self._empty("grad_input", x.shape), **self._options
        )

    def _window_output_shape(self, input_shape: Any, channels: int | None) -> Shape:
        """The output's shape with that many channels, for a window that slides over the image."""
        shape = self._check_shape(input_shape)
        n, size, _ = split_image_shape(shape, self.data_format)
        output = window_output_size(size, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        if any(length == 0 for length in output):
            raise _validation.empty_output(
                self.name,
                shape,
                f"kernel_size={self.kernel_size}, dilation_rate={self.dilation_rate}, strides={self.strides}, "
                f"padding={self.padding!r}",
                "Use padding='same', a smaller kernel or larger images.",
            )
        return join_image_shape(n, output, channels, self.data_format)

    def _window_config(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activity_regularizer": None,
        }


class Conv2D(BaseConv2D):
    """2-D convolution: each output cell is a weighted sum of the window of the image above it.

    As in all of deep learning the kernel is not flipped (a cross-correlation):

    ``y[n, i, j, f] = activation(bias[f] + Σ_{a,b,c} x[n, i·sh + a·dh - top, j·sw + b·dw - left, c] · k[a, b, c, f])``

    Input shape:
        ``(n, h, w, channels)``; ``(n, channels, h, w)`` with ``data_format="channels_first"``.

    Output shape:
        ``(n, oh, ow, filters)``, or ``(n, filters, oh, ow)``. ``padding="valid"``:
        ``oh = (h - (kh - 1) * dh - 1) // sh + 1``; ``"same"``: ``oh = ceil(h / sh)``; ``ow`` likewise.

    Weights:
        ``kernel (kh, kw, channels // groups, filters)``, ``bias (filters,)``.

    Args:
        filters: number of output channels.
        kernel_size: int or pair (kh, kw).
        strides: int or pair (sh, sw): steps of the window. Default 1.
        padding: ``"valid"`` (default, no padding) or ``"same"`` (zeros; an odd total puts the extra one behind).
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        dilation_rate: int or pair (dh, dw): distance of the kernel's cells in the image. Default 1.
        groups: channels and filters are cut into so many independent convolutions. Default 1.
        activation: name or callable. Default none.
        use_bias: default True.
        kernel_initializer, bias_initializer: defaults ``"glorot_uniform"``, ``"zeros"``.
        kernel_regularizer, bias_regularizer: default none.
        activity_regularizer, kernel_constraint, bias_constraint: not supported, must be None.
        **kwargs: ``name``, ``trainable``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: arguments that contradict each other; input of wrong rank or channels, or smaller than the kernel.

    Example:
        >>> import numpy as np
        >>> layer = Conv2D(16, 5, activation="relu")
        >>> layer(np.ones((2, 14, 14, 6), "float32")).shape
        (2, 10, 10, 16)
        >>> layer.count_params()
        2416

    References:
        LeCun et al.: Gradient-based learning applied to document recognition, Proc. IEEE 86, 1998.
        Dumoulin, Visin: A guide to convolution arithmetic for deep learning, arXiv:1603.07285.
    """

    _operation = staticmethod(ops.conv2d)
    _operation_grad_input = staticmethod(ops.conv2d_grad_input)
    _operation_grad_kernel = staticmethod(ops.conv2d_grad_kernel)

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self.filters = as_positive("Conv2D", "filters", filters)
        self.groups = as_positive("Conv2D", "groups", groups)
        _validation.check_groups("Conv2D", self.filters, self.groups)
        _validation.check_strides_dilation("Conv2D", self.strides, self.dilation_rate)
        self._options["groups"] = self.groups

    def build(self, input_shape: Shape) -> None:
        channels = self._known_channels(input_shape)
        _validation.check_group_channels(self.name, channels, self.groups, input_shape)
        self._add_kernel_and_bias((*self.kernel_size, channels // self.groups, self.filters), self.filters)

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        if self.data_format != "channels_last":
            return None
        options = {name: value for name, value in self._options.items() if name != "data_format"}
        return conv2d_step(x_shape, self.kernel, self.bias, relu=bool(self._fused_activation), **options)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return self._window_output_shape(input_shape, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "groups": self.groups,
            **self._window_config(),
            **self._kernel_config(),
        }


def as_layer_padding(where: str, value: Any) -> str:
    """``"valid"`` or ``"same"``: the paddings that a layer takes, and that its config can tell Keras of."""
    value = value.lower() if isinstance(value, str) else value
    return _validation.as_choice(where, "padding", value, ("valid", "same"))


def window_output_size(
    size: Shape, window: tuple[int, int], strides: tuple[int, int], padding: str, dilation: tuple[int, int] = (1, 1)
) -> Shape:
    """Height and width of the output of a sliding window; None where the input's is not known."""
    output: list[int | None] = []
    for axis in (0, 1):
        length = size[axis]
        if length is None:
            output.append(None)
            continue
        before, after = (
            _shapes.same_padding(length, window[axis], strides[axis], dilation[axis]) if padding == "same" else (0, 0)
        )
        output.append(_shapes.output_size(length, window[axis], strides[axis], dilation[axis], before, after))
    return tuple(output)


def channels_last(array: Array, data_format: str) -> Array:
    """An image batch of a data format seen as (n, h, w, c)."""
    return np.moveaxis(array, 1, -1) if data_format == "channels_first" else array


Convolution2D = Conv2D
