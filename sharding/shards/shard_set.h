/* shard_set.h - a directory written by `palmgrove shard`, opened for reading.
 *
 * docs/SHARDS.md has the format.  A rank maps its own file only and computes from it in place.  Files are hostile until
 * checked: the manifest against its own checksum and against what the architecture and the layout ask for, a file's
 * header against the manifest, the tensors, when they are loaded, against their checksums.  A file that is cut,
 * damaged, swapped, renamed or of another set is refused by name. */
#ifndef PALMGROVE_SHARD_SET_H
#define PALMGROVE_SHARD_SET_H

#include "proto/base/status.h"
#include "sharding/arch.h"
#include "sharding/pack/pack.h"
#include "sharding/slices.h"

typedef struct shard_set shard_set;
typedef struct shard_rank_file shard_rank_file;

typedef void shard_progress(void *context, uint64_t done, uint64_t total); /* bytes */

/* Does DIR hold a manifest? */
bool shard_set_is_there(const char *dir);

/* Read DIR/palmgrove.json.  The files it lists need not be here: a node may hold those of its own ranks only.
 * Errors: BASE_ENOTFOUND, BASE_EFORMAT (damaged; what is wrong), BASE_EUNSUPPORTED (another version), BASE_EIO,
 * BASE_ENOMEM. */
base_status shard_set_open(const char *dir, shard_set **out, base_error *error);
void shard_set_close(shard_set **set);

/* Borrowed from the set. */
const arch *shard_set_arch(const shard_set *set);
/* The name of the recipe that the matrices were packed by: "int4". */
const char *shard_set_recipe(const shard_set *set);
/* The layout that the files were written for. */
void shard_set_layout(const shard_set *set, uint32_t *tp, uint32_t *pp);
/* SHA-256 of the manifest: lower-case hex and a NUL. */
void shard_set_digest(const shard_set *set, char out[65]);

/* Bytes of one rank's file, without opening it; 0 outside the layout. */
uint64_t shard_set_rank_bytes(const shard_set *set, uint32_t tp_rank, uint32_t stage);
/* Name, type, size of the i-th tensor of a rank's file; false past the end. */
bool shard_set_tensor(const shard_set *set, uint32_t tp_rank, uint32_t stage, size_t i, shard_slice *slice,
                      pack_type *type, uint64_t *bytes);

/* Map the file of one rank and check its header against the manifest.  Borrows `set`.
 * Errors: BASE_EINVAL the layout is not the set's own; BASE_ENOTFOUND, BASE_EFORMAT (the file is named, with what is
 * wrong), BASE_EIO, BASE_ENOMEM. */
base_status shard_rank_file_open(const shard_set *set, uint32_t tp, uint32_t pp, uint32_t tp_rank, uint32_t stage,
                                 shard_rank_file **out, base_error *error);
void shard_rank_file_close(shard_rank_file **file);

/* The packed matrix, or the vector, of a slice; data borrowed from the map, 64-byte aligned, read only. BASE_ENOTFOUND:
 * the rank does not hold the slice as it is asked for. */
base_status shard_rank_file_matrix(const shard_rank_file *file, const shard_slice *slice, pack_matrix *out,
                                   base_error *error);
base_status shard_rank_file_vector(const shard_rank_file *file, const shard_slice *slice, float **out,
                                   base_error *error);

/* Bring the whole file into memory, in order, by the calling thread (its NUMA node gets the pages), checking every
 * tensor's checksum. Errors: BASE_EFORMAT the first tensor that is damaged; BASE_EIO the disk. */
base_status shard_rank_file_load(shard_rank_file *file, shard_progress *progress, void *context, base_error *error);
/* The same without checksums: a little faster where the files are already in memory; damage then goes unnoticed. */
base_status shard_rank_file_load_unchecked(shard_rank_file *file, shard_progress *progress, void *context,
                                           base_error *error);
uint64_t shard_rank_file_bytes(const shard_rank_file *file);

/* Read every byte of every file of a set and compare all checksums.  `fault` is called with one line for each thing
 * that is wrong. Errors: those of shard_set_open; BASE_EFORMAT with the number of faults when there were any. */
base_status shard_set_verify(const char *dir, shard_progress *progress, void (*fault)(void *context, const char *text),
                             void *context, base_error *error);

#endif
