/* shard_extras.h - what a model needs beside its weights, copied beside the shards; inside of shards. */
#ifndef PALMGROVE_SHARD_EXTRAS_H
#define PALMGROVE_SHARD_EXTRAS_H

#include "sharding/checkpoint.h"
#include "sharding/shards/shard_manifest.h"

#define SHARD_VOCABULARY "vocabulary.gguf"

/* Copy the tokenizer, templates, exemplars and licences of a checkpoint into DIR and list them in the manifest; of a
 * GGUF file the vocabulary, as a GGUF file without tensors.  A checkpoint without any has none to copy. Errors:
 * BASE_EIO, BASE_ENOMEM, BASE_ETOOBIG. */
base_status shard_extras_copy(const shard_checkpoint *from, const char *dir, shard_manifest *manifest,
                              base_error *error);

/* Name what will be written: a sum over source (its tensors' names, types and shapes; sizes and times of its files),
 * recipe, importance, layout and program.  A source that changed has another name.  Errors: BASE_EIO, BASE_ENOMEM. */
base_status shard_set_name(const shard_checkpoint *from, shard_manifest *manifest, base_error *error);

#endif
