/* worker_options.h - options of a rank, the same on all ranks but for zmq and link. */
#ifndef PALMGROVE_WORKER_OPTIONS_H
#define PALMGROVE_WORKER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "sharding/recipe.h"
#include "worker/model/arena.h"
#include "worker/model/numerics.h"

/* Bounds of the options below. */
#define WORKER_SEQS_MAX        4096u
#define WORKER_STEP_TOKENS_MAX 65536u
#define WORKER_IMAGE_SLOTS_MAX 1024u

typedef struct worker_options {
    const char *model;         /* path of the checkpoint (sharding/checkpoint.h) */
    const char *importance;    /* file of an importance matrix for the quantiser, or NULL */
    shard_recipe recipe;       /* how weights are packed at load; the worker adds the importance matrix */
    const char *draft;         /* path of a draft model (draft_model.h), or NULL */
    shard_recipe draft_recipe; /* how its weights are packed at load */
    model_numerics numerics;   /* types of activations and KV cache, of both models */
    uint32_t tp, pp;           /* 0: chosen from the world's size, or the shards' own */
    uint32_t n_threads;        /* per rank; 0: as many as the rank's share of the allowed cores */
    uint32_t max_seqs;         /* sequences in flight */
    uint32_t context;          /* positions of a sequence at most; 0: what the model allows */
    uint32_t max_step_tokens;  /* tokens of one plan */
    uint32_t kv_tokens;        /* KV cache capacity in tokens; 0: max_seqs x context, cut to what fits in memory */
    uint32_t n_image_slots;
    const char *isa;      /* "auto" or a name of kern_select */
    bool pin;             /* bind threads and memory with hwloc */
    bool smt;             /* a thread for each CPU of a core, instead of one a core */
    bool slow_cores;      /* use the slower cores of a hybrid processor too */
    uint32_t spare_cores; /* of each node, left to the coordinator's threads and MPI's */
    model_huge_pages huge_pages;
    const char *trace; /* file for a trace of all ranks (trace_file.h), or NULL */
    void *zmq;         /* rank 0: context of the link */
    const char *link;  /* rank 0: the coordinator's link endpoint */
} worker_options;

#endif
