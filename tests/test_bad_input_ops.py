"""Wrong calls of every function of the functional API. Each line: what a user types, the error, what its text says.

`test_conv_errors.py` has the longer stories. Here nothing is left out: `test_every_function_has_wrong_calls` counts.
"""

from __future__ import annotations

import inspect
from typing import Any

import bad_input
import numpy as np
import pytest

import fastconv as fc
from fastconv import ops


def names() -> dict[str, Any]:
    """What the calls below are made on."""
    f = np.float32
    x = np.arange(2 * 8 * 8 * 4, dtype=f).reshape(2, 8, 8, 4)
    big = np.zeros((2, 6, 6, 6), f)
    return {
        "fc": fc, "ops": ops, "np": np,
        "X": x, "K": np.ones((3, 3, 4, 6), f), "G": np.ones((2, 6, 6, 6), f), "B": np.ones(6, f),
        "KD": np.ones((3, 3, 4, 2), f), "GD": np.ones((2, 6, 6, 8), f),
        "KT": np.ones((3, 3, 6, 4), f), "GT": np.ones((2, 10, 10, 6), f),
        "P": np.ones((2, 4, 4, 4), f), "I": np.zeros((2, 4, 4, 4), np.int32),
        "COLS": np.ones((72, 36), f), "IMG": np.ones((9, 9), f), "W": np.ones((3, 3), f),
        "V": np.ones(5, f), "M": np.ones((5, 3), f), "MX": np.ones((2, 5), f), "MG": np.ones((2, 3), f),
        "C": np.ones(4, f), "OUT": big, "POUT": np.zeros((2, 4, 4, 4), f), "IOUT": np.zeros((2, 4, 4, 4), np.int32),
        "WIDE": np.zeros(600, f), "BAD": np.full((2, 4, 4, 4), 64, np.int32),
        "PG": np.ones((2, 3, 3, 6), f), "PI": np.zeros((2, 3, 3, 6), np.int32),
        "NEG": np.full((2, 4, 4, 4), -1, np.int32), "NAN": np.full((2, 8, 8, 4), np.nan, f),
        "raising": raising, "one": lambda y: y[:1], "text": lambda y: "relu", "imaginary": lambda y: y * 1j,
        "spoils": spoils, "huge": 2**62,
    }  # fmt: skip


def raising(y: np.ndarray) -> np.ndarray:
    raise ValueError("activation of the user's own has failed")


def spoils(y: np.ndarray) -> np.ndarray:
    y[...] = 99
    raise ValueError("activation of the user's own has failed")


# A right call of each function, as (positional arguments, the options that it takes); the table of wrong options below
# is tried on each of them.
RIGHT: dict[str, str] = {
    "conv2d": "X, K",
    "conv2d_grad_input": "G, K, X.shape",
    "conv2d_grad_kernel": "X, G, 3",
    "conv2d_transpose": "X, KT",
    "conv2d_transpose_grad_input": "GT, KT, X.shape",
    "conv2d_transpose_grad_kernel": "X, GT, 3",
    "depthwise_conv2d": "X, KD",
    "depthwise_conv2d_grad_input": "GD, KD, X.shape",
    "depthwise_conv2d_grad_kernel": "X, GD, 3",
    "max_pool2d": "X",
    "max_pool2d_grad": "P, I, X.shape",
    "avg_pool2d": "X",
    "avg_pool2d_grad": "P, X.shape",
    "l2_pool2d": "X",
    "l2_pool2d_grad": "P, X",
    "im2col": "X, 3",
    "col2im": "COLS, X.shape, 3",
    "convolve2d": "IMG, W",
    "correlate2d": "IMG, W",
    "explain_conv2d": "X.shape, K.shape",
    "relu": "X",
    "relu_grad": "X, X",
    "softmax": "X",
    "softmax_grad": "X, X",
    "dense": "MX, M",
    "dense_grad_input": "MG, M",
    "dense_grad_kernel": "MX, MG",
    "bias_grad": "G",
    "batch_normalization": "X, C, C",
    "batch_normalization_grad": "X, X, C, C",
    "channel_moments": "X",
    "dropout": "X, rate=0.5, key=1",
    "relu_bias_grad": "X, X",
    "conv2d_max_pool2d": "X, K",
    "conv2d_max_pool2d_grad_kernel": "X, PG, PI, 3",
    "conv2d_max_pool2d_grad_input": "PG, PI, K, X.shape",
    "max_pool2d_grad_unchecked": "P, I, X.shape",
}

WRONG_OPTIONS: list[tuple[str, str, type[Exception], str]] = (
    [
        (option, value, error, rf"^{{name}}: {option} {words}")
        for option in ("strides", "dilation_rate", "pool_size")
        for value, error, words in (
            ("0", ValueError, "must be at least 1 .*received 0"),
            ("-1", ValueError, "must be at least 1 .*received -1"),
            ("(1, 0)", ValueError, r"must be at least 1 .*received \(1, 0\)"),
            ("()", ValueError, r"must be an int or a pair .*received \(\)"),
            ("(1, 2, 3)", ValueError, r"must be an int or a pair .*received \(1, 2, 3\)"),
            ("np.ones((2, 2), int)", TypeError, "must be an integer, received array"),
            ("1.0", TypeError, "must be an integer, received 1.0 of type float"),
            ("np.float32(1)", TypeError, "must be an integer, received .*float32"),
            ("'1'", TypeError, "must be an integer, received '1' of type str"),
            ("True", TypeError, "must be an integer, received True of type bool"),
            ("{1}", TypeError, r"must be an integer, received .1. of type set"),
            ("[1] * 100_000", ValueError, r".*received \[1, 1, .* … .*1\]"),
            ("2**64", ValueError, ".* fit 64 bits"),
            ("(1, 10**400)", ValueError, ".* fit 64 bits"),
        )
    ]
    + [
        ("padding", value, error, rf"^{{name}}: padding {words}")
        for value, error, words in (
            ("-1", ValueError, "must be at least 0 .*received -1"),
            ("'full'", ValueError, r"must be 'valid', 'same', an int, a pair .*received 'full'"),
            ("''", ValueError, "must be 'valid'"),
            ("b'same'", TypeError, "must be an integer"),
            ("None", TypeError, "must be an integer, received None of type NoneType"),
            ("((1, 1), 1)", ValueError, r"must be an int, a pair .*received \(\(1, 1\), 1\)"),
            ("(1, (1, 1))", ValueError, r"must be an int, a pair .*received \(1, \(1, 1\)\)"),
            ("((1, 1), (1,))", ValueError, r"must be an int or a pair \(h, w\), received \(1,\)"),
            ("((1, 1), (1, 1), (1, 1))", ValueError, "must be an int, a pair"),
            ("((1, 1), (1, -1))", ValueError, "must be at least 0"),
            ("(((1, 1), 1), (1, 1))", TypeError, "must be an integer"),
            ("(1, 1, 1)", ValueError, "must be an int or a pair"),
            ("0.5", TypeError, "must be an integer, received 0.5"),
            ("2**63", ValueError, ".* fit 64 bits"),
        )
    ]
    + [
        (
            "padding",
            "huge",
            ValueError,
            "^{name}: (padding|an array of .* does not fit 64 bits|with padding|images of)",
        ),
        (
            "padding",
            "(0, huge)",
            ValueError,
            "^{name}: (padding|an array of .* does not fit 64 bits|with padding|images of)",
        ),
        (
            "data_format",
            "'NHWC'",
            ValueError,
            "^{name}: data_format must be one of 'channels_last', 'channels_first', received",
        ),
        ("data_format", "None", ValueError, "^{name}: data_format must be one of .*received None"),
        ("data_format", "1", ValueError, "^{name}: data_format must be one of .*received 1"),
        ("algorithm", "'fft'", ValueError, "^{name}: algorithm must be one of 'auto', 'direct', .*received 'fft'"),
        ("algorithm", "None", ValueError, "^{name}: algorithm must be one of"),
        ("groups", "0", ValueError, "^{name}: groups"),
        ("groups", "-1", ValueError, "^{name}: groups"),
        ("groups", "1.0", TypeError, "^{name}: groups must be an integer, received 1.0"),
        ("groups", "None", TypeError, "^{name}: groups must be an integer"),
        ("groups", "huge", ValueError, "^{name}: groups="),
        (
            "activation",
            "'rleu'",
            ValueError,
            "^{name}: activation must be None, one of 'linear', 'relu'.*received 'rleu'",
        ),
        ("activation", "3", ValueError, "^{name}: activation must be None.*received 3"),
        ("out", "[0.0]", TypeError, "^{name}: out must be a numpy array, received list"),
        (
            "out",
            "np.zeros(3)",
            ValueError,
            r"^{name}: out must have shape .*received shape \(3,\).* Make it with numpy.empty",
        ),
        ("axis", "99", ValueError, "^{name}: axis 99 is out of range for an array of shape"),
        ("axis", "-99", ValueError, "^{name}: axis -99 is out of range"),
        ("axis", "0.0", TypeError, "^{name}: axis must be an integer, received 0.0"),
        ("axis", "None", TypeError, "^{name}: axis must be an integer, received None"),
        ("output_padding", "1", ValueError, "^{name}: `output_padding` must be strictly less than `strides`"),
        ("output_padding", "-1", ValueError, "^{name}: output_padding must be at least 0"),
        ("output_padding", "0.5", TypeError, "^{name}: output_padding must be an integer"),
        ("mode", "'SAME'", ValueError, "^{name}: mode must be one of 'full', 'same', 'valid', received 'SAME'"),
        ("mode", "None", ValueError, "^{name}: mode must be one of"),
        ("boundary", "'reflect'", ValueError, "^{name}: boundary must be one of 'fill', .*received 'reflect'"),
        ("fillvalue", "'0'", TypeError, "^{name}: fillvalue must be a real number, received '0'"),
        ("fillvalue", "1j", TypeError, "^{name}: fillvalue must be a real number"),
        ("fillvalue", "[1, 2]", TypeError, "^{name}: fillvalue must be a real number"),
        ("fillvalue", "None", TypeError, "^{name}: fillvalue must be a real number"),
        ("epsilon", "'small'", TypeError, "^{name}: epsilon must be a number, received 'small'"),
        ("epsilon", "-1", ValueError, "^{name}: epsilon must be at least 0"),
        ("epsilon", "np.nan", ValueError, "^{name}: epsilon must be at least 0 and finite, received nan"),
    ]
)


def _function(name: str) -> Any:
    return getattr(fc, name, None) or getattr(ops, name)


def _where(name: str) -> str:
    return f"fc.{name}" if hasattr(fc, name) else f"ops.{name}"


def _option_cases() -> list[bad_input.Case]:
    cases = []
    for name, arguments in RIGHT.items():
        takes = inspect.signature(_function(name)).parameters
        for option, value, error, pattern in WRONG_OPTIONS:
            if option in takes:
                cases.append((f"{_where(name)}({arguments}, {option}={value})", error, pattern.format(name=name)))
    return cases


def _array_cases() -> list[bad_input.Case]:
    """Things that are no float arrays, in the place of each argument that is one."""
    wrong = (
        ("None", TypeError, r"^{name}: {argument} must be (an array|float32 or float64|integers)"),
        ("'image'", TypeError, "^{name}: {argument} must be"),
        ("object()", TypeError, "^{name}: {argument} must be"),
        ("[[1.0], [1.0, 2.0]]", TypeError, "^{name}: {argument} must be an array, received list"),
        (
            "{value}.astype('complex64')",
            TypeError,
            r"^{name}: {argument} must be .*received complex64.*{argument}\.real",
        ),
        (
            "{value}.astype('float16')",
            TypeError,
            r"^{name}: {argument} must be .*received float16.*\.astype\(.float32.\)",
        ),
        ("{value}.astype('M8[s]')", TypeError, "^{name}: {argument} must be .*received datetime64"),
    )
    integers = ("{value}.astype('int32')", TypeError, r"^{name}: {argument} must be .*int32.*\.astype\(.float32.\)")
    cases = []
    for name, arguments in RIGHT.items():
        given, parameters = arguments.split(", "), list(inspect.signature(_function(name)).parameters)
        for i, value in enumerate(given):
            if ".shape" in value or "=" in value or value in ("3", "I", "PI"):
                continue
            for text, error, pattern in (*wrong, *(() if "2d" in name and value in ("IMG", "W") else (integers,))):
                changed = ", ".join([*given[:i], text.replace("{value}", value), *given[i + 1 :]])
                cases.append((f"{_where(name)}({changed})", error, pattern.format(name=name, argument=parameters[i])))
    return cases


def _shape_cases() -> list[bad_input.Case]:
    """input_shape and its kin."""
    wrong = (
        ("None", ValueError, "must be a tuple of four sizes, received None"),
        ("8", ValueError, "must be a tuple of four sizes, received 8"),
        ("'2884'", ValueError, "must be a tuple of four sizes"),
        ("(8, 8, 4)", ValueError, r"must be a tuple of four sizes, received \(8, 8, 4\)"),
        ("(2, 8, 8, -4)", ValueError, "must not have negative sizes"),
        ("(2, 8, 8, 2**64)", ValueError, ".*beyond 64 bits"),
        ("(2, 8, 8.0, 4)", TypeError, "must be an integer, received 8.0"),
        ("(2, 8, None, 4)", TypeError, "must be an integer, received None"),
        ("np.ones((2, 4), int)", ValueError, "must be a tuple of four sizes"),
        ("np.ones(4)", TypeError, "must be an integer"),
    )
    return [
        (f"{_where(name)}({arguments.replace('X.shape', value, 1)})", error, f"^{name}: (input_shape|x_shape) {words}")
        for name, arguments in RIGHT.items()
        if "X.shape" in arguments
        for value, error, words in wrong
    ]


SHAPES_AND_OUT: list[bad_input.Case] = [
    # axes: what came, what is expected, and how to add the missing one
    (
        "fc.conv2d(X[0], K)",
        ValueError,
        r"x must have 4 axes \(n, h, w, c\), received x\.shape=\(8, 8, 4\)\. Add the batch axis: x\[None\]",
    ),
    (
        "fc.conv2d(X, K[0])",
        ValueError,
        r"kernel must have 4 axes .*received kernel\.shape=\(3, 4, 6\)\. An axis of length 1",
    ),
    ("fc.conv2d(X, W)", ValueError, r"kernel must have 4 axes .*received kernel\.shape=\(3, 3\)\.$"),
    ("fc.conv2d_transpose(X[0], KT)", ValueError, r"x must have 4 axes .*Add the batch axis"),
    ("fc.depthwise_conv2d(X, W)", ValueError, r"kernel must have 4 axes \(kh, kw, channels, multiplier\)"),
    ("fc.max_pool2d(X[0, 0])", ValueError, r"x must have 4 axes .*received x\.shape=\(8, 4\)\.$"),
    ("fc.im2col(W, 3)", ValueError, "x must have 4 axes"),
    ("fc.convolve2d(X, W)", ValueError, r"in1 must have shape \(h, w\) or \(h, w, channels\).*For several images"),
    ("fc.correlate2d(IMG, IMG[0])", ValueError, r"in2 \(kh, kw\)"),
    ("fc.convolve2d(IMG[:0], W)", ValueError, "no axis may have length 0"),
    ("fc.correlate2d(IMG[:2], W, 'valid')", ValueError, "needs one array at least as large as the other"),
    ("fc.dense(V, M[0])", ValueError, r"kernel must have 2 axes \(inputs, units\)"),
    ("fc.dense(np.float32(1), M)", ValueError, "dense: expected x"),
    ("fc.dense(MX, M, V)", ValueError, r"bias must have shape \(3,\)"),
    ("fc.dense_grad_input(MX, M)", ValueError, r"expected grad_output \(\.\.\., units\) and kernel"),
    ("fc.dense_grad_kernel(MX, M)", ValueError, "with the same leading axes"),
    ("fc.dense_grad_kernel(MX, np.float32(1))", ValueError, "with the same leading axes"),
    ("ops.bias_grad(np.float32(1))", ValueError, r"expected grad_output \(\.\.\., channels\)"),
    # channels, filters, groups
    ("fc.conv2d(X, K[:, :, :3])", ValueError, r"expects 3 input channels, x has 4\..*kernel must have shape"),
    ("fc.conv2d(X, K, B[:5])", ValueError, r"bias must have shape \(6,\).*received \(5,\)"),
    ("fc.conv2d(X, K, np.float32(1))", ValueError, r"bias must have shape \(6,\)"),
    ("fc.conv2d(X, K[:0])", ValueError, "sizes of the kernel must be at least 1"),
    ("fc.conv2d(X[..., :0], K[:, :, :0])", ValueError, "channels and all sizes of the kernel must be at least 1"),
    ("fc.conv2d(X[:, :0], K)", ValueError, "does not fit the image of height and width"),
    ("fc.conv2d_transpose(X, K)", ValueError, "filters stand before channels, unlike conv2d's"),
    ("fc.conv2d_transpose(X, KT, C)", ValueError, r"bias must have shape \(6,\)"),
    ("fc.conv2d_transpose(X, KT, padding=9)", ValueError, "it would be empty. Use less padding"),
    ("fc.conv2d_transpose_grad_input(GT[1:], KT, X.shape)", ValueError, "grad_output must have shape"),
    ("fc.conv2d_transpose_grad_kernel(X, GT, 0)", ValueError, "kernel_size must be at least 1"),
    ("fc.depthwise_conv2d(X, K[:, :, :3])", ValueError, "kernel has filters for 3 channels, x has 4"),
    ("fc.depthwise_conv2d(X, KD, B)", ValueError, r"bias must have shape \(8,\)"),
    ("fc.depthwise_conv2d_grad_kernel(X, G, 3)", ValueError, "6 channels must be a multiple of x's 4"),
    ("fc.depthwise_conv2d_grad_input(G, KD, X.shape)", ValueError, "grad_output must have shape"),
    ("fc.max_pool2d(X, 2, padding=2)", ValueError, "pads must be smaller than the window"),
    ("fc.avg_pool2d(X, 9)", ValueError, r"the window \(9, 9\) does not fit"),
    ("fc.l2_pool2d_grad(P[:1], X)", ValueError, "grad_output must have shape"),
    ("fc.avg_pool2d_grad(P, (2, 8, 8, 5))", ValueError, "grad_output must have shape"),
    ("fc.col2im(COLS[:, :35], X.shape, 3)", ValueError, r"cols must have shape \(72, 36\)"),
    ("fc.im2col(X, 9)", ValueError, "does not fit the image"),
    ("fc.relu_grad(X, X[:1])", ValueError, "grad_output must have shape"),
    ("fc.softmax_grad(X, X[:1])", ValueError, "grad_output must have shape"),
    ("ops.relu_bias_grad(X, X[:1])", ValueError, "expected grad_output and y .* of one shape"),
    ("ops.relu_bias_grad(X, X, bias_out=B)", ValueError, r"bias_out must have shape \(4,\)"),
    ("ops.dropout(X, 1.5, 1)", ValueError, "rate must be at least 0 and at most 1, received 1.5"),
    ("ops.dropout(X, np.nan, 1)", ValueError, "rate must be at least 0"),
    ("ops.dropout(X, 'half', 1)", TypeError, "rate must be a number"),
    ("ops.dropout(X, 0.5, -1)", ValueError, r"key must be from 0 to 2\*\*64 - 1, received -1"),
    ("ops.dropout(X, 0.5, 2**64)", ValueError, "key must be from 0"),
    ("ops.dropout(X, 0.5, 1.0)", TypeError, "key must be an integer"),
    ("ops.conv2d_max_pool2d(X, K, pool_size=7)", ValueError, r"the window \(7, 7\) does not fit"),
    ("ops.conv2d_max_pool2d(X, K, pool_padding=2)", ValueError, "pads must be smaller than the window"),
    ("ops.conv2d_max_pool2d(X, K, out=OUT)", ValueError, r"out must have shape \(2, 3, 3, 6\)"),
    ("ops.conv2d_max_pool2d(X, K, activation='tan')", ValueError, "activation"),
    ("ops.conv2d_max_pool2d_grad_kernel(X, G, PI, 3)", ValueError, r"grad_output must have shape \(2, 3, 3, 6\)"),
    ("ops.conv2d_max_pool2d_grad_kernel(X, PG, I, 3)", ValueError, r"indices must have shape \(2, 3, 3, 6\)"),
    ("ops.conv2d_max_pool2d_grad_kernel(X, PG, PG, 3)", TypeError, "indices"),
    ("ops.conv2d_max_pool2d_grad_kernel(X, PG, PI, 9)", ValueError, "does not fit"),
    ("ops.conv2d_max_pool2d_grad_kernel(X, PG, PI, 3, pool_size=7)", ValueError, r"the window \(7, 7\) does not fit"),
    ("ops.conv2d_max_pool2d_grad_kernel(X, PG, PI, 3, out=OUT)", ValueError, "out must have shape"),
    ("ops.conv2d_max_pool2d_grad_input(G, PI, K, X.shape)", ValueError, r"grad_output must have shape \(2, 3, 3, 6\)"),
    ("ops.conv2d_max_pool2d_grad_input(PG, I, K, X.shape)", ValueError, r"indices must have shape \(2, 3, 3, 6\)"),
    ("ops.conv2d_max_pool2d_grad_input(PG, PG, K, X.shape)", TypeError, "indices"),
    ("ops.conv2d_max_pool2d_grad_input(PG, PI, K, X.shape[:3])", ValueError, "input_shape"),
    ("ops.conv2d_max_pool2d_grad_input(PG, PI, K[0], X.shape)", ValueError, "kernel must have 4 axes"),
    ("ops.conv2d_max_pool2d_grad_input(PG, PI, K, X.shape, pool_size=7)", ValueError, "does not fit"),
    ("ops.conv2d_max_pool2d_grad_input(PG, PI, K, X.shape, out=OUT)", ValueError, "out must have shape"),
    ("ops.max_pool2d_grad_unchecked(P[:1], I, X.shape)", ValueError, "grad_output must have shape"),
    ("ops.max_pool2d_grad_unchecked(P, I[:1], X.shape)", ValueError, "indices must have shape"),
    ("ops.batch_normalization(X, B, C)", ValueError, r"mean must have shape \(4,\)"),
    ("ops.batch_normalization(X, C, C, scale=B)", ValueError, r"scale must have shape \(4,\)"),
    ("ops.batch_normalization_grad(X[:1], X, C, C)", ValueError, "grad_output must have shape"),
    # pooling indices: never written outside the image
    (
        "fc.max_pool2d_grad(P, BAD, X.shape)",
        ValueError,
        r"indices must lie in \[0, 64\).*received values from 64 to 64",
    ),
    ("fc.max_pool2d_grad(P, NEG, X.shape)", ValueError, "received values from -1 to -1"),
    (
        "fc.max_pool2d_grad(P, np.full(I.shape, -2**63), X.shape)",
        ValueError,
        "received values from -9223372036854775808",
    ),
    ("fc.max_pool2d_grad(P, P, X.shape)", TypeError, "indices must be int32 or int64.*received float32"),
    ("fc.max_pool2d_grad(P, I.astype('uint8'), X.shape)", TypeError, "indices must be int32 or int64"),
    ("fc.max_pool2d_grad(P, None, X.shape)", TypeError, "indices must be int32 or int64"),
    ("fc.max_pool2d_grad(P, I[:1], X.shape)", ValueError, "indices must have shape"),
    # out
    ("fc.conv2d(X, K, out=OUT[:1])", ValueError, r"out must have shape \(2, 6, 6, 6\)"),
    ("fc.conv2d(X, K, out=OUT.astype('float64'))", ValueError, "dtype float32, received .* dtype float64"),
    ("fc.conv2d(X, K, out=np.broadcast_to(np.float32(0), (2, 6, 6, 6)))", ValueError, "out is read-only"),
    ("fc.conv2d(WIDE[:512].reshape(2, 8, 8, 4), K, out=WIDE[100:532].reshape(2, 6, 6, 6))", ValueError, "out overlaps"),
    ("fc.max_pool2d(X, out=X[:, :4, :4])", ValueError, "out overlaps"),
    ("fc.max_pool2d(X, indices_out=IOUT)", ValueError, "return_indices is False. Pass return_indices=True"),
    ("fc.max_pool2d(X, return_indices=True, indices_out=POUT)", ValueError, "indices_out must have .* dtype int32"),
    (
        "fc.max_pool2d(X, return_indices=True, out=POUT, indices_out=POUT.view('int32'))",
        ValueError,
        "indices_out overlaps",
    ),
    (
        "fc.max_pool2d(X, return_indices=True, out=POUT, indices_out=[1])",
        TypeError,
        "indices_out must be a numpy array",
    ),
    # activations of the user's own: out stays as it was whatever they do
    ("fc.conv2d(X, K, out=OUT, activation=raising)", ValueError, "own has failed"),
    ("fc.conv2d(X, K, out=OUT, activation=spoils)", ValueError, "own has failed"),
    (
        "fc.conv2d(X, K, out=OUT, activation=one)",
        ValueError,
        r"must return real numbers in the shape .*It returned \(1, 6, 6, 6\)",
    ),
    ("fc.conv2d(X, K, activation=text)", ValueError, "must return real numbers"),
    ("fc.conv2d(X, K, activation=imaginary)", ValueError, "It returned .* of complex64"),
    ("fc.conv2d_transpose(X, KT, activation=one)", ValueError, "must return real numbers"),
    ("fc.depthwise_conv2d(X, KD, activation=one)", ValueError, "must return real numbers"),
    ("fc.dense(MX, M, activation=one)", ValueError, "must return real numbers"),
    # sizes beyond 64 bits: refused, never wrapped
    ("fc.conv2d(X, K, padding=2**31)", ValueError, "elements does not fit 64 bits"),
    ("fc.conv2d_grad_input(G, K, (2**32, 2**32, 2**32, 4))", ValueError, "does not fit 64 bits"),
    ("fc.conv2d_transpose(X, KT, strides=2**61)", ValueError, "does not fit 64 bits"),
    ("fc.im2col(X, 3, padding=2**31)", ValueError, "does not fit 64 bits"),
    ("fc.col2im(COLS, (2**62, 8, 8, 4), 3)", ValueError, "does not fit 64 bits"),
    ("fc.max_pool2d_grad(P, I, (2**40, 2**20, 2**20, 4))", ValueError, "does not fit 64 bits"),
    ("fc.explain_conv2d((2**40, 2**20, 2**20, 4), (3, 3, 4, 6))", ValueError, "does not fit 64 bits"),
    ("fc.explain_conv2d(X.shape, (3, 3, 4))", ValueError, "kernel_shape must be a tuple of four sizes"),
    ("fc.conv2d_grad_kernel(X, G, 2**62)", ValueError, "does not fit the image|64 bits"),
    # runtime
    ("fc.set_num_threads(0)", ValueError, "n must be from 1 to 1024, received 0"),
    ("fc.set_num_threads(2**70)", ValueError, "n must be from 1 to 1024"),
    ("fc.set_num_threads('2')", TypeError, "n must be an integer, received '2'"),
    ("fc.set_num_threads(None)", TypeError, "n must be an integer"),
    ("fc.set_isa('sse9')", ValueError, "'sse9' is not available here; choose one of"),
    ("fc.set_isa(None)", ValueError, "None is not available here"),
    ("fc.set_isa(['avx2'])", ValueError, "is not available here"),
]

CASES = [*_option_cases(), *_array_cases(), *_shape_cases(), *SHAPES_AND_OUT]


@pytest.mark.parametrize("name", [*RIGHT, "set_num_threads", "set_isa"])
def test_wrong_calls(name):
    """One test a function, so that hundreds of lines cost no test each."""
    given = names()
    tried = 0
    for case in CASES:
        if case[0].startswith((f"fc.{name}(", f"ops.{name}(")):
            bad_input.check(case, given)
            tried += 1
    assert tried >= 3


@pytest.mark.parametrize("name", RIGHT)
def test_the_call_that_the_wrong_ones_differ_from_is_right(name):
    eval(f"{_where(name)}({RIGHT[name]})", names())


def test_every_function_has_wrong_calls():
    public = [name for name in fc.__all__ if inspect.isfunction(getattr(fc, name))]
    silent = {"available_isas", "get_isa", "get_num_threads", "show_config"}  # they take nothing
    silent |= {"Input"}  # layers.Input, whose wrong calls test_bad_input_layers.py has
    assert [name for name in public if name not in silent and not bad_input.spoken_for(CASES, name)] == []
    assert [name for name in ops.__all__ if not bad_input.spoken_for(CASES, name)] == []
    assert len(CASES) > 700


def test_shapes_and_pads_may_be_arrays():
    given = names()
    x, kernel = given["X"], given["K"]
    shape = np.array(x.shape)
    assert fc.conv2d_grad_input(given["G"], kernel, shape).shape == x.shape
    assert fc.max_pool2d_grad(given["P"], given["I"], shape).shape == x.shape
    assert fc.avg_pool2d_grad(given["P"], shape).shape == x.shape
    assert fc.col2im(given["COLS"], shape, 3).shape == x.shape
    assert fc.explain_conv2d(shape, np.array(kernel.shape)) == fc.explain_conv2d(x.shape, kernel.shape)
    pads = ((1, 0), (2, 1))
    expected = fc.conv2d(x, kernel, padding=pads, strides=(2, 1))
    assert np.array_equal(fc.conv2d(x, kernel, padding=np.array(pads), strides=np.array((2, 1))), expected)
    assert np.array_equal(fc.conv2d(x, kernel, padding=[list(side) for side in pads], strides=[2, 1]), expected)
    assert np.array_equal(fc.conv2d(x, kernel, strides=np.array(2)), fc.conv2d(x, kernel, strides=2))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_outputs_of_pooling_in_a_plane_that_int32_cannot_count(data_format, monkeypatch, rng):
    from fastconv.ops import pooling

    x = rng.normal(size=(2, 6, 6, 6)).astype("float32")
    expected, where = fc.max_pool2d(x, return_indices=True, data_format=data_format)
    grad = fc.max_pool2d_grad(expected, where, x.shape, data_format=data_format)
    monkeypatch.setattr(pooling, "INT32_MAX", 35)
    out, indices_out = np.zeros_like(expected), np.zeros(expected.shape, np.int64)
    y, indices = fc.max_pool2d(x, return_indices=True, out=out, indices_out=indices_out, data_format=data_format)
    assert y is out
    assert indices is indices_out
    assert np.array_equal(y, expected)
    assert np.array_equal(indices, where)
    place = np.zeros_like(x)
    assert fc.max_pool2d_grad(y, indices, x.shape, out=place, data_format=data_format) is place
    assert np.array_equal(place, grad)
