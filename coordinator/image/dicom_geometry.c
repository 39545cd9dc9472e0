/* dicom_geometry.c - what the pixels of a DICOM file are: sizes, bits, colours, frames, aspect.
 *
 * Each attribute is read, checked against the others and the pixel limit, or refused with the reason, before any memory
 * is allocated for pixels. */
#include <math.h>

#include "coordinator/image/dicom_int.h"

/* Pixels more than twenty times longer than wide mean a damaged header. */
#define MAX_ASPECT 20.0

typedef struct colours_row {
    const char *text;
    dicom_colours colours;
    uint32_t samples;
} colours_row;

/* PS3.3 C.7.6.3.1.2.  JPEG 2000's own colour transforms (ICT, RCT) are undone by its decoder. */
static const colours_row colour_rows[] = {
    {"MONOCHROME1", DICOM_GREY_INVERTED, 1},
    {"MONOCHROME2", DICOM_GREY, 1},
    {"PALETTE COLOR", DICOM_PALETTE, 1},
    {"RGB", DICOM_RGB, 3},
    {"YBR_FULL", DICOM_YBR, 3},
    {"YBR_FULL_422", DICOM_YBR_422, 3},
    {"YBR_ICT", DICOM_RGB, 3},
    {"YBR_RCT", DICOM_RGB, 3},
};

static base_status need_word(const dicom_file *file, dicom_field field, uint32_t *out, base_error *error)
{
    uint16_t word;
    if (!dicom_word(file, field, 0, &word))
        return base_fail(error, BASE_EFORMAT, "the DICOM file has no %s; is it an image?", dicom_field_name(field));
    *out = word;
    return BASE_OK;
}

/* An image must be there, in the form that the transfer syntax promises. */
static base_status check_pixels(const dicom_file *file, base_error *error)
{
    if (file->values[DICOM_FLOAT_PIXELS].at != NULL || file->values[DICOM_DOUBLE_PIXELS].at != NULL)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "the pixels of the DICOM file are floats; convert them to integers of 8 or 16 bits");
    if (file->values[DICOM_PIXELS].at == NULL)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "the DICOM file has no %s; send an image, not a report, a directory or a structure set",
                         dicom_field_name(DICOM_PIXELS));
    if (file->has_fragments != (file->coding != DICOM_NATIVE))
        return base_fail(error, BASE_EFORMAT,
                         "damaged DICOM: its pixels are %sin fragments, against its transfer syntax; "
                         "correct TransferSyntaxUID",
                         file->has_fragments ? "" : "not ");
    return BASE_OK;
}

static base_status read_bits(const dicom_file *file, dicom_geometry *s, base_error *error)
{
    uint32_t is_signed = 0;
    base_status status = need_word(file, DICOM_ALLOCATED, &s->bits_allocated, error);
    if (status == BASE_OK)
        status = need_word(file, DICOM_STORED, &s->bits_stored, error);
    if (status == BASE_OK)
        status = need_word(file, DICOM_SIGNED, &is_signed, error);
    if (status != BASE_OK)
        return status;
    if (is_signed > 1)
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: %s is neither 0 nor 1", dicom_field_name(DICOM_SIGNED));
    s->is_signed = is_signed == 1;
    uint16_t high;
    s->high_bit = dicom_word(file, DICOM_HIGH, 0, &high) ? high : s->bits_stored - 1;
    if (s->bits_allocated != 8 && s->bits_allocated != 16)
        return base_fail(error, BASE_EUNSUPPORTED, "%s is %u; 8 and 16 are read: convert the file",
                         dicom_field_name(DICOM_ALLOCATED), s->bits_allocated);
    if (s->bits_stored == 0 || s->bits_stored > s->bits_allocated || s->high_bit >= s->bits_allocated ||
        s->high_bit + 1 < s->bits_stored)
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: %u bits stored below bit %u do not fit into %u",
                         s->bits_stored, s->high_bit, s->bits_allocated);
    return BASE_OK;
}

static base_status read_colours(const dicom_file *file, dicom_geometry *s, base_error *error)
{
    uint16_t samples = 1, planar = 0;
    (void)dicom_word(file, DICOM_SAMPLES, 0, &samples);
    (void)dicom_word(file, DICOM_PLANAR, 0, &planar);
    s->samples = samples;
    s->is_planar = planar == 1 && samples > 1;
    size_t n = sizeof colour_rows / sizeof colour_rows[0], i = 0;
    while (i < n && !dicom_text_equals(file, DICOM_PHOTOMETRIC, colour_rows[i].text))
        i++;
    if (i == n)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "%s is none of MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB, YBR_FULL, YBR_FULL_422, YBR_ICT, "
                         "YBR_RCT: convert the file",
                         dicom_field_name(DICOM_PHOTOMETRIC));
    s->colours = colour_rows[i].colours;
    if (s->samples != colour_rows[i].samples)
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: %u samples a pixel do not go with %s", s->samples,
                         colour_rows[i].text);
    if ((s->colours == DICOM_YBR || s->colours == DICOM_YBR_422) && s->bits_allocated != 8)
        return base_fail(error, BASE_EUNSUPPORTED, "YBR colours of %u bits are not read here; convert the file to RGB",
                         s->bits_allocated);
    return BASE_OK;
}

static base_status read_frames(const dicom_file *file, uint32_t frame, dicom_geometry *s, base_error *error)
{
    double frames = 1;
    bool is_given;
    base_status status = dicom_decimal(file, DICOM_FRAMES, 0, &frames, &is_given, error);
    if (status != BASE_OK)
        return status;
    if (!(frames >= 1 && frames <= INT32_MAX) || floor(frames) != frames)
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: %s is not a whole number from 1 on",
                         dicom_field_name(DICOM_FRAMES));
    s->frames = (uint32_t)frames;
    if (frame >= s->frames)
        return base_fail(error, BASE_EINVAL, "frame %u was asked for; the DICOM file has frames 0 to %u", frame,
                         s->frames - 1);
    return BASE_OK;
}

/* Height of a pixel over its width.  PS3.3 C.7.6.3.1.7: PixelAspectRatio if given, else the spacings. */
static base_status pixel_aspect(const dicom_file *file, double *out, base_error *error)
{
    const dicom_field fields[] = {DICOM_ASPECT, DICOM_SPACING, DICOM_IMAGER_SPACING};
    *out = 1.0;
    for (size_t i = 0; i < 3; i++) {
        double down = 0, across = 0;
        bool is_given;
        base_status status = dicom_decimal(file, fields[i], 0, &down, &is_given, error);
        if (status == BASE_OK)
            status = dicom_decimal(file, fields[i], 1, &across, &is_given, error);
        if (status != BASE_OK)
            return status;
        if (down > 0 && across > 0) {
            *out = down / across;
            return BASE_OK;
        }
    }
    return BASE_OK;
}

/* The shorter side of a pixel is kept and the longer one resampled, so no sample is lost. */
static base_status square_pixels(const dicom_file *file, uint64_t max_pixels, dicom_geometry *s, base_error *error)
{
    double aspect;
    base_status status = pixel_aspect(file, &aspect, error);
    if (status != BASE_OK)
        return status;
    if (!(aspect <= MAX_ASPECT && aspect >= 1.0 / MAX_ASPECT))
        return base_fail(error, BASE_EFORMAT,
                         "damaged DICOM: its pixels are more than %.0f times longer than wide; correct %s or %s",
                         MAX_ASPECT, dicom_field_name(DICOM_ASPECT), dicom_field_name(DICOM_SPACING));
    double width = aspect < 1.0 ? rint(s->columns / aspect) : s->columns;
    double height = aspect > 1.0 ? rint(s->rows * aspect) : s->rows;
    if (width * height > (double)max_pixels)
        return base_fail(error, BASE_ETOOBIG,
                         "the DICOM has %.0f x %.0f pixels; at most %llu are accepted: send a smaller image", width,
                         height, (unsigned long long)max_pixels);
    s->width = (uint32_t)width;
    s->height = (uint32_t)height;
    return BASE_OK;
}

base_status dicom_geometry_read(const dicom_file *file, uint32_t frame, uint64_t max_pixels, dicom_geometry *out,
                                base_error *error)
{
    dicom_geometry s = {0};
    base_status status = check_pixels(file, error);
    if (status == BASE_OK)
        status = need_word(file, DICOM_ROWS, &s.rows, error);
    if (status == BASE_OK)
        status = need_word(file, DICOM_COLUMNS, &s.columns, error);
    if (status == BASE_OK && (s.rows == 0 || s.columns == 0))
        status = base_fail(error, BASE_EFORMAT, "damaged DICOM: it has no pixels");
    if (status == BASE_OK)
        status = read_bits(file, &s, error);
    if (status == BASE_OK)
        status = read_colours(file, &s, error);
    if (status == BASE_OK)
        status = read_frames(file, frame, &s, error);
    if (status == BASE_OK)
        status = square_pixels(file, max_pixels, &s, error);
    if (status == BASE_OK)
        *out = s;
    return status;
}
