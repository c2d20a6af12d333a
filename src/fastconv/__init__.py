"""fastconv: fast convolutional networks on CPUs, from NumPy.

Functions (``fc.conv2d``, ``fc.max_pool2d``, …) take and give NumPy arrays; ``fc.layers`` and ``fc.models`` are a
layer API in Keras's words. Submodules load on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

from ._config import available_isas, get_isa, get_num_threads, set_isa, set_num_threads, show_config
from .ops import (
    avg_pool2d,
    avg_pool2d_grad,
    col2im,
    conv2d,
    conv2d_grad_input,
    conv2d_grad_kernel,
    conv2d_transpose,
    conv2d_transpose_grad_input,
    conv2d_transpose_grad_kernel,
    convolve2d,
    correlate2d,
    dense,
    dense_grad_input,
    dense_grad_kernel,
    depthwise_conv2d,
    depthwise_conv2d_grad_input,
    depthwise_conv2d_grad_kernel,
    explain_conv2d,
    im2col,
    l2_pool2d,
    l2_pool2d_grad,
    max_pool2d,
    max_pool2d_grad,
    relu,
    relu_grad,
    softmax,
    softmax_grad,
)

__version__ = "0.1.0"

# What Keras has at its top as well.
_ALIASES = {"Input": "layers", "Sequential": "models"}
_SUBMODULES = (
    "activations",
    "callbacks",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "plots",
    "reference",
    "regularizers",
    "utils",
)

__all__ = [
    "__version__",
    "available_isas",
    "avg_pool2d",
    "avg_pool2d_grad",
    "col2im",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_kernel",
    "conv2d_transpose",
    "conv2d_transpose_grad_input",
    "conv2d_transpose_grad_kernel",
    "convolve2d",
    "correlate2d",
    "dense",
    "dense_grad_input",
    "dense_grad_kernel",
    "depthwise_conv2d",
    "depthwise_conv2d_grad_input",
    "depthwise_conv2d_grad_kernel",
    "explain_conv2d",
    "get_isa",
    "get_num_threads",
    "im2col",
    "l2_pool2d",
    "l2_pool2d_grad",
    "max_pool2d",
    "max_pool2d_grad",
    "relu",
    "relu_grad",
    "set_isa",
    "set_num_threads",
    "show_config",
    "softmax",
    "softmax_grad",
    *_SUBMODULES,
    *_ALIASES,
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _ALIASES:
        return getattr(importlib.import_module(f".{_ALIASES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
