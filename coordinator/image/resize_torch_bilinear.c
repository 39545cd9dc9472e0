/* resize_torch_bilinear.c - PyTorch's interpolate(mode='bilinear', antialias=True, align_corners=False).
 *
 * Output sample i of n is centred at (i + 0.5) * scale, scale = n_in / n_out.  A triangle of half width max(scale, 1)
 * around it weighs the input samples; weights are normalised to 1.  Columns first, then rows, in f32, taps in order, no
 * fused multiply-add: the operations of aten's UpSampleKernel (_compute_indices_min_size_weights_aa), so that an image
 * enters the model as it did in training. */
#include <math.h>
#include <stdlib.h>

#include "coordinator/image/image_int.h"
#include "proto/base/size.h"

typedef struct tap_range {
    uint32_t first, n;
} tap_range;

/* The weights of one dimension. */
typedef struct taps {
    uint32_t n_out, max_taps;
    tap_range *ranges; /* [n_out] */
    float *weights;    /* [n_out][max_taps] */
} taps;

static void taps_release(taps *t)
{
    free(t->ranges);
    free(t->weights);
}

static void fill_taps(taps *t, uint32_t i, uint32_t n_in, float scale, float support)
{
    float center = scale * ((float)i + 0.5f);
    float inverse = scale >= 1.0f ? 1.0f / scale : 1.0f;
    int64_t first = (int64_t)(center - support + 0.5f);
    int64_t end = (int64_t)(center + support + 0.5f);
    first = first > 0 ? first : 0;
    end = end < (int64_t)n_in ? end : (int64_t)n_in;
    int64_t n = end - first;
    n = n < 0 ? 0 : n > (int64_t)t->max_taps ? (int64_t)t->max_taps : n;
    float *weights = t->weights + (size_t)i * t->max_taps;
    float total = 0.0f;
    for (int64_t j = 0; j < n; j++) {
        float x = fabsf(((float)(j + first) - center + 0.5f) * inverse);
        weights[j] = x < 1.0f ? 1.0f - x : 0.0f;
        total += weights[j];
    }
    for (int64_t j = 0; j < n && total != 0.0f; j++)
        weights[j] /= total;
    t->ranges[i] = (tap_range){.first = (uint32_t)first, .n = (uint32_t)n};
}

static base_status taps_init(taps *t, uint32_t n_in, uint32_t n_out, base_error *error)
{
    float scale = (float)n_in / (float)n_out;
    float support = scale >= 1.0f ? scale : 1.0f;
    *t = (taps){.n_out = n_out, .max_taps = (uint32_t)ceilf(support) * 2 + 1};
    t->ranges = calloc(n_out, sizeof *t->ranges);
    t->weights = calloc((size_t)n_out * t->max_taps, sizeof *t->weights);
    if (t->ranges == NULL || t->weights == NULL) {
        taps_release(t);
        return base_fail(error, BASE_ENOMEM, "no memory to resize an image from %u to %u", n_in, n_out);
    }
    for (uint32_t i = 0; i < n_out; i++)
        fill_taps(t, i, n_in, scale, support);
    return BASE_OK;
}

/* One row: [width][channels] u8 to [n_out][channels] f32. */
static void filter_row(const taps *t, const uint8_t *row, uint32_t channels, float *out)
{
    for (uint32_t i = 0; i < t->n_out; i++) {
        const float *weights = t->weights + (size_t)i * t->max_taps;
        for (uint32_t c = 0; c < channels; c++) {
            const uint8_t *from = row + (size_t)t->ranges[i].first * channels + c;
            float sum = 0.0f;
            for (uint32_t j = 0; j < t->ranges[i].n; j++)
                sum += (float)from[(size_t)j * channels] * weights[j];
            *out++ = sum;
        }
    }
}

static uint8_t to_level(float value)
{
    float rounded = rintf(value); /* halves to even */
    return (uint8_t)(rounded < 0.0f ? 0.0f : rounded > 255.0f ? 255.0f : rounded);
}

/* One output row from the rows `columns` [height][n] f32 after the horizontal pass. */
static void filter_column(const taps *t, uint32_t i, const float *columns, size_t n, uint8_t *out)
{
    const float *weights = t->weights + (size_t)i * t->max_taps;
    for (size_t x = 0; x < n; x++) {
        const float *from = columns + (size_t)t->ranges[i].first * n + x;
        float sum = 0.0f;
        for (uint32_t j = 0; j < t->ranges[i].n; j++)
            sum += from[(size_t)j * n] * weights[j];
        out[x] = to_level(sum);
    }
}

static base_status filter_image(const image *img, const taps *across, const taps *down, image *out, base_error *error)
{
    size_t n = (size_t)across->n_out * img->channels, count, bytes;
    float *columns = NULL;
    if (base_size_mul(n, img->height, &count) && base_size_mul(count, sizeof *columns, &bytes))
        columns = malloc(bytes);
    if (columns == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to resize an image of %u x %u", img->width, img->height);
    base_status status = image_alloc("image", across->n_out, down->n_out, img->channels, UINT64_MAX, out, error);
    if (status == BASE_OK) {
        for (uint32_t y = 0; y < img->height; y++)
            filter_row(across, img->pixels + (size_t)y * img->width * img->channels, img->channels, columns + y * n);
        for (uint32_t y = 0; y < down->n_out; y++)
            filter_column(down, y, columns, n, out->pixels + y * n);
    }
    free(columns);
    return status;
}

base_status image_resize(const image *img, uint32_t width, uint32_t height, image *out, base_error *error)
{
    if (width == 0 || height == 0 || img->width == 0 || img->height == 0)
        return base_fail(error, BASE_EINVAL, "cannot resize an image from %u x %u to %u x %u", img->width, img->height,
                         width, height);
    taps across, down;
    base_status status = taps_init(&across, img->width, width, error);
    if (status != BASE_OK)
        return status;
    status = taps_init(&down, img->height, height, error);
    if (status == BASE_OK) {
        status = filter_image(img, &across, &down, out, error);
        taps_release(&down);
    }
    taps_release(&across);
    return status;
}
