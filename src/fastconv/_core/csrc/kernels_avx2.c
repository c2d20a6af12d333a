/* Instruction set "avx2": AVX2 and FMA. The flags stand in setup.py. */
#define FC_ISA avx2
#define FC_VECTOR_BYTES 32
#define FC_REGISTERS 16
#include "kernels-inl.h"
