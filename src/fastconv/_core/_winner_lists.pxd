"""What lies behind a max pooling, for the two gradients of the convolution before it: slabs, lists of winners, tiles.

An image is worked on in a slab, which has room for all that the windows' patches reach over its edges. A few channels
lie there as in the image; many of them a vector at a time, plane by plane, so that a tile's part of all patches stays
in the first-level cache.
"""

from libc.string cimport memcpy, memset

from ._runtime cimport ceil_div, clip, keep, round_up
from .kernels cimport FC_CACHE_LINE, FC_PATCH_ROWS, FC_PATCH_VECTORS, fc_kernels, fc_patches, fc_winner_lists

cdef struct geometry:
    # Sizes count elements; a cell is a pixel of the convolution's output.
    const fc_kernels *k
    Py_ssize_t n, ih, iw, c, filters, kh, kw
    Py_ssize_t sh, sw, dh, ph, pw
    Py_ssize_t first_row, first_col  # of the first window's cells lie outside the image
    Py_ssize_t planes, width         # of the slab, and how many channels of a pixel each has
    Py_ssize_t top, left, rows, cols             # what lies around the image, and its size
    Py_ssize_t row, plane            # elements of a row and of a plane
    Py_ssize_t pixels                # of the pooling's output: windows
    Py_ssize_t grid_cols, window_cells           # cells of a row; from a window's first one behind its last one
    const Py_ssize_t *origin         # of each window: its first cell
    const Py_ssize_t *place          # and where its patch begins in the slab
    const Py_ssize_t *plane_first    # the first channel of each plane

cdef struct tiles:
    # How a patch is cut into register tiles.
    Py_ssize_t count
    const Py_ssize_t *rows
    const Py_ssize_t *first_row
    const Py_ssize_t *vectors
    const Py_ssize_t *first_vector

cdef struct lists:
    Py_ssize_t count, entries
    const Py_ssize_t *first          # where each begins


cdef inline Py_ssize_t odd_lines(Py_ssize_t size, Py_ssize_t line) noexcept:
    """So many elements or a few more, in an odd number of cache lines: rows of a round number of pages would all meet
    in one set of the cache.
    """
    return (ceil_div(size, line) | 1) * line


cdef inline const Py_ssize_t *shifts(const geometry *g, list kept, Py_ssize_t row, Py_ssize_t col) except NULL:
    """For each cell of a window, as its index counts: so much for each row and column that it is from the first."""
    cdef Py_ssize_t i
    return keep(kept, [i // g.grid_cols * row + i % g.grid_cols * col if i % g.grid_cols < g.pw else 0
                       for i in range(g.window_cells)])


cdef inline tiles make_tiles(const fc_kernels *k, list kept, Py_ssize_t rows, Py_ssize_t vectors) except *:
    """As few tiles as the registers allow, as even as they come."""
    cdef tiles t
    cdef Py_ssize_t best = 0, groups = 1, strips = 1, width, count, i, j
    for count in range(ceil_div(rows, FC_PATCH_ROWS), rows + 1):
        width = min(k.patch_sums // ceil_div(rows, count), FC_PATCH_VECTORS)
        if best == 0 or count * ceil_div(vectors, width) < best:
            groups, strips = count, ceil_div(vectors, width)
            best = groups * strips
    grid = [(i, j) for j in range(strips) for i in range(groups)]
    t.count = best
    t.first_row = keep(kept, [i * rows // groups for i, _ in grid])
    t.rows = keep(kept, [(i + 1) * rows // groups - i * rows // groups for i, _ in grid])
    t.first_vector = keep(kept, [j * vectors // strips for _, j in grid])
    t.vectors = keep(kept, [(j + 1) * vectors // strips - j * vectors // strips for _, j in grid])
    return t


cdef inline lists make_lists(list kept, Py_ssize_t count, Py_ssize_t entries) except *:
    """That many lists of so many entries each."""
    cdef lists made
    cdef Py_ssize_t i
    made.count, made.entries = count, count * entries
    made.first = keep(kept, [i * entries for i in range(count)])
    return made


cdef inline Py_ssize_t lists_bytes(const geometry *g, const lists *p) noexcept nogil:
    """Of the lists' ends, places and factors."""
    return round_up((p.count + p.entries) * sizeof(Py_ssize_t) + p.entries * g.k.itemsize, FC_CACHE_LINE)


cdef inline void start_lists(const geometry *g, const lists *p, fc_winner_lists *w, fc_patches *t,
                             char *memory) noexcept nogil:
    """Empty lists, in so much memory, to be filled and to be read."""
    w.pixels, w.step, w.origin, w.window_cells, w.base = g.pixels, g.filters, g.origin, g.window_cells, 0
    w.last = <Py_ssize_t *> memory
    w.places = w.last + p.count
    w.factors = w.places + p.entries
    memcpy(w.last, p.first, p.count * sizeof(Py_ssize_t))
    t.first, t.last, t.places, t.factors = p.first, w.last, w.places, w.factors


cdef inline void run_tiles(const geometry *g, const tiles *all, fc_patches *t, const char *x,
                           char *sums) noexcept nogil:
    """All lists, tile by tile."""
    cdef Py_ssize_t itemsize = g.k.itemsize, i
    for i in range(all.count):
        t.rows, t.vectors = all.rows[i], all.vectors[i]
        t.x = x + (all.first_row[i] * t.x_row + all.first_vector[i] * g.k.lanes) * itemsize
        t.sums = sums + (all.first_row[i] * t.sums_row + all.first_vector[i] * g.k.lanes) * itemsize
        g.k.patches(t)


cdef inline void put_image(const geometry *g, const char *x, char *slab) noexcept nogil:
    """The image's cells that the windows can meet; those around it stay zero."""
    cdef Py_ssize_t itemsize = g.k.itemsize, row, count = clip(g.cols - g.left, 0, g.iw)
    cdef const char *source
    cdef char *to
    for row in range(clip(g.rows - g.top, 0, g.ih)):
        source, to = x + row * g.iw * g.c * itemsize, slab + ((g.top + row) * g.row + g.left * g.width) * itemsize
        if g.planes == 1:
            memcpy(to, source, count * g.c * itemsize)
        else:
            g.k.pack_panels(to, g.plane // g.width, source, count, g.c, g.c, g.plane_first, g.planes)


cdef inline void take_image(const geometry *g, const char *slab, char *gx) noexcept nogil:
    """The slab's part in the image; cells that no window meets become zero."""
    cdef Py_ssize_t itemsize = g.k.itemsize, row, plane, col, channels, count = clip(g.cols - g.left, 0, g.iw)
    cdef Py_ssize_t rows = clip(g.rows - g.top, 0, g.ih), pixel = g.c * itemsize, width = g.width * itemsize
    cdef const char *source
    cdef char *to
    for row in range(rows):
        memset(gx + (row * g.iw + count) * pixel, 0, (g.iw - count) * pixel)
        for plane in range(g.planes):
            source = slab + (plane * g.plane + (g.top + row) * g.row + g.left * g.width) * itemsize
            to = gx + row * g.iw * pixel + plane * width
            channels = min(g.width, g.c - plane * g.width)
            if g.planes == 1:
                memcpy(to, source, count * pixel)
            elif channels == g.width:
                g.k.pack(to, g.c, source, count, g.width, channels, 1)
            else:
                for col in range(count):
                    memcpy(to + col * pixel, source + col * width, channels * itemsize)
    memset(gx + rows * g.iw * pixel, 0, (g.ih - rows) * g.iw * pixel)
