/* linear_q8_neon_dot.c - products of int8 and int4 weights with 8-bit activations, with NEON with the dot product of
 * Armv8.2-A. */
#define KERN_ISA neon_dot
#include "worker/kernels/arm/vec_neon_tpl.h"
#include "worker/kernels/linear_q8_tpl.h"
