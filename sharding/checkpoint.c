/* checkpoint.c - from a path to an architecture and its tensors, whatever the format. */
#include "sharding/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sharding/families.h"
#include "sharding/formats/synthetic.h"
#include "sharding/model_file.h"
#include "sharding/shards/shard_set.h"
#include "sharding/source_entries.h"

/* --- what is it? --- */

static bool join_path(const char *dir, const char *name, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/%s", dir, name);
    return n >= 0 && (size_t)n < size;
}

static bool has_file(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;
    return join_path(dir, name, path, sizeof path) && stat(path, &st) == 0;
}

/* The format of the directory c->path; a GGUF file in it takes the path's place. */
static base_status look_inside(shard_checkpoint *c, base_error *error)
{
    char path[sizeof c->path];
    if (has_file(c->path, "palmgrove.json")) {
        c->format = CHECKPOINT_SHARDS;
        return BASE_OK;
    }
    if (has_file(c->path, "config.json")) {
        c->format = CHECKPOINT_SAFETENSORS;
        return BASE_OK;
    }
    int n = shard_find_gguf(c->path, false, path, sizeof path);
    if (n < 0)
        return base_fail(error, BASE_EIO, "cannot list '%s': %s", c->path, strerror(errno));
    if (n > 1)
        return base_fail(error, BASE_EINVAL, "'%s' holds %d .gguf files; name one of them", c->path, n);
    if (n == 0)
        return base_fail(error, BASE_ENOTFOUND,
                         "'%s' is not a model: it holds neither palmgrove.json (shards) nor config.json (safetensors) "
                         "nor a .gguf file",
                         c->path);
    n = c->mmproj[0] == '\0' ? shard_find_gguf(c->path, true, c->mmproj, sizeof c->mmproj) : 0;
    if (n > 1)
        return base_fail(error, BASE_EINVAL, "'%s' holds %d mmproj files; name one of them with --mmproj", c->path, n);
    memcpy(c->path, path, sizeof path);
    c->format = CHECKPOINT_GGUF;
    return BASE_OK;
}

static base_status find_format(shard_checkpoint *c, base_error *error)
{
    struct stat st;
    if (strncmp(c->path, SYNTHETIC_PREFIX, strlen(SYNTHETIC_PREFIX)) == 0) {
        c->format = CHECKPOINT_SYNTHETIC;
        return BASE_OK;
    }
    if (stat(c->path, &st) != 0)
        return base_fail(error, errno == ENOENT || errno == ENOTDIR ? BASE_ENOTFOUND : BASE_EIO, "no model '%s': %s",
                         c->path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return look_inside(c, error);
    c->format = CHECKPOINT_GGUF;
    return BASE_OK;
}

#define MMPROJ ",mmproj="

void shard_checkpoint_path(const char *model, char *out, size_t size)
{
    const char *at = strstr(model, MMPROJ);
    snprintf(out, size, "%.*s", (int)(at != NULL ? (size_t)(at - model) : strlen(model)), model);
}

const char *shard_checkpoint_join(const char *model, const char *mmproj, char out[SHARD_MODEL_NAME_BYTES])
{
    if (mmproj == NULL)
        return model;
    snprintf(out, SHARD_MODEL_NAME_BYTES, "%s" MMPROJ "%s", model, mmproj);
    return out;
}

/* --- opening --- */

/* The tower's file beside the decoder's. */
static base_status open_mmproj(shard_checkpoint *c, base_error *error)
{
    shard_source *tower = NULL;
    base_status status = gguf_open(c->mmproj, &c->mmproj_gguf, error);
    if (status == BASE_OK)
        status = shard_source_from_gguf(c->mmproj_gguf, &tower, error);
    if (status == BASE_OK)
        status = shard_source_add(c->source, &tower, "", error);
    return status != BASE_OK ? status : arch_load_mmproj(c->mmproj_gguf, c->mmproj, c->source, &c->a, error);
}

static base_status open_gguf(shard_checkpoint *c, base_error *error)
{
    base_status status = gguf_open(c->path, &c->gguf, error);
    if (status == BASE_OK)
        status = shard_source_from_gguf(c->gguf, &c->source, error);
    if (status == BASE_OK)
        status = arch_load_gguf(c->gguf, c->path, c->source, &c->a, error);
    return status == BASE_OK && c->mmproj[0] != '\0' ? open_mmproj(c, error) : status;
}

static base_status open_safetensors(shard_checkpoint *c, base_error *error)
{
    char tower[4096];
    shard_source *added = NULL;
    base_status status = shard_source_open(c->path, &c->source, error);
    if (status == BASE_OK)
        status = arch_tower_dir(c->path, tower, sizeof tower, error);
    if (status == BASE_OK && tower[0] != '\0')
        status = shard_source_open(tower, &added, error);
    if (status == BASE_OK && added != NULL)
        status = shard_source_add(c->source, &added, FAMILY_TOWER_PREFIX, error);
    return status != BASE_OK ? status : arch_load_with(c->path, c->source, &c->a, error);
}

static base_status open_shards(shard_checkpoint *c, base_error *error)
{
    base_status status = shard_set_open(c->path, &c->shards, error);
    if (status == BASE_OK)
        c->a = *shard_set_arch(c->shards);
    return status;
}

static base_status open_any(shard_checkpoint *c, base_error *error)
{
    switch (c->format) {
    case CHECKPOINT_SAFETENSORS:
        return open_safetensors(c, error);
    case CHECKPOINT_GGUF:
        return open_gguf(c, error);
    case CHECKPOINT_SHARDS:
        return open_shards(c, error);
    case CHECKPOINT_SYNTHETIC:
        return synthetic_open(c->path, &c->a, &c->source, error);
    }
    return BASE_EINTERNAL;
}

/* A checkpoint whose format is known and nothing else. */
static base_status checkpoint_create(const char *path, shard_checkpoint **out, base_error *error)
{
    shard_checkpoint *c = calloc(1, sizeof *c);
    if (c == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to open '%s'", path);
    const char *mmproj = strstr(path, MMPROJ);
    shard_checkpoint_path(path, c->path, sizeof c->path);
    if (mmproj != NULL)
        snprintf(c->mmproj, sizeof c->mmproj, "%s", mmproj + strlen(MMPROJ));
    base_status status = strlen(path) < sizeof c->path
                             ? find_format(c, error)
                             : base_fail(error, BASE_EINVAL, "the path '%.80s...' is too long", path);
    if (status == BASE_OK && mmproj != NULL && c->mmproj[0] == '\0')
        status = base_fail(error, BASE_EINVAL, "'%s' names no file behind mmproj=", path);
    if (status == BASE_OK && mmproj != NULL && c->format != CHECKPOINT_GGUF)
        status = base_fail(error, BASE_EINVAL,
                           "'%s' is no GGUF file: a tower in an mmproj file goes with such a decoder only", c->path);
    if (status != BASE_OK) {
        shard_checkpoint_close(&c);
        return status;
    }
    *out = c;
    return BASE_OK;
}

base_status shard_checkpoint_open(const char *path, shard_checkpoint **out, base_error *error)
{
    shard_checkpoint *c = NULL;
    base_status status = checkpoint_create(path, &c, error);
    if (status == BASE_OK)
        status = open_any(c, error);
    if (status == BASE_OK && c->source != NULL)
        status = shard_source_check(c->source, &c->a, error);
    if (status != BASE_OK) {
        shard_checkpoint_close(&c);
        return status;
    }
    *out = c;
    return BASE_OK;
}

base_status shard_checkpoint_describe(const char *path, arch *out, base_error *error)
{
    shard_checkpoint *c = NULL;
    base_status status = checkpoint_create(path, &c, error);
    if (status == BASE_OK)
        status = c->format == CHECKPOINT_SAFETENSORS ? arch_load(c->path, &c->a, error) : open_any(c, error);
    if (status == BASE_OK)
        *out = c->a;
    shard_checkpoint_close(&c);
    return status;
}

void shard_checkpoint_close(shard_checkpoint **checkpoint)
{
    shard_checkpoint *c = *checkpoint;
    if (c == NULL)
        return;
    shard_source_close(&c->source);
    gguf_close(&c->gguf); /* behind the source, which borrows from them */
    gguf_close(&c->mmproj_gguf);
    shard_set_close(&c->shards);
    free(c);
    *checkpoint = NULL;
}

const gguf_file *shard_checkpoint_gguf(const shard_checkpoint *checkpoint)
{
    return checkpoint->gguf;
}

/* --- the digest --- */

static base_status digest_safetensors(const shard_checkpoint *c, char out[65], base_error *error)
{
    base_buf config = {0};
    base_status status = shard_file_read(c->path, "config.json", &config, error);
    if (status == BASE_OK)
        status = shard_source_digest(c->source, config.data, config.size, out, error);
    base_buf_release(&config);
    return status;
}

/* Over the metadata of the decoder and of its tower. */
static base_status digest_gguf(const shard_checkpoint *c, char out[65], base_error *error)
{
    const void *metadata;
    size_t size;
    base_buf both = {0};
    gguf_metadata(c->gguf, &metadata, &size);
    base_buf_put(&both, metadata, size);
    if (c->mmproj_gguf != NULL) {
        gguf_metadata(c->mmproj_gguf, &metadata, &size);
        base_buf_put(&both, metadata, size);
    }
    base_status status = both.failed ? base_fail(error, BASE_ENOMEM, "no memory for the metadata of '%s'", c->path)
                                     : shard_source_digest(c->source, both.data, both.size, out, error);
    base_buf_release(&both);
    return status;
}

base_status shard_checkpoint_digest(const shard_checkpoint *c, char out[65], base_error *error)
{
    switch (c->format) {
    case CHECKPOINT_SAFETENSORS:
        return digest_safetensors(c, out, error);
    case CHECKPOINT_GGUF:
        return digest_gguf(c, out, error);
    case CHECKPOINT_SHARDS:
        shard_set_digest(c->shards, out);
        return BASE_OK;
    case CHECKPOINT_SYNTHETIC:
        return shard_source_digest(c->source, c->path, strlen(c->path), out, error);
    }
    return BASE_EINTERNAL;
}
