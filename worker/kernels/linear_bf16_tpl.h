/* linear_bf16_tpl.h - bf16 activations times bf16 weights, in the arithmetic of x86's vdpbf16ps.
 *
 * For each pair of columns that instruction does two fused multiply-adds into an f32 lane, the high bf16 first, each
 * rounded to nearest even with denormals as zeros in operands and results (tests/unit/worker/test_kern_bf16.c holds it
 * against that, on the hardware).  Rows keep the first column of a pair in the high half, so columns go in ascending
 * order, and a machine without the instruction does the same with plain fused multiply-adds. */
#include "worker/kernels/panel_tpl.h"

typedef uint16_t row_bf16_act;
#define STRIDE_bf16_act(unit) ((unit) + (unit) % 2)

/* Rows to bf16 as kern.h says: column i of a unit at i ^ 1. */
INLINE uint16_t bf16_from_f32_flushed(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t magnitude = bits & 0x7fffffffu, sign = bits & 0x80000000u;
    uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
    rounded = magnitude < 0x00800000u ? sign : rounded;               /* a denormal */
    rounded = magnitude > 0x7f800000u ? sign | 0x7fc00000u : rounded; /* no number */
    return (uint16_t)(rounded >> 16);
}

void KERN_FN(round_bf16)(const float *x, size_t k, size_t unit, uint16_t *bf16)
{
    for (size_t i = 0, n; i < k; i += n, x += n, bf16 += STRIDE_bf16_act(n)) {
        n = k - i < unit ? k - i : unit;
        size_t j = 0;
        for (; j + 1 < n; j += 2) {
            bf16[j] = bf16_from_f32_flushed(x[j + 1]);
            bf16[j + 1] = bf16_from_f32_flushed(x[j]);
        }
        if (j == n)
            continue;
        bf16[j] = 0x8000u; /* adding 0 times -0 changes no sum */
        bf16[j + 1] = bf16_from_f32_flushed(x[j]);
    }
}

#if defined(VEC_HAS_PAIRS)
/* s[r] += two columns; lanes are in the order of vec_pairs_load. */
INLINE void add_pair(vec s[][VECS], size_t rows, const vec_pairs w[VECS], const uint16_t *x, size_t ldx)
{
    for (size_t r = 0; r < rows; r++) {
        vec_pairs xr = vec_pairs_set(x + r * ldx);
        for (size_t v = 0; v < VECS; v++)
            s[r][v] = vec_dot_pairs(s[r][v], w[v], xr);
    }
}

INLINE void part_bf16_act(const char *at, size_t k, const uint16_t *x, size_t ldx, size_t rows, size_t v0, size_t n,
                          vec sums[][VECS])
{
    static const uint16_t no_column[KERN_PANEL];
    vec s[VEC_TILE_ROWS][VECS];
    _Static_assert(VEC_PIECE == SIZE_MAX, "sums begin at zero: they are in the products' order");
    (void)v0, (void)n; /* all of them */
    set_zero(s, rows);
    for (size_t i = 0; i + 1 < k; i += 2, at += 2 * COLUMN_bf16) {
        vec_pairs w[VECS];
        PREFETCH(at, 2 * COLUMN_bf16, rows);
        vec_pairs_load((const uint16_t *)(const void *)at, (const uint16_t *)(const void *)(at + COLUMN_bf16), w);
        add_pair(s, rows, w, x + i, ldx);
    }
    if (k % 2 != 0) {
        vec_pairs w[VECS];
        vec_pairs_load((const uint16_t *)(const void *)at, no_column, w);
        add_pair(s, rows, w, x + k - 1, ldx);
    }
    for (size_t r = 0; r < rows; r++)
        vec_pairs_order(s[r]);
    store_sums(sums, s, rows, 0, VECS);
}
#else
/* s[r] += a column, the first or the `second` of its pair, n vectors from v0 on. */
INLINE void add_column_bf16_act(vec s[][VECS], size_t rows, size_t v0, size_t n, const char *column,
                                const uint16_t *pair, size_t ldx, int second)
{
    vec w[VECS];
    PREFETCH(column, COLUMN_bf16, rows);
    UNROLL
    for (size_t v = 0; v < n; v++)
        w[v] = LOAD_bf16(column, v0 + v);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        vec xr = vec_set_bf16(pair + r * ldx, second);
        UNROLL
        for (size_t v = 0; v < n; v++) {
            s[r][v] = vec_fma_flush(w[v], xr, s[r][v]);
            VEC_KEEP(s[r][v]);
        }
        ROW_BY_ROW();
    }
}

INLINE void part_bf16_act(const char *at, size_t k, const uint16_t *x, size_t ldx, size_t rows, size_t v0, size_t n,
                          vec sums[][VECS])
{
    vec s[VEC_TILE_ROWS][VECS];
    load_sums(s, sums, rows, v0, n);
    size_t i = 0;
    for (; i + 1 < k; i += 2, at += 2 * COLUMN_bf16) {
        add_column_bf16_act(s, rows, v0, n, at, x + i, ldx, 0);
        add_column_bf16_act(s, rows, v0, n, at + COLUMN_bf16, x + i, ldx, 1);
    }
    if (i < k)
        add_column_bf16_act(s, rows, v0, n, at, x + i, ldx, 0);
    store_sums(sums, s, rows, v0, n);
}
#endif

INLINE const char *unit_bf16_act(const char *at, size_t k, const uint16_t *x, size_t ldx, size_t rows, vec sums[][VECS])
{
    EACH_PART(rows, part_bf16_act, at, k, x, ldx, sums);
    return at + k * COLUMN_bf16;
}

DEFINE_PANEL(bf16_act)

/* The products must lie between the two switches: they read and write memory, which the compiler may not move across
 * them. */
void KERN_FN(panel_bf16_bf16)(const void *panel, size_t k, const uint16_t *x, size_t ldx, size_t m, float *y,
                              size_t ldy, size_t n_cols)
{
    vec_mode mode = vec_flush_on();
    FORGET_MEMORY();
    KERN_FN(panel_bf16_act)(panel, k, x, ldx, m, y, ldy, n_cols);
    FORGET_MEMORY();
    vec_flush_off(mode);
}

void KERN_FN(panel_bf16_bf16_fixed)(const void *panel, size_t k, size_t unit, const uint16_t *x, size_t ldx, size_t m,
                                    int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow)
{
    vec_mode mode = vec_flush_on();
    FORGET_MEMORY();
    KERN_FN(panel_fixed_bf16_act)(panel, k, unit, x, ldx, m, acc, ldacc, n_cols, overflow);
    FORGET_MEMORY();
    vec_flush_off(mode);
}
