/* Vectors of FC_REAL, FC_VECTOR_BYTES wide, for one instruction set. Included once per element type. */

#define FC_CAT_(a, b) a##_##b
#define FC_CAT(a, b) FC_CAT_(a, b)
#define FN(name) FC_CAT(name, FC_SUFFIX)

#define vec FN(vec)
#define ivec FN(ivec)
#define uvec FN(uvec)
#define FC_LANES (FC_VECTOR_BYTES / FC_REAL_BYTES) /* for the preprocessor, and as a literal */
#define LANES ((ptrdiff_t)FC_LANES)

typedef FC_REAL vec __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef FC_INT ivec __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef FC_UINT FN(wrapping) __attribute__((vector_size(FC_VECTOR_BYTES)));
/* The same in memory: any alignment an element may have, and aliasing like char. */
typedef FC_REAL uvec __attribute__((vector_size(FC_VECTOR_BYTES), aligned(sizeof(FC_REAL)), may_alias));

static FC_INLINE vec FN(load)(const FC_REAL *p) { return *(const uvec *)p; }
static FC_INLINE void FN(store)(FC_REAL *p, vec v) { *(uvec *)p = v; }
static FC_INLINE vec FN(splat)(FC_REAL s) { return s - (vec){0}; }

/* A value that is used several times, and is not to be read from memory again for each: GCC prefers that, and a vector
 * that crosses two lines of the cache costs two reads each time. */
#undef FC_KEEP
#if defined(__AVX512F__) || (defined(__x86_64__) && FC_VECTOR_BYTES <= 32)
#define FC_KEEP(v) __asm__("" : "+v"(v))
#else
#define FC_KEEP(v) (void)(v)
#endif
/* An index that moves on by itself: without this each of an unrolled loop's steps keeps an address of its own. */
#undef FC_KEEP_INDEX
#define FC_KEEP_INDEX(i) __asm__("" : "+r"(i))

/* The first n < LANES lanes: masked where masks are cheap (AVX-512; AVX2's loads), elsewhere in pieces of halving size,
 * because masked stores are microcoded on several AVX2 CPUs. */
#ifdef FC_MASK_STORE
static FC_INLINE void FN(store_n)(FC_REAL *p, vec v, ptrdiff_t n) { FC_MASK_STORE(p, (1u << n) - 1u, v); }
#else
static FC_INLINE void FN(store_n)(FC_REAL *p, vec v, ptrdiff_t n) {
    FC_REAL lanes[FC_LANES];
    FN(store)(lanes, v);
    ptrdiff_t at = 0;
    for (ptrdiff_t piece = LANES / 2; piece > 0; piece /= 2)
        if (n & piece) {
            memcpy(p + at, lanes + at, (size_t)piece * sizeof(FC_REAL));
            at += piece;
        }
}

#endif
#ifdef FC_LOAD_N
static FC_INLINE vec FN(load_n)(const FC_REAL *p, ptrdiff_t n) { return FC_LOAD_N(p, n); }
#else
static FC_INLINE vec FN(load_n)(const FC_REAL *p, ptrdiff_t n) {
    FC_REAL lanes[FC_LANES] = {0};
    ptrdiff_t at = 0;
    for (ptrdiff_t piece = LANES / 2; piece > 0; piece /= 2)
        if (n & piece) {
            memcpy(lanes + at, p + at, (size_t)piece * sizeof(FC_REAL));
            at += piece;
        }
    return FN(load)(lanes);
}
#endif

/* FC_SHUFFLE: the vector whose lane i is lane f(i, k) of a and b, where b's are counted from FC_LANES on. */
#define FC_PAIR(f, i, k) f((i), k), f((i) + 1, k)
#define FC_FOUR(f, i, k) FC_PAIR(f, i, k), FC_PAIR(f, (i) + 2, k)
#define FC_EIGHT(f, i, k) FC_FOUR(f, i, k), FC_FOUR(f, (i) + 4, k)
#undef FC_EACH_LANE
#if FC_LANES == 16
#define FC_EACH_LANE(f, k) FC_EIGHT(f, 0, k), FC_EIGHT(f, 8, k)
#elif FC_LANES == 8
#define FC_EACH_LANE(f, k) FC_EIGHT(f, 0, k)
#elif FC_LANES == 4
#define FC_EACH_LANE(f, k) FC_FOUR(f, 0, k)
#else
#define FC_EACH_LANE(f, k) FC_PAIR(f, 0, k)
#endif
#ifdef __clang__
#define FC_SHUFFLE(a, b, f, k) __builtin_shufflevector(a, b, FC_EACH_LANE(f, k))
#else
#define FC_SHUFFLE(a, b, f, k) __builtin_shuffle(a, b, (ivec){FC_EACH_LANE(f, k)})
#endif

/* Every second lane of a and b, from lane k on: in each 16 bytes, those of a before those of b. */
#define FC_PIECE (16 / FC_REAL_BYTES)
#define FC_SECOND_LANE(i, k) \
    ((i) % FC_PIECE < FC_PIECE / 2 ? 0 : FC_LANES) + (i) / FC_PIECE * FC_PIECE + (i) % (FC_PIECE / 2) * 2 + (k)
/* Every second 16 bytes of a and b, from the k-th on, those of a before those of b; any lane where there are no two. */
#define FC_SECOND_PIECE(i, k)                                                                        \
    (((i) < FC_LANES / 2 ? 0 : FC_LANES) + ((i) % (FC_LANES / 2) / FC_PIECE * 2 + (k)) * FC_PIECE +  \
     (i) % FC_PIECE) % (2 * FC_LANES)

/* Of LANES vectors, two neighbours at a time become one: after as many levels as a lane number has bits, each with half
 * as many vectors (`left`) as the one before, vectors and lanes have changed places. First lanes are sorted within 16
 * bytes, then pieces of 16 bytes: AVX2 would take three times as many instructions to do all at once. */
static FC_INLINE vec FN(evens)(vec a, vec b, const int left) {
    return left * FC_PIECE >= LANES ? FC_SHUFFLE(a, b, FC_SECOND_LANE, 0) : FC_SHUFFLE(a, b, FC_SECOND_PIECE, 0);
}
static FC_INLINE vec FN(odds)(vec a, vec b, const int left) {
    return left * FC_PIECE >= LANES ? FC_SHUFFLE(a, b, FC_SECOND_LANE, 1) : FC_SHUFFLE(a, b, FC_SECOND_PIECE, 1);
}

/* mask ? a : b, lane by lane; mask comes from a comparison. */
static FC_INLINE vec FN(select)(ivec mask, vec a, vec b) { return (vec)(((ivec)a & mask) | ((ivec)b & ~mask)); }

/* max(v, 0) that keeps a NaN: a comparison with NaN is false, so the lane stays. */
static FC_INLINE vec FN(relu_vec)(vec v) { return (vec)((ivec)v & ~(ivec)(v < (vec){0})); }
