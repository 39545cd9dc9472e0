/* test_stop_strings.c - where a text ends, however it is cut into deltas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/text/text.h"

static uint32_t random_state = 7;

static uint32_t next_random(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

/* What comes out of `text` when it is cut into pieces of random length; the text ends at a stop or not (*stopped). */
static void run_stop(const char *text, const char *const *strings, size_t n, uint32_t longest, base_buf *out,
                     bool *stopped)
{
    text_stop stop;
    text_stop_init(&stop, strings, n);
    size_t at = 0, size = strlen(text);
    *stopped = false;
    while (at < size) {
        size_t piece = 1 + next_random(longest);
        piece = piece < size - at ? piece : size - at;
        *stopped = text_stop_push(&stop, text + at, piece, out);
        at += piece;
    }
    text_stop_finish(&stop, out);
    text_stop_release(&stop);
}

static void assert_stops(const char *text, const char *const *strings, size_t n, const char *expected, bool is_stop)
{
    for (int round = 0; round < 30; round++) {
        base_buf out = {0};
        bool stopped;
        run_stop(text, strings, n, 1 + (uint32_t)round, &out, &stopped);
        base_buf_put_u8(&out, 0);
        assert_string_equal((const char *)out.data, expected);
        assert_int_equal(stopped, is_stop);
        base_buf_release(&out);
    }
}

static void texts_end_before_stop_strings(void **state)
{
    (void)state;
    const char *one[] = {"\n\n"};
    assert_stops("findings\n\nimpression", one, 1, "findings", true);
    assert_stops("a\nb\nc\n", one, 1, "a\nb\nc\n", false); /* the held-back newline comes out at the end */
    assert_stops("\n\n", one, 1, "", true);
    const char *overlapping[] = {"abcd", "bc"};
    assert_stops("xabcd", overlapping, 2, "xa", true); /* "bc" is complete first */
    const char *nested[] = {"c", "abc"};
    assert_stops("xabc", nested, 2, "x", true); /* both end here: the longer */
    const char *repeated[] = {"aab"};
    assert_stops("aaaab-", repeated, 1, "aa", true);
    const char *wide[] = {"\xe6\x97\xa5\xe6\x9c\xac"};
    assert_stops("a\xe6\x97\xa5\xe6\x97\xa5\xe6\x9c\xac!", wide, 1, "a\xe6\x97\xa5", true);
    assert_stops("none at all", NULL, 0, "none at all", false);
}

/* Against a plain search over the whole text. */
static void stops_equal_a_plain_search(void **state)
{
    (void)state;
    for (int round = 0; round < 5000; round++) {
        char text[40] = {0}, strings[3][6] = {{0}};
        const char *list[3] = {strings[0], strings[1], strings[2]};
        for (size_t i = 0; i < next_random(39); i++)
            text[i] = (char)('a' + next_random(2));
        for (size_t s = 0; s < 3; s++)
            for (size_t i = 0; i <= next_random(4) || i == 0; i++)
                strings[s][i] = (char)('a' + next_random(2));
        size_t end = strlen(text), begin = end;
        bool is_stop = false;
        for (size_t n = 1; n <= strlen(text) && !is_stop; n++)
            for (size_t s = 0; s < 3; s++) {
                size_t length = strlen(list[s]);
                if (length <= n && memcmp(text + n - length, list[s], length) == 0) {
                    begin = n - length < begin || !is_stop ? n - length : begin;
                    is_stop = true;
                }
            }
        text[begin] = is_stop ? text[begin] : 0;
        char expected[40] = {0};
        memcpy(expected, text, begin);
        assert_stops(text, list, 3, expected, is_stop);
    }
}

static void held_back_text_is_short(void **state)
{
    (void)state;
    const char *strings[] = {"STOP"};
    text_stop stop;
    base_buf out = {0};
    text_stop_init(&stop, strings, 1);
    assert_false(text_stop_push(&stop, "go STO", 6, &out));
    assert_int_equal(out.size, 3); /* "STO" waits */
    assert_false(text_stop_push(&stop, "RE", 2, &out));
    assert_int_equal(out.size, 8); /* and is free again */
    assert_true(text_stop_push(&stop, "STOP here", 9, &out));
    assert_true(text_stop_push(&stop, "more", 4, &out));
    text_stop_finish(&stop, &out);
    assert_int_equal(out.size, 8);
    text_stop_release(&stop);
    base_buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_end_before_stop_strings),
        cmocka_unit_test(stops_equal_a_plain_search),
        cmocka_unit_test(held_back_text_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
