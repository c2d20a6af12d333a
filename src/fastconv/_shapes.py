"""Integer shape arithmetic: output sizes and padding. No arrays, no checks of user input, no imports."""

from __future__ import annotations

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]  # ((top, bottom), (left, right))


def effective_size(window: int, dilation: int) -> int:
    """Cells that a dilated window spans: ``(window - 1) * dilation + 1``."""
    return (window - 1) * dilation + 1


def output_size(size: int, window: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Windows that fit: ``(size + before + after - effective) // stride + 1``, never below 0."""
    room = size + before + after - effective_size(window, dilation)
    return room // stride + 1 if room >= 0 else 0


def same_padding(size: int, window: int, stride: int, dilation: int) -> Pair:
    """TensorFlow's rule: ``out = ceil(size / stride)``; an odd total puts the extra cell behind."""
    out = -(-size // stride)
    total = max((out - 1) * stride + effective_size(window, dilation) - size, 0)
    return total // 2, total - total // 2


def resolve_padding(padding: str | Pads, size: Pair, window: Pair, strides: Pair, dilation: Pair) -> Pads:
    """Turn ``"valid"``, ``"same"`` or explicit pads (already normalised) into ((top, bottom), (left, right))."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        vertical, horizontal = (
            same_padding(size[axis], window[axis], strides[axis], dilation[axis]) for axis in (0, 1)
        )
        return vertical, horizontal
    assert not isinstance(padding, str)
    return padding


def output_hw(size: Pair, window: Pair, strides: Pair, dilation: Pair, pads: Pads) -> Pair:
    """Output height and width of a window that slides over a padded image."""
    return (
        output_size(size[0], window[0], strides[0], dilation[0], *pads[0]),
        output_size(size[1], window[1], strides[1], dilation[1], *pads[1]),
    )


def transposed_size(
    size: int, window: int, stride: int, dilation: int, padding: str | Pair, extra: int | None
) -> tuple[int, Pair]:
    """Output length of a transposed convolution along one axis, and the pads of the convolution it is the adjoint of.

    Keras's rule: ``"valid"`` gives ``(size - 1) * stride + effective + extra`` with ``extra`` by default what brings
    the last term up to the stride; ``"same"`` gives ``size * stride``, or ``(size - 1) * stride + effective % 2 +
    extra``; explicit pads take cells off: ``(size - 1) * stride + effective - before - after + extra``.
    """
    span = effective_size(window, dilation)
    if padding == "valid":
        extra = max(stride - span, 0) if extra is None else extra
        return (size - 1) * stride + span + extra, (0, 0)
    if padding == "same":
        if extra is None:
            return size * stride, same_padding(size * stride, window, stride, dilation)
        # Of the zeros around the spread-out input, the larger half goes in front.
        zeros = span + span % 2 - 2 + extra
        front = min(zeros - zeros // 2, span - 1)
        return (size - 1) * stride + span % 2 + extra, (span - 1 - front, max(span - 1 - (zeros - front), 0))
    assert not isinstance(padding, str)
    return (size - 1) * stride + span - sum(padding) + (extra or 0), padding


def phase_taps(position: int, taps: int, stride: int, dilation: int) -> list[tuple[int, int]]:
    """(offset in grad_output, tap) of the taps that reach input cells ``position - pad + m*stride``, ascending."""
    reach = [(position - tap * dilation, tap) for tap in range(taps)]
    return sorted((distance // stride, tap) for distance, tap in reach if distance % stride == 0)
