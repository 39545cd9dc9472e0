/* tiny_checkpoint.h - a random PaLM-E checkpoint of odd dimensions, in a temporary directory that all ranks know.
 *
 * 5 heads, 4 MLP groups of which the last has 8 columns, 5 vocabulary groups of which the last has 22 rows, 49 patches:
 * nothing divides by 2, 3 or 4. */
#ifndef PALMGROVE_TINY_CHECKPOINT_H
#define PALMGROVE_TINY_CHECKPOINT_H

#include <stdbool.h>

#include "worker/par/world.h"

/* Collective: rank 0 makes a directory with config.json and model.safetensors, weights from a fixed generator; `dir` is
 * its path on every rank.  False on every rank if that failed. */
bool tiny_checkpoint_create(par_world *world, bool bf16, char dir[64]);
/* Collective: rank 0 removes the directory and the files in it, after all ranks came here. */
void tiny_checkpoint_remove(par_world *world, const char *dir);

#endif
