/* Pooling of one output row, and the adjoints. Lanes hold channels. */

/* `n` channels from channel `ch`; n == LANES reads and writes whole vectors, less goes in pieces. */
static FC_INLINE void FN(max_pool_channels)(const fc_pool_row *r, ptrdiff_t q, ptrdiff_t ch, ptrdiff_t n) {
    const FC_REAL *x = (const FC_REAL *)r->x + ch;
    vec best = FN(splat)((FC_REAL)-INFINITY);
    ivec best_at = {0};
    int first = 1;
    for (ptrdiff_t row = r->row_first; row < r->row_last; row++)
        for (ptrdiff_t col = r->col_first[q]; col < r->col_last[q]; col++) {
            const ptrdiff_t cell = row * r->iw + col;
            const FC_REAL *from = x + cell * r->c;
            const vec value = n == LANES ? FN(load)(from) : FN(load_n)(from, n);
            /* The first cell is taken as it is; later ones if greater, or if NaN while the best is not: the first
             * NaN stays. On ties the earlier cell, in row-major order, stays. */
            const ivec take = first ? ~(ivec){0} : ~(value <= best) & (best == best);
            best = FN(select)(take, value, best);
            best_at = (((ivec){0} + (FC_INT)cell) & take) | (best_at & ~take);
            first = 0;
        }
    const ptrdiff_t to = q * r->c + ch;
    FC_REAL *y = (FC_REAL *)r->y + to;
    if (n == LANES) FN(store)(y, best);
    else FN(store_n)(y, best, n);
    if (r->indices) memcpy((FC_INT *)r->indices + to, &best_at, (size_t)n * sizeof(FC_INT));
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
