/* content.h - what a prompt's positions hold that no token says: vectors, and the digests that tell images and vectors
 * apart.  Written by the session (prompt.h), read by the scheduler (cached prefixes, image slots). */
#ifndef PALMGROVE_COORD_CONTENT_H
#define PALMGROVE_COORD_CONTENT_H

#include <stdint.h>

#define CONTENT_DIGEST_BYTES 32u

/* A vector that takes a position of the prompt (link_vector). */
typedef struct content_vector {
    uint32_t kind, width;
    const float *values;                        /* [width] finite; borrowed until the request has ended */
    unsigned char digest[CONTENT_DIGEST_BYTES]; /* of this vector and all images and vectors before it */
} content_vector;

#endif
