/* The table of micro-kernels and each one's contract.
 *
 * One source text (the *-inl.h files) is compiled once per instruction set and element type; each result is one
 * `fc_kernels` table. Loops over images, rows and blocks, threads and memory are the callers' business (Cython).
 * All sizes, strides and offsets count ELEMENTS, never bytes. Pointers are `void` because one signature serves
 * float and double; each table's functions read them as its own type.
 */
#ifndef FC_KERNELS_H
#define FC_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { FC_NV_MAX = 4 };  /* widest tile, in vectors of columns */
enum { FC_MR_MAX = 10 }; /* tallest tile, in rows */
enum { FC_DEPTHWISE_CG_MAX = 8, FC_DEPTHWISE_SIZES = 4 };
enum { FC_DEPTHWISE_MR_MAX = 8, FC_DEPTHWISE_TAPS = 3, FC_DEPTHWISE_LINES = 2, FC_DEPTHWISE_GRAD_MR = 4 };
enum { FC_SUM_PARTS = 4, FC_PARTS_NV = 3 }; /* of a long sum: its parts; widest, in vectors */
enum { FC_DOT_RUN = 8, FC_DOT_COLS = 7 }; /* of runs of dot products: pixels; widest window */
enum { FC_ROW_FILTERS = 6, FC_ROW_NV_MAX = 4 }; /* of rows of a convolution: most filters; vectors at a time */
enum { FC_FILTER_NV_MAX = 4, FC_FILTER_MR_MAX = 6 }; /* the same for one-channel filters */
enum { FC_WINNER_ROWS = 7, FC_WINNER_FILTERS = 8 }; /* tallest kernel; most filters at a time */
enum { FC_PATCH_ROWS = 6, FC_PATCH_VECTORS = 12 }; /* tallest and widest tile of a patch */
enum { FC_ALPHA_MAX = 6 }; /* side of Winograd's largest tile */

enum { FC_DROPOUT_BLOCK = 1024 }; /* elements */
enum { FC_CACHE_LINE = 64 }; /* bytes: of every x86, and of most ARM processors; others lose speed alone */

enum fc_activation { FC_LINEAR = 0, FC_RELU = 1 };

/* Ask for some bytes' lines, into the caches; they need not be anybody's memory. */
static inline void fc_fetch(const void *first, ptrdiff_t bytes) {
    for (ptrdiff_t at = 0; at < bytes; at += FC_CACHE_LINE) __builtin_prefetch((const char *)first + at, 0, 3);
}

/* The same, but not into L1: for more than fits there beside what is in use. */
static inline void fc_fetch_l2(const void *first, ptrdiff_t bytes) {
    for (ptrdiff_t at = 0; at < bytes; at += FC_CACHE_LINE) __builtin_prefetch((const char *)first + at, 0, 2);
}

/* Read some bytes, so that they are in the caches when they are used in an order that no processor foresees. */
static inline void fc_touch(const void *first, ptrdiff_t bytes) {
    for (ptrdiff_t at = 0; at < bytes; at += FC_CACHE_LINE) (void)*((const volatile char *)first + at);
}

/* One register tile of a batch-reduced matrix product (arXiv:1906.06440, section 2): mr rows, nv*lanes columns.
 *
 *   c[c_off[i] + j]  =  act( init(i, j)  +  sum over s < n_segs, k < seg_len[s] of
 *                            a[a_off[i] + seg_a[s] + k*a_step] * b[(seg_k[s] + k)*b_step + j] )
 *
 * with init = c[...] itself if accumulate, else bias[j] if bias, else 0. The terms of one output are added in the
 * order of (s, k), one multiply-add each, whatever mr, nv or the neighbours are: so an output's bits do not depend on
 * how the work was cut into tiles, blocks or threads.
 *
 *   use            rows i are        columns j are     segments are             k runs over
 *   forward        output pixels     output channels   kernel rows or taps      (kw, ic) of a kernel row
 *   grad_input     input pixels      input channels    taps, rotated            (kw, oc)
 *   grad_kernel    (kh, kw, ic)      output channels   rows of grad_output      the pixels of a row
 *   dense          images            units             one                      inputs
 *
 *   b, packed:    k = 0   | b[0] b[1] ... b[nv*lanes - 1] |     b_step = nv*lanes, so a panel is one run of memory;
 *                 k = 1   | ...                           |     columns behind the last channel are zero.
 *
 * b:  nv*lanes columns are read at every k.
 * c:  only n columns are written, 1 <= n <= nv*lanes. The first whole_rows rows may also write the columns from n to
 *     nv*lanes: the caller promises that those cells are written again later (few output channels, pixels side by
 *     side, in ascending order).
 * bias: nv*lanes readable values, or NULL.
 */
typedef struct fc_tile {
    ptrdiff_t mr;                              /* rows, any number */
    ptrdiff_t n;                               /* columns to store */
    ptrdiff_t whole_rows;
    const void *a;
    const ptrdiff_t *a_off;
    ptrdiff_t a_step;
    const void *b;
    ptrdiff_t b_step;
    const ptrdiff_t *seg_a, *seg_k, *seg_len;
    ptrdiff_t n_segs;
    void *c;
    const ptrdiff_t *c_off;
    const void *bias;
    int accumulate, activation;
    const void *ahead;                         /* of `fetching` and `few` */
    ptrdiff_t ahead_step;                      /* in BYTES */
} fc_tile;

/* Whole rows of output pixels of a convolution of one channel with few filters: the lanes hold neighbouring pixels,
 * whose sums of all filters are brought into their order, pixel by pixel, in the end.
 *
 *   y[l*y_line + p*filters + f] = act( bias[f] + sum over a < rows, b < cols of
 *                          x[l*x_line + p + a*x_row + b*x_col] * w[a*w_row + b*w_col + f] ),  l < lines, p < pixels
 *
 * The terms are added in the order of (a, b), one multiply-add each: the bits are those of fc_tile. At least a
 * vector's lanes of pixels; 1 to FC_ROW_FILTERS filters. Nothing beyond the formula is read or written.
 */
typedef struct fc_conv_rows {
    ptrdiff_t lines, pixels, filters;
    const void *x;
    ptrdiff_t x_line, x_row, x_col;
    ptrdiff_t rows, cols;
    const void *w;
    ptrdiff_t w_row, w_col;
    const void *bias;                          /* or NULL */
    void *y;
    ptrdiff_t y_line;
    int activation;
} fc_conv_rows;

/* Runs of output pixels, one in each of some lines, of a convolution whose groups have cg channels in and cg out; cg =
 * 1 is depthwise.
 *
 *   y[l*y_line + p*y_step + o] = act( bias[o] + sum over a < rows, b < cols, k < cg of
 *                          x[l*x_line + p*x_step + a*x_row + b*x_col + i] * W(a, b, k, i) ),  i = o ^ k
 *
 * W(a, b, k, i) is what channel i gives to channel i ^ k of its group. cg = 1: w[a*w_row + b*w_col + i], a depthwise
 * kernel as the user has it. Else vector v of the channels, from v*lanes on, or from channels - lanes where that is
 * less, has a panel of its own: w[v*w_vector + a*w_row + b*w_col + k*lanes + lane]. The terms of one
 * sum k are added in the order of (a, b), one multiply-add each, and then the sums, in one order: an output's bits do
 * not depend on the pixels that it is computed with.
 * Beyond these channels nothing is read or written; where cg > 1 they are at least a vector's lanes.
 *
 * phases = 2, for cg = 1: a run writes two neighbouring pixels for each p, from even and from odd taps,
 *   y[l*y_line + p*y_step + f*channels + o] = act( bias[o] + sum over a < rows, 2*b + f < cols of
 *                          x[l*x_line + p*x_step + a*x_row + b*x_col + o] * w[a*w_row + (2*b + f)*w_col + o] )
 */
typedef struct fc_depthwise {
    ptrdiff_t lines, pixels, channels;
    ptrdiff_t fresh;                           /* rows of x that a line reads and the one before it does not, or 0 */
    ptrdiff_t writes_on;                       /* whether other lines of y follow at once */
    const void *x;
    ptrdiff_t x_line, x_step, x_row, x_col;
    const void *w;
    ptrdiff_t w_row, w_col, w_vector;
    ptrdiff_t rows, cols;                      /* taps that all these pixels meet */
    ptrdiff_t phases;                          /* 1, or 2 for cg = 1 and channels >= lanes */
    const void *bias;                          /* or NULL */
    void *y;
    ptrdiff_t y_line, y_step;
    int activation;
} fc_depthwise;

/* The gradient of its kernel, summed over lines * pixels pixels:
 *
 *   sums[v*sum_vector + a*sum_row + (b*cg + k)*lanes + i] += sum over r < lines, p < pixels of
 *       x[r*x_line + p*x_pixel + a*x_row + b*x_col + ch + i] * g[r*g_line + p*g_pixel + (ch + i ^ k)]
 *
 * for a < rows, b < cols, k < cg and each vector v of the channels, whose first is ch = v*lanes, or channels - lanes
 * where that is less; in the order of (r, p), one multiply-add each. Where cg = 1, channels may be fewer than a vector.
 *
 * whole: cg = 1, 3 x 3 taps and channels >= lanes; then there may be padding: the first line (top) lacks the first row
 * of taps, the last one (bottom) the last row, and of each line's pixels the first (left) lacks the first column, the
 * last (right) the last column; no line and no pixel lacks two.
 */
typedef struct fc_depthwise_grad {
    ptrdiff_t lines, pixels, channels;
    const void *x;
    ptrdiff_t x_line, x_pixel, x_row, x_col;
    const void *g;
    ptrdiff_t g_line, g_pixel;
    ptrdiff_t rows, cols;
    void *sums;
    ptrdiff_t sum_vector, sum_row;
    int whole, top, bottom, left, right;
} fc_depthwise_grad;

/* One row of output pixels of a pooling window that slides over (ih, iw, c).
 *   col_first[q], col_last[q]   the window's real columns for output pixel q: first <= column < last
 *   row_first, row_last         its real rows, common to the whole output row
 * The row's pixels are computed in ascending order; a vector may run over into the next pixel of the row.
 * Only real cells take part (padding is never picked). x points at the image's cell (0, 0), y and indices at the
 * output row's first pixel. Every window has a real cell. Max: on ties the first
 * cell in row-major order wins, the first NaN wins over everything; its index is row*iw + column.
 */
typedef struct fc_pool_row {
    const void *x;
    void *y;
    void *indices;                             /* max only: int32 (float) or int64 (double), or NULL */
    ptrdiff_t iw, c, ow;
    ptrdiff_t row_first, row_last;
    const ptrdiff_t *col_first, *col_last;
    ptrdiff_t x_count;                         /* elements that may be read from x on: this image and those behind it */
    ptrdiff_t window_cells;                    /* average's divisor where padding counts; 0: the real cells */
} fc_pool_row;

/* The gradient of a convolution's kernel where a max pooling follows, for kernels with short rows: of the convolution's
 * output only the cells that won a window have a gradient, so each filter sums its few patches, found by their indices:
 *
 *   sums[(f*rows + a)*winner_lanes + j] += sum over p < pixels of
 *       grads[p*filters + f] * x[at[indices[p*filters + f]] + a*x_row + j],
 *
 * f < filters, a < rows, j < winner_lanes, in the order of p, one multiply-add each. An index that is not below `cells`
 * counts as 0. Whole vectors of x are read, whatever the kernel's width is.
 */
typedef struct fc_winners {
    ptrdiff_t pixels, filters;
    ptrdiff_t rows;                            /* 1..FC_WINNER_ROWS */
    const void *grads, *indices;               /* an index is as wide as an element */
    const ptrdiff_t *at;                       /* where the patch of each cell starts */
    ptrdiff_t cells;
    const void *x;
    ptrdiff_t x_row;
    void *sums;
} fc_winners;

/* A register tile of sums of patches, each of which is the sum of those that a list names:
 *
 *   sums[sums_at[l] + a*sums_row + j] += sum over first[l] <= i < last[l] of
 *       factors[i] * x[places[i] + a*x_row + j],    l < lists, a < rows, j < vectors*lanes
 *
 * in the order of l and i, one multiply-add each. What is left of a matrix product where most factors are 0.
 *
 *   use            a list is         its entries are   x is                 sums are
 *   grad_kernel    a filter          its winners       the image            the filter's gradient
 *   grad_input     a pooled pixel    its filters       the kernels          the window's part of the image
 */
typedef struct fc_patches {
    ptrdiff_t lists;
    const ptrdiff_t *first, *last;
    const void *factors;
    const ptrdiff_t *places;
    ptrdiff_t rows, vectors;                   /* rows <= FC_PATCH_ROWS, rows*vectors <= kernels->patch_sums */
    const void *x;
    ptrdiff_t x_row;
    void *sums;
    const ptrdiff_t *sums_at;
    ptrdiff_t sums_row;
} fc_patches;

/* The lists of an image's winners of a max pooling, those without a gradient left out. The winner of pooled pixel p and
 * filter f, with g = grads[p*step + f], lies in cell = indices[p*step + f] - origin[p] of its window. Its factor is g,
 * and its place
 *
 *   by filter   base + place[p] + shift[cell]    at the end of list f, in the order of p
 *   by pixel    f*filter_place + shift[cell]     at the end of list p, in the order of f
 *
 * A cell that is not below window_cells counts as 0. List l ends before last[l], which is set forth; it has room for
 * all its winners.
 */
typedef struct fc_winner_lists {
    ptrdiff_t pixels, filters, step;
    const void *grads, *indices;               /* an index is as wide as an element */
    const ptrdiff_t *origin, *shift;
    ptrdiff_t window_cells;
    int by_filter;
    const ptrdiff_t *place;
    ptrdiff_t base, filter_place;
    ptrdiff_t *last, *places;
    void *factors;
} fc_winner_lists;

/* One register tile of a filter on one channel: mr output rows, nv*lanes neighbouring elements of each.
 *
 *   y[i*y_row + j]  =  sum over a < kh, b < kw of  w[a*w_row + b*w_step] * rows[i + a][x_first + b*x_step + j]
 *
 * The terms of one output are added in the order of (a, b), one multiply-add each, from 0, whatever mr and nv are.
 * Channels that lie side by side in a row are filtered alike with x_step = their number. A rotated kernel
 * (convolution) has negative w_row and w_step, and w at its last element.
 *
 * rows: mr + kh - 1 of them, each readable from x_first for (kw - 1)*x_step + nv*lanes elements.
 * y:    only n elements of a row are written, 1 <= n <= nv*lanes.
 */
typedef struct fc_filter {
    ptrdiff_t mr;                              /* output rows, 1..min(kh, kernels->filter_mr) */
    ptrdiff_t n;
    const void *const *rows;
    ptrdiff_t x_first, x_step;
    const void *w;
    ptrdiff_t w_row, w_step;
    ptrdiff_t kh, kw;
    void *y;
    ptrdiff_t y_row;
} fc_filter;

/* One tile of Winograd's F(m x m, 3 x 3) (arXiv:1509.09308): with alpha = m + 2, m x m output pixels y come from
 * alpha x alpha image cells d and the 3 x 3 taps g as
 *
 *   y = At (sum over input channels of (G g Gt) * (Bt d B)) A            * is the product point by point
 *
 * so a convolution is alpha*alpha matrix products, one for each point (row, col): tiles x input channels times input
 * channels x output channels. Point (row, col) of a tile lies at points[(row*alpha + col)*point_step].
 *
 *   input    points[.. + j] = (Bt d B)[row][col], where d[r][c] = image[r*row_step + c*col_step + j] for the real cells
 *            row_first <= r < row_last, col_first <= c < col_last, and 0 elsewhere, which is not read; j < n. Whole
 *            vectors are written: n is rounded up, and what lies behind is 0.
 *   output   image[r*row_step + c*col_step + j] = act(bias[j] + (At points[.. + j] A)[r][c]) for r < row_last,
 *            c < col_last (at most m), j < n. Points and bias, if any, are read in whole vectors.
 */
typedef struct fc_winograd_tile {
    void *image;                               /* the tile's first cell, real or not; input only reads it */
    ptrdiff_t row_step, col_step;
    ptrdiff_t row_first, row_last, col_first, col_last;
    ptrdiff_t n;                               /* channels */
    void *points;
    ptrdiff_t point_step;
    const void *bias;                          /* output only, or NULL */
    int activation;                            /* output only */
} fc_winograd_tile;

typedef struct fc_winograd {
    void (*input)(const fc_winograd_tile *);
    /* u[(row*alpha + col)*point_step + i] = (G g Gt)[row][col], g[a][b] = g[(3*a + b)*tap_step + i]; i < count, which
     * is a number of whole vectors. */
    void (*kernel)(void *u, ptrdiff_t point_step, const void *g, ptrdiff_t tap_step, ptrdiff_t count);
    void (*output)(const fc_winograd_tile *);
} fc_winograd;

typedef struct fc_kernels {
    const char *isa;
    ptrdiff_t itemsize;                        /* of an element, in bytes: 4 or 8 */
    ptrdiff_t lanes;                           /* elements of a vector */
    /* Widest tile, in vectors of columns; and widest tile where the weights of a panel stay in L1, which a wider one
     * reads more of. */
    ptrdiff_t nv_max, nv_shallow;
    ptrdiff_t mr[FC_NV_MAX];                   /* tallest tile for that many vectors */
    void (*tile[FC_NV_MAX])(const fc_tile *);
    /* The same for at most mr[nv - 1] rows. With these, or one less, it asks for a cache line at each k on the way,
     * ahead + i*ahead_step at the i-th: into L2, and it need not be anybody's memory. Asked for all at once, lines wait
     * for each other, and the sum waits for them: a core has some 20 requests in flight. */
    void (*fetching[FC_NV_MAX])(const fc_tile *);
    /* The same sum for up to 16 rows and any n columns: weights that are used so seldom come in quickest in the order
     * of memory, and the sums pass by in L1 instead. With an `ahead` that is not NULL it asks for the weights that
     * follow. accumulate must be 0; nothing beyond column n is touched. */
    void (*few)(const fc_tile *);
    /* The same for FC_SUM_PARTS segments and any number of rows, with a sum for each segment that starts at 0, the
     * first one at the bias; then they are added in order. a_step is 1, and nothing beyond column n is read of the last
     * row of weights. accumulate must be 0. */
    void (*parts[FC_PARTS_NV])(const fc_tile *);
    /* The same sum for few columns, with the lanes along k: dot[nv - 1] has nv columns, not vectors of them,
     *   c[c_off[i] + v] = act( bias[v] + sum over s < n_segs, k < seg_len[s] of
     *                          a[a_off[i] + seg_a[s] + k] * b[v*b_step + seg_k[s] + k] ),   v < nv = n
     * so a_step is 1, b holds a run of memory for each column, and nothing beyond the runs is read. accumulate and
     * whole_rows must be 0. A lane adds every LANES-th term of a segment in order, then neighbouring lanes are added;
     * again the bits do not depend on mr. */
    void (*dot[FC_NV_MAX])(const fc_tile *);   /* for 1..nv_max columns */
    /* The same for one column and FC_DOT_RUN neighbouring pixels of a row, a_step elements apart, in whole vectors, the
     * first of them at a_off[0]. A segment is a row of their windows, 2..FC_DOT_COLS pixels; there is at least one. A
     * lane adds, for each segment, the pixels' first vectors, then their second ones. */
    void (*dot_run)(const fc_tile *);
    void (*conv_rows)(const fc_conv_rows *);
    /* For groups of 1, 2, 4, 8 channels; NULL where a group is wider than a vector, or fills one of 16 registers. */
    void (*depthwise[FC_DEPTHWISE_SIZES])(const fc_depthwise *);
    void (*depthwise_grad[FC_DEPTHWISE_SIZES])(const fc_depthwise_grad *);
    /* dst[i*m + j] = src[i] for i < count, j < m: every channel once for each of its filters. */
    void (*expand)(void *dst, const void *src, ptrdiff_t count, ptrdiff_t m);
    /* dst[i] = sum over j < m of src[i*m + j], in the order of j: what expand's adjoint is. */
    void (*contract)(void *dst, const void *src, ptrdiff_t count, ptrdiff_t m);

    /* dst[k*width + j] = src[k*k_stride + j*j_stride] for k < k_count, j < n; 0 for n <= j < width, where width is
     * n rounded up to whole vectors; or, unless j_stride is 1, n itself. */
    void (*pack)(void *dst, ptrdiff_t width, const void *src, ptrdiff_t k_count, ptrdiff_t k_stride, ptrdiff_t n,
                 ptrdiff_t j_stride);
    /* Rows of src into several panels, each `height` rows of memory: panel p takes the columns j from starts[p] on,
     *   dst[(starts[p] - starts[0])*height + k*width + j - starts[p]] = src[k*stride + j],
     * for k < rows and j < min(starts[p+1], n), with width = starts[p+1] - starts[p], in whole vectors; the last
     * vector's lanes behind column n are 0. */
    void (*pack_panels)(void *dst, ptrdiff_t height, const void *src, ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t n,
                        const ptrdiff_t *starts, ptrdiff_t panels);
    /* 1 if none of count values is inf or nan. */
    int (*finite)(const void *src, ptrdiff_t count);

    /* dst[j] (+)= sum over p < rows of src[p*stride + j], j < n, in the order of p. */
    void (*sum_rows)(void *dst, const void *src, ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t n, int accumulate);

    void (*max_pool_row)(const fc_pool_row *);
    void (*avg_pool_row)(const fc_pool_row *);
    /* The adjoints add into gx, the image's gradient (y is read as the row of grad_output, x is not read). */
    void (*avg_pool_grad_row)(const fc_pool_row *, void *gx, ptrdiff_t c_first, ptrdiff_t c_count);
    /* The same for max pooling, for windows side by side without overlap or gap: writes all cells of the row's windows
     * and those behind the last one, grad (read from y) where `indices` has the cell, else 0. */
    void (*max_pool_spread_row)(const fc_pool_row *, void *gx);
    /* gx[index[i]*c + channel(i)] += grad[i], i over count pixels of channels c_first.. */
    void (*max_pool_grad)(void *gx, const void *grad, const void *indices, ptrdiff_t pixels, ptrdiff_t c,
                          ptrdiff_t c_first, ptrdiff_t c_count);
    ptrdiff_t winner_lanes;
    void (*winners)(const fc_winners *);
    ptrdiff_t patch_sums;                      /* most vectors of a tile of patches */
    void (*patches)(const fc_patches *);
    void (*list_winners)(const fc_winner_lists *);
    void (*relu)(void *y, const void *x, ptrdiff_t count);
    void (*relu_grad)(void *gx, const void *grad, const void *y, ptrdiff_t count);
    void (*softmax)(void *y, const void *x, ptrdiff_t rows, ptrdiff_t n);
    /* y[i] = x[i]*scale, or 0 where the random 16-bit number of element `first` + i, first a multiple of
     * FC_DROPOUT_BLOCK, is below threshold. The numbers depend on key and the element's place alone. y may be x. */
    void (*dropout)(void *y, const void *x, ptrdiff_t count, uint64_t key, ptrdiff_t first, uint32_t threshold,
                    double scale);

    ptrdiff_t filter_mr, filter_nv;            /* tallest and widest tile */
    void (*filter[FC_FILTER_NV_MAX])(const fc_filter *);
    /* dst[j] = src[index[j]], j < count. */
    void (*gather)(void *dst, const void *src, const ptrdiff_t *index, ptrdiff_t count);

    /* One pass over a parameter each; formulas in elementwise-inl.h. */
    void (*sgd)(void *w, const void *g, void *velocity, ptrdiff_t count, double rate, double momentum, int nesterov);
    void (*adam)(void *w, const void *g, void *m, void *v, ptrdiff_t count, double alpha, double beta1, double beta2,
                 double epsilon);
    void (*rmsprop)(void *w, const void *g, void *v, ptrdiff_t count, double rate, double rho, double epsilon);

    fc_winograd winograd[2];                   /* F(2x2, 3x3) and F(4x4, 3x3) */

    /* Register-only multiply-adds, rounds * FC_PEAK_FMAS vectors: the machine's measured peak. */
    double (*peak)(ptrdiff_t rounds);
} fc_kernels;

enum { FC_PEAK_FMAS = 12 };

/* fc_kernels__<isa>[0] is float, [1] is double. */
extern const fc_kernels *const fc_kernels__baseline[2], *const fc_kernels__avx2[2], *const fc_kernels__avx512[2],
    *const fc_kernels__neon[2];

/* cpu.c: the tables by name if this CPU and operating system can run them, else NULL. */
const fc_kernels *const *fc_find_isa(const char *isa);
const char *fc_compiler(void);

#endif
