#include "coordinator/session/request_log.h"

#include "proto/base/log.h"
#include "proto/base/quote.h"

void request_log_failure(const char *request_id, const char *what, base_status status, const char *text,
                         bool log_content)
{
    char redacted[sizeof((base_error *)0)->text];
    base_quote_redact(redacted, sizeof redacted, text);
    base_log_warn("request %s %s: %s: %s", base_quote(request_id).text, what, base_status_text(status),
                  log_content ? text : redacted);
}
