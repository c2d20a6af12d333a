"""Wrong calls of the functional API: which error, and that it says what came, what was expected, and where."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastconv as fc
from fastconv import ops

X = np.ones((2, 8, 8, 4), np.float32)
KERNEL = np.ones((3, 3, 4, 6), np.float32)
GRAD = np.ones((2, 6, 6, 6), np.float32)
POOLED = np.ones((2, 4, 4, 4), np.float32)
INDICES = np.zeros((2, 4, 4, 4), np.int64)


def conv(*args, **options):
    return lambda: fc.conv2d(*args, **options)


def grad_input(*args, **options):
    return lambda: fc.conv2d_grad_input(*args, **options)


def grad_kernel(*args, **options):
    return lambda: fc.conv2d_grad_kernel(*args, **options)


# (what is wrong, call, error, patterns that its text must hold, in any order)
WRONG_CALLS = [
    # shapes of conv2d
    ("x has 3 axes", conv(X[0], KERNEL), ValueError, [r"^conv2d: ", r"\bx\b", r"4 axes", r"\(8, 8, 4\)"]),
    ("kernel has 3 axes", conv(X, KERNEL[0]), ValueError, [r"^conv2d: ", "kernel", r"\(3, 4, 6\)"]),
    (
        "channels differ",
        conv(X, KERNEL[:, :, :3]),
        ValueError,
        [
            r"^conv2d: kernel expects 3 input channels, x has 4\.",
            r"x\.shape=\(2, 8, 8, 4\)",
            r"kernel\.shape=\(3, 3, 3, 6\)",
        ],
    ),
    (
        "channels differ in the other format",
        conv(X.transpose(0, 3, 1, 2), KERNEL[:, :, :3], data_format="channels_first"),
        ValueError,
        [r"^conv2d: ", r"expects 3 input channels, x has 4", r"\(2, 4, 8, 8\)"],
    ),
    (
        "bias too long",
        conv(X, KERNEL, np.ones(7, np.float32)),
        ValueError,
        [r"^conv2d: ", "bias", r"\(6,\)", r"\(7,\)"],
    ),
    ("bias of two axes", conv(X, KERNEL, np.ones((1, 6), np.float32)), ValueError, [r"^conv2d: ", "bias", r"\(1, 6\)"]),
    (
        "groups do not divide the channels",
        conv(X, KERNEL, groups=3),
        ValueError,
        [r"^conv2d: ", "groups", r"\b3\b", r"\b4\b"],
    ),
    (
        "groups do not divide the filters",
        conv(X, np.ones((3, 3, 1, 6), np.float32), groups=4),
        ValueError,
        [r"^conv2d: ", "groups", r"\b4\b", r"\b6\b"],
    ),
    (
        "kernel larger than the image",
        conv(X, np.ones((9, 3, 4, 6), np.float32)),
        ValueError,
        [r"^conv2d: ", "kernel|window", r"\b9\b", r"\b8\b"],
    ),
    # options
    ("strides 0", conv(X, KERNEL, strides=0), ValueError, [r"^conv2d: strides", r"at least 1", r"\b0\b"]),
    ("strides negative", conv(X, KERNEL, strides=(1, -2)), ValueError, [r"^conv2d: strides", r"\(1, -2\)"]),
    ("strides of three", conv(X, KERNEL, strides=(1, 1, 1)), ValueError, [r"^conv2d: strides", r"\(1, 1, 1\)"]),
    ("strides 1.5", conv(X, KERNEL, strides=1.5), TypeError, [r"^conv2d: strides", r"1\.5", "float"]),
    ("strides a string", conv(X, KERNEL, strides="2"), TypeError, [r"^conv2d: strides", "'2'", "str"]),
    ("strides None", conv(X, KERNEL, strides=None), TypeError, [r"^conv2d: strides", "None"]),
    ("strides True", conv(X, KERNEL, strides=True), TypeError, [r"^conv2d: strides", "bool"]),
    ("strides beyond 64 bits", conv(X, KERNEL, strides=2**64), ValueError, [r"^conv2d: strides", "64 bits"]),
    ("dilation 0", conv(X, KERNEL, dilation_rate=0), ValueError, [r"^conv2d: dilation_rate", r"\b0\b"]),
    (
        "dilated kernel larger than the image",
        conv(X, KERNEL, dilation_rate=5),
        ValueError,
        [r"^conv2d: ", r"\b11\b", r"\b8\b"],
    ),
    ("groups 0", conv(X, KERNEL, groups=0), ValueError, [r"^conv2d: groups", r"\b0\b"]),
    ("groups a pair", conv(X, KERNEL, groups=(1, 1)), TypeError, [r"^conv2d: groups", r"\(1, 1\)"]),
    (
        "padding unknown",
        conv(X, KERNEL, padding="full"),
        ValueError,
        [r"^conv2d: padding", "'valid'", "'same'", "'full'"],
    ),
    ("padding negative", conv(X, KERNEL, padding=-1), ValueError, [r"^conv2d: padding", "-1"]),
    ("padding of three", conv(X, KERNEL, padding=(1, 1, 1)), ValueError, [r"^conv2d: padding", r"\(1, 1, 1\)"]),
    ("padding half", conv(X, KERNEL, padding=0.5), TypeError, [r"^conv2d: padding", r"0\.5"]),
    ("padding None", conv(X, KERNEL, padding=None), TypeError, [r"^conv2d: padding", "None"]),
    ("padding beyond 64 bits", conv(X, KERNEL, padding=2**63), ValueError, [r"^conv2d: padding", "64 bits"]),
    (
        "padding whose output overflows",
        conv(X, KERNEL, padding=2**62),
        (ValueError, MemoryError, OverflowError),
        [r"^conv2d: "],
    ),
    (
        "data_format unknown",
        conv(X, KERNEL, data_format="NCHW"),
        ValueError,
        [r"^conv2d: data_format", "channels_last", "channels_first", "'NCHW'"],
    ),
    (
        "algorithm unknown",
        conv(X, KERNEL, algorithm="fft"),
        ValueError,
        [r"^conv2d: algorithm", "'auto'", "'direct'", "'im2col'", "'winograd'", "'fft'"],
    ),
    (
        "activation unknown",
        conv(X, KERNEL, activation="rleu"),
        ValueError,
        [r"^conv2d: activation", "'relu'", "'rleu'"],
    ),
    # types
    ("x a string", conv("image", KERNEL), TypeError, [r"^conv2d: x must be"]),
    ("x None", conv(None, KERNEL), TypeError, [r"^conv2d: x must be"]),
    ("kernel None", conv(X, None), TypeError, [r"^conv2d: kernel must be"]),
    ("ragged lists", conv([[1.0], [1.0, 2.0]], KERNEL), TypeError, [r"^conv2d: x must be"]),
    # out
    (
        "out of another shape",
        conv(X, KERNEL, out=np.empty((2, 6, 6, 5), np.float32)),
        ValueError,
        [r"^conv2d: out", r"\(2, 6, 6, 6\)", r"\(2, 6, 6, 5\)"],
    ),
    (
        "out of another type",
        conv(X, KERNEL, out=np.empty((2, 6, 6, 6))),
        ValueError,
        [r"^conv2d: out", "float32", "float64"],
    ),
    # gradients
    (
        "grad_output of another shape",
        grad_input(GRAD[:, 1:], KERNEL, X.shape),
        ValueError,
        [r"^conv2d_grad_input: grad_output", r"\(2, 6, 6, 6\)", r"\(2, 5, 6, 6\)"],
    ),
    (
        "input_shape too short",
        grad_input(GRAD, KERNEL, (8, 8, 4)),
        ValueError,
        [r"^conv2d_grad_input: input_shape", r"\(8, 8, 4\)"],
    ),
    (
        "input_shape negative",
        grad_input(GRAD, KERNEL, (2, -8, 8, 4)),
        ValueError,
        [r"^conv2d_grad_input: input_shape", "-8"],
    ),
    (
        "input_shape not whole",
        grad_input(GRAD, KERNEL, (2, 8.0, 8, 4)),
        TypeError,
        [r"^conv2d_grad_input: input_shape", r"8\.0"],
    ),
    (
        "input_shape of other channels",
        grad_input(GRAD, KERNEL, (2, 8, 8, 5)),
        ValueError,
        [r"^conv2d_grad_input: kernel expects 4 input channels", r"\b5\b"],
    ),
    (
        "grad_output of another batch",
        grad_kernel(X, GRAD[:1], 3),
        ValueError,
        [r"^conv2d_grad_kernel: grad_output", r"\(1, 6, 6, 6\)"],
    ),
    (
        "kernel_size does not fit grad_output",
        grad_kernel(X, GRAD, 5),
        ValueError,
        [r"^conv2d_grad_kernel: grad_output", r"\(2, 6, 6, 6\)"],
    ),
    ("kernel_size 0", grad_kernel(X, GRAD, 0), ValueError, [r"^conv2d_grad_kernel: kernel_size", r"\b0\b"]),
    ("kernel_size a float", grad_kernel(X, GRAD, 3.0), TypeError, [r"^conv2d_grad_kernel: kernel_size", r"3\.0"]),
    # pooling
    ("max pool of 3 axes", lambda: fc.max_pool2d(X[0]), ValueError, [r"^max_pool2d: x", r"\(8, 8, 4\)"]),
    ("pool_size 0", lambda: fc.max_pool2d(X, 0), ValueError, [r"^max_pool2d: pool_size", r"\b0\b"]),
    ("pool_size None", lambda: fc.avg_pool2d(X, None), TypeError, [r"^avg_pool2d: pool_size", "None"]),
    ("pool strides 0", lambda: fc.avg_pool2d(X, 2, strides=0), ValueError, [r"^avg_pool2d: strides", r"\b0\b"]),
    ("pool larger than the image", lambda: fc.max_pool2d(X, 9), ValueError, [r"^max_pool2d: ", r"\b9\b", r"\b8\b"]),
    ("pool padding unknown", lambda: fc.max_pool2d(X, padding="SAM"), ValueError, [r"^max_pool2d: padding", "'SAM'"]),
    (
        "indices of another shape",
        lambda: fc.max_pool2d_grad(POOLED, INDICES[:1], X.shape),
        ValueError,
        [r"^max_pool2d_grad: indices", r"\(1, 4, 4, 4\)", r"\(2, 4, 4, 4\)"],
    ),
    (
        "indices of floats",
        lambda: fc.max_pool2d_grad(POOLED, POOLED, X.shape),
        TypeError,
        [r"^max_pool2d_grad: indices", "float32"],
    ),
    (
        "pooled gradient of another shape",
        lambda: fc.max_pool2d_grad(POOLED[:, :3], INDICES[:, :3], X.shape),
        ValueError,
        [r"^max_pool2d_grad: grad_output", r"\(2, 4, 4, 4\)", r"\(2, 3, 4, 4\)"],
    ),
    (
        "averaged gradient of another shape",
        lambda: fc.avg_pool2d_grad(POOLED, (2, 8, 8, 5)),
        ValueError,
        [r"^avg_pool2d_grad: grad_output", r"\(2, 4, 4, 5\)", r"\(2, 4, 4, 4\)"],
    ),
    # im2col, col2im
    ("im2col of 3 axes", lambda: fc.im2col(X[0], 3), ValueError, [r"^im2col: x", r"\(8, 8, 4\)"]),
    (
        "cols of another shape",
        lambda: fc.col2im(np.ones((72, 35), np.float32), X.shape, 3),
        ValueError,
        [r"^col2im: cols", r"\(72, 36\)", r"\(72, 35\)"],
    ),
    # activations
    ("softmax of an axis that is not there", lambda: fc.softmax(X, axis=4), ValueError, [r"^softmax: axis", r"\b4\b"]),
    ("softmax of a number", lambda: fc.softmax(np.float32(1)), ValueError, [r"^softmax: "]),
    (
        "relu_grad of two shapes",
        lambda: fc.relu_grad(X, X[:1]),
        ValueError,
        [r"^relu_grad: ", r"\(2, 8, 8, 4\)", r"\(1, 8, 8, 4\)"],
    ),
    (
        "softmax_grad of two shapes",
        lambda: fc.softmax_grad(X, X[:1]),
        ValueError,
        [r"^softmax_grad: ", r"\(2, 8, 8, 4\)", r"\(1, 8, 8, 4\)"],
    ),
    # dense
    (
        "dense of unequal lengths",
        lambda: ops.dense(np.ones((2, 5), np.float32), np.ones((4, 3), np.float32)),
        ValueError,
        [r"^dense: ", r"\(2, 5\)", r"\(4, 3\)"],
    ),
    (
        "dense bias too long",
        lambda: ops.dense(np.ones((2, 4), np.float32), np.ones((4, 3), np.float32), np.ones(4, np.float32)),
        ValueError,
        [r"^dense: ", "bias", r"\(3,\)", r"\(4,\)"],
    ),
    (
        "dense_grad_kernel of two batches",
        lambda: ops.dense_grad_kernel(np.ones((2, 4), np.float32), np.ones((3, 5), np.float32)),
        ValueError,
        [r"^dense_grad_kernel: ", r"\(2, 4\)", r"\(3, 5\)"],
    ),
    # runtime
    ("threads 0", lambda: fc.set_num_threads(0), ValueError, [r"^set_num_threads: ", r"\b0\b"]),
    ("threads a float", lambda: fc.set_num_threads(2.0), TypeError, [r"^set_num_threads: ", r"2\.0"]),
    ("isa unknown", lambda: fc.set_isa("sse9"), ValueError, [r"^set_isa: ", "'sse9'", "baseline"]),
    (
        "explain of wrong channels",
        lambda: fc.explain_conv2d((2, 8, 8, 4), (3, 3, 3, 6)),
        ValueError,
        [r"^explain_conv2d: kernel expects 3 input channels", r"\(2, 8, 8, 4\)"],
    ),
]


@pytest.mark.parametrize(
    ("call", "error", "patterns"), [case[1:] for case in WRONG_CALLS], ids=[case[0] for case in WRONG_CALLS]
)
def test_the_error_says_what_is_wrong(call, error, patterns):
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    for pattern in patterns:
        assert re.search(pattern, text), f"{pattern!r} is not in: {text}"


def test_the_message_of_the_style_guide_word_for_word():
    expected = (
        "conv2d: kernel expects 3 input channels, x has 4. Received x.shape=(8, 32, 32, 4), "
        "kernel.shape=(3, 3, 3, 16). kernel must have shape (kh, kw, x.shape[3] // groups, filters)."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        fc.conv2d(np.ones((8, 32, 32, 4), np.float32), np.ones((3, 3, 3, 16), np.float32))


def test_a_missing_batch_axis_is_named():
    with pytest.raises(ValueError, match=r"Add the batch axis: x\[None\]"):
        fc.conv2d(X[0], KERNEL)


def test_a_refused_call_leaves_out_alone():
    out = np.full((2, 6, 6, 6), 7, np.float32)
    for options in ({"strides": 0}, {"algorithm": "fft"}, {"activation": "rleu"}, {"padding": "same"}):
        with pytest.raises(ValueError, match=r"^conv2d: "):
            fc.conv2d(X, KERNEL, out=out, **options)
    assert (out == 7).all()


def test_options_are_keywords_only():
    with pytest.raises(TypeError, match="positional"):
        fc.conv2d(X, KERNEL, None, 2)


def test_an_option_that_was_right_once_does_not_let_a_wrong_one_pass():
    # 2.0 == 2 and True == 1, and they hash alike: a cache of checked options must still tell them apart.
    fc.conv2d(X, KERNEL, strides=(2, 1), dilation_rate=(1, 1), padding=((1, 1), (1, 1)))
    with pytest.raises(TypeError, match=r"^conv2d: strides .*2\.0"):
        fc.conv2d(X, KERNEL, strides=(2.0, 1), dilation_rate=(1, 1), padding=((1, 1), (1, 1)))
    with pytest.raises(TypeError, match=r"^conv2d: dilation_rate .*True"):
        fc.conv2d(X, KERNEL, strides=(2, 1), dilation_rate=(True, 1), padding=((1, 1), (1, 1)))
    with pytest.raises(TypeError, match=r"^conv2d: padding .*1\.0"):
        fc.conv2d(X, KERNEL, strides=(2, 1), dilation_rate=(1, 1), padding=((1.0, 1), (1, 1)))
