"""Copies of images, shared out among the threads: a batch from its places in a data set, zeros around images."""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from ._runtime cimport address, team_size

cdef enum:
    WORK = 8                         # an element in the cache costs about as much as 8 multiply-adds
    FAR_WORK = 24                    # and one of a data set that does not fit there


def take(source, places, out, Py_ssize_t size, int itemsize):
    """out[i] = source[places[i]], rows of so many elements; places: int64, each that of a row of the source."""
    cdef const char *x = <const char *> address(source, False)
    cdef const Py_ssize_t *at = <const Py_ssize_t *> address(places, False)
    cdef char *to = <char *> address(out, True)
    cdef Py_ssize_t index, count = len(places), row = size * itemsize
    cdef int team = team_size(<double> count * size * FAR_WORK)
    for index in prange(count, nogil=True, schedule="static", num_threads=team):
        memcpy(to + index * row, x + at[index] * row, row)


def pad(x, out, int itemsize, tuple image, tuple pads):
    """x (n, h, w, c) -> out, zeros around each image; pads: ((top, bottom), (left, right))."""
    n, h, w, c = image
    cdef frame f = make_frame(h, w, c, pads)
    cdef const char *source = <const char *> address(x, False)
    cdef char *to = <char *> address(out, True)
    cdef Py_ssize_t img, images = n
    cdef int team = team_size(<double> images * f.size * WORK)
    for img in prange(images, nogil=True, schedule="static", num_threads=team):
        pad_image(&f, source + img * f.rows * f.row * itemsize, to + img * f.size * itemsize, itemsize)


cdef frame make_frame(Py_ssize_t h, Py_ssize_t w, Py_ssize_t c, tuple pads) except *:
    cdef frame f
    (top, bottom), (left, right) = pads
    f.rows, f.row, f.padded_row = h, w * c, (left + w + right) * c
    f.first = top * f.padded_row + left * c
    f.size = (top + h + bottom) * f.padded_row
    return f


cdef void pad_image(const frame *f, const char *x, char *y, Py_ssize_t itemsize) noexcept nogil:
    """One image; it is zeroed as a whole, since most borders are too short to be worth calls of their own."""
    cdef Py_ssize_t row
    memset(y, 0, f.size * itemsize)
    for row in range(f.rows):
        memcpy(y + (f.first + row * f.padded_row) * itemsize, x + row * f.row * itemsize, f.row * itemsize)
