"""Convolution layers that filter each channel by itself."""

from __future__ import annotations

from typing import Any

from .. import _validation, activations, initializers, ops, regularizers
from .base import Array, Shape, split_image_shape
from .convolution import BaseConv2D
from .kernel_layer import as_positive, optional


class DepthwiseConv2D(BaseConv2D):
    """2-D convolution of each channel by itself, with ``depth_multiplier`` filters for each.

    ``y[n, i, j, c·M + m] = activation(bias[c·M + m] + Σ_{a,b} x[n, i·sh + a·dh - top, j·sw + b·dw - left, c] ·
    k[a, b, c, m])`` with ``M = depth_multiplier``.

    Input shape:
        ``(n, h, w, channels)``; ``(n, channels, h, w)`` with ``data_format="channels_first"``.

    Output shape:
        ``(n, oh, ow, channels * depth_multiplier)``, or ``(n, channels * depth_multiplier, oh, ow)``.
        ``padding="valid"``: ``oh = (h - (kh - 1) * dh - 1) // sh + 1``; ``"same"``: ``oh = ceil(h / sh)``; ``ow``
        likewise.

    Weights:
        ``kernel (kh, kw, channels, depth_multiplier)``, ``bias (channels * depth_multiplier,)``.

    Args:
        kernel_size: int or pair (kh, kw).
        strides: int or pair (sh, sw): steps of the window. Default 1.
        padding: ``"valid"`` (default, no padding) or ``"same"`` (zeros; an odd total puts the extra one behind).
        depth_multiplier: filters for each channel. Default 1.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        dilation_rate: int or pair (dh, dw): distance of the kernel's cells in the image. Default 1.
        activation: name or callable. Default none.
        use_bias: default True.
        depthwise_initializer, bias_initializer: defaults ``"glorot_uniform"``, ``"zeros"``.
        depthwise_regularizer, bias_regularizer: default none.
        activity_regularizer, depthwise_constraint, bias_constraint: not supported, must be None.
        **kwargs: ``name``, ``trainable``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a wrong argument; input of wrong rank or channels, or smaller than the kernel.

    Example:
        >>> import numpy as np
        >>> layer = DepthwiseConv2D(3, depth_multiplier=2, padding="same")
        >>> layer(np.ones((2, 14, 14, 6), "float32")).shape
        (2, 14, 14, 12)
        >>> layer.count_params()
        120

    References:
        Howard et al.: MobileNets, arXiv:1704.04861, section 3.1.
    """

    _operation = staticmethod(ops.depthwise_conv2d)
    _operation_grad_input = staticmethod(ops.depthwise_conv2d_grad_input)
    _operation_grad_kernel = staticmethod(ops.depthwise_conv2d_grad_kernel)

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        _validation.refuse_unsupported(
            "DepthwiseConv2D", {"depthwise_constraint": depthwise_constraint}, "Use a regularizer."
        )
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self.depth_multiplier = as_positive("DepthwiseConv2D", "depth_multiplier", depth_multiplier)

    def build(self, input_shape: Shape) -> None:
        channels = self._known_channels(input_shape)
        outputs = channels * self.depth_multiplier
        self._add_kernel_and_bias((*self.kernel_size, channels, self.depth_multiplier), outputs)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        _, _, channels = split_image_shape(self._check_shape(input_shape), self.data_format)
        return self._window_output_shape(input_shape, None if channels is None else channels * self.depth_multiplier)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), **self._kernel_config()}
        for part in ("initializer", "regularizer", "constraint"):
            config[f"depthwise_{part}"] = config.pop(f"kernel_{part}")
        return {**config, "depth_multiplier": self.depth_multiplier, **self._window_config()}


class SeparableConv2D(BaseConv2D):
    """A depthwise convolution, then a 1 × 1 convolution that mixes the channels: about 1/(kh·kw) of Conv2D's work.

    ``z = depthwise_conv2d(x, depthwise_kernel)``, with strides, padding and dilation;
    ``y[n, i, j, f] = activation(bias[f] + Σ_c z[n, i, j, c] · pointwise_kernel[0, 0, c, f])``.

    Input shape:
        ``(n, h, w, channels)``; ``(n, channels, h, w)`` with ``data_format="channels_first"``.

    Output shape:
        ``(n, oh, ow, filters)``, or ``(n, filters, oh, ow)``. ``padding="valid"``:
        ``oh = (h - (kh - 1) * dh - 1) // sh + 1``; ``"same"``: ``oh = ceil(h / sh)``; ``ow`` likewise.

    Weights:
        ``depthwise_kernel (kh, kw, channels, depth_multiplier)``,
        ``pointwise_kernel (1, 1, channels * depth_multiplier, filters)``, ``bias (filters,)``.

    Args:
        filters: number of output channels.
        kernel_size: int or pair (kh, kw).
        strides: int or pair (sh, sw): steps of the window. Default 1.
        padding: ``"valid"`` (default, no padding) or ``"same"`` (zeros; an odd total puts the extra one behind).
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        dilation_rate: int or pair (dh, dw): distance of the kernel's cells in the image. Default 1.
        depth_multiplier: depthwise filters for each channel. Default 1.
        activation: name or callable, behind the second convolution. Default none.
        use_bias: default True.
        depthwise_initializer, pointwise_initializer: default ``"glorot_uniform"``.
        bias_initializer: default ``"zeros"``.
        depthwise_regularizer, pointwise_regularizer, bias_regularizer: default none.
        activity_regularizer, depthwise_constraint, pointwise_constraint, bias_constraint: not supported, must be None.
        **kwargs: ``name``, ``trainable``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a wrong argument; input of wrong rank or channels, or smaller than the kernel.

    Example:
        >>> import numpy as np
        >>> layer = SeparableConv2D(16, 3, padding="same", activation="relu")
        >>> layer(np.ones((2, 14, 14, 6), "float32")).shape
        (2, 14, 14, 16)
        >>> layer.count_params()
        166

    References:
        Chollet: Xception: deep learning with depthwise separable convolutions, arXiv:1610.02357.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        where = "SeparableConv2D"
        _validation.refuse_unsupported(
            where,
            {"depthwise_constraint": depthwise_constraint, "pointwise_constraint": pointwise_constraint},
            "Use a regularizer.",
        )
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self.filters = as_positive(where, "filters", filters)
        self.depth_multiplier = as_positive(where, "depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)

    def build(self, input_shape: Shape) -> None:
        channels = self._known_channels(input_shape)
        self.add_weight(
            "depthwise_kernel",
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            self.depthwise_regularizer,
        )
        self.add_weight(
            "pointwise_kernel",
            (1, 1, channels * self.depth_multiplier, self.filters),
            self.pointwise_initializer,
            self.pointwise_regularizer,
        )
        self._add_bias(self.filters)

    @property
    def depthwise_kernel(self) -> Array:
        """The live kernel of the depthwise convolution."""
        return self._weight("depthwise_kernel")

    @property
    def pointwise_kernel(self) -> Array:
        """The live kernel of the 1 × 1 convolution."""
        return self._weight("pointwise_kernel")

    def call(self, x: Array, training: bool = False) -> Array:
        outputs = self.depthwise_kernel.shape[2] * self.depth_multiplier
        between = ops.depthwise_conv2d(
            x,
            self.depthwise_kernel,
            out=self._empty("between", self._window_output_shape(x.shape, outputs)),
            **self._options,
        )
        z = ops.conv2d(
            between,
            self.pointwise_kernel,
            self.bias,
            activation=self._fused_activation,
            data_format=self.data_format,
            out=self._empty("output", self._output_shape_for(x)),
        )
        return self._activate(z, training, x, between)

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, x, between, kept = self._recall(grad_output)
        grad_z, grad_bias = self._grad_z_and_bias(grad_output, kept, self.data_format)
        pointwise, depthwise = self.pointwise_kernel, self.depthwise_kernel
        grad_between = ops.conv2d_grad_input(
            grad_z,
            pointwise,
            between.shape,
            data_format=self.data_format,
            out=self._empty("grad_between", between.shape),
        )
        if self.trainable:
            grad_pointwise = ops.conv2d_grad_kernel(
                between,
                grad_z,
                1,
                data_format=self.data_format,
                out=self._empty("grad_pointwise", pointwise.shape),
            )
            grad_depthwise = ops.depthwise_conv2d_grad_kernel(
                x, grad_between, self.kernel_size, out=self._empty("grad_depthwise", depthwise.shape), **self._options
            )
            self._set_grads([grad_depthwise, grad_pointwise, *grad_bias])
        else:
            self._set_grads([])
        if not self._needs_input_grad:
            return None
        return ops.depthwise_conv2d_grad_input(
            grad_between, depthwise, x.shape, out=self._empty("grad_input", x.shape), **self._options
        )

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return self._window_output_shape(input_shape, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "depth_multiplier": self.depth_multiplier,
            **self._window_config(),
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "depthwise_initializer": initializers.serialize(self.depthwise_initializer),
            "pointwise_initializer": initializers.serialize(self.pointwise_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "depthwise_regularizer": optional(regularizers.serialize, self.depthwise_regularizer),
            "pointwise_regularizer": optional(regularizers.serialize, self.pointwise_regularizer),
            "bias_regularizer": optional(regularizers.serialize, self.bias_regularizer),
            "depthwise_constraint": None,
            "pointwise_constraint": None,
            "bias_constraint": None,
        }


SeparableConvolution2D = SeparableConv2D
