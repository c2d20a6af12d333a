"""Each problem as the calls that it makes and the naive loops' answers; one function runs them all, between guards.

A family is a kind of problem with all operations on it: a convolution with both gradients, a pooling with its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from oracle import (
    COMMON_MULTIPLE,
    assert_exact,
    assert_same_bits,
    assert_within,
    gamma,
    guarded_copy,
    guarded_nan,
    integers,
    spoil_free_memory,
)
from problems import EXACT_ALGORITHMS, Conv, Pool, Transpose, _pads, _pair, naive_conv

from fastconv import ops, reference
from fastconv._shapes import effective_size, resolve_padding
from fastconv.ops import _dispatch, conv_pooled
from fastconv.ops._conv_winners import winners_fit


@dataclass(frozen=True)
class Filter:
    """One filtering by convolve2d and correlate2d. A type is that of an integer image or kernel, None: the floats'."""

    image: tuple[int, ...]
    kernel: tuple[int, int]
    mode: str = "full"
    boundary: str = "fill"
    fillvalue: float = 0
    image_type: str | None = None
    kernel_type: str | None = None
    seed: int = 0

    def arrays(self, make: Any = integers) -> list[np.ndarray]:
        rng = np.random.default_rng((self.seed, *self.image, *self.kernel))
        found = []
        for shape, dtype in ((self.image, self.image_type), (self.kernel, self.kernel_type)):
            if dtype is None:
                found.append(make(rng, shape, np.float64))
            else:
                array = integers(rng, shape, np.float64)
                found.append((abs(array) if dtype[0] in "bu" else array).astype(dtype))
        return found


@dataclass(frozen=True)
class Product:
    """One dense layer: x (rows, inputs) times kernel (inputs, units)."""

    rows: int
    inputs: int
    units: int
    bias: bool = False
    activation: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Call:
    """One call: its arguments, of which float arrays take the type of the run, and the exact answer in float64."""

    name: str
    args: tuple[Any, ...]
    options: dict[str, Any]
    expected: tuple[np.ndarray, ...]
    outs: tuple[str, ...] = ("out",)  # the keyword that takes memory for each answer, if any does
    algorithms: tuple[str, ...] = ()
    bound: Callable[[Any], np.ndarray] | None = field(default=None, compare=False)  # of an answer that is rounded
    result_type: Callable[[Any], Any] = field(default=lambda dtype: dtype, compare=False)

    @property
    def function(self) -> Callable[..., Any]:
        return getattr(ops, self.name)


def check(call: Call, dtype: Any, layout: Callable[[np.ndarray], np.ndarray] | None = None, **options: Any) -> None:
    """Run a call in the given type: equal to the answer, inputs as they were, nothing beside the buffers written.

    layout: how the inputs lie in memory; None: C-contiguous and read-only, between guard bytes.
    """
    guards, inputs, args = [], [], []
    for arg in call.args:
        if isinstance(arg, np.ndarray):
            array = arg.astype(dtype) if arg.dtype.kind == "f" else arg
            if layout is None:
                guards.append(guarded_copy(array))
                arg = guards[-1].array
                arg.flags.writeable = False
            else:
                arg = layout(array)
            inputs.append((arg, array))
        args.append(arg)
    result = np.dtype(call.result_type(dtype)).type
    types = [_index_type(dtype) if expected.dtype.kind == "i" else result for expected in call.expected]
    buffers = []
    if layout is None:
        buffers = [guarded_nan(e.shape, t) for e, t in zip(call.expected, types, strict=True)][: len(call.outs)]
        options.update({name: buffer.array for name, buffer in zip(call.outs, buffers, strict=True)})
    if not buffers:
        spoil_free_memory(8 * sum(expected.size for expected in call.expected))
    answers = call.function(*args, **call.options, **options)
    answers = answers if isinstance(answers, tuple) else (answers,)
    assert len(answers) == len(call.expected)
    for answer, expected, kind in zip(answers, call.expected, types, strict=True):
        finite = np.isfinite(expected)
        if call.bound is not None:
            assert_exact(np.where(finite, 0, answer), np.where(finite, 0, expected).astype(kind), kind, call.name)
            assert_within(np.where(finite, answer, 0), np.where(finite, expected, 0), call.bound(dtype), call.name)
        else:
            assert_exact(answer, expected.astype(kind), kind, call.name)
            if finite.all():
                # Sums begin at +0, so that none is -0: even the sign of zero is the reference's.
                assert_same_bits(answer, expected.astype(kind) + kind(0), call.name)
    for answer, buffer in zip(answers, buffers, strict=False):
        assert answer is buffer.array
    for buffer in (*guards, *buffers):
        buffer.check()
    for array, original in inputs:
        assert_exact(array, original, what=f"an input of {call.name} was modified:")


def _index_type(dtype: Any) -> Any:
    return np.int32 if np.dtype(dtype).itemsize == 4 else np.int64


def conv_algorithms(p: Conv) -> tuple[str, ...]:
    """ "auto" and every algorithm that is exact on whole numbers and can run the problem."""
    x_shape, kernel_shape = p.input_shape, p.kernel_shape
    problem = _dispatch.conv_problem("calls", x_shape, kernel_shape, **p.options)  # type: ignore[arg-type]
    able = (name for name in EXACT_ALGORITHMS if _dispatch.SUPPORTS[name][0](problem))
    return ("auto", *able)


def conv_calls(p: Conv, make: Any = integers, answers: Any = naive_conv) -> Iterator[Call]:
    data, algorithms = p.arrays(make), conv_algorithms(p)
    expected = answers(p, data)
    x, kernel, g = data["x"], data["kernel"], data["grad_output"]
    activation = {"activation": p.activation}
    for name, args, options in (
        ("conv2d", (x, kernel, data["bias"]), {**p.options, **activation}),
        ("conv2d_grad_input", (g, kernel, p.input_shape), p.options),
        ("conv2d_grad_kernel", (x, g, (p.kh, p.kw)), p.options),
    ):
        yield Call(name, args, options, (expected[name],), algorithms=algorithms)


def conv_pooled_calls(p: Conv, make: Any = integers) -> Iterator[Call]:
    """A convolution with a max pooling behind it, of a window that fits; channels last, as the operation has it."""
    data = p.arrays(make)
    x, y = (
        np.moveaxis(a, 1, -1) if p.data_format == "channels_first" else a
        for a in (data["x"], naive_conv(p, data)["conv2d"])
    )
    y = np.maximum(y, 0) if p.activation == "relu" else y
    pool = {
        "pool_size": tuple(min(size, (2, 3, 1)[p.seed % 3]) for size in y.shape[1:3]),
        "strides": (None, 1, (2, 1))[p.seed % 5 % 3],
        "padding": ("valid", "same")[p.seed % 2],
    }
    options = {name: value for name, value in p.options.items() if name != "data_format"}
    options |= {"activation": p.activation} | {"pool_" * (name != "pool_size") + name: pool[name] for name in pool}
    answer = reference.max_pool2d(y, **pool, return_indices=True)
    yield Call("conv2d_max_pool2d", (x, data["kernel"], data["bias"]), options, answer, ("out", "indices_out"))
    del options["activation"]
    g = make(np.random.default_rng(p.seed), answer[0].shape, np.float64)
    wide = reference.max_pool2d_grad(g, answer[1], y.shape, **pool)
    window = {name: value for name, value in options.items() if not name.startswith("pool_")}
    gradient = reference.conv2d_grad_kernel(x, wide, (p.kh, p.kw), **window)
    input_gradient = reference.conv2d_grad_input(wide, data["kernel"], x.shape, **window)
    for kind in (np.int32, np.int64):
        found = answer[1].astype(kind)
        for way in (winners_alone, contextlib.nullcontext):
            with way():
                yield Call("conv2d_max_pool2d_grad_kernel", (x, g, found, (p.kh, p.kw)), options, (gradient,))
                yield Call(
                    "conv2d_max_pool2d_grad_input", (g, found, data["kernel"], x.shape), options, (input_gradient,)
                )


@contextlib.contextmanager
def winners_alone() -> Iterator[None]:
    """The gradients behind a pooling add up the winners alone wherever they can, not only where that is quicker."""

    def wherever_possible(p: Any, pool: Any, itemsize: int, isa: str) -> bool:
        return winners_fit(p, pool)

    with (
        patch.object(conv_pooled, "winners_pay", wherever_possible),
        patch.object(conv_pooled, "winners_pay_input", wherever_possible),
    ):
        yield


def depthwise_calls(p: Conv, make: Any = integers) -> Iterator[Call]:
    """A convolution with a group for each channel, as depthwise_conv2d has it."""
    data = p.arrays(make)
    kernel = data["kernel"].reshape(p.kh, p.kw, p.channels, -1)
    options = {name: value for name, value in p.options.items() if name != "groups"}
    window = p.kh, p.kw
    for name, args, more in (
        ("depthwise_conv2d", (data["x"], kernel, data["bias"]), {"activation": p.activation}),
        ("depthwise_conv2d_grad_input", (data["grad_output"], kernel, p.input_shape), {}),
        ("depthwise_conv2d_grad_kernel", (data["x"], data["grad_output"], window), {}),
    ):
        yield _judged(name, args, {**options, **more})


def transpose_calls(p: Transpose, make: Any = integers) -> Iterator[Call]:
    data = p.arrays(make)
    for name, args, more in (
        ("conv2d_transpose", (data["x"], data["kernel"], data["bias"]), {"activation": p.activation}),
        ("conv2d_transpose_grad_input", (data["grad_output"], data["kernel"], p.input_shape), {}),
        ("conv2d_transpose_grad_kernel", (data["x"], data["grad_output"], (p.kh, p.kw)), {}),
    ):
        yield _judged(name, args, {**p.options, **more})


def _judged(name: str, args: tuple[Any, ...], options: dict[str, Any], outs: tuple[str, ...] = ("out",)) -> Call:
    """A call whose answer is that of the reference's function of the same name."""
    activation = options.get("activation")
    naive = {key: value for key, value in options.items() if key != "activation"}
    answer = getattr(reference, name)(*args, **naive)
    answer = answer if isinstance(answer, tuple) else (answer,)
    return Call(name, args, options, tuple(np.maximum(a, 0) if activation == "relu" else a for a in answer), outs)


def pool_calls(p: Pool, make: Any = integers) -> Iterator[Call]:
    data, shape, options = p.arrays(make), p.input_shape, p.options
    x, g = data["x"], data["grad_output"]
    yield _judged("max_pool2d", (x,), options)
    both = _judged("max_pool2d", (x,), {**options, "return_indices": True}, ("out", "indices_out"))
    yield both
    indices = both.expected[1].astype((np.int64, np.int32)[p.seed % 2])
    grad = _judged("max_pool2d_grad", (g, indices, shape), options)
    yield grad
    yield replace(grad, name="max_pool2d_grad_unchecked")
    counted = {**options, "count_include_pad": p.seed % 3 == 0}
    yield _judged("avg_pool2d", (x,), counted)
    yield _judged("avg_pool2d_grad", (COMMON_MULTIPLE * g, shape), counted)
    yield _judged("l2_pool2d", (x,), options)
    grad = _judged("l2_pool2d_grad", (g, x), options)
    magnitude = reference.l2_pool2d_grad(np.abs(g), np.abs(x), **options)
    terms = 3 * int(np.prod(_pair(p.pool_size))) + 8

    def bound(dtype: Any) -> np.ndarray:
        return gamma(terms, dtype) * np.where(np.isfinite(magnitude), magnitude, 0)

    yield Call(grad.name, grad.args, grad.options, grad.expected, bound=bound)


def im2col_calls(p: Conv, make: Any = integers) -> Iterator[Call]:
    window = p.kh, p.kw
    options = {name: p.options[name] for name in ("strides", "padding", "dilation_rate")}
    forward = _judged("im2col", (p.arrays(make)["x"], window), options, ())
    yield forward
    cols = make(np.random.default_rng(p.seed), forward.expected[0].shape, np.float64)
    yield _judged("col2im", (cols, p.input_shape, window), options, ())


def filter_calls(p: Filter, make: Any = integers) -> Iterator[Call]:
    image, kernel = p.arrays(make)
    types = p.image_type, p.kernel_type
    boundary = {"circular": "wrap", "symmetric": "symm"}.get(p.boundary, p.boundary)

    def result_type(dtype: Any) -> Any:
        given = [np.dtype(dtype if kind is None else kind) for kind in types]
        return np.float64 if None not in types else np.result_type(*given)

    for name in ("convolve2d", "correlate2d"):
        answer = getattr(reference, name)(
            image.astype(np.float64), kernel.astype(np.float64), p.mode, boundary, p.fillvalue
        )
        args = image, kernel, p.mode, p.boundary, p.fillvalue
        yield Call(name, args, {}, (answer,), (), result_type=result_type)


def product_calls(p: Product, make: Any = integers) -> Iterator[Call]:
    rng = np.random.default_rng((p.seed, p.rows, p.inputs, p.units))
    shapes = (p.rows, p.inputs), (p.inputs, p.units), (p.units,), (p.rows, p.units)
    x, kernel, bias, g = (make(rng, shape, np.float64) for shape in shapes)
    y = product(x, kernel) + (bias if p.bias else 0)
    y = np.maximum(y, 0) if p.activation else y
    yield Call("dense", (x, kernel, bias if p.bias else None), {"activation": p.activation}, (y,))
    yield Call("dense_grad_input", (g, kernel), {}, (product(g, kernel.T),))
    yield Call("dense_grad_kernel", (x, g), {}, (product(x.T, g),))
    yield Call("bias_grad", (g,), {}, (g.sum(axis=0),))
    yield Call("relu", (g,), {}, (np.maximum(g, 0),))
    upstream = g[::-1]
    grad = np.where(g <= 0, 0, upstream)
    yield Call("relu_grad", (upstream, np.maximum(g, 0)), {}, (grad,))
    yield Call("relu_bias_grad", (upstream, np.maximum(g, 0)), {}, (grad, grad.sum(axis=0)), ("out", "bias_out"))


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The matrix product; term by term where a factor is not finite, since a BLAS may leave out products with 0."""
    if np.isfinite(a).all() and np.isfinite(b).all():
        return a @ b
    return sum((np.multiply.outer(a[:, k], b[k]) for k in range(len(b))), np.zeros((len(a), b.shape[1])))


def window_answers(p: Conv, data: dict[str, Any]) -> dict[str, np.ndarray]:
    """naive_conv by BLAS over views of windows: another oracle, in float64, for problems too large for loops."""
    steps, rates = _pair(p.strides), _pair(p.dilation_rate)
    x, g = data["x"], data["grad_output"]
    if p.data_format == "channels_first":
        x, g = (np.moveaxis(array, 1, -1) for array in (x, g))
    sizes = (p.h, p.w), (p.kh, p.kw), steps, rates
    pads = resolve_padding(_pads(p.padding), *sizes)
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    spans = [effective_size(window, rate) for window, rate in zip((p.kh, p.kw), rates, strict=True)]
    # (n, oh, ow, c, kh, kw)
    windows = sliding_window_view(padded, spans, axis=(1, 2))[:, :: steps[0], :: steps[1], :, :: rates[0], :: rates[1]]
    n, oh, ow, channels = windows.shape[:4]
    inputs, outputs = channels // p.groups, p.filters // p.groups
    y, back = np.empty((n, oh, ow, p.filters)), np.zeros_like(padded)
    grad_kernel = np.empty(p.kernel_shape)
    for group in range(p.groups):
        ins, outs = (slice(group * size, (group + 1) * size) for size in (inputs, outputs))
        kernel, upstream = data["kernel"][..., outs], g[..., outs]
        y[..., outs] = np.tensordot(windows[..., ins, :, :], kernel, ((4, 5, 3), (0, 1, 2)))
        grad_kernel[..., outs] = np.tensordot(windows[..., ins, :, :], upstream, ((0, 1, 2), (0, 1, 2))).transpose(
            1, 2, 0, 3
        )
        for a in range(p.kh):
            for b in range(p.kw):
                top, left = a * rates[0], b * rates[1]
                place = (
                    slice(None),
                    slice(top, top + (oh - 1) * steps[0] + 1, steps[0]),
                    slice(left, left + (ow - 1) * steps[1] + 1, steps[1]),
                    ins,
                )
                back[place] += upstream @ kernel[a, b].T
    (top, _), (left, _) = pads
    grad_input = back[:, top : top + p.h, left : left + p.w]
    y += 0 if data["bias"] is None else data["bias"]
    y = np.maximum(y, 0) if p.activation else y
    if p.data_format == "channels_first":
        y, grad_input = (np.moveaxis(array, -1, 1) for array in (y, grad_input))
    return {"conv2d": y, "conv2d_grad_input": grad_input, "conv2d_grad_kernel": grad_kernel}
