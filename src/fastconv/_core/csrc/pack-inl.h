/* Data movement: packing into the layouts that the tile reads, sums of rows in a fixed order. */

static FC_INLINE void FN(copy_row)(FC_REAL *to, const FC_REAL *from, ptrdiff_t n) {
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES) FN(store)(to + j, FN(load)(from + j));
    if (j < n) FN(store)(to + j, FN(load_n)(from + j, n - j));
}

/* A few rows at a time: memory is read in about its order, which its prefetchers know, and a panel's sums of offsets
 * serve all of them. */
static void FN(pack_panels)(void *dst_, ptrdiff_t height, const void *src_, ptrdiff_t rows, ptrdiff_t stride,
                            ptrdiff_t n, const ptrdiff_t *starts, ptrdiff_t panels) {
    enum { FC_PANEL_ROWS = 4 };
    for (ptrdiff_t first = 0; first < rows; first += FC_PANEL_ROWS) {
        const ptrdiff_t count = rows - first < FC_PANEL_ROWS ? rows - first : FC_PANEL_ROWS;
        for (ptrdiff_t p = 0; p < panels; p++) {
            const ptrdiff_t at = starts[p], width = starts[p + 1] - at, used = width < n - at ? width : n - at;
            const FC_REAL *from = (const FC_REAL *)src_ + first * stride + at;
            FC_REAL *to = (FC_REAL *)dst_ + (at - starts[0]) * height + first * width;
            if (count == FC_PANEL_ROWS && used % LANES == 0) {
                for (ptrdiff_t j = 0; j < used; j += LANES) {
                    FC_UNROLL
                    for (int k = 0; k < FC_PANEL_ROWS; k++)
                        FN(store)(to + k * width + j, FN(load)(from + k * stride + j));
                }
            } else {
                for (ptrdiff_t k = 0; k < count; k++) FN(copy_row)(to + k * width, from + k * stride, used);
            }
        }
    }
}

/* LANES x LANES elements, dst[k*width + j] = src[k + j*j_stride]. To gather the even lanes of all pairs of vectors
 * before the odd ones moves a bit of an element's lane number to the front of its vector's number, and the vector
 * number's last bit to the lane: see FN(evens). */
static FC_INLINE void FN(transpose)(FC_REAL *dst, ptrdiff_t width, const FC_REAL *src, ptrdiff_t j_stride) {
    vec rows[FC_LANES], turned[FC_LANES];
    FC_UNROLL
    for (int j = 0; j < FC_LANES; j++) rows[j] = FN(load)(src + j * j_stride);
    FC_UNROLL
    for (int left = FC_LANES / 2; left > 0; left /= 2) {
        FC_UNROLL
        for (int j = 0; j < FC_LANES / 2; j++) {
            turned[j] = FN(evens)(rows[2 * j], rows[2 * j + 1], left);
            turned[j + FC_LANES / 2] = FN(odds)(rows[2 * j], rows[2 * j + 1], left);
        }
        FC_UNROLL
        for (int j = 0; j < FC_LANES; j++) rows[j] = turned[j];
    }
    FC_UNROLL
    for (int k = 0; k < FC_LANES; k++) FN(store)(dst + k * width, rows[k]);
}

/* dst[k*width + j] = src[k*k_stride + j*j_stride]: a panel of `width` columns, zero-filled behind column n. */
static void FN(pack)(void *dst_, ptrdiff_t width, const void *src_, ptrdiff_t k_count, ptrdiff_t k_stride, ptrdiff_t n,
                     ptrdiff_t j_stride) {
    FC_REAL *dst = (FC_REAL *)dst_;
    const FC_REAL *src = (const FC_REAL *)src_;
    const ptrdiff_t whole = n / LANES * LANES;
    if (j_stride == 1) {
        enum { FC_PACK_AHEAD = 16 };
        for (ptrdiff_t k = 0; k < k_count; k++) {
            fc_fetch(src + (k + FC_PACK_AHEAD) * k_stride, n * (ptrdiff_t)sizeof(FC_REAL));
            FN(copy_row)(dst + k * width, src + k * k_stride, n);
        }
        return;
    }
    /* FC_PACK_RUN rows at a time: the lines being written stay in L1 while the reads run along k, which is the
     * contiguous axis when columns are strided. */
    enum { FC_PACK_RUN = 64 };
    for (ptrdiff_t first = 0; first < k_count; first += FC_PACK_RUN) {
        const ptrdiff_t last = first + FC_PACK_RUN < k_count ? first + FC_PACK_RUN : k_count;
        if (whole < n && n < width)
            for (ptrdiff_t k = first; k < last; k++) FN(store)(dst + k * width + whole, (vec){0});
        const ptrdiff_t turned = k_stride == 1 ? (last - first) / LANES * LANES : 0;
        for (ptrdiff_t j = 0; j < (turned ? whole : 0); j += LANES)
            for (ptrdiff_t k = first; k < first + turned; k += LANES)
                FN(transpose)(dst + k * width + j, width, src + k + j * j_stride, j_stride);
        for (ptrdiff_t j = 0; j < n; j++)
            for (ptrdiff_t k = j < whole ? first + turned : first; k < last; k++)
                dst[k * width + j] = src[k * k_stride + j * j_stride];
    }
}

/* 1 if all are finite: x * 0 is 0 for a finite x and NaN for the others. One chain of sums would wait four cycles for
 * each vector, as long as some layers multiply with it. */
static int FN(finite)(const void *src_, ptrdiff_t count) {
    enum { CHAINS = 8 };
    const FC_REAL *src = (const FC_REAL *)src_;
    vec zeros[CHAINS] = {0};
    FC_REAL zero = 0;
    ptrdiff_t i = 0;
    for (; i + CHAINS * LANES <= count; i += CHAINS * LANES) {
        FC_UNROLL
        for (int chain = 0; chain < CHAINS; chain++)
            zeros[chain] += FN(load)(src + i + chain * LANES) * (vec){0};
    }
    for (; i < count; i++) zero += src[i] * 0;
    for (int chain = 0; chain < CHAINS; chain++)
        for (ptrdiff_t lane = 0; lane < LANES; lane++) zero += zeros[chain][lane];
    return zero == 0;
}

/* dst[j] (+)= sum over p < rows of src[p*stride + j]; the order of p is the order of the additions. Four vectors of
 * columns at a time: one alone would wait for each addition, and read a cache line a row. */
static void FN(sum_rows)(void *dst_, const void *src_, ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t n,
                         int accumulate) {
    enum { FC_SUM_VECTORS = 4 };
    FC_REAL *dst = (FC_REAL *)dst_;
    const FC_REAL *src = (const FC_REAL *)src_;
    ptrdiff_t j = 0;
    for (; j + FC_SUM_VECTORS * LANES <= n; j += FC_SUM_VECTORS * LANES) {
        vec sums[FC_SUM_VECTORS];
        FC_UNROLL
        for (int v = 0; v < FC_SUM_VECTORS; v++) sums[v] = accumulate ? FN(load)(dst + j + v * LANES) : (vec){0};
        for (ptrdiff_t p = 0; p < rows; p++) {
            FC_UNROLL
            for (int v = 0; v < FC_SUM_VECTORS; v++) sums[v] += FN(load)(src + p * stride + j + v * LANES);
        }
        FC_UNROLL
        for (int v = 0; v < FC_SUM_VECTORS; v++) FN(store)(dst + j + v * LANES, sums[v]);
    }
    for (; j + LANES <= n; j += LANES) {
        vec sum = accumulate ? FN(load)(dst + j) : (vec){0};
        for (ptrdiff_t p = 0; p < rows; p++) sum += FN(load)(src + p * stride + j);
        FN(store)(dst + j, sum);
    }
    for (; j < n; j++) {
        FC_REAL sum = accumulate ? dst[j] : 0;
        for (ptrdiff_t p = 0; p < rows; p++) sum += src[p * stride + j];
        dst[j] = sum;
    }
}
