/* gguf_fields.h - inside sharding: what the families' readers of GGUF metadata have in common.
 *
 * Keys stand behind the architecture's name ("llama.block_count"); readers give the rest.  As with json_read.h the
 * first failure sticks and names file, key and what was expected. */
#ifndef PALMGROVE_SHARDING_GGUF_FIELDS_H
#define PALMGROVE_SHARDING_GGUF_FIELDS_H

#include "sharding/families.h"

typedef struct gguf_fields {
    const family_gguf *of; /* borrowed */
    base_status status;
} gguf_fields;

gguf_fields gguf_fields_over(const family_gguf *of);

uint32_t gguf_fields_u32(gguf_fields *fields, const char *key, uint32_t min, uint32_t max);
uint32_t gguf_fields_u32_or(gguf_fields *fields, const char *key, uint32_t min, uint32_t max, uint32_t otherwise);
double gguf_fields_number_or(gguf_fields *fields, const char *key, double min, double max, double otherwise);

/* A text of at most 31 bytes into out, "" when it is missing; and a flag. */
void gguf_fields_text(gguf_fields *fields, const char *key, char out[32]);
bool gguf_fields_bool_or(gguf_fields *fields, const char *key, bool otherwise);
/* An array of exactly n numbers; out stays when it is missing. */
void gguf_fields_numbers(gguf_fields *fields, const char *key, size_t n, double min, double max, float *out);

/* An array of n numbers, nonzero meaning true, as bits; false, without failure, when the key holds no such array. */
bool gguf_fields_flags(gguf_fields *fields, const char *key, uint32_t n, uint64_t *bits);

bool gguf_fields_has_tensor(const gguf_fields *fields, const char *name);

/* BASE_EUNSUPPORTED, sticking: the value of a key, or a tensor that would change the computation. */
void gguf_fields_unsupported(gguf_fields *fields, const char *key, const char *known);
void gguf_must_lack_tensor(gguf_fields *fields, const char *name);

/* What all decoders share: sizes, norm_eps, rotary positions (both regimes alike), the vocabulary by its embedding,
 * ids, the output matrix (tied when there is none), causal attention with scale 1/sqrt(dh). */
base_status gguf_decoder_read(gguf_fields *fields, arch_decoder *out);

#endif
