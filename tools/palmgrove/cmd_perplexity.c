/* cmd_perplexity.c - how well a model, or its weights in another type, predicts a known text.
 *
 * The logits of every position are on one rank (teacher_has_logits); it sums up and prints.  Log-probabilities are
 * natural logarithms.
 *
 * A dump (--dump-logits) holds the log-probabilities themselves, little-endian:
 *     8 bytes   "PGLOGP1\n"
 *     u64       n, positions that predict a token
 *     u32       V, the vocabulary
 *     u32       0
 *     i32       [n] the token that came next
 *     f32       [n][V] log-probabilities
 * --against reads one, of this program or another: KL is the mean over positions of sum p (log p - log q), p the dump's
 * and q ours. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/size.h"
#include "proto/base/write.h"
#include "sharding/mapped_file.h"
#include "tools/palmgrove/command.h"
#include "tools/palmgrove/teacher.h"
#include "worker/kernels/kern.h"

#define DUMP_MAGIC  "PGLOGP1\n"
#define DUMP_HEADER 24u

typedef struct perplexity_values {
    teacher_options common;
    const char *dump, *against;
} perplexity_values;

#define AT(field) offsetof(perplexity_values, field)

static const option_row rows[] = {
    TEACHER_ROWS(perplexity_values),
    {"weights", "KIND", OPTION_TEXT, TEACHER_AT(perplexity_values, weights), "auto",
     "type of the matrices: auto (the checkpoint's own), f32, f16, bf16, int8, int4", 0},
    {"importance", "FILE", OPTION_TEXT, TEACHER_AT(perplexity_values, importance), NULL,
     "what `palmgrove calibrate` wrote, for the quantiser", 0},
    {"activations", "TYPE", OPTION_TEXT, TEACHER_AT(perplexity_values, activations), "int8",
     "what weights are multiplied with: int8 (bf16 before bf16 weights) or f32", 0},
    {"products", "NAME", OPTION_TEXT, TEACHER_AT(perplexity_values, products), "own",
     "who multiplies prompts and images with f32, f16 and bf16 weights: own, or openblas: answers then depend on how "
     "prompts are cut; docs/PERFORMANCE.md has the price",
     0},
    {"kv-type", "TYPE", OPTION_TEXT, TEACHER_AT(perplexity_values, kv_type), "f32",
     "how keys and values are kept: f32, bf16 or int8", 0},
    {"wire", "TYPE", OPTION_TEXT, TEACHER_AT(perplexity_values, wire), "exact",
     "how sums travel between nodes: exact or bf16", 0},
    {"dump-logits", "FILE", OPTION_TEXT, AT(dump), NULL, "write the log-probabilities of every position",
     OPTION_NO_ENVIRONMENT},
    {"against", "FILE", OPTION_TEXT, AT(against), NULL, "compare with the log-probabilities of such a dump",
     OPTION_NO_ENVIRONMENT},
};

typedef struct score {
    teacher *t;
    uint64_t n, n_targets; /* positions done, and all of them */
    uint32_t vocab;
    double nll, kl; /* sums, in nats */
    uint64_t bytes, n_same_best;
    float *row; /* [vocab] log-probabilities */
    int dump;   /* -1: none */
    mapped_file against;
    base_status status; /* the first failure */
    base_error error;
} score;

/* --- one position --- */

/* logits to log-probabilities; returns the best token. */
static uint32_t normalise(const float *logits, uint32_t n, float *out)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    double log_sum = log((double)kern_active()->sum_exp(logits, n, logits[best])) + (double)logits[best];
    for (uint32_t i = 0; i < n; i++)
        out[i] = (float)((double)logits[i] - log_sum);
    return best;
}

static uint64_t target_offset(uint64_t i)
{
    return DUMP_HEADER + i * sizeof(int32_t);
}

static uint64_t row_offset(const score *s, uint64_t i)
{
    return target_offset(s->n_targets) + i * s->vocab * sizeof(float);
}

static base_status dump_row(score *s, int32_t target)
{
    if (base_write_at(s->dump, target_offset(s->n), &target, sizeof target) &&
        base_write_at(s->dump, row_offset(s, s->n), s->row, s->vocab * sizeof *s->row))
        return BASE_OK;
    return base_fail(&s->error, BASE_EIO, "cannot write the dump: %s", strerror(errno));
}

static base_status compare_row(score *s, int32_t target, uint32_t best)
{
    const char *bytes = s->against.map;
    int32_t expected;
    memcpy(&expected, bytes + target_offset(s->n), sizeof expected);
    if (expected != target)
        return base_fail(&s->error, BASE_EINVAL, "position %llu of the dump predicts token %d, this text has %d there",
                         (unsigned long long)s->n, expected, target);
    const char *at = bytes + row_offset(s, s->n);
    uint32_t their_best = 0;
    float largest = -INFINITY;
    double kl = 0.0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        float p;
        memcpy(&p, at + i * sizeof p, sizeof p);
        if (p > largest) {
            largest = p;
            their_best = i;
        }
        if (p > -INFINITY) /* 0 log 0 is 0 */
            kl += exp((double)p) * ((double)p - (double)s->row[i]);
    }
    s->kl += kl;
    s->n_same_best += their_best == best;
    return BASE_OK;
}

static void score_step(void *context, const char *what, uint32_t layer, const float *values, size_t n_rows,
                       size_t n_columns)
{
    score *s = context;
    (void)layer;
    if (strcmp(what, "logits") != 0 || s->status != BASE_OK)
        return;
    const teacher_step *at = teacher_at(s->t);
    for (uint32_t r = 0; r < at->n_targets && r < n_rows && s->status == BASE_OK; r++) {
        int32_t target = at->tokens[r + 1];
        uint32_t best = normalise(values + r * n_columns, s->vocab, s->row);
        s->nll -= (double)s->row[target];
        s->bytes += teacher_token_bytes(s->t, target);
        if (s->dump >= 0)
            s->status = dump_row(s, target);
        if (s->status == BASE_OK && s->against.map != NULL)
            s->status = compare_row(s, target, best);
        s->n++;
    }
}

/* --- before and after --- */

static base_status open_dump(score *s, const char *path, base_error *error)
{
    base_buf header = {0};
    base_buf_put(&header, DUMP_MAGIC, strlen(DUMP_MAGIC));
    base_buf_put_u64(&header, s->n_targets);
    base_buf_put_u32(&header, s->vocab);
    base_buf_put_u32(&header, 0);
    s->dump = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool written = !header.failed && s->dump >= 0 && base_write_at(s->dump, 0, header.data, header.size);
    base_buf_release(&header);
    return written ? BASE_OK : base_fail(error, BASE_EIO, "cannot write '%s': %s", path, strerror(errno));
}

static base_status open_against(score *s, const char *path, base_error *error)
{
    base_status status = mapped_file_open(path, &s->against, error);
    if (status != BASE_OK)
        return status;
    base_reader reader = base_reader_over(s->against.map, s->against.bytes);
    const void *magic = base_reader_take(&reader, strlen(DUMP_MAGIC));
    uint64_t n = base_reader_u64(&reader);
    uint32_t vocab = base_reader_u32(&reader);
    if (magic == NULL || memcmp(magic, DUMP_MAGIC, strlen(DUMP_MAGIC)) != 0)
        return base_fail(error, BASE_EFORMAT, "'%s' is no dump of log-probabilities", path);
    if (n != s->n_targets || vocab != s->vocab)
        return base_fail(error, BASE_EINVAL,
                         "'%s' holds %llu positions of %u tokens, this run has %llu of %u; give both the same text "
                         "and --context",
                         path, (unsigned long long)n, vocab, (unsigned long long)s->n_targets, s->vocab);
    size_t row_bytes = (size_t)vocab * sizeof(float) + sizeof(int32_t), bytes;
    if (!base_size_mul((size_t)n, row_bytes, &bytes) || bytes != s->against.bytes - DUMP_HEADER)
        return base_fail(error, BASE_EFORMAT, "'%s' has %zu bytes, not what its header says", path, s->against.bytes);
    return BASE_OK;
}

static base_status prepare(score *s, const perplexity_values *values, base_error *error)
{
    s->vocab = teacher_arch(s->t)->decoder.vocab_size;
    s->n_targets = teacher_n_targets(s->t);
    if (!teacher_has_logits(s->t))
        return BASE_OK;
    s->row = malloc(s->vocab * sizeof *s->row);
    if (s->row == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %u log-probabilities", s->vocab);
    base_status status = values->dump != NULL ? open_dump(s, values->dump, error) : BASE_OK;
    return status == BASE_OK && values->against != NULL ? open_against(s, values->against, error) : status;
}

static base_status finish(score *s, base_error *error)
{
    if (s->dump >= 0 && close(s->dump) != 0 && s->status == BASE_OK)
        s->status = base_fail(&s->error, BASE_EIO, "cannot write the dump: %s", strerror(errno));
    s->dump = -1;
    return s->status == BASE_OK ? BASE_OK : base_fail(error, s->status, "%s", s->error.text);
}

static void print_score(const score *s, uint64_t weights_bytes)
{
    double n = (double)s->n, mean = s->nll / n;
    printf("tokens %llu\nperplexity %.4f\nbits-per-byte %.4f\nweights-bytes %llu\n", (unsigned long long)s->n,
           exp(mean), s->bytes > 0 ? s->nll / log(2.0) / (double)s->bytes : 0.0, (unsigned long long)weights_bytes);
    if (s->against.map != NULL)
        printf("kl %.6f\ntop1 %.4f\n", s->kl / n, (double)s->n_same_best / n);
    fflush(stdout);
}

static base_status work(par_world *world, void *opaque, base_error *error)
{
    const perplexity_values *values = opaque;
    score s = {.dump = -1};
    base_status status = teacher_open(world, &values->common, score_step, &s, &s.t, error);
    if (status == BASE_OK)
        status = par_world_agree(world, prepare(&s, values, error), error);
    if (status == BASE_OK)
        status = teacher_run(s.t, error);
    base_status finished =
        par_world_agree(world, finish(&s, status == BASE_OK ? error : NULL), status == BASE_OK ? error : NULL);
    status = status != BASE_OK ? status : finished;
    if (status == BASE_OK) {
        uint64_t weights_bytes = par_world_max(world, teacher_weights_bytes(s.t));
        if (teacher_has_logits(s.t))
            print_score(&s, weights_bytes);
    }
    free(s.row);
    mapped_file_close(&s.against);
    teacher_close(&s.t);
    return status;
}

static int run(void *values)
{
    return teacher_main(work, values);
}

const command command_perplexity = {
    "perplexity",
    "MODEL --text FILE [options]",
    "measure how well a model predicts a text, with its weights in any type; run it under mpirun or alone",
    "Feed a text to the model token by token and print how well each next token was predicted, one figure a line: "
    "tokens, perplexity, "
    "bits-per-byte, and weights-bytes of the fullest rank. Quantised weights are judged against exact ones with a "
    "dump:\n\n"
    "    palmgrove perplexity MODEL --text book.txt --weights f32 --dump-logits exact.logp\n"
    "    palmgrove perplexity MODEL --text book.txt --weights int4 --against exact.logp\n\n"
    "which adds kl (the mean Kullback-Leibler divergence in nats) and top1 (how often both like the same token best). "
    "A dump takes four "
    "bytes for each token of the vocabulary at each position. Any number of ranks gives the same figures:\n\n"
    "    mpirun -n 2 --bind-to none palmgrove perplexity MODEL --text book.txt",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(perplexity_values),
    run};
