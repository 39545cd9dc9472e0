#include "sharding/pack/pack.h"

#include <string.h>

#include "proto/base/size.h"
#include "sharding/pack/half.h"

static const char *const type_names[PACK_N_TYPES] = {"f32", "f16", "bf16", "int8", "int4"};

const char *pack_type_name(pack_type type)
{
    return type_names[type];
}

bool pack_type_find(const char *name, pack_type *out)
{
    for (int type = 0; type < PACK_N_TYPES; type++)
        if (strcmp(type_names[type], name) == 0) {
            *out = (pack_type)type;
            return true;
        }
    return false;
}

#define SCALES_BYTES (PACK_PANEL * sizeof(uint16_t)) /* of one group of a panel */

/* Bytes of one column of a panel of a plain type. */
static size_t column_bytes(pack_type type)
{
    return PACK_PANEL * (type == PACK_F32 ? sizeof(float) : sizeof(uint16_t));
}

/* Bytes of a quad of a quantised type: four columns of a panel. */
static size_t quad_bytes(pack_type type)
{
    return type == PACK_INT8 ? 4 * PACK_PANEL : 2 * PACK_PANEL;
}

/* Bytes of the first `columns` columns of a unit of a quantised type; groups hold whole quads, so only the last quad
 * can be short. */
static size_t unit_bytes(pack_type type, uint32_t columns)
{
    return pack_n_panels(columns) * SCALES_BYTES +
           (columns / 4 + (columns % 4 != 0)) * quad_bytes(type); /* a group is as wide as a panel */
}

/* Where in a panel a column begins; in a quantised one the column starts a group, or ends the row, and its group begins
 * there. */
static size_t column_offset(pack_type type, uint32_t column, uint32_t unit)
{
    if (!pack_type_is_quantised(type))
        return column * column_bytes(type);
    return column / unit * unit_bytes(type, unit) + unit_bytes(type, column % unit);
}

size_t pack_panel_bytes(pack_type type, uint32_t k, uint32_t unit)
{
    return k == 0 ? 0 : column_offset(type, k, unit);
}

size_t pack_bytes(pack_type type, uint32_t n, uint32_t k, uint32_t unit)
{
    size_t bytes;
    return base_size_mul(pack_n_panels(n), pack_panel_bytes(type, k, unit), &bytes) ? bytes : 0;
}

/* Columns of the group that begins at `column`. */
static uint32_t group_width(uint32_t column, uint32_t k, uint32_t unit)
{
    uint32_t left_in_unit = unit - column % unit, left = k - column;
    uint32_t width = left_in_unit < PACK_GROUP ? left_in_unit : PACK_GROUP;
    return width < left ? width : left;
}

static char *panel_of(const pack_matrix *matrix, uint32_t panel)
{
    return (char *)matrix->data + panel * pack_panel_bytes(matrix->type, matrix->k, matrix->unit);
}

/* --- plain types --- */

static void fill_plain(pack_type type, char *panel, uint32_t k, const float *rows, uint32_t n_rows)
{
    uint16_t *halves = (uint16_t *)(void *)panel;
    float *floats = (float *)(void *)panel;
    for (uint32_t row = 0; row < n_rows; row++, rows += k)
        for (uint32_t i = 0; i < k; i++) {
            size_t at = (size_t)i * PACK_PANEL + row;
            if (type == PACK_F32)
                floats[at] = rows[i];
            else
                halves[at] = type == PACK_F16 ? half_to_f16(rows[i]) : half_to_bf16(rows[i]);
        }
}

static float plain_element(pack_type type, const char *panel, uint32_t column, uint32_t lane)
{
    size_t at = (size_t)column * PACK_PANEL + lane;
    if (type == PACK_F32)
        return ((const float *)(const void *)panel)[at];
    uint16_t bits = ((const uint16_t *)(const void *)panel)[at];
    return type == PACK_F16 ? half_from_f16(bits) : half_from_bf16(bits);
}

/* --- quantised types --- */

/* What is added to the codes in memory. */
static int bias(pack_type type)
{
    return type == PACK_INT8 ? 128 : 8;
}

/* Code i of a lane, in the group's codes. */
static size_t code_offset(pack_type type, uint32_t lane, uint32_t i)
{
    uint32_t place = type == PACK_INT8 ? lane : lane % (PACK_PANEL / 2);
    return i / 4 * quad_bytes(type) + 4 * place + i % 4;
}

/* One lane's scale and codes, the last quad filled up with zeros; `group` points at the group's scales. */
static void set_group(pack_type type, char *group, uint32_t lane, uint16_t scale, const int8_t *q, uint32_t n)
{
    memcpy(group + lane * sizeof scale, &scale, sizeof scale);
    uint8_t *codes = (uint8_t *)group + SCALES_BYTES;
    for (uint32_t i = 0; i < (n + 3) / 4 * 4; i++) {
        uint8_t *at = codes + code_offset(type, lane, i), code = (uint8_t)((i < n ? q[i] : 0) + bias(type));
        if (type == PACK_INT8)
            *at = code;
        else
            *at = lane < PACK_PANEL / 2 ? (uint8_t)((*at & 0xf0u) | code)
                                        : (uint8_t)((*at & 0x0fu) | (unsigned)code << 4);
    }
}

static void get_group(pack_type type, const char *group, uint32_t lane, float *out, uint32_t n)
{
    uint16_t bits;
    memcpy(&bits, group + lane * sizeof bits, sizeof bits);
    float scale = half_from_f16(bits);
    const uint8_t *codes = (const uint8_t *)group + SCALES_BYTES;
    for (uint32_t i = 0; i < n; i++) {
        int code = codes[code_offset(type, lane, i)];
        if (type == PACK_INT4)
            code = lane < PACK_PANEL / 2 ? code & 0x0f : code >> 4;
        out[i] = scale * (float)(code - bias(type));
    }
}

static void fill_quantised(const pack_matrix *m, char *panel, const float *rows, uint32_t n_rows,
                           const float *importance)
{
    for (uint32_t column = 0; column < m->k;) {
        uint32_t n = group_width(column, m->k, m->unit);
        char *group = panel + column_offset(m->type, column, m->unit);
        for (uint32_t row = 0; row < n_rows; row++) {
            int8_t q[PACK_GROUP];
            uint16_t scale = pack_group_quantise(m->type, rows + (size_t)row * m->k + column,
                                                 importance != NULL ? importance + column : NULL, n, q);
            set_group(m->type, group, row, scale, q, n);
        }
        column += n;
    }
}

/* --- the outside --- */

void pack_panel_clear(const pack_matrix *matrix, uint32_t panel)
{
    char *at = panel_of(matrix, panel);
    memset(at, 0, pack_panel_bytes(matrix->type, matrix->k, matrix->unit));
    if (!pack_type_is_quantised(matrix->type))
        return;
    int zeros = matrix->type == PACK_INT8 ? bias(PACK_INT8) : bias(PACK_INT4) * 0x11;
    for (uint32_t column = 0, n; column < matrix->k; column += n) {
        n = group_width(column, matrix->k, matrix->unit);
        char *group = at + column_offset(matrix->type, column, matrix->unit);
        memset(group + SCALES_BYTES, zeros, (n + 3) / 4 * quad_bytes(matrix->type));
    }
}

void pack_panel_fill(const pack_matrix *matrix, uint32_t panel, const float *rows, uint32_t n_rows,
                     const float *importance)
{
    char *at = panel_of(matrix, panel);
    if (n_rows < PACK_PANEL) /* the rows past n stay zero */
        pack_panel_clear(matrix, panel);
    if (pack_type_is_quantised(matrix->type))
        fill_quantised(matrix, at, rows, n_rows, importance);
    else
        fill_plain(matrix->type, at, matrix->k, rows, n_rows);
}

void pack_group_set(const pack_matrix *matrix, uint32_t row, uint32_t column, uint16_t scale, const int8_t *q,
                    uint32_t n)
{
    char *group = panel_of(matrix, row / PACK_PANEL) + column_offset(matrix->type, column, matrix->unit);
    set_group(matrix->type, group, row % PACK_PANEL, scale, q, n);
}

void pack_row_get(const pack_matrix *matrix, uint32_t row, float *out)
{
    const char *panel = panel_of(matrix, row / PACK_PANEL);
    uint32_t lane = row % PACK_PANEL;
    if (!pack_type_is_quantised(matrix->type)) {
        for (uint32_t i = 0; i < matrix->k; i++)
            out[i] = plain_element(matrix->type, panel, i, lane);
        return;
    }
    for (uint32_t column = 0; column < matrix->k;) {
        uint32_t n = group_width(column, matrix->k, matrix->unit);
        get_group(matrix->type, panel + column_offset(matrix->type, column, matrix->unit), lane, out + column, n);
        column += n;
    }
}
