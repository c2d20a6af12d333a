/* The transforms of Winograd's F(m x m, 3 x 3), m = 2 and 4: contracts in fc_kernels.h. Lanes are channels, so each
 * transform is a handful of vector operations, once down the columns and once along the rows of a tile.
 *
 * F(2): the points 0, 1, -1, infinity of arXiv:1509.09308. All constants are 1 and 1/2: exact.
 * F(4): the points 0, 3/4, -3/4, 3/2, -3/2, infinity, instead of that paper's 0, 1, -1, 2, -2, infinity: as cheap, and
 * on normal numbers the largest error is 4 times smaller (benchmarks/winograd.py). As a polynomial's values grow with
 * the powers of a point, points near 1 keep the sums' terms alike in size (arXiv:1803.10986, section 5).
 * The constants of Bt and At are exact.
 */

/* v = Bt d, from m + 2 values each. */
static FC_INLINE void FN(winograd_bt)(const int m, const vec *d, vec *v) {
    if (m == 2) {
        v[0] = d[0] - d[2];
        v[1] = d[1] + d[2];
        v[2] = d[2] - d[1];
        v[3] = d[1] - d[3];
        return;
    }
    /* The even and the odd powers of a point and its negative are the same, but for the sign. */
    const vec even_a = d[4] - d[2] * (FC_REAL)2.25, odd_a = (d[3] - d[1] * (FC_REAL)2.25) * (FC_REAL)0.75;
    const vec even_b = d[4] - d[2] * (FC_REAL)0.5625, odd_b = (d[3] - d[1] * (FC_REAL)0.5625) * (FC_REAL)1.5;
    v[0] = (d[4] - d[2] * (FC_REAL)2.8125) + d[0] * (FC_REAL)1.265625;
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = (d[5] - d[3] * (FC_REAL)2.8125) + d[1] * (FC_REAL)1.265625;
}

/* u = G g, from three values m + 2. */
static FC_INLINE void FN(winograd_g)(const int m, const vec *g, vec *u) {
    if (m == 2) {
        const vec even = (g[0] + g[2]) * (FC_REAL)0.5, odd = g[1] * (FC_REAL)0.5;
        u[0] = g[0];
        u[1] = even + odd;
        u[2] = even - odd;
        u[3] = g[2];
        return;
    }
    const vec even_a = g[0] + g[2] * (FC_REAL)0.5625, odd_a = g[1] * (FC_REAL)0.75;
    const vec even_b = g[0] + g[2] * (FC_REAL)2.25, odd_b = g[1] * (FC_REAL)1.5;
    u[0] = g[0] * (FC_REAL)(64.0 / 81);
    u[1] = (even_a + odd_a) * (FC_REAL)(-128.0 / 243);
    u[2] = (even_a - odd_a) * (FC_REAL)(-128.0 / 243);
    u[3] = (even_b + odd_b) * (FC_REAL)(32.0 / 243);
    u[4] = (even_b - odd_b) * (FC_REAL)(32.0 / 243);
    u[5] = g[2];
}

/* y = At p, from m + 2 values m. */
static FC_INLINE void FN(winograd_at)(const int m, const vec *p, vec *y) {
    if (m == 2) {
        y[0] = (p[0] + p[1]) + p[2];
        y[1] = (p[1] - p[2]) - p[3];
        return;
    }
    const vec even_a = p[1] + p[2], odd_a = p[1] - p[2], even_b = p[3] + p[4], odd_b = p[3] - p[4];
    y[0] = (even_a + even_b) + p[0];
    y[1] = odd_a * (FC_REAL)0.75 + odd_b * (FC_REAL)1.5;
    y[2] = even_a * (FC_REAL)0.5625 + even_b * (FC_REAL)2.25;
    y[3] = (odd_a * (FC_REAL)0.421875 + p[5]) + odd_b * (FC_REAL)3.375;
}

/* One vector of channels from j on; whole: all cells of the tile are real, and all lanes are channels. */
static FC_INLINE void FN(winograd_input_vector)(const fc_winograd_tile *t, const int m, const int whole, ptrdiff_t j) {
    const int alpha = m + 2;
    const FC_REAL *x = (const FC_REAL *)t->image + j;
    FC_REAL *to = (FC_REAL *)t->points + j;
    const ptrdiff_t left = t->n - j;
    vec half[FC_ALPHA_MAX][FC_ALPHA_MAX], in[FC_ALPHA_MAX], out[FC_ALPHA_MAX];
    FC_UNROLL
    for (int col = 0; col < alpha; col++) {
        FC_UNROLL
        for (int row = 0; row < alpha; row++) {
            const FC_REAL *from = x + row * t->row_step + col * t->col_step;
            if (whole) in[row] = FN(load)(from);
            else if (row < t->row_first || row >= t->row_last || col < t->col_first || col >= t->col_last)
                in[row] = (vec){0};
            else in[row] = left >= LANES ? FN(load)(from) : FN(load_n)(from, left);
        }
        FN(winograd_bt)(m, in, out);
        FC_UNROLL
        for (int row = 0; row < alpha; row++) half[row][col] = out[row];
    }
    FC_UNROLL
    for (int row = 0; row < alpha; row++) {
        FN(winograd_bt)(m, half[row], out);
        FC_UNROLL
        for (int col = 0; col < alpha; col++) FN(store)(to + (row * alpha + col) * t->point_step, out[col]);
    }
}

static FC_INLINE void FN(winograd_input_body)(const fc_winograd_tile *t, const int m) {
    const int alpha = m + 2;
    const int inner = t->row_first == 0 && t->row_last == alpha && t->col_first == 0 && t->col_last == alpha;
    ptrdiff_t j = 0;
    if (inner)
        for (; j + LANES <= t->n; j += LANES) FN(winograd_input_vector)(t, m, 1, j);
    for (; j < t->n; j += LANES) FN(winograd_input_vector)(t, m, 0, j);
}

static void FN(winograd_input_2)(const fc_winograd_tile *t) { FN(winograd_input_body)(t, 2); }
static void FN(winograd_input_4)(const fc_winograd_tile *t) { FN(winograd_input_body)(t, 4); }

static FC_INLINE void FN(winograd_output_vector)(const fc_winograd_tile *t, const int m, const int whole, ptrdiff_t j) {
    const int alpha = m + 2;
    const FC_REAL *from = (const FC_REAL *)t->points + j;
    const FC_REAL *bias = (const FC_REAL *)t->bias;
    FC_REAL *y = (FC_REAL *)t->image + j;
    const ptrdiff_t left = t->n - j;
    const vec offset = bias ? FN(load)(bias + j) : (vec){0};
    vec half[FC_ALPHA_MAX][FC_ALPHA_MAX], in[FC_ALPHA_MAX], out[FC_ALPHA_MAX];
    FC_UNROLL
    for (int col = 0; col < alpha; col++) {
        FC_UNROLL
        for (int row = 0; row < alpha; row++) in[row] = FN(load)(from + (row * alpha + col) * t->point_step);
        FN(winograd_at)(m, in, out);
        FC_UNROLL
        for (int row = 0; row < m; row++) half[row][col] = out[row];
    }
    FC_UNROLL
    for (int row = 0; row < m; row++) {
        if (!whole && row >= t->row_last) break;
        FN(winograd_at)(m, half[row], out);
        FC_UNROLL
        for (int col = 0; col < m; col++) {
            FC_REAL *to = y + row * t->row_step + col * t->col_step;
            vec v = out[col] + offset;
            if (t->activation == FC_RELU) v = FN(relu_vec)(v);
            if (whole) FN(store)(to, v);
            else if (col >= t->col_last) break;
            else if (left >= LANES) FN(store)(to, v);
            else FN(store_n)(to, v, left);
        }
    }
}

static FC_INLINE void FN(winograd_output_body)(const fc_winograd_tile *t, const int m) {
    ptrdiff_t j = 0;
    if (t->row_last == m && t->col_last == m)
        for (; j + LANES <= t->n; j += LANES) FN(winograd_output_vector)(t, m, 1, j);
    for (; j < t->n; j += LANES) FN(winograd_output_vector)(t, m, 0, j);
}

static void FN(winograd_output_2)(const fc_winograd_tile *t) { FN(winograd_output_body)(t, 2); }
static void FN(winograd_output_4)(const fc_winograd_tile *t) { FN(winograd_output_body)(t, 4); }

static FC_INLINE void FN(winograd_kernel_body)(void *u_, ptrdiff_t point_step, const void *g_, ptrdiff_t tap_step,
                                               ptrdiff_t count, const int m) {
    const int alpha = m + 2;
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        const FC_REAL *g = (const FC_REAL *)g_ + i;
        FC_REAL *u = (FC_REAL *)u_ + i;
        vec half[FC_ALPHA_MAX][3], in[3], out[FC_ALPHA_MAX];
        FC_UNROLL
        for (int col = 0; col < 3; col++) {
            FC_UNROLL
            for (int row = 0; row < 3; row++) in[row] = FN(load)(g + (row * 3 + col) * tap_step);
            FN(winograd_g)(m, in, out);
            FC_UNROLL
            for (int row = 0; row < alpha; row++) half[row][col] = out[row];
        }
        FC_UNROLL
        for (int row = 0; row < alpha; row++) {
            FN(winograd_g)(m, half[row], out);
            FC_UNROLL
            for (int col = 0; col < alpha; col++) FN(store)(u + (row * alpha + col) * point_step, out[col]);
        }
    }
}

static void FN(winograd_kernel_2)(void *u, ptrdiff_t point_step, const void *g, ptrdiff_t tap_step, ptrdiff_t count) {
    FN(winograd_kernel_body)(u, point_step, g, tap_step, count, 2);
}
static void FN(winograd_kernel_4)(void *u, ptrdiff_t point_step, const void *g, ptrdiff_t tap_step, ptrdiff_t count) {
    FN(winograd_kernel_body)(u, point_step, g, tap_step, count, 4);
}

#define FC_WINOGRADS \
    {{FN(winograd_input_2), FN(winograd_kernel_2), FN(winograd_output_2)}, \
     {FN(winograd_input_4), FN(winograd_kernel_4), FN(winograd_output_4)}}
