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

#define FC_STRING_(s) #s
#define FC_STRING(s) FC_STRING_(s)
#define FC_TABLE_(isa) fc_kernels__##isa
#define FC_TABLE(isa) FC_TABLE_(isa)

#if defined(__AVX512F__) && FC_VECTOR_BYTES == 64
#include <immintrin.h>
#define FC_MASKS 1
#elif defined(__AVX2__) && FC_VECTOR_BYTES == 32
#include <immintrin.h>
#define FC_MASKED_LOADS 1
/* From the n-th from the middle on: n lanes of ones, then zeros. */
static const int32_t fc_first_lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
#define FC_FIRST_LANES(words) _mm256_loadu_si256((const __m256i *)(fc_first_lanes + 8 - (words)))
#endif

/* Sums of a filter's patches in registers, beside a gradient and what is read from memory. */
#if FC_REGISTERS >= 32
#define FC_WINNER_SUMS 30
#define FC_PATCH_SUMS 24
#else
#define FC_WINNER_SUMS 12
#define FC_PATCH_SUMS 12
#endif

/* A product of few rows: rows of weights at a time, bytes of each row's sums, that stay in L1, and how many bytes ahead
 * weights are asked for: 16 KB are too late for those from memory, 256 KB too early for those from L3. */
#define FC_FEW_TERMS 4
#define FC_FEW_BYTES 16384
#define FC_FEW_AHEAD 65536

/* words[i] = a hash of the 64-bit counter `first` + i under a key, for a count of whole vectors: two rounds of
 * MurmurHash3's finaliser (A. Appleby), each a bijection that changes about half of 32 bits for any changed one. */
typedef uint32_t fc_words __attribute__((vector_size(FC_VECTOR_BYTES), aligned(sizeof(uint32_t)), may_alias));

static FC_INLINE fc_words fc_mix(fc_words h) {
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}

static void fc_random_words(uint32_t *words, ptrdiff_t count, uint64_t key, uint64_t first) {
    enum { WORDS = FC_VECTOR_BYTES / sizeof(uint32_t) };
    const fc_words low = fc_mix((fc_words){0} + (uint32_t)key);
    const fc_words round = (uint32_t)(key >> 32) ^ fc_mix((fc_words){0} + (uint32_t)(first >> 32));
    fc_words counter = {0};
    for (int i = 0; i < WORDS; i++) counter[i] = (uint32_t)first + (uint32_t)i;
    for (ptrdiff_t at = 0; at < count; at += WORDS, counter += WORDS)
        *(fc_words *)(words + at) = fc_mix(fc_mix(counter ^ low) ^ round);
}

#define FC_REAL float
#define FC_INT int32_t
#define FC_UINT uint32_t
#define FC_SUFFIX f32
#define FC_SQRT sqrtf
#define FC_EXP expf
#define FC_REAL_BYTES 4
#ifdef FC_MASKS
#define FC_MASK_STORE(p, mask, v) _mm512_mask_storeu_ps(p, (__mmask16)(mask), (__m512)(v))
#define FC_LOAD_N(p, n) (vec) _mm512_maskz_loadu_ps((__mmask16)((1u << (n)) - 1u), p)
#elif defined(FC_MASKED_LOADS)
#define FC_LOAD_N(p, n) (vec) _mm256_maskload_ps(p, FC_FIRST_LANES(n))
#endif
#include "types-inl.h"
#undef FC_REAL
#undef FC_INT
#undef FC_UINT
#undef FC_SUFFIX
#undef FC_SQRT
#undef FC_EXP
#undef FC_REAL_BYTES
#undef FC_MASK_STORE
#undef FC_LOAD_N

#define FC_REAL double
#define FC_INT int64_t
#define FC_UINT uint64_t
#define FC_SUFFIX f64
#define FC_SQRT sqrt
#define FC_EXP exp
#define FC_REAL_BYTES 8
#ifdef FC_MASKS
#define FC_MASK_STORE(p, mask, v) _mm512_mask_storeu_pd(p, (__mmask8)(mask), (__m512d)(v))
#define FC_LOAD_N(p, n) (vec) _mm512_maskz_loadu_pd((__mmask8)((1u << (n)) - 1u), p)
#elif defined(FC_MASKED_LOADS)
#define FC_LOAD_N(p, n) (vec) _mm256_maskload_pd(p, FC_FIRST_LANES(2 * (n)))
#endif
#include "types-inl.h"

const fc_kernels *const FC_TABLE(FC_ISA)[2] = {&kernels_f32, &kernels_f64};
