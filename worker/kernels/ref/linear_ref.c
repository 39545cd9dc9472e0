/* linear_ref.c - products of packed weights with f32 and bf16 activations, with portable C. */
#define KERN_ISA ref
#include "worker/kernels/ref/vec_ref_tpl.h"
#include "worker/kernels/linear_tpl.h"
#include "worker/kernels/linear_bf16_tpl.h"
