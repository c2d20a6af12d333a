"""What the next block will read, fetched into L2 while this one is computed: see `fetching` in fc_kernels.h."""

from ._runtime cimport ceil_div

cdef enum:
    AHEAD_BYTES = 256 * 1024         # of each run of memory: both stay in L2 beside what is in use

cdef struct ahead:
    const char *at[2]                # two runs of memory: what comes next, and the end
    const char *end[2]
    Py_ssize_t step                  # bytes from one step to the next


cdef inline void set_run(ahead *a, int run, const char *first, Py_ssize_t bytes) noexcept nogil:
    a.at[run], a.end[run] = first, first + min(bytes, AHEAD_BYTES)


cdef inline void set_pace(ahead *a, Py_ssize_t steps) noexcept nogil:
    """Spread both runs over so many steps."""
    a.step = ceil_div((a.end[0] - a.at[0]) + (a.end[1] - a.at[1]), max(steps, 1))


cdef inline const char *take(ahead *a, Py_ssize_t steps) noexcept nogil:
    """Where the next so many steps begin."""
    cdef int run = 0 if a.at[0] < a.end[0] else 1
    a.at[run] += steps * a.step
    return a.at[run] - steps * a.step
