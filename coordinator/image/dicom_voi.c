/* dicom_voi.c - DICOM windowing: stored grey values to the 8 bits that a viewer shows.
 *
 *     stored value --modality--> output units --VOI--> 0..1 --> 0..255 (--inverted--> MONOCHROME1)
 *                  LUT, or                    LUT, or window (center, width), the first of several,
 *                  slope and intercept        or from the smallest to the largest value of the frame
 *
 * A sample has at most 16 bits, so the whole chain becomes one table of 65536 bytes.  A VOI LUT goes before a window.
 * PS3.3 C.11.1 (modality), C.11.2 (VOI: LINEAR, LINEAR_EXACT, SIGMOID). */
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
    (void)dicom_decimal(file, DICOM_SLOPE, 0, &t->slope);
    (void)dicom_decimal(file, DICOM_INTERCEPT, 0, &t->intercept);
    return BASE_OK;
}

static base_status read_window(const dicom_file *file, grey_transform *t, base_error *error)
{
    if (!dicom_decimal(file, DICOM_CENTER, 0, &t->center) || !dicom_decimal(file, DICOM_WIDTH, 0, &t->width))
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
    if (!(t->voi == VOI_LINEAR ? t->width >= 1.0 : t->width > 0.0))
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: %s is too small: correct it, or remove the window",
                         dicom_field_name(DICOM_WIDTH));
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

/* The automatic window: the smallest and largest value that the frame holds. */
static void find_range(const dicom_raster *raster, uint32_t bits, bool is_signed, grey_transform *t)
{
    bool seen[DICOM_N_LEVELS] = {false};
    size_t n = (size_t)raster->rows * raster->columns;
    for (size_t i = 0; i < n; i++)
        seen[raster->out[i] & ((1u << bits) - 1)] = true;
    t->low = INFINITY;
    t->high = -INFINITY;
    for (uint32_t raw = 0; raw < 1u << bits; raw++) {
        double x = seen[raw] ? modality_value(t, dicom_sample_value(raw, bits, is_signed)) : NAN;
        t->low = fmin(t->low, x);
        t->high = fmax(t->high, x);
    }
}

base_status dicom_voi(const dicom_file *file, const dicom_geometry *geometry, const dicom_raster *raster, image *out,
                      base_error *error)
{
    grey_transform t = {0};
    base_status status = read_modality(file, geometry, &t, error);
    if (status == BASE_OK)
        status = read_voi(file, geometry, &t, error);
    if (status != BASE_OK)
        return status;
    uint32_t bits = dicom_sample_bits(geometry, raster), mask = (1u << bits) - 1;
    if (t.voi == VOI_NONE)
        find_range(raster, bits, geometry->is_signed, &t);
    uint8_t table[DICOM_N_LEVELS];
    for (uint32_t raw = 0; raw <= mask; raw++) {
        double value = modality_value(&t, dicom_sample_value(raw, bits, geometry->is_signed));
        uint8_t level = dicom_to_byte(voi_value(&t, value));
        table[raw] = geometry->colours == DICOM_GREY_INVERTED ? (uint8_t)(255 - level) : level;
    }
    size_t n = (size_t)raster->rows * raster->columns;
    for (size_t i = 0; i < n; i++)
        out->pixels[i] = table[raster->out[i] & mask];
    return BASE_OK;
}
