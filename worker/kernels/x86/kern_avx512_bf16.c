/* kern_avx512_bf16.c - norms, activations and the kernel table, with AVX-512 with vdpbf16ps (Zen 4, Cooper Lake,
 * Sapphire Rapids and later). */
#define KERN_ISA  avx512_bf16
#define KERN_NAME "avx512-bf16"
#include "worker/kernels/x86/vec_avx512_tpl.h"
#include "worker/kernels/x86/vec_bf16_pairs_tpl.h"
#include "worker/kernels/kern_tpl.h"
