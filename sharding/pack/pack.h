/* pack.h - packed matrices: how weights lie in memory and in shard files, ready for the kernels.
 *
 * A matrix W [n][k] (n outputs, contraction over k) lies in panels of PACK_PANEL outputs; a panel's outputs sit in
 * vector lanes. Rows past n are zero (codes too).  Panels follow one another; panel p starts at p * pack_panel_bytes.
 * Integers and floats little-endian.
 *
 * Plain types (f32, f16, bf16): k columns of PACK_PANEL elements, column i at i * PACK_PANEL.
 *
 * Quantised types cut each row into units of `unit` columns and each unit into groups of PACK_GROUP columns (the last
 * group of a unit may be shorter).  A unit is the canonical group of a contraction that tensor parallelism splits (one
 * head, SHARD_MLP_GROUP columns), or the whole row, so a group never depends on the layout.  A group's columns lie in
 * quads of four neighbours, as the 8-bit dot product instructions want them (x86 vpdpbusd, Arm sdot); a short last quad
 * is filled up with zeros.  A panel is its groups in order, each scales   f16 [PACK_PANEL] int8:    ceil(g / 4) quads
 * of 128 bytes; byte 4 * lane + j is column j of the quad, q + 128    w = scale * q,  q in -127..127 int4:    ceil(g /
 * 4) quads of 64 bytes; byte 4 * b + j holds lane b low, lane b + 16 high, q + 8    w = scale * q,  q in -8..7 so int8
 * takes 8.5 bits a weight, int4 4.5.  Q8_0 and Q4_0 of GGUF have the same meaning and convert without loss. */
#ifndef PALMGROVE_PACK_H
#define PALMGROVE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACK_PANEL 32u
#define PACK_GROUP 32u

typedef enum pack_type { PACK_F32, PACK_F16, PACK_BF16, PACK_INT8, PACK_INT4, PACK_N_TYPES } pack_type;

/* A packed matrix; `data` is owned by whoever laid it out, on a cache line. */
typedef struct pack_matrix {
    pack_type type;
    uint32_t n, k;
    uint32_t unit; /* columns of a canonical group; k when the contraction is never split */
    void *data;
} pack_matrix;

/* "f32", "f16", "bf16", "int8", "int4"; static. */
const char *pack_type_name(pack_type type);
bool pack_type_find(const char *name, pack_type *out);
static inline bool pack_type_is_quantised(pack_type type)
{
    return type == PACK_INT8 || type == PACK_INT4;
}

/* Bytes of a panel and of a whole matrix; 0 when that does not fit a size_t. */
size_t pack_panel_bytes(pack_type type, uint32_t k, uint32_t unit);
size_t pack_bytes(pack_type type, uint32_t n, uint32_t k, uint32_t unit);
static inline uint32_t pack_n_panels(uint32_t n)
{
    return n / PACK_PANEL + (n % PACK_PANEL != 0);
}

/* Make every element of a panel zero. */
void pack_panel_clear(const pack_matrix *matrix, uint32_t panel);

/* Fill panel `panel` from its rows, f32 [n_rows][k], n_rows = PACK_PANEL or fewer at the end.  Plain types round to
 * nearest even; quantised ones choose each group's scale by pack_group_quantise.  `importance` [k] weighs the squared
 * error of each column (mean square of the activations that meet it), NULL: all alike. */
void pack_panel_fill(const pack_matrix *matrix, uint32_t panel, const float *rows, uint32_t n_rows,
                     const float *importance);

/* Set one group of one row as it is: `scale` in f16 bits, q [n] signed (int8 -127..127, int4 -8..7), column at a
 * group's start. */
void pack_group_set(const pack_matrix *matrix, uint32_t row, uint32_t column, uint16_t scale, const int8_t *q,
                    uint32_t n);

/* Read row `row` back as f32 [k]. */
void pack_row_get(const pack_matrix *matrix, uint32_t row, float *out);

/* The quantiser: the f16 scale and the codes q [n], n <= PACK_GROUP, for x [n], with the least squared error (weighted
 * by `importance` [n] unless NULL) among the scales it tries (quantise.c).  All zero x give scale 0.  Not finite x:
 * clipped to 0. */
uint16_t pack_group_quantise(pack_type type, const float *x, const float *importance, uint32_t n, int8_t *q);

#endif
