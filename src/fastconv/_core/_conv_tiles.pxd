"""The tiles of a block's regions in a direct convolution, with packed weights or with those that the user has."""

from ._conv_direct cimport conv, region
from ._runtime cimport ceil_div
from .kernels cimport FC_DOT_RUN, FC_PARTS_NV, FC_SUM_PARTS, fc_fetch_l2, fc_tile

cdef enum:
    IN_PLACE_DEPTH = 256             # rows of weights in place that all tiles use before the next: they stay in L2
    FETCH_MIN = 256 * 1024           # bytes of such weights from where on they are fetched: fewer stay in L2
    PARTS_AT_ONCE = 2                # rows of a long sum whose parts are summed side by side
    PARTS_ROWS = 60                  # of one part, until it is added: whole tiles, whose sums stay in L1
    MOST_VECTOR_BYTES = 64
    AHEAD_BYTES = 4096               # of the image: so far ahead it is fetched, or a tile's rows, if that is more

cdef struct coming:
    # Weights that are read in place, to be fetched: some rows of a panel.
    const char *first
    Py_ssize_t rows


cdef inline void fetch_weights(const conv *p, coming *weights, Py_ssize_t rows, Py_ssize_t nv) noexcept nogil:
    rows = min(rows, weights.rows)
    weights.rows -= rows
    for _ in range(rows):
        fc_fetch_l2(weights.first, nv * p.k.lanes * p.k.itemsize)
        weights.first += p.ng * p.k.itemsize


cdef inline coming weights_after(const conv *p, Py_ssize_t k, Py_ssize_t column, Py_ssize_t width) noexcept nogil:
    """A stretch of a panel's rows from row k on; behind the last one, of the next panel's."""
    cdef coming weights
    if k >= p.depth:
        k, column = 0, column + width
    weights.first = p.kernel + (k * p.ng + column) * p.k.itemsize
    weights.rows = min(p.depth - k, IN_PLACE_DEPTH) if column < p.ng else 0
    return weights


cdef inline void run_dots(const conv *p, const region *r, Py_ssize_t first, Py_ssize_t last,
                          fc_tile *t) noexcept nogil:
    """Rows of pixels by runs; a row's last run begins where it ends with the row, and meets some pixels again."""
    cdef Py_ssize_t run, at
    t.a_step = p.cg
    while first < last:
        for run in range(ceil_div(r.run, FC_DOT_RUN)):
            at = first + min(run * FC_DOT_RUN, r.run - FC_DOT_RUN)
            t.a_off, t.c_off = p.a_off + at, p.c_off + at
            p.k.dot_run(t)
        first += r.run
    t.a_step = 1


cdef inline void run_tiles(const conv *p, const region *r, Py_ssize_t images, Py_ssize_t end, fc_tile *t,
                           Py_ssize_t nv, bint ahead=False, coming *weights=NULL) noexcept nogil:
    """All tiles of a region; whole vectors may be stored up to `end`. Each fetches its share of what is coming."""
    cdef Py_ssize_t first = r.first, last = r.first + r.per_image * images, most = last - first, whole = last
    cdef Py_ssize_t share = 0
    if ahead or weights != NULL:
        most = p.k.mr[nv - 1]
    if weights != NULL:
        share = ceil_div(weights.rows, ceil_div(last - first, most))
    if r.run > 0:
        run_dots(p, r, first, last, t)
        return
    while whole > first and p.c_off[whole - 1] + nv * p.k.lanes > end:
        whole -= 1
    while first < last:
        t.mr = min(most, last - first)
        t.a_off, t.c_off = p.a_off + first, p.c_off + first
        t.whole_rows = whole - first
        if ahead:
            # As much as a tile reads: of each row an element at a time.
            t.ahead_step = t.mr * p.k.itemsize
            t.ahead = (<const char *> t.a + p.a_off[first] * p.k.itemsize
                       + max(AHEAD_BYTES, p.cg * t.ahead_step))
        if weights != NULL:
            fetch_weights(p, weights, share, nv)
        if ahead:
            p.k.fetching[nv - 1](t)
        elif p.dots:
            p.k.dot[nv - 1](t)
        else:
            p.k.tile[nv - 1](t)
        first += most


cdef inline void run_few(const conv *p, const region *r, Py_ssize_t images, fc_tile *t, const char *x, char *out,
                         Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """The output channels first .. last of few pixels, all of one region, with weights as the user has them."""
    cdef Py_ssize_t itemsize = p.k.itemsize
    t.mr, t.n = r.per_image * images, last - first
    t.a, t.a_off = x, p.a_off + r.first
    t.b, t.b_step = p.kernel + first * itemsize, p.ng
    t.c, t.c_off = out + first * itemsize, p.c_off + r.first
    t.bias = NULL
    if p.bias != NULL:
        t.bias = p.bias + first * itemsize
    t.seg_a, t.seg_k, t.seg_len, t.n_segs = p.seg_a + r.seg, p.seg_k + r.seg, p.seg_len + r.seg, r.n_segs
    t.ahead = p.kernel if p.depth * p.ng * itemsize >= FETCH_MIN else NULL
    p.k.few(t)


cdef inline void run_in_place(const conv *p, const region *r, Py_ssize_t images, fc_tile *t, Py_ssize_t first,
                              Py_ssize_t nv, bint ahead) noexcept nogil:
    """A panel with weights as the user has them: a stretch of their rows for all tiles, then the next stretch.

    ahead: the first time in this block. The rows of many weights are far apart, so nobody else foresees the next ones.
    """
    cdef coming weights
    cdef coming *fetched = &weights if ahead and p.depth * p.ng * p.k.itemsize > FETCH_MIN else NULL
    cdef const void *bias = t.bias
    cdef Py_ssize_t lanes = p.k.lanes, itemsize = p.k.itemsize, seg, a, k = 0, length, left = 0, end, whole = p.depth
    if p.bias == NULL:
        bias = NULL
    if first + nv * lanes > p.ng:
        whole -= p.tail
    for seg in range(r.seg, r.seg + r.n_segs):
        left += p.seg_len[seg]
    t.bias, t.activation, t.accumulate = bias, p.activation, 0
    t.seg_a, t.seg_k, t.seg_len, t.n_segs = &a, &k, &length, 1
    if left == 0:
        t.n_segs = 0
        run_tiles(p, r, images, -1, t, nv)
    for seg in range(r.seg, r.seg + r.n_segs):
        a, k, end = p.seg_a[seg], p.seg_k[seg], p.seg_k[seg] + p.seg_len[seg]
        while k < end:
            if k < whole:
                t.b, t.b_step = p.kernel + first * itemsize, p.ng
                length = min(min(end, whole) - k, IN_PLACE_DEPTH)
            else:
                t.b, t.b_step = p.packed - whole * nv * lanes * itemsize, nv * lanes
                length = end - k
            left -= length
            t.activation = p.activation if left == 0 else 0
            weights = weights_after(p, k + length, first, nv * lanes)
            run_tiles(p, r, images, -1, t, nv, False, fetched)
            t.accumulate, t.bias = 1, NULL
            a += length
            k += length
    t.accumulate, t.activation = 0, p.activation


cdef inline void run_parts(const conv *p, const region *r, Py_ssize_t images, fc_tile *t, Py_ssize_t nv) noexcept nogil:
    """Sums of many terms and few columns in FC_SUM_PARTS parts, which are added in order.

    A tile of one row has too few sums to keep the multiply-adds busy: 5,408 -> 10 took 5.9 us, in parts 2.3. So one or
    two rows go through all parts at once; more rows through one part after the other, with the same bits.
    """
    cdef char sums[PARTS_ROWS * FC_PARTS_NV * MOST_VECTOR_BYTES]
    cdef Py_ssize_t starts[FC_SUM_PARTS]
    cdef Py_ssize_t lengths[FC_SUM_PARTS]
    cdef Py_ssize_t itemsize = p.k.itemsize, first = r.first, end = r.first + images, part, at
    cdef const void *bias = t.bias if p.bias != NULL else NULL
    cdef char *out = <char *> t.c
    cdef region rows = r[0]
    for part in range(FC_SUM_PARTS):
        starts[part] = part * p.depth // FC_SUM_PARTS
        lengths[part] = (part + 1) * p.depth // FC_SUM_PARTS - starts[part]
    if p.in_place and images <= PARTS_AT_ONCE:
        t.b, t.b_step, t.bias = p.kernel, p.ng, bias
        t.seg_a, t.seg_k, t.seg_len, t.n_segs = starts, starts, lengths, FC_SUM_PARTS
        t.mr, t.a_off, t.c_off = images, p.a_off + first, p.c_off + first
        p.k.parts[nv - 1](t)
        return
    t.activation = 0
    while first < end:
        rows.first, rows.per_image = first, min(PARTS_ROWS, end - first)
        at = p.c_off[first] * itemsize
        for part in range(FC_SUM_PARTS):
            t.c = out if part == 0 else sums - at
            t.bias = bias if part == 0 else NULL
            run_part(p, &rows, t, nv, starts[part], lengths[part])
            if part > 0:
                p.k.sum_rows(out + at, sums, 1, 0, rows.per_image * p.ng, 1)
        if p.activation:
            p.k.relu(out + at, out + at, rows.per_image * p.ng)
        first += rows.per_image
    t.activation = p.activation


cdef inline void run_part(const conv *p, const region *rows, fc_tile *t, Py_ssize_t nv, Py_ssize_t k,
                          Py_ssize_t length) noexcept nogil:
    """Terms k .. k + length of the only segment, with packed weights or with those that the user has."""
    cdef Py_ssize_t whole = length, width = nv * p.k.lanes
    t.seg_a, t.seg_k, t.seg_len, t.n_segs = &k, &k, &whole, 1
    t.b, t.b_step = p.packed, width
    if p.in_place:
        t.b, t.b_step = p.kernel, p.ng
        if k + length == p.depth:
            whole -= p.tail
    run_tiles(p, rows, 1, -1, t, nv)
    if whole < length:
        k += whole
        whole = length - whole
        t.b, t.b_step, t.bias, t.accumulate = p.packed - k * width * p.k.itemsize, width, NULL, 1
        run_tiles(p, rows, 1, -1, t, nv)
        t.accumulate = 0
