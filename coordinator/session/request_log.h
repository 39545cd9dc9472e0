/* request_log.h - log lines about one request.  What a client wrote is in them only with --log-content. */
#ifndef PALMGROVE_SESSION_REQUEST_LOG_H
#define PALMGROVE_SESSION_REQUEST_LOG_H

#include <stdbool.h>

#include "proto/base/status.h"

/* A request was `what` ("refused", "failed"): id, status and text, whose quoted parts (quote.h) are left out unless
 * `log_content`. */
void request_log_failure(const char *request_id, const char *what, base_status status, const char *text,
                         bool log_content);

#endif
