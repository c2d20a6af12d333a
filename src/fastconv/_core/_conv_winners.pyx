"""Gradient of a small kernel where a max pooling follows the convolution.

Of a window's cells only the one that won has a gradient, for each filter another one. The dense sum would multiply
zeros at all the others; here each filter adds up the patches of its own winners, with the lanes along a row of the
kernel. An image is first copied to where zeros surround it, so that every patch can be read as whole vectors. The
images are cut into a FIXED number of parts, added in a fixed order.
"""

from array import array

from cython.parallel cimport prange, threadid
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from ._runtime cimport address, allocate, clip, isa_kernels, keep, kept_bytes, round_up, team_size
from .kernels cimport FC_CACHE_LINE, FC_WINNER_ROWS, fc_kernels, fc_winners

cdef enum:
    PARTS_MAX = 16                   # parts of the batch's sum; more than any small machine's threads

cdef struct winners:
    const fc_kernels *k
    Py_ssize_t n, ih, iw, c
    Py_ssize_t top, left             # of the copy, around the image
    Py_ssize_t rows, cols            # of the copy
    Py_ssize_t kh, run, filters      # run: elements of a kernel row
    Py_ssize_t row_step              # elements between two rows of the kernel
    Py_ssize_t pixels, cells         # of one image: pooled, of the convolution's output
    const Py_ssize_t *at             # where each cell's patch starts in the copy
    Py_ssize_t parts, size, slab     # elements of the sums and of the copy
    const char *x
    const char *grads
    const char *indices
    char *sums


def winners_fit(str isa not None, int itemsize, Py_ssize_t rows, Py_ssize_t run):
    """Whether there is a kernel for so many rows of so many elements (columns x channels)."""
    return rows <= FC_WINNER_ROWS and run <= isa_kernels(isa, itemsize).winner_lanes


cdef class WinnersPlan:
    """The geometry for one instruction set and element type; made once, run many times."""

    cdef winners p
    cdef list _kept
    cdef readonly double work
    cdef readonly Py_ssize_t nbytes  # of the tables

    def __cinit__(self, *, str isa not None, int itemsize, tuple image, tuple grid, tuple steps, tuple kernel,
                  Py_ssize_t row_dilation, tuple origin, Py_ssize_t filters, Py_ssize_t pixels):
        # image: (n, ih, iw, c); grid: the convolution's output (oh, ow); origin: pads (top, left); pixels: pooled
        cdef winners *p = &self.p
        cdef Py_ssize_t r, q, line
        self._kept = []
        p.k = isa_kernels(isa, itemsize)
        p.n, p.ih, p.iw, p.c = image
        p.top, p.left = origin
        gh, gw = grid
        p.kh, kw = kernel
        p.rows = (gh - 1) * steps[0] + (p.kh - 1) * row_dilation + 1
        p.cols = (gw - 1) * steps[1] + kw
        p.run, p.filters, p.pixels, p.cells = kw * p.c, filters, pixels, gh * gw
        p.row_step = row_dilation * p.cols * p.c
        at = array("q")
        for r in range(gh):
            for q in range(gw):
                at.append((r * steps[0] * p.cols + q * steps[1]) * p.c)
        p.at = keep(self._kept, at)
        p.parts = clip(p.n, 1, PARTS_MAX)
        line = FC_CACHE_LINE // p.k.itemsize
        p.size = round_up(filters * p.kh * p.k.winner_lanes, line)
        # A patch's vectors may reach over the end of the last row.
        p.slab = round_up(p.rows * p.cols * p.c + p.k.winner_lanes, line)
        self.work = <double> p.n * p.pixels * filters * p.kh * p.run
        self.nbytes = kept_bytes(self._kept)

    def __call__(self, x, grads, indices, out):
        """x (n, ih, iw, c), grads and indices (n, ph, pw, filters) of the pooling -> out (kh, kw, c, filters).

        False, and nothing is written, if x or grads is not finite: then the zeros left out here would be nan.
        """
        cdef winners p = self.p
        cdef int team = team_size(self.work)
        cdef Py_ssize_t itemsize = p.k.itemsize, index
        cdef char *result = <char *> address(out, True)
        cdef char *memory
        cdef int[PARTS_MAX] finite
        cdef bint all_finite = True
        p.x, p.grads, p.indices = <const char *> address(x, False), <const char *> address(grads, False), \
            <const char *> address(indices, False)
        memory = allocate((p.parts + 1) * p.size + team * p.slab, itemsize)
        p.sums = memory + team * p.slab * itemsize
        with nogil:
            if team == 1:
                for index in range(p.parts):
                    finite[index] = run_part(&p, index, memory)
            else:
                for index in prange(p.parts, schedule="static", num_threads=team):
                    finite[index] = run_part(&p, index, memory + threadid() * p.slab * itemsize)
            for index in range(p.parts):
                all_finite = all_finite and finite[index]
            if all_finite:
                write_result(&p, result)
        free(memory)
        return all_finite


cdef int run_part(const winners *p, Py_ssize_t part, char *slab) noexcept nogil:
    """The sums of one part of the batch; 0 if something is not finite."""
    cdef Py_ssize_t itemsize = p.k.itemsize, img, values = p.pixels * p.filters, cells = p.ih * p.iw * p.c
    cdef fc_winners t
    t.pixels, t.filters, t.rows = p.pixels, p.filters, p.kh
    t.at, t.cells, t.x, t.x_row = p.at, p.cells, slab, p.row_step
    t.sums = p.sums + part * p.size * itemsize
    memset(t.sums, 0, p.size * itemsize)
    memset(slab, 0, p.slab * itemsize)
    for img in range(part * p.n // p.parts, (part + 1) * p.n // p.parts):
        t.grads, t.indices = p.grads + img * values * itemsize, p.indices + img * values * itemsize
        if not (p.k.finite(p.x + img * cells * itemsize, cells) and p.k.finite(t.grads, values)):
            return 0
        copy_image(p, img, slab)
        p.k.winners(&t)
    return 1


cdef void copy_image(const winners *p, Py_ssize_t img, char *slab) noexcept nogil:
    """The image's cells that the windows can meet; those around it stay zero."""
    cdef Py_ssize_t itemsize = p.k.itemsize, row, count = clip(p.cols - p.left, 0, p.iw) * p.c * itemsize
    for row in range(clip(p.rows - p.top, 0, p.ih)):
        memcpy(slab + ((p.top + row) * p.cols + p.left) * p.c * itemsize,
               p.x + (img * p.ih + row) * p.iw * p.c * itemsize, count)


cdef void write_result(const winners *p, char *result) noexcept nogil:
    """The parts' sums, added up, in the kernel's order."""
    cdef Py_ssize_t itemsize = p.k.itemsize, f, a, j, first
    cdef char *total = p.sums + p.parts * p.size * itemsize
    p.k.sum_rows(total, p.sums, p.parts, p.size, p.size, 0)
    for f in range(p.filters):
        for a in range(p.kh):
            first = (f * p.kh + a) * p.k.winner_lanes
            for j in range(p.run):
                memcpy(result + ((a * p.run + j) * p.filters + f) * itemsize, total + (first + j) * itemsize, itemsize)
