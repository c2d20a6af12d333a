"""Transposed convolution and its gradients: equal to the naive loops, sizes as Keras gives them, errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import DTYPES, assert_exact, assert_within, gamma, guarded_copy, guarded_nan, integers, normals
from problems import Transpose

import fastconv as fc
from fastconv import _shapes, reference

EDGES = (
    Transpose(1, 1, 1, 1, 1, 1, 1),
    Transpose(2, 3, 4, 3, 3, 3, 5, bias=True),
    Transpose(2, 3, 4, 3, 3, 3, 5, strides=2, padding="same", bias=True),
    Transpose(2, 4, 3, 2, 2, 2, 4, strides=2),
    # strides beyond the kernel leave cells that nothing is painted on but the bias
    Transpose(2, 3, 2, 3, 2, 1, 4, strides=3, bias=True),
    Transpose(1, 3, 4, 2, 1, 2, 3, strides=(4, 3), padding="same", bias=True),
    Transpose(1, 3, 4, 2, 1, 1, 3, strides=3, output_padding=2, bias=True),
    # output padding, with both kinds of padding, odd and even kernels
    Transpose(1, 3, 4, 3, 3, 4, 2, strides=3, padding="same", output_padding=(2, 0)),
    Transpose(1, 3, 4, 3, 5, 2, 2, strides=(2, 3), padding="same", output_padding=1),
    Transpose(1, 3, 4, 3, 4, 4, 2, strides=2, padding="same", output_padding=0),
    Transpose(1, 3, 4, 3, 3, 2, 2, strides=(2, 3), output_padding=(1, 2)),
    Transpose(2, 3, 4, 3, 3, 2, 2, strides=2, output_padding=0),
    # explicit padding takes cells off
    Transpose(2, 4, 5, 3, 3, 3, 2, padding=1),
    Transpose(2, 4, 5, 3, 3, 4, 2, strides=2, padding=((1, 0), (2, 1)), output_padding=1, bias=True),
    Transpose(1, 2, 3, 2, 2, 2, 2, strides=2, padding=(1, 2)),
    # dilation, alone and with strides
    Transpose(2, 4, 3, 3, 3, 2, 2, dilation_rate=(2, 3)),
    Transpose(2, 4, 3, 3, 3, 2, 2, dilation_rate=2, padding="same", bias=True),
    Transpose(1, 4, 3, 2, 2, 3, 2, strides=2, dilation_rate=3, padding="same"),
    Transpose(1, 4, 3, 2, 2, 3, 2, strides=3, dilation_rate=2, output_padding=2),
    # no images; channels first; widths beside a vector's
    Transpose(0, 3, 3, 2, 3, 3, 4, strides=2, bias=True),
    Transpose(2, 4, 3, 3, 3, 2, 5, strides=2, padding="same", data_format="channels_first", bias=True),
    Transpose(2, 4, 3, 3, 3, 2, 5, strides=(1, 3), output_padding=(0, 1), data_format="channels_first"),
    Transpose(1, 3, 5, 17, 3, 3, 15, strides=2, padding="same", bias=True),
    # many channels onto few filters: dot products
    Transpose(1, 4, 5, 40, 3, 3, 3, strides=2, padding="same", bias=True),
    Transpose(2, 3, 4, 67, 2, 3, 6, bias=True),
    Transpose(1, 4, 4, 8, 5, 5, 33, strides=2, padding="same"),
)


def random_transposes(seed: int, count: int) -> tuple[Transpose, ...]:
    rng = np.random.default_rng(seed)
    found: list[Transpose] = []
    while len(found) < count:
        strides = tuple(int(stride) for stride in rng.integers(1, 4, 2))
        extra = tuple(int(rng.integers(0, stride)) for stride in strides)
        pads = tuple(tuple(int(side) for side in rng.integers(0, 3, 2)) for _ in range(2))
        problem = Transpose(
            *(int(size) for size in rng.integers(1, 6, 3)), int(rng.choice((1, 2, 3, 8))),
            *(int(size) for size in rng.integers(1, 5, 2)), int(rng.choice((1, 2, 5, 9, 16))), strides,
            ("valid", "same", pads)[rng.integers(3)], (None, extra)[rng.integers(2)],
            tuple(int(rate) for rate in rng.choice((1, 1, 2), 2)),
            str(rng.choice(("channels_last", "channels_first"))), bool(rng.integers(2)),
        )  # fmt: skip
        sizes = [
            _shapes.transposed_size(
                size, window, strides[axis], problem.dilation_rate[axis],
                problem.padding if isinstance(problem.padding, str) else problem.padding[axis],
                None if problem.output_padding is None else problem.output_padding[axis],
            )[0]
            for axis, (size, window) in enumerate(((problem.h, problem.kh), (problem.w, problem.kw)))
        ]  # fmt: skip
        if min(sizes) > 0:
            found.append(problem)
    return tuple(found)


PROBLEMS = EDGES + random_transposes(seed=5, count=60)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_equal_to_the_reference(problem, isa, threads):
    data = problem.arrays()
    expected = reference.conv2d_transpose(data["x"], data["kernel"], data["bias"], **problem.options)
    window = (problem.kh, problem.kw)
    for dtype in DTYPES:
        typed = {name: None if a is None else guarded_copy(a.astype(dtype)) for name, a in data.items()}
        x, kernel, grad_output = (typed[name].array for name in ("x", "kernel", "grad_output"))
        bias = None if typed["bias"] is None else typed["bias"].array
        out = guarded_nan(expected.shape, dtype)
        y = fc.conv2d_transpose(x, kernel, bias, **problem.options, out=out.array)
        assert y is out.array
        assert_exact(y, expected, dtype)
        activated = fc.conv2d_transpose(x, kernel, bias, activation="relu", **problem.options)
        assert_exact(activated, np.maximum(expected, 0), dtype)
        grad_input = fc.conv2d_transpose_grad_input(grad_output, kernel, problem.input_shape, **problem.options)
        assert_exact(
            grad_input,
            reference.conv2d_transpose_grad_input(
                data["grad_output"], data["kernel"], problem.input_shape, **problem.options
            ),
            dtype,
        )
        grad_kernel = fc.conv2d_transpose_grad_kernel(x, grad_output, window, **problem.options)
        assert_exact(
            grad_kernel,
            reference.conv2d_transpose_grad_kernel(data["x"], data["grad_output"], window, **problem.options),
            dtype,
        )
        for guarded in (*typed.values(), out):
            if guarded is not None:
                guarded.check()


@pytest.mark.parametrize("problem", PROBLEMS[::5], ids=str)
def test_gradients_are_adjoint(problem):
    data = problem.arrays()
    x, kernel, g = data["x"], data["kernel"], data["grad_output"]
    product = (fc.conv2d_transpose(x, kernel, **problem.options) * g).sum()
    assert product == (x * fc.conv2d_transpose_grad_input(g, kernel, x.shape, **problem.options)).sum()
    grad_kernel = fc.conv2d_transpose_grad_kernel(x, g, kernel.shape[:2], **problem.options)
    assert product == (kernel * grad_kernel).sum()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", PROBLEMS[1::7], ids=str)
def test_floats_within_highams_bound(problem, dtype):
    data = problem.arrays(normals, dtype)
    exact = {name: None if a is None else a.astype(np.float64) for name, a in data.items()}
    sizes = {name: None if a is None else np.abs(a) for name, a in exact.items()}
    length = problem.kh * problem.kw * problem.channels + 2
    assert_within(
        fc.conv2d_transpose(data["x"], data["kernel"], data["bias"], **problem.options),
        reference.conv2d_transpose(exact["x"], exact["kernel"], exact["bias"], **problem.options),
        2 * gamma(length, dtype)
        * reference.conv2d_transpose(sizes["x"], sizes["kernel"], sizes["bias"], **problem.options),
    )  # fmt: skip


def test_it_is_the_gradient_of_conv2d_in_its_input():
    # The same kernel, seen from both sides, where conv2d's shapes can be inverted without output padding.
    rng = np.random.default_rng(0)
    for options in ({}, {"padding": "same"}, {"strides": 2, "padding": "same"}, {"dilation_rate": 2}):
        x, kernel = integers(rng, (2, 8, 6, 3), np.float64), integers(rng, (3, 2, 3, 4), np.float64)
        y = fc.conv2d(x, kernel, **options)
        expected = fc.conv2d_grad_input(y, kernel, x.shape, **options)
        assert_exact(fc.conv2d_transpose(y, kernel, **options), expected)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("window", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_sizes_are_those_of_keras(size, window, stride, dilation):
    span = (window - 1) * dilation + 1
    assert _shapes.transposed_size(size, window, stride, dilation, "same", None)[0] == size * stride
    valid = (size - 1) * stride + max(span, stride)
    assert _shapes.transposed_size(size, window, stride, dilation, "valid", None) == (valid, (0, 0))
    for extra in range(stride):
        out, pads = _shapes.transposed_size(size, window, stride, dilation, "same", extra)
        assert out == (size - 1) * stride + span % 2 + extra
        if out > 0:  # the convolution that it inverts has as many outputs as there were inputs
            assert _shapes.output_size(out, window, stride, dilation, *pads) == size
        out, pads = _shapes.transposed_size(size, window, stride, dilation, "valid", extra)
        assert _shapes.output_size(out, window, stride, dilation, *pads) == size


X, KERNEL = np.ones((2, 4, 4, 3), np.float32), np.ones((3, 3, 5, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fc.conv2d_transpose(X[0], KERNEL), ValueError, r"x must have 4 axes \(n, h, w, c\)"),
        (lambda: fc.conv2d_transpose(X, KERNEL[0]), ValueError, r"kernel must have 4 axes \(kh, kw, filters, in_"),
        (
            lambda: fc.conv2d_transpose(X, KERNEL.swapaxes(2, 3)),
            ValueError,
            r"^conv2d_transpose: kernel expects 5 input channels, x has 3\. Received x\.shape=\(2, 4, 4, 3\), "
            r"kernel\.shape=\(3, 3, 3, 5\)\. .* unlike conv2d's",
        ),
        (
            lambda: fc.conv2d_transpose(X, KERNEL, strides=2, output_padding=(1, 2)),
            ValueError,
            r"`output_padding` must be strictly less than `strides`.*output_padding=\(1, 2\), strides=\(2, 2\)",
        ),
        (
            lambda: fc.conv2d_transpose(X[:, :1], KERNEL, padding=2),
            ValueError,
            r"would give an output of \(-1, 2\): it would be empty. Use less padding",
        ),
        (lambda: fc.conv2d_transpose(X[:, :0], KERNEL), ValueError, "it would be empty"),
        (lambda: fc.conv2d_transpose(X, KERNEL, np.ones(3, "f")), ValueError, r"bias must have shape \(5,\)"),
        (lambda: fc.conv2d_transpose(X, KERNEL, padding="full"), ValueError, "padding must be 'valid', 'same'"),
        (lambda: fc.conv2d_transpose(X, KERNEL, data_format="nchw"), ValueError, "data_format must be one of"),
        (lambda: fc.conv2d_transpose(X, KERNEL, activation="foo"), ValueError, "activation must be None"),
        (
            lambda: fc.conv2d_transpose_grad_input(X, KERNEL, (2, 4, 4, 3)),
            ValueError,
            r"^conv2d_transpose_grad_input: grad_output must have shape \(2, 6, 6, 5\) \(conv2d_transpose's output",
        ),
        (
            lambda: fc.conv2d_transpose_grad_kernel(X, X, 3),
            ValueError,
            r"^conv2d_transpose_grad_kernel: grad_output must have shape \(2, 6, 6, 3\)",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_infinite_weights_reach_what_they_paint_and_nothing_else():
    problem = replace(EDGES[2], bias=False)
    data = problem.arrays()
    data["kernel"][1, 1, 0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        expected = reference.conv2d_transpose(data["x"], data["kernel"], **problem.options)
    assert_exact(fc.conv2d_transpose(data["x"], data["kernel"], **problem.options), expected)
