/* vocab_json.c - tokenizer.json of Hugging Face's tokenizers: the parts that byte-level BPE and BPE with byte fallback
 * use.
 *
 *     {"model": {"type": "BPE", "vocab": {"tok": id}, "merges": ["a b"] or [["a", "b"]], "ignore_merges",
 *                "byte_fallback", ...},
 *      "added_tokens": [{"id", "content", "special", ...}],
 *      "normalizer": ..., "pre_tokenizer": ..., "post_processor": ...}
 *
 * Whatever is not known is refused by name: a tokenizer that is almost right degrades a model without any error. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/pretokenize_int.h"
#include "coordinator/text/tokenizer_int.h"
#include "coordinator/text/vocab_int.h"

enum { NESTING_MAX = 4 };

static base_status unsupported(const vocab *v, const char *what, const char *type, base_error *error)
{
    return base_fail(error, BASE_EUNSUPPORTED,
                     "'%s' has a %s of kind '%.40s', which is not known here; put the model's tokenizer.model next "
                     "to it if there is one",
                     v->name, what, type != NULL ? type : "?");
}

static const char *text_of(const json_t *object, const char *field)
{
    const char *text = json_string_value(json_object_get(object, field));
    return text != NULL ? text : "";
}

static bool is_type(const json_t *object, const char *type)
{
    return strcmp(text_of(object, "type"), type) == 0;
}

static vocab_string string_of(const json_t *value)
{
    return (vocab_string){json_string_value(value), json_string_length(value)};
}

/* ---- tokens and merges ---- */

/* *n: one more than the largest id.  Checks the ids. */
static base_status count_tokens(const vocab *v, const json_t *tokens, const json_t *added, uint64_t *n,
                                base_error *error)
{
    const char *text;
    json_t *value;
    size_t i;
    json_int_t most = -1;
    json_object_foreach((json_t *)(uintptr_t)tokens, text, value)
    {
        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) >= TEXT_VOCAB_MAX)
            return base_fail(error, BASE_EFORMAT, "'%s': a token's id is not a whole number below %u", v->name,
                             TEXT_VOCAB_MAX);
        most = json_integer_value(value) > most ? json_integer_value(value) : most;
    }
    json_array_foreach(added, i, value)
    {
        const json_t *id = json_object_get(value, "id");
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= TEXT_VOCAB_MAX ||
            !json_is_string(json_object_get(value, "content")))
            return base_fail(error, BASE_EFORMAT, "'%s': added_tokens[%zu] has no id below %u, or no content", v->name,
                             i, TEXT_VOCAB_MAX);
        most = json_integer_value(id) > most ? json_integer_value(id) : most;
    }
    *n = (uint64_t)(most + 1);
    return BASE_OK;
}

static base_status put_token(vocab *v, uint32_t id, vocab_string text, vocab_kind kind, base_error *error)
{
    vocab_token *token = &v->tokens[id];
    bool is_other =
        token->text.size > 0 && (token->text.size != text.size || memcmp(token->text.text, text.text, text.size) != 0);
    if (is_other)
        return base_fail(error, BASE_EFORMAT, "'%s': two tokens have the id %u", v->name, id);
    *token = (vocab_token){.text = text, .kind = kind};
    return BASE_OK;
}

static base_status put_added(vocab *v, const json_t *added, base_error *error)
{
    size_t i;
    const json_t *entry;
    base_status status = BASE_OK;
    json_array_foreach(added, i, entry)
    {
        if (json_is_true(json_object_get(entry, "single_word")) || json_is_true(json_object_get(entry, "lstrip")) ||
            json_is_true(json_object_get(entry, "rstrip")))
            status = base_fail(error, BASE_EUNSUPPORTED,
                               "'%s': added_tokens[%zu] has single_word, lstrip or rstrip; none of them is supported",
                               v->name, i);
        if (status == BASE_OK)
            status =
                put_token(v, (uint32_t)json_integer_value(json_object_get(entry, "id")),
                          string_of(json_object_get(entry, "content")),
                          json_is_true(json_object_get(entry, "special")) ? VOCAB_CONTROL : VOCAB_USER_DEFINED, error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

static base_status put_tokens(vocab *v, const json_t *tokens, const json_t *added, bool has_bytes, base_error *error)
{
    const char *text;
    size_t size;
    json_t *value;
    base_status status = BASE_OK;
    json_object_keylen_foreach((json_t *)(uintptr_t)tokens, text, size, value)
    {
        bool is_byte = has_bytes && text_byte_value(text, size) >= 0;
        status = put_token(v, (uint32_t)json_integer_value(value), (vocab_string){text, size},
                           is_byte ? VOCAB_BYTE : VOCAB_NORMAL, error);
        if (status != BASE_OK)
            return status;
    }
    return put_added(v, added, error);
}

/* "left right", or ["left", "right"]. */
static bool read_merge(const json_t *value, vocab_merge *out)
{
    if (json_array_size(value) == 2 && json_is_string(json_array_get(value, 0)) &&
        json_is_string(json_array_get(value, 1))) {
        *out = (vocab_merge){string_of(json_array_get(value, 0)), string_of(json_array_get(value, 1))};
        return out->left.size > 0 && out->right.size > 0;
    }
    vocab_string text = string_of(value);
    const char *blank = json_is_string(value) ? memchr(text.text, ' ', text.size) : NULL;
    if (blank == NULL || blank == text.text || blank + 1 == text.text + text.size)
        return false;
    size_t left = (size_t)(blank - text.text);
    *out = (vocab_merge){{text.text, left}, {blank + 1, text.size - left - 1}};
    return true;
}

static base_status put_merges(vocab *v, const json_t *merges, base_error *error)
{
    for (uint32_t i = 0; i < v->n_merges; i++)
        if (!read_merge(json_array_get(merges, i), &v->merges[i]))
            return base_fail(error, BASE_EFORMAT, "'%s': merge %u is not two tokens", v->name, i);
    return BASE_OK;
}

static bool is_empty_or_missing(const json_t *model, const char *field)
{
    const json_t *value = json_object_get(model, field);
    return value == NULL || json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0);
}

static base_status read_model(vocab *v, const json_t *root, base_error *error)
{
    const json_t *model = json_object_get(root, "model"), *tokens = json_object_get(model, "vocab"),
                 *merges = json_object_get(model, "merges"), *added = json_object_get(root, "added_tokens");
    if (json_object_get(model, "type") != NULL && !is_type(model, "BPE"))
        return unsupported(v, "model", text_of(model, "type"), error);
    if (!json_is_object(tokens) || !json_is_array(merges))
        return base_fail(error, BASE_EFORMAT, "'%s' has no model.vocab or no model.merges", v->name);
    const json_t *dropout = json_object_get(model, "dropout");
    if (!is_empty_or_missing(model, "continuing_subword_prefix") || !is_empty_or_missing(model, "end_of_word_suffix") ||
        (json_is_number(dropout) && json_number_value(dropout) > 0.0))
        return unsupported(v, "model", "BPE with affixes or dropout", error);
    uint64_t n = 0;
    base_status status = count_tokens(v, tokens, added, &n, error);
    if (status == BASE_OK)
        status = vocab_reserve(v, n, json_array_size(merges), error);
    if (status == BASE_OK)
        status = put_tokens(v, tokens, added, json_is_true(json_object_get(model, "byte_fallback")), error);
    if (status == BASE_OK)
        status = put_merges(v, merges, error);
    if (status != BASE_OK)
        return status;
    const char *unknown = text_of(model, "unk_token");
    v->unknown_id = vocab_find(v, unknown, strlen(unknown));
    v->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    v->fuse_unknown = json_is_true(json_object_get(model, "fuse_unk"));
    return BASE_OK;
}

/* ---- normaliser, pre-tokenizer: a tree of "Sequence" and single steps ---- */

typedef base_status (*step_fn)(vocab *v, const json_t *step, base_error *error);

static base_status walk(vocab *v, const json_t *node, const char *list, int depth, step_fn on_step, base_error *error)
{
    if (node == NULL || json_is_null(node))
        return BASE_OK;
    if (!is_type(node, "Sequence") || depth == NESTING_MAX)
        return on_step(v, node, error);
    base_status status = BASE_OK;
    size_t i;
    const json_t *child;
    json_array_foreach(json_object_get(node, list), i, child)
    {
        status = walk(v, child, list, depth + 1, on_step, error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

static base_status add_pattern(vocab *v, vocab_string pattern, base_error *error)
{
    if (v->n_patterns == VOCAB_PATTERNS_MAX)
        return base_fail(error, BASE_ETOOBIG, "'%s' has more than %u pre-tokenizer patterns", v->name,
                         VOCAB_PATTERNS_MAX);
    v->patterns[v->n_patterns++] = pattern;
    return BASE_OK;
}

static base_status add_literal(vocab *v, const char *pattern, base_error *error)
{
    return add_pattern(v, (vocab_string){pattern, strlen(pattern)}, error);
}

static base_status add_split(vocab *v, const json_t *step, base_error *error)
{
    const json_t *pattern = json_object_get(step, "pattern"), *regex = json_object_get(pattern, "Regex");
    if (json_is_string(regex) && strcmp(text_of(step, "behavior"), "Isolated") == 0 &&
        !json_is_true(json_object_get(step, "invert")))
        return add_pattern(v, string_of(regex), error);
    /* Gemma's: there is nothing to split, since every space is U+2581 by now */
    if (v->model == VOCAB_CHARACTER_BPE && strcmp(text_of(pattern, "String"), " ") == 0)
        return BASE_OK;
    return unsupported(v, "pre-tokenizer", "Split with this pattern and behaviour", error);
}

static base_status add_words(vocab *v, const json_t *step, base_error *error)
{
    if (is_type(step, "Split"))
        return add_split(v, step, error);
    if (is_type(step, "Digits"))
        return add_literal(v, json_is_true(json_object_get(step, "individual_digits")) ? "\\p{N}" : "\\p{N}+", error);
    if (is_type(step, "ByteLevel") && !json_is_true(json_object_get(step, "add_prefix_space")))
        return json_is_false(json_object_get(step, "use_regex")) ? BASE_OK : add_literal(v, pretokenize_gpt2, error);
    bool is_whole = v->model == VOCAB_CHARACTER_BPE && is_type(step, "Metaspace") &&
                    json_is_false(json_object_get(step, "split")) &&
                    strcmp(text_of(step, "replacement"), TEXT_METASPACE) == 0;
    if (!is_whole)
        return unsupported(v, "pre-tokenizer",
                           is_type(step, "ByteLevel") ? "ByteLevel with add_prefix_space" : text_of(step, "type"),
                           error);
    if (strcmp(text_of(step, "prepend_scheme"), "never") != 0)
        v->prefix = VOCAB_PREFIX_UNLESS_SPACE;
    return BASE_OK;
}

static base_status add_normalizer(vocab *v, const json_t *step, base_error *error)
{
    bool is_blanks = v->model == VOCAB_CHARACTER_BPE && is_type(step, "Replace") &&
                     strcmp(text_of(step, "content"), TEXT_METASPACE) == 0 &&
                     strcmp(text_of(json_object_get(step, "pattern"), "String"), " ") == 0;
    if (is_blanks)
        return BASE_OK;
    if (v->model == VOCAB_CHARACTER_BPE && is_type(step, "Prepend") &&
        strcmp(text_of(step, "prepend"), TEXT_METASPACE) == 0)
        v->prefix = VOCAB_PREFIX_SPACE;
    else if (v->model == VOCAB_BYTE_BPE && is_type(step, "NFC"))
        v->nfc = true;
    else
        return unsupported(v, "normaliser", text_of(step, "type"), error);
    return BASE_OK;
}

/* Does the tree have a step of this type? */
static bool has_step(const json_t *node, const char *list, const char *type, int depth)
{
    size_t i;
    const json_t *child;
    if (is_type(node, type))
        return true;
    json_array_foreach(json_object_get(node, list), i,
                       child) if (depth < NESTING_MAX && has_step(child, list, type, depth + 1)) return true;
    return false;
}

/* ---- the post-processor: the token in front of a text ---- */

static base_status read_template(vocab *v, const json_t *step, base_error *error)
{
    (void)error; /* ByteLevel and others here change offsets only */
    const json_t *first = json_object_get(json_array_get(json_object_get(step, "single"), 0), "SpecialToken");
    const char *id = text_of(first, "id");
    if (is_type(step, "TemplateProcessing") && id[0] != '\0')
        v->start_id = v->bos_id = vocab_find(v, id, strlen(id));
    return BASE_OK;
}

static base_status read_all(vocab *v, const json_t *root, base_error *error)
{
    const json_t *words = json_object_get(root, "pre_tokenizer"), *model = json_object_get(root, "model");
    if (has_step(words, "pretokenizers", "ByteLevel", 0))
        v->model = VOCAB_BYTE_BPE;
    else if (json_is_true(json_object_get(model, "byte_fallback")))
        v->model = VOCAB_CHARACTER_BPE;
    else
        return unsupported(v, "model", "neither byte-level BPE nor BPE with byte_fallback", error);
    base_status status = read_model(v, root, error);
    if (status == BASE_OK)
        status = walk(v, json_object_get(root, "normalizer"), "normalizers", 0, add_normalizer, error);
    if (status == BASE_OK)
        status = walk(v, words, "pretokenizers", 0, add_words, error);
    return status == BASE_OK ? walk(v, json_object_get(root, "post_processor"), "processors", 0, read_template, error)
                             : status;
}

base_status vocab_from_json(const char *name, const json_t *root, vocab *out, base_error *error)
{
    vocab v = {.name = name, .bos_id = -1, .eos_id = -1, .unknown_id = -1, .start_id = -1};
    base_status status = read_all(&v, root, error);
    if (status == BASE_OK)
        *out = v;
    else
        vocab_release(&v);
    return status;
}
