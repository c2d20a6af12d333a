"""The oracle itself, against values worked out by hand and against formulas that share nothing with its loops."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
from oracle import assert_exact, assert_within, gamma, integers, normals, numerical_gradient
from problems import CONV_EDGES, POOL_EDGES, Conv, conv_answers, random_convs, random_pools

from fastconv import reference
from fastconv._shapes import resolve_padding

CONVS = CONV_EDGES + random_convs(seed=1, count=40)
POOLS = POOL_EDGES + random_pools(seed=2, count=30)


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def padded(x, size, window, strides, dilation, padding, fill):
    """The images with the padding really there."""
    if not isinstance(padding, str) and not (isinstance(padding, tuple) and isinstance(padding[0], tuple)):
        padding = tuple((side, side) for side in pair(padding))
    pads = resolve_padding(padding, size, window, strides, dilation)
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)


def windows(x, window, strides, dilation):
    """(n, oh, ow, c, kh, kw) by NumPy's sliding windows."""
    span = tuple((size - 1) * rate + 1 for size, rate in zip(window, dilation, strict=True))
    if x.shape[1] < span[0] or x.shape[2] < span[1]:
        return np.empty((x.shape[0], 0, 0, x.shape[3], *window))
    view = np.lib.stride_tricks.sliding_window_view(x, span, axis=(1, 2))
    return view[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]


def conv_by_einsum(problem: Conv, x, kernel, bias):
    """np.pad, sliding windows and einsum: no loop over cells."""
    if problem.data_format == "channels_first":
        x = x.transpose(0, 2, 3, 1)
    sizes = (x.shape[1], x.shape[2]), (problem.kh, problem.kw), pair(problem.strides), pair(problem.dilation_rate)
    view = windows(padded(x, *sizes, problem.padding, 0), *sizes[1:])
    groups = problem.groups
    view = view.reshape(*view.shape[:3], groups, x.shape[3] // groups, *view.shape[4:])
    weights = kernel.reshape(*kernel.shape[:3], groups, kernel.shape[3] // groups)
    y = np.einsum("nijgcab,abcgf->nijgf", view, weights)
    y = y.reshape(*y.shape[:3], problem.filters) + (0 if bias is None else bias)
    if problem.activation == "relu":
        y = np.maximum(y, 0)
    return y.transpose(0, 3, 1, 2) if problem.data_format == "channels_first" else y


def test_conv2d_by_hand():
    # The worked example 4x4 * 2x2 of the articles: nine sums of four products.
    image = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 1, 2, 3], [4, 5, 6, 7]], float).reshape(1, 4, 4, 1)
    kernel = np.array([[1, 0], [0, -1]], float).reshape(2, 2, 1, 1)
    expected = np.array([[-5, -5, -5], [4, 4, 4], [4, -5, -5]], float)
    assert_exact(reference.conv2d(image, kernel)[0, :, :, 0], expected)


def test_conv2d_same_by_hand():
    # 3x3 of ones over a 3x3 image of ones: a corner sees 4 cells, an edge 6, the middle 9.
    ones = np.ones((1, 3, 3, 1))
    y = reference.conv2d(ones, np.ones((3, 3, 1, 1)), padding="same")
    assert_exact(y[0, :, :, 0], np.array([[4.0, 6, 4], [6, 9, 6], [4, 6, 4]]))


def test_conv2d_same_puts_the_odd_cell_at_the_bottom_right():
    x = np.array([1.0, 2, 3, 4]).reshape(1, 1, 4, 1)
    y = reference.conv2d(x, np.array([1.0, 10]).reshape(1, 2, 1, 1), padding="same")
    assert_exact(y.ravel(), np.array([21.0, 32, 43, 4]))


def test_conv2d_sums_channels_and_adds_bias_by_hand():
    x = np.array([1.0, 2]).reshape(1, 1, 1, 2)
    kernel = np.array([[3.0, 4, 5], [6, 7, 8]]).reshape(1, 1, 2, 3)
    assert_exact(reference.conv2d(x, kernel, np.array([100.0, 0, -50])).ravel(), np.array([115.0, 18, -29]))
    assert_exact(
        reference.conv2d(x, kernel, np.array([100.0, 0, -50]), activation="relu").ravel(), np.array([115.0, 18, 0])
    )


def test_conv2d_groups_by_hand():
    # Two groups of one channel, two filters each: filters 0 and 1 see channel 0 only, 2 and 3 see channel 1.
    x = np.array([10.0, 1]).reshape(1, 1, 1, 2)
    y = reference.conv2d(x, np.array([1.0, 2, 3, 4]).reshape(1, 1, 1, 4), groups=2)
    assert_exact(y.ravel(), np.array([10.0, 20, 3, 4]))


def test_conv2d_dilation_by_hand():
    x = np.arange(7.0).reshape(1, 1, 7, 1)
    y = reference.conv2d(x, np.array([1.0, 10, 100]).reshape(1, 3, 1, 1).transpose(0, 1, 3, 2), dilation_rate=(1, 3))
    assert_exact(y.ravel(), np.array([0 + 30 + 600.0]))


def test_fault_of_the_printed_loops_stride_moves_the_window():
    # The printed loops shrink the output by the stride but read from (row, col) without it.
    x = np.arange(25.0).reshape(1, 5, 5, 1)
    y = reference.conv2d(x, np.ones((1, 1, 1, 1)), strides=2)
    assert_exact(y[0, :, :, 0], np.array([[0.0, 2, 4], [10, 12, 14], [20, 22, 24]]))
    assert_exact(reference.max_pool2d(x, 1, strides=(2, 3))[0, :, :, 0], np.array([[0.0, 3], [10, 13], [20, 23]]))


def test_fault_of_the_printed_loops_maximum_of_negatives():
    # The printed loops start the maximum from 0, so a window of negatives gives 0.
    x = -np.arange(1.0, 17).reshape(1, 4, 4, 1)
    assert_exact(reference.max_pool2d(x, 2)[0, :, :, 0], np.array([[-1.0, -3], [-9, -11]]))
    assert_exact(reference.max_pool2d(x, 3, strides=2, padding="same")[0, :, :, 0], np.array([[-1.0, -3], [-9, -11]]))


def test_max_pool2d_same_on_5x5_gives_3x3():
    x = np.arange(25.0).reshape(1, 5, 5, 1)
    y, indices = reference.max_pool2d(x, 2, padding="same", return_indices=True)
    expected = np.array([[6, 8, 9], [16, 18, 19], [21, 23, 24]])
    assert_exact(y[0, :, :, 0], expected.astype(float))
    assert_exact(indices[0, :, :, 0], expected, np.int64)


def test_max_pool2d_ties_take_the_first_and_nan_wins():
    x = np.array([[2.0, 7, 1, 1], [7, 7, 1, 1], [5, np.nan, 9, 3], [np.nan, 6, 9, 9]]).reshape(1, 4, 4, 1)
    y, indices = reference.max_pool2d(x, 2, return_indices=True)
    assert_exact(y[0, :, :, 0], np.array([[7, 1], [np.nan, 9]]))
    assert_exact(indices[0, :, :, 0], np.array([[1, 2], [9, 10]]))
    grad = reference.max_pool2d_grad(np.array([[10.0, -20], [30, 40]]).reshape(1, 2, 2, 1), indices, x.shape)
    expected = np.zeros((4, 4))
    expected[0, 1], expected[0, 2], expected[2, 1], expected[2, 2] = 10, -20, 30, 40
    assert_exact(grad[0, :, :, 0], expected)


def test_max_pool2d_minus_infinity_is_a_value_like_any_other():
    x = np.full((1, 2, 2, 1), -np.inf)
    y, indices = reference.max_pool2d(x, 3, strides=1, padding="same", return_indices=True)
    assert_exact(y, x)
    assert_exact(indices.ravel(), np.zeros(4, np.int64))


def test_avg_pool2d_by_hand():
    x = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    real = reference.avg_pool2d(x, 2, padding="same")[0, :, :, 0]
    assert_exact(real, np.array([[3, 4.5], [7.5, 9]]))
    padded_too = reference.avg_pool2d(x, 2, padding="same", count_include_pad=True)[0, :, :, 0]
    assert_exact(padded_too, np.array([[3, 9 / 4], [15 / 4, 9 / 4]]))


@pytest.mark.parametrize("pool", [reference.max_pool2d, reference.avg_pool2d])
def test_a_window_of_padding_alone_is_refused(pool):
    with pytest.raises(ValueError, match=r"pool2d: the window of output cell \(0, 0\) lies wholly in the padding"):
        pool(np.ones((1, 3, 3, 1)), 2, padding=2)


def test_max_pool2d_grad_refuses_an_index_outside():
    with pytest.raises(ValueError, match="index 4 lies outside"):
        reference.max_pool2d_grad(np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 4), (1, 2, 2, 1))


@pytest.mark.parametrize("problem", CONVS, ids=str)
def test_conv2d_against_sliding_windows_and_einsum(problem):
    data = problem.arrays()
    expected = conv_by_einsum(problem, data["x"], data["kernel"], data["bias"])
    assert_exact(conv_answers(problem)["conv2d"], expected.reshape(problem.output_shape), np.float64)


@pytest.mark.parametrize("problem", CONVS, ids=str)
def test_conv2d_gradients_are_its_adjoints(problem):
    # <conv(x, w), g> = <x, grad_input(g, w)> = <w, grad_kernel(x, g)>: all in whole numbers, so exactly.
    data = problem.arrays()
    forward = conv_by_einsum(problem, data["x"], data["kernel"], None).reshape(problem.output_shape)
    if problem.activation is not None:
        forward = reference.conv2d(data["x"], data["kernel"], **problem.options)
    inner = np.vdot(forward, data["grad_output"])
    answers = conv_answers(problem)
    assert np.vdot(data["x"], answers["conv2d_grad_input"]) == inner
    assert np.vdot(data["kernel"], answers["conv2d_grad_kernel"]) == inner


@pytest.mark.parametrize("problem", [p for p in CONVS if 0 < p.macs <= 3000][:12], ids=str)
def test_conv2d_gradients_against_central_differences(problem):
    data = problem.arrays(normals)
    x, kernel, grad_output = data["x"], data["kernel"], data["grad_output"]

    def loss():
        return np.vdot(reference.conv2d(x, kernel, **problem.options), grad_output)

    # The loss is linear in each cell, so central differences err by rounding alone: 2 K u sum|x||w||g| / step.
    step = 2.0**-10
    magnitude = np.vdot(
        reference.conv2d(np.abs(x) + step, np.abs(kernel) + step, **problem.options), np.abs(grad_output)
    )
    bound = 2 * gamma(problem.macs + 8, np.float64) * magnitude / step
    grad_input = reference.conv2d_grad_input(grad_output, kernel, problem.input_shape, **problem.options)
    assert_within(numerical_gradient(loss, x, step), grad_input, bound)
    kernel_size = (problem.kh, problem.kw)
    grad_kernel = reference.conv2d_grad_kernel(x, grad_output, kernel_size, **problem.options)
    assert_within(numerical_gradient(loss, kernel, step), grad_kernel, bound)


def test_conv2d_against_scipy(rng):
    signal = pytest.importorskip("scipy.signal", reason="SciPy is not installed")
    image, kernel = integers(rng, (9, 8), np.float64), integers(rng, (3, 4), np.float64)
    for mode, padding in (("valid", "valid"), ("full", (2, 3))):
        ours = reference.conv2d(image[None, :, :, None], kernel[:, :, None, None], padding=padding)[0, :, :, 0]
        assert_exact(ours, signal.correlate2d(image, kernel, mode))


@pytest.mark.parametrize("problem", POOLS, ids=str)
def test_pooling_against_sliding_windows(problem):
    x = problem.arrays()["x"]
    last = x.transpose(0, 2, 3, 1) if problem.data_format == "channels_first" else x
    window = pair(problem.pool_size)
    strides = window if problem.strides is None else pair(problem.strides)
    sizes = (problem.h, problem.w), window, strides, (1, 1)

    def view(array, fill):
        return windows(padded(array, *sizes, problem.padding, fill), window, strides, (1, 1))

    def laid_out(y):
        return (y.transpose(0, 3, 1, 2) if problem.data_format == "channels_first" else y).reshape(problem.output_shape)

    y, indices = reference.max_pool2d(x, **problem.options, return_indices=True)
    assert_exact(y, laid_out(view(last, -np.inf).max(axis=(4, 5), initial=-np.inf)))
    places = np.broadcast_to(np.arange(problem.h * problem.w).reshape(1, problem.h, problem.w, 1), last.shape)
    cells, where = view(last, -np.inf), view(places, -1)
    cells, where = (a.reshape(*a.shape[:4], window[0] * window[1]) for a in (cells, where))
    if cells.size:
        picked = np.take_along_axis(where, cells.argmax(-1)[..., None], -1)[..., 0]
        assert_exact(indices, laid_out(picked), np.int64)

    total = view(last, 0).sum(axis=(4, 5))
    count = view(np.ones_like(last), 0).sum(axis=(4, 5))
    assert_exact(reference.avg_pool2d(x, **problem.options), laid_out(total / np.maximum(count, 1)))
    assert_exact(
        reference.avg_pool2d(x, **problem.options, count_include_pad=True), laid_out(total / (window[0] * window[1]))
    )


@pytest.mark.parametrize("problem", [p for p in POOLS if np.prod(p.output_shape) < 2000], ids=str)
def test_pooling_gradients_are_adjoints(problem):
    data = problem.arrays()
    x, grad_output = data["x"], data["grad_output"]
    y, indices = reference.max_pool2d(x, **problem.options, return_indices=True)
    grad = reference.max_pool2d_grad(grad_output, indices, x.shape, **problem.options)
    # The maximum is x at the picked cells, so <y, g> = <x, grad>: whole numbers, exactly.
    assert np.vdot(y, grad_output) == np.vdot(x, grad)
    for include in (False, True):
        y = reference.avg_pool2d(x, **problem.options, count_include_pad=include)
        grad = reference.avg_pool2d_grad(grad_output, x.shape, **problem.options, count_include_pad=include)
        magnitude = np.vdot(np.abs(y), np.abs(grad_output)) + np.vdot(np.abs(x), np.abs(grad))
        bound = gamma(y.size + x.size + 25, np.float64) * magnitude
        assert_within(np.vdot(x, grad), np.vdot(y, grad_output), bound)


@pytest.mark.parametrize("problem", [p for p in CONVS if p.groups == 1 and p.data_format == "channels_last"], ids=str)
def test_im2col_turns_convolution_into_a_product(problem):
    data = problem.arrays()
    options = {name: problem.options[name] for name in ("strides", "padding", "dilation_rate")}
    kernel_size = (problem.kh, problem.kw)
    cols = reference.im2col(data["x"], kernel_size, **options)
    product = (cols @ data["kernel"].reshape(-1, problem.filters)).reshape(problem.output_shape)
    assert_exact(product, reference.conv2d(data["x"], data["kernel"], **options))
    upstream = integers(np.random.default_rng(0), cols.shape, np.float64)
    back = reference.col2im(upstream, problem.input_shape, kernel_size, **options)
    assert np.vdot(cols, upstream) == np.vdot(data["x"], back)


def test_answers_have_the_type_of_the_arguments():
    x, kernel = np.ones((1, 3, 3, 1)), np.ones((2, 2, 1, 1))
    for dtype in (np.float32, np.float64):
        assert reference.conv2d(x.astype(dtype), kernel.astype(dtype)).dtype == dtype
        assert reference.max_pool2d(x.astype(dtype)).dtype == dtype
    assert reference.conv2d(x.astype(np.float32), kernel).dtype == np.float64
    assert reference.conv2d(x.astype(">f4"), kernel.astype(">f4")).dtype == np.float32
    assert reference.conv2d(x.astype(int), kernel.astype(int)).dtype == np.float64


def test_sums_are_in_float64():
    x = np.array([2.0**24, 1, -(2.0**24)], np.float32).reshape(1, 1, 1, 3)
    assert reference.conv2d(x, np.ones((1, 1, 3, 1), np.float32)).item() == 1


def test_padding_is_skipped_not_multiplied():
    # A padded cell that were read as 0 would turn an infinite weight into NaN.
    x, kernel = np.ones((1, 1, 1, 1)), np.full((3, 3, 1, 1), np.inf)
    assert reference.conv2d(x, kernel, padding="same").item() == np.inf


@pytest.mark.parametrize("name", ["", ".conv", ".transpose", ".depthwise", ".pooling", ".l2_pooling", ".normalization"])
def test_examples_in_the_docstrings(name):
    outcome = doctest.testmod(importlib.import_module(f"fastconv.reference{name}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0
