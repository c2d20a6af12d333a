"""Depthwise convolution and its gradients: equal to the naive loops and to conv2d channel by channel; errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import DTYPES, assert_exact, assert_within, gamma, guarded_copy, guarded_nan, integers, normals

import fastconv as fc
from fastconv import reference

# (images, kernel, options), channels last
SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((2, 5, 6, 3), (3, 3, 3, 1), {}),
    ((2, 5, 6, 3), (3, 3, 3, 2), {"padding": "same"}),
    ((2, 7, 6, 4), (3, 2, 4, 3), {"strides": (2, 3), "padding": "same"}),
    ((1, 9, 8, 2), (3, 3, 2, 1), {"dilation_rate": (2, 1), "padding": "same"}),
    ((1, 9, 8, 2), (2, 3, 2, 2), {"strides": 2, "dilation_rate": 2}),
    ((2, 5, 5, 3), (3, 3, 3, 1), {"padding": ((2, 0), (0, 1)), "strides": 2}),
    ((0, 5, 5, 3), (3, 3, 3, 2), {"padding": "same"}),
    ((2, 4, 4, 5), (4, 4, 5, 1), {}),
    ((1, 6, 7, 7), (5, 5, 7, 1), {"padding": 2}),
    ((1, 4, 5, 8), (3, 3, 8, 1), {"padding": "same"}),
    ((1, 4, 5, 16), (3, 3, 16, 1), {"padding": "same"}),
    ((2, 4, 5, 17), (3, 3, 17, 1), {"padding": "same"}),
    ((1, 4, 5, 33), (3, 3, 33, 1), {"strides": 2}),
    ((1, 4, 5, 9), (3, 3, 9, 4), {"padding": "same"}),
    ((3, 14, 14, 32), (3, 3, 32, 1), {"padding": "same", "strides": 2}),
    ((2, 13, 11, 35), (3, 3, 35, 1), {"padding": "same"}),  # rows in pairs, tiles of different heights
    ((1, 9, 19, 16), (2, 5, 16, 1), {"padding": 1}),
    ((1, 10, 9, 18), (7, 7, 18, 1), {"padding": "same", "strides": (1, 2)}),
    ((1, 9, 1, 17), (3, 1, 17, 1), {"padding": (1, 0)}),
    ((1, 9, 9, 16), (3, 3, 16, 1), {"padding": 5, "strides": 2, "dilation_rate": 2}),
    # grad_input by pairs of columns: odd and even padding, widths and kernels; no pair; only one
    ((2, 9, 21, 16), (3, 3, 16, 1), {"strides": 2, "padding": 1}),
    ((1, 6, 44, 17), (2, 3, 17, 1), {"strides": (1, 2), "padding": "same"}),
    ((2, 8, 22, 20), (5, 5, 20, 1), {"strides": 2, "padding": ((1, 3), (3, 4))}),
    ((1, 7, 23, 16), (2, 4, 16, 1), {"strides": 2}),
    ((1, 5, 19, 33), (1, 1, 33, 1), {"strides": 2}),
    ((1, 5, 5, 16), (3, 5, 16, 1), {"strides": 2, "padding": ((0, 0), (0, 1))}),
    ((1, 3, 6, 16), (3, 5, 16, 1), {"strides": 2}),
    # channels repeated for their filters: in blocks of rows, with all borders
    ((2, 20, 9, 12), (3, 3, 12, 3), {"strides": 2, "padding": "same"}),
    ((2, 11, 19, 8), (3, 2, 8, 2), {"strides": (1, 2), "padding": 2}),
    ((1, 13, 12, 3), (3, 3, 3, 16), {"padding": "same", "dilation_rate": 2}),
    ((2, 70, 40, 16), (3, 3, 16, 4), {"padding": "same"}),
    # grad_kernel with its borders: rows in pieces, many rows, each side alone, no inner row or column
    ((1, 3, 131, 17), (3, 3, 17, 1), {"padding": "same"}),
    ((1, 70, 5, 16), (3, 3, 16, 1), {"padding": 1, "strides": (1, 2)}),
    ((2, 8, 7, 19), (3, 3, 19, 1), {"padding": ((1, 0), (0, 1)), "strides": 3}),
    ((1, 6, 6, 16), (3, 3, 16, 1), {"padding": ((0, 1), (1, 0))}),
    ((2, 2, 2, 33), (3, 3, 33, 1), {"padding": 1}),
    ((1, 1, 4, 16), (3, 3, 16, 1), {"padding": 1}),
    ((1, 4, 5, 16), (3, 3, 16, 1), {"padding": 2}),
)


def arrays(
    images: tuple[int, ...], kernel: tuple[int, ...], options: dict[str, Any], make: Any = integers, dtype=float
):
    rng = np.random.default_rng(images[1:] + kernel)
    data = {name: make(rng, shape, dtype) for name, shape in (("x", images), ("kernel", kernel))}
    outputs = kernel[2] * kernel[3]
    data["bias"] = make(rng, (outputs,), dtype)
    shape = reference.depthwise_conv2d(data["x"], data["kernel"], **options).shape
    return {**data, "grad_output": make(rng, shape, dtype)}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("images", "kernel_shape", "options"), SHAPES, ids=str)
def test_equal_to_the_reference(images, kernel_shape, options, data_format, isa, threads):
    data = arrays(images, kernel_shape, options)
    expected = {
        "y": reference.depthwise_conv2d(data["x"], data["kernel"], data["bias"], **options),
        "grad_input": reference.depthwise_conv2d_grad_input(data["grad_output"], data["kernel"], images, **options),
        "grad_kernel": reference.depthwise_conv2d_grad_kernel(
            data["x"], data["grad_output"], kernel_shape[:2], **options
        ),
    }
    if data_format == "channels_first":
        for values, names in ((data, ("x", "grad_output")), (expected, ("y", "grad_input"))):
            values.update({name: np.moveaxis(values[name], -1, 1).copy() for name in names})
        options = {**options, "data_format": data_format}
    for dtype in DTYPES:
        guards = {name: guarded_copy(array.astype(dtype)) for name, array in data.items()}
        typed = {name: guard.array for name, guard in guards.items()}
        out = guarded_nan(expected["y"].shape, dtype)
        y = fc.depthwise_conv2d(typed["x"], typed["kernel"], typed["bias"], **options, out=out.array)
        assert y is out.array
        assert_exact(y, expected["y"], dtype)
        activated = fc.depthwise_conv2d(typed["x"], typed["kernel"], typed["bias"], activation="relu", **options)
        assert_exact(activated, np.maximum(expected["y"], 0), dtype)
        x_shape = typed["x"].shape
        grad_input = fc.depthwise_conv2d_grad_input(typed["grad_output"], typed["kernel"], x_shape, **options)
        assert_exact(grad_input, expected["grad_input"], dtype)
        grad_out = guarded_nan(kernel_shape, dtype)
        fc.depthwise_conv2d_grad_kernel(
            typed["x"], typed["grad_output"], kernel_shape[:2], **options, out=grad_out.array
        )
        assert_exact(grad_out.array, expected["grad_kernel"], dtype)
        for guard in (*guards.values(), out, grad_out):
            guard.check()


def test_grad_kernel_of_many_bytes_is_the_sum_over_images(isa, threads):
    # Rows that come from memory are read once beforehand.
    rng = np.random.default_rng(5)
    x, grad_output = (integers(rng, (6, 112, 112, 16), np.float32) for _ in range(2))
    options = {"padding": "same"}
    whole = fc.depthwise_conv2d_grad_kernel(x, grad_output, 3, **options)
    each = [fc.depthwise_conv2d_grad_kernel(x[i : i + 1], grad_output[i : i + 1], 3, **options) for i in range(6)]
    np.testing.assert_array_equal(whole, np.sum(each, axis=0))


@pytest.mark.parametrize(("images", "kernel_shape", "options"), SHAPES, ids=str)
def test_each_channel_is_a_convolution_of_its_own(images, kernel_shape, options):
    data = arrays(images, kernel_shape, options)
    y = fc.depthwise_conv2d(data["x"], data["kernel"], data["bias"], **options)
    multiplier = kernel_shape[3]
    for c in range(images[3]):
        own = slice(c * multiplier, (c + 1) * multiplier)
        kernel = data["kernel"][:, :, c : c + 1]
        assert_exact(y[..., own], fc.conv2d(data["x"][..., c : c + 1], kernel, data["bias"][own], **options))


@pytest.mark.parametrize(("images", "kernel_shape", "options"), SHAPES[1::2], ids=str)
def test_gradients_are_adjoint(images, kernel_shape, options):
    data = arrays(images, kernel_shape, options)
    x, kernel, g = data["x"], data["kernel"], data["grad_output"]
    product = (fc.depthwise_conv2d(x, kernel, **options) * g).sum()
    assert product == (x * fc.depthwise_conv2d_grad_input(g, kernel, x.shape, **options)).sum()
    assert product == (kernel * fc.depthwise_conv2d_grad_kernel(x, g, kernel_shape[:2], **options)).sum()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("images", "kernel_shape", "options"), SHAPES[2::4], ids=str)
def test_floats_within_highams_bound(images, kernel_shape, options, dtype):
    data = arrays(images, kernel_shape, options, normals, dtype)
    exact = {name: array.astype(np.float64) for name, array in data.items()}
    sizes = {name: np.abs(array) for name, array in exact.items()}
    names = ("x", "kernel", "bias")
    assert_within(
        fc.depthwise_conv2d(*(data[name] for name in names), **options),
        reference.depthwise_conv2d(*(exact[name] for name in names), **options),
        2 * gamma(kernel_shape[0] * kernel_shape[1] + 2, dtype)
        * reference.depthwise_conv2d(*(sizes[name] for name in names), **options),
    )  # fmt: skip


X, KERNEL = np.ones((2, 4, 4, 3), np.float32), np.ones((3, 3, 3, 2), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fc.depthwise_conv2d(X[0], KERNEL), r"x must have 4 axes \(n, h, w, c\)"),
        (lambda: fc.depthwise_conv2d(X, KERNEL[0]), r"kernel must have 4 axes \(kh, kw, channels, multiplier\)"),
        (
            lambda: fc.depthwise_conv2d(X, KERNEL[:, :, :1]),
            r"^depthwise_conv2d: kernel has filters for 1 channels, x has 3\. Received x\.shape=\(2, 4, 4, 3\), "
            r"kernel\.shape=\(3, 3, 1, 2\)\. kernel must have shape \(kh, kw, channels, multiplier\)",
        ),
        (lambda: fc.depthwise_conv2d(X, KERNEL, np.ones(3, "f")), r"bias must have shape \(6,\)"),
        (lambda: fc.depthwise_conv2d(X[:, :2], KERNEL), r"does not fit the image"),
        (lambda: fc.depthwise_conv2d(X, KERNEL, data_format="nchw"), "data_format must be one of"),
        (
            lambda: fc.depthwise_conv2d_grad_input(X, KERNEL, (2, 4, 4, 3)),
            r"grad_output must have shape \(2, 2, 2, 6\)",
        ),
        (
            lambda: fc.depthwise_conv2d_grad_kernel(X, X[..., :2], 1),
            r"^depthwise_conv2d_grad_kernel: grad_output's 2 channels must be a multiple of x's 3",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
