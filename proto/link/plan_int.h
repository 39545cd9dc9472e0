/* plan_int.h - what the files of the plan codec (plan.c, plan_slices.c, plan_draft.c, plan_result.c) share. */
#ifndef PALMGROVE_LINK_PLAN_INT_H
#define PALMGROVE_LINK_PLAN_INT_H

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "proto/link/plan.h"

/* Bytes of the repeated parts on the wire. */
enum {
    PLAN_SLICE_BYTES = 7 * 4 + 3 * 4 + 8 + 4,
    PLAN_ID_BYTES = 4, /* a token, a block id */
    PLAN_DRAFT_BYTES = 6 * 4,
    PLAN_VECTOR_BYTES_MIN = 2 * 4,
};

/* Readers of a plan's parts, in the order of the message; the counts and the memory of `plan` are set, and the message
 * is long enough.  Errors: BASE_EFORMAT with field and limit. */

/* seen: [max_seqs] zeros, one mark per sequence slot afterwards. */
base_status plan_read_slices(base_reader *reader, link_plan *plan, const link_limits *limits, uint8_t *seen,
                             base_error *error);
void plan_put_slice(base_buf *out, const link_slice *slice);
base_status plan_read_tokens(base_reader *reader, link_plan *plan, const link_limits *limits, base_error *error);

/* Drafts with their inputs and blocks; clears the tokens of slices that the draft model fills in. */
base_status plan_read_drafts(base_reader *reader, link_plan *plan, const link_limits *limits, base_error *error);
void plan_put_drafts(base_buf *out, const link_plan *plan);

/* n ids below `limit`: blocks, or tokens of the vocabulary. */
base_status plan_read_ids(base_reader *reader, const char *what, uint32_t *ids, uint32_t n, uint32_t limit,
                          base_error *error);

#endif
