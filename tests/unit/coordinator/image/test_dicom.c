/* test_dicom.c - DICOM files composed byte by byte: every kind that is read, every refusal, and that no text of a
 * header comes out.
 *
 * The expected bytes are worked out from PS3.3 and PS3.5 by hand; pydicom's opinion is asked in
 * tests/conformance/dicom.py, which also made the files of tests/fuzz/corpus/dicom (image: 3 x + 3 y, 48 x 32). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "coordinator/image/dicom_int.h"
#include "tests/helpers/dicom_maker.h"

enum { LIMIT = 1 << 16 };

/* --- checks --- */

/* In memory of exactly its size, so that a sanitizer sees a read beyond the end. */
static base_status decode(const uint8_t *bytes, size_t size, uint32_t frame, image *out, base_error *error)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, bytes, size);
    const image_options options = {.max_pixels = LIMIT, .frame = frame};
    base_status status = image_decode_frame(copy, size, &options, out, error);
    free(copy);
    return status;
}

static void assert_frame(const plan *p, uint32_t frame, const uint8_t *expected, size_t n)
{
    base_buf file;
    image img = {0};
    base_error error = {0};
    make(p, &file);
    if (decode(file.data, file.size, frame, &img, &error) != BASE_OK)
        fail_msg("%s", error.text);
    assert_int_equal((size_t)img.width * img.height * img.channels, n);
    assert_memory_equal(img.pixels, expected, n);
    image_release(&img);
    base_buf_release(&file);
}

static void assert_becomes(const plan *p, const uint8_t *expected, size_t n)
{
    assert_frame(p, 0, expected, n);
}

static void assert_bytes_refused(const uint8_t *bytes, size_t size, uint32_t frame, base_status status,
                                 const char *text)
{
    image img = {0};
    base_error error = {0};
    assert_int_equal(decode(bytes, size, frame, &img, &error), status);
    assert_null(img.pixels);
    if (strstr(error.text, text) == NULL)
        fail_msg("'%s' is not in '%s'", text, error.text);
}

static void assert_refused(const plan *p, uint32_t frame, base_status status, const char *text)
{
    base_buf file;
    make(p, &file);
    assert_bytes_refused(file.data, file.size, frame, status, text);
    base_buf_release(&file);
}

/* --- samples --- */

static void byte_orders(void **state)
{
    (void)state;
    static const uint16_t words[] = {0, 256, 512, 1020, 765, 255};
    static const uint8_t bytes[] = {0, 64, 128, 255, 191, 64};
    const char *syntaxes[] = {IMPLICIT, LITTLE, BIG, DEFLATED};
    for (size_t i = 0; i < 4; i++) {
        assert_becomes(
            &(plan){
                .syntax = syntaxes[i], .columns = 3, .rows = 2, .allocated = 16, .stored = 12, .pixels = words, .n = 6},
            bytes, 6);
        if (i < 2)
            assert_becomes(&(plan){.syntax = syntaxes[i],
                                   .columns = 3,
                                   .rows = 2,
                                   .allocated = 16,
                                   .stored = 12,
                                   .pixels = words,
                                   .n = 6,
                                   .no_preamble = true},
                           bytes, 6);
    }
}

/* PS3.5 8.1.1: bytes in OW are swapped in pairs in big endian, in OB they are not. */
static void bytes_in_big_endian_words(void **state)
{
    (void)state;
    static const uint8_t pixels[] = {10, 0, 30, 20, 50, 255};
    static const uint8_t swapped[] = {0, 10, 20, 30, 255, 50};
    assert_becomes(&(plan){.syntax = BIG, .columns = 3, .rows = 2, .vr = "OB", .pixels = pixels, .n = 6}, pixels, 6);
    assert_becomes(&(plan){.syntax = BIG, .columns = 3, .rows = 2, .vr = "OW", .pixels = pixels, .n = 6}, swapped, 6);
    /* the second frame, 255 100 255 (stretched: 255 0 255), begins in the middle of a word */
    static const uint8_t words[] = {0, 9, 255, 0, 255, 100};
    static const uint8_t second[] = {255, 0, 255};
    assert_frame(&(plan){.syntax = BIG, .columns = 3, .rows = 1, .frames = "2", .vr = "OW", .pixels = words, .n = 6}, 1,
                 second, 3);
}

static void signs_and_high_bits(void **state)
{
    (void)state;
    static const uint16_t negative[] = {0x7800, 0xFFFF, 0xA000,
                                        2047}; /* 12 bits: -2048, -1, 0, 2047; the top nibble is noise */
    static const uint8_t stretched[] = {0, 127, 128, 255};
    assert_becomes(
        &(plan){.columns = 4, .rows = 1, .allocated = 16, .stored = 12, .is_signed = 1, .pixels = negative, .n = 4},
        stretched, 4);
    static const uint16_t high[] = {0x000F, 0x0FF0, 0x7F00, 0xFFF0}; /* stored in bits 4 to 15 */
    const uint8_t shifted[] = {0, 16, 127, 255};
    assert_becomes(&(plan){.columns = 4, .rows = 1, .allocated = 16, .stored = 12, .high = 15, .pixels = high, .n = 4},
                   shifted, 4);
    static const uint8_t overlay[] = {0xF0, 0xF1, 0x0E, 0x0F}; /* 4 bits stored in 8 */
    const uint8_t nibbles[] = {0, 17, 238, 255};
    assert_becomes(&(plan){.columns = 4, .rows = 1, .stored = 4, .pixels = overlay, .n = 4}, nibbles, 4);
}

/* --- greys --- */

static const uint8_t ramp[] = {0, 1, 2, 3, 4};

static void linear(maker *m)
{
    put_text(m, 0x00281050, "DS", "2.5\\100");
    put_text(m, 0x00281051, "DS", "5\\1");
}

static void linear_of_one(maker *m)
{
    put_text(m, 0x00281050, "DS", "2.5");
    put_text(m, 0x00281051, "DS", "1");
    put_text(m, 0x00281056, "CS", "LINEAR");
}

static void linear_exact(maker *m)
{
    put_text(m, 0x00281050, "DS", "2");
    put_text(m, 0x00281051, "DS", "8");
    put_text(m, 0x00281056, "CS", "LINEAR_EXACT");
}

static void sigmoid(maker *m)
{
    put_text(m, 0x00281050, "DS", "2");
    put_text(m, 0x00281051, "DS", "4");
    put_text(m, 0x00281056, "CS", "SIGMOID");
}

/* x * 10 - 20 through an exact window from -20 to 20. */
static void rescaled(maker *m)
{
    put_text(m, 0x00281050, "DS", "0");
    put_text(m, 0x00281051, "DS", "40");
    put_text(m, 0x00281052, "DS", "-20");
    put_text(m, 0x00281053, "DS", "1e1 ");
    put_text(m, 0x00281056, "CS", "LINEAR_EXACT");
}

static void windows(void **state)
{
    (void)state;
    const uint8_t quarters[] = {0, 64, 128, 191, 255}; /* ((x - 2) / 4 + 1/2) * 255, C.11.2.1.2.1 */
    const uint8_t cut[] = {0, 0, 0, 255, 255};         /* x <= 2: 0, else 255 */
    const uint8_t eighths[] = {64, 96, 128, 159, 191}; /* ((x - 2) / 8 + 1/2) * 255 */
    const uint8_t curve[] = {30, 69, 128, 186, 225};   /* 255 / (1 + exp(2 - x)) */
    const uint8_t inverted[] = {255, 191, 127, 64, 0};
    assert_becomes(&(plan){.columns = 5, .rows = 1, .more = linear, .pixels = ramp, .n = 5}, quarters, 5);
    assert_becomes(&(plan){.columns = 5, .rows = 1, .more = linear_of_one, .pixels = ramp, .n = 5}, cut, 5);
    assert_becomes(&(plan){.columns = 5, .rows = 1, .more = linear_exact, .pixels = ramp, .n = 5}, eighths, 5);
    assert_becomes(&(plan){.columns = 5, .rows = 1, .more = sigmoid, .pixels = ramp, .n = 5}, curve, 5);
    assert_becomes(&(plan){.columns = 5, .rows = 1, .more = rescaled, .pixels = ramp, .n = 5}, quarters, 5);
    assert_becomes(
        &(plan){.columns = 5, .rows = 1, .more = linear, .photometric = "MONOCHROME1", .pixels = ramp, .n = 5},
        inverted, 5);
}

/* Values 1, 2, 3 become 200, 100, 50; what is outside takes the end's. */
static void modality_lut(maker *m)
{
    begin_item(m, 0x00283000);
    put_words(m, 0x00283002, "US", (const uint16_t[]){3, 1, 16}, 3);
    put_words(m, 0x00283006, "OW", (const uint16_t[]){200, 100, 50}, 3);
    end_item(m);
}

/* The same by a VOI table of 8 bits; its window must not count, nor what a private sequence in between holds. */
static void voi_lut(maker *m)
{
    begin_item(m, 0x00091010);
    begin_item(m, 0x00283010);
    put_text(m, 0x00281050, "DS", "7");
    end_item(m);
    end_item(m);
    linear(m);
    begin_item(m, 0x00283010);
    put_words(m, 0x00283002, "US", (const uint16_t[]){3, 1, 8}, 3);
    put_words(m, 0x00283006, "OW", (const uint16_t[]){200, 100, 50}, 3);
    end_item(m);
}

static void lookup_tables(void **state)
{
    (void)state;
    const uint8_t stretched[] = {255, 255, 85, 0, 0};
    const uint8_t looked_up[] = {200, 200, 100, 50, 50};
    const char *syntaxes[] = {IMPLICIT, LITTLE, BIG};
    for (size_t i = 0; i < 3; i++) {
        assert_becomes(
            &(plan){.syntax = syntaxes[i], .columns = 5, .rows = 1, .more = modality_lut, .pixels = ramp, .n = 5},
            stretched, 5);
        assert_becomes(&(plan){.syntax = syntaxes[i], .columns = 5, .rows = 1, .more = voi_lut, .pixels = ramp, .n = 5},
                       looked_up, 5);
    }
}

/* --- colours --- */

static void palette(maker *m)
{
    for (uint32_t c = 0; c < 3; c++)
        put_words(m, 0x00281101 + c, "US", (const uint16_t[]){2, 0, 16}, 3);
    put_words(m, 0x00281201, "OW", (const uint16_t[]){0, 0xFFFF}, 2);
    put_words(m, 0x00281202, "OW", (const uint16_t[]){0x8080, 0}, 2);
    put_words(m, 0x00281203, "OW", (const uint16_t[]){0x0101, 0xFEFE}, 2);
}

static void colours(void **state)
{
    (void)state;
    const uint8_t rgb[] = {1, 2, 3, 4, 5, 6}, planes[] = {1, 4, 2, 5, 3, 6};
    assert_becomes(&(plan){.columns = 2, .rows = 1, .samples = 3, .photometric = "RGB", .pixels = rgb, .n = 6}, rgb, 6);
    assert_becomes(
        &(plan){.columns = 2, .rows = 1, .samples = 3, .planar = 1, .photometric = "RGB", .pixels = planes, .n = 6},
        rgb, 6);
    const uint8_t ybr[] = {100, 128, 128, 76, 85, 255}, seen[] = {100, 100, 100, 254, 0, 0};
    assert_becomes(&(plan){.columns = 2, .rows = 1, .samples = 3, .photometric = "YBR_FULL", .pixels = ybr, .n = 6},
                   seen, 6);
    const uint8_t shared[] = {100, 50, 128, 128}, greys[] = {100, 100, 100, 50, 50, 50};
    assert_becomes(
        &(plan){.columns = 2, .rows = 1, .samples = 3, .photometric = "YBR_FULL_422", .pixels = shared, .n = 4}, greys,
        6);
    const uint8_t indices[] = {0, 1, 9}, coloured[] = {0, 128, 1, 255, 0, 254, 255, 0, 254};
    assert_becomes(
        &(plan){.columns = 3, .rows = 1, .photometric = "PALETTE COLOR", .more = palette, .pixels = indices, .n = 3},
        coloured, 9);
    assert_becomes(&(plan){.syntax = BIG,
                           .columns = 3,
                           .rows = 1,
                           .photometric = "PALETTE COLOR",
                           .more = palette,
                           .pixels = indices,
                           .n = 3},
                   coloured, 9);
}

static void tall_pixels(maker *m)
{
    put_text(m, 0x00280034, "IS", "2\\1");
}

static void wide_pixels(maker *m)
{
    put_text(m, 0x00280030, "DS", "0.5\\1.5");
}

static void pixels_become_square(void **state)
{
    (void)state;
    const uint8_t flat[] = {0, 255, 0, 255};
    const struct {
        void (*more)(maker *m);
        uint32_t width, height;
    } rows[] = {{tall_pixels, 2, 4}, {wide_pixels, 6, 2}};
    for (size_t i = 0; i < 2; i++) {
        base_buf file;
        image img = {0};
        make(&(plan){.columns = 2, .rows = 2, .more = rows[i].more, .pixels = flat, .n = 4}, &file);
        assert_int_equal(decode(file.data, file.size, 0, &img, NULL), BASE_OK);
        assert_int_equal(img.width, rows[i].width);
        assert_int_equal(img.height, rows[i].height);
        assert_int_equal(img.pixels[0], 0);
        assert_int_equal(img.pixels[(size_t)img.width * img.height - 1], 255);
        image_release(&img);
        base_buf_release(&file);
    }
}

/* --- frames --- */

static void put_frame_window(maker *m, const char *center)
{
    put_head(m, 0xFFFEE000, NULL, UNDEFINED);
    begin_item(m, 0x00289132);
    put_text(m, 0x00281050, "DS", center);
    put_text(m, 0x00281051, "DS", "4");
    end_item(m);
    put_head(m, 0xFFFEE00D, NULL, 0);
}

/* An exact window around 2 for frame 0, around 6 for frame 1, around what all share, 100, for none. */
static void groups(maker *m)
{
    put_text(m, 0x00281056, "CS", "LINEAR_EXACT");
    put_head(m, 0x52009229, "SQ", UNDEFINED);
    put_frame_window(m, "100");
    put_head(m, 0xFFFEE0DD, NULL, 0);
    put_head(m, 0x52009230, "SQ", UNDEFINED);
    put_frame_window(m, "2");
    put_frame_window(m, "6");
    put_head(m, 0xFFFEE0DD, NULL, 0);
}

static void frames_are_picked(void **state)
{
    (void)state;
    const uint8_t pixels[] = {0, 1, 2, 7, 6, 5};
    const plan p = {.columns = 3, .rows = 1, .frames = "2 ", .more = groups, .pixels = pixels, .n = 6};
    const uint8_t first[] = {0, 64, 128}, second[] = {191, 128, 64};
    assert_frame(&p, 0, first, 3);
    assert_frame(&p, 1, second, 3);
    assert_refused(&p, 2, BASE_EINVAL, "frame 2 was asked for; the DICOM file has frames 0 to 1");
    assert_bytes_refused((const uint8_t *)"P5 1 1 255\nx", 12, 1, BASE_EINVAL, "only DICOM files have more");
}

/* An RLE frame of 4 x 1 bytes: a literal run of 2, then one value twice. */
static void put_rle(maker *m, uint8_t a, uint8_t b, uint8_t c, size_t from, size_t to)
{
    uint8_t bytes[70] = {1, 0, 0, 0, 64, 0, 0, 0};
    const uint8_t packed[] = {1, a, b, 0xFF, c, 0x80};
    memcpy(bytes + 64, packed, sizeof packed);
    put_bytes(m, 0xFFFEE000, NULL, bytes + from, to - from);
}

static void put_table(maker *m, uint32_t first, uint32_t second)
{
    put_head(m, 0xFFFEE000, NULL, 8);
    put_number(m, first, 4);
    put_number(m, second, 4);
}

static void fragment_each(maker *m)
{
    put_head(m, 0xFFFEE000, NULL, 0);
    put_rle(m, 0, 255, 100, 0, 70);
    put_rle(m, 255, 0, 50, 0, 70);
}

static void one_fragment(maker *m)
{
    put_head(m, 0xFFFEE000, NULL, 0);
    put_rle(m, 0, 255, 100, 0, 70);
}

static void fragments_by_table(maker *m)
{
    put_table(m, 0, 86);
    put_rle(m, 0, 255, 100, 0, 64);
    put_rle(m, 0, 255, 100, 64, 70);
    put_rle(m, 255, 0, 50, 0, 70);
}

static void fragments_without_table(maker *m)
{
    put_head(m, 0xFFFEE000, NULL, 0);
    put_rle(m, 0, 255, 100, 0, 64);
    put_rle(m, 0, 255, 100, 64, 70);
    put_rle(m, 255, 0, 50, 0, 70);
}

static void fragments_by_wrong_table(maker *m)
{
    put_table(m, 0, 87);
    put_rle(m, 0, 255, 100, 0, 64);
    put_rle(m, 0, 255, 100, 64, 70);
    put_rle(m, 255, 0, 50, 0, 70);
}

static void short_rle(maker *m)
{
    put_head(m, 0xFFFEE000, NULL, 0);
    put_rle(m, 0, 255, 100, 0, 68);
}

static void no_fragments(maker *m)
{
    put_head(m, 0xFFFEE000, NULL, 0);
}

static void no_items(maker *m)
{
    put_word(m, 0x00280002, 1);
}

static void fragments(void **state)
{
    (void)state;
    const uint8_t first[] = {0, 255, 100, 100}, second[] = {255, 0, 50, 50};
    plan p = {.syntax = RLE, .columns = 4, .rows = 1, .frames = "2"};
    void (*const kinds[])(maker * m) = {fragment_each, fragments_by_table};
    for (size_t i = 0; i < 2; i++) {
        p.fragments = kinds[i];
        assert_frame(&p, 0, first, 4);
        assert_frame(&p, 1, second, 4);
    }
    const char *lost = "nothing tells which of 3 fragments belong to which of 2 frames";
    p.fragments = fragments_without_table;
    assert_refused(&p, 1, BASE_EFORMAT, lost);
    p.fragments = fragments_by_wrong_table;
    assert_refused(&p, 1, BASE_EFORMAT, lost);
    p.frames = NULL;
    p.fragments = short_rle;
    assert_refused(&p, 0, BASE_EFORMAT, "an RLE segment ends early");
    p.fragments = no_fragments;
    assert_refused(&p, 0, BASE_EFORMAT, "no fragments");
    p.fragments = no_items;
    assert_refused(&p, 0, BASE_EFORMAT, "not a sequence of fragments");
    p.fragments = one_fragment;
    p.columns = 5;
    assert_refused(&p, 0, BASE_EFORMAT, "an RLE segment ends early");
    p.samples = 3;
    p.photometric = "RGB";
    assert_refused(&p, 0, BASE_EFORMAT, "3 segments");
}

/* --- refusals --- */

static void bad_window(maker *m)
{
    put_text(m, 0x00281050, "DS", "1");
    put_text(m, 0x00281051, "DS", "0");
}

static void bad_function(maker *m)
{
    linear(m);
    put_text(m, 0x00281056, "CS", "CUBIC");
}

static void bad_lut(maker *m)
{
    begin_item(m, 0x00283000);
    put_words(m, 0x00283006, "OW", (const uint16_t[]){1}, 1);
    end_item(m);
}

static void short_lut(maker *m)
{
    begin_item(m, 0x00283000);
    put_words(m, 0x00283002, "US", (const uint16_t[]){9, 0, 16}, 3);
    put_words(m, 0x00283006, "OW", (const uint16_t[]){1, 2, 3}, 3);
    end_item(m);
}

static void long_pixels(maker *m)
{
    put_text(m, 0x00280034, "IS", "100\\1");
}

static void floats(maker *m)
{
    put_bytes(m, 0x7FE00008, "OW", "\0\0\0\0", 4);
}

static void deep(maker *m)
{
    for (int i = 0; i < 40; i++)
        begin_item(m, 0x00091010);
}

static void stray(maker *m)
{
    put_head(m, 0x00091010, "SQ", UNDEFINED);
    put_word(m, 0x00280010, 1);
}

static void refusals(void **state)
{
    (void)state;
    const struct {
        plan plan;
        base_status status;
        const char *text;
    } rows[] = {
        {{.syntax = SYNTAX ".4.100", .columns = 1, .rows = 1},
         BASE_EUNSUPPORTED,
         "transfer syntax 1.2.840.10008.1.2.4.100 is not read"},
        {{.syntax = "Doe", .columns = 1, .rows = 1}, BASE_EFORMAT, "is not a UID"},
        {{.columns = 1, .rows = 0}, BASE_EFORMAT, "no pixels"},
        {{.columns = 1, .rows = 1, .no_pixels = true}, BASE_EUNSUPPORTED, "has no PixelData"},
        {{.columns = 1, .rows = 1, .more = floats}, BASE_EUNSUPPORTED, "floats"},
        {{.columns = 1, .rows = 1, .fragments = fragment_each}, BASE_EFORMAT, "pixels are in fragments"},
        {{.syntax = RLE, .columns = 1, .rows = 1}, BASE_EFORMAT, "pixels are not in fragments"},
        {{.columns = 1, .rows = 1, .allocated = 32}, BASE_EUNSUPPORTED, "BitsAllocated (0028,0100) is 32"},
        {{.columns = 1, .rows = 1, .allocated = 1, .high = 9}, BASE_EUNSUPPORTED, "BitsAllocated (0028,0100) is 1"},
        {{.columns = 1, .rows = 1, .stored = 9}, BASE_EFORMAT, "do not fit into 8"},
        {{.columns = 1, .rows = 1, .stored = 6, .high = 4}, BASE_EFORMAT, "do not fit"},
        {{.columns = 1, .rows = 1, .high = 8}, BASE_EFORMAT, "do not fit"},
        {{.columns = 1, .rows = 1, .is_signed = 2}, BASE_EFORMAT, "neither 0 nor 1"},
        {{.columns = 1, .rows = 1, .photometric = "CMYK"}, BASE_EUNSUPPORTED, "is none of MONOCHROME1"},
        {{.columns = 1, .rows = 1, .photometric = "RGB"}, BASE_EFORMAT, "1 samples a pixel do not go with RGB"},
        {{.columns = 1, .rows = 1, .samples = 3, .allocated = 16, .photometric = "YBR_FULL"},
         BASE_EUNSUPPORTED,
         "YBR colours of 16"},
        {{.columns = 3, .rows = 1, .samples = 3, .photometric = "YBR_FULL_422"},
         BASE_EFORMAT,
         "even number of columns"},
        {{.columns = 1, .rows = 1, .frames = "0"}, BASE_EFORMAT, "NumberOfFrames"},
        {{.columns = 1, .rows = 1, .frames = "1.5"}, BASE_EFORMAT, "NumberOfFrames"},
        {{.columns = 1, .rows = 1, .frames = "Doe"}, BASE_EFORMAT, "NumberOfFrames"},
        {{.columns = 257, .rows = 256}, BASE_ETOOBIG, "257 x 256 pixels; at most 65536"},
        {{.columns = 300, .rows = 3, .more = long_pixels}, BASE_EFORMAT, "20 times longer than wide"},
        {{.columns = 300, .rows = 200, .more = tall_pixels}, BASE_ETOOBIG, "300 x 400"},
        {{.columns = 3, .rows = 3}, BASE_EFORMAT, "end before frame 0 of 3 x 3"},
        {{.columns = 1, .rows = 1, .frames = "2147483647"}, BASE_OK, NULL},
        {{.columns = 1, .rows = 1, .more = bad_window}, BASE_EFORMAT, "WindowWidth"},
        {{.columns = 1, .rows = 1, .more = bad_function}, BASE_EUNSUPPORTED, "VOILUTFunction"},
        {{.columns = 1, .rows = 1, .more = bad_lut}, BASE_EFORMAT, "LUTDescriptor of ModalityLUTSequence"},
        {{.columns = 1, .rows = 1, .more = short_lut}, BASE_EFORMAT, "6 bytes for 9 entries"},
        {{.columns = 1, .rows = 1, .photometric = "PALETTE COLOR"}, BASE_EFORMAT, "RedPalette"},
        {{.columns = 1, .rows = 1, .more = deep}, BASE_EFORMAT, "nested more than"},
        {{.columns = 1, .rows = 1, .more = stray}, BASE_EFORMAT, "something that is not an item"},
    };
    static const uint8_t pixels[5];
    static const uint16_t words[2];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        plan p = rows[i].plan;
        p.pixels = pixels;
        p.n = p.allocated > 8 ? 2 : 5;
        if (p.allocated > 8)
            p.pixels = words;
        if (rows[i].status != BASE_OK)
            assert_refused(&p, 0, rows[i].status, rows[i].text);
        else /* a huge count of frames costs nothing, and the last is not there */
            assert_refused(&p, 2147483646u, BASE_EFORMAT, "truncated DICOM");
    }
}

/* Every cut is refused: nothing after the pixels is made here. */
static void cuts(void **state)
{
    (void)state;
    const uint8_t pixels[] = {0, 1, 2, 3, 4, 5};
    const plan plans[] = {{.columns = 3, .rows = 2, .pixels = pixels, .n = 6},
                          {.syntax = IMPLICIT, .columns = 3, .rows = 2, .more = voi_lut, .pixels = pixels, .n = 6},
                          {.syntax = DEFLATED, .columns = 3, .rows = 2, .pixels = pixels, .n = 6},
                          {.syntax = RLE, .columns = 4, .rows = 1, .frames = "2", .fragments = fragments_by_table}};
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        base_buf file;
        make(&plans[i], &file);
        for (size_t n = 0; n < file.size; n++) {
            image img = {0};
            base_error error = {0};
            assert_int_not_equal(decode(file.data, n, 0, &img, &error), BASE_OK);
            assert_null(img.pixels);
        }
        base_buf_release(&file);
    }
}

static void a_deflated_bomb_is_refused(void **state)
{
    (void)state;
    enum { BYTES = 3 << 20 }; /* the limit allows half a MiB of pixels and one of header */
    uint8_t *zeros = calloc(1, BYTES), *out = malloc(BYTES);
    assert_non_null(zeros);
    assert_non_null(out);
    z_stream stream = {.next_in = zeros, .avail_in = BYTES, .next_out = out, .avail_out = BYTES};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    maker m = {.is_explicit = true};
    put_meta(&m, DEFLATED);
    base_buf_put(&m.buf, out, stream.total_out);
    assert_bytes_refused(m.buf.data, m.buf.size, 0, BASE_ETOOBIG, "grows beyond");
    deflateEnd(&stream);
    base_buf_release(&m.buf);
    free(zeros);
    free(out);
}

/* --- JPEG 2000: cut too finely --- */

static void jpeg_2000_blocks(void **state)
{
    (void)state;
    /* SOC, COD (levels, block sizes, precincts at 13...), SOT, SOD, EOC */
    uint8_t s[] = {0xFF, 0x4F, 0xFF, 0x52, 0,  14, 1, 0, 0, 1, 0,  1, 4, 4,    0,    0,    0x77,
                   0x88, 0xFF, 0x90, 0,    10, 0,  0, 0, 0, 0, 14, 0, 1, 0xFF, 0x93, 0xFF, 0xD9};
    const dicom_raster raster = {.rows = 4096, .columns = 4096, .samples = 1};
    const dicom_bytes whole = {s, sizeof s};
    assert_true(dicom_jpeg2000_is_bounded(whole, &raster));
    for (size_t n = 2; n < sizeof s; n++) /* only the end mark may be missing */
        assert_int_equal(dicom_jpeg2000_is_bounded((dicom_bytes){s, n}, &raster), n >= sizeof s - 2);
    s[17] = 0x00; /* precincts of one sample */
    assert_false(dicom_jpeg2000_is_bounded(whole, &raster));
    s[17] = 0x88;
    s[12] = 0; /* code blocks of 4 x 4: exactly too small */
    s[13] = 0;
    assert_false(dicom_jpeg2000_is_bounded(whole, &raster));
    s[12] = s[13] = 4;
    s[11] = 33; /* levels */
    assert_false(dicom_jpeg2000_is_bounded(whole, &raster));
}

/* --- the corpus: every codec --- */

static void corpus_decodes(void **state)
{
    (void)state;
    const char *names[] = {"grey8", "grey12", "rgb"}, *codecs[] = {"native", "rle", "jpeg", "lossless", "jls", "j2k"};
    for (size_t i = 0; i < 18; i++) {
        if (i == 8) /* no packaged tool makes lossy JPEG of 12 bits; the conformance check reads some */
            continue;
        char path[512];
        snprintf(path, sizeof path, "%s/tests/fuzz/corpus/dicom/%s_%s.dcm", PALMGROVE_SOURCE_DIR, names[i / 6],
                 codecs[i % 6]);
        static uint8_t bytes[1 << 16];
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        size_t size = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        image img = {0};
        base_error error = {0};
        if (decode(bytes, size, 0, &img, &error) != BASE_OK)
            fail_msg("%s: %s", path, error.text);
        assert_true(img.width == 48 && img.height == 32 && img.channels == (i < 12 ? 1 : 3));
        /* Lossy: 4 for quality 95 of smooth slopes; where 2 x 2 pixels share a red difference, 1.402 x 0.878 x 3 more.
         */
        int bound = i % 6 != 2 ? 0 : i < 12 ? 4 : 8;
        for (int k = 0; k < 48 * 32; k++) {
            int v = 3 * (k % 48) + 3 * (k / 48);
            double grey = 255.0 * v / (3 * 47 + 3 * 31); /* greys are stretched from smallest to largest */
            int expected[] = {i < 12 ? (int)rint(grey) : v, 255 - v, v / 2};
            for (uint32_t c = 0; c < img.channels; c++)
                if (abs(img.pixels[(uint32_t)k * img.channels + c] - expected[c]) > bound)
                    fail_msg("%s: pixel %d has %d, not %d", path, k, img.pixels[(uint32_t)k * img.channels + c],
                             expected[c]);
        }
        image_release(&img);
    }
}

/* --- privacy --- */

#define SECRET "ZWIEBEL"

static void put_identity(maker *m)
{
    put_text(m, 0x00080060, "CS", SECRET);
    put_text(m, 0x00180015, "CS", SECRET "^ANNA");
    put_text(m, 0x00185101, "CS", SECRET);
    put_text(m, 0x00280301, "CS", SECRET);
    put_text(m, 0x00281055, "LO", SECRET);
    put_text(m, 0x00282110, "CS", "01");
    put_text(m, 0x00282112, "DS", "987654");
    put_text(m, 0x00284000, "LT", SECRET "^ANNA " SECRET);
}

static void put_secret_window(maker *m)
{
    put_text(m, 0x00281050, "DS", SECRET);
    put_text(m, 0x00281051, "DS", SECRET);
}

static void put_secret_function(maker *m)
{
    linear(m);
    put_text(m, 0x00281056, "CS", SECRET);
}

static void assert_silent(const uint8_t *bytes, size_t size)
{
    image img = {0};
    base_error error = {0};
    image_warnings warnings = {0};
    const image_expected expected = {"CR", "CHEST", "AP"};
    const image_options options = {.max_pixels = LIMIT, .expected = &expected, .warnings = &warnings};
    (void)image_decode_frame(bytes, size, &options, &img, &error);
    if (strstr(error.text, SECRET) != NULL || strstr(error.text, "987654") != NULL)
        fail_msg("a header's text is in '%s'", error.text);
    for (size_t i = 0; i < warnings.n; i++)
        if (strstr(warnings.list[i].text, SECRET) != NULL) /* numbers may be told */
            fail_msg("a header's text is in '%s'", warnings.list[i].text);
    image_release(&img);
}

/* Names in their own field and in each that is a text of ours; then damage of every byte, and of many at once. */
static void no_text_of_a_header_comes_out(void **state)
{
    (void)state;
    const uint8_t pixels[] = {0, 1, 2, 3, 4, 5};
    const plan plans[] = {
        {.columns = 3, .rows = 2, .private_text = SECRET, .more = put_identity, .pixels = pixels, .n = 6},
        {.columns = 3, .rows = 2, .private_text = SECRET, .more = put_secret_window, .pixels = pixels, .n = 6},
        {.columns = 3, .rows = 2, .private_text = SECRET, .more = put_secret_function, .pixels = pixels, .n = 6},
        {.columns = 3, .rows = 2, .private_text = SECRET, .photometric = SECRET, .pixels = pixels, .n = 6},
        {.columns = 3, .rows = 2, .private_text = SECRET, .frames = SECRET, .pixels = pixels, .n = 6},
        {.columns = 3, .rows = 2, .private_text = SECRET, .frames = "-987654", .pixels = pixels, .n = 6},
        {.syntax = "1.3.6.1.987654.1", .columns = 3, .rows = 2, .private_text = SECRET, .pixels = pixels, .n = 6},
        {.syntax = SECRET, .columns = 3, .rows = 2, .private_text = SECRET, .pixels = pixels, .n = 6},
        {.syntax = IMPLICIT,
         .columns = 3,
         .rows = 2,
         .private_text = SECRET,
         .more = put_identity,
         .pixels = pixels,
         .n = 6},
    };
    const uint8_t values[] = {0, 1, 0x7F, 0xFF};
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        base_buf file;
        make(&plans[i], &file);
        assert_silent(file.data, file.size);
        for (size_t at = 0; at < file.size; at++)
            for (size_t k = 0; k < sizeof values; k++) {
                uint8_t kept = file.data[at];
                file.data[at] = values[k];
                assert_silent(file.data, file.size);
                file.data[at] = kept;
            }
        for (size_t n = 0; n < file.size; n++)
            assert_silent(file.data, n);
        base_buf_release(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_orders),
        cmocka_unit_test(bytes_in_big_endian_words),
        cmocka_unit_test(signs_and_high_bits),
        cmocka_unit_test(windows),
        cmocka_unit_test(lookup_tables),
        cmocka_unit_test(colours),
        cmocka_unit_test(pixels_become_square),
        cmocka_unit_test(frames_are_picked),
        cmocka_unit_test(fragments),
        cmocka_unit_test(refusals),
        cmocka_unit_test(cuts),
        cmocka_unit_test(a_deflated_bomb_is_refused),
        cmocka_unit_test(jpeg_2000_blocks),
        cmocka_unit_test(corpus_decodes),
        cmocka_unit_test(no_text_of_a_header_comes_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
