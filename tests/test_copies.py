"""Batches gathered from a data set, and zeros around images, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import guarded_nan

from fastconv.ops import copies

SHAPES = ((0, 3, 4, 2), (1, 1, 1, 1), (5, 4, 3, 2), (130, 28, 28, 1), (3, 7, 0, 2), (6, 5, 9))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [*SHAPES, (9,), (300, 3)], ids=str)
def test_take(shape, dtype, threads, rng):
    x = rng.standard_normal(shape).astype(dtype)
    for count in (0, 1, len(x), 3 * len(x)):
        places = rng.integers(len(x), size=count) if len(x) else np.zeros(0, np.int64)
        out = guarded_nan((len(places), *shape[1:]), dtype)
        copies.take(x, places, out.array)
        np.testing.assert_array_equal(out.array, x[places])
        out.check()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pads", [((0, 0), (0, 0)), ((2, 2), (2, 2)), ((1, 0), (0, 3)), ((0, 2), (5, 0))], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_zero_pad(shape, pads, dtype, threads, rng):
    x = rng.standard_normal(shape).astype(dtype)
    expected = np.pad(x, ((0, 0), *pads, *((0, 0),) * (len(shape) - 3)))
    out = guarded_nan(expected.shape, dtype)
    copies.zero_pad(x, out.array, pads)
    np.testing.assert_array_equal(out.array, expected)
    out.check()
