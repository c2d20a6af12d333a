"""One operation of one layer as work that anyone can be timed at: its data, how to run it, and what is right."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import float64
import numpy as np
from layer_lists import ConvLayer, Layer, PoolLayer
from timing import Contender

import fastconv as fc
from fastconv import reference

# Multiply-adds (of a pooling: cells) that the naive loops are given: some tenths of a second.
NAIVE_WORK = 1_000_000


class Workload:
    """One operation of a layer on fixed, signed random data.

    Args:
        layer: The layer.
        operation: One of ``layer.operations``: ``"forward"``, ``"grad_input"`` or ``"grad_kernel"``.
        dtype: float32 or float64.
    """

    def __init__(self, layer: Layer, operation: str, dtype: Any = np.float32) -> None:
        self.layer, self.operation, self.dtype = layer, operation, np.dtype(dtype)
        rng = np.random.default_rng(zlib.crc32(f"{layer.label} {operation}".encode()))
        self.x = rng.standard_normal(layer.x_shape).astype(dtype)
        self.grad_output = rng.standard_normal(layer.y_shape).astype(dtype)
        if isinstance(layer, ConvLayer):
            self.kernel = rng.standard_normal(layer.kernel_shape).astype(dtype)

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
        scale = self.layer.work / part.layer.work
        note = self.layer.describe_part(part.layer)
        return Contender("naive", 1, loops(reference, np.float64), scale=scale, note=f"{note}, time x {scale:.4g}")

    def part(self, work: int) -> Workload:
        """The first images, or the first filters or channels of the first image, with their share of the data."""
        part = object.__new__(Workload)
        part.layer, part.operation, part.dtype = self.layer.part(work), self.operation, self.dtype
        for name, shape in (("x", part.layer.x_shape), ("grad_output", part.layer.y_shape)):
            whole = getattr(self, name)
            setattr(part, name, np.ascontiguousarray(whole[: shape[0], ..., : shape[3]]))
        if isinstance(part.layer, ConvLayer):
            part.kernel = np.ascontiguousarray(self.kernel[..., : part.layer.filters])
        return part

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
        _, indices = fc.max_pool2d(self.x, return_indices=True, **options)
        return partial(package.max_pool2d_grad, grads, indices, x.shape, **options)

    # What is right

    def error(self, result: Any) -> float:
        """Largest ``|result - exact| / sum of |products|`` of all cells; a NaN counts as infinite.

        A pooling's cells are judged on the part that the naive loops take.
        """
        if isinstance(result, tuple):  # a maximum and its indices
            result = result[0]
        expected, magnitude = self._expected
        n, *_, channels = expected.shape
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

    @property
    def _expected(self) -> tuple[np.ndarray, np.ndarray]:
        """The exact answer and the sum of its terms' magnitudes, both to float64's rounding; worked out once."""
        if not hasattr(self, "_answer"):
            self._answer = self._pool_answer() if isinstance(self.layer, PoolLayer) else self._conv_answer()
        return self._answer

    def _pool_answer(self) -> tuple[np.ndarray, np.ndarray]:
        part = self.part(NAIVE_WORK)
        expected = part._pool_call(reference, np.float64)()
        if self.layer.kind == "max" and self.operation == "forward":
            return expected[0], np.abs(expected[0])
        part.x, part.grad_output = np.abs(part.x), np.abs(part.grad_output)
        if self.layer.kind == "max":
            indices = self.part(NAIVE_WORK)._pool_call(reference, np.float64).args[1]
            options = self.layer.options
            return expected, reference.max_pool2d_grad(part.grad_output, indices, part.layer.x_shape, **options)
        return expected, part._pool_call(reference, np.float64)()

    def _conv_answer(self) -> tuple[np.ndarray, np.ndarray]:
        self.check_float64()
        return self._taps(), self._taps(np.abs)

    def check_float64(self) -> None:
        """Hold float64.py against the naive loops on the part that those can do.

        Raises:
            ArithmeticError: they differ by more than float64's rounding explains.
        """
        part = self.part(NAIVE_WORK)
        part.dtype = np.dtype(np.float64)
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
