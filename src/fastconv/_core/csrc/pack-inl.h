/* Data movement: packing into the layouts that the tile reads, sums of rows in a fixed order. */

/* dst[k*width + j] = src[k*k_stride + j*j_stride]: a panel of `width` columns, zero-filled behind column n. */
static void FN(pack)(void *dst_, ptrdiff_t width, const void *src_, ptrdiff_t k_count, ptrdiff_t k_stride, ptrdiff_t n,
                     ptrdiff_t j_stride) {
    FC_REAL *dst = (FC_REAL *)dst_;
    const FC_REAL *src = (const FC_REAL *)src_;
    const ptrdiff_t whole = n / LANES * LANES;
    if (j_stride == 1) {
        for (ptrdiff_t k = 0; k < k_count; k++) {
            FC_REAL *to = dst + k * width;
            const FC_REAL *from = src + k * k_stride;
            for (ptrdiff_t j = 0; j < whole; j += LANES) FN(store)(to + j, FN(load)(from + j));
            if (whole < n) FN(store)(to + whole, FN(load_n)(from + whole, n - whole));
        }
        return;
    }
    /* FC_PACK_RUN rows at a time: the lines being written stay in L1 while the reads run along k, which is the
     * contiguous axis when columns are strided. */
    enum { FC_PACK_RUN = 64 };
    for (ptrdiff_t first = 0; first < k_count; first += FC_PACK_RUN) {
        const ptrdiff_t last = first + FC_PACK_RUN < k_count ? first + FC_PACK_RUN : k_count;
        if (whole < n)
            for (ptrdiff_t k = first; k < last; k++) FN(store)(dst + k * width + whole, (vec){0});
        for (ptrdiff_t j = 0; j < n; j++)
            for (ptrdiff_t k = first; k < last; k++) dst[k * width + j] = src[k * k_stride + j * j_stride];
    }
}

/* 1 if all are finite: x * 0 is 0 for a finite x and NaN for the others. */
static int FN(finite)(const void *src_, ptrdiff_t count) {
    const FC_REAL *src = (const FC_REAL *)src_;
    vec zeros = {0};
    FC_REAL zero = 0;
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) zeros += FN(load)(src + i) * (vec){0};
    for (; i < count; i++) zero += src[i] * 0;
    for (ptrdiff_t lane = 0; lane < LANES; lane++) zero += zeros[lane];
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
