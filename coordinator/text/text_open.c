/* text_open.c - which file of a model holds its tokenizer, and what the files next to it add: BOS, EOS, the chat
 * template.
 *
 *     FILE.gguf        its tokenizer.ggml.* keys and tokenizer.chat_template
 *     DIRECTORY        tokenizer.model, else tokenizer.json, else vocabulary.gguf, else the only *.gguf;
 *                      with either of the first two: tokenizer_config.json (bos_token, eos_token, add_bos_token,
 *                      chat_template), then chat_template.jinja, whose text wins over the template of the config
 *
 * Every file is read whole under a bound, turned into a vocab (vocab_json.c, vocab_gguf.c) and handed to a backend
 * (spm.c, bpe.c), which copies what it keeps. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/text/bpe_int.h"
#include "coordinator/text/spm_int.h"
#include "sharding/json_read.h"
#include "sharding/model_file.h"

enum { TEMPLATE_BYTES_MAX = 1 << 20, PATH_BYTES = 4096 };

/* ---- one file ---- */

static base_status open_vocab(text_tokenizer *t, vocab *v, base_error *error)
{
    base_status status = v->model == VOCAB_SENTENCEPIECE ? spm_open_vocab(t, v, error) : bpe_open(t, v, error);
    vocab_release(v);
    return status;
}

static base_status keep_template(text_tokenizer *t, const char *text, size_t size, base_error *error)
{
    if (size > TEMPLATE_BYTES_MAX)
        return base_fail(error, BASE_ETOOBIG, "the chat template has %zu bytes; at most %d are read", size,
                         TEMPLATE_BYTES_MAX);
    base_buf_clear(&t->chat_template);
    base_buf_put(&t->chat_template, text, size);
    return t->chat_template.failed ? base_fail(error, BASE_ENOMEM, "no memory for a chat template of %zu bytes", size)
                                   : BASE_OK;
}

static base_status fill_from_gguf(text_tokenizer *t, const char *path, const gguf_file *file, base_error *error)
{
    vocab v;
    gguf_string template;
    base_status status = vocab_from_gguf(path, file, &v, error);
    if (status == BASE_OK)
        status = open_vocab(t, &v, error);
    if (status == BASE_OK && gguf_get_string(file, "tokenizer.chat_template", &template))
        status = keep_template(t, template.bytes, template.size, error);
    return status;
}

static base_status fill_from_json(text_tokenizer *t, const char *name, const void *bytes, size_t size,
                                  base_error *error)
{
    json_t *root = NULL;
    vocab v;
    base_status status = shard_json_parse(name, bytes, size, &root, error);
    if (status == BASE_OK)
        status = vocab_from_json(name, root, &v, error);
    if (status == BASE_OK)
        status = open_vocab(t, &v, error);
    json_decref(root);
    return status;
}

static base_status fill_from_bytes(text_tokenizer *t, text_file kind, const char *name, const void *bytes, size_t size,
                                   base_error *error)
{
    if (kind == TEXT_FILE_MODEL)
        return spm_open(t, name, bytes, size, error);
    if (kind == TEXT_FILE_JSON)
        return fill_from_json(t, name, bytes, size, error);
    gguf_file *file = NULL;
    base_status status = gguf_open_bytes(name, bytes, size, &file, error);
    if (status == BASE_OK)
        status = fill_from_gguf(t, name, file, error);
    gguf_close(&file);
    return status;
}

static base_status open_gguf(text_tokenizer *t, const char *path, base_error *error)
{
    gguf_file *file = NULL;
    base_status status = gguf_open(path, &file, error);
    if (status != BASE_OK)
        return status;
    status = fill_from_gguf(t, path, file, error);
    gguf_close(&file);
    return status;
}

/* ---- tokenizer_config.json and chat_template.jinja ---- */

/* A token's spelling: a text, or an object with one as "content"; NULL when there is none. */
static const char *spelling_of(const json_t *config, const char *field)
{
    const json_t *value = json_object_get(config, field);
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

/* The template itself, or of several the one that is called "default". */
static const json_t *template_of(const json_t *config)
{
    const json_t *value = json_object_get(config, "chat_template"), *entry, *found = NULL;
    size_t i;
    json_array_foreach(value, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name != NULL && strcmp(name, "default") == 0)
            found = json_object_get(entry, "template");
    }
    return json_is_array(value) ? found : value;
}

static base_status apply_config(text_tokenizer *t, const json_t *config, bool is_spm, base_error *error)
{
    const char *bos = spelling_of(config, "bos_token"), *eos = spelling_of(config, "eos_token");
    if (t->bos_id < 0 && bos != NULL)
        t->bos_id = text_find_id(t, bos);
    if (eos != NULL && (t->eos_id < 0 || !is_spm))
        t->eos_id = text_find_id(t, eos);
    const json_t *adds = json_object_get(config, "add_bos_token");
    if (json_is_boolean(adds) && (is_spm || json_is_true(adds)))
        t->start_id = json_is_true(adds) ? t->bos_id : -1;
    const json_t *template = template_of(config);
    return json_is_string(template) ? keep_template(t, json_string_value(template), json_string_length(template), error)
                                    : BASE_OK;
}

/* Read an optional file: BASE_OK and an empty buffer when it is not there. */
static base_status read_optional(const char *dir, const char *name, base_buf *out, base_error *error)
{
    base_error missing;
    base_status status = shard_file_read(dir, name, out, &missing);
    if (status == BASE_ENOTFOUND)
        return BASE_OK;
    if (status != BASE_OK && error != NULL)
        *error = missing;
    return status;
}

static base_status read_config(text_tokenizer *t, const char *dir, bool is_spm, base_error *error)
{
    base_buf bytes = {0};
    json_t *config = NULL;
    base_status status = read_optional(dir, "tokenizer_config.json", &bytes, error);
    if (status == BASE_OK && bytes.size > 0)
        status = shard_json_parse("tokenizer_config.json", bytes.data, bytes.size, &config, error);
    if (status == BASE_OK && config != NULL)
        status = apply_config(t, config, is_spm, error);
    json_decref(config);
    base_buf_clear(&bytes);
    if (status == BASE_OK)
        status = read_optional(dir, "chat_template.jinja", &bytes, error);
    if (status == BASE_OK && bytes.size > 0)
        status = keep_template(t, (const char *)bytes.data, bytes.size, error);
    base_buf_release(&bytes);
    return status;
}

/* ---- a directory ---- */

/* DIR/`name`, if there is such a file (*found), and the files next to it. */
static base_status try_file(text_tokenizer *t, const char *dir, const char *name, bool is_spm, bool *found,
                            base_error *error)
{
    char path[PATH_BYTES];
    base_buf bytes = {0};
    base_error missing;
    base_status status = shard_file_read(dir, name, &bytes, &missing);
    *found = status != BASE_ENOTFOUND;
    if (status != BASE_OK) {
        if (*found && error != NULL)
            *error = missing;
        return *found ? status : BASE_OK;
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    status = fill_from_bytes(t, is_spm ? TEXT_FILE_MODEL : TEXT_FILE_JSON, path, bytes.data, bytes.size, error);
    base_buf_release(&bytes);
    return status == BASE_OK ? read_config(t, dir, is_spm, error) : status;
}

static base_status open_only_gguf(text_tokenizer *t, const char *dir, base_error *error)
{
    char path[PATH_BYTES];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/vocabulary.gguf", dir);
    bool has_vocabulary = n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0;
    n = has_vocabulary ? 1 : shard_find_gguf(dir, false, path, sizeof path);
    if (n > 1)
        return base_fail(error, BASE_EINVAL, "'%s' holds %d .gguf files; name one of them", dir, n);
    if (n < 1)
        return base_fail(error, BASE_ENOTFOUND,
                         "'%s' has no tokenizer: neither tokenizer.model nor tokenizer.json, vocabulary.gguf or "
                         "another .gguf file is there",
                         dir);
    return open_gguf(t, path, error);
}

static bool has_file(const char *dir, const char *name)
{
    char path[PATH_BYTES];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0;
}

static base_status fill(text_tokenizer *t, const char *path, base_error *error)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        return open_gguf(t, path, error);
    bool found = false, skips_model = !spm_is_available() && has_file(path, "tokenizer.json");
    base_status status = skips_model ? BASE_OK : try_file(t, path, "tokenizer.model", true, &found, error);
    if (status == BASE_OK && !found)
        status = try_file(t, path, "tokenizer.json", false, &found, error);
    return status == BASE_OK && !found ? open_only_gguf(t, path, error) : status;
}

static text_tokenizer *create_empty(void)
{
    text_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer != NULL)
        tokenizer->bos_id = tokenizer->eos_id = tokenizer->start_id = -1;
    return tokenizer;
}

/* Return the filled tokenizer, or close it on failure. */
static base_status finish(text_tokenizer *tokenizer, base_status status, text_tokenizer **out)
{
    if (status == BASE_OK)
        *out = tokenizer;
    else
        text_tokenizer_close(&tokenizer);
    return status;
}

base_status text_tokenizer_open(const char *path, text_tokenizer **out, base_error *error)
{
    text_tokenizer *tokenizer = create_empty();
    if (tokenizer == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to open the tokenizer of '%s'", path);
    return finish(tokenizer, fill(tokenizer, path, error), out);
}

base_status text_open_bytes(text_file kind, const char *name, const void *bytes, size_t size, text_tokenizer **out,
                            base_error *error)
{
    text_tokenizer *tokenizer = create_empty();
    if (tokenizer == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to open '%s'", name);
    return finish(tokenizer, fill_from_bytes(tokenizer, kind, name, bytes, size, error), out);
}
