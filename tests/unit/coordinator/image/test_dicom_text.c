/* test_dicom_text.c - elements of a DICOM header as text: what comes out, what is refused, and that no refusal quotes
 * the header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/image/dicom_text.h"
#include "tests/helpers/dicom_maker.h"

enum {
    CHARACTERS = 0x00080005,
    MODALITY = 0x00080060,
    AGE = 0x00101010,
    HISTORY = 0x001021B0,
    VIEW = 0x00185101,
    REASON = 0x00321030,
    ROWS = 0x00280010,
    VOI_SEQUENCE = 0x00283010
};

/* The element of a test, put in front of the pixels. */
static struct {
    uint32_t tag;
    const char *vr, *value, *characters;
} put;

static void put_element(maker *m)
{
    if (put.characters != NULL)
        put_text(m, CHARACTERS, "CS", put.characters);
    put_text(m, put.tag, put.vr, put.value);
}

/* In memory of exactly its size, so that a sanitizer sees a read beyond the end. */
static base_status read_from(const base_buf *file, size_t size, uint32_t tag, base_buf *out, base_error *error)
{
    uint8_t *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, file->data, size);
    uint8_t *exact = realloc(copy, size > 0 ? size : 1);
    base_status status = dicom_text_read(exact, size, tag, out, error);
    free(exact);
    return status;
}

static plan with(void (*more)(maker *m), const char *syntax)
{
    static const uint8_t pixels[6];
    return (plan){.syntax = syntax, .columns = 3, .rows = 2, .more = more, .pixels = pixels, .n = 6};
}

static base_status read_element(const char *syntax, uint32_t tag, base_buf *out, base_error *error)
{
    base_buf file;
    plan p = with(put_element, syntax);
    make(&p, &file);
    base_status status = read_from(&file, file.size, tag, out, error);
    base_buf_release(&file);
    return status;
}

static void assert_text_in(const char *syntax, uint32_t tag, const char *vr, const char *value, const char *characters,
                           const char *expected)
{
    base_buf out = {0};
    base_error error = {0};
    put.tag = tag, put.vr = vr, put.value = value, put.characters = characters;
    if (read_element(syntax, tag, &out, &error) != BASE_OK)
        fail_msg("%s", error.text);
    base_buf_put_u8(&out, 0);
    assert_string_equal((const char *)out.data, expected);
    base_buf_release(&out);
}

static void assert_text(uint32_t tag, const char *vr, const char *value, const char *characters, const char *expected)
{
    assert_text_in(LITTLE, tag, vr, value, characters, expected);
}

static void assert_refused(uint32_t tag, const char *vr, const char *value, const char *characters, base_status status,
                           const char *why)
{
    base_buf out = {0};
    base_error error = {0};
    put.tag = tag, put.vr = vr, put.value = value, put.characters = characters;
    assert_int_equal(read_element(LITTLE, tag, &out, &error), status);
    if (strstr(error.text, why) == NULL)
        fail_msg("'%s' is not in '%s'", why, error.text);
    assert_null(strstr(error.text, "Doe"));
    assert_int_equal(out.size, 0);
    base_buf_release(&out);
}

static void texts(void **state)
{
    (void)state;
    const char *const syntaxes[] = {IMPLICIT, LITTLE, DEFLATED, BIG};
    for (size_t i = 0; i < sizeof syntaxes / sizeof syntaxes[0]; i++)
        assert_text_in(syntaxes[i], VIEW, "CS", "PA", NULL, "PA");
    assert_text(REASON, "LO", "  cough, fever ", NULL, "cough, fever");
    assert_text(HISTORY, "LT", "one\r\ntwo\rthree\\four", NULL, "one\ntwo\nthree\\four");
    assert_text_in(IMPLICIT, HISTORY, "LT", "left\\right", NULL, "left\\right");
    assert_text(0x00091001, "UT", "private", NULL, "private");
    assert_text_in(IMPLICIT, 0x00091001, "UT", "private", NULL, "private");
    assert_text(0x00091001, "UN", "unknown", NULL, "unknown");
    assert_text(AGE, "UN", "045Y", NULL, "45");
}

static void ages(void **state)
{
    (void)state;
    assert_text(AGE, "AS", "045Y", NULL, "45");
    assert_text(AGE, "AS", "000Y", NULL, "0");
    assert_text(AGE, "AS", "103Y", NULL, "103");
    assert_text_in(IMPLICIT, AGE, "AS", "007Y", NULL, "7");
    const char *const others[] = {"006M", "45Y", "45", "04xY", "0045Y"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_refused(AGE, "AS", others[i], NULL, BASE_EINVAL, "not in years");
}

static void character_sets(void **state)
{
    (void)state;
    assert_text(REASON, "LO", "Pr\xE9-op", "ISO_IR 100", "Pr\xC3\xA9-op");
    assert_text(REASON, "LO", "\xFF\xA0", "ISO_IR 100", "\xC3\xBF\xC2\xA0");
    assert_text(REASON, "LO", "\xE5\x92\xB3\xE5\x97\xBD", "ISO_IR 192", "\xE5\x92\xB3\xE5\x97\xBD");
    assert_text(REASON, "LO", "plain", "ISO_IR 144", "plain");
    assert_text(REASON, "LO", "plain", "\\ISO 2022 IR 87", "plain");
    const char *why = "character set";
    assert_refused(REASON, "LO", "Doe \xE9", NULL, BASE_EUNSUPPORTED, why);
    assert_refused(REASON, "LO", "Doe \xE9", "ISO_IR 144", BASE_EUNSUPPORTED, why);
    assert_refused(REASON, "LO", "Doe \xE9", "ISO_IR 192", BASE_EUNSUPPORTED, why);
    assert_refused(REASON, "LO", "Doe \x1B$B", "\\ISO 2022 IR 87", BASE_EUNSUPPORTED, why);
}

static void refusals(void **state)
{
    (void)state;
    assert_refused(REASON, "LO", "Doe\\cough", NULL, BASE_EINVAL, "several values");
    assert_refused(REASON, "LO", "", NULL, BASE_ENOTFOUND, "no value for ReasonForStudy (0032,1030)");
    assert_refused(REASON, "LO", "   ", NULL, BASE_ENOTFOUND, "no value");
    assert_refused(REASON, "LO", "Doe\x07", NULL, BASE_EFORMAT, "no text");
    assert_refused(REASON, "LO", "Doe\x85", "ISO_IR 100", BASE_EFORMAT, "no text");
    assert_refused(0x00091001, "OB", "Doe", NULL, BASE_EFORMAT, "(0009,1001) holds no text");
    base_buf out = {0};
    base_error error = {0};
    put.tag = REASON, put.vr = "LO", put.value = "Doe", put.characters = NULL;
    assert_int_equal(read_element(LITTLE, VIEW, &out, &error), BASE_ENOTFOUND);
    assert_int_equal(read_element(LITTLE, ROWS, &out, &error), BASE_EFORMAT); /* US */
    assert_int_equal(dicom_text_read("\x89PNG\r\n\x1A\n and more than that", 29, VIEW, &out, &error),
                     BASE_EUNSUPPORTED);
    assert_non_null(strstr(error.text, "not a DICOM file"));
    assert_int_equal(out.size, 0);
    base_buf_release(&out);
}

static void put_nested(maker *m)
{
    begin_item(m, VOI_SEQUENCE);
    put_text(m, VIEW, "CS", "LL");
    end_item(m);
}

/* Only the file's own data set is asked, not the items inside its sequences; a sequence is no text. */
static void sequences(void **state)
{
    (void)state;
    base_buf file, out = {0};
    base_error error = {0};
    plan p = with(put_nested, LITTLE);
    make(&p, &file);
    assert_int_equal(read_from(&file, file.size, VIEW, &out, &error), BASE_ENOTFOUND);
    assert_int_equal(read_from(&file, file.size, VOI_SEQUENCE, &out, &error), BASE_EFORMAT);
    base_buf_release(&file);
}

static void big_texts(void **state)
{
    (void)state;
    char *text = malloc(DICOM_TEXT_BYTES_MAX + 3);
    assert_non_null(text);
    memset(text, 'x', DICOM_TEXT_BYTES_MAX + 2);
    text[DICOM_TEXT_BYTES_MAX + 2] = '\0';
    assert_refused(HISTORY, "UT", text, NULL, BASE_ETOOBIG, "more than 65536 bytes");
    text[DICOM_TEXT_BYTES_MAX] = '\0';
    assert_text(HISTORY, "UT", text, NULL, text);
    free(text);
}

static void cuts(void **state)
{
    (void)state;
    base_buf file, out = {0};
    base_error error = {0};
    put.tag = REASON, put.vr = "LO", put.value = "Doe", put.characters = "ISO_IR 100";
    plan p = with(put_element, LITTLE);
    make(&p, &file);
    for (size_t n = 0; n < file.size; n++) {
        (void)read_from(&file, n, REASON, &out, &error);
        assert_null(strstr(error.text, "Doe"));
    }
    base_buf_release(&out);
    base_buf_release(&file);
}

static void names(void **state)
{
    (void)state;
    uint32_t tag = 0;
    base_error error = {0};
    assert_int_equal(dicom_tag_parse("0032,1030", &tag, &error), BASE_OK);
    assert_int_equal(tag, REASON);
    assert_int_equal(dicom_tag_parse("ViewPosition", &tag, &error), BASE_OK);
    assert_int_equal(tag, VIEW);
    assert_int_equal(dicom_tag_parse("0010,21b0", &tag, &error), BASE_OK);
    assert_int_equal(tag, HISTORY);
    const char *const wrong[] = {"",          "viewposition", "00321030",  "0032,103",  "0032,10300", "0032,103g",
                                 "+032,1030", "0032, 030",    "0002,0010", "7FE0,0010", "FFFE,E000"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (dicom_tag_parse(wrong[i], &tag, &error) != BASE_EINVAL)
            fail_msg("'%s' was taken", wrong[i]);
        assert_int_equal(tag, HISTORY);
    }
    assert_int_equal(dicom_tag_parse("x", &tag, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "ReasonForTheRequestedProcedure"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),    cmocka_unit_test(ages),      cmocka_unit_test(character_sets),
        cmocka_unit_test(refusals), cmocka_unit_test(sequences), cmocka_unit_test(big_texts),
        cmocka_unit_test(cuts),     cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
