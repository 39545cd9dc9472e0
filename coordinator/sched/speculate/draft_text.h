/* draft_text.h - what the draft model reads of a sequence, and how far it has read: the sequence's tokens without rows
 * of images and vectors.
 *
 * The draft model reads text only (docs/decisions/0008-draft-model.md), so two requests with different images and the
 * same words read the same.  Its cache blocks are shared by the same code as the model's own (block_table.h,
 * prefix_cache.h), with a pool of their own.  When a draft token is rejected, n_read falls back to the end of the true
 * text that was read; what follows is overwritten.  Threads: one owner. */
#ifndef PALMGROVE_SCHED_DRAFT_TEXT_H
#define PALMGROVE_SCHED_DRAFT_TEXT_H

#include "coordinator/sched/block_table.h"

typedef struct draft_text {
    int32_t *tokens; /* [capacity] the first n known; owned; NULL: this sequence is not read */
    uint32_t n, capacity;
    uint32_t n_read; /* of them, in the draft model's cache once the plans sent complete */
    block_table table;
} draft_text;

/* The text among tokens [n], with room for n_more.  Errors: BASE_ENOMEM (*text untouched). */
base_status draft_text_init(draft_text *text, const int32_t *tokens, uint32_t n, uint32_t n_more, base_error *error);
/* Free it; its table must be empty. */
void draft_text_release(draft_text *text);

/* The sequence has one token more. */
void draft_text_append(draft_text *text, int32_t token);

/* Reuse what the draft model read for others with the same prefix, as far as the text itself has not been read; only
 * while no plan in flight reads it.  At least the last token remains to be read: what comes after it is needed. */
void draft_text_reuse_prefix(draft_text *text, prefix_cache *blocks);
/* Share the full blocks that were read; only while no plan in flight reads the text. */
void draft_text_publish(draft_text *text, prefix_cache *blocks);

/* Free the blocks; everything is to be read again. */
void draft_text_clear(draft_text *text, prefix_cache *blocks);

#endif
