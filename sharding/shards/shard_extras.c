#include "sharding/shards/shard_extras.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sharding/arch_json.h"
#include "sharding/model_file.h"
#include "sharding/shards/shard_output.h"
#include "sharding/source_entries.h"

/* --- files beside the weights --- */

static const char *const texts[] = {"exemplars.json", "MODEL_CARD.md", "LICENSE",
                                    "LICENSE.txt",    "LICENSE.md",    "NOTICE"};
static const char *const tokenizers[] = {
    "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json",      "merges.txt",     "chat_template.jinja",   "chat_template.json"};

#define N_TEXTS      (sizeof texts / sizeof texts[0])
#define N_TOKENIZERS (sizeof tokenizers / sizeof tokenizers[0])

static base_status put_extra(const char *dir, const char *name, const base_buf *text, shard_manifest *manifest,
                             base_error *error)
{
    if (text->failed)
        return base_fail(error, BASE_ENOMEM, "no memory for '%s'", name);
    shard_extra *extra = &manifest->extras[manifest->n_extras++];
    snprintf(extra->name, sizeof extra->name, "%s", name);
    extra->bytes = text->size;
    shard_sum_of(text->data, text->size, extra->sum);
    return shard_output_put(dir, name, text->data, text->size, error);
}

static base_status copy_files(const char *from, const char *const *names, size_t n, const char *dir,
                              shard_manifest *manifest, base_error *error)
{
    for (size_t i = 0; i < n; i++) {
        base_buf text = {0};
        base_status status = shard_file_read(from, names[i], &text, error);
        if (status == BASE_OK)
            status = put_extra(dir, names[i], &text, manifest, error);
        base_buf_release(&text);
        if (status != BASE_OK && status != BASE_ENOTFOUND)
            return status;
    }
    return BASE_OK;
}

static base_status put_vocabulary(const gguf_file *gguf, const char *dir, shard_manifest *manifest, base_error *error)
{
    base_buf text = {0};
    gguf_put_vocabulary(gguf, &text);
    base_status status = put_extra(dir, SHARD_VOCABULARY, &text, manifest, error);
    base_buf_release(&text);
    return status;
}

/* The directory of a file. */
static void parent_of(const char *path, char out[4096])
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        snprintf(out, 4096, ".");
    else
        snprintf(out, 4096, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

base_status shard_extras_copy(const shard_checkpoint *from, const char *dir, shard_manifest *manifest,
                              base_error *error)
{
    free(manifest->extras);
    manifest->n_extras = 0;
    manifest->extras = calloc(N_TEXTS + N_TOKENIZERS + 1, sizeof *manifest->extras);
    if (manifest->extras == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a list of files");
    if (from->format == CHECKPOINT_SYNTHETIC)
        return BASE_OK;
    char beside[4096];
    if (from->format == CHECKPOINT_GGUF)
        parent_of(from->path, beside);
    else
        snprintf(beside, sizeof beside, "%s", from->path);
    base_status status = copy_files(beside, texts, N_TEXTS, dir, manifest, error);
    if (status == BASE_OK && from->gguf != NULL)
        status = put_vocabulary(from->gguf, dir, manifest, error);
    else if (status == BASE_OK)
        status = copy_files(beside, tokenizers, N_TOKENIZERS, dir, manifest, error);
    return status;
}

/* --- a name for the set --- */

static void put_text(base_buf *out, const char *text)
{
    base_buf_put(out, text, strlen(text) + 1);
}

static void put_stat(base_buf *out, const char *name, const struct stat *st)
{
    put_text(out, name);
    base_buf_put_u64(out, (uint64_t)st->st_size);
    base_buf_put_u64(out, (uint64_t)st->st_mtim.tv_sec);
    base_buf_put_u64(out, (uint64_t)st->st_mtim.tv_nsec);
}

static int is_weights(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && strcmp(dot, ".safetensors") == 0;
}

static base_status put_directory(base_buf *out, const char *dir, base_error *error)
{
    struct dirent **names = NULL;
    int n = scandir(dir, &names, is_weights, alphasort);
    if (n < 0)
        return base_fail(error, BASE_EIO, "cannot list '%s': %s", dir, strerror(errno));
    for (int i = 0; i < n; i++) {
        char path[4096 + 256];
        struct stat st;
        snprintf(path, sizeof path, "%.4095s/%.255s", dir, names[i]->d_name);
        if (stat(path, &st) == 0)
            put_stat(out, names[i]->d_name, &st);
        free(names[i]);
    }
    free(names);
    return BASE_OK;
}

static base_status put_files(base_buf *out, const shard_checkpoint *from, base_error *error)
{
    struct stat st;
    switch (from->format) {
    case CHECKPOINT_SAFETENSORS:
        return put_directory(out, from->path, error);
    case CHECKPOINT_GGUF:
        if (stat(from->path, &st) != 0)
            return base_fail(error, BASE_EIO, "cannot inspect '%s': %s", from->path, strerror(errno));
        put_stat(out, "gguf", &st);
        return BASE_OK;
    default:
        put_text(out, from->path);
        return BASE_OK;
    }
}

static void put_tensors(base_buf *out, const shard_source *source)
{
    size_t n;
    const source_entry *entries = shard_source_entries(source, &n);
    for (size_t i = 0; i < n; i++) {
        const shard_tensor *tensor = &entries[i].parsed.tensor;
        put_text(out, entries[i].parsed.name);
        put_text(out, entries[i].parsed.dtype);
        for (int k = 0; k < tensor->n_dims; k++)
            base_buf_put_u64(out, tensor->shape[k]);
    }
}

base_status shard_set_name(const shard_checkpoint *from, shard_manifest *manifest, base_error *error)
{
    base_buf all = {0};
    json_t *object = arch_to_json(&manifest->a);
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(object);
    put_text(&all, SHARD_FORMAT);
    put_text(&all, manifest->made_by);
    put_text(&all, text != NULL ? text : "");
    put_text(&all, manifest->recipe);
    put_text(&all, manifest->importance);
    base_buf_put_u32(&all, manifest->tp);
    base_buf_put_u32(&all, manifest->pp);
    put_tensors(&all, from->source);
    base_status status = put_files(&all, from, error);
    if (status == BASE_OK && (all.failed || text == NULL))
        status = base_fail(error, BASE_ENOMEM, "no memory to name the shards");
    if (status == BASE_OK)
        shard_sum_of(all.data, all.size, manifest->set);
    free(text);
    base_buf_release(&all);
    return status;
}
