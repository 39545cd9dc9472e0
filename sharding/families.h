/* families.h - the model families: one table row each (families/NAME.c).
 *
 * A family knows how its models are described, in config.json and in the metadata of a GGUF file, and what their
 * tensors are called in both.  What a model computes stands in `arch`, so a new family changes no layer loop.
 * docs/FAMILIES.md has the steps. */
#ifndef PALMGROVE_SHARDING_FAMILIES_H
#define PALMGROVE_SHARDING_FAMILIES_H

#include <jansson.h>

#include "proto/base/status.h"
#include "sharding/arch.h"
#include "sharding/formats/gguf.h"
#include "sharding/source.h"

#define FAMILY_MAX_ALTERNATIVES 4

/* A model as a Hugging Face directory describes it. */
typedef struct family_config {
    const char *file;         /* names config.json in errors */
    const json_t *root;       /* config.json */
    const json_t *generation; /* generation_config.json; NULL: none */
    const json_t
        *preprocessor; /* preprocessor_config.json, or the image processor of processor_config.json; NULL: none */
    const json_t *tower_root;   /* config.json of a tower in a directory of its own; NULL: none */
    const char *prefix;         /* of the decoder's tensors, once it was chosen */
    const shard_source *source; /* the tensors beside it; NULL: not known, the usual names are believed */
    base_error *error;
} family_config;

/* A model as a GGUF file describes it. */
typedef struct family_gguf {
    const char *file; /* names it in errors */
    const gguf_file *gguf;
    const shard_source *source; /* its tensors */
    const char *architecture;   /* general.architecture */
    base_error *error;
} family_gguf;

typedef struct arch_family {
    const char *name;                                 /* arch.family */
    const char *model_types[FAMILY_MAX_ALTERNATIVES]; /* in config.json; the first unused is NULL */
    const char
        *prefixes[FAMILY_MAX_ALTERNATIVES + 1]; /* what may stand before `names` of the decoder, the usual one first */
    const char *gguf_architecture;              /* general.architecture; NULL: no GGUF files */

    /* Fill `out` (zeroed; family and prefix are set).  Errors as arch_load. */
    base_status (*fill)(const family_config *config, arch *out);
    base_status (*fill_gguf)(const family_gguf *gguf, arch *out); /* NULL: no GGUF files */

    /* Names by part and role, NULL where the family has none; the last part is any encoder.  "%u" stands for the layer
     * or encoder; a name of the decoder that begins with '/' stands outside the prefix. */
    const char *names[ARCH_ENCODERS + 1][ARCH_N_ROLES];
    const char *gguf_names[ARCH_N_ROLES];
} arch_family;

extern const arch_family family_palm_e, family_llama, family_qwen2, family_gemma3, family_llava, family_llava_original;

/* The name in an mmproj file, with "%u" for the layer: the same for every family; NULL when there is none. */
const char *family_gguf_tower_name(const arch_tower *tower, arch_role role);

/* What stands before the names of tensors from the tower's own directory (arch_tower_dir). */
#define FAMILY_TOWER_PREFIX "mm_vision_tower/"

/* The directory that config.json of DIR names as its tower (mm_vision_tower), absolute or inside DIR, into path [size];
 * "" when it names none or there is none.  Errors as arch_load. */
base_status arch_tower_dir(const char *dir, char *path, size_t size, base_error *error);

/* How much of a decoder's prefix stands before tensors that do not belong to it (lm_head.weight): all but a last
 * "model.". */
size_t arch_prefix_outside(const char *prefix);

/* NULL when there is none. */
const arch_family *arch_family_find(const char *name);
const arch_family *arch_family_of_model_type(const char *model_type);
const arch_family *arch_family_of_gguf(const char *architecture);

/* The known values of model_type and of general.architecture, separated by ", "; static. */
const char *arch_model_type_list(void);
const char *arch_gguf_list(void);

/* As arch_load, with the tensors of the directory: they decide the prefix and, where config.json does not, whether the
 * output matrix is the embedding matrix. */
base_status arch_load_with(const char *dir, const shard_source *source, arch *out, base_error *error);

/* From the metadata of a GGUF file that errors call `file`; `source` holds its tensors, which state the vocabulary's
 * size and which optional ones there are.  Errors as arch_load. */
base_status arch_load_gguf(const gguf_file *gguf, const char *file, const shard_source *source, arch *out,
                           base_error *error);

/* Add the tower and projector that an mmproj file describes to a GGUF decoder; `source` holds the tensors of both.
 * Errors as arch_load; BASE_EUNSUPPORTED a projector that does not go with the family. */
base_status arch_load_mmproj(const gguf_file *gguf, const char *file, const shard_source *source, arch *a,
                             base_error *error);

#endif
