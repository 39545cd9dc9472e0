/* attention_neon_dot.c - attention over the paged cache, with NEON with the dot product of Armv8.2-A. */
#define KERN_ISA neon_dot
#include "worker/kernels/arm/vec_neon_tpl.h"
#include "worker/kernels/attention_tpl.h"
