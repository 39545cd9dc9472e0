/* json_read.h - strict reading of small JSON files from a checkpoint directory.
 *
 * A field that is missing, of the wrong kind or out of range is an error that names file, field and what was expected;
 * nothing is guessed.  The first failure sticks in the scope and later reads return a harmless value, so a whole object
 * is read first and checked once. */
#ifndef PALMGROVE_SHARDING_JSON_READ_H
#define PALMGROVE_SHARDING_JSON_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

/* Parse `size` bytes as one JSON object, duplicate keys refused.  `file` names it in errors.  The caller owns *out
 * (json_decref). Errors: BASE_EFORMAT with line and column. */
base_status shard_json_parse(const char *file, const void *bytes, size_t size, json_t **out, base_error *error);

/* An object being read.  `path` is the prefix of its fields in errors: "" or "text_config.". */
typedef struct shard_json {
    const json_t *object; /* borrowed; NULL after a failure to find it */
    const char *file;
    const char *path;
    base_error *error; /* may be NULL */
    base_status status;
} shard_json;

shard_json shard_json_over(const json_t *object, const char *file, const char *path, base_error *error);

bool shard_json_has(const shard_json *json, const char *field);
uint32_t shard_json_u32(shard_json *json, const char *field, uint32_t min, uint32_t max);
double shard_json_number(shard_json *json, const char *field, double min, double max);
bool shard_json_bool(shard_json *json, const char *field);
/* The same for fields that may be left out or null: `otherwise` then. */
uint32_t shard_json_u32_or(shard_json *json, const char *field, uint32_t min, uint32_t max, uint32_t otherwise);
double shard_json_number_or(shard_json *json, const char *field, double min, double max, double otherwise);
bool shard_json_bool_or(shard_json *json, const char *field, bool otherwise);
const char *shard_json_text_or(shard_json *json, const char *field, const char *otherwise);

/* A printable ASCII text of 1 to 63 bytes, borrowed from the JSON; "" on failure. */
const char *shard_json_text(shard_json *json, const char *field);
/* An array of exactly n numbers. */
void shard_json_numbers(shard_json *json, const char *field, size_t n, double min, double max, float *out);

/* True for 1 to `max` printable ASCII characters without blanks: what names of tensors and files may hold, so that an
 * error that quotes one stays one readable line. */
bool shard_name_is_plain(const char *name, size_t max);

/* The failure of any other check of a field: "'config.json': field 'text_config.x' is wrong: expected ..."; sticks as
 * well. */
void shard_json_fail(shard_json *json, const char *field, const char *expected);

#endif
