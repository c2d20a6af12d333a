"""How a convolution's grid of output pixels is cut: integers only."""

from ._runtime cimport ceil_div, clip
from .kernels cimport fc_kernels

cdef enum:
    MANY_BLOCKS = 64
    NARROW_BYTES = 256               # of the widest tile's columns: AVX2's and the baseline's have less


cdef inline bint is_narrow(const fc_kernels *k) noexcept nogil:
    """Whether tiles read so few weights at a time that they wait for what is not in L1 or lies in strips."""
    return k.nv_max * k.lanes * k.itemsize < NARROW_BYTES


cdef inline Py_ssize_t fair_images(Py_ssize_t n, Py_ssize_t most, Py_ssize_t least):
    """Images of a block: the number up to `most` of which two threads, and four, have the least to do.

    9 blocks would be 5 and 4. Many blocks are fair anyway.
    """
    cdef Py_ssize_t images, blocks, cost, best = 0, found = clip(most, 1, max(n, 1))
    if ceil_div(n, found) >= MANY_BLOCKS:
        return found
    for images in range(found, max(found // 2, least, 1) - 1, -1):
        blocks = ceil_div(n, images)
        cost = images * (2 * ceil_div(blocks, 2) + 4 * ceil_div(blocks, 4))
        # Larger blocks are quicker: a smaller one must win by 3 %.
        if best == 0 or cost * 32 < best * 31:
            best, found = cost, images
    return found


cdef inline tuple met_taps(Py_ssize_t anchor, taps, Py_ssize_t size):
    """(first, last): the taps first <= i < last that fall on cells 0 .. size - 1, for ascending tap offsets."""
    first, last = 0, len(taps)
    while first < last and anchor + taps[first] < 0:
        first += 1
    while last > first and anchor + taps[last - 1] >= size:
        last -= 1
    return first, last


cdef inline dict positions(tuple ranges):
    """{range: positions that have it}"""
    found = {}
    for position, value in enumerate(ranges):
        found.setdefault(value, []).append(position)
    return found
