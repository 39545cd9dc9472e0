/* linear_q8_avx512.c - products of int8 and int4 weights with 8-bit activations, with AVX-512 (F, DQ, BW, VL, VNNI). */
#define KERN_ISA avx512
#include "worker/kernels/x86/vec_avx512_tpl.h"
#include "worker/kernels/linear_q8_tpl.h"
