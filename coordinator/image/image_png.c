/* image_png.c - PNG through libpng, every kind to 8 bits of grey or RGB.
 *
 * Like libjpeg, libpng reports an error by longjmp.  Chunks that do not change the image (profiles, texts, times) are
 * skipped unread; a wrong checksum in any other chunk is an error.
 *
 * A stream may go on after the last row, and libpng inflates all of it together with that row: gigabytes from a file of
 * megabytes.  So the compressed bytes that remain are counted before, and more than an encoder's slack is refused. */
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <png.h>

#include "coordinator/image/image_int.h"

/* Compressed bytes that may follow the last row: a checksum is 4, and some writers append a row. */
enum { MAX_TRAILING_BYTES = 4096 };

typedef struct png_reader {
    png_structp library;
    png_infop info;
    const uint8_t *bytes;
    size_t size, at; /* at: how far the library has read */
    bool is_cut;
    base_status status;
    base_error *error;
    uint64_t max_pixels;
    image *out;
    uint32_t orientation;
} png_reader;

static void on_error(png_structp library, png_const_charp why)
{
    png_reader *reader = png_get_error_ptr(library);
    if (reader->is_cut)
        reader->status = base_fail(reader->error, BASE_EFORMAT, "truncated PNG: it ends early; was it sent whole?");
    else if (reader->status == BASE_OK)
        reader->status = base_fail(reader->error, BASE_EFORMAT, "damaged PNG: %s", why);
    png_longjmp(library, 1);
}

static void on_warning(png_structp library, png_const_charp why)
{
    (void)library;
    (void)why;
}

static void on_read(png_structp library, png_bytep out, size_t size)
{
    png_reader *reader = png_get_io_ptr(library);
    if (size > reader->size - reader->at) {
        reader->is_cut = true;
        png_error(library, "cut short");
    }
    memcpy(out, reader->bytes + reader->at, size);
    reader->at += size;
}

static void skip_annotations(png_structp library)
{
    static const png_byte names[] =
        "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0sTER\0tEXt\0"
        "tIME\0zTXt";
    png_set_keep_unknown_chunks(library, PNG_HANDLE_CHUNK_NEVER, names, (int)(sizeof names / 5));
    png_set_keep_unknown_chunks(library, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
}

/* To 8-bit grey or RGB, with alpha where there is transparency. */
static void set_transforms(png_reader *reader)
{
    png_structp library = reader->library;
    png_byte colour = png_get_color_type(library, reader->info);
    if (colour == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(library);
    if (colour == PNG_COLOR_TYPE_GRAY)
        png_set_expand_gray_1_2_4_to_8(library);
    if (png_get_valid(library, reader->info, PNG_INFO_tRNS) != 0)
        png_set_tRNS_to_alpha(library);
    png_set_scale_16(library); /* round(v * 255 / 65535), not a shift */
}

/* Where the image data end: after the last IDAT chunk.  A chunk: u32 length, name, data, u32 checksum. */
static size_t image_data_end(const png_reader *reader)
{
    size_t end = 0;
    for (size_t at = 8; at < reader->size && reader->size - at >= 12;) {
        const uint8_t *chunk = reader->bytes + at;
        size_t n = (size_t)chunk[0] << 24 | (size_t)chunk[1] << 16 | (size_t)chunk[2] << 8 | chunk[3];
        if (n > reader->size - at - 12)
            break;
        if (memcmp(chunk + 4, "IDAT", 4) == 0)
            end = at + 8 + n;
        at += 12 + n;
    }
    return end;
}

/* Before the last row is read: refuse, by a jump, image data that go on after it.  A row does not grow by an eighth
 * when it is compressed. */
static void check_trailing(png_reader *reader, size_t raw_row_bytes)
{
    size_t end = image_data_end(reader), n = end > reader->at ? end - reader->at : 0;
    size_t row = raw_row_bytes + raw_row_bytes / 8;
    if (n <= row + MAX_TRAILING_BYTES)
        return;
    reader->status =
        base_fail(reader->error, BASE_EFORMAT,
                  "damaged PNG: about %zu bytes of image data follow its last row; at most %d are accepted", n - row,
                  MAX_TRAILING_BYTES);
    png_longjmp(reader->library, 1);
}

static void read_orientation(png_reader *reader)
{
    png_bytep block = NULL;
    png_uint_32 n = 0;
    if (png_get_eXIf_1(reader->library, reader->info, &n, &block) != 0 && block != NULL)
        reader->orientation = image_exif_orientation(block, n);
}

static void read_rows(png_reader *reader)
{
    png_structp library = reader->library;
    int n_passes = png_set_interlace_handling(library);
    size_t raw_row_bytes = png_get_rowbytes(library, reader->info);
    png_read_update_info(library, reader->info);
    image *out = reader->out;
    base_status status =
        image_alloc("PNG", png_get_image_width(library, reader->info), png_get_image_height(library, reader->info),
                    png_get_channels(library, reader->info), reader->max_pixels, out, reader->error);
    size_t row_bytes = (size_t)out->width * out->channels;
    if (status == BASE_OK && row_bytes != png_get_rowbytes(library, reader->info))
        status = base_fail(reader->error, BASE_EINTERNAL, "the PNG library gives rows of an unexpected size");
    if (status != BASE_OK) {
        reader->status = status;
        png_longjmp(library, 1);
    }
    for (int pass = 0; pass < n_passes; pass++)
        for (uint32_t y = 0; y < out->height; y++) {
            if (pass + 1 == n_passes && y + 1 == out->height)
                check_trailing(reader, raw_row_bytes);
            png_read_row(library, out->pixels + y * row_bytes, NULL);
        }
    png_read_end(library, reader->info); /* eXIf may come after the rows */
    read_orientation(reader);
}

/* Everything that may jump; here the jump comes back. */
static void read_image(png_reader *reader)
{
    if (setjmp(png_jmpbuf(reader->library)) != 0)
        return;
    png_set_read_fn(reader->library, reader, on_read);
    png_set_crc_action(reader->library, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    skip_annotations(reader->library);
    png_read_info(reader->library, reader->info);
    set_transforms(reader);
    read_rows(reader);
}

/* Composite over black, in place, and drop the alpha channel. */
static void flatten(image *img)
{
    uint32_t colours = img->channels - 1;
    size_t n = (size_t)img->width * img->height;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *from = img->pixels + i * img->channels;
        uint8_t *to = img->pixels + i * colours;
        uint32_t alpha = from[colours];
        for (uint32_t c = 0; c < colours; c++)
            to[c] = (uint8_t)((from[c] * alpha + 127) / 255);
    }
    img->channels = colours;
}

base_status image_decode_png(const uint8_t *bytes, size_t size, uint64_t max_pixels, image *out, uint32_t *orientation,
                             base_error *error)
{
    png_reader reader = {.bytes = bytes,
                         .size = size,
                         .error = error,
                         .max_pixels = max_pixels,
                         .out = out,
                         .status = BASE_OK,
                         .orientation = 1};
    reader.library = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
    reader.info = reader.library == NULL ? NULL : png_create_info_struct(reader.library);
    if (reader.info == NULL)
        reader.status = base_fail(error, BASE_ENOMEM, "no memory to decode the PNG");
    else
        read_image(&reader);
    png_destroy_read_struct(&reader.library, &reader.info, NULL);
    if (reader.status == BASE_OK && out->channels % 2 == 0)
        flatten(out);
    if (reader.status == BASE_OK)
        *orientation = reader.orientation;
    return reader.status;
}
