from .kernels cimport fc_kernels

cdef const fc_kernels *active_kernels(int itemsize)
cdef const fc_kernels *isa_kernels(str isa, int itemsize)
cdef int team_size(double work) noexcept
cdef void *address(object source, bint writable) except? NULL
cdef char *allocate(Py_ssize_t count, Py_ssize_t itemsize) except NULL
cdef void release(void *memory) noexcept nogil
cdef const Py_ssize_t *keep(list kept, values) except NULL
cdef Py_ssize_t kept_bytes(list kept)


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """For a >= 0."""
    return (a + b - 1) // b


cdef inline Py_ssize_t round_up(Py_ssize_t a, Py_ssize_t step) noexcept nogil:
    """The next multiple of step, for a >= 0."""
    return ceil_div(a, step) * step


cdef inline Py_ssize_t clip(Py_ssize_t value, Py_ssize_t low, Py_ssize_t high) noexcept nogil:
    return low if value < low else high if value > high else value
