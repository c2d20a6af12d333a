"""A kernel gradient's geometry and its blocks, as the files that compute it share them."""

from ._ahead cimport ahead
from ._pooling cimport pool
from .kernels cimport fc_kernels

cdef struct block:
    Py_ssize_t img, images           # first image, how many
    Py_ssize_t row, rows             # first grid row, how many (of each image)
    Py_ssize_t pixels
    const char *grads                # of the first pixel
    bint by_tap                      # tap by tap, real cells only
    Py_ssize_t first, last           # channels of the group that are at hand
    Py_ssize_t first_chunk, last_chunk               # of lines, that this thread does
    # The runs of the tile's segments: first pixels (turned: their elements of grad_output) and lengths, of the whole
    # block; tables for the taps.
    Py_ssize_t runs
    Py_ssize_t *seg_k
    Py_ssize_t *seg_len
    Py_ssize_t *tap_a
    Py_ssize_t *tap_k
    Py_ssize_t *tap_len
    Py_ssize_t tap_runs
    ahead next                       # what the next block will read of x and of grad_output

cdef struct grad:
    const fc_kernels *k
    Py_ssize_t n, ih, iw, c          # the images
    Py_ssize_t gh, gw                # the grid: grad_output's pixels
    Py_ssize_t row_step, col_step
    Py_ssize_t row_first, row_last   # offsets of the first tap row and of the last, from the window's anchor
    Py_ssize_t col_first, col_last
    bint by_tap                      # padded, many channels: tap by tap, real cells only
    bint slabbed                     # padded, few channels: from a slab with zeros around the image
    bint lined                       # many channels: from a copy in lines, see fill_lines
    bint sampled                     # lined, one tap: only the cells that it meets are copied
    bint turned                      # few output channels: these are a tile's rows, neighbouring entries its columns
    bint ahead                       # each value is used too few times to hide how it comes from memory
    Py_ssize_t images, rows          # of a block; rows < gh only if images == 1
    Py_ssize_t row_blocks, blocks
    # The memory that the tile reads, the image, the slab or the lines, in elements: from image to image, from row to
    # row, from cell to cell, from grid row to grid row, from grid column to grid column, from line to line.
    Py_ssize_t img_stride, row_stride, cell_stride, grid_row_stride, grid_col_stride, line_stride
    Py_ssize_t slab_rows, slab_cols, slab_size       # the copy: cells of one image's part, elements in all
    Py_ssize_t groups, cg, ng, oc
    Py_ssize_t n_rows, n_cols
    const Py_ssize_t *tap_rows
    const Py_ssize_t *tap_cols
    # Entries (tap, channel) of one group's kernel: their offsets in x from the window's corner, in the gradient.
    Py_ssize_t entries
    const Py_ssize_t *a_off
    const Py_ssize_t *c_off
    # A block's pixels as runs of one constant step: a run covers a row, whole images, or the whole block.
    Py_ssize_t a_step
    int run_axes
    const Py_ssize_t *seg_a
    const Py_ssize_t *seg_steps      # turned: the same, in steps
    # Panels of output channels and lines of input channels: where each starts, and the end.
    Py_ssize_t n_panels, n_lines, line
    const Py_ssize_t *panel_first
    const Py_ssize_t *line_first
    # Turned: neighbouring entries (a kernel row's, or a tap's), and in how many panels they go; of each output channel
    # its place in a pixel, and its sums'.
    Py_ssize_t run, pieces
    const Py_ssize_t *channels
    const Py_ssize_t *channel_sums
    Py_ssize_t chunk, chunk_lines    # panels of grad_output, and lines of x, that are copied together
    Py_ssize_t parts, size, panel_size, run_count
    const char *x
    const char *grad_output          # NULL: made block by block from the gradient of a max pooling behind
    pool pool
    Py_ssize_t grads_size            # elements of the memory for that
    char *sums
