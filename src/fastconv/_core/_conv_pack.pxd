"""The weights and the bias of a direct convolution in the order in which its tiles read them."""

from libc.string cimport memcpy, memset

from ._conv_direct cimport conv
from ._runtime cimport ceil_div, round_up
from .kernels cimport FC_CACHE_LINE, FC_NV_MAX

cdef enum:
    BY_PANEL_MIN = 768 * 1024        # bytes of weights that are packed panel by panel, by the thread that uses them,
    BY_PANEL_TEAM_MIN = 32 * 1024    # or so many where threads would wait for each other's weights,
    BY_PANEL_IMAGE = 4               # unless the image, which each panel goes through, has so many times as many


cdef inline void pack_rows(const conv *p, Py_ssize_t group, Py_ssize_t panel, Py_ssize_t tap, Py_ssize_t row,
                           Py_ssize_t rows) noexcept nogil:
    """A panel's rows (tap, input channel) for the input channels row .. row + rows of one tap."""
    cdef Py_ssize_t lanes = p.k.lanes, itemsize = p.k.itemsize
    cdef Py_ssize_t first = p.panel_v[panel] * lanes, width = p.panel_v[panel + 1] * lanes - first
    cdef Py_ssize_t channel = group * p.n_vectors * lanes + first
    p.k.pack(p.packed + (channel * p.depth + (tap * p.cg + row) * width) * itemsize, width,
             p.kernel + (group * p.group_stride + first * p.j_stride + p.tap_weights[tap] + row * p.k_stride)
             * itemsize, rows, p.k_stride, min(width, p.ng - first), p.j_stride)


cdef inline void pack_weights(const conv *p, Py_ssize_t index) noexcept nogil:
    """One task of packing: rows (tap, input channel) of nv*lanes output channels each, zeros behind the last.

    Read along memory: some rows of all panels where output channels are contiguous, else one panel's whole rows.
    """
    cdef Py_ssize_t part = index % p.pack_parts, tap = index // p.pack_parts
    cdef Py_ssize_t row = 0, rows = p.cg, first_panel = part, last_panel = part + 1
    cdef Py_ssize_t group, panel
    if p.j_stride == 1:
        row, rows = part * p.cg // p.pack_parts, (part + 1) * p.cg // p.pack_parts
        rows -= row
        first_panel, last_panel = 0, p.n_panels
    for group in range(p.groups):
        for panel in range(first_panel, last_panel):
            pack_rows(p, group, panel, tap, row, rows)


cdef inline void pack_panel(const conv *p, Py_ssize_t panel) noexcept nogil:
    cdef Py_ssize_t tap
    for tap in range(p.taps):
        pack_rows(p, 0, panel, tap, 0, p.cg)


cdef inline Py_ssize_t panel_room(const conv *p, int team) noexcept nogil:
    """Elements of a thread's room for the panel that it works on: whole cache lines."""
    return round_up(min(ceil_div(p.n_vectors, team), FC_NV_MAX) * p.k.lanes * p.depth, FC_CACHE_LINE // p.k.itemsize)


cdef inline bint takes_panels(const conv *p, Py_ssize_t n, int team) noexcept nogil:
    """Whether each thread had better pack the weights of its output channels by itself and go through n images."""
    cdef Py_ssize_t weight_bytes = p.depth * p.ng * p.k.itemsize
    # A thread should not wait long for another one's last vector, and the rooms should fit packed_size().
    return (p.by_panel and weight_bytes >= (BY_PANEL_MIN if team == 1 else BY_PANEL_TEAM_MIN)
            and weight_bytes >= n * p.ih * p.in_row * p.k.itemsize // BY_PANEL_IMAGE
            and 20 * p.n_vectors >= 19 * team * ceil_div(p.n_vectors, team)
            and team * panel_room(p, team) <= p.n_vectors * p.k.lanes * p.depth)


cdef inline Py_ssize_t last_channels(const conv *p) noexcept nogil:
    """Output channels of the last panel."""
    return p.ng - p.panel_v[p.n_panels - 1] * p.k.lanes


cdef inline void pack_bias(const conv *p, Py_ssize_t group) noexcept nogil:
    cdef Py_ssize_t itemsize = p.k.itemsize, width = p.n_vectors * p.k.lanes
    p.k.pack(p.packed_bias + group * width * itemsize, width, p.bias + group * p.ng * itemsize, 1, 0, p.ng, 1)


cdef inline void pack_dots(const conv *p) noexcept nogil:
    """Each output channel's weights one after the other."""
    cdef Py_ssize_t itemsize = p.k.itemsize, tap, channel
    cdef const char *source
    cdef char *to
    for tap in range(p.taps):
        for channel in range(p.ng):
            source = p.kernel + (p.tap_weights[tap] + channel * p.j_stride) * itemsize
            to = p.packed + (channel * p.depth + tap * p.cg) * itemsize
            if p.k_stride == 1:
                memcpy(to, source, p.cg * itemsize)
            else:
                p.k.pack(to, p.cg, source, 1, 0, p.cg, p.k_stride)


cdef inline void pack_folded(const conv *p) noexcept nogil:
    """The one panel's rows again, pixel by pixel of a run: shifted by the pixel's columns, zeros elsewhere."""
    cdef Py_ssize_t itemsize = p.k.itemsize, width = p.n_vectors * p.k.lanes
    cdef Py_ssize_t n_cols = p.taps // p.n_rows, pixel, row, col, ch, to, source
    memset(p.folded, 0, p.fold_width * (p.n_rows * p.fold_span * p.cg + 1) * itemsize)
    for pixel in range(p.fold):
        for row in range(p.n_rows):
            for col in range(n_cols):
                for ch in range(p.cg):
                    to = ((row * p.fold_span + col + pixel * p.col_step) * p.cg + ch) * p.fold_width + pixel * p.ng
                    source = ((row * n_cols + col) * p.cg + ch) * width
                    memcpy(p.folded + to * itemsize, p.packed + source * itemsize, p.ng * itemsize)
        if p.bias != NULL:
            memcpy(p.folded_bias + pixel * p.ng * itemsize, p.bias, p.ng * itemsize)
