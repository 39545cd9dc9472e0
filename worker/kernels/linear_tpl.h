/* linear_tpl.h - f32 activations times packed weights of every type: f32, f16, bf16, int8, int4 (panel_tpl.h has the
 * loops and a picture of a tile).
 *
 * Plain weights are unpacked to f32 in registers, column by column.  Quantised ones come a group at a time: its sum
 * runs over q, then one fma with the group's scale brings it into the row's sum. */
#include "worker/kernels/panel_tpl.h"

/* s[r] += w * x[r][0], one fma each, over n vectors. */
INLINE void add_column(vec s[][VECS], size_t rows, const vec w[VECS], size_t n, const float *x, size_t ldx)
{
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        vec xr = vec_set(x[r * ldx]);
        UNROLL
        for (size_t v = 0; v < n; v++) {
            s[r][v] = vec_fma(w[v], xr, s[r][v]);
            VEC_KEEP(s[r][v]);
        }
        ROW_BY_ROW();
    }
}

#define DEFINE_UNIT_PLAIN(TYPE)                                                                                     \
    INLINE void part_##TYPE(const char *at, size_t k, const float *x, size_t ldx, size_t rows, size_t v0, size_t n, \
                            vec sums[][VECS])                                                                       \
    {                                                                                                               \
        vec s[VEC_TILE_ROWS][VECS];                                                                                 \
        load_sums(s, sums, rows, v0, n);                                                                            \
        for (size_t i = 0; i < k; i++, at += COLUMN_##TYPE) {                                                       \
            vec w[VECS];                                                                                            \
            PREFETCH(at, COLUMN_##TYPE, rows);                                                                      \
            UNROLL                                                                                                  \
            for (size_t v = 0; v < n; v++)                                                                          \
                w[v] = LOAD_##TYPE(at, v0 + v);                                                                     \
            add_column(s, rows, w, n, x + i, ldx);                                                                  \
        }                                                                                                           \
        store_sums(sums, s, rows, v0, n);                                                                           \
    }                                                                                                               \
    INLINE const char *unit_##TYPE(const char *at, size_t k, const float *x, size_t ldx, size_t rows,               \
                                   vec sums[][VECS])                                                                \
    {                                                                                                               \
        EACH_PART(rows, part_##TYPE, at, k, x, ldx, sums);                                                          \
        return at + k * COLUMN_##TYPE;                                                                              \
    }

DEFINE_UNIT_PLAIN(f32)
DEFINE_UNIT_PLAIN(f16)
DEFINE_UNIT_PLAIN(bf16)

#define DEFINE_UNPACK(TYPE)                                                          \
    void KERN_FN(unpack_##TYPE)(const void *columns, size_t n, float *to, size_t ld) \
    {                                                                                \
        const char *at = columns;                                                    \
        for (size_t i = 0; i < n; i++, at += COLUMN_##TYPE)                          \
            for (size_t v = 0; v < VECS; v++)                                        \
                vec_store(to + i * ld + v * VEC_LANES, LOAD_##TYPE(at, v));          \
    }

DEFINE_UNPACK(f32)
DEFINE_UNPACK(f16)
DEFINE_UNPACK(bf16)

#define DEFINE_UNIT_QUANTISED(TYPE)                                                                                  \
    /* s += the first n_columns of a quad, n vectors from v0 on. */                                                  \
    INLINE void add_quad_##TYPE(vec s[][VECS], size_t rows, size_t v0, size_t n, const char *quad, size_t n_columns, \
                                const float *x, size_t ldx)                                                          \
    {                                                                                                                \
        PREFETCH(quad, QUAD_##TYPE, rows);                                                                           \
        UNROLL                                                                                                       \
        for (int j = 0; j < 4; j++) {                                                                                \
            vec w[VECS];                                                                                             \
            if ((size_t)j == n_columns)                                                                              \
                break;                                                                                               \
            UNROLL                                                                                                   \
            for (size_t v = 0; v < n; v++)                                                                           \
                w[v] = LOAD_##TYPE(quad, v0 + v, j);                                                                 \
            add_column(s, rows, w, n, x + j, ldx);                                                                   \
        }                                                                                                            \
    }                                                                                                                \
    /* sums += a group of n_columns, n vectors from v0 on. */                                                        \
    INLINE void part_##TYPE(const char *group, size_t n_columns, const float *x, size_t ldx, size_t rows, size_t v0, \
                            size_t n, vec sums[][VECS])                                                              \
    {                                                                                                                \
        vec s[VEC_TILE_ROWS][VECS];                                                                                  \
        const char *quad = group + SCALES;                                                                           \
        size_t i = 0;                                                                                                \
        set_zero(s, rows);                                                                                           \
        for (; i + 4 <= n_columns; i += 4, quad += QUAD_##TYPE)                                                      \
            add_quad_##TYPE(s, rows, v0, n, quad, 4, x + i, ldx);                                                    \
        if (i < n_columns)                                                                                           \
            add_quad_##TYPE(s, rows, v0, n, quad, n_columns - i, x + i, ldx);                                        \
        UNROLL                                                                                                       \
        for (size_t v = 0; v < n; v++) {                                                                             \
            vec scale = LOAD_f16(group, v0 + v);                                                                     \
            UNROLL                                                                                                   \
            for (size_t r = 0; r < rows; r++)                                                                        \
                sums[r][v0 + v] = vec_fma(scale, s[r][v], sums[r][v0 + v]);                                          \
        }                                                                                                            \
    }                                                                                                                \
    INLINE const char *unit_##TYPE(const char *at, size_t k, const float *x, size_t ldx, size_t rows,                \
                                   vec sums[][VECS])                                                                 \
    {                                                                                                                \
        for (size_t i = 0, n; i < k; i += n, at += SCALES + (n + 3) / 4 * QUAD_##TYPE) {                             \
            n = k - i < PACK_GROUP ? k - i : PACK_GROUP;                                                             \
            EACH_PART(rows, part_##TYPE, at, n, x + i, ldx, sums);                                                   \
        }                                                                                                            \
        return at;                                                                                                   \
    }

DEFINE_UNIT_QUANTISED(int8)
DEFINE_UNIT_QUANTISED(int4)

/* What a row's elements are, and how many of them a unit of its columns takes. */
typedef float row_f32, row_f16, row_bf16, row_int8, row_int4;
#define STRIDE_f32(unit)  (unit)
#define STRIDE_f16(unit)  (unit)
#define STRIDE_bf16(unit) (unit)
#define STRIDE_int8(unit) (unit)
#define STRIDE_int4(unit) (unit)

DEFINE_PANEL(f32)
DEFINE_PANEL(f16)
DEFINE_PANEL(bf16)
DEFINE_PANEL(int8)
DEFINE_PANEL(int4)
