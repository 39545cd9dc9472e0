/* test_preprocess.c - images fitted into squares: against Pillow to the bit (tests/golden/image/fit.bin), and what is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/file.h"
#include "coordinator/image/preprocess.h"

static void load_file(const char *path, base_buf *out)
{
    base_error error = {0};
    if (base_file_read(path, SIZE_MAX, out, &error) != BASE_OK)
        fail_msg("%s", error.text);
}

static void fits_equal_pillow(void **state)
{
    (void)state;
    base_buf goldens = {0};
    load_file(PALMGROVE_SOURCE_DIR "/tests/golden/image/fit.bin", &goldens);
    base_reader reader = base_reader_over(goldens.data, goldens.size);
    uint32_t n_cases = base_reader_u32(&reader), head[10];
    assert_true(n_cases >= 14);
    for (uint32_t i = 0; i < n_cases; i++) {
        for (int k = 0; k < 10; k++)
            head[k] = base_reader_u32(&reader);
        image img = {.width = head[7], .height = head[8], .channels = head[9]};
        const image_fit fit = {.kind = (image_fit_kind)head[0],
                               .filter = (image_filter)head[1],
                               .pad_side = (image_pad_side)head[2],
                               .pad_value = {(uint8_t)head[3], (uint8_t)head[4], (uint8_t)head[5]}};
        size_t n_in = (size_t)img.width * img.height * img.channels, n_out = (size_t)head[6] * head[6] * 3;
        const void *pixels = base_reader_take(&reader, n_in), *expected = base_reader_take(&reader, n_out);
        uint8_t *out = malloc(n_out);
        img.pixels = malloc(n_in); /* of its size: a sanitizer sees a read past the end */
        assert_true(expected != NULL && out != NULL && img.pixels != NULL);
        memcpy(img.pixels, pixels, n_in);
        assert_int_equal(image_preprocess(&img, &fit, head[6], out, NULL), BASE_OK);
        assert_memory_equal(out, expected, n_out);
        free(out);
        image_release(&img);
    }
    assert_int_equal(base_reader_left(&reader), 0);
    base_buf_release(&goldens);
}

/* One side of a million pixels, and other shapes that no buffer should be made for. */
static void absurd_images_are_refused(void **state)
{
    (void)state;
    base_error error = {0};
    static uint8_t pixels[3], out[4 * 4 * 3];
    image line = {.width = 1u << 20, .height = 1, .channels = 1, .pixels = pixels}; /* never read */
    for (int kind = IMAGE_FIT_PAD; kind <= IMAGE_FIT_CROP; kind++) {
        const image_fit fit = {.kind = (image_fit_kind)kind, .filter = IMAGE_FILTER_BICUBIC};
        assert_int_equal(image_preprocess(&line, &fit, 4, out, &error), BASE_ETOOBIG);
        assert_non_null(strstr(error.text, "65535"));
    }
    image none = {.width = 0, .height = 5, .channels = 1, .pixels = pixels};
    assert_int_equal(image_preprocess(&none, &(image_fit){0}, 4, out, &error), BASE_EINVAL);
    image one = {.width = 1, .height = 1, .channels = 3, .pixels = pixels};
    assert_int_equal(image_preprocess(&one, &(image_fit){0}, 0, out, &error), BASE_EINVAL);
    assert_int_equal(image_preprocess(&one, &(image_fit){.kind = IMAGE_FIT_CROP}, 4, out, &error), BASE_EINVAL);
    assert_int_equal(image_preprocess(&one, &(image_fit){.kind = IMAGE_FIT_SQUARE}, 4, out, &error), BASE_EINVAL);
}

/* The longest side that is taken, in every way: little memory, and the right answer where it is plain. */
static void long_lines_are_fitted(void **state)
{
    (void)state;
    enum { SIZE = 8 };
    uint8_t *pixels = malloc(IMAGE_FIT_SIDE_MAX), out[SIZE * SIZE * 3];
    assert_non_null(pixels);
    memset(pixels, 200, IMAGE_FIT_SIDE_MAX);
    image line = {.width = IMAGE_FIT_SIDE_MAX, .height = 1, .channels = 1, .pixels = pixels};
    for (int kind = IMAGE_FIT_PAD; kind <= IMAGE_FIT_CROP; kind++) {
        const image_fit fit = {
            .kind = (image_fit_kind)kind, .filter = IMAGE_FILTER_BICUBIC, .pad_side = IMAGE_PAD_AFTER};
        assert_int_equal(image_preprocess(&line, &fit, SIZE, out, NULL), BASE_OK);
        assert_int_equal(out[3],
                         kind == IMAGE_FIT_SQUARE ? 0 : 200); /* padded first, the line is lost between black rows */
        assert_int_equal(out[SIZE * SIZE * 3 - 1], kind == IMAGE_FIT_PAD || kind == IMAGE_FIT_SQUARE ? 0 : 200);
    }
    const image_fit square = {
        .kind = IMAGE_FIT_SQUARE, .filter = IMAGE_FILTER_BICUBIC, .pad_side = IMAGE_PAD_AFTER, .pad_value = {7, 7, 7}};
    image column = {.width = 1, .height = IMAGE_FIT_SIDE_MAX, .channels = 1, .pixels = pixels};
    assert_int_equal(image_preprocess(&column, &square, SIZE, out, NULL), BASE_OK);
    for (int i = 0; i < SIZE * SIZE * 3; i++) /* one column in eight thousand */
        assert_int_equal(out[i], 7);
    free(pixels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fits_equal_pillow),
        cmocka_unit_test(absurd_images_are_refused),
        cmocka_unit_test(long_lines_are_fitted),
    };
    return cmocka_run_group_tests_name("preprocess", tests, NULL, NULL);
}
