/* vocab_gguf.c - the tokenizer.ggml.* keys of a GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
 */
#include <string.h>

#include "coordinator/text/pretokenize_int.h"
#include "coordinator/text/vocab_int.h"
#include "proto/base/utf8.h"

#define KEY(name) "tokenizer.ggml." name

/* The id under `key`, `fallback` when there is none; -1 when it is no token. */
static int32_t read_id(const vocab *v, const gguf_file *file, const char *key, int32_t fallback)
{
    uint64_t id;
    if (!gguf_get_u64(file, key, &id))
        return fallback >= 0 && (uint32_t)fallback < v->n ? fallback : -1;
    return id < v->n ? (int32_t)id : -1;
}

static base_status read_token(const gguf_file *file, uint32_t id, vocab *v, base_error *error)
{
    gguf_string text;
    int64_t kind = VOCAB_NORMAL;
    double score = 0.0;
    bool has_text = gguf_array_string(file, KEY("tokens"), id, &text);
    gguf_array_i64(file, KEY("token_type"), id, &kind);
    gguf_array_f64(file, KEY("scores"), id, &score);
    if (!has_text || !base_utf8_is_valid(text.bytes, text.size))
        return base_fail(error, BASE_EFORMAT, "'%s': token %u is not text", v->name, id);
    if (kind < VOCAB_NORMAL || kind > VOCAB_BYTE)
        return base_fail(error, BASE_EFORMAT, "'%s': token %u is of kind %lld; 1 to %d are known", v->name, id,
                         (long long)kind, VOCAB_BYTE);
    v->tokens[id] = (vocab_token){.text = {text.bytes, text.size}, .score = (float)score, .kind = (vocab_kind)kind};
    return BASE_OK;
}

/* "left right": the first space that is not the first character separates them. */
static base_status read_merge(const gguf_file *file, uint32_t i, vocab *v, base_error *error)
{
    gguf_string text;
    const char *blank = NULL;
    if (gguf_array_string(file, KEY("merges"), i, &text) && text.size > 1 && base_utf8_is_valid(text.bytes, text.size))
        blank = memchr(text.bytes + 1, ' ', text.size - 1);
    if (blank == NULL || blank + 1 == text.bytes + text.size)
        return base_fail(error, BASE_EFORMAT, "'%s': merge %u is not two tokens with a blank between them", v->name, i);
    size_t left = (size_t)(blank - text.bytes);
    v->merges[i] = (vocab_merge){{text.bytes, left}, {blank + 1, text.size - left - 1}};
    return BASE_OK;
}

static base_status read_lists(const gguf_file *file, vocab *v, base_error *error)
{
    size_t n = gguf_array_size(file, KEY("tokens")),
           m = v->model == VOCAB_BYTE_BPE ? gguf_array_size(file, KEY("merges")) : 0;
    base_status status = vocab_reserve(v, n, m, error);
    for (uint32_t id = 0; id < v->n && status == BASE_OK; id++)
        status = read_token(file, id, v, error);
    for (uint32_t i = 0; i < v->n_merges && status == BASE_OK; i++)
        status = read_merge(file, i, v, error);
    return status;
}

static base_status read_words(const gguf_file *file, vocab *v, base_error *error)
{
    gguf_string name;
    if (!gguf_get_string(file, KEY("pre"), &name))
        name = (gguf_string){"default", 7};
    v->bos_id = read_id(v, file, KEY("bos_token_id"), -1);
    v->eos_id = read_id(v, file, KEY("eos_token_id"), -1);
    v->unknown_id = -1; /* there is a token for every byte */
    return pretokenize_by_name(name.bytes, name.size, v, error);
}

/* Where the file names no ids, those of Llama's first tokenizer hold (llama.cpp does the same). */
static base_status read_sentencepiece(const gguf_file *file, vocab *v)
{
    bool has_prefix = true;
    gguf_get_bool(file, KEY("add_space_prefix"), &has_prefix);
    v->prefix = has_prefix ? VOCAB_PREFIX_SPACE : VOCAB_PREFIX_NONE;
    v->unknown_id = read_id(v, file, KEY("unknown_token_id"), 0);
    v->bos_id = read_id(v, file, KEY("bos_token_id"), 1);
    v->eos_id = read_id(v, file, KEY("eos_token_id"), 2);
    v->start_id = v->bos_id;
    return BASE_OK;
}

static base_status read_model(const gguf_file *file, vocab *v, base_error *error)
{
    gguf_string model;
    if (!gguf_get_string(file, KEY("model"), &model))
        return base_fail(error, BASE_ENOTFOUND, "'%s' has no vocabulary (no key tokenizer.ggml.model)", v->name);
    bool is_bytes = model.size == 4 && memcmp(model.bytes, "gpt2", 4) == 0;
    if (!is_bytes && (model.size != 5 || memcmp(model.bytes, "llama", 5) != 0))
        return base_fail(error, BASE_EUNSUPPORTED, "'%s' has a tokenizer of kind '%.*s'; known are llama and gpt2",
                         v->name, (int)(model.size < 32 ? model.size : 32), model.bytes);
    v->model = is_bytes ? VOCAB_BYTE_BPE : VOCAB_SENTENCEPIECE;
    base_status status = read_lists(file, v, error);
    if (status == BASE_OK)
        status = is_bytes ? read_words(file, v, error) : read_sentencepiece(file, v);
    bool adds_bos;
    if (status == BASE_OK && gguf_get_bool(file, KEY("add_bos_token"), &adds_bos))
        v->start_id = adds_bos ? v->bos_id : -1;
    return status;
}

base_status vocab_from_gguf(const char *name, const gguf_file *file, vocab *out, base_error *error)
{
    vocab v = {.name = name, .bos_id = -1, .eos_id = -1, .unknown_id = -1, .start_id = -1};
    base_status status = read_model(file, &v, error);
    if (status == BASE_OK)
        *out = v;
    else
        vocab_release(&v);
    return status;
}
