"""The direct convolution of one channel with few filters: vector lanes along the rows of output pixels.

Filters would leave most lanes empty. A row with padding goes through scratch, between zeros, which the weights
multiply: so they must be finite.
"""

from libc.string cimport memcpy, memset
from ._runtime cimport ceil_div, clip
from .kernels cimport FC_ROW_FILTERS, fc_conv_rows, fc_kernels

cdef enum:
    SCRATCH = 4096                   # doubles, 32 KB of rows with their padding: they stay in L1

cdef struct row_plan:
    Py_ssize_t width                 # elements of a row as the kernel reads it, with its padding; 0: not done by rows
    Py_ssize_t left, right           # padding
    Py_ssize_t most                  # output rows for whose windows the scratch memory has room
    Py_ssize_t row_step, row_first, row_last         # output row r meets the rows r*row_step + row_first .. row_last
    Py_ssize_t col_first             # the first column of pixel 0's window, from the start of a row with its padding
    Py_ssize_t w_first               # the first tap's weights
    Py_ssize_t w_low, w_count        # the part of the kernel array that all taps' weights lie in
    fc_conv_rows rows                # what all output rows share
    const Py_ssize_t *met            # (first, end) of the rows of taps that each output row meets


cdef inline row_plan plan_rows(const fc_kernels *k, tuple image, tuple grid, tuple steps, list tap_rows, list tap_cols,
                               list tap_weights, Py_ssize_t filters, Py_ssize_t y_line, const Py_ssize_t *met):
    """How to do it, if it can be done and pays: taps in even steps, windows of neighbouring pixels side by side."""
    cdef row_plan r
    cdef Py_ssize_t iw = image[2], gw = grid[1], n_cols = len(tap_cols), i, span, rows_held
    memset(&r, 0, sizeof(row_plan))
    # With more than a fifth of its lanes in vain, or more to be rearranged than to be summed, it takes longer.
    if not 0 < filters <= FC_ROW_FILTERS or steps[1] != 1 or len(tap_weights) <= filters // 5 \
            or gw < k.lanes or 5 * gw < 4 * k.lanes * ceil_div(gw, k.lanes):
        return r
    dilation = evenly(tap_rows), evenly(tap_cols)
    strides = evenly(tap_weights[::n_cols]), evenly(tap_weights[:n_cols])
    if None in dilation + strides:
        return r
    if tap_weights != [tap_weights[0] + strides[0] * (i // n_cols) + strides[1] * (i % n_cols)
                       for i in range(len(tap_weights))]:
        return r
    r.left, r.right = max(-tap_cols[0], 0), max(gw - 1 + tap_cols[n_cols - 1] - (iw - 1), 0)
    r.row_step, r.row_first, r.row_last = steps[0], tap_rows[0], tap_rows[len(tap_rows) - 1]
    r.col_first = tap_cols[0] + r.left
    r.w_first, r.w_low = tap_weights[0], min(tap_weights)
    r.w_count = max(tap_weights) - r.w_low + filters
    r.met = met
    r.most = grid[0]
    if r.left + r.right > 0:
        span = r.row_last - r.row_first + 1
        rows_held = SCRATCH * 8 // k.itemsize // (iw + r.left + r.right)
        if rows_held < span:
            return r
        r.most = (rows_held - span) // r.row_step + 1
    r.width = iw + r.left + r.right
    r.rows.pixels, r.rows.filters, r.rows.cols, r.rows.y_line = gw, filters, n_cols, y_line
    r.rows.x_line, r.rows.x_row, r.rows.x_col = r.row_step * r.width, dilation[0] * r.width, dilation[1]
    r.rows.w_row, r.rows.w_col = strides
    return r


cdef inline evenly(list values):
    """The step between neighbouring values; None where there are several, 1 where there is no neighbour."""
    steps = {b - a for a, b in zip(values, values[1:])} or {1}
    return steps.pop() if len(steps) == 1 else None


cdef inline bint rows_are_safe(const fc_kernels *k, const row_plan *r, const char *w) noexcept nogil:
    """Whether no padding meets an inf or a nan among the weights: 0 * inf is nan."""
    return r.left + r.right == 0 or k.finite(w + r.w_low * k.itemsize, r.w_count) != 0


cdef inline void run_rows(const fc_kernels *k, const row_plan *r, const char *w, const char *bias, int activation,
                          const char *image, Py_ssize_t ih, char *out, Py_ssize_t row, Py_ssize_t end) noexcept nogil:
    """Rows row .. end of one image's output, `out`."""
    cdef Py_ssize_t itemsize = k.itemsize, last, top, bottom
    cdef double scratch[SCRATCH]
    cdef const char *x = image
    cdef fc_conv_rows t = r.rows
    t.bias, t.activation = bias, activation
    while row < end:
        last = min(row + r.most, end)
        if r.left + r.right > 0:
            top = clip(row * r.row_step + r.row_first, 0, ih)
            bottom = clip((last - 1) * r.row_step + r.row_last + 1, top, ih)
            x = padded_rows(r, itemsize, <char *> scratch, image, top, bottom)
        while row < last:
            top, bottom = r.met[2 * row], r.met[2 * row + 1]
            t.lines = 1
            while row + t.lines < last:
                if r.met[2 * (row + t.lines)] != top or r.met[2 * (row + t.lines) + 1] != bottom:
                    break
                t.lines += 1
            t.rows = bottom - top
            t.x = x + ((row * r.row_step + r.row_first) * r.width + top * t.x_row + r.col_first) * itemsize
            t.w = w + (r.w_first + top * t.w_row) * itemsize
            t.y = out + row * t.y_line * itemsize
            k.conv_rows(&t)
            row += t.lines


cdef inline const char *padded_rows(const row_plan *r, Py_ssize_t itemsize, char *scratch, const char *image,
                                    Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """Rows first .. end of an image between zeros; the address that row 0 would have there."""
    cdef Py_ssize_t row, iw = r.width - r.left - r.right
    cdef char *to = scratch
    for row in range(first, end):
        memset(to, 0, r.left * itemsize)
        memcpy(to + r.left * itemsize, image + row * iw * itemsize, iw * itemsize)
        memset(to + (r.left + iw) * itemsize, 0, r.right * itemsize)
        to += r.width * itemsize
    return scratch - first * r.width * itemsize
