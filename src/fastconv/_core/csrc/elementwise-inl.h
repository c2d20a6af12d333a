/* One pass over arrays of `count` elements: activations and the optimisers' updates. Plain loops that the compiler
 * turns into vectors; arrays do not overlap unless a comment says so. */

/* y may be x. NaN stays NaN: the comparison is false for it. */
static void FN(relu)(void *y_, const void *x_, ptrdiff_t count) {
    FC_REAL *y = (FC_REAL *)y_;
    const FC_REAL *x = (const FC_REAL *)x_;
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) FN(store)(y + i, FN(relu_vec)(FN(load)(x + i)));
    for (; i < count; i++) y[i] = x[i] < 0 ? 0 : x[i];
}

/* gx = grad where relu's output y is not 0, else 0. gx may be grad. A NaN in y passes the gradient. */
static void FN(relu_grad)(void *gx_, const void *grad_, const void *y_, ptrdiff_t count) {
    FC_REAL *gx = (FC_REAL *)gx_;
    const FC_REAL *grad = (const FC_REAL *)grad_, *y = (const FC_REAL *)y_;
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        const ivec off = FN(load)(y + i) == (vec){0};
        FN(store)(gx + i, (vec)((ivec)FN(load)(grad + i) & ~off));
    }
    for (; i < count; i++) gx[i] = y[i] == 0 ? 0 : grad[i];
}

/* Each of `rows` rows of n: y = exp(x - max) / sum of these. A NaN or +inf anywhere in a row makes the row NaN.
 * y may be x. The C library's exp: rows are short (classes), and one pass over them beats NumPy's five. */
static void FN(softmax)(void *y_, const void *x_, ptrdiff_t rows, ptrdiff_t n) {
    FC_REAL *y = (FC_REAL *)y_;
    const FC_REAL *x = (const FC_REAL *)x_;
    for (; rows > 0; rows--, x += n, y += n) {
        FC_REAL most = -INFINITY, sum = 0;
        for (ptrdiff_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
        for (ptrdiff_t i = 0; i < n; i++) sum += y[i] = FC_EXP(x[i] - most);
        for (ptrdiff_t i = 0; i < n; i++) y[i] /= sum;
    }
}

/* y = x*scale, or 0 where the 16 bits of a word from `shift` on are below threshold. */
static FC_INLINE void FN(drop)(FC_REAL *y, const FC_REAL *x, ptrdiff_t count, const uint32_t *words, const int shift,
                               uint32_t threshold, FC_REAL scale) {
    typedef uint32_t wvec __attribute__((vector_size(LANES * sizeof(uint32_t)), aligned(sizeof(uint32_t)), may_alias));
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        const wvec bits = *(const wvec *)(words + i) >> shift & 0xffffu;
        const ivec off = __builtin_convertvector(bits, ivec) < (ivec){0} + (FC_INT)threshold;
        FN(store)(y + i, (vec)((ivec)(FN(load)(x + i) * FN(splat)(scale)) & ~off));
    }
    for (; i < count; i++) y[i] = (words[i] >> shift & 0xffffu) < threshold ? 0 : x[i] * scale;
}

/* A block's first half takes the low 16 bits of its random words, the second half the high ones: whole vectors of
 * words, and nothing that depends on the order of bytes. */
static void FN(dropout)(void *y_, const void *x_, ptrdiff_t count, uint64_t key, ptrdiff_t first, uint32_t threshold,
                        double scale) {
    enum { HALF = FC_DROPOUT_BLOCK / 2 };
    uint32_t words[HALF];
    for (ptrdiff_t at = 0; at < count; at += FC_DROPOUT_BLOCK) {
        FC_REAL *y = (FC_REAL *)y_ + at;
        const FC_REAL *x = (const FC_REAL *)x_ + at;
        const ptrdiff_t left = count - at, low = left < HALF ? left : HALF;
        const ptrdiff_t high = left < FC_DROPOUT_BLOCK ? left - low : HALF;
        fc_random_words(words, HALF, key, (uint64_t)(first + at) / 2);
        FN(drop)(y, x, low, words, 0, threshold, (FC_REAL)scale);
        FN(drop)(y + HALF, x + HALF, high, words, 16, threshold, (FC_REAL)scale);
    }
}

/* Keras's SGD. Without momentum: w -= rate*g. With: velocity = momentum*velocity - rate*g; w += velocity, or for
 * Nesterov w += momentum*velocity - rate*g. */
static void FN(sgd)(void *w_, const void *g_, void *velocity_, ptrdiff_t count, double rate_, double momentum_,
                    int nesterov) {
    FC_REAL *restrict w = (FC_REAL *)w_, *restrict velocity = (FC_REAL *)velocity_;
    const FC_REAL *restrict g = (const FC_REAL *)g_;
    const FC_REAL rate = (FC_REAL)rate_, momentum = (FC_REAL)momentum_;
    if (!velocity) {
        for (ptrdiff_t i = 0; i < count; i++) w[i] -= rate * g[i];
    } else if (nesterov) {
        for (ptrdiff_t i = 0; i < count; i++) {
            velocity[i] = momentum * velocity[i] - rate * g[i];
            w[i] += momentum * velocity[i] - rate * g[i];
        }
    } else {
        for (ptrdiff_t i = 0; i < count; i++) {
            velocity[i] = momentum * velocity[i] - rate * g[i];
            w[i] += velocity[i];
        }
    }
}

/* Adam (arXiv:1412.6980, end of section 2: the bias corrections are in alpha).
 * m += (g - m)*(1 - beta1); v += (g*g - v)*(1 - beta2); w -= alpha * m / (sqrt(v) + epsilon). */
static void FN(adam)(void *w_, const void *g_, void *m_, void *v_, ptrdiff_t count, double alpha_, double beta1,
                     double beta2, double epsilon_) {
    FC_REAL *restrict w = (FC_REAL *)w_, *restrict m = (FC_REAL *)m_, *restrict v = (FC_REAL *)v_;
    const FC_REAL *restrict g = (const FC_REAL *)g_;
    const FC_REAL alpha = (FC_REAL)alpha_, keep1 = (FC_REAL)(1 - beta1), keep2 = (FC_REAL)(1 - beta2);
    const FC_REAL epsilon = (FC_REAL)epsilon_;
    for (ptrdiff_t i = 0; i < count; i++) {
        m[i] += (g[i] - m[i]) * keep1;
        v[i] += (g[i] * g[i] - v[i]) * keep2;
        w[i] -= alpha * m[i] / (FC_SQRT(v[i]) + epsilon);
    }
}

/* RMSprop without momentum (Hinton's lecture 6e; Keras): v = rho*v + (1 - rho)*g*g; w -= rate*g / sqrt(v + epsilon). */
static void FN(rmsprop)(void *w_, const void *g_, void *v_, ptrdiff_t count, double rate_, double rho_,
                        double epsilon_) {
    FC_REAL *restrict w = (FC_REAL *)w_, *restrict v = (FC_REAL *)v_;
    const FC_REAL *restrict g = (const FC_REAL *)g_;
    const FC_REAL rate = (FC_REAL)rate_, rho = (FC_REAL)rho_, rest = (FC_REAL)(1 - rho_), epsilon = (FC_REAL)epsilon_;
    for (ptrdiff_t i = 0; i < count; i++) {
        v[i] = rho * v[i] + rest * g[i] * g[i];
        w[i] -= rate * g[i] / FC_SQRT(v[i] + epsilon);
    }
}

/* FC_PEAK_FMAS independent chains of multiply-adds that never leave the registers: the FMA peak to measure against. */
static double FN(peak)(ptrdiff_t rounds) {
    vec acc[FC_PEAK_FMAS];
    /* A compiler that knew the numbers would leave out the chain that stays at 1. */
    const volatile FC_REAL parts[2] = {(FC_REAL)0.999999, (FC_REAL)1e-6};
    const vec factor = FN(splat)(parts[0]), term = FN(splat)(parts[1]);
    FC_UNROLL
    for (int i = 0; i < FC_PEAK_FMAS; i++) acc[i] = FN(splat)((FC_REAL)i);
    for (ptrdiff_t k = 0; k < rounds; k++) {
        FC_UNROLL
        for (int i = 0; i < FC_PEAK_FMAS; i++) acc[i] = acc[i] * factor + term;
    }
    vec total = {0};
    FC_UNROLL
    for (int i = 0; i < FC_PEAK_FMAS; i++) total += acc[i];
    return (double)total[0];
}
