/* test_tiff_pnm.c - TIFF files composed entry by entry, PGM and PPM in full: kinds that are read, and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/image/image.h"

enum { LIMIT = 1 << 16 };

static base_status decode(const uint8_t *bytes, size_t size, image *out, base_error *error)
{
    uint8_t *copy = malloc(size > 0 ? size : 1); /* of its size: a sanitizer sees a read beyond the end */
    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, bytes, size);
    base_status status = image_decode(copy, size, LIMIT, out, error);
    free(copy);
    return status;
}

static void assert_becomes(const void *bytes, size_t size, uint32_t width, uint32_t height, const uint8_t *expected,
                           size_t n)
{
    image img = {0};
    base_error error = {0};
    if (decode(bytes, size, &img, &error) != BASE_OK)
        fail_msg("%s", error.text);
    assert_true(img.width == width && img.height == height);
    assert_int_equal((size_t)width * height * img.channels, n);
    assert_memory_equal(img.pixels, expected, n);
    image_release(&img);
}

static void assert_refused(const void *bytes, size_t size, base_status status, const char *text)
{
    image img = {0};
    base_error error = {0};
    assert_int_equal(decode(bytes, size, &img, &error), status);
    assert_null(img.pixels);
    if (strstr(error.text, text) == NULL)
        fail_msg("'%s' is not in '%s'", text, error.text);
}

/* --- TIFF --- */

/* One page of one strip; 0 means 8 bits, 1 sample, no compression, orientation 1. */
typedef struct page {
    uint16_t width, height, bits, samples, kind, compression, orientation, planes, format;
    bool is_big_endian, has_palette;
    const uint8_t *pixels;
    uint32_t n;
} page;

static void put(base_buf *out, bool is_big_endian, uint32_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        base_buf_put_u8(out, (uint8_t)(value >> 8 * (is_big_endian ? n - 1 - i : i)));
}

static void put_entry(base_buf *out, bool is_big_endian, uint16_t tag, uint16_t type, uint32_t n, uint32_t value)
{
    put(out, is_big_endian, tag, 2);
    put(out, is_big_endian, type, 2);
    put(out, is_big_endian, n, 4);
    put(out, is_big_endian, value, type == 3 && n == 1 ? 2 : 4);
    put(out, is_big_endian, 0, type == 3 && n == 1 ? 2 : 0);
}

/* Head, pixels, palette (3 x 256 words), the directory. */
static void make(const page *p, base_buf *out)
{
    uint32_t palette_at = 8 + p->n + p->n % 2, directory_at = palette_at + (p->has_palette ? 1536 : 0);
    bool b = p->is_big_endian;
    *out = (base_buf){0};
    base_buf_put(out, b ? "MM" : "II", 2);
    put(out, b, 42, 2);
    put(out, b, directory_at, 4);
    base_buf_put(out, p->pixels, p->n);
    put(out, b, 0, p->n % 2);
    for (uint32_t i = 0; p->has_palette && i < 768; i++) /* red i, green 255 - i, blue 0 */
        put(out, b, i < 256 ? i * 257 : i < 512 ? (511 - i) * 257 : 0, 2);
    const uint32_t rows[][3] = {{256, 3, p->width},
                                {257, 3, p->height},
                                {258, 3, p->bits != 0 ? p->bits : 8},
                                {259, 3, p->compression != 0 ? p->compression : 1},
                                {262, 3, p->kind},
                                {273, 4, 8},
                                {274, 3, p->orientation != 0 ? p->orientation : 1},
                                {277, 3, p->samples != 0 ? p->samples : 1},
                                {278, 3, p->height},
                                {279, 4, p->n},
                                {284, 3, p->planes != 0 ? p->planes : 1},
                                {320, 3, palette_at},
                                {339, 3, p->format != 0 ? p->format : 1}};
    put(out, b, p->has_palette ? 13 : 12, 2);
    for (size_t i = 0; i < 13; i++)
        if (rows[i][0] != 320 || p->has_palette)
            put_entry(out, b, (uint16_t)rows[i][0], (uint16_t)rows[i][1], rows[i][0] == 320 ? 768 : 1, rows[i][2]);
    put(out, b, 0, 4);
    assert_false(out->failed);
}

static void assert_page(const page *p, uint32_t width, uint32_t height, const uint8_t *expected, size_t n)
{
    base_buf file;
    make(p, &file);
    assert_becomes(file.data, file.size, width, height, expected, n);
    for (size_t cut = 0; cut < file.size - 4;
         cut++) { /* the directory stands last; the offset of a next one may be missing */
        image img = {0};
        base_error error = {0};
        assert_int_not_equal(decode(file.data, cut, &img, &error), BASE_OK);
        assert_null(img.pixels);
    }
    base_buf_release(&file);
}

static void tiff_kinds(void **state)
{
    (void)state;
    const uint8_t six[] = {1, 2, 3, 4, 5, 6}, inverted[] = {254, 253, 252, 251, 250, 249},
                  turned[] = {4, 1, 5, 2, 6, 3};
    const uint8_t little[] = {0, 0, 0x81, 0, 0, 0x80, 0xFF, 0xFF}, big[] = {0, 0, 0, 0x81, 0x80, 0, 0xFF, 0xFF},
                  eight[] = {0, 1, 128, 255};
    const uint8_t indices[] = {0, 7, 255}, coloured[] = {0, 255, 0, 7, 248, 0, 255, 0, 0},
                  packed[] = {0xFE, 9, 0xFE, 9};
    const uint8_t nines[] = {9, 9, 9, 9, 9, 9};
    assert_page(&(page){.width = 3, .height = 2, .kind = 1, .pixels = six, .n = 6}, 3, 2, six, 6);
    assert_page(&(page){.width = 3, .height = 2, .kind = 1, .is_big_endian = true, .pixels = six, .n = 6}, 3, 2, six,
                6);
    assert_page(&(page){.width = 3, .height = 2, .kind = 0, .pixels = six, .n = 6}, 3, 2, inverted, 6);
    assert_page(&(page){.width = 3, .height = 2, .kind = 1, .orientation = 6, .pixels = six, .n = 6}, 2, 3, turned, 6);
    assert_page(&(page){.width = 2, .height = 1, .kind = 2, .samples = 3, .pixels = six, .n = 6}, 2, 1, six, 6);
    assert_page(&(page){.width = 4, .height = 1, .kind = 1, .bits = 16, .pixels = little, .n = 8}, 4, 1, eight, 4);
    assert_page(&(page){.width = 4, .height = 1, .kind = 1, .bits = 16, .is_big_endian = true, .pixels = big, .n = 8},
                4, 1, eight, 4);
    assert_page(&(page){.width = 3, .height = 1, .kind = 3, .has_palette = true, .pixels = indices, .n = 3}, 3, 1,
                coloured, 9);
    assert_page(&(page){.width = 3, .height = 2, .kind = 1, .compression = 32773, .pixels = packed, .n = 4}, 3, 2,
                nines, 6);
}

static void tiff_refusals(void **state)
{
    (void)state;
    const struct {
        page page;
        base_status status;
        const char *text;
    } rows[] = {
        {{.width = 2, .height = 1, .kind = 1, .bits = 4}, BASE_EUNSUPPORTED, "bits a sample 4"},
        {{.width = 1, .height = 1, .kind = 1, .bits = 16, .format = 3}, BASE_EUNSUPPORTED, "sample format 3"},
        {{.width = 1, .height = 1, .kind = 5, .samples = 4}, BASE_EUNSUPPORTED, "photometric interpretation 5"},
        {{.width = 1, .height = 1, .kind = 1, .samples = 2}, BASE_EUNSUPPORTED, "samples a pixel: 2"},
        {{.width = 1, .height = 1, .kind = 1, .compression = 34925}, BASE_EUNSUPPORTED, "compression 34925"},
        {{.width = 257, .height = 256, .kind = 1}, BASE_ETOOBIG, "257 x 256"},
        {{.width = 0, .height = 1, .kind = 1}, BASE_EFORMAT, "TIFF"},
        {{.width = 99, .height = 99, .kind = 1}, BASE_EFORMAT, "was it sent whole"},
    };
    static const uint8_t pixels[8];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        page p = rows[i].page;
        p.pixels = pixels;
        p.n = 8;
        base_buf file;
        make(&p, &file);
        assert_refused(file.data, file.size, rows[i].status, rows[i].text);
        base_buf_release(&file);
    }
}

/* --- PGM and PPM --- */

#define TEXT(s) s, sizeof s - 1

static void pnm_kinds(void **state)
{
    (void)state;
    assert_becomes(TEXT("P5\n# wide\n3 1 # deep\n255\nabc"), 3, 1, (const uint8_t *)"abc", 3);
    assert_becomes(TEXT("P6 1 1 255 abc"), 1, 1, (const uint8_t *)"abc", 3);
    assert_becomes(TEXT("P2 3 1 4 0 1\n4"), 3, 1, (const uint8_t[]){0, 64, 255}, 3);
    assert_becomes(TEXT("P3 1 1 9 0 3 9 "), 1, 1, (const uint8_t[]){0, 85, 255}, 3);
    assert_becomes(TEXT("P5 2 1 4095\n\x0F\xFF\x08\x00"), 2, 1, (const uint8_t[]){255, 128}, 2);
    assert_becomes(TEXT("P5 2 1 1\n\x01\x00"), 2, 1, (const uint8_t[]){255, 0}, 2);
}

static void pnm_refusals(void **state)
{
    (void)state;
    assert_refused(TEXT("P5 3 1 255\nab"), BASE_EFORMAT, "truncated");
    assert_refused(TEXT("P5 2 1 4095\nabc"), BASE_EFORMAT, "truncated");
    assert_refused(TEXT("P2 3 1 4 0 1"), BASE_EFORMAT, "truncated");
    assert_refused(TEXT("P5 3"), BASE_EFORMAT, "truncated");
    assert_refused(TEXT("P5 3 1 255"), BASE_EFORMAT, "truncated");
    assert_refused(TEXT("P5 1 1 9\n\x0A"), BASE_EFORMAT, "out of range");
    assert_refused(TEXT("P2 1 1 9 10 "), BASE_EFORMAT, "out of range");
    assert_refused(TEXT("P2 1 1 9 x 1"), BASE_EFORMAT, "out of range");
    assert_refused(TEXT("P5 1 1 0\n\0"), BASE_EFORMAT, "out of range");
    assert_refused(TEXT("P5 1 1 65536\nab"), BASE_EFORMAT, "out of range");
    assert_refused(TEXT("P5 -1 1 255\nab"), BASE_EFORMAT, "out of range");
    assert_refused(TEXT("P5 0 1 255\nab"), BASE_EFORMAT, "no pixels");
    assert_refused(TEXT("P5 257 256 255\nab"), BASE_ETOOBIG, "257 x 256");
    assert_refused(TEXT("P5 2147483647 2147483647 255\nab"), BASE_ETOOBIG, "at most 65536");
    assert_refused(TEXT("P4 8 1 x"), BASE_EUNSUPPORTED, "not an image that is read here");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiff_kinds),
        cmocka_unit_test(tiff_refusals),
        cmocka_unit_test(pnm_kinds),
        cmocka_unit_test(pnm_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
