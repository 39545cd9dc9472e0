/* proto/base/quote.h: text from outside, in errors, log lines and replies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/quote.h"
#include "proto/base/status.h"
#include "proto/base/utf8.h"

static void names_cannot_pass_for_our_words(void **state)
{
    (void)state;
    static const struct {
        const char *name, *shown;
    } cases[] = {
        {"colour", "\"colour\""},
        {"", "\"\""},
        {"x\npalmgrove: warn: all is well", "\"x\\npalmgrove: warn: all is well\""},
        {"a\tb\rc\x1b[2J\x7f", "\"a\\tb\\x0dc\\x1b[2J\\x7f\""},
        {"say \"no\" \\ yes", "\"say \\\"no\\\" \\\\ yes\""},
        {"Gr\xc3\xbc\xc3\x9f"
         "e",
         "\"Gr\xc3\xbc\xc3\x9f"
         "e\""},
        {"\xff\xc3", "\"\\xff\\xc3\""}, /* not UTF-8, and a character cut short */
        {"\xc2\x9b"
         "1m",
         "\"\\u009b1m\""}, /* CSI as a C1 control */
        {"a\xe2\x80\xae"
         "b\xe2\x80\xa8",
         "\"a\\u202eb\\u2028\""},                /* right-to-left override, line separator */
        {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""}, /* a surrogate */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(base_quote(cases[i].name).text, cases[i].shown);
}

static void names_are_bounded(void **state)
{
    (void)state;
    char name[5000];
    memset(name, '\x01', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    base_quoted quoted = base_quote(name);
    assert_int_equal(strlen(quoted.text), 4 * BASE_QUOTE_MAX + 5);
    assert_string_equal(quoted.text + strlen(quoted.text) - 8, "\\x01\"...");
    for (size_t i = 0; i < 100; i++)
        memcpy(name + 3 * i, "\xe2\x82\xac", 3);
    name[300] = '\0';
    quoted = base_quote(name); /* 21 characters of three bytes, none divided */
    assert_int_equal(strlen(quoted.text), 63 + 5);
    assert_true(base_utf8_is_valid(quoted.text, strlen(quoted.text)));
}

static void texts_are_cut_at_characters(void **state)
{
    (void)state;
    char out[8];
    assert_int_equal(base_text_escape(out, sizeof out, "abcdef\n", 7), 6);
    assert_string_equal(out, "abcdef"); /* no half of an escape */
    assert_int_equal(base_text_escape(out, sizeof out, "abcde\n", 6), 7);
    assert_string_equal(out, "abcde\\n");
    assert_int_equal(base_text_escape(out, 1, "a", 1), 0);
    assert_int_equal(base_utf8_cut("ab\xe2\x82\xac", 5), 5);
    assert_int_equal(base_utf8_cut("ab\xe2\x82\xac", 4), 2);
    assert_int_equal(base_utf8_cut("ab\xe2\x82\xac", 3), 2);
    assert_int_equal(base_utf8_cut("\x80\x80\x80\x80", 4), 4); /* no text at all */
    assert_int_equal(base_utf8_cut("", 0), 0);
}

/* A reply must be UTF-8, or clients cannot parse it. */
static void errors_are_text_whatever_they_quote(void **state)
{
    (void)state;
    base_error error;
    base_error_set(&error, BASE_EINVAL, "field '%s'", "a\nb\xff");
    assert_string_equal(error.text, "field 'a\\nb\\xff'");
    base_error_prefix(&error, "file '%s': ", "c\x1b");
    assert_string_equal(error.text, "file 'c\\x1b': field 'a\\nb\\xff'");
    char name[1000];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(name, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof name; i += 3)
            memcpy(name + i, "\xe2\x82\xac", 4);
        base_error_set(&error, BASE_EINVAL, "%s", name);
        assert_true(strlen(error.text) > sizeof error.text - 5);
        assert_true(base_utf8_is_valid(error.text, strlen(error.text)));
        base_error_prefix(&error, "longer: ");
        assert_true(base_utf8_is_valid(error.text, strlen(error.text)));
    }
}

static void what_clients_wrote_can_be_left_out(void **state)
{
    (void)state;
    char out[64], text[600];
    snprintf(text, sizeof text, "task 'report' has no field %s; is %s meant?", base_quote("J. Doe \"\\").text,
             base_quote("view").text);
    base_quote_redact(out, sizeof out, text);
    assert_string_equal(out, "task 'report' has no field \"...\"; is \"...\" meant?");
    base_quote_redact(out, sizeof out, "no quotes, model's own");
    assert_string_equal(out, "no quotes, model's own");
    base_quote_redact(out, sizeof out, "cut \"Doe, Jo"); /* the text was too long */
    assert_string_equal(out, "cut \"...");
    base_quote_redact(out, 6, "cut \"Doe\"");
    assert_string_equal(out, "cut ");
}

static void log_lines_cannot_be_forged(void **state)
{
    (void)state;
    FILE *captured = tmpfile();
    int saved = dup(STDERR_FILENO);
    assert_true(captured != NULL && saved >= 0 && dup2(fileno(captured), STDERR_FILENO) >= 0);
    base_log_warn("request %s failed", "x\npalmgrove: error: forged\x1b[31m\xff");
    char longest[3000];
    memset(longest, '\n', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    base_log_info("%s", longest);
    dup2(saved, STDERR_FILENO);
    close(saved);
    char bytes[4096] = {0};
    rewind(captured);
    size_t n = fread(bytes, 1, sizeof bytes - 1, captured);
    fclose(captured);
    const char *end = strchr(bytes, '\n');
    assert_non_null(end);
    assert_memory_equal(bytes, "palmgrove: warn: request x\\npalmgrove: error: forged\\x1b[31m\\xff failed\n",
                        (size_t)(end + 1 - bytes));
    assert_ptr_equal(strchr(end + 1, '\n'), bytes + n - 1); /* one more line, and nothing after it */
    assert_true(bytes + n - 1 - end <= 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_cannot_pass_for_our_words),    cmocka_unit_test(names_are_bounded),
        cmocka_unit_test(texts_are_cut_at_characters),        cmocka_unit_test(errors_are_text_whatever_they_quote),
        cmocka_unit_test(what_clients_wrote_can_be_left_out), cmocka_unit_test(log_lines_cannot_be_forged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
