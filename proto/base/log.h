/* log.h - one line per event on stderr: "palmgrove[rank 2] warn: text".
 *
 * No prompt, image or reply is ever passed to these functions (DESIGN: patient data); identifiers, sizes and
 * statuses are.  What an argument holds stays on its line and is printable (quote.h).  Thread-safe: a line is written
 * by one write(2), at most 1024 bytes. */
#ifndef PALMGROVE_BASE_LOG_H
#define PALMGROVE_BASE_LOG_H

typedef enum base_log_level { BASE_LOG_ERROR, BASE_LOG_WARN, BASE_LOG_INFO, BASE_LOG_DEBUG } base_log_level;

/* The least important level that is still written; default BASE_LOG_INFO.  Call before threads start. */
void base_log_set_level(base_log_level level);

/* The name printed in brackets ("rank 2", "coordinator"); copied, cut at 31 bytes.  Call before threads start. */
void base_log_set_name(const char *name);

void base_log(base_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define base_log_error(...) base_log(BASE_LOG_ERROR, __VA_ARGS__)
#define base_log_warn(...)  base_log(BASE_LOG_WARN, __VA_ARGS__)
#define base_log_info(...)  base_log(BASE_LOG_INFO, __VA_ARGS__)
#define base_log_debug(...) base_log(BASE_LOG_DEBUG, __VA_ARGS__)

#endif
