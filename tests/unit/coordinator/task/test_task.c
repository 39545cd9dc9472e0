/* Rendering of tasks: the exact prompts, defaults, images, exemplars and the errors a client sees; sets of tasks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/task/task.h"

static task_set *set;

static int open_set(void **state)
{
    (void)state;
    base_error error = {0};
    if (task_set_open(NULL, &set, &error) != BASE_OK)
        fail_msg("%s", error.text);
    return 0;
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
    base_error error = {0};
    if (task_set_find(set, name, &t, &error) != BASE_OK)
        fail_msg("%s", error.text);
    return t;
}

/* The whole prompt as one text, with {IMAGE} for an image slot; freed by the caller. */
static char *rendered(const char *name, const task_field *fields, size_t n_fields, uint32_t n_images,
                      const char *exemplar)
{
    task_prompt prompt;
    base_error error = {0};
    if (task_render(find(name), fields, n_fields, n_images, exemplar, &prompt, &error) != BASE_OK)
        fail_msg("%s", error.text);
    base_buf text = {0};
    for (size_t i = 0; i < prompt.n_parts; i++) {
        const char *part = prompt.parts[i].is_image ? "{IMAGE}" : prompt.parts[i].text;
        assert_int_equal(prompt.parts[i].text == NULL, prompt.parts[i].is_image);
        base_buf_put(&text, part, strlen(part));
    }
    base_buf_put_u8(&text, 0);
    task_prompt_release(&prompt);
    assert_int_equal(prompt.n_parts, 0);
    return (char *)text.data;
}

static void assert_rendered(const char *name, const task_field *fields, size_t n_fields, uint32_t n_images,
                            const char *exemplar, const char *expected)
{
    char *text = rendered(name, fields, n_fields, n_images, exemplar);
    assert_string_equal(text, expected);
    free(text);
}

#define COUNT(fields) (sizeof(fields) / sizeof(fields)[0])

/* ---- the demo's four: the bytes that its model was trained on ---- */

static void report_with_defaults_and_exemplar(void **state)
{
    (void)state;
    assert_rendered(
        "report", NULL, 0, 1, "Given <img>. A: Example.",
        "Instructions: You are a helpful radiology assistant. Describe the lines, tubes and devices, the lungs, the "
        "pleura, the heart size and the bones.\nGiven <img>. A: Example.\nGiven the PA view X-ray image {IMAGE}. "
        "Reason for the "
        "study: routine check. Q: Describe the findings in the image following the instructions. A:");
}

static void fields_replace_defaults(void **state)
{
    (void)state;
    const task_field fields[] = {{"indication", "fall"}, {"view", "AP"}};
    char *text = rendered("report", fields, 2, 1, NULL);
    assert_non_null(strstr(text, "bones.\nGiven the AP view"));
    assert_non_null(strstr(text, "study: fall. Q:"));
    free(text);
}

static void image_mark_in_a_value_stays_text(void **state)
{
    (void)state;
    const task_field fields[] = {{"question", "What is <img> {type}?"}, {"type", "closed"}};
    assert_rendered(
        "vqa", fields, 2, 1, "",
        "Instructions: You are a helpful medical assistant. Answer the question about the image.\nGiven {IMAGE}"
        ". Q: What is <img> {type}? (closed domain) A:");
}

static void choice_lists_the_given_options(void **state)
{
    (void)state;
    const task_field fields[] = {
        {"question", "Which?"}, {"option_a", "One"}, {"option_b", "Two"}, {"option_c", "Three"}};
    static const char front[] = "Instructions: You are a helpful radiology assistant. Choose the right answer from the "
                                "options.\nGiven the X-ray "
                                "image {IMAGE}. Q: Which? (A) One (B) Two";
    char expected[256];
    snprintf(expected, sizeof expected, "%s (C) Three A:", front);
    assert_rendered("choice", fields, 4, 1, NULL, expected);
    snprintf(expected, sizeof expected, "%s A:", front);
    assert_rendered("choice", fields, 3, 1, NULL, expected);
}

static void classify_asks_yes_or_no(void **state)
{
    (void)state;
    const task_field fields[] = {{"condition", "cardiomegaly"}, {"view", "AP"}};
    assert_rendered("classify", fields, 2, 1, NULL,
                    "Instructions: You are a helpful radiology assistant. Answer whether the condition is indicated by "
                    "the X-ray image.\nGiven the AP "
                    "view X-ray image {IMAGE}. Q: Is cardiomegaly indicated by the image? (A) No (B) Yes A:");
}

/* ---- the paper's: Tables A.9 to A.13 of arXiv 2307.14334, line breaks within an example as blanks ---- */

#define VQA_INSTRUCTION                                                                                              \
    "Instructions: You are a helpful medical assistant. The following are questions about medical knowledge. Solve " \
    "them in a step-by-step "                                                                                        \
    "fashion, referring to authoritative sources as needed.\n"

static void vqa_as_the_paper_prints_it(void **state)
{
    (void)state;
    const task_field rad[] = {{"question", "What cut of the body is this image?"}};
    assert_rendered("vqa-rad", rad, 1, 1, NULL,
                    VQA_INSTRUCTION
                    "Given <img>. Q: Can you diagnose a pericardial effusion from this image? (closed domain) A: No.\n"
                    "Given {IMAGE}. Q: What cut of the body is this image? (open domain) A:");
    const task_field slake[] = {{"question", "Which part of the body does this image belong to?"}};
    assert_rendered("slake-vqa", slake, 1, 1, NULL,
                    VQA_INSTRUCTION "Given <img>. Q: Is the lung healthy? A: No.\n"
                                    "Given {IMAGE}. Q: Which part of the body does this image belong to? A:");
    const task_field path[] = {{"question", "What is there ?"}};
    assert_rendered(
        "path-vqa", path, 1, 1, NULL,
        VQA_INSTRUCTION
        "Given <img>. Q: What is present ? (other) A: Abdomen.\nGiven {IMAGE}. Q: What is there ? (other) A:");
}

static void classification_as_the_paper_prints_it(void **state)
{
    (void)state;
    const task_field cxr[] = {{"view", "AP"}, {"condition", "cardiomegaly"}};
    assert_rendered(
        "mimic-cxr-classification", cxr, 2, 1, NULL,
        "Instructions: You are a helpful radiology assistant. The following are questions about findings in chest "
        "X-ray in different "
        "views. Identify if a specific type of abnormality is shown in the X-ray.\n"
        "Given the AP view X-ray image <img>. Q: Is cardiomegaly indicated by the image? (A) No (B) Yes A: Yes.\n"
        "Given the AP view X-ray image {IMAGE}. Q: Is cardiomegaly indicated by the image? (A) No (B) Yes A:");
    assert_rendered("vindr-mammo", NULL, 0, 1, NULL,
                    "Instructions: You are a helpful medical assistant. The following are questions about mammography "
                    "reading. Provide a "
                    "breast-level assessment based on the BI-RADS categories.\n"
                    "Given mammogram image <img>. Image view: bilateral craniocaudal Q: What is the most likely breast "
                    "BI-RADS score? (A) 1 (B) 2 "
                    "(C) 3 (D) 4 (E) 5 A: 4.\n"
                    "Given mammogram image {IMAGE}. Image view: bilateral craniocaudal Q: What is the most likely "
                    "breast BI-RADS score? (A) 1 (B) 2 "
                    "(C) 3 (D) 4 (E) 5 A:");
    const task_field cbis[] = {{"view", "CC"}};
    assert_rendered("cbis-ddsm-mass", cbis, 1, 1, NULL,
                    "Given mammogram image {IMAGE}. Image view: CC Q: Which of the following is the most likely type "
                    "of the patient's breast mass? "
                    "(A) BENIGN (B) BENIGN_WITHOUT_CALLBACK (C) MALIGNANT A:");
    assert_rendered("cbis-ddsm-calcification", cbis, 1, 1, NULL,
                    "Given mammogram image {IMAGE}. Image view: CC Q: Which of the following is the most likely type "
                    "of the patient's breast "
                    "calcification? (A) BENIGN (B) BENIGN_WITHOUT_CALLBACK (C) MALIGNANT A:");
    assert_rendered("precisionfda-variant-calling", NULL, 0, 1, NULL,
                    "Instructions: You are a helpful genetic assistant. The following are questions about variant "
                    "calling. Identify the number of "
                    "copies of the putative variant in pileup images.\n"
                    "Given {IMAGE}. Q: How many copies of this putative variant are shown in the middle of the image? "
                    "(A) 0 (B) 1 (C) 2 A:");
}

static void dermatology_as_the_paper_prints_it(void **state)
{
    (void)state;
    const task_field fields[] = {{"age", "39"},    {"region", "neck"}, {"itch", "false"},
                                 {"grew", "true"}, {"bled", "false"},  {"elevation", "true"}};
    assert_rendered("pad-ufes-20", fields, COUNT(fields), 1, NULL,
                    "Instructions: You are a helpful dermatology assistant. The following are questions about skin "
                    "lesions. Categorize the skin lesions into the "
                    "most likely class given the patient history.\n"
                    "Given <img>. Patient History: Age: 51, Gender: female, Smoke: false, Drink: false, Family skin "
                    "cancer history: true, Family any cancer "
                    "history: false, Lesion region: back, Lesion itch: false, Lesion grew: false, Lesion bled: false, "
                    "Lesion elevation: false, Fitzpatrick "
                    "scale: 1.0, Diameters (mm): [12.0, 8.0]. Q: Which of the following is the most likely diagnosis "
                    "of the patient's skin lesion? (A) Nevus "
                    "(B) Basal Cell Carcinoma (C) Squamous Cell Carcinoma (D) Actinic Keratosis (E) Seborrheic "
                    "Keratosis (F) Melanoma A: Basal Cell "
                    "Carcinoma.\n"
                    "Given {IMAGE}. Patient History: Age: 39, Gender: unknown, Smoke: unknown, Drink: unknown, Family "
                    "skin cancer history: unknown, Family any "
                    "cancer history: unknown, Lesion region: neck, Lesion itch: false, Lesion grew: true, Lesion bled: "
                    "false, Lesion elevation: true, "
                    "Fitzpatrick scale: unknown, Diameters (mm): [unknown, unknown]. Q: Which of the following is the "
                    "most likely diagnosis of the patient's "
                    "skin lesion? (A) Nevus (B) Basal Cell Carcinoma (C) Squamous Cell Carcinoma (D) Actinic Keratosis "
                    "(E) Seborrheic Keratosis (F) Melanoma "
                    "A:");
}

static void texts_as_the_paper_prints_them(void **state)
{
    (void)state;
    const task_field question[] = {{"question", "Chronic obstruction can lead to"},
                                   {"options", "Hyperplasia"},
                                   {"options", "Hyperophy"},
                                   {"options", "Atrophy"},
                                   {"options", "Dyplasia"}};
    char *text = rendered("medmcqa", question, COUNT(question), 0, NULL);
    assert_non_null(strstr(text, "Instructions: The following are multiple choice questions about medical knowledge. "
                                 "Solve them in a step-by-step "
                                 "fashion, starting by summarizing the available information. Output a single option "
                                 "from the four options as the "
                                 "final answer.\nQuestion: "));
    assert_non_null(strstr(text, " Answer: Vitamin C.\nQuestion: Chronic obstruction can lead to (A) Hyperplasia (B) "
                                 "Hyperophy (C) Atrophy (D) Dyplasia "
                                 "Answer:"));
    free(text);
    const task_field findings[] = {{"findings", "there is no hydrocephalus."}};
    assert_rendered("mimic-iii-summary", findings, 1, 0, NULL,
                    "Instructions: You are a helpful radiology assistant. The following are questions about radiology "
                    "reports. Summarize the findings "
                    "in the report into diagnostic statements.\nGiven the findings: there is no hydrocephalus. Q: "
                    "Summarize the findings. A:");
}

/* A model's own exemplar replaces all of the file's. */
static void models_exemplar_comes_first(void **state)
{
    (void)state;
    const task_field fields[] = {{"question", "Why?"}};
    assert_rendered("slake-vqa", fields, 1, 1, "Given <img>. Q: Who? A: He.",
                    VQA_INSTRUCTION "Given <img>. Q: Who? A: He.\nGiven {IMAGE}. Q: Why? A:");
}

/* One view reads as the paper prints it; further ones follow, each with its own. */
static void each_image_has_its_view(void **state)
{
    (void)state;
    const task_field two[] = {{"view", "PA"}, {"indication", "Cough"}, {"view", "LATERAL"}};
    char *text = rendered("mimic-cxr-report", two, 3, 2, "E");
    assert_non_null(strstr(text, "\nE\nGiven the PA view X-ray image {IMAGE}, the LATERAL view X-ray image {IMAGE}. "
                                 "Reason for the study: Cough. Q:"));
    free(text);
    text = rendered("mimic-cxr-report", NULL, 0, 1, NULL);
    assert_non_null(strstr(text, "Given the LATERAL view X-ray image <img>. Reason"));
    assert_non_null(strstr(text, "Given the PA view X-ray image {IMAGE}. Reason for the study: unknown. Q:"));
    free(text);
    task_prompt prompt;
    base_error error;
    assert_int_equal(task_render(find("mimic-cxr-report"), two, 3, 3, NULL, &prompt, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "given 2 times, but 3 images"));
    assert_int_equal(task_render(find("mimic-cxr-report"), NULL, 0, 5, NULL, &prompt, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "1 to 4 images, not 5"));
}

/* ---- values ---- */

static void assert_refused(const char *name, const task_field *fields, size_t n_fields, uint32_t n_images,
                           const char *words)
{
    task_prompt prompt = {.n_parts = 77};
    base_error error = {0};
    assert_int_equal(task_render(find(name), fields, n_fields, n_images, NULL, &prompt, &error), BASE_EINVAL);
    if (strstr(error.text, words) == NULL)
        fail_msg("'%s' does not say '%s'", error.text, words);
    assert_int_equal(prompt.n_parts, 77);
}

static void errors_name_the_cause_and_leave_the_prompt(void **state)
{
    (void)state;
    assert_refused("vqa", NULL, 0, 1, "'question'");
    assert_refused("vqa", (task_field[]){{"question", "x"}, {"colour", "red"}}, 2, 1, "\"colour\"");
    assert_refused("vqa", (task_field[]){{"question", "x"}, {"question", "y"}}, 2, 1, "2 times");
    assert_refused("cbis-ddsm-mass", (task_field[]){{"view", "cc"}}, 1, 1, "CC, MLO");
    assert_refused("medqa", (task_field[]){{"question", "x"}, {"options", "a"}}, 2, 0, "2 to 26 times");
    assert_refused("medqa", (task_field[]){{"question", "x"}, {"options", "a"}, {"options", ""}}, 3, 0, "empty option");
    assert_refused("medqa", (task_field[]){{"question", "x"}, {"options", "a"}, {"options", "b"}}, 3, 1,
                   "takes 0 images, not 1");
    assert_refused("pad-ufes-20", (task_field[]){{"smoke", "yes"}}, 1, 1, "true, false, unknown");
}

static void numbers_are_checked(void **state)
{
    (void)state;
    static const char file[] = "{\"name\": \"n\", \"title\": \"\", \"instruction\": \"\", \"query\": \"{x}{{}}\", "
                               "\"images\": 0, \"answer\": {\"form\": "
                               "\"text\"}, \"fields\": {\"x\": {\"kind\": \"number\", \"least\": -1, \"most\": 1e3}}}";
    static const char *const good[] = {"-1", "1000", "0.5", "1e2", "+7"}, *const bad[] = {"",     "-2",    "1001",
                                                                                          "0x10", "nan",   "inf",
                                                                                          "1 ",   "1e999", "e"};
    task *t = NULL;
    base_error error = {0};
    if (task_parse("n.json", file, sizeof file - 1, &t, &error) != BASE_OK)
        fail_msg("%s", error.text);
    for (size_t i = 0; i < COUNT(good); i++)
        assert_int_equal(task_check(t, &(task_field){"x", good[i]}, 1, 0, NULL), BASE_OK);
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(task_check(t, &(task_field){"x", bad[i]}, 1, 0, NULL), BASE_EINVAL);
    task_prompt prompt;
    assert_int_equal(task_render(t, &(task_field){"x", "5"}, 1, 0, NULL, &prompt, NULL), BASE_OK);
    assert_string_equal(prompt.parts[0].text, "5{}");
    task_prompt_release(&prompt);
    task_destroy(&t);
}

/* No image at all leaves out all that belongs to each. */
static void no_image_prints_none(void **state)
{
    (void)state;
    static const char file[] =
        "{\"name\": \"n\", \"title\": \"\", \"instruction\": \"\", \"query\": \"a {*<img> of {v}*}, b\", \"images\": "
        "{\"least\": 0, "
        "\"most\": 1}, \"answer\": {\"form\": \"text\"}, \"fields\": {\"v\": {\"kind\": \"text\", \"each\": true}}}";
    task *t = NULL;
    task_prompt prompt;
    assert_int_equal(task_parse("n.json", file, sizeof file - 1, &t, NULL), BASE_OK);
    assert_int_equal(task_render(t, NULL, 0, 0, NULL, &prompt, NULL), BASE_OK);
    assert_int_equal(prompt.n_parts, 1);
    assert_string_equal(prompt.parts[0].text, "a , b");
    task_prompt_release(&prompt);
    task_destroy(&t);
}

/* ---- sets ---- */

static void all_tasks_are_built_in(void **state)
{
    (void)state;
    static const char *const names[] = {"cbis-ddsm-calcification",
                                        "cbis-ddsm-mass",
                                        "choice",
                                        "classify",
                                        "medmcqa",
                                        "medqa",
                                        "mimic-cxr-classification",
                                        "mimic-cxr-report",
                                        "mimic-iii-summary",
                                        "pad-ufes-20",
                                        "path-vqa",
                                        "precisionfda-variant-calling",
                                        "pubmedqa",
                                        "report",
                                        "slake-vqa",
                                        "vindr-mammo",
                                        "vqa",
                                        "vqa-rad"};
    assert_int_equal(task_set_count(set), COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++) {
        const task *t = task_set_at(set, i);
        assert_string_equal(t->name, names[i]);
        assert_ptr_equal(t, find(names[i]));
        assert_true(t->builtin);
        assert_true(t->n_metrics > 0);
    }
}

static void published_figures_are_the_papers(void **state)
{
    (void)state;
    const task *t = find("mimic-cxr-report");
    assert_int_equal(t->n_published, 9);
    assert_string_equal(t->published[8].metric, "cider_d");
    assert_true(t->published[8].size_12b == 23.43 && t->published[8].size_84b == 26.17 &&
                t->published[8].size_562b == 25.27);
    assert_true(t->published[3].best_before != t->published[3].best_before); /* NAN: none printed */
    size_t n = 0;
    for (size_t i = 0; i < task_set_count(set); i++)
        n += task_set_at(set, i)->n_published > 0;
    assert_int_equal(n, 14);
    assert_int_equal(find("medqa")->decoding.max_tokens, 256);
    assert_true(find("medqa")->paper_wording && !find("pubmedqa")->paper_wording);
}

static void unknown_tasks_are_answered_with_the_known(void **state)
{
    (void)state;
    const task *t = NULL;
    base_error error;
    assert_int_equal(task_set_find(set, "biopsy", &t, &error), BASE_ENOTFOUND);
    assert_non_null(strstr(error.text, "biopsy"));
    for (size_t i = 0; i < task_set_count(set); i++)
        assert_non_null(strstr(error.text, task_set_at(set, i)->name));
    assert_null(t);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void remove_file(const char *dir, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

#define OWN(name, query)                                                                    \
    "{\"name\": \"" name "\", \"title\": \"T\", \"instruction\": \"\", \"query\": \"" query \
    "\", \"images\": 0, \"answer\": {\"form\": \"text\"}}\n"

static void a_site_adds_and_replaces(void **state)
{
    (void)state;
    char dir[] = "/tmp/palmgrove-task-XXXXXX";
    assert_non_null(mkdtemp(dir));
    write_file(dir, "b.json", OWN("vqa", "mine"));
    write_file(dir, "a.json", OWN("triage", "Hello {{you}}"));
    write_file(dir, "notes.txt", "no task");
    task_set *own = NULL;
    const task *t = NULL;
    base_error error = {0};
    assert_int_equal(task_set_open(dir, &own, &error), BASE_OK);
    assert_int_equal(task_set_count(own), task_set_count(set) + 1);
    assert_int_equal(task_set_find(own, "vqa", &t, NULL), BASE_OK);
    assert_string_equal(t->query, "mine");
    assert_false(t->builtin);
    assert_non_null(strstr(t->source, "/b.json"));
    task_set_close(&own);

    write_file(dir, "c.json", OWN("triage", "again"));
    assert_int_equal(task_set_open(dir, &own, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "a.json"));
    assert_non_null(strstr(error.text, "c.json"));
    assert_non_null(strstr(error.text, "'triage'"));
    write_file(dir, "c.json", "{\n \"name\": 5}");
    assert_int_equal(task_set_open(dir, &own, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "c.json:2:10: "));
    remove_file(dir, "a.json");
    remove_file(dir, "b.json");
    remove_file(dir, "c.json");
    remove_file(dir, "notes.txt");
    rmdir(dir);
    assert_int_equal(task_set_open(dir, &own, &error), BASE_EIO);
    assert_non_null(strstr(error.text, dir));
    assert_null(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_with_defaults_and_exemplar),
        cmocka_unit_test(fields_replace_defaults),
        cmocka_unit_test(image_mark_in_a_value_stays_text),
        cmocka_unit_test(choice_lists_the_given_options),
        cmocka_unit_test(classify_asks_yes_or_no),
        cmocka_unit_test(vqa_as_the_paper_prints_it),
        cmocka_unit_test(classification_as_the_paper_prints_it),
        cmocka_unit_test(dermatology_as_the_paper_prints_it),
        cmocka_unit_test(texts_as_the_paper_prints_them),
        cmocka_unit_test(models_exemplar_comes_first),
        cmocka_unit_test(each_image_has_its_view),
        cmocka_unit_test(errors_name_the_cause_and_leave_the_prompt),
        cmocka_unit_test(numbers_are_checked),
        cmocka_unit_test(no_image_prints_none),
        cmocka_unit_test(all_tasks_are_built_in),
        cmocka_unit_test(published_figures_are_the_papers),
        cmocka_unit_test(unknown_tasks_are_answered_with_the_known),
        cmocka_unit_test(a_site_adds_and_replaces),
    };
    return cmocka_run_group_tests(tests, open_set, close_set);
}
