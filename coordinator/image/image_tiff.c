/* image_tiff.c - the first page of a TIFF through libtiff, from memory.
 *
 * The library's messages are dropped: they may quote a file's texts.  A single allocation of it is bounded by the pixel
 * limit.  Samples are read in the machine's byte order, tile by tile or row by row, and put where they belong. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <tiffio.h>

#include "coordinator/image/image_int.h"

/* Tiles may extend past the image. */
#define TILE_MARGIN_BYTES (1 << 24)

typedef struct memory {
    const uint8_t *bytes;
    uint64_t size, at;
} memory;

static tmsize_t on_read(thandle_t handle, void *to, tmsize_t n)
{
    memory *m = handle;
    uint64_t left = m->at < m->size ? m->size - m->at : 0;
    size_t taken = n < 0 ? 0 : (uint64_t)n < left ? (size_t)n : (size_t)left;
    if (taken > 0)
        memcpy(to, m->bytes + m->at, taken);
    m->at += taken;
    return (tmsize_t)taken;
}

static tmsize_t on_write(thandle_t handle, void *from, tmsize_t n)
{
    (void)handle;
    (void)from;
    (void)n;
    return -1;
}

static toff_t on_seek(thandle_t handle, toff_t to, int whence)
{
    memory *m = handle;
    m->at = whence == SEEK_CUR ? m->at + to : whence == SEEK_END ? m->size + to : to;
    return m->at;
}

static int on_close(thandle_t handle)
{
    (void)handle;
    return 0;
}

static toff_t on_size(thandle_t handle)
{
    return ((memory *)handle)->size;
}

/* 1: handled; the library's global handlers, which print, are not called. */
static int on_message(TIFF *library, void *context, const char *module, const char *format, va_list arguments)
{
    (void)library;
    (void)context;
    (void)module;
    (void)format;
    (void)arguments;
    return 1;
}

static TIFF *open_memory(memory *m, uint64_t max_pixels)
{
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (options == NULL)
        return NULL;
    uint64_t max_alloc = max_pixels < (uint64_t)INT64_MAX / 16 ? max_pixels * 8 + TILE_MARGIN_BYTES : INT64_MAX;
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_message, NULL);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_message, NULL);
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)max_alloc);
    TIFF *library =
        TIFFClientOpenExt("memory", "rm", m, on_read, on_write, on_seek, on_close, on_size, NULL, NULL, options);
    TIFFOpenOptionsFree(options);
    return library;
}

typedef struct tiff_reader {
    TIFF *library;
    uint32_t width, height;
    uint16_t bits, samples, kind, planes;
    uint16_t *palette[3];
    uint8_t *samples8; /* owned: [height][width][samples], before palettes */
    base_error *error;
} tiff_reader;

static base_status refuse_kind(const tiff_reader *r, const char *what, unsigned value)
{
    return base_fail(r->error, BASE_EUNSUPPORTED,
                     "a TIFF with %s %u is not read here; save it as grey, RGB or palette of 8 or 16 bits", what,
                     value);
}

/* What scanners and viewers write; the library knows more, some of them obsolete or prone to decompression bombs. */
static bool is_known_compression(uint16_t compression)
{
    const uint16_t known[] = {COMPRESSION_NONE,          COMPRESSION_LZW,     COMPRESSION_JPEG,
                              COMPRESSION_ADOBE_DEFLATE, COMPRESSION_DEFLATE, COMPRESSION_PACKBITS};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i] == compression)
            return true;
    return false;
}

static base_status read_header(tiff_reader *r)
{
    TIFF *t = r->library;
    uint16_t format = SAMPLEFORMAT_UINT, compression = COMPRESSION_NONE;
    if (!TIFFGetField(t, TIFFTAG_IMAGEWIDTH, &r->width) || !TIFFGetField(t, TIFFTAG_IMAGELENGTH, &r->height) ||
        !TIFFGetField(t, TIFFTAG_PHOTOMETRIC, &r->kind))
        return base_fail(r->error, BASE_EFORMAT, "damaged TIFF: its first page has no size or colours");
    TIFFGetFieldDefaulted(t, TIFFTAG_BITSPERSAMPLE, &r->bits);
    TIFFGetFieldDefaulted(t, TIFFTAG_SAMPLESPERPIXEL, &r->samples);
    TIFFGetFieldDefaulted(t, TIFFTAG_PLANARCONFIG, &r->planes);
    TIFFGetFieldDefaulted(t, TIFFTAG_SAMPLEFORMAT, &format);
    TIFFGetFieldDefaulted(t, TIFFTAG_COMPRESSION, &compression);
    if (!is_known_compression(compression))
        return refuse_kind(r, "compression", compression);
    if (r->bits != 8 && r->bits != 16)
        return refuse_kind(r, "bits a sample", r->bits);
    if (format != SAMPLEFORMAT_UINT && format != SAMPLEFORMAT_VOID)
        return refuse_kind(r, "sample format", format);
    bool is_grey = r->kind == PHOTOMETRIC_MINISWHITE || r->kind == PHOTOMETRIC_MINISBLACK;
    if (!is_grey && r->kind != PHOTOMETRIC_RGB && r->kind != PHOTOMETRIC_PALETTE)
        return refuse_kind(r, "photometric interpretation", r->kind);
    if (r->samples != (r->kind == PHOTOMETRIC_RGB ? 3 : 1))
        return refuse_kind(r, "samples a pixel:", r->samples);
    if (r->kind == PHOTOMETRIC_PALETTE &&
        !TIFFGetField(t, TIFFTAG_COLORMAP, &r->palette[0], &r->palette[1], &r->palette[2]))
        return base_fail(r->error, BASE_EFORMAT, "damaged TIFF: it has no palette");
    return BASE_OK;
}

/* A sample as 8 bits; a palette's index as it is. */
static uint8_t sample_at(const tiff_reader *r, const uint8_t *from, size_t i)
{
    uint32_t value;
    if (r->bits == 8)
        value = from[i];
    else {
        uint16_t word;
        memcpy(&word, from + 2 * i, sizeof word);
        value = (word * 255u + 32767u) / 65535u;
    }
    return (uint8_t)(r->kind == PHOTOMETRIC_MINISWHITE ? 255 - value : value);
}

/* Put n_x x n_y pixels of a block with `pitch` samples a row at (x, y); plane `c`, or all samples when not planar. */
static void place(tiff_reader *r, const uint8_t *block, size_t pitch, uint32_t x, uint32_t y, uint32_t n_x,
                  uint32_t n_y, uint16_t c)
{
    bool is_planar = r->planes == PLANARCONFIG_SEPARATE;
    uint32_t step = is_planar ? r->samples : 1, n = is_planar ? n_x : n_x * r->samples;
    for (uint32_t row = 0; row < n_y; row++) {
        const uint8_t *from = block + (size_t)row * pitch * (r->bits / 8);
        uint8_t *to = r->samples8 + (((size_t)y + row) * r->width + x) * r->samples + (is_planar ? c : 0);
        for (uint32_t i = 0; i < n; i++)
            to[(size_t)i * step] = sample_at(r, from, i);
    }
}

static bool read_rows(tiff_reader *r, uint8_t *block, uint16_t plane)
{
    for (uint32_t y = 0; y < r->height; y++) {
        if (TIFFReadScanline(r->library, block, y, plane) != 1)
            return false;
        place(r, block, 0, 0, y, r->width, 1, plane);
    }
    return true;
}

static bool read_tiles(tiff_reader *r, uint8_t *block, uint16_t plane)
{
    uint32_t across = 0, down = 0;
    if (!TIFFGetField(r->library, TIFFTAG_TILEWIDTH, &across) || !TIFFGetField(r->library, TIFFTAG_TILELENGTH, &down) ||
        across == 0 || down == 0)
        return false;
    size_t pitch = (size_t)across * (r->planes == PLANARCONFIG_SEPARATE ? 1 : r->samples);
    for (uint64_t y = 0; y < r->height; y += down)
        for (uint64_t x = 0; x < r->width; x += across) {
            uint64_t n_x = r->width - x, n_y = r->height - y;
            if (TIFFReadTile(r->library, block, (uint32_t)x, (uint32_t)y, 0, plane) < 0)
                return false;
            place(r, block, pitch, (uint32_t)x, (uint32_t)y, n_x < across ? (uint32_t)n_x : across,
                  n_y < down ? (uint32_t)n_y : down, plane);
        }
    return true;
}

static base_status read_samples(tiff_reader *r, uint64_t max_pixels)
{
    bool is_tiled = TIFFIsTiled(r->library) != 0;
    uint64_t block_bytes = is_tiled ? TIFFTileSize64(r->library) : TIFFScanlineSize64(r->library);
    uint64_t row_bytes = (uint64_t)r->width * (r->bits / 8) * (r->planes == PLANARCONFIG_SEPARATE ? 1 : r->samples);
    if (block_bytes == 0 || (!is_tiled && block_bytes < row_bytes))
        return base_fail(r->error, BASE_EFORMAT, "damaged TIFF: its rows or tiles are empty");
    if (block_bytes > max_pixels * 8 + TILE_MARGIN_BYTES)
        return base_fail(r->error, BASE_ETOOBIG, "the TIFF has tiles of %llu bytes: save it with smaller ones",
                         (unsigned long long)block_bytes);
    uint8_t *block = malloc((size_t)block_bytes);
    if (block == NULL)
        return base_fail(r->error, BASE_ENOMEM, "no memory to decode the TIFF");
    uint16_t n_planes = r->planes == PLANARCONFIG_SEPARATE ? r->samples : 1;
    bool good = true;
    for (uint16_t plane = 0; plane < n_planes && good; plane++)
        good = is_tiled ? read_tiles(r, block, plane) : read_rows(r, block, plane);
    free(block);
    return good ? BASE_OK
                : base_fail(r->error, BASE_EFORMAT,
                            "truncated or damaged TIFF: its pixels do not decode; was it sent whole?");
}

/* A palette has 16 bits an entry. */
static void apply_palette(const tiff_reader *r, image *out)
{
    size_t n = (size_t)r->width * r->height;
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < 3; c++)
            out->pixels[3 * i + c] = (uint8_t)((r->palette[c][r->samples8[i]] * 255u + 32767u) / 65535u);
}

static base_status read_page(tiff_reader *r, uint64_t max_pixels, image *out)
{
    base_status status = read_header(r);
    if (status != BASE_OK)
        return status;
    bool has_palette = r->kind == PHOTOMETRIC_PALETTE;
    if (has_palette && r->bits != 8)
        return refuse_kind(r, "a palette and bits a sample", r->bits);
    image plain = {0};
    status = image_alloc("TIFF", r->width, r->height, r->samples, max_pixels, &plain, r->error);
    if (status != BASE_OK)
        return status;
    r->samples8 = plain.pixels;
    status = read_samples(r, max_pixels);
    if (status == BASE_OK && has_palette)
        status = image_alloc("TIFF", r->width, r->height, 3, max_pixels, out, r->error);
    if (status == BASE_OK && has_palette)
        apply_palette(r, out);
    if (status == BASE_OK && !has_palette)
        *out = plain;
    else
        image_release(&plain);
    return status;
}

base_status image_decode_tiff(const uint8_t *bytes, size_t size, uint64_t max_pixels, image *out, uint32_t *orientation,
                              base_error *error)
{
    memory m = {.bytes = bytes, .size = size};
    tiff_reader r = {.library = open_memory(&m, max_pixels), .error = error};
    if (r.library == NULL)
        return base_fail(error, BASE_EFORMAT, "truncated or damaged TIFF: it has no readable first page");
    base_status status = read_page(&r, max_pixels, out);
    uint16_t turned = 1;
    if (status == BASE_OK && TIFFGetField(r.library, TIFFTAG_ORIENTATION, &turned))
        *orientation = turned;
    TIFFClose(r.library);
    return status;
}
