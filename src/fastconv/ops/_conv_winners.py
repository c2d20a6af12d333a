"""Where a max pooling follows a convolution: whether its gradients are summed from the winners alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .._core import _runtime
from .._core._conv_winners import WinnersInputPlan, WinnersPlan, winners_narrow
from ._dispatch import ConvProblem
from ._plans import plan_cache
from .pooling import PoolProblem

# Elements of an image with all that windows reach over its edges, and winners, up to which they are summed alone: a
# thread copies them.
IMAGE_MOST = 1 << 19
# The input's gradient is summed image by image. It takes some of them to keep several threads busy, and, where the
# weights do not stay in a core's second-level cache, so many windows of one that the weights are worth fetching.
FEWEST_IMAGES = 8
WEIGHTS_MOST = 1 << 17
FEWEST_WINDOWS = 256


def winners_fit(p: ConvProblem, pool: PoolProblem) -> bool:
    """Whether the winners' kernels can run a problem without groups: windows side by side, kernels' rows in one run."""
    rows = (pool.grid[0] * pool.window[0] - 1) * p.strides[0] + (p.kh - 1) * p.dilation[0] + 1
    cols = (pool.grid[1] * pool.window[1] - 1) * p.strides[1] + p.kw
    small = max(rows * cols * p.ic, _winners(p, pool)) <= IMAGE_MOST
    return small and pool.window == pool.strides and pool.window[1] <= p.ow and p.dilation[1] == 1


@lru_cache(maxsize=512)
def winners_pay(p: ConvProblem, pool: PoolProblem, itemsize: int, isa: str) -> bool:
    """Whether to sum the kernel's gradient from the winners alone: cycles of an image, as the layers of the networks in
    benchmarks/train.py took on AVX2 and AVX-512.
    """
    lanes = _runtime.vector_lanes(itemsize, isa)
    dense = p.oh * p.ow * p.kh * p.kw * p.ic * -(-p.oc // lanes)
    if winners_narrow(isa, itemsize, p.kh, p.kw * p.ic):
        alone, dense_cycles = 2 + 0.42 * p.kh, 0.8 * dense
    else:
        width = _plane_width(p.ic, lanes)
        alone, dense_cycles = 6 + -(-p.ic // width) * max(0.8 * p.kh * -(-p.kw * width // lanes), 5), 0.6 * dense
    return winners_fit(p, pool) and alone * _winners(p, pool) < dense_cycles


@lru_cache(maxsize=512)
def winners_pay_input(p: ConvProblem, pool: PoolProblem, itemsize: int, isa: str) -> bool:
    """Whether to sum the input's gradient from the winners alone, likewise."""
    lanes = _runtime.vector_lanes(itemsize, isa)
    rows = (pool.window[0] - 1) * p.strides[0] + (p.kh - 1) * p.dilation[0] + 1
    cols = (pool.window[1] - 1) * p.strides[1] + p.kw
    width = _plane_width(p.ic, lanes)
    alone = _winners(p, pool) * (7 + -(-p.ic // width) * max(0.85 * rows * -(-cols * width // lanes), 5))
    dense = p.oh * p.ow * (0.6 * p.kh * p.kw * min(p.oc * -(-p.ic // lanes), p.ic * -(-p.oc // lanes)) + 0.5 * p.oc)
    fetched = rows * cols * p.ic * p.oc <= WEIGHTS_MOST or pool.grid[0] * pool.grid[1] >= FEWEST_WINDOWS
    return winners_fit(p, pool) and p.n >= FEWEST_IMAGES and fetched and alone < dense


def _plane_width(channels: int, lanes: int) -> int:
    """How many channels lie side by side while winners are summed: a vector of many, the last of which may be filled up
    with zeros, or all of a few.
    """
    return lanes if channels % lanes == 0 or channels > 4 * lanes else channels


def _winners(p: ConvProblem, pool: PoolProblem) -> int:
    """Of an image."""
    return pool.grid[0] * pool.grid[1] * p.oc


@plan_cache
def winners_plan(p: ConvProblem, pool: PoolProblem, itemsize: int, isa: str) -> WinnersPlan:
    return WinnersPlan(**_geometry(p, pool, itemsize, isa))


@plan_cache
def winners_input_plan(p: ConvProblem, pool: PoolProblem, itemsize: int, isa: str) -> WinnersInputPlan:
    return WinnersInputPlan(**_geometry(p, pool, itemsize, isa))


def _geometry(p: ConvProblem, pool: PoolProblem, itemsize: int, isa: str) -> dict[str, Any]:
    return {
        "isa": isa,
        "itemsize": itemsize,
        "image": p.x_shape,
        "width": _plane_width(p.ic, _runtime.vector_lanes(itemsize, isa)),
        "kernel": (p.kh, p.kw),
        "steps": p.strides,
        "row_dilation": p.dilation[0],
        "origin": (p.pads[0][0], p.pads[1][0]),
        "filters": p.oc,
        "grid": (p.oh, p.ow),
        "window": pool.window,
        "windows": pool.grid,
        "window_origin": pool.origin,
    }
