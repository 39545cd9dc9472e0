/* weights.c - which field each slice fills, where it lies, and packing it from the checkpoint. */
#include "worker/model/weights.h"

#include <omp.h>
#include <stdlib.h>

#include "sharding/pack_slice.h"
#include "sharding/slices.h"

base_status model_weights_init(model_weights *w, const arch *a, const shard_split *split, base_error *error)
{
    *w = (model_weights){0};
    uint32_t n_tower = a->has_tower ? a->tower.stack.n_layers : 0, n = shard_range_width(split->layers);
    w->layers = calloc(n, sizeof *w->layers);
    w->tower = calloc(n_tower + 1u, sizeof *w->tower);
    if (w->layers == NULL || w->tower == NULL) {
        model_weights_release(w);
        return base_fail(error, BASE_ENOMEM, "out of memory for the tables of %u layers", n + n_tower);
    }
    for (uint32_t il = 0; il < n; il++)
        w->layers[il].is_local = arch_layer_is_local(&a->decoder.stack, split->layers.begin + il);
    return BASE_OK;
}

void model_weights_release(model_weights *w)
{
    free(w->layers);
    free(w->tower);
    *w = (model_weights){0};
}

/* --- which field a slice fills --- */

typedef struct field {
    pack_matrix *matrix; /* or */
    float **vector;
} field;

static field layer_field(model_layer *layer, arch_role role)
{
    switch (role) {
    case ARCH_LAYER_NORM:
        return (field){.vector = &layer->norm.gain};
    case ARCH_LAYER_NORM_BIAS:
        return (field){.vector = &layer->norm.bias};
    case ARCH_LAYER_Q:
        return (field){.matrix = &layer->q};
    case ARCH_LAYER_K:
        return (field){.matrix = &layer->k};
    case ARCH_LAYER_V:
        return (field){.matrix = &layer->v};
    case ARCH_LAYER_Q_BIAS:
        return (field){.vector = &layer->q_bias};
    case ARCH_LAYER_K_BIAS:
        return (field){.vector = &layer->k_bias};
    case ARCH_LAYER_V_BIAS:
        return (field){.vector = &layer->v_bias};
    case ARCH_LAYER_Q_NORM:
        return (field){.vector = &layer->q_norm};
    case ARCH_LAYER_K_NORM:
        return (field){.vector = &layer->k_norm};
    case ARCH_LAYER_O:
        return (field){.matrix = &layer->o};
    case ARCH_LAYER_O_BIAS:
        return (field){.vector = &layer->o_bias};
    case ARCH_LAYER_POST_ATTN_NORM:
        return (field){.vector = &layer->post_attn_norm};
    case ARCH_LAYER_MLP_NORM:
        return (field){.vector = &layer->mlp_norm.gain};
    case ARCH_LAYER_MLP_NORM_BIAS:
        return (field){.vector = &layer->mlp_norm.bias};
    case ARCH_LAYER_GATE:
        return (field){.matrix = &layer->gate};
    case ARCH_LAYER_UP:
        return (field){.matrix = &layer->up};
    case ARCH_LAYER_UP_BIAS:
        return (field){.vector = &layer->up_bias};
    case ARCH_LAYER_DOWN:
        return (field){.matrix = &layer->down};
    case ARCH_LAYER_DOWN_BIAS:
        return (field){.vector = &layer->down_bias};
    case ARCH_LAYER_POST_MLP_NORM:
        return (field){.vector = &layer->post_mlp_norm};
    default:
        return (field){0};
    }
}

static field tower_field(model_weights *w, arch_role role)
{
    switch (role) {
    case ARCH_PATCH:
        return (field){.matrix = &w->patch};
    case ARCH_PATCH_BIAS:
        return (field){.vector = &w->patch_bias};
    case ARCH_CLASS:
        return (field){.vector = &w->class_token};
    case ARCH_POSITION:
        return (field){.vector = &w->position};
    case ARCH_PRE_NORM:
        return (field){.vector = &w->pre_norm.gain};
    case ARCH_PRE_NORM_BIAS:
        return (field){.vector = &w->pre_norm.bias};
    case ARCH_FINAL_NORM:
        return (field){.vector = &w->tower_norm.gain};
    case ARCH_FINAL_NORM_BIAS:
        return (field){.vector = &w->tower_norm.bias};
    case ARCH_PROJECTOR_NORM:
        return (field){.vector = &w->projector_norm};
    case ARCH_PROJECTOR:
        return (field){.matrix = &w->projector};
    case ARCH_PROJECTOR_BIAS:
        return (field){.vector = &w->projector_bias};
    case ARCH_PROJECTOR_2:
        return (field){.matrix = &w->projector_2};
    case ARCH_PROJECTOR_2_BIAS:
        return (field){.vector = &w->projector_2_bias};
    default:
        return (field){0};
    }
}

static field encoder_field(model_encoder *encoder, arch_role role)
{
    switch (role) {
    case ARCH_ENCODER_IN:
        return (field){.matrix = &encoder->in};
    case ARCH_ENCODER_IN_BIAS:
        return (field){.vector = &encoder->in_bias};
    case ARCH_ENCODER_OUT:
        return (field){.matrix = &encoder->out};
    case ARCH_ENCODER_OUT_BIAS:
        return (field){.vector = &encoder->out_bias};
    default:
        return (field){0};
    }
}

static field decoder_field(model_weights *w, arch_role role)
{
    switch (role) {
    case ARCH_EMBEDDING:
        return (field){.matrix = &w->embedding};
    case ARCH_OUTPUT:
        return (field){.matrix = &w->output};
    case ARCH_ROPE_FREQUENCIES:
        return (field){.vector = &w->rope_divisors};
    case ARCH_FINAL_NORM:
        return (field){.vector = &w->final_norm};
    default:
        return (field){0};
    }
}

static base_status field_of(model_weights *w, const shard_split *split, const shard_slice *s, field *out,
                            base_error *error)
{
    bool is_tower = s->part == ARCH_TOWER;
    if (s->part >= ARCH_ENCODERS)
        *out = encoder_field(&w->encoders[s->part - ARCH_ENCODERS], s->role);
    else if (arch_role_is_layer(s->role))
        *out = layer_field(is_tower ? &w->tower[s->layer] : &w->layers[s->layer - split->layers.begin], s->role);
    else
        *out = is_tower ? tower_field(w, s->role) : decoder_field(w, s->role);
    if (s->is_matrix ? out->matrix != NULL : out->vector != NULL)
        return BASE_OK;
    return base_fail(error, BASE_EINTERNAL, "no field for role %d of part %d", (int)s->role, (int)s->part);
}

static base_status find_tensor(const model_origin *from, const shard_slice *s, shard_tensor *out, base_error *error)
{
    return shard_source_find_role(from->checkpoint->source, &from->checkpoint->a, s->part, s->role, s->layer, out,
                                  error);
}

/* --- counting and laying out --- */

typedef struct layout {
    model_weights *weights;
    const model_origin *from;
    model_arena *arena;
} layout;

static base_status lay_out_matrix(const layout *l, const shard_slice *s, pack_matrix *m, base_error *error)
{
    shard_tensor tensor;
    base_status status = find_tensor(l->from, s, &tensor, error);
    if (status != BASE_OK)
        return status;
    *m = shard_pack_matrix(&l->from->checkpoint->a, s, &tensor, l->from->recipe);
    m->data = model_arena_alloc(l->arena, 1, pack_bytes(m->type, m->n, m->k, m->unit));
    return BASE_OK;
}

static base_status point_into_file(const layout *l, const shard_slice *s, const field *f, base_error *error)
{
    if (s->is_matrix)
        return shard_rank_file_matrix(l->from->file, s, f->matrix, error);
    return shard_rank_file_vector(l->from->file, s, f->vector, error);
}

static base_status lay_out_slice(void *context, const shard_slice *s, base_error *error)
{
    const layout *l = context;
    field f;
    base_status status = field_of(l->weights, l->from->split, s, &f, error);
    if (status != BASE_OK)
        return status;
    if (l->from->file != NULL)
        return point_into_file(l, s, &f, error);
    if (s->is_matrix)
        return lay_out_matrix(l, s, f.matrix, error);
    *f.vector = model_arena_alloc(l->arena, shard_range_width(s->rows), shard_range_width(s->columns) * sizeof(float));
    return BASE_OK;
}

base_status model_weights_layout(model_weights *w, const model_origin *from, model_arena *arena, base_error *error)
{
    layout l = {w, from, arena};
    return shard_slices_visit(&from->checkpoint->a, from->split, lay_out_slice, &l, error);
}

/* --- loading --- */

/* Panels that a thread packs at a time. */
#define PANEL_CHUNK 4u

typedef struct loading {
    model_weights *weights;
    const model_origin *from;
    uint64_t done, total;          /* weights of this rank */
    shard_pack_scratch *scratches; /* [n_threads] as wide as the widest matrix */
    int n_threads;
    model_progress *progress;
    void *progress_context;
} loading;

static uint64_t elements_of(const shard_slice *s)
{
    return (uint64_t)shard_range_width(s->rows) * shard_range_width(s->columns);
}

static base_status count_slice(void *context, const shard_slice *s, base_error *error)
{
    (void)error;
    ((loading *)context)->total += elements_of(s);
    return BASE_OK;
}

/* One thread's share of a matrix. */
static base_status pack_share(const loading *l, const shard_slice *s, const shard_tensor *tensor,
                              const pack_matrix *matrix, base_error *error)
{
    uint32_t n_panels = pack_n_panels(matrix->n);
    size_t panel_bytes = pack_panel_bytes(matrix->type, matrix->k, matrix->unit);
    shard_pack_scratch *scratch = &l->scratches[omp_get_thread_num()];
    base_status status = BASE_OK;
#pragma omp for schedule(dynamic)
    for (uint32_t first = 0; first < n_panels; first += PANEL_CHUNK) {
        uint32_t n = n_panels - first < PANEL_CHUNK ? n_panels - first : PANEL_CHUNK;
        pack_matrix part = *matrix;
        part.data = (char *)matrix->data + first * panel_bytes;
        if (status == BASE_OK)
            status = shard_pack_slice(s, tensor, l->from->recipe, &part, first, n, scratch, error);
    }
    return status;
}

static base_status pack_matrix_slice(const loading *l, const shard_slice *s, const shard_tensor *tensor,
                                     const pack_matrix *matrix, base_error *error)
{
    base_status status = BASE_OK;
    base_error first_error = {0};
#pragma omp parallel num_threads(l->n_threads)
    {
        base_error own = {0};
        base_status mine = pack_share(l, s, tensor, matrix, &own);
#pragma omp critical(model_weights_status)
        if (mine != BASE_OK && status == BASE_OK) {
            status = mine;
            first_error = own;
        }
    }
    return status == BASE_OK ? BASE_OK : base_fail(error, status, "%s", first_error.text);
}

static base_status load_slice(void *context, const shard_slice *s, base_error *error)
{
    loading *l = context;
    shard_tensor tensor;
    field f;
    base_status status = find_tensor(l->from, s, &tensor, error);
    if (status == BASE_OK)
        status = field_of(l->weights, l->from->split, s, &f, error);
    if (status != BASE_OK)
        return status;
    if (s->is_matrix)
        status = pack_matrix_slice(l, s, &tensor, f.matrix, error);
    else
        shard_read_vector(&l->from->checkpoint->a, s, &tensor, *f.vector);
    l->done += elements_of(s);
    if (l->progress != NULL)
        l->progress(l->progress_context, l->done, l->total);
    return status;
}

static base_status allocate_scratches(loading *l, base_error *error)
{
    base_status status = BASE_OK;
    l->n_threads = omp_get_max_threads();
    l->scratches = calloc((size_t)l->n_threads, sizeof *l->scratches);
    if (l->scratches == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory to pack weights on %d threads", l->n_threads);
    for (int i = 0; i < l->n_threads && status == BASE_OK; i++)
        status = shard_pack_scratch_init(&l->scratches[i], shard_pack_widest(&l->from->checkpoint->a), error);
    return status;
}

static void release_scratches(loading *l)
{
    for (int i = 0; l->scratches != NULL && i < l->n_threads; i++)
        shard_pack_scratch_release(&l->scratches[i]);
    free(l->scratches);
}

base_status model_weights_load(model_weights *w, const model_origin *from, model_progress *progress, void *context,
                               base_error *error)
{
    if (from->file != NULL)
        return shard_rank_file_load(from->file, progress, context, error);
    loading l = {.weights = w, .from = from, .progress = progress, .progress_context = context};
    base_status status = allocate_scratches(&l, error);
    if (status == BASE_OK)
        status = shard_slices_visit(&from->checkpoint->a, from->split, count_slice, &l, error);
    if (status == BASE_OK)
        status = shard_slices_visit(&from->checkpoint->a, from->split, load_slice, &l, error);
    release_scratches(&l);
    return status;
}
