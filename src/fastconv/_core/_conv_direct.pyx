"""Direct convolution over NHWC images: forward, and grad_input, which is the same sweep with rotated taps.

The vector lanes hold output channels, a tile's rows are output pixels, each with a pointer of its own (indirect
convolution, arXiv:1907.02129). Neither the image nor its patches are rearranged or padded (zero-memory-overhead
convolution, arXiv:1809.10170): the pixels of a block are sorted into regions whose windows meet the same taps, so a
tile at the border reads and multiplies real cells only. Padding costs nothing, and can turn no inf into a nan.
"""

from array import array

from cython.parallel cimport prange
from libc.stdlib cimport free

from ._runtime cimport active_kernels, address, allocate, ceil_div, keep, team_size
from .kernels cimport fc_kernels, fc_tile

cdef enum:
    BLOCK_BYTES = 96 * 1024          # of input and output; with a weight panel they should stay in L2
    BLOCK_PIXELS_MIN = 48            # enough tiles to read a weight panel for
    BLOCK_COLS_MAX = 4096            # bounds the tables of very wide images
    BLOCKS_WANTED = 8                # where there is work for them: no thread waits long for the last block

cdef struct region:
    # Pixels first .. first + per_image * images of the offset tables, in the order (image, row, column), whose
    # windows meet the taps of segments seg .. seg + n_segs.
    Py_ssize_t first, per_image, seg, n_segs

cdef struct kind:
    # Blocks of one shape and one position relative to the borders share their regions, the largest first.
    Py_ssize_t first, count

cdef struct conv:
    const fc_kernels *k
    Py_ssize_t n, gh, gw                             # images and the grid of output pixels
    Py_ssize_t images, rows, cols                    # of a block; several images only if it holds them whole
    Py_ssize_t row_blocks, col_blocks, blocks
    Py_ssize_t a_img, a_row, a_col                   # elements of x per image, grid row, grid column
    Py_ssize_t c_first, c_img, c_row, c_col          # the same of the output
    Py_ssize_t groups, cg, ng                        # channels of a group: input, output
    # Where each tap's weights start in the kernel array, and its strides: input channel, output channel, group.
    Py_ssize_t taps
    const Py_ssize_t *tap_weights
    Py_ssize_t k_stride, j_stride, group_stride
    Py_ssize_t depth                                 # taps * cg: rows of a packed panel
    const Py_ssize_t *kind_of                        # of block (row block, column block)
    const kind *kinds
    const region *regions
    const Py_ssize_t *seg_a
    const Py_ssize_t *seg_k
    const Py_ssize_t *seg_len
    const Py_ssize_t *a_off
    const Py_ssize_t *c_off
    Py_ssize_t n_panels, n_vectors                   # panel p holds the vectors panel_v[p] .. panel_v[p + 1]
    const Py_ssize_t *panel_v
    bint side_by_side                                # a block's output is one run of memory, written by one panel
    # This call's arrays.
    const char *x
    const char *kernel
    const char *bias
    char *packed
    char *packed_bias
    char *out
    int activation


cdef class ConvPlan:
    """A convolution's geometry for one instruction set and element type; made once per problem, run many times.

    All arguments are integers or sequences of integers, already checked; fastconv.ops.conv fills them for forward
    and for grad_input. The window of grid point (r, q) has its anchor on the image's cell (r*row_step, q*col_step);
    tap_rows and tap_cols are the ascending offsets of its taps from there, tap_weights where the weights of each
    (row, column) start in the kernel array.
    """

    cdef conv p
    cdef list _kept
    cdef readonly double work

    def __cinit__(self, *, int itemsize, tuple image, tuple grid, tuple steps, tap_rows, tap_cols, tap_weights,
                  Py_ssize_t groups, Py_ssize_t group_inputs, Py_ssize_t group_outputs, tuple weight_strides,
                  tuple out_strides):
        # image: (n, ih, iw, c); grid: (gh, gw); steps: input cells per grid row and column;
        # weight_strides: (input channel, output channel, group); out_strides: (first, image, row, column)
        cdef conv *p = &self.p
        self._kept = []
        p.k = active_kernels(itemsize)
        p.n, ih, iw, c = image
        p.gh, p.gw = grid
        row_step, col_step = steps
        p.a_img, p.a_row, p.a_col = ih * iw * c, row_step * iw * c, col_step * c
        p.c_first, p.c_img, p.c_row, p.c_col = out_strides
        p.groups, p.cg, p.ng = groups, group_inputs, group_outputs
        p.k_stride, p.j_stride, p.group_stride = weight_strides
        p.taps = len(tap_rows) * len(tap_cols)
        p.tap_weights = keep(self._kept, tap_weights)
        p.depth = p.taps * p.cg
        self.work = <double> p.n * p.gh * p.gw * p.groups * p.ng * p.depth

        self._make_blocks(max(BLOCK_BYTES // ((row_step * col_step * c + groups * group_outputs) * itemsize), 1))
        row_ranges = [met_taps(r * row_step, tap_rows, ih) for r in range(p.gh)]
        col_ranges = [met_taps(q * col_step, tap_cols, iw) for q in range(p.gw)]
        segments = self._make_segments([offset * iw * c for offset in tap_rows], tap_cols, set(col_ranges), c)
        self._make_regions(row_ranges, col_ranges, segments)
        self._make_panels()

    cdef _make_blocks(self, Py_ssize_t pixels):
        """Cut the grid into blocks of about `pixels` pixels: some whole images, or some rows of one, even in size."""
        cdef conv *p = &self.p
        cdef Py_ssize_t plane = max(p.gh * p.gw, 1)
        pixels = max(min(pixels, p.n * plane // BLOCKS_WANTED), BLOCK_PIXELS_MIN)
        p.images, p.rows, p.cols = 1, p.gh, p.gw
        if plane < pixels:
            p.images = ceil_div(p.n, ceil_div(p.n, pixels // plane)) if p.n else 1
        elif p.gw <= BLOCK_COLS_MAX:
            p.rows = ceil_div(p.gh, ceil_div(p.gh, max(pixels // p.gw, 1)))
        else:
            p.rows, p.cols = 1, BLOCK_COLS_MAX
        p.row_blocks = ceil_div(p.gh, max(p.rows, 1))
        p.col_blocks = ceil_div(p.gw, max(p.cols, 1))
        p.blocks = ceil_div(p.n, p.images) * p.row_blocks * p.col_blocks

    cdef dict _make_segments(self, tap_rows, tap_cols, set ranges, Py_ssize_t c):
        """Segments of every tap row for each range of tap columns: {range: (first segment, segments of a row)}.

        Neighbouring tap columns that take all channels are one run of memory, (kw, c), if they are 1 apart.
        """
        cdef conv *p = &self.p
        seg_a, seg_k, seg_len, found = [], [], [], {}
        for first, last in ranges:
            start = len(seg_a)
            for i, row in enumerate(tap_rows):
                for j in range(first, last):
                    if p.groups == 1 and j > first and tap_cols[j] == tap_cols[j - 1] + 1:
                        seg_len[len(seg_len) - 1] += p.cg
                        continue
                    seg_a.append(row + tap_cols[j] * c)
                    seg_k.append((i * len(tap_cols) + j) * p.cg)
                    seg_len.append(p.cg)
            found[first, last] = start, (len(seg_a) - start) // max(len(tap_rows), 1)
        p.seg_a, p.seg_k, p.seg_len = keep(self._kept, seg_a), keep(self._kept, seg_k), keep(self._kept, seg_len)
        return found

    cdef _make_regions(self, list row_ranges, list col_ranges, dict segments):
        """Sort every kind of block's pixels into regions, and note where block and output have them."""
        cdef conv *p = &self.p
        cdef Py_ssize_t img, r, q
        kind_of, kinds, regions, seen = [], [], [], {}
        a_off, c_off = array("q"), array("q")
        col_parts = [tuple(col_ranges[q:q + p.cols]) for q in range(0, p.gw, max(p.cols, 1))]
        for r in range(0, p.gh, max(p.rows, 1)):
            row_part = tuple(row_ranges[r:r + p.rows])
            for col_part in col_parts:
                key = row_part, col_part
                if key not in seen:
                    seen[key] = len(seen)
                    new = []
                    for row_range, in_rows in positions(row_part).items():
                        for col_range, in_cols in positions(col_part).items():
                            start, per_row = segments[col_range]
                            new.append((in_rows, in_cols, start + row_range[0] * per_row,
                                        (row_range[1] - row_range[0]) * per_row))
                    # The largest first: see side_by_side.
                    new.sort(key=lambda found: -len(found[0]) * len(found[1]))
                    kinds += [len(regions) // 4, len(new)]
                    for in_rows, in_cols, seg, n_segs in new:
                        regions += [len(a_off), len(in_rows) * len(in_cols), seg, n_segs]
                        for img in range(p.images):
                            for i in in_rows:
                                for j in in_cols:
                                    a_off.append(img * p.a_img + <Py_ssize_t> i * p.a_row + <Py_ssize_t> j * p.a_col)
                                    c_off.append(img * p.c_img + <Py_ssize_t> i * p.c_row + <Py_ssize_t> j * p.c_col)
                kind_of.append(seen[key])
        p.kind_of = keep(self._kept, kind_of)
        # The structs are all Py_ssize_t, so an array of integers is an array of them.
        p.kinds = <const kind *> keep(self._kept, kinds)
        p.regions = <const region *> keep(self._kept, regions)
        p.a_off, p.c_off = keep(self._kept, a_off), keep(self._kept, c_off)

    cdef _make_panels(self):
        """Cut the output channels into panels of 1..nv_max vectors, as even as they come: 5 vectors are 2 + 3."""
        cdef conv *p = &self.p
        cdef Py_ssize_t i
        p.n_vectors = ceil_div(p.ng, p.k.lanes)
        p.n_panels = ceil_div(p.n_vectors, p.k.nv_max)
        p.panel_v = keep(self._kept, [i * p.n_vectors // max(p.n_panels, 1) for i in range(p.n_panels + 1)])
        # Then a pixel of a block's first region may store whole vectors, running over into the next pixels: these
        # come later, in the same region or in a later one of the same block and thread. Few output channels gain.
        p.side_by_side = (p.groups == 1 and p.n_panels == 1 and p.c_col == p.ng
                          and (p.rows == 1 or p.cols == p.gw and p.c_row == p.gw * p.ng)
                          and (p.images == 1 or p.c_img == p.gh * p.c_row))

    def __call__(self, x, kernel, bias, out, int activation):
        """Convolve: x (n, ih, iw, c) and kernel are read, out is written; all C-contiguous, of the plan's type."""
        cdef conv p = self.p
        cdef Py_ssize_t itemsize = p.k.itemsize, width = p.n_vectors * p.k.lanes
        cdef Py_ssize_t splits, index, packing = p.groups * p.n_panels
        cdef int team = team_size(self.work)
        if p.blocks == 0 or p.ng == 0:
            return
        p.x, p.kernel = <const char *> address(x, False), <const char *> address(kernel, False)
        p.out = <char *> address(out, True)
        p.bias = NULL if bias is None else <const char *> address(bias, False)
        p.activation = activation
        p.packed = allocate(p.groups * width * (p.depth + 1), itemsize)
        p.packed_bias = p.packed + p.groups * width * p.depth * itemsize
        # Few blocks (one image, few pixels): the panels of a block are shared out too.
        splits = 1 if p.blocks >= team else min(ceil_div(team, p.blocks), p.n_panels)
        with nogil:
            for index in prange(packing, schedule="static", num_threads=team):
                pack_panel(&p, index)
            for index in prange(p.blocks * splits, schedule="static", num_threads=team):
                run_block(&p, index // splits, index % splits, splits)
        free(p.packed)


cdef tuple met_taps(Py_ssize_t anchor, taps, Py_ssize_t size):
    """(first, last): the taps first <= i < last that fall on cells 0 .. size - 1, for ascending tap offsets."""
    first, last = 0, len(taps)
    while first < last and anchor + taps[first] < 0:
        first += 1
    while last > first and anchor + taps[last - 1] >= size:
        last -= 1
    return first, last


cdef dict positions(tuple ranges):
    """{range: positions that have it}"""
    found = {}
    for position, value in enumerate(ranges):
        found.setdefault(value, []).append(position)
    return found


cdef void pack_panel(conv *p, Py_ssize_t index) noexcept nogil:
    """Panel `index` of (group, panel): (tap, input channel) rows of nv*lanes output channels, zeros behind the last."""
    cdef Py_ssize_t group = index // p.n_panels, panel = index % p.n_panels
    cdef Py_ssize_t lanes = p.k.lanes, itemsize = p.k.itemsize
    cdef Py_ssize_t first = p.panel_v[panel] * lanes
    cdef Py_ssize_t width = p.panel_v[panel + 1] * lanes - first
    cdef Py_ssize_t n = min(width, p.ng - first), tap
    cdef Py_ssize_t channel = group * p.n_vectors * lanes + first
    cdef char *to = p.packed + channel * p.depth * itemsize
    cdef const char *source = p.kernel + (group * p.group_stride + first * p.j_stride) * itemsize
    for tap in range(p.taps):
        p.k.pack(to + tap * p.cg * width * itemsize, width, source + p.tap_weights[tap] * itemsize, p.cg, p.k_stride,
                 n, p.j_stride)
    if p.bias != NULL:
        p.k.pack(p.packed_bias + channel * itemsize, width, p.bias + (group * p.ng + first) * itemsize, 1, 0, n, 1)


cdef void run_block(conv *p, Py_ssize_t index, Py_ssize_t split, Py_ssize_t splits) noexcept nogil:
    """One block of output pixels for the panels of one split, all groups."""
    cdef Py_ssize_t itemsize = p.k.itemsize, lanes = p.k.lanes
    cdef Py_ssize_t per_image = p.row_blocks * p.col_blocks
    cdef Py_ssize_t img = index // per_image * p.images, images = min(p.images, p.n - img)
    cdef Py_ssize_t row = index % per_image // p.col_blocks * p.rows, col = index % p.col_blocks * p.cols
    cdef const kind *regions = &p.kinds[p.kind_of[index % per_image]]
    cdef Py_ssize_t group, panel, first, channel, i, end = -1
    cdef const char *x = p.x + (img * p.a_img + row * p.a_row + col * p.a_col) * itemsize
    cdef char *out = p.out + (p.c_first + img * p.c_img + row * p.c_row + col * p.c_col) * itemsize
    cdef fc_tile t
    t.a_step = 1
    t.accumulate = 0
    t.activation = p.activation
    if p.side_by_side:
        end = images * min(p.rows, p.gh - row) * min(p.cols, p.gw - col) * p.ng
    for group in range(p.groups):
        t.a = x + group * p.cg * itemsize
        for panel in range(split * p.n_panels // splits, (split + 1) * p.n_panels // splits):
            first = p.panel_v[panel] * lanes
            channel = group * p.n_vectors * lanes + first
            t.b_step = p.panel_v[panel + 1] * lanes - first
            t.n = min(t.b_step, p.ng - first)
            t.b = p.packed + channel * p.depth * itemsize
            t.bias = NULL if p.bias == NULL else p.packed_bias + channel * itemsize
            t.c = out + (group * p.ng + first) * itemsize
            for i in range(regions.first, regions.first + regions.count):
                run_region(p, &p.regions[i], images, end if i == regions.first else -1, &t,
                           p.panel_v[panel + 1] - p.panel_v[panel])


cdef void run_region(conv *p, const region *r, Py_ssize_t images, Py_ssize_t end, fc_tile *t,
                     Py_ssize_t nv) noexcept nogil:
    """All tiles of a region; whole vectors may be stored up to `end`."""
    cdef Py_ssize_t mr = p.k.mr[nv - 1], first = r.first, last = r.first + r.per_image * images
    t.seg_a, t.seg_k, t.seg_len, t.n_segs = p.seg_a + r.seg, p.seg_k + r.seg, p.seg_len + r.seg, r.n_segs
    while first < last:
        t.mr = min(mr, last - first)
        t.a_off, t.c_off = p.a_off + first, p.c_off + first
        t.whole_rows = t.mr
        while t.whole_rows > 0 and t.c_off[t.whole_rows - 1] + t.b_step > end:
            t.whole_rows -= 1
        p.k.tile[nv - 1](t)
        first += mr
