"""Gradient of a convolution with respect to its kernel, and so of a dense layer with respect to its weights.

A tile's rows are entries (kh, kw, ic) of the kernel, its columns output channels; it sums over the pixels of a block:
x is broadcast straight from the image, grad_output is read in place or from a packed panel. Few output channels would
leave lanes empty, and then the two change places (`turned`, see _grad_tiles.pxd).

Where the window leaves the image, a tile keeps to one tap and to the pixels whose tap falls on a real cell; with few
channels that would leave tiles short, so these read a zero-padded slab of the block's rows, which stays in L1. The sum
over the batch is cut into a FIXED number of parts, added in a fixed order, so the bits do not depend on the number of
threads (compare arXiv:1808.05567, section II-J).
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memset

from ._ahead cimport set_pace, set_run
from ._blocks cimport fair_images, is_narrow
from ._grad_images cimport block_input, fill_lines
from ._grad_tiles cimport run_panel, run_turned, sum_cost
from ._pooling cimport make_columns, make_pool, spread_row
from ._runtime cimport address, allocate, ceil_div, clip, isa_kernels, keep, kept_bytes, release, round_up, team_size
from .kernels cimport FC_CACHE_LINE, fc_kernels

cdef enum:
    BLOCK_PIXELS = 256               # a panel of grad_output, and a line of the pixels of x beside it, stay in L1:
    NARROW_PIXELS = 160              # in 32 KB, if tiles are narrow (AVX2) and panels are several
    GRADS_BYTES = 24 * 1024          # of grad_output beside few channels of x: in L1, where all panels read it in place
    TAP_CHANNELS = 16                # from here on a tile of one tap alone is tall enough
    LINED_BYTES = 1024               # pixels so far apart are copied first: up to 1.4 times as fast (AVX2)
    CHUNK_BYTES = 384 * 1024         # of x in lines, and of grad_output in panels, at a time: both stay in L2
    AHEAD_MIN = 1 << 20              # bytes of x and grad_output, from where on sums wait for memory,
    AHEAD_SUMS = 100                 # if each byte takes part in fewer multiply-adds than that
    PARTS_MAX = 16                   # parts of the batch's sum; more than any small machine's threads
    PARTS_ELEMENTS = 1 << 20         # and not more of them than this many elements in all, 4 MB of float32
    COPY_COST = 6                    # half cycles, of a vector into the slab
    SUM_ENTRIES = 512                # of the kernel, whose parts are added at a time


cdef Py_ssize_t panels_cost(const fc_kernels *k, Py_ssize_t rows, Py_ssize_t vectors, Py_ssize_t panels):
    """Half cycles of one step of a sum of so many rows, whose columns are cut into panels as even as they come."""
    return sum([sum_cost(k, rows, (i + 1) * vectors // panels - i * vectors // panels) for i in range(panels)])


cdef tuple turned_way(const fc_kernels *k, Py_ssize_t runs, Py_ssize_t run, Py_ssize_t channels):
    """(half cycles of a pixel, panels that a run goes in), with output channels as rows and runs of entries as columns.
    """
    cdef Py_ssize_t vectors = ceil_div(run, k.lanes)
    ways = [(runs * panels_cost(k, channels, vectors, ceil_div(vectors, width)), ceil_div(vectors, width))
            for width in (k.nv_max, k.nv_shallow)]
    return min(ways)


cdef tuple way_to_sum(const fc_kernels *k, Py_ssize_t runs, Py_ssize_t run, Py_ssize_t channels):
    """(half cycles of a pixel, pieces): how to add up runs of neighbouring entries, for so many output channels.

    pieces: panels that a run goes in, with output channels as rows; 0: these are the columns. 32 images of 28x28, 3x3
    filters, AVX2: 16 -> 1 takes 0.39 of the time, 64 -> 3 0.48, 8 -> 4 0.60, 8 -> 8 0.82, 12 -> 12 0.86.
    """
    cdef Py_ssize_t vectors = ceil_div(channels, k.lanes)
    cost = panels_cost(k, runs * run, vectors, ceil_div(vectors, k.nv_max))
    if runs * run > 1:
        turned, pieces = turned_way(k, runs, run, channels)
        if turned * 20 < cost * 19:
            return turned, pieces
    return cost, 0


def pixel_cost(*, str isa not None, int itemsize, Py_ssize_t rows, Py_ssize_t row, Py_ssize_t channels):
    """Half cycles of a pixel in a kernel gradient: so many kernel rows of so many entries; see way_to_sum."""
    return way_to_sum(isa_kernels(isa, itemsize), rows, row, channels)[0]


cdef class GradKernelPlan:
    """The geometry of a kernel gradient for one instruction set and element type; made once, run many times."""

    cdef grad p
    cdef list _kept
    cdef readonly double work
    cdef readonly Py_ssize_t nbytes                  # of the tables

    def __cinit__(self, *, str isa not None, int itemsize, tuple image, tuple grid, tuple steps, tap_rows, tap_cols,
                  Py_ssize_t groups, Py_ssize_t group_inputs, Py_ssize_t group_outputs):
        # image: (n, ih, iw, c); grid: (oh, ow); steps: strides; taps as in ConvPlan
        cdef grad *p = &self.p
        cdef Py_ssize_t row, col, i
        self._kept = []
        p.k = isa_kernels(isa, itemsize)
        p.n, p.ih, p.iw, p.c = image
        p.gh, p.gw = grid
        p.row_step, p.col_step = steps
        p.groups, p.cg, p.ng = groups, group_inputs, group_outputs
        p.oc = groups * group_outputs
        p.n_rows, p.n_cols = len(tap_rows), len(tap_cols)
        p.row_first, p.row_last = min(tap_rows), max(tap_rows)
        p.col_first, p.col_last = min(tap_cols), max(tap_cols)
        p.tap_rows, p.tap_cols = keep(self._kept, tap_rows), keep(self._kept, tap_cols)
        p.entries = p.n_rows * p.n_cols * p.cg
        p.size = p.entries * p.oc
        self.work = <double> p.n * p.gh * p.gw * p.size
        p.line = FC_CACHE_LINE // p.k.itemsize
        p.n_lines = ceil_div(p.cg, p.line)
        p.line_first = keep(self._kept, [i * p.line for i in range(p.n_lines + 1)])
        self._make_panels(list(tap_cols))
        self._make_blocks()
        p.a_off = keep(self._kept, [(row - p.row_first) * p.row_stride + (col - p.col_first) * p.cell_stride
                                    + i // p.line % p.chunk_lines * p.line_stride + i % p.line
                                    for row in tap_rows for col in tap_cols for i in range(p.cg)])
        p.c_off = keep(self._kept, [i * p.oc for i in range(p.entries)])
        self._make_runs()
        cdef Py_ssize_t pixels = p.images * p.rows * p.gw, width = p.k.nv_max * p.k.lanes
        p.chunk = clip(CHUNK_BYTES // max(pixels * width * p.k.itemsize, 1), 1, max(p.n_panels, 1))
        p.panel_size = 0 if p.turned else round_up(pixels * width * p.chunk, p.line)
        p.parts = clip(min(p.blocks, PARTS_ELEMENTS // max(p.size, 1)), 1, PARTS_MAX)
        self.nbytes = kept_bytes(self._kept)

    cdef _make_panels(self, list tap_cols):
        """Cut the columns into panels of vectors, as even as they come: output channels, or neighbouring entries."""
        cdef grad *p = &self.p
        cdef Py_ssize_t vectors = ceil_div(p.ng, p.k.lanes), runs = p.n_rows * p.n_cols, i
        p.n_panels = ceil_div(vectors, p.k.nv_max)
        p.panel_first = keep(self._kept, [i * vectors // max(p.n_panels, 1) * p.k.lanes
                                          for i in range(p.n_panels + 1)])
        p.run, p.turned = p.cg, False
        if p.groups > 1:
            return
        if tap_cols == list(range(tap_cols[0], tap_cols[0] + p.n_cols)):
            p.run, runs = p.n_cols * p.cg, p.n_rows
        _, p.pieces = way_to_sum(p.k, runs, p.run, p.ng)
        p.turned = p.pieces > 0
        if p.turned:
            p.n_panels = runs * p.pieces
            p.channels = keep(self._kept, range(p.oc))
            p.channel_sums = keep(self._kept, [i * p.entries for i in range(p.oc)])

    cdef _make_blocks(self):
        """Cut the grid into blocks of about so many pixels: some whole images, or some rows of one."""
        cdef grad *p = &self.p
        cdef Py_ssize_t plane = max(p.gh * p.gw, 1), pixels = BLOCK_PIXELS
        if p.turned:
            pixels = clip(GRADS_BYTES // ((p.row_step * p.col_step * p.c + p.oc) * p.k.itemsize), BLOCK_PIXELS // 2,
                          BLOCK_PIXELS * 4)
        elif p.cg < TAP_CHANNELS:
            pixels = clip(GRADS_BYTES // max(p.oc * p.k.itemsize, 1), BLOCK_PIXELS // 2, BLOCK_PIXELS * 4)
        elif is_narrow(p.k) and p.ng > p.k.nv_max * p.k.lanes:
            pixels = NARROW_PIXELS
        p.images, p.rows = 1, p.gh
        if plane < pixels:
            # As even as they come; where each of several threads takes some, even for these.
            p.images = ceil_div(p.n, ceil_div(p.n, pixels // plane)) if p.n else 1
            if plane > 1 and 2 * p.size <= PARTS_ELEMENTS:
                p.images = fair_images(p.n, p.images, 1)
        else:
            p.rows = ceil_div(p.gh, ceil_div(p.gh, max(pixels // p.gw, 1)))
        p.row_blocks = ceil_div(p.gh, max(p.rows, 1))
        p.blocks = ceil_div(p.n, p.images) * p.row_blocks
        cdef bint padded = (p.row_first < 0 or p.col_first < 0 or (p.gh - 1) * p.row_step + p.row_last >= p.ih
                            or (p.gw - 1) * p.col_step + p.col_last >= p.iw)
        p.by_tap = padded and p.cg >= TAP_CHANNELS and not p.turned
        p.slabbed = padded and not p.by_tap
        if p.turned:
            self._choose_source(padded)
        p.lined = not p.turned and p.cg >= TAP_CHANNELS and p.col_step * p.c * p.k.itemsize >= LINED_BYTES
        p.sampled = p.lined and p.n_rows == 1 and p.n_cols == 1
        cdef double memory = <double> p.n * (p.ih * p.iw * p.c + p.gh * p.gw * p.oc) * p.k.itemsize
        p.ahead = memory >= AHEAD_MIN and self.work < AHEAD_SUMS * memory and (p.ng >= p.line or p.turned)
        p.cell_stride = p.line if p.lined else p.c
        p.slab_rows = p.rows if p.sampled else (p.rows - 1) * p.row_step + p.row_last - p.row_first + 1
        p.slab_cols = p.gw if p.sampled else (p.gw - 1) * p.col_step + p.col_last - p.col_first + 1
        if p.turned:
            p.slab_rows, p.slab_cols = round_up(p.slab_rows, p.row_step), round_up(p.slab_cols, p.col_step)
        p.row_stride, p.img_stride = p.iw * p.c, p.ih * p.iw * p.c
        if p.slabbed or p.lined:
            p.row_stride = p.slab_cols * p.cell_stride
            p.img_stride = p.slab_rows * p.row_stride
        p.grid_row_stride = p.row_stride * (1 if p.sampled else p.row_step)
        p.grid_col_stride = p.cell_stride * (1 if p.sampled else p.col_step)
        p.slab_size, p.line_stride, p.chunk_lines = 0, p.line, p.n_lines
        if p.slabbed:
            p.slab_size = round_up(p.images * p.img_stride + p.k.lanes, p.line)
        elif p.lined:
            # An odd number of lines apart, so that a cell's lines are not all in one set of the cache.
            p.line_stride = (p.images * p.slab_rows * p.slab_cols | 1) * p.line
            p.chunk_lines = clip(CHUNK_BYTES // (p.line_stride * p.k.itemsize), 1, p.n_lines)
            p.chunk_lines = ceil_div(p.n_lines, ceil_div(p.n_lines, p.chunk_lines))
            p.slab_size = p.chunk_lines * p.line_stride

    cdef _choose_source(self, bint padded):
        """Turned: whether to read the image in place, its padding left out tap by tap, or from a slab.

        In place 1 image of 256x256 with 32 -> 1 filters 3x3 takes 0.62 of the time, 32 of 28x28 with 64 -> 3 0.86.
        """
        cdef grad *p = &self.p
        cdef Py_ssize_t taps = p.n_rows * p.n_cols, copied = (p.rows - 1) * p.row_step + p.row_last - p.row_first + 1
        # Rows and images of it must be whole numbers of steps apart, and whole vectors are read.
        cdef bint even = (p.iw * p.row_step % p.col_step == 0
                          and (p.images == 1 or p.ih * p.iw % p.col_step == 0
                               and (p.gw > 1 or p.ih % p.row_step == 0)))
        p.slabbed = padded or not even or p.run % p.k.lanes != 0
        if padded and even and p.cg % p.k.lanes == 0:
            cost, pieces = turned_way(p.k, taps, p.cg, p.oc)
            by_row, _ = turned_way(p.k, p.entries // p.run, p.run, p.oc)
            # Taps have more and shorter runs of pixels than rows of the slab.
            if cost * 6 < 5 * (by_row + COPY_COST * ceil_div(p.cg, p.k.lanes) * copied // max(p.rows, 1)):
                p.by_tap, p.slabbed = True, False
                p.run, p.pieces, p.n_panels = p.cg, pieces, taps * pieces

    cdef _make_runs(self):
        """Merge the axes (image, row, column) of a block from the inside while one step serves them all."""
        cdef grad *p = &self.p
        cdef Py_ssize_t img, r, i
        p.a_step, p.run_axes = p.grid_col_stride, 1
        if p.gw == 1:
            p.a_step = p.grid_row_stride
        if p.gw == 1 or p.rows == 1 or p.grid_row_stride == p.gw * p.a_step:
            p.run_axes = 2
            if p.gw == 1 and p.rows == 1:
                p.a_step = p.img_stride
            if p.gw * p.rows == 1 or p.images == 1 or p.img_stride == p.gw * p.rows * p.a_step:
                p.run_axes = 3
        rows = p.rows if p.run_axes == 1 else 1
        images = p.images if p.run_axes < 3 else 1
        p.seg_a = keep(self._kept, [img * p.img_stride + r * p.grid_row_stride
                                    for img in range(images) for r in range(rows)])
        p.seg_steps = keep(self._kept, [p.seg_a[i] // max(p.a_step, 1) for i in range(images * rows)]
                           if p.turned else [])
        p.run_count = p.images * p.rows

    def __call__(self, x, grad_output, out):
        """The gradient: x (n, ih, iw, c), grad_output (n, oh, ow, oc) -> out (kh, kw, c // groups, oc)."""
        cdef grad p = self.p
        p.grad_output, p.grads_size = <const char *> address(grad_output, False), 0
        self._run(&p, x, out)

    def behind_pooling(self, x, grad_output, indices, out, *, tuple image, tuple grid, tuple window, tuple strides,
                       tuple origin):
        """The gradient where the convolution's output, image, went through a max pooling with strides = window.

        grad_output and indices (n, oh, ow, oc) are the pooling's. What it gives for the convolution's output, mostly
        zeros, is made in a thread's cache, a block at a time.
        """
        cdef grad p = self.p
        cdef Py_ssize_t *columns
        p.pool = make_pool(p.k.itemsize, image, grid, window, strides, origin, 0)
        p.pool.y, p.pool.indices = <char *> address(grad_output, False), <char *> address(indices, False)
        p.pool.k = p.k
        # Windows may begin above the block's first row, and end below its last one; the lanes of the last vector may
        # read on behind the last pixel.
        p.grads_size = round_up(p.images * (p.rows + 3 * p.pool.sh) * p.gw * p.oc + p.k.nv_max * p.k.lanes, p.line)
        p.grad_output, p.ahead = NULL, False
        columns = make_columns(&p.pool)
        try:
            self._run(&p, x, out)
        finally:
            release(columns)

    def add_pixels(self, wide, out, *, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t fold, Py_ssize_t stride):
        """The kernel's gradient, rows x cols, from that of `fold` pixels as one, their windows `stride` apart.

            out[a, b, c, f] = sum over p < fold of wide[a, b + p*stride, c, p, f]

        in the order of p; wide is (rows, cols + (fold - 1)*stride, input channels, fold, output channels).
        """
        cdef const fc_kernels *k = self.p.k
        cdef Py_ssize_t itemsize = k.itemsize, oc = self.p.oc // fold, ic = self.p.cg, pixel = oc * fold, _row, col
        cdef char *to = <char *> address(out, True)
        cdef const char *source = <const char *> address(wide, False)
        for _row in range(rows):
            for col in range(cols * ic):
                k.sum_rows(to, source + col * pixel * itemsize, fold, (stride * ic * fold + 1) * oc, oc, 0)
                to += oc * itemsize
            source += (cols + (fold - 1) * stride) * ic * pixel * itemsize

    cdef _run(self, grad *p, x, out):
        cdef int team = team_size(self.work)
        cdef Py_ssize_t itemsize = p.k.itemsize, panels = p.groups * p.n_panels
        cdef Py_ssize_t splits = 1, chunk_splits = 1, index, room, chunk
        cdef char *result = <char *> address(out, True)
        if p.blocks == 0 or p.size == 0:
            memset(result, 0, p.size * itemsize)
            return
        p.x = <const char *> address(x, False)
        # Per thread: slab or lines, panels of grad_output, a block of it, and the runs of its segments; each on cache
        # lines of its own.
        room = p.slab_size + p.panel_size + p.grads_size + round_up(5 * p.run_count * (8 // itemsize), p.line)
        cdef bint direct = p.parts == 1 and not p.turned
        cdef char *rooms = allocate((0 if direct else p.parts * p.size) + team * room, itemsize)
        p.sums = result if direct else rooms + team * room * itemsize
        if p.parts < team:
            splits = min(ceil_div(team, p.parts), panels)
            chunk_splits = min(ceil_div(team, p.parts * splits), ceil_div(p.n_lines, p.chunk_lines))
        chunk = max(ceil_div(p.size, team), 256)
        with nogil:
            for index in prange(p.parts * splits * chunk_splits, schedule="static", num_threads=team):
                run_part(p, index // chunk_splits // splits, index // chunk_splits % splits, splits,
                         index % chunk_splits, chunk_splits, rooms + threadid() * room * itemsize)
            if p.turned:
                for index in prange(ceil_div(p.entries, SUM_ENTRIES), schedule="static", num_threads=team):
                    finish_turned(p, result, index * SUM_ENTRIES)
            elif p.parts > 1:
                for index in prange(ceil_div(p.size, chunk), schedule="static", num_threads=team):
                    p.k.sum_rows(result + index * chunk * itemsize, p.sums + index * chunk * itemsize, p.parts,
                                 p.size, min(chunk, p.size - index * chunk), 0)
        release(rooms)


cdef void finish_turned(const grad *p, char *result, Py_ssize_t first) noexcept nogil:
    """Add the parts of some entries, and bring them into the kernel's order: (output channel, entry) until now."""
    cdef Py_ssize_t itemsize = p.k.itemsize, count = min(SUM_ENTRIES, p.entries - first), channel
    cdef char *sums
    for channel in range(p.oc if p.parts > 1 else 0):
        sums = p.sums + (channel * p.entries + first) * itemsize
        p.k.sum_rows(sums, sums, p.parts, p.size, count, 0)
    p.k.pack(result + first * p.oc * itemsize, p.oc, p.sums + first * itemsize, count, 1, p.oc, p.entries)


cdef void run_part(grad *p, Py_ssize_t part, Py_ssize_t split, Py_ssize_t splits, Py_ssize_t chunk_split,
                   Py_ssize_t chunk_splits, char *room) noexcept nogil:
    """All blocks of one part of the batch, for the panels of one split and the chunks of lines of another."""
    cdef Py_ssize_t itemsize = p.k.itemsize, panels = p.groups * p.n_panels
    cdef Py_ssize_t first = part * p.blocks // p.parts, last = (part + 1) * p.blocks // p.parts
    cdef Py_ssize_t index, first_panel = split * panels // splits, last_panel = (split + 1) * panels // splits
    cdef Py_ssize_t group, panel
    cdef char *slab = room
    cdef char *packed = slab + p.slab_size * itemsize
    cdef char *grads = packed + p.panel_size * itemsize
    cdef char *sums = p.sums + (part * p.size if p.parts > 1 else 0) * itemsize
    cdef Py_ssize_t chunks = ceil_div(p.n_lines, p.chunk_lines)
    cdef block b
    cdef const char *x
    memset(&b, 0, sizeof(block))
    b.first_chunk, b.last_chunk = chunk_split * chunks // chunk_splits, (chunk_split + 1) * chunks // chunk_splits
    b.seg_k = <Py_ssize_t *> (grads + p.grads_size * itemsize)
    b.seg_len, b.tap_a = b.seg_k + p.run_count, b.seg_k + 2 * p.run_count
    b.tap_k, b.tap_len = b.seg_k + 3 * p.run_count, b.seg_k + 4 * p.run_count
    if p.slabbed:
        memset(slab, 0, p.slab_size * itemsize)
    for index in range(first, last):
        place_block(p, &b, index)
        b.grads = spread_block(p, &b, grads) if p.grad_output == NULL else block_grads(p, &b)
        # 0 * inf is nan: where grad_output is not finite the slab's zeros must not be multiplied, but left out.
        b.by_tap = p.by_tap or p.slabbed and not p.k.finite(b.grads, b.pixels * p.oc)
        x = block_input(p, &b, slab)
        if p.ahead:
            look_ahead(p, &b, index + 1 if index + 1 < last else index, last_panel - first_panel)
        for panel in range(first_panel, last_panel if p.turned else first_panel):
            run_turned(p, &b, panel, x, sums, index > first)
        if p.turned:
            continue
        for group in range(first_panel // p.n_panels, ceil_div(last_panel, p.n_panels)):
            run_group(p, &b, group, max(first_panel - group * p.n_panels, 0),
                      min(last_panel - group * p.n_panels, p.n_panels), x, slab, packed, sums, index > first)


cdef void place_block(const grad *p, block *b, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t length, run
    b.img = index // p.row_blocks * p.images
    b.images = min(p.images, p.n - b.img)
    b.row = index % p.row_blocks * p.rows
    b.rows = min(p.rows, p.gh - b.row)
    b.pixels = b.images * b.rows * p.gw
    length = p.gw * (b.rows if p.run_axes > 1 else 1) * (b.images if p.run_axes > 2 else 1)
    b.runs = b.pixels // length
    for run in range(b.runs):
        b.seg_k[run], b.seg_len[run] = run * length * (p.oc if p.turned else 1), length


cdef inline const char *block_grads(const grad *p, const block *b) noexcept nogil:
    return p.grad_output + (b.img * p.gh + b.row) * p.gw * p.oc * p.k.itemsize


cdef const char *spread_block(const grad *p, const block *b, char *to) noexcept nogil:
    """A block's part of grad_output, from the gradient of the pooling behind: the windows that meet its rows."""
    cdef Py_ssize_t row_size = p.gw * p.oc * p.k.itemsize, img, window
    cdef Py_ssize_t first = (b.row + p.pool.top) // p.pool.sh
    cdef Py_ssize_t last = min((b.row + b.rows - 1 + p.pool.top) // p.pool.sh + 1, p.pool.oh)
    cdef Py_ssize_t top = max(first * p.pool.sh - p.pool.top, 0)
    if first >= last:
        # Rows that no window covers.
        memset(to, 0, b.rows * row_size)
        return to
    for img in range(b.images):
        for window in range(first, last):
            spread_row(&p.pool, b.img + img, window, to + (img * p.gh - top) * row_size)
    return to + (b.row - top) * row_size


cdef void look_ahead(const grad *p, block *b, Py_ssize_t index, Py_ssize_t panels) noexcept nogil:
    """Note what block `index` will read of x and grad_output, to be fetched while this one is summed.

    1x1 convolutions of large images take 0.55 to 0.85 of their time (benchmarks/peers.py: mobilenet_v2:b2_expand).
    """
    cdef Py_ssize_t itemsize = p.k.itemsize, tiles
    cdef Py_ssize_t img = index // p.row_blocks * p.images, images = min(p.images, p.n - img)
    cdef Py_ssize_t row = index % p.row_blocks * p.rows, rows = min(p.rows, p.gh - row)
    cdef Py_ssize_t top = clip(row * p.row_step + p.row_first, 0, p.ih)
    cdef Py_ssize_t end = clip((row + rows - 1) * p.row_step + p.row_last + 1, top, p.ih) + (images - 1) * p.ih
    set_run(&b.next, 0, p.x + (img * p.ih + top) * p.iw * p.c * itemsize, (end - top) * p.iw * p.c * itemsize)
    set_run(&b.next, 1, p.grad_output + (img * p.gh + row) * p.gw * p.oc * itemsize,
            images * rows * p.gw * p.oc * itemsize)
    if p.turned:
        tiles = panels * ceil_div(p.oc, p.k.mr[min(ceil_div(p.run, p.k.lanes), p.k.nv_max) - 1])
    else:
        tiles = panels * ceil_div(p.entries, p.k.mr[(p.panel_first[1] - p.panel_first[0]) // p.k.lanes - 1])
    set_pace(&b.next, tiles * b.pixels)


cdef void run_group(grad *p, block *b, Py_ssize_t group, Py_ssize_t first_panel, Py_ssize_t last_panel, const char *x,
                    char *slab, char *packed, char *sums, int accumulate) noexcept nogil:
    """Add a block's share to a group's kernel, for some of its panels: some chunks of x's lines, each for all of these.
    """
    cdef Py_ssize_t itemsize = p.k.itemsize, chunk, head = -1, panel, count, i
    cdef const char *grads = b.grads + group * p.ng * itemsize
    # All panels stay in L1, and behind the last pixel there are cells for the lanes that are left: grad_output is read
    # in place. These lanes see the next pixel and are not stored.
    cdef bint in_place = (p.groups == 1 and (p.n_panels == 1 or b.pixels * p.oc * itemsize <= GRADS_BYTES)
                          and (p.grad_output == NULL
                               or ((b.img * p.gh + b.row) * p.gw + b.pixels - 1) * p.oc + p.panel_first[p.n_panels]
                               <= p.n * p.gh * p.gw * p.oc))
    b.first, b.last = 0, p.cg
    if not p.lined:
        x += group * p.cg * itemsize
    for chunk in range(b.first_chunk, b.last_chunk):
        if p.lined:
            b.first = chunk * p.chunk_lines * p.line
            b.last = min(b.first + p.chunk_lines * p.line, p.cg)
            fill_lines(p, b, group, slab)
        panel = first_panel
        while panel < last_panel:
            count = min(p.chunk, last_panel - panel)
            if not in_place and panel != head:
                p.k.pack_panels(packed, b.pixels, grads, b.pixels, p.oc, p.ng, p.panel_first + panel, count)
                head = panel
            for i in range(panel, panel + count):
                if in_place:
                    run_panel(p, b, group, i, x, grads + p.panel_first[i] * itemsize, p.oc, sums, accumulate)
                else:
                    run_panel(p, b, group, i, x,
                              packed + (p.panel_first[i] - p.panel_first[panel]) * b.pixels * itemsize,
                              p.panel_first[i + 1] - p.panel_first[i], sums, accumulate)
            panel += count
