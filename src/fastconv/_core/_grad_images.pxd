"""What a kernel gradient's tiles read of the image: the image itself, a slab with zeros around it, or lines."""

from libc.string cimport memcpy, memset

from ._conv_grad_kernel cimport block, grad
from ._runtime cimport ceil_div, clip


cdef inline const char *block_input(const grad *p, const block *b, char *slab) noexcept nogil:
    """The cell under the window's first row and column at the block's first pixel: in the image or in the slab.

    The slab's cells left and right of the image are never written, so they stay the zeros they were at the start.
    """
    cdef Py_ssize_t itemsize = p.k.itemsize, img, row, source, top = b.row * p.row_step + p.row_first
    if p.lined:
        return slab
    if not p.slabbed:
        return p.x + (b.img * p.img_stride + top * p.row_stride + p.col_first * p.c) * itemsize
    cdef Py_ssize_t width = p.row_stride // p.c
    cdef Py_ssize_t before = clip(-p.col_first, 0, width)
    cdef Py_ssize_t count = clip(p.iw - p.col_first - before, 0, width - before)
    cdef const char *image
    cdef char *to
    for img in range(b.images):
        image = p.x + ((b.img + img) * p.ih * p.iw + p.col_first + before) * p.c * itemsize
        for row in range((b.rows - 1) * p.row_step + p.row_last - p.row_first + 1):
            to = slab + (img * p.img_stride + row * p.row_stride + before * p.c) * itemsize
            source = top + row
            if 0 <= source < p.ih:
                memcpy(to, image + source * p.iw * p.c * itemsize, count * p.c * itemsize)
            else:
                memset(to, 0, count * p.c * itemsize)
    return slab


cdef inline void fill_lines(const grad *p, const block *b, Py_ssize_t group, char *lines) noexcept nogil:
    """Copy the cells of the image that a block's windows meet, a cache line of channels b.first .. b.last at a time.

        lines [channel / line][image][row][column][line]

    A tile reads some channels of one cell after the other: from the image these are a pixel apart, which for many
    channels is another page, and for powers of two the same set of the cache. Cells outside the image are never read.
    """
    cdef Py_ssize_t row_step = p.row_step if p.sampled else 1, col_step = p.col_step if p.sampled else 1
    cdef Py_ssize_t top = b.row * p.row_step + p.row_first, images = b.images, img, row
    cdef Py_ssize_t rows = b.rows if p.sampled else (b.rows - 1) * p.row_step + p.row_last - p.row_first + 1
    cdef Py_ssize_t first_row = ceil_div(max(-top, 0), row_step)
    cdef Py_ssize_t last_row = min(ceil_div(max(p.ih - top, 0), row_step), rows)
    cdef Py_ssize_t col = ceil_div(max(-p.col_first, 0), col_step)
    cdef Py_ssize_t count = min(ceil_div(max(p.iw - p.col_first, 0), col_step), p.slab_cols) - col
    cdef Py_ssize_t itemsize = p.k.itemsize, source
    cdef const char *x = p.x + ((b.img * p.ih * p.iw + p.col_first) * p.c + group * p.cg + b.first) * itemsize
    if row_step == 1 and col_step == 1 and p.col_first == 0 and count == p.slab_cols == p.iw:
        # Whole rows follow each other in memory, whole images too.
        count, last_row = count * (last_row - first_row), min(last_row, first_row + 1)
        if top == 0 and rows == p.ih == p.slab_rows:
            count, images = count * images, 1
    for img in range(images):
        for row in range(first_row, last_row):
            source = (img * p.ih * p.iw + (top + row * row_step) * p.iw + col * col_step) * p.c
            p.k.pack_panels(lines + ((img * p.slab_rows + row) * p.slab_cols + col) * p.line * itemsize,
                            p.line_stride // p.line, x + source * itemsize, count, p.c * col_step, b.last - b.first,
                            p.line_first, ceil_div(b.last - b.first, p.line))
