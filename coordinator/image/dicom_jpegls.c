/* dicom_jpegls.c - JPEG-LS streams of DICOM through CharLS. */
#include <stdlib.h>

#include <charls/charls.h>

#include "coordinator/image/dicom_int.h"

static base_status refuse(charls_jpegls_errc code, base_error *error)
{
    return base_fail(error, code == CHARLS_JPEGLS_ERRC_NOT_ENOUGH_MEMORY ? BASE_ENOMEM : BASE_EFORMAT,
                     "damaged DICOM: its JPEG-LS does not decode: %s", charls_get_error_message(code));
}

static base_status check_header(const charls_jpegls_decoder *library, dicom_raster *raster, size_t *n_bytes,
                                base_error *error)
{
    charls_frame_info info;
    charls_jpegls_errc code = charls_jpegls_decoder_get_frame_info(library, &info);
    if (code != CHARLS_JPEGLS_ERRC_SUCCESS)
        return refuse(code, error);
    if (info.height != raster->rows || info.width != raster->columns ||
        info.component_count != (int32_t)raster->samples || info.bits_per_sample < 2 || info.bits_per_sample > 16)
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: its JPEG-LS stream has other sizes than its header");
    raster->bits = (uint32_t)info.bits_per_sample;
    code = charls_jpegls_decoder_get_destination_size(library, 0, n_bytes);
    size_t expected = (size_t)raster->rows * raster->columns * raster->samples * (raster->bits > 8 ? 2 : 1);
    if (code != CHARLS_JPEGLS_ERRC_SUCCESS || *n_bytes != expected)
        return refuse(code, error);
    return BASE_OK;
}

/* Components follow one another in a stream that does not interleave them. */
static void interleave(const uint8_t *bytes, bool is_planar, dicom_raster *raster)
{
    size_t n = (size_t)raster->rows * raster->columns;
    for (size_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < raster->samples; c++) {
            size_t at = is_planar ? c * n + i : i * raster->samples + c;
            int sample = raster->bits > 8 ? bytes[2 * at] | bytes[2 * at + 1] << 8 : bytes[at];
            raster->out[i * raster->samples + c] = (uint16_t)sample;
        }
}

static base_status decode(charls_jpegls_decoder *library, dicom_bytes stream, dicom_raster *raster, base_error *error)
{
    charls_jpegls_errc code = charls_jpegls_decoder_set_source_buffer(library, stream.at, stream.size);
    if (code == CHARLS_JPEGLS_ERRC_SUCCESS)
        code = charls_jpegls_decoder_read_header(library);
    if (code != CHARLS_JPEGLS_ERRC_SUCCESS)
        return refuse(code, error);
    size_t n_bytes;
    base_status status = check_header(library, raster, &n_bytes, error);
    if (status != BASE_OK)
        return status;
    uint8_t *bytes = malloc(n_bytes);
    if (bytes == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to decode a JPEG-LS frame of the DICOM");
    charls_interleave_mode mode = CHARLS_INTERLEAVE_MODE_NONE;
    code = charls_jpegls_decoder_decode_to_buffer(library, bytes, n_bytes, 0);
    if (code == CHARLS_JPEGLS_ERRC_SUCCESS)
        code = charls_jpegls_decoder_get_interleave_mode(library, &mode);
    if (code == CHARLS_JPEGLS_ERRC_SUCCESS)
        interleave(bytes, mode == CHARLS_INTERLEAVE_MODE_NONE, raster);
    free(bytes);
    return code == CHARLS_JPEGLS_ERRC_SUCCESS ? BASE_OK : refuse(code, error);
}

base_status dicom_decode_jpegls(dicom_bytes stream, dicom_raster *raster, base_error *error)
{
    charls_jpegls_decoder *library = charls_jpegls_decoder_create();
    if (library == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to decode a JPEG-LS frame of the DICOM");
    base_status status = decode(library, stream, raster, error);
    charls_jpegls_decoder_destroy(library);
    return status;
}
