/* shard_write.h - write a checkpoint of any size as packed shards, one file per rank, through bounded memory.
 *
 * Tensors are the outer loop: each is read about once and goes, panel by panel, to every rank that holds a piece of it;
 * equal pieces (key and value heads that ranks share, gains) are packed once.  Pages that were read are forgotten,
 * pages that were written go to the disk and out of memory.  Memory stays under
 *
 *     64 MiB + the tensor lists + threads x (a panel of f32 rows) + the panels in flight, read and packed + what waits
 * for the disk
 *
 * which follows from the widest row, not from the model's size; shard_writer_memory says it in bytes.
 *
 * A file is NAME.partial while it is written, with a journal of its finished tensors (shard_journal.h); the manifest
 * comes last, so no half-written set looks whole.  A run that was interrupted goes on where it stopped when source and
 * options are the same; when they are not, it begins afresh and says so.
 *
 * With several processes (mpirun) each calls open; one prepare; each run with its part; one finish; with a barrier in
 * between. */
#ifndef PALMGROVE_SHARD_WRITE_H
#define PALMGROVE_SHARD_WRITE_H

#include "sharding/checkpoint.h"
#include "sharding/recipe.h"
#include "sharding/shards/shard_set.h"

typedef struct shard_writer shard_writer;

typedef struct shard_write_options {
    const char *dir; /* made when it is not there */
    uint32_t tp, pp;
    const shard_recipe *recipe;
    const char *importance_file;                   /* where the recipe's importance came from; NULL: none */
    uint64_t max_memory;                           /* bytes, of this process */
    uint32_t n_threads;                            /* at most; fewer when memory asks for it */
    uint64_t commit_bytes;                         /* what an interruption may cost; 0: 512 MiB (or 20 s) */
    const char *made_by;                           /* "palmgrove 0.1.0" */
    void (*note)(void *context, const char *text); /* what a person should know; may be NULL */
    shard_progress *progress;                      /* may be NULL */
    void *context;
} shard_write_options;

/* Plan the set.  Borrows `from` and everything in `options` until close.
 * Errors: BASE_EINVAL the layout does not fit, the source is shards already, or max_memory is too small (the least that
 * does is said); BASE_ENOMEM, BASE_EIO. */
base_status shard_writer_open(const shard_checkpoint *from, const shard_write_options *options, shard_writer **out,
                              base_error *error);
void shard_writer_close(shard_writer **writer);

/* Bytes of all files; the memory bound of this process; the threads it will use. */
uint64_t shard_writer_bytes(const shard_writer *writer);
uint64_t shard_writer_memory(const shard_writer *writer);
uint32_t shard_writer_threads(const shard_writer *writer);

/* Make the directory, remove what another source or other options have left unfinished there, and see that there is
 * room. Errors: BASE_EINVAL the directory holds a finished set of something else; BASE_EIO (a full disk with the needed
 * and available bytes). */
base_status shard_writer_prepare(shard_writer *writer, base_error *error);

/* Write the files f with f % n_parts == part.  A set that is finished already is left alone.
 * Errors: those of the source; BASE_EIO, BASE_ENOMEM.  What was written stays for the next run. */
base_status shard_writer_run(shard_writer *writer, uint32_t part, uint32_t n_parts, base_error *error);

/* Copy the files beside the weights, write the manifest, remove the journals. */
base_status shard_writer_finish(shard_writer *writer, base_error *error);

#endif
