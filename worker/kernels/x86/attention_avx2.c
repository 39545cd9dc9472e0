/* attention_avx2.c - attention over the paged cache, with AVX2 and FMA. */
#define KERN_ISA avx2
#include "worker/kernels/x86/vec_avx2_tpl.h"
#include "worker/kernels/attention_tpl.h"
