"""Depthwise convolution and small groups: which problems their kernels take, and how these see a problem."""

from __future__ import annotations

from .. import _shapes
from .._core import _runtime
from .._core._conv_depthwise import DepthwisePlan
from .._core._conv_depthwise_grad import DepthwiseGradPlan
from ._dispatch import ConvProblem
from ._plans import plan_cache

# An axis as the plans want it: first position, step, count, cells of the input from one to the next, the taps' offsets
# and their rows or columns of the kernel.
Phase = tuple[int, int, int, int, list[int], list[int]]


def fits_lanes(p: ConvProblem, itemsize: int, isa: str, grad_kernel: bool = False) -> bool:
    """Whether vectors of channels can hold whole groups: one channel in, or as many in as out, 2, 4 or 8 of them.

    A channel with several filters is first repeated for each of them: conv2d of 8x28x28x64 with two 3x3 filters each
    took 0.2 ms so, the dense tile 1.9 (AVX-512, one thread).

    From 16 on the dense tile is the better one: it took 2.8 ms for 8x28x28x512, 32 groups, stride 2, where the kernels
    with channels in the lanes took 7 (AVX-512, one thread). On AVX2 it is so from 8 on, but for the kernel's gradient:
    the sums of one pixel take half of its registers, and 4x14x14x256, 32 groups, take 0.45 ms instead of 0.60.
    """
    if p.groups == 1:
        return False
    size, lanes = p.ic // p.groups, _runtime.vector_lanes(itemsize, isa)
    if size == 8 and isa == "avx2" and not grad_kernel:
        return False
    return size == 1 or (p.ic == p.oc and size in (2, 4, 8) and p.ic >= lanes >= size)


@plan_cache
def depthwise_plan(p: ConvProblem, itemsize: int, isa: str) -> DepthwisePlan:
    return DepthwisePlan(
        isa=isa,
        itemsize=itemsize,
        image=(p.n, p.ih, p.iw, p.oc),
        grid=(p.oh, p.ow),
        kernel_size=(p.kh, p.kw),
        group_size=p.ic // p.groups,
        multiplier=p.oc // p.ic,
        row_phases=[_windows(p.oh, p.kh, p.strides[0], p.dilation[0], p.pads[0][0])],
        col_phases=[_windows(p.ow, p.kw, p.strides[1], p.dilation[1], p.pads[1][0])],
        transposed=False,
    )


@plan_cache
def depthwise_grad_input_plan(p: ConvProblem, itemsize: int, isa: str) -> DepthwisePlan:
    return DepthwisePlan(
        isa=isa,
        itemsize=itemsize,
        image=p.y_shape,
        grid=(p.ih, p.iw),
        kernel_size=(p.kh, p.kw),
        group_size=p.ic // p.groups,
        multiplier=p.oc // p.ic,
        row_phases=_grad_phases(p.ih, p.pads[0][0], p.kh, p.strides[0], p.dilation[0]),
        col_phases=_grad_phases(p.iw, p.pads[1][0], p.kw, p.strides[1], p.dilation[1]),
        transposed=True,
        pairs=_pairs(p.iw, p.ow, p.pads[1][0], p.kw, p.strides[1], p.dilation[1]),
    )


@plan_cache
def depthwise_grad_kernel_plan(p: ConvProblem, itemsize: int, isa: str) -> DepthwiseGradPlan:
    return DepthwiseGradPlan(
        isa=isa,
        itemsize=itemsize,
        image=(p.n, p.ih, p.iw, p.oc),
        grid=(p.oh, p.ow),
        group_size=p.ic // p.groups,
        multiplier=p.oc // p.ic,
        row_phases=[_windows(p.oh, p.kh, p.strides[0], p.dilation[0], p.pads[0][0])],
        col_phases=[_windows(p.ow, p.kw, p.strides[1], p.dilation[1], p.pads[1][0])],
    )


def _windows(count: int, taps: int, stride: int, dilation: int, pad: int) -> Phase:
    """An axis of the output: all positions meet all taps, but for those that padding takes away."""
    return 0, 1, count, stride, [tap * dilation - pad for tap in range(taps)], list(range(taps))


def _grad_phases(size: int, pad: int, taps: int, stride: int, dilation: int) -> list[Phase]:
    """An axis of the input, in its phases; one that no tap reaches has none."""
    found = []
    for phase in range(min(stride, size)):
        reach = _shapes.phase_taps(phase + pad, taps, stride, dilation)
        offsets, weights = [offset for offset, _ in reach], [tap for _, tap in reach]
        found.append((phase, stride, -(-(size - phase) // stride), 1, offsets, weights))
    return found


def _pairs(size: int, grid: int, pad: int, taps: int, stride: int, dilation: int) -> tuple[int, int, int] | None:
    """Neighbouring columns of grad_input, 2t and 2t + 1 of the padded image: (count, first column, first t).

    They meet the even and the odd taps on the same cells of grad_output, t and those before it. Only pairs that lie in
    the image and meet all taps count.
    """
    if (stride, dilation) != (2, 1):
        return None
    first = max(-(-pad // 2), (taps - 1) // 2)
    count = min(grid, (size + pad) // 2) - first
    return (count, 2 * first - pad, first) if count > 0 else None
