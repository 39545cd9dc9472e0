/* scan_int.h - check a protobuf message before anything is allocated for it.
 *
 * protobuf-c's unpacker trusts more than an open port should: it allocates for every field (a two-byte field becomes a
 * structure of a hundred bytes), does not check UTF-8, silently cuts a string at a NUL, and merges fields that appear
 * twice.  This pass follows the generated descriptors, so the .proto stays the only schema, and accepts only what can
 * be unpacked in memory proportional to the message. */
#ifndef PALMGROVE_WIRE_SCAN_H
#define PALMGROVE_WIRE_SCAN_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

/* Fields in one message, those of its submessages and unknown ones included.  A request within the limits of msg.h has
 * at most 64 * (1 + 32 * 3) + 32. */
#define SCAN_FIELDS_MAX 8192u

/* Check structure, wire types, string contents and counts of a message of type `type`, submessages included.
 * Errors: BASE_EFORMAT, BASE_ETOOBIG; the text names the field. */
base_status scan_message(const ProtobufCMessageDescriptor *type, const void *bytes, size_t size, base_error *error);

/* Read fields 1 (version) and 2 (request_id, at most id_bytes - 1 printable ASCII characters) of a Request or Reply as
 * far as its top level is well-formed; what was not found is 0 or "". */
void scan_head(const void *bytes, size_t size, uint32_t *version, char *id, size_t id_bytes);

#endif
