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

from ._runtime cimport address, allocate, ceil_div, clip, isa_kernels, keep, kept_bytes, team_size
from .kernels cimport fc_kernels, fc_tile

cdef enum:
    BLOCK_PIXELS = 128               # a panel of grad_output, and the pixels of x beside it, stay in L1 or L2
    TAP_CHANNELS = 16                # from here on a tile of one tap alone is tall enough
    PARTS_MAX = 16                   # parts of the batch's sum; more than any small machine's threads
    PARTS_ELEMENTS = 1 << 20         # and not more of them than this many elements in all, 4 MB of float32

cdef struct block:
    Py_ssize_t img, images           # first image, how many
    Py_ssize_t row, rows             # first grid row, how many (of each image)
    Py_ssize_t pixels

cdef struct grad:
    const fc_kernels *k
    Py_ssize_t n, ih, iw, c          # the images
    Py_ssize_t gh, gw                # the grid: grad_output's pixels
    Py_ssize_t row_step, col_step
    Py_ssize_t row_first, row_last   # offsets of the first tap row and of the last, from the window's anchor
    Py_ssize_t col_first, col_last
    bint by_tap                      # padded, many channels: tap by tap, real cells only
    bint slabbed                     # padded, few channels: from a slab with zeros around the image
    Py_ssize_t images, rows          # of a block; rows < gh only if images == 1
    Py_ssize_t row_blocks, blocks
    Py_ssize_t img_stride, row_stride, slab_size     # of the memory that the tile reads: the image or the slab
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
    Py_ssize_t n_panels
    const Py_ssize_t *panel_v
    Py_ssize_t parts, size, panel_size, run_count
    const char *x
    const char *grad_output
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
        self._make_blocks()
        p.a_off = keep(self._kept, [(row - p.row_first) * p.row_stride + (col - p.col_first) * p.c + i
                                    for row in tap_rows for col in tap_cols for i in range(p.cg)])
        p.c_off = keep(self._kept, [i * p.oc for i in range(p.entries)])
        self._make_runs()
        cdef Py_ssize_t vectors = ceil_div(p.ng, p.k.lanes)
        p.n_panels = ceil_div(vectors, p.k.nv_max)
        p.panel_v = keep(self._kept, [i * vectors // max(p.n_panels, 1) for i in range(p.n_panels + 1)])
        p.panel_size = p.images * p.rows * p.gw * p.k.nv_max * p.k.lanes
        p.parts = clip(min(p.blocks, PARTS_ELEMENTS // max(p.size, 1)), 1, PARTS_MAX)
        self.nbytes = kept_bytes(self._kept)

    cdef _make_blocks(self):
        """Cut the grid into blocks of about BLOCK_PIXELS pixels: some whole images, or some rows of one."""
        cdef grad *p = &self.p
        cdef Py_ssize_t plane = max(p.gh * p.gw, 1), in_rows
        p.images, p.rows = 1, p.gh
        if plane < BLOCK_PIXELS:
            p.images = ceil_div(p.n, ceil_div(p.n, BLOCK_PIXELS // plane)) if p.n else 1
        else:
            p.rows = ceil_div(p.gh, ceil_div(p.gh, max(BLOCK_PIXELS // p.gw, 1)))
        p.row_blocks = ceil_div(p.gh, max(p.rows, 1))
        p.blocks = ceil_div(p.n, p.images) * p.row_blocks
        cdef bint padded = (p.row_first < 0 or p.col_first < 0 or (p.gh - 1) * p.row_step + p.row_last >= p.ih
                            or (p.gw - 1) * p.col_step + p.col_last >= p.iw)
        p.by_tap = padded and p.cg >= TAP_CHANNELS
        p.slabbed = padded and not p.by_tap
        p.row_stride, p.img_stride, p.slab_size = p.iw * p.c, p.ih * p.iw * p.c, 0
        if p.slabbed:
            in_rows = (p.rows - 1) * p.row_step + p.row_last - p.row_first + 1
            p.row_stride = ((p.gw - 1) * p.col_step + p.col_last - p.col_first + 1) * p.c
            p.img_stride = in_rows * p.row_stride
            p.slab_size = p.images * p.img_stride

    cdef _make_runs(self):
        """Merge the axes (image, row, column) of a block from the inside while one step serves them all."""
        cdef grad *p = &self.p
        cdef Py_ssize_t img, r
        cdef Py_ssize_t row_step = p.row_step * p.row_stride
        p.a_step, p.run_axes = p.col_step * p.c, 1
        if p.gw == 1:
            p.a_step = row_step
        if p.gw == 1 or p.rows == 1 or row_step == p.gw * p.a_step:
            p.run_axes = 2
            if p.gw == 1 and p.rows == 1:
                p.a_step = p.img_stride
            if p.gw * p.rows == 1 or p.images == 1 or p.img_stride == p.gw * p.rows * p.a_step:
                p.run_axes = 3
        rows = p.rows if p.run_axes == 1 else 1
        images = p.images if p.run_axes < 3 else 1
        p.seg_a = keep(self._kept, [img * p.img_stride + r * row_step for img in range(images) for r in range(rows)])
        p.run_count = p.images * p.rows

    def __call__(self, x, grad_output, out):
        """The gradient: x (n, ih, iw, c), grad_output (n, oh, ow, oc) -> out (kh, kw, c // groups, oc)."""
        cdef grad p = self.p
        cdef int team = team_size(self.work)
        cdef Py_ssize_t itemsize = p.k.itemsize, panels = p.groups * p.n_panels
        cdef Py_ssize_t splits, index, room, chunk
        cdef char *result = <char *> address(out, True)
        if p.blocks == 0 or p.size == 0:
            memset(result, 0, p.size * itemsize)
            return
        p.x, p.grad_output = <const char *> address(x, False), <const char *> address(grad_output, False)
        # Per thread: slab, panel of grad_output, and the runs (seg_k, seg_len, seg_a).
        room = p.slab_size + p.panel_size + 3 * p.run_count * (8 // itemsize) + 128 // itemsize
        cdef char *rooms = allocate((p.parts * p.size if p.parts > 1 else 0) + team * room, itemsize)
        p.sums = result if p.parts == 1 else rooms + team * room * itemsize
        splits = 1 if p.parts >= team else min(ceil_div(team, p.parts), panels)
        chunk = max(ceil_div(p.size, team), 256)
        with nogil:
            for index in prange(p.parts * splits, schedule="static", num_threads=team):
                run_part(&p, index // splits, index % splits, splits, rooms + threadid() * room * itemsize)
            if p.parts > 1:
                for index in prange(ceil_div(p.size, chunk), schedule="static", num_threads=team):
                    p.k.sum_rows(result + index * chunk * itemsize, p.sums + index * chunk * itemsize, p.parts,
                                 p.size, min(chunk, p.size - index * chunk), 0)
        free(rooms)


cdef void run_part(grad *p, Py_ssize_t part, Py_ssize_t split, Py_ssize_t splits, char *room) noexcept nogil:
    """All blocks of one part of the batch, for the panels of one split."""
    cdef Py_ssize_t itemsize = p.k.itemsize, panels = p.groups * p.n_panels
    cdef Py_ssize_t first = part * p.blocks // p.parts, last = (part + 1) * p.blocks // p.parts
    cdef Py_ssize_t index, panel, length, runs, r
    cdef char *packed = room + p.slab_size * itemsize
    cdef Py_ssize_t *seg_k = <Py_ssize_t *> (<size_t> (packed + p.panel_size * itemsize + 63) & ~(<size_t> 63))
    cdef Py_ssize_t *seg_len = seg_k + p.run_count
    cdef block b
    cdef const char *x
    memset(room, 0, p.slab_size * itemsize)
    for index in range(first, last):
        b.img = index // p.row_blocks * p.images
        b.images = min(p.images, p.n - b.img)
        b.row = index % p.row_blocks * p.rows
        b.rows = min(p.rows, p.gh - b.row)
        b.pixels = b.images * b.rows * p.gw
        x = block_input(p, &b, room)
        length = p.gw * (b.rows if p.run_axes > 1 else 1) * (b.images if p.run_axes > 2 else 1)
        runs = b.pixels // length
        for panel in range(split * panels // splits, (split + 1) * panels // splits):
            for r in range(runs):
                seg_k[r] = r * length
                seg_len[r] = length
            run_panel(p, &b, panel // p.n_panels, panel % p.n_panels, x, packed, seg_k, seg_len, runs,
                      p.sums + (part * p.size if p.parts > 1 else 0) * itemsize, index > first)


cdef const char *block_input(const grad *p, const block *b, char *slab) noexcept nogil:
    """The cell under the window's first row and column at the block's first pixel: in the image or in the slab.

    The slab's cells left and right of the image are never written, so they stay the zeros they were at the start.
    """
    cdef Py_ssize_t itemsize = p.k.itemsize, img, row, source, top = b.row * p.row_step + p.row_first
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


cdef void run_panel(grad *p, const block *b, Py_ssize_t group, Py_ssize_t panel, const char *x, char *packed,
                    Py_ssize_t *seg_k, Py_ssize_t *seg_len, Py_ssize_t runs, char *sums,
                    int accumulate) noexcept nogil:
    """Add a block's share to every entry of the group's kernel, for one panel of output channels."""
    cdef Py_ssize_t itemsize = p.k.itemsize, lanes = p.k.lanes, nv = p.panel_v[panel + 1] - p.panel_v[panel]
    cdef Py_ssize_t mr = p.k.mr[nv - 1], first = p.panel_v[panel] * lanes, tile, tiles, entry
    cdef Py_ssize_t pixel = (b.img * p.gh + b.row) * p.gw
    cdef const char *grads = p.grad_output + (pixel * p.oc + group * p.ng + first) * itemsize
    cdef fc_tile t
    t.a = x + group * p.cg * itemsize
    t.a_step = p.a_step
    t.c = sums + (group * p.ng + first) * itemsize
    t.n = min(nv * lanes, p.ng - first)
    t.bias = NULL
    t.whole_rows = 0
    t.activation = 0
    t.accumulate = accumulate
    t.seg_a, t.seg_k, t.seg_len, t.n_segs = p.seg_a, seg_k, seg_len, runs
    if t.n == p.oc and (pixel + b.pixels) * p.oc + nv * lanes - p.oc <= p.n * p.gh * p.gw * p.oc:
        # One panel holds all channels: read in place. Lanes behind them see the next pixel and are not stored.
        t.b, t.b_step = grads, p.oc
    else:
        t.b, t.b_step = packed, nv * lanes
        p.k.pack(packed, t.b_step, grads, b.pixels, p.oc, t.n, 1)
    # 0 * inf is nan: where grad_output is not finite the slab's zeros must not be multiplied, but left out.
    if p.by_tap or p.slabbed and not p.k.finite(t.b, b.pixels * t.b_step):
        run_taps(p, b, &t, nv, seg_k, seg_len)
        return
    tiles = ceil_div(p.entries, mr)
    for tile in range(tiles):
        entry = tile * p.entries // tiles
        t.mr = (tile + 1) * p.entries // tiles - entry
        t.a_off, t.c_off = p.a_off + entry, p.c_off + entry
        p.k.tile[nv - 1](&t)


cdef void run_taps(grad *p, const block *b, fc_tile *t, Py_ssize_t nv, Py_ssize_t *seg_k,
                   Py_ssize_t *seg_len) noexcept nogil:
    """Tap by tap, over the pixels whose tap falls on a cell of the image."""
    cdef Py_ssize_t *seg_a = seg_len + p.run_count
    cdef Py_ssize_t tap, tile, tiles = ceil_div(p.cg, p.k.mr[nv - 1]), entry, img, r, row, col, first, last
    t.seg_a, t.seg_k, t.seg_len = seg_a, seg_k, seg_len
    t.a_step = p.col_step * p.c
    for tap in range(p.n_rows * p.n_cols):
        col = p.tap_cols[tap % p.n_cols]
        first = ceil_div(max(-col, 0), p.col_step)
        last = min(ceil_div(max(p.iw - col, 0), p.col_step), p.gw)
        t.n_segs = 0
        for img in range(b.images):
            for r in range(b.rows):
                row = (b.row + r) * p.row_step + p.tap_rows[tap // p.n_cols]
                if 0 <= row < p.ih and first < last:
                    seg_a[t.n_segs] = img * p.img_stride + r * p.row_step * p.row_stride + first * p.col_step * p.c
                    seg_k[t.n_segs] = (img * b.rows + r) * p.gw + first
                    seg_len[t.n_segs] = last - first
                    t.n_segs += 1
        for tile in range(tiles):
            entry = tap * p.cg + tile * p.cg // tiles
            t.mr = tap * p.cg + (tile + 1) * p.cg // tiles - entry
            t.a_off, t.c_off = p.a_off + entry, p.c_off + entry
            p.k.tile[nv - 1](t)
