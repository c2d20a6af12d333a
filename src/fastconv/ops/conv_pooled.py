"""Convolution and max pooling in one, for training: the convolution's output never reaches memory."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .._core import _conv_pooled, _runtime
from .._typing import Array, Padding, Size2D
from .._validation import as_arrays, check_apart, check_ndim, check_shape
from ._arrays import Result, contiguous
from ._dispatch import ConvProblem, conv_problem, resolve_algorithm
from .activations import kernel_activation
from .conv import conv2d, forward_plan
from .pooling import INT32_MAX, PoolProblem, max_pool2d, pool_indices_dtype, pool_problem

# Bytes of the convolution's output that a thread makes before it pools them: half of a usual L2, the rest is for the
# images and the weights. A step of S3 (batch 128, 11 MB of output) takes 5.6 ms instead of 6.5 (one thread, AVX-512).
CHUNK_BYTES = 512 * 1024


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
