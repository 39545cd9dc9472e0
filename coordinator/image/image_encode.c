/* image_encode.c - samples to PNG, for the demo and for tests. */
#include <setjmp.h>

#include <png.h>

#include "coordinator/image/image.h"

static void on_error(png_structp library, png_const_charp why)
{
    (void)why;
    png_longjmp(library, 1);
}

static void on_warning(png_structp library, png_const_charp why)
{
    (void)library;
    (void)why;
}

static void on_write(png_structp library, png_bytep bytes, size_t size)
{
    base_buf_put(png_get_io_ptr(library), bytes, size);
}

static void on_flush(png_structp library)
{
    (void)library;
}

/* Everything that may jump; false when it did. */
static bool write_image(png_structp library, png_infop info, const uint8_t *samples, uint32_t width, uint32_t height,
                        uint32_t channels, uint32_t bits, base_buf *out)
{
    if (setjmp(png_jmpbuf(library)) != 0)
        return false;
    png_set_write_fn(library, out, on_write, on_flush);
    png_set_IHDR(library, info, width, height, (int)bits, channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(library, info);
    if (bits == 16)
        png_set_swap(library); /* PNG is big-endian; base/buf.c refuses to build where we are not little-endian */
    size_t row_bytes = (size_t)width * channels * (bits / 8);
    for (uint32_t y = 0; y < height; y++)
        png_write_row(library, samples + y * row_bytes);
    png_write_end(library, info);
    return true;
}

base_status image_encode_png(const void *samples, uint32_t width, uint32_t height, uint32_t channels, uint32_t bits,
                             base_buf *out, base_error *error)
{
    if (width == 0 || height == 0 || width > PNG_USER_WIDTH_MAX || height > PNG_USER_HEIGHT_MAX ||
        (channels != 1 && channels != 3) || (bits != 8 && bits != 16))
        return base_fail(error, BASE_EINVAL, "cannot write a PNG of %u x %u pixels with %u channels of %u bits", width,
                         height, channels, bits);
    png_structp library = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning);
    png_infop info = library == NULL ? NULL : png_create_info_struct(library);
    bool good = info != NULL && write_image(library, info, samples, width, height, channels, bits, out);
    png_destroy_write_struct(&library, &info);
    if (!good || out->failed)
        return base_fail(error, BASE_ENOMEM, "no memory to write a PNG of %u x %u pixels", width, height);
    return BASE_OK;
}
