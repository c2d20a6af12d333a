"""Pooling layers: one number for each window of each channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeGuard

from .. import _validation, ops
from ..ops.conv_pooled import fuses_back, saves_gradient_between
from ..ops.inference import Step, pool2d_step
from ..ops.pooling import pool_indices_dtype
from .base import Array, Layer, Shape, as_data_format, image_layout, join_image_shape, split_image_shape
from .convolution import Conv2D, as_layer_padding, window_output_size


class _Pooling2D(Layer):
    """Base of the pooling layers with a window."""

    _ndim = 4
    _takes_maximum: bool

    def __init__(
        self,
        pool_size: int | tuple[int, int] = (2, 2),
        strides: int | tuple[int, int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        where = type(self).__name__
        self.pool_size = _validation.as_pair(where, "pool_size", pool_size)
        self.strides = self.pool_size if strides is None else _validation.as_pair(where, "strides", strides)
        self.padding = as_layer_padding(where, padding)
        self.data_format = as_data_format(where, data_format)
        self._layout = image_layout(self.data_format)
        self._options: dict[str, Any] = {
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        if self.data_format != "channels_last":
            return None
        return pool2d_step(x_shape, self.pool_size, self.strides, self.padding, is_max=self._takes_maximum)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = self._check_shape(input_shape)
        n, size, channels = split_image_shape(shape, self.data_format)
        output = window_output_size(size, self.pool_size, self.strides, self.padding)
        if any(length == 0 for length in output):
            raise _validation.empty_output(
                self.name,
                shape,
                f"pool_size={self.pool_size}, strides={self.strides}, padding={self.padding!r}",
                "Use padding='same', a smaller window or larger images.",
            )
        return join_image_shape(n, output, channels, self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "padding": self.padding,
            "strides": self.strides,
            "data_format": self.data_format,
        }


class MaxPooling2D(_Pooling2D):
    """The largest value of each window: ``y[n, i, j, c] = max_{a,b} x[n, i·sh + a, j·sw + b, c]``.

    Padded cells are never picked, so a window of negative values gives a negative one. The gradient goes to the cell
    that was picked; among equals the first in row-major order.

    Input shape:
        ``(n, h, w, c)``, or ``(n, c, h, w)`` with ``data_format="channels_first"``.

    Output shape:
        ``(n, oh, ow, c)``, or ``(n, c, oh, ow)``. ``padding="valid"``: ``oh = (h - ph) // sh + 1`` (rows that do not
        fill a window are dropped); ``"same"``: ``oh = ceil(h / sh)``; ``ow`` likewise.

    Args:
        pool_size: int or pair (ph, pw): the window. Default 2.
        strides: int or pair (sh, sw). Default: ``pool_size``.
        padding: ``"valid"`` (default) or ``"same"``.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        **kwargs: ``name``, ``trainable``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a wrong argument; input that has not 4 axes or is smaller than the window.

    Example:
        >>> import numpy as np
        >>> x = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
        >>> MaxPooling2D()(x)[0, :, :, 0]
        array([[ 5.,  7.],
               [13., 15.]], dtype=float32)
    """

    _takes_maximum = True

    def call(self, x: Array, training: bool = False) -> Array:
        out = self._empty("output", self._output_shape_for(x))
        if not training:
            ops.max_pool2d(x, self.pool_size, out=out, **self._options)
            self._keep(training, out.shape)
            return out
        places = self._empty("indices", out.shape, pool_indices_dtype(x.shape, x.dtype, self.data_format))
        y, indices = ops.max_pool2d(
            x, self.pool_size, return_indices=True, out=out, indices_out=places, **self._options
        )
        self._keep(training, y.shape, indices, x.shape, y if self._relu_before else None)
        return y

    def fits_behind(self, layer: Layer) -> TypeGuard[Conv2D]:
        """Whether ``call_behind`` serves for the two layers."""
        if type(self) is not MaxPooling2D or type(layer) is not Conv2D or layer.dtype != self.dtype:
            return False
        return layer._fused_activation == "relu" and layer.data_format == self.data_format == "channels_last"

    def call_behind(self, layer: Conv2D, x: Array, training: bool = True) -> Array:
        """``self(layer(x))``, for training, without ever writing the output of ``layer``, a convolution, to memory."""
        x = layer._as_input(x)
        between = layer._output_shape_for(x)
        shape = self.compute_output_shape(between)
        y, indices = ops.conv2d_max_pool2d(
            x,
            layer.kernel,
            layer.bias,
            activation=layer._fused_activation,
            **self._options_behind(layer),
            out=self._empty("output", shape),
            indices_out=self._empty("indices", shape, pool_indices_dtype(between, x.dtype)),
        )
        layer._keep(training, between, x, None)
        self._keep(training, shape, indices, between, y)
        return y

    def _options_behind(self, layer: Conv2D) -> dict[str, Any]:
        """Both layers' geometry, as the operations that fuse them take it."""
        return {
            "strides": layer.strides,
            "padding": layer.padding,
            "dilation_rate": layer.dilation_rate,
            "groups": layer.groups,
            "pool_size": self.pool_size,
            "pool_strides": self.strides,
            "pool_padding": self.padding,
        }

    def goes_back_behind(self, layer: Layer) -> TypeGuard[Conv2D]:
        """Whether ``backward_behind`` serves for the two layers."""
        return self.fits_behind(layer) and fuses_back(self.pool_size, self.strides)

    def backward_behind(self, layer: Conv2D, grad_output: Any) -> Array | None:
        """``layer.backward(self.backward(grad_output))`` after ``call_behind``; without ever writing the gradient
        between the two to memory, unless that of the input of ``layer`` is quicker made from it.
        """
        grad_output, indices, between, relu_output = self._recall(grad_output)
        _, (x, _) = layer._kept_in_call()
        grad_output, grad_bias = self._relu_bias_grad(grad_output, relu_output)
        options, kernel = self._options_behind(layer), layer.kernel
        if layer._needs_input_grad and not saves_gradient_between(x.shape, kernel.shape, x.dtype, **options):
            layer._bias_grad = grad_bias
            return layer.backward(self._spread(grad_output, indices, between))
        if layer.trainable:
            grad_kernel = ops.conv2d_max_pool2d_grad_kernel(
                x,
                grad_output,
                indices,
                layer.kernel_size,
                **options,
                out=layer._empty("grad_kernel", kernel.shape),
            )
            layer._set_grads([grad_kernel, grad_bias] if layer.use_bias else [grad_kernel])
        else:
            layer._set_grads([])
        if not layer._needs_input_grad:
            return None
        return ops.conv2d_max_pool2d_grad_input(
            grad_output, indices, kernel, x.shape, **options, out=layer._empty("grad_input", x.shape)
        )

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, indices, input_shape, relu_output = self._recall(grad_output)
        if not self._needs_input_grad:
            return None
        if relu_output is not None:
            grad_output = self._relu_grad(grad_output, relu_output)
        return self._spread(grad_output, indices, input_shape)

    def _spread(self, grad_output: Array, indices: Array, input_shape: Any) -> Array:
        return ops.max_pool2d_grad_unchecked(
            grad_output,
            indices,
            input_shape,
            pool_size=self.pool_size,
            out=self._empty("grad_input", input_shape),
            **self._options,
        )

    def _relu_grad(self, grad_output: Array, relu_output: Array) -> Array:
        """The gradient of the relu before the pooling, and with it that of the bias: both from the fewer cells here."""
        if self.data_format == "channels_first":
            return ops.relu_grad(grad_output, relu_output, out=self._grad_buffer("grad_activation", grad_output))
        assert self._relu_before is not None
        out, self._relu_before._bias_grad = self._relu_bias_grad(grad_output, relu_output)
        return out

    def _relu_bias_grad(self, grad_output: Array, relu_output: Array) -> tuple[Array, Array]:
        """The gradients of the relu and of the bias before it."""
        out = self._grad_buffer("grad_activation", grad_output)
        bias_out = self._empty("grad_bias", out.shape[-1:])
        return ops.relu_bias_grad(grad_output, relu_output, out=out, bias_out=bias_out)


class AveragePooling2D(_Pooling2D):
    """The mean of each window. Padded cells do not count: a window at the border is the mean of its real cells.

    Input shape:
        ``(n, h, w, c)``, or ``(n, c, h, w)`` with ``data_format="channels_first"``.

    Output shape:
        ``(n, oh, ow, c)``, or ``(n, c, oh, ow)``. ``padding="valid"``: ``oh = (h - ph) // sh + 1``; ``"same"``:
        ``oh = ceil(h / sh)``; ``ow`` likewise.

    Args:
        pool_size: int or pair (ph, pw): the window. Default 2.
        strides: int or pair (sh, sw). Default: ``pool_size``.
        padding: ``"valid"`` (default) or ``"same"``.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        **kwargs: ``name``, ``trainable``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a wrong argument; input that has not 4 axes or is smaller than the window.

    Example:
        >>> import numpy as np
        >>> x = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
        >>> AveragePooling2D()(x)[0, :, :, 0]
        array([[ 2.5,  4.5],
               [10.5, 12.5]], dtype=float32)
    """

    _takes_maximum = False

    def call(self, x: Array, training: bool = False) -> Array:
        out = self._empty("output", self._output_shape_for(x))
        y = ops.avg_pool2d(x, self.pool_size, out=out, **self._options)
        self._keep(training, y.shape, x.shape)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, input_shape = self._recall(grad_output)
        if not self._needs_input_grad:
            return None
        return ops.avg_pool2d_grad(
            grad_output,
            input_shape,
            pool_size=self.pool_size,
            out=self._empty("grad_input", input_shape),
            **self._options,
        )


class _GlobalPooling2D(Layer):
    """Base of the layers that make one number of each channel's whole image."""

    _ndim = 4
    _takes_maximum: bool

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = as_data_format(type(self).__name__, data_format)
        self.keepdims = bool(keepdims)
        self._layout = image_layout(self.data_format)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = self._check_shape(input_shape)
        n, size, channels = split_image_shape(shape, self.data_format)
        if any(length == 0 for length in size):
            raise _validation.empty_output(self.name, shape, f"pool_size={size}", "The images must not be empty.")
        return join_image_shape(n, (1, 1), channels, self.data_format) if self.keepdims else (n, channels)

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        if self.data_format != "channels_last":
            return None
        step = pool2d_step(x_shape, x_shape[:2], x_shape[:2], "valid", is_max=self._takes_maximum)
        return step if self.keepdims else replace(step, y_shape=step.y_shape[2:])

    def _window(self, input_shape: tuple[int, ...]) -> Any:
        """The whole image as a window: (h, w)."""
        _, size, _ = split_image_shape(input_shape, self.data_format)
        return size

    def _window_shape(self, input_shape: tuple[int, ...]) -> Any:
        """Output shape with the image axes, of length 1, kept."""
        n, _, channels = split_image_shape(input_shape, self.data_format)
        return join_image_shape(n, (1, 1), channels, self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The largest value of each channel's image. The gradient goes to its first occurrence in row-major order.

    Input shape:
        ``(n, h, w, c)``, or ``(n, c, h, w)`` with ``data_format="channels_first"``.

    Output shape:
        ``(n, c)``; with ``keepdims`` ``(n, 1, 1, c)`` or ``(n, c, 1, 1)``.

    Args:
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        keepdims: keep the image axes, with length 1. Default False.
        **kwargs: ``name``, ``trainable``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a wrong argument; input that has not 4 axes, or empty images.

    Example:
        >>> import numpy as np
        >>> GlobalMaxPooling2D()(np.arange(8, dtype="float32").reshape(1, 2, 2, 2))
        array([[6., 7.]], dtype=float32)
    """

    _takes_maximum = True

    def call(self, x: Array, training: bool = False) -> Array:
        output_shape: Any = self.compute_output_shape(x.shape)
        out = self._empty("output", self._window_shape(x.shape))
        window = self._window(x.shape)
        if not training:
            ops.max_pool2d(x, window, data_format=self.data_format, out=out)
            self._keep(training, output_shape)
            return out.reshape(output_shape)
        y, indices = ops.max_pool2d(x, window, data_format=self.data_format, return_indices=True, out=out)
        self._keep(training, output_shape, indices, x.shape)
        return y.reshape(output_shape)

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, indices, input_shape = self._recall(grad_output)
        if not self._needs_input_grad:
            return None
        return ops.max_pool2d_grad(
            grad_output.reshape(indices.shape),
            indices,
            input_shape,
            pool_size=self._window(input_shape),
            data_format=self.data_format,
            out=self._empty("grad_input", input_shape),
        )


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean of each channel's image.

    Input shape:
        ``(n, h, w, c)``, or ``(n, c, h, w)`` with ``data_format="channels_first"``.

    Output shape:
        ``(n, c)``; with ``keepdims`` ``(n, 1, 1, c)`` or ``(n, c, 1, 1)``.

    Args:
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        keepdims: keep the image axes, with length 1. Default False.
        **kwargs: ``name``, ``trainable``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a wrong argument; input that has not 4 axes, or empty images.

    Example:
        >>> import numpy as np
        >>> GlobalAveragePooling2D()(np.arange(8, dtype="float32").reshape(1, 2, 2, 2))
        array([[3., 4.]], dtype=float32)

    References:
        Lin et al.: Network in network, arXiv:1312.4400, section 3.2.
    """

    _takes_maximum = False

    def call(self, x: Array, training: bool = False) -> Array:
        output_shape: Any = self.compute_output_shape(x.shape)
        out = self._empty("output", self._window_shape(x.shape))
        y = ops.avg_pool2d(x, self._window(x.shape), data_format=self.data_format, out=out).reshape(output_shape)
        self._keep(training, y.shape, x.shape)
        return y

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, input_shape = self._recall(grad_output)
        if not self._needs_input_grad:
            return None
        return ops.avg_pool2d_grad(
            grad_output.reshape(self._window_shape(input_shape)),
            input_shape,
            pool_size=self._window(input_shape),
            data_format=self.data_format,
            out=self._empty("grad_input", input_shape),
        )


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
