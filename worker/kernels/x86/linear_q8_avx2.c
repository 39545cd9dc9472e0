/* linear_q8_avx2.c - products of int8 and int4 weights with 8-bit activations, with AVX2 and FMA. */
#define KERN_ISA avx2
#include "worker/kernels/x86/vec_avx2_tpl.h"
#include "worker/kernels/linear_q8_tpl.h"
