/* draft_text.h - what the draft model reads of a sequence, and how far it has read: the sequence's tokens without rows
 * of images and vectors.
 *
 * The draft model is a reader of text alone (docs/decisions/0008-draft-model.md), so two requests with different images
 * and the same words read the same: its cache blocks are lent by the same books as the model's own (block_table.h,
 * prefix_cache.h), with a pool of their own. When a guess was wrong, n_read falls back to what was read of the true
 * text; the rest is overwritten.  Threads: one owner. */
#ifndef PALMGROVE_SCHED_DRAFT_TEXT_H
#define PALMGROVE_SCHED_DRAFT_TEXT_H

#include "coordinator/sched/block_table.h"

typedef struct draft_text {
    int32_t *tokens; /* [capacity] the first n known; owned; NULL: this sequence is not read */
    uint32_t n, capacity;
    uint32_t n_read; /* of them, read by plans sent */
    block_table table;
} draft_text;

/* The text among tokens [n], with room for n_more.  Errors: BASE_ENOMEM (*text untouched). */
base_status draft_text_init(draft_text *text, const int32_t *tokens, uint32_t n, uint32_t n_more, base_error *error);
/* Free it; its table must be empty. */
void draft_text_release(draft_text *text);

/* The sequence has one token more. */
void draft_text_append(draft_text *text, int32_t token);

/* Take over what the draft model read for others that begin alike, as far as the text itself has not been read; while
 * no plan in flight reads it. At least the last token is left to read: what comes after it is wanted. */
void draft_text_reuse_prefix(draft_text *text, prefix_cache *blocks);
/* Let others have what was read; while no plan in flight reads it. */
void draft_text_publish(draft_text *text, prefix_cache *blocks);

/* All is to be read anew, blocks are given back. */
void draft_text_clear(draft_text *text, prefix_cache *blocks);

#endif
