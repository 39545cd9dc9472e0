/* test_dicom_cut.c - a frame cut out of a file has the pixels that it has in the file, and nothing of the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/image/dicom_cut.h"
#include "coordinator/image/image.h"
#include "tests/helpers/dicom_maker.h"

static base_status decode(const base_buf *file, uint32_t frame, image *out, image_warnings *warnings, base_error *error)
{
    *warnings = (image_warnings){0};
    const image_options options = {.max_pixels = 1 << 16, .frame = frame, .warnings = warnings};
    return image_decode_frame(file->data, file->size, &options, out, error);
}

static void assert_cut(const plan *p, uint32_t frame, uint32_t n_frames)
{
    base_buf file, cut = {0};
    image whole = {0}, alone = {0};
    image_warnings warnings, before;
    base_error error = {0};
    uint32_t found = 0;
    make(p, &file);
    if (dicom_cut_frame(file.data, file.size, frame, &found, &cut, &error) != BASE_OK ||
        decode(&file, frame, &whole, &before, &error) != BASE_OK ||
        decode(&cut, 0, &alone, &warnings, &error) != BASE_OK)
        fail_msg("%s", error.text);
    assert_int_equal(found, n_frames);
    assert_int_equal(warnings.n, before.n); /* the one about several frames stays */
    for (size_t i = 0; i < before.n; i++)
        assert_string_equal(warnings.list[i].text, before.list[i].text);
    assert_true(whole.width == alone.width && whole.height == alone.height && whole.channels == alone.channels);
    assert_memory_equal(whole.pixels, alone.pixels, (size_t)whole.width * whole.height * whole.channels);
    assert_int_equal(decode(&cut, 1, &alone, &warnings, &error), BASE_EINVAL);
    image_release(&whole);
    image_release(&alone);
    base_buf_release(&file);
    base_buf_release(&cut);
}

/* A window of its own for each of three frames, and one for all that must not count. */
static void put_group(maker *m, const char *center)
{
    put_head(m, 0xFFFEE000, NULL, UNDEFINED);
    begin_item(m, 0x00289132);
    put_text(m, 0x00281050, "DS", center);
    put_text(m, 0x00281051, "DS", "100");
    end_item(m);
    put_head(m, 0xFFFEE00D, NULL, 0);
}

static void put_groups(maker *m)
{
    put_head(m, 0x52009229, "SQ", UNDEFINED);
    put_group(m, "1000");
    put_head(m, 0xFFFEE0DD, NULL, 0);
    put_head(m, 0x52009230, "SQ", UNDEFINED);
    put_group(m, "20");
    put_group(m, "60");
    put_group(m, "120");
    put_head(m, 0xFFFEE0DD, NULL, 0);
    put_text(m, 0x54000010, "LO", "after the groups");
}

static void native_frames(void **state)
{
    (void)state;
    const char *syntaxes[] = {IMPLICIT, LITTLE, BIG};
    static const uint16_t words[12] = {0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220};
    static const uint8_t bytes[12] = {0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220};
    for (uint32_t i = 0; i < 9; i++) {
        plan p = {.syntax = syntaxes[i % 3],
                  .columns = 2,
                  .rows = 2,
                  .frames = "3 ",
                  .allocated = 16,
                  .stored = 12,
                  .more = put_groups,
                  .pixels = words,
                  .n = 12};
        assert_cut(&p, i / 3, 3);
        p.allocated = p.stored = 8;
        p.vr = i % 2 == 0 ? "OW" : "OB";
        p.pixels = bytes;
        assert_cut(&p, i / 3, 3);
        p.more = NULL;
        assert_cut(&p, i / 3, 3);
    }

    plan p = {
        .columns = 2, .rows = 1, .samples = 3, .photometric = "YBR_FULL_422", .frames = "3", .pixels = bytes, .n = 12};
    assert_cut(&p, 2, 3);
}

static void put_rle(maker *m, uint8_t a, uint8_t b, uint8_t c, size_t from, size_t to)
{
    uint8_t bytes[70] = {1, 0, 0, 0, 64, 0, 0, 0};
    const uint8_t packed[] = {1, a, b, 0xFF, c, 0x80};
    memcpy(bytes + 64, packed, sizeof packed);
    put_bytes(m, 0xFFFEE000, NULL, bytes + from, to - from);
}

static void by_table(maker *m)
{
    put_head(m, 0xFFFEE000, NULL, 8);
    put_number(m, 0, 4);
    put_number(m, 86, 4);
    put_rle(m, 0, 255, 100, 0, 64);
    put_rle(m, 0, 255, 100, 64, 70);
    put_rle(m, 255, 0, 50, 0, 70);
}

static void one_each(maker *m)
{
    put_head(m, 0xFFFEE000, NULL, 0);
    put_rle(m, 0, 255, 100, 0, 70);
    put_rle(m, 255, 0, 50, 0, 70);
}

static void compressed_frames(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        assert_cut(
            &(plan){.syntax = RLE, .columns = 4, .rows = 1, .frames = "2", .fragments = i < 2 ? by_table : one_each},
            i % 2, 2);
}

static void assert_refused(const base_buf *file, uint32_t frame, base_status status, const char *text)
{
    base_buf cut = {0};
    base_error error = {0};
    uint32_t n_frames = 7;
    assert_int_equal(dicom_cut_frame(file->data, file->size, frame, &n_frames, &cut, &error), status);
    assert_non_null(strstr(error.text, text));
    assert_int_equal(cut.size, 0);
    assert_int_equal(n_frames, 7);
    base_buf_release(&cut);
}

static void what_cannot_be_cut(void **state)
{
    (void)state;
    static const uint8_t bytes[4] = {1, 2, 3, 4};
    base_buf file, text = {.data = (uint8_t[]){"P5 1 1 255\nx"}, .size = 12};
    plan p = {.columns = 2, .rows = 1, .frames = "2", .pixels = bytes, .n = 4};
    make(&p, &file);
    assert_refused(&file, 2, BASE_EINVAL, "frame 2 was asked for");
    file.size -= 2;
    assert_refused(&file, 1, BASE_EFORMAT, "truncated");
    base_buf_release(&file);
    p.syntax = DEFLATED;
    make(&p, &file);
    assert_refused(&file, 0, BASE_EUNSUPPORTED, "deflated");
    base_buf_release(&file);
    assert_refused(&text, 0, BASE_EUNSUPPORTED, "not a DICOM file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(native_frames),
        cmocka_unit_test(compressed_frames),
        cmocka_unit_test(what_cannot_be_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
