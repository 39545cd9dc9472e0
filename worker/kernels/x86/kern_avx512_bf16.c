/* kern_avx512_bf16.c - the AVX-512 variant with vdpbf16ps (Zen 4, Cooper Lake, Sapphire Rapids and later); compiled
 * with those flags, called only where the machine has them. */
#include "worker/kernels/x86/vec_avx512_tpl.h"
#include "worker/kernels/x86/vec_bf16_pairs_tpl.h"

#define KERN_NAME  "avx512-bf16"
#define KERN_TABLE kern_avx512_bf16_table
#include "worker/kernels/kern.h"
extern const kern_table kern_avx512_bf16_table;
#include "worker/kernels/kern_tpl.h"
