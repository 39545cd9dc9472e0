/* kern.c - which kernel variant this process uses. */
#include "worker/kernels/kern.h"

#include <string.h>

extern const kern_table kern_ref_table;
static const kern_table *active = &kern_ref_table;

const kern_table *kern_ref(void)
{
    return &kern_ref_table;
}

#if defined(PALMGROVE_KERN_X86)
extern const kern_table kern_avx2_table, kern_avx512_table;

/* __builtin_cpu_supports asks the CPU and, for the wide registers, the OS (XCR0).  CPUs of 2017 with AVX-512 but without VNNI run the AVX2
 * variant. */
const kern_table *kern_avx2(void)
{
    bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    return has ? &kern_avx2_table : NULL;
}

const kern_table *kern_avx512(void)
{
    bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    return has ? &kern_avx512_table : NULL;
}
#else
const kern_table *kern_avx2(void)
{
    return NULL;
}

const kern_table *kern_avx512(void)
{
    return NULL;
}
#endif

static const kern_table *widest(void)
{
    const kern_table *table = kern_avx512();
    if (table == NULL)
        table = kern_avx2();
    return table != NULL ? table : kern_ref();
}

base_status kern_select(const char *name, base_error *error)
{
    const kern_table *table;
    if (strcmp(name, "auto") == 0)
        table = widest();
    else if (strcmp(name, "ref") == 0)
        table = kern_ref();
    else if (strcmp(name, "avx2") == 0)
        table = kern_avx2();
    else if (strcmp(name, "avx512") == 0)
        table = kern_avx512();
    else
        return base_fail(error, BASE_EINVAL, "unknown kernel set '%s'; known are auto, ref, avx2, avx512", name);
    if (table == NULL)
        return base_fail(error, BASE_EUNSUPPORTED, "this machine cannot run kernel set '%s'; use auto", name);
    active = table;
    return BASE_OK;
}

const kern_table *kern_active(void)
{
    return active;
}
