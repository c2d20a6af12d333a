"""The direct convolution as other Cython files call it: a plan's geometry, bound to arrays, packed, run."""

from ._conv_rows cimport row_plan
from .kernels cimport fc_kernels

cdef struct region:
    # Pixels first .. first + per_image * images of the offset tables, in the order (image, row, column), whose
    # windows meet the taps of segments seg .. seg + n_segs; if folded, each entry is a run of `fold` pixels.
    # run: pixels of a row if dot_run can do them, else 0.
    Py_ssize_t first, per_image, seg, n_segs, folded, run

cdef struct kind:
    # Blocks of one shape and one position relative to the borders share their regions, the largest first: once
    # plain, once folded.
    Py_ssize_t first, count, folded_first, folded_count

cdef struct conv:
    const fc_kernels *k
    Py_ssize_t n, gh, gw                             # images and the grid of output pixels
    Py_ssize_t images, rows, cols                    # of a block; several images only if it holds them whole
    Py_ssize_t row_blocks, col_blocks, blocks
    Py_ssize_t ih, in_row, row_step, row_first, row_last    # image rows, elements of one; the window's rows
    Py_ssize_t a_img, a_row, a_col                   # elements of x per image, grid row, grid column
    Py_ssize_t c_first, c_img, c_row, c_col          # the same of the output
    Py_ssize_t groups, cg, ng                        # channels of a group: input, output
    # Where each tap's weights start in the kernel array, and its strides: input channel, output channel, group.
    Py_ssize_t taps
    const Py_ssize_t *tap_weights
    Py_ssize_t k_stride, j_stride, group_stride
    Py_ssize_t depth                                 # taps * cg: rows of a packed panel
    const Py_ssize_t *kind_of                        # of block (row block, column block)
    const kind *kinds
    const region *regions
    const Py_ssize_t *seg_a
    const Py_ssize_t *seg_k
    const Py_ssize_t *seg_len
    const Py_ssize_t *a_off
    const Py_ssize_t *c_off
    Py_ssize_t n_panels, n_vectors                   # panel p holds the vectors panel_v[p] .. panel_v[p + 1]
    const Py_ssize_t *panel_v
    Py_ssize_t pack_parts                            # tasks that pack one tap's weights
    Py_ssize_t n_rows, col_step                      # rows of taps; input cells per grid column
    Py_ssize_t fold, fold_span, fold_width           # pixels of a run, its window's columns, its panel's columns
    row_plan by_row                                  # one input channel, few output channels: lanes lie along rows
    bint dots                                        # few output channels: lanes lie along the inputs
    bint dot_runs                                    # one, and windows side by side: they share what they read
    Py_ssize_t unit                                  # output channels of a panel's vector: lanes, of dots 1
    bint in_place                                    # weights are read where they are: few pixels
    bint in_parts                                    # a long sum of few columns: see run_parts
    bint few                                         # pixels, all of one region: in_place, in the order of memory
    bint by_panel                                    # weights may be packed by the thread that uses them; bound: are
    bint ahead                                       # the image comes from memory too slowly by itself
    Py_ssize_t tail, tail_width                      # last rows that the last panel cannot read so, as wide as it is
    bint side_by_side                                # a block's output is one run of memory, written by one panel
    # This call's arrays.
    const char *x
    const char *kernel
    const char *bias
    char *packed
    char *packed_bias
    char *folded
    char *folded_bias
    char *out
    int activation
    bint in_rows                                     # by_row: the weights are such that it may be


cdef class ConvPlan:
    cdef conv p
    cdef list _kept
    cdef readonly double work
    cdef readonly Py_ssize_t nbytes                  # of the tables

    # Making the geometry.
    cdef _make_blocks(self, Py_ssize_t pixels)
    cdef dict _make_segments(self, tap_rows, tap_cols, set ranges, Py_ssize_t c)
    cdef _make_panels(self)
    cdef _choose_rows(self, image, grid, steps, tap_rows, tap_cols, tap_weights, list row_ranges)
    cdef _choose_fold(self, list tap_cols, Py_ssize_t col_step, Py_ssize_t inner)
    cdef _choose_dots(self, list tap_cols)
    cdef _make_regions(self, list row_ranges, list col_ranges, dict segments, tuple all_cols)
    cdef _add_pixels(self, a_off, c_off, list in_rows, list in_cols)

    # Running it.
    cdef Py_ssize_t packed_size(self) noexcept
    cdef conv bound(self, kernel, bias, int activation) except *


cdef void conv_pack(conv *p, char *packed, Py_ssize_t n, int team) noexcept nogil
cdef void conv_run(const conv *p, Py_ssize_t n, const char *x, char *out, int team) noexcept nogil
