/* Rows of a convolution of one channel with few filters: see fc_conv_rows in fc_kernels.h. */

/* Lanes of a and b in turn, from lane k of each on. */
#define FC_ZIP(i, k) (i) / 2 + (k) + ((i) % 2 ? FC_LANES : 0)

/* The lanes of `count` vectors in turn, v[0][0], v[1][0], ..., v[0][1], v[1][1], ...; count is a power of two, and a
 * literal. */
static FC_INLINE void FN(interleave)(vec *v, const int count) {
    vec next[8];
    FC_UNROLL
    for (int left = count; left > 1; left /= 2) {
        FC_UNROLL
        for (int i = 0; i < count / 2; i++) {
            next[2 * i] = FC_SHUFFLE(v[i], v[i + count / 2], FC_ZIP, 0);
            next[2 * i + 1] = FC_SHUFFLE(v[i], v[i + count / 2], FC_ZIP, FC_LANES / 2);
        }
        FC_UNROLL
        for (int i = 0; i < count; i++) v[i] = next[i];
    }
}

/* nv vectors of pixels of a row, from pixel p on, none beyond `last`; filters and nv are literals. */
static FC_INLINE void FN(row_tile)(const fc_conv_rows *t, const FC_REAL *x, FC_REAL *y, ptrdiff_t p, ptrdiff_t last,
                                   const int filters, const int nv) {
    const int slots = filters > 4 ? 8 : filters > 2 ? 4 : filters;
    const FC_REAL *bias = (const FC_REAL *)t->bias, *w = (const FC_REAL *)t->w, *from[FC_ROW_NV_MAX];
    const ptrdiff_t x_col = t->x_col, w_col = t->w_col;
    ptrdiff_t starts[FC_ROW_NV_MAX];
    vec acc[FC_ROW_NV_MAX][8];
    FC_UNROLL
    for (int v = 0; v < nv; v++) {
        starts[v] = p + v * LANES < last ? p + v * LANES : last;
        FC_UNROLL
        for (int f = 0; f < slots; f++) acc[v][f] = bias && f < filters ? FN(splat)(bias[f]) : (vec){0};
    }
    for (ptrdiff_t a = 0; a < t->rows; a++) {
        const FC_REAL *weights = w + a * t->w_row;
        FC_UNROLL
        for (int v = 0; v < nv; v++) from[v] = x + a * t->x_row + starts[v];
        for (ptrdiff_t b = t->cols; b > 0; b--) {
            vec pixels[FC_ROW_NV_MAX];
            FC_UNROLL
            for (int v = 0; v < nv; v++) {
                pixels[v] = FN(load)(from[v]);
                from[v] += x_col;
            }
            FC_UNROLL
            for (int f = 0; f < filters; f++) {
                const vec weight = FN(splat)(weights[f]);
                FC_UNROLL
                for (int v = 0; v < nv; v++) acc[v][f] += pixels[v] * weight;
            }
            weights += w_col;
        }
    }
    FC_UNROLL
    for (int v = 0; v < nv; v++) {
        FC_REAL *to = y + starts[v] * filters;
        if (t->activation == FC_RELU) {
            FC_UNROLL
            for (int f = 0; f < filters; f++) acc[v][f] = FN(relu_vec)(acc[v][f]);
        }
        FN(interleave)(acc[v], slots);
        if (slots == filters) {
            FC_UNROLL
            for (int f = 0; f < filters; f++) FN(store)(to + f * LANES, acc[v][f]);
            continue;
        }
        /* A pixel's empty slots go where the next pixel's values come; the last one has no next. */
        if (slots == (int)LANES) {
            FC_UNROLL
            for (int i = 0; i < slots - 1; i++) FN(store)(to + i * filters, acc[v][i]);
            FN(store_n)(to + (slots - 1) * filters, acc[v][slots - 1], filters);
            continue;
        }
        FC_REAL lanes[8 * FC_LANES];
        FC_UNROLL
        for (int i = 0; i < slots; i++) FN(store)(lanes + i * LANES, acc[v][i]);
        FC_UNROLL
        for (int i = 0; i < (int)LANES; i++)
            memcpy(to + i * filters, lanes + i * slots,
                   (size_t)(i + 1 < (int)LANES ? slots : filters) * sizeof(FC_REAL));
    }
}

/* nv vectors side by side, then single ones; the last one ends with the row, and may do pixels of others again. */
static FC_INLINE void FN(conv_rows_of)(const fc_conv_rows *t, const int filters, const int nv) {
    const ptrdiff_t last = t->pixels - LANES;
    for (ptrdiff_t line = 0; line < t->lines; line++) {
        const FC_REAL *x = (const FC_REAL *)t->x + line * t->x_line;
        FC_REAL *y = (FC_REAL *)t->y + line * t->y_line;
        ptrdiff_t p = 0;
        for (; p + (nv - 1) * LANES < t->pixels; p += nv * LANES) FN(row_tile)(t, x, y, p, last, filters, nv);
        for (; p < t->pixels; p += LANES) FN(row_tile)(t, x, y, p, last, filters, 1);
    }
}

/* 16 registers hold 12 sums beside the operands; fewer than 8 would wait for each other. */
static void FN(conv_rows)(const fc_conv_rows *t) {
    switch (t->filters) {
        case 1: FN(conv_rows_of)(t, 1, 4); break;
        case 2: FN(conv_rows_of)(t, 2, 4); break;
        case 3: FN(conv_rows_of)(t, 3, 3); break;
        case 4: FN(conv_rows_of)(t, 4, 2); break;
        case 5: FN(conv_rows_of)(t, 5, 2); break;
        case 6: FN(conv_rows_of)(t, 6, 2); break;
    }
}
