/* test_palm_e.c - the engine against PyTorch: activations of every layer, image vectors and logits of one prompt (text,
 * image, vectors, text).
 *
 *     mpirun -np 1 golden_palm_e MODEL_DIR GOLDEN.safetensors
 *
 * Goldens are f32 computations on the same bf16 weights; tests/golden/palm_e/make_goldens.py makes them and tells which
 * rows are kept. One rank is enough: other layouts give the same bits (tests/mpi/test_model.c).
 *
 * Tolerance, fixed before the first comparison: both sides round f32 sums of at most some thousand products in
 * different orders, about 1e-6 of the largest element per layer; over a dozen layers, norms and a softmax that may
 * magnify, 2e-4 of the largest element of the tensor leaves room and still fails on any wrong formula. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/link/position.h"
#include "sharding/model_file.h"
#include "sharding/formats/safetensors.h"
#include "worker/kernels/kern.h"
#include "worker/model/model.h"

#define GOLDEN_TOLERANCE 2e-4
enum { MAX_VECTORS = 16, MAX_POSITIONS = 1024, MAX_KEPT = 64, MAX_BLOCKS = MAX_POSITIONS / LINK_KV_BLOCK_TOKENS };

#define VECTOR INT32_MIN /* a place for the next vector */

typedef struct golden {
    base_buf file;
    safetensors_entry *entries;
    size_t n_entries;
} golden;

typedef struct comparison {
    const golden *g;
    uint32_t kept[MAX_KEPT], n_kept; /* positions of the prompt whose decoder rows are kept */
    int n_compared, n_failed;
} comparison;

static const shard_tensor *find(const golden *g, const char *name)
{
    for (size_t i = 0; i < g->n_entries; i++)
        if (strcmp(g->entries[i].name, name) == 0)
            return &g->entries[i].tensor;
    return NULL;
}

static int32_t integer(const shard_tensor *t, uint64_t i)
{
    int32_t value;
    memcpy(&value, (const char *)t->data + i * sizeof value, sizeof value);
    return value;
}

/* The row of the full matrix that is row `kept` of the golden one. */
static size_t full_row(const comparison *c, const char *what, size_t kept, size_t n_kept, size_t n_rows)
{
    if (strcmp(what, "decoder") == 0)
        return c->kept[kept];
    if (n_kept < n_rows && find(c->g, "decoder_positions") == NULL)
        return n_rows - n_kept + kept; /* the last rows */
    return kept * (n_rows / n_kept);   /* every n-th row, or all */
}

static void compare(void *context, const char *what, uint32_t layer, const float *values, size_t n_rows,
                    size_t n_columns)
{
    comparison *c = context;
    char name[64];
    if (strcmp(what, "image") == 0)
        snprintf(name, sizeof name, "projector");
    else if (strcmp(what, "logits") == 0)
        snprintf(name, sizeof name, "logits");
    else
        snprintf(name, sizeof name, "%s.%u", what, layer);
    const shard_tensor *t = find(c->g, name);
    if (t == NULL)
        return;

    double largest = 0.0, worst = 0.0;
    float *expected = malloc(n_columns * sizeof *expected);
    bool shaped = expected != NULL && t->n_dims == 2 && t->shape[1] == n_columns && t->shape[0] <= n_rows;
    for (size_t r = 0; shaped && r < t->shape[0]; r++) {
        const float *row = values + full_row(c, what, r, t->shape[0], n_rows) * n_columns;
        shard_tensor_read(t, r, 0, n_columns, expected);
        for (size_t i = 0; i < n_columns; i++) {
            double difference = fabs((double)row[i] - (double)expected[i]);
            largest = fmax(largest, fabs((double)expected[i]));
            worst = !(difference <= worst) ? difference : worst; /* keeps a NaN */
        }
    }
    free(expected);
    bool holds = shaped && worst <= GOLDEN_TOLERANCE * largest;
    printf("%-12s %zu x %zu  largest %.4g, difference %.2e of it: %s\n", name, n_rows, n_columns, largest,
           worst / largest, holds ? "ok" : "NOT OK");
    c->n_compared++;
    c->n_failed += !holds;
}

/* The prompt as one plan: slices end at the kept positions, so that each of them gives logits. */
typedef struct prompt {
    link_plan plan;
    link_slice slices[MAX_KEPT + 1];
    int32_t tokens[MAX_POSITIONS];
    uint32_t blocks[(MAX_KEPT + 1) * MAX_BLOCKS];
    link_image image;
    link_vector vectors[MAX_VECTORS];
    uint8_t *pixels;
} prompt;

static void add_slice(prompt *p, uint32_t begin, uint32_t end, uint32_t n_sampled)
{
    p->slices[p->plan.n_slices++] = (link_slice){.pos = begin,
                                                 .n_tokens = end - begin,
                                                 .first_token = begin,
                                                 .first_block = p->plan.n_blocks,
                                                 .n_sampled = n_sampled};
    for (uint32_t b = 0; b * LINK_KV_BLOCK_TOKENS < end; b++)
        p->blocks[p->plan.n_blocks++] = b;
}

/* [3][side][side] to [side][side][3] */
static bool take_pixels(prompt *p, const shard_tensor *image)
{
    size_t side = image->shape[1];
    const uint8_t *planes = image->data;
    p->pixels = malloc(side * side * 3);
    if (p->pixels == NULL)
        return false;
    for (size_t i = 0; i < side * side; i++)
        for (size_t channel = 0; channel < 3; channel++)
            p->pixels[i * 3 + channel] = planes[channel * side * side + i];
    return true;
}

/* "vectors" [n][1 + width], zeros behind the shorter: the kind of each, then its numbers. */
static bool take_vectors(prompt *p, const shard_tensor *vectors, uint32_t n_image_rows)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->plan.n_tokens; i++)
        if (p->tokens[i] == VECTOR) {
            if (vectors == NULL || n >= MAX_VECTORS || n >= vectors->shape[0])
                return false;
            const char *row = (const char *)vectors->data + n * vectors->shape[1] * sizeof(float);
            float kind;
            memcpy(&kind, row, sizeof kind);
            p->vectors[n] = (link_vector){.kind = (uint32_t)kind, .values = row + sizeof kind};
            p->tokens[i] = link_plan_vector(n++, n_image_rows);
        }
    p->plan.n_vectors = n;
    return true;
}

static bool make_prompt(prompt *p, comparison *c)
{
    const shard_tensor *ids = find(c->g, "input_ids"), *image = find(c->g, "image"), *logits = find(c->g, "logits");
    const shard_tensor *positions = find(c->g, "decoder_positions");
    if (ids == NULL || image == NULL || logits == NULL || ids->shape[0] > MAX_POSITIONS || logits->shape[0] > MAX_KEPT)
        return false;
    uint32_t n = (uint32_t)ids->shape[0], n_image_rows = 0, at = 0;
    p->plan = (link_plan){.step = 1,
                          .n_images = 1,
                          .n_tokens = n,
                          .slices = p->slices,
                          .tokens = p->tokens,
                          .blocks = p->blocks,
                          .images = &p->image};
    for (uint32_t i = 0; i < n; i++)
        p->tokens[i] = integer(ids, i) >= 0    ? integer(ids, i)
                       : integer(ids, i) == -2 ? VECTOR
                                               : link_image_row(n_image_rows++);
    p->plan.vectors = p->vectors;
    if (!take_vectors(p, find(c->g, "vectors"), n_image_rows))
        return false;
    c->n_kept = (uint32_t)logits->shape[0];
    for (uint32_t i = 0; i < c->n_kept; i++) {
        c->kept[i] = positions != NULL ? (uint32_t)integer(positions, i) : n - c->n_kept + i;
        add_slice(p, at, c->kept[i] + 1, 1);
        at = c->kept[i] + 1;
    }
    if (at < n)
        add_slice(p, at, n, 0);
    if (!take_pixels(p, image))
        return false;
    p->image = (link_image){0, p->pixels};
    return true;
}

static base_status run(par_world *world, const char *dir, prompt *p, comparison *c, base_error *error)
{
    shard_checkpoint *checkpoint = NULL;
    const shard_recipe recipe = {.kind = RECIPE_AUTO};
    par_grid *grid = NULL;
    model *m = NULL;
    link_token tokens[MAX_KEPT + 1];
    link_result result = {.tokens = tokens};
    model_options options = {.limits = {.max_seqs = MAX_KEPT + 1,
                                        .max_positions = MAX_POSITIONS,
                                        .max_step_tokens = MAX_POSITIONS,
                                        .n_kv_blocks = MAX_BLOCKS,
                                        .n_image_slots = 1},
                             .probe = compare,
                             .probe_context = c};
    base_status status = kern_select("auto", error);
    if (status == BASE_OK)
        status = shard_checkpoint_open(dir, &checkpoint, error);
    if (status == BASE_OK)
        status = par_grid_create(world, 1, 1, &grid, error);
    if (status == BASE_OK)
        status = model_create(checkpoint, &recipe, grid, &options, &m, error);
    if (status == BASE_OK)
        model_step(m, &p->plan, &result);
    model_destroy(&m);
    par_grid_destroy(&grid);
    shard_checkpoint_close(&checkpoint);
    return status;
}

int main(int argc, char **argv)
{
    static prompt p;
    golden g = {0};
    comparison c = {.g = &g};
    base_error error = {0};
    par_world *world = NULL;
    if (par_world_open(&argc, &argv, &world, &error) != BASE_OK || argc != 3) {
        fprintf(stderr, "usage: golden_palm_e MODEL_DIR GOLDEN.safetensors %s\n", error.text);
        return 2;
    }
    base_status status = shard_file_read(".", argv[2], &g.file, &error);
    if (status == BASE_OK)
        status = safetensors_parse(argv[2], g.file.data, g.file.size, &g.entries, &g.n_entries, &error);
    if (status == BASE_OK && !make_prompt(&p, &c))
        status = base_fail(&error, BASE_EFORMAT, "'%s' does not hold a golden prompt", argv[2]);
    if (status == BASE_OK)
        status = run(world, argv[1], &p, &c, &error);
    if (status != BASE_OK)
        fprintf(stderr, "%s\n", error.text);
    printf("%d tensors compared, %d differ by more than %g of their largest element\n", c.n_compared, c.n_failed,
           GOLDEN_TOLERANCE);
    safetensors_release(&g.entries, g.n_entries);
    base_buf_release(&g.file);
    free(p.pixels);
    par_world_close(&world);
    return status == BASE_OK && c.n_compared > 0 && c.n_failed == 0 ? 0 : 1;
}
