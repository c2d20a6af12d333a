"""Output sizes and padding, against hand-computed tables and against counting."""

from __future__ import annotations

import pytest

from fastconv import _shapes


@pytest.mark.parametrize(
    ("window", "dilation", "expected"), [(1, 1, 1), (1, 7, 1), (3, 1, 3), (3, 2, 5), (2, 5, 6), (5, 3, 13)]
)
def test_effective_size(window, dilation, expected):
    assert _shapes.effective_size(window, dilation) == expected


@pytest.mark.parametrize(
    ("size", "window", "stride", "expected"),
    [
        (32, 5, 1, (2, 2)),
        (28, 2, 2, (0, 0)),
        (5, 2, 2, (0, 1)),
        (4, 2, 1, (0, 1)),
        (4, 4, 1, (1, 2)),
        (224, 7, 2, (2, 3)),
        (7, 3, 2, (1, 1)),
        (6, 3, 2, (0, 1)),
        (5, 1, 3, (0, 0)),
        (5, 3, 7, (0, 0)),
        (1, 5, 1, (2, 2)),
    ],
)
def test_same_padding_is_tensorflows(size, window, stride, expected):
    assert _shapes.same_padding(size, window, stride, 1) == expected


def test_same_padding_of_a_dilated_window_is_that_of_its_span():
    for window in range(1, 5):
        for dilation in range(1, 4):
            span = _shapes.effective_size(window, dilation)
            for size in range(1, 12):
                for stride in range(1, 4):
                    dilated = _shapes.same_padding(size, window, stride, dilation)
                    assert dilated == _shapes.same_padding(size, span, stride, 1)


def test_same_padding_gives_the_promised_size_and_no_cell_too_many():
    for size in range(1, 20):
        for window in range(1, 8):
            for stride in range(1, 6):
                before, after = _shapes.same_padding(size, window, stride, 1)
                out = -(-size // stride)
                assert _shapes.output_size(size, window, stride, 1, before, after) == out
                assert 0 <= after - before <= 1
                if before + after:
                    assert _shapes.output_size(size, window, stride, 1, before, after - 1) == out - 1


def test_output_size_counts_the_windows_that_fit():
    for size in range(12):
        for window in range(1, 6):
            for stride in range(1, 5):
                for dilation in range(1, 4):
                    for before, after in ((0, 0), (1, 0), (2, 3)):
                        span = (window - 1) * dilation + 1
                        starts = range(0, size + before + after - span + 1, stride)
                        counted = _shapes.output_size(size, window, stride, dilation, before, after)
                        assert counted == len(starts)


def test_resolve_padding():
    sizes = (5, 6), (2, 3), (2, 1), (1, 1)
    assert _shapes.resolve_padding("valid", *sizes) == ((0, 0), (0, 0))
    assert _shapes.resolve_padding("same", *sizes) == ((0, 1), (1, 1))
    assert _shapes.resolve_padding(((1, 2), (3, 4)), *sizes) == ((1, 2), (3, 4))


def test_output_hw():
    assert _shapes.output_hw((5, 6), (2, 3), (2, 1), (1, 2), ((0, 1), (1, 1))) == (3, 4)
    assert _shapes.output_hw((2, 9), (3, 3), (1, 1), (1, 1), ((0, 0), (0, 0))) == (0, 7)


def test_sizes_are_not_bound_to_64_bits():
    assert _shapes.output_size(2**70, 3, 1, 1, 0, 0) == 2**70 - 2
