"""One operation of one layer as work that anyone can be timed at: its data, how to run it, and what is right."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import float64
import numpy as np
from layer_lists import ConvLayer, Layer, PoolLayer
from timing import Contender

import fastconv as fc
from fastconv import reference

# Multiply-adds (of a pooling: cells) that the naive loops are given: some tenths of a second.
NAIVE_WORK = 1_000_000
# What float64.py is held against them on: a fifth of that tells as much.
CHECKED_WORK = 200_000
CACHE_LINE = 64  # bytes


def _aligned(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values in memory that starts on a cache line, as every library's own results do, so that between two layers
    all images and gradients do; NumPy's large arrays start 16 bytes behind one."""
    memory = np.empty(values.nbytes + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    array = memory[start : start + values.size * dtype.itemsize].view(dtype).reshape(values.shape)
    array[...] = values
    return array


@dataclass
class Workload:
    """One operation (``"forward"``, ``"grad_input"`` or ``"grad_kernel"``) of a layer, and the data for it."""

    layer: Layer
    operation: str
    dtype: np.dtype
    x: np.ndarray
    grad_output: np.ndarray
    kernel: np.ndarray | None = None  # of a convolution
    indices: np.ndarray | None = None  # of the cells that won, for the gradient of a maximum

    @classmethod
    def random(cls, layer: Layer, operation: str, dtype: Any = np.float32) -> Workload:
        """Signed normal numbers, the same in every run."""
        rng = np.random.default_rng(zlib.crc32(f"{layer.label} {operation}".encode()))
        dtype = np.dtype(dtype)
        x, grad_output = (_aligned(rng.standard_normal(shape), dtype) for shape in (layer.x_shape, layer.y_shape))
        work = cls(layer, operation, dtype, x, grad_output)
        if isinstance(layer, ConvLayer):
            work.kernel = rng.standard_normal(layer.kernel_shape).astype(dtype)
        elif layer.kind == "max" and operation == "grad_input":
            work.indices = fc.max_pool2d(x, return_indices=True, **layer.options)[1]
        return work

    @property
    def gflop(self) -> float:
        """Two operations for each multiply-add; nothing for a pooling, which memory bounds, not arithmetic."""
        return 2e-9 * self.layer.work if isinstance(self.layer, ConvLayer) else 0.0

    # Who does the work

    def call(self, algorithm: str) -> Callable[[], np.ndarray]:
        """The operation by one of fastconv's algorithms, ready to be called."""
        if isinstance(self.layer, PoolLayer):
            return self._pool_call(fc, self.dtype)
        return self._conv_call(fc, self.dtype, algorithm=algorithm)

    def fast(self, algorithm: str, threads: int) -> Contender:
        """fastconv on so many threads."""
        return Contender(algorithm, threads, self.call(algorithm), partial(fc.set_num_threads, threads))

    def naive(self, work: int = NAIVE_WORK) -> Contender:
        """The articles' nested loops on a part of the work; their time is scaled to the whole of it."""
        part = self.part(work)
        loops = part._pool_call if isinstance(self.layer, PoolLayer) else part._conv_call
        scale, note = self.share(part)
        return Contender("naive", 1, loops(reference, np.float64), scale=scale, note=note)

    def part(self, work: int) -> Workload:
        """The first images, or the first filters or channels (and rows) of the first, with their share of the data."""
        layer = self.layer.part(work)
        n, rows, _, channels = layer.x_shape
        _, out_rows, _, filters = layer.y_shape
        return Workload(
            layer,
            self.operation,
            self.dtype,
            np.ascontiguousarray(self.x[:n, :rows, :, :channels]),
            np.ascontiguousarray(self.grad_output[:n, :out_rows, :, :filters]),
            None if self.kernel is None else np.ascontiguousarray(self.kernel[..., :filters]),
            None if self.indices is None else np.ascontiguousarray(self.indices[:n, ..., :filters]),
        )

    def share(self, part: Workload) -> tuple[float, str]:
        """How many times the work of ``part`` this is, and what to tell the reader about it."""
        scale = self.layer.work / part.layer.work
        return scale, "" if scale == 1 else f"{self.layer.describe_part(part.layer)}, time x {scale:.4g}"

    def _conv_call(self, package: Any, dtype: Any, **algorithm: str) -> Callable[[], np.ndarray]:
        options = self.layer.options | algorithm
        x, kernel, grads = (array.astype(dtype) for array in (self.x, self.kernel, self.grad_output))
        if self.operation == "forward":
            return partial(package.conv2d, x, kernel, **options)
        if self.operation == "grad_input":
            return partial(package.conv2d_grad_input, grads, kernel, x.shape, **options)
        return partial(package.conv2d_grad_kernel, x, grads, self.layer.window, **options)

    def _pool_call(self, package: Any, dtype: Any) -> Callable[[], Any]:
        """Max pooling gives its indices too: the naive loops always look for them, and training needs them."""
        x, grads, options = self.x.astype(dtype), self.grad_output.astype(dtype), self.layer.options
        if self.layer.kind == "avg":
            if self.operation == "forward":
                return partial(package.avg_pool2d, x, **options)
            return partial(package.avg_pool2d_grad, grads, x.shape, **options)
        if self.operation == "forward":
            return partial(package.max_pool2d, x, return_indices=True, **options)
        return partial(package.max_pool2d_grad, grads, self.indices, x.shape, **options)

    # What is right

    def error(self, result: Any) -> float:
        """Largest ``|result - exact| / sum of |products|`` of all cells; a NaN counts as infinite.

        A pooling is judged on the part that the naive loops take, and a wrong index is an infinite error.
        """
        expected, magnitude, indices = self._expected
        n, *_, channels = expected.shape
        if indices is not None:
            result, found = result
            if not np.array_equal(found[:n, ..., :channels], indices):
                return math.inf
        got = result[:n, ..., :channels] if isinstance(self.layer, PoolLayer) else result
        if got.shape != expected.shape:
            raise ValueError(f"{self.layer.label} {self.operation}: shape {got.shape}, expected {expected.shape}")
        difference = np.abs(got - expected)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(difference == 0, 0.0, difference / magnitude)
        return float(np.nan_to_num(relative, nan=np.inf).max())

    @property
    def bound(self) -> float:
        """Higham's gamma_K = K u / (1 - K u): no way of summing K products may be further off than this.

        N. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM 2002, section 3.1.
        """
        product = self._terms * float(np.finfo(self.dtype).eps) / 2
        return product / (1 - product)

    @property
    def _terms(self) -> int:
        layer = self.layer
        if isinstance(layer, PoolLayer):
            windows = math.prod(-(-layer.window[axis] // layer.strides[axis]) for axis in (0, 1))
            terms = {"forward": math.prod(layer.window) + 1, "grad_input": windows + 1}
        else:
            taps = math.prod(layer.window)
            terms = {
                "forward": taps * layer.x_shape[3] // layer.groups,
                "grad_input": taps * layer.filters // layer.groups,
                "grad_kernel": math.prod(layer.y_shape[:3]),
            }
        return terms[self.operation]

    @cached_property
    def _expected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The exact answer, the sum of its terms' magnitudes (both to float64's rounding), and a maximum's indices."""
        if isinstance(self.layer, ConvLayer):
            self.check_float64()
            return self._taps(), self._taps(np.abs), None
        part = self.part(NAIVE_WORK)
        magnitudes = replace(part, x=np.abs(part.x), grad_output=np.abs(part.grad_output))
        expected, magnitude = (work._pool_call(reference, np.float64)() for work in (part, magnitudes))
        if isinstance(expected, tuple):
            return expected[0], np.abs(expected[0]), expected[1]
        return expected, magnitude, None

    def check_float64(self) -> None:
        """Hold float64.py against the naive loops on a part that those can do.

        Raises:
            ArithmeticError: they differ by more than float64's rounding explains.
        """
        part = replace(self.part(CHECKED_WORK), dtype=np.dtype(np.float64))
        naive, taps, magnitude = part._conv_call(reference, np.float64)(), part._taps(), part._taps(np.abs)
        if not (np.abs(naive - taps) <= 2 * part.bound * magnitude).all():
            raise ArithmeticError(f"{self.layer.label} {self.operation}: float64.py and the naive loops disagree.")

    def _taps(self, view: Callable[[np.ndarray], np.ndarray] = np.asarray) -> np.ndarray:
        x, kernel, grads = view(self.x), view(self.kernel), view(self.grad_output)
        if self.operation == "forward":
            return float64.conv2d(self.layer, x, kernel)
        if self.operation == "grad_input":
            return float64.conv2d_grad_input(self.layer, grads, kernel)
        return float64.conv2d_grad_kernel(self.layer, x, grads)
