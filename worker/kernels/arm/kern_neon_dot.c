/* kern_neon_dot.c - the variant for Armv8.2-A with the dot product. */
#include "worker/kernels/arm/vec_neon_tpl.h"

#define KERN_NAME  "neon-dot"
#define KERN_TABLE kern_neon_dot_table
#include "worker/kernels/kern.h"
extern const kern_table kern_neon_dot_table;
#include "worker/kernels/kern_tpl.h"
