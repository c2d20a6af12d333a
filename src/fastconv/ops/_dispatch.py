"""What a convolution problem is, which algorithms can run it, and which one "auto" takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from .. import _shapes
from .._validation import (
    algorithm_error,
    as_choice,
    as_index,
    as_padding,
    as_pair,
    check_elements,
    conv_channels_error,
    window_error,
)

ALGORITHMS = ("auto", "direct", "im2col", "winograd")


@dataclass(frozen=True, eq=False)
class ConvProblem:
    """One convolution in NHWC, whatever the user's data format: sizes in elements, pads resolved.

    `conv_problem` makes each only once, so problems are compared, and hashed as keys of the plans, by identity.
    """

    n: int
    ih: int
    iw: int
    ic: int
    kh: int
    kw: int
    oc: int
    strides: _shapes.Pair
    dilation: _shapes.Pair
    pads: _shapes.Pads
    groups: int
    oh: int
    ow: int

    @cached_property
    def x_shape(self) -> tuple[int, int, int, int]:
        return self.n, self.ih, self.iw, self.ic

    @cached_property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        return self.kh, self.kw, self.ic // self.groups, self.oc

    @cached_property
    def y_shape(self) -> tuple[int, int, int, int]:
        return self.n, self.oh, self.ow, self.oc

    @cached_property
    def multiply_adds(self) -> int:
        """Multiply-adds of the forward pass, padding included."""
        return self.n * self.oh * self.ow * self.oc * self.kh * self.kw * (self.ic // self.groups)


def to_nhwc(shape: tuple[int, ...], data_format: str) -> tuple[int, ...]:
    """A shape in the user's data format as (n, h, w, c)."""
    return shape if data_format == "channels_last" else (shape[0], shape[2], shape[3], shape[1])


def to_format(shape: tuple[int, ...], data_format: str) -> tuple[int, ...]:
    """A shape (n, h, w, c) in the user's data format."""
    return shape if data_format == "channels_last" else (shape[0], shape[3], shape[1], shape[2])


def conv_problem(
    where: str,
    x_shape: tuple[int, int, int, int],
    kernel_shape: tuple[int, int, int, int],
    strides: Any,
    padding: Any,
    dilation_rate: Any,
    groups: Any,
    data_format: str,
) -> ConvProblem:
    """Check the options of one convolution; x_shape is as the user gave it."""
    return _conv_problem(
        where,
        x_shape,
        kernel_shape,
        as_pair(where, "strides", strides),
        as_padding(where, padding),
        as_pair(where, "dilation_rate", dilation_rate),
        as_index(where, "groups", groups),
        data_format,
    )


@lru_cache(maxsize=1024)
def _conv_problem(
    where: str,
    x_shape: tuple[int, int, int, int],
    kernel_shape: tuple[int, int, int, int],
    strides: _shapes.Pair,
    padding: str | _shapes.Pads,
    dilation: _shapes.Pair,
    groups: int,
    data_format: str,
) -> ConvProblem:
    """The same with normalised options. Cached, since training asks for the same problems again and again."""
    n, ih, iw, ic = to_nhwc(x_shape, data_format)
    kh, kw, kernel_channels, oc = kernel_shape
    if groups < 1 or ic % groups or oc % groups or min(kernel_shape) < 1 or kernel_channels * groups != ic:
        raise conv_channels_error(where, x_shape, kernel_shape, groups, ic, data_format)
    pads = _shapes.resolve_padding(padding, (ih, iw), (kh, kw), strides, dilation)
    # A stride beyond the padded image makes one window, however far it would go.
    strides = min(strides[0], ih + sum(pads[0]) + 1), min(strides[1], iw + sum(pads[1]) + 1)
    oh, ow = _shapes.output_hw((ih, iw), (kh, kw), strides, dilation, pads)
    if oh < 1 or ow < 1 or min(ih, iw) < 1:
        raise window_error(where, (ih, iw), (kh, kw), dilation, pads)
    padded = (ih + sum(pads[0])) * (iw + sum(pads[1]))
    check_elements(where, n * padded * ic, n * oh * ow * oc, kh * kw * ic * oc)
    return ConvProblem(n, ih, iw, ic, kh, kw, oc, strides, dilation, pads, groups, oh, ow)


def supports_direct(problem: ConvProblem) -> bool:
    """The direct kernels run every problem."""
    return True


def supports_im2col(problem: ConvProblem) -> bool:
    """The patch matrix exists for every problem."""
    return True


def supports_winograd(problem: ConvProblem) -> bool:
    """The transforms are those of F(2x2, 3x3) and F(4x4, 3x3). Only conv2d and grad_input have them."""
    return (problem.kh, problem.kw) == (3, 3) and problem.strides == (1, 1) and problem.dilation == (1, 1)


def winograd_m(height: int, width: int) -> int:
    """Pixels of a side of Winograd's tiles for an output of this size: F(4x4, 3x3) or F(2x2, 3x3).

    F(4x4) rounds 2 to 4 times as much, so it has to be clearly faster: it is taken where it has at most 4/5 of
    F(2x2)'s multiplications, those of tiles beyond the border included. benchmarks/winograd.py: from 7x7 pixels on
    it took 0.64 to 0.71 of F(2x2)'s time. Small and narrow outputs (1xN, 2x2, 5x5) keep F(2x2).
    """
    products = {m: -(-height // m) * -(-width // m) * (m + 2) ** 2 for m in (2, 4)}
    return 4 if 5 * products[4] <= 4 * products[2] else 2


def winograd_products(problem: ConvProblem, m: int) -> int:
    """Multiply-adds of conv2d's transformed tiles."""
    tiles = problem.n * -(-problem.oh // m) * -(-problem.ow // m)
    return tiles * (m + 2) ** 2 * problem.ic // problem.groups * problem.oc


# Each algorithm's predicate, and what it demands in words, for the error of an explicit choice.
SUPPORTS: dict[str, tuple[Callable[[ConvProblem], bool], str]] = {
    "direct": (supports_direct, "nothing"),
    "im2col": (supports_im2col, "nothing"),
    "winograd": (supports_winograd, "a 3x3 kernel, strides=1 and dilation_rate=1"),
}


# What "winograd" demands that a grad_kernel is not.
NO_GRAD_KERNEL = (
    "conv2d or conv2d_grad_input: a kernel's gradient sums over all pixels, and with them the transforms' larger "
    "rounding errors"
)


@lru_cache(maxsize=1024)
def choose_algorithm(problem: ConvProblem) -> tuple[str, str]:
    """The algorithm that "auto" takes, and why. The only heuristics of the package.

    The direct kernels were the faster ones on every layer of benchmarks/compare.py: im2col writes and reads back
    kh*kw copies of the image first. Winograd's is faster on many, but rounds more: it is the user's choice alone.
    """
    patches = problem.n * problem.oh * problem.ow * problem.kh * problem.kw * problem.ic
    return "direct", f"it reads the image in place; im2col would first write {patches:,} elements of patches"


def resolve_algorithm(where: str, algorithm: str, problem: ConvProblem) -> str:
    """The algorithm to run for what the user asked for; ValueError if it cannot run the problem."""
    if algorithm == "auto":
        return choose_algorithm(problem)[0]
    as_choice(where, "algorithm", algorithm, ALGORITHMS)
    supported, demands = SUPPORTS[algorithm]
    if not supported(problem):
        raise algorithm_error(where, algorithm, demands)
    return algorithm
