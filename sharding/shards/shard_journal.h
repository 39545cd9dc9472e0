/* shard_journal.h - which tensors of a shard file are finished, for a run that is taken up again; inside of shards.
 *
 * DIR/NAME.journal, beside DIR/NAME.partial:
 *
 *     palmgrove-shard-2 SET
 *     INDEX SUM CHECK          a tensor whose bytes are on the disk; CHECK is the sum of "SET INDEX SUM"
 *
 * A line that is cut or damaged ends the journal: what stands behind it is written again. */
#ifndef PALMGROVE_SHARD_JOURNAL_H
#define PALMGROVE_SHARD_JOURNAL_H

#include "sharding/shards/shard_layout.h"

#define SHARD_JOURNAL_TAIL ".journal"

/* Does DIR/NAME.journal exist and begin with this set? */
bool shard_journal_is_of(const char *dir, const char *name, const char *set);

/* Take the sums of finished tensors into file->records; *found: there is a journal of this set (cut to its last good
 * line). Errors: BASE_EIO. */
base_status shard_journal_read(const char *dir, const char *set, shard_file *file, bool *found, base_error *error);

/* Begin an empty journal.  Errors: BASE_EIO. */
base_status shard_journal_start(const char *dir, const char *set, const shard_file *file, base_error *error);

/* Append the tensors that have a sum and are not in `journaled` [n_records], which is brought up to date; on the disk
 * on return. Errors: BASE_EIO, BASE_ENOMEM. */
base_status shard_journal_append(const char *dir, const char *set, const shard_file *file, bool *journaled,
                                 base_error *error);

#endif
