"""The one place where C is declared. Contracts: csrc/fc_kernels.h."""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from "fc_kernels.h" nogil:
    enum:
        FC_NV_MAX
        FC_MR_MAX
        FC_DEPTHWISE_LINES
        FC_LINEAR
        FC_RELU
        FC_PEAK_FMAS
        FC_WINNER_ROWS
        FC_PATCH_ROWS
        FC_PATCH_VECTORS
        FC_DOT_COLS
        FC_DOT_RUN
        FC_SUM_PARTS
        FC_PARTS_NV
        FC_ROW_FILTERS
        FC_CACHE_LINE

    void fc_fetch(const void *first, Py_ssize_t bytes)
    void fc_fetch_l2(const void *first, Py_ssize_t bytes)

    ctypedef struct fc_tile:
        Py_ssize_t mr
        Py_ssize_t n
        Py_ssize_t whole_rows
        const void *a
        const Py_ssize_t *a_off
        Py_ssize_t a_step
        const void *b
        Py_ssize_t b_step
        const Py_ssize_t *seg_a
        const Py_ssize_t *seg_k
        const Py_ssize_t *seg_len
        Py_ssize_t n_segs
        void *c
        const Py_ssize_t *c_off
        const void *bias
        int accumulate
        int activation
        const void *ahead
        Py_ssize_t ahead_step

    ctypedef struct fc_conv_rows:
        Py_ssize_t lines, pixels, filters
        const void *x
        Py_ssize_t x_line, x_row, x_col, rows, cols
        const void *w
        Py_ssize_t w_row, w_col
        const void *bias
        void *y
        Py_ssize_t y_line
        int activation

    ctypedef struct fc_depthwise:
        Py_ssize_t lines, pixels, channels, fresh, writes_on
        const void *x
        Py_ssize_t x_line, x_step, x_row, x_col
        const void *w
        Py_ssize_t w_row, w_col, w_vector, rows, cols, phases
        const void *bias
        void *y
        Py_ssize_t y_line, y_step
        int activation

    ctypedef struct fc_depthwise_grad:
        Py_ssize_t lines, pixels, channels
        const void *x
        Py_ssize_t x_line, x_pixel, x_row, x_col
        const void *g
        Py_ssize_t g_line, g_pixel, rows, cols
        void *sums
        Py_ssize_t sum_vector, sum_row
        int whole, top, bottom, left, right

    void fc_touch(const void *first, Py_ssize_t bytes) noexcept nogil

    ctypedef struct fc_pool_row:
        const void *x
        void *y
        void *indices
        Py_ssize_t iw, c, ow
        Py_ssize_t row_first, row_last
        const Py_ssize_t *col_first
        const Py_ssize_t *col_last
        Py_ssize_t x_count
        Py_ssize_t window_cells

    ctypedef struct fc_winners:
        Py_ssize_t pixels, filters, rows
        const void *grads
        const void *indices
        const Py_ssize_t *at
        Py_ssize_t cells
        const void *x
        Py_ssize_t x_row
        void *sums

    ctypedef struct fc_patches:
        Py_ssize_t lists
        const Py_ssize_t *first
        const Py_ssize_t *last
        const void *factors
        const Py_ssize_t *places
        Py_ssize_t rows, vectors
        const void *x
        Py_ssize_t x_row
        void *sums
        const Py_ssize_t *sums_at
        Py_ssize_t sums_row

    ctypedef struct fc_winner_lists:
        Py_ssize_t pixels, filters, step
        const void *grads
        const void *indices
        const Py_ssize_t *origin
        const Py_ssize_t *shift
        Py_ssize_t window_cells
        int by_filter
        const Py_ssize_t *place
        Py_ssize_t base, filter_place
        Py_ssize_t *last
        Py_ssize_t *places
        void *factors

    ctypedef struct fc_filter:
        Py_ssize_t mr, n
        const void *const *rows
        Py_ssize_t x_first, x_step
        const void *w
        Py_ssize_t w_row, w_step, kh, kw
        void *y
        Py_ssize_t y_row

    ctypedef struct fc_winograd_tile:
        void *image
        Py_ssize_t row_step, col_step, row_first, row_last, col_first, col_last
        Py_ssize_t n
        void *points
        Py_ssize_t point_step
        const void *bias
        int activation

    ctypedef struct fc_winograd:
        void (*input)(const fc_winograd_tile *) noexcept nogil
        void (*kernel)(void *u, Py_ssize_t point_step, const void *g, Py_ssize_t tap_step,
                       Py_ssize_t count) noexcept nogil
        void (*output)(const fc_winograd_tile *) noexcept nogil

    ctypedef struct fc_kernels:
        const char *isa
        Py_ssize_t itemsize
        Py_ssize_t lanes
        Py_ssize_t nv_max, nv_shallow
        Py_ssize_t *mr
        void (**tile)(const fc_tile *) noexcept nogil
        void (**fetching)(const fc_tile *) noexcept nogil
        void (*few)(const fc_tile *) noexcept nogil
        void (**parts)(const fc_tile *) noexcept nogil
        void (**dot)(const fc_tile *) noexcept nogil
        void (*dot_run)(const fc_tile *) noexcept nogil
        void (*conv_rows)(const fc_conv_rows *) noexcept nogil
        void (**depthwise)(const fc_depthwise *) noexcept nogil
        void (**depthwise_grad)(const fc_depthwise_grad *) noexcept nogil
        void (*expand)(void *, const void *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*contract)(void *, const void *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*pack)(void *dst, Py_ssize_t width, const void *src, Py_ssize_t k_count, Py_ssize_t k_stride,
                     Py_ssize_t n, Py_ssize_t j_stride) noexcept nogil
        void (*pack_panels)(void *dst, Py_ssize_t height, const void *src, Py_ssize_t rows, Py_ssize_t stride,
                            Py_ssize_t n, const Py_ssize_t *starts, Py_ssize_t panels) noexcept nogil
        int (*finite)(const void *src, Py_ssize_t count) noexcept nogil
        void (*sum_rows)(void *dst, const void *src, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n,
                         int accumulate) noexcept nogil
        void (*max_pool_row)(const fc_pool_row *) noexcept nogil
        void (*avg_pool_row)(const fc_pool_row *) noexcept nogil
        void (*avg_pool_grad_row)(const fc_pool_row *, void *gx, Py_ssize_t c_first,
                                  Py_ssize_t c_count) noexcept nogil
        void (*max_pool_spread_row)(const fc_pool_row *, void *gx) noexcept nogil
        void (*max_pool_grad)(void *gx, const void *grad, const void *indices, Py_ssize_t pixels, Py_ssize_t c,
                              Py_ssize_t c_first, Py_ssize_t c_count) noexcept nogil
        Py_ssize_t winner_lanes
        void (*winners)(const fc_winners *) noexcept nogil
        Py_ssize_t patch_sums
        void (*patches)(const fc_patches *) noexcept nogil
        void (*list_winners)(const fc_winner_lists *) noexcept nogil
        void (*relu)(void *y, const void *x, Py_ssize_t count) noexcept nogil
        void (*relu_grad)(void *gx, const void *grad, const void *y, Py_ssize_t count) noexcept nogil
        void (*softmax)(void *y, const void *x, Py_ssize_t rows, Py_ssize_t n) noexcept nogil
        void (*dropout)(void *y, const void *x, Py_ssize_t count, uint64_t key, Py_ssize_t first, uint32_t threshold,
                        double scale) noexcept nogil
        Py_ssize_t filter_mr, filter_nv
        void (**filter)(const fc_filter *) noexcept nogil
        void (*gather)(void *dst, const void *src, const Py_ssize_t *index, Py_ssize_t count) noexcept nogil
        void (*sgd)(void *w, const void *g, void *velocity, Py_ssize_t count, double rate, double momentum,
                    int nesterov) noexcept nogil
        void (*adam)(void *w, const void *g, void *m, void *v, Py_ssize_t count, double alpha, double beta1,
                     double beta2, double epsilon) noexcept nogil
        void (*rmsprop)(void *w, const void *g, void *v, Py_ssize_t count, double rate, double rho,
                        double epsilon) noexcept nogil
        fc_winograd *winograd
        double (*peak)(Py_ssize_t rounds) noexcept nogil

    const fc_kernels *const *fc_find_isa(const char *isa)
    const char *fc_compiler()
