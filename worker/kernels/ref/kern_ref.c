/* kern_ref.c - the portable reference variant. */
#include "worker/kernels/ref/vec_ref_tpl.h"

#define KERN_NAME  "ref"
#define KERN_TABLE kern_ref_table
#include "worker/kernels/kern.h"
extern const kern_table kern_ref_table;
#include "worker/kernels/kern_tpl.h"
