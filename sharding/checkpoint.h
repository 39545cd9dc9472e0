/* checkpoint.h - a model as it lies on disk, whatever its format, opened for reading.
 *
 *     DIR with config.json and *.safetensors      Hugging Face
 *     FILE.gguf, or DIR with exactly one          llama.cpp; a vision tower in FILE.gguf,mmproj=TOWER.gguf, or in DIR
 * with one *mmproj*.gguf DIR with palmgrove.json                     written by `palmgrove shard`: one file per rank,
 * packed synthetic:PRESET[,layers=N]                 random weights of a known model's shapes, made as they are read
 *
 * Opening reads headers only.  After it the architecture is known and every tensor is known to exist with its shape. */
#ifndef PALMGROVE_SHARDING_CHECKPOINT_H
#define PALMGROVE_SHARDING_CHECKPOINT_H

#include "proto/base/status.h"
#include "sharding/arch.h"
#include "sharding/formats/gguf.h"
#include "sharding/source.h"

typedef struct shard_set shard_set; /* shards/shard_set.h */

typedef enum checkpoint_format {
    CHECKPOINT_SAFETENSORS,
    CHECKPOINT_GGUF,
    CHECKPOINT_SHARDS,
    CHECKPOINT_SYNTHETIC
} checkpoint_format;

typedef struct shard_checkpoint {
    char path[4096]; /* of the directory or file; the spec of a synthetic model */
    checkpoint_format format;
    arch a;
    shard_source *source;   /* tensors by the family's names; NULL for shards */
    shard_set *shards;      /* CHECKPOINT_SHARDS; NULL otherwise */
    gguf_file *gguf;        /* the file behind `source`; NULL otherwise */
    char mmproj[4096];      /* the path of a GGUF decoder's tower; "" none */
    gguf_file *mmproj_gguf; /* that file; NULL: none */
} shard_checkpoint;

/* Errors: BASE_ENOTFOUND nothing there, or nothing that is a model (what was looked for); those of arch_load,
 * shard_source_open, gguf_open, shard_set_open; BASE_EFORMAT a tensor is missing or has the wrong shape (named). */
base_status shard_checkpoint_open(const char *path, shard_checkpoint **out, base_error *error);
void shard_checkpoint_close(shard_checkpoint **checkpoint);

/* What of a model's name is a path that other files of it can be found by: "x.gguf" of "x.gguf,mmproj=y.gguf", else
 * all.  Into out [size], cut to it. */
void shard_checkpoint_path(const char *model, char *out, size_t size);

/* The name of a GGUF decoder with the tower in file `mmproj`, written to `out`; `model` itself when that is NULL.  What
 * does not fit is cut, and refused as too long when it is opened. */
#define SHARD_MODEL_NAME_BYTES 8192
const char *shard_checkpoint_join(const char *model, const char *mmproj, char out[SHARD_MODEL_NAME_BYTES]);

/* What the model at `path` is, without its tensors: a directory with config.json need not hold any.  Errors as above.
 */
base_status shard_checkpoint_describe(const char *path, arch *out, base_error *error);

/* The GGUF file behind the checkpoint, whose metadata hold the tokenizer's vocabulary; NULL for other formats. */
const gguf_file *shard_checkpoint_gguf(const shard_checkpoint *checkpoint);

/* A name for the weights: 64 lower-case hex digits and a NUL.  Reads every byte of the tensors (digest.c), so one rank
 * does it in the background of loading; for shards it is the digest of the manifest, which holds every tensor's
 * checksum. */
base_status shard_checkpoint_digest(const shard_checkpoint *checkpoint, char out[65], base_error *error);

#endif
