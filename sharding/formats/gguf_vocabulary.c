/* gguf_vocabulary.c - a GGUF file of nothing but a vocabulary, made from a model's.  Values are copied as they are. */
#include <string.h>

#include "sharding/formats/gguf_file.h"

#define MAGIC   "GGUF"
#define VERSION 3u

static bool begins_with(gguf_string key, const char *text)
{
    size_t n = strlen(text);
    return key.size >= n && memcmp(key.bytes, text, n) == 0;
}

static bool is_wanted(gguf_string key)
{
    return begins_with(key, "tokenizer.") ||
           (key.size == strlen("general.architecture") && begins_with(key, "general.architecture"));
}

static size_t string_bytes(const uint8_t *at)
{
    base_reader reader = base_reader_over(at, sizeof(uint64_t));
    return sizeof(uint64_t) + (size_t)base_reader_u64(&reader);
}

/* Bytes of the elements, which were checked when the file was opened. */
static size_t value_bytes(const gguf_value *value)
{
    if (value->kind != GGUF_STRING)
        return (size_t)value->n * gguf_kind_bytes(value->kind);
    if (!value->is_array)
        return string_bytes(value->at);
    if (value->n == 0)
        return 0;
    size_t last = (size_t)value->starts[value->n - 1];
    return last + string_bytes(value->at + last);
}

static void put_pair(base_buf *out, const gguf_pair *pair)
{
    base_buf_put_u64(out, pair->key.size);
    base_buf_put(out, pair->key.bytes, pair->key.size);
    base_buf_put_u32(out, pair->value.is_array ? GGUF_ARRAY : pair->value.kind);
    if (pair->value.is_array) {
        base_buf_put_u32(out, pair->value.kind);
        base_buf_put_u64(out, pair->value.n);
    }
    base_buf_put(out, pair->value.at, value_bytes(&pair->value));
}

void gguf_put_vocabulary(const gguf_file *file, base_buf *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < file->n_pairs; i++)
        n += is_wanted(file->pairs[i].key);
    base_buf_put(out, MAGIC, sizeof MAGIC - 1);
    base_buf_put_u32(out, VERSION);
    base_buf_put_u64(out, 0); /* tensors */
    base_buf_put_u64(out, n);
    for (size_t i = 0; i < file->n_pairs; i++)
        if (is_wanted(file->pairs[i].key))
            put_pair(out, &file->pairs[i]);
}
