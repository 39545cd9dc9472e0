/* kern_neon.c - the variant for Armv8-A without the dot product. */
#include "worker/kernels/arm/vec_neon_tpl.h"

#define KERN_NAME  "neon"
#define KERN_TABLE kern_neon_table
#include "worker/kernels/kern.h"
extern const kern_table kern_neon_table;
#include "worker/kernels/kern_tpl.h"
