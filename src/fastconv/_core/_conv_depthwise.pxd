"""Depthwise convolution as other Cython files call it: a plan's geometry, bound to arrays, packed, run."""

from ._depthwise_axes cimport axis
from .kernels cimport fc_kernels

cdef struct depthwise:
    const fc_kernels *k
    Py_ssize_t n, c, cg, ih, iw, oh, ow
    # Filters of a channel: x, or grad_input where `transposed`, has c / multiplier channels. A block of it is in
    # `scratch` elements of memory with all c.
    Py_ssize_t multiplier, scratch
    bint transposed
    Py_ssize_t taps, kernel_cols
    Py_ssize_t row_phases, col_phases
    const axis *rows
    const axis *cols
    # Pair m < pairs of columns, pair_first + 2*m and the next, meets taps 2*t and 2*t + 1 on cell pair_cell + m - t.
    Py_ssize_t pairs, pair_first, pair_cell
    int size                                         # log2(cg)
    Py_ssize_t block_rows, row_blocks
    Py_ssize_t w_tap, w_vector                       # elements of the weights that the kernel reads
    const Py_ssize_t *gather
    const char *x
    const char *w
    const char *bias
    char *out
    int activation


cdef class DepthwisePlan:
    cdef depthwise p
    cdef list _kept
    cdef readonly double work
    cdef readonly Py_ssize_t nbytes                  # of the tables

    cdef _make_blocks(self)

    cdef Py_ssize_t packed_size(self) noexcept
    cdef depthwise bound(self, kernel, bias, int activation) except *


cdef void depthwise_pack(depthwise *p, char *packed, int team) noexcept nogil
cdef void depthwise_run(const depthwise *p, Py_ssize_t n, const char *x, char *out, char *scratch,
                        int team) noexcept nogil
