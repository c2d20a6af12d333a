"""Filters of one channel at a time: convolve2d and correlate2d with every boundary. Lanes run along the row.

The output is cut into strips of a few rows, a strip into tiles, and threads take runs of strips. A thread pads the
image rows that its strip meets, one by one as it goes down, into a slab of rows that stays in the cache; a row that
leaves the window gives its place to the next (a ring). So no copy of the image is made, whatever its size, and the
tiles see no border. Padding by zeros is hardly multiplied: a tile's taps are those that meet a cell for some window.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

from ._runtime cimport active_kernels, address, allocate, ceil_div, clip, release, round_up, team_size
from .kernels cimport FC_CACHE_LINE, fc_filter, fc_kernels

cdef enum:
    # Of a thread's padded rows, which every strip reads again: they should stay in L2. Of 64 to 512 KB none was more
    # than 6 % better; 64 KB cost a quarter for 7x7 on 4096x4096, whose blocks pad their borders more often.
    SLAB_BYTES = 256 * 1024
    BLOCK_MIN = 1024                 # elements of a slab's row, at least: each block pads its kernel's width anew
    PARTS = 4                        # runs of strips for each thread: those at the border have less to do
    MEMORY_WORK = 8                  # reading and writing an element costs about as much as 8 multiply-adds

cdef enum boundary_kind:
    FILL, WRAP, SYMM

cdef struct column_tile:
    Py_ssize_t first, n, nv          # elements of the output's row, vectors
    Py_ssize_t tap, taps             # kernel columns that meet a cell

cdef struct sweep:
    const fc_kernels *k
    Py_ssize_t ih, in_row            # rows of the image, elements of one: its columns' channels lie side by side
    Py_ssize_t oh, out_row, c, kh, kw
    Py_ssize_t top, left             # output (0, 0) has its window's first cell in row -top, column -left
    int boundary
    bint trim                        # padding is 0: only taps that meet a cell count
    bint single                      # each window for itself: an inf in the kernel must not meet the zeros
    Py_ssize_t strip, strips, parts, blocks, n_tiles
    Py_ssize_t slots, width, pitch   # rows of a slab, elements in use, elements from row to row
    Py_ssize_t scratch               # bytes of a thread's memory
    column_tile *tiles
    const char *x
    const char *w
    Py_ssize_t w_row, w_step
    char *y
    char *padding                    # a row of the fill value

cdef struct slab:
    # A thread's memory, and what its slab holds: rows .. next_row - 1 of the image as the boundary continues it.
    char *rows
    const void **window              # the rows that a tile meets
    Py_ssize_t *index                # where the cells beside the image's row come from
    Py_ssize_t start                 # the slab's first element in the image's row, negative on the left of it
    Py_ssize_t low, high             # elements of the slab's row that lie in the image's row
    Py_ssize_t next_row


def filter2d(x, kernel, out, int itemsize, double fillvalue, tuple image, tuple grid, tuple window, tuple origin,
             int boundary, bint rotate):
    """x (ih, iw, c) -> out (oh, ow, c): correlation of each channel with kernel (kh, kw), rotated by 180° if asked.

    origin: (top, left), cells by which the first window begins above and left of the image.
    boundary: 0 fill, 1 wrap, 2 symm.
    """
    cdef sweep s
    cdef Py_ssize_t iw, ow
    s.k = active_kernels(itemsize)
    s.ih, iw, s.c = image
    s.oh, ow = grid
    s.kh, s.kw = window
    s.top, s.left = origin
    s.in_row, s.out_row = iw * s.c, ow * s.c
    s.x, s.w, s.y = <const char *> address(x, False), <const char *> address(kernel, False), <char *> address(out, True)
    s.boundary = boundary
    s.trim = boundary == FILL and fillvalue == 0
    s.single = s.trim and not s.k.finite(s.w, s.kh * s.kw)
    s.w_row, s.w_step = s.kw, 1
    if rotate:
        s.w += (s.kh * s.kw - 1) * itemsize
        s.w_row, s.w_step = -s.kw, -1
    s.strip = 1 if s.single else min(s.kh, s.k.filter_mr)
    s.strips = ceil_div(s.oh, s.strip)
    make_tiles(&s, iw, ow)
    make_slab(&s)

    cdef int team = team_size(<double> s.oh * s.out_row * (<double> s.kh * s.kw + MEMORY_WORK))
    s.parts = 1 if team == 1 else min(s.strips, ceil_div(PARTS * team, s.blocks))
    cdef Py_ssize_t task, tasks = s.parts * s.blocks
    cdef char *memory = NULL
    try:
        memory = allocate(team * s.scratch + s.pitch * itemsize, 1)
        s.padding = memory + team * s.scratch
        with nogil:
            set_cells(s.padding, s.pitch, itemsize, fillvalue)
            if team == 1:
                # A team of one costs 0.6 us to start, as much as filtering 28x28 by 3x3.
                for task in range(tasks):
                    run_task(&s, task, memory)
            else:
                for task in prange(tasks, schedule="dynamic", num_threads=team):
                    run_task(&s, task, memory + threadid() * s.scratch)
    finally:
        release(memory)
        release(s.tiles)


cdef int make_tiles(sweep *s, Py_ssize_t iw, Py_ssize_t ow) except -1:
    """Cut the output's row into tiles, as even as they come."""
    cdef Py_ssize_t q, first, last, widest = s.k.filter_nv * s.k.lanes
    cdef Py_ssize_t count = ceil_div(s.out_row, widest)
    if s.single:
        count += ow * (ceil_div(s.c, widest) + 1)
    s.tiles = <column_tile *> allocate(count, sizeof(column_tile))
    s.n_tiles = 0
    if not s.single:
        add_tiles(s, iw, 0, s.out_row)
        return 0
    # The columns whose windows lie in the image share tiles, the others stand alone.
    first = clip(s.left, 0, ow)
    last = clip(iw + s.left - s.kw + 1, first, ow)
    for q in range(first):
        add_tiles(s, iw, q * s.c, (q + 1) * s.c)
    add_tiles(s, iw, first * s.c, last * s.c)
    for q in range(last, ow):
        add_tiles(s, iw, q * s.c, (q + 1) * s.c)


cdef void add_tiles(sweep *s, Py_ssize_t iw, Py_ssize_t first, Py_ssize_t last) noexcept:
    """Tiles for elements first .. last - 1."""
    cdef Py_ssize_t lanes = s.k.lanes, vectors = ceil_div(last - first, s.k.lanes), i
    cdef Py_ssize_t count = ceil_div(vectors, s.k.filter_nv)
    cdef column_tile *t
    for i in range(count):
        t = &s.tiles[s.n_tiles]
        t.first = first + i * vectors // count * lanes
        t.nv = (i + 1) * vectors // count - i * vectors // count
        t.n = min(t.nv * lanes, last - t.first)
        t.tap, t.taps = 0, s.kw
        if s.trim:
            t.tap = clip(s.left - (t.first + t.n - 1) // s.c, 0, s.kw)
            t.taps = clip(iw + s.left - t.first // s.c, t.tap, s.kw) - t.tap
        s.n_tiles += 1


cdef void make_slab(sweep *s) noexcept:
    """Sizes of a thread's memory, and the blocks of tiles that it serves."""
    cdef Py_ssize_t itemsize = s.k.itemsize, tile = s.k.filter_nv * s.k.lanes, halo = (s.kw - 1) * s.c
    cdef Py_ssize_t rows = s.kh + s.strip - 1, lines
    s.slots = min(rows, s.ih) if s.boundary == FILL else rows
    cdef Py_ssize_t block = max(SLAB_BYTES // (s.slots * itemsize) - halo, 4 * halo, BLOCK_MIN)
    s.blocks = clip(ceil_div(s.out_row, block), 1, s.n_tiles)
    s.width = min(ceil_div(s.n_tiles, s.blocks) * tile, s.out_row + tile) + halo
    # An odd number of lines: rows at a distance of 4096 bytes would share the same few places of L1.
    lines = ceil_div(s.width * itemsize, FC_CACHE_LINE) | 1
    s.pitch = lines * FC_CACHE_LINE // itemsize
    s.scratch = s.slots * lines * FC_CACHE_LINE + round_up(rows * sizeof(void *), FC_CACHE_LINE)
    if s.boundary != FILL:
        s.scratch += lines * FC_CACHE_LINE // itemsize * sizeof(Py_ssize_t)


cdef void set_cells(char *to, Py_ssize_t count, int itemsize, double value) noexcept nogil:
    cdef Py_ssize_t i
    if value == 0:
        memset(to, 0, count * itemsize)
    elif itemsize == 8:
        for i in range(count):
            (<double *> to)[i] = value
    else:
        for i in range(count):
            (<float *> to)[i] = <float> value


cdef Py_ssize_t source(Py_ssize_t place, Py_ssize_t size, int boundary) noexcept nogil:
    """The cell that a place beside the image repeats, however far away; scipy.signal's "wrap" and "symm"."""
    cdef Py_ssize_t period = size if boundary == WRAP else 2 * size
    place %= period                  # as in C: with the sign of place
    if place < 0:
        place += period
    return place if place < size else period - 1 - place


cdef void run_task(const sweep *s, Py_ssize_t task, char *memory) noexcept nogil:
    """One part of the strips for one block of tiles."""
    cdef Py_ssize_t block = task % s.blocks, part = task // s.blocks, itemsize = s.k.itemsize, i
    cdef Py_ssize_t first_tile = block * s.n_tiles // s.blocks, last_tile = (block + 1) * s.n_tiles // s.blocks
    cdef Py_ssize_t iw = s.in_row // s.c, place
    cdef slab b
    b.rows = memory
    b.window = <const void **> (memory + s.slots * s.pitch * itemsize)
    b.index = <Py_ssize_t *> (<char *> b.window + round_up((s.kh + s.strip - 1) * sizeof(void *), FC_CACHE_LINE))
    b.start = s.tiles[first_tile].first - s.left * s.c
    b.low = clip(-b.start, 0, s.width)
    b.high = clip(s.in_row - b.start, b.low, s.width)
    b.next_row = -s.top
    if s.boundary == FILL:
        for i in range(s.slots):
            memcpy(b.rows + i * s.pitch * itemsize, s.padding, b.low * itemsize)
            memcpy(b.rows + (i * s.pitch + b.high) * itemsize, s.padding, (s.width - b.high) * itemsize)
    else:
        for i in range(s.width):
            if i < b.low or i >= b.high:
                place = b.start + i + s.left * s.c       # not negative, so that // rounds down
                b.index[i] = source(place // s.c - s.left, iw, s.boundary) * s.c + place % s.c
    for i in range(part * s.strips // s.parts, (part + 1) * s.strips // s.parts):
        run_strip(s, &b, i * s.strip, first_tile, last_tile)


cdef void run_strip(const sweep *s, slab *b, Py_ssize_t row, Py_ssize_t first_tile,
                    Py_ssize_t last_tile) noexcept nogil:
    """The output rows from `row`, as many as a strip has."""
    cdef Py_ssize_t mr = min(s.strip, s.oh - row), first = 0, last = s.kh, i
    cdef const column_tile *t
    cdef fc_filter f
    if s.trim:
        # Kernel rows that meet a cell for some row of the strip, but no fewer than the tile needs.
        first = clip(s.top - (row + mr - 1), 0, s.kh - mr)
        last = clip(s.ih + s.top - row, first + mr, s.kh)
    pad_rows(s, b, row - s.top + first, mr + last - first - 1)
    f.mr, f.rows, f.kh = mr, b.window, last - first
    f.x_step, f.w_row, f.w_step, f.y_row = s.c, s.w_row, s.w_step, s.out_row
    for i in range(first_tile, last_tile):
        t = &s.tiles[i]
        f.n, f.kw = t.n, t.taps
        f.x_first = t.first - s.tiles[first_tile].first + t.tap * s.c
        f.w = s.w + (first * s.w_row + t.tap * s.w_step) * s.k.itemsize
        f.y = s.y + (row * s.out_row + t.first) * s.k.itemsize
        s.k.filter[t.nv - 1](&f)


cdef void pad_rows(const sweep *s, slab *b, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """Point b.window at rows first .. first + count - 1, and pad those that the slab has not yet."""
    cdef Py_ssize_t row, slot, low = first, high = first + count
    cdef char *to
    if s.boundary == FILL:
        low, high = clip(first, 0, s.ih), clip(high, 0, s.ih)
        for row in range(first, first + count):
            if row < 0 or row >= s.ih:
                b.window[row - first] = s.padding
    b.next_row = max(b.next_row, low)
    slot = (low + s.top) % s.slots
    for row in range(low, high):
        to = b.rows + slot * s.pitch * s.k.itemsize
        if row == b.next_row:
            pad_row(s, b, row if s.boundary == FILL else source(row, s.ih, s.boundary), to)
            b.next_row += 1
        b.window[row - first] = to
        slot = slot + 1 if slot + 1 < s.slots else 0


cdef void pad_row(const sweep *s, const slab *b, Py_ssize_t row, char *to) noexcept nogil:
    """One row of the image into the slab. What fills the sides of its slot stays there from row to row."""
    cdef Py_ssize_t itemsize = s.k.itemsize
    cdef const char *x = s.x + row * s.in_row * itemsize
    memcpy(to + b.low * itemsize, x + (b.start + b.low) * itemsize, (b.high - b.low) * itemsize)
    if s.boundary != FILL:
        s.k.gather(to, x, b.index, b.low)
        s.k.gather(to + b.high * itemsize, x, b.index + b.high, s.width - b.high)
