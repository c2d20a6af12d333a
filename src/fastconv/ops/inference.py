"""Inference through many layers in one call: steps, and chains of them that keep a few images in cache.

A `Step` is what one layer computes for one image shape, with live weights. A `Chain` takes a batch through several
steps: each thread carries a few images through all of them before it takes the next, so that what lies between two
steps stays in its cache, and Python is entered once for the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from .._core import _runtime
from .._core._program import Program
from .._shapes import Pads
from .._typing import Array
from .._validation import check_shape
from ._arrays import contiguous, result_empty
from ._conv_depthwise import depthwise_plan, fits_lanes
from ._dispatch import conv_problem
from .activations import LINEAR, RELU
from .conv import forward_plan
from .dense import product_plan
from .pooling import pool_problem

# What the images of one chunk may take between two steps, so that it stays in a core's second-level cache.
CHUNK_BYTES = 256 * 1024
CHUNK_MOST = 64
# A step with more weights than that does not share a chain: fetching them for every few images would cost more than
# the round trip of the whole batch's activations. Batches of a few images cannot choose.
WEIGHTS_MOST = 512 * 1024
FEW = 4


@dataclass(frozen=True)
class Step:
    """One step for images of one shape.

    Args:
        y_shape: shape of an image's output.
        weight_bytes: size of the weights that the step reads.
        add: puts the step into a `Program` for chunks of so many images and an instruction set; None where nothing is
            computed, since the output is the input's memory seen in another shape.
    """

    y_shape: tuple[int, ...]
    weight_bytes: int = 0
    add: Callable[[Program, int, str], None] | None = None


def conv2d_step(x_shape: tuple[int, ...], kernel: Array, bias: Array | None, *, relu: bool, **options: Any) -> Step:
    """`conv2d` of images (h, w, c); options: strides, padding, dilation_rate, groups."""

    def problem(n: int) -> Any:
        shape: Any = (n, *x_shape)
        return conv_problem("conv2d", shape, kernel.shape, **options, data_format="channels_last")

    def add(program: Program, n: int, isa: str) -> None:
        p, activation = problem(n), RELU if relu else LINEAR
        # A step has no memory of its own, where channels with several filters would be repeated.
        if p.ic == p.oc and fits_lanes(p, kernel.itemsize, isa):
            plan = depthwise_plan(p, kernel.itemsize, isa)
            program.add_depthwise(plan, kernel, bias, activation, prod(y_shape))
        else:
            program.add_conv(forward_plan(p, kernel.itemsize, isa), kernel, bias, activation, prod(y_shape))

    y_shape = problem(1).y_shape[1:]
    return Step(y_shape, kernel.nbytes, add)


def dense_step(inputs: int, kernel: Array, bias: Array | None, *, relu: bool) -> Step:
    """`dense` of images that are rows of so many inputs."""
    units = kernel.shape[1]

    def add(program: Program, n: int, isa: str) -> None:
        plan = product_plan(n, inputs, units, False, kernel.itemsize, isa)
        program.add_conv(plan, kernel, bias, RELU if relu else LINEAR, units)

    return Step((units,), kernel.nbytes, add)


def pool2d_step(
    x_shape: tuple[int, ...], pool_size: tuple[int, ...], strides: tuple[int, ...], padding: Any, *, is_max: bool
) -> Step:
    """`max_pool2d` or `avg_pool2d` of images (h, w, c)."""

    def problem(n: int) -> Any:
        window: Any = pool_size
        steps: Any = strides
        return pool_problem("pool2d", (n, *x_shape), window, steps, padding, "channels_last")

    def add(program: Program, n: int, isa: str) -> None:
        program.add_pool(is_max, prod(y_shape), **problem(n).geometry)

    y_shape = problem(1).y_shape[1:]
    return Step(y_shape, 0, add)


def relu_step(x_shape: tuple[int, ...]) -> Step:
    """`relu` of images of any shape."""

    def add(program: Program, n: int, isa: str) -> None:
        program.add_relu(prod(x_shape))

    return Step(x_shape, 0, add)


def pad_step(x_shape: tuple[int, ...], pads: Pads) -> Step:
    """Zeros around images (h, w, c)."""
    h, w, c = x_shape

    def add(program: Program, n: int, isa: str) -> None:
        program.add_pad((h, w, c), pads)

    return Step((sum(pads[0]) + h, sum(pads[1]) + w, c), 0, add)


def softmax_step(size: int) -> Step:
    """`softmax` of images that are rows of so many scores."""

    def add(program: Program, n: int, isa: str) -> None:
        program.add_softmax(size)

    return Step((size,), 0, add)


class Chain:
    """Steps one after another, for batches of any size.

    Args:
        steps: at least one, the first for images of ``x_shape``.
        x_shape: shape of an image.
        dtype: of images and weights.

    Example:
        >>> import numpy as np
        >>> chain = Chain([relu_step((2, 2)), dense_step(4, np.ones((4, 1)), None, relu=False)], (2, 2), np.float64)
        >>> chain(np.array([[[1.0, -1.0], [2.0, 3.0]]]))
        array([[6.]])
    """

    def __init__(self, steps: Sequence[Step], x_shape: tuple[int, ...], dtype: Any) -> None:
        self.y_shape = steps[-1].y_shape
        self._dtype = np.dtype(dtype)
        self._steps = [step for step in steps if step.add is not None]
        self._x_shape, self._x_size = x_shape, prod(x_shape)
        sizes = [self._x_size, *(prod(step.y_shape) for step in self._steps)]
        self._image_bytes = self._dtype.itemsize * max((x + y for x, y in pairwise(sizes)), default=0)
        self._programs: dict[tuple[int, str], Program] = {}

    @property
    def computes(self) -> bool:
        """Whether the output is memory of its own; False if no step does anything but see the input otherwise."""
        return bool(self._steps)

    def __call__(self, x: Array) -> Array:
        """x (n, *x_shape) -> (n, *y_shape)."""
        n = len(x)
        x = contiguous(x if x.dtype is self._dtype or x.dtype == self._dtype else x.astype(self._dtype))
        check_shape("inference", "x", x, (n, *self._x_shape), "the shape that the steps were made for")
        if not self._steps:
            return x.reshape(n, *self.y_shape)
        y = result_empty((n, *self.y_shape), self._dtype)
        if y.size:
            self._program(n)(x, y, n)
        return y

    def _program(self, n: int) -> Program:
        """The program for n images; kept, since the next batch will be of the same size."""
        size = 1 if n == 1 else self._chunk(n)
        isa = _runtime.get_isa()
        key = size, isa
        program = self._programs.get(key)
        if program is None:
            program = Program(isa, self._dtype.itemsize, size, self._x_size, size * self._image_bytes > CHUNK_BYTES)
            for step in self._steps:
                assert step.add is not None
                step.add(program, size, isa)
            self._programs[key] = program
        return program

    def _chunk(self, n: int) -> int:
        """How many images go through the steps together: a power of two, that there be few programs."""
        if len(self._steps) == 1:
            return 1 << min(n - 1, 1023).bit_length()  # nothing lies between steps: the step's own blocks are best
        share = -(-n // _runtime.get_num_threads())
        return 1 << (min(max(CHUNK_BYTES // max(self._image_bytes, 1), 1), CHUNK_MOST, share).bit_length() - 1)


def chains(steps: Sequence[Step], x_shape: tuple[int, ...], dtype: Any, few: bool) -> list[Chain]:
    """The steps as chains: one for a few images, else cut where a step's weights are many."""
    found: list[Chain] = []
    group: list[Step] = []
    shape = x_shape

    def close() -> None:
        nonlocal group, shape
        if group:
            found.append(Chain(group, shape, dtype))
            shape, group = group[-1].y_shape, []

    for step in steps:
        heavy = not few and step.weight_bytes > WEIGHTS_MOST
        if heavy:
            close()
        group.append(step)
        if heavy:
            close()
    close()
    return found
