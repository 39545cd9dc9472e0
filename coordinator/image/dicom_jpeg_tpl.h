/* dicom_jpeg_tpl.h - template: decode a JPEG stream with one of GDCM's three libjpegs.  Included once for each, after
 * its jpeglib.h and with DICOM_JPEG_DECODE defined as the function's name.
 *
 * As in image_jpeg.c the library's callbacks jump back, and warnings are errors, except one about parameters that only
 * a progressive stream has, which some modalities fill with anything.  Colours are not converted: the stream says what
 * they are, or else the DICOM header does. */
#ifndef DICOM_JPEG_DECODE
#error "define DICOM_JPEG_DECODE, and include a jpeglib.h, before"
#endif

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <gdcm-3.0/gdcmjpeg/jerror.h>

#include "coordinator/image/dicom_int.h"

/* A colour image has three scans at most where components are not interleaved. */
#define MAX_SCANS 16

typedef struct jpeg_reader {
    struct jpeg_decompress_struct library;
    struct jpeg_error_mgr callbacks;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    dicom_raster *raster;
    JSAMPLE *row; /* owned: [columns][samples] */
    const char *problem;
} jpeg_reader;

static void fail_with(j_common_ptr library, const char *problem)
{
    jpeg_reader *reader = library->client_data;
    reader->problem = problem;
    longjmp(reader->back, 1);
}

static void on_error(j_common_ptr library)
{
    fail_with(library, "the stream is damaged");
}

static void on_message(j_common_ptr library, int level)
{
    if (level < 0 && library->err->msg_code != JWRN_NOT_SEQUENTIAL)
        fail_with(library, "the stream is damaged");
}

static void on_output(j_common_ptr library)
{
    (void)library; /* nothing goes to stderr */
}

static void on_progress(j_common_ptr library)
{
    jpeg_reader *reader = library->client_data;
    if (reader->library.input_scan_number > MAX_SCANS)
        fail_with(library, "the stream has too many scans");
}

static void on_begin(j_decompress_ptr library)
{
    (void)library;
}

static boolean on_empty(j_decompress_ptr library)
{
    fail_with((j_common_ptr)library, "the stream ends early; was it sent whole?");
    return FALSE;
}

static void on_skip(j_decompress_ptr library, long n)
{
    struct jpeg_source_mgr *source = library->src;
    if (n < 0 || (size_t)n > source->bytes_in_buffer)
        (void)on_empty(library);
    source->next_input_byte += n;
    source->bytes_in_buffer -= (size_t)n;
}

static void set_callbacks(jpeg_reader *reader, dicom_bytes stream)
{
    struct jpeg_decompress_struct *library = &reader->library;
    reader->source = (struct jpeg_source_mgr){
        .next_input_byte = stream.at,
        .bytes_in_buffer = stream.size,
        .init_source = on_begin,
        .fill_input_buffer = on_empty,
        .skip_input_data = on_skip,
        .resync_to_restart = jpeg_resync_to_restart,
        .term_source = on_begin,
    };
    reader->progress.progress_monitor = on_progress;
    library->src = &reader->source;
    library->progress = &reader->progress;
}

static void copy_row(jpeg_reader *reader, uint32_t y)
{
    size_t n = (size_t)reader->raster->columns * reader->raster->samples;
    uint16_t *to = reader->raster->out + y * n;
    for (size_t i = 0; i < n; i++)
        to[i] = (uint16_t)reader->row[i];
}

/* Everything that may jump. */
static void read_stream(jpeg_reader *reader, dicom_bytes stream)
{
    struct jpeg_decompress_struct *library = &reader->library;
    dicom_raster *raster = reader->raster;
    jpeg_create_decompress(library);
    set_callbacks(reader, stream);
    jpeg_read_header(library, TRUE);
    raster->stream_is_ybr = library->saw_Adobe_marker ? library->Adobe_transform == 1 : library->saw_JFIF_marker != 0;
    raster->stream_is_rgb = library->saw_Adobe_marker && library->Adobe_transform == 0;
    library->out_color_space = library->jpeg_color_space;
    jpeg_start_decompress(library);
    if (library->output_width != raster->columns || library->output_height != raster->rows ||
        (uint32_t)library->output_components != raster->samples)
        fail_with((j_common_ptr)library, "the stream has other sizes than the header");
    while (library->output_scanline < library->output_height) {
        JSAMPROW row = reader->row;
        uint32_t y = library->output_scanline;
        if (jpeg_read_scanlines(library, &row, 1) != 1)
            fail_with((j_common_ptr)library, "the stream ends early; was it sent whole?");
        copy_row(reader, y);
    }
}

base_status DICOM_JPEG_DECODE(dicom_bytes stream, dicom_raster *raster, base_error *error)
{
    jpeg_reader *reader = calloc(1, sizeof *reader); /* on the heap: its fields must outlive the jump */
    JSAMPLE *row = calloc((size_t)raster->columns * raster->samples, sizeof *row);
    if (reader == NULL || row == NULL) {
        free(reader);
        free(row);
        return base_fail(error, BASE_ENOMEM, "no memory to decode a JPEG frame of the DICOM");
    }
    reader->raster = raster;
    reader->row = row;
    reader->library.err = jpeg_std_error(&reader->callbacks);
    reader->library.client_data = reader;
    reader->callbacks.error_exit = on_error;
    reader->callbacks.emit_message = on_message;
    reader->callbacks.output_message = on_output;
    if (setjmp(reader->back) == 0)
        read_stream(reader, stream);
    jpeg_destroy_decompress(&reader->library);
    const char *problem = reader->problem;
    free(reader->row);
    free(reader);
    return problem == NULL ? BASE_OK
                           : base_fail(error, BASE_EFORMAT, "damaged DICOM: its JPEG does not decode: %s", problem);
}
