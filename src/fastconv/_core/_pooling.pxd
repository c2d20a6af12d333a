"""Pooling as other Cython files call it: a window's geometry, rows of the output and of the gradient."""

from .kernels cimport fc_kernels

cdef struct pool:
    const fc_kernels *k
    Py_ssize_t n, ih, iw, c, oh, ow, kh, kw, sh, sw, top, left
    Py_ssize_t window_cells
    const Py_ssize_t *col_first
    const Py_ssize_t *col_last
    char *x                          # the image or its gradient
    char *y                          # the output or its gradient
    char *indices


cdef Py_ssize_t *make_columns(pool *p) except NULL
cdef pool make_pool(int itemsize, tuple image, tuple grid, tuple window, tuple strides, tuple origin,
                    Py_ssize_t window_cells)
cdef double pool_work(const pool *p) noexcept
cdef void pool_run(const pool *p, bint is_max, int team) noexcept nogil
cdef void spread_row(const pool *p, Py_ssize_t img, Py_ssize_t row, char *image) noexcept nogil
