#include "worker/model/weights.h"

#include <stdlib.h>

#include "worker/kernels/linear.h"

/* Where one slice of a tensor goes: rows and columns of the checkpoint's tensor into a packed matrix or a plain vector. */
typedef struct slice {
    arch_part part;
    arch_role role;
    uint32_t layer; /* in the whole model */
    shard_range rows, columns;
    kern_matrix *matrix; /* or */
    float **vector;      /* rows x columns floats */
} slice;

typedef base_status slice_visitor(void *context, const slice *s, base_error *error);

static shard_range whole(uint32_t n)
{
    return (shard_range){0, n};
}

/* A range of heads as a range of rows. */
static shard_range rows_of_heads(shard_range heads, uint32_t dh)
{
    return (shard_range){heads.begin * dh, heads.end * dh};
}

typedef struct walk {
    slice_visitor *visit;
    void *context;
    base_error *error;
    base_status status; /* the first failure; later slices are skipped */
} walk;

static void visit_matrix(walk *w, arch_part part, arch_role role, uint32_t layer, shard_range rows, shard_range columns,
                         kern_matrix *matrix)
{
    slice s = {part, role, layer, rows, columns, matrix, NULL};
    if (w->status == BASE_OK)
        w->status = w->visit(w->context, &s, w->error);
}

static void visit_vector(walk *w, arch_part part, arch_role role, uint32_t layer, shard_range rows, shard_range columns,
                         float **vector)
{
    slice s = {part, role, layer, rows, columns, NULL, vector};
    if (w->status == BASE_OK)
        w->status = w->visit(w->context, &s, w->error);
}

static void visit_layer(walk *w, arch_part part, uint32_t layer, const arch_stack *stack, const shard_stack_split *split,
                        model_layer *out)
{
    shard_range d = whole(stack->d), dh = whole(stack->dh), one = whole(1);
    shard_range q = rows_of_heads(split->heads, stack->dh), kv = rows_of_heads(split->kv_heads, stack->dh);

    visit_vector(w, part, ARCH_LAYER_NORM, layer, one, d, &out->norm);
    visit_matrix(w, part, ARCH_LAYER_Q, layer, q, d, &out->q);
    visit_matrix(w, part, ARCH_LAYER_K, layer, kv, d, &out->k);
    visit_matrix(w, part, ARCH_LAYER_V, layer, kv, d, &out->v);
    if (stack->qk_norm) {
        visit_vector(w, part, ARCH_LAYER_Q_NORM, layer, one, dh, &out->q_norm);
        visit_vector(w, part, ARCH_LAYER_K_NORM, layer, one, dh, &out->k_norm);
    }
    visit_matrix(w, part, ARCH_LAYER_O, layer, d, q, &out->o);
    if (stack->mlp == ARCH_MLP_SWIGLU)
        visit_matrix(w, part, ARCH_LAYER_GATE, layer, split->mlp, d, &out->gate);
    visit_matrix(w, part, ARCH_LAYER_UP, layer, split->mlp, d, &out->up);
    visit_matrix(w, part, ARCH_LAYER_DOWN, layer, d, split->mlp, &out->down);
    if (stack->mlp_bias) {
        visit_vector(w, part, ARCH_LAYER_UP_BIAS, layer, one, split->mlp, &out->up_bias);
        visit_vector(w, part, ARCH_LAYER_DOWN_BIAS, layer, one, d, &out->down_bias);
    }
}

static void visit_tower(walk *w, const arch *a, const shard_split *split, model_weights *out)
{
    const arch_tower *tower = &a->tower;
    shard_range d = whole(a->decoder.stack.d), width_v = whole(tower->stack.d), one = whole(1);
    shard_range pixels = whole(3 * tower->patch_size * tower->patch_size);

    visit_matrix(w, ARCH_TOWER, ARCH_PATCH, 0, width_v, pixels, &out->patch);
    visit_vector(w, ARCH_TOWER, ARCH_PATCH_BIAS, 0, one, width_v, &out->patch_bias);
    visit_vector(w, ARCH_TOWER, ARCH_POSITION, 0, whole(tower->n_patches), width_v, &out->position);
    for (uint32_t il = 0; il < tower->stack.n_layers; il++)
        visit_layer(w, ARCH_TOWER, il, &tower->stack, &split->tower, &out->tower[il]);
    visit_vector(w, ARCH_TOWER, ARCH_FINAL_NORM, 0, one, width_v, &out->tower_norm);
    visit_matrix(w, ARCH_TOWER, ARCH_PROJECTOR, 0, d, width_v, &out->projector);
    visit_vector(w, ARCH_TOWER, ARCH_PROJECTOR_BIAS, 0, one, d, &out->projector_bias);
}

/* Every slice of the rank, in the order of the data's way through the model. */
static base_status visit_all(model_weights *out, const arch *a, const shard_split *split, slice_visitor *visit,
                             void *context, base_error *error)
{
    walk w = {visit, context, error, BASE_OK};
    shard_range d = whole(a->decoder.stack.d);
    bool first = split->layers.begin == 0, last = split->layers.end == a->decoder.stack.n_layers;

    if (first && a->has_tower)
        visit_tower(&w, a, split, out);
    if (first || last)
        visit_matrix(&w, ARCH_DECODER, ARCH_EMBEDDING, 0, split->vocab, d, &out->embedding);
    for (uint32_t il = split->layers.begin; il < split->layers.end; il++)
        visit_layer(&w, ARCH_DECODER, il, &a->decoder.stack, &split->decoder, &out->layers[il - split->layers.begin]);
    if (last)
        visit_vector(&w, ARCH_DECODER, ARCH_FINAL_NORM, 0, whole(1), d, &out->final_norm);
    return w.status;
}

base_status model_weights_init(model_weights *w, const arch *a, const shard_split *split, base_error *error)
{
    *w = (model_weights){0};
    uint32_t n_tower = a->has_tower ? a->tower.stack.n_layers : 0;
    w->layers = calloc(shard_range_width(split->layers), sizeof *w->layers);
    w->tower = calloc(n_tower + 1u, sizeof *w->tower);
    if (w->layers == NULL || w->tower == NULL) {
        model_weights_release(w);
        return base_fail(error, BASE_ENOMEM,
                         "out of memory for the tables of %u layers", shard_range_width(split->layers) + n_tower);
    }
    return BASE_OK;
}

void model_weights_release(model_weights *w)
{
    free(w->layers);
    free(w->tower);
    *w = (model_weights){0};
}

/* --- counting and laying out --- */

typedef struct layout {
    const arch *a;
    const shard_source *source;
    model_arena *arena;
} layout;

static base_status find_tensor(const arch *a, const shard_source *source, const slice *s, shard_tensor *out, base_error *error)
{
    char name[128];
    if (!arch_tensor_name(a, s->part, s->role, s->layer, name, sizeof name))
        return base_fail(error, BASE_EINTERNAL, "family '%s' has no tensor for role %d", a->family, (int)s->role);
    return shard_source_find(source, name, out, error);
}

static base_status lay_out_slice(void *context, const slice *s, base_error *error)
{
    layout *l = context;
    size_t rows = shard_range_width(s->rows), columns = shard_range_width(s->columns);
    if (s->vector != NULL) {
        *s->vector = model_arena_take(l->arena, rows * columns, sizeof(float));
        return BASE_OK;
    }
    shard_tensor tensor;
    base_status status = find_tensor(l->a, l->source, s, &tensor, error);
    if (status != BASE_OK)
        return status;
    kern_matrix *m = s->matrix;
    m->type = tensor.type == SHARD_BF16 ? KERN_BF16 : KERN_F32;
    m->n = shard_range_width(s->rows);
    m->k = shard_range_width(s->columns);
    m->data = model_arena_take(l->arena, 1, kern_matrix_bytes(m->type, m->n, m->k));
    return BASE_OK;
}

base_status model_weights_layout(model_weights *w, const arch *a, const shard_split *split, const shard_source *source,
                                 model_arena *arena, base_error *error)
{
    layout l = {a, source, arena};
    return visit_all(w, a, split, lay_out_slice, &l, error);
}

/* --- loading --- */

typedef struct loading {
    const arch *a;
    const shard_source *source;
    float *row_f32; /* one row, as wide as the widest slice */
    uint16_t *row_bf16;
    uint64_t done, total; /* checkpoint bytes of this rank */
    model_progress *progress;
    void *progress_context;
} loading;

static size_t bytes_in_checkpoint(const slice *s, const shard_tensor *tensor)
{
    return (size_t)shard_range_width(s->rows) * shard_range_width(s->columns) * (tensor->type == SHARD_F32 ? 4 : 2);
}

static base_status count_slice(void *context, const slice *s, base_error *error)
{
    loading *l = context;
    shard_tensor tensor;
    base_status status = find_tensor(l->a, l->source, s, &tensor, error);
    if (status == BASE_OK)
        l->total += bytes_in_checkpoint(s, &tensor);
    return status;
}

static base_status load_slice(void *context, const slice *s, base_error *error)
{
    loading *l = context;
    shard_tensor tensor;
    base_status status = find_tensor(l->a, l->source, s, &tensor, error);
    if (status != BASE_OK)
        return status;

    uint32_t columns = shard_range_width(s->columns);
    for (uint32_t row = 0; row < shard_range_width(s->rows); row++) {
        uint64_t from = s->rows.begin + row;
        if (s->vector != NULL) {
            shard_tensor_read(&tensor, from, s->columns.begin, columns, *s->vector + (size_t)row * columns);
        } else if (s->matrix->type == KERN_BF16) {
            shard_tensor_read_bf16(&tensor, from, s->columns.begin, columns, l->row_bf16);
            kern_matrix_set_row_bf16(s->matrix, row, l->row_bf16);
        } else {
            shard_tensor_read(&tensor, from, s->columns.begin, columns, l->row_f32);
            kern_matrix_set_row_f32(s->matrix, row, l->row_f32);
        }
    }
    l->done += bytes_in_checkpoint(s, &tensor);
    if (l->progress != NULL)
        l->progress(l->progress_context, l->done, l->total);
    return BASE_OK;
}

/* The widest row any slice has. */
static size_t widest_row(const arch *a)
{
    const arch_stack *d = &a->decoder.stack, *t = &a->tower.stack;
    size_t pixels = 3u * (size_t)a->tower.patch_size * a->tower.patch_size;
    size_t sizes[] = {d->d, (size_t)d->h * d->dh, d->f, t->d, (size_t)t->h * t->dh, t->f, pixels};
    size_t widest = 0;
    for (size_t i = 0; i < (a->has_tower ? 7u : 3u); i++)
        widest = sizes[i] > widest ? sizes[i] : widest;
    return widest;
}

base_status model_weights_load(model_weights *w, const arch *a, const shard_split *split, const shard_source *source,
                               model_progress *progress, void *context, base_error *error)
{
    size_t widest = widest_row(a);
    loading l = {.a = a, .source = source, .progress = progress, .progress_context = context};
    l.row_f32 = calloc(widest, sizeof *l.row_f32);
    l.row_bf16 = calloc(widest, sizeof *l.row_bf16);
    base_status status;
    if (l.row_f32 == NULL || l.row_bf16 == NULL)
        status = base_fail(error, BASE_ENOMEM, "out of memory for a row of %zu weights", widest);
    else
        status = visit_all(w, a, split, count_slice, &l, error);
    if (status == BASE_OK)
        status = visit_all(w, a, split, load_slice, &l, error);
    free(l.row_f32);
    free(l.row_bf16);
    return status;
}
