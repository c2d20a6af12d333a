"""A convolution with max pooling behind it, a few images at a time.

Each thread convolves some images into scratch memory that stays in its cache, and pools them from there: the
convolution's output, by far the largest array of a training step, is never written to memory.
"""

from cython.parallel cimport prange, threadid

from ._conv_direct cimport conv, conv_pack, conv_run, ConvPlan
from ._pooling cimport make_columns, make_pool, pool, pool_run
from ._runtime cimport address, allocate, release, round_up, team_size
from .kernels cimport FC_CACHE_LINE

cdef struct pooled:
    conv conv
    pool pool
    Py_ssize_t n, chunks
    const char *x
    char *scratch
    Py_ssize_t room                  # elements of a thread's scratch
    Py_ssize_t x_size, y_size        # of one image: input, pooled output


def conv2d_max_pool2d(ConvPlan plan not None, x, kernel, bias, y, indices, int activation, Py_ssize_t n,
                      Py_ssize_t chunks, *, int itemsize, tuple image, tuple grid, tuple window, tuple strides,
                      tuple origin):
    """x (n, ...) -> y and indices (n, oh, ow, c), in that many chunks; the plan is for the largest of them.

    image and the arguments behind it are pooling's, for the plan's number of images.
    """
    cdef pooled f
    cdef int team = team_size(plan.work / max(plan.p.n, 1) * n)
    cdef int outer = <int> max(min(<Py_ssize_t> team, chunks), 1)
    cdef Py_ssize_t index, packed = round_up(plan.packed_size(), FC_CACHE_LINE)
    cdef char *memory
    cdef Py_ssize_t *columns
    if n == 0:
        return
    f.conv = plan.bound(kernel, bias, activation)
    f.pool = make_pool(itemsize, image, grid, window, strides, origin, 0)
    f.n, f.chunks = n, chunks
    f.x, f.pool.y, f.pool.indices = <const char *> address(x, False), <char *> address(y, True), \
        <char *> address(indices, True)
    f.x_size, f.y_size = f.conv.a_img, f.pool.oh * f.pool.ow * f.pool.c
    f.room = round_up(f.pool.n * f.pool.ih * f.pool.iw * f.pool.c, FC_CACHE_LINE)
    columns = make_columns(&f.pool)
    try:
        memory = allocate(packed + outer * f.room, itemsize)
    except MemoryError:
        release(columns)
        raise
    f.scratch = memory + packed * itemsize
    with nogil:
        conv_pack(&f.conv, memory, 0, team)
        if outer == 1:
            for index in range(chunks):
                run_chunk(&f, index, 0)
        else:
            for index in prange(chunks, schedule="static", num_threads=outer):
                run_chunk(&f, index, threadid())
    release(memory)
    release(columns)


cdef void run_chunk(const pooled *f, Py_ssize_t index, int thread) noexcept nogil:
    cdef Py_ssize_t first = index * f.n // f.chunks, last = (index + 1) * f.n // f.chunks
    cdef Py_ssize_t itemsize = f.conv.k.itemsize, at = first * f.y_size * itemsize
    cdef char *between = f.scratch + thread * f.room * itemsize
    cdef pool p = f.pool
    conv_run(&f.conv, last - first, f.x + first * f.x_size * itemsize, between, 1)
    p.n, p.x, p.y, p.indices = last - first, between, f.pool.y + at, f.pool.indices + at
    pool_run(&p, True, 1)
