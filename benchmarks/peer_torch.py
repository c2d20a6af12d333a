"""PyTorch's way to do the same work: convolutions and their gradients in both of its image formats."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from layer_lists import ConvLayer
from timing import Contender
from workloads import Workload

# The threads of PyTorch's GNU OpenMP spin for 5 to 10 ms after a parallel region, fastconv's for 0.3 ms.
SETTLE_SECONDS = 10e-3
FORMATS = {"NCHW": "contiguous_format", "NHWC": "channels_last"}
# What keeps oneDNN, ATen's own kernels and MKL to an instruction set, by fastconv's name of it.
LIMITS = {
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "baseline": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}


def missing() -> str:
    """What is not installed, or nothing."""
    return "" if importlib.util.find_spec("torch") else "PyTorch"


def limit_isa(isa: str) -> str:
    """Keep PyTorch to this instruction set, in words; works only before its first import."""
    limits = LIMITS.get(isa, {})
    os.environ.update(limits)
    return " ".join(f"{name}={value}" for name, value in limits.items())


def describe() -> str:
    """Version, and the instruction set that it says it runs on."""
    import torch

    return f"PyTorch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"


def contenders(work: Workload, threads: int) -> list[tuple[Contender, Callable[[Any], np.ndarray]]]:
    """One for each format, with the way from its result to an array as fastconv gives it."""
    import torch

    def prepare() -> None:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)

    found = []
    for name, memory_format in FORMATS.items():
        call, read = _conv_call(work, getattr(torch, memory_format))
        settle = SETTLE_SECONDS if threads > 1 else 0.0
        found.append((Contender(f"PyTorch {name}", threads, call, prepare, settle=settle), read))
    return found


def _conv_call(work: Workload, memory_format: Any) -> tuple[Callable[[], Any], Callable[[Any], np.ndarray]]:
    """Everything that could be done once for many calls is done here: conversion of images, kernels and gradients.

    PyTorch pads evenly. Where a layer does not, the images are padded first: within the forward pass, since nobody can
    do without; for free in grad_kernel, since the forward pass has them; grad_input is cut, which costs nothing.
    """
    import torch

    layer = work.layer
    assert isinstance(layer, ConvLayer) and work.kernel is not None
    (top, bottom), (left, right) = layer.pads
    even = top == bottom and left == right
    images = partial(_images, memory_format=memory_format)
    x, grads = images(work.x), images(work.grad_output)
    kernel = _tensor(work.kernel.transpose(3, 2, 0, 1)).contiguous(memory_format=memory_format)
    padding = [top, left] if even else [0, 0]
    pad = partial(torch.nn.functional.pad, pad=(left, right, top, bottom))
    if work.operation == "forward":
        convolve = partial(
            torch.nn.functional.conv2d,
            weight=kernel,
            stride=layer.strides,
            padding=padding,
            dilation=layer.dilation,
            groups=layer.groups,
        )
        return (partial(convolve, x) if even else lambda: convolve(pad(x))), _nhwc
    x = x if even else images(work.x, pads=layer.pads)
    tail = (layer.strides, padding, layer.dilation, False, [0, 0], layer.groups)
    backward = torch.ops.aten.convolution_backward
    mask = [work.operation == "grad_input", work.operation == "grad_kernel", False]
    call = partial(backward, grads, x, kernel, None, *tail, mask)
    if work.operation == "grad_kernel":
        return call, lambda result: result[1].numpy().transpose(2, 3, 1, 0)
    if even:
        return call, lambda result: _nhwc(result[0])
    height, width = layer.x_shape[1:3]
    return call, lambda result: _nhwc(result[0][:, :, top : top + height, left : left + width])


def _images(array: np.ndarray, memory_format: Any, pads: Any = None) -> Any:
    if pads:
        array = np.pad(array, ((0, 0), *pads, (0, 0)))
    return _tensor(array.transpose(0, 3, 1, 2)).contiguous(memory_format=memory_format)


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array)


def _nhwc(result: Any) -> np.ndarray:
    return result.numpy().transpose(0, 2, 3, 1)
