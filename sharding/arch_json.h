/* arch_json.h - a descriptor as JSON and back: in the manifest of shards, and for `palmgrove inspect --json`.
 *
 * Nothing is left out and nothing is guessed: what arch_to_json wrote reads back as an equal `arch`, doubles to the
 * last bit.  An object from outside is held to the same ranges as config.json, so what was read can be computed with.
 */
#ifndef PALMGROVE_SHARDING_ARCH_JSON_H
#define PALMGROVE_SHARDING_ARCH_JSON_H

#include <jansson.h>

#include "proto/base/status.h"
#include "sharding/arch.h"

/* A new reference; NULL when memory is out. */
json_t *arch_to_json(const arch *a);

/* `file` names the object's file in errors.  *out is written only on success.
 * Errors: BASE_EFORMAT a field is missing, unknown, of the wrong kind or out of range (named); BASE_EUNSUPPORTED a
 * family that this build does not know. */
base_status arch_from_json(const json_t *object, const char *file, arch *out, base_error *error);

#endif
