"""Images through affine maps: each output pixel reads one pixel, or blends four; and the adjoint. One image a task."""

from cython.parallel cimport prange

from ._runtime cimport address, clip, team_size

cdef enum:
    WORK = 64                        # an output pixel costs about as much as 64 multiply-adds


cdef fused real:
    float
    double


cdef struct grid:
    Py_ssize_t h, w, c               # of an image
    Py_ssize_t height, width         # of a widened one, in which no pixel that is read lies outside
    Py_ssize_t top, left             # where the image begins in it
    bint bilinear


def read(wide, maps, out, *, int itemsize, tuple shape, tuple wide_size, tuple origin, bint bilinear):
    """wide (n, height, width, c), maps (n, 6) -> out (n, h, w, c)."""
    cdef grid g = make_grid(shape, wide_size, origin, bilinear)
    cdef const void *source = address(wide, False)
    cdef const void *affine = address(maps, False)
    cdef void *to = address(out, True)
    if itemsize == 4:
        read_all[float](<const float *> source, <const float *> affine, <float *> to, shape[0], &g)
    else:
        read_all[double](<const double *> source, <const double *> affine, <double *> to, shape[0], &g)


def spread(grads, maps, wide, *, int itemsize, tuple shape, tuple wide_size, tuple origin, bint bilinear):
    """grads (n, h, w, c), maps (n, 6): added to wide (n, height, width, c), which is of float64."""
    cdef grid g = make_grid(shape, wide_size, origin, bilinear)
    cdef const void *source = address(grads, False)
    cdef const void *affine = address(maps, False)
    cdef double *to = <double *> address(wide, True)
    if itemsize == 4:
        spread_all[float](<const float *> source, <const float *> affine, to, shape[0], &g)
    else:
        spread_all[double](<const double *> source, <const double *> affine, to, shape[0], &g)


cdef grid make_grid(tuple shape, tuple wide_size, tuple origin, bint bilinear) except *:
    cdef grid g
    _, g.h, g.w, g.c = shape
    g.height, g.width = wide_size
    g.top, g.left = origin
    g.bilinear = bilinear
    return g


cdef void read_all(const real *wide, const real *maps, real *out, Py_ssize_t n, const grid *g) noexcept:
    cdef Py_ssize_t img
    cdef int team = team_size(<double> n * g.h * g.w * g.c * WORK)
    for img in prange(n, nogil=True, schedule="static", num_threads=team):
        read_image(wide + img * g.height * g.width * g.c, maps + img * 6, out + img * g.h * g.w * g.c, g)


cdef void spread_all(const real *grads, const real *maps, double *wide, Py_ssize_t n, const grid *g) noexcept:
    cdef Py_ssize_t img
    cdef int team = team_size(<double> n * g.h * g.w * g.c * WORK)
    for img in prange(n, nogil=True, schedule="static", num_threads=team):
        spread_image(grads + img * g.h * g.w * g.c, maps + img * 6, wide + img * g.height * g.width * g.c, g)


cdef inline Py_ssize_t place(real row, real col, const grid *g, real *down, real *right) noexcept nogil:
    """The first pixel that is read at (row, col), and how far between it and the next ones that is."""
    cdef Py_ssize_t p, q
    if g.bilinear:
        p, q = floor(row), floor(col)
        down[0], right[0] = row - <real> p, col - <real> q
    else:
        p, q = nearest(row), nearest(col)
        down[0] = right[0] = 0
    # Inside, but for a compiler that fuses what the caller, who widened the image, did not.
    p = clip(p + g.top, 0, g.height - 1 - g.bilinear)
    q = clip(q + g.left, 0, g.width - 1 - g.bilinear)
    return (p * g.width + q) * g.c


cdef inline Py_ssize_t floor(real x) noexcept nogil:
    cdef Py_ssize_t whole = <Py_ssize_t> x
    return whole - (x < <real> whole)


cdef inline Py_ssize_t nearest(real x) noexcept nogil:
    """Halves away from 0."""
    cdef real half = 0.5
    return <Py_ssize_t> (x - half if x < 0 else x + half)


cdef void read_image(const real *wide, const real *m, real *out, const grid *g) noexcept nogil:
    cdef Py_ssize_t i, j, _channel, below = g.width * g.c
    cdef const real *pixel
    cdef real down, right, upper, lower, row, col
    cdef real col_step = m[0], row_step = m[3]
    for i in range(g.h):
        row, col = m[4] * <real> i + m[5], m[1] * <real> i + m[2]
        for j in range(g.w):
            pixel = wide + place(row_step * <real> j + row, col_step * <real> j + col, g, &down, &right)
            for _channel in range(g.c):
                if g.bilinear:
                    upper = pixel[0] + (pixel[g.c] - pixel[0]) * right
                    lower = pixel[below] + (pixel[below + g.c] - pixel[below]) * right
                    out[0] = upper + (lower - upper) * down
                else:
                    out[0] = pixel[0]
                pixel += 1
                out += 1


cdef void spread_image(const real *grad, const real *m, double *wide, const grid *g) noexcept nogil:
    cdef Py_ssize_t i, j, _channel, below = g.width * g.c
    cdef double *pixel
    cdef real down, right, upper, lower, row, col
    cdef real col_step = m[0], row_step = m[3]
    for i in range(g.h):
        row, col = m[4] * <real> i + m[5], m[1] * <real> i + m[2]
        for j in range(g.w):
            pixel = wide + place(row_step * <real> j + row, col_step * <real> j + col, g, &down, &right)
            for _channel in range(g.c):
                if g.bilinear:
                    lower = grad[0] * down
                    upper = grad[0] - lower
                    pixel[0] += upper * (1 - right)
                    pixel[g.c] += upper * right
                    pixel[below] += lower * (1 - right)
                    pixel[below + g.c] += lower * right
                else:
                    pixel[0] += grad[0]
                pixel += 1
                grad += 1
