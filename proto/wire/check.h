/* check.h - the limits of msg.h, applied to a decoded request.  Private to proto/wire. */
#ifndef PALMGROVE_WIRE_CHECK_H
#define PALMGROVE_WIRE_CHECK_H

#include "proto/wire/msg.h"

/* Errors as wire_request_decode's for a Generate: BASE_ETOOBIG, BASE_EINVAL; the text names field and limit. */
base_status check_generate(const wire_generate *generate, base_error *error);

#endif
