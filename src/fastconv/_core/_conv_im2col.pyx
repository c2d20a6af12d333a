"""The explicit patch matrix and its adjoint: rows are output pixels, columns (kh, kw, c).

(K. Chellapilla, S. Puri, P. Simard: High performance convolutional neural networks for document processing, 2006.)
"""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from ._runtime cimport active_kernels, address, team_size
from .kernels cimport fc_kernels

cdef struct patches:
    Py_ssize_t ih, iw, c, oh, ow, kh, kw, sh, sw, dh, dw, top, left


cdef patches make_patches(tuple image, tuple grid, tuple window, tuple strides, tuple dilation, tuple origin):
    cdef patches p
    p.ih, p.iw, p.c = image
    p.oh, p.ow = grid
    p.kh, p.kw = window
    p.sh, p.sw = strides
    p.dh, p.dw = dilation
    p.top, p.left = origin
    return p


def im2col(x, cols, *, int itemsize, Py_ssize_t n, tuple image, tuple grid, tuple window, tuple strides,
           tuple dilation, tuple origin):
    """x (n, ih, iw, c) -> cols (n*oh*ow, kh*kw*c), zeros for padding. image: (ih, iw, c); origin: pads (top, left)."""
    cdef patches p = make_patches(image, grid, window, strides, dilation, origin)
    cdef const char *source = <const char *> address(x, False)
    cdef char *to = <char *> address(cols, True)
    cdef Py_ssize_t row, rows = n * p.oh
    cdef int team = team_size(<double> rows * p.ow * p.kh * p.kw * p.c * 4)
    for row in prange(rows, nogil=True, schedule="static", num_threads=team):
        im2col_row(&p, source, to, row // p.oh, row % p.oh, itemsize)


cdef void im2col_row(const patches *p, const char *x, char *cols, Py_ssize_t img, Py_ssize_t oh,
                     int itemsize) noexcept nogil:
    cdef Py_ssize_t q, i, j, row, col, cell = p.c * itemsize
    cdef const char *image = x + img * p.ih * p.iw * cell
    cdef char *to = cols + (img * p.oh + oh) * p.ow * p.kh * p.kw * cell
    for q in range(p.ow):
        for i in range(p.kh):
            row = oh * p.sh - p.top + i * p.dh
            for j in range(p.kw):
                col = q * p.sw - p.left + j * p.dw
                if 0 <= row < p.ih and 0 <= col < p.iw:
                    memcpy(to, image + (row * p.iw + col) * cell, cell)
                else:
                    memset(to, 0, cell)
                to += cell


def finite(x, *, int itemsize, Py_ssize_t count):
    """Whether all `count` elements of a C-contiguous array are finite."""
    cdef const fc_kernels *k = active_kernels(itemsize)
    cdef const void *first = address(x, False)
    cdef bint found
    with nogil:
        found = k.finite(first, count)
    return found


ctypedef fused real:
    float
    double


def col2im(cols, out, *, int itemsize, Py_ssize_t n, tuple image, tuple grid, tuple window, tuple strides,
           tuple dilation, tuple origin, bint accumulate=False):
    """The adjoint of im2col: out (n, ih, iw, c) is the sum of cols (n*oh*ow, kh*kw*c), or they are added to it."""
    cdef patches p = make_patches(image, grid, window, strides, dilation, origin)
    cdef const char *source = <const char *> address(cols, False)
    cdef char *to = <char *> address(out, True)
    cdef Py_ssize_t img, matrix = p.oh * p.ow * p.kh * p.kw * p.c * itemsize, size = p.ih * p.iw * p.c * itemsize
    cdef int team = team_size(<double> n * p.oh * p.ow * p.kh * p.kw * p.c * 4)
    for img in prange(n, nogil=True, schedule="static", num_threads=team):
        if itemsize == sizeof(float):
            col2im_image(&p, <const float *> (source + img * matrix), <float *> (to + img * size), accumulate)
        else:
            col2im_image(&p, <const double *> (source + img * matrix), <double *> (to + img * size), accumulate)


cdef void col2im_image(const patches *p, const real *cols, real *image, bint accumulate) noexcept nogil:
    cdef Py_ssize_t oh, q, i, j, ch, row, col
    cdef real *to
    if not accumulate:
        memset(image, 0, p.ih * p.iw * p.c * sizeof(real))
    for oh in range(p.oh):
        for q in range(p.ow):
            for i in range(p.kh):
                row = oh * p.sh - p.top + i * p.dh
                for j in range(p.kw):
                    col = q * p.sw - p.left + j * p.dw
                    if 0 <= row < p.ih and 0 <= col < p.iw:
                        to = image + (row * p.iw + col) * p.c
                        for ch in range(p.c):
                            to[ch] += cols[ch]
                    cols += p.c
