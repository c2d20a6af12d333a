"""Filters on images of one channel, or channel by channel, with SciPy's signature, modes and boundaries."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .._core import _filters
from .._typing import Array, ArrayLike
from .._validation import (
    as_choice,
    as_fill_value,
    as_filter_arrays,
    check_elements,
    empty_filter_error,
    filter_ndim_error,
    valid_mode_error,
)
from ._arrays import contiguous, result_empty

MODES = ("full", "same", "valid")
# SciPy's names; the numbers are those of _core/_filters.pyx.
FILL, WRAP, SYMM = range(3)
BOUNDARIES = {"fill": FILL, "wrap": WRAP, "circular": WRAP, "symm": SYMM, "symmetric": SYMM}
BOUNDARY_NAMES = tuple(BOUNDARIES)


class FilterProblem(NamedTuple):
    """One filtering: sizes in elements, boundary resolved."""

    out_shape: tuple[int, ...]
    swap: bool  # in2 is the image, in1 the kernel
    geometry: tuple[Any, ...]  # the kernels' last arguments


def convolve2d(
    in1: ArrayLike, in2: ArrayLike, mode: str = "full", boundary: str = "fill", fillvalue: float = 0
) -> Array:
    """Convolve an image with a kernel: ``scipy.signal.convolve2d``, faster, and for colour images too.

    ``y[i, j] = sum over a, b of in1[i + top - a, j + left - b] * in2[a, b]``, where top and left are 0 for "full",
    ``(kh - 1) // 2, (kw - 1) // 2`` for "same", ``kh - 1, kw - 1`` for "valid".

    Args:
        in1: image (h, w), or (h, w, c), whose channels are filtered one by one.
        in2: kernel (kh, kw).
        mode: ``"full"``: every window that meets the image, (h + kh - 1, w + kw - 1); ``"same"``: its middle, (h, w);
            ``"valid"``: windows inside the image, (h - kh + 1, w - kw + 1). For "valid", if in2 is larger than in1 in
            both directions, they change places.
        boundary: what lies beside the image: ``"fill"``: fillvalue; ``"wrap"``: the other side; ``"symm"``: the
            mirror image, edge cells twice.
        fillvalue: a number. 0, the default, adds nothing, not even to an Inf or NaN in in2 (SciPy multiplies it); any
            other is a cell's value like any.

    Returns:
        float32 if that is the common type (``numpy.result_type``), float64 if it is that or if both are integers; SciPy
        gives integers then.

    Raises:
        TypeError: complex, float16, longdouble or object arrays; fillvalue is not a number.
        ValueError: another number of axes, an axis of length 0, an unknown mode or boundary, or, for "valid", neither
            array holds the other.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.convolve2d(np.eye(3), [[1, 2]], mode="same")
        array([[1., 2., 0.],
               [0., 1., 2.],
               [0., 0., 1.]])

    References:
        SciPy, ``scipy.signal.convolve2d``.
    """
    return _filter("convolve2d", in1, in2, mode, boundary, fillvalue, True)


def correlate2d(
    in1: ArrayLike, in2: ArrayLike, mode: str = "full", boundary: str = "fill", fillvalue: float = 0
) -> Array:
    """Slide a kernel over an image: ``scipy.signal.correlate2d``, faster, and for colour images too.

    ``y[i, j] = sum over a, b of in1[i + a - top, j + b - left] * in2[a, b]``, where top and left are ``kh - 1, kw - 1``
    for "full", ``(kh - 1) // 2, (kw - 1) // 2`` for "same", 0 for "valid". If in1 and in2 change places for "valid",
    the result is rotated by 180°, as SciPy's.

    Args:
        in1, in2, mode, boundary, fillvalue: as for :func:`convolve2d`.

    Returns:
        As :func:`convolve2d`.

    Raises:
        TypeError, ValueError: as convolve2d.

    Example:
        >>> import numpy as np, fastconv as fc
        >>> fc.correlate2d(np.eye(3), [[1, 2]], mode="same")
        array([[1., 0., 0.],
               [2., 1., 0.],
               [0., 2., 1.]])

    References:
        SciPy, ``scipy.signal.correlate2d``.
    """
    return _filter("correlate2d", in1, in2, mode, boundary, fillvalue, False)


def _filter(where: str, in1: Any, in2: Any, mode: Any, boundary: Any, fillvalue: Any, is_convolution: bool) -> Array:
    in1, in2, dtype = as_filter_arrays(where, in1, in2)
    fill = as_fill_value(where, fillvalue)
    as_choice(where, "mode", mode, MODES)
    as_choice(where, "boundary", boundary, BOUNDARY_NAMES)
    p = _problem(where, in1.shape, in2.shape, mode, boundary, is_convolution, fill == 0)
    if p.swap:
        # A convolution is symmetric in the two, so both may be taken as image and rotated kernel.
        in1, in2 = (in2 if is_convolution else in2[::-1, ::-1]), in1
        if in2.ndim == 3:
            channels = [_filter(where, in1, in2[:, :, c], mode, boundary, fill, True) for c in range(in2.shape[2])]
            return np.stack(channels, axis=2)
    out = result_empty(p.out_shape, dtype)
    in1 = contiguous(in1 if in1.dtype is dtype else in1.astype(dtype, copy=False))
    in2 = contiguous(in2 if in2.dtype is dtype else in2.astype(dtype, copy=False))
    _filters.filter2d(in1, in2, out, dtype.itemsize, fill, *p.geometry)
    return out


@lru_cache(maxsize=512)
def _problem(
    where: str,
    shape1: tuple[int, ...],
    shape2: tuple[int, ...],
    mode: str,
    boundary: str,
    is_convolution: bool,
    fills_zero: bool,
) -> FilterProblem:
    if len(shape1) not in (2, 3) or len(shape2) != 2:
        raise filter_ndim_error(where, shape1, shape2)
    if 0 in shape1 or 0 in shape2:
        raise empty_filter_error(where, shape1, shape2)
    (ih, iw), (kh, kw) = shape1[:2], shape2
    channels = shape1[2] if len(shape1) == 3 else 1
    kind = BOUNDARIES[boundary]
    grid, origin, swap = (ih + kh - 1, iw + kw - 1), (kh - 1, kw - 1), False
    if mode == "same":
        # SciPy's centre of an even kernel: a convolution's window has its longer side before it.
        grid, origin = (ih, iw), (kh // 2, kw // 2) if is_convolution else ((kh - 1) // 2, (kw - 1) // 2)
    elif mode == "valid":
        swap = ih < kh or iw < kw
        if swap and (ih > kh or iw > kw):
            raise valid_mode_error(where, shape1, shape2)
        grid, origin = (abs(ih - kh) + 1, abs(iw - kw) + 1), (0, 0)
    if mode != "valid" and kind == FILL and fills_zero and len(shape1) == 2 and kh * kw > ih * iw:
        # Zeros beside both: a small kernel on a large image leaves fewer lanes empty than a large one on a small image.
        swap, origin = True, (ih - kh + origin[0], iw - kw + origin[1])
    check_elements(where, grid[0] * grid[1] * channels, (ih + 2 * kh) * (iw + 2 * kw) * channels)
    image, window = ((*shape2, 1), (ih, iw)) if swap else ((ih, iw, channels), (kh, kw))
    out_shape = grid + shape1[2:]
    return FilterProblem(out_shape, swap, (image, grid, window, origin, kind, is_convolution or swap))
