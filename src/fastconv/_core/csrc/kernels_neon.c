/* Instruction set "neon": aarch64. The flags stand in setup.py. */
#define FC_ISA neon
#define FC_VECTOR_BYTES 16
#define FC_REGISTERS 32
#include "kernels-inl.h"
