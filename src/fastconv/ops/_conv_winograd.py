"""Winograd's convolution: how its plans see a problem. What it can run, and with which tiles, says `_dispatch`."""

from __future__ import annotations

from .._core import _runtime
from .._core._conv_winograd import WinogradPlan
from .._typing import Array
from . import _dispatch
from ._dispatch import ConvProblem
from ._plans import plan_cache
from .activations import LINEAR


@plan_cache
def _plan(p: ConvProblem, backward: bool, m: int, itemsize: int, isa: str) -> WinogradPlan:
    """Forward, or grad_input: the same over grad_output, with rotated and transposed kernels."""
    inputs, outputs = p.ic // p.groups, p.oc // p.groups
    (top, _), (left, _) = p.pads
    taps = [tap * inputs * p.oc for tap in range(9)]
    return WinogradPlan(
        isa=isa,
        itemsize=itemsize,
        m=m,
        image=p.y_shape if backward else p.x_shape,
        grid=(p.ih, p.iw) if backward else (p.oh, p.ow),
        origin=(2 - top, 2 - left) if backward else (top, left),
        tap_weights=taps[::-1] if backward else taps,
        groups=p.groups,
        group_inputs=outputs if backward else inputs,
        group_outputs=inputs if backward else outputs,
        weight_strides=(1, p.oc, outputs) if backward else (p.oc, 1, outputs),
    )


def forward(p: ConvProblem, x: Array, kernel: Array, bias: Array | None, y: Array, activation: int | None) -> None:
    """conv2d by Winograd's algorithm; arguments as the direct kernel's."""
    m = _dispatch.winograd_m(p.oh, p.ow)
    _plan(p, False, m, x.itemsize, _runtime.get_isa())(x, kernel, bias, y, activation or LINEAR)


def grad_input(p: ConvProblem, grad_output: Array, kernel: Array, gx: Array) -> None:
    """conv2d_grad_input by Winograd's algorithm."""
    m = _dispatch.winograd_m(p.ih, p.iw)
    _plan(p, True, m, kernel.itemsize, _runtime.get_isa())(grad_output, kernel, None, gx, LINEAR)
