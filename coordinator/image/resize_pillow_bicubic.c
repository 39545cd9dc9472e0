/* resize_pillow_bicubic.c - bicubic and bilinear resizing, equal to Pillow's Resample.c in every bit.
 *
 *     canvas [height][width][3] --across--> [rows][n_out][3] u8 --down--> [n_out][n_out][3] u8
 *
 * Weights are computed in double and rounded to 22 fractional bits; the horizontal pass is rounded and clamped to 8
 * bits before the vertical one.  A dimension that keeps its size is not filtered.  Output sample i of n is centred at
 * (i + 0.5) * scale, scale = n_in / n_out; the kernel is stretched by max(scale, 1): support 1 for the triangle, 2 for
 * Keys' cubic with a = -0.5 (Keys 1981, doi:10.1109/TASSP.1981.1163711).
 * Only the wanted part of the result is computed, and padding around the image takes no memory of its own. */
#include "coordinator/image/resize_pillow_int.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"

enum { BITS = 22 }; /* Pillow's PRECISION_BITS */

typedef struct tap_span {
    uint32_t first, n;
} tap_span;

typedef struct fixed_taps {
    uint32_t n_out, max_taps;
    tap_span *spans;  /* [n_out] */
    int32_t *weights; /* [n_out][max_taps]; NULL: the dimension keeps its size */
} fixed_taps;

static void taps_free(fixed_taps *t)
{
    free(t->spans);
    free(t->weights);
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* Keys' kernel with a = -0.5. */
static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

typedef struct kernel {
    double (*weight)(double x);
    double support;
} kernel;

static kernel kernel_of(image_filter filter)
{
    return filter == IMAGE_FILTER_BICUBIC ? (kernel){cubic, 2.0} : (kernel){triangle, 1.0};
}

/* The weights of output sample i, `row` [max_taps] and `scratch` [max_taps]. */
static tap_span fill_span(const kernel *k, uint32_t i, uint32_t n_in, uint32_t n_out, int32_t *row, double *scratch)
{
    double scale = (double)n_in / (double)n_out, stretch = scale < 1.0 ? 1.0 : scale;
    double centre = ((double)i + 0.5) * scale, support = k->support * stretch, total = 0.0, inverse = 1.0 / stretch;
    int64_t first = (int64_t)(centre - support + 0.5), end = (int64_t)(centre + support + 0.5);
    first = first < 0 ? 0 : first;
    end = end > (int64_t)n_in ? (int64_t)n_in : end;
    for (int64_t x = first; x < end; x++) {
        scratch[x - first] = k->weight(((double)x - centre + 0.5) * inverse);
        total += scratch[x - first];
    }
    for (int64_t x = 0; x < end - first; x++) {
        double weight = total != 0.0 ? scratch[x] / total : scratch[x];
        row[x] = (int32_t)((weight < 0 ? -0.5 : 0.5) + weight * (1 << BITS));
    }
    return (tap_span){(uint32_t)first, (uint32_t)(end - first)};
}

/* Outputs [first, first + n) of n_out. */
static base_status taps_fill(fixed_taps *t, image_filter filter, uint32_t n_in, uint32_t n_out, uint32_t first,
                             uint32_t n, base_error *error)
{
    kernel k = kernel_of(filter);
    double stretch = n_in > n_out ? (double)n_in / (double)n_out : 1.0;
    *t = (fixed_taps){.n_out = n, .max_taps = (uint32_t)ceil(k.support * stretch) * 2 + 1};
    size_t cells = 0, bytes = 0;
    bool fits = base_size_mul(n, t->max_taps, &cells) && base_size_mul(cells, sizeof *t->weights, &bytes);
    double *scratch = malloc(t->max_taps * sizeof *scratch);
    t->spans = malloc(n * sizeof *t->spans);
    if (fits && n_in != n_out)
        t->weights = malloc(bytes);
    if (!fits || scratch == NULL || t->spans == NULL || (n_in != n_out && t->weights == NULL)) {
        free(scratch);
        taps_free(t);
        return base_fail(error, BASE_ENOMEM, "no memory to resize an image from %u to %u", n_in, n_out);
    }
    for (uint32_t i = 0; i < n; i++)
        t->spans[i] = n_in == n_out
                          ? (tap_span){first + i, 1}
                          : fill_span(&k, first + i, n_in, n_out, t->weights + (size_t)i * t->max_taps, scratch);
    free(scratch);
    return BASE_OK;
}

static uint8_t to_byte(int32_t sum)
{
    int32_t level = sum >> BITS;
    return (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
}

/* Row y of the image to its place in a row of the canvas, [canvas_width][3]. */
static void place_row(const resample *job, uint32_t y, uint8_t *row)
{
    const image *img = job->img;
    const uint8_t *from = img->pixels + (size_t)y * img->width * img->channels;
    uint8_t *to = row + (size_t)job->left * 3;
    for (uint32_t x = 0; x < img->width; x++, from += img->channels)
        for (uint32_t c = 0; c < 3; c++)
            *to++ = from[img->channels == 1 ? 0 : c];
}

/* Outputs `which` of a row [n_in][3]. */
static void filter_across(const fixed_taps *t, tap_span which, const uint8_t *row, uint8_t *out)
{
    for (uint32_t i = which.first; i < which.first + which.n; i++) {
        const uint8_t *from = row + (size_t)t->spans[i].first * 3;
        if (t->weights == NULL) {
            memcpy(out + (size_t)i * 3, from, 3);
            continue;
        }
        const int32_t *weights = t->weights + (size_t)i * t->max_taps;
        for (uint32_t c = 0; c < 3; c++) {
            int32_t sum = 1 << (BITS - 1);
            for (uint32_t j = 0; j < t->spans[i].n; j++)
                sum += from[(size_t)j * 3 + c] * weights[j];
            out[(size_t)i * 3 + c] = to_byte(sum);
        }
    }
}

/* The outputs whose span meets inputs [first, end): spans are in ascending order. */
static tap_span outputs_of(const fixed_taps *t, uint32_t first, uint32_t end)
{
    tap_span which = {0, 0};
    while (which.first < t->n_out && t->spans[which.first].first + t->spans[which.first].n <= first)
        which.first++;
    while (which.first + which.n < t->n_out && t->spans[which.first + which.n].first < end)
        which.n++;
    return which;
}

/* Output row i from `rows` [..][n], whose first is input row `first`. */
static void filter_down(const fixed_taps *t, uint32_t i, const uint8_t *rows, uint32_t first, size_t n, uint8_t *out)
{
    const uint8_t *from = rows + (size_t)(t->spans[i].first - first) * n;
    if (t->weights == NULL) {
        memcpy(out, from, n);
        return;
    }
    const int32_t *weights = t->weights + (size_t)i * t->max_taps;
    for (size_t x = 0; x < n; x++) {
        int32_t sum = 1 << (BITS - 1);
        for (uint32_t j = 0; j < t->spans[i].n; j++)
            sum += from[(size_t)j * n + x] * weights[j];
        out[x] = to_byte(sum);
    }
}

/* The passes' memory: a row of the canvas, and rows [first, first + n_rows) after the horizontal pass. */
typedef struct buffers {
    uint8_t *row, *blank, *rows; /* [canvas_width][3], [n_out][3] of a row without image, [n_rows][n_out][3] */
    uint32_t first, n_rows;
} buffers;

static base_status alloc_buffers(const resample *job, size_t n, const fixed_taps *down, buffers *out, base_error *error)
{
    const tap_span *last = &down->spans[down->n_out - 1];
    *out = (buffers){.first = down->spans[0].first};
    out->n_rows = last->first + last->n - out->first;
    size_t bytes = 0;
    out->row = malloc((size_t)job->canvas_width * 3);
    out->blank = malloc(n);
    if (base_size_mul(n, out->n_rows, &bytes))
        out->rows = malloc(bytes);
    if (out->row != NULL && out->blank != NULL && out->rows != NULL)
        return BASE_OK;
    return base_fail(error, BASE_ENOMEM, "no memory to resize an image of %u x %u", job->canvas_width,
                     job->canvas_height);
}

/* Rows outside the image are all alike: one is filtered and copied; inside, only outputs that see the image differ. */
static void filter_columns(const resample *job, const fixed_taps *across, const buffers *b)
{
    size_t n = (size_t)across->n_out * 3;
    tap_span inside = outputs_of(across, job->left, job->left + job->img->width);
    for (uint32_t x = 0; x < job->canvas_width; x++)
        memcpy(b->row + (size_t)x * 3, job->value, 3);
    filter_across(across, (tap_span){0, across->n_out}, b->row, b->blank);
    for (uint32_t i = 0; i < b->n_rows; i++) {
        uint32_t y = b->first + i;
        memcpy(b->rows + i * n, b->blank, n);
        if (y < job->top || y - job->top >= job->img->height)
            continue;
        place_row(job, y - job->top, b->row);
        filter_across(across, inside, b->row, b->rows + i * n);
    }
}

static base_status run_passes(const resample *job, const fixed_taps *across, const fixed_taps *down, uint8_t *out,
                              size_t stride, base_error *error)
{
    size_t n = (size_t)across->n_out * 3;
    buffers b;
    base_status status = alloc_buffers(job, n, down, &b, error);
    if (status == BASE_OK) {
        filter_columns(job, across, &b);
        for (uint32_t i = 0; i < down->n_out; i++)
            filter_down(down, i, b.rows, b.first, n, out + i * stride);
    }
    free(b.row);
    free(b.blank);
    free(b.rows);
    return status;
}

base_status image_resample(const resample *job, uint8_t *out, size_t stride, base_error *error)
{
    fixed_taps across, down;
    base_status status = taps_fill(&across, job->filter, job->canvas_width, job->width, job->first_x, job->n_x, error);
    if (status != BASE_OK)
        return status;
    status = taps_fill(&down, job->filter, job->canvas_height, job->height, job->first_y, job->n_y, error);
    if (status == BASE_OK) {
        status = run_passes(job, &across, &down, out, stride, error);
        taps_free(&down);
    }
    taps_free(&across);
    return status;
}
