/* One instruction set's tables. A stub defines FC_ISA, FC_VECTOR_BYTES and FC_REGISTERS, and includes this file. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "fc_kernels.h"

#define FC_INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define FC_UNROLL _Pragma("unroll")
#else
#define FC_UNROLL _Pragma("GCC unroll 16")
#endif

/* What a tile's row multiplies: one element for all columns, or (channelwise) a vector of them, whole or in part. */
enum { FC_BROADCAST, FC_WHOLE, FC_PART };

#define FC_STRING_(s) #s
#define FC_STRING(s) FC_STRING_(s)
#define FC_TABLE_(isa) fc_kernels__##isa
#define FC_TABLE(isa) FC_TABLE_(isa)

#if defined(__AVX512F__) && FC_VECTOR_BYTES == 64
#include <immintrin.h>
#define FC_MASKS 1
#endif

#define FC_REAL float
#define FC_INT int32_t
#define FC_SUFFIX f32
#define FC_SQRT sqrtf
#define FC_EXP expf
#ifdef FC_MASKS
#define FC_MASK_STORE(p, mask, v) _mm512_mask_storeu_ps(p, (__mmask16)(mask), (__m512)(v))
#define FC_MASK_LOAD(mask, p) (vec) _mm512_maskz_loadu_ps((__mmask16)(mask), p)
#endif
#include "types-inl.h"
#undef FC_REAL
#undef FC_INT
#undef FC_SUFFIX
#undef FC_SQRT
#undef FC_EXP
#undef FC_MASK_STORE
#undef FC_MASK_LOAD

#define FC_REAL double
#define FC_INT int64_t
#define FC_SUFFIX f64
#define FC_SQRT sqrt
#define FC_EXP exp
#ifdef FC_MASKS
#define FC_MASK_STORE(p, mask, v) _mm512_mask_storeu_pd(p, (__mmask8)(mask), (__m512d)(v))
#define FC_MASK_LOAD(mask, p) (vec) _mm512_maskz_loadu_pd((__mmask8)(mask), p)
#endif
#include "types-inl.h"

const fc_kernels *const FC_TABLE(FC_ISA)[2] = {&kernels_f32, &kernels_f64};
