/* dicom_tone.c - raw samples to 8 bits, as a viewer would show them.
 *
 * Greys: stored value -> Modality LUT or rescale -> VOI LUT or window (the first of either), or else smallest to
 * largest value of the frame -> 0..255, inverted for MONOCHROME1.  A sample has at most 16 bits, so all of it becomes
 * one table. PS3.3 C.7.6.3 (palettes), C.11.1 (modality), C.11.2 (VOI); where a file has a VOI LUT and a window, the
 * LUT. */
#include <math.h>
#include <string.h>

#include "coordinator/image/dicom.h"

#define N_LEVELS 65536

static uint8_t to_byte(double t)
{
    return (uint8_t)rint(255.0 * (t > 0.0 ? t < 1.0 ? t : 1.0 : 0.0)); /* a NaN is 0 */
}

/* How many bits of a raster's samples count: a stream may hold fewer than the header says, or more. */
static uint32_t sample_bits(const dicom_shape *shape, const dicom_raster *raster)
{
    return raster->bits < shape->stored ? raster->bits : shape->stored;
}

static int32_t stored_value(uint32_t raw, uint32_t bits, bool is_signed)
{
    return is_signed && raw >> (bits - 1) != 0 ? (int32_t)raw - (1 << bits) : (int32_t)raw;
}

/* --- lookup tables --- */

typedef struct lut {
    const dicom_file *file;
    dicom_field data;
    uint32_t n;
    int32_t first;   /* the value of entry 0 */
    double greatest; /* value of an entry */
    bool is_bytes;
} lut;

/* Descriptor: entries (0: 65536), first value, bits of an entry.  Entries are words, or bytes where there is no room
 * for words. */
static base_status lut_open(const dicom_file *file, dicom_field shape, bool is_signed, lut *out, base_error *error)
{
    uint16_t n, first, bits;
    if (!dicom_word(file, shape, 0, &n) || !dicom_word(file, shape, 1, &first) || !dicom_word(file, shape, 2, &bits) ||
        bits < 1 || bits > 16)
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: %s is missing or damaged", dicom_field_name(shape));
    dicom_field data = shape < DICOM_MODALITY_SHAPE ? shape + (DICOM_RED - DICOM_RED_SHAPE) : shape + 1;
    lut l = {.file = file, .data = data, .n = n == 0 ? N_LEVELS : n, .greatest = (double)((1u << bits) - 1)};
    l.first = is_signed ? (int16_t)first : first;
    size_t n_bytes = file->values[data].size;
    if (n_bytes == 0)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "the DICOM file has no %s (segmented tables are not read here): convert it to plain tables",
                         dicom_field_name(data));
    l.is_bytes = n_bytes < 2 * (size_t)l.n;
    if (n_bytes < l.n || (l.is_bytes && bits > 8))
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: %s has %zu bytes for %u entries", dicom_field_name(data),
                         n_bytes, l.n);
    *out = l;
    return BASE_OK;
}

static double lut_value(const lut *l, double value)
{
    double i = value - l->first;
    size_t at = !(i > 0) ? 0 : i >= l->n - 1 ? l->n - 1 : (size_t)i;
    uint16_t word = 0;
    if (!l->is_bytes)
        (void)dicom_word(l->file, l->data, at, &word);
    else /* bytes stand in words of the file's order */
        word = l->file->values[l->data].at[l->file->is_big && (at ^ 1) < l->n ? at ^ 1 : at];
    return word;
}

/* --- greys --- */

typedef enum voi_kind { VOI_NONE, VOI_LUT, VOI_LINEAR, VOI_LINEAR_EXACT, VOI_SIGMOID } voi_kind;

typedef struct tones {
    bool has_modality_lut;
    lut modality;
    double slope, intercept;
    voi_kind voi;
    lut voi_lut;
    double center, width;
    double low, high; /* VOI_NONE */
} tones;

static double modality_value(const tones *t, int32_t stored)
{
    return t->has_modality_lut ? lut_value(&t->modality, stored) : stored * t->slope + t->intercept;
}

/* 0 to 1, or beyond: clamped by who rounds it. */
static double voi_value(const tones *t, double x)
{
    switch (t->voi) {
    case VOI_LUT:
        return lut_value(&t->voi_lut, x) / t->voi_lut.greatest;
    case VOI_LINEAR:
        if (x <= t->center - 0.5 - (t->width - 1) / 2)
            return 0.0;
        return x > t->center - 0.5 + (t->width - 1) / 2 ? 1.0 : (x - (t->center - 0.5)) / (t->width - 1) + 0.5;
    case VOI_LINEAR_EXACT:
        return (x - t->center) / t->width + 0.5;
    case VOI_SIGMOID:
        return 1.0 / (1.0 + exp(-4.0 * (x - t->center) / t->width));
    case VOI_NONE:
        break;
    }
    return t->high > t->low ? (x - t->low) / (t->high - t->low) : 0.0;
}

static base_status read_modality(const dicom_file *file, const dicom_shape *shape, tones *t, base_error *error)
{
    t->slope = 1.0;
    t->has_modality_lut = file->values[DICOM_MODALITY].at != NULL;
    if (t->has_modality_lut)
        return lut_open(file, DICOM_MODALITY_SHAPE, shape->is_signed, &t->modality, error);
    (void)dicom_decimal(file, DICOM_SLOPE, 0, &t->slope);
    (void)dicom_decimal(file, DICOM_INTERCEPT, 0, &t->intercept);
    return BASE_OK;
}

static base_status read_window(const dicom_file *file, tones *t, base_error *error)
{
    if (!dicom_decimal(file, DICOM_CENTER, 0, &t->center) || !dicom_decimal(file, DICOM_WIDTH, 0, &t->width))
        return BASE_OK;
    if (dicom_is_text(file, DICOM_VOI_FUNCTION, "") || dicom_is_text(file, DICOM_VOI_FUNCTION, "LINEAR"))
        t->voi = VOI_LINEAR;
    else if (dicom_is_text(file, DICOM_VOI_FUNCTION, "LINEAR_EXACT"))
        t->voi = VOI_LINEAR_EXACT;
    else if (dicom_is_text(file, DICOM_VOI_FUNCTION, "SIGMOID"))
        t->voi = VOI_SIGMOID;
    else
        return base_fail(error, BASE_EUNSUPPORTED, "%s is none of LINEAR, LINEAR_EXACT, SIGMOID: correct the file",
                         dicom_field_name(DICOM_VOI_FUNCTION));
    if (!(t->voi == VOI_LINEAR ? t->width >= 1.0 : t->width > 0.0))
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: %s is too small: correct it, or remove the window",
                         dicom_field_name(DICOM_WIDTH));
    return BASE_OK;
}

static base_status read_voi(const dicom_file *file, const dicom_shape *shape, tones *t, base_error *error)
{
    if (file->values[DICOM_VOI].at == NULL)
        return read_window(file, t, error);
    t->voi = VOI_LUT;
    /* Its input is the modality's output: signed where that may be negative. */
    bool is_signed = !t->has_modality_lut && (shape->is_signed || t->intercept < 0 || t->slope < 0);
    return lut_open(file, DICOM_VOI_SHAPE, is_signed, &t->voi_lut, error);
}

static void find_range(const dicom_raster *raster, uint32_t bits, bool is_signed, tones *t)
{
    bool seen[N_LEVELS] = {false};
    size_t n = (size_t)raster->rows * raster->columns;
    for (size_t i = 0; i < n; i++)
        seen[raster->out[i] & ((1u << bits) - 1)] = true;
    t->low = INFINITY;
    t->high = -INFINITY;
    for (uint32_t raw = 0; raw < 1u << bits; raw++) {
        double x = seen[raw] ? modality_value(t, stored_value(raw, bits, is_signed)) : NAN;
        t->low = fmin(t->low, x);
        t->high = fmax(t->high, x);
    }
}

static base_status tone_greys(const dicom_file *file, const dicom_shape *shape, const dicom_raster *raster, image *out,
                              base_error *error)
{
    tones t = {0};
    base_status status = read_modality(file, shape, &t, error);
    if (status == BASE_OK)
        status = read_voi(file, shape, &t, error);
    if (status != BASE_OK)
        return status;
    uint32_t bits = sample_bits(shape, raster), mask = (1u << bits) - 1;
    if (t.voi == VOI_NONE)
        find_range(raster, bits, shape->is_signed, &t);
    uint8_t table[N_LEVELS];
    for (uint32_t raw = 0; raw <= mask; raw++) {
        uint8_t level = to_byte(voi_value(&t, modality_value(&t, stored_value(raw, bits, shape->is_signed))));
        table[raw] = shape->colours == DICOM_INVERTED ? (uint8_t)(255 - level) : level;
    }
    size_t n = (size_t)raster->rows * raster->columns;
    for (size_t i = 0; i < n; i++)
        out->pixels[i] = table[raster->out[i] & mask];
    return BASE_OK;
}

/* --- colours --- */

static base_status tone_palette(const dicom_file *file, const dicom_shape *shape, const dicom_raster *raster,
                                image *out, base_error *error)
{
    const dicom_field shapes[] = {DICOM_RED_SHAPE, DICOM_GREEN_SHAPE, DICOM_BLUE_SHAPE};
    uint32_t bits = sample_bits(shape, raster), mask = (1u << bits) - 1;
    size_t n = (size_t)raster->rows * raster->columns;
    for (size_t c = 0; c < 3; c++) {
        lut l;
        base_status status = lut_open(file, shapes[c], shape->is_signed, &l, error);
        if (status != BASE_OK)
            return status;
        uint8_t table[N_LEVELS];
        for (uint32_t raw = 0; raw <= mask; raw++)
            table[raw] = to_byte(lut_value(&l, stored_value(raw, bits, shape->is_signed)) / l.greatest);
        for (size_t i = 0; i < n; i++)
            out->pixels[3 * i + c] = table[raster->out[i] & mask];
    }
    return BASE_OK;
}

/* PS3.3 C.7.6.3.1.2: the colours of JPEG. */
static void ybr_to_rgb(uint8_t *pixels, size_t n)
{
    for (size_t i = 0; i < n; i++, pixels += 3) {
        double y = pixels[0], b = pixels[1] - 128.0, r = pixels[2] - 128.0;
        pixels[0] = to_byte((y + 1.402 * r) / 255.0);
        pixels[1] = to_byte((y - 0.114 * 1.772 / 0.587 * b - 0.299 * 1.402 / 0.587 * r) / 255.0);
        pixels[2] = to_byte((y + 1.772 * b) / 255.0);
    }
}

static void tone_colours(const dicom_shape *shape, const dicom_raster *raster, image *out)
{
    uint32_t bits = sample_bits(shape, raster), most = (1u << bits) - 1;
    size_t n = (size_t)raster->rows * raster->columns;
    for (size_t i = 0; i < 3 * n; i++)
        out->pixels[i] = (uint8_t)(((raster->out[i] & most) * 510u + most) / (2 * most));
    bool is_ybr = shape->colours == DICOM_YBR || shape->colours == DICOM_YBR_422;
    if (raster->says_ybr || (is_ybr && !raster->says_rgb))
        ybr_to_rgb(out->pixels, n);
}

base_status dicom_tone(const dicom_file *file, const dicom_shape *shape, const dicom_raster *raster, image *out,
                       base_error *error)
{
    if (shape->colours == DICOM_PALETTE)
        return tone_palette(file, shape, raster, out, error);
    if (shape->samples == 1)
        return tone_greys(file, shape, raster, out, error);
    tone_colours(shape, raster, out);
    return BASE_OK;
}
