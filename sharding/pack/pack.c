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

/* Bytes of one column of a panel: PACK_PANEL elements. */
static size_t column_bytes(pack_type type)
{
    static const size_t bytes[PACK_N_TYPES] = {4 * PACK_PANEL, 2 * PACK_PANEL, 2 * PACK_PANEL, PACK_PANEL, PACK_PANEL / 2};
    return bytes[type];
}

#define SCALES_BYTES (PACK_PANEL * sizeof(uint16_t)) /* of one group of a panel */

/* Groups that begin before column `column`, which starts a group or ends the row. */
static size_t groups_before(uint32_t column, uint32_t unit)
{
    return (size_t)(column / unit) * pack_n_panels(unit) + pack_n_panels(column % unit);
}

/* Where in a panel a column begins; in a quantised one, its group's scales when it is the group's first. */
static size_t column_offset(pack_type type, uint32_t column, uint32_t unit)
{
    size_t scales = pack_type_is_quantised(type) ? groups_before(column, unit) * SCALES_BYTES : 0;
    return column * column_bytes(type) + scales;
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

/* One lane's scale and codes; `group` points at the group's scales. */
static void set_group(pack_type type, char *group, uint32_t lane, uint16_t scale, const int8_t *q, uint32_t n)
{
    memcpy(group + lane * sizeof scale, &scale, sizeof scale);
    uint8_t *codes = (uint8_t *)group + SCALES_BYTES;
    for (uint32_t i = 0; i < n; i++) {
        if (type == PACK_INT8) {
            codes[i * PACK_PANEL + lane] = (uint8_t)q[i];
            continue;
        }
        uint8_t *pair = codes + i * (PACK_PANEL / 2) + lane % (PACK_PANEL / 2);
        uint8_t code = (uint8_t)(q[i] + 8);
        *pair = lane < PACK_PANEL / 2 ? (uint8_t)((*pair & 0xf0u) | code) : (uint8_t)((*pair & 0x0fu) | (unsigned)code << 4);
    }
}

static void get_group(pack_type type, const char *group, uint32_t lane, float *out, uint32_t n)
{
    uint16_t bits;
    memcpy(&bits, group + lane * sizeof bits, sizeof bits);
    float scale = half_from_f16(bits);
    const uint8_t *codes = (const uint8_t *)group + SCALES_BYTES;
    for (uint32_t i = 0; i < n; i++) {
        int code;
        if (type == PACK_INT8) {
            code = (int8_t)codes[i * PACK_PANEL + lane];
        } else {
            uint8_t pair = codes[i * (PACK_PANEL / 2) + lane % (PACK_PANEL / 2)];
            code = (lane < PACK_PANEL / 2 ? pair & 0x0f : pair >> 4) - 8;
        }
        out[i] = scale * (float)code;
    }
}

static void fill_quantised(const pack_matrix *m, char *panel, const float *rows, uint32_t n_rows, const float *importance)
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

void pack_panel_fill(const pack_matrix *matrix, uint32_t panel, const float *rows, uint32_t n_rows, const float *importance)
{
    char *at = panel_of(matrix, panel);
    if (n_rows < PACK_PANEL) /* zero scales and elements: the rows past n stay zero */
        memset(at, 0, pack_panel_bytes(matrix->type, matrix->k, matrix->unit));
    if (pack_type_is_quantised(matrix->type))
        fill_quantised(matrix, at, rows, n_rows, importance);
    else
        fill_plain(matrix->type, at, matrix->k, rows, n_rows);
}

void pack_group_set(const pack_matrix *matrix, uint32_t row, uint32_t column, uint16_t scale, const int8_t *q, uint32_t n)
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
