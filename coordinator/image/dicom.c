/* dicom.c - a frame of a DICOM file to an 8-bit image: the parts of dicom_int.h in their order, then square pixels. */
#include <stdlib.h>

#include "coordinator/image/dicom_int.h"
#include "proto/base/size.h"

/* Pixels take 6 bytes at most, one frame; a deflated file may hold some frames, and a header. */
enum { INFLATED_BYTES_PER_PIXEL = 8, INFLATED_HEADER_BYTES = 1 << 20 };

static base_status to_8_bits(const dicom_file *file, const dicom_geometry *geometry, const dicom_raster *raster,
                             image *out, base_error *error)
{
    if (geometry->colours == DICOM_PALETTE)
        return dicom_palette(file, geometry, raster, out, error);
    if (geometry->samples == 1)
        return dicom_voi(file, geometry, raster, out, error);
    dicom_colour(geometry, raster, out);
    return BASE_OK;
}

static base_status decode_frame(const dicom_file *file, const dicom_geometry *geometry, uint32_t frame, image *out,
                                base_error *error)
{
    dicom_raster raster = {.rows = geometry->rows, .columns = geometry->columns, .samples = geometry->samples};
    size_t n, n_bytes;
    if (base_size_mul((size_t)geometry->rows * geometry->columns, geometry->samples, &n) &&
        base_size_mul(n, sizeof *raster.out, &n_bytes))
        raster.out = malloc(n_bytes);
    if (raster.out == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a DICOM of %u x %u pixels", geometry->columns,
                         geometry->rows);
    base_status status = dicom_frame_read(file, geometry, frame, &raster, error);
    uint32_t channels = geometry->colours == DICOM_PALETTE ? 3 : geometry->samples;
    if (status == BASE_OK)
        status = image_alloc("DICOM", geometry->columns, geometry->rows, channels, UINT64_MAX, out, error);
    if (status == BASE_OK)
        status = to_8_bits(file, geometry, &raster, out, error);
    free(raster.out);
    return status;
}

static base_status make_square(const dicom_geometry *geometry, image *img, base_error *error)
{
    if (geometry->width == img->width && geometry->height == img->height)
        return BASE_OK;
    image square;
    base_status status = image_resize(img, geometry->width, geometry->height, &square, error);
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
    dicom_file file = {.warnings = options->warnings};
    dicom_geometry geometry = {0};
    base_status status = dicom_file_read(&file, bytes, size, options->frame, max_inflated, error);
    if (status == BASE_OK)
        status = dicom_geometry_read(&file, options->frame, options->max_pixels, &geometry, error);
    if (status == BASE_OK)
        status = decode_frame(&file, &geometry, options->frame, out, error);
    if (status == BASE_OK)
        dicom_warn_of_study(&file, &geometry, options->frame, options->expected);
    dicom_file_release(&file);
    return status == BASE_OK ? make_square(&geometry, out, error) : status;
}
