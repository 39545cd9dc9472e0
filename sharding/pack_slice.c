#include "sharding/pack_slice.h"

#include <stdlib.h>

/* --- scratch --- */

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static uint32_t widest_of_stack(const arch_stack *stack)
{
    return larger(larger(stack->d, stack->h * stack->dh), stack->f);
}

uint32_t shard_pack_widest(const arch *a)
{
    uint32_t widest = widest_of_stack(&a->decoder.stack);
    uint32_t width, hidden;
    arch_widest_encoder(a, &width, &hidden);
    widest = larger(widest, larger(width, hidden));
    if (!a->has_tower)
        return widest;
    return larger(larger(widest, widest_of_stack(&a->tower.stack)), 3 * a->tower.patch_size * a->tower.patch_size);
}

size_t shard_pack_scratch_bytes(uint32_t width)
{
    size_t groups = pack_n_panels(width); /* a group is as wide as a panel */
    return (size_t)width * (PACK_PANEL * sizeof(float) + sizeof(int8_t)) + groups * sizeof(uint16_t);
}

base_status shard_pack_scratch_init(shard_pack_scratch *scratch, uint32_t width, base_error *error)
{
    *scratch = (shard_pack_scratch){.rows = calloc((size_t)width + 1, PACK_PANEL * sizeof *scratch->rows),
                                    .scales = calloc(width / PACK_GROUP + 1, sizeof *scratch->scales),
                                    .codes = calloc((size_t)width + 1, sizeof *scratch->codes),
                                    .width = width};
    if (scratch->rows != NULL && scratch->scales != NULL && scratch->codes != NULL)
        return BASE_OK;
    shard_pack_scratch_release(scratch);
    return base_fail(error, BASE_ENOMEM, "out of memory for a panel of %u columns", width);
}

void shard_pack_scratch_release(shard_pack_scratch *scratch)
{
    free(scratch->rows);
    free(scratch->scales);
    free(scratch->codes);
    *scratch = (shard_pack_scratch){0};
}

/* --- matrices --- */

pack_matrix shard_pack_matrix(const arch *a, const shard_slice *slice, const shard_tensor *tensor,
                              const shard_recipe *recipe)
{
    return (pack_matrix){.type = shard_recipe_type(recipe, a, slice, tensor->type),
                         .n = shard_range_width(slice->rows),
                         .k = shard_range_width(slice->columns),
                         .unit = slice->unit};
}

static base_status check_ranges(const shard_slice *slice, const shard_tensor *tensor, const pack_matrix *matrix,
                                uint32_t first_panel, uint32_t n_panels, const shard_pack_scratch *scratch,
                                base_error *error)
{
    char name[SHARD_SLICE_NAME];
    shard_slice_name(slice, name);
    if (tensor->n_dims != 2 || slice->rows.end > tensor->shape[0] || slice->columns.end > tensor->shape[1])
        return base_fail(error, BASE_EFORMAT, "'%s': rows to %u and columns to %u are not in the checkpoint's tensor",
                         name, slice->rows.end, slice->columns.end);
    if (first_panel > pack_n_panels(matrix->n) || n_panels > pack_n_panels(matrix->n) - first_panel)
        return base_fail(error, BASE_EINVAL, "'%s' has %u panels; %u from %u were asked for", name,
                         pack_n_panels(matrix->n), n_panels, first_panel);
    if (matrix->k > scratch->width)
        return base_fail(error, BASE_EINVAL, "'%s' has %u columns; the scratch holds %u", name, matrix->k,
                         scratch->width);
    return BASE_OK;
}

/* Do the groups of the checkpoint fall together with ours, so that their codes can be kept? */
static bool keeps_codes(const shard_slice *slice, const shard_tensor *tensor, const pack_matrix *matrix)
{
    bool same = (tensor->type == SHARD_Q8_0 && matrix->type == PACK_INT8) ||
                (tensor->type == SHARD_Q4_0 && matrix->type == PACK_INT4);
    return same && !tensor->transposed && slice->columns.begin % PACK_GROUP == 0 && matrix->k % PACK_GROUP == 0 &&
           matrix->unit % PACK_GROUP == 0;
}

/* Files may hold the code -128, which our int8 has not. */
static bool codes_fit(pack_type type, const int8_t *q)
{
    if (type == PACK_INT4)
        return true;
    for (uint32_t i = 0; i < PACK_GROUP; i++)
        if (q[i] == INT8_MIN)
            return false;
    return true;
}

static void copy_row(const shard_slice *slice, const shard_tensor *tensor, const pack_matrix *panels, uint32_t row,
                     uint64_t from, shard_pack_scratch *scratch)
{
    shard_tensor_read_groups(tensor, from, slice->columns.begin, panels->k, scratch->scales, scratch->codes);
    for (uint32_t column = 0; column < panels->k; column += PACK_GROUP) {
        int8_t *q = scratch->codes + column;
        uint16_t scale = scratch->scales[column / PACK_GROUP];
        if (!codes_fit(panels->type, q)) {
            float values[PACK_GROUP];
            shard_tensor_read(tensor, from, slice->columns.begin + column, PACK_GROUP, values);
            scale = pack_group_quantise(panels->type, values, NULL, PACK_GROUP, q);
        }
        pack_group_set(panels, row, column, scale, q, PACK_GROUP);
    }
}

base_status shard_pack_slice(const shard_slice *slice, const shard_tensor *tensor, const shard_recipe *recipe,
                             pack_matrix *matrix, uint32_t first_panel, uint32_t n_panels, shard_pack_scratch *scratch,
                             base_error *error)
{
    base_status status = check_ranges(slice, tensor, matrix, first_panel, n_panels, scratch, error);
    if (status != BASE_OK)
        return status;
    size_t panel_bytes = pack_panel_bytes(matrix->type, matrix->k, matrix->unit);
    const float *importance = recipe->importance != NULL ? shard_importance_of(recipe->importance, slice) : NULL;
    bool copies = keeps_codes(slice, tensor, matrix);
    for (uint32_t panel = 0; panel < n_panels; panel++) {
        uint32_t first_row = (first_panel + panel) * PACK_PANEL, left = matrix->n - first_row;
        uint32_t n_rows = left < PACK_PANEL ? left : PACK_PANEL;
        pack_matrix one = {matrix->type, n_rows, matrix->k, matrix->unit, (char *)matrix->data + panel * panel_bytes};
        uint64_t from = (uint64_t)slice->rows.begin + first_row;
        if (copies && n_rows < PACK_PANEL) /* the rows past n */
            pack_panel_clear(&one, 0);
        for (uint32_t row = 0; row < n_rows; row++) {
            if (copies)
                copy_row(slice, tensor, &one, row, from + row, scratch);
            else
                shard_tensor_read(tensor, from + row, slice->columns.begin, one.k, scratch->rows + (size_t)row * one.k);
        }
        if (!copies)
            pack_panel_fill(&one, 0, scratch->rows, n_rows, importance);
    }
    return BASE_OK;
}

/* --- vectors --- */

void shard_read_vector(const arch *a, const shard_slice *slice, const shard_tensor *tensor, float *out)
{
    size_t n_columns = shard_range_width(slice->columns), n = n_columns * shard_range_width(slice->rows);
    for (size_t at = 0; at < n; at += n_columns)
        shard_tensor_read(tensor, slice->rows.begin + at / n_columns, slice->columns.begin, n_columns, out + at);
    if (arch_gain_plus_one(a, slice->part, slice->role))
        for (size_t i = 0; i < n; i++)
            out[i] += 1.0f;
}
