/* dicom_colour.c - samples of colour images to 8-bit RGB: palettes, RGB and YBR.
 *
 * PS3.3 C.7.6.3.1.2 (photometric interpretation), C.7.6.3.1.5 (palettes).  Where a JPEG stream says what its three
 * components are, it is believed before the header: writers often leave the header at RGB. */
#include "coordinator/image/dicom_int.h"

base_status dicom_palette(const dicom_file *file, const dicom_geometry *geometry, const dicom_raster *raster,
                          image *out, base_error *error)
{
    const dicom_field descriptors[] = {DICOM_RED_DESCRIPTOR, DICOM_GREEN_DESCRIPTOR, DICOM_BLUE_DESCRIPTOR};
    uint32_t bits = dicom_sample_bits(geometry, raster), mask = (1u << bits) - 1;
    size_t n = (size_t)raster->rows * raster->columns;
    for (size_t c = 0; c < 3; c++) {
        dicom_lut lut;
        base_status status = dicom_lut_open(file, descriptors[c], geometry->is_signed, &lut, error);
        if (status != BASE_OK)
            return status;
        uint8_t table[DICOM_N_LEVELS];
        for (uint32_t raw = 0; raw <= mask; raw++) {
            double entry = dicom_lut_value(&lut, dicom_sample_value(raw, bits, geometry->is_signed));
            table[raw] = dicom_to_byte(entry / lut.max_value);
        }
        for (size_t i = 0; i < n; i++)
            out->pixels[3 * i + c] = table[raster->out[i] & mask];
    }
    return BASE_OK;
}

/* The colours of JPEG (JFIF, ITU-T T.871), full range. */
static void ybr_to_rgb(uint8_t *pixels, size_t n)
{
    for (size_t i = 0; i < n; i++, pixels += 3) {
        double y = pixels[0], b = pixels[1] - 128.0, r = pixels[2] - 128.0;
        pixels[0] = dicom_to_byte((y + 1.402 * r) / 255.0);
        pixels[1] = dicom_to_byte((y - 0.114 * 1.772 / 0.587 * b - 0.299 * 1.402 / 0.587 * r) / 255.0);
        pixels[2] = dicom_to_byte((y + 1.772 * b) / 255.0);
    }
}

void dicom_colour(const dicom_geometry *geometry, const dicom_raster *raster, image *out)
{
    uint32_t bits = dicom_sample_bits(geometry, raster), max_value = (1u << bits) - 1;
    size_t n = (size_t)raster->rows * raster->columns;
    for (size_t i = 0; i < 3 * n; i++)
        out->pixels[i] = (uint8_t)(((raster->out[i] & max_value) * 510u + max_value) / (2 * max_value));
    bool is_ybr = geometry->colours == DICOM_YBR || geometry->colours == DICOM_YBR_422;
    if (raster->stream_is_ybr || (is_ybr && !raster->stream_is_rgb))
        ybr_to_rgb(out->pixels, n);
}
