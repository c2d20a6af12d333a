"""ONNX Runtime's way to do the same work: a convolution's forward pass as a model of one node."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from layer_lists import ConvLayer
from timing import Contender
from workloads import Workload

# Its thread pool spins for about 20 ms after a run.
SETTLE_SECONDS = 0.05
OPSET, IR_VERSION = 17, 8


def missing() -> str:
    """What is not installed, or nothing: models are made with the package onnx."""
    absent = [name for name in ("onnxruntime", "onnx") if not importlib.util.find_spec(name)]
    return f"ONNX Runtime (needs {' and '.join(absent)})" if absent else ""


def describe() -> str:
    import onnxruntime

    return f"ONNX Runtime {onnxruntime.__version__}"


def contender(work: Workload, threads: int) -> tuple[Contender, Callable[[Any], np.ndarray]] | None:
    """The forward pass, with the way from its result to an array as fastconv gives it; no gradients.

    Input and output are bound, so that nothing is copied or allocated within the time. The kernel is a constant, which
    the session packs once.
    """
    if work.operation != "forward":
        return None
    from onnx import helper

    layer = work.layer
    assert isinstance(layer, ConvLayer) and work.kernel is not None
    (top, bottom), (left, right) = layer.pads
    node = helper.make_node(
        "Conv",
        ["x", "kernel"],
        ["y"],
        kernel_shape=layer.window,
        strides=layer.strides,
        dilations=layer.dilation,
        pads=[top, left, bottom, right],
        group=layer.groups,
    )
    model = make_model([node], {"kernel": work.kernel.transpose(3, 2, 0, 1)}, _nchw(layer.x_shape), work.dtype)
    call = bound(session(model, threads), work.x.transpose(0, 3, 1, 2), _nchw(layer.y_shape))
    settle = SETTLE_SECONDS if threads > 1 else 0.0
    return Contender("ONNX Runtime", threads, call, settle=settle), lambda result: result.transpose(0, 2, 3, 1)


def make_model(
    nodes: Sequence[Any], constants: dict[str, np.ndarray], x_shape: Sequence[Any], dtype: Any = np.float32
) -> bytes:
    """A model from ``x`` to ``y``; sizes may be numbers or names."""
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    tensors = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    x = helper.make_tensor_value_info("x", kind, x_shape)
    y = helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph(nodes, "benchmark", [x], [y], tensors)
    operators = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=operators, ir_version=IR_VERSION).SerializeToString()


def session(model: bytes, threads: int) -> Any:
    """All its optimisations, and so many threads within an operator, the calling one among them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bound(runner: Any, x: np.ndarray, y_shape: Sequence[int]) -> Callable[[], np.ndarray]:
    """A call without arguments that reads ``x`` and gives the same array of results at each call."""
    import onnxruntime

    binding = runner.io_binding()
    x_value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(x))
    y = np.empty(y_shape, x.dtype)
    binding.bind_ortvalue_input("x", x_value)
    binding.bind_output("y", "cpu", 0, y.dtype, y.shape, y.ctypes.data)
    return partial(_run, runner, binding, x_value, y)


def _run(runner: Any, binding: Any, _x_value: Any, y: np.ndarray) -> np.ndarray:
    runner.run_with_iobinding(binding)
    return y


def _nchw(shape: Sequence[int]) -> tuple[int, ...]:
    n, height, width, channels = shape
    return n, channels, height, width
