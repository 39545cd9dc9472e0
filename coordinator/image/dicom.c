/* dicom.c - a DICOM file to the 8-bit picture that the rest of the code knows. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/image/dicom.h"
#include "proto/base/size.h"

/* Pixels take 6 bytes at most, one frame; a deflated file may hold some frames, and a header. */
enum { INFLATED_BYTES_PER_PIXEL = 8, INFLATED_HEADER_BYTES = 1 << 20 };

bool image_is_dicom(const uint8_t *bytes, size_t size)
{
    if (size >= 132 && memcmp(bytes + 128, "DICM", 4) == 0)
        return true;
    /* Without a preamble: the first elements of group 0002, or of group 0008 in any syntax. */
    if (size < 16)
        return false;
    bool is_big = bytes[0] == 0;
    uint8_t group = bytes[is_big ? 1 : 0], element = bytes[is_big ? 3 : 2];
    if (bytes[is_big ? 0 : 1] != 0 || bytes[is_big ? 2 : 3] != 0 || (group != 2 && group != 8) || element > 0x18)
        return false;
    static const char *const vrs[] = {"UL", "OB", "CS", "UI", "DA", "SH", "LO"};
    for (size_t i = 0; i < sizeof vrs / sizeof vrs[0]; i++)
        if (memcmp(bytes + 4, vrs[i], 2) == 0)
            return true;
    return !is_big && group == 8 && bytes[5] == 0 && bytes[6] == 0 && bytes[7] == 0; /* implicit, a short value */
}

static base_status decode_frame(const dicom_file *file, const dicom_shape *shape, uint32_t frame, image *out,
                                base_error *error)
{
    dicom_raster raster = {.rows = shape->rows, .columns = shape->columns, .samples = shape->samples};
    size_t n, n_bytes;
    if (base_size_mul((size_t)shape->rows * shape->columns, shape->samples, &n) &&
        base_size_mul(n, sizeof *raster.out, &n_bytes))
        raster.out = malloc(n_bytes);
    if (raster.out == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a DICOM of %u x %u pixels", shape->columns, shape->rows);
    base_status status = dicom_frame_read(file, shape, frame, &raster, error);
    uint32_t channels = shape->colours == DICOM_PALETTE ? 3 : shape->samples;
    if (status == BASE_OK)
        status = image_alloc("DICOM", shape->columns, shape->rows, channels, UINT64_MAX, out, error);
    if (status == BASE_OK)
        status = dicom_tone(file, shape, &raster, out, error);
    free(raster.out);
    return status;
}

static base_status make_square(const dicom_shape *shape, image *img, base_error *error)
{
    if (shape->width == img->width && shape->height == img->height)
        return BASE_OK;
    image square;
    base_status status = image_resize(img, shape->width, shape->height, &square, error);
    if (status == BASE_OK) {
        image_release(img);
        *img = square;
    }
    return status;
}

base_status image_decode_dicom(const uint8_t *bytes, size_t size, const image_options *options, image *out,
                               base_error *error)
{
    size_t max_inflated;
    if (!base_size_mul(options->max_pixels, INFLATED_BYTES_PER_PIXEL, &max_inflated) ||
        !base_size_add(max_inflated, INFLATED_HEADER_BYTES, &max_inflated))
        max_inflated = SIZE_MAX;
    dicom_file file = {0};
    dicom_shape shape = {0};
    base_status status = dicom_file_read(&file, bytes, size, options->frame, max_inflated, error);
    if (status == BASE_OK)
        status = dicom_shape_read(&file, options->frame, options->max_pixels, &shape, error);
    if (status == BASE_OK)
        status = decode_frame(&file, &shape, options->frame, out, error);
    dicom_file_release(&file);
    return status == BASE_OK ? make_square(&shape, out, error) : status;
}
