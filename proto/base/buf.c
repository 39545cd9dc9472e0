#include "proto/base/buf.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "palmgrove reads and writes little-endian fields by memcpy; add byte swaps for this machine"
#endif

void base_buf_release(base_buf *buf)
{
    free(buf->data);
    *buf = (base_buf){0};
}

void base_buf_clear(base_buf *buf)
{
    buf->size = 0;
    buf->failed = false;
}

bool base_buf_reserve(base_buf *buf, size_t extra)
{
    size_t needed;
    if (buf->failed)
        return false;
    if (!base_size_add(buf->size, extra, &needed)) {
        buf->failed = true;
        return false;
    }
    if (needed <= buf->capacity)
        return true;
    size_t capacity = buf->capacity < 64 ? 64 : buf->capacity;
    while (capacity < needed && capacity <= SIZE_MAX / 2)
        capacity *= 2;
    if (capacity < needed)
        capacity = needed;
    uint8_t *data = realloc(buf->data, capacity);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

void base_buf_put(base_buf *buf, const void *bytes, size_t size)
{
    if (size == 0 || !base_buf_reserve(buf, size))
        return;
    memcpy(buf->data + buf->size, bytes, size);
    buf->size += size;
}

void base_buf_put_u8(base_buf *buf, uint8_t value)
{
    base_buf_put(buf, &value, sizeof value);
}

void base_buf_put_u32(base_buf *buf, uint32_t value)
{
    base_buf_put(buf, &value, sizeof value);
}

void base_buf_put_u64(base_buf *buf, uint64_t value)
{
    base_buf_put(buf, &value, sizeof value);
}

void base_buf_put_f32(base_buf *buf, float value)
{
    base_buf_put(buf, &value, sizeof value);
}

base_reader base_reader_over(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    return (base_reader){.at = at, .end = size > 0 ? at + size : at};
}

size_t base_reader_left(const base_reader *reader)
{
    return reader->failed ? 0 : (size_t)(reader->end - reader->at);
}

const void *base_reader_take(base_reader *reader, size_t size)
{
    if (size > base_reader_left(reader)) {
        reader->failed = true;
        return NULL;
    }
    const void *taken = reader->at;
    reader->at += size;
    return taken;
}

static void read_field(base_reader *reader, void *out, size_t size)
{
    const void *bytes = base_reader_take(reader, size);
    if (bytes != NULL)
        memcpy(out, bytes, size);
}

uint8_t base_reader_u8(base_reader *reader)
{
    uint8_t value = 0;
    read_field(reader, &value, sizeof value);
    return value;
}

uint32_t base_reader_u32(base_reader *reader)
{
    uint32_t value = 0;
    read_field(reader, &value, sizeof value);
    return value;
}

uint64_t base_reader_u64(base_reader *reader)
{
    uint64_t value = 0;
    read_field(reader, &value, sizeof value);
    return value;
}

float base_reader_f32(base_reader *reader)
{
    float value = 0.0f;
    read_field(reader, &value, sizeof value);
    return value;
}
