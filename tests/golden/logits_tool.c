/* logits_tool.c - the logits of a model after given tokens, for comparisons with references (tests/golden/families,
 * tests/conformance).
 *
 *     mpirun -np TP*PP logits_tool MODEL TOKENS OUT [--chunk N] [--every] [--tp N] [--pp N] [--weights TYPE] [--images
 * FILE] [--vectors FILE]
 *
 * TOKENS holds ids separated by white space; they are prefilled in chunks of N (all at once without --chunk; 1 is
 * decoding).  OUT gets f32 [rows][V]: a row for the last token of every chunk, or with --every one for each token.  For
 * --every each token is a slice of its own: keys are stored before attention, so slices of one sequence may follow one
 * another in a plan.
 * --images: raw pixels [image_size][image_size][3] of any number of images; -1 - k in TOKENS is row k of their vectors.
 * A chunk that would end inside an image goes to its end.  --vectors gets the images' vectors, f32 [images][rows][d],
 * from rank 0. The last stage's tensor rank 0 writes OUT. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "sharding/checkpoint.h"
#include "sharding/recipe.h"
#include "worker/kernels/kern.h"
#include "worker/model/model.h"
#include "worker/par/channels.h"

enum {
    MAX_TOKENS = 1 << 20,
    WHOLE_EVERY = 64
}; /* with --every a plan holds that many slices, or their logits would fill the memory */

typedef struct job {
    const char *model, *tokens_file, *out_file, *images_file, *vectors_file;
    uint32_t chunk, tp, pp;
    bool every;
    recipe_kind weights;

    int32_t *tokens;
    uint32_t n_tokens;
    base_buf pixels;
    uint32_t n_images, rows_per_image;
    FILE *out, *vectors;
    bool write_failed;
} job;

/* --- what is asked --- */

static bool read_count(const char *text, uint32_t *out)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    *out = (uint32_t)value;
    return end != text && *end == '\0' && value >= 1 && value <= MAX_TOKENS;
}

static bool read_option(job *j, int argc, char **argv, int *i)
{
    const char *name = argv[*i];
    if (strcmp(name, "--every") == 0) {
        j->every = true;
        return true;
    }
    if (++*i >= argc)
        return false;
    const char *value = argv[*i];
    if (strcmp(name, "--chunk") == 0)
        return read_count(value, &j->chunk);
    if (strcmp(name, "--tp") == 0)
        return read_count(value, &j->tp);
    if (strcmp(name, "--pp") == 0)
        return read_count(value, &j->pp);
    if (strcmp(name, "--images") == 0)
        return (j->images_file = value) != NULL;
    if (strcmp(name, "--vectors") == 0)
        return (j->vectors_file = value) != NULL;
    return strcmp(name, "--weights") == 0 && recipe_kind_find(value, &j->weights);
}

static bool read_command_line(job *j, int argc, char **argv)
{
    if (argc < 4)
        return false;
    *j = (job){.model = argv[1], .tokens_file = argv[2], .out_file = argv[3], .tp = 1, .pp = 1, .weights = RECIPE_AUTO};
    for (int i = 4; i < argc; i++)
        if (!read_option(j, argc, argv, &i))
            return false;
    return true;
}

static base_status read_tokens(job *j, base_error *error)
{
    FILE *file = fopen(j->tokens_file, "r");
    if (file == NULL)
        return base_fail(error, BASE_ENOTFOUND, "cannot open '%s'", j->tokens_file);
    j->tokens = malloc(MAX_TOKENS * sizeof *j->tokens);
    while (j->tokens != NULL && j->n_tokens < MAX_TOKENS && fscanf(file, "%d", &j->tokens[j->n_tokens]) == 1)
        j->n_tokens++;
    bool complete = feof(file) != 0;
    fclose(file);
    if (j->tokens == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for tokens");
    if (j->n_tokens == 0 || !complete)
        return base_fail(error, BASE_EFORMAT, "'%s' does not hold 1 to %d token ids", j->tokens_file, MAX_TOKENS);
    return BASE_OK;
}

static base_status read_images(job *j, const arch *a, base_error *error)
{
    char piece[65536];
    size_t bytes = 3u * (size_t)a->tower.image_size * a->tower.image_size;
    FILE *file = j->images_file != NULL ? fopen(j->images_file, "rb") : NULL;
    if (j->images_file == NULL)
        return BASE_OK;
    if (file == NULL || !a->has_tower)
        return base_fail(error, BASE_ENOTFOUND, "cannot open '%s', or the model has no tower", j->images_file);
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;)
        base_buf_put(&j->pixels, piece, n);
    fclose(file);
    j->n_images = (uint32_t)(j->pixels.size / bytes);
    j->rows_per_image = arch_tower_vectors(&a->tower);
    if (j->pixels.failed || j->pixels.size % bytes != 0)
        return base_fail(error, BASE_EFORMAT, "'%s' does not hold images of %zu bytes", j->images_file, bytes);
    return BASE_OK;
}

static base_status check_tokens(const job *j, const arch *a, base_error *error)
{
    int64_t least = -(int64_t)j->n_images * j->rows_per_image;
    for (uint32_t i = 0; i < j->n_tokens; i++)
        if (j->tokens[i] < least || j->tokens[i] >= (int64_t)a->decoder.vocab_size)
            return base_fail(error, BASE_EINVAL, "'%s': token %u is %d; the vocabulary has %u", j->tokens_file, i,
                             j->tokens[i], a->decoder.vocab_size);
    if (j->n_tokens > a->decoder.max_positions)
        return base_fail(error, BASE_EINVAL, "'%s' holds %u tokens; the model has %u positions", j->tokens_file,
                         j->n_tokens, a->decoder.max_positions);
    return BASE_OK;
}

/* --- the plans --- */

static void write_logits(void *context, const char *what, uint32_t layer, const float *values, size_t n_rows,
                         size_t n_columns)
{
    job *j = context;
    (void)layer;
    FILE *file = strcmp(what, "logits") == 0 ? j->out : strcmp(what, "image") == 0 ? j->vectors : NULL;
    if (file != NULL)
        j->write_failed |= fwrite(values, n_columns * sizeof *values, n_rows, file) != n_rows;
}

typedef struct plan_memory {
    link_plan plan;
    link_slice *slices;
    uint32_t *blocks;
    link_token *sampled;
    link_image *images;
} plan_memory;

static bool plan_take(plan_memory *p, uint32_t n_slices, uint32_t n_blocks, uint32_t n_images)
{
    p->images = calloc(n_images + 1u, sizeof *p->images);
    p->slices = calloc(n_slices, sizeof *p->slices);
    p->blocks = calloc((size_t)n_slices * n_blocks, sizeof *p->blocks);
    p->sampled = calloc(n_slices, sizeof *p->sampled);
    return p->slices != NULL && p->blocks != NULL && p->sampled != NULL && p->images != NULL;
}

static void plan_release(plan_memory *p)
{
    free(p->slices);
    free(p->blocks);
    free(p->sampled);
    free(p->images);
}

static void add_slice(link_plan *plan, uint32_t pos, uint32_t n)
{
    plan->slices[plan->n_slices++] = (link_slice){
        .pos = pos, .n_tokens = n, .first_token = plan->n_tokens, .first_block = plan->n_blocks, .n_sampled = 1};
    for (uint32_t b = 0; b * LINK_KV_BLOCK_TOKENS < pos + n; b++)
        plan->blocks[plan->n_blocks++] = b;
    plan->n_tokens += n;
}

/* Where a chunk that begins at `pos` ends: behind an image that it would cut. */
static uint32_t chunk_end(const job *j, uint32_t pos)
{
    uint32_t end = j->n_tokens - pos < j->chunk ? j->n_tokens : pos + j->chunk;
    while (end < j->n_tokens && j->tokens[end - 1] < 0 && j->tokens[end] == j->tokens[end - 1] - 1 &&
           (uint32_t)(-1 - j->tokens[end]) % j->rows_per_image != 0)
        end++;
    return end;
}

static void run_plans(job *j, model *m, plan_memory *p)
{
    uint64_t step = 0;
    uint32_t image_size = model_limits(m)->image_size;
    for (uint32_t i = 0; i < j->n_images; i++)
        p->images[i] = (link_image){
            .slot = i, .pixels = (const uint8_t *)j->pixels.data + 3u * (size_t)i * image_size * image_size};
    for (uint32_t pos = 0, n; pos < j->n_tokens; pos += n) {
        n = chunk_end(j, pos) - pos;
        p->plan = (link_plan){.step = ++step,
                              .slices = p->slices,
                              .tokens = j->tokens + pos,
                              .blocks = p->blocks,
                              .images = p->images,
                              .n_images = pos == 0 ? j->n_images : 0,
                              .image_size = image_size};
        if (j->every && j->n_images > 0) {
            add_slice(&p->plan, pos, n);
            p->slices[0].n_sampled = n;
        } else if (j->every)
            for (uint32_t i = 0; i < n; i++)
                add_slice(&p->plan, pos + i, 1);
        else
            add_slice(&p->plan, pos, n);
        link_result result = {.tokens = p->sampled};
        model_step(m, &p->plan, &result);
    }
}

/* --- putting it together --- */

/* Collective: stages exchange activations through buffers that every rank reserves. */
static base_status make_grid(const job *j, par_world *world, const shard_checkpoint *checkpoint, par_grid **grid,
                             base_error *error)
{
    base_status status = par_grid_create(world, j->tp, j->pp, grid, error);
    if (status == BASE_OK)
        status = par_grid_reserve(*grid, (j->chunk + j->rows_per_image) * ((size_t)checkpoint->a.decoder.stack.d + 1),
                                  64, 64, error);
    return status;
}

static base_status run_model(job *j, par_world *world, const shard_checkpoint *checkpoint, par_grid *grid,
                             base_error *error)
{
    uint32_t n_slices = j->every ? j->chunk : 1, n_blocks = j->n_tokens / LINK_KV_BLOCK_TOKENS + 1;
    shard_recipe recipe = {.kind = j->weights};
    model_options options = {.limits = {.max_seqs = n_slices,
                                        .max_positions = j->n_tokens,
                                        .max_step_tokens = j->chunk + j->rows_per_image,
                                        .n_kv_blocks = n_blocks,
                                        .n_image_slots = j->n_images},
                             .probe = write_logits,
                             .probe_context = j};
    par_place place = par_grid_place(grid);
    plan_memory p = {0};
    model *m = NULL;
    base_status status = model_create(checkpoint, &recipe, grid, &options, &m, error);
    if (status == BASE_OK && !plan_take(&p, n_slices, n_blocks, j->n_images))
        status = base_fail(error, BASE_ENOMEM, "out of memory for plans");
    if (status == BASE_OK && place.stage + 1 == place.pp && place.tp_rank == 0 &&
        (j->out = fopen(j->out_file, "wb")) == NULL)
        status = base_fail(error, BASE_EIO, "cannot create '%s'", j->out_file);
    bool wants_vectors = j->vectors_file != NULL && place.stage == 0 && place.tp_rank == 0;
    if (status == BASE_OK && wants_vectors && (j->vectors = fopen(j->vectors_file, "wb")) == NULL)
        status = base_fail(error, BASE_EIO, "cannot create '%s'", j->vectors_file);
    status = par_world_agree(world, status, error); /* nobody steps alone */
    if (status == BASE_OK)
        run_plans(j, m, &p);
    if ((j->out != NULL && fclose(j->out) != 0) || (j->vectors != NULL && fclose(j->vectors) != 0))
        j->write_failed = true;
    if (status == BASE_OK && j->write_failed)
        status = base_fail(error, BASE_EIO, "cannot write '%s'", j->out_file);
    plan_release(&p);
    model_destroy(&m);
    return par_world_agree(world, status, error);
}

static base_status run(job *j, par_world *world, base_error *error)
{
    shard_checkpoint *checkpoint = NULL;
    par_grid *grid = NULL;
    base_status status = kern_select("auto", error);
    if (status == BASE_OK)
        status = read_tokens(j, error);
    if (status == BASE_OK)
        status = shard_checkpoint_open(j->model, &checkpoint, error);
    if (status == BASE_OK)
        status = read_images(j, &checkpoint->a, error);
    if (status == BASE_OK)
        status = check_tokens(j, &checkpoint->a, error);
    if (status == BASE_OK && (j->chunk == 0 || j->chunk > j->n_tokens))
        j->chunk = j->every && j->n_images == 0 && j->n_tokens > WHOLE_EVERY ? WHOLE_EVERY : j->n_tokens;
    status = par_world_agree(world, status, error);
    if (status == BASE_OK)
        status = make_grid(j, world, checkpoint, &grid, error);
    if (status == BASE_OK)
        status = run_model(j, world, checkpoint, grid, error);
    par_grid_destroy(&grid);
    shard_checkpoint_close(&checkpoint);
    free(j->tokens);
    base_buf_release(&j->pixels);
    return status;
}

int main(int argc, char **argv)
{
    base_error error = {0};
    par_world *world = NULL;
    job j;
    if (par_world_open(&argc, &argv, &world, &error) != BASE_OK) {
        fprintf(stderr, "logits_tool: %s\n", error.text);
        return 2;
    }
    base_status status = BASE_EINVAL;
    bool asked = read_command_line(&j, argc, argv);
    if (!asked)
        base_error_set(&error, BASE_EINVAL,
                       "usage: logits_tool MODEL TOKENS OUT [--chunk N] [--every] [--tp N] [--pp N] [--weights TYPE] "
                       "[--images FILE] [--vectors FILE]");
    else
        status = run(&j, world, &error);
    if (status != BASE_OK && par_world_rank(world) == 0)
        fprintf(stderr, "logits_tool: %s\n", error.text);
    par_world_close(&world);
    return status == BASE_OK ? 0 : 1;
}
