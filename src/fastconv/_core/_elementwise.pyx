"""One pass over contiguous arrays: ReLU, dropout, their gradients, sums over rows, and the optimisers' updates."""

from cython.parallel cimport prange
from libc.stdint cimport uint32_t, uint64_t

from ._runtime cimport active_kernels, address, allocate, ceil_div, release, team_size
from .kernels cimport fc_kernels

cdef enum:
    CHUNK = 8192                     # elements of one task: a few pages, so that no two threads share a cache line
    WORK = 8                         # an element of a memory-bound pass costs about as much as 8 multiply-adds
    ROOT_WORK = 24                   # one with a square root and a division
    EXP_WORK = 128                   # an exponential costs about 5 ns
    SUM_PARTS = 16                   # fixed, so that a sum's bits do not depend on the threads
    SUM_COLUMNS = 64                 # 4 vectors of 16 floats

cdef enum:
    RELU
    RELU_GRAD
    DROPOUT
    SGD
    ADAM
    RMSPROP

cdef struct sweep:
    # One operation on up to four arrays; run_chunk() says what each holds.
    const fc_kernels *k
    int operation
    Py_ssize_t count
    Py_ssize_t first                 # number of its first chunk, among those of all sweeps of a run
    char *to
    const char *source
    char *state                      # may be NULL
    char *square
    uint64_t key
    uint32_t threshold
    bint nesterov
    double scale, rate, beta1, beta2, epsilon


def relu(x, y, Py_ssize_t count, int itemsize):
    """y = max(x, 0), NaN kept. y may be x."""
    cdef sweep s = make_sweep(RELU, itemsize, count, x, y)
    run(&s, 1)


def relu_grad(grad, y, out, Py_ssize_t count, int itemsize):
    """out = grad where y is not 0, else 0. out may be grad."""
    cdef sweep s = make_sweep(RELU_GRAD, itemsize, count, grad, out)
    s.state = <char *> address(y, False)
    run(&s, 1)


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


def dropout(x, out, Py_ssize_t count, int itemsize, uint64_t key, uint32_t threshold, double scale):
    """out = x * scale, or 0 where the element's 16-bit random number is below threshold. out may be x."""
    cdef sweep s = make_sweep(DROPOUT, itemsize, count, x, out)
    s.key, s.threshold, s.scale = key, threshold, scale
    run(&s, 1)


def sgd(w, g, velocity, Py_ssize_t count, int itemsize, double rate, double momentum, bint nesterov):
    """csrc/elementwise-inl.h has the formulas of the three updates; velocity may be None."""
    cdef sweep s = make_sweep(SGD, itemsize, count, g, w)
    if velocity is not None:
        s.state = <char *> address(velocity, True)
    s.rate, s.beta1, s.nesterov = rate, momentum, nesterov
    run(&s, 1)


def adam(list w, list g, list m, list v, int itemsize, double alpha, double beta1, double beta2, double epsilon):
    """Several parameters, each with as many elements in g, m and v: a call for each would cost more than most take."""
    cdef Py_ssize_t i, count
    cdef sweep *s = <sweep *> allocate(len(w), sizeof(sweep))
    try:
        for i in range(len(w)):
            count = w[i].size
            if not (count == g[i].size == m[i].size == v[i].size):
                raise ValueError(f"adam: parameter {i} and its arrays differ in size.")
            s[i] = make_sweep(ADAM, itemsize, count, g[i], w[i])
            s[i].state, s[i].square = <char *> address(m[i], True), <char *> address(v[i], True)
            s[i].rate, s[i].beta1, s[i].beta2, s[i].epsilon = alpha, beta1, beta2, epsilon
        run(s, len(w))
    finally:
        release(s)


def rmsprop(w, g, v, Py_ssize_t count, int itemsize, double rate, double rho, double epsilon):
    cdef sweep s = make_sweep(RMSPROP, itemsize, count, g, w)
    s.square = <char *> address(v, True)
    s.rate, s.beta1, s.epsilon = rate, rho, epsilon
    run(&s, 1)


cdef sweep make_sweep(int operation, int itemsize, Py_ssize_t count, source, to) except *:
    cdef sweep s
    s.k, s.operation, s.count = active_kernels(itemsize), operation, count
    s.source, s.to = <const char *> address(source, False), <char *> address(to, True)
    s.state = s.square = NULL
    return s


cdef void run(sweep *s, Py_ssize_t sweeps) noexcept:
    """All chunks of some sweeps, shared out among the threads."""
    cdef Py_ssize_t index, chunks = 0
    cdef double elements = 0
    for index in range(sweeps):
        s[index].first = chunks
        chunks += ceil_div(s[index].count, CHUNK)
        elements += s[index].count
    cdef int team = team_size(elements * (ROOT_WORK if s.operation in (ADAM, RMSPROP) else WORK))
    with nogil:
        if team == 1:
            # A parallel region costs 0.6 us even for a team of one.
            for index in range(chunks):
                run_chunk(s, sweeps, index)
        else:
            for index in prange(chunks, schedule="static", num_threads=team):
                run_chunk(s, sweeps, index)


cdef void run_chunk(const sweep *s, Py_ssize_t sweeps, Py_ssize_t index) noexcept nogil:
    while sweeps > 1 and index >= s[1].first:
        s += 1
        sweeps -= 1
    index -= s.first
    cdef Py_ssize_t n = min(CHUNK, s.count - index * CHUNK), at = index * CHUNK * s.k.itemsize
    cdef char *to = s.to + at
    cdef const char *source = s.source + at
    if s.operation == RELU:
        s.k.relu(to, source, n)
    elif s.operation == RELU_GRAD:
        s.k.relu_grad(to, source, s.state + at, n)
    elif s.operation == DROPOUT:
        s.k.dropout(to, source, n, s.key, index * CHUNK, s.threshold, s.scale)
    elif s.operation == SGD:
        s.k.sgd(to, source, NULL if s.state == NULL else s.state + at, n, s.rate, s.beta1, s.nesterov)
    elif s.operation == ADAM:
        s.k.adam(to, source, s.state + at, s.square + at, n, s.rate, s.beta1, s.beta2, s.epsilon)
    else:
        s.k.rmsprop(to, source, s.square + at, n, s.rate, s.beta1, s.epsilon)


cdef struct column_sums:
    const fc_kernels *k
    Py_ssize_t rows, width, parts
    const char *source
    const char *relu_y               # NULL, or the output of the relu whose gradient is taken on the way
    char *to                         # of that gradient
    char *sums


def sum_rows(x, out, Py_ssize_t rows, Py_ssize_t n, int itemsize, relu_y=None, grad=None):
    """out[j] = sum over rows of x[row, j], in a fixed number of parts that are added in order.

    Short rows are summed `together` at a time, as one long row that fills whole groups of vectors. With relu_y, the
    output of a relu, grad = relu's gradient for x, and its rows are summed in the same pass; grad may be x.
    """
    cdef column_sums s
    cdef char *to = <char *> address(out, True)
    cdef Py_ssize_t together = SUM_COLUMNS // gcd(n, SUM_COLUMNS) if 0 < n < SUM_COLUMNS else 1
    cdef Py_ssize_t part
    cdef int team = team_size(<double> rows * n * WORK)
    s.k, s.rows, s.width = active_kernels(itemsize), rows // together, together * n
    s.parts = max(min(s.rows // 16, SUM_PARTS), 1)
    s.source, s.relu_y, s.to = <const char *> address(x, False), NULL, NULL
    if relu_y is not None:
        s.relu_y, s.to = <const char *> address(relu_y, False), <char *> address(grad, True)
    cdef Py_ssize_t at = s.rows * s.width * itemsize, left = rows - s.rows * together
    s.sums = allocate(s.parts * s.width, itemsize)
    with nogil:
        if team == 1:
            for part in range(s.parts):
                sum_part(&s, part)
        else:
            for part in prange(s.parts, schedule="static", num_threads=team):
                sum_part(&s, part)
    if s.relu_y != NULL:
        s.k.relu_grad(s.to + at, s.source + at, s.relu_y + at, left * n)
        s.source = s.to
    s.k.sum_rows(to, s.sums, s.parts * together, n, n, 0)
    s.k.sum_rows(to, s.source + at, left, n, n, 1)
    release(s.sums)


cdef void sum_part(const column_sums *s, Py_ssize_t part) noexcept nogil:
    """One part's rows, a chunk at a time if relu's gradient comes first: it stays in L1."""
    cdef Py_ssize_t row = part * s.rows // s.parts, last = (part + 1) * s.rows // s.parts
    cdef Py_ssize_t step = last - row, at, count, itemsize = s.k.itemsize
    cdef char *sums = s.sums + part * s.width * itemsize
    cdef const char *source = s.source
    cdef bint accumulate = False
    if s.relu_y != NULL:
        step, source = max(CHUNK // 4 // max(s.width, 1), 1), s.to
    while True:
        count, at = min(step, last - row), row * s.width * itemsize
        if s.relu_y != NULL:
            s.k.relu_grad(s.to + at, s.source + at, s.relu_y + at, count * s.width)
        s.k.sum_rows(sums, source + at, count, s.width, s.width, accumulate)
        row += count
        accumulate = True
        if row >= last:
            break


cdef Py_ssize_t gcd(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a
