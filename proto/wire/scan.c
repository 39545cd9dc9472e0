/* scan.c - one recursive walk over the fields of a message, by the generated descriptors: tag, wire type, length, then
 * what the field's type asks for.  Reads every byte once, allocates nothing. */
#include "proto/wire/scan_int.h"

#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/utf8.h"

/* One field of the message. */
typedef struct wire_item {
    uint32_t number;
    uint32_t wire_type;
    uint64_t value;       /* varint and fixed types */
    const uint8_t *bytes; /* length-prefixed type, borrowed */
    size_t size;
} wire_item;

enum { VARINT = 0, FIXED64 = 1, LENGTH_PREFIXED = 2, FIXED32 = 5 };

/* At most ten bytes of seven bits; bits beyond 64 are dropped, as protobuf does. */
static uint64_t read_varint(base_reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte = base_reader_u8(reader);
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return value;
    }
    reader->failed = true;
    return 0;
}

/* Read the next field; a field that is cut or of an unknown wire type (groups are not in proto3) fails the reader. */
static void read_item(base_reader *reader, wire_item *item)
{
    uint64_t tag = read_varint(reader);
    *item = (wire_item){.number = (uint32_t)(tag >> 3), .wire_type = (uint32_t)(tag & 7)};
    if (tag > UINT32_MAX || item->number == 0)
        reader->failed = true;
    switch (item->wire_type) {
    case VARINT:
        item->value = read_varint(reader);
        break;
    case FIXED64:
        item->value = base_reader_u64(reader);
        break;
    case FIXED32:
        item->value = base_reader_u32(reader);
        break;
    case LENGTH_PREFIXED: {
        uint64_t size = read_varint(reader);
        item->bytes = base_reader_take(reader, size > SIZE_MAX ? SIZE_MAX : (size_t)size);
        item->size = (size_t)size;
        break;
    }
    default:
        reader->failed = true;
    }
}

/* The wire type that values of a field's type have, outside packed arrays. */
static uint32_t wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return FIXED32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return LENGTH_PREFIXED;
    default:
        return VARINT;
    }
}

static base_status check_string(const wire_item *item, const char *name, base_error *error)
{
    if (!base_utf8_is_valid(item->bytes, item->size))
        return base_fail(error, BASE_EFORMAT, "%s is not UTF-8 text", name);
    if (item->size > 0 && memchr(item->bytes, 0, item->size) != NULL)
        return base_fail(error, BASE_EFORMAT, "%s holds a NUL character; remove it", name);
    return BASE_OK;
}

static base_status scan_level(const ProtobufCMessageDescriptor *type, const void *bytes, size_t size, uint32_t *n_left,
                              base_error *error);

static base_status check_known(const ProtobufCFieldDescriptor *field, const wire_item *item, uint32_t *n_left,
                               base_error *error)
{
    bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    uint32_t expected = wire_type_of(field->type);
    bool packed = repeated && expected != LENGTH_PREFIXED && item->wire_type == LENGTH_PREFIXED;
    if (item->wire_type != expected && !packed)
        return base_fail(error, BASE_EFORMAT, "%s has wire type %u, not %u", field->name, item->wire_type, expected);
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return check_string(item, field->name, error);
    if (field->type != PROTOBUF_C_TYPE_MESSAGE)
        return BASE_OK;

    base_status status = scan_level(field->descriptor, item->bytes, item->size, n_left, error);
    if (status != BASE_OK)
        base_error_prefix(error, "%s.", field->name);
    return status;
}

/* Recursion is as deep as the schema, which has no recursive type. */
static base_status scan_level(const ProtobufCMessageDescriptor *type, const void *bytes, size_t size, uint32_t *n_left,
                              base_error *error)
{
    base_reader reader = base_reader_over(bytes, size);
    uint64_t seen = 0; /* by field index; the schema's messages have fewer than 64 fields */
    while (base_reader_left(&reader) > 0) {
        wire_item item;
        read_item(&reader, &item);
        if (reader.failed)
            return base_fail(error, BASE_EFORMAT, "message cut or not protobuf at byte %zu of %zu of a %s",
                             (size_t)(reader.at - (const uint8_t *)bytes), size, type->short_name);
        if (--*n_left == 0)
            return base_fail(error, BASE_ETOOBIG, "message has more than %u fields", SCAN_FIELDS_MAX - 1);

        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(type, item.number);
        if (field == NULL)
            continue; /* a newer protocol's: ignored */
        uint64_t bit = 1ull << (field - type->fields);
        if (field->label != PROTOBUF_C_LABEL_REPEATED && (seen & bit) != 0)
            return base_fail(error, BASE_EFORMAT, "%s appears twice", field->name);
        seen |= bit;
        base_status status = check_known(field, &item, n_left, error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

base_status scan_message(const ProtobufCMessageDescriptor *type, const void *bytes, size_t size, base_error *error)
{
    uint32_t n_left = SCAN_FIELDS_MAX;
    return scan_level(type, bytes, size, &n_left, error);
}

static bool is_printable(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] < 0x20 || bytes[i] >= 0x7F)
            return false;
    return true;
}

void scan_head(const void *bytes, size_t size, uint32_t *version, char *id, size_t id_bytes)
{
    *version = 0;
    memset(id, 0, id_bytes);
    base_reader reader = base_reader_over(bytes, size);
    while (base_reader_left(&reader) > 0) {
        wire_item item;
        read_item(&reader, &item);
        if (reader.failed)
            return;
        if (item.number == 1 && item.wire_type == VARINT)
            *version = (uint32_t)item.value;
        if (item.number == 2 && item.wire_type == LENGTH_PREFIXED && item.size > 0 && item.size < id_bytes &&
            is_printable(item.bytes, item.size)) {
            memset(id, 0, id_bytes);
            memcpy(id, item.bytes, item.size);
        }
    }
}
