/* pretokenize.c - a text is cut by pattern 1; each piece, match or gap, is cut by pattern 2; and so on; what the last
 * pattern leaves are the words.
 *
 *     "it's 2024"    \p{N}        it's_ | 2 | 0 | 2 | 4
 *                    gpt-2        it | 's | _ | 2 | 0 | 2 | 4
 *
 * A pattern sees its piece alone, so lookahead and "end of text" stop at the piece.  PCRE2 runs each match under
 * limits; reaching one is the client's error (BASE_EINVAL), not a fallback to other words. */
#include "coordinator/text/pretokenize_int.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"

/* A published pattern needs a few thousand steps even for a megabyte of spaces or letters in one match; these bound
 * the cost of a hostile one per match, in steps and in KiB. */
enum { PATTERN_BYTES_MAX = 4096, MATCH_LIMIT = 10 * 1000 * 1000, DEPTH_LIMIT = 100 * 1000, HEAP_LIMIT_KIB = 64 * 1024 };

struct pretokenizer {
    pcre2_code *codes[VOCAB_PATTERNS_MAX];
    uint32_t n;
    pcre2_match_context *limits;
};

/* ---- the published patterns, by the names that GGUF files use (llama.cpp, src/llama-vocab.cpp) ---- */

#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"
#define AFTER_DIGITS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const char pretokenize_gpt2[] = CONTRACTIONS "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char llama3[] = "(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" AFTER_DIGITS;
static const char qwen2[] = "(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" AFTER_DIGITS;

typedef struct named {
    const char *names[4];
    const char *patterns[4];
    bool ignore_merges, nfc, adds_bos;
} named;

static const named published[] = {
    {.names = {"llama-bpe", "llama3", "llama-v3"}, .patterns = {llama3}, .ignore_merges = true, .adds_bos = true},
    {.names = {"qwen2", "deepseek-r1-qwen"}, .patterns = {qwen2}, .nfc = true},
    {.names = {"gpt-2", "mpt", "olmo"}, .patterns = {pretokenize_gpt2}},
    {.names = {"smollm", "starcoder", "refact"}, .patterns = {"\\p{N}", pretokenize_gpt2}},
    /* what llama.cpp does for files that name none in particular */
    {.names = {"default"}, .patterns = {"[\\p{P}\\$\\+<=>\\^~\\|]+", pretokenize_gpt2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

static bool is_named(const named *row, const char *name, size_t size)
{
    for (size_t i = 0; i < 4 && row->names[i] != NULL; i++)
        if (strlen(row->names[i]) == size && memcmp(row->names[i], name, size) == 0)
            return true;
    return false;
}

base_status pretokenize_by_name(const char *name, size_t size, vocab *v, base_error *error)
{
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        const named *row = &published[i];
        if (!is_named(row, name, size))
            continue;
        for (v->n_patterns = 0; v->n_patterns < 4 && row->patterns[v->n_patterns] != NULL; v->n_patterns++)
            v->patterns[v->n_patterns] =
                (vocab_string){row->patterns[v->n_patterns], strlen(row->patterns[v->n_patterns])};
        v->ignore_merges = row->ignore_merges;
        v->nfc = row->nfc;
        v->start_id = row->adds_bos ? v->bos_id : -1;
        return BASE_OK;
    }
    return base_fail(
        error, BASE_EUNSUPPORTED,
        "'%s': unknown pre-tokenizer '%.*s'; known are llama-bpe, qwen2, gpt-2, smollm, starcoder, default", v->name,
        (int)(size < 64 ? size : 64), name);
}

/* ---- compiling ---- */

/* Replace "\s" and "\S" by the Unicode property that they mean in the reference's engine; copy other escapes. */
static void put_pattern(base_buf *out, const char *pattern, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bool is_escape = pattern[i] == '\\' && i + 1 < size;
        if (is_escape && (pattern[i + 1] == 's' || pattern[i + 1] == 'S'))
            base_buf_put(out, pattern[i + 1] == 's' ? "\\p{WSpace}" : "\\P{WSpace}", 10);
        else
            base_buf_put(out, pattern + i, is_escape ? 2 : 1);
        i += is_escape;
    }
}

static base_status compile(const vocab *v, uint32_t i, pcre2_code **out, base_error *error)
{
    vocab_string pattern = v->patterns[i];
    if (pattern.size > PATTERN_BYTES_MAX)
        return base_fail(error, BASE_ETOOBIG, "'%s': pre-tokenizer pattern %u has %zu bytes; at most %d are allowed",
                         v->name, i + 1, pattern.size, PATTERN_BYTES_MAX);
    base_buf text = {0};
    put_pattern(&text, pattern.text, pattern.size);
    int code = 0;
    PCRE2_SIZE where = 0;
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
    if (!text.failed)
        *out = pcre2_compile(text.size > 0 ? text.data : (PCRE2_SPTR) "", text.size, options, &code, &where, NULL);
    base_buf_release(&text);
    if (*out != NULL)
        return BASE_OK;
    if (text.failed || code == PCRE2_ERROR_HEAP_FAILED)
        return base_fail(error, BASE_ENOMEM, "no memory for the pre-tokenizer of '%s'", v->name);
    PCRE2_UCHAR why[128] = "";
    pcre2_get_error_message(code, why, sizeof why);
    return base_fail(error, BASE_EFORMAT, "'%s': pre-tokenizer pattern %u does not compile: %s", v->name, i + 1,
                     (const char *)why);
}

void pretokenizer_close(pretokenizer **out)
{
    pretokenizer *p = *out;
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < p->n; i++)
        pcre2_code_free(p->codes[i]);
    pcre2_match_context_free(p->limits);
    free(p);
    *out = NULL;
}

base_status pretokenizer_open(const vocab *v, pretokenizer **out, base_error *error)
{
    pretokenizer *p = calloc(1, sizeof *p);
    base_status status = BASE_OK;
    if (p != NULL)
        p->limits = pcre2_match_context_create(NULL);
    if (p == NULL || p->limits == NULL)
        status = base_fail(error, BASE_ENOMEM, "no memory for the pre-tokenizer of '%s'", v->name);
    while (status == BASE_OK && p->n < v->n_patterns) {
        status = compile(v, p->n, &p->codes[p->n], error);
        p->n += status == BASE_OK;
    }
    if (status != BASE_OK) {
        pretokenizer_close(&p);
        return status;
    }
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(p->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(p->limits, HEAP_LIMIT_KIB);
    *out = p;
    return BASE_OK;
}

/* ---- cutting ---- */

typedef struct cutter {
    const pretokenizer *p;
    pcre2_match_data *matches[VOCAB_PATTERNS_MAX]; /* one per pattern: they nest */
    pretokenize_fn on_word;
    void *context;
    base_error *error;
} cutter;

/* The next non-empty match of pattern `depth` at or after `from`; false at the end, or on a failure left in *status.
 */
static bool next_match(const cutter *c, uint32_t depth, const char *text, size_t size, size_t from, size_t *begin,
                       size_t *end, base_status *status)
{
    pcre2_match_data *match = c->matches[depth];
    int code = pcre2_match(c->p->codes[depth], (PCRE2_SPTR)text, size, from, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match,
                           c->p->limits);
    if (code == PCRE2_ERROR_NOMATCH)
        return false;
    if (code == PCRE2_ERROR_NOMEMORY) {
        *status = base_fail(c->error, BASE_ENOMEM, "no memory to cut a text of %zu bytes into words", size);
        return false;
    }
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
    if (code < 0 || found[0] < from || found[1] <= found[0]) {
        *status = base_fail(c->error, BASE_EINVAL,
                            "the model's pre-tokenizer pattern exceeds its limits on a text of %zu bytes", size);
        return false;
    }
    *begin = found[0];
    *end = found[1];
    return true;
}

static base_status cut(const cutter *c, uint32_t depth, const char *text, size_t size)
{
    if (size == 0)
        return BASE_OK;
    if (depth == c->p->n)
        return c->on_word(c->context, text, size, c->error);
    base_status status = BASE_OK;
    size_t at = 0, begin = 0, end = 0;
    while (status == BASE_OK && next_match(c, depth, text, size, at, &begin, &end, &status)) {
        status = cut(c, depth + 1, text + at, begin - at);
        if (status == BASE_OK)
            status = cut(c, depth + 1, text + begin, end - begin);
        at = end;
    }
    return status == BASE_OK ? cut(c, depth + 1, text + at, size - at) : status;
}

base_status pretokenizer_cut(const pretokenizer *p, const char *text, size_t size, pretokenize_fn on_word,
                             void *context, base_error *error)
{
    cutter c = {.p = p, .on_word = on_word, .context = context, .error = error};
    base_status status = BASE_OK;
    for (uint32_t i = 0; i < p->n && status == BASE_OK; i++) {
        c.matches[i] = pcre2_match_data_create(1, NULL);
        if (c.matches[i] == NULL)
            status = base_fail(error, BASE_ENOMEM, "no memory to cut a text of %zu bytes into words", size);
    }
    if (status == BASE_OK)
        status = cut(&c, 0, text, size);
    for (uint32_t i = 0; i < p->n; i++)
        pcre2_match_data_free(c.matches[i]);
    return status;
}
