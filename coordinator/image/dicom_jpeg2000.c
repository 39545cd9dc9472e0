/* dicom_jpeg2000.c - JPEG 2000 streams of DICOM through OpenJPEG.
 *
 * OpenJPEG allocates memory for every tile and component that a stream's first header names, so that header (SIZ; ISO
 * 15444-1 A.5.1) is read and checked here first.  A JP2 file where DICOM requires the bare codestream is read from its
 * codestream on. */
#include <string.h>

#include <openjpeg.h>

#include "coordinator/image/dicom_int.h"

enum { SIZ_BYTES = 42, MAX_TILES = 4096, MAX_BITS = 16 };

typedef struct memory {
    dicom_bytes bytes;
    size_t at;
} memory;

static OPJ_SIZE_T on_read(void *to, OPJ_SIZE_T n, void *context)
{
    memory *m = context;
    size_t left = m->bytes.size - m->at;
    if (left == 0)
        return (OPJ_SIZE_T)-1;
    n = n < left ? n : left;
    memcpy(to, m->bytes.at + m->at, n);
    m->at += n;
    return n;
}

static OPJ_OFF_T on_skip(OPJ_OFF_T n, void *context)
{
    memory *m = context;
    if (n < 0 || (size_t)n > m->bytes.size - m->at)
        return -1;
    m->at += (size_t)n;
    return n;
}

static OPJ_BOOL on_seek(OPJ_OFF_T to, void *context)
{
    memory *m = context;
    if (to < 0 || (size_t)to > m->bytes.size)
        return OPJ_FALSE;
    m->at = (size_t)to;
    return OPJ_TRUE;
}

static void on_message(const char *text, void *context)
{
    (void)text;
    (void)context;
}

static uint32_t big_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t tiles_along(uint32_t end, uint32_t origin, uint32_t step)
{
    return step == 0 || origin >= end ? UINT64_MAX / 2 : ((uint64_t)end - origin + step - 1) / step;
}

/* s: begins with SOC and SIZ. */
static bool has_sizes_of(dicom_bytes s, const dicom_raster *raster)
{
    if (s.size < SIZ_BYTES + (size_t)3 * raster->samples)
        return false;
    uint32_t right = big_u32(s.at + 8), bottom = big_u32(s.at + 12), x = big_u32(s.at + 16), y = big_u32(s.at + 20);
    uint32_t samples = (uint32_t)s.at[40] << 8 | s.at[41];
    if (right < x || bottom < y || right - x != raster->columns || bottom - y != raster->rows ||
        samples != raster->samples)
        return false;
    uint64_t across = tiles_along(right, big_u32(s.at + 32), big_u32(s.at + 24));
    uint64_t down = tiles_along(bottom, big_u32(s.at + 36), big_u32(s.at + 28));
    if (across > MAX_TILES || down > MAX_TILES || across * down > MAX_TILES)
        return false;
    for (uint32_t c = 0; c < samples; c++) {
        const uint8_t *component = s.at + SIZ_BYTES + (size_t)3 * c;
        if ((component[0] & 0x7F) >= MAX_BITS || component[1] != 1 || component[2] != 1)
            return false;
    }
    return true;
}

static bool copy_out(const opj_image_t *decoded, dicom_raster *raster)
{
    if (decoded->numcomps != raster->samples)
        return false;
    size_t n = (size_t)raster->rows * raster->columns;
    for (uint32_t c = 0; c < raster->samples; c++) {
        const opj_image_comp_t *component = &decoded->comps[c];
        if (component->data == NULL || component->w != raster->columns || component->h != raster->rows)
            return false;
        for (size_t i = 0; i < n; i++)
            raster->out[i * raster->samples + c] = (uint16_t)component->data[i]; /* two's complement when signed */
    }
    return true;
}

static bool decode(opj_codec_t *codec, opj_stream_t *stream, dicom_raster *raster)
{
    opj_dparameters_t parameters;
    opj_set_default_decoder_parameters(&parameters);
    opj_set_info_handler(codec, on_message, NULL);
    opj_set_warning_handler(codec, on_message, NULL);
    opj_set_error_handler(codec, on_message, NULL);
    opj_image_t *decoded = NULL;
    bool is_decoded = opj_setup_decoder(codec, &parameters) && opj_decoder_set_strict_mode(codec, OPJ_TRUE) &&
                      opj_read_header(stream, codec, &decoded) && opj_decode(codec, stream, decoded) &&
                      copy_out(decoded, raster);
    opj_image_destroy(decoded);
    return is_decoded;
}

/* From the first SOC that a SIZ follows. */
static dicom_bytes codestream_of(dicom_bytes stream)
{
    const uint8_t *at = memmem(stream.at, stream.size, "\xFF\x4F\xFF\x51", 4);
    return at == NULL ? (dicom_bytes){0} : (dicom_bytes){at, stream.size - (size_t)(at - stream.at)};
}

base_status dicom_decode_jpeg2000(dicom_bytes stream, dicom_raster *raster, base_error *error)
{
    memory m = {.bytes = codestream_of(stream)};
    if (m.bytes.at == NULL)
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: a frame is not a JPEG 2000 stream");
    if (!has_sizes_of(m.bytes, raster))
        return base_fail(
            error, BASE_EFORMAT,
            "damaged DICOM: its JPEG 2000 stream does not have the sizes its header says, or samples of more "
            "than %d bits, or more than %d tiles",
            MAX_BITS, MAX_TILES);
    if (!dicom_jpeg2000_is_bounded(m.bytes, raster))
        return base_fail(error, BASE_EFORMAT,
                         "damaged DICOM: its JPEG 2000 stream ends early, or is cut into absurdly small blocks");
    raster->bits = (m.bytes.at[SIZ_BYTES] & 0x7Fu) + 1;
    raster->stream_is_rgb = raster->samples == 3 && dicom_jpeg2000_has_colour_transform(m.bytes);
    opj_codec_t *codec = opj_create_decompress(OPJ_CODEC_J2K);
    opj_stream_t *reader = opj_stream_default_create(OPJ_TRUE);
    bool has_memory = codec != NULL && reader != NULL, is_decoded = false;
    if (has_memory) {
        opj_stream_set_read_function(reader, on_read);
        opj_stream_set_skip_function(reader, on_skip);
        opj_stream_set_seek_function(reader, on_seek);
        opj_stream_set_user_data(reader, &m, NULL);
        opj_stream_set_user_data_length(reader, m.bytes.size);
        is_decoded = decode(codec, reader, raster);
    }
    opj_stream_destroy(reader);
    opj_destroy_codec(codec);
    if (!has_memory)
        return base_fail(error, BASE_ENOMEM, "no memory to decode a JPEG 2000 frame of the DICOM");
    return is_decoded
               ? BASE_OK
               : base_fail(error, BASE_EFORMAT, "truncated or damaged DICOM: its JPEG 2000 stream does not decode");
}
