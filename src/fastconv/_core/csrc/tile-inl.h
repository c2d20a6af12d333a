/* The register tile of fc_kernels.h: every convolution, gradient and dense product goes through this loop. */

/* mr and nv are literals at each call below, so that the arrays become registers and the loops vanish. */
static FC_INLINE void FN(tile_body)(const fc_tile *t, const int mr, const int nv) {
    vec acc[FC_MR_MAX][FC_NV_MAX];
    const FC_REAL *a[FC_MR_MAX];
    FC_REAL *c = (FC_REAL *)t->c;
    const FC_REAL *bias = (const FC_REAL *)t->bias;
    const ptrdiff_t a_step = t->a_step, b_step = t->b_step, n_segs = t->n_segs;

    FC_UNROLL
    for (int i = 0; i < mr; i++) {
        a[i] = (const FC_REAL *)t->a + t->a_off[i];
        FC_UNROLL
        for (int v = 0; v < nv; v++) acc[i][v] = bias ? FN(load)(bias + v * LANES) : (vec){0};
    }
    if (t->accumulate) {
        FC_UNROLL
        for (int i = 0; i < mr; i++) {
            FC_UNROLL
            for (int v = 0; v < nv; v++) {
                const ptrdiff_t left = t->n - v * LANES;
                const FC_REAL *from = c + t->c_off[i] + v * LANES;
                acc[i][v] = left >= LANES ? FN(load)(from) : left > 0 ? FN(load_n)(from, left) : (vec){0};
            }
        }
    }

    for (ptrdiff_t s = 0; s < n_segs; s++) {
        const FC_REAL *b = (const FC_REAL *)t->b + t->seg_k[s] * b_step;
        ptrdiff_t at = t->seg_a[s];
        for (ptrdiff_t k = t->seg_len[s]; k > 0; k--) {
            vec column[FC_NV_MAX];
            FC_UNROLL
            for (int v = 0; v < nv; v++) column[v] = FN(load)(b + v * LANES);
            FC_UNROLL
            for (int i = 0; i < mr; i++) {
                const vec x = FN(splat)(a[i][at]);
                FC_UNROLL
                for (int v = 0; v < nv; v++) acc[i][v] += x * column[v];
            }
            at += a_step;
            b += b_step;
        }
    }

    if (t->activation == FC_RELU) {
        FC_UNROLL
        for (int i = 0; i < mr; i++) {
            FC_UNROLL
            for (int v = 0; v < nv; v++) acc[i][v] = FN(relu_vec)(acc[i][v]);
        }
    }
    FC_UNROLL
    for (int i = 0; i < mr; i++) {
        const int whole = i < t->whole_rows;
        FC_UNROLL
        for (int v = 0; v < nv; v++) {
            const ptrdiff_t left = t->n - v * LANES;
            FC_REAL *to = c + t->c_off[i] + v * LANES;
            if (whole || left >= LANES) FN(store)(to, acc[i][v]);
            else if (left > 0) FN(store_n)(to, acc[i][v], left);
        }
    }
}

#define FC_TILE_CASE(m, nv) case m: FN(tile_body)(t, m, nv); break;
#define FC_TILE_FUNCTION(nv, cases) \
    static void FN(tile_##nv)(const fc_tile *t) { switch (t->mr) { cases } }

#define FC_CASES_4(nv) FC_TILE_CASE(1, nv) FC_TILE_CASE(2, nv) FC_TILE_CASE(3, nv) FC_TILE_CASE(4, nv)
#define FC_CASES_6(nv) FC_CASES_4(nv) FC_TILE_CASE(5, nv) FC_TILE_CASE(6, nv)
#define FC_CASES_8(nv) FC_CASES_6(nv) FC_TILE_CASE(7, nv) FC_TILE_CASE(8, nv)
#define FC_CASES_10(nv) FC_CASES_8(nv) FC_TILE_CASE(9, nv) FC_TILE_CASE(10, nv)

/* Accumulators + columns + one broadcast fit the registers; at least 8 accumulators hide the latency of two
 * multiply-adds a cycle. More than about 10 rows run out of general registers for the row pointers. */
#if FC_REGISTERS >= 32
FC_TILE_FUNCTION(1, FC_CASES_10(1))
FC_TILE_FUNCTION(2, FC_CASES_10(2))
FC_TILE_FUNCTION(3, FC_CASES_8(3))
FC_TILE_FUNCTION(4, FC_CASES_6(4))
#define FC_TILES 4, {10, 10, 8, 6}, {FN(tile_1), FN(tile_2), FN(tile_3), FN(tile_4)}
#else
FC_TILE_FUNCTION(1, FC_CASES_10(1))
FC_TILE_FUNCTION(2, FC_CASES_6(2))
FC_TILE_FUNCTION(3, FC_CASES_4(3))
#define FC_TILES 3, {10, 6, 4, 0}, {FN(tile_1), FN(tile_2), FN(tile_3), NULL}
#endif
