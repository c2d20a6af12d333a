"""Copies of images, as other Cython files call them."""

cdef struct frame:
    # Of an image: rows, elements of one; with zeros around it: elements of a row, where the first row goes, all of it.
    Py_ssize_t rows, row, padded_row, first, size

cdef frame make_frame(Py_ssize_t h, Py_ssize_t w, Py_ssize_t c, tuple pads) except *
cdef void pad_image(const frame *f, const char *x, char *y, Py_ssize_t itemsize) noexcept nogil
