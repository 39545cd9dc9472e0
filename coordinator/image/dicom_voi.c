/* dicom_voi.c - DICOM windowing: stored grey values to the 8 bits that a viewer shows.
 *
 *     stored value --modality--> output units --VOI--> 0..1 --presentation--> 0..255
 *                  LUT, or                    LUT, or window (center, width), the first of several,
 *                  slope and intercept        or from the smallest to the largest value of the frame
 *
 * A sample has at most 16 bits, so the whole chain becomes one table of 65536 bytes.  A VOI LUT goes before a window.
 * Padding (PS3.3 C.7.5.1.1.2) takes no part in the range of the frame.  PresentationLUTShape says whether greys are
 * inverted; without it MONOCHROME1 is.  Where the two contradict each other the shape decides, as in DCMTK.
 * PS3.3 C.11.1 (modality), C.11.2 (VOI: LINEAR, LINEAR_EXACT, SIGMOID), C.11.6 (presentation). */
#include <math.h>

#include "coordinator/image/dicom_int.h"

typedef enum voi_kind { VOI_NONE, VOI_LUT, VOI_LINEAR, VOI_LINEAR_EXACT, VOI_SIGMOID } voi_kind;

typedef struct grey_transform {
    bool has_modality_lut;
    dicom_lut modality;
    double slope, intercept;
    voi_kind voi;
    dicom_lut voi_lut;
    double center, width;
    double low, high; /* VOI_NONE: the frame's range in output units */
    bool has_padding;
    int32_t padding_first, padding_last; /* stored values, inclusive */
    bool is_inverted;
} grey_transform;

static double modality_value(const grey_transform *t, int32_t stored)
{
    return t->has_modality_lut ? dicom_lut_value(&t->modality, stored) : stored * t->slope + t->intercept;
}

/* 0 to 1, or past it: dicom_to_byte clamps. */
static double voi_value(const grey_transform *t, double x)
{
    switch (t->voi) {
    case VOI_LUT:
        return dicom_lut_value(&t->voi_lut, x) / t->voi_lut.max_value;
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

static base_status read_modality(const dicom_file *file, const dicom_geometry *geometry, grey_transform *t,
                                 base_error *error)
{
    t->slope = 1.0;
    t->has_modality_lut = file->values[DICOM_MODALITY].at != NULL;
    if (t->has_modality_lut)
        return dicom_lut_open(file, DICOM_MODALITY_DESCRIPTOR, geometry->is_signed, &t->modality, error);
    bool is_given;
    base_status status = dicom_decimal(file, DICOM_SLOPE, 0, &t->slope, &is_given, error);
    return status != BASE_OK ? status : dicom_decimal(file, DICOM_INTERCEPT, 0, &t->intercept, &is_given, error);
}

static int32_t padding_word(uint16_t word, bool is_signed)
{
    return is_signed ? (int16_t)word : word;
}

/* Stored values from PixelPaddingValue to PixelPaddingRangeLimit, in either order. */
static void read_padding(const dicom_file *file, bool is_signed, grey_transform *t)
{
    uint16_t value, limit;
    t->has_padding = dicom_word(file, DICOM_PADDING, 0, &value);
    if (!t->has_padding)
        return;
    if (!dicom_word(file, DICOM_PADDING_LIMIT, 0, &limit))
        limit = value;
    int32_t a = padding_word(value, is_signed), b = padding_word(limit, is_signed);
    t->padding_first = a < b ? a : b;
    t->padding_last = a < b ? b : a;
}

static base_status read_presentation(const dicom_file *file, const dicom_geometry *geometry, grey_transform *t,
                                     base_error *error)
{
    if (dicom_text_equals(file, DICOM_PRESENTATION_SHAPE, ""))
        t->is_inverted = geometry->colours == DICOM_GREY_INVERTED;
    else if (dicom_text_equals(file, DICOM_PRESENTATION_SHAPE, "INVERSE"))
        t->is_inverted = true;
    else if (!dicom_text_equals(file, DICOM_PRESENTATION_SHAPE, "IDENTITY"))
        return base_fail(error, BASE_EUNSUPPORTED, "%s is neither IDENTITY nor INVERSE: correct the file",
                         dicom_field_name(DICOM_PRESENTATION_SHAPE));
    return BASE_OK;
}

static base_status read_window(const dicom_file *file, grey_transform *t, base_error *error)
{
    bool has_center, has_width;
    base_status status = dicom_decimal(file, DICOM_CENTER, 0, &t->center, &has_center, error);
    if (status == BASE_OK)
        status = dicom_decimal(file, DICOM_WIDTH, 0, &t->width, &has_width, error);
    if (status != BASE_OK)
        return status;
    if (has_center != has_width)
        image_warn(file->warnings, IMAGE_WARN_WINDOW, "%s is given without %s: the window is not applied",
                   dicom_field_name(has_center ? DICOM_CENTER : DICOM_WIDTH),
                   dicom_field_name(has_center ? DICOM_WIDTH : DICOM_CENTER));
    if (!has_center || !has_width)
        return BASE_OK;
    if (dicom_text_equals(file, DICOM_VOI_FUNCTION, "") || dicom_text_equals(file, DICOM_VOI_FUNCTION, "LINEAR"))
        t->voi = VOI_LINEAR;
    else if (dicom_text_equals(file, DICOM_VOI_FUNCTION, "LINEAR_EXACT"))
        t->voi = VOI_LINEAR_EXACT;
    else if (dicom_text_equals(file, DICOM_VOI_FUNCTION, "SIGMOID"))
        t->voi = VOI_SIGMOID;
    else
        return base_fail(error, BASE_EUNSUPPORTED, "%s is none of LINEAR, LINEAR_EXACT, SIGMOID: correct the file",
                         dicom_field_name(DICOM_VOI_FUNCTION));
    if (!(t->width > 0.0))
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: %s is not above 0: correct it, or remove the window",
                         dicom_field_name(DICOM_WIDTH));
    if (t->voi == VOI_LINEAR && t->width < 1.0) { /* its formula divides by width - 1 */
        t->voi = VOI_LINEAR_EXACT;
        image_warn(file->warnings, IMAGE_WARN_WINDOW,
                   "%s is below 1, which LINEAR cannot have: the window is applied as LINEAR_EXACT",
                   dicom_field_name(DICOM_WIDTH));
    }
    return BASE_OK;
}

static base_status read_voi(const dicom_file *file, const dicom_geometry *geometry, grey_transform *t,
                            base_error *error)
{
    if (file->values[DICOM_VOI].at == NULL)
        return read_window(file, t, error);
    t->voi = VOI_LUT;
    /* Its input is the modality's output: signed where that may be negative. */
    bool is_signed = !t->has_modality_lut && (geometry->is_signed || t->intercept < 0 || t->slope < 0);
    return dicom_lut_open(file, DICOM_VOI_DESCRIPTOR, is_signed, &t->voi_lut, error);
}

static bool is_padding(const grey_transform *t, int32_t stored)
{
    return t->has_padding && stored >= t->padding_first && stored <= t->padding_last;
}

/* The automatic window: the smallest and largest value that the frame holds, padding aside.
 * counts: [1 << bits] pixels of each raw value. */
static void find_range(const uint32_t *counts, uint32_t bits, bool is_signed, grey_transform *t)
{
    t->low = INFINITY;
    t->high = -INFINITY;
    for (uint32_t raw = 0; raw < 1u << bits; raw++) {
        int32_t stored = dicom_sample_value(raw, bits, is_signed);
        double x = counts[raw] > 0 && !is_padding(t, stored) ? modality_value(t, stored) : NAN;
        t->low = fmin(t->low, x);
        t->high = fmax(t->high, x);
    }
}

/* Warn of a frame that shows next to nothing: of its pixels, padding aside, all but one in a thousand at one level. */
static void check_contrast(const uint32_t *counts, const uint8_t *table, uint32_t bits, bool is_signed,
                           const grey_transform *t, image_warnings *warnings)
{
    uint64_t of_level[256] = {0}, n = 0, n_values = 0, max = 0;
    for (uint32_t raw = 0; raw < 1u << bits; raw++) {
        if (counts[raw] == 0 || is_padding(t, dicom_sample_value(raw, bits, is_signed)))
            continue;
        of_level[table[raw]] += counts[raw];
        n += counts[raw];
        n_values++;
    }
    for (size_t i = 0; i < 256; i++)
        max = of_level[i] > max ? of_level[i] : max;
    if ((n - max) * 1000 >= n && n > 0)
        return;
    if (n_values > 1 && t->voi != VOI_NONE)
        image_warn(warnings, IMAGE_WARN_FLAT,
                   "the window shows nearly all pixels at one grey level: it lies outside of the pixels' values");
    else
        image_warn(warnings, IMAGE_WARN_FLAT, "nearly all pixels have the same value");
}

base_status dicom_voi(const dicom_file *file, const dicom_geometry *geometry, const dicom_raster *raster, image *out,
                      base_error *error)
{
    grey_transform t = {0};
    base_status status = read_modality(file, geometry, &t, error);
    if (status == BASE_OK)
        status = read_voi(file, geometry, &t, error);
    if (status == BASE_OK)
        status = read_presentation(file, geometry, &t, error);
    if (status != BASE_OK)
        return status;
    read_padding(file, geometry->is_signed, &t);
    uint32_t bits = dicom_sample_bits(geometry, raster), mask = (1u << bits) - 1;
    size_t n = (size_t)raster->rows * raster->columns;
    uint32_t counts[DICOM_N_LEVELS] = {0}; /* of fewer than 2^32 pixels */
    for (size_t i = 0; i < n; i++)
        counts[raster->out[i] & mask]++;
    if (t.voi == VOI_NONE)
        find_range(counts, bits, geometry->is_signed, &t);
    uint8_t table[DICOM_N_LEVELS];
    for (uint32_t raw = 0; raw <= mask; raw++) {
        double value = modality_value(&t, dicom_sample_value(raw, bits, geometry->is_signed));
        uint8_t level = dicom_to_byte(voi_value(&t, value));
        table[raw] = t.is_inverted ? (uint8_t)(255 - level) : level;
    }
    check_contrast(counts, table, bits, geometry->is_signed, &t, file->warnings);
    for (size_t i = 0; i < n; i++)
        out->pixels[i] = table[raster->out[i] & mask];
    return BASE_OK;
}
