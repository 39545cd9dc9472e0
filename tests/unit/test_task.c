/* Rendering of tasks: the exact prompts, defaults, images and the errors a client sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/task/task.h"

static void assert_parts(const task_prompt *prompt, const char *const *texts, size_t n)
{
    assert_int_equal(prompt->n_parts, n);
    for (size_t i = 0; i < n; ++i) {
        assert_int_equal(prompt->parts[i].is_image, texts[i] == NULL);
        if (texts[i] != NULL)
            assert_string_equal(prompt->parts[i].text, texts[i]);
        else
            assert_null(prompt->parts[i].text);
    }
}

static void report_with_defaults_and_exemplar(void **state)
{
    (void)state;
    task_prompt prompt;
    assert_int_equal(task_render("report", NULL, 0, "Given <img>. A: Example.", &prompt, NULL), BASE_OK);
    const char *const expected[] = {
        "Instructions: You are a helpful radiology assistant. Describe the lines, tubes and devices, the lungs, the "
        "pleura, the heart size and the bones.\nGiven <img>. A: Example.\nGiven the PA view X-ray image ",
        NULL,
        ". Reason for the study: routine check. Q: Describe the findings in the image following the instructions. A:"};
    assert_parts(&prompt, expected, 3);
    task_prompt_release(&prompt);
    assert_int_equal(prompt.n_parts, 0);
}

static void fields_replace_defaults(void **state)
{
    (void)state;
    const task_field fields[] = {{"indication", "fall"}, {"view", "AP"}};
    task_prompt prompt;
    assert_int_equal(task_render("report", fields, 2, NULL, &prompt, NULL), BASE_OK);
    assert_non_null(strstr(prompt.parts[0].text, "bones.\nGiven the AP view"));
    assert_non_null(strstr(prompt.parts[2].text, "study: fall. Q:"));
    task_prompt_release(&prompt);
}

static void image_mark_in_a_value_stays_text(void **state)
{
    (void)state;
    const task_field fields[] = {{"question", "What is <img> {type}?"}, {"type", "closed"}};
    task_prompt prompt;
    assert_int_equal(task_render("vqa", fields, 2, "", &prompt, NULL), BASE_OK);
    const char *const expected[] = {
        "Instructions: You are a helpful medical assistant. Answer the question about the image.\nGiven ", NULL,
        ". Q: What is <img> {type}? (closed domain) A:"};
    assert_parts(&prompt, expected, 3);
    task_prompt_release(&prompt);
}

static void choice_lists_the_given_options(void **state)
{
    (void)state;
    const task_field fields[] = {
        {"question", "Which?"}, {"option_a", "One"}, {"option_b", "Two"}, {"option_c", "Three"}};
    task_prompt prompt;
    assert_int_equal(task_render("choice", fields, 4, NULL, &prompt, NULL), BASE_OK);
    assert_string_equal(prompt.parts[2].text, ". Q: Which? (A) One (B) Two (C) Three A:");
    task_prompt_release(&prompt);
    assert_int_equal(task_render("choice", fields, 3, NULL, &prompt, NULL), BASE_OK);
    assert_string_equal(prompt.parts[2].text, ". Q: Which? (A) One (B) Two A:");
    task_prompt_release(&prompt);
}

static void classify_asks_yes_or_no(void **state)
{
    (void)state;
    const task_field fields[] = {{"condition", "cardiomegaly"}, {"view", "AP"}};
    task_prompt prompt;
    assert_int_equal(task_render("classify", fields, 2, NULL, &prompt, NULL), BASE_OK);
    assert_string_equal(prompt.parts[2].text, ". Q: Is cardiomegaly indicated by the image? (A) No (B) Yes A:");
    task_prompt_release(&prompt);
}

static void errors_name_the_cause_and_leave_the_prompt(void **state)
{
    (void)state;
    const task_field unknown[] = {{"question", "x"}, {"colour", "red"}};
    task_prompt prompt = {.n_parts = 77};
    base_error error;
    assert_int_equal(task_render("biopsy", NULL, 0, NULL, &prompt, &error), BASE_ENOTFOUND);
    assert_non_null(strstr(error.text, "biopsy"));
    for (const char *const *name = task_names(); *name != NULL; ++name)
        assert_non_null(strstr(error.text, *name));
    assert_int_equal(task_render("vqa", NULL, 0, NULL, &prompt, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "'question'"));
    assert_int_equal(task_render("vqa", unknown, 2, NULL, &prompt, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "'colour'"));
    assert_int_equal(prompt.n_parts, 77);
}

static void every_name_is_a_task(void **state)
{
    (void)state;
    for (const char *const *name = task_names(); *name != NULL; ++name) {
        task_prompt prompt = {0};
        assert_int_not_equal(task_render(*name, NULL, 0, NULL, &prompt, NULL), BASE_ENOTFOUND);
        task_prompt_release(&prompt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_with_defaults_and_exemplar),
        cmocka_unit_test(fields_replace_defaults),
        cmocka_unit_test(image_mark_in_a_value_stays_text),
        cmocka_unit_test(choice_lists_the_given_options),
        cmocka_unit_test(classify_asks_yes_or_no),
        cmocka_unit_test(errors_name_the_cause_and_leave_the_prompt),
        cmocka_unit_test(every_name_is_a_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
