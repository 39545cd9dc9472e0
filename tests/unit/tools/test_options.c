/* The option tables: where values come from, in which order, and what is said when they are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/nearest.h"
#include "tools/palmgrove/options.h"

typedef struct values {
    const char *model;
    uint32_t tp;
    uint64_t seed;
    float temperature;
    bool json;
    option_list endpoints, parts;
} values;

static const option_row rows[] = {
    {"model", "MODEL", OPTION_TEXT, offsetof(values, model), NULL, "the checkpoint",
     OPTION_POSITIONAL | OPTION_REQUIRED},
    {"kv-size", "N", OPTION_U32, offsetof(values, tp), "2", "ranks", 0},
    {"seed", "N", OPTION_U64, offsetof(values, seed), NULL, "seed", 0},
    {"temperature", "X", OPTION_REAL, offsetof(values, temperature), "0.5", "heat", 0},
    {"json", NULL, OPTION_FLAG, offsetof(values, json), NULL, "as JSON", 0},
    {"endpoint", "ADDRESS", OPTION_LIST, offsetof(values, endpoints), "tcp://default", "where", 0},
    {"text", "TEXT", OPTION_LIST, offsetof(values, parts), NULL, "a part", OPTION_NO_ENVIRONMENT},
    {"image", "FILE", OPTION_LIST, offsetof(values, parts), NULL, "a part", OPTION_NO_ENVIRONMENT},
};
static const option_table table = {rows, sizeof rows / sizeof rows[0]};

static base_status parse(values *v, base_error *error, bool *help, int argc, const char *const *words)
{
    char *argv[16];
    for (int i = 0; i < argc; i++)
        argv[i] = (char *)(uintptr_t)words[i];
    memset(v, 0, sizeof *v);
    memset(error, 0, sizeof *error);
    return option_parse(&table, argc, argv, v, help, error);
}

#define PARSE(v, ...)                           \
    const char *const words_[] = {__VA_ARGS__}; \
    base_error error;                           \
    bool help;                                  \
    base_status status = parse(&(v), &error, &help, (int)(sizeof words_ / sizeof words_[0]), words_)

static void defaults_then_environment_then_line(void **state)
{
    (void)state;
    values v;
    {
        PARSE(v, "m");
        assert_int_equal(status, BASE_OK);
        assert_string_equal(v.model, "m");
        assert_int_equal(v.tp, 2);
        assert_false(v.json);
        assert_int_equal(v.endpoints.n, 1);
        assert_string_equal(v.endpoints.items[0].value, "tcp://default");
        option_release(&table, &v);
    }
    setenv("PALMGROVE_KV_SIZE", "3", 1);
    setenv("PALMGROVE_JSON", "yes", 1);
    setenv("PALMGROVE_ENDPOINT", "ipc:///e", 1);
    setenv("PALMGROVE_MODEL", "from environment", 1);
    setenv("PALMGROVE_TEXT", "never", 1);
    {
        PARSE(v, "--seed=18446744073709551615");
        assert_int_equal(status, BASE_OK);
        assert_string_equal(v.model, "from environment");
        assert_int_equal(v.tp, 3);
        assert_true(v.json);
        assert_true(v.seed == UINT64_MAX);
        assert_string_equal(v.endpoints.items[0].value, "ipc:///e");
        assert_int_equal(v.parts.n, 0);
        option_release(&table, &v);
    }
    {
        PARSE(v, "--kv-size", "4", "--json=0", "--endpoint", "a", "--endpoint", "b", "m");
        assert_int_equal(status, BASE_OK);
        assert_int_equal(v.tp, 4);
        assert_false(v.json);
        assert_int_equal(v.endpoints.n, 2); /* replaced, not appended to the environment's */
        assert_string_equal(v.endpoints.items[1].value, "b");
        option_release(&table, &v);
    }
    unsetenv("PALMGROVE_KV_SIZE");
    unsetenv("PALMGROVE_JSON");
    unsetenv("PALMGROVE_ENDPOINT");
    unsetenv("PALMGROVE_MODEL");
    unsetenv("PALMGROVE_TEXT");
}

static void lists_that_share_a_place_keep_the_order(void **state)
{
    (void)state;
    values v;
    PARSE(v, "m", "--text", "--json", "--image", "b", "--text=c=d", "--", "--temperature");
    assert_int_equal(status, BASE_EINVAL); /* one positional too many */
    assert_string_equal(error.text, "unexpected argument '--temperature'");
    assert_int_equal(v.parts.n, 3);
    assert_string_equal(v.parts.items[0].row->name, "text");
    assert_string_equal(v.parts.items[0].value, "--json");
    assert_string_equal(v.parts.items[1].row->name, "image");
    assert_string_equal(v.parts.items[2].value, "c=d");
    assert_int_equal(help, false);
    option_release(&table, &v);
}

static void wrong_words_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *word, *value, *text;
    } cases[] = {
        {"--kv-szie", "1", "unknown option '--kv-szie'; did you mean '--kv-size'?"},
        {"--completely-else", "1", "unknown option '--completely-else'"},
        {"-j", "1", "unknown option '-j'; options have long names, as in '--help'"},
        {"--kv-size", "-1", "option '--kv-size' is '-1': expected a whole number from 0 to 4294967295"},
        {"--kv-size", "4294967296", "option '--kv-size' is '4294967296': expected a whole number from 0 to 4294967295"},
        {"--kv-size", "7x", "option '--kv-size' is '7x': expected a whole number from 0 to 4294967295"},
        {"--kv-size", "", "option '--kv-size' is '': expected a whole number from 0 to 4294967295"},
        {"--temperature", "nan", "option '--temperature' is 'nan': expected a number of 0 or more"},
        {"--temperature", "-0.1", "option '--temperature' is '-0.1': expected a number of 0 or more"},
        {"--temperature", "1e99", "option '--temperature' is '1e99': expected a number of 0 or more"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        values v;
        PARSE(v, "m", cases[i].word, cases[i].value);
        assert_int_equal(status, BASE_EINVAL);
        assert_string_equal(error.text, cases[i].text);
        option_release(&table, &v);
    }
}

static void missing_words_are_named(void **state)
{
    (void)state;
    values v;
    {
        PARSE(v, "--json");
        assert_int_equal(status, BASE_EINVAL);
        assert_string_equal(error.text, "argument MODEL is missing (the checkpoint)");
        option_release(&table, &v);
    }
    {
        PARSE(v, "m", "--seed");
        assert_int_equal(status, BASE_EINVAL);
        assert_string_equal(error.text, "option '--seed' needs a value (N)");
        option_release(&table, &v);
    }
    {
        PARSE(v, "--help", "--nonsense");
        assert_int_equal(status, BASE_OK);
        assert_true(help);
        option_release(&table, &v);
    }
}

static void the_nearest_word_is_near(void **state)
{
    (void)state;
    static const char *const names[] = {"serve", "report", "generate", "demo"};
    assert_string_equal(base_nearest("sevre", names, 4), "serve");
    assert_string_equal(base_nearest("genrate", names, 4), "generate");
    assert_string_equal(base_nearest("dmeo", names, 4), "demo");
    assert_null(base_nearest("xyzzy", names, 4));
    assert_null(base_nearest("a-word-that-is-much-longer-than-any-option-will-ever-be-in-this-program", names, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_then_environment_then_line),
        cmocka_unit_test(lists_that_share_a_place_keep_the_order),
        cmocka_unit_test(wrong_words_are_named),
        cmocka_unit_test(missing_words_are_named),
        cmocka_unit_test(the_nearest_word_is_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
