/* Pooling of one output row, and the adjoints. Lanes hold channels. */

/* A window's best so far, and the cells of the image it was found at. */
typedef struct FN(best) {
    vec value;
    ivec at;
} FN(best);

/* The better of two that stand in this order: a later one is taken if greater, or if NaN while the first is not, so the
 * first of equals stays, and the first NaN. The operation is associative. */
static FC_INLINE FN(best) FN(better)(FN(best) a, FN(best) b) {
    const ivec take = ~(b.value <= a.value) & (a.value == a.value);
    return (FN(best)){FN(select)(take, b.value, a.value), (b.at & take) | (a.at & ~take)};
}

static FC_INLINE FN(best) FN(cell)(const fc_pool_row *r, const FC_REAL *window, ptrdiff_t n, ptrdiff_t cell) {
    const FC_REAL *from = window + cell * r->c;
    return (FN(best)){n == LANES ? FN(load)(from) : FN(load_n)(from, n), (ivec){0} + (FC_INT)cell};
}

/* `n` channels from channel `ch`; n == LANES reads and writes whole vectors, less goes in pieces. `rows` by `cols` is
 * the window: literals where it is small enough to be unrolled. */
static FC_INLINE void FN(max_pool_window)(const fc_pool_row *r, ptrdiff_t q, ptrdiff_t ch, ptrdiff_t n,
                                          const ptrdiff_t rows, const ptrdiff_t cols, const int indexed) {
    const ptrdiff_t corner = r->row_first * r->iw + r->col_first[q];
    const FC_REAL *x = (const FC_REAL *)r->x + corner * r->c + ch;
    FN(best) best;
    for (ptrdiff_t row = 0; row < rows; row++) {
        /* Row by row: the rows' chains of comparisons overlap. */
        FN(best) line = FN(cell)(r, x, n, row * r->iw);
        for (ptrdiff_t col = 1; col < cols; col++) line = FN(better)(line, FN(cell)(r, x, n, row * r->iw + col));
        best = row == 0 ? line : FN(better)(best, line);
    }
    const ptrdiff_t to = q * r->c + ch;
    FC_REAL *y = (FC_REAL *)r->y + to;
    if (n == LANES) FN(store)(y, best.value);
    else FN(store_n)(y, best.value, n);
    if (!indexed) return;
    const vec places = (vec)(best.at + (FC_INT)corner);
    FC_REAL *indices = (FC_REAL *)r->indices + to; /* as wide as the elements */
    if (n == LANES) FN(store)(indices, places);
    else FN(store_n)(indices, places, n);
}

static FC_INLINE void FN(max_pool_channels)(const fc_pool_row *r, ptrdiff_t q, ptrdiff_t ch, ptrdiff_t n) {
    const ptrdiff_t rows = r->row_last - r->row_first, cols = r->col_last[q] - r->col_first[q];
    if (rows == 2 && cols == 2) {
        if (r->indices) FN(max_pool_window)(r, q, ch, n, 2, 2, 1);
        else FN(max_pool_window)(r, q, ch, n, 2, 2, 0);
    } else if (r->indices) {
        FN(max_pool_window)(r, q, ch, n, rows, cols, 1);
    } else {
        FN(max_pool_window)(r, q, ch, n, rows, cols, 0);
    }
}

static FC_INLINE FC_REAL FN(pool_divisor)(const fc_pool_row *r, ptrdiff_t q) {
    const ptrdiff_t real_cells = (r->row_last - r->row_first) * (r->col_last[q] - r->col_first[q]);
    const ptrdiff_t cells = r->window_cells ? r->window_cells : real_cells;
    return (FC_REAL)(cells > 0 ? cells : 1);
}

static FC_INLINE void FN(avg_pool_channels)(const fc_pool_row *r, ptrdiff_t q, ptrdiff_t ch, ptrdiff_t n) {
    const FC_REAL *x = (const FC_REAL *)r->x + ch;
    vec sum = {0};
    for (ptrdiff_t row = r->row_first; row < r->row_last; row++)
        for (ptrdiff_t col = r->col_first[q]; col < r->col_last[q]; col++) {
            const FC_REAL *from = x + (row * r->iw + col) * r->c;
            sum += n == LANES ? FN(load)(from) : FN(load_n)(from, n);
        }
    const vec mean = sum / FN(splat)(FN(pool_divisor)(r, q));
    FC_REAL *y = (FC_REAL *)r->y + q * r->c + ch;
    if (n == LANES) FN(store)(y, mean);
    else FN(store_n)(y, mean, n);
}

/* Whether a vector from channel `ch` of output pixel q may be whole although fewer channels are left: its lanes behind
 * them read cells that exist, and write cells of this row's next pixels, which come later. */
static FC_INLINE int FN(pool_whole)(const fc_pool_row *r, ptrdiff_t q, ptrdiff_t ch) {
    const ptrdiff_t last_cell = (r->row_last - 1) * r->iw + r->col_last[q] - 1;
    return last_cell * r->c + ch + LANES <= r->x_count && q * r->c + ch + LANES <= r->ow * r->c;
}

/* The row's description is copied: from memory it would be read again behind every store. */
#define FC_POOL_ROW(name)                                                                                     \
    static void FN(name##_row)(const fc_pool_row *row) {                                                      \
        const fc_pool_row copy = *row, *const r = &copy;                                                      \
        for (ptrdiff_t q = 0; q < r->ow; q++) {                                                               \
            ptrdiff_t ch = 0;                                                                                 \
            for (; ch + LANES <= r->c; ch += LANES) FN(name##_channels)(r, q, ch, LANES);                     \
            if (ch < r->c) FN(name##_channels)(r, q, ch, FN(pool_whole)(r, q, ch) ? LANES : r->c - ch);       \
        }                                                                                                     \
    }
FC_POOL_ROW(max_pool)
FC_POOL_ROW(avg_pool)

/* Adds the row's gradient, read from y, to the image's gradient gx, for channels c_first .. c_first + c_count. */
static void FN(avg_pool_grad_row)(const fc_pool_row *r, void *gx_, ptrdiff_t c_first, ptrdiff_t c_count) {
    for (ptrdiff_t q = 0; q < r->ow; q++) {
        const FC_REAL divisor = FN(pool_divisor)(r, q);
        const FC_REAL *grad = (const FC_REAL *)r->y + q * r->c + c_first;
        for (ptrdiff_t row = r->row_first; row < r->row_last; row++)
            for (ptrdiff_t col = r->col_first[q]; col < r->col_last[q]; col++) {
                FC_REAL *gx = (FC_REAL *)gx_ + (row * r->iw + col) * r->c + c_first;
                for (ptrdiff_t i = 0; i < c_count; i++) gx[i] += grad[i] / divisor;
            }
    }
}

/* gx[index*c + channel] += grad, pixel by pixel, for channels c_first .. c_first + c_count of one image. */
static void FN(max_pool_grad)(void *gx_, const void *grad_, const void *indices_, ptrdiff_t pixels, ptrdiff_t c,
                              ptrdiff_t c_first, ptrdiff_t c_count) {
    FC_REAL *gx = (FC_REAL *)gx_ + c_first;
    for (ptrdiff_t p = 0; p < pixels; p++) {
        const FC_REAL *grad = (const FC_REAL *)grad_ + p * c + c_first;
        const FC_INT *indices = (const FC_INT *)indices_ + p * c + c_first;
        for (ptrdiff_t i = 0; i < c_count; i++) gx[(ptrdiff_t)indices[i] * c + i] += grad[i];
    }
}

/* `n` channels from channel `ch` of one output pixel's window. */
static FC_INLINE void FN(max_pool_spread)(const fc_pool_row *r, FC_REAL *gx, ptrdiff_t q, ptrdiff_t ch, ptrdiff_t n,
                                          const ptrdiff_t rows, const ptrdiff_t cols) {
    const ptrdiff_t from = q * r->c + ch, corner = r->row_first * r->iw + r->col_first[q];
    const FC_REAL *grad = (const FC_REAL *)r->y + from, *indices = (const FC_REAL *)r->indices + from;
    const vec g = n == LANES ? FN(load)(grad) : FN(load_n)(grad, n);
    /* Unchecked indices may be any number: the difference may wrap round. */
    const vec found = n == LANES ? FN(load)(indices) : FN(load_n)(indices, n);
    const ivec at = (ivec)((FN(wrapping))found - (FC_UINT)corner);
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t col = 0; col < cols; col++) {
            FC_REAL *to = gx + (corner + row * r->iw + col) * r->c + ch;
            const vec part = (vec)((ivec)g & (at == (FC_INT)(row * r->iw + col)));
            if (n == LANES) FN(store)(to, part);
            else FN(store_n)(to, part, n);
        }
}

static void FN(max_pool_spread_row)(const fc_pool_row *row, void *gx_) {
    const fc_pool_row copy = *row, *const r = &copy;
    FC_REAL *gx = (FC_REAL *)gx_;
    const ptrdiff_t rows = r->row_last - r->row_first;
    for (ptrdiff_t q = 0; q < r->ow; q++) {
        const ptrdiff_t cols = r->col_last[q] - r->col_first[q];
        for (ptrdiff_t ch = 0; ch < r->c; ch += LANES) {
            ptrdiff_t n = r->c - ch;
            /* Fewer than LANES: vectors are whole where neither the reading leaves the output row nor the writing its
             * image row; what runs over is written again by the next cell. */
            if (ch == 0 && q * r->c + LANES <= r->ow * r->c && (r->iw - r->col_last[q] + 1) * r->c >= LANES) n = LANES;
            if (n > LANES) n = LANES;
            if (n == LANES && rows == 2 && cols == 2) FN(max_pool_spread)(r, gx, q, ch, LANES, 2, 2);
            else if (n == LANES) FN(max_pool_spread)(r, gx, q, ch, LANES, rows, cols);
            else FN(max_pool_spread)(r, gx, q, ch, n, rows, cols);
        }
    }
    const ptrdiff_t behind = r->col_last[r->ow - 1]; /* columns that no window covers */
    for (ptrdiff_t line = r->row_first; line < r->row_last; line++)
        memset(gx + (line * r->iw + behind) * r->c, 0, (size_t)((r->iw - behind) * r->c) * sizeof(FC_REAL));
}
