/* buf.h - a growing byte buffer, and readers and writers of little-endian fields.
 *
 * Writers append; the first failure (memory) sticks in `failed` and later writes do nothing, so a whole message is
 * written first and checked once.  Readers take from a borrowed range; the first short read sticks in `failed`,
 * later reads return zero. */
#ifndef PALMGROVE_BASE_BUF_H
#define PALMGROVE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct base_buf {
    uint8_t *data; /* owned */
    size_t size;   /* bytes in use */
    size_t capacity;
    bool failed;
} base_buf;

/* An empty buffer is `{0}`; release frees it and leaves it empty. */
void base_buf_release(base_buf *buf);

/* Size 0, not failed; the memory stays. */
void base_buf_clear(base_buf *buf);

/* Make room for `extra` more bytes; false (and `failed`) when memory is out or the size does not fit. */
bool base_buf_reserve(base_buf *buf, size_t extra);

/* Append bytes, or a little-endian field. */
void base_buf_put(base_buf *buf, const void *bytes, size_t size);
void base_buf_put_u8(base_buf *buf, uint8_t value);
void base_buf_put_u32(base_buf *buf, uint32_t value);
void base_buf_put_u64(base_buf *buf, uint64_t value);
void base_buf_put_f32(base_buf *buf, float value);

typedef struct base_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
} base_reader;

/* A reader over borrowed bytes; NULL is fine when size is 0. */
base_reader base_reader_over(const void *bytes, size_t size);

/* Bytes not read yet; 0 after a failure. */
size_t base_reader_left(const base_reader *reader);

/* Borrow the next `size` bytes; NULL (and `failed`) when fewer are left. */
const void *base_reader_take(base_reader *reader, size_t size);

/* The next little-endian field; 0 (and `failed`) when it is cut. */
uint8_t base_reader_u8(base_reader *reader);
uint32_t base_reader_u32(base_reader *reader);
uint64_t base_reader_u64(base_reader *reader);
float base_reader_f32(base_reader *reader);

#endif
