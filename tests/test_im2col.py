"""im2col and col2im, equal to the naive loops, adjoint, and what they promise about convolution."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
from oracle import DTYPES, assert_exact, guarded_copy, integers, spoil_free_memory
from problems import CONV_PROBLEMS

import fastconv as fc
from fastconv import reference

SLAB_OPTIONS = ({}, {"strides": (2, 1), "padding": "same"}, {"padding": 2, "dilation_rate": 2})
PROBLEMS = [p for p in CONV_PROBLEMS if p.data_format == "channels_last" and p.groups == 1]


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_equal_to_the_reference(problem):
    kernel_size = (problem.kh, problem.kw)
    options = {name: problem.options[name] for name in ("strides", "padding", "dilation_rate")}
    x = problem.arrays()["x"]
    expected = reference.im2col(x, kernel_size, **options)
    upstream = integers(np.random.default_rng(problem.seed), expected.shape, np.float64)
    back = reference.col2im(upstream, problem.input_shape, kernel_size, **options)
    for dtype in DTYPES:
        images, cols = guarded_copy(x.astype(dtype)), guarded_copy(upstream.astype(dtype))
        spoil_free_memory(expected.size * 8)
        assert_exact(fc.im2col(images.array, kernel_size, **options), expected, dtype)
        spoil_free_memory(x.size * 8)
        assert_exact(fc.col2im(cols.array, problem.input_shape, kernel_size, **options), back, dtype)
        for buffer, original in ((images, x), (cols, upstream)):
            buffer.check()
            assert_exact(buffer.array, original)


def test_a_convolution_is_a_matrix_product(rng):
    x, kernel = integers(rng, (2, 6, 7, 3)), integers(rng, (3, 2, 3, 5))
    cols = fc.im2col(x, (3, 2), strides=2, padding="same")
    product = (cols @ kernel.reshape(-1, 5)).reshape(2, 3, 4, 5)
    assert_exact(product, fc.conv2d(x, kernel, strides=2, padding="same"))


def test_col2im_counts_windows():
    ones = np.ones((1, 4, 4, 2), np.float32)
    counts = fc.col2im(fc.im2col(ones, 2), ones.shape, 2)
    assert_exact(counts[0, :, :, 1], np.outer([1, 2, 2, 1], [1, 2, 2, 1]).astype(np.float32))


def test_defaults_are_stride_one_and_no_padding():
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    assert_exact(fc.im2col(x, 2), np.array([[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]], np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_with_work_for_every_thread(dtype, threads):
    one = integers(np.random.default_rng(4), (1, 9, 8, 5), np.float64)
    options = {"strides": (2, 1), "padding": "same", "dilation_rate": (1, 2)}
    cols = reference.im2col(one, (3, 2), **options)
    x = np.tile(one, (300, 1, 1, 1)).astype(dtype)
    assert_exact(fc.im2col(x, (3, 2), **options), np.tile(cols, (300, 1)), dtype)
    back = np.tile(reference.col2im(cols, one.shape, (3, 2), **options), (300, 1, 1, 1))
    assert_exact(fc.col2im(np.tile(cols, (300, 1)).astype(dtype), x.shape, (3, 2), **options), back, dtype)


# Patches in a slab: a few images, rows of one, pixels of a row, one pixel.
@pytest.mark.parametrize("slab", [5000, 1000, 100, 1])
@pytest.mark.parametrize("options", SLAB_OPTIONS, ids=str)
def test_slabs_do_not_change_the_answer(slab, options, monkeypatch):
    rng = np.random.default_rng(5)
    x, kernel = integers(rng, (5, 9, 8, 4)), integers(rng, (3, 2, 4, 5))
    expected = fc.conv2d(x, kernel, **options, algorithm="direct")
    grads = integers(rng, expected.shape)
    monkeypatch.setattr(sys.modules["fastconv.ops.im2col"], "SLAB_ELEMENTS", slab)
    chosen = {**options, "algorithm": "im2col"}
    assert_exact(fc.conv2d(x, kernel, **chosen), expected)
    assert_exact(
        fc.conv2d_grad_input(grads, kernel, x.shape, **chosen), fc.conv2d_grad_input(grads, kernel, x.shape, **options)
    )
    assert_exact(fc.conv2d_grad_kernel(x, grads, (3, 2), **chosen), fc.conv2d_grad_kernel(x, grads, (3, 2), **options))


def test_memory_is_bounded_by_the_slab():
    x, kernel = np.ones((1, 300, 300, 8), np.float32), np.ones((5, 5, 8, 2), np.float32)
    patches = 300 * 300 * 5 * 5 * 8 * 4
    calls = (
        lambda: fc.conv2d(x, kernel, padding="same", algorithm="im2col"),
        lambda: fc.conv2d_grad_input(grads, kernel, x.shape, padding="same", algorithm="im2col"),
        lambda: fc.conv2d_grad_kernel(x, grads, 5, padding="same", algorithm="im2col"),
    )
    grads = calls[0]()
    for call in calls:
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < patches // 3, f"{peak:,} of {patches:,} bytes of patches"
