/* wire_limits.h - the limits of the client protocol, and the check of a decoded request against them. */
#ifndef PALMGROVE_WIRE_LIMITS_H
#define PALMGROVE_WIRE_LIMITS_H

#include "proto/base/status.h"

/* The limits of a request; docs/PROTOCOL.md repeats them. */
enum {
    WIRE_MESSAGE_BYTES_MAX = 64 << 20, /* one message of either direction; a server may accept less */
    WIRE_REQUEST_ID_BYTES_MAX = 64,    /* 1..64 printable ASCII characters */
    WIRE_PARTS_MAX = 64,               /* parts of a prompt */
    WIRE_TEXT_BYTES_MAX = 1 << 20,     /* all texts and field values of a prompt together */
    WIRE_VECTORS_MAX = 1 << 16,        /* vectors of one part */
    WIRE_FIELDS_MAX = 32,              /* fields of one task part */
    WIRE_NAME_BYTES_MAX = 64,          /* name of a task or field, 1..64 */
    WIRE_STOP_MAX = 8,                 /* stop strings */
    WIRE_STOP_BYTES_MAX = 64,          /* bytes of one stop string, 1..64 */
    WIRE_MAX_TOKENS_MAX = 1 << 20,     /* max_tokens; the context of any model served is shorter */
    WIRE_TEMPERATURE_MAX = 10,         /* 0..1 is usual; beyond 10 tokens are drawn all but evenly: a mistake */
};

struct wire_generate;

/* Counts, sizes and ranges of a Generate; part of wire_request_decode.
 * Errors: BASE_ETOOBIG a limit is exceeded; BASE_EINVAL a value out of range, or fields that exclude each other.  The
 * text names field and limit. */
base_status wire_limits_check(const struct wire_generate *generate, base_error *error);

#endif
