/* linear_neon.c - products of packed weights with f32 and bf16 activations, with NEON (Armv8-A without the dot
 * product). */
#define KERN_ISA neon
#include "worker/kernels/arm/vec_neon_tpl.h"
#include "worker/kernels/linear_tpl.h"
#include "worker/kernels/linear_bf16_tpl.h"
