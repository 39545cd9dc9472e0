/* kern_neon.c - norms, activations and the kernel table, with NEON (Armv8-A without the dot product). */
#define KERN_ISA  neon
#define KERN_NAME "neon"
#include "worker/kernels/arm/vec_neon_tpl.h"
#include "worker/kernels/kern_tpl.h"
