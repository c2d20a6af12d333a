"""Gradient of a convolution with respect to its kernel, and so of a dense layer with respect to its weights.

A tile's rows are entries (kh, kw, ic) of the kernel, its columns output channels; it sums over the pixels of a block:
x is broadcast straight from the image, grad_output is read in place or from a packed panel. Where the window leaves
the image, a tile keeps to one tap and to the pixels whose tap falls on a real cell; with few channels that would leave
tiles short, so these read a zero-padded slab of the block's rows, which stays in L1. The sum over the batch is cut into
a FIXED number of parts, added in a fixed order, so the bits do not depend on the number of threads (compare
arXiv:1808.05567, section II-J).
"""

from cython.parallel cimport prange, threadid
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from ._ahead cimport ahead, set_pace, set_run, take
from ._blocks cimport fair_images, is_narrow
from ._pooling cimport make_columns, make_pool, pool, spread_row
from ._runtime cimport address, allocate, ceil_div, clip, isa_kernels, keep, kept_bytes, round_up, team_size
from .kernels cimport FC_CACHE_LINE, fc_kernels, fc_tile

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

cdef struct block:
    Py_ssize_t img, images           # first image, how many
    Py_ssize_t row, rows             # first grid row, how many (of each image)
    Py_ssize_t pixels
    const char *grads                # of the first pixel
    bint by_tap                      # tap by tap, real cells only
    Py_ssize_t first, last           # channels of the group that are at hand
    Py_ssize_t first_chunk, last_chunk               # of lines, that this thread does
    # The runs of the tile's segments: seg_k and seg_len of the whole block; tables for the taps.
    Py_ssize_t runs
    Py_ssize_t *seg_k
    Py_ssize_t *seg_len
    Py_ssize_t *tap_a
    Py_ssize_t *tap_k
    Py_ssize_t *tap_len
    ahead next                       # what the next block will read of x and of grad_output

cdef struct grad:
    const fc_kernels *k
    Py_ssize_t n, ih, iw, c          # the images
    Py_ssize_t gh, gw                # the grid: grad_output's pixels
    Py_ssize_t row_step, col_step
    Py_ssize_t row_first, row_last   # offsets of the first tap row and of the last, from the window's anchor
    Py_ssize_t col_first, col_last
    bint by_tap                      # padded, many channels: tap by tap, real cells only
    bint slabbed                     # padded, few channels: from a slab with zeros around the image
    bint lined                       # many channels: from a copy in lines, see fill_lines
    bint sampled                     # lined, one tap: only the cells that it meets are copied
    bint ahead                       # each value is used too few times to hide how it comes from memory
    Py_ssize_t images, rows          # of a block; rows < gh only if images == 1
    Py_ssize_t row_blocks, blocks
    # The memory that the tile reads, the image, the slab or the lines, in elements: from image to image, from row to
    # row, from cell to cell, from grid row to grid row, from grid column to grid column, from line to line.
    Py_ssize_t img_stride, row_stride, cell_stride, grid_row_stride, grid_col_stride, line_stride
    Py_ssize_t slab_rows, slab_cols, slab_size       # the copy: cells of one image's part, elements in all
    Py_ssize_t groups, cg, ng, oc
    Py_ssize_t n_rows, n_cols
    const Py_ssize_t *tap_rows
    const Py_ssize_t *tap_cols
    # Entries (tap, channel) of one group's kernel: their offsets in x from the window's corner, in the gradient.
    Py_ssize_t entries
    const Py_ssize_t *a_off
    const Py_ssize_t *c_off
    # A block's pixels as runs of one constant step: a run covers a row, whole images, or the whole block.
    Py_ssize_t a_step
    int run_axes
    const Py_ssize_t *seg_a
    # Panels of output channels and lines of input channels: where each starts, and the end.
    Py_ssize_t n_panels, n_lines, line
    const Py_ssize_t *panel_first
    const Py_ssize_t *line_first
    Py_ssize_t chunk, chunk_lines    # panels of grad_output, and lines of x, that are copied together
    Py_ssize_t parts, size, panel_size, run_count
    const char *x
    const char *grad_output          # NULL: made block by block from the gradient of a max pooling behind
    pool pool
    Py_ssize_t grads_size            # elements of the memory for that
    char *sums


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
        self._make_blocks()
        p.a_off = keep(self._kept, [(row - p.row_first) * p.row_stride + (col - p.col_first) * p.cell_stride
                                    + i // p.line % p.chunk_lines * p.line_stride + i % p.line
                                    for row in tap_rows for col in tap_cols for i in range(p.cg)])
        p.c_off = keep(self._kept, [i * p.oc for i in range(p.entries)])
        self._make_runs()
        cdef Py_ssize_t vectors = ceil_div(p.ng, p.k.lanes)
        p.n_panels = ceil_div(vectors, p.k.nv_max)
        p.panel_first = keep(self._kept, [i * vectors // max(p.n_panels, 1) * p.k.lanes
                                          for i in range(p.n_panels + 1)])
        cdef Py_ssize_t pixels = p.images * p.rows * p.gw, width = p.k.nv_max * p.k.lanes
        p.chunk = clip(CHUNK_BYTES // max(pixels * width * p.k.itemsize, 1), 1, max(p.n_panels, 1))
        p.panel_size = round_up(pixels * width * p.chunk, p.line)
        p.parts = clip(min(p.blocks, PARTS_ELEMENTS // max(p.size, 1)), 1, PARTS_MAX)
        self.nbytes = kept_bytes(self._kept)

    cdef _make_blocks(self):
        """Cut the grid into blocks of about so many pixels: some whole images, or some rows of one."""
        cdef grad *p = &self.p
        cdef Py_ssize_t plane = max(p.gh * p.gw, 1), pixels = BLOCK_PIXELS
        if p.cg < TAP_CHANNELS:
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
        p.by_tap = padded and p.cg >= TAP_CHANNELS
        p.slabbed = padded and not p.by_tap
        p.lined = p.cg >= TAP_CHANNELS and p.col_step * p.c * p.k.itemsize >= LINED_BYTES
        p.sampled = p.lined and p.n_rows == 1 and p.n_cols == 1
        cdef double memory = <double> p.n * (p.ih * p.iw * p.c + p.gh * p.gw * p.oc) * p.k.itemsize
        p.ahead = memory >= AHEAD_MIN and self.work < AHEAD_SUMS * memory and p.ng >= p.line
        p.cell_stride = p.line if p.lined else p.c
        p.slab_rows = p.rows if p.sampled else (p.rows - 1) * p.row_step + p.row_last - p.row_first + 1
        p.slab_cols = p.gw if p.sampled else (p.gw - 1) * p.col_step + p.col_last - p.col_first + 1
        p.row_stride, p.img_stride = p.iw * p.c, p.ih * p.iw * p.c
        if p.slabbed or p.lined:
            p.row_stride = p.slab_cols * p.cell_stride
            p.img_stride = p.slab_rows * p.row_stride
        p.grid_row_stride = p.row_stride * (1 if p.sampled else p.row_step)
        p.grid_col_stride = p.cell_stride * (1 if p.sampled else p.col_step)
        p.slab_size, p.line_stride, p.chunk_lines = 0, p.line, p.n_lines
        if p.slabbed:
            p.slab_size = round_up(p.images * p.img_stride, p.line)
        elif p.lined:
            # An odd number of lines apart, so that a cell's lines are not all in one set of the cache.
            p.line_stride = (p.images * p.slab_rows * p.slab_cols | 1) * p.line
            p.chunk_lines = clip(CHUNK_BYTES // (p.line_stride * p.k.itemsize), 1, p.n_lines)
            p.chunk_lines = ceil_div(p.n_lines, ceil_div(p.n_lines, p.chunk_lines))
            p.slab_size = p.chunk_lines * p.line_stride

    cdef _make_runs(self):
        """Merge the axes (image, row, column) of a block from the inside while one step serves them all."""
        cdef grad *p = &self.p
        cdef Py_ssize_t img, r
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
            free(columns)

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
        cdef char *rooms = allocate((p.parts * p.size if p.parts > 1 else 0) + team * room, itemsize)
        p.sums = result if p.parts == 1 else rooms + team * room * itemsize
        if p.parts < team:
            splits = min(ceil_div(team, p.parts), panels)
            chunk_splits = min(ceil_div(team, p.parts * splits), ceil_div(p.n_lines, p.chunk_lines))
        chunk = max(ceil_div(p.size, team), 256)
        with nogil:
            for index in prange(p.parts * splits * chunk_splits, schedule="static", num_threads=team):
                run_part(p, index // chunk_splits // splits, index // chunk_splits % splits, splits,
                         index % chunk_splits, chunk_splits, rooms + threadid() * room * itemsize)
            if p.parts > 1:
                for index in prange(ceil_div(p.size, chunk), schedule="static", num_threads=team):
                    p.k.sum_rows(result + index * chunk * itemsize, p.sums + index * chunk * itemsize, p.parts,
                                 p.size, min(chunk, p.size - index * chunk), 0)
        free(rooms)


cdef void run_part(grad *p, Py_ssize_t part, Py_ssize_t split, Py_ssize_t splits, Py_ssize_t chunk_split,
                   Py_ssize_t chunk_splits, char *room) noexcept nogil:
    """All blocks of one part of the batch, for the panels of one split and the chunks of lines of another."""
    cdef Py_ssize_t itemsize = p.k.itemsize, panels = p.groups * p.n_panels
    cdef Py_ssize_t first = part * p.blocks // p.parts, last = (part + 1) * p.blocks // p.parts
    cdef Py_ssize_t index, first_panel = split * panels // splits, last_panel = (split + 1) * panels // splits, group
    cdef char *slab = room
    cdef char *packed = slab + p.slab_size * itemsize
    cdef char *grads = packed + p.panel_size * itemsize
    cdef char *sums = p.sums + (part * p.size if p.parts > 1 else 0) * itemsize
    cdef Py_ssize_t chunks = ceil_div(p.n_lines, p.chunk_lines)
    cdef block b
    cdef const char *x
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
        b.seg_k[run], b.seg_len[run] = run * length, length


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


cdef const char *block_input(const grad *p, const block *b, char *slab) noexcept nogil:
    """The cell under the window's first row and column at the block's first pixel: in the image or in the slab.

    The slab's cells left and right of the image are never written, so they stay the zeros they were at the start.
    """
    cdef Py_ssize_t itemsize = p.k.itemsize, img, row, source, top = b.row * p.row_step + p.row_first
    if p.lined:
        return slab
    if not p.slabbed:
        return p.x + (b.img * p.img_stride + top * p.row_stride + p.col_first * p.c) * itemsize
    cdef Py_ssize_t width = p.row_stride // p.c
    cdef Py_ssize_t before = clip(-p.col_first, 0, width)
    cdef Py_ssize_t count = clip(p.iw - p.col_first - before, 0, width - before)
    cdef const char *image
    cdef char *to
    for img in range(b.images):
        image = p.x + ((b.img + img) * p.ih * p.iw + p.col_first + before) * p.c * itemsize
        for row in range((b.rows - 1) * p.row_step + p.row_last - p.row_first + 1):
            to = slab + (img * p.img_stride + row * p.row_stride + before * p.c) * itemsize
            source = top + row
            if 0 <= source < p.ih:
                memcpy(to, image + source * p.iw * p.c * itemsize, count * p.c * itemsize)
            else:
                memset(to, 0, count * p.c * itemsize)
    return slab


cdef void fill_lines(const grad *p, const block *b, Py_ssize_t group, char *lines) noexcept nogil:
    """Copy the cells of the image that a block's windows meet, a cache line of channels b.first .. b.last at a time.

        lines [channel / line][image][row][column][line]

    A tile reads some channels of one cell after the other: from the image these are a pixel apart, which for many
    channels is another page, and for powers of two the same set of the cache. Cells outside the image are never read.
    """
    cdef Py_ssize_t row_step = p.row_step if p.sampled else 1, col_step = p.col_step if p.sampled else 1
    cdef Py_ssize_t top = b.row * p.row_step + p.row_first, images = b.images, img, row
    cdef Py_ssize_t rows = b.rows if p.sampled else (b.rows - 1) * p.row_step + p.row_last - p.row_first + 1
    cdef Py_ssize_t first_row = ceil_div(max(-top, 0), row_step)
    cdef Py_ssize_t last_row = min(ceil_div(max(p.ih - top, 0), row_step), rows)
    cdef Py_ssize_t col = ceil_div(max(-p.col_first, 0), col_step)
    cdef Py_ssize_t count = min(ceil_div(max(p.iw - p.col_first, 0), col_step), p.slab_cols) - col
    cdef Py_ssize_t itemsize = p.k.itemsize, source
    cdef const char *x = p.x + ((b.img * p.ih * p.iw + p.col_first) * p.c + group * p.cg + b.first) * itemsize
    if row_step == 1 and col_step == 1 and p.col_first == 0 and count == p.slab_cols == p.iw:
        # Whole rows follow each other in memory, whole images too.
        count, last_row = count * (last_row - first_row), min(last_row, first_row + 1)
        if top == 0 and rows == p.ih == p.slab_rows:
            count, images = count * images, 1
    for img in range(images):
        for row in range(first_row, last_row):
            source = (img * p.ih * p.iw + (top + row * row_step) * p.iw + col * col_step) * p.c
            p.k.pack_panels(lines + ((img * p.slab_rows + row) * p.slab_cols + col) * p.line * itemsize,
                            p.line_stride // p.line, x + source * itemsize, count, p.c * col_step, b.last - b.first,
                            p.line_first, ceil_div(b.last - b.first, p.line))


cdef void run_panel(grad *p, block *b, Py_ssize_t group, Py_ssize_t panel, const char *x, const char *grads,
                    Py_ssize_t grads_step, char *sums, int accumulate) noexcept nogil:
    """Add a block's share to the entries of the channels at hand, for one panel of output channels."""
    cdef Py_ssize_t itemsize = p.k.itemsize, first = p.panel_first[panel], tap
    cdef Py_ssize_t nv = (p.panel_first[panel + 1] - first) // p.k.lanes
    cdef fc_tile t
    t.a, t.a_step = x, p.a_step
    t.b, t.b_step = grads, grads_step
    t.c = sums + (group * p.ng + first) * itemsize
    t.n = min(nv * p.k.lanes, p.ng - first)
    t.bias = NULL
    t.whole_rows = 0
    t.activation = 0
    t.accumulate = accumulate
    t.seg_a, t.seg_k, t.seg_len, t.n_segs = p.seg_a, b.seg_k, b.seg_len, b.runs
    if b.by_tap:
        run_taps(p, b, &t, nv)
    elif b.last - b.first == p.cg:
        run_tiles(p, b, &t, nv, 0, p.entries)
    else:
        for tap in range(p.n_rows * p.n_cols):
            run_tiles(p, b, &t, nv, tap * p.cg + b.first, b.last - b.first)


cdef void run_taps(grad *p, block *b, fc_tile *t, Py_ssize_t nv) noexcept nogil:
    """Tap by tap, over the pixels whose tap falls on a cell of the image."""
    cdef Py_ssize_t tap, img, r, row, col, first, last
    t.seg_a, t.seg_k, t.seg_len = b.tap_a, b.tap_k, b.tap_len
    t.a_step = p.grid_col_stride
    for tap in range(p.n_rows * p.n_cols):
        col = p.tap_cols[tap % p.n_cols]
        first = ceil_div(max(-col, 0), p.col_step)
        last = min(ceil_div(max(p.iw - col, 0), p.col_step), p.gw)
        t.n_segs = 0
        for img in range(b.images):
            for r in range(b.rows):
                row = (b.row + r) * p.row_step + p.tap_rows[tap // p.n_cols]
                if 0 <= row < p.ih and first < last:
                    b.tap_a[t.n_segs] = img * p.img_stride + r * p.grid_row_stride + first * p.grid_col_stride
                    b.tap_k[t.n_segs] = (img * b.rows + r) * p.gw + first
                    b.tap_len[t.n_segs] = last - first
                    t.n_segs += 1
        run_tiles(p, b, t, nv, tap * p.cg + b.first, b.last - b.first)


cdef void run_tiles(grad *p, block *b, fc_tile *t, Py_ssize_t nv, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """The tiles of `count` entries, as even in height as they come."""
    cdef Py_ssize_t tile, tiles = ceil_div(count, p.k.mr[nv - 1]), entry
    for tile in range(tiles):
        entry = first + tile * count // tiles
        t.mr = first + (tile + 1) * count // tiles - entry
        t.a_off, t.c_off = p.a_off + entry, p.c_off + entry
        if p.ahead:
            t.ahead, t.ahead_step = take(&b.next, b.pixels), b.next.step
            p.k.fetching[nv - 1](t)
        else:
            p.k.tile[nv - 1](t)
