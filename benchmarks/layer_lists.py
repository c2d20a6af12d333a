"""Layers of real networks, read from the text files in layers/; README.md explains their line format."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastconv._shapes import Pads, Pair, output_hw, resolve_padding

FOLDER = Path(__file__).parent / "layers"
Shape = tuple[int, int, int, int]
Padding = str | Pair


@dataclass(frozen=True)
class Layer:
    """What convolution and pooling have in common: a window that slides over images (n, ih, iw, ic)."""

    label: str  # list:name
    x_shape: Shape
    window: Pair
    strides: Pair
    padding: Padding
    dilation: Pair = (1, 1)

    @property
    def pads(self) -> Pads:
        """((top, bottom), (left, right))"""
        pads = self.padding if isinstance(self.padding, str) else tuple((pad, pad) for pad in self.padding)
        return resolve_padding(pads, self.x_shape[1:3], self.window, self.strides, self.dilation)

    @property
    def output_hw(self) -> Pair:
        return output_hw(self.x_shape[1:3], self.window, self.strides, self.dilation, self.pads)


@dataclass(frozen=True)
class ConvLayer(Layer):
    """One convolution."""

    filters: int = 1
    groups: int = 1

    operations = ("forward", "grad_input", "grad_kernel")
    algorithms = ("direct", "im2col")

    @property
    def kernel_shape(self) -> Shape:
        return *self.window, self.x_shape[3] // self.groups, self.filters

    @property
    def y_shape(self) -> Shape:
        return self.x_shape[0], *self.output_hw, self.filters

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for ``fastconv.conv2d`` and its gradients."""
        return {
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation,
            "groups": self.groups,
        }

    @property
    def work(self) -> int:
        """Multiply-adds of the forward pass and of either gradient, with those on padded cells, as is usual."""
        return math.prod(self.y_shape) * math.prod(self.kernel_shape[:3])

    def part(self, work: int) -> ConvLayer:
        """A share of this layer of at most about ``work`` multiply-adds: its first images, or, where one image is
        too many, one image and the first filters (of the first group), or, where one filter is, its upper rows. A loop
        over cells takes time in proportion.
        """
        n, *size, channels = self.x_shape
        images = work * n // self.work
        if images >= 1:
            return replace(self, x_shape=(min(images, n), *size, channels))
        filters = self.filters // self.groups
        one = replace(self, x_shape=(1, *size, channels // self.groups), groups=1, filters=1)
        if one.work <= work:
            return replace(one, filters=min(filters, work // one.work))
        (height, width), (top, bottom) = size, self.pads[0]
        rows = max(1, one.output_hw[0] * work // one.work)
        # So high that the window fits, with the padding that the list asks for; "same" pads a small image less.
        span = (self.window[0] - 1) * self.dilation[0] + 1
        needed = (rows - 1) * self.strides[0] + span - (0 if self.padding == "same" else top + bottom)
        return replace(one, x_shape=(1, min(height, max(1, needed)), width, one.x_shape[3]))

    def describe_part(self, part: ConvLayer) -> str:
        """In words, what ``part`` is of this layer."""
        words = f"{part.x_shape[0]} of {self.x_shape[0]} images"
        if part.filters != self.filters:
            words += f", {part.filters} of {self.filters} filters"
        if part.output_hw != self.output_hw:
            words += f", {part.output_hw[0]} of {self.output_hw[0]} rows"
        return words


@dataclass(frozen=True)
class PoolLayer(Layer):
    """One pooling."""

    kind: str = "max"  # or avg

    operations = ("forward", "grad_input")
    algorithms = ("direct",)

    @property
    def y_shape(self) -> Shape:
        return self.x_shape[0], *self.output_hw, self.x_shape[3]

    @property
    def work(self) -> int:
        """Cells of all windows."""
        return math.prod(self.y_shape) * math.prod(self.window)

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for ``fastconv.max_pool2d`` or ``avg_pool2d`` and their gradients."""
        return {"pool_size": self.window, "strides": self.strides, "padding": self.padding}

    def part(self, work: int) -> PoolLayer:
        """The first images, or, where one is too many, the first channels of one: at most about ``work`` cells read."""
        n, *size, channels = self.x_shape
        images = work * n // self.work
        if images >= 1:
            return replace(self, x_shape=(min(images, n), *size, channels))
        one = replace(self, x_shape=(1, *size, 1))
        return replace(one, x_shape=(1, *size, max(1, min(channels, work // one.work))))

    def describe_part(self, part: PoolLayer) -> str:
        """In words, what ``part`` is of this layer."""
        images = f"{part.x_shape[0]} of {self.x_shape[0]} images"
        channels = self.x_shape[3]
        return images if part.x_shape[3] == channels else f"{images}, {part.x_shape[3]} of {channels} channels"


def list_names() -> list[str]:
    """The lists that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def load(*sources: str) -> list[Layer]:
    """Layers by the name of their list, by file, or one of a list.

    Args:
        sources: each a list's name (``"lenet_s5"``), a text file (``"mine.txt"``), ``"all"``, or one layer of a list
            or file (``"resnet50:conv4_3x3"``).

    Raises:
        ValueError: no such list or layer, or a line that cannot be read (named by file and number).
    """
    layers: list[Layer] = []
    for source in list_names() if "all" in sources else sources:
        name, _, wanted = source.partition(":")
        path = Path(name) if name.endswith(".txt") else FOLDER / f"{name}.txt"
        if not path.is_file():
            raise ValueError(f"No layer list {name!r}. Give a .txt file, 'all', or one of {', '.join(list_names())}.")
        found = parse(path.read_text(encoding="utf-8").splitlines(), path)
        if wanted:
            names = [layer.label.partition(":")[2] for layer in found]
            if wanted not in names:
                raise ValueError(f"No layer {wanted!r} in {path}. It has {', '.join(names)}.")
            found = [found[names.index(wanted)]]
        layers += found
    return layers


def parse(lines: Iterable[str], path: Path) -> list[Layer]:
    """The layers of one file, in its order."""
    layers: dict[str, Layer] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            if len(words) < 3:
                raise ValueError("a line is: kind name images x height x width x channels option=value ...")
            layer = _layer(path.stem, *words)
            if layer.label in layers:
                raise ValueError("this name is taken by an earlier line")
            layers[layer.label] = layer
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {error}. Received {line.strip()!r}") from error
    return list(layers.values())


def _layer(stem: str, kind: str, name: str, size: str, *words: str) -> Layer:
    x_shape = tuple(int(number) for number in size.split("x"))
    if len(x_shape) != 4 or min(x_shape) < 1:
        raise ValueError(f"{size!r} is not a size: images x height x width x channels, such as 128x28x28x1")
    options = dict(word.split("=", 1) for word in words)
    try:
        if kind == "conv":
            window = _pair(options.pop("kernel"))
            layer = ConvLayer(
                f"{stem}:{name}",
                x_shape,
                window,
                _pair(options.pop("strides", "1")),
                _padding(options.pop("padding", "valid")),
                _pair(options.pop("dilation", "1")),
                filters=int(options.pop("filters")),
                groups=int(options.pop("groups", "1")),
            )
            if x_shape[3] % layer.groups or layer.filters % layer.groups:
                raise ValueError(f"groups={layer.groups} must divide {x_shape[3]} channels and {layer.filters} filters")
        elif kind in ("max", "avg"):
            pool = options.pop("pool")
            strides = _pair(options.pop("strides", pool))
            padding = _padding(options.pop("padding", "valid"))
            layer = PoolLayer(f"{stem}:{name}", x_shape, _pair(pool), strides, padding, kind=kind)
        else:
            raise ValueError(f"{kind!r} is no kind of layer; there are conv, max and avg")
    except KeyError as missing:
        raise ValueError(f"a layer of kind {kind} needs {missing.args[0]}=") from None
    if options:
        raise ValueError(f"a layer of kind {kind} has no option {', '.join(options)}")
    if min(layer.output_hw) < 1:
        raise ValueError("the window does not fit into the image")
    return layer


def _pair(text: str) -> Pair:
    """``"3"`` or ``"3x5"``."""
    numbers = [int(number) for number in text.split("x")]
    if len(numbers) > 2:
        raise ValueError(f"{text!r} is not a number or a pair such as 3x5")
    return numbers[0], numbers[-1]


def _padding(text: str) -> Padding:
    return text if text in ("valid", "same") else _pair(text)
