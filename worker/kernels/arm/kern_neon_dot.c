/* kern_neon_dot.c - norms, activations and the kernel table, with NEON with the dot product of Armv8.2-A. */
#define KERN_ISA  neon_dot
#define KERN_NAME "neon-dot"
#include "worker/kernels/arm/vec_neon_tpl.h"
#include "worker/kernels/kern_tpl.h"
