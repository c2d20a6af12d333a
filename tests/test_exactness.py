"""The exactness harness: problems drawn from the whole option space, equal to the naive loops bit for bit.

Each problem runs with every exact algorithm and on every instruction set (in the long run on one that is drawn), in a
type, on a number of threads and from a layout in memory that are drawn with it. The quick part runs always, on the same
problems every time; ``python -m pytest -m long`` draws 10,000 problems for every operation (``FASTCONV_LONG_PROBLEMS``
changes the number, ``FASTCONV_LONG_SEED`` the seed), and prints what it tried. A run that tried too few problems fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import strategies
from calls import (
    Call,
    check,
    conv_calls,
    conv_pooled_calls,
    depthwise_calls,
    filter_calls,
    im2col_calls,
    pool_calls,
    product_calls,
    transpose_calls,
    window_answers,
)
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st
from problems import CONV_EDGES, EXACT_ALGORITHMS, Conv
from tally import TALLY

import fastconv as fc
from fastconv import ops
from fastconv._core import _runtime

LONG_PROBLEMS = int(os.environ.get("FASTCONV_LONG_PROBLEMS", "10000"))
LONG_SEED = int(os.environ.get("FASTCONV_LONG_SEED", "1"))
QUICK_PROBLEMS = int(os.environ.get("FASTCONV_QUICK_PROBLEMS", "150"))

# Each family of operations: its problems, and the calls that one of them makes.
FAMILIES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], Iterator[Call]]]] = {
    "convolution": (strategies.convs(), conv_calls),
    "convolution and pooling": (strategies.convs(), conv_pooled_calls),
    "transposed convolution": (strategies.transposes(), transpose_calls),
    "depthwise convolution": (strategies.convs(depthwise=True), depthwise_calls),
    "pooling": (strategies.pools(), pool_calls),
    "im2col": (strategies.convs(plain=True), im2col_calls),
    "filters": (strategies.filters(), filter_calls),
    "dense": (strategies.products(), product_calls),
}
OPERATIONS = {
    *("conv2d", "conv2d_grad_input", "conv2d_grad_kernel"),
    *("conv2d_max_pool2d", "conv2d_max_pool2d_grad_input", "conv2d_max_pool2d_grad_kernel"),
    *("conv2d_transpose", "conv2d_transpose_grad_input", "conv2d_transpose_grad_kernel"),
    *("depthwise_conv2d", "depthwise_conv2d_grad_input", "depthwise_conv2d_grad_kernel"),
    *("max_pool2d", "max_pool2d_grad", "max_pool2d_grad_unchecked"),
    *("avg_pool2d", "avg_pool2d_grad", "l2_pool2d", "l2_pool2d_grad"),
    *("im2col", "col2im", "convolve2d", "correlate2d", "relu", "relu_grad", "relu_bias_grad"),
    *("dense", "dense_grad_input", "dense_grad_kernel", "bias_grad"),
}


@pytest.fixture
def every_call_is_shared_out() -> Iterator[None]:
    """No call is too small for several threads."""
    _runtime.set_serial_work(0)
    yield
    _runtime.set_serial_work(_runtime.SERIAL_WORK_LIMIT)


def explore(
    family: str,
    problems: Any,
    calls: Any,
    count: int,
    first: int | None,
    phases: Any = tuple(Phase),
    section: str = "Exactness",
) -> None:
    """Try ``count`` problems of a family, and fail if fewer were tried.

    first: the seed; None draws the same problems in every run of one version of hypothesis. section: of README.md.
    """
    tried: dict[str, int] = {}
    start = time.perf_counter()

    @settings(
        max_examples=count,
        derandomize=first is None,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(problem=problems, way=strategies.ways)
    def run(problem: Any, way: strategies.Way) -> None:
        fc.set_num_threads(way.threads)
        seen = set()
        for call in calls(problem):
            for isa in fc.available_isas() if first is None else (way.isa,):
                fc.set_isa(isa)
                for algorithm in call.algorithms or (None,):
                    check(call, way.dtype, way.layout, **({"algorithm": algorithm} if algorithm else {}))
                    TALLY.calls[section, call.name] += 1
            seen.add(call.name)
        for name in seen:
            tried[name] = tried.get(name, 0) + 1

    try:
        (run if first is None else seed(first)(run))()
    finally:
        TALLY.problems.update({(section, name): n for name, n in tried.items()})
        TALLY.seconds[section, family] += time.perf_counter() - start
    # Hypothesis may stop early where it finds nothing new: that must not pass for a full run.
    assert tried, f"no problem of {family} was tried"
    assert min(tried.values()) >= count, f"only {tried} problems of {family} were tried"


@pytest.mark.usefixtures("every_call_is_shared_out")
@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_the_reference(family: str) -> None:
    explore(family, *FAMILIES[family], QUICK_PROBLEMS, None)


@pytest.mark.long
@pytest.mark.usefixtures("every_call_is_shared_out")
@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_the_reference_on_ten_thousand_problems(family: str) -> None:
    explore(family, *FAMILIES[family], LONG_PROBLEMS, LONG_SEED)


def large_conv_calls(problem: Conv) -> Iterator[Call]:
    return conv_calls(problem, answers=window_answers)


def test_large_convolutions() -> None:
    """A few problems of a real network's sizes, judged by BLAS in float64 on views of windows."""
    explore("large convolution", strategies.large_convs(work=4_000_000), large_conv_calls, 6, None)


@pytest.mark.long
def test_large_convolutions_by_hundreds() -> None:
    explore("large convolution", strategies.large_convs(), large_conv_calls, max(LONG_PROBLEMS // 50, 1), LONG_SEED)


@pytest.mark.parametrize("problem", CONV_EDGES, ids=str)
def test_the_oracle_of_large_convolutions_is_equal_to_the_loops(problem: Conv) -> None:
    for large, small in zip(large_conv_calls(problem), conv_calls(problem), strict=True):
        np.testing.assert_array_equal(large.expected[0], small.expected[0])


def test_every_operation_is_in_a_family() -> None:
    one = settings(max_examples=1, database=None, phases=[Phase.generate])
    tried: set[str] = set()
    for problems, calls in FAMILIES.values():

        def names(problem: Any, calls: Any = calls) -> set[str]:
            return {call.name for call in calls(problem)}

        tried |= find(problems.map(names), bool, settings=one)
    assert tried == OPERATIONS
    # What is random, or not whole on whole numbers, or answers in text, has tests of its own.
    assert set(ops.__all__) - OPERATIONS == {
        "batch_normalization",
        "batch_normalization_grad",
        "channel_moments",
        "dropout",
        "explain_conv2d",
        "softmax",
        "softmax_grad",
    }
    assert {"direct", "im2col"} <= set(EXACT_ALGORITHMS)


@pytest.mark.usefixtures("every_call_is_shared_out")
def test_a_run_without_problems_fails() -> None:
    with pytest.raises(AssertionError, match="no problem of nothing was tried"):
        explore("nothing", strategies.convs(), lambda problem: (), 3, None)


@pytest.mark.usefixtures("every_call_is_shared_out")
def test_a_wrong_answer_fails() -> None:
    """The harness itself: an answer that is off by one in one cell is found."""

    def spoilt(problem: Conv) -> Iterator[Call]:
        for call in conv_calls(problem):
            call.expected[0].flat[-1:] += 1
            yield call

    with pytest.raises(AssertionError):
        explore("spoilt", strategies.convs(), spoilt, 20, None, (Phase.generate,))
