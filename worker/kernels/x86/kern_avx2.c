/* kern_avx2.c - norms, activations and the kernel table, with AVX2 and FMA. */
#define KERN_ISA  avx2
#define KERN_NAME "avx2"
#include "worker/kernels/x86/vec_avx2_tpl.h"
#include "worker/kernels/kern_tpl.h"
