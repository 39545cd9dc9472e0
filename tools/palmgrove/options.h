/* options.h - one table of rows drives parsing, defaults, environment, --help, docs/CONFIG.md, the man page and
 * completion.
 *
 * A command declares a struct of values and a table of rows that point into it by offset.  For each row the value comes
 * from, in this order: the command line, the environment variable PALMGROVE_<NAME> (upper case, '-' as '_'), the row's
 * default. Rows of kind LIST may share one offset: their items then keep the order in which they were written, which is
 * how `generate --text A --image B --text C` becomes ordered parts. Strings are borrowed from argv, the environment and
 * the tables. */
#ifndef PALMGROVE_OPTIONS_H
#define PALMGROVE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

typedef enum option_kind {
    OPTION_FLAG, /* bool */
    OPTION_TEXT, /* const char * */
    OPTION_U32,  /* uint32_t */
    OPTION_U64,  /* uint64_t */
    OPTION_REAL, /* float, finite, >= 0 */
    OPTION_LIST, /* option_list: may be repeated */
} option_kind;

enum {
    OPTION_POSITIONAL = 1u << 0,     /* given by place, without --name; in table order */
    OPTION_REQUIRED = 1u << 1,       /* an error when no source has a value */
    OPTION_NO_ENVIRONMENT = 1u << 2, /* belongs to one call: never read from the environment */
};

typedef struct option_row {
    const char *name;     /* "kv-tokens"; a positional's is its lower-case name ("model") */
    const char *argument; /* "N", "FILE" ...; NULL for a flag */
    option_kind kind;
    size_t offset;       /* of the value in the command's struct */
    const char *initial; /* the default as one would type it; NULL: zero, false, NULL or an empty list */
    const char *help;    /* one sentence, lower case, no final period */
    unsigned flags;
} option_row;

typedef struct option_table {
    const option_row *rows;
    size_t n_rows;
} option_table;

typedef struct option_item {
    const option_row *row; /* which option it came from */
    const char *value;
} option_item;

typedef struct option_list {
    option_item *items; /* owned; option_release frees it */
    size_t n;
    bool given; /* from the command line; further items are appended instead of replacing */
} option_list;

/* Fill `values` (zeroed by the caller) from argv[0..argc), the environment and the defaults.  "--help" and "-h" set
 * *help and end the parsing.  Call option_release in any case. Errors: BASE_EINVAL unknown option (with the nearest
 * known one), missing or malformed value, missing or surplus positional; BASE_ENOMEM. */
base_status option_parse(const option_table *table, int argc, char **argv, void *values, bool *help, base_error *error);
void option_release(const option_table *table, void *values);

/* The environment variable of a row, "PALMGROVE_KV_TOKENS"; "" when it has none. */
void option_environment_name(const option_row *row, char out[64]);

#endif
