"""Transposed convolution layers."""

from __future__ import annotations

from typing import Any

from .. import _shapes, _validation, ops
from .base import Shape, join_image_shape, split_image_shape
from .convolution import BaseConv2D
from .kernel_layer import as_positive


class Conv2DTranspose(BaseConv2D):
    """2-D transposed convolution: each input cell paints the kernel onto a larger image; where paint overlaps it adds.

    The shape and the connections of a convolution's gradient, as a layer: for decoders and generators.

    ``y[n, i, j, f] = activation(bias[f] + Σ x[n, p, q, c] · k[a, b, f, c])`` over all p, q, a, b, c with
    ``p·sh + a·dh - top = i`` and ``q·sw + b·dw - left = j``.

    Input shape:
        ``(n, h, w, channels)``; ``(n, channels, h, w)`` with ``data_format="channels_first"``.

    Output shape:
        ``(n, oh, ow, filters)``, or ``(n, filters, oh, ow)``, with ``eff = (kh - 1) * dh + 1``. ``padding="valid"``:
        ``oh = (h - 1) * sh + max(eff, sh)``; ``"same"``: ``oh = h * sh``. With ``output_padding`` ``"valid"``:
        ``oh = (h - 1) * sh + eff + output_padding``; ``"same"``: ``oh = (h - 1) * sh + eff % 2 + output_padding``.
        ``ow`` likewise.

    Weights:
        ``kernel (kh, kw, filters, channels)``, ``bias (filters,)``.

    Args:
        filters: number of output channels.
        kernel_size: int or pair (kh, kw).
        strides: int or pair (sh, sw): distance at which neighbouring cells paint. Default 1.
        padding: ``"valid"`` (default) or ``"same"``.
        output_padding: int or pair, less than strides: rows and columns more at the end. Default: by ``padding``.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        dilation_rate: int or pair (dh, dw): distance of the kernel's cells. Default 1.
        activation: name or callable. Default none.
        use_bias: default True.
        kernel_initializer, bias_initializer: defaults ``"glorot_uniform"``, ``"zeros"``.
        kernel_regularizer, bias_regularizer: default none.
        activity_regularizer, kernel_constraint, bias_constraint: not supported, must be None.
        **kwargs: ``name``, ``trainable``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: arguments that contradict each other; input of wrong rank or channels.

    Example:
        >>> import numpy as np
        >>> layer = Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")
        >>> layer(np.ones((2, 7, 7, 16), "float32")).shape
        (2, 14, 14, 8)
        >>> layer.count_params()
        1160

    References:
        Dumoulin, Visin: A guide to convolution arithmetic for deep learning, arXiv:1603.07285, section 4.
    """

    _operation = staticmethod(ops.conv2d_transpose)
    _operation_grad_input = staticmethod(ops.conv2d_transpose_grad_input)
    _operation_grad_kernel = staticmethod(ops.conv2d_transpose_grad_kernel)

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        output_padding: int | tuple[int, int] | None = None,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
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
        where = "Conv2DTranspose"
        self.filters = as_positive(where, "filters", filters)
        self.output_padding = None
        if output_padding is not None:
            self.output_padding = _validation.as_pair(where, "output_padding", output_padding, 0)
            _validation.check_output_padding(where, self.output_padding, self.strides)
        _validation.check_strides_dilation(where, self.strides, self.dilation_rate)
        self._options["output_padding"] = self.output_padding

    def build(self, input_shape: Shape) -> None:
        channels = self._known_channels(input_shape)
        self._add_kernel_and_bias((*self.kernel_size, self.filters, channels), self.filters)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = self._check_shape(input_shape)
        n, size, _ = split_image_shape(shape, self.data_format)
        output: list[int | None] = []
        for axis, length in enumerate(size):
            if length is None:
                output.append(None)
                continue
            extra = None if self.output_padding is None else self.output_padding[axis]
            enlarged, _ = _shapes.transposed_size(
                length, self.kernel_size[axis], self.strides[axis], self.dilation_rate[axis], self.padding, extra
            )
            output.append(enlarged)
        if any(length is not None and length < 1 for length in (*size, *output)):
            raise _validation.empty_output(
                self.name,
                shape,
                f"kernel_size={self.kernel_size}, dilation_rate={self.dilation_rate}, strides={self.strides}, "
                f"padding={self.padding!r}, output_padding={self.output_padding}",
                "Use more output_padding or larger images.",
            )
        return join_image_shape(n, output, self.filters, self.data_format)

    def _positions(self, input_shape: tuple[int, ...]) -> int:
        return self._pixels(input_shape)  # each pixel of the input is spread by the whole kernel

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "output_padding": self.output_padding,
            **self._window_config(),
            **self._kernel_config(),
        }


Convolution2DTranspose = Conv2DTranspose
