/* kern.c - which kernel variant this process uses. */
#include "worker/kernels/kern.h"

#include <string.h>

#if defined(PALMGROVE_KERN_ARM)
#include <sys/auxv.h>
#define HWCAP_DOT_PRODUCT (1ul << 20) /* asimddp, Linux Documentation/arch/arm64/elf_hwcaps.rst */
#endif

extern const kern_table kern_table_ref;
static const kern_table *active = &kern_table_ref;

static bool always(void)
{
    return true;
}

/* __builtin_cpu_supports asks the CPU and, for the wide registers, the OS (XCR0).  CPUs of 2017 with AVX-512 but
 * without VNNI run the AVX2 variant. */
#if defined(PALMGROVE_KERN_X86)
extern const kern_table kern_table_avx2, kern_table_avx512, kern_table_avx512_bf16;

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); /* every CPU with AVX2 has F16C */
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

static bool has_avx512_bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#elif defined(PALMGROVE_KERN_ARM)
extern const kern_table kern_table_neon, kern_table_neon_dot;

static bool has_dot_product(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_DOT_PRODUCT) != 0;
}
#endif

/* Every variant there is; `table` NULL: not in this build. */
typedef struct variant {
    const char *name;
    const kern_table *table;
    bool (*is_usable)(void);
} variant;

static const variant variants[KERN_VARIANTS] = {
    {"ref", &kern_table_ref, always},
#if defined(PALMGROVE_KERN_X86)
    {"avx2", &kern_table_avx2, has_avx2},
    {"avx512", &kern_table_avx512, has_avx512},
    {"avx512-bf16", &kern_table_avx512_bf16, has_avx512_bf16},
#else
    {"avx2", NULL, always},           {"avx512", NULL, always},   {"avx512-bf16", NULL, always},
#endif
#if defined(PALMGROVE_KERN_ARM)
    {"neon", &kern_table_neon, always},
    {"neon-dot", &kern_table_neon_dot, has_dot_product},
#else
    {"neon", NULL, always},           {"neon-dot", NULL, always},
#endif
};

static bool is_usable(const variant *v)
{
    return v->table != NULL && v->is_usable();
}

size_t kern_usable(const kern_table *out[KERN_VARIANTS])
{
    size_t n = 0;
    for (size_t i = 0; i < KERN_VARIANTS; i++)
        if (is_usable(&variants[i]))
            out[n++] = variants[i].table;
    return n;
}

base_status kern_select(const char *name, base_error *error)
{
    if (strcmp(name, "auto") == 0) {
        const kern_table *usable[KERN_VARIANTS];
        active = usable[kern_usable(usable) - 1];
        return BASE_OK;
    }
    for (size_t i = 0; i < KERN_VARIANTS; i++) {
        if (strcmp(name, variants[i].name) != 0)
            continue;
        if (!is_usable(&variants[i]))
            return base_fail(error, BASE_EUNSUPPORTED, "this machine cannot run kernel set '%s'; use auto", name);
        active = variants[i].table;
        return BASE_OK;
    }
    return base_fail(error, BASE_EINVAL,
                     "unknown kernel set '%s'; known are auto, ref, avx2, avx512, avx512-bf16, neon, neon-dot", name);
}

const kern_table *kern_active(void)
{
    return active;
}
