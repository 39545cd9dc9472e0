/* status.h - one status type for the whole program, and the text that goes with a failure.
 *
 * A function that can fail returns base_status and, where a person will read the cause, takes a
 * `base_error *` as its last argument.  The function that knows the cause fills it once; callers
 * pass it on.  Wording: lower case, the problem first, the subject quoted, one hint if one action
 * fixes it ("cannot open 'x.safetensors': no such file; is the download complete?").
 *
 * The same codes travel on the wire (docs/PROTOCOL.md), so values never change meaning. */
#ifndef PALMGROVE_BASE_STATUS_H
#define PALMGROVE_BASE_STATUS_H

/*  name            value  wire text                 meaning */
#define BASE_STATUS_LIST(X)                                                                    \
    X(BASE_OK, 0, "ok")                       /* success */                                    \
    X(BASE_EINVAL, 1, "invalid_argument")     /* the caller's request is wrong as it stands */ \
    X(BASE_ENOMEM, 2, "out_of_memory")        /* memory or a fixed pool is exhausted */        \
    X(BASE_EIO, 3, "io_error")                /* a file or socket failed */                    \
    X(BASE_EFORMAT, 4, "bad_format")          /* outside bytes do not follow their format */   \
    X(BASE_ENOTFOUND, 5, "not_found")         /* a named thing does not exist */               \
    X(BASE_EBUSY, 6, "busy")                  /* a bounded queue is full: try again later */   \
    X(BASE_ETOOBIG, 7, "too_large")           /* a stated limit is exceeded */                 \
    X(BASE_ECANCELED, 8, "canceled")          /* the client asked, or went away */             \
    X(BASE_EDEADLINE, 9, "deadline_exceeded") /* the request's own deadline passed */          \
    X(BASE_ESHUTDOWN, 10, "shutting_down")    /* the server drains and admits nothing new */   \
    X(BASE_EUNSUPPORTED, 11, "unsupported")   /* understood, but not offered here */           \
    X(BASE_ENUMERIC, 12, "numeric_overflow")  /* an activation or logit is out of range */     \
    X(BASE_EINTERNAL, 13, "internal")         /* a defect of ours */

typedef enum base_status {
#define X(name, value, text) name = value,
    BASE_STATUS_LIST(X)
#undef X
} base_status;

/* The cause of a failure in words; `text` is always terminated. */
typedef struct base_error {
    base_status status;
    char text[384];
} base_error;

/* The wire text of a status ("invalid_argument"); "unknown" for a value outside the list. */
const char *base_status_text(base_status status);

/* Fill `error` (may be NULL) with a status and a printf-style text, which is cut when it is too long and escaped
 * where it is not printable (quote.h).  errno stays. */
void base_error_set(base_error *error, base_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, and its value is `status`: a failing function ends with `return base_fail(error, BASE_EINVAL, "...", ...)`.
 * A macro, so that analysers see which status comes back; `status` is evaluated twice. */
#define base_fail(error, status, ...) (base_error_set(error, status, __VA_ARGS__), (base_status)(status))

/* Put words in front of the text of a failure that is passed up ("shard 3: " + old text).
 * No effect when `error` is NULL or holds no failure. */
void base_error_prefix(base_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
