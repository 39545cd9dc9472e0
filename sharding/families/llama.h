/* llama.h - inside sharding: the decoder of Llama and Mistral, which multimodal families have too. */
#ifndef PALMGROVE_SHARDING_LLAMA_H
#define PALMGROVE_SHARDING_LLAMA_H

#include "sharding/families.h"
#include "sharding/json_read.h"

/* Read it from the object `json`.  `sizes_have_defaults`: sizes left out have those of the configuration class (7B), as
 * inside a multimodal configuration; a text model must state them. */
base_status llama_decoder_read(const family_config *config, shard_json *json, bool is_mistral, bool sizes_have_defaults,
                               arch_decoder *out);

#endif
