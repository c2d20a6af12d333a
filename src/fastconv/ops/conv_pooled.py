"""Convolution and max pooling in one, for training: what lies between the two, by far the largest array, and its
gradient never reach memory.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .._core import _conv_pooled, _runtime
from .._typing import Array, Padding, Size2D
from .._validation import as_arrays, as_index, as_indices, as_pair, as_shape4, check_apart, check_ndim, check_shape
from ._arrays import Result, contiguous
from ._conv_depthwise import fits_lanes
from ._conv_winners import winners_input_plan, winners_pay, winners_pay_input, winners_plan
from ._dispatch import ConvProblem, conv_problem, resolve_algorithm
from .activations import kernel_activation
from .conv import conv2d, conv2d_grad_input, conv2d_grad_kernel, forward_plan, run_grad_kernel_plan
from .pooling import (
    INT32_MAX,
    PoolProblem,
    max_pool2d,
    max_pool2d_grad_unchecked,
    pool_indices_dtype,
    pool_problem,
)

# Bytes of the convolution's output that a thread makes before it pools them: half of a usual L2, the rest is for the
# images and the weights. A step of S3 (batch 128, 11 MB of output) takes 5.6 ms instead of 6.5 (one thread, AVX-512).
CHUNK_BYTES = 512 * 1024
# Rows of a window up to which the pooling's gradient is made block by block: a block begins and ends within windows,
# whose other rows are made in vain (3x3 filters behind 112x112 pixels: 1.2 times as fast for 2 rows, as fast for 8).
WINDOW_ROWS = 4


def conv2d_max_pool2d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
    groups: int = 1,
    activation: Any = None,
    pool_size: Size2D = 2,
    pool_strides: Size2D | None = None,
    pool_padding: Padding = "valid",
    out: Array | None = None,
    indices_out: Array | None = None,
) -> tuple[Array, Array]:
    """``max_pool2d(conv2d(x, kernel, bias, ...), ..., return_indices=True)``, channels last, bit for bit.

    Args:
        x, kernel, bias, strides, padding, dilation_rate, groups: as for :func:`conv2d`.
        activation: as for :func:`conv2d`; all but ``"relu"`` run the two operations after each other.
        pool_size, pool_strides, pool_padding, out, indices_out: as for :func:`max_pool2d`.

    Returns:
        (y, indices).
    """
    where = "conv2d_max_pool2d"
    if bias is None:
        x, kernel = as_arrays(where, x=x, kernel=kernel)
    else:
        x, kernel, bias = as_arrays(where, x=x, kernel=kernel, bias=bias)
    check_ndim(where, "x", x, 4, "(n, h, w, c)")
    check_ndim(where, "kernel", kernel, 4, "(kh, kw, in_channels // groups, filters)")
    p = conv_problem(where, x.shape, kernel.shape, strides, padding, dilation_rate, groups, "channels_last")
    pool = pool_problem(where, p.y_shape, pool_size, pool_strides, pool_padding, "channels_last")
    act = kernel_activation(where, activation)
    if act is None or not supports_pooled(p):
        y = conv2d(
            x, kernel, bias, strides=strides, padding=padding, dilation_rate=dilation_rate, groups=groups,
            activation=activation,
        )  # fmt: skip
        return max_pool2d(
            y, pool_size, strides=pool_strides, padding=pool_padding, return_indices=True, out=out,
            indices_out=indices_out,
        )  # type: ignore[return-value]  # fmt: skip
    if bias is not None:
        check_shape(where, "bias", bias, (p.oc,), "one value a filter: (kernel.shape[3],)")
        bias = contiguous(bias)
    y_result = Result(where, pool.y_shape, x.dtype, out, inputs=(x, kernel, bias))
    kind = pool_indices_dtype(p.y_shape, x.dtype)
    places = Result(where, pool.y_shape, kind, indices_out, inputs=(x, kernel, bias), name="indices_out")
    check_apart(where, "indices_out", indices_out, "out", out)
    chunks, part, geometry = _chunked(p, pool, x.itemsize, _runtime.get_num_threads())
    _conv_pooled.conv2d_max_pool2d(
        forward_plan(part, x.itemsize, _runtime.get_isa()),
        contiguous(x),
        contiguous(kernel),
        bias,
        y_result.array,
        places.array,
        act,
        p.n,
        chunks,
        itemsize=x.itemsize,
        **geometry,
    )
    return y_result.finish(), places.finish()


def conv2d_max_pool2d_grad_kernel(
    x: Array,
    grad_output: Array,
    indices: Array,
    kernel_size: Size2D,
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
    groups: int = 1,
    pool_size: Size2D = 2,
    pool_strides: Size2D | None = None,
    pool_padding: Padding = "valid",
    out: Array | None = None,
) -> Array:
    """The gradient of `conv2d_max_pool2d`, without an activation, in the kernel:
    ``conv2d_grad_kernel(x, max_pool2d_grad(grad_output, indices, ...), kernel_size, ...)``.

    Where that is quicker each filter adds up the patches of the cells that won alone, in another order; else the
    pooling's gradient is made in cache.

    Args:
        x, kernel_size, strides, padding, dilation_rate, groups, out: as for :func:`conv2d_grad_kernel`.
        grad_output: gradient of the pooling's output.
        indices: as `conv2d_max_pool2d` gave them for the same problem; others give a wrong gradient or an error.
        pool_size, pool_strides, pool_padding: as for `conv2d_max_pool2d`.

    Returns:
        Array (kh, kw, in_channels // groups, filters).
    """
    where = "conv2d_max_pool2d_grad_kernel"
    x, grad_output = as_arrays(where, x=x, grad_output=grad_output)
    check_ndim(where, "x", x, 4, "(n, h, w, c)")
    check_ndim(where, "grad_output", grad_output, 4, "(n, oh, ow, filters)")
    kh, kw = as_pair(where, "kernel_size", kernel_size)
    shape = kh, kw, x.shape[3] // max(as_index(where, "groups", groups), 1), grad_output.shape[3]
    p = conv_problem(where, x.shape, shape, strides, padding, dilation_rate, groups, "channels_last")
    pool = pool_problem(where, p.y_shape, pool_size, pool_strides, pool_padding, "channels_last")
    indices = _checked_indices(where, grad_output, indices, pool)
    gk = Result(where, shape, x.dtype, out, inputs=(x, grad_output, indices))
    isa = _runtime.get_isa()
    if not (_takes_winners(p, pool, indices, x) and fuses_back(pool.window, pool.strides)):
        between = max_pool2d_grad_unchecked(
            grad_output, indices, p.y_shape, pool_size=pool_size, strides=pool_strides, padding=pool_padding
        )
        conv2d_grad_kernel(
            x, between, kernel_size, strides=strides, padding=padding, dilation_rate=dilation_rate, groups=groups,
            out=gk.array,
        )  # fmt: skip
        return gk.finish()
    arrays = contiguous(x), contiguous(grad_output), contiguous(indices)
    if not (winners_pay(p, pool, x.itemsize, isa) and winners_plan(p, pool, x.itemsize, isa)(*arrays, gk.array)):
        run_grad_kernel_plan(p, gk.array, lambda plan, to: plan.behind_pooling(*arrays, to, **pool.geometry))
    return gk.finish()


def conv2d_max_pool2d_grad_input(
    grad_output: Array,
    indices: Array,
    kernel: Array,
    input_shape: tuple[int, int, int, int],
    *,
    strides: Size2D = 1,
    padding: Padding = "valid",
    dilation_rate: Size2D = 1,
    groups: int = 1,
    pool_size: Size2D = 2,
    pool_strides: Size2D | None = None,
    pool_padding: Padding = "valid",
    out: Array | None = None,
) -> Array:
    """The gradient of `conv2d_max_pool2d`, without an activation, in the input:
    ``conv2d_grad_input(max_pool2d_grad(grad_output, indices, ...), kernel, input_shape, ...)``.

    Where that is quicker each window adds up the kernels of its filters, shifted to the cells that won, in another
    order.

    Args:
        grad_output, indices, pool_size, pool_strides, pool_padding: as for `conv2d_max_pool2d_grad_kernel`.
        kernel, input_shape, strides, padding, dilation_rate, groups, out: as for :func:`conv2d_grad_input`.

    Returns:
        Array of input_shape.
    """
    where = "conv2d_max_pool2d_grad_input"
    grad_output, kernel = as_arrays(where, grad_output=grad_output, kernel=kernel)
    check_ndim(where, "grad_output", grad_output, 4, "(n, oh, ow, filters)")
    check_ndim(where, "kernel", kernel, 4, "(kh, kw, in_channels // groups, filters)")
    x_shape = as_shape4(where, "input_shape", input_shape)
    p = conv_problem(where, x_shape, kernel.shape, strides, padding, dilation_rate, groups, "channels_last")
    pool = pool_problem(where, p.y_shape, pool_size, pool_strides, pool_padding, "channels_last")
    indices = _checked_indices(where, grad_output, indices, pool)
    gx = Result(where, p.x_shape, kernel.dtype, out, inputs=(grad_output, indices, kernel))
    if _takes_winners(p, pool, indices, kernel) and winners_pay_input(p, pool, kernel.itemsize, _runtime.get_isa()):
        plan = winners_input_plan(p, pool, kernel.itemsize, _runtime.get_isa())
        if plan(contiguous(grad_output), contiguous(indices), contiguous(kernel), gx.array):
            return gx.finish()
    between = max_pool2d_grad_unchecked(
        grad_output, indices, p.y_shape, pool_size=pool_size, strides=pool_strides, padding=pool_padding
    )
    conv2d_grad_input(
        between, kernel, p.x_shape, strides=strides, padding=padding, dilation_rate=dilation_rate, groups=groups,
        out=gx.array,
    )  # fmt: skip
    return gx.finish()


def _checked_indices(where: str, grad_output: Array, indices: Array, pool: PoolProblem) -> Array:
    check_shape(where, "grad_output", grad_output, pool.y_shape, "the pooling's output")
    indices = as_indices(where, indices)
    check_shape(where, "indices", indices, pool.y_shape, "grad_output's shape")
    return indices


def _takes_winners(p: ConvProblem, pool: PoolProblem, indices: Array, like: Array) -> bool:
    """Whether a gradient may be made without that of the pooling: by direct kernels, from the usual type of indices."""
    usual = indices.dtype == pool_indices_dtype(p.y_shape, like.dtype)
    return usual and supports_pooled(p) and not fits_lanes(p, like.itemsize, _runtime.get_isa())


def fuses_back(window: tuple[int, int], strides: tuple[int, int]) -> bool:
    """Whether `conv2d_max_pool2d_grad_kernel` makes the gradient between in cache, for windows of this kind."""
    return window == strides and window[0] <= WINDOW_ROWS


def saves_gradient_between(x_shape: Any, kernel_shape: Any, dtype: Any, **options: Any) -> bool:
    """Whether both gradients of `conv2d_max_pool2d` are made without the pooling's; its arguments, for one call."""
    where = "conv2d_max_pool2d"
    conv = {name: value for name, value in options.items() if not name.startswith("pool_")}
    p = conv_problem(where, x_shape, kernel_shape, **conv, data_format="channels_last")
    pool = pool_problem(
        where, p.y_shape, options["pool_size"], options["pool_strides"], options["pool_padding"], "channels_last"
    )
    itemsize, isa = np.dtype(dtype).itemsize, _runtime.get_isa()
    return supports_pooled(p) and not fits_lanes(p, itemsize, isa) and winners_pay_input(p, pool, itemsize, isa)


def supports_pooled(p: ConvProblem) -> bool:
    """Whether the direct kernels run the convolution, image by image, and indices count its planes."""
    return p.groups == 1 and p.oh * p.ow <= INT32_MAX and resolve_algorithm("conv2d", "auto", p) == "direct"


@lru_cache(maxsize=256)
def _chunked(p: ConvProblem, pool: PoolProblem, itemsize: int, threads: int) -> tuple[int, ConvProblem, dict[str, Any]]:
    """(number of chunks, as many for every thread; the largest one's convolution; pooling's geometry for it)."""
    images = max(CHUNK_BYTES // (p.oh * p.ow * p.oc * itemsize), 1)
    rounds = -(-p.n // (images * threads))
    chunks = max(min(rounds * threads, p.n), 1)
    most = -(-p.n // chunks)
    part = conv_problem(
        "conv2d", (most, *p.x_shape[1:]), p.kernel_shape, p.strides, p.pads, p.dilation, p.groups, "channels_last"
    )
    return chunks, part, {**pool.geometry, "image": (most, *pool.image[1:])}
