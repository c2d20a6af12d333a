/* The one-channel filter's register tile (contract in fc_kernels.h). Lanes run along the row.
 *
 * Every vector of input that is loaded serves all output rows whose window holds it, so a tile of mr rows loads
 * (kh + mr - 1)*kw*nv vectors for its kh*kw*mr*nv multiply-adds. The first and the last mr - 1 input rows serve fewer
 * output rows; as mr <= kh, which ones is known when the loops are unrolled. */

/* Input row r, which the output rows low <= i <= high meet in kernel row r - i. */
static FC_INLINE void FN(filter_input_row)(const fc_filter *f, ptrdiff_t r, vec acc[FC_FILTER_MR_MAX][FC_FILTER_NV_MAX],
                                           const int low, const int high, const int nv) {
    const FC_REAL *x = (const FC_REAL *)f->rows[r] + f->x_first;
    const FC_REAL *w[FC_FILTER_MR_MAX];
    const ptrdiff_t x_step = f->x_step, w_step = f->w_step;
    FC_UNROLL
    for (int i = low; i <= high; i++) w[i] = (const FC_REAL *)f->w + (r - i) * f->w_row;
    ptrdiff_t at = 0;
    for (ptrdiff_t b = f->kw; b > 0; b--) {
        vec column[FC_FILTER_NV_MAX];
        FC_UNROLL
        for (int v = 0; v < nv; v++) column[v] = FN(load)(x + v * LANES);
        FC_UNROLL
        for (int i = low; i <= high; i++) {
            const vec weight = FN(splat)(w[i][at]);
            FC_UNROLL
            for (int v = 0; v < nv; v++) acc[i][v] += weight * column[v];
        }
        x += x_step;
        at += w_step;
    }
}

/* mr and nv are literals at each call below, so that the array becomes registers and the loops over them vanish. */
static FC_INLINE void FN(filter_body)(const fc_filter *f, const int mr, const int nv) {
    vec acc[FC_FILTER_MR_MAX][FC_FILTER_NV_MAX];
    FC_UNROLL
    for (int i = 0; i < mr; i++) {
        FC_UNROLL
        for (int v = 0; v < nv; v++) acc[i][v] = (vec){0};
    }
    FC_UNROLL
    for (int r = 0; r < mr - 1; r++) FN(filter_input_row)(f, r, acc, 0, r, nv);
    for (ptrdiff_t r = mr - 1; r < f->kh; r++) FN(filter_input_row)(f, r, acc, 0, mr - 1, nv);
    FC_UNROLL
    for (int i = 1; i < mr; i++) FN(filter_input_row)(f, f->kh + i - 1, acc, i, mr - 1, nv);

    FC_UNROLL
    for (int i = 0; i < mr; i++) {
        FC_REAL *y = (FC_REAL *)f->y + i * f->y_row;
        FC_UNROLL
        for (int v = 0; v < nv; v++) {
            const ptrdiff_t left = f->n - v * LANES;
            if (left >= LANES) FN(store)(y + v * LANES, acc[i][v]);
            else if (left > 0) FN(store_n)(y + v * LANES, acc[i][v], left);
        }
    }
}

#define FC_FILTER_CASE(m, nv) case m: FN(filter_body)(f, m, nv); break;
#define FC_FILTER_FUNCTION(nv, cases) \
    static void FN(filter_##nv)(const fc_filter *f) { switch (f->mr) { cases } }
#define FC_FILTER_CASES_4(nv) \
    FC_FILTER_CASE(1, nv) FC_FILTER_CASE(2, nv) FC_FILTER_CASE(3, nv) FC_FILTER_CASE(4, nv)

/* Accumulators + nv vectors of input + one broadcast fit the registers. On 16 of them 6 rows of 2 vectors were up to
 * 13 % slower than 4 of 3 on 3x3 kernels and equal on large ones; on 32 registers 4 rows of 4 were 3 to 13 % slower
 * than 6 of 4 from 7x7 up (images of 128 to 1024, AMD Zen 5). */
#if FC_REGISTERS >= 32
#define FC_FILTER_CASES(nv) FC_FILTER_CASES_4(nv) FC_FILTER_CASE(5, nv) FC_FILTER_CASE(6, nv)
FC_FILTER_FUNCTION(1, FC_FILTER_CASES(1))
FC_FILTER_FUNCTION(2, FC_FILTER_CASES(2))
FC_FILTER_FUNCTION(3, FC_FILTER_CASES(3))
FC_FILTER_FUNCTION(4, FC_FILTER_CASES(4))
#define FC_FILTERS 6, 4, {FN(filter_1), FN(filter_2), FN(filter_3), FN(filter_4)}
#else
FC_FILTER_FUNCTION(1, FC_FILTER_CASES_4(1))
FC_FILTER_FUNCTION(2, FC_FILTER_CASES_4(2))
FC_FILTER_FUNCTION(3, FC_FILTER_CASES_4(3))
#define FC_FILTERS 4, 3, {FN(filter_1), FN(filter_2), FN(filter_3), NULL}
#endif

/* dst[j] = src[index[j]] */
static void FN(gather)(void *dst_, const void *src_, const ptrdiff_t *index, ptrdiff_t count) {
    FC_REAL *dst = (FC_REAL *)dst_;
    const FC_REAL *src = (const FC_REAL *)src_;
    for (ptrdiff_t j = 0; j < count; j++) dst[j] = src[index[j]];
}
