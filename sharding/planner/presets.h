/* presets.h - published models by name, as data: for `palmgrove plan` before any weights are there, and for synthetic
 * weights (llama-1b is for those alone).
 *
 * Vision towers.  PaLM-E models carry theirs: ViT-22B as it is; ViT-e (the papers' "ViT-4B") as a serial block without
 * what the descriptors cannot say (biases of its norms and of the attention output: under 0.01 % of its parameters).
 * The Gemma models are their decoders alone. */
#ifndef PALMGROVE_PLANNER_PRESETS_H
#define PALMGROVE_PLANNER_PRESETS_H

#include "proto/base/status.h"
#include "sharding/arch.h"

/* The model called `name`.  BASE_ENOTFOUND unknown: the nearest name, and all of them. */
base_status preset_arch(const char *name, arch *out, base_error *error);

/* The i-th name and one line about it (static); false past the end. */
bool preset_list(size_t i, const char **name, const char **about);

#endif
