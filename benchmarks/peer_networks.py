"""A fastconv model as PyTorch and ONNX Runtime have it, with equal weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import peer_onnxruntime
import peer_torch

ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7}  # Keras's and fastconv's defaults


class Step(NamedTuple):
    """One step of a network on images (n, channels, h, w), as all frameworks but Keras's family have them."""

    kind: str  # conv, pool, dropout, flatten, dense, relu or softmax
    kernel: np.ndarray | None = None  # of conv: (filters, channels, kh, kw); of dense: (outputs, inputs)
    bias: np.ndarray | None = None
    value: Any = None  # of conv: how many zeros at each border; of pool: its size; of dropout: its rate


def steps(model: Any) -> Iterator[Step]:
    """The model's layers, padding drawn into the convolution that follows, activations apart.

    The weights of the layer behind ``Flatten`` are sorted anew, because here images are flattened channel by channel.
    """
    pad, image, shape = 0, None, model.input_shape
    for layer in model.layers:
        kind, config = type(layer).__name__, layer.get_config()
        if kind == "ZeroPadding2D":
            pad = _even(config["padding"])
        elif kind == "Conv2D":
            same = layer.kernel_size[0] // 2 if config["padding"] == "same" else 0
            yield Step("conv", np.ascontiguousarray(layer.kernel.transpose(3, 2, 0, 1)), layer.bias, pad + same)
            pad = 0
        elif kind == "MaxPooling2D":
            yield Step("pool", value=layer.pool_size[0])
        elif kind == "Dropout":
            yield Step("dropout", value=layer.rate)
        elif kind == "Flatten":
            image = shape[1:]
            yield Step("flatten")
        elif kind == "Dense":
            kernel = layer.kernel
            if image is not None:
                kernel = kernel.reshape(*image, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
                image = None
            yield Step("dense", np.ascontiguousarray(kernel.T), layer.bias)
        elif kind != "InputLayer":
            raise ValueError(f"{kind} has no counterpart here; add it to peer_networks.py.")
        if config.get("activation") not in (None, "linear"):
            yield Step(config["activation"])
        shape = layer.compute_output_shape(shape)


def _even(padding: Any) -> int:
    (top, bottom), (left, right) = padding
    if not top == bottom == left == right:
        raise ValueError(f"padding={padding} is not the same on all sides.")
    return top


# PyTorch


class TorchNetwork:
    """The network in one of PyTorch's formats, with Adam in its fastest form, and the loop that ``fit`` is."""

    def __init__(self, model: Any, memory_format: str) -> None:
        import torch

        self.format = getattr(torch, peer_torch.FORMATS[memory_format])
        layers = [module for step in steps(model) for module in self._modules(step)]
        self.network = torch.nn.Sequential(*layers).to(memory_format=self.format)
        # Fused is the quickest of the three forms that torch.optim.Adam has: on one thread 61 µs a step for LeNet-5
        # beside 154 and 183, 1.4 ms for mnist_s2 beside 5.7 and 14.6 (PyTorch 2.13, EPYC 9005).
        self.adam = torch.optim.Adam(self.network.parameters(), **ADAM, fused=True)

    @staticmethod
    def _modules(step: Step) -> Iterator[Any]:
        import torch
        from torch import nn

        if step.kind == "conv":
            filters, channels, *size = step.kernel.shape
            module = nn.Conv2d(channels, filters, tuple(size), padding=step.value)
        elif step.kind == "dense":
            outputs, inputs = step.kernel.shape
            module = nn.Linear(inputs, outputs)
        elif step.kind == "softmax":
            return  # the loss takes logits, as fastconv's does in training
        else:
            module = {
                "relu": lambda _: nn.ReLU(inplace=True),
                "pool": nn.MaxPool2d,
                "dropout": nn.Dropout,
                "flatten": lambda _: nn.Flatten(),
            }[step.kind](step.value)
        if step.kernel is not None:
            with torch.no_grad():
                module.weight.copy_(torch.from_numpy(step.kernel))
                module.bias.copy_(torch.from_numpy(step.bias))
        yield module

    def images(self, x: np.ndarray) -> Any:
        """A batch (n, h, w, c) as this network takes it."""
        import torch

        return torch.from_numpy(x.transpose(0, 3, 1, 2)).contiguous(memory_format=self.format)

    def train(self, x: Any, y: Any, batch_size: int) -> tuple[float, float]:
        """One epoch, shuffled; gives mean loss and accuracy, which ``fit`` computes too."""
        import torch

        self.network.train()
        order = torch.randperm(len(x))
        loss_sum, right = 0.0, 0
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            images = x.index_select(0, rows).contiguous(memory_format=self.format)
            labels = y.index_select(0, rows)
            self.adam.zero_grad()
            logits = self.network(images)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            loss.backward()
            self.adam.step()
            loss_sum += loss.item() * len(rows)
            right += int((logits.argmax(1) == labels).sum())
        return loss_sum / len(x), right / len(x)

    def predictor(self, x: np.ndarray, softmax: bool) -> Callable[[], np.ndarray]:
        """A call without arguments that gives the output for ``x``; gradients must be off."""
        images = self.images(x)
        self.network.eval()

        def predict() -> np.ndarray:
            logits = self.network(images)
            return (logits.softmax(1) if softmax else logits).numpy()

        return predict


# ONNX Runtime


def onnx_model(model: Any) -> bytes:
    """The network as an ONNX model from ``x`` (n, channels, h, w) to ``y``, for prediction."""
    from onnx import helper

    nodes, constants, value = [], {}, "x"
    found = [step for step in steps(model) if step.kind != "dropout"]
    for number, step in enumerate(found):
        inputs, result = [value], "y" if number == len(found) - 1 else f"v{number}"
        if step.kernel is not None:
            names = f"kernel{number}", f"bias{number}"
            constants |= dict(zip(names, (step.kernel, step.bias), strict=True))
            inputs += names
        operator, options = {
            "conv": ("Conv", {"pads": [step.value] * 4}),
            "pool": ("MaxPool", {"kernel_shape": [step.value] * 2, "strides": [step.value] * 2}),
            "dense": ("Gemm", {"transB": 1}),
            "flatten": ("Flatten", {}),
            "relu": ("Relu", {}),
            "softmax": ("Softmax", {}),
        }[step.kind]
        nodes.append(helper.make_node(operator, inputs, [result], **options))
        value = result
    height, width, channels = model.input_shape[1:]
    return peer_onnxruntime.make_model(nodes, constants, ("n", channels, height, width))
