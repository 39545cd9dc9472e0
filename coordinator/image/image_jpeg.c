/* image_jpeg.c - JPEG through libjpeg-turbo, to 8 bits of grey or RGB.
 *
 * The library reports errors through callbacks that must not return: they record the cause and longjmp back.  Its
 * warnings nearly always mean damaged data ("premature end of JPEG file" gives an image with a grey lower half), so
 * they are errors here. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "coordinator/image/image_int.h"

/* A progressive file may repeat scans over the whole image; real ones have about ten. */
#define MAX_SCANS 100

typedef struct jpeg_reader {
    struct jpeg_decompress_struct library;
    struct jpeg_error_mgr callbacks;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    base_status status;
    base_error *error;
    uint64_t max_pixels;
    image *out;
    uint32_t orientation;
} jpeg_reader;

static jpeg_reader *reader_of(j_common_ptr library)
{
    return library->client_data;
}

/* Turn the library's pending message into our error and leave it. */
static void leave(j_common_ptr library)
{
    jpeg_reader *reader = reader_of(library);
    char why[JMSG_LENGTH_MAX];
    library->err->format_message(library, why);
    switch (library->err->msg_code) {
    case JERR_OUT_OF_MEMORY:
        reader->status = base_fail(reader->error, BASE_ENOMEM, "no memory to decode the JPEG");
        break;
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
    case JERR_ARITH_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
        reader->status = base_fail(reader->error, BASE_EUNSUPPORTED, "this kind of JPEG is not read here: %s", why);
        break;
    case JERR_INPUT_EMPTY:
    case JERR_INPUT_EOF:
    case JWRN_JPEG_EOF:
        reader->status = base_fail(reader->error, BASE_EFORMAT, "truncated JPEG: %s; was it sent whole?", why);
        break;
    default:
        reader->status = base_fail(reader->error, BASE_EFORMAT, "damaged JPEG: %s", why);
    }
    longjmp(reader->back, 1);
}

/* Warnings have level -1, traces 0 and up. */
static void on_message(j_common_ptr library, int level)
{
    int code = library->err->msg_code;
    bool is_harmless = code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM || code == JWRN_BOGUS_ICC;
    if (level < 0 && !is_harmless)
        leave(library);
}

static void on_output(j_common_ptr library)
{
    (void)library; /* nothing goes to stderr */
}

static void on_progress(j_common_ptr library)
{
    jpeg_reader *reader = reader_of(library);
    if (reader->library.input_scan_number > MAX_SCANS) {
        reader->status = base_fail(reader->error, BASE_ETOOBIG, "the JPEG has more than %d scans", MAX_SCANS);
        longjmp(reader->back, 1);
    }
}

static void refuse(jpeg_reader *reader, base_status status)
{
    reader->status = status;
    longjmp(reader->back, 1);
}

static void read_orientation(jpeg_reader *reader)
{
    reader->orientation = 1;
    for (jpeg_saved_marker_ptr marker = reader->library.marker_list; marker != NULL; marker = marker->next)
        if (marker->marker == JPEG_APP0 + 1 && reader->orientation == 1)
            reader->orientation = image_exif_orientation(marker->data, marker->data_length);
}

/* Choose the output's colours and allocate its memory. */
static void prepare(jpeg_reader *reader)
{
    struct jpeg_decompress_struct *library = &reader->library;
    switch (library->jpeg_color_space) {
    case JCS_GRAYSCALE:
        library->out_color_space = JCS_GRAYSCALE;
        break;
    case JCS_RGB:
    case JCS_YCbCr:
        library->out_color_space = JCS_RGB;
        break;
    default:
        refuse(reader, base_fail(reader->error, BASE_EUNSUPPORTED,
                                 "the JPEG has CMYK or unknown colours (%d components); send grey or RGB",
                                 library->num_components));
    }
    library->dct_method = JDCT_ISLOW; /* the same bits with and without SIMD */
    uint32_t channels = library->out_color_space == JCS_GRAYSCALE ? 1 : 3;
    base_status status = image_alloc("JPEG", library->image_width, library->image_height, channels, reader->max_pixels,
                                     reader->out, reader->error);
    if (status != BASE_OK)
        refuse(reader, status);
}

/* Everything that may jump. */
static void read_image(jpeg_reader *reader, const uint8_t *bytes, size_t size)
{
    struct jpeg_decompress_struct *library = &reader->library;
    jpeg_create_decompress(library);
    library->progress = &reader->progress;
    jpeg_mem_src(library, bytes, size);
    jpeg_save_markers(library, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(library, TRUE);
    read_orientation(reader);
    prepare(reader);
    jpeg_start_decompress(library);
    size_t row_bytes = (size_t)reader->out->width * reader->out->channels;
    while (library->output_scanline < library->output_height) {
        JSAMPROW row = reader->out->pixels + library->output_scanline * row_bytes;
        jpeg_read_scanlines(library, &row, 1);
    }
    jpeg_finish_decompress(library);
}

base_status image_decode_jpeg(const uint8_t *bytes, size_t size, uint64_t max_pixels, image *out, uint32_t *orientation,
                              base_error *error)
{
    jpeg_reader reader = {.error = error, .max_pixels = max_pixels, .out = out, .status = BASE_OK, .orientation = 1};
    reader.library.err = jpeg_std_error(&reader.callbacks);
    reader.library.client_data = &reader;
    reader.callbacks.error_exit = leave;
    reader.callbacks.emit_message = on_message;
    reader.callbacks.output_message = on_output;
    reader.progress.progress_monitor = on_progress;
    if (setjmp(reader.back) == 0)
        read_image(&reader, bytes, size);
    jpeg_destroy_decompress(&reader.library);
    if (reader.status == BASE_OK)
        *orientation = reader.orientation;
    return reader.status;
}
