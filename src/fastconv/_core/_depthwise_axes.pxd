"""The axes of a depthwise convolution: which taps a position meets, which rows of the image that takes."""

from ._runtime cimport ceil_div, clip, keep
from .kernels cimport fc_kernels

cdef struct axis:
    # The positions first + m*step, m < count, of an axis of the output, that meet the same taps of the kernel: tap t
    # of position m is on cell m*in_step + offset + t*tap_step, if the image has that cell; its weights are in the
    # kernel's row or column weight + t*weight_step.
    Py_ssize_t first, step, count, in_step
    Py_ssize_t taps, offset, tap_step, weight, weight_step
    Py_ssize_t size                                  # cells of the image
    Py_ssize_t inner_first, inner_last               # the positions m that meet all taps: first <= m < last


cdef inline const axis *make_axes(list kept, Py_ssize_t size, phases, span=None) except NULL:
    """phases: one tuple (first, step, count, in_step, offsets, weights) each, both lists in constant steps.

    span: first position and end of those that alone count as inner ones. Default: all that meet all taps.
    """
    cdef Py_ssize_t inner_first, inner_last, offset
    values = []
    for first, step, count, in_step, offsets, weights in phases:
        taps = len(offsets)
        offset = offsets[0] if taps else 0
        tap_step = offsets[1] - offsets[0] if taps > 1 else 1
        weight_step = weights[1] - weights[0] if taps > 1 else 1
        inner_first = clip(ceil_div(max(-offset, 0), in_step), 0, count)
        inner_last = max(size - 1 - offset - (taps - 1) * tap_step + in_step, 0) // in_step
        if taps == 0:
            inner_first, inner_last = 0, count
        if span is not None:
            inner_first, inner_last = ceil_div(span[0] - first, step), ceil_div(span[1] - first, step)
        values += [first, step, count, in_step, taps, offset, tap_step, weights[0] if taps else 0, weight_step, size,
                   inner_first, clip(inner_last, inner_first, count)]
    # The struct is all Py_ssize_t, so an array of integers is an array of them.
    return <const axis *> keep(kept, values)


cdef inline list vector_starts(Py_ssize_t channels, Py_ssize_t lanes):
    """The first channel of each vector; the last one ends with the last channel."""
    return [min(start, channels - lanes) for start in range(0, channels, lanes)]


cdef inline Py_ssize_t first_tap(const axis *a, Py_ssize_t m) noexcept nogil:
    """The first tap of position m that falls on a cell of the image or behind it."""
    cdef Py_ssize_t anchor = m * a.in_step + a.offset
    return min(ceil_div(max(-anchor, 0), a.tap_step), a.taps)


cdef inline Py_ssize_t last_tap(const axis *a, Py_ssize_t m) noexcept nogil:
    """One behind the last tap of position m that falls on a cell of the image or before it."""
    cdef Py_ssize_t anchor = m * a.in_step + a.offset
    return min(ceil_div(max(a.size - anchor, 0), a.tap_step), a.taps)


cdef inline Py_ssize_t rows_read(const axis *a, Py_ssize_t positions) noexcept nogil:
    """Cells that so many neighbouring positions reach from first to last, at most."""
    return min((positions - 1) * a.in_step + (a.taps - 1) * a.tap_step + 1, a.size)


cdef inline void expand_rows(const fc_kernels *k, char *scratch, const char **x, const axis *a, Py_ssize_t first,
                             Py_ssize_t end, Py_ssize_t img, Py_ssize_t row, Py_ssize_t multiplier) noexcept nogil:
    """The rows of x, `row` elements each with the multiplier, that positions first .. end meet, into scratch.

    x becomes the address that the whole batch would have there.
    """
    cdef Py_ssize_t from_row = clip(first * a.in_step + a.offset, 0, a.size)
    cdef Py_ssize_t end_row = clip((end - 1) * a.in_step + a.offset + (a.taps - 1) * a.tap_step + 1, from_row, a.size)
    cdef Py_ssize_t at = (img * a.size + from_row) * row, count = (end_row - from_row) * row
    k.expand(scratch, x[0] + at // multiplier * k.itemsize, count // multiplier, multiplier)
    x[0] = scratch - at * k.itemsize
