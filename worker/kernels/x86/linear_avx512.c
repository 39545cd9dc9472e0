/* linear_avx512.c - products of packed weights with f32 and bf16 activations, with AVX-512 (F, DQ, BW, VL, VNNI). */
#define KERN_ISA avx512
#include "worker/kernels/x86/vec_avx512_tpl.h"
#include "worker/kernels/linear_tpl.h"
#include "worker/kernels/linear_bf16_tpl.h"
