/* Pooling of one output row, and the adjoints. Lanes hold channels. */

/* `n` channels from channel `ch`; n == LANES reads and writes whole vectors, less goes in pieces. `rows` by `cols` is
 * the window: literals where it is small enough to be unrolled. */
static FC_INLINE void FN(max_pool_window)(const fc_pool_row *r, ptrdiff_t q, ptrdiff_t ch, ptrdiff_t n,
                                          const ptrdiff_t rows, const ptrdiff_t cols, const int indexed) {
    const ptrdiff_t corner = r->row_first * r->iw + r->col_first[q];
    const FC_REAL *x = (const FC_REAL *)r->x + corner * r->c + ch;
    vec best = FN(splat)((FC_REAL)-INFINITY);
    ivec best_at = {0};
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t col = 0; col < cols; col++) {
            const ptrdiff_t cell = row * r->iw + col;
            const FC_REAL *from = x + cell * r->c;
            const vec value = n == LANES ? FN(load)(from) : FN(load_n)(from, n);
            if (row == 0 && col == 0) {
                best = value;
                continue;
            }
            /* A later cell is taken if greater, or if NaN while the best is not: the first NaN stays. On ties the
             * earlier cell, in row-major order, stays. */
            const ivec take = ~(value <= best) & (best == best);
            best = FN(select)(take, value, best);
            if (indexed) best_at = (((ivec){0} + (FC_INT)cell) & take) | (best_at & ~take);
        }
    const ptrdiff_t to = q * r->c + ch;
    FC_REAL *y = (FC_REAL *)r->y + to;
    if (n == LANES) FN(store)(y, best);
    else FN(store_n)(y, best, n);
    if (!indexed) return;
    const vec places = (vec)(best_at + (FC_INT)corner);
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

#define FC_POOL_ROW(name)                                                                                     \
    static void FN(name##_row)(const fc_pool_row *r) {                                                        \
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

/* `n` channels from channel `ch` of one output pixel's window. Fewer than LANES: vectors are whole where neither the
 * reading leaves the output row nor the writing its image row; what runs over is written again by the next cell. */
static FC_INLINE void FN(max_pool_spread)(const fc_pool_row *r, FC_REAL *gx, ptrdiff_t q, ptrdiff_t ch, ptrdiff_t n,
                                          const ptrdiff_t rows, const ptrdiff_t cols) {
    const ptrdiff_t from = q * r->c + ch, corner = r->row_first * r->iw + r->col_first[q];
    const FC_REAL *grad = (const FC_REAL *)r->y + from, *indices = (const FC_REAL *)r->indices + from;
    const int readable = n == LANES || from + LANES <= r->ow * r->c;
    const vec g = readable ? FN(load)(grad) : FN(load_n)(grad, n);
    const ivec at = (ivec)(readable ? FN(load)(indices) : FN(load_n)(indices, n)) - (FC_INT)corner;
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t col = 0; col < cols; col++) {
            const ptrdiff_t left = (r->iw - r->col_first[q] - col) * r->c - ch;
            FC_REAL *to = gx + (corner + row * r->iw + col) * r->c + ch;
            const vec part = (vec)((ivec)g & (at == (FC_INT)(row * r->iw + col)));
            if (n == LANES || (ch == 0 && left >= LANES)) FN(store)(to, part);
            else FN(store_n)(to, part, n);
        }
}

static void FN(max_pool_spread_row)(const fc_pool_row *r, void *gx_) {
    FC_REAL *gx = (FC_REAL *)gx_;
    const ptrdiff_t rows = r->row_last - r->row_first;
    for (ptrdiff_t q = 0; q < r->ow; q++) {
        const ptrdiff_t cols = r->col_last[q] - r->col_first[q];
        for (ptrdiff_t ch = 0; ch < r->c; ch += LANES) {
            const ptrdiff_t n = r->c - ch < LANES ? r->c - ch : LANES;
            if (rows == 2 && cols == 2) FN(max_pool_spread)(r, gx, q, ch, n, 2, 2);
            else FN(max_pool_spread)(r, gx, q, ch, n, rows, cols);
        }
    }
    const ptrdiff_t behind = r->col_last[r->ow - 1]; /* columns that no window covers */
    for (ptrdiff_t row = r->row_first; row < r->row_last; row++)
        memset(gx + (row * r->iw + behind) * r->c, 0, (size_t)((r->iw - behind) * r->c) * sizeof(FC_REAL));
}
