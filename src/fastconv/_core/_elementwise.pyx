"""One pass over contiguous arrays: ReLU, its gradient, sums over rows, and the optimisers' updates."""

from cython.parallel cimport prange
from libc.stdlib cimport free

from ._runtime cimport active_kernels, address, allocate, ceil_div, team_size
from .kernels cimport fc_kernels

cdef enum:
    CHUNK = 8192                     # elements of one task: a few pages, so that no two threads share a cache line
    WORK = 8                         # an element of a memory-bound pass costs about as much as 8 multiply-adds
    EXP_WORK = 128                   # an exponential costs about 5 ns
    SUM_PARTS = 16                   # fixed, so that a sum's bits do not depend on the threads
    SUM_COLUMNS = 64                 # 4 vectors of 16 floats


def relu(x, y, Py_ssize_t count, int itemsize):
    """y = max(x, 0), NaN kept. y may be x."""
    cdef const fc_kernels *k = active_kernels(itemsize)
    cdef const char *source = <const char *> address(x, False)
    cdef char *to = <char *> address(y, True)
    cdef Py_ssize_t index, chunks = ceil_div(count, CHUNK)
    cdef int team = team_size(<double> count * WORK)
    for index in prange(chunks, nogil=True, schedule="static", num_threads=team):
        k.relu(to + index * CHUNK * itemsize, source + index * CHUNK * itemsize, min(CHUNK, count - index * CHUNK))


def relu_grad(grad, y, out, Py_ssize_t count, int itemsize):
    """out = grad where y is not 0, else 0. out may be grad."""
    cdef const fc_kernels *k = active_kernels(itemsize)
    cdef const char *source = <const char *> address(grad, False)
    cdef const char *mask = <const char *> address(y, False)
    cdef char *to = <char *> address(out, True)
    cdef Py_ssize_t index, at, chunks = ceil_div(count, CHUNK)
    cdef int team = team_size(<double> count * WORK)
    for index in prange(chunks, nogil=True, schedule="static", num_threads=team):
        at = index * CHUNK * itemsize
        k.relu_grad(to + at, source + at, mask + at, min(CHUNK, count - index * CHUNK))


def softmax(x, y, Py_ssize_t rows, Py_ssize_t n, int itemsize):
    """Softmax of each of `rows` rows of n elements. y may be x."""
    cdef const fc_kernels *k = active_kernels(itemsize)
    cdef const char *source = <const char *> address(x, False)
    cdef char *to = <char *> address(y, True)
    # As many rows as fill a chunk, one at least: where a row is short, two threads may still not share a cache line.
    cdef Py_ssize_t together = max(CHUNK // max(n, 1), 1)
    cdef Py_ssize_t index, chunks = ceil_div(rows, together)
    cdef int team = team_size(<double> rows * n * EXP_WORK)
    for index in prange(chunks, nogil=True, schedule="static", num_threads=team):
        k.softmax(to + index * together * n * itemsize, source + index * together * n * itemsize,
                  min(together, rows - index * together), n)


def sum_rows(x, out, Py_ssize_t rows, Py_ssize_t n, int itemsize):
    """out[j] = sum over rows of x[row, j], in a fixed number of parts that are added in order.

    Short rows are summed `together` at a time, as one long row that fills whole groups of vectors.
    """
    cdef const fc_kernels *k = active_kernels(itemsize)
    cdef const char *source = <const char *> address(x, False)
    cdef char *to = <char *> address(out, True)
    cdef Py_ssize_t together = SUM_COLUMNS // gcd(n, SUM_COLUMNS) if 0 < n < SUM_COLUMNS else 1
    cdef Py_ssize_t long_rows = rows // together, width = together * n
    cdef Py_ssize_t part, parts = max(min(long_rows // 16, SUM_PARTS), 1)
    cdef int team = team_size(<double> rows * n * WORK)
    cdef char *sums = allocate(parts * width, itemsize)
    for part in prange(parts, nogil=True, schedule="static", num_threads=team):
        k.sum_rows(sums + part * width * itemsize, source + part * long_rows // parts * width * itemsize,
                   (part + 1) * long_rows // parts - part * long_rows // parts, width, width, 0)
    k.sum_rows(to, sums, parts * together, n, n, 0)
    k.sum_rows(to, source + long_rows * width * itemsize, rows - long_rows * together, n, n, 1)
    free(sums)


cdef Py_ssize_t gcd(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


def sgd(w, g, velocity, Py_ssize_t count, int itemsize, double rate, double momentum, bint nesterov):
    """csrc/elementwise-inl.h has the formulas of the three updates; velocity may be None."""
    cdef const fc_kernels *k = active_kernels(itemsize)
    cdef char *weights = <char *> address(w, True)
    cdef const char *grads = <const char *> address(g, False)
    cdef char *state = NULL if velocity is None else <char *> address(velocity, True)
    cdef Py_ssize_t index, at, chunks = ceil_div(count, CHUNK)
    cdef int team = team_size(<double> count * WORK)
    for index in prange(chunks, nogil=True, schedule="static", num_threads=team):
        at = index * CHUNK * itemsize
        k.sgd(weights + at, grads + at, NULL if state == NULL else state + at, min(CHUNK, count - index * CHUNK),
              rate, momentum, nesterov)


def adam(w, g, m, v, Py_ssize_t count, int itemsize, double alpha, double beta1, double beta2, double epsilon):
    cdef const fc_kernels *k = active_kernels(itemsize)
    cdef char *weights = <char *> address(w, True)
    cdef const char *grads = <const char *> address(g, False)
    cdef char *mean = <char *> address(m, True)
    cdef char *square = <char *> address(v, True)
    cdef Py_ssize_t index, at, chunks = ceil_div(count, CHUNK)
    cdef int team = team_size(<double> count * WORK)
    for index in prange(chunks, nogil=True, schedule="static", num_threads=team):
        at = index * CHUNK * itemsize
        k.adam(weights + at, grads + at, mean + at, square + at, min(CHUNK, count - index * CHUNK), alpha, beta1,
               beta2, epsilon)


def rmsprop(w, g, v, Py_ssize_t count, int itemsize, double rate, double rho, double epsilon):
    cdef const fc_kernels *k = active_kernels(itemsize)
    cdef char *weights = <char *> address(w, True)
    cdef const char *grads = <const char *> address(g, False)
    cdef char *square = <char *> address(v, True)
    cdef Py_ssize_t index, at, chunks = ceil_div(count, CHUNK)
    cdef int team = team_size(<double> count * WORK)
    for index in prange(chunks, nogil=True, schedule="static", num_threads=team):
        at = index * CHUNK * itemsize
        k.rmsprop(weights + at, grads + at, square + at, min(CHUNK, count - index * CHUNK), rate, rho, epsilon)
