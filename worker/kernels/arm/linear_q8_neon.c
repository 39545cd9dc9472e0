/* linear_q8_neon.c - products of int8 and int4 weights with 8-bit activations, with NEON (Armv8-A without the dot
 * product). */
#define KERN_ISA neon
#include "worker/kernels/arm/vec_neon_tpl.h"
#include "worker/kernels/linear_q8_tpl.h"
