/* teacher.h - a model fed with a known text, token by token, to see what it makes of each (teacher forcing); no server.
 *
 * For `palmgrove perplexity` and `palmgrove calibrate`.  All ranks of an MPI job call these together; each reads the
 * text itself and walks the same plans, so nothing but the model's own traffic crosses ranks.
 *
 * The text is cut into windows of at most `context` positions that know nothing of each other; each begins with what
 * the model's prompts begin with (BOS), if anything.  A window runs in steps of at most `step_tokens` rows, every row a
 * slice of its own that samples, so that the logits of every position are computed. */
#ifndef PALMGROVE_TEACHER_H
#define PALMGROVE_TEACHER_H

#include "sharding/recipe.h"
#include "tools/palmgrove/options.h"
#include "worker/model/model.h"

typedef struct teacher teacher;

/* What the commands have in common; the first member of their values (TEACHER_ROWS). */
typedef struct teacher_options {
    const char *model, *text;
    const char *weights, *importance, *activations, *products, *kv_type, *wire,
        *isa; /* the first six NULL: as the checkpoint is, none, f32, own, f32, exact */
    uint32_t tp, pp, threads;
    uint32_t context, step_tokens;
    uint64_t max_tokens;
} teacher_options;

#define TEACHER_AT(type, field) offsetof(type, common) + offsetof(teacher_options, field)
#define TEACHER_ROWS(type)                                                                                            \
    {"model",                                                                                                         \
     "MODEL",                                                                                                         \
     OPTION_TEXT,                                                                                                     \
     TEACHER_AT(type, model),                                                                                         \
     NULL,                                                                                                            \
     "directory of a model, or a GGUF file",                                                                          \
     OPTION_POSITIONAL | OPTION_REQUIRED},                                                                            \
        {"text",                                                                                                      \
         "FILE",                                                                                                      \
         OPTION_TEXT,                                                                                                 \
         TEACHER_AT(type, text),                                                                                      \
         NULL,                                                                                                        \
         "the text, UTF-8",                                                                                           \
         OPTION_REQUIRED | OPTION_NO_ENVIRONMENT},                                                                    \
        {"context",  "N",                                                                                             \
         OPTION_U32, TEACHER_AT(type, context),                                                                       \
         "512",      "tokens of a window; windows know nothing of each other",                                        \
         0},                                                                                                          \
        {"tokens", "N", OPTION_U64, TEACHER_AT(type, max_tokens), "0", "read so many tokens of the text; 0: all", 0}, \
        {"step-tokens", "N", OPTION_U32, TEACHER_AT(type, step_tokens), "64", "tokens of one step", 0},               \
        {"tp", "N", OPTION_U32, TEACHER_AT(type, tp), "0", "tensor-parallel ranks of a stage; 0: as many as fit", 0}, \
        {"pp", "N", OPTION_U32, TEACHER_AT(type, pp), "0", "pipeline stages; 0: what is left of the ranks", 0},       \
        {"threads",  "N",                                                                                             \
         OPTION_U32, TEACHER_AT(type, threads),                                                                       \
         "0",        "threads of a rank; 0: its share of the allowed cores",                                          \
         0},                                                                                                          \
    {                                                                                                                 \
        "isa", "NAME", OPTION_TEXT, TEACHER_AT(type, isa), "auto",                                                    \
            "kernel set: auto, ref, avx2, avx512, avx512-bf16, neon, neon-dot", 0                                     \
    }

/* Where the rows of the step at hand are in the text; valid while the probe is called.  Row r is the position of token
 * `tokens[r]`; what it should predict is tokens[r + 1], and the window's last row predicts nothing (`n_targets` is less
 * then). */
typedef struct teacher_step {
    const int32_t *tokens; /* [n_rows + 1], the last one only when n_targets == n_rows */
    uint32_t n_rows, n_targets;
} teacher_step;

/* Open the model for `options` on all ranks, the text read and tokenized.  `probe` sees each step.  Collective, agreed.
 * Errors: BASE_EINVAL an option out of range, a text that is not UTF-8 or too short; those of the checkpoint, tokenizer
 * and model. */
base_status teacher_open(par_world *world, const teacher_options *options, model_probe *probe, void *context,
                         teacher **out, base_error *error);
void teacher_close(teacher **t);

/* Run the whole text.  Collective; BASE_ENUMERIC when an activation left the fixed-point range. */
base_status teacher_run(teacher *t, base_error *error);

/* True on the rank that sees "logits": tensor rank 0 of the last stage. */
bool teacher_has_logits(const teacher *t);
const teacher_step *teacher_at(const teacher *t);
/* Positions that predict a token, over the whole text. */
uint64_t teacher_n_targets(const teacher *t);
/* Bytes of text that `id` stands for. */
size_t teacher_token_bytes(const teacher *t, int32_t id);
const arch *teacher_arch(const teacher *t);
/* Bytes of weights on this rank. */
uint64_t teacher_weights_bytes(const teacher *t);

/* Run a command's work between the start and the end of MPI: `work` is called on every rank, its status agreed upon;
 * rank 0 complains.  Returns the exit code. */
int teacher_main(base_status (*work)(par_world *world, void *values, base_error *error), void *values);

#endif
