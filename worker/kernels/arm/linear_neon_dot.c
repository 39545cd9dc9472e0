/* linear_neon_dot.c - products of packed weights with f32 and bf16 activations, with NEON with the dot product of
 * Armv8.2-A. */
#define KERN_ISA neon_dot
#include "worker/kernels/arm/vec_neon_tpl.h"
#include "worker/kernels/linear_tpl.h"
#include "worker/kernels/linear_bf16_tpl.h"
