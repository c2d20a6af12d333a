"""Problems of convolution, transposed convolution and pooling: listed edge cases and seeded random ones.

Widen here, and every test widens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from oracle import integers

from fastconv import reference
from fastconv._shapes import output_hw, resolve_padding
from fastconv.ops import _dispatch

# Every algorithm of conv2d that can be asked for, and those that keep whole numbers exact.
ALGORITHMS = tuple(name for name in _dispatch.ALGORITHMS if name != "auto")
EXACT_ALGORITHMS = tuple(name for name in ALGORITHMS if name != "winograd")

# Width of the widest register tile in float32 lanes, and a sum longer than one block of channels: sizes one beside
# these are where a kernel changes its path.
LANES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65)
TILE_ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 17)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _pads(padding: Any) -> Any:
    if isinstance(padding, str):
        return padding
    if isinstance(padding, tuple) and isinstance(padding[0], tuple):
        return padding
    vertical, horizontal = _pair(padding)
    return (vertical, vertical), (horizontal, horizontal)


@dataclass(frozen=True)
class Conv:
    """One convolution problem in channels-last sizes; ``data_format`` says how its arrays are laid out."""

    n: int
    h: int
    w: int
    channels: int
    kh: int
    kw: int
    filters: int
    strides: Any = 1
    padding: Any = "valid"
    dilation_rate: Any = 1
    groups: int = 1
    data_format: str = "channels_last"
    bias: bool = False
    activation: str | None = None
    seed: int = 0

    def __str__(self) -> str:
        options = "".join(
            f" {name}={value}"
            for name, value in (
                ("s", self.strides),
                ("p", self.padding),
                ("d", self.dilation_rate),
                ("g", self.groups),
            )
            if value not in (1, "valid")
        )
        tail = " cf" * (self.data_format == "channels_first") + " bias" * self.bias + " relu" * bool(self.activation)
        return f"{self.n}x{self.h}x{self.w}x{self.channels} k{self.kh}x{self.kw}x{self.filters}{options}{tail}"

    @property
    def options(self) -> dict[str, Any]:
        """Arguments that forward and both gradients share."""
        return {
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "data_format": self.data_format,
        }

    @property
    def output_hw(self) -> tuple[int, int]:
        sizes = (self.h, self.w), (self.kh, self.kw), _pair(self.strides), _pair(self.dilation_rate)
        return output_hw(*sizes, resolve_padding(_pads(self.padding), *sizes))

    def laid_out(self, h: int, w: int, channels: int) -> tuple[int, int, int, int]:
        return (self.n, channels, h, w) if self.data_format == "channels_first" else (self.n, h, w, channels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.laid_out(self.h, self.w, self.channels)

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        return self.kh, self.kw, self.channels // self.groups, self.filters

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.laid_out(*self.output_hw, self.filters)

    @property
    def macs(self) -> int:
        """Multiplications of the naive loops."""
        return int(np.prod(self.output_shape) * np.prod(self.kernel_shape[:3]))

    def arrays(self, make: Any = integers, dtype: Any = np.float64) -> dict[str, Any]:
        """x, kernel, bias (or None) and a signed upstream gradient, the same for every call."""
        rng = np.random.default_rng((self.seed, self.n, self.h, self.w, self.channels, self.filters))
        return {
            "x": make(rng, self.input_shape, dtype),
            "kernel": make(rng, self.kernel_shape, dtype),
            "bias": make(rng, (self.filters,), dtype) if self.bias else None,
            "grad_output": make(rng, self.output_shape, dtype),
        }


def naive_conv(problem: Conv, data: dict[str, Any]) -> dict[str, np.ndarray]:
    """The naive loops' answers on the problem with the given arrays."""
    return {
        "conv2d": reference.conv2d(
            data["x"], data["kernel"], data["bias"], activation=problem.activation, **problem.options
        ),
        "conv2d_grad_input": reference.conv2d_grad_input(
            data["grad_output"], data["kernel"], problem.input_shape, **problem.options
        ),
        "conv2d_grad_kernel": reference.conv2d_grad_kernel(
            data["x"], data["grad_output"], (problem.kh, problem.kw), **problem.options
        ),
    }


@cache
def conv_answers(problem: Conv) -> dict[str, np.ndarray]:
    """The naive loops' answers on the problem's integer data, in float64: exact, so right for both types."""
    return naive_conv(problem, problem.arrays())


@dataclass(frozen=True)
class Repeated:
    """A small problem's images again and again, scaled by small whole numbers, until there is work for every thread.

    Convolution is linear in the images and in the gradients, so the naive loops on the small problem still judge it.
    """

    problem: Conv
    times: int

    def __str__(self) -> str:
        return f"{self.times} times {self.problem}"

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """One factor per repetition for the images and one for the gradients, shaped to broadcast, never 0."""
        cycle = np.arange(self.times)
        images = np.array([1.0, -2, 3, -1, 2])[cycle % 5]
        return images.reshape(-1, 1, 1, 1, 1), np.array([1.0, -1, 2])[cycle % 3].reshape(-1, 1, 1, 1, 1)

    def arrays(self) -> dict[str, np.ndarray]:
        data = self.problem.arrays()
        of_images, of_gradients = self.factors
        return {
            "x": (of_images * data["x"]).reshape(-1, *data["x"].shape[1:]),
            "kernel": data["kernel"],
            "grad_output": (of_gradients * data["grad_output"]).reshape(-1, *data["grad_output"].shape[1:]),
        }

    def answers(self) -> dict[str, np.ndarray]:
        one = conv_answers(self.problem)
        of_images, of_gradients = self.factors
        return {
            "conv2d": (of_images * one["conv2d"]).reshape(-1, *one["conv2d"].shape[1:]),
            "conv2d_grad_input": (of_gradients * one["conv2d_grad_input"]).reshape(
                -1, *one["conv2d_grad_input"].shape[1:]
            ),
            "conv2d_grad_kernel": (of_images * of_gradients).sum() * one["conv2d_grad_kernel"],
        }


def repeated(problems: tuple[Conv, ...], macs: int) -> tuple[Repeated, ...]:
    """The problems that a few hundred repetitions bring to that many multiplications."""
    linear = (replace(problem, bias=False, activation=None) for problem in problems)
    return tuple(Repeated(p, 1 + macs // p.macs) for p in linear if 600 * p.macs >= macs)


CONV_EDGES = (
    # one-pixel images and kernels as large as the image
    Conv(1, 1, 1, 1, 1, 1, 1),
    Conv(2, 1, 1, 5, 1, 1, 7, bias=True),
    Conv(2, 4, 5, 3, 4, 5, 6),
    Conv(1, 1, 1, 3, 3, 3, 4, padding="same", bias=True),
    Conv(1, 2, 2, 2, 5, 5, 3, padding="same"),
    Conv(1, 1, 9, 2, 1, 3, 17),
    Conv(1, 9, 1, 2, 3, 1, 17),
    # no images, no output
    Conv(0, 5, 5, 3, 3, 3, 4, bias=True),
    Conv(0, 6, 6, 2, 3, 3, 4, strides=2, padding="same", data_format="channels_first"),
    # strides beyond the kernel, beyond the image, unequal; rows that no window touches
    Conv(2, 7, 8, 3, 2, 2, 5, strides=3),
    Conv(2, 9, 9, 2, 1, 1, 8, strides=2),
    Conv(1, 5, 5, 2, 3, 3, 4, strides=7, padding="same"),
    Conv(1, 8, 7, 3, 3, 2, 4, strides=(1, 3)),
    Conv(1, 7, 8, 3, 3, 2, 4, strides=(4, 1), padding="same"),
    Conv(2, 11, 10, 4, 5, 4, 6, strides=(3, 2), padding=(2, 1)),
    # odd "same" totals, every form of explicit padding, padding larger than the kernel
    Conv(2, 6, 5, 3, 2, 4, 5, padding="same"),
    Conv(2, 7, 6, 3, 4, 4, 5, strides=2, padding="same", bias=True, activation="relu"),
    Conv(2, 5, 6, 3, 3, 3, 5, padding=1),
    Conv(2, 5, 6, 3, 3, 3, 5, padding=(0, 2)),
    Conv(2, 5, 6, 3, 3, 3, 5, padding=((2, 0), (0, 1)), bias=True),
    Conv(1, 3, 4, 2, 2, 2, 3, padding=((4, 5), (3, 4))),
    Conv(1, 3, 3, 2, 2, 2, 3, strides=3, padding=((5, 1), (0, 6))),
    # dilation, alone and with the rest
    Conv(2, 9, 8, 3, 3, 3, 5, dilation_rate=2),
    Conv(2, 9, 8, 3, 3, 2, 5, dilation_rate=(2, 3), padding="same"),
    Conv(1, 10, 11, 2, 3, 3, 4, strides=2, dilation_rate=3, padding="same"),
    Conv(1, 7, 7, 2, 3, 3, 4, dilation_rate=(3, 1), padding=((1, 2), (0, 3)), strides=(1, 2)),
    # groups: equal parts, one channel each, more filters than channels
    Conv(2, 6, 6, 4, 3, 3, 6, groups=2, bias=True),
    Conv(2, 5, 5, 6, 3, 3, 6, groups=6, padding="same"),
    Conv(1, 5, 5, 3, 3, 3, 9, groups=3, padding="same", bias=True, activation="relu"),
    Conv(1, 6, 7, 8, 3, 3, 40, groups=2, strides=2, padding="same"),
    Conv(1, 5, 6, 32, 1, 1, 64, groups=4),
    # a stride as high as the image, many images in a block, few channels: phases of grad_input share memory rows
    Conv(40, 2, 9, 3, 1, 1, 5, strides=(2, 1)),
    Conv(30, 3, 7, 1, 2, 2, 4, strides=(3, 1), padding=((0, 1), (1, 0))),
    Conv(9, 5, 11, 2, 2, 3, 3, strides=(4, 7)),
    # depthwise: fewer channels than lanes, one vector and a tail, strides and dilation
    Conv(1, 6, 7, 16, 3, 3, 16, groups=16, padding="same", bias=True, activation="relu"),
    Conv(2, 5, 6, 19, 3, 3, 19, groups=19, padding="same", bias=True),
    Conv(1, 9, 8, 35, 3, 2, 35, groups=35, strides=(2, 1), padding=((0, 1), (2, 0))),
    Conv(1, 8, 9, 7, 3, 3, 7, groups=7, dilation_rate=2, padding="same", data_format="channels_first"),
    # groups of 2, 4 and 8 channels that share vectors, the last of them overlapping the one before
    Conv(2, 5, 7, 34, 3, 3, 34, groups=17, padding="same", bias=True, activation="relu"),
    Conv(1, 7, 6, 36, 3, 2, 36, groups=9, strides=(2, 1), padding=((0, 1), (2, 0)), bias=True),
    Conv(1, 7, 7, 24, 2, 3, 24, groups=3, dilation_rate=2, padding="same", data_format="channels_first"),
    Conv(2, 7, 7, 6, 3, 2, 4, groups=2, dilation_rate=2, padding="same", data_format="channels_first", bias=True),
    # channels-first
    Conv(2, 6, 7, 3, 3, 3, 5, data_format="channels_first", bias=True, activation="relu"),
    Conv(2, 7, 6, 4, 2, 3, 17, strides=(2, 1), padding="same", data_format="channels_first"),
    # a long sum: one beside a block of channels
    Conv(1, 3, 4, 127, 1, 1, 16),
    Conv(1, 3, 3, 129, 2, 2, 5, padding="same"),
    Conv(1, 2, 3, 257, 1, 1, 17, bias=True),
    Conv(1, 3, 4, 513, 1, 1, 3),
    Conv(1, 9, 9, 33, 9, 9, 2),
    # more weights than image: packed panel by panel, forward and grad_input
    Conv(2, 2, 3, 144, 3, 3, 192, padding="same"),
    # the same for a team only: uneven shares, channels that are no whole vector, several blocks
    Conv(2, 9, 8, 40, 3, 3, 163, padding="same"),
    Conv(1, 23, 24, 32, 3, 3, 64, bias=True, activation="relu"),
    # grad_input of few channels by dot products: one and more panels of them, runs with and without a rest, phases
    Conv(2, 9, 8, 3, 3, 3, 40, strides=2, padding="same", bias=True, activation="relu"),
    Conv(1, 6, 7, 5, 3, 2, 67, padding="same"),
    Conv(2, 7, 6, 2, 2, 3, 35, dilation_rate=(1, 2), padding=2),
    Conv(3, 9, 7, 1, 4, 4, 24, bias=True),
    # fewer filters than channels: a kernel gradient's rows, in one panel of columns and more, whole vectors and not
    Conv(3, 9, 8, 16, 3, 3, 1, padding="same"),
    Conv(2, 10, 9, 8, 3, 3, 8, strides=2, padding="same"),
    Conv(2, 9, 8, 13, 3, 2, 3, dilation_rate=2, padding=((1, 2), (3, 0))),
    Conv(5, 7, 1, 24, 3, 1, 2, strides=(2, 1)),
    Conv(3, 6, 7, 40, 1, 1, 3, strides=3),
    Conv(2, 12, 11, 32, 3, 3, 5, strides=(1, 2)),
    Conv(7, 1, 1, 48, 1, 1, 3),
    # the same in place, tap by tap: rows as wide as a block, several images, strides
    Conv(1, 3, 40, 64, 3, 3, 1, padding="same"),
    Conv(1, 7, 64, 32, 3, 3, 1, strides=(1, 2), padding=1),
    Conv(4, 3, 9, 64, 3, 3, 2, padding=((2, 1), (1, 3))),
    Conv(1, 5, 150, 32, 3, 2, 3, dilation_rate=(2, 3), padding="same"),
    # one output channel of whole vectors: runs of pixels by dot products, rows of one run and of several, phases
    Conv(2, 6, 12, 32, 3, 3, 1, padding="same", bias=True, activation="relu"),
    Conv(2, 9, 23, 16, 4, 5, 1, padding=((3, 1), (0, 4)), dilation_rate=(2, 1)),
    Conv(1, 7, 30, 1, 3, 7, 32, padding="same"),
    Conv(2, 8, 22, 1, 2, 4, 16, strides=(1, 2), padding=1),
    Conv(1, 5, 20, 1, 3, 2, 48),
    # few output channels by dot products, whose weights have to be turned
    Conv(2, 9, 9, 20, 3, 3, 3, padding="same", bias=True, activation="relu"),
    Conv(1, 8, 8, 64, 1, 1, 2),
    # pixels a page of memory apart: copied in lines, all channels at once or in two parts
    Conv(2, 3, 4, 1030, 1, 1, 3),
    Conv(2, 5, 4, 1025, 2, 2, 3, padding="same"),
    Conv(1, 7, 9, 264, 1, 1, 4, strides=4),
    Conv(1, 5, 7, 520, 3, 3, 2, strides=2, padding="same"),
    Conv(1, 3, 5, 2080, 1, 2, 4, groups=2, dilation_rate=2, padding=1),
    Conv(2, 7, 8, 1040, 1, 1, 2),
    Conv(2, 8, 8, 1040, 2, 1, 2),
    Conv(2, 7, 8, 1040, 1, 2, 2, padding="same"),
    # one pixel of many channels: its sum in parts; padding and nothing else
    Conv(3, 1, 1, 1100, 1, 1, 7, bias=True, activation="relu"),
    Conv(2, 3, 2, 1030, 1, 1, 9, strides=4, bias=True),
    Conv(2, 3, 3, 1030, 1, 1, 5, strides=5, padding=1, bias=True),
    # the networks' layers, in small
    Conv(2, 32, 32, 1, 5, 5, 6, bias=True, activation="relu"),
    Conv(2, 14, 14, 6, 5, 5, 16, bias=True, activation="relu"),
    Conv(3, 5, 5, 16, 5, 5, 24, bias=True, activation="relu"),
    Conv(1, 14, 14, 1, 5, 5, 32, padding="same", bias=True),
    Conv(1, 6, 6, 16, 3, 3, 64, padding="same"),
    Conv(1, 16, 16, 3, 7, 7, 16, strides=2, padding=3),
)


def _lane_problems() -> tuple[Conv, ...]:
    """Every remainder of filters against the vector lanes, and of pixels against the rows of the tile."""
    by_filters = (Conv(1, 3, 5, 3, 2, 3, filters, bias=filters % 2 == 1) for filters in LANES)
    by_channels = (Conv(1, 4, 4, channels, 3, 3, 6, padding="same") for channels in LANES)
    # 9 and 29 filters: the tallest tile, and with 8 lanes, of this few terms alone, the widest.
    by_pixels = (
        Conv(1 + width % 3, 2, width, 3, 1, 2, filters, padding="same", seed=width)
        for width in TILE_ROWS
        for filters in (9, 29)
    )
    # Sums of as many terms as the widest tile takes, and of one more.
    by_terms = (Conv(1, 3, 5, channels, 1, 1, filters) for channels in (256, 257) for filters in (32, 61))
    return (*by_filters, *by_channels, *by_pixels, *by_terms)


def _row_problems() -> tuple[Conv, ...]:
    """One channel and few filters, or one filter and few channels for grad_input, on rows of a vector and more: the
    lanes lie along the row there.
    """
    paddings = ("valid", "same", ((2, 0), (0, 3)), (0, 2))
    found = []
    for i, width in enumerate((4, 7, 8, 15, 16, 19, 28, 31, 32, 40, 45, 64)):
        for filters in (1 + i % 3, 4 + i % 4):
            shared = {"padding": paddings[(i + filters) % 4], "bias": i % 2 == 0, "seed": i}
            found += [
                Conv(2, 5, width, 1, 3, 1 + i % 4, filters, activation=(None, "relu")[filters % 2], **shared),
                Conv(1, 4, width, filters, 2, 3, 1, dilation_rate=(1, 1 + i % 2), **shared),
                Conv(1, 7, width, 1, 3, 2, filters, strides=(1 + i % 3, 1), dilation_rate=(2, 1), **shared),
            ]
    # So tall with its padding that it goes through scratch memory in parts.
    tall = (
        Conv(8, 230, 40, 1, 2, 2, 1, padding="same"),
        Conv(8, 210, 48, 1, 2, 1, 2, strides=(2, 1), padding=((3, 1), (1, 0))),
    )
    return (*found, *tall)


def random_conv(rng: np.random.Generator, largest_macs: int = 40_000) -> Conv:
    """One problem out of the whole space of options, with at least one output cell and not too much work."""
    while True:
        groups = int(rng.choice((1, 1, 1, 2, 3, 4)))
        kh, kw = (int(size) for size in rng.integers(1, 6, 2))
        dilation = tuple(int(rate) for rate in rng.choice((1, 1, 1, 2, 3), 2))
        explicit = tuple(tuple(int(side) for side in rng.integers(0, 4, 2)) for _ in range(2))
        padding = ("valid", "same", int(rng.integers(0, 3)), explicit[0], explicit)[rng.integers(5)]
        problem = Conv(
            n=int(rng.integers(1, 4)),
            h=int(rng.integers(1, 13)),
            w=int(rng.integers(1, 13)),
            channels=groups * int(rng.choice((1, 2, 3, 4, 5, 8, 11))),
            kh=kh,
            kw=kw,
            filters=groups * int(rng.choice((1, 2, 3, 4, 6, 8, 9, 16, 17, 20, 33))),
            strides=tuple(int(stride) for stride in rng.choice((1, 1, 1, 2, 3, 4), 2)),
            padding=padding,
            dilation_rate=dilation,
            groups=groups,
            data_format=str(rng.choice(("channels_last", "channels_last", "channels_first"))),
            bias=bool(rng.integers(2)),
            activation=(None, "relu")[rng.integers(2)],
            seed=int(rng.integers(1 << 30)),
        )
        if 0 < problem.macs <= largest_macs:
            return problem


def random_convs(seed: int, count: int) -> tuple[Conv, ...]:
    rng = np.random.default_rng(seed)
    return tuple(random_conv(rng) for _ in range(count))


CONV_PROBLEMS = CONV_EDGES + _lane_problems() + _row_problems() + random_convs(seed=20, count=120)

# Calls below about a million multiplications run on one thread whatever is set.
WORK_FOR_ALL_THREADS = 1_100_000
LARGE_CONV_PROBLEMS = repeated(CONV_PROBLEMS[::5], WORK_FOR_ALL_THREADS)


@dataclass(frozen=True)
class Transpose:
    """One transposed convolution in channels-last sizes; ``data_format`` says how its arrays are laid out."""

    n: int
    h: int
    w: int
    channels: int
    kh: int
    kw: int
    filters: int
    strides: Any = 1
    padding: Any = "valid"
    output_padding: Any = None
    dilation_rate: Any = 1
    data_format: str = "channels_last"
    bias: bool = False
    activation: str | None = None
    seed: int = 0

    def __str__(self) -> str:
        tail = " cf" * (self.data_format == "channels_first") + " bias" * self.bias
        return (
            f"{self.n}x{self.h}x{self.w}x{self.channels} k{self.kh}x{self.kw}x{self.filters} s={self.strides} "
            f"p={self.padding} op={self.output_padding} d={self.dilation_rate}{tail}"
        )

    @property
    def options(self) -> dict[str, Any]:
        names = ("strides", "padding", "output_padding", "dilation_rate", "data_format")
        return {name: getattr(self, name) for name in names}

    @property
    def input_shape(self) -> tuple[int, ...]:
        last = (self.n, self.h, self.w, self.channels)
        return last if self.data_format == "channels_last" else (self.n, self.channels, self.h, self.w)

    def arrays(self, make: Any = integers, dtype: Any = np.float64) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, self.n, self.h, self.w, self.channels, self.filters))
        data = {
            "x": make(rng, self.input_shape, dtype),
            "kernel": make(rng, (self.kh, self.kw, self.filters, self.channels), dtype),
            "bias": make(rng, (self.filters,), dtype) if self.bias else None,
        }
        shape = reference.conv2d_transpose(data["x"], data["kernel"], **self.options).shape
        return {**data, "grad_output": make(rng, shape, dtype)}


@dataclass(frozen=True)
class Pool:
    """One pooling problem in channels-last sizes."""

    n: int
    h: int
    w: int
    channels: int
    pool_size: Any = 2
    strides: Any = None
    padding: Any = "valid"
    data_format: str = "channels_last"
    seed: int = 0

    def __str__(self) -> str:
        tail = " cf" * (self.data_format == "channels_first")
        return f"{self.n}x{self.h}x{self.w}x{self.channels} k{self.pool_size} s={self.strides} p={self.padding}{tail}"

    @property
    def options(self) -> dict[str, Any]:
        return {
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }

    def laid_out(self, h: int, w: int) -> tuple[int, int, int, int]:
        return (self.n, self.channels, h, w) if self.data_format == "channels_first" else (self.n, h, w, self.channels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.laid_out(self.h, self.w)

    @property
    def output_shape(self) -> tuple[int, ...]:
        window = _pair(self.pool_size)
        sizes = (self.h, self.w), window, window if self.strides is None else _pair(self.strides), (1, 1)
        return self.laid_out(*output_hw(*sizes, resolve_padding(_pads(self.padding), *sizes)))

    def arrays(self, make: Any = integers, dtype: Any = np.float64) -> dict[str, np.ndarray]:
        """x with many ties, and a signed upstream gradient."""
        rng = np.random.default_rng((self.seed, self.n, self.h, self.w, self.channels))
        return {"x": make(rng, self.input_shape, dtype), "grad_output": make(rng, self.output_shape, dtype)}


POOL_EDGES = (
    Pool(1, 1, 1, 1, 1),
    Pool(2, 4, 4, 3, 2),
    Pool(2, 5, 5, 3, 2),
    Pool(1, 5, 5, 1, 2, padding="same"),
    Pool(2, 7, 6, 5, 3, 2),
    Pool(2, 7, 6, 5, 3, 2, "same"),
    Pool(1, 6, 6, 4, (2, 3), (1, 2), "same"),
    Pool(1, 8, 9, 2, 2, 3),
    Pool(1, 4, 5, 3, (4, 5)),
    Pool(1, 3, 3, 2, 5, 1, "same"),
    Pool(2, 6, 7, 3, 3, 2, 1),
    Pool(2, 6, 7, 3, 3, 1, (1, 0)),
    Pool(1, 6, 7, 9, (3, 4), 2, ((1, 2), (0, 3))),
    Pool(1, 6, 6, 4, 2, 9),
    Pool(1, 5, 5, 2, 3, 4, "same"),
    Pool(0, 4, 4, 3, 2),
    Pool(0, 5, 4, 3, 2, padding="same", data_format="channels_first"),
    Pool(2, 6, 5, 3, 2, data_format="channels_first"),
    Pool(2, 7, 7, 17, 3, 2, "same", data_format="channels_first"),
    Pool(2, 28, 28, 6, 2),
    Pool(1, 24, 24, 32, 2),
    *(Pool(1, 4, 6, channels, 2) for channels in LANES),
    *(Pool(1, 3, width, 2, 2, 1, "same") for width in TILE_ROWS),
)


def random_pool(rng: np.random.Generator) -> Pool:
    """One pooling problem in which every window holds a real cell."""
    while True:
        pool = tuple(int(size) for size in rng.integers(1, 5, 2))
        explicit = tuple(tuple(int(rng.integers(0, size)) for _ in range(2)) for size in pool)
        padding = ("valid", "same", explicit)[rng.integers(3)]
        problem = Pool(
            n=int(rng.integers(1, 4)),
            h=int(rng.integers(1, 12)),
            w=int(rng.integers(1, 12)),
            channels=int(rng.choice((1, 2, 3, 4, 7, 8, 9, 16, 17, 33))),
            pool_size=pool,
            strides=(None, tuple(int(stride) for stride in rng.integers(1, 5, 2)))[rng.integers(2)],
            padding=padding,
            data_format=str(rng.choice(("channels_last", "channels_last", "channels_first"))),
            seed=int(rng.integers(1 << 30)),
        )
        if np.prod(problem.output_shape) > 0:
            return problem


def random_pools(seed: int, count: int) -> tuple[Pool, ...]:
    rng = np.random.default_rng(seed)
    return tuple(random_pool(rng) for _ in range(count))


POOL_PROBLEMS = POOL_EDGES + random_pools(seed=21, count=60)
