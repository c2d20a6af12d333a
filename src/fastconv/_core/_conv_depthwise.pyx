"""Depthwise convolution and small groups: forward, grad_input and grad_kernel over NHWC images.

The vector lanes hold neighbouring channels. Groups have 1, 2, 4 or 8 channels in and as many out, and do not cross
a vector. Taps and pixels lie at constant distances, so nothing is tabulated: a row of output pixels is the pixels that
meet all the kernel's columns and, left and right of them, some whose windows leave the image; each meets its own taps
only, so padding is never read nor multiplied.
"""

from cython.parallel cimport prange, threadid
from libc.stdlib cimport free
from libc.string cimport memset

from ._runtime cimport address, allocate, ceil_div, clip, isa_kernels, keep, kept_bytes, team_size
from .kernels cimport FC_DEPTHWISE_LINES, fc_depthwise, fc_depthwise_grad

cdef enum:
    BLOCK_BYTES = 512 * 1024         # of input and output: half of that made eight images of 56x56x144 3 % slower
    BLOCKS_WANTED = 8                # where there are rows for them: no thread waits long for the last block
    GRAD_PIXELS = 512                # of a block of grad_kernel: its rows stay in L2, its sums are seldom moved
    PARTS_MAX = 16                   # parts of the batch's sum in grad_kernel: as in _conv_grad_kernel
    PARTS_ELEMENTS = 1 << 20

cdef const axis *make_axes(list kept, Py_ssize_t size, phases, span=None) except NULL:
    """phases: one tuple (first, step, count, in_step, offsets, weights) each, both lists in constant steps.

    span: first position and end of those that alone count as inner ones. Default: all that meet all taps.
    """
    cdef Py_ssize_t inner_first, inner_last, offset
    values = []
    for first, step, count, in_step, offsets, weights in phases:
        taps = len(offsets)
        offset = offsets[0] if taps else 0
        tap_step = offsets[1] - offsets[0] if taps > 1 else 1
        weight_step = weights[1] - weights[0] if taps > 1 else 1
        inner_first = clip(ceil_div(max(-offset, 0), in_step), 0, count)
        inner_last = max(size - 1 - offset - (taps - 1) * tap_step + in_step, 0) // in_step
        if taps == 0:
            inner_first, inner_last = 0, count
        if span is not None:
            inner_first, inner_last = ceil_div(span[0] - first, step), ceil_div(span[1] - first, step)
        values += [first, step, count, in_step, taps, offset, tap_step, weights[0] if taps else 0, weight_step, size,
                   inner_first, clip(inner_last, inner_first, count)]
    # The struct is all Py_ssize_t, so an array of integers is an array of them.
    return <const axis *> keep(kept, values)


cdef list vector_starts(Py_ssize_t channels, Py_ssize_t lanes):
    """The first channel of each vector; the last one ends with the last channel."""
    return [min(start, channels - lanes) for start in range(0, channels, lanes)]


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
        free(packed)


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


cdef inline Py_ssize_t first_tap(const axis *a, Py_ssize_t m) noexcept nogil:
    """The first tap of position m that falls on a cell of the image or behind it."""
    cdef Py_ssize_t anchor = m * a.in_step + a.offset
    return min(ceil_div(max(-anchor, 0), a.tap_step), a.taps)


cdef inline Py_ssize_t last_tap(const axis *a, Py_ssize_t m) noexcept nogil:
    """One behind the last tap of position m that falls on a cell of the image or before it."""
    cdef Py_ssize_t anchor = m * a.in_step + a.offset
    return min(ceil_div(max(a.size - anchor, 0), a.tap_step), a.taps)


cdef void pack_vector(const depthwise *p, char *packed, Py_ssize_t vector) noexcept nogil:
    """The weights of all taps for one vector of channels."""
    cdef Py_ssize_t itemsize = p.k.itemsize, tap
    for tap in range(p.taps):
        p.k.gather(packed + (vector * p.w_vector + tap * p.w_tap) * itemsize, p.w + tap * p.cg * p.c * itemsize,
                   p.gather + vector * p.w_tap, p.w_tap)


cdef inline Py_ssize_t rows_read(const axis *a, Py_ssize_t positions) noexcept nogil:
    """Cells that so many neighbouring positions reach from first to last, at most."""
    return min((positions - 1) * a.in_step + (a.taps - 1) * a.tap_step + 1, a.size)


cdef void expand_rows(const fc_kernels *k, char *scratch, const char **x, const axis *a, Py_ssize_t first,
                      Py_ssize_t end, Py_ssize_t img, Py_ssize_t row, Py_ssize_t multiplier) noexcept nogil:
    """The rows of x, `row` elements each with the multiplier, that positions first .. end meet, into scratch.

    x becomes the address that the whole batch would have there.
    """
    cdef Py_ssize_t from_row = clip(first * a.in_step + a.offset, 0, a.size)
    cdef Py_ssize_t end_row = clip((end - 1) * a.in_step + a.offset + (a.taps - 1) * a.tap_step + 1, from_row, a.size)
    cdef Py_ssize_t at = (img * a.size + from_row) * row, count = (end_row - from_row) * row
    k.expand(scratch, x[0] + at // multiplier * k.itemsize, count // multiplier, multiplier)
    x[0] = scratch - at * k.itemsize


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


cdef struct grad:
    const fc_kernels *k
    Py_ssize_t n, c, cg, ih, iw, gh, gw
    axis rows, cols
    Py_ssize_t block_rows, row_blocks, blocks, parts, size
    Py_ssize_t multiplier, scratch                   # as in depthwise
    int index                                        # log2(cg)
    const char *x
    const char *grad_output
    char *sums


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
        cdef Py_ssize_t k, ch, first
        self._kept = []
        p.k = isa_kernels(isa, itemsize)
        p.n, p.ih, p.iw, p.c = image
        p.gh, p.gw = grid
        p.cg = group_size
        p.index = group_size.bit_length() - 1
        p.rows, p.cols = make_axes(self._kept, p.ih, row_phases)[0], make_axes(self._kept, p.iw, col_phases)[0]
        p.size = p.rows.taps * p.cols.taps * p.cg * p.c
        self.work = <double> p.n * p.gh * p.gw * p.size
        p.block_rows = ceil_div(p.gh, ceil_div(p.gh, max(GRAD_PIXELS // max(p.gw, 1), 1)))
        p.row_blocks = ceil_div(p.gh, p.block_rows)
        p.blocks = p.n * p.row_blocks
        p.multiplier = multiplier
        p.scratch = rows_read(&p.rows, p.block_rows) * p.iw * p.c if multiplier > 1 else 0
        p.parts = clip(min(p.blocks, PARTS_ELEMENTS // max(p.size, 1)), 1, PARTS_MAX)
        # Where the sums of one tap, (cg, c), have what belongs to channel `k` of a group and filter `ch`.
        index = []
        if p.cg > 1:
            for k in range(p.cg):
                for ch in range(p.c):
                    first = ch - ch % p.cg
                    index.append((k ^ (ch - first)) * p.c + first + k)
        self.gather = keep(self._kept, index)
        self.nbytes = kept_bytes(self._kept)

    def __call__(self, x, grad_output, out):
        """x (n, ih, iw, c / multiplier), grad_output (n, gh, gw, c) -> out (kh, kw, cg, c)."""
        cdef grad p = self.p
        cdef Py_ssize_t itemsize = p.k.itemsize, index, chunk, tap = p.cg * p.c
        cdef int team = team_size(self.work)
        cdef bint direct = p.parts == 1 and p.cg == 1
        cdef char *result = <char *> address(out, True)
        cdef Py_ssize_t sums = 0 if direct else p.parts * p.size
        cdef char *memory = allocate(sums + team * p.scratch, itemsize)
        p.x, p.grad_output = <const char *> address(x, False), <const char *> address(grad_output, False)
        p.sums = result if direct else memory
        chunk = max(ceil_div(p.size, team), 256)
        with nogil:
            for index in prange(p.parts, schedule="static", num_threads=team):
                run_part(&p, index, memory + (sums + threadid() * p.scratch) * itemsize)
            if p.parts > 1:
                # Into the first part if they are still to be rearranged.
                for index in prange(ceil_div(p.size, chunk), schedule="static", num_threads=team):
                    add_parts(&p, index * chunk, min(chunk, p.size - index * chunk), result)
            if p.cg > 1:
                for index in prange(p.rows.taps * p.cols.taps, schedule="static", num_threads=team):
                    p.k.gather(result + index * tap * itemsize, p.sums + index * tap * itemsize, self.gather, tap)
        free(memory)


cdef void add_parts(const grad *p, Py_ssize_t first, Py_ssize_t count, char *result) noexcept nogil:
    """The sum of all parts, from element `first` on: in the result or, for groups, in the first part."""
    cdef Py_ssize_t itemsize = p.k.itemsize
    cdef char *sums = p.sums + first * itemsize
    if p.cg == 1:
        p.k.sum_rows(result + first * itemsize, sums, p.parts, p.size, count, 0)
    else:
        p.k.sum_rows(sums, sums + p.size * itemsize, p.parts - 1, p.size, count, 1)


cdef void run_part(const grad *p, Py_ssize_t part, char *scratch) noexcept nogil:
    """All blocks of one part of the batch."""
    cdef Py_ssize_t itemsize = p.k.itemsize, index, row
    cdef char *sums = p.sums + part * p.size * itemsize
    memset(sums, 0, p.size * itemsize)
    for index in range(part * p.blocks // p.parts, (part + 1) * p.blocks // p.parts):
        row = index % p.row_blocks * p.block_rows
        run_grad_block(p, index // p.row_blocks, row, min(row + p.block_rows, p.gh), sums, scratch)


cdef void run_grad_block(const grad *whole, Py_ssize_t img, Py_ssize_t row, Py_ssize_t end, char *sums,
                         char *scratch) noexcept nogil:
    """Rows row .. end of one image: those that meet all kernel rows together, the others alone."""
    cdef grad block = whole[0]
    cdef grad *p = &block
    if p.multiplier > 1:
        expand_rows(p.k, scratch, &p.x, &p.rows, row, end, img, p.iw * p.c, p.multiplier)
    cdef Py_ssize_t inner = clip(p.rows.inner_first, row, end), last = clip(p.rows.inner_last, inner, end)
    cdef Py_ssize_t r
    for r in range(row, inner):
        run_grad_lines(p, img, r, 1, sums)
    if last > inner:
        run_grad_lines(p, img, inner, last - inner, sums)
    for r in range(last, end):
        run_grad_lines(p, img, r, 1, sums)


cdef void run_grad_lines(const grad *p, Py_ssize_t img, Py_ssize_t row, Py_ssize_t lines, char *sums) noexcept nogil:
    """Rows that meet the same kernel rows: the pixels that meet all its columns together, the others column by column.
    """
    cdef Py_ssize_t col
    for col in range(p.cols.inner_first):
        run_rectangle(p, img, row, lines, col, 1, sums)
    if p.cols.inner_last > p.cols.inner_first:
        run_rectangle(p, img, row, lines, p.cols.inner_first, p.cols.inner_last - p.cols.inner_first, sums)
    for col in range(p.cols.inner_last, p.gw):
        run_rectangle(p, img, row, lines, col, 1, sums)


cdef void run_rectangle(const grad *p, Py_ssize_t img, Py_ssize_t row, Py_ssize_t lines, Py_ssize_t col,
                        Py_ssize_t pixels, char *sums) noexcept nogil:
    """Pixels that meet the same taps."""
    cdef Py_ssize_t itemsize = p.k.itemsize
    cdef Py_ssize_t a = first_tap(&p.rows, row), b = first_tap(&p.cols, col), tap = p.cg * p.c
    cdef Py_ssize_t x_row = p.rows.in_step * row + p.rows.offset + a * p.rows.tap_step
    cdef Py_ssize_t x_col = p.cols.in_step * col + p.cols.offset + b * p.cols.tap_step
    cdef fc_depthwise_grad t
    t.rows, t.cols = last_tap(&p.rows, row) - a, last_tap(&p.cols, col) - b
    if t.rows <= 0 or t.cols <= 0:
        return
    t.lines, t.pixels, t.channels = lines, pixels, p.c
    t.x = p.x + ((img * p.ih + x_row) * p.iw + x_col) * p.c * itemsize
    t.x_line, t.x_pixel = p.rows.in_step * p.iw * p.c, p.cols.in_step * p.c
    t.x_row, t.x_col = p.rows.tap_step * p.iw * p.c, p.cols.tap_step * p.c
    t.g = p.grad_output + ((img * p.gh + row) * p.gw + col) * p.c * itemsize
    t.g_line, t.g_pixel = p.gw * p.c, p.c
    t.sums = sums + (a * p.cols.taps + b) * tap * itemsize
    t.sum_row, t.sum_col = p.cols.taps * tap, tap
    p.k.depthwise_grad[p.index](&t)
