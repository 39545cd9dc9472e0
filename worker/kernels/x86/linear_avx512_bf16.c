/* linear_avx512_bf16.c - products of packed weights with f32 and bf16 activations, with AVX-512 with vdpbf16ps (Zen 4,
 * Cooper Lake, Sapphire Rapids and later). */
#define KERN_ISA avx512_bf16
#include "worker/kernels/x86/vec_avx512_tpl.h"
#include "worker/kernels/x86/vec_bf16_pairs_tpl.h"
#include "worker/kernels/linear_tpl.h"
#include "worker/kernels/linear_bf16_tpl.h"
