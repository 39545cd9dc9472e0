/* openblas.c - loads OpenBLAS and multiplies with it.
 *
 *     packed w, panels of 32 outputs          scratch, f32                       y or fixed point
 *     | p0 | p1 | ... p7 | p8 ...     unpack   [DEPTH][256]        sgemm
 *       [k][32] each                 ------->  k0 .. k0 + DEPTH   ------->  y[m][256]  (+= from the second piece on)
 *
 * A block is 256 outputs, walked along k in pieces of DEPTH columns: a piece is 512 KiB, which a core's second cache
 * holds.  The first sgemm sets y, the next ones add to it (beta 1), which is what the library does inside anyway. */
#include "worker/kernels/blas/openblas_int.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/kernels/kern.h"

#define DEPTH       512u
#define NAME_CHARS  48
#define FIXED_SCALE 68719476736.0f /* 2^KERN_FIXED_BITS */

/* cblas_sgemm with the constants of CBLAS's enums; blasint is int in every build but USE64BITINT, which is refused. */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111 };
typedef void sgemm_function(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                            const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

static struct {
    void *library;
    sgemm_function *sgemm;
    char name[NAME_CHARS];
} openblas;

/* --- loading --- */

static const char *library_name(void)
{
    const char *name = getenv("PALMGROVE_OPENBLAS_LIBRARY");
    return name != NULL && name[0] != '\0' ? name : "libopenblas.so.0";
}

/* OpenBLAS 0.3.21 takes newer Xeons for a processor of 2004 unless it is told the core; a core that is set already is
 * respected.  One thread: the team has threads enough. */
static void prepare_environment(void)
{
#if defined(PALMGROVE_KERN_X86)
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    const char *core = NULL;
    if (avx512)
        core = __builtin_cpu_supports("avx512bf16") ? "Cooperlake" : "SkylakeX";
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        core = "Haswell";
    if (core != NULL)
        setenv("OPENBLAS_CORETYPE", core, 0);
#endif
    setenv("OPENBLAS_NUM_THREADS", "1", 0);
}

/* dlsym gives a pointer to data, which C does not convert to one to a function. */
static bool find_symbol(const char *name, void *out)
{
    void *symbol = dlsym(openblas.library, name);
    memcpy(out, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* From "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..." and "Haswell". */
static base_status read_name(const char *config, const char *core, base_error *error)
{
    char version[16] = "";
    if (sscanf(config, "OpenBLAS %15s", version) != 1)
        return base_fail(error, BASE_EUNSUPPORTED, "'%s' describes itself as '%.60s'; is it OpenBLAS?", library_name(),
                         config);
    if (strstr(config, "USE64BITINT") != NULL)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "'%s' takes 64-bit integers; name the ordinary OpenBLAS in PALMGROVE_OPENBLAS_LIBRARY",
                         library_name());
    snprintf(openblas.name, sizeof openblas.name, "openblas-%s-%.16s", version, core);
    return BASE_OK;
}

static base_status find_symbols(base_error *error)
{
    char *(*config)(void), *(*core)(void);
    void (*set_threads)(int);
    if (!find_symbol("cblas_sgemm", &openblas.sgemm) || !find_symbol("openblas_get_config", &config) ||
        !find_symbol("openblas_get_corename", &core) || !find_symbol("openblas_set_num_threads", &set_threads))
        return base_fail(error, BASE_EUNSUPPORTED, "'%s' lacks a function of OpenBLAS; is it another BLAS?",
                         library_name());
    set_threads(1);
    return read_name(config(), core(), error);
}

/* Left open on failure, the library stays loaded: unloading one that may have started threads is not safe. */
base_status kern_openblas_open(base_error *error)
{
    if (kern_openblas_is_open())
        return BASE_OK;
    prepare_environment();
    openblas.library = dlopen(library_name(), RTLD_NOW | RTLD_LOCAL);
    if (openblas.library == NULL)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "cannot load OpenBLAS: %.120s; install libopenblas0, or use --products own", dlerror());
    base_status status = find_symbols(error);
    if (status == BASE_OK)
        status = kern_openblas_check(openblas.name, error);
    if (status != BASE_OK)
        memset(&openblas, 0, sizeof openblas);
    return status;
}

bool kern_openblas_is_open(void)
{
    return openblas.name[0] != '\0';
}

const char *kern_openblas_name(void)
{
    return openblas.name;
}

/* --- products --- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t n_columns(const kern_openblas_block *b)
{
    return least(b->w->n - b->column, KERN_OPENBLAS_COLUMNS);
}

/* Columns [k, k + n) of the block's panels to f32 [n][KERN_OPENBLAS_COLUMNS]. */
static void unpack(const kern_openblas_block *b, size_t k, size_t n, float *to)
{
    const pack_matrix *w = b->w;
    size_t panel_bytes = pack_panel_bytes(w->type, w->k, w->unit), column_bytes = panel_bytes / w->k;
    const char *panel = (const char *)w->data + b->column / KERN_PANEL * panel_bytes + k * column_bytes;
    for (size_t c = 0; c < n_columns(b); c += KERN_PANEL, panel += panel_bytes)
        kern_active()->unpack[w->type](panel, n, to + c, KERN_OPENBLAS_COLUMNS);
}

void kern_openblas_linear(const kern_openblas_block *b, float *y, size_t ldy, void *scratch)
{
    for (size_t k = 0, n; k < b->w->k; k += n) {
        n = least(b->w->k - k, DEPTH);
        unpack(b, k, n, scratch);
        openblas.sgemm(ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, (int)b->m, (int)n_columns(b), (int)n, 1.0f, b->x + k,
                       (int)b->ldx, scratch, KERN_OPENBLAS_COLUMNS, k == 0 ? 0.0f : 1.0f, y, (int)ldy);
    }
}

size_t kern_openblas_scratch_bytes(void)
{
    return ((size_t)DEPTH + KERN_OPENBLAS_ROWS) * KERN_OPENBLAS_COLUMNS * sizeof(float);
}

/* acc += y [n] rounded to fixed point; false when an element is out of range or not a number. */
static bool add_row(const float *y, size_t n, int64_t *acc)
{
    bool in_range = true;
    for (size_t i = 0; i < n; i++) {
        float scaled = y[i] * FIXED_SCALE;
        bool fits = fabsf(scaled) < 0x1p62f; /* false for a NaN */
        in_range = in_range && fits;
        acc[i] = (int64_t)((uint64_t)acc[i] + (uint64_t)llrintf(fits ? scaled : 0.0f));
    }
    return in_range;
}

void kern_openblas_linear_fixed(const kern_openblas_block *b, int64_t *acc, size_t ldacc, int64_t *overflow,
                                void *scratch)
{
    float *y = (float *)scratch + (size_t)DEPTH * KERN_OPENBLAS_COLUMNS;
    kern_openblas_linear(b, y, KERN_OPENBLAS_COLUMNS, scratch);
    for (size_t r = 0; r < b->m; r++)
        if (!add_row(y + r * KERN_OPENBLAS_COLUMNS, n_columns(b), acc + r * ldacc))
            __atomic_store_n(overflow + r, 1, __ATOMIC_RELAXED);
}
