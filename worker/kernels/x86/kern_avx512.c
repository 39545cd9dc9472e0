/* kern_avx512.c - norms, activations and the kernel table, with AVX-512 (F, DQ, BW, VL, VNNI). */
#define KERN_ISA  avx512
#define KERN_NAME "avx512"
#include "worker/kernels/x86/vec_avx512_tpl.h"
#include "worker/kernels/kern_tpl.h"
