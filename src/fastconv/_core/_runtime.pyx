"""What every kernel call needs: the kernel table in force, the number of threads, addresses and scratch memory."""

from array import array

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_STRIDED_RO, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.time cimport clock, clock_t, CLOCKS_PER_SEC
from numpy import empty

from .kernels cimport FC_CACHE_LINE, FC_PEAK_FMAS, fc_compiler, fc_find_isa, fc_kernels

cdef extern from *:
    """
    /* OpenMP's setting in this thread (it is one for each) while nobody limits it; 0: as at the import. */
    static _Thread_local int fc_unlimited;
    #ifdef _OPENMP
    #include <omp.h>
    #define FC_OPENMP _OPENMP
    static int fc_team_limit(void) { return omp_get_max_threads(); }
    static void fc_set_team_limit(int count) { omp_set_num_threads(count); fc_unlimited = count; }
    #else
    #define FC_OPENMP 0
    static int fc_team_limit(void) { return 1; }
    static void fc_set_team_limit(int count) { (void)count; }
    #endif
    #include "placement.h"
    #include "scratch.h"
    #ifndef FC_SERIAL_WORK
    #define FC_SERIAL_WORK 1e6
    #endif
    """
    int FC_OPENMP, fc_unlimited
    int fc_team_limit() noexcept nogil
    void fc_set_team_limit(int) noexcept nogil
    void fc_place_team(int) noexcept nogil
    void *fc_take_scratch(size_t) noexcept nogil
    void fc_give_scratch(void *) noexcept nogil
    double FC_SERIAL_WORK

# Best first; the import takes the first that the CPU can run.
ISAS = ("avx512", "avx2", "neon", "baseline")
OPENMP_VERSION = FC_OPENMP

# Multiply-adds below which a second thread costs more than it brings: waking a sleeping team takes 5 to 50 us, and
# one core does 30,000 to 130,000 multiply-adds a microsecond (benchmarks/compare.py, layers of one image).
# The sanitizers' builds take 0, so that the smallest problem has its team.
cdef double SERIAL_WORK = FC_SERIAL_WORK
SERIAL_WORK_LIMIT = SERIAL_WORK
CACHE_LINE = FC_CACHE_LINE

cdef const fc_kernels *const *tables = NULL
cdef str isa_in_use = ""
cdef int threads = 1
cdef int initial_limit = fc_team_limit()
cdef bint forked = False
cdef Py_ssize_t lined = 0            # arrays that lined_empty made beside none

cdef enum:
    PAGE = 4096                      # bytes: processors compare loads and stores by so much of their addresses
    APART = 256


def available_isas():
    """Instruction sets that were compiled in and that this CPU can run, best first."""
    return tuple(isa for isa in ISAS if fc_find_isa(isa.encode()) != NULL)


def set_isa(str isa not None):
    """Use another instruction set's kernels. The name is already checked by fastconv._config."""
    global tables, isa_in_use
    tables = fc_find_isa(isa.encode())
    isa_in_use = isa


def get_isa():
    return isa_in_use


def set_num_threads(int count, bint raises_openmp=False):
    """A later limit of threadpoolctl is seen by its difference from OpenMP's setting. Where more threads are asked for
    than that, it is therefore raised along, in this thread, unless a limit is in force already.
    """
    global threads
    cdef int wanted = max(count, initial_limit), limit = fc_team_limit()
    threads = count
    if raises_openmp and limit == (fc_unlimited or initial_limit) and limit != wanted:
        fc_set_team_limit(wanted)


def get_num_threads():
    """Threads that a large call uses now: the setting, under whatever limit threadpoolctl or OpenMP imposes."""
    return allowed_threads()


def set_serial_work(double work):
    """Multiply-adds below which a call takes one thread: 0 lets the tests share out the smallest problems too."""
    global SERIAL_WORK
    SERIAL_WORK = work


def compiler():
    return fc_compiler().decode()


def after_fork_in_child():
    """A team of libgomp does not survive a fork and would be waited for without end: the child goes on alone.

    Whoever made the team: any module that was loaded shares it.
    """
    global forked
    forked = True


def vector_lanes(int itemsize, str isa not None):
    return isa_kernels(isa, itemsize).lanes


def measure_peak(int itemsize, Py_ssize_t rounds=1_000_000):
    """GFLOP/s of one thread that multiplies and adds in registers only."""
    cdef const fc_kernels *kernels = active_kernels(itemsize)
    cdef clock_t start = clock()
    cdef double total = kernels.peak(rounds)
    cdef double seconds = max(<double> (clock() - start), 1.0) / CLOCKS_PER_SEC
    # `total` is used, so that no compiler drops the loop.
    return 2e-9 * FC_PEAK_FMAS * kernels.lanes * rounds / seconds if total == total else 0.0


cdef const fc_kernels *active_kernels(int itemsize):
    return tables[itemsize == 8]


cdef const fc_kernels *isa_kernels(str isa, int itemsize):
    """The table of an instruction set by its name, for plans that are kept under that name: the one in force may
    change in another thread at any time.
    """
    return fc_find_isa(isa.encode())[itemsize == 8]


cdef int allowed_threads() noexcept:
    """The setting, or less: a limit set after the import (threadpoolctl, omp_set_num_threads) holds."""
    cdef int limit = fc_team_limit()
    if forked or FC_OPENMP == 0:
        return 1
    return limit if limit != (fc_unlimited or initial_limit) and limit < threads else threads


cdef int team_size(double work) noexcept:
    """Threads for `work` multiply-adds."""
    cdef int team = allowed_threads() if work >= SERIAL_WORK else 1
    fc_place_team(team)
    return team


cdef void *address(object source, bint writable) except? NULL:
    """First element of a C-contiguous array; the caller holds the array for as long as it uses the address."""
    cdef Py_buffer view
    PyObject_GetBuffer(source, &view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
    cdef void *first = view.buf
    PyBuffer_Release(&view)
    return first


def lined_empty(tuple shape not None, dtype not None, Py_ssize_t least, beside=None):
    """An array of uninitialised memory, from the start of a cache line on if it has at least so many elements.

    It starts APART bytes behind where the array `beside`, from which it is computed, starts in its own page; if none is
    given, behind where the one made before it does. A load waits for a store under way to the same place of another
    page: depthwise convolution of 512 channels takes 1.6 times as long then. Pixels may lie 512 bytes apart, or 1 or 2
    KB: so far apart the two would meet in the next pixel.
    """
    global lined
    cdef Py_ssize_t size = 1, side, itemsize = dtype.itemsize, place
    for side in shape:
        size *= side
    if size < least:
        return empty(shape, dtype)
    if beside is None:
        lined += 1
        place = APART * lined
    else:
        place = round_up(place_of(beside) + APART, FC_CACHE_LINE)
    memory = empty(size + PAGE // itemsize, dtype)
    place = ((place - place_of(memory)) & (PAGE - 1)) // itemsize
    return memory[place:place + size].reshape(shape)


cdef Py_ssize_t place_of(array) except? -1:
    """Where an array starts, in any layout, read-only or not."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_STRIDED_RO)
    cdef Py_ssize_t place = <Py_ssize_t> view.buf
    PyBuffer_Release(&view)
    return place


def is_own_memory(out not None, Py_ssize_t itemsize, tuple others not None):
    """Whether the array `out` is plainly C-contiguous, aligned and writeable, and meets none of the others.

    False where that takes a closer look: any of the arrays is not C-contiguous. None among them stands for no array.
    """
    cdef Py_buffer view
    cdef const char *first
    cdef const char *end
    cdef bint apart
    try:
        PyObject_GetBuffer(out, &view, PyBUF_WRITABLE)
        first, end = <const char *> view.buf, <const char *> view.buf + view.len
        PyBuffer_Release(&view)
        apart = <size_t> first % itemsize == 0
        for other in others:
            if other is not None:
                PyObject_GetBuffer(other, &view, PyBUF_SIMPLE)
                apart = apart and (end <= <const char *> view.buf or <const char *> view.buf + view.len <= first)
                PyBuffer_Release(&view)
    except (BufferError, ValueError):
        return False
    return apart


cdef char *allocate(Py_ssize_t count, Py_ssize_t itemsize) except NULL:
    """Scratch for `count` elements from the start of a cache line on, until the caller calls `release`.

    A vector that lies in two lines takes two reads: the tiles' weights lie in such memory.
    """
    cdef char *memory
    if count > (<Py_ssize_t> 1 << 60) // itemsize:
        raise MemoryError("fastconv: the scratch memory for this problem does not fit the address space.")
    memory = <char *> fc_take_scratch(count * itemsize)
    if memory == NULL:
        raise MemoryError(f"fastconv: no memory for {count * itemsize} bytes of scratch.")
    return memory


cdef void release(void *memory) noexcept nogil:
    """Give memory of `allocate`, or NULL, back."""
    fc_give_scratch(memory)


cdef const Py_ssize_t *keep(list kept, values) except NULL:
    """The integers `values` as a C array that lives as long as the list `kept` does."""
    numbers = array("q", list(values) or [0])
    kept.append(numbers)
    return <const Py_ssize_t *> address(numbers, False)


cdef Py_ssize_t kept_bytes(list kept):
    """Memory of the arrays that `keep` made."""
    return sum([len(numbers) * numbers.itemsize for numbers in kept])
