"""The input of a model, and the fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _validation, ops
from ..ops.inference import Step, dense_step
from .base import Array, Layer, Shape
from .kernel_layer import KernelLayer, as_positive


class InputLayer(Layer):
    """The place where data enters a model: it fixes the shape of a sample and the type, and computes nothing.

    Numbers of other types are converted to ``dtype``. As in Keras a last axis of length 1 that the data lack is added,
    and one too many is dropped: images ``(n, 28, 28)`` serve where ``(n, 28, 28, 1)`` is declared.

    Input shape, output shape:
        ``(n, *shape)``.

    Args:
        shape: shape of one sample, without the batch axis; None for a length that may vary.
        batch_size: length of the batch axis, for information. Default None.
        dtype: type of the data. Default ``"float32"``.
        batch_shape: ``(batch_size, *shape)``, in the place of the two.
        name: default ``input_layer``, numbered.
        sparse, ragged, optional: not supported, must be False or None.

    Raises:
        ValueError: no shape, or two; data of another shape.

    Example:
        >>> InputLayer((28, 28, 1)).batch_shape
        (None, 28, 28, 1)
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Sequence[int | None] | None = None,
        optional: bool = False,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        _validation.refuse_unsupported(
            "Input",
            {"sparse": sparse or None, "ragged": ragged or None, "optional": optional or None},
            "Arrays are dense.",
        )
        shape = input_shape if shape is None else shape
        if batch_shape is None:
            if shape is None:
                raise _validation.invalid_argument(
                    "Input", "shape", None, "You must pass a `shape` argument, such as (28, 28, 1)"
                )
            if batch_size is not None:
                batch_size = _validation.as_index("Input", "batch_size", batch_size)
            batch_shape = (batch_size, *_validation.as_shape("Input", "shape", shape))
        elif shape is not None or batch_size is not None:
            raise _validation.invalid_argument(
                "Input", "batch_shape", batch_shape, "You cannot pass both `batch_shape` and `shape` or `batch_size`"
            )
        self.batch_shape = _validation.as_shape("Input", "batch_shape", batch_shape)
        self.dtype = _validation.as_numeric_dtype("Input", dtype)
        self._input_shape_arg = self.batch_shape[1:]
        self._ndim = len(self.batch_shape)
        self._axis_sizes = {axis: size for axis, size in enumerate(self.batch_shape) if axis > 0 and size is not None}
        self.build(self.batch_shape)

    def _as_input(self, x: Any) -> Array:
        if isinstance(x, Layer):
            raise _validation.not_an_array(self.name, x)
        x = _validation.as_numeric(f"Layer '{self.name}'", "x", x)
        ndim = len(self.batch_shape)
        if x.ndim == ndim - 1 and self.batch_shape[-1] == 1:
            x = x[..., None]
        elif x.ndim == ndim + 1 and x.shape[-1] == 1:
            x = x[..., 0]
        return x if x.dtype == self.dtype else x.astype(self.dtype)

    def call(self, x: Array, training: bool = False) -> Array:
        self._keep(training, x.shape)
        return x

    def backward(self, grad_output: Any) -> Array | None:
        if self._kept is None:
            raise _validation.no_forward(self.name)
        dtype = np.dtype(self.dtype if self.dtype in ("float32", "float64") else "float32")
        return _validation.as_grad_output(self.name, grad_output, self._kept[0], dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_shape": self.batch_shape,
            "dtype": self.dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": False,
        }


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
    optional: bool = False,
) -> InputLayer:
    """The first entry of a Sequential model, which so knows its input shape. Arguments: see :class:`InputLayer`.

    Example:
        >>> Input((28, 28, 1), name="digits")
        <InputLayer name=digits, built=True>
    """
    return InputLayer(shape, batch_size, dtype, sparse, ragged, batch_shape, optional, name)


class Dense(KernelLayer):
    """Fully connected layer: ``y = activation(x · kernel + bias)``, over the last axis.

    Input shape:
        ``(n, …, features)``, at least 2 axes.

    Output shape:
        ``(n, …, units)``.

    Weights:
        ``kernel (features, units)``, ``bias (units,)``.

    Args:
        units: number of outputs.
        activation: name or callable. Default none.
        use_bias: default True.
        kernel_initializer, bias_initializer: defaults ``"glorot_uniform"``, ``"zeros"``.
        kernel_regularizer, bias_regularizer: default none.
        activity_regularizer, kernel_constraint, bias_constraint, lora_rank, lora_alpha, quantization_config: not
            supported, must be None.
        **kwargs: ``name``, ``trainable``, ``dtype``, ``input_shape``.

    Raises:
        ValueError: a wrong argument; input with one axis only, or with another number of features than before.

    Example:
        >>> import numpy as np
        >>> layer = Dense(10, activation="softmax")
        >>> layer(np.ones((2, 84), "float32")).shape
        (2, 10)
        >>> layer.count_params()
        850
    """

    _min_ndim = 2
    _layout = "(n, …, features)"

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
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
        _validation.refuse_unsupported(
            "Dense",
            {"lora_rank": lora_rank, "lora_alpha": lora_alpha, "quantization_config": quantization_config},
            "Weights are plain float32 or float64 arrays.",
        )
        self.units = as_positive("Dense", "units", units)

    def build(self, input_shape: Shape) -> None:
        features = input_shape[-1]
        if features is None:
            raise _validation.unknown_axis(self.name, input_shape, -1)
        self._add_kernel_and_bias((features, self.units), self.units)
        self._axis_sizes = {-1: features}

    def call(self, x: Array, training: bool = False) -> Array:
        z = ops.dense(
            x,
            self.kernel,
            self.bias,
            activation=self._fused_activation,
            out=self._empty("output", (*x.shape[:-1], self.units)),
        )
        return self._activate(z, training, x)

    def backward(self, grad_output: Any) -> Array | None:
        grad_output, x, kept = self._recall(grad_output)
        grad_z, grad_bias = self._grad_z_and_bias(grad_output, kept)
        kernel = self.kernel
        if self.trainable:
            grad_kernel = ops.dense_grad_kernel(x, grad_z, out=self._empty("grad_kernel", kernel.shape))
            self._set_grads([grad_kernel, *grad_bias])
        else:
            self._set_grads([])
        if not self._needs_input_grad:
            return None
        return ops.dense_grad_input(grad_z, kernel, out=self._empty("grad_input", x.shape))

    def inference_step(self, x_shape: tuple[int, ...]) -> Step | None:
        if len(x_shape) != 1:
            return None
        return dense_step(x_shape[0], self.kernel, self.bias, relu=bool(self._fused_activation))

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (*self._check_shape(input_shape)[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        # Keras writes quantization_config since 3.13; saved models leave it out, so that older ones load them.
        return {
            **super().get_config(),
            "units": self.units,
            **self._kernel_config(),
            "quantization_config": None,
        }
