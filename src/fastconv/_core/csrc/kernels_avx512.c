/* Instruction set "avx512": AVX-512 F, BW, DQ and VL. The flags stand in setup.py. */
#define FC_ISA avx512
#define FC_VECTOR_BYTES 64
#define FC_REGISTERS 32
#include "kernels-inl.h"
