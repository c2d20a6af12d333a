"""Gradients of a convolution where a max pooling follows it.

Of a window's cells only the one that won has a gradient, for each filter another one: the dense sums would multiply
zeros at all the others. Here an image's winners are listed, and each filter adds up the patches of its own ones
(gradient of the kernel), or each window the kernels of its filters, shifted to where they won (gradient of the input).
A kernel whose rows are no longer than a vector needs no lists.

The windows lie side by side and do not overlap. The gradient of the kernel is a sum over a FIXED number of parts of the
batch, added in a fixed order; the images of the other one are independent.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

from ._runtime cimport address, allocate, ceil_div, clip, isa_kernels, keep, kept_bytes, release, round_up, team_size
from ._winner_lists cimport geometry, lists, lists_bytes, make_lists, make_tiles, odd_lines, put_image, run_tiles, \
    shifts, start_lists, take_image, tiles
from .kernels cimport FC_CACHE_LINE, FC_WINNER_ROWS, fc_kernels, fc_patches, fc_winner_lists, fc_winners

cdef enum:
    TASKS = 16                       # of the kernel's gradient; more than any small machine's threads
    SUMS_MOST = 1 << 19              # elements of its partial sums, if there is another way to make tasks
    BLOCK = 16                       # filters from which on they are shared out
    IMAGES_MOST = 8                  # listed at a time
    L1_BYTES = 28 * 1024             # of what the lists name of a plane

cdef struct kernel_grad:
    geometry g
    tiles tiles
    lists lists
    bint narrow
    const Py_ssize_t *at             # narrow: where the patch of each of the image's cells starts
    Py_ssize_t cells
    const Py_ssize_t *shift          # else: from a window's first patch to that of each of its cells
    const Py_ssize_t *sums_at
    Py_ssize_t sums_row, sums_plane, sums        # elements of a kernel row's sums, a plane's, all filters'
    Py_ssize_t blocks, parts, images             # tasks are blocks of filters x parts; images at a time
    const char *x
    const char *grads
    const char *indices
    char *memory                     # of the threads
    Py_ssize_t room                  # bytes of each
    char *total

cdef struct input_grad:
    geometry g
    tiles tiles
    lists lists
    const Py_ssize_t *shift          # from a filter's first element to where it is read for each cell of a window
    Py_ssize_t block                 # filters at a time
    Py_ssize_t w_top, w_left, w_row, w_size      # a filter's plane with zeros around: where it begins, a row, all
    const char *grads
    const char *indices
    const char *kernel
    char *weights
    char *gx
    char *memory
    Py_ssize_t room


def winners_narrow(str isa not None, int itemsize, Py_ssize_t rows, Py_ssize_t run):
    """Whether a kernel of so many rows of so many elements (columns x channels) needs no lists."""
    return rows <= FC_WINNER_ROWS and run <= isa_kernels(isa, itemsize).winner_lanes


cdef class WinnersBase:
    """What both gradients know of a problem, for one instruction set and element type."""

    cdef geometry g
    cdef list _kept
    cdef readonly double work
    cdef readonly Py_ssize_t nbytes  # of the tables

    def __cinit__(self, *, str isa not None, int itemsize, tuple image, Py_ssize_t width, tuple kernel, tuple steps,
                  Py_ssize_t row_dilation, tuple origin, Py_ssize_t filters, tuple grid, tuple window, tuple windows,
                  tuple window_origin):
        # image: (n, ih, iw, c); width: channels of a plane, all or a vector; origin: the convolution's pads (top,
        # left); grid: its output's rows and columns; windows: their number in a column and in a row; window_origin: the
        # pooling's pads
        cdef geometry *g = &self.g
        cdef Py_ssize_t line = FC_CACHE_LINE // itemsize, i, j, top, left
        self._kept = []
        top, left = g.first_row, g.first_col = window_origin
        g.k = isa_kernels(isa, itemsize)
        g.n, g.ih, g.iw, g.c = image
        g.kh, g.kw = kernel
        g.sh, g.sw = steps
        g.ph, g.pw = window
        g.dh, g.filters = row_dilation, filters
        g.width, g.planes = width, ceil_div(g.c, width)
        g.top, g.left = origin[0] + top * g.sh, origin[1] + left * g.sw
        g.rows = (windows[0] * g.ph - 1) * g.sh + (g.kh - 1) * g.dh + 1
        g.cols = (windows[1] * g.pw - 1) * g.sw + g.kw
        g.row = g.cols * g.width if g.planes == 1 else odd_lines(g.cols * g.width, line)
        # A patch's vectors may reach over the end of the last row.
        g.plane = round_up(g.rows * g.row + ((g.pw - 1) * g.sw + g.kw) * g.width + g.k.lanes, line)
        g.pixels, g.grid_cols = windows[0] * windows[1], grid[1]
        g.window_cells = (g.ph - 1) * g.grid_cols + g.pw
        g.origin = keep(self._kept, [(i * g.ph - top) * g.grid_cols + j * g.pw - left
                                     for i in range(windows[0]) for j in range(windows[1])])
        g.place = keep(self._kept, [i * g.ph * g.sh * g.row + j * g.pw * g.sw * g.width
                                    for i in range(windows[0]) for j in range(windows[1])])
        g.plane_first = keep(self._kept, [i * g.width for i in range(g.planes + 1)])


cdef class WinnersPlan(WinnersBase):
    """The kernel's gradient; made once, run many times."""

    cdef kernel_grad p

    def __cinit__(self, *, str isa not None, int itemsize, tuple grid, **options):
        cdef kernel_grad *p = &self.p
        cdef geometry *g = &self.g
        cdef Py_ssize_t vectors = ceil_div(g.kw * g.width, g.k.lanes), f, r, q
        p.narrow = winners_narrow(isa, itemsize, g.kh, g.kw * g.c)
        p.sums_row = g.k.winner_lanes if p.narrow else vectors * g.k.lanes
        p.sums_plane = g.kh * p.sums_row
        p.sums = round_up(g.filters * g.planes * p.sums_plane, FC_CACHE_LINE // itemsize)
        p.parts = TASKS
        while p.parts > 1 and (p.parts > g.n or p.parts * p.sums > SUMS_MOST):
            p.parts //= 2
        p.blocks = 1 if p.narrow else clip(g.filters // BLOCK, 1, TASKS // p.parts)
        p.images = clip(min(L1_BYTES // (g.plane * itemsize), ceil_div(g.n, p.parts)), 1, IMAGES_MOST)
        if p.narrow:
            p.images = 1
            rows, cols = grid
            p.cells = rows * cols
            p.at = keep(self._kept, [(g.first_row + r) * g.sh * g.row + (g.first_col + q) * g.sw * g.c
                                     for r in range(rows) for q in range(cols)])
        p.shift = shifts(g, self._kept, g.sh * g.row, g.sw * g.width)
        p.tiles = make_tiles(g.k, self._kept, g.kh, vectors)
        p.lists = make_lists(self._kept, 0 if p.narrow else ceil_div(g.filters, p.blocks), p.images * g.pixels)
        p.sums_at = keep(self._kept, [f * g.planes * p.sums_plane for f in range(p.lists.count)])
        p.g = g[0]
        self.work = <double> g.n * g.pixels * g.filters * g.kh * g.kw * g.c
        self.nbytes = kept_bytes(self._kept)

    def __call__(self, x, grads, indices, out):
        """x (n, ih, iw, c), grads and indices (n, ph, pw, filters) of the pooling -> out (kh, kw, c, filters).

        False, and nothing is written, if x or grads is not finite: then the zeros left out here would be nan.
        """
        cdef kernel_grad p = self.p
        cdef int team = team_size(self.work), bad = 0
        cdef Py_ssize_t itemsize = p.g.k.itemsize, tasks = p.blocks * p.parts, index
        cdef char *result = <char *> address(out, True)
        p.x, p.grads, p.indices = <const char *> address(x, False), <const char *> address(grads, False), \
            <const char *> address(indices, False)
        p.room = p.images * p.g.planes * p.g.plane * itemsize + lists_bytes(&p.g, &p.lists)
        p.memory = allocate(team * p.room + (p.parts + 1) * p.sums * itemsize, 1)
        p.total = p.memory + team * p.room
        with nogil:
            for index in prange(tasks, schedule="static", num_threads=team):
                bad += add_part(&p, index, threadid())
            if bad == 0:
                for index in prange(team, schedule="static", num_threads=team):
                    add_parts(&p, index * p.sums // team, (index + 1) * p.sums // team)
                for index in prange(p.g.kh, schedule="static", num_threads=team):
                    write_row(&p, index, result)
        release(p.memory)
        return bad == 0


cdef int add_part(const kernel_grad *p, Py_ssize_t task, int thread) noexcept nogil:
    """The sums of some filters for one part of the batch; 1 if something is not finite."""
    cdef const geometry *g = &p.g
    cdef Py_ssize_t itemsize = g.k.itemsize, part = task // p.blocks, block = task % p.blocks, step, img
    cdef Py_ssize_t first = block * g.filters // p.blocks, filters = (block + 1) * g.filters // p.blocks - first
    cdef Py_ssize_t begin = part * g.n // p.parts, end = (part + 1) * g.n // p.parts, images
    cdef Py_ssize_t cells = g.ih * g.iw * g.c, values = g.pixels * g.filters, size = g.planes * p.sums_plane
    cdef char *slab = p.memory + thread * p.room
    cdef char *sums = p.total + ((1 + part) * p.sums + first * size) * itemsize
    memset(sums, 0, filters * size * itemsize)
    memset(slab, 0, p.images * g.planes * g.plane * itemsize)
    for step in range(ceil_div(end - begin, p.images)):
        img = begin + step * p.images
        images = min(p.images, end - img)
        if block == 0 and not (g.k.finite(p.x + img * cells * itemsize, images * cells)
                               and g.k.finite(p.grads + img * values * itemsize, images * values)):
            return 1
        if p.narrow:
            add_narrow(p, img, slab, sums)
        else:
            add_lists(p, img, images, first, filters, slab, sums)
    return 0


cdef void add_narrow(const kernel_grad *p, Py_ssize_t img, char *slab, char *sums) noexcept nogil:
    """An image's share, without lists."""
    cdef const geometry *g = &p.g
    cdef Py_ssize_t itemsize = g.k.itemsize, at = img * g.pixels * g.filters * itemsize
    cdef fc_winners t
    put_image(g, p.x + img * g.ih * g.iw * g.c * itemsize, slab)
    t.pixels, t.filters, t.rows = g.pixels, g.filters, g.kh
    t.grads, t.indices = p.grads + at, p.indices + at
    t.at, t.cells = p.at, p.cells
    t.x, t.x_row, t.sums = slab, g.dh * g.row, sums
    g.k.winners(&t)


cdef void add_lists(const kernel_grad *p, Py_ssize_t img, Py_ssize_t images, Py_ssize_t first, Py_ssize_t filters,
                    char *slab, char *sums) noexcept nogil:
    """Some images' share in some filters."""
    cdef const geometry *g = &p.g
    cdef Py_ssize_t itemsize = g.k.itemsize, i, at, plane, slab_size = g.planes * g.plane
    cdef fc_winner_lists w
    cdef fc_patches t
    start_lists(g, &p.lists, &w, &t, slab + p.images * slab_size * itemsize)
    t.lists, w.filters, w.by_filter, w.filter_place = filters, filters, True, 0
    w.place, w.shift = g.place, p.shift
    for i in range(images):
        put_image(g, p.x + (img + i) * g.ih * g.iw * g.c * itemsize, slab + i * slab_size * itemsize)
        at = ((img + i) * g.pixels * g.filters + first) * itemsize
        w.grads, w.indices, w.base = p.grads + at, p.indices + at, i * slab_size
        g.k.list_winners(&w)
    t.x_row, t.sums_at, t.sums_row = g.dh * g.row, p.sums_at, p.sums_row
    for plane in range(g.planes):
        run_tiles(g, &p.tiles, &t, slab + plane * g.plane * itemsize, sums + plane * p.sums_plane * itemsize)


cdef void add_parts(const kernel_grad *p, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Some of all parts' sums, in the order of the parts."""
    cdef char *total = p.total + first * p.g.k.itemsize
    p.g.k.sum_rows(total, total + p.sums * p.g.k.itemsize, p.parts, p.sums, last - first, 0)


cdef void write_row(const kernel_grad *p, Py_ssize_t row, char *result) noexcept nogil:
    """One row of the kernel, from the sums' order into its own."""
    cdef const geometry *g = &p.g
    cdef const fc_kernels *k = g.k
    cdef Py_ssize_t itemsize = k.itemsize, size = g.planes * p.sums_plane, plane, col, channels, f, j
    cdef const char *source
    cdef char *to
    for plane in range(g.planes):
        channels = min(g.width, g.c - plane * g.width)
        for col in range(g.kw):
            source = p.total + (plane * p.sums_plane + row * p.sums_row + col * g.width) * itemsize
            to = result + ((row * g.kw + col) * g.c + plane * g.width) * g.filters * itemsize
            if g.filters % k.lanes == 0:
                k.pack(to, g.filters, source, channels, 1, g.filters, size)
                continue
            for j in range(channels):
                for f in range(g.filters):
                    memcpy(to + (j * g.filters + f) * itemsize, source + (f * size + j) * itemsize, itemsize)


cdef class WinnersInputPlan(WinnersBase):
    """The input's gradient."""

    cdef input_grad p

    def __cinit__(self, *, str isa not None, int itemsize, **options):
        cdef input_grad *p = &self.p
        cdef geometry *g = &self.g
        cdef Py_ssize_t line = FC_CACHE_LINE // itemsize, rows, vectors, reach, i, read = 0
        rows = (g.ph - 1) * g.sh + (g.kh - 1) * g.dh + 1
        reach = (g.pw - 1) * g.sw * g.width
        vectors = ceil_div(reach + g.kw * g.width, g.k.lanes)
        # A filter is read from its first row and column for a window's last cell, and from further on for those before.
        p.w_top, p.w_left = (g.ph - 1) * g.sh, reach
        p.w_row = round_up((vectors + 1) * g.k.lanes + reach, line)
        p.w_size = odd_lines((rows + p.w_top) * p.w_row, line)
        p.shift = shifts(g, self._kept, -g.sh * p.w_row, -g.sw * g.width)
        p.tiles = make_tiles(g.k, self._kept, rows, vectors)
        for i in range(p.tiles.count):
            read = max(read, (p.tiles.rows[i] + p.w_top) * (p.tiles.vectors[i] * g.k.lanes + reach) * itemsize)
        p.block = clip(L1_BYTES // read, min(BLOCK, g.filters), g.filters)
        p.block = ceil_div(g.filters, ceil_div(g.filters, p.block))
        p.lists = make_lists(self._kept, g.pixels, p.block)
        p.g = g[0]
        self.work = <double> g.n * g.pixels * g.filters * rows * vectors * g.k.lanes * g.planes
        self.nbytes = kept_bytes(self._kept)

    def __call__(self, grads, indices, kernel, out):
        """grads and indices (n, ph, pw, filters) of the pooling, kernel (kh, kw, c, filters) -> out (n, ih, iw, c).

        False, and nothing of worth is written, if grads or the kernel is not finite.
        """
        cdef input_grad p = self.p
        cdef geometry *g = &p.g
        cdef int team = team_size(self.work), bad = 0
        cdef Py_ssize_t itemsize = g.k.itemsize, index
        cdef Py_ssize_t filter_bytes = p.w_size * itemsize, weights = g.planes * g.filters * filter_bytes
        p.grads, p.indices, p.kernel, p.gx = <const char *> address(grads, False), \
            <const char *> address(indices, False), <const char *> address(kernel, False), <char *> address(out, True)
        p.room = g.planes * g.plane * itemsize + lists_bytes(g, &p.lists)
        p.weights = allocate(weights + team * p.room, 1)
        p.memory = p.weights + weights
        with nogil:
            if g.k.finite(p.kernel, g.kh * g.kw * g.c * g.filters):
                for index in prange(g.planes * g.filters, schedule="static", num_threads=team):
                    memset(p.weights + index * filter_bytes, 0, filter_bytes)
                for index in prange(g.kh, schedule="static", num_threads=team):
                    pack_row(&p, index)
                for index in prange(g.n, schedule="static", num_threads=team):
                    bad += make_image(&p, index, threadid())
            else:
                bad = 1
        release(p.weights)
        return bad == 0


cdef void pack_row(const input_grad *p, Py_ssize_t row) noexcept nogil:
    """One row of the kernel, each filter's elements next to each other."""
    cdef const geometry *g = &p.g
    cdef Py_ssize_t itemsize = g.k.itemsize, plane, col, first
    cdef char *to = p.weights + ((p.w_top + row * g.dh) * p.w_row + p.w_left) * itemsize
    for plane in range(g.planes):
        first = plane * g.width
        for col in range(g.kw):
            g.k.pack(to + (plane * g.filters * p.w_size + col * g.width) * itemsize, p.w_size,
                     p.kernel + ((row * g.kw + col) * g.c + first) * g.filters * itemsize, g.filters, 1,
                     min(g.width, g.c - first), g.filters)


cdef int make_image(const input_grad *p, Py_ssize_t img, int thread) noexcept nogil:
    """The gradient of one image; 1 if something is not finite."""
    cdef const geometry *g = &p.g
    cdef Py_ssize_t itemsize = g.k.itemsize, slab_bytes = g.planes * g.plane * itemsize, block, first, at, plane
    cdef char *slab = p.memory + thread * p.room
    cdef fc_winner_lists w
    cdef fc_patches t
    if not g.k.finite(p.grads + img * g.pixels * g.filters * itemsize, g.pixels * g.filters):
        return 1
    memset(slab, 0, slab_bytes)
    for block in range(ceil_div(g.filters, p.block)):
        first = block * p.block
        start_lists(g, &p.lists, &w, &t, slab + slab_bytes)
        at = (img * g.pixels * g.filters + first) * itemsize
        w.filters, w.by_filter, w.filter_place = min(p.block, g.filters - first), False, p.w_size
        w.shift, w.grads, w.indices = p.shift, p.grads + at, p.indices + at
        g.k.list_winners(&w)
        t.lists, t.x_row, t.sums_at, t.sums_row = g.pixels, p.w_row, g.place, g.row
        # A window's first cell reads its filters from their last row and column on.
        at = p.w_top * p.w_row + p.w_left
        for plane in range(g.planes):
            run_tiles(g, &p.tiles, &t, p.weights + ((plane * g.filters + first) * p.w_size + at) * itemsize,
                      slab + plane * g.plane * itemsize)
    take_image(g, slab, p.gx + img * g.ih * g.iw * g.c * itemsize)
    return 0
