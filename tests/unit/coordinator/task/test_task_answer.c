/* Which class an answer says, by each matching rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/task/task.h"

enum { NONE = -1 };

static task_set *set;

static int open_set(void **state)
{
    (void)state;
    return task_set_open(NULL, &set, NULL) == BASE_OK ? 0 : -1;
}

static int close_set(void **state)
{
    (void)state;
    task_set_close(&set);
    return 0;
}

static const task *find(const char *name)
{
    const task *t = NULL;
    assert_int_equal(task_set_find(set, name, &t, NULL), BASE_OK);
    return t;
}

static void assert_says(const task *t, const task_field *fields, size_t n_fields, const char *answer, int expected)
{
    size_t found = 77;
    bool says = task_answer_class(t, fields, n_fields, answer, &found);
    if (says != (expected != NONE) || (says && (int)found != expected))
        fail_msg("'%s' of task %s: %d, expected %d", answer, t->name, says ? (int)found : NONE, expected);
}

static void normalised_takes_names_synonyms_and_letters(void **state)
{
    (void)state;
    const task *t = find("pad-ufes-20");
    static const struct {
        const char *answer;
        int expected;
    } rows[] = {
        {"Nevus.", 0},
        {"nevus", 0},
        {"  NEVUS . ", 0},
        {"Basal  Cell\nCarcinoma.", 1},
        {"BCC", 1},
        {"b", 1},
        {"(B)", 1},
        {"(b).", 1},
        {"(B) Basal cell carcinoma.", 1},
        {"(B) Melanoma.", NONE},
        {"(F) melanoma", 5},
        {"G", NONE},
        {"(G)", NONE},
        {"", NONE},
        {".", NONE},
        {"Nevus..", NONE},
        {"Nevus, probably", NONE},
        {"Basal Cell", NONE},
        {"A nevus.", NONE},
        {"Carcinoma Basal Cell", NONE},
        {"()", NONE},
        {"(", NONE},
        {"(A", NONE},
        {"(A)Nevus", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_says(t, NULL, 0, rows[i].answer, rows[i].expected);
}

/* BI-RADS classes are digits, and letters are assigned to them in order. */
static void names_come_before_letters(void **state)
{
    (void)state;
    const task *t = find("vindr-mammo");
    assert_says(t, NULL, 0, "3.", 2);
    assert_says(t, NULL, 0, "BI-RADS 5", 4);
    assert_says(t, NULL, 0, "(A) 1", 0);
    assert_says(t, NULL, 0, "6.", NONE);
    const task_field fields[] = {{"question", "?"}, {"options", "B"}, {"options", "A"}};
    assert_says(find("medqa"), fields, 3, "A.", 1); /* the option called A, not option (A) */
    assert_says(find("medqa"), fields, 3, "(A)", 0);
}

static void one_class_may_begin_another(void **state)
{
    (void)state;
    const task *t = find("cbis-ddsm-mass");
    assert_says(t, NULL, 0, "BENIGN.", 0);
    assert_says(t, NULL, 0, "BENIGN_WITHOUT_CALLBACK.", 1);
    assert_says(t, NULL, 0, "Benign without callback", 1);
    assert_says(t, NULL, 0, "BENIGN_", NONE);
}

static void options_are_the_classes_of_a_choice(void **state)
{
    (void)state;
    const task *medqa = find("medqa"), *choice = find("choice");
    const task_field fields[] = {
        {"options", "Aspirin"}, {"question", "?"}, {"options", "Heparin sodium"}, {"options", "None"}};
    assert_int_equal(task_class_count(medqa, fields, 4), 3);
    assert_string_equal(task_class_name(medqa, fields, 4, 1), "Heparin sodium");
    assert_says(medqa, fields, 4, "heparin sodium.", 1);
    assert_says(medqa, fields, 4, "C", 2);
    assert_says(medqa, fields, 4, "(D)", NONE);
    const task_field named[] = {{"option_b", "PA"}, {"question", "?"}, {"option_a", "AP"}};
    assert_int_equal(task_class_count(choice, named, 3), 2);
    assert_says(choice, named, 3, "AP.", 0);
    assert_says(choice, named, 3, "PA.", 1);
    base_buf answer = {0};
    task_class_answer(choice, named, 3, 1, &answer);
    assert_int_equal(answer.size, 3);
    assert_memory_equal(answer.data, "PA.", 3);
    base_buf_release(&answer);
}

static void genotypes_are_copies(void **state)
{
    (void)state;
    const task *t = find("precisionfda-variant-calling");
    assert_int_equal(task_class_count(t, NULL, 0), 3);
    assert_says(t, NULL, 0, "1.", 1);
    assert_says(t, NULL, 0, "(C) 2", 2);
    assert_says(t, NULL, 0, "3.", NONE);
    assert_int_equal(task_class_count(find("report"), NULL, 0), 0);
    assert_says(find("report"), NULL, 0, "anything", NONE);
}

static void leading_takes_what_the_answer_begins_with(void **state)
{
    (void)state;
    const task *t = find("pubmedqa");
    assert_says(t, NULL, 0, "Yes.", 0);
    assert_says(t, NULL, 0, "Yes, it does.", 0);
    assert_says(t, NULL, 0, "no - the trial was small", 1);
    assert_says(t, NULL, 0, "Nothing is known", NONE);
    assert_says(t, NULL, 0, "(C), since little is known", 2);
    assert_says(t, NULL, 0, "It does: yes", NONE);
    assert_says(t, NULL, 0, "yes2", NONE);
}

static task *parsed(const char *answer)
{
    base_buf text = {0};
    static const char front[] =
        "{\"name\": \"x\", \"title\": \"\", \"instruction\": \"\", \"query\": \"q\", \"images\": 0, \"answer\": ";
    base_buf_put(&text, front, sizeof front - 1);
    base_buf_put(&text, answer, strlen(answer));
    base_buf_put_u8(&text, '}');
    task *t = NULL;
    base_error error = {0};
    if (task_parse("x.json", text.data, text.size, &t, &error) != BASE_OK)
        fail_msg("%s", error.text);
    base_buf_release(&text);
    return t;
}

static void exact_takes_the_bytes(void **state)
{
    (void)state;
    task *t = parsed("{\"form\": \"class\", \"match\": \"exact\", \"end\": \"!\", \"classes\": [{\"name\": \"Yes\", "
                     "\"synonyms\": [\"Ja\"]}, {\"name\": \"No\"}]}");
    assert_says(t, NULL, 0, "Yes", 0);
    assert_says(t, NULL, 0, " Ja!\n", 0);
    assert_says(t, NULL, 0, "No!", 1);
    assert_says(t, NULL, 0, "no", NONE);
    assert_says(t, NULL, 0, "No.", NONE);
    assert_says(t, NULL, 0, "(B)", NONE);
    task_destroy(&t);
}

static void labels_are_any_number(void **state)
{
    (void)state;
    task *t = parsed("{\"form\": \"labels\", \"match\": \"normalised\", \"classes\": [{\"name\": \"Edema\"}, "
                     "{\"name\": \"Fracture\", \"synonyms\": [\"broken bone\"]}, "
                     "{\"name\": \"Nodule\"}]}");
    bool said[3];
    assert_int_equal(task_answer_labels(t, "nodule; Broken Bone.", said), 0);
    assert_true(!said[0] && said[1] && said[2]);
    assert_int_equal(task_answer_labels(t, "Edema, cough,, (A)", said), 2);
    assert_true(said[0] && !said[1] && !said[2]);
    assert_int_equal(task_answer_labels(t, "", said), 0);
    assert_true(!said[0] && !said[1] && !said[2]);
    assert_says(t, NULL, 0, "Edema.", 0);
    assert_says(t, NULL, 0, "Edema, Nodule", NONE);
    assert_says(t, NULL, 0, "", NONE);
    task_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalised_takes_names_synonyms_and_letters),
        cmocka_unit_test(names_come_before_letters),
        cmocka_unit_test(one_class_may_begin_another),
        cmocka_unit_test(options_are_the_classes_of_a_choice),
        cmocka_unit_test(genotypes_are_copies),
        cmocka_unit_test(leading_takes_what_the_answer_begins_with),
        cmocka_unit_test(exact_takes_the_bytes),
        cmocka_unit_test(labels_are_any_number),
    };
    return cmocka_run_group_tests(tests, open_set, close_set);
}
