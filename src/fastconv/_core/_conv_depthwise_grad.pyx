"""The kernel's gradient of depthwise convolution and small groups, over NHWC images.

The vector lanes hold neighbouring channels, as in _conv_depthwise.pyx; a vector's sums of some taps stay in registers
while it goes through a rectangle of pixels. Lines of a 3x3 kernel are done whole, with their borders (run_whole); of
others, the pixels that meet the same taps (run_regions). The batch is summed in parts, as many as the problem has, not
as there are threads: the bits do not depend on them.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memset

from ._depthwise_axes cimport axis, expand_rows, first_tap, last_tap, make_axes, rows_read, vector_starts
from ._runtime cimport address, allocate, ceil_div, clip, isa_kernels, keep, kept_bytes, release, team_size
from .kernels cimport fc_depthwise_grad, fc_kernels, fc_touch

cdef enum:
    BLOCK_PIXELS = 512               # of an image: a part has whole blocks
    PIECE_PIXELS = 64                # that all channels go through in turn, so that their cache lines stay in L1
    TOUCH_MIN = 8 << 20              # bytes of image and gradient from where on they are touched: see touch_rows
    PARTS_MAX = 16                   # parts of the batch's sum: as in _conv_grad_kernel
    PARTS_ELEMENTS = 1 << 20

cdef struct grad:
    const fc_kernels *k
    Py_ssize_t n, c, cg, ih, iw, gh, gw
    axis rows, cols
    bint whole                                       # lines are done with their borders: fc_depthwise_grad
    bint touches                                     # rows are brought into the caches first
    Py_ssize_t block_rows, row_blocks, blocks, parts, size
    Py_ssize_t multiplier, scratch                   # as in depthwise
    int index                                        # log2(cg)
    const char *x
    const char *grad_output
    char *sums


cdef bint is_simple(const axis *a) noexcept:
    """Whether an axis has three neighbouring taps, of which the first position may lack the first, the last the last.
    """
    if a.taps != 3 or a.tap_step != 1 or a.inner_first > 1 or a.inner_last < a.count - 1:
        return False
    if a.inner_first == 1 and (first_tap(a, 0) != 1 or last_tap(a, 0) != 3):
        return False
    return a.inner_last == a.count or first_tap(a, a.count - 1) == 0 and last_tap(a, a.count - 1) == 2


cdef class DepthwiseGradPlan:
    """The geometry of the kernel's gradient of a depthwise (or small-group) convolution."""

    cdef grad p
    cdef list _kept
    cdef const Py_ssize_t *gather
    cdef readonly double work
    cdef readonly Py_ssize_t nbytes

    def __cinit__(self, *, str isa not None, int itemsize, tuple image, tuple grid, Py_ssize_t group_size,
                  Py_ssize_t multiplier, row_phases, col_phases):
        # image: (n, ih, iw, c), c with the multiplier; grid: (gh, gw); phases as in DepthwisePlan, one for each axis
        cdef grad *p = &self.p
        cdef Py_ssize_t k, ch, tap, taps, lanes
        self._kept = []
        p.k = isa_kernels(isa, itemsize)
        p.n, p.ih, p.iw, p.c = image
        p.gh, p.gw = grid
        p.cg = group_size
        p.index = group_size.bit_length() - 1
        p.rows, p.cols = make_axes(self._kept, p.ih, row_phases)[0], make_axes(self._kept, p.iw, col_phases)[0]
        lanes, taps = p.k.lanes, p.rows.taps * p.cols.taps
        p.size = ceil_div(p.c, lanes) * taps * p.cg * lanes
        self.work = <double> p.n * p.gh * p.gw * taps * p.cg * p.c
        p.whole = p.cg == 1 and p.c >= lanes and is_simple(&p.rows) and is_simple(&p.cols)
        p.touches = p.n * (p.ih * p.iw + p.gh * p.gw) * p.c * itemsize >= TOUCH_MIN
        p.block_rows = ceil_div(p.gh, ceil_div(p.gh, max(BLOCK_PIXELS // max(p.gw, 1), 1)))
        p.row_blocks = ceil_div(p.gh, p.block_rows)
        p.blocks = p.n * p.row_blocks
        p.multiplier = multiplier
        p.scratch = rows_read(&p.rows, p.block_rows) * p.iw * p.c if multiplier > 1 else 0
        p.parts = clip(min(p.blocks, PARTS_ELEMENTS // max(p.size, 1)), 1, PARTS_MAX)
        # Where the sums, (vector, tap, k, lane), have what belongs to (tap, channel of a group, filter).
        index = []
        starts = vector_starts(p.c, lanes) if p.c >= lanes else [0]
        for tap in range(taps):
            for k in range(p.cg):
                for ch in range(p.c):
                    first = ch - ch % p.cg + k       # the channel of x
                    vector = min(first // lanes, len(starts) - 1)
                    index.append(((vector * taps + tap) * p.cg + (k ^ ch % p.cg)) * lanes + first - starts[vector])
        self.gather = keep(self._kept, index)
        self.nbytes = kept_bytes(self._kept)

    def __call__(self, x, grad_output, out):
        """x (n, ih, iw, c / multiplier), grad_output (n, gh, gw, c) -> out (kh, kw, cg, c)."""
        cdef grad p = self.p
        cdef Py_ssize_t itemsize = p.k.itemsize, index, chunk, sums = p.parts * p.size
        cdef int team = team_size(self.work)
        cdef char *result = <char *> address(out, True)
        cdef char *memory = allocate(sums + team * p.scratch, itemsize)
        p.x, p.grad_output = <const char *> address(x, False), <const char *> address(grad_output, False)
        p.sums = memory
        chunk = max(ceil_div(p.size, team), 256)
        with nogil:
            if team == 1:
                # A parallel region costs 0.6 us even for a team of one.
                for index in range(p.parts):
                    run_part(&p, index, memory + sums * itemsize)
                add_parts(&p, 0, p.size)
            else:
                for index in prange(p.parts, schedule="static", num_threads=team):
                    run_part(&p, index, memory + (sums + threadid() * p.scratch) * itemsize)
                for index in prange(ceil_div(p.size, chunk), schedule="static", num_threads=team):
                    add_parts(&p, index * chunk, min(chunk, p.size - index * chunk))
            p.k.gather(result, p.sums, self.gather, p.rows.taps * p.cols.taps * p.cg * p.c)
        release(memory)


cdef void add_parts(const grad *p, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """The sum of all parts, from element `first` on, in the first part."""
    cdef char *sums = p.sums + first * p.k.itemsize
    if p.parts > 1:
        p.k.sum_rows(sums, sums + p.size * p.k.itemsize, p.parts - 1, p.size, count, 1)


cdef void run_part(const grad *p, Py_ssize_t part, char *scratch) noexcept nogil:
    """All blocks of one part of the batch."""
    cdef Py_ssize_t itemsize = p.k.itemsize, index, row
    cdef char *sums = p.sums + part * p.size * itemsize
    memset(sums, 0, p.size * itemsize)
    for index in range(part * p.blocks // p.parts, (part + 1) * p.blocks // p.parts):
        row = index % p.row_blocks * p.block_rows
        run_block(p, index // p.row_blocks, row, min(row + p.block_rows, p.gh), sums, scratch)


cdef void run_block(const grad *whole, Py_ssize_t img, Py_ssize_t row, Py_ssize_t end, char *sums,
                    char *scratch) noexcept nogil:
    """Rows row .. end of one image."""
    cdef grad block = whole[0]
    cdef grad *p = &block
    if p.multiplier > 1:
        expand_rows(p.k, scratch, &p.x, &p.rows, row, end, img, p.iw * p.c, p.multiplier)
    if p.whole:
        run_whole(p, img, row, end, sums)
    else:
        run_regions(p, img, row, end, sums)


cdef void run_whole(const grad *p, Py_ssize_t img, Py_ssize_t row, Py_ssize_t end, char *sums) noexcept nogil:
    """Pieces of so few pixels that L1 still has them when the next vector of channels takes the rest of their lines."""
    cdef Py_ssize_t pieces = ceil_div(p.gw, PIECE_PIXELS), most = max(PIECE_PIXELS // p.gw, 1)
    cdef Py_ssize_t piece, col, last, lines
    cdef fc_depthwise_grad t
    t.whole, t.rows, t.cols = 1, p.rows.taps, p.cols.taps
    while row < end:
        lines = min(most, end - row)
        if p.touches:
            touch_rows(p, img, row, lines)
        t.top, t.bottom = row < p.rows.inner_first, row + lines > p.rows.inner_last
        for piece in range(pieces):
            col, last = piece * p.gw // pieces, (piece + 1) * p.gw // pieces
            t.left, t.right = col < p.cols.inner_first, last > p.cols.inner_last
            t.lines, t.pixels = lines, last - col
            run_taps(p, &t, img, row, col, 0, 0, sums)
        row += lines


cdef void touch_rows(const grad *p, Py_ssize_t img, Py_ssize_t row, Py_ssize_t lines) noexcept nogil:
    """Read the rows that some lines need and those before them did not, in the order of memory.

    The vectors of channels go through them in turn, which no core foresees: from memory they would come at a third of
    the rate, and prefetches are dropped where so many wait. 8x56x56x144 take half of the time; what is in L3 already
    takes a fifth more.
    """
    cdef Py_ssize_t x_row = p.iw * p.c * p.k.itemsize, g_row = p.gw * p.c * p.k.itemsize
    cdef Py_ssize_t last = p.rows.in_step * (row + lines - 1) + p.rows.offset + p.rows.taps
    cdef Py_ssize_t first = clip(last - lines * p.rows.in_step, 0, p.ih)
    if p.multiplier == 1:
        fc_touch(p.x + (img * p.ih + first) * x_row, (min(last, p.ih) - first) * x_row)
    fc_touch(p.grad_output + (img * p.gh + row) * g_row, lines * g_row)


cdef void run_regions(const grad *p, Py_ssize_t img, Py_ssize_t row, Py_ssize_t end, char *sums) noexcept nogil:
    """Pixels that meet the same taps together: those that meet all, and borders row by row, column by column."""
    cdef Py_ssize_t inner = clip(p.rows.inner_first, row, end), last = clip(p.rows.inner_last, inner, end), r
    for r in range(row, inner):
        run_region_lines(p, img, r, 1, sums)
    if last > inner:
        run_region_lines(p, img, inner, last - inner, sums)
    for r in range(last, end):
        run_region_lines(p, img, r, 1, sums)


cdef void run_region_lines(const grad *p, Py_ssize_t img, Py_ssize_t row, Py_ssize_t lines,
                           char *sums) noexcept nogil:
    cdef Py_ssize_t col
    for col in range(p.cols.inner_first):
        run_region(p, img, row, lines, col, 1, sums)
    if p.cols.inner_last > p.cols.inner_first:
        run_region(p, img, row, lines, p.cols.inner_first, p.cols.inner_last - p.cols.inner_first, sums)
    for col in range(p.cols.inner_last, p.gw):
        run_region(p, img, row, lines, col, 1, sums)


cdef void run_region(const grad *p, Py_ssize_t img, Py_ssize_t row, Py_ssize_t lines, Py_ssize_t col,
                     Py_ssize_t pixels, char *sums) noexcept nogil:
    """Pixels that meet the same taps."""
    cdef Py_ssize_t a = first_tap(&p.rows, row), b = first_tap(&p.cols, col)
    cdef fc_depthwise_grad t
    t.rows, t.cols = last_tap(&p.rows, row) - a, last_tap(&p.cols, col) - b
    if t.rows <= 0 or t.cols <= 0:
        return
    t.lines, t.pixels = lines, pixels
    t.whole = t.top = t.bottom = t.left = t.right = 0
    run_taps(p, &t, img, row, col, a, b, sums)


cdef void run_taps(const grad *p, fc_depthwise_grad *t, Py_ssize_t img, Py_ssize_t row, Py_ssize_t col,
                   Py_ssize_t a, Py_ssize_t b, char *sums) noexcept nogil:
    """The lines and pixels of t from (row, col) on, for the taps from (a, b) on."""
    cdef Py_ssize_t itemsize = p.k.itemsize, sum_col = p.cg * p.k.lanes
    cdef Py_ssize_t x_row = p.rows.in_step * row + p.rows.offset + a * p.rows.tap_step
    cdef Py_ssize_t x_col = p.cols.in_step * col + p.cols.offset + b * p.cols.tap_step
    t.channels = p.c
    t.x = p.x + ((img * p.ih + x_row) * p.iw + x_col) * p.c * itemsize
    t.x_line, t.x_pixel = p.rows.in_step * p.iw * p.c, p.cols.in_step * p.c
    t.x_row, t.x_col = p.rows.tap_step * p.iw * p.c, p.cols.tap_step * p.c
    t.g = p.grad_output + ((img * p.gh + row) * p.gw + col) * p.c * itemsize
    t.g_line, t.g_pixel = p.gw * p.c, p.c
    t.sum_row = p.cols.taps * sum_col
    t.sum_vector = p.rows.taps * t.sum_row
    t.sums = sums + (a * t.sum_row + b * sum_col) * itemsize
    p.k.depthwise_grad[p.index](t)
