/* spm_shim_int.h - the few calls of SentencePiece's C++ library that the tokenizer needs, as C.  For spm.c only.
 *
 * No exception leaves the shim.  Calls on a const model are safe from any thread. */
#ifndef PALMGROVE_TEXT_SPM_SHIM_H
#define PALMGROVE_TEXT_SPM_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct spm_model spm_model;

typedef enum spm_result { SPM_OK, SPM_BAD_MODEL, SPM_FAILED, SPM_NO_MEMORY } spm_result;
typedef enum spm_kind { SPM_TEXT, SPM_BYTE, SPM_CONTROL, SPM_UNKNOWN } spm_kind;

/* Load a serialised model, read only during the call.  The caller owns *out (spm_model_close).  SPM_BAD_MODEL,
 * SPM_NO_MEMORY: *out unchanged. */
spm_result spm_model_open(const void *bytes, size_t size, spm_model **out);
void spm_model_close(spm_model *model);

/* Ids are -1 when the model has no such token. */
int32_t spm_vocab_size(const spm_model *model);
int32_t spm_bos_id(const spm_model *model);
int32_t spm_eos_id(const spm_model *model);

/* 0 <= id < vocabulary size.  The piece is borrowed from the model, NUL-terminated. */
spm_kind spm_piece_kind(const spm_model *model, int32_t id);
const char *spm_piece_text(const spm_model *model, int32_t id, size_t *size);

/* Text to ids, without BOS or EOS, and ids [n_ids] to text.  The caller frees the result; NULL when it is empty.
 * Errors: SPM_FAILED, SPM_NO_MEMORY. */
spm_result spm_encode(const spm_model *model, const char *text, size_t size, int32_t **ids, size_t *n_ids);
spm_result spm_decode(const spm_model *model, const int32_t *ids, size_t n_ids, char **text, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
