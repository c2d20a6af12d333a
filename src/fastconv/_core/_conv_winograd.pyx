"""Winograd's convolution F(m x m, 3 x 3), m = 2 or 4 (arXiv:1509.09308): fewer multiplications, more rounding.

The image is cut into tiles of m x m output pixels. Transformed (`points`, csrc/winograd-inl.h), each of a tile's
alpha*alpha points, alpha = m + 2, is a matrix product of its own: tiles x input channels times input channels x output
channels, on the register tile that all convolutions share. F(2x2) multiplies 16 times for 4 pixels, F(4x4) 36 times for
16, the direct kernels 36 and 144 times.

What is transformed must not go through memory more often than it has to, or the gain is gone:

- a task takes a block of tiles and a strip of output channels; its sums stay in L2 until they are transformed back;
- it transforms the kernels of its strip by itself (those of a whole 512 -> 512 layer would be 38 MB), a chunk of input
  channels at a time. Where one chunk is enough, as mostly, a thread's next blocks find it ready;
- transformed images are shared by all strips; where there is one strip only, each task makes its own.

The sum of an output runs over the input channels in order, whatever the blocks, strips and threads are.
"""

from cython.parallel cimport prange, threadid

from ._runtime cimport address, allocate, ceil_div, clip, isa_kernels, keep, kept_bytes, release, round_up, team_size
from .kernels cimport FC_CACHE_LINE, fc_fetch, fc_kernels, fc_tile, fc_winograd, fc_winograd_tile

# Bytes are those that were the fastest on ResNet-50's and VGG-16's layers, n = 1 and 8 (benchmarks/winograd.py).
cdef enum:
    TAPS = 9
    STRIP_BYTES = 256                # of output channels: the widest tile of AVX-512
    SUMS_BYTES = 600 * 1024          # of a block's products; fewer tiles wait for transformed kernels, from L3
    TILES_MAX = 128
    KERNEL_BYTES = 16 * 1024 * 1024  # of a chunk's transformed kernels ...
    KERNEL_BYTES_FEW = 600 * 1024    # ... which stay in L2 where few tiles use them once: a fifth on 7x7, 512 -> 512
    FEW_TILES = 8
    PACK_ROWS = 8                    # input channels of a strip that are packed before they are transformed
    IMAGE_BYTES = 8 * 1024 * 1024    # of transformed images at a time, in L3

cdef struct winograd:
    const fc_kernels *k
    const fc_winograd *w
    Py_ssize_t m, alpha, points
    Py_ssize_t n, ih, iw, c, gh, gw, oc              # images and the grid of output pixels
    Py_ssize_t top, left                             # the first window starts at cell (-top, -left)
    Py_ssize_t tile_rows, tile_cols, tiles
    Py_ssize_t groups, cg, ng                        # channels of a group: input, output
    const Py_ssize_t *tap_weights                    # as in a ConvPlan
    Py_ssize_t k_stride, j_stride, group_stride
    Py_ssize_t strips, width                         # of a group, and elements of the widest
    const Py_ssize_t *strip_v                        # strip s holds the vectors strip_v[s] .. strip_v[s + 1]
    Py_ssize_t line                                  # elements of a cache line: keeps points out of each other's way
    Py_ssize_t row                                   # elements of a transformed tile's point: c in whole vectors
    Py_ssize_t depth                                 # input channels of a chunk
    const Py_ssize_t *a_off
    const Py_ssize_t *c_off
    bint own_image
    Py_ssize_t block, blocks                         # tiles of a block
    Py_ssize_t image_step, sum_step                  # from point to point
    Py_ssize_t kernel_room, pack_room, sum_room, image_room
    Py_ssize_t first_block                           # of those whose images lie in shared_image
    char *shared_image
    # This call's arrays.
    const char *x
    const char *kernel
    const char *bias
    char *out
    int activation


cdef class WinogradPlan:
    """A 3x3 convolution's geometry for one instruction set and element type; arguments as ConvPlan's.

    m: pixels of an output tile's side, 2 or 4; origin: the first window starts at cell (-top, -left).
    """

    cdef winograd p
    cdef list _kept
    cdef Py_ssize_t tiles_max
    cdef readonly double work
    cdef readonly Py_ssize_t nbytes                  # of the tables

    def __cinit__(self, *, str isa not None, int itemsize, Py_ssize_t m, tuple image, tuple grid, tuple origin,
                  tap_weights, Py_ssize_t groups, Py_ssize_t group_inputs, Py_ssize_t group_outputs,
                  tuple weight_strides):
        cdef winograd *p = &self.p
        cdef Py_ssize_t i, vectors, row
        self._kept = []
        p.k = isa_kernels(isa, itemsize)
        p.w = &p.k.winograd[m == 4]
        p.m, p.alpha, p.points = m, m + 2, (m + 2) * (m + 2)
        p.n, p.ih, p.iw, p.c = image
        p.gh, p.gw = grid
        p.top, p.left = origin
        p.tile_rows, p.tile_cols = ceil_div(p.gh, m), ceil_div(p.gw, m)
        p.tiles = p.n * p.tile_rows * p.tile_cols
        p.groups, p.cg, p.ng = groups, group_inputs, group_outputs
        p.oc = groups * group_outputs
        p.tap_weights = keep(self._kept, tap_weights)
        p.k_stride, p.j_stride, p.group_stride = weight_strides
        self.work = <double> p.tiles * p.points * p.cg * p.oc

        p.line = FC_CACHE_LINE // itemsize
        p.row = round_up(p.c, p.k.lanes)
        vectors = ceil_div(p.ng, p.k.lanes)
        p.strips = ceil_div(vectors, STRIP_BYTES // (p.k.lanes * itemsize))
        p.strip_v = keep(self._kept, [i * vectors // p.strips for i in range(p.strips + 1)])
        p.width = ceil_div(vectors, p.strips) * p.k.lanes
        p.depth = KERNEL_BYTES_FEW if p.tiles <= FEW_TILES else KERNEL_BYTES
        p.depth = max(p.depth // (p.points * p.width * itemsize * PACK_ROWS), 1) * PACK_ROWS
        p.depth = ceil_div(p.cg, ceil_div(p.cg, p.depth))
        p.own_image = p.strips * groups == 1
        row = max(p.width, p.row) if p.own_image else p.width
        self.tiles_max = clip(SUMS_BYTES // (p.points * row * itemsize), 1, TILES_MAX)
        self.tiles_max = clip(IMAGE_BYTES // (p.points * p.row * itemsize), 1, self.tiles_max)
        p.a_off = keep(self._kept, [i * p.row for i in range(self.tiles_max)])
        p.c_off = keep(self._kept, [i * p.width for i in range(self.tiles_max)])
        self.nbytes = kept_bytes(self._kept)

    def __call__(self, x, kernel, bias, out, int activation):
        """Convolve: x (n, ih, iw, c) and kernel are read, out is written; all C-contiguous, of the plan's type."""
        cdef winograd p = self.p
        cdef Py_ssize_t itemsize = p.k.itemsize, first, last, index, tasks = p.groups * p.strips
        cdef int team = team_size(self.work)
        cdef char *memory
        cdef char *rooms
        cdef Py_ssize_t shared, room
        if p.tiles == 0:
            return
        p.x, p.kernel = <const char *> address(x, False), <const char *> address(kernel, False)
        p.out = <char *> address(out, True)
        p.bias = NULL
        if bias is not None:
            p.bias = <const char *> address(bias, False)
        p.activation = activation
        make_blocks(&p, self.tiles_max, team)
        # Blocks whose transformed images are in memory at a time.
        cdef Py_ssize_t together = p.blocks
        if not p.own_image:
            together = clip(IMAGE_BYTES // (p.image_room * itemsize), 1, p.blocks)
        shared = 0 if p.own_image else together * p.image_room
        room = p.line + p.kernel_room + p.pack_room + p.sum_room + p.width + (p.image_room if p.own_image else 0)
        memory = allocate(shared + team * room, itemsize)
        rooms = memory + shared * itemsize
        for index in range(team):
            (<Py_ssize_t *> (rooms + index * room * itemsize))[0] = -1
        first = 0
        with nogil:
            while first < p.blocks:
                last = min(first + together, p.blocks)
                p.first_block = first
                p.shared_image = memory
                for index in prange(first * p.block, 0 if p.own_image else min(last * p.block, p.tiles),
                                    schedule="static", num_threads=team):
                    transform_tile(&p, index, memory + (index // p.block - first) * p.image_room * itemsize)
                for index in prange(tasks * (last - first), schedule="static", num_threads=team):
                    run_task(&p, index // (last - first), first + index % (last - first),
                             rooms + threadid() * room * itemsize)
                first = last
        release(memory)


cdef void make_blocks(winograd *p, Py_ssize_t tiles_max, int team) noexcept nogil:
    """Cut the tiles evenly into blocks, so many that each thread gets as many tasks, and size the scratch for one."""
    cdef Py_ssize_t tasks = p.groups * p.strips
    p.blocks = ceil_div(p.tiles, tiles_max)
    while p.blocks * tasks % team and p.blocks < p.tiles:
        p.blocks += 1
    p.block = ceil_div(p.tiles, p.blocks)
    p.blocks = ceil_div(p.tiles, p.block)
    # A line between points: otherwise powers of two would put all points of a tile into one set of the cache.
    p.image_step, p.sum_step = p.block * p.row + p.line, p.block * p.width + p.line
    p.kernel_room = p.points * (p.depth * p.width + ceil_div(p.width, p.k.nv_max * p.k.lanes) * p.line)
    p.pack_room = TAPS * PACK_ROWS * p.width
    p.sum_room, p.image_room = p.points * p.sum_step, p.points * p.image_step


cdef void locate(const winograd *p, Py_ssize_t tile, Py_ssize_t *img, Py_ssize_t *row, Py_ssize_t *col) noexcept nogil:
    """A tile's image and first output pixel."""
    img[0] = tile // (p.tile_rows * p.tile_cols)
    row[0] = tile // p.tile_cols % p.tile_rows * p.m
    col[0] = tile % p.tile_cols * p.m


cdef void transform_tile(const winograd *p, Py_ssize_t tile, char *image) noexcept nogil:
    """Bt d B of one tile, all channels, into its block's points."""
    cdef Py_ssize_t img, row, col, itemsize = p.k.itemsize
    cdef fc_winograd_tile t
    locate(p, tile, &img, &row, &col)
    row -= p.top
    col -= p.left
    t.image = <void *> (p.x + ((img * p.ih + row) * p.iw + col) * p.c * itemsize)
    t.row_step, t.col_step = p.iw * p.c, p.c
    t.row_first, t.row_last = clip(-row, 0, p.alpha), clip(p.ih - row, 0, p.alpha)
    t.col_first, t.col_last = clip(-col, 0, p.alpha), clip(p.iw - col, 0, p.alpha)
    t.n = p.c
    t.points, t.point_step = image + tile % p.block * p.row * itemsize, p.image_step
    p.w.input(&t)


cdef void transform_kernel(const winograd *p, Py_ssize_t task, Py_ssize_t k_first, Py_ssize_t depth, char *to,
                           char *pack) noexcept nogil:
    """G g Gt of a chunk of input channels, panel by panel: (point, input channel, the panel's columns)."""
    cdef Py_ssize_t itemsize = p.k.itemsize, lanes = p.k.lanes, group = task // p.strips, strip = task % p.strips
    cdef Py_ssize_t first = p.strip_v[strip], vectors = p.strip_v[strip + 1] - first
    cdef Py_ssize_t panels = ceil_div(vectors, p.k.nv_max), panel, col, width, k, rows, tap, step, _i
    cdef const char *kernel
    cdef const char *ahead
    for panel in range(panels):
        col = (first + panel * vectors // panels) * lanes
        width = (first + (panel + 1) * vectors // panels) * lanes - col
        step = depth * width + p.line
        k = 0
        while k < depth:
            rows = min(PACK_ROWS, depth - k)
            kernel = p.kernel + (group * p.group_stride + col * p.j_stride + (k_first + k) * p.k_stride) * itemsize
            # Short stretches of distant lines, which no CPU foresees: those of the next turn are asked for now.
            for tap in range(TAPS):
                ahead = kernel + (p.tap_weights[tap] + PACK_ROWS * p.k_stride) * itemsize
                if p.j_stride == 1:
                    for _i in range(PACK_ROWS):
                        fc_fetch(ahead, width * itemsize)
                        ahead += p.k_stride * itemsize
                else:
                    for _i in range(width):
                        fc_fetch(ahead, PACK_ROWS * itemsize)
                        ahead += p.j_stride * itemsize
            for tap in range(TAPS):
                p.k.pack(pack + tap * rows * width * itemsize, width, kernel + p.tap_weights[tap] * itemsize, rows,
                         p.k_stride, min(width, p.ng - col), p.j_stride)
            p.w.kernel(to + k * width * itemsize, step, pack, rows * width, rows * width)
            k += rows
        to += p.points * step * itemsize


cdef void run_task(const winograd *p, Py_ssize_t task, Py_ssize_t block, char *room) noexcept nogil:
    """One block of tiles for one strip of one group's output channels."""
    cdef Py_ssize_t itemsize = p.k.itemsize, lanes = p.k.lanes, group = task // p.strips, strip = task % p.strips
    cdef Py_ssize_t first = block * p.block, tiles = min(p.block, p.tiles - first), k_first = 0, depth, i
    cdef Py_ssize_t *held = <Py_ssize_t *> room      # the strip whose transformed kernels lie in the room
    cdef char *kernel = room + p.line * itemsize
    cdef char *pack = kernel + p.kernel_room * itemsize
    cdef char *sums = pack + p.pack_room * itemsize
    cdef char *bias = sums + p.sum_room * itemsize
    cdef char *image = bias + p.width * itemsize
    if p.own_image:
        for i in range(first, first + tiles):
            transform_tile(p, i, image)
    else:
        image = p.shared_image + (block - p.first_block) * p.image_room * itemsize
    while k_first < p.cg:
        depth = min(p.depth, p.cg - k_first)
        if held[0] != task or depth < p.cg:
            transform_kernel(p, task, k_first, depth, kernel, pack)
            held[0] = task
        multiply(p, strip, tiles, depth, image + (group * p.cg + k_first) * itemsize, kernel, sums, k_first > 0)
        k_first += depth
    i = p.strip_v[strip] * lanes
    transform_sums(p, group * p.ng + i, min(p.strip_v[strip + 1] * lanes, p.ng) - i, first, tiles, sums, bias)


cdef void multiply(const winograd *p, Py_ssize_t strip, Py_ssize_t tiles, Py_ssize_t depth, const char *image,
                   const char *kernel, char *sums, bint accumulate) noexcept nogil:
    """For each point: sums (tiles, strip's columns) (+)= image (tiles, depth) times kernel (depth, strip's columns)."""
    cdef Py_ssize_t itemsize = p.k.itemsize, lanes = p.k.lanes, zero = 0
    cdef Py_ssize_t vectors = p.strip_v[strip + 1] - p.strip_v[strip], panels = ceil_div(vectors, p.k.nv_max)
    cdef Py_ssize_t panel, col, nv, point, part, parts, first, i
    cdef fc_tile t
    t.a_step, t.seg_a, t.seg_k, t.seg_len, t.n_segs = 1, &zero, &zero, &depth, 1
    t.bias, t.accumulate, t.activation = NULL, accumulate, 0
    for panel in range(panels):
        col = panel * vectors // panels * lanes
        nv = (panel + 1) * vectors // panels - panel * vectors // panels
        t.n = t.b_step = nv * lanes
        parts = ceil_div(tiles, p.k.mr[nv - 1])
        for point in range(p.points):
            t.a, t.b = image + point * p.image_step * itemsize, kernel
            t.c = sums + (point * p.sum_step + col) * itemsize
            for part in range(parts):
                first = part * tiles // parts
                t.mr = t.whole_rows = (part + 1) * tiles // parts - first
                t.a_off, t.c_off = p.a_off + first, p.c_off + first
                if point + 1 < p.points:
                    # The next point's rows, from L3: a quarter of the time of 128 -> 128 layers.
                    for i in range(first, first + t.mr):
                        fc_fetch(image + ((point + 1) * p.image_step + p.a_off[i]) * itemsize, depth * itemsize)
                p.k.tile[nv - 1](&t)
            kernel += (depth * nv * lanes + p.line) * itemsize


cdef void transform_sums(const winograd *p, Py_ssize_t channel, Py_ssize_t n, Py_ssize_t first, Py_ssize_t tiles,
                         char *sums, char *bias) noexcept nogil:
    """At m A of a block's tiles, with bias and activation, into the n output channels from `channel` on."""
    cdef Py_ssize_t itemsize = p.k.itemsize, tile, img, row, col
    cdef fc_winograd_tile t
    t.row_step, t.col_step = p.gw * p.oc, p.oc
    t.row_first = t.col_first = 0
    t.n, t.point_step, t.activation = n, p.sum_step, p.activation
    t.bias = NULL
    if p.bias != NULL:
        p.k.pack(bias, p.width, p.bias + channel * itemsize, 1, 0, n, 1)
        t.bias = bias
    for tile in range(first, first + tiles):
        locate(p, tile, &img, &row, &col)
        t.image = p.out + (((img * p.gh + row) * p.gw + col) * p.oc + channel) * itemsize
        t.row_last, t.col_last = min(p.m, p.gh - row), min(p.m, p.gw - col)
        t.points = sums + (tile - first) * p.width * itemsize
        p.w.output(&t)
