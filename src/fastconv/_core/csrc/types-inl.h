/* All micro-kernels for one element type (FC_REAL, FC_INT, FC_UINT, FC_SUFFIX, FC_SQRT, FC_EXP, FC_REAL_BYTES), and
 * their entry for the table. */

#include "vec-inl.h"
#include "depthwise-inl.h"
#include "row-inl.h"
#include "pack-inl.h"
#include "pool-inl.h"
#include "winners-inl.h"
#include "patches-inl.h"
#include "filter-inl.h"
#include "elementwise-inl.h"
#include "tile-inl.h"
#include "winograd-inl.h"

static const fc_kernels FN(kernels) = {
    FC_STRING(FC_ISA), sizeof(FC_REAL), FC_LANES, FC_TILES,
    FN(conv_rows),
    FC_DEPTHWISES, FC_DEPTHWISE_GRADS, FN(expand), FN(contract),
    FN(pack), FN(pack_panels), FN(finite), FN(sum_rows),
    FN(max_pool_row), FN(avg_pool_row), FN(avg_pool_grad_row), FN(max_pool_spread_row),
    FN(max_pool_grad), FN(WINNER_LANES), FN(winners), FC_PATCH_SUMS, FN(patches),
    FN(list_winners), FN(relu), FN(relu_grad), FN(softmax), FN(dropout),
    FC_FILTERS, FN(gather), FN(sgd), FN(adam), FN(rmsprop), FC_WINOGRADS, FN(peak),
};

#undef vec
#undef ivec
#undef uvec
#undef LANES
#undef FC_LANES
#undef FC_DEPTHWISES
#undef FC_DEPTHWISE_GRADS
