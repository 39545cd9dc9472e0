/* config_fields.h - inside sharding: what the families' readers of config.json have in common.
 *
 * Ranges are generous for the largest published models (PaLM 540B: d 18432, f 73728, 118 layers, V 256000; 128k to 10M
 * positions) and small enough that no product of two of them leaves 64 bits. */
#ifndef PALMGROVE_SHARDING_CONFIG_FIELDS_H
#define PALMGROVE_SHARDING_CONFIG_FIELDS_H

#include "sharding/families.h"
#include "sharding/json_read.h"

#define MAX_HIDDEN     (1u << 17)
#define MAX_MLP        (1u << 20)
#define MAX_HEADS      1024u
#define MAX_HEAD_DIM   1024u
#define MAX_VOCAB      (1u << 22)
#define MAX_POSITIONS  (1u << 24)
#define MAX_IMAGE_SIZE 4096u
#define MAX_PATCHES    (1u << 16)
#define MIN_EPS        1e-12
#define MAX_EPS        0.1
#define MAX_THETA      1e12
#define MIN_FACTOR     1e-3 /* of rotary scaling */
#define MAX_FACTOR     1e6

/* BASE_EUNSUPPORTED: the value of `field` is one that is not computed with. */
base_status config_unsupported(const char *file, const char *field, const char *known, base_error *error);
/* The same of a field of `json`; sticks in it. */
void config_unsupported_in(shard_json *json, const char *field, const char *known);

/* Unscaled rotary positions. */
arch_rope config_rope_plain(double theta);

/* The attention factor of YaRN when the model names none: 0.1 ln(factor) + 1 (arXiv 2309.00071 section 3.4). */
double config_yarn_attention(double factor);

/* One more id that ends a reply; one that is known already or does not fit is left out. */
void config_add_stop(arch_decoder *decoder, int32_t id);

/* Layer `il` sees `window` positions only. */
void config_set_local(arch_stack *stack, uint32_t il);

/* Of every `pattern` layers the last is global, the others are local (Gemma). */
void config_set_pattern(arch_stack *stack, uint32_t pattern);

/* What the layer loop relies on beyond plain ranges: whole groups of query heads to a KV head, an even head dimension
 * where it is rotated. */
base_status config_check_heads(const char *file, const arch_stack *stack, base_error *error);

/* What requests rely on: the vector encoders' names are plain and differ. */
base_status config_check_encoders(const char *file, const arch *a, base_error *error);

/* --- decoders as the transformers library describes them --- */

/* What a family's configuration class takes for a field that is left out; 0: the field must be there, unless said
 * otherwise. */
typedef struct hf_defaults {
    uint32_t hidden, mlp, layers;
    uint32_t heads;
    uint32_t kv;       /* 0: as many as heads */
    uint32_t head_dim; /* 0: hidden_size / heads */
    uint32_t vocab_size;
    uint32_t positions;
    double norm_eps;
    double theta;
    bool tied;              /* false: the output matrix is its own when the checkpoint has one */
    int32_t bos_id, eos_id; /* -1: none */
    const char *activation; /* the only one that is computed */
    const char *activation_field;
} hf_defaults;

/* Read what all these decoders share from `json`, the object with the decoder's fields: sizes, norm_eps, rotary
 * positions (both regimes alike), vocabulary, tied embeddings, ids.  Causal attention with halves rotated and scale
 * 1/sqrt(dh) is set too. */
base_status hf_decoder_read(const family_config *config, shard_json *json, const hf_defaults *defaults,
                            arch_decoder *out);

/* The rotary positions that `scaling` describes (rope_scaling, rope_parameters or an element of the latter; NULL:
 * unscaled), with base `theta` where it names none.  `path` prefixes its fields in errors. */
base_status hf_rope_read(const shard_json *json, const json_t *scaling, const char *path, double theta,
                         uint32_t positions, arch_rope *out);

/* layer_types: local where it says sliding_attention, global where full_attention. */
void hf_layer_types_read(shard_json *json, arch_stack *stack);

/* A flag that changes the computation and must be false. */
void hf_must_be_false(shard_json *json, const char *field);

#endif
