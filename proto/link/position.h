/* position.h - what fills one position of a prompt or of a plan: a vocabulary id, a row of an image, or a vector.
 *
 * All three travel as one int32.  An id is itself, >= 0; rows and vectors are numbered below zero, in two ways:
 *
 *     request-local (session, scheduler)           plan-local (link, ranks; the wire form)
 *     -1 - i              row i of the images:     -1 - i         row i of the image store: image slot j holds rows
 *                         image k holds rows                      [j * rows_per_image, (j + 1) * rows_per_image)
 *                         [k * rows_per_image,     -1 - (n + i)   vector i of the plan, where the store has n rows
 *                         (k + 1) * rows_per_image)
 *     INT32_MIN + 1 + i   vector i
 *
 * The scheduler renumbers from the first to the second when it builds a plan.  Nothing else may compute with these
 * numbers.  Ranges are the caller's to check; every int32 can be read. */
#ifndef PALMGROVE_LINK_POSITION_H
#define PALMGROVE_LINK_POSITION_H

#include <stdint.h>

typedef enum link_position_kind {
    LINK_POSITION_TOKEN,     /* index: vocabulary id */
    LINK_POSITION_IMAGE_ROW, /* index: row */
    LINK_POSITION_VECTOR,    /* index: vector */
} link_position_kind;

typedef struct link_position {
    link_position_kind kind;
    uint32_t index;
} link_position;

/* Make: index as above, an image row below 2^30. */
static inline int32_t link_image_row(uint32_t row)
{
    return -1 - (int32_t)row;
}

static inline int32_t link_request_vector(uint32_t vector)
{
    return INT32_MIN + 1 + (int32_t)vector;
}

/* n_store_rows: n_image_slots * rows_per_image; the sum stays below 2^31. */
static inline int32_t link_plan_vector(uint32_t vector, uint32_t n_store_rows)
{
    return link_image_row(n_store_rows + vector);
}

/* Take, as a request numbers. */
static inline link_position link_position_in_request(int32_t code)
{
    if (code >= 0)
        return (link_position){LINK_POSITION_TOKEN, (uint32_t)code};
    if (code < INT32_MIN / 2)
        return (link_position){LINK_POSITION_VECTOR, (uint32_t)code - (uint32_t)INT32_MAX - 2u};
    return (link_position){LINK_POSITION_IMAGE_ROW, ~(uint32_t)code};
}

/* Take, as a plan numbers. */
static inline link_position link_position_in_plan(int32_t code, uint32_t n_store_rows)
{
    if (code >= 0)
        return (link_position){LINK_POSITION_TOKEN, (uint32_t)code};
    uint32_t row = ~(uint32_t)code; /* -1 - code */
    if (row >= n_store_rows)
        return (link_position){LINK_POSITION_VECTOR, row - n_store_rows};
    return (link_position){LINK_POSITION_IMAGE_ROW, row};
}

#endif
