/* attention_neon.c - attention over the paged cache, with NEON (Armv8-A without the dot product). */
#define KERN_ISA neon
#include "worker/kernels/arm/vec_neon_tpl.h"
#include "worker/kernels/attention_tpl.h"
