/* What bench writes: JSON and SVG stay well-formed whatever the names are; quartiles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/output/json_text.h"
#include "tools/palmgrove/bench/bench_spread.h"
#include "tools/output/svg.h"

/* --- JSON --- */

static json_t *parsed(base_buf *text)
{
    json_error_t error;
    assert_false(text->failed);
    json_t *json = json_loadb((const char *)text->data, text->size, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        print_error("%s at %d: %.*s\n", error.text, error.position, (int)text->size, (const char *)text->data);
    assert_non_null(json);
    base_buf_release(text);
    return json;
}

static void json_nests(void **state)
{
    (void)state;
    base_buf text = {0};
    json_text j = {.out = &text};
    json_text_open(&j, NULL, '{');
    json_text_count(&j, "largest", UINT64_C(9223372036854775807));
    json_text_open(&j, "rows", '[');
    for (int i = 0; i < 3; i++) {
        json_text_open(&j, NULL, '{');
        json_text_real(&j, "share", 0.25 * i);
        json_text_open(&j, "empty", '[');
        json_text_close(&j, ']');
        json_text_close(&j, '}');
    }
    json_text_close(&j, ']');
    json_text_open(&j, "none", '{');
    json_text_close(&j, '}');
    json_text_bool(&j, "last", true);
    json_text_close(&j, '}');
    json_t *json = parsed(&text);
    assert_true(json_integer_value(json_object_get(json, "largest")) == INT64_MAX);
    const json_t *rows = json_object_get(json, "rows");
    assert_int_equal(json_array_size(rows), 3);
    assert_true(json_number_value(json_object_get(json_array_get(rows, 2), "share")) == 0.5);
    assert_true(json_is_true(json_object_get(json, "last")));
    assert_int_equal(json_object_size(json), 4);
    json_decref(json);
}

static void json_escapes(void **state)
{
    (void)state;
    char all[256];
    for (int i = 0; i < 127; i++)
        all[i] = (char)(i + 1);
    all[127] = '\0';
    base_buf text = {0};
    json_text j = {.out = &text};
    json_text_open(&j, NULL, '[');
    json_text_string(&j, NULL, all);
    json_text_string(&j, NULL, "\xc3\xa4 \xe2\x82\xac");
    json_text_string(&j, NULL, "a\xff\"b");
    json_text_string(&j, NULL, "");
    json_text_close(&j, ']');
    json_t *json = parsed(&text);
    assert_string_equal(json_string_value(json_array_get(json, 0)), all);
    assert_string_equal(json_string_value(json_array_get(json, 1)), "\xc3\xa4 \xe2\x82\xac");
    assert_string_equal(json_string_value(json_array_get(json, 2)), "a?\"b");
    assert_string_equal(json_string_value(json_array_get(json, 3)), "");
    json_decref(json);
}

static void json_has_no_infinities(void **state)
{
    (void)state;
    const double values[] = {NAN, INFINITY, -INFINITY, 1e300, -1e-300};
    base_buf text = {0};
    json_text j = {.out = &text};
    json_text_open(&j, NULL, '[');
    for (size_t i = 0; i < 5; i++)
        json_text_real(&j, NULL, values[i]);
    json_text_close(&j, ']');
    json_t *json = parsed(&text);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(json_is_null(json_array_get(json, i)), i < 3);
    json_decref(json);
}

/* --- SVG --- */

static void svg_escapes(void **state)
{
    (void)state;
    base_buf out = {0};
    svg_begin(&out, 100, 50);
    svg_text(&out, 1, 2, 12, SVG_RIGHT, "black", "a<b>&\"c\"\n\x7f\xff</text>");
    svg_end(&out);
    base_buf_put_u8(&out, 0);
    assert_false(out.failed);
    const char *text = (const char *)out.data;
    assert_non_null(strstr(text, ">a&lt;b&gt;&amp;\"c\"?&lt;/text&gt;</text>\n"));
    assert_ptr_equal(strstr(text, "<svg "), text);
    assert_string_equal(text + strlen(text) - 7, "</svg>\n");
    base_buf_release(&out);
}

static void svg_draws(void **state)
{
    (void)state;
    base_buf out = {0};
    svg_line(&out, 0.04, 1.5, 2, 3, "#ff0000", 1);
    svg_dot(&out, 1, 2, 3, "blue");
    base_buf_put_u8(&out, 0);
    assert_string_equal((const char *)out.data,
                        "<line x1=\"0.0\" y1=\"1.5\" x2=\"2.0\" y2=\"3.0\" stroke=\"#ff0000\" stroke-width=\"1.0\"/>\n"
                        "<circle cx=\"1.0\" cy=\"2.0\" r=\"3.0\" fill=\"blue\"/>\n");
    base_buf_release(&out);
}

/* --- quartiles --- */

static void quartiles(void **state)
{
    (void)state;
    double one[] = {7}, five[] = {5, 1, 4, 2, 3}, four[] = {40, 10, 30, 20};
    bench_spread s = bench_spread_of(one, 1);
    assert_true(s.median == 7 && s.low == 7 && s.high == 7);
    s = bench_spread_of(five, 5);
    assert_true(s.median == 3 && s.low == 2 && s.high == 4);
    s = bench_spread_of(four, 4);
    assert_true(s.median == 25 && s.low == 17.5 && s.high == 32.5);
}

static void numbers_of_a_list(void **state)
{
    (void)state;
    bench_list list;
    base_error error = {0};
    assert_int_equal(bench_list_read("--batch", "1,4,16", 1, 64, &list, &error), BASE_OK);
    assert_true(list.n == 3 && list.values[0] == 1 && list.values[2] == 16 && bench_list_max(&list) == 16);
    assert_int_equal(bench_list_read("--depth", "0", 0, 64, &list, &error), BASE_OK);
    assert_true(list.n == 1 && bench_list_max(&list) == 0);
    const char *const wrong[] = {"",
                                 "1,",
                                 ",1",
                                 "1,,2",
                                 "x",
                                 "-1",
                                 "65",
                                 "1 2",
                                 "99999999999999999999",
                                 "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(bench_list_read("--batch", wrong[i], 1, 64, &list, &error), BASE_EINVAL);
        assert_non_null(strstr(error.text, "--batch"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_nests),        cmocka_unit_test(json_escapes), cmocka_unit_test(json_has_no_infinities),
        cmocka_unit_test(svg_escapes),       cmocka_unit_test(svg_draws),    cmocka_unit_test(quartiles),
        cmocka_unit_test(numbers_of_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
