#include "worker/kernels/peak.h"

#include <string.h>

#include "worker/kernels/kern.h"

extern const peak_table peak_ref_table;

#if defined(PALMGROVE_KERN_X86)
extern const peak_table peak_avx2_table, peak_avx512_table, peak_vnni_table;

const peak_table *peak_active(void)
{
    const char *name = kern_active()->name;
    if (strcmp(name, "avx512") == 0 || strcmp(name, "avx512-bf16") == 0)
        return __builtin_cpu_supports("avx512vnni") ? &peak_vnni_table : &peak_avx512_table;
    return strcmp(name, "avx2") == 0 ? &peak_avx2_table : &peak_ref_table;
}
#elif defined(PALMGROVE_KERN_ARM)
extern const peak_table peak_neon_table, peak_neon_dot_table;

const peak_table *peak_active(void)
{
    const char *name = kern_active()->name;
    if (strcmp(name, "neon-dot") == 0)
        return &peak_neon_dot_table;
    return strcmp(name, "neon") == 0 ? &peak_neon_table : &peak_ref_table;
}
#else
const peak_table *peak_active(void)
{
    return &peak_ref_table;
}
#endif
