/* Depthwise convolution, and convolution in groups of 2, 4, 8 channels in and as many out: fc_kernels.h.
 *
 * A vector holds neighbouring channels, whole groups of them. Channel i of a group of `cg` meets filter i ^ k in its
 * k-th sum, k < cg: so x is never rearranged, and only the finished sums are, by log2(cg) exchanges of neighbours:
 *     y[o] = sum over k of sums[k][o ^ k].
 */

#define FC_XOR(i, k) (i) ^ (k)
#define FC_EXCHANGE_CASE(k) case k: return FC_SHUFFLE(v, v, FC_XOR, (k) & (FC_LANES - 1));

/* lane i of the result is lane i ^ k of v; k is a literal below LANES. */
static FC_INLINE vec FN(exchange)(vec v, const int k) {
    switch (k) {
        FC_EXCHANGE_CASE(1) FC_EXCHANGE_CASE(2) FC_EXCHANGE_CASE(3) FC_EXCHANGE_CASE(4) FC_EXCHANGE_CASE(5)
        FC_EXCHANGE_CASE(6) FC_EXCHANGE_CASE(7)
        default: return v;
    }
}

/* acc[k] += acc[k + half], exchanged, for k < half. */
#define FC_REDUCE(half)                                                                             \
    if (cg > half) {                                                                                \
        FC_UNROLL                                                                                   \
        for (int k = 0; k < half; k++) {                                                            \
            FC_UNROLL                                                                               \
            for (int i = 0; i < mr; i++) acc[k][i] += FN(exchange)(acc[k + half][i], half);         \
        }                                                                                           \
    }

/* The first n lanes; a literal LANES makes it a plain load or store. */
static FC_INLINE vec FN(lanes)(const FC_REAL *p, const ptrdiff_t n) {
    return n == LANES ? FN(load)(p) : FN(load_n)(p, n);
}

static FC_INLINE void FN(set_lanes)(FC_REAL *p, vec v, const ptrdiff_t n) {
    if (n == LANES) FN(store)(p, v);
    else FN(store_n)(p, v, n);
}

/* acc[l][i] += the taps of one kernel row in nb neighbouring columns, for the lines l0 <= l < l1 and mr pixels. Pixels
 * lie `step` columns apart: each column is read once for all of them. mr, nb, step, l0 and l1 are literals. */
static FC_INLINE void FN(depthwise_slide)(vec (*acc)[FC_DEPTHWISE_MR_MAX], const fc_depthwise *t, const FC_REAL *x,
                                          const FC_REAL *w, const int mr, const int nb, const int step, const int l0,
                                          const int l1) {
    vec weight[FC_DEPTHWISE_LINES][FC_DEPTHWISE_TAPS];
    const ptrdiff_t x_col = t->x_col, w_col = t->w_col, w_row = t->w_row;
    FC_UNROLL
    for (int l = l0; l < l1; l++) {
        FC_UNROLL
        for (int b = 0; b < nb; b++) weight[l][b] = FN(load)(w - l * w_row + b * w_col);
    }
    FC_UNROLL
    for (int j = 0; j < (mr - 1) * step + nb; j++) {
        const vec pixel = FN(load)(x);
        FC_UNROLL
        for (int b = 0; b < nb; b++) {
            FC_UNROLL
            for (int l = l0; l < l1; l++)
                if (j >= b && (j - b) % step == 0 && (j - b) / step < mr)
                    acc[l][(j - b) / step] += pixel * weight[l][b];
        }
        x += x_col;
    }
}

/* n channels, a vector or less, from the given pointers on, for mr pixels of `lines` lines; cg, mr, lines, phases and
 * step are literals. step: columns of taps from pixel to pixel, 0 where that is no whole number or too large to gain
 * by it. Two lines are a row of taps apart, and have FC_DEPTHWISE_TAPS columns: most rows of x serve both at once. */
static FC_INLINE void FN(depthwise_tile)(const fc_depthwise *t, const FC_REAL *x, const FC_REAL *w, const FC_REAL *bias,
                                         FC_REAL *y, const int cg, const int mr, const int lines, const int phases,
                                         const int step, const ptrdiff_t n) {
    vec acc[FC_DEPTHWISE_CG_MAX][FC_DEPTHWISE_MR_MAX];
    const ptrdiff_t x_step = t->x_step, x_col = t->x_col, w_col = t->w_col, y_step = t->y_step;
    const int relu = t->activation == FC_RELU;
    const int outputs = lines * phases, sums = cg > outputs ? cg : outputs;
    const ptrdiff_t w_sum = phases == 1 ? LANES : w_col, y_sum = phases == 1 ? t->y_line : t->channels;
    FC_UNROLL
    for (int i = 0; i < mr; i++) {
        FC_UNROLL
        for (int k = 0; k < sums; k++)
            acc[k][i] = bias && k < outputs ? FN(lanes)(bias, n) : (vec){0};
    }
    if (lines == 2) FN(depthwise_slide)(acc, t, x, w, mr, FC_DEPTHWISE_TAPS, 1, 0, 1);
    for (ptrdiff_t a = lines == 2; a < t->rows; a++) {
        const FC_REAL *from = x + a * t->x_row, *weights = w + a * t->w_row;
        ptrdiff_t b = t->cols;
        if (lines == 2) {
            FN(depthwise_slide)(acc, t, from, weights, mr, FC_DEPTHWISE_TAPS, 1, 0, 2);
            continue;
        }
        if (step) {
            for (; b >= 3; b -= 3) {
                FN(depthwise_slide)(acc, t, from, weights, mr, 3, step, 0, 1);
                from += 3 * x_col;
                weights += 3 * w_col;
            }
            if (b == 2) FN(depthwise_slide)(acc, t, from, weights, mr, 2, step, 0, 1);
            else if (b == 1) FN(depthwise_slide)(acc, t, from, weights, mr, 1, step, 0, 1);
            continue;
        }
        for (; b > 0; b -= phases) {
            vec pixel[FC_DEPTHWISE_MR_MAX];
            FC_UNROLL
            for (int i = 0; i < mr; i++) pixel[i] = FN(lanes)(from + i * x_step, n);
            FC_UNROLL
            for (int k = 0; k < sums; k++) {
                if (phases > 1 && k >= b) break;
                const vec weight = FN(lanes)(weights + k * w_sum, n);
                FC_UNROLL
                for (int i = 0; i < mr; i++) acc[k][i] += pixel[i] * weight;
            }
            from += x_col;
            weights += phases * w_col;
        }
    }
    if (lines == 2)
        FN(depthwise_slide)(acc, t, x + t->rows * t->x_row, w + t->rows * t->w_row, mr, FC_DEPTHWISE_TAPS, 1, 1, 2);
    FC_REDUCE(4) FC_REDUCE(2) FC_REDUCE(1)
    FC_UNROLL
    for (int k = 0; k < outputs; k++) {
        FC_UNROLL
        for (int i = 0; i < mr; i++)
            FN(set_lanes)(y + k * y_sum + i * y_step, relu ? FN(relu_vec)(acc[k][i]) : acc[k][i], n);
    }
}

/* What the lines after these will read, beyond what is read here, and write: the tile of one vector of channels brings
 * its share into the caches, each cache line once. Its distance is a whole line or two: the memory that the vectors of
 * a tile go through in turn is too scattered for the processor to foresee. x and y: channel 0 of the tile's pixels. */
static FC_INLINE void FN(depthwise_fetch)(const fc_depthwise *t, const FC_REAL *x, const FC_REAL *y, ptrdiff_t at,
                                          const int lines, const int reads, const int writes) {
    x += (t->rows + lines - 1) * t->x_row + at * reads;
    for (ptrdiff_t row = t->fresh * lines; row > 0; row--, x += t->x_row)
        fc_fetch(x, reads * FC_VECTOR_BYTES);
    if (!t->writes_on) return;
    y += lines * t->y_line + at * writes;
    for (int line = 0; line < lines; line++, y += t->y_line)
        fc_fetch(y, writes * FC_VECTOR_BYTES);
}

/* Pixels first .. last, all channels; last - first is a multiple of mr. The last vector ends with the last channel: it
 * may do channels of the one before again. `part`: the channels do not fill one vector. */
static FC_INLINE void FN(depthwise_pixels)(const fc_depthwise *t, ptrdiff_t line, ptrdiff_t first, ptrdiff_t last,
                                           const int cg, const int mr, const int lines, const int phases,
                                           const int step, const int part) {
    const FC_REAL *bias = (const FC_REAL *)t->bias;
    const ptrdiff_t channels = t->channels;
    for (ptrdiff_t pixel = first; pixel < last; pixel += mr) {
        const FC_REAL *x = (const FC_REAL *)t->x + line * t->x_line + pixel * t->x_step, *w = (const FC_REAL *)t->w;
        FC_REAL *y = (FC_REAL *)t->y + line * t->y_line + pixel * t->y_step;
        if (part) {
            FN(depthwise_tile)(t, x, w, bias, y, cg, mr, lines, phases, step, channels);
            continue;
        }
        for (ptrdiff_t at = 0; at < channels; at += LANES) {
            const ptrdiff_t ch = at + LANES <= channels ? at : channels - LANES;
            FN(depthwise_fetch)(t, x, y, ch, lines, mr * (step ? step : 1), mr * phases);
            FN(depthwise_tile)(t, x + ch, cg == 1 ? w + ch : w, bias ? bias + ch : NULL, y + ch, cg, mr, lines, phases,
                               step, LANES);
            w += cg == 1 ? 0 : t->w_vector;
        }
    }
}

#define FC_DEPTHWISE_CASE(m) \
    case m: FN(depthwise_pixels)(t, line, first, last, cg, m, lines, phases, step, part); break;
/* `lines` lines from one on, in tiles as even as they come: some of mr pixels, then others of one more. */
#define FC_DEPTHWISE_LINE(name, cg_, lines_, phases_, step_, part_, mr_max, cases)                  \
    static void FN(depthwise_##name)(const fc_depthwise *t, ptrdiff_t line) {                       \
        enum { cg = cg_, lines = lines_, phases = phases_, step = step_, part = part_ };            \
        const ptrdiff_t tiles = (t->pixels + mr_max - 1) / mr_max;                                  \
        const ptrdiff_t mr = t->pixels / tiles, taller = t->pixels % tiles;                         \
        ptrdiff_t first = 0, last = (tiles - taller) * mr;                                          \
        switch (mr) { cases }                                                                       \
        if (taller) {                                                                               \
            first = last;                                                                           \
            last = t->pixels;                                                                       \
            switch (mr + 1) { cases }                                                               \
        }                                                                                           \
    }
#define FC_DEPTHWISE_FUNCTION(cg, mr_max, cases)                                                    \
    FC_DEPTHWISE_LINE(line_##cg, cg, 1, 1, 0, 0, mr_max, cases)                                        \
    static void FN(depthwise_##cg)(const fc_depthwise *t) {                                         \
        for (ptrdiff_t line = 0; line < t->lines; line++) FN(depthwise_line_##cg)(t, line);         \
    }

#define FC_DW_1 FC_DEPTHWISE_CASE(1)
#define FC_DW_2 FC_DW_1 FC_DEPTHWISE_CASE(2)
#define FC_DW_3 FC_DW_2 FC_DEPTHWISE_CASE(3)
#define FC_DW_4 FC_DW_3 FC_DEPTHWISE_CASE(4)
#define FC_DW_5 FC_DW_4 FC_DEPTHWISE_CASE(5)
#define FC_DW_7 FC_DW_5 FC_DEPTHWISE_CASE(6) FC_DEPTHWISE_CASE(7)
#define FC_DW_8 FC_DW_7 FC_DEPTHWISE_CASE(8)

#if FC_REGISTERS >= 32
FC_DEPTHWISE_LINE(pair, 1, 2, 1, 1, 0, 8, FC_DW_8)
#else
FC_DEPTHWISE_LINE(pair, 1, 2, 1, 1, 0, 4, FC_DW_4)
#endif
FC_DEPTHWISE_LINE(part, 1, 1, 1, 0, 1, 4, FC_DW_4)
FC_DEPTHWISE_LINE(apart, 1, 1, 1, 0, 0, 8, FC_DW_8)
FC_DEPTHWISE_LINE(side_by_side, 1, 1, 1, 1, 0, 8, FC_DW_8)
FC_DEPTHWISE_LINE(strided, 1, 1, 1, 2, 0, 8, FC_DW_8)
FC_DEPTHWISE_LINE(phases, 1, 1, 2, 0, 0, 8, FC_DW_8)

static void FN(depthwise_1)(const fc_depthwise *t) {
    const int whole = t->channels >= LANES;
    const int side_by_side = whole && t->x_step == t->x_col && t->phases == 1;
    ptrdiff_t line = 0;
    if (side_by_side && t->cols == FC_DEPTHWISE_TAPS && t->rows > 0 && t->x_line == t->x_row)
        for (; line + 2 <= t->lines; line += 2) FN(depthwise_pair)(t, line);
    for (; line < t->lines; line++) {
        if (t->phases == 2) FN(depthwise_phases)(t, line);
        else if (side_by_side) FN(depthwise_side_by_side)(t, line);
        else if (whole && t->x_step == 2 * t->x_col) FN(depthwise_strided)(t, line);
        else if (whole) FN(depthwise_apart)(t, line);
        else FN(depthwise_part)(t, line);
    }
}

/* acc[a][b][k] += what mr neighbouring pixels give to the taps a0 <= a < a1, b0 <= b < b1. Several pixels lie as far
 * apart as columns of taps: a cell of x is read once for all that meet it. x: tap (0, 0) of the first pixel. cg, a0,
 * a1, b0, b1 and mr are literals. */
static FC_INLINE void FN(depthwise_grad_pixels)(vec (*acc)[FC_DEPTHWISE_TAPS][FC_DEPTHWISE_CG_MAX],
                                                const fc_depthwise_grad *t, const FC_REAL *x, const FC_REAL *g,
                                                const int cg, const int a0, const int a1, const int b0, const int b1,
                                                const int mr, const ptrdiff_t n) {
    vec grad[FC_DEPTHWISE_GRAD_MR][FC_DEPTHWISE_CG_MAX];
    const FC_REAL *row[FC_DEPTHWISE_TAPS];
    const ptrdiff_t x_row = t->x_row, x_col = t->x_col, g_pixel = t->g_pixel;
    ptrdiff_t at = b0 * x_col;
    FC_UNROLL
    for (int a = a0; a < a1; a++) row[a] = x + a * x_row;
    FC_UNROLL
    for (int i = 0; i < mr; i++, g += g_pixel) {
        grad[i][0] = FN(lanes)(g, n);
        FC_UNROLL
        for (int k = 1; k < cg; k++) grad[i][k] = FN(exchange)(grad[i][0], k);
    }
    FC_UNROLL
    for (int j = b0; j < mr - 1 + b1; j++, at += x_col) {
        FC_KEEP_INDEX(at);
        FC_UNROLL
        for (int a = a0; a < a1; a++) {
            vec cell = FN(lanes)(row[a] + at, n);
            if (mr > 1) FC_KEEP(cell);
            FC_UNROLL
            for (int b = b0; b < b1; b++) {
                FC_UNROLL
                for (int k = 0; k < cg; k++)
                    if (j >= b && j - b < mr) acc[a][b][k] += cell * grad[j - b][k];
            }
        }
    }
}

/* A line of pixels, for the taps a0 .. a1 of nb columns. cg, a0, a1, nb, mr and sides (whether t->left and t->right
 * count) are literals. */
static FC_INLINE void FN(depthwise_grad_line)(vec (*acc)[FC_DEPTHWISE_TAPS][FC_DEPTHWISE_CG_MAX],
                                              const fc_depthwise_grad *t, const FC_REAL *x, const FC_REAL *g,
                                              const int cg, const int a0, const int a1, const int nb, const int mr,
                                              const int sides, const ptrdiff_t n) {
    const ptrdiff_t x_pixel = t->x_pixel, g_pixel = t->g_pixel;
    ptrdiff_t p = t->pixels;
    if (sides && t->left) {
        FN(depthwise_grad_pixels)(acc, t, x, g, cg, a0, a1, 1, nb, 1, n);
        x += x_pixel;
        g += g_pixel;
        p--;
    }
    if (sides) p -= t->right;
    for (; p >= mr; p -= mr) {
        FN(depthwise_grad_pixels)(acc, t, x, g, cg, a0, a1, 0, nb, mr, n);
        x += mr * x_pixel;
        g += mr * g_pixel;
    }
    if (mr > 1)
        for (; p > 0; p--, x += x_pixel, g += g_pixel)
            FN(depthwise_grad_pixels)(acc, t, x, g, cg, a0, a1, 0, nb, 1, n);
    if (sides && t->right) FN(depthwise_grad_pixels)(acc, t, x, g, cg, a0, a1, 0, nb - 1, 1, n);
}

/* The gradient of na x nb taps for one vector of channels, or for the n that there are. cg, na, nb, mr and sides are
 * literals. */
static FC_INLINE void FN(depthwise_grad_tile)(const fc_depthwise_grad *t, const FC_REAL *x, const FC_REAL *g,
                                              FC_REAL *sums, const int cg, const int na, const int nb, const int mr,
                                              const int sides, const ptrdiff_t n) {
    vec acc[FC_DEPTHWISE_TAPS][FC_DEPTHWISE_TAPS][FC_DEPTHWISE_CG_MAX];
    const ptrdiff_t x_line = t->x_line, g_line = t->g_line, sum_row = t->sum_row, last = t->lines - 1;
    FC_UNROLL
    for (int a = 0; a < na; a++) {
        FC_UNROLL
        for (int b = 0; b < nb; b++) {
            FC_UNROLL
            for (int k = 0; k < cg; k++) acc[a][b][k] = FN(load)(sums + a * sum_row + (b * cg + k) * LANES);
        }
    }
    for (ptrdiff_t r = 0; r <= last; r++, x += x_line, g += g_line) {
        if (sides && r == 0 && t->top) FN(depthwise_grad_line)(acc, t, x, g, cg, 1, na, nb, mr, 1, n);
        else if (sides && r == last && t->bottom)
            FN(depthwise_grad_line)(acc, t, x, g, cg, 0, na - 1, nb, mr, 1, n);
        else FN(depthwise_grad_line)(acc, t, x, g, cg, 0, na, nb, mr, sides, n);
    }
    FC_UNROLL
    for (int a = 0; a < na; a++) {
        FC_UNROLL
        for (int b = 0; b < nb; b++) {
            FC_UNROLL
            for (int k = 0; k < cg; k++) FN(store)(sums + a * sum_row + (b * cg + k) * LANES, acc[a][b][k]);
        }
    }
}

/* All channels. The last vector ends with the last channel: it may do channels of the one before again. */
static FC_INLINE void FN(depthwise_grad_taps)(const fc_depthwise_grad *t, ptrdiff_t a, ptrdiff_t b, const int cg,
                                              const int na, const int nb, const int mr, const int sides) {
    const FC_REAL *x = (const FC_REAL *)t->x + a * t->x_row + b * t->x_col, *g = (const FC_REAL *)t->g;
    FC_REAL *sums = (FC_REAL *)t->sums + a * t->sum_row + b * cg * LANES;
    const ptrdiff_t channels = t->channels;
    if (mr == 1 && cg == 1 && channels < LANES) {
        FN(depthwise_grad_tile)(t, x, g, sums, cg, na, nb, 1, 0, channels);
        return;
    }
    for (ptrdiff_t at = 0; at < channels; at += LANES, sums += t->sum_vector) {
        const ptrdiff_t ch = at + LANES <= channels ? at : channels - LANES;
        FN(depthwise_grad_tile)(t, x + ch, g + ch, sums, cg, na, nb, mr, sides, LANES);
    }
}

#define FC_DEPTHWISE_GRAD_CASE(cg, a, b) \
    case FC_DEPTHWISE_TAPS * a + b: FN(depthwise_grad_taps)(t, row, col, cg, a, b, 1, 0); break;
/* Cuts rows x cols taps into rectangles of at most na_max x nb_max, as even as they come. */
#define FC_DEPTHWISE_GRAD_FUNCTION(cg, name, na_max, nb_max, cases)                                \
    static void FN(name)(const fc_depthwise_grad *t) {                                             \
        const ptrdiff_t row_tiles = (t->rows + na_max - 1) / na_max;                               \
        const ptrdiff_t col_tiles = (t->cols + nb_max - 1) / nb_max;                               \
        for (ptrdiff_t i = 0; i < row_tiles; i++) {                                                \
            const ptrdiff_t row = i * t->rows / row_tiles, na = (i + 1) * t->rows / row_tiles - row; \
            for (ptrdiff_t j = 0; j < col_tiles; j++) {                                            \
                const ptrdiff_t col = j * t->cols / col_tiles, nb = (j + 1) * t->cols / col_tiles - col; \
                switch (FC_DEPTHWISE_TAPS * na + nb) { cases }                                     \
            }                                                                                      \
        }                                                                                          \
    }

#define FC_DG_11(cg) FC_DEPTHWISE_GRAD_CASE(cg, 1, 1)
#define FC_DG_12(cg) FC_DG_11(cg) FC_DEPTHWISE_GRAD_CASE(cg, 1, 2)
#define FC_DG_13(cg) FC_DG_12(cg) FC_DEPTHWISE_GRAD_CASE(cg, 1, 3)
#define FC_DG_23(cg) FC_DG_13(cg) FC_DEPTHWISE_GRAD_CASE(cg, 2, 1) FC_DEPTHWISE_GRAD_CASE(cg, 2, 2) \
    FC_DEPTHWISE_GRAD_CASE(cg, 2, 3)
#define FC_DG_33(cg) FC_DG_23(cg) FC_DEPTHWISE_GRAD_CASE(cg, 3, 1) FC_DEPTHWISE_GRAD_CASE(cg, 3, 2) \
    FC_DEPTHWISE_GRAD_CASE(cg, 3, 3)

/* As many sums as the registers hold beside the operands. */
FC_DEPTHWISE_GRAD_FUNCTION(1, depthwise_grad_any, 3, 3, FC_DG_33(1))
static void FN(depthwise_grad_1)(const fc_depthwise_grad *t) {
    if (t->whole && t->x_pixel == t->x_col) FN(depthwise_grad_taps)(t, 0, 0, 1, 3, 3, FC_DEPTHWISE_GRAD_MR, 1);
    else if (t->whole) FN(depthwise_grad_taps)(t, 0, 0, 1, 3, 3, 1, 1);
    else FN(depthwise_grad_any)(t);
}
#if FC_REGISTERS >= 32
FC_DEPTHWISE_FUNCTION(2, 7, FC_DW_7)
FC_DEPTHWISE_GRAD_FUNCTION(2, depthwise_grad_2, 3, 3, FC_DG_33(2))
#else
FC_DEPTHWISE_FUNCTION(2, 4, FC_DW_4)
FC_DEPTHWISE_GRAD_FUNCTION(2, depthwise_grad_2, 2, 3, FC_DG_23(2))
#endif
#if FC_LANES >= 4 && FC_REGISTERS >= 32
FC_DEPTHWISE_FUNCTION(4, 5, FC_DW_5)
FC_DEPTHWISE_GRAD_FUNCTION(4, depthwise_grad_4, 2, 3, FC_DG_23(4))
#elif FC_LANES >= 4
FC_DEPTHWISE_FUNCTION(4, 2, FC_DW_2)
FC_DEPTHWISE_GRAD_FUNCTION(4, depthwise_grad_4, 1, 3, FC_DG_13(4))
#endif
#if FC_LANES >= 8 && FC_REGISTERS >= 32
FC_DEPTHWISE_FUNCTION(8, 3, FC_DW_3)
FC_DEPTHWISE_GRAD_FUNCTION(8, depthwise_grad_8, 1, 3, FC_DG_13(8))
#elif FC_LANES >= 8
FC_DEPTHWISE_GRAD_FUNCTION(8, depthwise_grad_8, 1, 1, FC_DG_11(8))
#endif

/* The common multipliers are literals: their loops become shuffles or broadcasts of whole vectors. */
#define FC_MULTIPLIER_CASE(name, m) case m: FN(name##_by)(dst, src, count, m); break;
#define FC_MULTIPLIER_FUNCTION(name)                                                                \
    static void FN(name)(void *dst, const void *src, ptrdiff_t count, ptrdiff_t m) {                \
        switch (m) {                                                                                \
            FC_MULTIPLIER_CASE(name, 2) FC_MULTIPLIER_CASE(name, 4)                                 \
            FC_MULTIPLIER_CASE(name, 8) FC_MULTIPLIER_CASE(name, 16)                                \
            default: FN(name##_by)(dst, src, count, m);                                             \
        }                                                                                           \
    }

static FC_INLINE void FN(expand_by)(FC_REAL *restrict dst, const FC_REAL *restrict src, ptrdiff_t count,
                                    const ptrdiff_t m) {
    for (ptrdiff_t i = 0; i < count; i++)
        for (ptrdiff_t j = 0; j < m; j++) dst[i * m + j] = src[i];
}
FC_MULTIPLIER_FUNCTION(expand)

static FC_INLINE void FN(contract_by)(FC_REAL *restrict dst, const FC_REAL *restrict src, ptrdiff_t count,
                                      const ptrdiff_t m) {
    for (ptrdiff_t i = 0; i < count; i++) {
        FC_REAL sum = src[i * m];
        for (ptrdiff_t j = 1; j < m; j++) sum += src[i * m + j];
        dst[i] = sum;
    }
}
FC_MULTIPLIER_FUNCTION(contract)

#if FC_LANES >= 8
#define FC_DEPTHWISE_GRADS {FN(depthwise_grad_1), FN(depthwise_grad_2), FN(depthwise_grad_4), FN(depthwise_grad_8)}
#elif FC_LANES >= 4
#define FC_DEPTHWISE_GRADS {FN(depthwise_grad_1), FN(depthwise_grad_2), FN(depthwise_grad_4), NULL}
#else
#define FC_DEPTHWISE_GRADS {FN(depthwise_grad_1), FN(depthwise_grad_2), NULL, NULL}
#endif
#if FC_LANES >= 8 && FC_REGISTERS >= 32
#define FC_DEPTHWISES {FN(depthwise_1), FN(depthwise_2), FN(depthwise_4), FN(depthwise_8)}
#elif FC_LANES >= 4
#define FC_DEPTHWISES {FN(depthwise_1), FN(depthwise_2), FN(depthwise_4), NULL}
#else
#define FC_DEPTHWISES {FN(depthwise_1), FN(depthwise_2), NULL, NULL}
#endif
