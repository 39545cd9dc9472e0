/* attention_avx512.c - attention over the paged cache, with AVX-512 (F, DQ, BW, VL, VNNI). */
#define KERN_ISA avx512
#include "worker/kernels/x86/vec_avx512_tpl.h"
#include "worker/kernels/attention_tpl.h"
