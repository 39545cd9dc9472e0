/* Task files with a fault: each is refused with file, line, column and cause. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/task/task.h"
#include "coordinator/task/task_location_int.h"

/* A task that has everything, one key a line, so that a fault can be put into a line of it. */
static const char *const good[] = {
    "{",                                                                                                   /* 1 */
    "  \"name\": \"triage\",",                                                                             /* 2 */
    "  \"title\": \"Who comes first?\",",                                                                  /* 3 */
    "  \"instruction\": \"Sei schnell: äöü.\", \"wording\": \"ours\",",                                    /* 4 */
    "  \"query\": \"Given <img>. {sex} {age} {options} A:\",",                                             /* 5 */
    "  \"fields\": {",                                                                                     /* 6 */
    "    \"sex\": {\"kind\": \"choice\", \"choices\": [\"f\", \"m\"], \"default\": \"f\"},",               /* 7 */
    "    \"age\": {\"kind\": \"number\", \"least\": 0, \"most\": 120},",                                   /* 8 */
    "    \"options\": {\"kind\": \"options\", \"required\": true}",                                        /* 9 */
    "  },",                                                                                                /* 10 */
    "  \"images\": 1,",                                                                                    /* 11 */
    "  \"exemplars\": [{\"fields\": {\"sex\": \"m\", \"options\": [\"x\", \"y\"]}, \"answer\": \"x.\"}],", /* 12 */
    "  \"answer\": {\"form\": \"choice\", \"match\": \"normalised\", \"options\": [\"options\"]},",        /* 13 */
    "  \"decoding\": {\"mode\": \"sampling\", \"temperature\": 0.7, \"top_p\": 0.9, \"stop\": [\"Q:\"]},", /* 14 */
    "  \"metrics\": [\"accuracy\"],",                                                                      /* 15 */
    "  \"published\": [{\"metric\": \"accuracy\", \"12B\": 1.5}]",                                         /* 16 */
    "}",
};

enum { N_LINES = sizeof good / sizeof good[0] };

/* The good file with line `number` (from 1) replaced; freed by the caller. */
static char *file_with(size_t number, const char *line)
{
    base_buf text = {0};
    for (size_t i = 0; i < N_LINES; i++) {
        const char *one = i + 1 == number ? line : good[i];
        base_buf_put(&text, one, strlen(one));
        base_buf_put_u8(&text, '\n');
    }
    base_buf_put_u8(&text, 0);
    assert_false(text.failed);
    return (char *)text.data;
}

static void a_good_file_is_taken(void **state)
{
    (void)state;
    char *text = file_with(0, NULL);
    task *t = NULL;
    base_error error = {0};
    if (task_parse("triage.json", text, strlen(text), &t, &error) != BASE_OK)
        fail_msg("%s", error.text);
    assert_string_equal(t->name, "triage");
    assert_string_equal(t->json, text);
    assert_int_equal(t->n_fields, 3);
    assert_int_equal(t->decoding.n_stops, 1);
    assert_int_equal(t->decoding.max_tokens, 0);
    assert_true(t->decoding.temperature > 0.69f && t->decoding.temperature < 0.71f);
    free(text); /* the task has its own */
    assert_int_equal(task_class_count(t, t->exemplars[0].fields, t->exemplars[0].n_fields), 2);
    task_destroy(&t);
    assert_null(t);
}

static void expectations_are_read(void **state)
{
    (void)state;
    char *text = file_with(11, "  \"images\": 1, \"expects\": {\"modalities\": \"CR DX\", \"views\": \"AP\"},");
    task *t = NULL;
    base_error error = {0};
    assert_int_equal(task_parse("triage.json", text, strlen(text), &t, &error), BASE_OK);
    assert_string_equal(t->modalities, "CR DX");
    assert_string_equal(t->views, "AP");
    assert_null(t->body_parts);
    free(text);
    task_destroy(&t);
}

typedef struct fault {
    size_t line; /* that is replaced */
    const char *with;
    const char *place; /* ":LINE:COLUMN: " */
    const char *cause;
} fault;

static const fault faults[] = {
    {2, "  \"name\": \"triage\", \"nmae\": 1,", ":2:21: ", "unknown key \"nmae\"; did you mean \"name\"?"},
    {2, "  \"zzzzzzzz\": 1, \"name\": \"triage\",", ":2:3: ", "unknown key \"zzzzzzzz\"; docs/TASKS.md"},
    {2, "", ":1:1: ", "\"name\" is missing"},
    {2, "  \"name\": 5,", ":2:11: ", "\"name\" must be a text"},
    {2, "  \"name\": \"Triage\",", ":2:11: ", "lower-case"},
    {2, "  \"name\": \"chat\",", ":2:11: ", "not \"chat\""},
    {2, "  \"name\": \"a\", \"name\": \"b\",", ":2:", "duplicate"},
    {3, "  \"title\": \"a,", ":3:", "unexpected newline"},
    {3, "  \"title\": \"\xFF\",", ":3:12: ", "unable to decode byte 0xff"},
    {3, "  \"title\": \"\\u0000\",", ":3:", "\\u0000"},
    {4, "  \"instruction\": \"äöü\", \"wording\": \"theirs\",",
     ":4:36: ", "unknown wording \"theirs\"; known are ours, paper"},
    {5, "  \"query\": \"Given nothing. {sex} {age} {options}\",", ":5:12: ", "0 <img>, but \"images\" says 1"},
    {5, "  \"query\": \"<img> {sex} {age} {options} {colour}\",", ":5:12: ", "{colour}, which is no field"},
    {5, "  \"query\": \"<img> {sex} {age} {options} {sex\",", ":5:12: ", "that no '}' closes"},
    {5, "  \"query\": \"<img> {sex} {age} {options} }\",", ":5:12: ", "that no '{' opens"},
    {5, "  \"query\": \"<img> {sex} {age}\",", ":9:5: ", "\"options\" is not used"},
    {5, "  \"query\": \"\",", ":5:12: ", "empty"},
    {5, "  \"query\": \"{*<img>{sex}{age}{options}\",", ":5:12: ", "no *} closes"},
    {5, "  \"query\": \"{*<img>*}{*{sex}*}{age}{options}\",", ":5:12: ", "second {*"},
    {5, "  \"query\": \"{*a*}<img>{sex}{age}{options}\",", ":5:12: ", "between {* and *}"},
    {11, "  \"images\": 1, \"expects\": {\"modality\": \"CR\"},",
     ":11:28: ", "unknown key \"modality\"; did you mean \"modalities\"?"},
    {11, "  \"images\": 1, \"expects\": {\"views\": [\"AP\"]},", ":11:37: ", "\"views\" must be a text"},
    {7, "    \"sex\": {\"kind\": \"choice\"},", ":7:12: ", "needs \"choices\""},
    {7, "    \"sex\": {\"kind\": \"choice\", \"choices\": [\"f\", \"f\"]},", ":7:48: ", "\"f\" is listed twice"},
    {7, "    \"sex\": {\"kind\": \"choice\", \"choices\": [\"f\", 1]},", ":7:42: ", "must be a list of texts"},
    {7, "    \"sex\": {\"kind\": \"choice\", \"choices\": []},", ":7:42: ", "one value at least"},
    {7, "    \"sex\": {\"kind\": \"choice\", \"choices\": [\"f\", \"m\"], \"default\": \"x\"},", ":7:12: ", "default"},
    {7, "    \"sex\": {\"kind\": \"text\", \"choices\": [\"f\"]},", ":7:40: ", "belongs to the kind choice"},
    {7, "    \"sex\": {\"kind\": \"word\"},",
     ":7:21: ", "unknown kind \"word\"; known are text, choice, number, options"},
    {7, "    \"sex\": {\"kind\": \"text\", \"required\": true, \"default\": \"f\"},", ":7:12: ", "never used"},
    {7, "    \"Sex\": {\"kind\": \"text\"},", ":7:5: ", "lower-case letters, digits and _"},
    {7, "    \"sex\": \"text\",", ":7:12: ", "this must be an object"},
    {7, "    \"sex\": {\"kind\": \"text\", \"each\": true},", ":5:12: ", "between {* and *}"},
    {8, "    \"age\": {\"kind\": \"number\", \"least\": 2, \"most\": 1},", ":8:12: ", "\"least\" is more"},
    {8, "    \"age\": {\"kind\": \"text\", \"least\": 2},", ":8:12: ", "belong to the kind number"},
    {8, "    \"age\": {\"kind\": \"number\", \"default\": \"old\"},", ":8:12: ", "default"},
    {9, "    \"options\": {\"kind\": \"options\", \"default\": \"a\"}", ":9:16: ", "options have no"},
    {11, "  \"images\": \"one\",", ":11:13: ", "must be a number or an object"},
    {11, "  \"images\": -1,", ":11:13: ", "0 to 16 images"},
    {11, "  \"images\": 17,", ":11:13: ", "0 to 16 images"},
    {11, "  \"images\": {\"least\": 1, \"most\": 2},", ":5:12: ", "a number of images that varies"},
    {11, "  \"images\": {\"least\": 1},", ":11:13: ", "\"most\" is missing"},
    {12, "  \"exemplars\": [{\"answer\": \"x.\"}],", ":12:17: ", "needs the field 'options'"},
    {12, "  \"exemplars\": [{\"fields\": {\"sex\": 1}, \"answer\": \"x.\"}],", ":12:36: ", "a text or a list of texts"},
    {12, "  \"exemplars\": [{\"fields\": {\"sex\": \"q\", \"options\": [\"x\", \"y\"]}, \"answer\": \"x.\"}],",
     ":12:28: ", "is one of: f, m"},
    {13, "  \"answer\": {\"form\": \"essay\"},",
     ":13:22: ", "unknown form \"essay\"; known are text, class, labels, choice, genotype"},
    {13, "  \"answer\": {\"form\": \"choice\", \"match\": \"magic\", \"options\": [\"options\"]},",
     ":13:41: ", "unknown match"},
    {13, "  \"answer\": {\"form\": \"choice\", \"options\": [\"options\"]},", ":13:13: ", "needs \"match\""},
    {13, "  \"answer\": {\"form\": \"choice\", \"match\": \"exact\", \"options\": [\"optoins\"]},",
     ":13:62: ", "no field that could hold an option"},
    {13, "  \"answer\": {\"form\": \"choice\", \"match\": \"exact\", \"options\": []},",
     ":13:61: ", "one field at least"},
    {13, "  \"answer\": {\"form\": \"class\", \"match\": \"exact\", \"classes\": [{\"name\": \"a\"}]},",
     ":13:60: ", "1 classes; an answer has 2"},
    {13,
     "  \"answer\": {\"form\": \"class\", \"match\": \"exact\", \"classes\": [{\"name\": \"a\"}, {\"name\": \"A.\"}]},",
     ":13:76: ", "\"A.\" is listed twice"},
    {13,
     "  \"answer\": {\"form\": \"class\", \"match\": \"exact\", \"classes\": [{\"name\": \"a\"}, {\"name\": \"b\", "
     "\"synonyms\": [\"b\"]}]},",
     ":13:76: ", "\"b\" is listed twice"},
    {13,
     "  \"answer\": {\"form\": \"class\", \"match\": \"exact\", \"classes\": [{\"name\": \" \"}, {\"name\": \"b\"}]},",
     ":13:61: ", "needs a name"},
    {13,
     "  \"answer\": {\"form\": \"class\", \"match\": \"exact\", \"classes\": [{\"name\": \"a\"}, {\"name\": \"b\"}], "
     "\"positive\": \"c\"},",
     ":13:104: ", "\"c\" is no class"},
    {13,
     "  \"answer\": {\"form\": \"class\", \"match\": \"exact\", \"end\": \" \", \"classes\": [{\"name\": \"a \"}, "
     "{\"name\": \"b\"}]},",
     ":13:13: ", "would not be matched with its own class"},
    {13, "  \"answer\": {\"form\": \"text\", \"match\": \"exact\"},", ":13:39: ", "\"match\" does not belong"},
    {13, "  \"answer\": {\"form\": \"text\", \"per\": \"weight\"},", ":13:37: ", "\"weight\" is no field"},
    {14, "  \"decoding\": {\"mode\": \"greedy\", \"temperature\": 1},", ":14:15: ", "belong to the mode sampling"},
    {14, "  \"decoding\": {\"mode\": \"sampling\"},", ":14:15: ", "needs a \"temperature\""},
    {14, "  \"decoding\": {\"mode\": \"greedy\", \"max_tokens\": -5},", ":14:48: ", "a whole number"},
    {14, "  \"decoding\": {\"mode\": \"greedy\", \"stop\": [\"\"]},", ":14:15: ", "1 to 64 bytes"},
    {14, "  \"decoding\": {\"mode\": \"sampling\", \"temperature\": 1, \"top_p\": 1.5},", ":14:15: ", "\"top_p\""},
    {15, "  \"metrics\": [\"accuracy\", \"elegance\"],", ":15:27: ", "unknown metric \"elegance\""},
    {15, "  \"metrics\": [\"accuracy\", \"accuracy\"],", ":15:27: ", "listed twice"},
    {16, "  \"published\": [{\"metric\": \"macro_f1\", \"12B\": 1.5}]", ":16:28: ", "is not among the \"metrics\""},
    {16, "  \"published\": [{\"metric\": \"accuracy\", \"13B\": 1.5}]",
     ":16:40: ", "unknown key \"13B\"; did you mean \"12B\"?"},
    {16, "  \"published\": [{\"metric\": \"accuracy\", \"12B\": \"1.5\"}]", ":16:47: ", "must be a number"},
    {17, "", ":18:", "end of file"},
    {17, "} x", ":17:", "end of file expected"},
};

static void every_fault_is_named_and_placed(void **state)
{
    (void)state;
    size_t n_wrong = 0;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        char *text = file_with(faults[i].line, faults[i].with);
        task *t = NULL;
        base_error error = {0};
        base_status status = task_parse("some/triage.json", text, strlen(text), &t, &error);
        if (status != BASE_EFORMAT || strncmp(error.text, "some/triage.json:", 17) != 0 ||
            strstr(error.text, faults[i].place) != error.text + 16 || strstr(error.text, faults[i].cause) == NULL) {
            print_error("line %zu as %s: status %d, '%s'; expected %s%s\n", faults[i].line, faults[i].with, status,
                        error.text, faults[i].place, faults[i].cause);
            n_wrong++;
        }
        assert_null(t);
        free(text);
    }
    assert_int_equal(n_wrong, 0);
}

static void what_is_no_object_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "[]", "5", "null", "\"task\"", "{}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        task *t = NULL;
        base_error error = {0};
        assert_int_equal(task_parse("x.json", texts[i], strlen(texts[i]), &t, &error), BASE_EFORMAT);
        assert_ptr_equal(strstr(error.text, "x.json:1:"), error.text);
    }
}

static void a_file_that_is_too_big_is_refused(void **state)
{
    (void)state;
    size_t size = TASK_FILE_BYTES_MAX + 1;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, ' ', size);
    task *t = NULL;
    base_error error = {0};
    assert_int_equal(task_parse("big.json", text, size, &t, &error), BASE_ETOOBIG);
    assert_non_null(strstr(error.text, "big.json"));
    assert_int_equal(task_parse("big.json", text, size - 1, &t, &error), BASE_EFORMAT);
    free(text);
    assert_int_equal(task_load("/nowhere/x.json", &t, &error), BASE_EIO);
    assert_non_null(strstr(error.text, "/nowhere/x.json"));
}

/* A long path is shown by its end, so that the cause keeps its room. */
static void a_long_path_leaves_room_for_the_cause(void **state)
{
    (void)state;
    char path[1000];
    memset(path, 'd', sizeof path);
    memcpy(path + sizeof path - 8, "/x.json", 8);
    task *t = NULL;
    base_error error = {0};
    assert_int_equal(task_parse(path, "{\"nam\": 1}", 10, &t, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "/x.json:1:2: unknown key \"nam\"; did you mean \"name\"?"));
}

static void places_are_found(void **state)
{
    (void)state;
    static const char text[] = "{\"a\\\"}\": [1, {\"b\": \"]\\\\\"}, [[], 3]],\n"
                               " \"ü\": {\"c\" : -1.5e3 , \"d\":true}}";
    const struct {
        task_path path;
        bool at_key;
        task_location place;
    } rows[] = {
        {{{0}, 0}, false, {1, 1}},        {{{0}, 1}, true, {1, 2}},         {{{0}, 1}, false, {1, 10}},
        {{{0, 0}, 2}, false, {1, 11}},    {{{0, 1}, 2}, false, {1, 14}},    {{{0, 1, 0}, 3}, true, {1, 15}},
        {{{0, 1, 0}, 3}, false, {1, 20}}, {{{0, 2, 1}, 3}, false, {1, 33}}, {{{1}, 1}, true, {2, 2}},
        {{{1}, 1}, false, {2, 7}},        {{{1, 0}, 2}, false, {2, 14}},    {{{1, 1}, 2}, true, {2, 23}},
        {{{1, 1}, 2}, false, {2, 27}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        task_location place = task_location_find(text, sizeof text - 1, &rows[i].path, rows[i].at_key);
        if (place.line != rows[i].place.line || place.column != rows[i].place.column)
            fail_msg("row %zu: %zu:%zu instead of %zu:%zu", i, place.line, place.column, rows[i].place.line,
                     rows[i].place.column);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_taken),
        cmocka_unit_test(expectations_are_read),
        cmocka_unit_test(every_fault_is_named_and_placed),
        cmocka_unit_test(what_is_no_object_is_refused),
        cmocka_unit_test(a_file_that_is_too_big_is_refused),
        cmocka_unit_test(a_long_path_leaves_room_for_the_cause),
        cmocka_unit_test(places_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
