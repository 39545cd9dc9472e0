/* test_image.c - images from outside: every kind that is read, and every way to break one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jpeglib.h>
#include <png.h>
#include <zlib.h>

#include "proto/base/file.h"
#include "coordinator/image/image.h"
#include "proto/base/buf.h"

#define LIMIT (1u << 20)

static uint32_t random_state = 1;

static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

/* --- makers --- */

/* A smooth image, so that JPEG keeps it nearly as it is. */
static void draw(uint8_t *pixels, uint32_t width, uint32_t height, uint32_t channels)
{
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < channels; c++)
                *pixels++ = (uint8_t)(40 + 150 * x / width + 50 * y / height + 5 * c);
}

typedef struct jpeg_kind {
    J_COLOR_SPACE colours;
    int channels;
    bool progressive;
    uint32_t orientation; /* 0: no EXIF */
    bool many_scans;
    bool long_orientation; /* a LONG in place of a SHORT */
} jpeg_kind;

static void put_exif(struct jpeg_compress_struct *library, uint32_t orientation, bool is_long)
{
    uint8_t block[] = {'E', 'x',  'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1,
                       1,   0x12, 0,   3,   0, 0, 0,   1,   0, 0,  0, 0, 0, 0, 0, 0};
    block[19] = is_long ? 4 : 3;
    block[is_long ? 27 : 25] = (uint8_t)orientation;
    jpeg_write_marker(library, JPEG_APP0 + 1, block, sizeof block);
}

/* DC, then each AC coefficient without its lowest bit, then that bit. */
static int many_scans(jpeg_scan_info *scans)
{
    int n = 0;
    scans[n++] = (jpeg_scan_info){.comps_in_scan = 1};
    for (int k = 1; k < 64; k++) {
        scans[n++] = (jpeg_scan_info){.comps_in_scan = 1, .Ss = k, .Se = k, .Ah = 0, .Al = 1};
        scans[n++] = (jpeg_scan_info){.comps_in_scan = 1, .Ss = k, .Se = k, .Ah = 1, .Al = 0};
    }
    return n;
}

static void make_jpeg(const uint8_t *pixels, uint32_t width, uint32_t height, jpeg_kind kind, base_buf *out)
{
    struct jpeg_compress_struct library;
    struct jpeg_error_mgr callbacks;
    library.err = jpeg_std_error(&callbacks);
    jpeg_create_compress(&library);
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    jpeg_mem_dest(&library, &bytes, &size);
    library.image_width = width;
    library.image_height = height;
    library.input_components = kind.channels;
    library.in_color_space = kind.colours;
    jpeg_set_defaults(&library);
    jpeg_set_quality(&library, 95, TRUE);
    if (kind.progressive)
        jpeg_simple_progression(&library);
    jpeg_scan_info scans[127];
    if (kind.many_scans) {
        library.num_scans = many_scans(scans);
        library.scan_info = scans;
    }
    jpeg_start_compress(&library, TRUE);
    if (kind.orientation != 0)
        put_exif(&library, kind.orientation, kind.long_orientation);
    for (uint32_t y = 0; y < height; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (size_t)y * width * (uint32_t)kind.channels);
        jpeg_write_scanlines(&library, &row, 1);
    }
    jpeg_finish_compress(&library);
    jpeg_destroy_compress(&library);
    base_buf_put(out, bytes, size);
    free(bytes);
}

static void png_append(png_structp library, png_bytep bytes, size_t size)
{
    base_buf_put(png_get_io_ptr(library), bytes, size);
}

typedef struct png_kind {
    int colour, bits;
    bool interlaced, has_key; /* key: colour 0 is transparent */
} png_kind;

static void put_palette(png_structp library, png_infop info, int bits)
{
    png_color palette[256];
    for (int i = 0; i < 1 << bits; i++)
        palette[i] = (png_color){(png_byte)(i * 3), (png_byte)(255 - i), (png_byte)(i * 7)};
    png_set_PLTE(library, info, palette, 1 << bits);
}

/* `rows`: packed samples, big-endian, as PNG has them. */
static void make_png(const uint8_t *rows, size_t row_bytes, uint32_t width, uint32_t height, png_kind kind,
                     base_buf *out)
{
    png_structp library = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(library);
    if (setjmp(png_jmpbuf(library)) != 0)
        fail_msg("cannot make a PNG");
    png_set_write_fn(library, out, png_append, NULL);
    png_set_IHDR(library, info, width, height, kind.bits, kind.colour,
                 kind.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (kind.colour == PNG_COLOR_TYPE_PALETTE)
        put_palette(library, info, kind.bits);
    png_color_16 key = {0};
    png_byte alpha = 0;
    if (kind.has_key)
        png_set_tRNS(library, info, &alpha, 1, kind.colour == PNG_COLOR_TYPE_PALETTE ? NULL : &key);
    png_write_info(library, info);
    int n_passes = png_set_interlace_handling(library);
    for (int pass = 0; pass < n_passes; pass++)
        for (uint32_t y = 0; y < height; y++)
            png_write_row(library, rows + y * row_bytes);
    png_write_end(library, info);
    png_destroy_write_struct(&library, &info);
}

static base_status decode(const base_buf *file, image *out, base_error *error)
{
    /* An exact copy on the heap, so that a read beyond the end is seen. */
    uint8_t *copy = malloc(file->size > 0 ? file->size : 1);
    assert_non_null(copy);
    if (file->size > 0)
        memcpy(copy, file->data, file->size);
    base_status status = image_decode(copy, file->size, LIMIT, out, error);
    free(copy);
    return status;
}

static void assert_decodes(const base_buf *file, image *out)
{
    base_error error = {0};
    if (decode(file, out, &error) != BASE_OK)
        fail_msg("%s", error.text);
}

static void assert_fails(const base_buf *file, base_status status, const char *text)
{
    base_error error = {0};
    image img = {0};
    assert_int_equal(decode(file, &img, &error), status);
    assert_null(img.pixels);
    if (strstr(error.text, text) == NULL)
        fail_msg("'%s' is not in '%s'", text, error.text);
}

/* --- JPEG --- */

static void jpeg_kinds(void **state)
{
    (void)state;
    enum { W = 37, H = 21 };
    const jpeg_kind kinds[] = {{.colours = JCS_GRAYSCALE, .channels = 1},
                               {.colours = JCS_RGB, .channels = 3},
                               {.colours = JCS_GRAYSCALE, .channels = 1, .progressive = true},
                               {.colours = JCS_RGB, .channels = 3, .progressive = true}};
    for (size_t i = 0; i < 4; i++) {
        uint8_t pixels[W * H * 3];
        base_buf file = {0};
        image img = {0};
        draw(pixels, W, H, (uint32_t)kinds[i].channels);
        make_jpeg(pixels, W, H, kinds[i], &file);
        assert_decodes(&file, &img);
        assert_int_equal(img.width, W);
        assert_int_equal(img.height, H);
        assert_int_equal(img.channels, kinds[i].channels);
        for (size_t k = 0; k < (size_t)W * H * img.channels; k++)
            assert_true(abs((int)img.pixels[k] - (int)pixels[k]) <= 12);
        image_release(&img);
        base_buf_release(&file);
    }
}

static void jpeg_cmyk_is_refused(void **state)
{
    (void)state;
    uint8_t pixels[8 * 8 * 4];
    base_buf file = {0};
    memset(pixels, 90, sizeof pixels);
    make_jpeg(pixels, 8, 8, (jpeg_kind){.colours = JCS_CMYK, .channels = 4}, &file);
    assert_fails(&file, BASE_EUNSUPPORTED, "CMYK");
    base_buf_release(&file);
}

/* An image whose four corners differ; orientation o says where the stored corner goes.  Table: EXIF 2.3, tag 0x0112.
 */
static void jpeg_orientation_is_applied(void **state)
{
    (void)state;
    enum { W = 32, H = 16 };
    static uint8_t pixels[W * H];
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            pixels[y * W + x] = (uint8_t)(x < W / 2 ? (y < H / 2 ? 20 : 80) : (y < H / 2 ? 140 : 200));
    /* upper left, upper right, lower left, lower right of the upright image */
    static const int corners[9][4] = {{0},
                                      {20, 140, 80, 200},
                                      {140, 20, 200, 80},
                                      {200, 80, 140, 20},
                                      {80, 200, 20, 140},
                                      {20, 80, 140, 200},
                                      {80, 20, 200, 140},
                                      {200, 140, 80, 20},
                                      {140, 200, 20, 80}};
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t o = 1 + i / 2;
        base_buf file = {0};
        image img = {0};
        make_jpeg(
            pixels, W, H,
            (jpeg_kind){.colours = JCS_GRAYSCALE, .channels = 1, .orientation = o, .long_orientation = i % 2 != 0},
            &file);
        assert_decodes(&file, &img);
        assert_int_equal(img.width, o <= 4 ? W : H);
        uint32_t right = img.width - 1, bottom = (img.height - 1) * img.width;
        const uint32_t at[4] = {0, right, bottom, bottom + right};
        for (int k = 0; k < 4; k++)
            assert_true(abs((int)img.pixels[at[k]] - corners[o][k]) <= 8);
        image_release(&img);
        base_buf_release(&file);
    }
}

/* A well-formed file that sends every coefficient in two scans of its own: 127 passes over the image. */
static void jpeg_with_many_scans_is_refused(void **state)
{
    (void)state;
    uint8_t pixels[64];
    base_buf file = {0};
    draw(pixels, 8, 8, 1);
    make_jpeg(pixels, 8, 8, (jpeg_kind){.colours = JCS_GRAYSCALE, .channels = 1, .many_scans = true}, &file);
    assert_fails(&file, BASE_ETOOBIG, "more than 100 scans");
    base_buf_release(&file);
}

/* --- PNG --- */

static void png_greys(void **state)
{
    (void)state;
    enum { W = 19, H = 5 };
    for (int interlaced = 0; interlaced < 2; interlaced++)
        for (int bits = 1; bits <= 8; bits *= 2) {
            size_t row_bytes = ((size_t)W * (size_t)bits + 7) / 8;
            uint8_t rows[H * W] = {0};
            for (size_t i = 0; i < row_bytes * H; i++)
                rows[i] = (uint8_t)next_random();
            base_buf file = {0};
            image img = {0};
            make_png(rows, row_bytes, W, H, (png_kind){PNG_COLOR_TYPE_GRAY, bits, interlaced != 0, false}, &file);
            assert_decodes(&file, &img);
            assert_int_equal(img.channels, 1);
            for (size_t y = 0; y < H; y++)
                for (size_t x = 0; x < W; x++) {
                    unsigned most = (1u << bits) - 1;
                    unsigned shift = 8 - (unsigned)bits - (unsigned)(x * (size_t)bits % 8);
                    unsigned value = (unsigned)rows[y * row_bytes + x * (size_t)bits / 8] >> shift & most;
                    assert_int_equal(img.pixels[y * W + x], value * 255 / most);
                }
            image_release(&img);
            base_buf_release(&file);
        }
}

static void png_grey_16_rounds(void **state)
{
    (void)state;
    static uint16_t samples[65536];
    for (size_t i = 0; i < 65536; i++)
        samples[i] = (uint16_t)i;
    base_buf file = {0};
    image img = {0};
    assert_int_equal(image_encode_png(samples, 256, 256, 1, 16, &file, NULL), BASE_OK);
    assert_decodes(&file, &img);
    for (size_t i = 0; i < 65536; i++)
        assert_int_equal(img.pixels[i], (i * 255 + 32767) / 65535);
    image_release(&img);
    base_buf_release(&file);
}

static void png_colours_round_trip(void **state)
{
    (void)state;
    enum { W = 13, H = 11 };
    uint8_t pixels[W * H * 3];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)next_random();
    base_buf file = {0};
    image img = {0};
    assert_int_equal(image_encode_png(pixels, W, H, 3, 8, &file, NULL), BASE_OK);
    assert_decodes(&file, &img);
    assert_int_equal(img.channels, 3);
    assert_memory_equal(img.pixels, pixels, sizeof pixels);
    image_release(&img);
    base_buf_release(&file);
}

static void png_palette_becomes_rgb(void **state)
{
    (void)state;
    const uint8_t rows[4] = {0, 1, 7, 255};
    for (int has_key = 0; has_key < 2; has_key++) {
        base_buf file = {0};
        image img = {0};
        make_png(rows, 4, 4, 1, (png_kind){PNG_COLOR_TYPE_PALETTE, 8, false, has_key != 0}, &file);
        assert_decodes(&file, &img);
        assert_int_equal(img.channels, 3);
        const uint8_t expected[12] = {0, (uint8_t)(has_key != 0 ? 0 : 255), 0, 3, 254, 7, 21, 248, 49, 253, 0, 249};
        assert_memory_equal(img.pixels, expected, 12);
        image_release(&img);
        base_buf_release(&file);
    }
}

static void png_alpha_is_laid_over_black(void **state)
{
    (void)state;
    const uint8_t grey[8] = {200, 255, 200, 128, 200, 0, 255, 1};
    const uint8_t colour[8] = {10, 20, 30, 255, 100, 200, 255, 51};
    base_buf file = {0};
    image img = {0};
    make_png(grey, 8, 4, 1, (png_kind){PNG_COLOR_TYPE_GRAY_ALPHA, 8, false, false}, &file);
    assert_decodes(&file, &img);
    assert_int_equal(img.channels, 1);
    assert_memory_equal(img.pixels, ((uint8_t[]){200, 100, 0, 1}), 4);
    image_release(&img);
    base_buf_clear(&file);
    make_png(colour, 8, 2, 1, (png_kind){PNG_COLOR_TYPE_RGB_ALPHA, 8, true, false}, &file);
    assert_decodes(&file, &img);
    assert_int_equal(img.channels, 3);
    assert_memory_equal(img.pixels, ((uint8_t[]){10, 20, 30, 20, 40, 51}), 6);
    image_release(&img);
    base_buf_release(&file);
}

static void put_chunk(base_buf *file, const char *name, const uint8_t *data, size_t n)
{
    const uint8_t length[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    base_buf_put(file, length, 4);
    size_t begin = file->size;
    base_buf_put(file, name, 4);
    base_buf_put(file, data, n);
    uint32_t sum = (uint32_t)crc32(0, file->data + begin, (uInt)(n + 4));
    const uint8_t check[4] = {(uint8_t)(sum >> 24), (uint8_t)(sum >> 16), (uint8_t)(sum >> 8), (uint8_t)sum};
    base_buf_put(file, check, 4);
}

/* width x height greys whose rows are `raw`, and `n_extra` zeros after them in the same stream; `exif_at`: 1 before, 2
 * after the rows. */
static void make_raw_png(uint8_t width, uint8_t height, const uint8_t *raw, size_t n_extra, int exif_at, base_buf *file)
{
    static const uint8_t exif[] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0,
                                   3,   0,   0, 0,  1, 0, 6, 0, 0, 0, 0, 0,    0};
    const uint8_t header[13] = {0, 0, 0, width, 0, 0, 0, height, 8, 0, 0, 0, 0};
    size_t n_rows = (size_t)height * (width + 1u), n = n_rows + n_extra;
    uint8_t *all = calloc(1, n), *packed = malloc(compressBound(n));
    uLongf n_packed = compressBound(n);
    memcpy(all, raw, n_rows);
    assert_int_equal(compress2(packed, &n_packed, all, n, 1), Z_OK);
    base_buf_put(file, "\x89PNG\r\n\x1a\n", 8);
    put_chunk(file, "IHDR", header, sizeof header);
    if (exif_at == 1)
        put_chunk(file, "eXIf", exif, sizeof exif);
    put_chunk(file, "IDAT", packed, n_packed / 2);
    put_chunk(file, "IDAT", packed + n_packed / 2, n_packed - n_packed / 2);
    if (exif_at == 2)
        put_chunk(file, "eXIf", exif, sizeof exif);
    put_chunk(file, "IEND", NULL, 0);
    free(all);
    free(packed);
}

static void png_orientation_is_applied(void **state)
{
    (void)state;
    static const uint8_t rows[] = {0, 1, 2, 3, 4, 0, 5, 6, 7, 8}, upright[] = {5, 1, 6, 2, 7, 3, 8, 4};
    for (int exif_at = 1; exif_at <= 2; exif_at++) {
        base_buf file = {0};
        image img = {0};
        make_raw_png(4, 2, rows, 0, exif_at, &file);
        assert_decodes(&file, &img);
        assert_true(img.width == 2 && img.height == 4 && img.channels == 1);
        assert_memory_equal(img.pixels, upright, sizeof upright);
        image_release(&img);
        base_buf_release(&file);
    }
}

/* 64 x 64 pixels, and 64 MiB of nothing after them, which would be inflated. */
static void png_data_after_the_last_row_are_bounded(void **state)
{
    (void)state;
    static const uint8_t rows[64 * 65];
    for (int i = 0; i < 2; i++) {
        base_buf file = {0};
        make_raw_png(64, 64, rows, i == 0 ? 65 : 64 << 20, 0, &file);
        if (i == 0) {
            image img = {0};
            assert_decodes(&file, &img);
            image_release(&img);
        } else {
            assert_fails(&file, BASE_EFORMAT, "follow its last row");
        }
        base_buf_release(&file);
    }
}

/* --- limits and damage --- */

static void other_files_are_refused(void **state)
{
    (void)state;
    const char *files[] = {"", "GIF89a......", "\xff\xd8", "\x89PNG\r\n", "%PDF-1.7", "BM......"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        base_buf file = {0};
        base_buf_put(&file, files[i], strlen(files[i]));
        assert_fails(&file, BASE_EUNSUPPORTED, "send a JPEG, PNG, TIFF, PGM, PPM or DICOM file");
        base_buf_release(&file);
    }
}

/* The header alone says 30000 x 30000: refused by it, before any memory for pixels. */
static void enormous_headers_are_refused(void **state)
{
    (void)state;
    uint8_t pixels[64] = {0};
    base_buf file = {0};
    make_jpeg(pixels, 8, 8, (jpeg_kind){.colours = JCS_GRAYSCALE, .channels = 1}, &file);
    for (size_t i = 0; i + 8 < file.size; i++)
        if (file.data[i] == 0xff && file.data[i + 1] == 0xc0)
            memcpy(file.data + i + 5, "\x75\x30\x75\x30", 4);
    assert_fails(&file, BASE_ETOOBIG, "30000 x 30000");
    base_buf_release(&file);

    base_buf png = {0};
    static uint8_t wide[1100 * 1000];
    assert_int_equal(image_encode_png(wide, 1100, 1000, 1, 8, &png, NULL), BASE_OK);
    assert_fails(&png, BASE_ETOOBIG, "1100 x 1000 pixels; at most 1048576");
    base_buf_release(&png);
}

/* Cut anywhere, a file is an error. */
static void assert_every_cut_fails(const base_buf *file, size_t needed)
{
    for (size_t n = 0; n < needed; n++) {
        base_buf cut = {.data = file->data, .size = n};
        base_error error = {0};
        image img = {0};
        if (decode(&cut, &img, &error) == BASE_OK)
            fail_msg("cut to %zu of %zu bytes it is accepted", n, file->size);
    }
}

static void cut_files_are_errors(void **state)
{
    (void)state;
    enum { W = 24, H = 17 };
    uint8_t pixels[W * H * 3];
    draw(pixels, W, H, 3);
    for (int progressive = 0; progressive < 2; progressive++) {
        base_buf file = {0};
        make_jpeg(pixels, W, H, (jpeg_kind){.colours = JCS_RGB, .channels = 3, .progressive = progressive != 0}, &file);
        assert_every_cut_fails(&file, file.size - 2); /* only the end marker's own bytes are not missed by the image */
        base_buf cut = {.data = file.data, .size = file.size - 40};
        assert_fails(&cut, BASE_EFORMAT, "truncated JPEG");
        base_buf_release(&file);
    }
    base_buf png = {0};
    assert_int_equal(image_encode_png(pixels, W, H, 3, 8, &png, NULL), BASE_OK);
    assert_every_cut_fails(&png, png.size);
    base_buf cut = {.data = png.data, .size = png.size - 30};
    assert_fails(&cut, BASE_EFORMAT, "truncated PNG");
    base_buf_release(&png);
}

/* Flipped bits: an error or an image, never a crash (the sanitizers watch); a PNG with a wrong bit is always an error.
 */
static void flipped_bits_are_survived(void **state)
{
    (void)state;
    enum { W = 24, H = 17 };
    uint8_t pixels[W * H * 3];
    draw(pixels, W, H, 3);
    base_buf jpeg = {0}, png = {0};
    make_jpeg(pixels, W, H, (jpeg_kind){.colours = JCS_RGB, .channels = 3, .progressive = true, .orientation = 6},
              &jpeg);
    assert_int_equal(image_encode_png(pixels, W, H, 3, 8, &png, NULL), BASE_OK);
    for (size_t bit = 0; bit < jpeg.size * 8; bit += 3) {
        image img = {0};
        jpeg.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (decode(&jpeg, &img, NULL) == BASE_OK)
            image_release(&img);
        jpeg.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < png.size * 8; bit++) {
        image img = {0};
        png.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(decode(&png, &img, NULL), BASE_OK);
        png.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    base_buf_release(&jpeg);
    base_buf_release(&png);
}

/* --- resize --- */

static void load_file(const char *path, base_buf *out)
{
    base_error error = {0};
    if (base_file_read(path, SIZE_MAX, out, &error) != BASE_OK)
        fail_msg("%s", error.text);
}

/* At most one level apart from PyTorch, and that for less than one sample in a thousand: its kernels may fuse a
 * multiply and an add. */
static void resize_equals_pytorch(void **state)
{
    (void)state;
    base_buf goldens = {0};
    load_file(PALMGROVE_SOURCE_DIR "/tests/golden/image/resize.bin", &goldens);
    base_reader reader = base_reader_over(goldens.data, goldens.size);
    size_t n_samples = 0, n_apart = 0;
    uint32_t n_cases = base_reader_u32(&reader);
    for (uint32_t i = 0; i < n_cases; i++) {
        uint32_t shape[5];
        for (int k = 0; k < 5; k++)
            shape[k] = base_reader_u32(&reader);
        image in = {.channels = shape[0], .height = shape[1], .width = shape[2]}, out = {0};
        in.pixels = (uint8_t *)(uintptr_t)base_reader_take(&reader, (size_t)in.width * in.height * in.channels);
        size_t n = (size_t)shape[3] * shape[4] * shape[0];
        const uint8_t *expected = base_reader_take(&reader, n);
        assert_non_null(expected);
        assert_int_equal(image_resize(&in, shape[4], shape[3], &out, NULL), BASE_OK);
        for (size_t k = 0; k < n; k++) {
            assert_true(abs((int)out.pixels[k] - (int)expected[k]) <= 1);
            n_apart += out.pixels[k] != expected[k];
        }
        n_samples += n;
        image_release(&out);
    }
    assert_int_equal(base_reader_left(&reader), 0);
    assert_true(n_samples > 30000 && n_apart * 1000 < n_samples);
    base_buf_release(&goldens);
}

static void square_is_padded_in_the_middle(void **state)
{
    (void)state;
    enum { SIZE = 28 };
    uint8_t pixels[10 * 5], out[SIZE * SIZE * 3];
    memset(pixels, 77, sizeof pixels);
    image wide = {.width = 10, .height = 5, .channels = 1, .pixels = pixels};
    assert_int_equal(image_fit_square(&wide, SIZE, out, NULL), BASE_OK);
    for (int y = 0; y < SIZE; y++)
        for (int x = 0; x < SIZE * 3; x++)
            assert_int_equal(out[y * SIZE * 3 + x], y >= 7 && y < 21 ? 77 : 0);
    image tall = {.width = 5, .height = 10, .channels = 1, .pixels = pixels};
    assert_int_equal(image_fit_square(&tall, SIZE, out, NULL), BASE_OK);
    for (int y = 0; y < SIZE; y++)
        for (int x = 0; x < SIZE * 3; x++)
            assert_int_equal(out[y * SIZE * 3 + x], x / 3 >= 7 && x / 3 < 21 ? 77 : 0);
}

static void square_keeps_a_thin_line(void **state)
{
    (void)state;
    enum { SIZE = 14 };
    static uint8_t pixels[3 * 5000], out[SIZE * SIZE * 3];
    memset(pixels, 255, sizeof pixels);
    image line = {.width = 5000, .height = 1, .channels = 3, .pixels = pixels};
    assert_int_equal(image_fit_square(&line, SIZE, out, NULL), BASE_OK);
    for (int y = 0; y < SIZE; y++)
        assert_int_equal(out[y * SIZE * 3], y == 6 ? 255 : 0); /* one row; the odd pixel of padding is below */
    image none = {0};
    assert_int_equal(image_fit_square(&none, SIZE, out, NULL), BASE_EINVAL);
}

static void encoder_refuses_other_shapes(void **state)
{
    (void)state;
    uint8_t pixels[64] = {0};
    base_buf out = {0};
    base_error error = {0};
    assert_int_equal(image_encode_png(pixels, 4, 4, 2, 8, &out, &error), BASE_EINVAL);
    assert_int_equal(image_encode_png(pixels, 4, 4, 1, 12, &out, &error), BASE_EINVAL);
    assert_int_equal(image_encode_png(pixels, 0, 4, 1, 8, &out, &error), BASE_EINVAL);
    assert_int_equal(out.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jpeg_kinds),
        cmocka_unit_test(jpeg_cmyk_is_refused),
        cmocka_unit_test(jpeg_orientation_is_applied),
        cmocka_unit_test(jpeg_with_many_scans_is_refused),
        cmocka_unit_test(png_greys),
        cmocka_unit_test(png_grey_16_rounds),
        cmocka_unit_test(png_colours_round_trip),
        cmocka_unit_test(png_palette_becomes_rgb),
        cmocka_unit_test(png_alpha_is_laid_over_black),
        cmocka_unit_test(png_orientation_is_applied),
        cmocka_unit_test(png_data_after_the_last_row_are_bounded),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(enormous_headers_are_refused),
        cmocka_unit_test(cut_files_are_errors),
        cmocka_unit_test(flipped_bits_are_survived),
        cmocka_unit_test(resize_equals_pytorch),
        cmocka_unit_test(square_is_padded_in_the_middle),
        cmocka_unit_test(square_keeps_a_thin_line),
        cmocka_unit_test(encoder_refuses_other_shapes),
    };
    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
