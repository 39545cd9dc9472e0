/* linear_q8_ref.c - products of int8 and int4 weights with 8-bit activations, with portable C. */
#define KERN_ISA ref
#include "worker/kernels/ref/vec_ref_tpl.h"
#include "worker/kernels/linear_q8_tpl.h"
