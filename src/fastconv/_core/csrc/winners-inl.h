/* The kernel gradient behind a max pooling: see fc_winners in fc_kernels.h. */

/* A kernel row of few channels is shorter than 64 bytes, and a vector that crosses two lines of the cache costs two
 * reads: with whole AVX-512 vectors this took twice as long. */
enum { FN(WINNER_BYTES) = 8 * sizeof(FC_REAL) < FC_VECTOR_BYTES ? 8 * sizeof(FC_REAL) : FC_VECTOR_BYTES };
enum { FN(WINNER_LANES) = FN(WINNER_BYTES) / sizeof(FC_REAL) };

typedef FC_REAL FN(wvec) __attribute__((vector_size(FN(WINNER_BYTES))));
typedef FC_REAL FN(uwvec) __attribute__((vector_size(FN(WINNER_BYTES)), aligned(sizeof(FC_REAL)), may_alias));

/* rows and count are literals: the sums stay in registers. */
static FC_INLINE void FN(winners_of)(const fc_winners *t, ptrdiff_t first, const int rows, const int count) {
    const ptrdiff_t filters = t->filters, pixels = t->pixels, x_row = t->x_row, *at = t->at;
    const size_t cells = (size_t)t->cells;
    const FC_REAL *grads = (const FC_REAL *)t->grads + first, *x = (const FC_REAL *)t->x;
    const FC_INT *indices = (const FC_INT *)t->indices + first;
    FC_REAL *sums = (FC_REAL *)t->sums + first * rows * FN(WINNER_LANES);
    FN(wvec) acc[FC_WINNER_FILTERS][FC_WINNER_ROWS];
    FC_UNROLL
    for (int f = 0; f < count; f++) {
        FC_UNROLL
        for (int a = 0; a < rows; a++) acc[f][a] = *(FN(uwvec) *)(sums + (f * rows + a) * FN(WINNER_LANES));
    }
    for (ptrdiff_t p = 0; p < pixels; p++, grads += filters, indices += filters) {
        FC_UNROLL
        for (int f = 0; f < count; f++) {
            const size_t index = (size_t)indices[f];
            const FC_REAL *from = x + at[index < cells ? index : 0];
            const FN(wvec) g = grads[f] - (FN(wvec)){0};
            FC_UNROLL
            for (int a = 0; a < rows; a++) acc[f][a] += g * *(const FN(uwvec) *)(from + a * x_row);
        }
    }
    FC_UNROLL
    for (int f = 0; f < count; f++) {
        FC_UNROLL
        for (int a = 0; a < rows; a++) *(FN(uwvec) *)(sums + (f * rows + a) * FN(WINNER_LANES)) = acc[f][a];
    }
}

/* As many filters at a time as there are registers for their sums. */
#define FC_WINNERS_AT_ONCE(rows) \
    (FC_WINNER_SUMS / rows < FC_WINNER_FILTERS ? FC_WINNER_SUMS / rows : FC_WINNER_FILTERS)
#define FC_WINNERS_CASE(rows)                                                                                 \
    case rows:                                                                                                \
        for (; f + FC_WINNERS_AT_ONCE(rows) <= t->filters; f += FC_WINNERS_AT_ONCE(rows))                     \
            FN(winners_of)(t, f, rows, FC_WINNERS_AT_ONCE(rows));                                             \
        for (; f < t->filters; f++) FN(winners_of)(t, f, rows, 1);                                            \
        break;

static void FN(winners)(const fc_winners *t) {
    ptrdiff_t f = 0;
    switch (t->rows) {
        FC_WINNERS_CASE(1)
        FC_WINNERS_CASE(2)
        FC_WINNERS_CASE(3)
        FC_WINNERS_CASE(4)
        FC_WINNERS_CASE(5)
        FC_WINNERS_CASE(6)
        FC_WINNERS_CASE(7)
    }
}
