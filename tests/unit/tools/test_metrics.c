/* test_metrics.c - the metrics on examples worked by hand, and on pycocoevalcap's and sacrebleu's own numbers for three
 * made-up reports. tests/conformance/metrics.py compares a thousand generated pairs with the packages themselves. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/task/task.h"
#include "tools/metrics/metrics.h"

#define CLOSE 1e-9

typedef struct pair {
    const char *said, *reference;
} pair;

static const pair reports[] = {
    {"the heart size is normal . there is no pleural effusion or pneumothorax .",
     "heart size is normal . no pleural effusion or pneumothorax is seen ."},
    {"mild cardiomegaly is seen . the lungs are clear .",
     "there is mild cardiomegaly . lungs are clear without consolidation ."},
    {"right pleural effusion with basilar atelectasis .", "small right pleural effusion and adjacent atelectasis ."},
};

enum { MOST = 16 };

static metric_result compute(const char *name, const metric_input *input, const metric_bootstrap *bootstrap)
{
    base_error error = {0};
    metric_result result;
    const metric *m = metric_find(name);
    assert_non_null(m);
    if (metric_compute(m, input, bootstrap, &result, &error) != BASE_OK)
        fail_msg("%s: %s", name, error.text);
    return result;
}

static double value_of(const char *name, const metric_input *input)
{
    metric_result result = compute(name, input, NULL);
    double value = result.value;
    metric_result_release(&result);
    return value;
}

static double text_value(const char *name, const pair *pairs, size_t n)
{
    metric_case cases[MOST] = {0};
    for (size_t i = 0; i < n; i++)
        cases[i] = (metric_case){.prediction = pairs[i].said, .references = &pairs[i].reference, .n_references = 1};
    return value_of(name, &(metric_input){.cases = cases, .n_cases = n, .positive = -1});
}

static void assert_close(double found, double expected)
{
    if (!(fabs(found - expected) <= CLOSE))
        fail_msg("%.12f is not %.12f", found, expected);
}

static void every_name_is_found(void **state)
{
    (void)state;
    size_t n = 0;
    for (const char *const *name = task_metric_names(); *name != NULL; name++, n++) {
        assert_non_null(metric_find(*name));
        assert_string_equal(metric_name(metric_find(*name)), *name);
        assert_true(strlen(metric_about(metric_find(*name))) > 10);
    }
    assert_int_equal(n, 21);
    assert_null(metric_find("bleu"));
}

static void reports_score_as_the_originals_say(void **state)
{
    (void)state;
    assert_true(fabs(text_value("bleu_1", reports, 3) - 0.7808521589) < 1e-10);
    assert_true(fabs(text_value("bleu_4", reports, 3) - 0.3789434481) < 1e-10);
    assert_true(fabs(text_value("cider_d", reports, 3) - 3.6889235152) < 1e-10);
    assert_true(fabs(text_value("rouge_l_coco", reports, 3) - 0.7133438036) < 1e-10);
    assert_true(fabs(text_value("sacrebleu", reports, 3) - 37.8943448127) < 1e-10);
    assert_true(fabs(text_value("rouge_l", reports, 1) - 0.7826086957) < 1e-10);
    assert_close(text_value("rouge_l", reports + 1, 1), 10.0 / 17);
    assert_close(text_value("rouge_l", reports + 2, 1), 8.0 / 13);
}

static void answers_are_compared_as_squad_does(void **state)
{
    (void)state;
    assert_close(text_value("token_f1", &(pair){"in the left lung", "left lower lung"}, 1), 4.0 / 6);
    assert_close(text_value("token_recall", &(pair){"in the left lung", "left lower lung"}, 1), 2.0 / 3);
    assert_close(text_value("exact_match", &(pair){"The  LEFT lung.", "left lung"}, 1), 1);
    assert_close(text_value("exact_match", &(pair){"left lungs", "left lung"}, 1), 0);
    assert_close(text_value("exact_match", &(pair){"theatre", "atre"}, 1), 0);
    assert_close(text_value("token_f1", &(pair){"a the an !", "..."}, 1), 1);
    assert_close(text_value("token_f1", &(pair){"", "left"}, 1), 0);
    assert_close(text_value("exact_match", &(pair){"\xe8\x82\xba", "\xe8\x82\xba\xe3\x80\x80"}, 1),
                 1); /* an ideographic blank */
}

static void empty_and_foreign_texts_have_values(void **state)
{
    (void)state;
    const pair empty = {"", ""}, chinese = {"\xe5\xb7\xa6\xe8\x82\xba", "\xe5\xb7\xa6\xe8\x82\xba"},
               damaged = {"\xff\xfe", "\xff\xfe"};
    assert_close(text_value("rouge_l", &empty, 1), 0);
    assert_close(text_value("rouge_l_coco", &empty, 1), 1); /* pycocoevalcap: one empty word on either side */
    assert_close(text_value("sacrebleu", &empty, 1), 0);
    assert_close(text_value("cider_d", &empty, 1), 0);
    assert_close(text_value("rouge_l", &chinese, 1), 0); /* only [a-z0-9] counts */
    assert_close(text_value("exact_match", &chinese, 1), 1);
    assert_close(text_value("exact_match", &damaged, 1), 1);
}

static metric_case of_class(int32_t predicted, int32_t truth)
{
    return (metric_case){.predicted = predicted, .truth = truth};
}

static void classes_are_counted(void **state)
{
    (void)state;
    /* class 0: tp 1, fp 1, fn 1; class 1: tp 1, fp 1; class 2: fn 1, said never; class 3 does not occur */
    const metric_case cases[] = {of_class(0, 0), of_class(1, 1), of_class(1, 0), of_class(0, 2), of_class(-1, 2)};
    const metric_input input = {.cases = cases, .n_cases = 5, .n_classes = 4, .positive = -1};
    assert_close(value_of("accuracy", &input), 2.0 / 5);
    assert_close(value_of("macro_f1", &input), (0.5 + 2.0 / 3 + 0) / 3);
    assert_close(value_of("micro_f1", &input), 4.0 / (4 + 2 + 3));
}

static void labels_are_counted(void **state)
{
    (void)state;
    const bool said[2][3] = {{true, false, true}, {false, false, false}},
               held[2][3] = {{true, true, false}, {false, false, false}};
    const metric_case cases[] = {{.predicted_labels = said[0], .true_labels = held[0]},
                                 {.predicted_labels = said[1], .true_labels = held[1]}};
    const metric_input input = {.cases = cases, .n_cases = 2, .n_classes = 3, .positive = -1};
    assert_close(value_of("accuracy", &input), 0.5);
    assert_close(value_of("macro_f1", &input), 1.0 / 3);
    assert_close(value_of("micro_f1", &input), 0.5);
}

static void auc_is_a_probability(void **state)
{
    (void)state;
    const double scores[5][2] = {{0, 0.9}, {0, 0.5}, {0, 0.5}, {0, 0.1}, {0, 0}};
    metric_case cases[6] = {{.truth = 1, .scores = scores[0]}, {.truth = 1, .scores = scores[1]},
                            {.truth = 0, .scores = scores[2]}, {.truth = 0, .scores = scores[3]},
                            {.truth = 1, .scores = scores[4]}, {.truth = 1}};
    metric_input input = {.cases = cases, .n_cases = 6, .n_classes = 2, .positive = 1};
    metric_result result = compute("macro_auc", &input, NULL);
    assert_close(result.value, (2 + 1.5 + 0) / 6); /* of 3 x 2 pairs */
    assert_int_equal(result.n_used, 5);
    metric_point *points = NULL;
    size_t n = 0;
    base_error error = {0};
    assert_int_equal(metric_roc(&input, 1, &points, &n, &error), BASE_OK);
    assert_int_equal(n, 5);
    assert_close(points[2].x, 0.5);
    assert_close(points[2].y, 2.0 / 3);
    assert_close(points[4].x * points[4].y, 1);
    free(points);
    for (size_t i = 0; i < 6; i++)
        cases[i].truth = 1;
    assert_true(isnan(value_of("macro_auc", &input)));
}

static void genotypes_count_as_calls(void **state)
{
    (void)state;
    metric_case cases[5] = {of_class(1, 1), of_class(2, 1), of_class(0, 1), of_class(1, 0), of_class(2, 2)};
    for (size_t i = 0; i < 5; i++)
        cases[i].kind = i < 4 ? METRIC_VARIANT_SNP : METRIC_VARIANT_INDEL;
    const metric_input input = {.cases = cases, .n_cases = 5, .n_classes = 3, .positive = -1};
    assert_close(value_of("snp_f1", &input),
                 2.0 / (2 + 2 + 2)); /* tp 1; fp: wrong genotype, no variant; fn: wrong genotype, missed */
    assert_close(value_of("indel_f1", &input), 1);
    assert_close(value_of("genotype_f1", &input), (0 + 2.0 / (2 + 1 + 2) + 2.0 / (2 + 1)) / 3);
}

static void strata_count_alike(void **state)
{
    (void)state;
    metric_case cases[4] = {of_class(1, 1), of_class(1, 1), of_class(1, 1), of_class(0, 1)};
    for (size_t i = 0; i < 4; i++)
        cases[i].stratum = i < 3 ? "edema" : "fracture";
    assert_close(value_of("accuracy", &(metric_input){.cases = cases, .n_cases = 4, .n_classes = 2, .positive = -1}),
                 0.5);
}

static void intervals_are_repeatable_and_hold_the_value(void **state)
{
    (void)state;
    metric_case cases[MOST] = {0};
    const char *groups[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < MOST; i++) {
        cases[i] = of_class(i % 3 != 0, 1);
        cases[i].group = groups[i % 4];
    }
    const metric_input input = {.cases = cases, .n_cases = MOST, .n_classes = 2, .positive = -1};
    const metric_bootstrap bootstrap = {.n_resamples = 200, .level = 0.95, .seed = 7};
    metric_result a = compute("accuracy", &input, &bootstrap), b = compute("accuracy", &input, &bootstrap);
    assert_true(a.low < a.value && a.value < a.high);
    assert_true(a.low == b.low && a.high == b.high);
    metric_result_release(&a);
    metric_result_release(&b);
    for (size_t i = 0; i < MOST; i++)
        cases[i].group = "all";
    a = compute("accuracy", &input, &bootstrap);
    assert_true(a.low == a.value && a.high == a.value); /* one group is always drawn whole */
    metric_result_release(&a);
}

static void bad_input_is_named(void **state)
{
    (void)state;
    base_error error = {0};
    metric_result result;
    const metric_case wordless = {.prediction = "x"}, beyond = of_class(0, 2);
    assert_int_equal(metric_compute(metric_find("bleu_4"),
                                    &(metric_input){.cases = &wordless, .n_cases = 1, .positive = -1}, NULL, &result,
                                    &error),
                     BASE_EINVAL);
    assert_non_null(strstr(error.text, "case 0 lacks a reference"));
    assert_int_equal(metric_compute(metric_find("accuracy"),
                                    &(metric_input){.cases = &beyond, .n_cases = 1, .n_classes = 2, .positive = -1},
                                    NULL, &result, &error),
                     BASE_EINVAL);
    assert_non_null(strstr(error.text, "case 0 lacks a true class"));
    assert_true(isnan(value_of("accuracy", &(metric_input){.positive = -1})));
}

/* ---- the labeller ---- */

#define FINDINGS "[1,0,0,0,0,0,0,0,0,0,0,0,0,0]"

static base_status label_with(const char *script, uint32_t timeout_s, metric_labels **labels, base_error *error)
{
    static const char *reference = "effusion";
    const metric_case cases[2] = {{.prediction = "a", .references = &reference, .n_references = 1},
                                  {.prediction = "b", .references = &reference, .n_references = 1}};
    const char *const command[] = {"/bin/sh", "-c", script, NULL};
    return metric_labels_run(command, &(metric_input){.cases = cases, .n_cases = 2}, timeout_s, labels, error);
}

static void labels_come_from_outside(void **state)
{
    (void)state;
    base_error error = {0};
    metric_labels *labels = NULL;
    metric_case cases[2] = {0};
    base_status status = label_with("sed 's/.*\"id\":\"\\([01]\\)\".*/{\"id\":\"\\1\",\"findings_prediction\":" FINDINGS
                                    ",\"findings_reference\":" FINDINGS
                                    ",\"entities_prediction\":[\"x\",\"y\",\"y\"],\"entities_reference\":[\"x\"]}/'",
                                    10, &labels, &error);
    if (status != BASE_OK)
        fail_msg("%s", error.text);
    metric_labels_lend(labels, cases, 2);
    const metric_input input = {.cases = cases, .n_cases = 2, .positive = -1};
    assert_close(value_of("chexbert_micro_f1_14", &input), 1);
    assert_close(value_of("chexbert_macro_f1_14", &input), 1.0 / 14);
    assert_close(value_of("chexbert_micro_f1_5", &input), 0); /* the first label is none of the five */
    assert_close(value_of("radgraph_f1", &input), 2.0 / 3);
    metric_labels_destroy(&labels);
}

static void a_bad_labeller_is_reported(void **state)
{
    (void)state;
    static const struct {
        const char *script, *text;
        base_status status;
    } bad[] = {
        {"exit 3", "exit code 3", BASE_EIO},
        {"kill -9 $$", "signal 9", BASE_EIO},
        {"cat", "line 1 of the labeller's output: it has neither", BASE_EFORMAT},
        {"echo '{'", "line 1 of the labeller's output", BASE_EFORMAT},
        {"echo '{\"id\":\"2\"}'", "is no case's", BASE_EFORMAT},
        {"echo '{\"id\":\"0\",\"findings_prediction\":[1],\"findings_reference\":[1]}'", "14 numbers", BASE_EFORMAT},
        {"echo '{\"id\":\"0\",\"entities_prediction\":[1],\"entities_reference\":[]}'", "lists of strings",
         BASE_EFORMAT},
        {"true", "0 lines for 2 cases", BASE_EFORMAT},
        {"sleep 100", "stopped after 1 s", BASE_EDEADLINE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        base_error error = {0};
        metric_labels *labels = NULL;
        assert_int_equal(label_with(bad[i].script, 1 + 9 * (bad[i].status != BASE_EDEADLINE), &labels, &error),
                         bad[i].status);
        if (strstr(error.text, bad[i].text) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", bad[i].text, error.text);
        assert_null(labels);
    }
    base_error error = {0};
    metric_labels *labels = NULL;
    const char *const command[] = {"/nonexistent/labeller", NULL};
    assert_int_equal(metric_labels_run(command, &(metric_input){0}, 1, &labels, &error), BASE_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_found),
        cmocka_unit_test(reports_score_as_the_originals_say),
        cmocka_unit_test(answers_are_compared_as_squad_does),
        cmocka_unit_test(empty_and_foreign_texts_have_values),
        cmocka_unit_test(classes_are_counted),
        cmocka_unit_test(labels_are_counted),
        cmocka_unit_test(auc_is_a_probability),
        cmocka_unit_test(genotypes_count_as_calls),
        cmocka_unit_test(strata_count_alike),
        cmocka_unit_test(intervals_are_repeatable_and_hold_the_value),
        cmocka_unit_test(bad_input_is_named),
        cmocka_unit_test(labels_come_from_outside),
        cmocka_unit_test(a_bad_labeller_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
