"""A chain of inference steps over a batch, a few images at a time.

Each thread takes some images through all steps before the next ones: what lies between two steps never leaves its
cache, and no thread waits for another between steps. An image's results do not depend on who its neighbours are, so
neither the size of a chunk nor the number of threads changes a bit.
"""

from cython.parallel cimport prange, threadid
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from ._conv_depthwise cimport depthwise, depthwise_pack, depthwise_run, DepthwisePlan
from ._conv_direct cimport conv, conv_pack, conv_run, ConvPlan
from ._copies cimport frame, make_frame, pad_image
from ._pooling cimport make_columns, make_pool, pool, pool_run, pool_work
from ._runtime cimport address, allocate, ceil_div, isa_kernels, release, round_up, team_size
from .kernels cimport FC_CACHE_LINE, fc_kernels

cdef enum:
    # How much more work it takes until the steps of few images are shared out: each step waits for all threads, and
    # small ones gain nothing (mnist_s2, 1 image: 0.44 ms on one thread, 0.24 shared; LeNet takes 15 us either way).
    STEP_BY_STEP = 4

cdef enum:
    CONV
    DEPTHWISE
    MAX_POOL
    AVG_POOL
    RELU
    SOFTMAX
    PAD

cdef struct step:
    int kind
    Py_ssize_t y_size                # elements of one image's output
    Py_ssize_t packed                # where its packed weights start, in elements
    const fc_kernels *k
    conv conv
    depthwise depthwise
    pool pool
    frame frame                      # of padding

cdef struct run:
    # One call.
    Py_ssize_t itemsize, n, chunk, n_steps, x_size
    const char *x
    char *y
    step *steps
    char *buffers                    # two of `buffer` bytes for each thread
    Py_ssize_t buffer


cdef class Program:
    """Steps from an image's x_size elements to the last step's y_size, for up to `chunk` images at a time.

    The weights are the callers' live arrays: every call reads them anew, and packs what its tiles cannot read in place.
    """

    cdef const fc_kernels *k
    cdef step *steps
    cdef Py_ssize_t n_steps, chunk, x_size, widest, packed
    cdef bint one_by_one
    cdef double work                 # multiply-adds of a chunk
    cdef list _kept

    def __cinit__(self, str isa not None, int itemsize, Py_ssize_t chunk, Py_ssize_t x_size, bint one_by_one):
        # one_by_one: chunks follow each other and the threads share each one's work; for images too large for a cache
        self.k = isa_kernels(isa, itemsize)
        self.chunk, self.x_size, self.one_by_one = chunk, x_size, one_by_one
        self._kept = []

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n_steps):
            if self.steps[i].kind in (MAX_POOL, AVG_POOL):
                release(<void *> self.steps[i].pool.col_first)
        free(self.steps)

    cdef step *_add(self, int kind, Py_ssize_t y_size, double work) except NULL:
        cdef step *grown = <step *> realloc(self.steps, (self.n_steps + 1) * sizeof(step))
        if grown == NULL:
            raise MemoryError("fastconv: no memory for an inference step.")
        self.steps = grown
        grown += self.n_steps
        self.n_steps += 1
        grown.kind, grown.y_size, grown.packed, grown.k = kind, y_size, self.packed, self.k
        self.widest = max(self.widest, y_size)
        self.work += work
        return grown

    def add_conv(self, ConvPlan plan not None, kernel, bias, int activation, Py_ssize_t y_size):
        """A convolution or a dense product; the plan is for `chunk` images."""
        cdef conv bound = plan.bound(kernel, bias, activation)
        cdef step *s = self._add(CONV, y_size, plan.work)
        s.conv = bound
        self._kept.append((plan, kernel, bias))
        # To a whole cache line, where the next step's weights start.
        self.packed += round_up(plan.packed_size(), FC_CACHE_LINE)

    def add_depthwise(self, DepthwisePlan plan not None, kernel, bias, int activation, Py_ssize_t y_size):
        """A convolution with channels in the lanes, as many filters as channels; the plan is for `chunk` images."""
        cdef depthwise bound = plan.bound(kernel, bias, activation)
        cdef step *s = self._add(DEPTHWISE, y_size, plan.work)
        s.depthwise = bound
        self._kept.append((plan, kernel, bias))
        self.packed += round_up(plan.packed_size(), FC_CACHE_LINE)

    def add_pool(self, bint is_max, Py_ssize_t y_size, *, tuple image, tuple grid, tuple window, tuple strides,
                 tuple origin):
        cdef pool p = make_pool(self.k.itemsize, image, grid, window, strides, origin, 0)
        cdef Py_ssize_t *columns = make_columns(&p)
        cdef step *s
        try:
            s = self._add(MAX_POOL if is_max else AVG_POOL, y_size, pool_work(&p))
        except MemoryError:
            release(columns)
            raise
        s.pool, s.pool.k = p, self.k

    def add_relu(self, Py_ssize_t size):
        self._add(RELU, size, <double> size * self.chunk)

    def add_softmax(self, Py_ssize_t size):
        """Over all of an image's elements."""
        self._add(SOFTMAX, size, <double> size * self.chunk)

    def add_pad(self, tuple image, tuple pads):
        """Zeros around images (h, w, c); pads: ((top, bottom), (left, right))."""
        h, w, c = image
        cdef frame f = make_frame(h, w, c, pads)
        cdef step *s = self._add(PAD, f.size, 0)
        s.frame = f

    def __call__(self, x, out, Py_ssize_t n):
        """x (n, ...) -> out (n, ...), both C-contiguous and of the program's type; n may be any."""
        cdef run r
        cdef Py_ssize_t chunks = ceil_div(n, self.chunk), index
        cdef double work = self.work / self.chunk * n
        cdef int outer = 1 if self.one_by_one else <int> min(<Py_ssize_t> team_size(work), max(chunks, 1))
        cdef int inner = team_size(work / STEP_BY_STEP) if outer == 1 else 1
        r.itemsize, r.n, r.chunk, r.n_steps = self.k.itemsize, n, self.chunk, self.n_steps
        r.x_size, r.x, r.y = self.x_size, <const char *> address(x, False), <char *> address(out, True)
        r.buffer = round_up(self.widest * self.chunk, FC_CACHE_LINE) * r.itemsize
        # This call's own copy of the steps, which point to its packed weights: several threads may run one program.
        cdef Py_ssize_t table = round_up(self.n_steps * sizeof(step), FC_CACHE_LINE), packed = self.packed * r.itemsize
        cdef char *memory = allocate(table + packed + 2 * outer * r.buffer, 1)
        cdef char *weights
        r.steps = <step *> memory
        r.buffers = memory + table + packed
        memcpy(r.steps, self.steps, self.n_steps * sizeof(step))
        with nogil:
            for index in range(self.n_steps):
                weights = memory + table + r.steps[index].packed * r.itemsize
                if r.steps[index].kind == CONV:
                    conv_pack(&r.steps[index].conv, weights, n if chunks == 1 and inner > 1 else 0, inner)
                elif r.steps[index].kind == DEPTHWISE:
                    depthwise_pack(&r.steps[index].depthwise, weights, inner)
            if outer == 1:
                for index in range(chunks):
                    run_chunk(&r, index, 0, inner)
            else:
                for index in prange(chunks, schedule="static", num_threads=outer):
                    run_chunk(&r, index, threadid(), 1)
        release(memory)


cdef void run_chunk(const run *r, Py_ssize_t index, int thread, int team) noexcept nogil:
    """A chunk through all steps, to and fro between the thread's two buffers; the last step writes the result."""
    cdef Py_ssize_t first = index * r.chunk, n = min(r.chunk, r.n - first), i
    cdef const char *x = r.x + first * r.x_size * r.itemsize
    cdef char *y
    for i in range(r.n_steps):
        y = r.buffers + (2 * thread + i % 2) * r.buffer
        if i == r.n_steps - 1:
            y = r.y + first * r.steps[i].y_size * r.itemsize
        run_step(&r.steps[i], n, x, y, team)
        x = y


cdef void run_step(const step *s, Py_ssize_t n, const char *x, char *y, int team) noexcept nogil:
    cdef pool p
    cdef Py_ssize_t i, itemsize = s.k.itemsize
    if s.kind == CONV:
        conv_run(&s.conv, n, x, y, team)
    elif s.kind == DEPTHWISE:
        depthwise_run(&s.depthwise, n, x, y, NULL, team)
    elif s.kind == RELU:
        s.k.relu(y, x, n * s.y_size)
    elif s.kind == SOFTMAX:
        s.k.softmax(y, x, n, s.y_size)
    elif s.kind == PAD:
        for i in range(n):
            pad_image(&s.frame, x + i * s.frame.rows * s.frame.row * itemsize, y + i * s.y_size * itemsize, itemsize)
    else:
        p = s.pool
        p.n, p.x, p.y = n, <char *> x, y
        pool_run(&p, s.kind == MAX_POOL, team)
