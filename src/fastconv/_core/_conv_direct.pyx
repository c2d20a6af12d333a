"""Direct convolution over NHWC images: forward, and grad_input, which is the same sweep with rotated taps.

The vector lanes hold output channels, a tile's rows are output pixels, each with a pointer of its own (indirect
convolution, arXiv:1907.02129). Neither the image nor its patches are rearranged or padded (zero-memory-overhead
convolution, arXiv:1809.10170): the pixels of a block are sorted into regions whose windows meet the same taps, so a
tile at the border reads and multiplies real cells only. Padding costs nothing, and can turn no inf into a nan.

Few output channels would leave lanes empty. Then `fold` neighbouring pixels share a tile's row: their channels lie
side by side in the output, and one kernel, as wide as all their windows together, serves them, with zeros where a tap
is not theirs (a Toeplitz matrix). As 0 * inf is nan, blocks with an inf or a nan in the image are not folded.

Depthwise convolution, one channel in and one out of each group, has lanes of its own: they hold groups.
"""

from array import array

from cython.parallel cimport prange
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from ._runtime cimport active_kernels, address, allocate, ceil_div, clip, keep, team_size
from .kernels cimport FC_MR_MAX, fc_kernels, fc_tile

cdef enum:
    BLOCK_BYTES = 256 * 1024         # of input and output, in L2; less leaves the regions at borders too few pixels
    BLOCK_PIXELS_MIN = 224           # enough tiles to fetch a weight panel for: 48 cost a quarter on 7x7, 512 -> 512
    BLOCK_COLS_MAX = 4096            # bounds the tables of very wide images
    IN_PLACE_PIXELS = 256            # below, packing a dense layer's weights costs more than it brings
    IN_PLACE_DEPTH = 256             # rows of such weights that all tiles use before the next: they stay in L2
    PACK_BYTES = 32 * 1024           # of weights at a time: they stay in L1 while all panels take their columns
    BLOCKS_WANTED = 8                # where there is work for them: no thread waits long for the last block

cdef struct region:
    # Pixels first .. first + per_image * images of the offset tables, in the order (image, row, column), whose
    # windows meet the taps of segments seg .. seg + n_segs; if folded, each entry is a run of `fold` pixels.
    Py_ssize_t first, per_image, seg, n_segs, folded

cdef struct kind:
    # Blocks of one shape and one position relative to the borders share their regions, the largest first: once
    # plain, once folded.
    Py_ssize_t first, count, folded_first, folded_count

cdef struct conv:
    const fc_kernels *k
    Py_ssize_t n, gh, gw                             # images and the grid of output pixels
    Py_ssize_t images, rows, cols                    # of a block; several images only if it holds them whole
    Py_ssize_t row_blocks, col_blocks, blocks
    Py_ssize_t ih, in_row, row_step, row_first, row_last    # image rows, elements of one; the window's rows
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
    Py_ssize_t pack_parts                            # tasks that pack one tap's weights
    Py_ssize_t fold, fold_span, fold_width           # pixels of a run, its window's columns, its panel's columns
    bint channelwise                                 # depthwise: lanes hold groups; packed weights are (tap, group)
    Py_ssize_t c
    bint in_place                                    # whole panels are read where they are: few pixels, one tap
    bint side_by_side                                # a block's output is one run of memory, written by one panel
    # This call's arrays.
    const char *x
    const char *kernel
    const char *bias
    char *packed
    char *packed_bias
    char *folded
    char *folded_bias
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
    cdef Py_ssize_t n_rows, col_step
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
        p.c = c
        p.gh, p.gw = grid
        row_step, col_step = steps
        p.ih, p.in_row, p.row_step = ih, iw * c, row_step
        p.row_first, p.row_last = min(tap_rows, default=0), max(tap_rows, default=0)
        p.a_img, p.a_row, p.a_col = ih * iw * c, row_step * iw * c, col_step * c
        p.c_first, p.c_img, p.c_row, p.c_col = out_strides
        p.groups, p.cg, p.ng = groups, group_inputs, group_outputs
        p.k_stride, p.j_stride, p.group_stride = weight_strides
        self.n_rows, self.col_step = len(tap_rows), col_step
        p.taps = len(tap_rows) * len(tap_cols)
        p.tap_weights = keep(self._kept, tap_weights)
        p.depth = p.taps * p.cg
        p.channelwise = p.groups > 1 and p.cg == 1 and p.ng == 1
        self.work = <double> p.n * p.gh * p.gw * p.groups * p.ng * p.depth

        self._make_blocks(max(BLOCK_BYTES // ((row_step * col_step * c + groups * group_outputs) * itemsize), 1))
        row_ranges = [met_taps(r * row_step, tap_rows, ih) for r in range(p.gh)]
        col_ranges = [met_taps(q * col_step, tap_cols, iw) for q in range(p.gw)]
        self._make_panels()
        all_cols = (0, len(tap_cols))
        self._choose_fold(list(tap_cols), col_step, col_ranges.count(all_cols))
        segments = self._make_segments([offset * iw * c for offset in tap_rows], tap_cols, set(col_ranges), c)
        self._make_regions(row_ranges, col_ranges, segments, all_cols)

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

        Neighbouring tap columns are one run if they are 1 apart: of memory, (kw, c), where a group takes all channels;
        of pixels in a depthwise convolution.
        """
        cdef conv *p = &self.p
        seg_a, seg_k, seg_len, found = [], [], [], {}
        for first, last in ranges:
            start = len(seg_a)
            for i, row in enumerate(tap_rows):
                for j in range(first, last):
                    if (p.groups == 1 or p.channelwise) and j > first and tap_cols[j] == tap_cols[j - 1] + 1:
                        seg_len[len(seg_len) - 1] += p.cg
                        continue
                    seg_a.append(row + tap_cols[j] * c)
                    seg_k.append((i * len(tap_cols) + j) * p.cg)
                    seg_len.append(p.cg)
            found[first, last] = start, (len(seg_a) - start) // max(len(tap_rows), 1)
        found["folded"] = len(seg_a), 1
        for i, row in enumerate(tap_rows if p.fold > 1 else ()):
            seg_a.append(row + tap_cols[0] * c)
            seg_k.append(i * p.fold_span * p.cg)
            seg_len.append(p.fold_span * p.cg)
        p.seg_a, p.seg_k, p.seg_len = keep(self._kept, seg_a), keep(self._kept, seg_k), keep(self._kept, seg_len)
        return found

    cdef _make_panels(self):
        """Cut the output channels into panels of 1..nv_max vectors, as even as they come: 5 vectors are 2 + 3."""
        cdef conv *p = &self.p
        cdef Py_ssize_t i
        p.n_vectors = ceil_div(p.ng, p.k.lanes)
        p.n_panels = ceil_div(p.n_vectors, p.k.nv_max)
        p.panel_v = keep(self._kept, [i * p.n_vectors // max(p.n_panels, 1) for i in range(p.n_panels + 1)])
        # Packing: contiguous output channels are read PACK_BYTES at a time, strided ones a panel at a time.
        p.pack_parts = p.n_panels
        if p.j_stride == 1:
            p.pack_parts = clip(ceil_div(p.cg * p.groups * p.ng * p.k.itemsize, PACK_BYTES), 1, max(p.cg, 1))
        p.in_place = (p.taps == 1 and p.groups == 1 and p.j_stride == 1
                      and p.n * p.gh * p.gw <= IN_PLACE_PIXELS)
        # With one panel a pixel of a block's first region may store whole vectors, running over into the next pixels:
        # these come later, in the same region or in a later one of the same block and thread. Few output channels gain.
        p.side_by_side = (p.groups == 1 and p.n_panels == 1 and p.c_col == p.ng
                          and (p.rows == 1 or p.cols == p.gw and p.c_row == p.gw * p.ng)
                          and (p.images == 1 or p.c_img == p.gh * p.gw * p.ng))

    cdef _choose_fold(self, list tap_cols, Py_ssize_t col_step, Py_ssize_t inner):
        """The number of neighbouring pixels that fill the lanes best: fewest vector operations for a row.

        inner: pixels of a row whose windows meet every tap column; those that no run takes stay single.
        """
        cdef conv *p = &self.p
        cdef Py_ssize_t fold, vectors, span, cost, single = p.n_vectors * len(tap_cols), best
        p.fold = p.fold_span = p.fold_width = 0
        if not p.side_by_side or p.depth == 0 or tap_cols != list(range(tap_cols[0], tap_cols[0] + len(tap_cols))):
            return
        # A run must win clearly: it brings a region of its own.
        best = inner * single * 4 // 5
        for fold in range(2, min(inner, 2 * p.k.lanes) + 1):
            vectors = ceil_div(fold * p.ng, p.k.lanes)
            span = len(tap_cols) + (fold - 1) * col_step
            cost = inner // fold * vectors * span + inner % fold * single
            if vectors <= p.k.nv_max and cost < best:
                best = cost
                p.fold, p.fold_span, p.fold_width = fold, span, vectors * p.k.lanes

    cdef _make_regions(self, list row_ranges, list col_ranges, dict segments, tuple all_cols):
        """Sort every kind of block's pixels into regions, and note where block and output have them."""
        cdef conv *p = &self.p
        kind_of, kinds, regions, seen = [], [], [], {}
        a_off, c_off = array("q"), array("q")
        col_parts = [tuple(col_ranges[q:q + p.cols]) for q in range(0, p.gw, max(p.cols, 1))]
        for r in range(0, p.gh, max(p.rows, 1)):
            row_part = tuple(row_ranges[r:r + p.rows])
            for col_part in col_parts:
                key = row_part, col_part
                if key not in seen:
                    seen[key] = len(seen)
                    for folded in (False, True):
                        new = []
                        for row_range, in_rows in positions(row_part).items():
                            for col_range, in_cols in positions(col_part).items():
                                if folded and p.fold > 1 and col_range == all_cols:
                                    runs = len(in_cols) // p.fold * p.fold
                                    new.append((in_rows, in_cols[:runs:p.fold], row_range, "folded"))
                                    in_cols = in_cols[runs:]
                                new.append((in_rows, in_cols, row_range, col_range))
                        # The largest first: see side_by_side.
                        new.sort(key=lambda found: -len(found[0]) * len(found[1]))
                        kinds += [len(regions) // 5, len(new)]
                        for in_rows, in_cols, (top, bottom), col_range in new:
                            start, per_row = segments[col_range]
                            regions += [len(a_off), len(in_rows) * len(in_cols), start + top * per_row,
                                        (bottom - top) * per_row, col_range == "folded"]
                            self._add_pixels(a_off, c_off, in_rows, in_cols)
                kind_of.append(seen[key])
        p.kind_of = keep(self._kept, kind_of)
        # The structs are all Py_ssize_t, so an array of integers is an array of them.
        p.kinds = <const kind *> keep(self._kept, kinds)
        p.regions = <const region *> keep(self._kept, regions)
        p.a_off, p.c_off = keep(self._kept, a_off), keep(self._kept, c_off)

    cdef _add_pixels(self, a_off, c_off, list in_rows, list in_cols):
        cdef conv *p = &self.p
        cdef Py_ssize_t img, r, q
        for img in range(p.images):
            for r in in_rows:
                for q in in_cols:
                    a_off.append(img * p.a_img + r * p.a_row + q * p.a_col)
                    c_off.append(img * p.c_img + r * p.c_row + q * p.c_col)

    def __call__(self, x, kernel, bias, out, int activation):
        """Convolve: x (n, ih, iw, c) and kernel are read, out is written; all C-contiguous, of the plan's type."""
        cdef conv p = self.p
        cdef Py_ssize_t itemsize = p.k.itemsize, width = p.n_vectors * p.k.lanes
        cdef Py_ssize_t splits, index
        cdef int team = team_size(self.work)
        if p.blocks == 0 or p.ng == 0:
            return
        p.x, p.kernel = <const char *> address(x, False), <const char *> address(kernel, False)
        p.out = <char *> address(out, True)
        p.bias = NULL
        if bias is not None:
            p.bias = <const char *> address(bias, False)
        p.activation = activation
        cdef Py_ssize_t fold_depth = self.n_rows * p.fold_span * p.cg
        p.packed = allocate(p.taps * p.groups if p.channelwise else
                            p.groups * width * (p.depth + 1) + p.fold_width * (fold_depth + 1), itemsize)
        p.packed_bias = p.packed + p.groups * width * p.depth * itemsize
        p.folded = p.packed_bias + p.groups * width * itemsize
        p.folded_bias = p.folded + p.fold_width * fold_depth * itemsize
        # Few blocks (one image, few pixels): the panels of a block are shared out too.
        splits = 1 if p.blocks >= team or p.channelwise else min(ceil_div(team, p.blocks), p.n_panels)
        with nogil:
            for index in range(p.taps if p.channelwise else 0):
                memcpy(p.packed + index * p.groups * itemsize, p.kernel + p.tap_weights[index] * itemsize,
                       p.groups * itemsize)
            for index in prange(0 if p.channelwise else p.taps * p.pack_parts, schedule="static", num_threads=team):
                pack_weights(&p, index)
            for index in range(p.groups if p.bias != NULL and not p.channelwise else 0):
                pack_bias(&p, index)
            if p.fold > 1:
                pack_folded(&p, self.n_rows, p.taps // self.n_rows, self.col_step)
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


cdef void pack_weights(conv *p, Py_ssize_t index) noexcept nogil:
    """One task of packing: rows (tap, input channel) of nv*lanes output channels each, zeros behind the last.

    Read along memory: some rows of all panels where output channels are contiguous, else one panel's whole rows.
    """
    cdef Py_ssize_t lanes = p.k.lanes, itemsize = p.k.itemsize
    cdef Py_ssize_t part = index % p.pack_parts, tap = index // p.pack_parts
    cdef Py_ssize_t row = 0, rows = p.cg, first_panel = part, last_panel = part + 1
    cdef Py_ssize_t group, panel, first, width, channel
    if p.j_stride == 1:
        row, rows = part * p.cg // p.pack_parts, (part + 1) * p.cg // p.pack_parts
        rows -= row
        first_panel, last_panel = 0, p.n_panels
    for group in range(p.groups):
        for panel in range(first_panel, last_panel):
            first = p.panel_v[panel] * lanes
            width = p.panel_v[panel + 1] * lanes - first
            if p.in_place and first + width <= p.ng:
                continue
            channel = group * p.n_vectors * lanes + first
            p.k.pack(p.packed + (channel * p.depth + (tap * p.cg + row) * width) * itemsize, width,
                     p.kernel + (group * p.group_stride + first * p.j_stride + p.tap_weights[tap] + row * p.k_stride)
                     * itemsize, rows, p.k_stride, min(width, p.ng - first), p.j_stride)


cdef void pack_bias(conv *p, Py_ssize_t group) noexcept nogil:
    cdef Py_ssize_t itemsize = p.k.itemsize, width = p.n_vectors * p.k.lanes
    p.k.pack(p.packed_bias + group * width * itemsize, width, p.bias + group * p.ng * itemsize, 1, 0, p.ng, 1)


cdef void pack_folded(conv *p, Py_ssize_t n_rows, Py_ssize_t n_cols, Py_ssize_t col_step) noexcept nogil:
    """The one panel's rows again, pixel by pixel of a run: shifted by the pixel's columns, zeros elsewhere."""
    cdef Py_ssize_t itemsize = p.k.itemsize, width = p.n_vectors * p.k.lanes
    cdef Py_ssize_t pixel, row, col, ch, to, source
    memset(p.folded, 0, p.fold_width * (n_rows * p.fold_span * p.cg + 1) * itemsize)
    for pixel in range(p.fold):
        for row in range(n_rows):
            for col in range(n_cols):
                for ch in range(p.cg):
                    to = ((row * p.fold_span + col + pixel * col_step) * p.cg + ch) * p.fold_width + pixel * p.ng
                    source = ((row * n_cols + col) * p.cg + ch) * width
                    memcpy(p.folded + to * itemsize, p.packed + source * itemsize, p.ng * itemsize)
        if p.bias != NULL:
            memcpy(p.folded_bias + pixel * p.ng * itemsize, p.bias, p.ng * itemsize)


cdef bint block_is_finite(const conv *p, Py_ssize_t img, Py_ssize_t images, Py_ssize_t row, Py_ssize_t rows,
                          const char *x) noexcept nogil:
    """Whether all image cells that a block's windows can meet are finite."""
    cdef Py_ssize_t top = clip(row * p.row_step + p.row_first, 0, p.ih)
    cdef Py_ssize_t bottom = clip((row + rows - 1) * p.row_step + p.row_last + 1, 0, p.ih)
    if images > 1:
        top, bottom = 0, images * p.ih
    return p.k.finite(x + (img * p.a_img + top * p.in_row) * p.k.itemsize, (bottom - top) * p.in_row) != 0


cdef void run_block(conv *p, Py_ssize_t index, Py_ssize_t split, Py_ssize_t splits) noexcept nogil:
    """One block of output pixels for the panels of one split, all groups."""
    cdef Py_ssize_t itemsize = p.k.itemsize, lanes = p.k.lanes
    cdef Py_ssize_t per_image = p.row_blocks * p.col_blocks
    cdef Py_ssize_t img = index // per_image * p.images, images = min(p.images, p.n - img)
    cdef Py_ssize_t row = index % per_image // p.col_blocks * p.rows, col = index % p.col_blocks * p.cols
    cdef const kind *regions = &p.kinds[p.kind_of[index % per_image]]
    cdef Py_ssize_t first_region = regions.first, last_region
    cdef Py_ssize_t group, panel, first, width, channel, i, end = -1, rows = min(p.rows, p.gh - row)
    cdef const char *x = p.x + (img * p.a_img + row * p.a_row + col * p.a_col) * itemsize
    cdef char *out = p.out + (p.c_first + img * p.c_img + row * p.c_row + col * p.c_col) * itemsize
    cdef fc_tile t
    t.a_step = 1
    t.accumulate = 0
    t.activation = p.activation
    if p.side_by_side:
        end = images * rows * min(p.cols, p.gw - col) * p.ng
    last_region = first_region + regions.count
    if p.channelwise:
        run_channelwise(p, regions, images, x, out, &t)
        return
    if p.fold > 1 and block_is_finite(p, img, images, row, rows, p.x):
        first_region = regions.folded_first
        last_region = first_region + regions.folded_count
    for group in range(p.groups):
        t.a = x + group * p.cg * itemsize
        for panel in range(split * p.n_panels // splits, (split + 1) * p.n_panels // splits):
            first = p.panel_v[panel] * lanes
            channel = group * p.n_vectors * lanes + first
            t.c = out + (group * p.ng + first) * itemsize
            for i in range(first_region, last_region):
                t.bias = p.packed_bias + channel * itemsize
                width = p.panel_v[panel + 1] * lanes - first
                t.n = min(width, p.ng - first)
                if p.regions[i].folded:
                    width, t.n, t.b = p.fold_width, p.fold * p.ng, p.folded
                    t.bias, t.b_step = p.folded_bias, width
                elif p.in_place and t.n == width:
                    t.b, t.b_step = p.kernel + (p.tap_weights[0] + first) * itemsize, p.k_stride
                    run_in_place(p, &p.regions[i], images, &t, width // lanes)
                    continue
                else:
                    t.b, t.b_step = p.packed + channel * p.depth * itemsize, width
                if p.bias == NULL:
                    t.bias = NULL
                t.seg_a, t.seg_k, t.seg_len = p.seg_a + p.regions[i].seg, p.seg_k + p.regions[i].seg, \
                    p.seg_len + p.regions[i].seg
                t.n_segs = p.regions[i].n_segs
                run_tiles(p, &p.regions[i], images, end if i == first_region else -1, &t, width // lanes)


cdef void run_tiles(conv *p, const region *r, Py_ssize_t images, Py_ssize_t end, fc_tile *t,
                    Py_ssize_t nv) noexcept nogil:
    """All tiles of a region; whole vectors may be stored up to `end`."""
    cdef Py_ssize_t mr = p.k.mr[nv - 1], first = r.first, last = r.first + r.per_image * images
    while first < last:
        t.mr = min(mr, last - first)
        t.a_off, t.c_off = p.a_off + first, p.c_off + first
        t.whole_rows = t.mr
        while t.whole_rows > 0 and t.c_off[t.whole_rows - 1] + nv * p.k.lanes > end:
            t.whole_rows -= 1
        p.k.tile[nv - 1](t)
        first += mr


cdef void run_channelwise(conv *p, const kind *regions, Py_ssize_t images, const char *x, char *out,
                          fc_tile *t) noexcept nogil:
    """A block of a depthwise convolution, a vector of channels at a time."""
    cdef Py_ssize_t itemsize = p.k.itemsize, channel = 0, i, first, last
    cdef const region *r
    t.a_step, t.b_step = p.c, p.groups
    t.whole_rows = 0
    while channel < p.groups:
        t.n = min(p.k.lanes, p.groups - channel)
        t.a, t.b, t.c = x + channel * itemsize, p.packed + channel * itemsize, out + channel * itemsize
        t.bias = p.bias
        if p.bias != NULL:
            t.bias = p.bias + channel * itemsize
        for i in range(regions.first, regions.first + regions.count):
            r = &p.regions[i]
            t.seg_a, t.seg_k, t.seg_len, t.n_segs = p.seg_a + r.seg, p.seg_k + r.seg, p.seg_len + r.seg, r.n_segs
            first, last = r.first, r.first + r.per_image * images
            while first < last:
                t.mr = min(FC_MR_MAX, last - first)
                t.a_off, t.c_off = p.a_off + first, p.c_off + first
                p.k.channelwise(t)
                first += t.mr
        channel += t.n


cdef void run_in_place(conv *p, const region *r, Py_ssize_t images, fc_tile *t, Py_ssize_t nv) noexcept nogil:
    """The same with weights as the user has them: a stretch of their rows for all tiles, then the next stretch."""
    cdef Py_ssize_t a, k = 0, length, depth = r.n_segs * p.depth
    cdef const void *bias = t.bias
    if p.bias == NULL:
        bias = NULL
    t.seg_a, t.seg_k, t.seg_len, t.n_segs = &a, &k, &length, r.n_segs
    while True:
        length = min(IN_PLACE_DEPTH, depth - k)
        a = p.seg_a[r.seg] + k if r.n_segs else 0
        t.accumulate = k > 0
        t.bias = bias
        if k > 0:
            t.bias = NULL
        t.activation = p.activation if k + length >= depth else 0
        run_tiles(p, r, images, -1, t, nv)
        k += length
        if k >= depth:
            break
    t.accumulate, t.activation = 0, p.activation
