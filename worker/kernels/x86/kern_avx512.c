/* kern_avx512.c - the AVX-512 (F, DQ, BW, VL, VNNI) variant; compiled with those flags, called only where the machine
 * has them. */
#include "worker/kernels/x86/vec_avx512_tpl.h"

#define KERN_NAME  "avx512"
#define KERN_TABLE kern_avx512_table
#include "worker/kernels/kern.h"
extern const kern_table kern_avx512_table;
#include "worker/kernels/kern_tpl.h"
