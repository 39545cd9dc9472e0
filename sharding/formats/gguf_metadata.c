/* gguf_metadata.c - the values of a GGUF file that gguf.c has checked: found by key, converted where nothing is lost,
 * described. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/utf8.h"
#include "sharding/formats/gguf_file.h"

static const struct kind_row {
    const char *name;
    uint8_t bytes;
} kinds[GGUF_N_KINDS] = {
    [GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},   [GGUF_U16] = {"u16", 2}, [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4},     [GGUF_I32] = {"i32", 4}, [GGUF_F32] = {"f32", 4}, [GGUF_BOOL] = {"bool", 1},
    [GGUF_U64] = {"u64", 8},     [GGUF_I64] = {"i64", 8}, [GGUF_F64] = {"f64", 8}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0},
};

size_t gguf_kind_bytes(gguf_kind kind)
{
    return kinds[kind].bytes;
}

int gguf_string_compare(gguf_string a, gguf_string b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int order = n == 0 ? 0 : memcmp(a.bytes, b.bytes, n);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

const gguf_value *gguf_find(const gguf_file *file, gguf_string key)
{
    size_t low = 0, high = file->n_pairs;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = gguf_string_compare(file->sorted[middle]->key, key);
        if (order == 0)
            return &file->sorted[middle]->value;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static const gguf_value *find(const gguf_file *file, const char *key)
{
    return gguf_find(file, (gguf_string){.bytes = key, .size = strlen(key)});
}

/* --- elements: false when out of range or of another kind --- */

/* The bits of a number, zero-extended. */
static uint64_t number_bits(const gguf_value *value, uint64_t i)
{
    uint64_t bits = 0; /* little-endian, as every host we build for */
    memcpy(&bits, value->at + i * kinds[value->kind].bytes, kinds[value->kind].bytes);
    return bits;
}

static bool is_signed(gguf_kind kind)
{
    return kind == GGUF_I8 || kind == GGUF_I16 || kind == GGUF_I32 || kind == GGUF_I64;
}

static bool is_unsigned(gguf_kind kind)
{
    return kind == GGUF_U8 || kind == GGUF_U16 || kind == GGUF_U32 || kind == GGUF_U64;
}

/* The value of a signed number, whatever its width. */
static int64_t sign_extended(const gguf_value *value, uint64_t i)
{
    uint64_t bits = number_bits(value, i), sign = UINT64_C(1) << (kinds[value->kind].bytes * 8 - 1);
    return (int64_t)((bits ^ sign) - sign);
}

static bool as_u64(const gguf_value *value, uint64_t i, uint64_t *out)
{
    if (i >= value->n)
        return false;
    if (is_unsigned(value->kind)) {
        *out = number_bits(value, i);
        return true;
    }
    if (!is_signed(value->kind) || sign_extended(value, i) < 0)
        return false;
    *out = (uint64_t)sign_extended(value, i);
    return true;
}

static bool as_i64(const gguf_value *value, uint64_t i, int64_t *out)
{
    if (i >= value->n)
        return false;
    if (is_signed(value->kind)) {
        *out = sign_extended(value, i);
        return true;
    }
    if ((!is_unsigned(value->kind) && value->kind != GGUF_BOOL) || number_bits(value, i) > INT64_MAX)
        return false;
    *out = (int64_t)number_bits(value, i);
    return true;
}

static bool as_f64(const gguf_value *value, uint64_t i, double *out)
{
    if (i >= value->n)
        return false;
    if (value->kind == GGUF_F64) {
        memcpy(out, value->at + i * sizeof *out, sizeof *out);
    } else if (value->kind == GGUF_F32) {
        float number;
        memcpy(&number, value->at + i * sizeof number, sizeof number);
        *out = (double)number;
    } else if (is_unsigned(value->kind)) {
        *out = (double)number_bits(value, i);
    } else if (is_signed(value->kind)) {
        *out = (double)sign_extended(value, i);
    } else {
        return false;
    }
    return true;
}

static bool as_string(const gguf_value *value, uint64_t i, gguf_string *out)
{
    if (i >= value->n || value->kind != GGUF_STRING)
        return false;
    const uint8_t *at = value->at + (value->starts != NULL ? value->starts[i] : 0);
    uint64_t size;
    memcpy(&size, at, sizeof size);
    *out = (gguf_string){.bytes = (const char *)at + sizeof size, .size = (size_t)size};
    return true;
}

/* --- by key --- */

static const gguf_value *find_single(const gguf_file *file, const char *key)
{
    const gguf_value *value = find(file, key);
    return value != NULL && !value->is_array ? value : NULL;
}

static const gguf_value *find_array(const gguf_file *file, const char *key)
{
    const gguf_value *value = find(file, key);
    return value != NULL && value->is_array ? value : NULL;
}

bool gguf_has(const gguf_file *file, const char *key)
{
    return find(file, key) != NULL;
}

bool gguf_get_u64(const gguf_file *file, const char *key, uint64_t *out)
{
    const gguf_value *value = find_single(file, key);
    return value != NULL && as_u64(value, 0, out);
}

bool gguf_get_f64(const gguf_file *file, const char *key, double *out)
{
    const gguf_value *value = find_single(file, key);
    return value != NULL && as_f64(value, 0, out);
}

bool gguf_get_bool(const gguf_file *file, const char *key, bool *out)
{
    const gguf_value *value = find_single(file, key);
    if (value == NULL || value->kind != GGUF_BOOL)
        return false;
    *out = *value->at != 0;
    return true;
}

bool gguf_get_string(const gguf_file *file, const char *key, gguf_string *out)
{
    const gguf_value *value = find_single(file, key);
    return value != NULL && as_string(value, 0, out);
}

size_t gguf_array_size(const gguf_file *file, const char *key)
{
    const gguf_value *value = find_array(file, key);
    return value != NULL ? (size_t)value->n : 0;
}

bool gguf_array_string(const gguf_file *file, const char *key, size_t i, gguf_string *out)
{
    const gguf_value *value = find_array(file, key);
    return value != NULL && as_string(value, i, out);
}

bool gguf_array_f64(const gguf_file *file, const char *key, size_t i, double *out)
{
    const gguf_value *value = find_array(file, key);
    return value != NULL && as_f64(value, i, out);
}

bool gguf_array_i64(const gguf_file *file, const char *key, size_t i, int64_t *out)
{
    const gguf_value *value = find_array(file, key);
    return value != NULL && as_i64(value, i, out);
}

/* --- descriptions --- */

/* Text being written into [size]: what does not fit is dropped, the end stays terminated. */
typedef struct line {
    char *text;
    size_t size, at;
} line;

static bool put(line *out, const char *bytes, size_t n)
{
    if (n >= out->size - out->at)
        return false;
    memcpy(out->text + out->at, bytes, n);
    out->at += n;
    out->text[out->at] = '\0';
    return true;
}

/* Bytes of the character at `bytes`, whose text is valid UTF-8. */
static size_t character_bytes(const char *bytes)
{
    uint8_t first = (uint8_t)*bytes;
    return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* One character, or one byte of what is not UTF-8, so that a terminal shows it and does not obey it: C0 and C1 control
 * characters, DEL and foreign bytes as \xNN.  Returns the bytes used, 0 when the line is full. */
static size_t put_character(line *out, const char *bytes, bool is_utf8)
{
    uint8_t first = (uint8_t)bytes[0];
    size_t n = is_utf8 ? character_bytes(bytes) : 1;
    bool control = first < 0x20 || first == 0x7F || (n == 2 && first == 0xC2 && (uint8_t)bytes[1] < 0xA0);
    if (!control && (is_utf8 || first < 0x80))
        return put(out, bytes, n) ? n : 0;
    char code[16];
    int length = first == '\n' ? snprintf(code, sizeof code, "\\n")
                 : n == 2      ? snprintf(code, sizeof code, "\\x%02x\\x%02x", first, (uint8_t)bytes[1])
                               : snprintf(code, sizeof code, "\\x%02x", first);
    return put(out, code, (size_t)length) ? n : 0;
}

/* "text" in quotes; cut with "..." where it does not fit. */
static void put_string(line *out, gguf_string string)
{
    const char tail[] = "...";
    bool is_utf8 = base_utf8_is_valid(string.bytes, string.size);
    put(out, "\"", 1);
    line body = *out;
    size_t reserve = sizeof tail + 1; /* the dots and a quote */
    body.size = out->size - out->at > reserve ? out->size - reserve : out->at + 1;
    size_t used = 0, n = 1;
    while (used < string.size && n > 0) {
        n = put_character(&body, string.bytes + used, is_utf8);
        used += n;
    }
    out->at = body.at;
    if (used < string.size)
        put(out, tail, strlen(tail));
    put(out, "\"", 1);
}

static void put_number(line *out, const gguf_value *value)
{
    char text[40];
    double number = 0.0;
    int length = 0;
    if (value->kind == GGUF_BOOL)
        length = snprintf(text, sizeof text, "%s", *value->at != 0 ? "true" : "false");
    else if (is_unsigned(value->kind))
        length = snprintf(text, sizeof text, "%" PRIu64, number_bits(value, 0));
    else if (is_signed(value->kind))
        length = snprintf(text, sizeof text, "%" PRId64, sign_extended(value, 0));
    else if (as_f64(value, 0, &number))
        length = snprintf(text, sizeof text, value->kind == GGUF_F32 ? "%.7g" : "%.15g", number);
    put(out, text, (size_t)length);
}

bool gguf_describe(const gguf_file *file, size_t i, gguf_string *key, char *value, size_t size)
{
    if (i >= file->n_pairs || size == 0)
        return false;
    const gguf_value *found = &file->pairs[i].value;
    line out = {.text = value, .size = size};
    gguf_string string;
    value[0] = '\0';
    *key = file->pairs[i].key;
    if (found->is_array)
        snprintf(value, size, "array of %" PRIu64 " %s", found->n, kinds[found->kind].name);
    else if (as_string(found, 0, &string))
        put_string(&out, string);
    else
        put_number(&out, found);
    return true;
}
