/* synthetic.h - random weights of a known model's shapes, made as they are read.
 *
 * Every value is a function of (tensor's seed, row, column): the sum of four hashed bytes, so nearly normal, with a
 * standard deviation that keeps activations near 1.  No memory, no files, any range at any time; the same values on
 * every machine.  What they are for: sharding, loading and timing models of sizes that are not at hand. */
#ifndef PALMGROVE_SHARDING_SYNTHETIC_H
#define PALMGROVE_SHARDING_SYNTHETIC_H

#include "proto/base/status.h"
#include "sharding/arch.h"
#include "sharding/source.h"

#define SYNTHETIC_PREFIX "synthetic:"

/* Open "synthetic:PRESET[,layers=N]": the model of planner/presets.h, its decoder cut to its first N layers.  Gains are
 * 1 as they are applied (norm_plus_one is off). Errors: BASE_ENOTFOUND no such preset; BASE_EINVAL the rest of the
 * spec; BASE_ENOMEM. */
base_status synthetic_open(const char *spec, arch *a, shard_source **source, base_error *error);

/* Elements of a SHARD_SYNTHETIC tensor, within its shape; spread 0: all are 1. */
void synthetic_read(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns, float *out);

#endif
