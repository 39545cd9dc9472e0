/* linear_avx2.c - products of packed weights with f32 and bf16 activations, with AVX2 and FMA. */
#define KERN_ISA avx2
#include "worker/kernels/x86/vec_avx2_tpl.h"
#include "worker/kernels/linear_tpl.h"
#include "worker/kernels/linear_bf16_tpl.h"
