/* The benchmark runner without a server: cases and their faults, the journal over kills and other models, figures, the
 * page's escaping and plots. */
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/eval/eval_html.h"
#include "tools/eval/eval_run.h"

#define CASE(id, condition, answer)                             \
    "{\"id\":\"" id "\",\"fields\":{\"condition\":\"" condition \
    "\"},\"images\":[\"images/a.png\"],\"slices\":{\"kind\":\"" condition "\"},\"answer\":\"" answer "\"}\n"

static const char four[] =
    CASE("a", "edema", "Yes.") CASE("b", "edema", "No.") CASE("c", "edema", "Yes") CASE("d", "edema", "(A)");

static task_set *set;
static char folder[] = "/tmp/palmgrove-eval-unit-XXXXXX";

static int open_tasks(void **state)
{
    (void)state;
    base_error error = {0};
    return task_set_open(NULL, &set, &error) == BASE_OK && mkdtemp(folder) != NULL ? 0 : 1;
}

static int close_tasks(void **state)
{
    (void)state;
    task_set_close(&set);
    return rmdir(folder);
}

static const task *find(const char *name)
{
    const task *t = NULL;
    assert_int_equal(task_set_find(set, name, &t, NULL), BASE_OK);
    return t;
}

/* ---- cases ---- */

static void reads_cases(void **state)
{
    (void)state;
    static const char lines[] = "{\"id\":\"x\",\"group\":\"p1\",\"fields\":{\"question\":\"Why?\",\"options\":[\"one\","
                                "\"two\"]},\"answer\":[\"two\",\"One\"]}\r\n\n"
                                "{\"id\":\"y\",\"fields\":{\"question\":\"What?\",\"options\":[\"one\",\"two\"]},"
                                "\"images\":[],\"answer\":\"one\"}";
    eval_cases cases;
    base_error error = {0};
    size_t found;
    assert_int_equal(eval_cases_parse("f", lines, sizeof lines - 1, find("medqa"), &cases, &error), BASE_OK);
    assert_int_equal(cases.n, 2);
    assert_int_equal(cases.cases[0].n_fields, 3);
    assert_string_equal(cases.cases[0].fields[2].value, "two");
    assert_int_equal(cases.cases[0].n_answers, 2);
    assert_string_equal(cases.cases[0].group, "p1");
    assert_string_equal(cases.cases[1].group, "y");
    assert_int_equal(cases.cases[1].line, 3);
    assert_true(eval_cases_find(&cases, "y", &found) && found == 1);
    assert_false(eval_cases_find(&cases, "z", &found));
    eval_cases_release(&cases);
}

static void reads_a_variant_and_frames(void **state)
{
    (void)state;
    static const char line[] =
        "{\"id\":\"v\",\"images\":[{\"file\":\"images/"
        "a.dcm\",\"frame\":7}],\"answer\":\"1\",\"variant\":{\"contig\":\"chr1\",\"position\":12,\"ref\":\"A\","
        "\"alts\":[\"C\",\"G\"],\"kind\":\"snp\"}}";
    eval_cases cases;
    assert_int_equal(eval_cases_parse("f", line, sizeof line - 1, find("precisionfda-variant-calling"), &cases, NULL),
                     BASE_OK);
    assert_int_equal(cases.cases[0].images[0].frame, 7);
    assert_int_equal(cases.cases[0].variant.position, 12);
    assert_int_equal(cases.cases[0].variant.n_alts, 2);
    eval_cases_release(&cases);
}

static void refuses_bad_lines(void **state)
{
    (void)state;
    static const struct {
        const char *line, *cause;
    } bad[] = {
        {"{\"id\":\"a\",\"answr\":\"Yes\"}", "did you mean 'answer'"},
        {"[1]", "one JSON object"},
        {"{\"id\":\"a\"", "column"},
        {"{\"id\":\"a\",\"id\":\"b\"}", "column"},
        {"{\"id\":\"\",\"answer\":\"Yes\"}", "\"id\" must be a string of 1 to"},
        {"{\"id\":7,\"answer\":\"Yes\"}", "\"id\" must be a string"},
        {"{\"id\":\"a\\u0007\",\"answer\":\"Yes\"}", "control character"},
        {"{\"id\":\"a\",\"fields\":[],\"answer\":\"Yes\"}", "\"fields\" must be an object"},
        {"{\"id\":\"a\",\"fields\":{\"condition\":1},\"answer\":\"Yes\"}", "a field's value must be a string"},
        {"{\"id\":\"a\",\"images\":[\"/etc/passwd\"],\"answer\":\"Yes\"}", "inside the task's directory"},
        {"{\"id\":\"a\",\"images\":[\"images/../../x\"],\"answer\":\"Yes\"}", "inside the task's directory"},
        {"{\"id\":\"a\",\"images\":[{\"file\":\"x\",\"frame\":-1}],\"answer\":\"Yes\"}", "\"frame\" must be"},
        {"{\"id\":\"a\",\"images\":[{\"file\":\"x\",\"page\":1}],\"answer\":\"Yes\"}",
         "unknown key 'page' of an image"},
        {"{\"id\":\"a\",\"fields\":{\"condition\":\"edema\"},\"images\":[\"x\"]}", "either \"answer\" or \"labels\""},
        {"{\"id\":\"a\",\"fields\":{\"condition\":\"edema\"},\"images\":[\"x\"],\"answer\":[]}", "empty list"},
        {"{\"id\":\"a\",\"fields\":{\"condition\":\"edema\"},\"images\":[\"x\"],\"answer\":\"Perhaps\"}",
         "none of the 2 classes"},
        {"{\"id\":\"a\",\"fields\":{\"colour\":\"red\"},\"images\":[\"x\"],\"answer\":\"Yes\"}", "colour"},
        {"{\"id\":\"a\",\"fields\":{\"condition\":\"edema\"},\"images\":[],\"answer\":\"Yes\"}", "1 image"},
        {"{\"id\":\"a\",\"slices\":{\"x\":1},\"answer\":\"Yes\"}", "a slice's value must be a string"},
        {"{\"id\":\"a\",\"variant\":{\"contig\":\"1\",\"position\":0,\"ref\":\"A\",\"alts\":[\"C\"],\"kind\":\"snp\"},"
         "\"answer\":\"Yes\"}",
         "\"position\""},
        {"{\"id\":\"a\",\"variant\":{\"contig\":\"1\",\"position\":1,\"ref\":\"A\",\"alts\":[\"C\"],\"kind\":\"sv\"},"
         "\"answer\":\"Yes\"}",
         "snp or indel"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char lines[1024];
        base_error error = {0};
        eval_cases cases = {.n = 77};
        snprintf(lines, sizeof lines, "%s%s\n", four, bad[i].line);
        assert_int_not_equal(eval_cases_parse("cases.jsonl", lines, strlen(lines), find("classify"), &cases, &error),
                             BASE_OK);
        assert_non_null(strstr(error.text, "cases.jsonl:5: "));
        if (strstr(error.text, bad[i].cause) == NULL)
            fail_msg("'%s' does not say '%s'", error.text, bad[i].cause);
        assert_int_equal(cases.n, 77); /* untouched */
    }
}

static void refuses_ids_twice_and_nothing(void **state)
{
    (void)state;
    static const char twice[] = CASE("a", "edema", "Yes") CASE("b", "edema", "No") CASE("a", "edema", "No");
    eval_cases cases;
    base_error error = {0};
    assert_int_equal(eval_cases_parse("f", twice, sizeof twice - 1, find("classify"), &cases, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "f:3: id 'a' is that of line 1"));
    assert_int_equal(eval_cases_parse("f", "\n\n", 2, NULL, &cases, &error), BASE_EFORMAT);
    assert_int_equal(eval_cases_parse("f", "", 0, NULL, &cases, &error), BASE_EFORMAT);
}

/* ---- journal ---- */

typedef struct rig {
    eval_cases cases;
    eval_journal journal;
    eval_identity identity;
    char path[128];
} rig;

static const size_t two_classes[] = {2, 2, 2, 2};

static void rig_open(rig *r)
{
    *r = (rig){.identity = {.task = "classify", .task_digest = "t", .data_digest = "d", .settings = "s"}};
    snprintf(r->path, sizeof r->path, "%s/answers.jsonl", folder);
    unlink(r->path);
    assert_int_equal(eval_cases_parse("f", four, sizeof four - 1, find("classify"), &r->cases, NULL), BASE_OK);
    assert_int_equal(eval_journal_open(r->path, &r->identity, &r->cases, two_classes, &r->journal, NULL), BASE_OK);
}

static base_status rig_reopen(rig *r, base_error *error)
{
    eval_journal_close(&r->journal);
    return eval_journal_open(r->path, &r->identity, &r->cases, two_classes, &r->journal, error);
}

static void rig_close(rig *r)
{
    eval_journal_close(&r->journal);
    eval_cases_release(&r->cases);
    unlink(r->path);
}

static void append(const rig *r, const char *text)
{
    FILE *file = fopen(r->path, "ab");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static pg_result answer(const char *text)
{
    return (pg_result){.text = text,
                       .finish = PG_FINISH_EOS,
                       .completion_tokens = 3,
                       .prompt_tokens = 90,
                       .total_ms = 12.5,
                       .model = "m",
                       .model_digest = "abc",
                       .version = "0",
                       .layout = "tp1 x pp1",
                       .isa = "ref"};
}

static void put_score(rig *r, size_t i, int which, float score)
{
    pg_result scored = answer("");
    scored.logprobs = &score;
    scored.n_logprobs = 1;
    assert_int_equal(eval_journal_put(&r->journal, i, which, &scored, NULL), BASE_OK);
}

static void journal_survives_a_kill(void **state)
{
    (void)state;
    rig r;
    rig_open(&r);
    const pg_error failure = {.status = PG_EINVAL, .text = "no \"such\" image"};
    pg_result said = answer("Yes.\n\"quoted\" \xc3\xa9");
    assert_int_equal(eval_journal_put(&r.journal, 0, -1, &said, NULL), BASE_OK);
    put_score(&r, 0, 1, -0.1f);
    assert_int_equal(eval_journal_put_failure(&r.journal, 2, &failure, NULL), BASE_OK);
    append(&r, "{\"id\":\"b\",\"text\":\"torn");
    assert_int_equal(rig_reopen(&r, NULL), BASE_OK);
    assert_string_equal(r.journal.answers[0].text, said.text);
    assert_true(r.journal.answers[0].scores[1] == (double)-0.1f);
    assert_true(isnan(r.journal.answers[0].scores[0]));
    assert_int_equal(r.journal.answers[0].tokens, 3);
    assert_null(r.journal.answers[1].text);
    assert_string_equal(r.journal.answers[2].error, "invalid_argument: no \"such\" image");
    assert_string_equal(r.journal.model.digest, "abc");
    assert_int_equal(eval_journal_put(&r.journal, 1, -1, &said, NULL), BASE_OK); /* behind the torn line's place */
    assert_int_equal(eval_journal_put(&r.journal, 2, -1, &said, NULL), BASE_OK);
    assert_int_equal(rig_reopen(&r, NULL), BASE_OK);
    assert_string_equal(r.journal.answers[1].text, said.text);
    assert_null(r.journal.answers[2].error);
    rig_close(&r);
}

static void journal_refuses_others(void **state)
{
    (void)state;
    rig r;
    base_error error = {0};
    rig_open(&r);
    pg_result said = answer("Yes."), other = answer("No.");
    assert_int_equal(eval_journal_put(&r.journal, 0, -1, &said, NULL), BASE_OK);
    other.model_digest = "other";
    assert_int_equal(eval_journal_put(&r.journal, 1, -1, &other, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "another model"));
    eval_journal second;
    assert_int_equal(eval_journal_open(r.path, &r.identity, &r.cases, two_classes, &second, &error), BASE_EBUSY);
    eval_identity right = r.identity;
    strcpy(r.identity.data_digest, "e");
    assert_int_equal(rig_reopen(&r, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "another data"));
    r.identity = right;
    strcpy(r.identity.task_digest, "u");
    assert_int_equal(rig_reopen(&r, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "another wording of the task"));
    rig_close(&r);
}

static void journal_refuses_damage(void **state)
{
    (void)state;
    static const char *const bad[] = {"{}\n",
                                      "[]\n",
                                      "x\n",
                                      "{\"id\":\"zz\",\"text\":\"a\"}\n",
                                      "{\"id\":\"a\",\"class\":2,\"score\":-1}\n",
                                      "{\"id\":\"a\",\"class\":-1,\"score\":-1}\n",
                                      "{\"id\":\"a\",\"class\":0,\"score\":\"x\"}\n",
                                      "{\"id\":\"a\",\"text\":5}\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rig r;
        base_error error = {0};
        rig_open(&r);
        append(&r, bad[i]);
        assert_int_equal(rig_reopen(&r, &error), BASE_EFORMAT);
        assert_non_null(strstr(error.text, "answers.jsonl:2: "));
        rig_close(&r);
    }
}

/* ---- figures ---- */

static void fill(rig *r)
{
    static const char *const said[] = {"Yes.", "No.", "Yes", "Perhaps <b>&\"not\"</b>"};
    static const float yes[] = {-0.1f, -2.0f, -0.7f, -1.0f};
    rig_open(r);
    for (size_t i = 0; i < 4; i++) {
        pg_result one = answer(said[i]);
        assert_int_equal(eval_journal_put(&r->journal, i, -1, &one, NULL), BASE_OK);
        put_score(r, i, 0, logf(1.0f - expf(yes[i])));
        put_score(r, i, 1, yes[i]);
    }
}

static void scores_answers(void **state)
{
    (void)state;
    rig r;
    fill(&r);
    eval_scored s;
    base_error error = {0};
    const eval_rules rules = {.bootstrap = {.n_resamples = 50, .level = 0.95, .seed = 1}};
    assert_int_equal(eval_score(find("classify"), &r.cases, &r.journal, &rules, &s, &error), BASE_OK);
    assert_int_equal(s.n_items, 4);
    assert_int_equal(s.n_no_class, 1);
    assert_int_equal(s.n_scored, 4);
    assert_string_equal(metric_name(s.metrics[0].metric), "macro_auc");
    assert_true(s.metrics[0].result.value == 1.0); /* both "Yes" are above both "No" */
    assert_true(s.metrics[2].result.value == 0.75);
    assert_int_equal(s.n_slices, 1);
    assert_int_equal(s.slices[0].n, 4);
    assert_true(fabs(eval_share(&s, 0, 1) - exp(-0.1)) < 1e-6);
    eval_calibration c;
    assert_true(eval_calibrate(&s, &c));
    assert_true(c.of_positive);
    assert_int_equal(c.n[9] + c.n[1] + c.n[4] + c.n[3], 4); /* exp(-0.1), exp(-2), exp(-0.7), exp(-1) */
    assert_true(s.latency_ms.p50 == 12.5);
    eval_scored_release(&s);
    rig_close(&r);
}

/* A case of each kind: the field given, left to its default, and a slice of the data by the same name. */
static void slices_by_fields(void **state)
{
    (void)state;
    static const char lines[] =
        "{\"id\":\"a\",\"fields\":{\"condition\":\"edema\",\"view\":\"AP\"},\"images\":[\"x\"],\"answer\":\"Yes\"}\n"
        "{\"id\":\"b\",\"fields\":{\"condition\":\"edema\"},\"images\":[\"x\"],\"answer\":\"No\"}\n"
        "{\"id\":\"c\",\"fields\":{\"condition\":\"nodule\",\"view\":\"PA\"},\"images\":[\"x\"],\"answer\":\"Yes\"}\n"
        "{\"id\":\"d\",\"fields\":{\"condition\":\"nodule\"},\"images\":[\"x\"],\"answer\":\"No\",\"slices\":{\"view\":"
        "\"AP\"}}\n";
    static const struct {
        const char *name, *value;
        size_t n;
    } expected[] = {{"condition", "edema", 2}, {"condition", "nodule", 2}, {"view", "AP", 2}, {"view", "PA", 3}};
    static const char *const fields[] = {"view", "condition", "colour"};
    const eval_rules rules = {.slice_fields = fields, .n_slice_fields = 3};
    rig r;
    rig_open(&r);
    eval_journal_close(&r.journal);
    eval_cases_release(&r.cases);
    unlink(r.path);
    assert_int_equal(eval_cases_parse("f", lines, sizeof lines - 1, find("classify"), &r.cases, NULL), BASE_OK);
    assert_int_equal(eval_journal_open(r.path, &r.identity, &r.cases, two_classes, &r.journal, NULL), BASE_OK);
    pg_result said = answer("Yes.");
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(eval_journal_put(&r.journal, i, -1, &said, NULL), BASE_OK);
    eval_scored s;
    assert_int_equal(eval_score(find("classify"), &r.cases, &r.journal, &rules, &s, NULL), BASE_OK);
    assert_int_equal(s.n_slices, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(s.slices[i].name, expected[i].name);
        assert_string_equal(s.slices[i].value, expected[i].value);
        assert_int_equal(s.slices[i].n, expected[i].n);
    }
    eval_scored_release(&s);
    rig_close(&r);
}

static void scores_nothing(void **state)
{
    (void)state;
    rig r;
    rig_open(&r);
    eval_scored s;
    const eval_rules rules = {.bootstrap = {.n_resamples = 50, .level = 0.95, .seed = 1}};
    assert_int_equal(eval_score(find("classify"), &r.cases, &r.journal, &rules, &s, NULL), BASE_OK);
    assert_true(isnan(s.metrics[0].result.value));
    assert_non_null(s.metrics[0].missing);
    eval_report report = {.tasks = &s, .n_tasks = 1, .version = "0", .cases = true};
    base_buf page = {0};
    assert_int_equal(eval_page_write(&report, &page, NULL), BASE_OK);
    base_buf_release(&page);
    eval_scored_release(&s);
    rig_close(&r);
}

/* ---- the page ---- */

static size_t count_of(const char *text, const char *word)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        n++;
    return n;
}

static void escapes_text(void **state)
{
    (void)state;
    base_buf out = {0};
    html_text(&out, "<img src=\"x\" onerror='y'>&amp;\x01\x7f\n\xc3\xa9");
    html_text(&out, "\xff<");
    html_text_cut(&out, "abc\xc3\xa9", 4); /* the cut falls into a character */
    base_buf_put_u8(&out, 0);
    assert_string_equal((const char *)out.data,
                        "&lt;img src=&quot;x&quot; onerror=&#39;y&#39;&gt;&amp;amp;\n\xc3\xa9?&lt;abc \xe2\x80\xa6");
    base_buf_release(&out);
}

static void writes_a_page(void **state)
{
    (void)state;
    rig r;
    fill(&r);
    eval_scored s;
    const eval_rules rules = {.bootstrap = {.n_resamples = 50, .level = 0.95, .seed = 1}};
    assert_int_equal(eval_score(find("classify"), &r.cases, &r.journal, &rules, &s, NULL), BASE_OK);
    eval_report report = {.tasks = &s, .n_tasks = 1, .version = "0", .bootstrap = rules.bootstrap, .cases = true};
    snprintf(report.dataset.name, sizeof report.dataset.name, "<script>alert(1)</script>");
    base_buf page = {0};
    assert_int_equal(eval_page_write(&report, &page, NULL), BASE_OK);
    base_buf_put_u8(&page, 0);
    const char *text = (const char *)page.data;
    assert_int_equal(count_of(text, "<script"), 0);
    assert_int_equal(count_of(text, "Perhaps &lt;b&gt;&amp;&quot;not&quot;&lt;/b&gt;"), 1);
    assert_int_equal(count_of(text, "<svg"), count_of(text, "</svg>"));
    assert_int_equal(count_of(text, "<figure"), 5); /* ROC, confusion, reliability, latency, lengths */
    assert_int_equal(count_of(text, "<figure"), count_of(text, "</figure>"));
    assert_int_equal(count_of(text, "nan"), 0);
    assert_int_equal(count_of(text, "inf\""), 0);
    base_buf_release(&page);
    report.cases = false;
    assert_int_equal(eval_page_write(&report, &page, NULL), BASE_OK);
    base_buf_put_u8(&page, 0);
    assert_int_equal(count_of((const char *)page.data, "Perhaps"), 0);
    base_buf_release(&page);
    eval_scored_release(&s);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_cases),
        cmocka_unit_test(reads_a_variant_and_frames),
        cmocka_unit_test(refuses_bad_lines),
        cmocka_unit_test(refuses_ids_twice_and_nothing),
        cmocka_unit_test(journal_survives_a_kill),
        cmocka_unit_test(journal_refuses_others),
        cmocka_unit_test(journal_refuses_damage),
        cmocka_unit_test(scores_answers),
        cmocka_unit_test(slices_by_fields),
        cmocka_unit_test(scores_nothing),
        cmocka_unit_test(escapes_text),
        cmocka_unit_test(writes_a_page),
    };
    return cmocka_run_group_tests(tests, open_tasks, close_tasks);
}
