/* cmd_compare_variants.c - a VCF of calls against one of the truth: recall, precision and F1 of substitutions and of
 * insertions and deletions; no server, no weights.  calls.h says what counts, tools/metrics computes F1 and its
 * interval. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/genomics/calls.h"
#include "proto/base/file.h"
#include "tools/metrics/metrics.h"
#include "tools/output/json_text.h"
#include "tools/palmgrove/command.h"

typedef struct compare_values {
    const char *calls, *truth, *confident, *reference, *json;
    uint32_t resamples;
} compare_values;

#define AT(field) offsetof(compare_values, field)

static const option_row rows[] = {
    {"calls", "CALLS", OPTION_TEXT, AT(calls), NULL, "the calls: VCF or BCF, plain or compressed; its first sample",
     OPTION_POSITIONAL | OPTION_REQUIRED},
    {"truth", "FILE", OPTION_TEXT, AT(truth), NULL, "the truth, in the same forms",
     OPTION_REQUIRED | OPTION_NO_ENVIRONMENT},
    {"confident", "FILE", OPTION_TEXT, AT(confident), NULL,
     "BED: only variants wholly inside one of its regions count; otherwise all do", OPTION_NO_ENVIRONMENT},
    {"reference", "FILE", OPTION_TEXT, AT(reference), NULL,
     "indexed FASTA: variants are moved to the left, so that it does not matter where in a repeat they were written",
     0},
    {"resamples", "N", OPTION_U32, AT(resamples), "1000", "resamples of the variants behind each interval; 0: none", 0},
    {"json", "FILE", OPTION_TEXT, AT(json), NULL, "write the result as JSON; -: to stdout instead of the table",
     OPTION_NO_ENVIRONMENT},
};

/* What is told of a kind of variants. */
typedef struct score {
    const char *kind;
    uint64_t n_truth, n_called, tp, fp, fn;
    metric_result f1;
} score;

enum { N_KINDS = 2 };

static double ratio(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : NAN;
}

static void count(const calls_comparison *found, bool is_snp, score *out)
{
    for (size_t i = 0; i < found->n_pairs; i++) {
        const calls_pair *pair = &found->pairs[i];
        bool is_right = pair->called == pair->truth;
        if (pair->is_snp != is_snp)
            continue;
        out->n_truth += pair->truth > 0;
        out->n_called += pair->called > 0;
        out->tp += is_right;
        out->fp += pair->called > 0 && !is_right;
        out->fn += pair->truth > 0 && !is_right;
    }
}

static base_status score_kinds(const calls_comparison *found, uint32_t n_resamples, score scores[N_KINDS],
                               base_error *error)
{
    static const char *const names[N_KINDS] = {"snp_f1", "indel_f1"};
    const metric_bootstrap bootstrap = {.n_resamples = n_resamples, .level = 0.95, .seed = 1};
    metric_case *cases = calloc(found->n_pairs + 1, sizeof *cases);
    if (cases == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %zu variants", found->n_pairs);
    for (size_t i = 0; i < found->n_pairs; i++)
        cases[i] = (metric_case){.predicted = found->pairs[i].called,
                                 .truth = found->pairs[i].truth,
                                 .kind = found->pairs[i].is_snp ? METRIC_VARIANT_SNP : METRIC_VARIANT_INDEL};
    const metric_input input = {.cases = cases, .n_cases = found->n_pairs, .n_classes = 3, .positive = -1};
    base_status status = BASE_OK;
    for (int k = 0; k < N_KINDS && status == BASE_OK; k++) {
        count(found, k == 0, &scores[k]);
        status = metric_compute(metric_find(names[k]), &input, &bootstrap, &scores[k].f1, error);
    }
    free(cases);
    return status;
}

static void print_left_out(const char *whose, const calls_left_out *out)
{
    if (out->n_outside + out->n_no_genotype + out->n_no_sequence + out->n_filtered > 0)
        printf("left out of the %s: %llu outside the regions, %llu records without a genotype, %llu alleles that are "
               "no sequence, %llu filtered records\n",
               whose, (unsigned long long)out->n_outside, (unsigned long long)out->n_no_genotype,
               (unsigned long long)out->n_no_sequence, (unsigned long long)out->n_filtered);
}

static void print_table(const score scores[N_KINDS], const calls_comparison *found)
{
    printf("%-6s %10s %10s %10s %10s %10s %9s %9s %9s  %s\n", "kind", "truth", "called", "TP", "FP", "FN", "recall",
           "precision", "F1", "95 % interval");
    for (int k = 0; k < N_KINDS; k++) {
        const score *s = &scores[k];
        printf("%-6s %10llu %10llu %10llu %10llu %10llu %9.4f %9.4f %9.4f  %.4f to %.4f\n", s->kind,
               (unsigned long long)s->n_truth, (unsigned long long)s->n_called, (unsigned long long)s->tp,
               (unsigned long long)s->fp, (unsigned long long)s->fn, ratio(s->tp, s->n_truth),
               ratio(s->tp, s->n_called), s->f1.value, s->f1.low, s->f1.high);
    }
    print_left_out("calls", &found->calls);
    print_left_out("truth", &found->truth);
}

static void put_left_out(json_text *json, const char *name, const calls_left_out *out)
{
    json_text_open(json, name, '{');
    json_text_count(json, "outside", out->n_outside);
    json_text_count(json, "no_genotype", out->n_no_genotype);
    json_text_count(json, "no_sequence", out->n_no_sequence);
    json_text_count(json, "filtered", out->n_filtered);
    json_text_close(json, '}');
}

static void put_json(const score scores[N_KINDS], const calls_comparison *found, base_buf *out)
{
    json_text json = {.out = out};
    json_text_open(&json, NULL, '{');
    for (int k = 0; k < N_KINDS; k++) {
        const score *s = &scores[k];
        json_text_open(&json, s->kind, '{');
        json_text_count(&json, "truth", s->n_truth);
        json_text_count(&json, "called", s->n_called);
        json_text_count(&json, "tp", s->tp);
        json_text_count(&json, "fp", s->fp);
        json_text_count(&json, "fn", s->fn);
        json_text_real(&json, "recall", ratio(s->tp, s->n_truth));
        json_text_real(&json, "precision", ratio(s->tp, s->n_called));
        json_text_real(&json, "f1", s->f1.value);
        json_text_real(&json, "low", s->f1.low);
        json_text_real(&json, "high", s->f1.high);
        json_text_close(&json, '}');
    }
    put_left_out(&json, "left_out_of_calls", &found->calls);
    put_left_out(&json, "left_out_of_truth", &found->truth);
    json_text_close(&json, '}');
    base_buf_put_u8(out, '\n');
}

static base_status tell(const compare_values *values, const score scores[N_KINDS], const calls_comparison *found,
                        base_error *error)
{
    base_buf text = {0};
    base_status status = BASE_OK;
    bool to_stdout = values->json != NULL && strcmp(values->json, "-") == 0;
    if (values->json != NULL)
        put_json(scores, found, &text);
    if (text.failed)
        status = base_fail(error, BASE_ENOMEM, "no memory for the result");
    else if (to_stdout)
        fwrite(text.data, 1, text.size, stdout);
    else if (values->json != NULL)
        status = base_file_replace(values->json, &text, error);
    if (!to_stdout)
        print_table(scores, found);
    base_buf_release(&text);
    return status;
}

static int run(void *opaque)
{
    const compare_values *values = opaque;
    calls_comparison found = {0};
    score scores[N_KINDS] = {{.kind = "snp"}, {.kind = "indel"}};
    base_error error = {0};
    base_status status =
        calls_compare(values->calls, values->truth, values->confident, values->reference, &found, &error);
    if (status == BASE_OK)
        status = score_kinds(&found, values->resamples, scores, &error);
    if (status == BASE_OK)
        status = tell(values, scores, &found, &error);
    if (status != BASE_OK)
        command_complain(error.text);
    for (int k = 0; k < N_KINDS; k++)
        metric_result_release(&scores[k].f1);
    calls_release(&found);
    return status == BASE_OK ? EXIT_DONE : EXIT_FAILED;
}

const command command_compare_variants = {
    "compare-variants",
    "CALLS --truth FILE [options]",
    "count right and wrong calls of a VCF against the truth",
    "Compare called variants with the truth inside confident regions, as hap.py counts: a call is right when contig, "
    "position, alleles and "
    "genotype are; docs/GENOMICS.md says what of hap.py is not done:\n\n"
    "    palmgrove compare-variants called.vcf --truth hg002.vcf.gz --confident hg002.bed --reference grch38.fa",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(compare_values),
    run};
