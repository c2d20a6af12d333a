"""The tiles of a block of a kernel gradient.

Their rows are entries (kh, kw, ic) of the kernel, and their columns output channels. Where these are few, they are the
rows (`turned`), and the columns neighbouring entries: a kernel row's (kw, ic) lie side by side in the image, too.
"""

from ._ahead cimport take
from ._blocks cimport is_narrow
from ._conv_grad_kernel cimport block, grad
from ._runtime cimport ceil_div
from .kernels cimport fc_kernels, fc_tile


cdef inline Py_ssize_t sum_cost(const fc_kernels *k, Py_ssize_t rows, Py_ssize_t nv) noexcept nogil:
    """Half cycles of one step of a sum of so many rows, in tiles nv vectors wide: multiply-adds, latency or loads.

    Two of each start in a cycle. Where multiply-adds of 512 bits start one by one (Zen 4), loads are no bound.
    """
    cdef Py_ssize_t tiles = ceil_div(rows, k.mr[nv - 1]), cost = 0, tile, mr
    for tile in range(tiles):
        mr = (tile + 1) * rows // tiles - tile * rows // tiles
        cost += max(mr * nv, 8, mr + nv if is_narrow(k) else 0)
    return cost


cdef inline void run_tiles(grad *p, block *b, fc_tile *t, Py_ssize_t nv, const Py_ssize_t *a_off,
                           const Py_ssize_t *c_off, Py_ssize_t count) noexcept nogil:
    """The tiles of `count` rows, as even in height as they come."""
    cdef Py_ssize_t tile, tiles = ceil_div(count, p.k.mr[nv - 1]), row
    for tile in range(tiles):
        row = tile * count // tiles
        t.mr = (tile + 1) * count // tiles - row
        t.a_off, t.c_off = a_off + row, c_off + row
        if p.ahead:
            t.ahead, t.ahead_step = take(&b.next, b.pixels), b.next.step
            p.k.fetching[nv - 1](t)
        else:
            p.k.tile[nv - 1](t)


cdef inline void meet_tap(const grad *p, block *b, Py_ssize_t tap) noexcept nogil:
    """Note the runs of pixels whose tap falls on a cell of the image."""
    cdef Py_ssize_t img, r, row, col = p.tap_cols[tap % p.n_cols]
    cdef Py_ssize_t first = ceil_div(max(-col, 0), p.col_step)
    cdef Py_ssize_t last = min(ceil_div(max(p.iw - col, 0), p.col_step), p.gw)
    b.tap_runs = 0
    for img in range(b.images):
        for r in range(b.rows):
            row = (b.row + r) * p.row_step + p.tap_rows[tap // p.n_cols]
            if 0 <= row < p.ih and first < last:
                b.tap_a[b.tap_runs] = img * p.img_stride + r * p.grid_row_stride + first * p.grid_col_stride
                b.tap_k[b.tap_runs] = (img * b.rows + r) * p.gw + first
                b.tap_len[b.tap_runs] = last - first
                b.tap_runs += 1


cdef inline void run_panel(grad *p, block *b, Py_ssize_t group, Py_ssize_t panel, const char *x, const char *grads,
                           Py_ssize_t grads_step, char *sums, int accumulate) noexcept nogil:
    """Add a block's share to the entries of the channels at hand, for one panel of output channels."""
    cdef Py_ssize_t itemsize = p.k.itemsize, first = p.panel_first[panel], tap, entry, count = b.last - b.first
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
    if not b.by_tap and count == p.cg:
        run_tiles(p, b, &t, nv, p.a_off, p.c_off, p.entries)
        return
    for tap in range(p.n_rows * p.n_cols):
        entry = tap * p.cg + b.first
        if b.by_tap:
            meet_tap(p, b, tap)
            t.seg_a, t.seg_k, t.seg_len, t.n_segs = b.tap_a, b.tap_k, b.tap_len, b.tap_runs
        run_tiles(p, b, &t, nv, p.a_off + entry, p.c_off + entry, count)


cdef inline void meet_turned(const grad *p, block *b, fc_tile *t, Py_ssize_t tap) noexcept nogil:
    """The same runs as a turned tile's segments."""
    cdef Py_ssize_t i
    meet_tap(p, b, tap)
    for i in range(b.tap_runs):
        b.tap_a[i], b.tap_k[i] = b.tap_a[i] // p.a_step, b.tap_k[i] * p.oc
    t.seg_a, t.seg_k, t.seg_len, t.n_segs = b.tap_k, b.tap_a, b.tap_len, b.tap_runs


cdef inline void run_entries(grad *p, block *b, fc_tile *t, Py_ssize_t entry, Py_ssize_t count, Py_ssize_t nv,
                             const char *x, char *sums) noexcept nogil:
    """Neighbouring entries, for all output channels."""
    t.n = count
    t.b, t.c = x + p.a_off[entry] * p.k.itemsize, sums + entry * p.k.itemsize
    run_tiles(p, b, t, nv, p.channels, p.channel_sums, p.oc)


cdef inline void run_turned(grad *p, block *b, Py_ssize_t panel, const char *x, char *sums,
                            int accumulate) noexcept nogil:
    """Add a block's share to a panel of neighbouring entries, for all output channels."""
    cdef Py_ssize_t lanes = p.k.lanes, vectors = ceil_div(p.run, lanes), run = panel // p.pieces, i, tap
    cdef Py_ssize_t piece = panel % p.pieces, first = piece * vectors // p.pieces
    cdef Py_ssize_t nv = (piece + 1) * vectors // p.pieces - first
    cdef fc_tile t
    t.a, t.a_step = b.grads, p.oc
    t.b_step = p.a_step
    t.bias = NULL
    t.whole_rows = 0
    t.activation = 0
    t.accumulate = accumulate
    if p.by_tap or not b.by_tap:
        t.seg_a, t.seg_k, t.seg_len, t.n_segs = b.seg_k, p.seg_steps, b.seg_len, b.runs
        if p.by_tap:
            meet_turned(p, b, &t, run)
        run_entries(p, b, &t, run * p.run + first * lanes, min(nv * lanes, p.run - first * lanes), nv, x, sums)
        return
    # Beside an inf: for the whole run at once, a vector of each tap after the other.
    for tap in range(run * p.run // p.cg, (run + 1) * p.run // p.cg if piece == 0 else 0):
        meet_turned(p, b, &t, tap)
        for i in range(ceil_div(p.cg, lanes)):
            run_entries(p, b, &t, tap * p.cg + i * lanes, min(lanes, p.cg - i * lanes), 1, x, sums)
