"""Max and average pooling and their gradients: one task per output row, lanes over channels."""

from cython.parallel cimport prange
from libc.string cimport memset

from ._runtime cimport active_kernels, address, allocate, ceil_div, clip, release, team_size
from .kernels cimport fc_kernels, fc_pool_row

cdef enum:
    CHANNELS = 64                    # of one gradient task: whole cache lines, so that no two threads share one
    CELL_WORK = 8                    # a window's cell costs about as much as 8 multiply-adds


cdef Py_ssize_t *make_columns(pool *p) except NULL:
    """The window's real columns for every output column: first.., last.. in one array that the caller frees."""
    cdef Py_ssize_t *columns = <Py_ssize_t *> allocate(2 * p.ow, sizeof(Py_ssize_t))
    cdef Py_ssize_t q
    for q in range(p.ow):
        columns[q] = clip(q * p.sw - p.left, 0, p.iw)
        columns[p.ow + q] = clip(q * p.sw - p.left + p.kw, 0, p.iw)
    p.col_first, p.col_last = columns, columns + p.ow
    return columns


cdef pool make_pool(int itemsize, tuple image, tuple grid, tuple window, tuple strides, tuple origin,
                    Py_ssize_t window_cells):
    cdef pool p
    p.k = active_kernels(itemsize)
    p.n, p.ih, p.iw, p.c = image
    p.oh, p.ow = grid
    p.kh, p.kw = window
    p.sh, p.sw = strides
    p.top, p.left = origin
    p.window_cells = window_cells
    p.indices = NULL
    return p


cdef double pool_work(const pool *p) noexcept:
    return <double> p.n * p.oh * p.ow * p.c * p.kh * p.kw * CELL_WORK


def pool2d(x, y, indices, *, int itemsize, tuple image, tuple grid, tuple window, tuple strides, tuple origin,
           bint is_max, Py_ssize_t window_cells=0):
    """x (n, ih, iw, c) -> y, and for max the indices unless None, (n, oh, ow, c). origin: pads (top, left)."""
    cdef pool p = make_pool(itemsize, image, grid, window, strides, origin, window_cells)
    p.x, p.y = <char *> address(x, False), <char *> address(y, True)
    if indices is not None:
        p.indices = <char *> address(indices, True)
    cdef Py_ssize_t *columns = make_columns(&p)
    cdef int team = team_size(pool_work(&p))
    with nogil:
        pool_run(&p, is_max, team)
    release(columns)


cdef void pool_run(const pool *p, bint is_max, int team) noexcept nogil:
    """All rows of the output."""
    cdef Py_ssize_t row, rows = p.n * p.oh
    if team == 1:
        # A parallel region costs 0.6 us even for a team of one.
        for row in range(rows):
            pool_row(p, row // p.oh, row % p.oh, is_max)
    else:
        for row in prange(rows, schedule="static", num_threads=team):
            pool_row(p, row // p.oh, row % p.oh, is_max)


cdef fc_pool_row row_args(const pool *p, Py_ssize_t img, Py_ssize_t row) noexcept nogil:
    cdef fc_pool_row r
    cdef Py_ssize_t to = (img * p.oh + row) * p.ow * p.c * p.k.itemsize
    r.x = p.x + img * p.ih * p.iw * p.c * p.k.itemsize
    r.y = p.y + to
    r.indices = NULL if p.indices == NULL else p.indices + to      # an index is as wide as an element
    r.iw, r.c, r.ow = p.iw, p.c, p.ow
    r.row_first = clip(row * p.sh - p.top, 0, p.ih)
    r.row_last = clip(row * p.sh - p.top + p.kh, 0, p.ih)
    r.col_first, r.col_last = p.col_first, p.col_last
    r.x_count = (p.n - img) * p.ih * p.iw * p.c
    r.window_cells = p.window_cells
    return r


cdef void pool_row(const pool *p, Py_ssize_t img, Py_ssize_t row, bint is_max) noexcept nogil:
    cdef fc_pool_row r = row_args(p, img, row)
    if is_max:
        p.k.max_pool_row(&r)
    else:
        p.k.avg_pool_row(&r)


def avg_pool2d_grad(grad_output, out, *, int itemsize, tuple image, tuple grid, tuple window, tuple strides,
                    tuple origin, Py_ssize_t window_cells=0):
    """The adjoint of average pooling: grad_output (n, oh, ow, c) -> out (n, ih, iw, c)."""
    cdef pool p = make_pool(itemsize, image, grid, window, strides, origin, window_cells)
    cdef Py_ssize_t task, slices = ceil_div(p.c, CHANNELS)
    cdef Py_ssize_t tasks = p.n * slices
    cdef int team = team_size(pool_work(&p))
    p.x, p.y = <char *> address(out, True), <char *> address(grad_output, False)
    cdef Py_ssize_t *columns = make_columns(&p)
    memset(p.x, 0, p.n * p.ih * p.iw * p.c * itemsize)
    for task in prange(tasks, nogil=True, schedule="static", num_threads=team):
        avg_grad_image(&p, task // slices, task % slices * CHANNELS)
    release(columns)


cdef void avg_grad_image(const pool *p, Py_ssize_t img, Py_ssize_t c_first) noexcept nogil:
    cdef Py_ssize_t row
    cdef fc_pool_row r
    for row in range(p.oh):
        r = row_args(p, img, row)
        p.k.avg_pool_grad_row(&r, p.x + img * p.ih * p.iw * p.c * p.k.itemsize, c_first, min(CHANNELS, p.c - c_first))


def max_pool2d_spread(grad_output, indices, out, *, int itemsize, tuple image, tuple grid, tuple window, tuple strides,
                      tuple origin):
    """The adjoint of max pooling with strides = window, for indices that max_pool gave: every cell written once."""
    cdef pool p = make_pool(itemsize, image, grid, window, strides, origin, 0)
    cdef Py_ssize_t row, rows = p.n * p.oh
    cdef int team = team_size(pool_work(&p))
    p.x, p.y, p.indices = <char *> address(out, True), <char *> address(grad_output, False), \
        <char *> address(indices, False)
    cdef Py_ssize_t *columns = make_columns(&p)
    if team == 1:
        for row in range(rows):
            spread_row(&p, row // p.oh, row % p.oh, p.x + row // p.oh * p.ih * p.iw * p.c * itemsize)
    else:
        for row in prange(rows, nogil=True, schedule="static", num_threads=team):
            spread_row(&p, row // p.oh, row % p.oh, p.x + row // p.oh * p.ih * p.iw * p.c * itemsize)
    release(columns)


cdef void spread_row(const pool *p, Py_ssize_t img, Py_ssize_t row, char *image) noexcept nogil:
    """The windows' rows of one row of the output, and behind the last one those that no window covers."""
    cdef fc_pool_row r = row_args(p, img, row)
    cdef Py_ssize_t row_size = p.iw * p.c * p.k.itemsize
    p.k.max_pool_spread_row(&r, image)
    if row == p.oh - 1:
        memset(image + r.row_last * row_size, 0, (p.ih - r.row_last) * row_size)


def max_pool2d_grad(grad_output, indices, out, *, int itemsize, Py_ssize_t n, Py_ssize_t in_pixels,
                    Py_ssize_t out_pixels, Py_ssize_t c):
    """The adjoint of max pooling: adds each gradient to the cell that won; indices are already checked."""
    cdef const fc_kernels *k = active_kernels(itemsize)
    cdef const char *grads = <const char *> address(grad_output, False)
    cdef const char *winners = <const char *> address(indices, False)
    cdef char *to = <char *> address(out, True)
    cdef Py_ssize_t task, slices = ceil_div(c, CHANNELS)
    cdef Py_ssize_t tasks = n * slices
    cdef int team = team_size(<double> n * (in_pixels + out_pixels) * c * 4)
    for task in prange(tasks, nogil=True, schedule="static", num_threads=team):
        max_grad_image(k, to, grads, winners, task // slices, in_pixels, out_pixels, c, task % slices * CHANNELS)


cdef void max_grad_image(const fc_kernels *k, char *to, const char *grads, const char *winners, Py_ssize_t img,
                         Py_ssize_t in_pixels, Py_ssize_t out_pixels, Py_ssize_t c,
                         Py_ssize_t c_first) noexcept nogil:
    """One image's slice of channels: zeros, then the scatter."""
    cdef Py_ssize_t pixel, count = min(CHANNELS, c - c_first), itemsize = k.itemsize
    cdef char *image = to + img * in_pixels * c * itemsize
    cdef Py_ssize_t at = img * out_pixels * c * itemsize
    if count == c:
        memset(image, 0, in_pixels * c * itemsize)
    else:
        for pixel in range(in_pixels):
            memset(image + (pixel * c + c_first) * itemsize, 0, count * itemsize)
    k.max_pool_grad(image, grads + at, winners + at, out_pixels, c, c_first, count)
