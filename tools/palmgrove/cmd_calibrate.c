/* cmd_calibrate.c - how strongly a text drives each column of each matrix (sharding/importance.h).
 *
 * The sum of squares of each activation is taken in double over all positions, in the text's order, and divided by
 * their number at the end.  Matrices that read the same activations (q, k and v; gate and up) get the same row. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "tools/palmgrove/command.h"
#include "tools/palmgrove/teacher.h"

typedef struct calibrate_values {
    teacher_options common;
    const char *output;
} calibrate_values;

static const option_row rows[] = {
    TEACHER_ROWS(calibrate_values),
    {"output", "FILE", OPTION_TEXT, offsetof(calibrate_values, output), NULL, "the file to write (safetensors)",
     OPTION_REQUIRED | OPTION_NO_ENVIRONMENT},
};

/* The places where activations meet matrices, and which matrices. */
enum { N_POINTS = 4, MAX_READERS = 3 };

typedef struct point {
    const char *what; /* of the probe */
    arch_role readers[MAX_READERS];
    size_t n_readers;
} point;

static const point points[N_POINTS] = {
    {"attn_in", {ARCH_LAYER_Q, ARCH_LAYER_K, ARCH_LAYER_V}, 3},
    {"attn_out", {ARCH_LAYER_O}, 1},
    {"mlp_in", {ARCH_LAYER_GATE, ARCH_LAYER_UP}, 2},
    {"mlp_hidden", {ARCH_LAYER_DOWN}, 1},
};

typedef struct calibration {
    uint32_t n_layers, widths[N_POINTS];
    double *sums[N_POINTS];    /* [n_layers][width] */
    uint64_t n_rows[N_POINTS]; /* of each layer */
    float *means[N_POINTS];    /* [n_layers][width] */
    bool gated;
} calibration;

static void add_rows(void *context, const char *what, uint32_t layer, const float *values, size_t n_rows,
                     size_t n_columns)
{
    calibration *c = context;
    for (size_t p = 0; p < N_POINTS; p++) {
        if (strcmp(what, points[p].what) != 0)
            continue;
        double *sums = c->sums[p] + (size_t)layer * c->widths[p];
        for (size_t r = 0; r < n_rows; r++)
            for (size_t i = 0; i < n_columns; i++)
                sums[i] += (double)values[r * n_columns + i] * (double)values[r * n_columns + i];
        if (layer == 0)
            c->n_rows[p] += n_rows;
    }
}

static base_status take_sums(calibration *c, const arch *a, base_error *error)
{
    const arch_stack *stack = &a->decoder.stack;
    const uint32_t widths[N_POINTS] = {stack->d, stack->h * stack->dh, stack->d, stack->f};
    c->n_layers = stack->n_layers;
    c->gated = arch_mlp_is_gated(stack->mlp);
    for (size_t p = 0; p < N_POINTS; p++) {
        c->widths[p] = widths[p];
        c->sums[p] = calloc((size_t)c->n_layers * widths[p], sizeof *c->sums[p]);
        c->means[p] = calloc((size_t)c->n_layers * widths[p], sizeof *c->means[p]);
        if (c->sums[p] == NULL || c->means[p] == NULL)
            return base_fail(error, BASE_ENOMEM, "no memory for the sums of %u layers", c->n_layers);
    }
    return BASE_OK;
}

static void release_sums(calibration *c)
{
    for (size_t p = 0; p < N_POINTS; p++) {
        free(c->sums[p]);
        free(c->means[p]);
    }
}

static void take_means(calibration *c)
{
    for (size_t p = 0; p < N_POINTS; p++)
        for (size_t i = 0; i < (size_t)c->n_layers * c->widths[p]; i++)
            c->means[p][i] = (float)(c->sums[p][i] / (double)c->n_rows[p]);
}

/* The rows of point p for layer il; returns how many. */
static size_t rows_of_point(const calibration *c, size_t p, uint32_t il, shard_importance_row *out)
{
    size_t n = 0;
    for (size_t i = 0; i < points[p].n_readers; i++) {
        if (points[p].readers[i] == ARCH_LAYER_GATE && !c->gated)
            continue;
        shard_slice slice = {.part = ARCH_DECODER, .role = points[p].readers[i], .layer = il, .is_matrix = true};
        out[n].width = c->widths[p];
        out[n].values = c->means[p] + (size_t)il * c->widths[p];
        shard_slice_name(&slice, out[n].name);
        n++;
    }
    return n;
}

static base_status write_file(const calibration *c, const char *path, base_error *error)
{
    size_t n = 0;
    shard_importance_row *out = calloc((size_t)c->n_layers * N_POINTS * MAX_READERS, sizeof *out);
    if (out == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the rows of '%s'", path);
    for (uint32_t il = 0; il < c->n_layers; il++)
        for (size_t p = 0; p < N_POINTS; p++)
            n += rows_of_point(c, p, il, out + n);
    base_status status = shard_importance_write(path, out, n, error);
    free(out);
    return status;
}

static base_status work(par_world *world, void *opaque, base_error *error)
{
    const calibrate_values *values = opaque;
    calibration c = {0};
    teacher *t = NULL;
    if (par_world_size(world) != 1)
        return base_fail(error, BASE_EINVAL, "calibrating runs on one rank, %d were started", par_world_size(world));
    base_status status = teacher_open(world, &values->common, add_rows, &c, &t, error);
    if (status == BASE_OK)
        status = take_sums(&c, teacher_arch(t), error);
    if (status == BASE_OK)
        status = teacher_run(t, error);
    if (status == BASE_OK) {
        take_means(&c);
        status = write_file(&c, values->output, error);
    }
    if (status == BASE_OK)
        base_log_info("calibrated on %llu positions of text", (unsigned long long)c.n_rows[0]);
    release_sums(&c);
    teacher_close(&t);
    return status;
}

static int run(void *values)
{
    return teacher_main(work, values);
}

const command command_calibrate = {
    "calibrate",
    "MODEL --text FILE --output FILE [options]",
    "measure which weights matter, for quantising them well",
    "Feed a text to the model and write how strongly it drives each column of each matrix, the mean square of the "
    "activations there. "
    "With that file --importance makes int4 weights lose less where it counts:\n\n"
    "    palmgrove calibrate MODEL --text sample.txt --output importance.safetensors\n"
    "    palmgrove perplexity MODEL --text book.txt --weights int4 --importance importance.safetensors\n\n"
    "A few thousand tokens of the kind of text that the model will meet are enough; judge the result on another text.",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(calibrate_values),
    run};
