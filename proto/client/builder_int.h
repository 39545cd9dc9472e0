/* builder_int.h - the view of a request under construction that client.c encodes, and how both fill a pg_error. */
#ifndef PALMGROVE_CLIENT_BUILDER_H
#define PALMGROVE_CLIENT_BUILDER_H

#include "proto/base/status.h"
#include "proto/client/palmgrove.h"
#include "proto/wire/msg.h"

/* As base_error_set and base_fail (status.h), for the public error type. */
void pg_error_set(pg_error *error, pg_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define pg_fail(error, status, ...) (pg_error_set(error, status, __VA_ARGS__), (pg_status)(status))

/* Pass on a failure from below; the values of both enumerations are the same. */
pg_status pg_adopt(pg_error *error, const base_error *cause);

/* A view of the request's prompt and options, borrowed until the request changes.
 * Errors: the first failure of a pg_request_add_*. */
pg_status pg_request_view(const pg_request *request, wire_generate *out, pg_error *error);

#endif
