"""Depthwise convolution and small groups: forward and grad_input over NHWC images.

The vector lanes hold neighbouring channels. Groups have 1, 2, 4 or 8 channels in and as many out, and do not cross
a vector. Taps and pixels lie at constant distances, so nothing is tabulated: a row of output pixels is the pixels that
meet all the kernel's columns and, left and right of them, some whose windows leave the image; each meets its own taps
only, so padding is never read nor multiplied.
"""

from cython.parallel cimport prange, threadid

from ._depthwise_axes cimport axis, expand_rows, first_tap, last_tap, make_axes, rows_read, vector_starts
from ._runtime cimport address, allocate, ceil_div, clip, isa_kernels, keep, kept_bytes, release, team_size
from .kernels cimport FC_DEPTHWISE_LINES, fc_depthwise

cdef enum:
    BLOCK_BYTES = 512 * 1024         # of input and output: half of that made eight images of 56x56x144 3 % slower
    BLOCKS_WANTED = 8                # where there are rows for them: no thread waits long for the last block


cdef class DepthwisePlan:
    """The geometry of a depthwise (or small-group) convolution, or of its grad_input, for one instruction set."""

    def __cinit__(self, *, str isa not None, int itemsize, tuple image, tuple grid, kernel_size,
                  Py_ssize_t group_size, Py_ssize_t multiplier, row_phases, col_phases, bint transposed, pairs=None):
        # image: (n, ih, iw, c) that is read; grid: (oh, ow) that is written, with c channels as well; but one of them,
        # in truth, has c / multiplier
        # pairs: their number, first column and cell, for two phases of columns (see the struct); or None
        cdef depthwise *p = &self.p
        cdef Py_ssize_t kh, k, start, ch, first
        cdef tuple span = None
        self._kept = []
        p.k = isa_kernels(isa, itemsize)
        p.n, p.ih, p.iw, p.c = image
        p.oh, p.ow = grid
        p.cg = group_size
        p.size = group_size.bit_length() - 1
        kh, p.kernel_cols = kernel_size
        p.taps = kh * p.kernel_cols
        if pairs is not None and p.cg == 1 and p.c >= p.k.lanes:
            p.pairs, p.pair_first, p.pair_cell = pairs
            span = p.pair_first, p.pair_first + 2 * p.pairs
        p.row_phases, p.col_phases = len(row_phases), len(col_phases)
        p.rows, p.cols = make_axes(self._kept, p.ih, row_phases), make_axes(self._kept, p.iw, col_phases, span)
        p.multiplier, p.transposed = multiplier, transposed
        self.work = <double> p.n * p.oh * p.ow * p.c * p.cg * max(p.taps // (p.row_phases * p.col_phases), 1)
        self._make_blocks()
        # Where the kernel of one tap, (cg, c), has what channel `ch` gives to its neighbour ch ^ k.
        index = []
        p.w_tap, p.w_vector = p.c, p.k.lanes
        if p.cg > 1:
            p.w_tap = p.cg * p.k.lanes
            p.w_vector = p.taps * p.w_tap
            for start in vector_starts(p.c, p.k.lanes):
                for k in range(p.cg):
                    for ch in range(start, start + p.k.lanes):
                        first = ch - ch % p.cg
                        index.append(((ch ^ k) - first) * p.c + ch if transposed else (ch - first) * p.c + (ch ^ k))
        p.gather = keep(self._kept, index)
        self.nbytes = kept_bytes(self._kept)

    cdef _make_blocks(self):
        cdef depthwise *p = &self.p
        cdef Py_ssize_t rows = BLOCK_BYTES // ((p.iw * p.ih // p.oh + p.ow) * p.c * p.k.itemsize)
        p.block_rows = clip(min(rows, p.n * p.oh // BLOCKS_WANTED), 1, p.oh)
        p.row_blocks = ceil_div(p.oh, p.block_rows)
        if p.multiplier > 1:
            p.scratch = (p.block_rows * p.ow if p.transposed else rows_read(&p.rows[0], p.block_rows) * p.iw) * p.c

    cdef Py_ssize_t packed_size(self) noexcept:
        """Elements of memory that depthwise_pack() fills."""
        return ceil_div(self.p.c, self.p.k.lanes) * self.p.w_vector if self.p.cg > 1 else 0

    cdef depthwise bound(self, kernel, bias, int activation) except *:
        """The plan with a caller's weights; it does not own them."""
        cdef depthwise p = self.p
        p.w = <const char *> address(kernel, False)
        p.bias = NULL
        if bias is not None:
            p.bias = <const char *> address(bias, False)
        p.activation = activation
        return p

    def __call__(self, x, kernel, bias, out, int activation):
        """x (n, ih, iw, c), kernel (kh, kw, cg, c) -> out (n, oh, ow, c); all C-contiguous, of the plan's type.

        With a multiplier, x (transposed: out) has fewer channels.
        """
        cdef const char *source = <const char *> address(x, False)
        cdef char *to = <char *> address(out, True)
        cdef int team = team_size(self.work)
        cdef depthwise p = self.bound(kernel, bias, activation)
        cdef Py_ssize_t packed_bytes = self.packed_size() * p.k.itemsize
        cdef char *packed = allocate(packed_bytes + team * p.scratch * p.k.itemsize, 1)
        with nogil:
            depthwise_pack(&p, packed, team)
            depthwise_run(&p, p.n, source, to, packed + packed_bytes, team)
        release(packed)


cdef void depthwise_pack(depthwise *p, char *packed, int team) noexcept nogil:
    """Bring the weights of groups into the order in which the kernels read them: packed_size() elements."""
    cdef Py_ssize_t index, vectors = ceil_div(p.c, p.k.lanes)
    if p.cg == 1:
        return
    if team == 1:
        for index in range(vectors):
            pack_vector(p, packed, index)
    else:
        for index in prange(vectors, schedule="static", num_threads=team):
            pack_vector(p, packed, index)
    p.w = packed


cdef void depthwise_run(const depthwise *p, Py_ssize_t n, const char *x, char *out, char *scratch,
                        int team) noexcept nogil:
    """The sweep over n images, as many as the plan was made for or fewer; scratch: p.scratch elements a thread."""
    cdef depthwise q = p[0]
    cdef Py_ssize_t index
    q.x, q.out = x, out
    if team == 1:
        # A parallel region costs 0.6 us even for a team of one.
        for index in range(n * p.row_blocks):
            run_block(&q, index // p.row_blocks, index % p.row_blocks * p.block_rows, scratch)
        return
    for index in prange(n * p.row_blocks, schedule="static", num_threads=team):
        run_block(&q, index // p.row_blocks, index % p.row_blocks * p.block_rows,
                  scratch + threadid() * p.scratch * p.k.itemsize)


cdef void pack_vector(const depthwise *p, char *packed, Py_ssize_t vector) noexcept nogil:
    """The weights of all taps for one vector of channels."""
    cdef Py_ssize_t itemsize = p.k.itemsize, tap
    for tap in range(p.taps):
        p.k.gather(packed + (vector * p.w_vector + tap * p.w_tap) * itemsize, p.w + tap * p.cg * p.c * itemsize,
                   p.gather + vector * p.w_tap, p.w_tap)


cdef void run_block(const depthwise *p, Py_ssize_t img, Py_ssize_t first_row, char *scratch) noexcept nogil:
    """Some rows of output pixels of one image, by way of scratch where channels have several filters."""
    cdef Py_ssize_t last_row = min(first_row + p.block_rows, p.oh), itemsize = p.k.itemsize, at, count
    cdef depthwise q
    if p.multiplier == 1:
        run_rows(p, img, first_row, last_row)
        return
    q = p[0]
    if p.transposed:
        at, count = (img * p.oh + first_row) * p.ow * p.c, (last_row - first_row) * p.ow * p.c
        q.out = scratch - at * itemsize
        run_rows(&q, img, first_row, last_row)
        p.k.contract(p.out + at // p.multiplier * itemsize, scratch, count // p.multiplier, p.multiplier)
    else:
        expand_rows(p.k, scratch, &q.x, &p.rows[0], first_row, last_row, img, p.iw * p.c, p.multiplier)
        run_rows(&q, img, first_row, last_row)


cdef void run_rows(const depthwise *p, Py_ssize_t img, Py_ssize_t first_row, Py_ssize_t last_row) noexcept nogil:
    cdef Py_ssize_t phase, m, last, inner, inner_last, lines
    cdef const axis *rows
    cdef fc_depthwise t
    t.channels, t.bias, t.w_vector, t.activation = p.c, p.bias, p.w_vector, p.activation
    for phase in range(p.row_phases):
        rows = &p.rows[phase]
        if rows.first >= last_row:
            break
        m = ceil_div(max(first_row - rows.first, 0), rows.step)
        last = (last_row - rows.first - 1) // rows.step + 1
        inner = clip(rows.inner_first, m, last)
        inner_last = clip(rows.inner_last, inner, last)
        while m < last:
            lines = inner_last - inner if m == inner and inner_last > inner else 1
            run_lines(p, &t, rows, img, m, lines)
            m += lines


cdef void run_lines(const depthwise *p, fc_depthwise *t, const axis *rows, Py_ssize_t img, Py_ssize_t m,
                    Py_ssize_t lines) noexcept nogil:
    """Rows of output pixels that meet the same taps, from position m of a phase on."""
    cdef Py_ssize_t itemsize = p.k.itemsize, phase, col, line, fresh, tap = first_tap(rows, m)
    cdef Py_ssize_t in_row = p.iw * p.c, out_row = p.ow * p.c, w_row = p.kernel_cols * p.w_tap
    cdef const axis *cols
    t.rows = max(last_tap(rows, m) - tap, 0)
    t.x_row, t.w_row = rows.tap_step * in_row, rows.weight_step * w_row
    t.x_line, t.y_line = rows.in_step * in_row, rows.step * out_row
    cdef const char *x = p.x + (img * p.ih + m * rows.in_step + rows.offset + tap * rows.tap_step) * in_row * itemsize
    cdef const char *w = p.w + (rows.weight + tap * rows.weight_step) * w_row * itemsize
    cdef char *out = p.out + (img * p.oh + rows.first + m * rows.step) * out_row * itemsize
    # Columns whose windows leave the image: the pixels of a run lie below each other.
    t.lines, t.pixels, t.phases, t.x_step, t.y_step = 1, lines, 1, t.x_line, t.y_line
    t.fresh = t.writes_on = 0
    for phase in range(p.col_phases):
        cols = &p.cols[phase]
        for col in range(cols.inner_first):
            run_pixels(p, t, cols, col, x, w, out)
        for col in range(cols.inner_last, cols.count):
            run_pixels(p, t, cols, col, x, w, out)
    line = 0
    while line < lines:
        t.lines = min(lines - line, FC_DEPTHWISE_LINES)
        # All phases read the same rows: one of them fetches the next.
        fresh = rows.in_step if rows.first == 0 and rows.tap_step == 1 else 0
        if p.pairs > 0:
            t.fresh, t.writes_on = fresh, 1
            run_pairs(p, t, x + line * t.x_line * itemsize, w, out + line * t.y_line * itemsize)
            line += t.lines
            continue
        for phase in range(p.col_phases):
            cols = &p.cols[phase]
            t.pixels = cols.inner_last - cols.inner_first
            t.fresh, t.writes_on = fresh if phase == 0 else 0, phase == 0
            if t.pixels > 0:
                t.x_step, t.y_step = cols.in_step * p.c, cols.step * p.c
                run_pixels(p, t, cols, cols.inner_first, x + line * t.x_line * itemsize, w,
                           out + line * t.y_line * itemsize)
        line += t.lines


cdef void run_pixels(const depthwise *p, fc_depthwise *t, const axis *cols, Py_ssize_t m, const char *x, const char *w,
                     char *out) noexcept nogil:
    """Runs from position m of a phase of columns on, all of which meet the same columns of the kernel."""
    cdef Py_ssize_t itemsize = p.k.itemsize, tap = first_tap(cols, m)
    t.cols = max(last_tap(cols, m) - tap, 0)
    t.x_col, t.w_col = cols.tap_step * p.c, cols.weight_step * p.w_tap
    t.x = x + (m * cols.in_step + cols.offset + tap * cols.tap_step) * p.c * itemsize
    t.w = w + (cols.weight + tap * cols.weight_step) * p.w_tap * itemsize
    t.y = out + (cols.first + m * cols.step) * p.c * itemsize
    p.k.depthwise[p.size](t)


cdef void run_pairs(const depthwise *p, fc_depthwise *t, const char *x, const char *w, char *out) noexcept nogil:
    """The pairs of columns of some rows, which are written whole: both columns read the same pixels."""
    cdef Py_ssize_t itemsize = p.k.itemsize
    t.pixels, t.phases, t.cols = p.pairs, 2, p.kernel_cols
    t.x_step, t.x_col, t.y_step, t.w_col = p.c, -p.c, 2 * p.c, p.w_tap
    t.x, t.w, t.y = x + p.pair_cell * p.c * itemsize, w, out + p.pair_first * p.c * itemsize
    p.k.depthwise[p.size](t)
