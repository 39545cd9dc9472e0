/* test_dicom_syntax.c - files that are not what their headers say: encodings, subsampling, colours, lengths; and the
 * warnings about what was imaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/image/image.h"
#include "tests/helpers/dicom_maker.h"

typedef struct result {
    image img;
    image_warnings warnings;
    base_status status;
    base_error error;
} result;

static result decode(const base_buf *file, uint32_t frame, const image_expected *expected)
{
    result r = {0};
    const image_options options = {
        .max_pixels = 1 << 16, .frame = frame, .expected = expected, .warnings = &r.warnings};
    r.status = image_decode_frame(file->data, file->size, &options, &r.img, &r.error);
    return r;
}

static void assert_pixels(const result *r, const uint8_t *expected, size_t n)
{
    if (r->status != BASE_OK)
        fail_msg("%s", r->error.text);
    assert_int_equal((size_t)r->img.width * r->img.height * r->img.channels, n);
    assert_memory_equal(r->img.pixels, expected, n);
}

/* Exactly this warning; NULL: none. */
static void assert_warned(const result *r, image_warning_kind kind, const char *text)
{
    assert_int_equal(r->warnings.n, text != NULL);
    if (text == NULL)
        return;
    assert_int_equal(r->warnings.list[0].kind, kind);
    if (strstr(r->warnings.list[0].text, text) == NULL)
        fail_msg("'%s' is not in '%s'", text, r->warnings.list[0].text);
}

static result decode_plan(const plan *p)
{
    base_buf file;
    make(p, &file);
    result r = decode(&file, 0, NULL);
    base_buf_release(&file);
    return r;
}

/* --- encodings --- */

static const char *const uids[] = {IMPLICIT, LITTLE, BIG};

/* A data set in encoding `is` under the transfer syntax `said`. */
static void make_as(size_t is, size_t said, base_buf *file)
{
    static const uint16_t words[] = {0, 256, 512, 1020, 765, 255};
    const plan p = {
        .syntax = uids[is], .columns = 3, .rows = 2, .allocated = 16, .stored = 12, .pixels = words, .n = 6};
    base_buf plain;
    make(&p, &plain);
    size_t begin = 132 + 8 + strlen(uids[is]) + strlen(uids[is]) % 2;
    maker m = {.is_explicit = true};
    put_meta(&m, uids[said]);
    put_text(&m, 0x00020016, "AE", "x");
    m.is_explicit = is != 0;
    m.is_big_endian = is == 2;
    put_text(&m, 0x00080008, "CS", "ORIGINAL");
    base_buf_put(&m.buf, plain.data + begin, plain.size - begin);
    base_buf_release(&plain);
    *file = m.buf;
}

static void data_sets_are_read_as_they_are(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, 64, 128, 255, 191, 64};
    static const char *const names[] = {"data set is implicit VR little endian",
                                        "data set is explicit VR little endian", "data set is explicit VR big endian"};
    for (size_t i = 0; i < 9; i++) {
        base_buf file;
        make_as(i / 3, i % 3, &file);
        result r = decode(&file, 0, NULL);
        assert_pixels(&r, bytes, 6);
        assert_warned(&r, IMAGE_WARN_SYNTAX, i / 3 == i % 3 ? NULL : names[i / 3]);
        image_release(&r.img);
        base_buf_release(&file);
    }
}

/* --- subsampling and lengths --- */

static void unsampled_ybr_422(void **state)
{
    (void)state;
    static const uint8_t pixels[] = {16, 128, 128, 50, 128, 128, 76, 85, 255, 200, 128, 128, 1, 2, 3, 4};
    static const uint8_t rgb[] = {16, 16, 16, 50, 50, 50, 254, 0, 0, 200, 200, 200};
    plan p = {.columns = 4, .rows = 1, .samples = 3, .photometric = "YBR_FULL_422", .pixels = pixels, .n = 12};
    result r = decode_plan(&p);
    assert_pixels(&r, rgb, 12);
    assert_warned(&r, IMAGE_WARN_PIXEL_DATA, "not subsampled");
    image_release(&r.img);
    p.n = 10; /* 8 would be right, 12 be unsampled */
    r = decode_plan(&p);
    assert_int_equal(r.status, BASE_EFORMAT);
    assert_non_null(strstr(r.error.text, "have 10 bytes; YBR_FULL_422 of 4 x 1 pixels has 8"));
    p.n = 16; /* two frames of 8 */
    r = decode_plan(&p);
    assert_int_equal(r.status, BASE_EFORMAT);
    p.frames = "2";
    r = decode_plan(&p);
    assert_int_equal(r.status, BASE_OK);
    assert_warned(&r, IMAGE_WARN_FRAMES, "has 2 frames; only frame 0");
    image_release(&r.img);
    const uint8_t pair[] = {16, 128, 128, 128}; /* Y Y Cb Cr */
    p = (plan){.columns = 2, .rows = 1, .samples = 3, .photometric = "YBR_FULL_422", .pixels = pair, .n = 4};
    r = decode_plan(&p);
    assert_pixels(&r, (const uint8_t[]){16, 16, 16, 128, 128, 128}, 6);
    assert_warned(&r, 0, NULL);
    image_release(&r.img);
}

static void longer_pixel_data_are_warned_of(void **state)
{
    (void)state;
    const uint8_t pixels[] = {0, 255, 0, 255, 9, 9};
    plan p = {.columns = 2, .rows = 2, .pixels = pixels, .n = 4};
    result r = decode_plan(&p);
    assert_warned(&r, 0, NULL);
    image_release(&r.img);
    p.n = 6;
    r = decode_plan(&p);
    assert_pixels(&r, pixels, 4);
    assert_warned(&r, IMAGE_WARN_PIXEL_DATA, "have 6 bytes, but the header says 4");
    image_release(&r.img);
}

/* The corpus's JPEG 2000 in RGB has the codec's colour transform; its header may say anything. */
static void jpeg_2000_colours_are_the_streams(void **state)
{
    (void)state;
    static uint8_t bytes[1 << 16];
    FILE *stream = fopen(PALMGROVE_SOURCE_DIR "/tests/fuzz/corpus/dicom/rgb_j2krct.dcm", "rb");
    assert_non_null(stream);
    base_buf file = {.data = bytes, .size = fread(bytes, 1, sizeof bytes, stream)};
    fclose(stream);
    uint8_t *photometric = memmem(bytes, file.size, "YBR_RCT ", 8);
    assert_non_null(photometric);
    result plain = decode(&file, 0, NULL);
    assert_int_equal(plain.status, BASE_OK);
    memcpy(photometric, "YBR_FULL", 8);
    result r = decode(&file, 0, NULL);
    assert_pixels(&r, plain.img.pixels, 48 * 32 * 3);
    assert_int_equal(r.img.pixels[3], 3); /* 3 x */
    image_release(&r.img);
    image_release(&plain.img);
}

/* --- what was imaged --- */

static const char *modality, *body_part, *view, *annotation, *lossy, *ratio;

static void put_study(maker *m)
{
    const struct {
        uint32_t tag;
        const char *vr, *text;
    } rows[] = {{0x00080060, "CS", modality},   {0x00180015, "CS", body_part}, {0x00185101, "CS", view},
                {0x00280301, "CS", annotation}, {0x00282110, "CS", lossy},     {0x00282112, "DS", ratio}};
    for (size_t i = 0; i < 6; i++)
        if (rows[i].text != NULL)
            put_text(m, rows[i].tag, rows[i].vr, rows[i].text);
}

static result decode_study(const image_expected *expected)
{
    static const uint8_t pixels[] = {0, 255, 0, 255};
    base_buf file;
    make(&(plan){.columns = 2, .rows = 2, .more = put_study, .pixels = pixels, .n = 4}, &file);
    result r = decode(&file, 0, expected);
    assert_int_equal(r.status, BASE_OK);
    image_release(&r.img);
    base_buf_release(&file);
    return r;
}

static void the_study_is_compared(void **state)
{
    (void)state;
    const image_expected chest = {"CR DX DG", "CHEST THORAX", "AP PA"};
    modality = body_part = view = annotation = lossy = ratio = NULL;
    result r = decode_study(&chest); /* a header that says nothing fits */
    assert_warned(&r, 0, NULL);
    modality = "DX ";
    body_part = "Chest, AP";
    view = "pa";
    r = decode_study(&chest);
    assert_warned(&r, 0, NULL);
    modality = "CT";
    r = decode_study(&chest);
    assert_warned(&r, IMAGE_WARN_MODALITY, "the modality is CT; expected is CR DX DG");
    r = decode_study(NULL);
    assert_warned(&r, 0, NULL);
    modality = NULL;
    body_part = "ZWIEBEL^ANNA";
    r = decode_study(&chest); /* names of persons stay inside */
    assert_warned(&r, IMAGE_WARN_BODY_PART, "the body part is another one; expected is CHEST THORAX");
    assert_null(strstr(r.warnings.list[0].text, "ZWIEBEL"));
    body_part = NULL;
    view = "LATERAL";
    r = decode_study(&chest);
    assert_warned(&r, IMAGE_WARN_VIEW, "the view is LATERAL; expected is AP PA");
}

static void burned_in_text_and_loss_are_warned_of(void **state)
{
    (void)state;
    modality = body_part = view = lossy = ratio = NULL;
    annotation = "YES";
    result r = decode_study(NULL);
    assert_warned(&r, IMAGE_WARN_ANNOTATION, "burned into the pixels");
    annotation = "NO";
    lossy = "01";
    r = decode_study(NULL);
    assert_warned(&r, IMAGE_WARN_LOSSY, "unknown ratio");
    ratio = "8\\12.5";
    r = decode_study(NULL);
    assert_warned(&r, IMAGE_WARN_LOSSY, "ratio of 12.5");
    ratio = "12,5";
    r = decode_study(NULL);
    assert_warned(&r, IMAGE_WARN_LOSSY, "unknown ratio");
    lossy = "00";
    r = decode_study(NULL);
    assert_warned(&r, 0, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_sets_are_read_as_they_are),  cmocka_unit_test(unsampled_ybr_422),
        cmocka_unit_test(longer_pixel_data_are_warned_of), cmocka_unit_test(jpeg_2000_colours_are_the_streams),
        cmocka_unit_test(the_study_is_compared),           cmocka_unit_test(burned_in_text_and_loss_are_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
