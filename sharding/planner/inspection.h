/* inspection.h - what is in a model or a shard directory, told to people and as JSON.  Reads headers and manifests
 * only. */
#ifndef PALMGROVE_PLANNER_INSPECTION_H
#define PALMGROVE_PLANNER_INSPECTION_H

#include <stdio.h>

#include "proto/base/buf.h"
#include "sharding/checkpoint.h"

/* What the caller found out about the tokenizer (it belongs to the coordinator). */
typedef struct inspection_tokenizer {
    const char *kind; /* "SentencePiece (tokenizer.model)"; NULL: there is none, `problem` says why */
    const char *problem;
    uint32_t n_tokens;
    int32_t start_id, eos_id;   /* -1: none */
    size_t chat_template_bytes; /* 0: none */
} inspection_tokenizer;

typedef struct inspection {
    const shard_checkpoint *checkpoint; /* borrowed */
    inspection_tokenizer tokenizer;
    bool tensors;  /* list every tensor */
    bool metadata; /* list the metadata of a GGUF file */
} inspection;

void inspection_print(const inspection *what, FILE *out);

/* One JSON object, appended.  BASE_ENOMEM. */
base_status inspection_json(const inspection *what, base_buf *out, base_error *error);

#endif
