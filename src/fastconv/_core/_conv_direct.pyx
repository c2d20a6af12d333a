"""Direct convolution over NHWC images: forward, and grad_input, which is the same sweep with rotated taps.

The vector lanes hold output channels, a tile's rows are output pixels, each with a pointer of its own (indirect
convolution, arXiv:1907.02129). Neither the image nor its patches are rearranged or padded (zero-memory-overhead
convolution, arXiv:1809.10170): the pixels of a block are sorted into regions whose windows meet the same taps, so a
tile at the border reads and multiplies real cells only. Padding costs nothing, and can turn no inf into a nan.

Few output channels would leave lanes empty. Then `fold` neighbouring pixels share a tile's row: their channels lie
side by side in the output, and one kernel, as wide as all their windows together, serves them, with zeros where a tap
is not theirs (a Toeplitz matrix). As 0 * inf is nan, blocks with an inf or a nan in the image are not folded. One
input channel is a case of its own: see _conv_rows.pxd.
"""

from array import array

from cython.parallel cimport prange

from ._blocks cimport MANY_BLOCKS, fair_images, is_narrow, met_taps, positions
from ._conv_pack cimport (last_channels, pack_bias, pack_dots, pack_folded, pack_panel, pack_weights, panel_room,
                          takes_panels)
from ._conv_rows cimport plan_rows, rows_are_safe, run_rows
from ._conv_tiles cimport run_few, run_in_place, run_parts, run_tiles
from ._runtime cimport address, allocate, ceil_div, clip, isa_kernels, keep, kept_bytes, release, team_size
from .kernels cimport FC_DOT_COLS, FC_DOT_RUN, FC_NV_MAX, FC_PARTS_NV, fc_tile

cdef enum:
    BLOCK_BYTES = 256 * 1024         # of input and output, in L2; less leaves the regions at borders too few pixels
    BLOCK_PIXELS_MIN = 224           # enough tiles to fetch a weight panel for: 48 cost a quarter on 7x7, 512 -> 512
    BLOCK_COLS_MAX = 4096            # bounds the tables of very wide images
    IN_PLACE_PIXELS = 256            # up to these, packing the weights costs more than it brings (AVX-512),
    IN_PLACE_NARROW = 32             # or up to these, where tiles are narrow (AVX2)
    SETS_BYTES = 2048                # rows so far apart share few sets of the caches: packed, 256x1024x1024 takes 0.7
    FEW = 2                          # pixels that take their weights in the order of memory,
    FEW_SETS = 8                     # or so many, with rows as far apart as SETS_BYTES says
    IN_PLACE_ROWS_MIN = 64           # of a run of taps: each run's sums go through memory
    SHALLOW_BYTES = 32 * 1024        # of a panel's weights, in L1: 1x1 over 192 and 256 channels take 7 to 11 % less
    PACK_BYTES = 32 * 1024           # of weights at a time: they stay in L1 while all panels take their columns
    IN_PARTS_MIN = 1024              # terms of a sum, from where on few columns' are added in parts
    DOTS_SUM = 6                     # vector operations to add a dot product's lanes, and to store it
    DOTS_PIXELS = 64                 # of an image, for which it pays to pack weights that do not lie in its order
    BLOCK_ROWS_MIN = 64              # where the weights stay in L2: a step of mnist_s3 takes 7 % less (dense products)
    BLOCKS_WANTED = 8                # where there is work for them: no thread waits long for the last block
    AHEAD_MIN = 1 << 20              # bytes of image and output, from where on 1x1 convolutions wait for memory,
    AHEAD_PIXEL = 256                # if a pixel of the image has so many: less comes in by itself


cdef class ConvPlan:
    """A convolution's geometry for one instruction set and element type; made once per problem, run many times.

    All arguments are integers or sequences of integers, already checked; fastconv.ops.conv fills them for forward
    and for grad_input. The window of grid point (r, q) has its anchor on the image's cell (r*row_step, q*col_step);
    tap_rows and tap_cols are the ascending offsets of its taps from there, tap_weights where the weights of each
    (row, column) start in the kernel array.
    """

    def __cinit__(self, *, str isa not None, int itemsize, tuple image, tuple grid, tuple steps, tap_rows, tap_cols,
                  tap_weights, Py_ssize_t groups, Py_ssize_t group_inputs, Py_ssize_t group_outputs,
                  tuple weight_strides, tuple out_strides):
        # image: (n, ih, iw, c); grid: (gh, gw); steps: input cells per grid row and column;
        # weight_strides: (input channel, output channel, group); out_strides: (first, image, row, column)
        cdef conv *p = &self.p
        self._kept = []
        p.k = isa_kernels(isa, itemsize)
        p.n, ih, iw, c = image
        p.gh, p.gw = grid
        row_step, col_step = steps
        p.ih, p.in_row, p.row_step = ih, iw * c, row_step
        p.row_first, p.row_last = min(tap_rows, default=0), max(tap_rows, default=0)
        p.a_img, p.a_row, p.a_col = ih * iw * c, row_step * iw * c, col_step * c
        p.c_first, p.c_img, p.c_row, p.c_col = out_strides
        p.groups, p.cg, p.ng = groups, group_inputs, group_outputs
        p.k_stride, p.j_stride, p.group_stride = weight_strides
        p.n_rows, p.col_step = len(tap_rows), col_step
        p.taps = len(tap_rows) * len(tap_cols)
        p.tap_weights = keep(self._kept, tap_weights)
        p.depth = p.taps * p.cg
        self.work = <double> p.n * p.gh * p.gw * p.groups * p.ng * p.depth

        self._make_blocks(max(BLOCK_BYTES // ((row_step * col_step * c + groups * group_outputs) * itemsize), 1))
        row_ranges = [met_taps(r * row_step, tap_rows, ih) for r in range(p.gh)]
        col_ranges = [met_taps(q * col_step, tap_cols, iw) for q in range(p.gw)]
        p.unit = p.k.lanes
        self._make_panels()
        all_cols = (0, len(tap_cols))
        self._choose_rows(image, grid, steps, list(tap_rows), list(tap_cols), list(tap_weights), row_ranges)
        self._choose_fold(list(tap_cols), col_step, col_ranges.count(all_cols))
        self._choose_dots(list(tap_cols))
        if p.in_place:
            p.fold = p.fold_span = p.fold_width = 0
        # As with dots, nothing of this may depend on the number of images. A tap at 0 meets a cell.
        p.in_parts = (list(tap_rows) == [0] == list(tap_cols) and p.groups == p.gh == p.gw == 1 and not p.dots
                      and p.c_img == p.ng and p.n_vectors <= FC_PARTS_NV and p.depth >= IN_PARTS_MIN)
        # One pixel after the other, each read once from memory.
        p.ahead = (p.taps == 1 and p.groups == 1 and row_step == 1 and col_step == 1 and not p.in_place and not p.dots
                   and p.cg * itemsize >= AHEAD_PIXEL
                   and p.n * (ih * iw * p.cg + p.gh * p.gw * p.ng) * itemsize >= AHEAD_MIN)
        p.few = (p.few and p.in_place and p.n_vectors > FC_NV_MAX
                 and len(set(row_ranges)) == 1 == len(set(col_ranges)))
        p.by_panel = (groups == 1 and p.n_panels > 1 and not p.in_place and not p.dots and p.fold <= 1
                      and p.by_row.width == 0)
        segments = self._make_segments([offset * iw * c for offset in tap_rows], tap_cols, set(col_ranges), c)
        self._make_regions(row_ranges, col_ranges, segments, all_cols)
        self.nbytes = kept_bytes(self._kept)

    cdef _make_blocks(self, Py_ssize_t pixels):
        """Cut the grid into blocks of about `pixels` pixels: some whole images, or some rows of one, even in size."""
        cdef conv *p = &self.p
        cdef Py_ssize_t plane = max(p.gh * p.gw, 1)
        cdef Py_ssize_t least = BLOCK_PIXELS_MIN
        if p.depth * p.ng * p.k.itemsize <= BLOCK_BYTES:
            # One image of few pixels: two blocks, for two threads.
            least = BLOCK_ROWS_MIN if plane == 1 else clip(ceil_div(p.n * plane, 2), BLOCK_ROWS_MIN, BLOCK_PIXELS_MIN)
        pixels = max(min(pixels, p.n * plane // BLOCKS_WANTED), least)
        p.images, p.rows, p.cols = 1, p.gh, p.gw
        if plane < pixels:
            # Rows of a dense product lose little in smaller blocks, windows do.
            p.images = fair_images(p.n, pixels // plane, least // 2 if plane == 1 else ceil_div(least, plane))
        elif p.gw <= BLOCK_COLS_MAX:
            p.row_blocks = ceil_div(p.gh, max(pixels // p.gw, 1))
            if p.n * p.row_blocks % 2 == 1 and p.n * p.row_blocks < MANY_BLOCKS:
                p.row_blocks += 1  # 3 blocks would be 2 for one of two threads, and 1 for the other
            p.rows = ceil_div(p.gh, p.row_blocks)
        else:
            p.rows, p.cols = 1, BLOCK_COLS_MAX
        p.row_blocks = ceil_div(p.gh, max(p.rows, 1))
        p.col_blocks = ceil_div(p.gw, max(p.cols, 1))
        p.blocks = ceil_div(p.n, p.images) * p.row_blocks * p.col_blocks

    cdef dict _make_segments(self, tap_rows, tap_cols, set ranges, Py_ssize_t c):
        """Segments of every tap row for each range of tap columns: {range: (first segment, segments of a row)}.

        Neighbouring tap columns are one run of memory, (kw, c), if they are 1 apart and a group takes all channels.
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
        found["folded"] = len(seg_a), 1
        for i, row in enumerate(tap_rows if p.fold > 1 else ()):
            seg_a.append(row + tap_cols[0] * c)
            seg_k.append(i * p.fold_span * p.cg)
            seg_len.append(p.fold_span * p.cg)
        p.seg_a, p.seg_k, p.seg_len = keep(self._kept, seg_a), keep(self._kept, seg_k), keep(self._kept, seg_len)
        return found

    cdef _make_panels(self):
        """Cut the output channels into panels of vectors, as even as they come: 5 vectors are 2 + 3."""
        cdef conv *p = &self.p
        cdef Py_ssize_t i
        p.n_vectors = ceil_div(p.ng, p.unit)
        p.n_panels = ceil_div(p.n_vectors, p.k.nv_max if p.dots else widest_tile(p, p.depth))
        p.panel_v = keep(self._kept, [i * p.n_vectors // max(p.n_panels, 1) for i in range(p.n_panels + 1)])
        # Packing: contiguous output channels are read PACK_BYTES at a time, strided ones a panel at a time.
        p.pack_parts = p.n_panels
        if p.j_stride == 1:
            p.pack_parts = clip(ceil_div(p.cg * p.groups * p.ng * p.k.itemsize, PACK_BYTES), 1, max(p.cg, 1))
        # Weights whose rows follow each other need no packing. A vector may then run over the end of its row, into
        # the next one; the lanes behind the last channel are not stored. Only the array's end must be copied.
        contiguous = p.k_stride == p.ng and all(p.tap_weights[i] == i * p.cg * p.ng for i in range(p.taps))
        few = IN_PLACE_NARROW if is_narrow(p.k) else IN_PLACE_PIXELS
        pixels = p.n * p.gh * p.gw
        in_sets = p.ng * p.k.itemsize % SETS_BYTES == 0
        p.few = pixels <= (FEW_SETS if in_sets else FEW)
        p.in_place = (p.groups == 1 and p.j_stride == 1 and contiguous and pixels <= few
                      and (p.taps == 1 or p.depth // max(p.n_rows, 1) >= IN_PLACE_ROWS_MIN)
                      and (p.few or not in_sets))
        p.tail = p.tail_width = 0
        if p.in_place and p.n_panels > 0:
            p.tail_width = (p.n_vectors - p.panel_v[p.n_panels - 1]) * p.k.lanes
            p.tail = min(ceil_div(p.n_vectors * p.k.lanes - p.ng, p.ng), p.depth)
        # With one panel a pixel of a block's first region may store whole vectors, running over into the next pixels:
        # these come later, in the same region or in a later one of the same block and thread. Few output channels gain.
        p.side_by_side = (p.groups == 1 and p.n_panels == 1 and p.c_col == p.ng
                          and (p.rows == 1 or p.cols == p.gw and p.c_row == p.gw * p.ng)
                          and (p.images == 1 or p.c_img == p.gh * p.gw * p.ng))

    cdef _choose_rows(self, image, grid, steps, tap_rows, tap_cols, tap_weights, list row_ranges):
        """Whether whole rows of pixels fill the lanes better than output channels do."""
        cdef conv *p = &self.p
        p.by_row.width = 0
        if p.groups == p.cg == p.j_stride == 1 and p.c_col == p.ng and p.cols == p.gw:
            met = keep(self._kept, [tap for met_range in row_ranges for tap in met_range])
            p.by_row = plan_rows(p.k, image, grid, steps, tap_rows, tap_cols, tap_weights, p.ng, p.c_row, met)

    cdef _choose_fold(self, list tap_cols, Py_ssize_t col_step, Py_ssize_t inner):
        """The number of neighbouring pixels that fill the lanes best: fewest vector operations for a row.

        inner: pixels of a row whose windows meet every tap column; those that no run takes stay single.
        """
        cdef conv *p = &self.p
        cdef Py_ssize_t fold, vectors, span, cost, single = p.n_vectors * len(tap_cols), best
        p.fold = p.fold_span = p.fold_width = 0
        if not p.side_by_side or p.depth == 0 or p.by_row.width > 0:
            return
        if tap_cols != list(range(tap_cols[0], tap_cols[0] + len(tap_cols))):
            return
        # A run must win clearly: it brings a region of its own.
        best = inner * single * 4 // 5
        for fold in range(2, min(inner, 2 * p.k.lanes) + 1):
            vectors = ceil_div(fold * p.ng, p.k.lanes)
            span = len(tap_cols) + (fold - 1) * col_step
            cost = inner // fold * vectors * span + inner % fold * single
            if vectors <= widest_tile(p, p.n_rows * span * p.cg) and cost < best:
                best = cost
                p.fold, p.fold_span, p.fold_width = fold, span, vectors * p.k.lanes

    cdef _choose_dots(self, list tap_cols):
        """Whether dot products, with the lanes along a kernel row's inputs, take fewer vector operations a pixel.

        Where weights do not lie so, they are packed: 64 -> 3 channels, 3x3, take 0.48 of the time. Runs of pixels, for
        one output channel: grad_input of 1 -> 32 filters 5x5 0.70, of 1 -> 32 3x3 0.65 to 0.98 with the row's length.

        They add in another order, so nothing here may depend on the number of images: a call may be cut into parts, as
        many as there are threads.
        """
        cdef conv *p = &self.p
        cdef Py_ssize_t run = p.cg, runs = p.taps
        cdef bint dense = p.c_col == p.ng and p.c_row == p.gw * p.ng and p.c_img == p.gh * p.gw * p.ng
        if p.groups > 1 or p.depth == 0 or p.by_row.width > 0:
            return
        if p.k_stride != 1 and p.gh * p.gw < DOTS_PIXELS:
            return
        cdef double cost = <double> p.n_vectors * p.depth
        if p.fold > 1 and dense:
            cost *= <double> p.fold_width * p.fold_span / (p.fold * p.n_vectors * p.k.lanes * len(tap_cols))
        if tap_cols == list(range(tap_cols[0], tap_cols[0] + len(tap_cols))):
            run, runs = p.cg * len(tap_cols), p.n_rows
        p.dots = p.ng * (runs * ceil_div(run, p.k.lanes) + DOTS_SUM) < cost
        if p.dots:
            p.dot_runs = (p.ng == 1 and p.cg % p.k.lanes == 0 and p.col_step == 1 and runs == p.n_rows
                          and 2 <= len(tap_cols) <= FC_DOT_COLS)
            p.unit, p.fold, p.fold_width = 1, 0, 0
            self._make_panels()
            p.in_place = p.side_by_side = False
            p.tail = p.tail_width = 0

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
                        kinds += [len(regions) // 6, len(new)]
                        for in_rows, in_cols, (top, bottom), col_range in new:
                            start, per_row = segments[col_range]
                            regions += [len(a_off), len(in_rows) * len(in_cols), start + top * per_row,
                                        (bottom - top) * per_row, col_range == "folded",
                                        len(in_cols) if p.dot_runs and col_range == all_cols and top < bottom
                                        and len(in_cols) >= FC_DOT_RUN else 0]
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

    cdef Py_ssize_t packed_size(self) noexcept:
        """Elements of memory that conv_pack() fills."""
        cdef conv *p = &self.p
        if p.in_place:
            return p.tail * p.tail_width + p.n_vectors * p.k.lanes
        return (p.groups * p.n_vectors * p.unit * (p.depth + 1)
                + p.fold_width * (p.n_rows * p.fold_span * p.cg + 1))

    cdef conv bound(self, kernel, bias, int activation) except *:
        """The plan with a caller's weights; it does not own them."""
        cdef conv p = self.p
        p.kernel = <const char *> address(kernel, False)
        p.bias = NULL
        if bias is not None:
            p.bias = <const char *> address(bias, False)
        p.activation = activation
        return p

    def __call__(self, x, kernel, bias, out, int activation):
        """Convolve: x (n, ih, iw, c) and kernel are read, out is written; all C-contiguous, of the plan's type."""
        cdef conv p
        cdef const char *source = <const char *> address(x, False)
        cdef char *to = <char *> address(out, True)
        cdef int team = team_size(self.work)
        cdef char *packed
        if self.p.blocks == 0 or self.p.ng == 0:
            return
        p = self.bound(kernel, bias, activation)
        if takes_panels(&p, p.n, team):
            packed = allocate(team * panel_room(&p, team) + p.n_vectors * p.k.lanes, p.k.itemsize)
        else:
            packed = allocate(self.packed_size(), p.k.itemsize)
        with nogil:
            conv_pack(&p, packed, p.n, team)
            conv_run(&p, p.n, source, to, team)
        release(packed)


cdef inline Py_ssize_t widest_tile(const conv *p, Py_ssize_t depth) noexcept nogil:
    """Most vectors of a panel with so many rows of weights."""
    return p.k.nv_shallow if depth * p.k.nv_shallow * p.k.lanes * p.k.itemsize <= SHALLOW_BYTES else p.k.nv_max


cdef void conv_pack(conv *p, char *packed, Py_ssize_t n, int team) noexcept nogil:
    """Bring the weights and the bias into the order in which the tiles read them: packed_size() elements.

    n: images of the only conv_run with these weights, by the same team, which may pack them then; 0: there are several.
    """
    cdef Py_ssize_t itemsize = p.k.itemsize, index, tasks = p.taps * p.pack_parts
    cdef Py_ssize_t width = p.groups * p.n_vectors * p.unit
    p.packed, p.in_rows = packed, False
    p.by_panel = n > 0 and takes_panels(p, n, team)
    if p.by_panel:
        p.packed_bias = packed + team * panel_room(p, team) * itemsize
        if p.bias != NULL:
            pack_bias(p, 0)
        return
    p.packed_bias = p.packed + (p.tail * p.tail_width if p.in_place else width * p.depth) * itemsize
    p.folded = p.packed_bias + width * itemsize
    p.folded_bias = p.folded + p.fold_width * p.n_rows * p.fold_span * p.cg * itemsize
    p.in_rows = p.by_row.width > 0 and rows_are_safe(p.k, &p.by_row, p.kernel)
    if p.in_rows:
        return
    if p.dots:
        pack_dots(p)
        return
    if p.in_place:
        p.k.pack(p.packed, p.tail_width, p.kernel + ((p.depth - p.tail) * p.ng + p.ng - last_channels(p)) * itemsize,
                 p.tail, p.ng, last_channels(p), 1)
    elif team == 1:
        for index in range(tasks):
            pack_weights(p, index)
    else:
        for index in prange(tasks, schedule="static", num_threads=team):
            pack_weights(p, index)
    for index in range(p.groups if p.bias != NULL else 0):
        pack_bias(p, index)
    if p.fold > 1:
        pack_folded(p)


cdef void conv_run(const conv *p, Py_ssize_t n, const char *x, char *out, int team) noexcept nogil:
    """The sweep over n images, as many as the plan was made for or fewer."""
    cdef conv q = p[0]
    cdef Py_ssize_t index, blocks = ceil_div(n, p.images) * p.row_blocks * p.col_blocks, splits = 1
    q.n, q.x, q.out = n, x, out
    if p.by_panel:
        run_by_panel(&q, team)
        return
    if team == 1:
        # A parallel region costs 0.6 us even for a team of one.
        for index in range(blocks):
            run_block(&q, index, 0, 1)
        return
    # Few blocks (one image, few pixels): the panels of a block are shared out too.
    if blocks < team and not p.in_rows:
        splits = min(ceil_div(team, max(blocks, 1)), p.n_panels)
    for index in prange(blocks * splits, schedule="static", num_threads=team):
        run_block(&q, index // splits, index % splits, splits)


cdef void run_by_panel(const conv *p, int team) noexcept nogil:
    """Pack and sweep in one: a panel is used where it is in the cache, and there is no copy of all of them.

    Dense products of 10 to 256 rows by 4,096 x 4,096 take 0.15 to 0.8 of the time, one image of 7x7x512 0.6 to 0.9.
    Each thread has as many output channels, in panels of its own.
    """
    cdef Py_ssize_t panels = ceil_div(ceil_div(p.n_vectors, team), widest_tile(p, p.depth)), index
    if team == 1:
        for index in range(panels):
            run_panel(p, 0, 1, index, panels)
        return
    for index in prange(team * panels, schedule="static", num_threads=team):
        run_panel(p, index // panels, team, index % panels, panels)


cdef void run_panel(const conv *whole, int share, int shares, Py_ssize_t panel, Py_ssize_t panels) noexcept nogil:
    """One of the panels of one share of the output channels."""
    cdef conv p = whole[0]
    cdef Py_ssize_t start = share * p.n_vectors // shares, index
    cdef Py_ssize_t vectors = (share + 1) * p.n_vectors // shares - start
    cdef Py_ssize_t *bounds = [start + panel * vectors // panels, start + (panel + 1) * vectors // panels]
    if bounds[0] == bounds[1]:
        return
    p.n_panels, p.panel_v = 1, bounds
    # Where the first panel would be if all were packed.
    p.packed += (share * panel_room(whole, shares) - bounds[0] * p.k.lanes * p.depth) * p.k.itemsize
    pack_panel(&p, 0)
    for index in range(ceil_div(p.n, p.images) * p.row_blocks * p.col_blocks):
        run_block(&p, index, 0, 1)


cdef bint block_is_finite(const conv *p, Py_ssize_t img, Py_ssize_t images, Py_ssize_t row, Py_ssize_t rows,
                          const char *x) noexcept nogil:
    """Whether all image cells that a block's windows can meet are finite."""
    cdef Py_ssize_t top = clip(row * p.row_step + p.row_first, 0, p.ih)
    cdef Py_ssize_t bottom = clip((row + rows - 1) * p.row_step + p.row_last + 1, 0, p.ih)
    if images > 1:
        top, bottom = 0, images * p.ih
    return p.k.finite(x + (img * p.a_img + top * p.in_row) * p.k.itemsize, (bottom - top) * p.in_row) != 0


cdef void run_block(const conv *p, Py_ssize_t index, Py_ssize_t split, Py_ssize_t splits) noexcept nogil:
    """One block of output pixels for the panels of one split, all groups."""
    cdef Py_ssize_t itemsize = p.k.itemsize, unit = p.unit
    cdef Py_ssize_t per_image = p.row_blocks * p.col_blocks
    cdef Py_ssize_t img = index // per_image * p.images, images = min(p.images, p.n - img)
    cdef Py_ssize_t row = index % per_image // p.col_blocks * p.rows, col = index % p.col_blocks * p.cols
    cdef const kind *regions = &p.kinds[p.kind_of[index % per_image]]
    cdef Py_ssize_t first_region = regions.first, last_region
    cdef Py_ssize_t group, panel, first, width, channel, i, end = -1, rows = min(p.rows, p.gh - row)
    cdef const char *x = p.x + (img * p.a_img + row * p.a_row + col * p.a_col) * itemsize
    cdef char *out = p.out + (p.c_first + img * p.c_img + row * p.c_row + col * p.c_col) * itemsize
    cdef fc_tile t
    if p.in_rows:
        for i in range(img, img + images):
            run_rows(p.k, &p.by_row, p.kernel, p.bias, p.activation, p.x + i * p.a_img * itemsize, p.ih,
                     p.out + (p.c_first + i * p.c_img) * itemsize, row, row + rows)
        return
    t.a_step = 1
    t.accumulate = 0
    t.activation = p.activation
    if p.few:
        first = split * p.n_vectors // splits * unit
        run_few(p, &p.regions[first_region], images, &t, x, out, first,
                min((split + 1) * p.n_vectors // splits * unit, p.ng))
        return
    if p.side_by_side:
        end = images * rows * min(p.cols, p.gw - col) * p.ng
    last_region = first_region + regions.count
    if p.fold > 1 and block_is_finite(p, img, images, row, rows, p.x):
        first_region = regions.folded_first
        last_region = first_region + regions.folded_count
    for group in range(p.groups):
        t.a = x + group * p.cg * itemsize
        for panel in range(split * p.n_panels // splits, (split + 1) * p.n_panels // splits):
            first = p.panel_v[panel] * unit
            channel = group * p.n_vectors * unit + first
            t.c = out + (group * p.ng + first) * itemsize
            for i in range(first_region, last_region):
                t.bias = p.packed_bias + channel * itemsize
                width = p.panel_v[panel + 1] * unit - first
                t.n = min(width, p.ng - first)
                if p.regions[i].folded:
                    width, t.n, t.b = p.fold_width, p.fold * p.ng, p.folded
                    t.bias, t.b_step = p.folded_bias, width
                elif p.in_parts:
                    run_parts(p, &p.regions[i], images, &t, width // unit)
                    continue
                elif p.in_place:
                    run_in_place(p, &p.regions[i], images, &t, first, width // unit, i == first_region)
                    continue
                else:
                    t.b, t.b_step = p.packed + channel * p.depth * itemsize, width
                    if p.dots:
                        t.b_step = p.depth
                        t.bias = p.bias + first * itemsize
                if p.bias == NULL:
                    t.bias = NULL
                t.seg_a, t.seg_k, t.seg_len = p.seg_a + p.regions[i].seg, p.seg_k + p.regions[i].seg, \
                    p.seg_len + p.regions[i].seg
                t.n_segs = p.regions[i].n_segs
                run_tiles(p, &p.regions[i], images, end if i == first_region else -1, &t, width // unit,
                          p.ahead and panel == split * p.n_panels // splits)
