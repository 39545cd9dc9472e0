/* tiny_checkpoint.h - a random PaLM-E checkpoint of odd dimensions, written to a directory: tests/mpi/test_model.c.
 *
 * 5 heads, 4 MLP groups of which the last has 8 columns, 5 vocabulary groups of which the last has 22 rows, 49 patches:
 * nothing divides by 2, 3 or 4. */
#ifndef PALMGROVE_TINY_CHECKPOINT_H
#define PALMGROVE_TINY_CHECKPOINT_H

#include <stdbool.h>

/* Write config.json and model.safetensors into `dir` (which exists), weights from a fixed generator; false on failure.
 */
bool tiny_checkpoint_write(const char *dir, bool bf16);

#endif
