/* Instruction set "baseline": any x86-64 (SSE2), elsewhere the compiler's default. The flags stand in setup.py. */
#define FC_ISA baseline
#define FC_VECTOR_BYTES 16
#define FC_REGISTERS 16
#include "kernels-inl.h"
