/* kern_ref.c - norms, activations and the kernel table, with portable C. */
#define KERN_ISA  ref
#define KERN_NAME "ref"
#include "worker/kernels/ref/vec_ref_tpl.h"
#include "worker/kernels/kern_tpl.h"
