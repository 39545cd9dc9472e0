/* test_dicom_off.c - a build without DICOM refuses DICOM files by naming the option, and nothing else changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/image/dicom_text.h"
#include "coordinator/image/image.h"

static void expect_refusal(base_status status, const base_error *error)
{
    assert_int_equal(status, BASE_EUNSUPPORTED);
    assert_non_null(strstr(error->text, "PALMGROVE_DICOM"));
}

static void the_option_is_named(void **state)
{
    (void)state;
    uint8_t file[256] = {0};
    memcpy(file + 128, "DICM", 4);
    image img = {0};
    base_buf text = {0};
    base_error error = {0};
    uint32_t tag = 0;
    expect_refusal(image_decode(file, sizeof file, 1 << 20, &img, &error), &error);
    expect_refusal(dicom_tag_parse("ViewPosition", &tag, &error), &error);
    expect_refusal(dicom_text_read(file, sizeof file, 0x00080060, &text, &error), &error);
    assert_null(img.pixels);
    assert_int_equal(text.size, 0);
}

static void other_formats_are_read(void **state)
{
    (void)state;
    image img = {0};
    base_error error = {0};
    assert_int_equal(image_decode("P5 2 1 255 ab", 13, 1 << 20, &img, &error), BASE_OK);
    assert_memory_equal(img.pixels, "ab", 2);
    image_release(&img);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_option_is_named),
        cmocka_unit_test(other_formats_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
