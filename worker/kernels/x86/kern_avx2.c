/* kern_avx2.c - the AVX2 + FMA variant; compiled with those flags, called only where the machine has them. */
#include "worker/kernels/x86/vec_avx2_tpl.h"

#define KERN_NAME  "avx2"
#define KERN_TABLE kern_avx2_table
#include "worker/kernels/kern.h"
extern const kern_table kern_avx2_table;
#include "worker/kernels/kern_tpl.h"
