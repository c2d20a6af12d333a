"""`Sequential.export`: a model as an ONNX graph for prediction, which ONNX Runtime and its kin load.

ONNX's images are (n, channels, h, w). A graph transposes once where the first convolution or pooling wants that, and
back where an operation needs the model's own order (a Flatten, say); what works element by element takes either.

Source: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _shapes, _validation, activations, layers
from .saving import check_path, write_atomically

if TYPE_CHECKING:
    from .sequential import Sequential

Array = np.ndarray

# The newest that every operation here needs; ONNX Runtime has it since 1.11 (2022).
OPSET, IR_VERSION = 16, 8
INPUT, OUTPUT = "input", "output"


class Graph:
    """The nodes so far, and the value that the next layer takes.

    Attributes:
        value: its name.
        shape: its shape as the model has it, batch axis first; sizes that are not known are None.
        swapped: whether the graph holds it as (n, channels, h, w) where the model has (n, h, w, channels).
        behind: type of the layer after the one that is being written.
    """

    def __init__(self, shape: Sequence[int | None], dtype: np.dtype) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.value, self.shape, self.swapped, self.dtype = INPUT, tuple(shape), False, dtype
        self.behind: type = type(None)

    def add(self, operator: str, *inputs: str | Array, **attributes: Any) -> None:
        """One operation on the value and further inputs: names, or arrays that become constants."""
        self.value = self.node(operator, self.value, *inputs, **attributes)

    def node(self, operator: str, *inputs: str | Array, **attributes: Any) -> str:
        """An operation beside the line of values; gives its result's name."""
        from onnx import helper

        names = [given if isinstance(given, str) else self._constant(given) for given in inputs]
        result = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [result], **attributes))
        return result

    def number(self, value: float) -> Array:
        """A scalar of the value's type."""
        return np.array(value, self.dtype)

    def channels_first(self, data_format: str) -> None:
        """See to it that the images lie as (n, channels, h, w)."""
        if data_format == "channels_last" and not self.swapped:
            self.add("Transpose", perm=(0, 3, 1, 2))
            self.swapped = True
        elif data_format == "channels_first":
            self.own_order()

    def own_order(self) -> None:
        """See to it that the value lies as in the model."""
        if self.swapped:
            self.add("Transpose", perm=(0, 2, 3, 1))
            self.swapped = False

    def along(self, axis: int, values: Array) -> Array:
        """Values along one of the model's axes, shaped to go with the value as it lies."""
        rank = len(self.shape)
        place = axis % rank
        if self.swapped:
            place = (0, 2, 3, 1)[place]
        return values.reshape([-1 if i == place else 1 for i in range(rank)]).astype(self.dtype)

    def _constant(self, array: Array) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(array)
        return name


def export(model: Sequential, filepath: str | os.PathLike[str]) -> None:
    """Write the model's inference as an ONNX file; see `Sequential.export`."""
    where = "Sequential.export"
    path = check_path(where, filepath, (".onnx",), overwrite=True)
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError:
        raise _validation.missing_extra("export to ONNX", "onnx", "onnx") from None
    from .. import __version__

    if not model.built:
        raise _validation.not_built(model.name, "export the model")
    takes_integers = getattr(model.layers[0], "_takes_integers", False)
    graph = Graph(model.input_shape, np.dtype(model.layers[0].dtype))
    for layer in model.layers:
        if type(layer) not in _WRITERS:
            raise _validation.no_onnx_form(where, layer.name, type(layer).__name__)
    for layer, behind in zip(model.layers, [*model.layers[1:], None], strict=True):
        if np.dtype(layer.dtype) != graph.dtype:
            graph.dtype = np.dtype(layer.dtype)
            graph.add("Cast", to=helper.np_dtype_to_tensor_dtype(graph.dtype))
        graph.behind = type(behind)
        _WRITERS[type(layer)](graph, layer)
        graph.shape = layer.compute_output_shape(graph.shape)
    graph.own_order()
    graph.nodes.append(helper.make_node("Identity", [graph.value], [OUTPUT]))

    def value_info(name: str, shape: Sequence[int | None], dtype: Any) -> Any:
        sizes = [f"{name}_{axis}" if size is None else size for axis, size in enumerate(shape)]
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["n", *sizes[1:]])

    first = np.float32 if takes_integers else model.layers[0].dtype
    content = helper.make_graph(
        graph.nodes,
        model.name,
        [value_info(INPUT, model.input_shape, first)],
        [value_info(OUTPUT, model.output_shape, graph.dtype)],
        [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    made = helper.make_model(
        content,
        producer_name="fastconv",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(made, full_check=True)
    write_atomically(path, made.SerializeToString())


# Layers


def _conv2d(graph: Graph, layer: Any) -> None:
    graph.channels_first(layer.data_format)
    kernel = layer.kernel.transpose(3, 2, 0, 1)
    _convolve(graph, layer, kernel, layer.strides, layer.dilation_rate, layer.groups, layer.bias)
    _activate(graph, layer, layer.activation)


def _depthwise_conv2d(graph: Graph, layer: Any) -> None:
    graph.channels_first(layer.data_format)
    kernel = _per_channel(layer.kernel)
    channels = layer.kernel.shape[2]
    _convolve(graph, layer, kernel, layer.strides, layer.dilation_rate, channels, layer.bias)
    _activate(graph, layer, layer.activation)


def _separable_conv2d(graph: Graph, layer: Any) -> None:
    graph.channels_first(layer.data_format)
    depthwise, pointwise = (weight for weight in layer.weights if weight.ndim == 4)
    _convolve(graph, layer, _per_channel(depthwise), layer.strides, layer.dilation_rate, depthwise.shape[2], None)
    graph.add("Conv", pointwise.transpose(3, 2, 0, 1), *_maybe(layer.bias))
    _activate(graph, layer, layer.activation)


def _per_channel(kernel: Array) -> Array:
    """(kh, kw, channels, multiplier) as ONNX has it for as many groups as channels."""
    kh, kw, channels, multiplier = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, kh, kw)


def _convolve(graph: Graph, layer: Any, kernel: Array, strides: Any, dilation: Any, groups: int, bias: Any) -> None:
    graph.add(
        "Conv",
        kernel,
        *_maybe(bias),
        strides=strides,
        dilations=dilation,
        group=groups,
        **_window_pads(graph, layer, kernel.shape[2:], dilation),
    )


def _window_pads(graph: Graph, layer: Any, window: Any, dilation: Any = (1, 1)) -> dict[str, Any]:
    """ONNX's attributes for the layer's padding: numbers, or its rule for images of unknown size."""
    if layer.padding == "valid":
        return {}
    height, width = graph.shape[2:] if layer.data_format == "channels_first" else graph.shape[1:3]
    if layer.strides == (1, 1):
        # Any size is padded alike, and ONNX Runtime knows its rule for windows without dilation only.
        height = width = 1
    if height is None or width is None:
        return {"auto_pad": "SAME_UPPER"}
    pads = _shapes.resolve_padding(layer.padding, (height, width), window, layer.strides, dilation)
    (top, bottom), (left, right) = pads
    return {"pads": (top, left, bottom, right)}


def _conv2d_transpose(graph: Graph, layer: Any) -> None:
    graph.channels_first(layer.data_format)
    begins, ends, extras = [], [], []
    for axis in (0, 1):
        window, stride, dilation = layer.kernel_size[axis], layer.strides[axis], layer.dilation_rate[axis]
        extra = None if layer.output_padding is None else layer.output_padding[axis]
        # The pads are the same for any size.
        size, (before, _) = _shapes.transposed_size(8, window, stride, dilation, layer.padding, extra)
        full = 7 * stride + _shapes.effective_size(window, dilation)
        begins.append(before)
        extras.append(max(size + before - full, 0))
        ends.append(full + extras[-1] - size - before)
    graph.add(
        "ConvTranspose",
        layer.kernel.transpose(3, 2, 0, 1),
        *_maybe(layer.bias),
        strides=layer.strides,
        dilations=layer.dilation_rate,
        pads=(*begins, *ends),
        output_padding=extras,
    )
    _activate(graph, layer, layer.activation)


def _dense(graph: Graph, layer: Any) -> None:
    graph.own_order()
    if len(graph.shape) == 2:
        graph.add("Gemm", layer.kernel, *_maybe(layer.bias))
    else:
        graph.add("MatMul", layer.kernel)
        if layer.bias is not None:
            graph.add("Add", layer.bias)
    _activate(graph, layer, layer.activation)


def _maybe(bias: Array | None) -> tuple[Array, ...]:
    return () if bias is None else (bias,)


def _pool(operator: str) -> Callable[[Graph, Any], None]:
    def write(graph: Graph, layer: Any) -> None:
        graph.channels_first(layer.data_format)
        pads = _window_pads(graph, layer, layer.pool_size)
        graph.add(operator, kernel_shape=layer.pool_size, strides=layer.strides, **pads)

    return write


def _global_pool(operator: str) -> Callable[[Graph, Any], None]:
    def write(graph: Graph, layer: Any) -> None:
        graph.channels_first(layer.data_format)
        graph.add(operator)
        if not layer.keepdims:
            graph.add("Flatten")
            graph.swapped = False

    return write


def _batch_normalization(graph: Graph, layer: Any) -> None:
    named = {name: weight.value.astype(np.float64) for name, weight in layer._weights.items()}
    scale = named.get("gamma", 1.0) / np.sqrt(named["moving_variance"] + layer.epsilon)
    graph.add("Mul", graph.along(layer.axis, scale))
    graph.add("Add", graph.along(layer.axis, named.get("beta", 0.0) - named["moving_mean"] * scale))


def _rescaling(graph: Graph, layer: Any) -> None:
    for operator, value in (("Mul", layer.scale), ("Add", layer.offset)):
        array = np.asarray(value, graph.dtype)
        if array.ndim:
            graph.own_order()  # the numbers go with the model's last axes
        graph.add(operator, array)


def _reshape(graph: Graph, layer: Any) -> None:
    graph.own_order()
    graph.add("Reshape", np.array([0, *layer.target_shape], np.int64))


def _flatten(graph: Graph, layer: Any) -> None:
    graph.own_order()
    if layer.data_format == "channels_first" and len(graph.shape) > 2:
        graph.add("Transpose", perm=(0, *range(2, len(graph.shape)), 1))
    graph.add("Flatten")


def _zero_padding(graph: Graph, layer: Any) -> None:
    from onnx import helper

    graph.channels_first(layer.data_format)
    (top, bottom), (left, right) = layer.padding
    zero: Any = graph.number(0)
    if graph.behind not in (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D):
        # ONNX Runtime (1.31) makes one operation of a padding with a constant 0 and a pooling behind it, whose padding
        # never wins: wrong where all real cells are negative. It cannot see that this 0 is constant.
        none = graph.node("Mul", graph.node("Size", graph.value), np.array(0, np.int64))
        zero = graph.node("Cast", none, to=helper.np_dtype_to_tensor_dtype(graph.dtype))
    graph.add("Pad", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64), zero)


def _nothing(graph: Graph, layer: Any) -> None:
    """Layers that do something in training only."""


def _activation(graph: Graph, layer: Any) -> None:
    _activate(graph, layer, layer.activation)


def _relu_layer(graph: Graph, layer: Any) -> None:
    if layer.threshold:
        kept = graph.node("Greater", graph.value, graph.number(layer.threshold))
        slope = graph.node("Sub", graph.value, graph.number(layer.threshold))
        below = graph.node("Mul", slope, graph.number(layer.negative_slope))
        # As the layer does it: without a slope a plain 0, for 0 * (-inf) would be NaN.
        graph.value = graph.node("Where", kept, graph.value, below if layer.negative_slope else graph.number(0))
    elif layer.negative_slope:
        graph.add("LeakyRelu", alpha=layer.negative_slope)
    else:
        graph.add("Relu")
    if layer.max_value is not None:
        graph.add("Min", graph.number(layer.max_value))


def _leaky_relu_layer(graph: Graph, layer: Any) -> None:
    graph.add("LeakyRelu", alpha=layer.negative_slope)


def _softmax_layer(graph: Graph, layer: Any) -> None:
    graph.own_order()
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if len(axes) == 1:
        graph.add("Softmax", axis=axes[0])
        return
    largest = graph.node("ReduceMax", graph.value, axes=axes, keepdims=1)
    powers = graph.node("Exp", graph.node("Sub", graph.value, largest))
    total = graph.node("ReduceSum", powers, np.array(axes, np.int64), keepdims=1)
    graph.value = graph.node("Div", powers, total)


# Activations


def _activate(graph: Graph, layer: Any, activation: Any) -> None:
    write = _ACTIVATIONS.get(activation)
    if write is None:
        name = getattr(activation, "__name__", repr(activation))
        raise _validation.no_onnx_form("Sequential.export", layer.name, f"activation {name}")
    write(graph)


def _plain(operator: str, **attributes: Any) -> Callable[[Graph], None]:
    return lambda graph: graph.add(operator, **attributes)


def _last_axis(operator: str) -> Callable[[Graph], None]:
    def write(graph: Graph) -> None:
        graph.own_order()
        graph.add(operator, axis=-1)

    return write


def _clip(low: float, high: float) -> Callable[[Graph], None]:
    return lambda graph: graph.add("Clip", graph.number(low), graph.number(high))


def _times(factor: Callable[[Graph, str], str]) -> Callable[[Graph], None]:
    """x times a function of x."""

    def write(graph: Graph) -> None:
        graph.value = graph.node("Mul", graph.value, factor(graph, graph.value))

    return write


def _normal_cdf(graph: Graph, x: str) -> str:
    erf = graph.node("Erf", graph.node("Mul", x, graph.number(math.sqrt(0.5))))
    return graph.node("Mul", graph.node("Add", erf, graph.number(1)), graph.number(0.5))


def _log_sigmoid(graph: Graph) -> None:
    graph.add("Neg")
    graph.add("Softplus")
    graph.add("Neg")


_ACTIVATIONS: dict[Any, Callable[[Graph], None]] = {
    activations.linear: lambda graph: None,
    activations.relu: _plain("Relu"),
    activations.relu6: _clip(0, 6),
    activations.leaky_relu: _plain("LeakyRelu", alpha=0.2),
    activations.elu: _plain("Elu", alpha=1.0),
    activations.selu: _plain("Selu"),
    activations.celu: _plain("Celu", alpha=1.0),
    activations.sigmoid: _plain("Sigmoid"),
    activations.log_sigmoid: _log_sigmoid,
    activations.tanh: _plain("Tanh"),
    activations.softplus: _plain("Softplus"),
    activations.softsign: _plain("Softsign"),
    activations.silu: _times(lambda graph, x: graph.node("Sigmoid", x)),
    activations.mish: _times(lambda graph, x: graph.node("Tanh", graph.node("Softplus", x))),
    activations.gelu: _times(_normal_cdf),
    activations.exponential: _plain("Exp"),
    activations.hard_sigmoid: _plain("HardSigmoid", alpha=1 / 6, beta=0.5),
    activations.hard_silu: _plain("HardSwish"),
    activations.hard_tanh: _clip(-1, 1),
    activations.softmax: _last_axis("Softmax"),
    activations.log_softmax: _last_axis("LogSoftmax"),
}

_WRITERS: dict[type, Callable[[Graph, Any], None]] = {
    layers.Activation: _activation,
    layers.AveragePooling2D: _pool("AveragePool"),
    layers.BatchNormalization: _batch_normalization,
    layers.Conv2D: _conv2d,
    layers.Conv2DTranspose: _conv2d_transpose,
    layers.Dense: _dense,
    layers.DepthwiseConv2D: _depthwise_conv2d,
    layers.Dropout: _nothing,
    layers.Flatten: _flatten,
    layers.GlobalAveragePooling2D: _global_pool("GlobalAveragePool"),
    layers.GlobalMaxPooling2D: _global_pool("GlobalMaxPool"),
    layers.LeakyReLU: _leaky_relu_layer,
    layers.MaxPooling2D: _pool("MaxPool"),
    layers.RandomFlip: _nothing,
    layers.RandomRotation: _nothing,
    layers.RandomTranslation: _nothing,
    layers.RandomZoom: _nothing,
    layers.ReLU: _relu_layer,
    layers.Rescaling: _rescaling,
    layers.Reshape: _reshape,
    layers.SeparableConv2D: _separable_conv2d,
    layers.Softmax: _softmax_layer,
    layers.ZeroPadding2D: _zero_padding,
}
