/* attention_ref.c - attention over the paged cache, with portable C. */
#define KERN_ISA ref
#include "worker/kernels/ref/vec_ref_tpl.h"
#include "worker/kernels/attention_tpl.h"
