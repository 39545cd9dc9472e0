/* image_decode.c - which decoder reads the bytes: the format is found by its first bytes, never by a file's name. */
#include <string.h>

#include "coordinator/image/image_int.h"

static bool begins_with(const void *bytes, size_t size, const char *magic, size_t n)
{
    return size >= n && memcmp(bytes, magic, n) == 0;
}

static bool is_tiff(const void *bytes, size_t size)
{
    return begins_with(bytes, size, "II*\0", 4) || begins_with(bytes, size, "MM\0*", 4) ||
           begins_with(bytes, size, "II+\0", 4) || begins_with(bytes, size, "MM\0+", 4); /* + : BigTIFF */
}

/* "P2", "P3", "P5", "P6", and a blank. */
static bool is_pnm(const uint8_t *bytes, size_t size)
{
    return size >= 3 && bytes[0] == 'P' && memchr("2356", bytes[1], 4) != NULL &&
           memchr(" \t\r\n#", bytes[2], 5) != NULL;
}

bool image_is_dicom(const uint8_t *bytes, size_t size)
{
    if (size >= 132 && memcmp(bytes + 128, "DICM", 4) == 0)
        return true;
    /* Without a preamble: the first elements of group 0002, or of group 0008 in any syntax. */
    if (size < 16)
        return false;
    bool is_big_endian = bytes[0] == 0;
    uint8_t group = bytes[is_big_endian ? 1 : 0], element = bytes[is_big_endian ? 3 : 2];
    if (bytes[is_big_endian ? 0 : 1] != 0 || bytes[is_big_endian ? 2 : 3] != 0 || (group != 2 && group != 8) ||
        element > 0x18)
        return false;
    static const char *const vrs[] = {"UL", "OB", "CS", "UI", "DA", "SH", "LO"};
    for (size_t i = 0; i < sizeof vrs / sizeof vrs[0]; i++)
        if (memcmp(bytes + 4, vrs[i], 2) == 0)
            return true;
    return !is_big_endian && group == 8 && bytes[5] == 0 && bytes[6] == 0 &&
           bytes[7] == 0; /* implicit, a short value */
}

static base_status decode_any(const void *bytes, size_t size, const image_options *options, image *out,
                              uint32_t *orientation, base_error *error)
{
    if (image_is_dicom(bytes, size)) /* first: its preamble may be a TIFF's head */
        return image_decode_dicom(bytes, size, options, out, error);
    if (options->frame != 0)
        return base_fail(error, BASE_EINVAL, "frame %u was asked for; only DICOM files have more than frame 0",
                         options->frame);
    if (begins_with(bytes, size, "\xff\xd8\xff", 3))
        return image_decode_jpeg(bytes, size, options->max_pixels, out, orientation, error);
    if (begins_with(bytes, size, "\x89PNG\r\n\x1a\n", 8))
        return image_decode_png(bytes, size, options->max_pixels, out, orientation, error);
    if (is_tiff(bytes, size))
        return image_decode_tiff(bytes, size, options->max_pixels, out, orientation, error);
    if (is_pnm(bytes, size))
        return image_decode_pnm(bytes, size, options->max_pixels, out, error);
    return base_fail(error, BASE_EUNSUPPORTED,
                     "not an image that is read here (%zu bytes); send a JPEG, PNG, TIFF, PGM, PPM or DICOM file",
                     size);
}

base_status image_decode_frame(const void *bytes, size_t size, const image_options *options, image *out,
                               base_error *error)
{
    image found = {0};
    uint32_t orientation = 1;
    base_status status = decode_any(bytes, size, options, &found, &orientation, error);
    if (status == BASE_OK)
        status = image_orient(&found, orientation, error);
    if (status != BASE_OK) {
        if (options->warnings != NULL)
            options->warnings->n = 0;
        image_release(&found);
        return status;
    }
    *out = found;
    return BASE_OK;
}

base_status image_decode(const void *bytes, size_t size, uint64_t max_pixels, image *out, base_error *error)
{
    return image_decode_frame(bytes, size, &(image_options){.max_pixels = max_pixels}, out, error);
}
