"""Hypothesis strategies over the whole option space of the functional API.

Every problem they draw can run: sizes are chosen to fit the options, so almost nothing is thrown away. The naive loops
judge them, so ``work`` bounds the multiplications; within it the sizes are those beside which kernels change their
path: one-pixel images, kernels as large as the image, strides beyond it, no images, channels one beside the vector
lanes and the tiles, pixels one beside a tile's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from calls import Filter, Product
from hypothesis import assume
from hypothesis import strategies as st
from oracle import DTYPES
from problems import LANES, TILE_ROWS, Conv, Pool, Transpose, _pair
from test_arrays import MEMORY_LAYOUTS

import fastconv as fc
from fastconv import _shapes

# Beside two of the widest tiles (three vectors of 16 float32) and beside one block of a sum's depth.
WIDE = (*LANES, 80, 95, 96, 97, 127, 128, 129)
DEEP = (*WIDE, 255, 256, 257, 513)
FORMATS = st.sampled_from(("channels_last", "channels_first"))
WINDOWS = st.sampled_from((1, 2, 3, 3, 4, 5, 7))
STRIDES = st.sampled_from((1, 1, 1, 2, 2, 3, 4, 7, 50))
DILATIONS = st.sampled_from((1, 1, 1, 2, 3, 6))
PADS = st.sampled_from((0, 1, 2, 3, 6))
BATCHES = (1, 2, 3, 0, 5, 9, 40)
# One channel or one filter, and few of the other: the lanes lie along rows, which are beside one and two vectors long.
FEW = (1, 2, 3, 4, 5, 6, 7)
ROW_PIXELS = (*TILE_ROWS, 16, 19, 24, 28, 31, 32, 33, 40)


@dataclass(frozen=True)
class Way:
    """How a problem is run: everything that must not show in the answer."""

    dtype: Any
    isa: str
    threads: int
    layout: Callable[[np.ndarray], np.ndarray] | None

    def __repr__(self) -> str:
        layout = self.layout.__name__ if self.layout else "guarded"
        return f"Way({np.dtype(self.dtype)}, {self.isa}, {self.threads} threads, {layout})"


ways = st.builds(
    Way,
    dtype=st.sampled_from(DTYPES),
    isa=st.sampled_from(fc.available_isas()),
    threads=st.sampled_from((1, 2, 3, 5)),
    layout=st.one_of(st.none(), st.none(), st.sampled_from(MEMORY_LAYOUTS)),
)


@cache
def _one_of(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def _up_to(draw: Any, values: tuple[int, ...], most: int) -> int:
    """One of the values that are at most ``most``, or the smallest."""
    return draw(_one_of(tuple(value for value in values if value <= most) or (min(values),)))


def _pairs(draw: Any, sizes: st.SearchStrategy[int]) -> Any:
    """An int for both directions, or a pair."""
    first = draw(sizes)
    return (first, draw(sizes)) if draw(st.booleans()) else first


def _padding(draw: Any, pads: Callable[[int], st.SearchStrategy[int]] = lambda axis: PADS) -> Any:
    """Each form of padding; ``pads`` gives what fits an axis, and -1 what fits both."""
    form = draw(st.integers(0, 4))
    if form < 2:
        return ("valid", "same")[form]
    if form == 2:
        return draw(pads(-1))
    if form == 3:
        return draw(pads(0)), draw(pads(1))
    return tuple((draw(pads(axis)), draw(pads(axis))) for axis in (0, 1))


def _axis_pads(padding: Any) -> tuple[Any, Any]:
    """The padding of each axis: a pair, or its name."""
    if isinstance(padding, str):
        return padding, padding
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    return tuple(side if isinstance(side, tuple) else (side, side) for side in padding)


def _image_size(draw: Any, outputs: int, span: int, stride: int, padding: Any) -> int:
    """An image's height or width that gives about so many outputs, at least one."""
    before = (outputs - 1) * stride
    if padding == "same":
        return before + draw(st.integers(1, min(stride, 6)))
    smallest = max(1, span - (0 if padding == "valid" else sum(padding)))
    return before + smallest + draw(st.integers(0, min(stride, 6) - 1))


@st.composite
def convs(draw: Any, work: int = 3000, depthwise: bool = False, plain: bool = False) -> Conv:
    """Convolutions; ``depthwise``: a group for each channel; ``plain``: what im2col takes, channels last, no groups."""
    strides, dilation, padding = _pairs(draw, STRIDES), _pairs(draw, DILATIONS), _padding(draw)
    kh, kw = draw(WINDOWS), draw(WINDOWS)
    left, few = work // (kh * kw), False
    if depthwise:
        groups = _up_to(draw, WIDE, left)
        inputs, outputs = 1, _up_to(draw, (1, 1, 1, 2, 3, 4), left // groups)
    else:
        few = draw(st.integers(0, 3)) == 0
        groups = 1 if plain or few else _up_to(draw, (1, 1, 1, 1, 2, 3, 4, 17), left)
        # Channels or filters first, so that either may be many.
        first = 1 if few else _up_to(draw, DEEP, left // groups)
        second = _up_to(draw, FEW if few else WIDE, left // (groups * first))
        inputs, outputs = (first, second) if draw(st.booleans()) else (second, first)
    left //= groups * inputs * outputs
    if few:
        strides = (_pair(strides)[0], draw(st.sampled_from((1, 1, 1, 2))))
        cols = _up_to(draw, ROW_PIXELS, left)
        rows = _up_to(draw, TILE_ROWS, min(left // cols, 9))
    else:
        rows = _up_to(draw, TILE_ROWS, min(left, 9))
        cols = _up_to(draw, TILE_ROWS, left // rows)
    steps, spread, pads = _pair(strides), _pair(dilation), _axis_pads(padding)
    h, w = (
        _image_size(draw, count, _shapes.effective_size(window, spread[axis]), steps[axis], pads[axis])
        for axis, (count, window) in enumerate(((rows, kh), (cols, kw)))
    )
    return Conv(
        n=_up_to(draw, BATCHES, max(left // (rows * cols), 1)),
        h=h,
        w=w,
        channels=groups * inputs,
        kh=kh,
        kw=kw,
        filters=groups * outputs,
        strides=strides,
        padding=padding,
        dilation_rate=dilation,
        groups=groups,
        data_format="channels_last" if plain else draw(FORMATS),
        bias=draw(st.booleans()),
        activation=draw(st.sampled_from((None, "relu"))),
        seed=draw(st.integers(0, 999)),
    )


@st.composite
def large_convs(draw: Any, work: int = 20_000_000) -> Conv:
    """Convolutions of a real network's sizes, for a second oracle: blocks, panels and parts of sums, several each."""
    groups = draw(st.sampled_from((1, 1, 1, 1, 2, 4)))
    kh, kw = draw(st.sampled_from(((1, 1), (3, 3), (3, 3), (5, 5), (7, 7), (1, 7), (5, 2))))
    left = work // (kh * kw * groups)
    inputs = _up_to(draw, (1, 3, 6, 16, 17, 32, 33, 64, 65, 127, 128, 130, 256, 513), left // 100)
    outputs = _up_to(draw, (1, 2, 6, 10, 16, 31, 32, 33, 64, 65, 96, 127, 130, 257), left // (inputs * 50))
    left //= inputs * outputs
    rows = _up_to(draw, (1, 4, 7, 13, 14, 15, 28, 29, 56, 113), left)
    cols = _up_to(draw, (1, 7, 14, 15, 17, 28, 56, 57, 113, 500, 5000), left // rows)
    stride = draw(st.sampled_from((1, 1, 1, 2, 3)))
    dilation = draw(st.sampled_from((1, 1, 1, 2)))
    padding = draw(st.sampled_from(("valid", "same", "same", 1, ((2, 0), (1, 3)))))
    pads = _axis_pads(padding)
    h, w = (
        _image_size(draw, count, _shapes.effective_size(window, dilation), stride, pads[axis])
        for axis, (count, window) in enumerate(((rows, kh), (cols, kw)))
    )
    return Conv(
        _up_to(draw, (1, 2, 3, 5, 16, 33, 129), max(left // (rows * cols), 1)), h, w, groups * inputs, kh, kw,
        groups * outputs, stride, padding, dilation, groups, draw(FORMATS), draw(st.booleans()), None,
        draw(st.integers(0, 999)),
    )  # fmt: skip


@st.composite
def transposes(draw: Any, work: int = 3000) -> Transpose:
    strides, dilation = _pairs(draw, STRIDES), _pairs(draw, DILATIONS)
    steps, spread = _pair(strides), _pair(dilation)
    kh, kw = draw(WINDOWS), draw(WINDOWS)
    left = work // (kh * kw)
    first = _up_to(draw, WIDE, left)
    second = _up_to(draw, WIDE, left // first)
    channels, filters = (first, second) if draw(st.booleans()) else (second, first)
    left //= channels * filters
    h = _up_to(draw, TILE_ROWS, min(left, 7))
    w = _up_to(draw, TILE_ROWS, left // h)
    extra: Any = None
    if draw(st.booleans()):
        extra = tuple(draw(st.integers(0, min(step, 6) - 1)) for step in steps)
        extra = min(extra) if draw(st.booleans()) else extra
    added = (0, 0) if extra is None else _pair(extra)
    # Pads come off the output, of which something must be left.
    spans = [_shapes.effective_size(window, rate) for window, rate in zip((kh, kw), spread, strict=True)]
    lengths = [(size - 1) * steps[axis] + spans[axis] + added[axis] for axis, size in enumerate((h, w))]
    most = [(length - 1) // 2 for length in lengths]
    padding = _padding(draw, lambda axis: st.integers(0, min(min(most) if axis < 0 else most[axis], 6)))
    pads = _axis_pads(padding)
    sizes = [
        _shapes.transposed_size(
            size, window, steps[axis], spread[axis], pads[axis], None if extra is None else added[axis]
        )[0]
        for axis, (size, window) in enumerate(((h, kh), (w, kw)))
    ]
    assume(min(sizes) > 0)  # "same" with output_padding 0 can leave nothing of one cell
    return Transpose(
        _up_to(draw, BATCHES, max(left // (h * w), 1)), h, w, channels, kh, kw, filters, strides, padding, extra,
        dilation, draw(FORMATS), draw(st.booleans()), draw(st.sampled_from((None, "relu"))), draw(st.integers(0, 999)),
    )  # fmt: skip


@st.composite
def pools(draw: Any, work: int = 3000) -> Pool:
    # Averages are exact for windows of at most 6 x 6 cells: see whole_averages.
    pool_size = _pairs(draw, st.sampled_from((1, 2, 2, 3, 4, 5, 6)))
    window = _pair(pool_size)
    strides = None if draw(st.booleans()) else _pairs(draw, STRIDES)
    steps = window if strides is None else _pair(strides)
    padding = _padding(draw, lambda axis: st.integers(0, (min(window) if axis < 0 else window[axis]) - 1))
    pads = _axis_pads(padding)
    left = work // (window[0] * window[1])
    channels = _up_to(draw, WIDE, left)
    left //= channels
    rows = _up_to(draw, TILE_ROWS, min(left, 9))
    cols = _up_to(draw, TILE_ROWS, left // rows)
    h, w = (_image_size(draw, count, window[axis], steps[axis], pads[axis]) for axis, count in enumerate((rows, cols)))
    return Pool(
        _up_to(draw, BATCHES, max(left // (rows * cols), 1)), h, w, channels, pool_size, strides, padding,
        draw(FORMATS), draw(st.integers(0, 999)),
    )  # fmt: skip


@st.composite
def filters(draw: Any, work: int = 6000) -> Filter:
    sizes = st.sampled_from((1, 2, 3, 4, 5, 7, 11))
    lengths = st.sampled_from((1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 48, 65))
    kernel = draw(sizes), draw(sizes)
    image = draw(sizes), draw(lengths)
    if draw(st.booleans()):
        image = image[::-1]
    mode = draw(st.sampled_from(("full", "same", "valid")))
    if mode == "valid":  # one must hold the other: mostly, the image
        larger = max(image[0], kernel[0]), max(image[1], kernel[1])
        smaller = min(image[0], kernel[0]), min(image[1], kernel[1])
        image, kernel = (larger, smaller) if draw(st.integers(0, 3)) else (smaller, larger)
    channels = _up_to(draw, (1, 2, 3, 5, 9, 17), max(work // int(np.prod(image) * np.prod(kernel)), 1))
    boundary = draw(st.sampled_from(("fill", "fill", "wrap", "symm", "circular", "symmetric")))
    types = st.sampled_from((None, None, None, "bool", "int8", "uint8", "int16", "int64", "uint64"))
    return Filter(
        (*image, channels) if channels > 1 or draw(st.booleans()) else image, kernel, mode, boundary,
        draw(st.sampled_from((0, 0, -3, 2.5))), draw(types), draw(types), draw(st.integers(0, 999)),
    )  # fmt: skip


@st.composite
def products(draw: Any, work: int = 200_000) -> Product:
    inputs = draw(_one_of((*DEEP, 1025)))
    units = _up_to(draw, DEEP, work // inputs)
    rows = (1, 2, 3, 0, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 17, 33, 129, 257)
    return Product(_up_to(draw, rows, work // (inputs * units)), inputs, units, draw(st.booleans()),
                   draw(st.sampled_from((None, "relu"))), draw(st.integers(0, 999)))  # fmt: skip
