"""Copies of images, shared out among the threads: a batch from its places in a data set, zeros around images."""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from ._runtime cimport address, team_size

cdef enum:
    WORK = 2                         # a byte in the cache costs about as much as 2 multiply-adds
    FAR_WORK = 6                     # and one of a data set that does not fit there


def take(source, places, out, Py_ssize_t item):
    """out[i] = source[places[i]]: items of so many bytes; places: int64, each that of an item of the source."""
    cdef const char *x = <const char *> address(source, False)
    cdef const Py_ssize_t *at = <const Py_ssize_t *> address(places, False)
    cdef char *to = <char *> address(out, True)
    cdef Py_ssize_t index, count = len(places)
    cdef int team = team_size(<double> count * item * FAR_WORK)
    for index in prange(count, nogil=True, schedule="static", num_threads=team):
        memcpy(to + index * item, x + at[index] * item, item)


def pad(x, out, Py_ssize_t n, Py_ssize_t h, Py_ssize_t w, Py_ssize_t pixel, tuple pads):
    """x (n, h, w) pixels of so many bytes -> out, zeros around each; pads: ((top, bottom), (left, right))."""
    cdef frame f = make_frame(h, w, pixel, pads)
    cdef const char *source = <const char *> address(x, False)
    cdef char *to = <char *> address(out, True)
    cdef Py_ssize_t img
    cdef int team = team_size(<double> n * f.size * WORK)
    for img in prange(n, nogil=True, schedule="static", num_threads=team):
        pad_image(&f, source + img * f.rows * f.row, to + img * f.size)


cdef frame make_frame(Py_ssize_t h, Py_ssize_t w, Py_ssize_t pixel, tuple pads) except *:
    cdef frame f
    (top, bottom), (left, right) = pads
    f.rows, f.row, f.padded_row = h, w * pixel, (left + w + right) * pixel
    f.first = top * f.padded_row + left * pixel
    f.size = (top + h + bottom) * f.padded_row
    return f


cdef void pad_image(const frame *f, const char *x, char *y) noexcept nogil:
    """One image; it is zeroed as a whole, since most borders are too short to be worth calls of their own."""
    cdef Py_ssize_t row
    memset(y, 0, f.size)
    for row in range(f.rows):
        memcpy(y + f.first + row * f.padded_row, x + row * f.row, f.row)
