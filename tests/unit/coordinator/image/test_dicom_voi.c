/* test_dicom_voi.c - what a viewer shows: broken, narrow and absent windows, padding, PresentationLUTShape, and the
 * warnings about them.  Expected levels: DCMTK 3.6.7 (dcmj2pnm) where it is named, else worked out from PS3.3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/image/image.h"
#include "tests/helpers/dicom_maker.h"

enum { N = 8 };

static const uint16_t greys[N] = {0, 100, 200, 300, 400, 500, 600, 1000};

static base_status decode(const plan *p, image *out, image_warnings *warnings, base_error *error)
{
    base_buf file;
    make(p, &file);
    *warnings = (image_warnings){0};
    const image_options options = {.max_pixels = 1 << 16, .warnings = warnings};
    base_status status = image_decode_frame(file.data, file.size, &options, out, error);
    base_buf_release(&file);
    return status;
}

/* `kind` 0: no warning. */
static void assert_shown(const plan *p, const uint8_t *expected, int kind, const char *text)
{
    image img = {0};
    image_warnings warnings;
    base_error error = {0};
    if (decode(p, &img, &warnings, &error) != BASE_OK)
        fail_msg("%s", error.text);
    assert_int_equal((size_t)img.width * img.height, N);
    assert_memory_equal(img.pixels, expected, N);
    assert_int_equal(warnings.n, kind == 0 ? 0 : 1);
    if (kind != 0) {
        assert_int_equal(warnings.list[0].kind, kind);
        assert_non_null(strstr(warnings.list[0].text, text));
    }
    image_release(&img);
}

static void assert_refused(const plan *p, base_status status, const char *text)
{
    image img = {0};
    image_warnings warnings;
    base_error error = {0};
    assert_int_equal(decode(p, &img, &warnings, &error), status);
    if (strstr(error.text, text) == NULL)
        fail_msg("'%s' is not in '%s'", text, error.text);
}

static plan plan_of(void (*more)(maker *m))
{
    return (plan){.columns = 4, .rows = 2, .allocated = 16, .stored = 12, .more = more, .pixels = greys, .n = N};
}

/* --- numbers that are none --- */

static const char *field_text;
static uint32_t field_tag;

static void put_broken(maker *m)
{
    const uint32_t tags[] = {0x00280030, 0x00281050, 0x00281051, 0x00281052, 0x00281053};
    for (size_t i = 0; i < 5; i++)
        put_text(m, tags[i], "DS", tags[i] == field_tag ? field_text : i == 0 ? "1\\1" : "400");
}

static void numbers_that_are_none_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        uint32_t tag;
        const char *name;
    } fields[] = {{0x00280030, "PixelSpacing"},
                  {0x00281050, "WindowCenter"},
                  {0x00281051, "WindowWidth"},
                  {0x00281052, "RescaleIntercept"},
                  {0x00281053, "RescaleSlope"}};
    const char *texts[] = {"400,0", "1,024", "nan", "inf", "-inf", "1e999", "0x10", "4 0 0 m", "."};
    const plan p = plan_of(put_broken);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
            field_tag = fields[i].tag;
            field_text = texts[k];
            assert_refused(&p, BASE_EFORMAT, fields[i].name);
        }
}

/* --- windows --- */

static const char *center, *width;

static void put_window(maker *m)
{
    if (center != NULL)
        put_text(m, 0x00281050, "DS", center);
    if (width != NULL)
        put_text(m, 0x00281051, "DS", width);
}

static void narrow_windows(void **state)
{
    (void)state;
    const plan p = plan_of(put_window);
    const uint8_t step[N] = {0, 0, 0, 191, 255, 255, 255, 255}; /* (300 - 299.875) / 0.5 + 0.5 = 0.75 of 255 */
    center = "299.875";
    width = "0.5";
    assert_shown(&p, step, IMAGE_WARN_WINDOW, "LINEAR_EXACT");
    const char *widths[] = {"0", "-0.0", "-3"};
    for (size_t i = 0; i < 3; i++) {
        width = widths[i];
        assert_refused(&p, BASE_EFORMAT, "WindowWidth (0028,1051) is not above 0");
    }
}

static void half_a_window_is_warned_of(void **state)
{
    (void)state;
    const plan p = plan_of(put_window);
    const uint8_t stretched[N] = {0, 26, 51, 76, 102, 128, 153, 255};
    center = "300";
    width = NULL;
    assert_shown(&p, stretched, IMAGE_WARN_WINDOW, "WindowCenter (0028,1050) is given without WindowWidth (0028,1051)");
    width = " ";
    assert_shown(&p, stretched, IMAGE_WARN_WINDOW, "given without");
    center = " ";
    assert_shown(&p, stretched, 0, "");
}

static void a_window_outside_of_the_values_is_warned_of(void **state)
{
    (void)state;
    const plan p = plan_of(put_window);
    const uint8_t black[N] = {0}, white[N] = {255, 255, 255, 255, 255, 255, 255, 255};
    center = "30000";
    width = "400";
    assert_shown(&p, black, IMAGE_WARN_FLAT, "outside");
    center = "-30000";
    assert_shown(&p, white, IMAGE_WARN_FLAT, "outside");
    static const uint16_t same[N] = {7, 7, 7, 7, 7, 7, 7, 7};
    plan flat = plan_of(NULL);
    flat.pixels = same;
    assert_shown(&flat, black, IMAGE_WARN_FLAT, "same value");
}

/* --- padding --- */

static bool has_limit, padding_is_signed;
static uint16_t padding, padding_limit;

static void put_padding(maker *m)
{
    put_words(m, 0x00280120, padding_is_signed ? "SS" : "US", &padding, 1);
    if (has_limit)
        put_words(m, 0x00280121, padding_is_signed ? "SS" : "US", &padding_limit, 1);
}

static void padding_takes_no_part_in_the_range(void **state)
{
    (void)state;
    static const uint16_t words[N] = {0xF830, 0xF830, 0xF830, 0xF831, 0, 100, 200, 500}; /* -2000, -1999 */
    const uint8_t expected[N] = {0, 0, 0, 0, 0, 51, 102, 255}, inverted[N] = {255, 255, 255, 255, 255, 204, 153, 0};
    const char *syntaxes[] = {IMPLICIT, LITTLE, BIG};
    padding_is_signed = true;
    for (size_t i = 0; i < 6; i++) {
        plan p = {.syntax = syntaxes[i % 3],
                  .columns = 4,
                  .rows = 2,
                  .allocated = 16,
                  .stored = i < 3 ? 16 : 12, /* 12: the upper four bits are the sign's */
                  .is_signed = 1,
                  .more = put_padding,
                  .pixels = words,
                  .n = N};
        has_limit = true;
        padding = 0xF831;
        padding_limit = 0xF830; /* in either order */
        assert_shown(&p, expected, 0, "");
        p.photometric = "MONOCHROME1";
        assert_shown(&p, inverted, 0, "");
    }
    has_limit = padding_is_signed = false;
    padding = 1000;
    plan p = plan_of(put_padding);
    const uint8_t without_last[N] = {0, 42, 85, 128, 170, 212, 255, 255};
    assert_shown(&p, without_last, 0, "");
    static const uint16_t all[N] = {1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000};
    const uint8_t black[N] = {0};
    p.pixels = all;
    assert_shown(&p, black, IMAGE_WARN_FLAT, "same value");
}

/* --- presentation --- */

static const char *shape;

static void put_presentation(maker *m)
{
    put_window(m);
    if (shape != NULL)
        put_text(m, 0x20500020, "CS", shape);
}

/* All of dcmj2pnm +Wi 1, DCMTK 3.6.7, within its own rounding (it truncates: 63, 127, 191). */
static void presentation_shape_decides(void **state)
{
    (void)state;
    const uint8_t plain[N] = {0, 0, 64, 128, 192, 255, 255, 255}, inverse[N] = {255, 255, 191, 127, 63, 0, 0, 0};
    const struct {
        const char *photometric, *shape;
        bool is_inverse;
    } rows[] = {{"MONOCHROME1", NULL, true},  {"MONOCHROME1", "IDENTITY", false}, {"MONOCHROME1", "INVERSE", true},
                {"MONOCHROME2", NULL, false}, {"MONOCHROME2", "IDENTITY", false}, {"MONOCHROME2", "INVERSE ", true},
                {"MONOCHROME1", "", true}};
    center = "300";
    width = "400";
    plan p = plan_of(put_presentation);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        p.photometric = rows[i].photometric;
        shape = rows[i].shape;
        assert_shown(&p, rows[i].is_inverse ? inverse : plain, 0, "");
    }
    shape = "LIN OD";
    assert_refused(&p, BASE_EUNSUPPORTED, "PresentationLUTShape (2050,0020) is neither IDENTITY nor INVERSE");
}

/* --- the list --- */

static void a_list_has_one_of_a_kind(void **state)
{
    (void)state;
    image_warnings list = {0};
    image_warn(&list, IMAGE_WARN_FRAMES, "%d frames", 3);
    image_warn(&list, IMAGE_WARN_FRAMES, "again");
    image_warn(NULL, IMAGE_WARN_FRAMES, "nowhere");
    assert_int_equal(list.n, 1);
    assert_string_equal(list.list[0].text, "3 frames");
    assert_string_equal(image_warning_name(list.list[0].kind), "frames");
    assert_string_equal(image_warning_name((image_warning_kind)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_that_are_none_are_refused_by_name),
        cmocka_unit_test(narrow_windows),
        cmocka_unit_test(half_a_window_is_warned_of),
        cmocka_unit_test(a_window_outside_of_the_values_is_warned_of),
        cmocka_unit_test(padding_takes_no_part_in_the_range),
        cmocka_unit_test(presentation_shape_decides),
        cmocka_unit_test(a_list_has_one_of_a_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
