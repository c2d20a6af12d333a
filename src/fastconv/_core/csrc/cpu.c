/* Which instruction sets this CPU and operating system can run. Compiled with the baseline flags. */
#include <string.h>

#include "fc_kernels.h"

const fc_kernels *const *fc_find_isa(const char *isa) {
    if (strcmp(isa, "baseline") == 0) return fc_kernels__baseline;
#if defined(__x86_64__)
    /* libgcc and compiler-rt ask CPUID and, for the wide registers, XGETBV: the system must save them too. */
    __builtin_cpu_init();
    if (strcmp(isa, "avx2") == 0 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return fc_kernels__avx2;
#ifdef FC_LOWERED
    /* A test build: 16 lanes made of AVX2's registers. */
    if (strcmp(isa, "avx512") == 0) return fc_find_isa("avx2") ? fc_kernels__avx512 : NULL;
#endif
    if (strcmp(isa, "avx512") == 0 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
        return fc_kernels__avx512;
#elif defined(__aarch64__)
    if (strcmp(isa, "neon") == 0) return fc_kernels__neon;
#endif
    return NULL;
}

const char *fc_compiler(void) {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "unknown";
#endif
}
