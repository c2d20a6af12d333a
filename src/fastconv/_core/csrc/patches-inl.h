/* Sums of weighted patches that lists name, and the lists of a max pooling's winners: see fc_patches and
 * fc_winner_lists in fc_kernels.h. */

/* rows and vectors are literals: the sums stay in registers. */
static FC_INLINE void FN(patches_of)(const fc_patches *t, const int rows, const int vectors) {
    const ptrdiff_t x_row = t->x_row, sums_row = t->sums_row, *places = t->places;
    const FC_REAL *x = (const FC_REAL *)t->x, *factors = (const FC_REAL *)t->factors;
    for (ptrdiff_t l = 0; l < t->lists; l++) {
        FC_REAL *sums = (FC_REAL *)t->sums + t->sums_at[l];
        vec acc[FC_PATCH_ROWS][FC_PATCH_VECTORS];
        FC_UNROLL
        for (int a = 0; a < rows; a++) {
            FC_UNROLL
            for (int v = 0; v < vectors; v++) acc[a][v] = FN(load)(sums + a * sums_row + v * LANES);
        }
        for (ptrdiff_t i = t->first[l]; i < t->last[l]; i++) {
            const FC_REAL *from = x + places[i];
            const vec factor = FN(splat)(factors[i]);
            FC_UNROLL
            for (int a = 0; a < rows; a++) {
                FC_UNROLL
                for (int v = 0; v < vectors; v++) acc[a][v] += factor * FN(load)(from + a * x_row + v * LANES);
            }
        }
        FC_UNROLL
        for (int a = 0; a < rows; a++) {
            FC_UNROLL
            for (int v = 0; v < vectors; v++) FN(store)(sums + a * sums_row + v * LANES, acc[a][v]);
        }
    }
}

#define FC_PATCH(rows, vectors)                                                          \
    case rows * (FC_PATCH_VECTORS + 1) + vectors:                                        \
        if (rows * vectors <= FC_PATCH_SUMS) FN(patches_of)(t, rows, vectors);           \
        break;
#define FC_PATCHES(rows)                                                                 \
    FC_PATCH(rows, 1) FC_PATCH(rows, 2) FC_PATCH(rows, 3) FC_PATCH(rows, 4)              \
    FC_PATCH(rows, 5) FC_PATCH(rows, 6) FC_PATCH(rows, 7) FC_PATCH(rows, 8)              \
    FC_PATCH(rows, 9) FC_PATCH(rows, 10) FC_PATCH(rows, 11) FC_PATCH(rows, 12)

static void FN(patches)(const fc_patches *t) {
    switch (t->rows * (FC_PATCH_VECTORS + 1) + t->vectors) {
        FC_PATCHES(1)
        FC_PATCHES(2)
        FC_PATCHES(3)
        FC_PATCHES(4)
        FC_PATCHES(5)
        FC_PATCHES(6)
    }
}

/* Every winner is written behind the others of its list, and stays there only if its gradient is not 0: no branch.
 * by_filter is a literal. A pixel's filters may be few of many, which no prefetcher sees coming. */
static FC_INLINE void FN(list_winners_by)(const fc_winner_lists *t, const int by_filter) {
    enum { FC_AHEAD = 8 }; /* pixels */
    const ptrdiff_t filters = t->filters, pixels = t->pixels, step = t->step, filter_place = t->filter_place;
    const ptrdiff_t *shift = t->shift;
    const size_t cells = (size_t)t->window_cells;
    const FC_REAL *grads = (const FC_REAL *)t->grads;
    const FC_INT *indices = (const FC_INT *)t->indices;
    FC_REAL *factors = (FC_REAL *)t->factors;
    ptrdiff_t *places = t->places, *last = t->last;
    for (ptrdiff_t p = 0; p < pixels; p++, grads += step, indices += step) {
        const ptrdiff_t origin = t->origin[p];
        ptrdiff_t place = by_filter ? t->base + t->place[p] : 0, end = by_filter ? 0 : last[p];
        fc_fetch(grads + FC_AHEAD * step, filters * (ptrdiff_t)sizeof(FC_REAL));
        fc_fetch(indices + FC_AHEAD * step, filters * (ptrdiff_t)sizeof(FC_INT));
        for (ptrdiff_t f = 0; f < filters; f++) {
            const size_t cell = (size_t)((ptrdiff_t)indices[f] - origin);
            const FC_REAL g = grads[f];
            if (by_filter) end = last[f];
            places[end] = place + shift[cell < cells ? cell : 0];
            factors[end] = g;
            end += g != 0;
            if (by_filter)
                last[f] = end;
            else
                place += filter_place;
        }
        if (!by_filter) last[p] = end;
    }
}

static void FN(list_winners)(const fc_winner_lists *t) {
    if (t->by_filter)
        FN(list_winners_by)(t, 1);
    else
        FN(list_winners_by)(t, 0);
}
