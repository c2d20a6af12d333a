"""The cache of plans: what is asked for again is found, and its memory is bounded however large the plans are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from oracle import assert_same_bits, normals
from problems import EXACT_ALGORITHMS

import fastconv as fc
from fastconv._core._conv_direct import ConvPlan
from fastconv.ops import _plans, conv


@pytest.fixture(autouse=True)
def empty_caches(monkeypatch):
    """No plan yet, and a count of its own."""
    for cache in _plans._caches:
        cache.cache_clear()
    monkeypatch.setattr(_plans, "_built", 0)


def images(width):
    return np.ones((1, 3, width, 1), np.float32), np.ones((3, 3, 1, 2), np.float32)


def cached():
    return sum(cache.cache_info().currsize for cache in _plans._caches)


def test_a_problem_is_planned_once():
    for _ in range(3):
        fc.conv2d(*images(9))
    assert conv.forward_plan.cache_info()[:2] == (2, 1)
    assert _plans._built > 0


def test_every_kind_of_plan_is_counted():
    # Whatever keeps plans must be bounded by bytes: no function of ops/ that makes one has a cache of its own.
    names = {cache.__name__ for cache in _plans._caches}
    assert {"forward_plan", "_grad_input_plans", "_grad_kernel_plan", "product_plan", "_kernel_grad_plan"} <= names
    assert {"depthwise_plan", "depthwise_grad_input_plan", "depthwise_grad_kernel_plan"} <= names
    for path in Path(_plans.__file__).parent.glob("*.py"):
        source = path.read_text()
        assert not re.search(r"@lru_cache[^\n]*\ndef \w+\([^)]*\) -> [^\n]*Plan", source), path.name


def test_memory_is_bounded_not_only_the_number(monkeypatch):
    x, kernel = images(3000)
    expected = fc.conv2d(x, kernel)
    size = _plans._built
    assert size > 3000 * 16  # an offset of input and output for every pixel
    monkeypatch.setattr(_plans, "PLAN_BYTES", 10 * size)
    for width in range(2960, 3000):
        fc.conv2d(*images(width))
        assert _plans._built <= 10 * size
        assert cached() <= 11
    assert_same_bits(fc.conv2d(x, kernel), expected)


def test_one_plan_larger_than_all_may_be_still_runs(monkeypatch):
    monkeypatch.setattr(_plans, "PLAN_BYTES", 1)
    rng = np.random.default_rng(0)
    x, kernel = normals(rng, (2, 7, 8, 3)), normals(rng, (3, 3, 3, 4))
    for algorithm in EXACT_ALGORITHMS:
        y = fc.conv2d(x, kernel, algorithm=algorithm, strides=2)
        fc.conv2d_grad_input(y, kernel, x.shape, algorithm=algorithm, strides=2)
        fc.conv2d_grad_kernel(x, y, 3, algorithm=algorithm, strides=2)
        assert_same_bits(fc.conv2d(x, kernel, algorithm=algorithm, strides=2), y)
    assert cached() <= 1


def test_a_plan_says_what_it_holds():
    problem = {
        "isa": fc.get_isa(),
        "itemsize": 4,
        "groups": 1,
        "group_inputs": 1,
        "group_outputs": 2,
        "steps": (1, 1),
        "tap_rows": [0],
        "tap_cols": [0],
        "tap_weights": [0],
        "weight_strides": (2, 1, 0),
    }
    small, large = (
        ConvPlan(image=(1, 1, w, 1), grid=(1, w), out_strides=(0, 2 * w, 2 * w, 2), **problem) for w in (50, 1000)
    )
    assert small.nbytes >= 50 * 16
    assert 950 * 16 <= large.nbytes - small.nbytes <= 950 * 64
