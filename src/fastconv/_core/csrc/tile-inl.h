/* The register tile of fc_kernels.h: every convolution, gradient and dense product goes through this loop. */

/* mr, nv and fetch are literals at each call below, so that the arrays become registers and the loops vanish. */
static FC_INLINE void FN(tile_body)(const fc_tile *t, const int mr, const int nv, const int fetch) {
    vec acc[FC_MR_MAX][FC_NV_MAX];
    const FC_REAL *a[FC_MR_MAX];
    FC_REAL *c = (FC_REAL *)t->c;
    const FC_REAL *bias = (const FC_REAL *)t->bias;
    const ptrdiff_t a_step = t->a_step, b_step = t->b_step, n_segs = t->n_segs;
    const char *ahead = (const char *)t->ahead;

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
            if (fetch) {
                fc_fetch_l2(ahead, 1);
                ahead += t->ahead_step;
            }
            /* Sums fill the registers: of rows and columns the fewer stay there beside them, the others come singly. */
            if (nv > mr) {
                vec x[FC_NV_MAX];
                FC_UNROLL
                for (int i = 0; i < mr; i++) x[i] = FN(splat)(a[i][at]);
                FC_UNROLL
                for (int v = 0; v < nv; v++) {
                    vec column = FN(load)(b + v * LANES);
                    if (mr > 1) FC_KEEP(column);
                    FC_UNROLL
                    for (int i = 0; i < mr; i++) acc[i][v] += x[i] * column;
                }
            } else {
                vec column[FC_NV_MAX];
                FC_UNROLL
                for (int v = 0; v < nv; v++) column[v] = FN(load)(b + v * LANES);
                FC_UNROLL
                for (int i = 0; i < mr; i++) {
                    const vec x = FN(splat)(a[i][at]);
                    FC_UNROLL
                    for (int v = 0; v < nv; v++) acc[i][v] += x * column[v];
                }
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
    if (t->whole_rows >= mr || t->n >= nv * (ptrdiff_t)LANES) {
        /* The usual case, quickly: short sums wait for their stores. */
        FC_UNROLL
        for (int i = 0; i < mr; i++) {
            FC_REAL *to = c + t->c_off[i];
            FC_UNROLL
            for (int v = 0; v < nv; v++) FN(store)(to + v * LANES, acc[i][v]);
        }
        return;
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

/* sums[j] += `terms` terms, each with a row of weights, for j < n; the last vector's other lanes hold anything.
 * ahead: NULL, or as many rows of weights that come later, asked for row by row meanwhile: memory gives more in its own
 * order than as `terms` rows side by side. terms is a literal. */
static FC_INLINE void FN(few_terms)(FC_REAL *sums, ptrdiff_t n, const FC_REAL *a, ptrdiff_t a_step, const FC_REAL *b,
                                    ptrdiff_t b_step, const int terms, const FC_REAL *ahead) {
    vec x[FC_FEW_TERMS];
    ptrdiff_t j = 0;
    FC_UNROLL
    for (int k = 0; k < terms; k++) x[k] = FN(splat)(a[k * a_step]);
    for (int part = 0; part < terms; part++) {
        const ptrdiff_t end = ahead && part + 1 < terms ? n * (part + 1) / terms : n;
        const FC_REAL *next = ahead ? ahead + part * b_step : NULL;
        for (; j + LANES <= end; j += LANES) {
            vec sum = FN(load)(sums + j);
            if (ahead) {
                fc_fetch_l2(next, terms * LANES * (ptrdiff_t)sizeof(FC_REAL));
                next += terms * LANES;
            }
            FC_UNROLL
            for (int k = 0; k < terms; k++) sum += x[k] * FN(load)(b + k * b_step + j);
            FN(store)(sums + j, sum);
        }
    }
    if (j < n) {
        vec sum = FN(load)(sums + j);
        FC_UNROLL
        for (int k = 0; k < terms; k++) sum += x[k] * FN(load_n)(b + k * b_step + j, n - j);
        FN(store)(sums + j, sum);
    }
}

/* The columns first .. first + n, n <= width. The sums stay in memory of the thread's own: it is written all the time,
 * and c's first and last cache line may be other threads' too. */
static void FN(few_columns)(const fc_tile *t, ptrdiff_t first, ptrdiff_t n, const ptrdiff_t width) {
    FC_REAL sums[FC_FEW_BYTES / sizeof(FC_REAL)] __attribute__((aligned(FC_CACHE_LINE)));
    const FC_REAL *bias = (const FC_REAL *)t->bias;
    const ptrdiff_t a_step = t->a_step, b_step = t->b_step, rows = t->mr;
    const ptrdiff_t turn = FC_FEW_TERMS * n * (ptrdiff_t)sizeof(FC_REAL);
    const ptrdiff_t distance = (FC_FEW_AHEAD + turn - 1) / turn * FC_FEW_TERMS * b_step;
    for (ptrdiff_t i = 0; i < rows; i++) {
        memset(sums + i * width, 0, (size_t)((n + LANES - 1) / LANES * LANES) * sizeof(FC_REAL));
        if (bias) memcpy(sums + i * width, bias + first, (size_t)n * sizeof(FC_REAL));
    }
    for (ptrdiff_t s = 0; s < t->n_segs; s++) {
        const FC_REAL *a = (const FC_REAL *)t->a + t->seg_a[s];
        const FC_REAL *b = (const FC_REAL *)t->b + t->seg_k[s] * b_step + first;
        ptrdiff_t k = t->seg_len[s];
        for (; k >= FC_FEW_TERMS; k -= FC_FEW_TERMS, a += FC_FEW_TERMS * a_step, b += FC_FEW_TERMS * b_step) {
            if (t->ahead) FN(few_terms)(sums, n, a + t->a_off[0], a_step, b, b_step, FC_FEW_TERMS, b + distance);
            for (ptrdiff_t i = t->ahead != NULL; i < rows; i++)
                FN(few_terms)(sums + i * width, n, a + t->a_off[i], a_step, b, b_step, FC_FEW_TERMS, NULL);
        }
        for (; k > 0; k--, a += a_step, b += b_step)
            for (ptrdiff_t i = 0; i < rows; i++)
                FN(few_terms)(sums + i * width, n, a + t->a_off[i], a_step, b, b_step, 1, NULL);
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        FC_REAL *c = (FC_REAL *)t->c + t->c_off[i] + first;
        if (t->activation == FC_RELU) FN(relu)(c, sums + i * width, n);
        else memcpy(c, sums + i * width, (size_t)n * sizeof(FC_REAL));
    }
}

static void FN(few)(const fc_tile *t) {
    const ptrdiff_t room = FC_FEW_BYTES / (ptrdiff_t)sizeof(FC_REAL) / (t->mr + FC_FEW_TERMS - 1);
    const ptrdiff_t width = room / LANES * LANES;
    for (ptrdiff_t j = 0; j < t->n; j += width) FN(few_columns)(t, j, t->n - j < width ? t->n - j : width, width);
}

/* LANES terms of each sum, or n of them if that is not 0. */
static FC_INLINE void FN(dot_step)(vec (*acc)[FC_NV_MAX], const FC_REAL *const *a, ptrdiff_t at, const FC_REAL *b,
                                   ptrdiff_t b_step, const int mr, const int nv, ptrdiff_t n) {
    vec column[FC_NV_MAX];
    FC_UNROLL
    for (int v = 0; v < nv; v++) column[v] = n ? FN(load_n)(b + v * b_step, n) : FN(load)(b + v * b_step);
    FC_UNROLL
    for (int i = 0; i < mr; i++) {
        vec x = n ? FN(load_n)(a[i] + at, n) : FN(load)(a[i] + at);
        if (nv > 1) FC_KEEP(x);
        FC_UNROLL
        for (int v = 0; v < nv; v++) acc[i][v] += x * column[v];
    }
}

/* sums[i*nv + v] = act( the sum of acc[i][v]'s lanes ), neighbouring ones first. LANES vectors at a time become one
 * vector of their sums. */
static FC_INLINE void FN(sum_lanes)(FC_REAL *sums, vec (*acc)[FC_NV_MAX], const int mr, const int nv, int activation) {
    FC_UNROLL
    for (int sum = 0; sum < mr * nv; sum += (int)LANES) {
        vec tree[FC_LANES];
        FC_UNROLL
        for (int j = 0; j < (int)LANES; j++)
            tree[j] = sum + j < mr * nv ? acc[(sum + j) / nv][(sum + j) % nv] : (vec){0};
        FC_UNROLL
        for (int width = (int)LANES / 2; width > 0; width /= 2) {
            FC_UNROLL
            for (int j = 0; j < width; j++) {
                const vec a0 = tree[2 * j], a1 = tree[2 * j + 1];
                tree[j] = FN(evens)(a0, a1, width) + FN(odds)(a0, a1, width);
            }
        }
        FN(store)(sums + sum, activation == FC_RELU ? FN(relu_vec)(tree[0]) : tree[0]);
    }
}

/* The tile of few columns, its rows from `first` on. Rows behind t->mr repeat the last one: one function a width,
 * instead of one a height. */
static FC_INLINE void FN(dot_body)(const fc_tile *t, const ptrdiff_t first, const int mr, const int nv) {
    vec acc[FC_MR_MAX][FC_NV_MAX];
    const FC_REAL *a[FC_MR_MAX];
    FC_REAL sums[FC_MR_MAX * FC_NV_MAX + FC_LANES];
    const FC_REAL *bias = (const FC_REAL *)t->bias;
    const ptrdiff_t b_step = t->b_step, n_segs = t->n_segs, last = t->mr - 1;

    FC_UNROLL
    for (int i = 0; i < mr; i++) {
        a[i] = (const FC_REAL *)t->a + t->a_off[first + i < last ? first + i : last];
        FC_UNROLL
        for (int v = 0; v < nv; v++) acc[i][v] = bias ? (vec){bias[v]} : (vec){0};
    }
    for (ptrdiff_t s = 0; s < n_segs; s++) {
        const FC_REAL *b = (const FC_REAL *)t->b + t->seg_k[s];
        ptrdiff_t at = t->seg_a[s], k = t->seg_len[s];
        for (; k >= LANES; k -= LANES) {
            FN(dot_step)(acc, a, at, b, b_step, mr, nv, 0);
            at += LANES;
            b += LANES;
        }
        if (k > 0) FN(dot_step)(acc, a, at, b, b_step, mr, nv, k);
    }
    FN(sum_lanes)(sums, acc, mr, nv, t->activation);
    for (int i = 0; i < mr && first + i <= last; i++) {
        FC_REAL *to = (FC_REAL *)t->c + t->c_off[first + i];
        FC_UNROLL
        for (int v = 0; v < nv; v++) to[v] = sums[i * nv + v];
    }
}

/* A vector of x is read once for all pixels whose windows meet it: `cols` of them. */
static FC_INLINE void FN(dot_run_body)(const fc_tile *t, const int cols) {
    const ptrdiff_t pixel = t->a_step, n_segs = t->n_segs;
    const FC_REAL *bias = (const FC_REAL *)t->bias;
    vec acc[FC_DOT_RUN][FC_NV_MAX];
    FC_REAL sums[FC_DOT_RUN + FC_LANES];
    FC_UNROLL
    for (int i = 0; i < FC_DOT_RUN; i++) acc[i][0] = bias ? (vec){bias[0]} : (vec){0};
    for (ptrdiff_t s = 0; s < n_segs; s++) {
        const FC_REAL *a = (const FC_REAL *)t->a + t->a_off[0] + t->seg_a[s];
        const FC_REAL *b = (const FC_REAL *)t->b + t->seg_k[s];
        for (ptrdiff_t k = 0; k < pixel; k += LANES) {
            const FC_REAL *next = a + k;
            vec w[FC_DOT_COLS];
            FC_UNROLL
            for (int col = 0; col < cols; col++) w[col] = FN(load)(b + col * pixel + k);
            FC_UNROLL
            for (int i = 0; i < FC_DOT_RUN + cols - 1; i++) {
                vec x = FN(load)(next);
                FC_KEEP(x);
                next += pixel;
                FC_UNROLL
                for (int col = 0; col < cols; col++)
                    if (i >= col && i - col < FC_DOT_RUN) acc[i - col][0] += x * w[col];
            }
        }
    }
    FN(sum_lanes)(sums, acc, FC_DOT_RUN, 1, t->activation);
    for (int i = 0; i < FC_DOT_RUN; i++) ((FC_REAL *)t->c)[t->c_off[i]] = sums[i];
}

static void FN(dot_run)(const fc_tile *t) {
    switch (t->seg_len[0] / t->a_step) {
        case 2: FN(dot_run_body)(t, 2); break;
        case 3: FN(dot_run_body)(t, 3); break;
        case 4: FN(dot_run_body)(t, 4); break;
        case 5: FN(dot_run_body)(t, 5); break;
        case 6: FN(dot_run_body)(t, 6); break;
        case 7: FN(dot_run_body)(t, 7); break;
    }
}

#define FC_DOT_FUNCTION(mr_, nv)                                                                    \
    static void FN(dot_##nv)(const fc_tile *t) {                                                    \
        for (ptrdiff_t first = 0; first < t->mr; first += mr_) FN(dot_body)(t, first, mr_, nv);     \
    }

/* The segments side by side: as many chains of additions, none of which waits for another. nv is a literal. */
static FC_INLINE void FN(parts_body)(const fc_tile *t, const int nv) {
    const FC_REAL *bias = (const FC_REAL *)t->bias;
    const ptrdiff_t b_step = t->b_step, last = FC_SUM_PARTS - 1;
    /* The last rows of weights may end with column n, and so may the memory. */
    ptrdiff_t common = t->seg_len[last] - (nv * LANES - t->n + b_step - 1) / b_step;
    for (int p = 0; p < FC_SUM_PARTS; p++) common = common < t->seg_len[p] ? common : t->seg_len[p];
    for (ptrdiff_t i = 0; i < t->mr; i++) {
        vec acc[FC_SUM_PARTS][FC_NV_MAX];
        const FC_REAL *a[FC_SUM_PARTS], *b[FC_SUM_PARTS];
        FC_REAL *c = (FC_REAL *)t->c + t->c_off[i];
        FC_UNROLL
        for (int p = 0; p < FC_SUM_PARTS; p++) {
            a[p] = (const FC_REAL *)t->a + t->a_off[i] + t->seg_a[p];
            b[p] = (const FC_REAL *)t->b + t->seg_k[p] * b_step;
            FC_UNROLL
            for (int v = 0; v < nv; v++) acc[p][v] = bias && p == 0 ? FN(load)(bias + v * LANES) : (vec){0};
        }
        for (ptrdiff_t k = 0; k < common; k++) {
            FC_UNROLL
            for (int p = 0; p < FC_SUM_PARTS; p++) {
                const vec x = FN(splat)(a[p][k]);
                FC_UNROLL
                for (int v = 0; v < nv; v++) acc[p][v] += x * FN(load)(b[p] + v * LANES);
                b[p] += b_step;
            }
        }
        FC_UNROLL
        for (int p = 0; p < FC_SUM_PARTS; p++) {
            for (ptrdiff_t k = common; k < t->seg_len[p]; k++, b[p] += b_step) {
                const vec x = FN(splat)(a[p][k]);
                FC_UNROLL
                for (int v = 0; v < nv; v++) {
                    const ptrdiff_t left = t->n - v * LANES;
                    /* Each a product and a sum: a choice of what to load between them may keep the two apart. */
                    if (left >= LANES) acc[p][v] += x * FN(load)(b[p] + v * LANES);
                    else if (left > 0) acc[p][v] += x * FN(load_n)(b[p] + v * LANES, left);
                }
            }
        }
        FC_UNROLL
        for (int v = 0; v < nv; v++) {
            const ptrdiff_t left = t->n - v * LANES;
            vec sum = acc[0][v];
            FC_UNROLL
            for (int p = 1; p < FC_SUM_PARTS; p++) sum += acc[p][v];
            if (t->activation == FC_RELU) sum = FN(relu_vec)(sum);
            if (left >= LANES) FN(store)(c + v * LANES, sum);
            else if (left > 0) FN(store_n)(c + v * LANES, sum, left);
        }
    }
}

static void FN(parts_1)(const fc_tile *t) { FN(parts_body)(t, 1); }
static void FN(parts_2)(const fc_tile *t) { FN(parts_body)(t, 2); }
static void FN(parts_3)(const fc_tile *t) { FN(parts_body)(t, 3); }

/* Kept in registers across the tiles, its members would drive the row pointers out. */
#undef FC_IN_MEMORY
#define FC_IN_MEMORY(object) __asm__ volatile("" : : "r"(&(object)) : "memory")

#define FC_TILE_CASE(m, nv) case m: FN(tile_body)(t, m, nv, 0); break;
/* One tile of up to `most` rows; and any number of them, `most` at a time, where a call for each would cost as much as
 * a sum of ten terms does. */
#define FC_TILE_FUNCTION(nv, most, cases)                                                           \
    static __attribute__((noinline)) void FN(tile_of_##nv)(const fc_tile *t) {                      \
        switch (t->mr) { cases }                                                                    \
    }                                                                                               \
    static void FN(tile_##nv)(const fc_tile *t) {                                                   \
        fc_tile rest;                                                                               \
        if (t->mr <= most) {                                                                        \
            FN(tile_of_##nv)(t);                                                                    \
            return;                                                                                 \
        }                                                                                           \
        rest = *t;                                                                                  \
        do {                                                                                        \
            FC_IN_MEMORY(rest);                                                                     \
            FN(tile_body)(&rest, most, nv, 0);                                                      \
            rest.a_off += most;                                                                     \
            rest.c_off += most;                                                                     \
            rest.whole_rows -= most;                                                                \
            rest.mr -= most;                                                                        \
        } while (rest.mr > most);                                                                   \
        FN(tile_of_##nv)(&rest);                                                                    \
    }                                                                                               \
    static void FN(fetching_##nv)(const fc_tile *t) {                                               \
        if (t->mr == most) FN(tile_body)(t, most, nv, 1);                                           \
        else if (t->mr == most - 1) FN(tile_body)(t, most - 1, nv, 1);                              \
        else FN(tile_of_##nv)(t);                                                                   \
    }

#define FC_CASES_3(nv) FC_TILE_CASE(1, nv) FC_TILE_CASE(2, nv) FC_TILE_CASE(3, nv)
#define FC_CASES_4(nv) FC_CASES_3(nv) FC_TILE_CASE(4, nv)
#define FC_CASES_6(nv) FC_CASES_4(nv) FC_TILE_CASE(5, nv) FC_TILE_CASE(6, nv)
#define FC_CASES_8(nv) FC_CASES_6(nv) FC_TILE_CASE(7, nv) FC_TILE_CASE(8, nv)
#define FC_CASES_10(nv) FC_CASES_8(nv) FC_TILE_CASE(9, nv) FC_TILE_CASE(10, nv)

/* Accumulators + columns + one broadcast fit the registers; at least 8 accumulators hide the latency of two
 * multiply-adds a cycle. More than about 10 rows run out of general registers for the row pointers. */
#if FC_REGISTERS >= 32
FC_TILE_FUNCTION(1, 10, FC_CASES_10(1))
FC_TILE_FUNCTION(2, 10, FC_CASES_10(2))
FC_TILE_FUNCTION(3, 8, FC_CASES_8(3))
FC_TILE_FUNCTION(4, 6, FC_CASES_6(4))
FC_DOT_FUNCTION(10, 1)
FC_DOT_FUNCTION(10, 2)
FC_DOT_FUNCTION(8, 3)
FC_DOT_FUNCTION(6, 4)
#define FC_TILES \
    4, 4, {10, 10, 8, 6}, {FN(tile_1), FN(tile_2), FN(tile_3), FN(tile_4)}, \
    {FN(fetching_1), FN(fetching_2), FN(fetching_3), FN(fetching_4)}, FN(few), \
    {FN(parts_1), FN(parts_2), FN(parts_3)}, \
    {FN(dot_1), FN(dot_2), FN(dot_3), FN(dot_4)}, FN(dot_run)
#else
FC_TILE_FUNCTION(1, 10, FC_CASES_10(1))
FC_TILE_FUNCTION(2, 6, FC_CASES_6(2))
FC_TILE_FUNCTION(3, 4, FC_CASES_4(3))
FC_TILE_FUNCTION(4, 3, FC_CASES_3(4))
FC_DOT_FUNCTION(10, 1)
FC_DOT_FUNCTION(6, 2)
FC_DOT_FUNCTION(4, 3)
#define FC_TILES \
    3, 4, {10, 6, 4, 3}, {FN(tile_1), FN(tile_2), FN(tile_3), FN(tile_4)}, \
    {FN(fetching_1), FN(fetching_2), FN(fetching_3), FN(fetching_4)}, FN(few), \
    {FN(parts_1), FN(parts_2), FN(parts_3)}, \
    {FN(dot_1), FN(dot_2), FN(dot_3), NULL}, FN(dot_run)
#endif
