/* dicom_maker.h - DICOM files composed byte by byte, for tests: a plan says what a file holds. */
#ifndef PALMGROVE_DICOM_MAKER_H
#define PALMGROVE_DICOM_MAKER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "proto/base/buf.h"

#define SYNTAX    "1.2.840.10008.1.2"
#define IMPLICIT  SYNTAX
#define LITTLE    SYNTAX ".1"
#define DEFLATED  SYNTAX ".1.99"
#define BIG       SYNTAX ".2"
#define RLE       SYNTAX ".5"
#define UNDEFINED 0xFFFFFFFFu

typedef struct maker {
    base_buf buf;
    bool is_explicit, is_big_endian;
} maker;

static inline void put_number(maker *m, uint32_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        base_buf_put_u8(&m->buf, (uint8_t)(value >> 8 * (m->is_big_endian ? n - 1 - i : i)));
}

static inline bool is_long(const char *vr)
{
    return strstr("OB OW SQ UN UT", vr) != NULL;
}

static inline void put_head(maker *m, uint32_t tag, const char *vr, uint32_t length)
{
    put_number(m, tag >> 16, 2);
    put_number(m, tag & 0xFFFF, 2);
    if (!m->is_explicit || vr == NULL) {
        put_number(m, length, 4);
        return;
    }
    base_buf_put(&m->buf, vr, 2);
    if (is_long(vr))
        put_number(m, 0, 2);
    put_number(m, length, is_long(vr) ? 4 : 2);
}

static inline void put_bytes(maker *m, uint32_t tag, const char *vr, const void *bytes, size_t n)
{
    put_head(m, tag, vr, (uint32_t)(n + n % 2));
    base_buf_put(&m->buf, bytes, n);
    if (n % 2 != 0)
        base_buf_put_u8(&m->buf, strcmp(vr, "UI") == 0 || is_long(vr) ? 0 : ' ');
}

static inline void put_text(maker *m, uint32_t tag, const char *vr, const char *text)
{
    put_bytes(m, tag, vr, text, strlen(text));
}

static inline void put_words(maker *m, uint32_t tag, const char *vr, const uint16_t *words, size_t n)
{
    put_head(m, tag, vr, (uint32_t)(2 * n));
    for (size_t i = 0; i < n; i++)
        put_number(m, words[i], 2);
}

static inline void put_word(maker *m, uint32_t tag, uint16_t word)
{
    put_words(m, tag, "US", &word, 1);
}

/* A sequence of one item, open until `end_item`. */
static inline void begin_item(maker *m, uint32_t tag)
{
    put_head(m, tag, "SQ", UNDEFINED);
    put_head(m, 0xFFFEE000, NULL, UNDEFINED);
}

static inline void end_item(maker *m)
{
    put_head(m, 0xFFFEE00D, NULL, 0);
    put_head(m, 0xFFFEE0DD, NULL, 0);
}

/* What a file is made of; 0 and NULL mean: 1 sample of 8 bits, MONOCHROME2, explicit little endian. */
typedef struct plan {
    const char *syntax, *photometric, *frames, *private_text;
    uint16_t columns, rows, samples, planar, allocated, stored, high, is_signed;
    void (*more)(maker *m); /* elements between the shape and the pixels */
    const char *vr;         /* of the pixels */
    const void *pixels;     /* u16 for more than 8 bits allocated */
    size_t n;               /* samples of `pixels` */
    void (*fragments)(maker *m);
    bool no_pixels, no_preamble;
} plan;

static inline void put_meta(maker *m, const char *syntax)
{
    static const uint8_t preamble[128];
    base_buf_put(&m->buf, preamble, sizeof preamble);
    base_buf_put(&m->buf, "DICM", 4);
    put_text(m, 0x00020010, "UI", syntax);
}

static inline void put_shape(maker *m, const plan *p)
{
    uint16_t allocated = p->allocated != 0 ? p->allocated : 8, stored = p->stored != 0 ? p->stored : allocated;
    if (p->private_text != NULL)
        put_text(m, 0x00100010, "PN", p->private_text);
    put_word(m, 0x00280002, p->samples != 0 ? p->samples : 1);
    put_text(m, 0x00280004, "CS", p->photometric != NULL ? p->photometric : "MONOCHROME2");
    if (p->samples > 1)
        put_word(m, 0x00280006, p->planar);
    if (p->frames != NULL)
        put_text(m, 0x00280008, "IS", p->frames);
    put_word(m, 0x00280010, p->rows);
    put_word(m, 0x00280011, p->columns);
    put_word(m, 0x00280100, allocated);
    put_word(m, 0x00280101, stored);
    put_word(m, 0x00280102, p->high != 0 ? p->high : (uint16_t)(stored - 1));
    put_word(m, 0x00280103, p->is_signed);
}

static inline void put_pixels(maker *m, const plan *p)
{
    if (p->fragments != NULL) {
        put_head(m, 0x7FE00010, "OB", UNDEFINED);
        p->fragments(m);
        put_head(m, 0xFFFEE0DD, NULL, 0);
    } else if (p->allocated > 8) {
        put_words(m, 0x7FE00010, "OW", p->pixels, p->n);
    } else {
        put_bytes(m, 0x7FE00010, p->vr != NULL ? p->vr : "OB", p->pixels, p->n);
    }
}

static inline void deflate_data_set(maker *m, size_t from)
{
    static uint8_t out[1 << 16];
    z_stream stream = {.next_in = m->buf.data + from,
                       .avail_in = (uInt)(m->buf.size - from),
                       .next_out = out,
                       .avail_out = sizeof out};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    m->buf.size = from;
    base_buf_put(&m->buf, out, stream.total_out);
    deflateEnd(&stream);
}

static inline void make(const plan *p, base_buf *out)
{
    const char *syntax = p->syntax != NULL ? p->syntax : LITTLE;
    maker m = {.is_explicit = true};
    if (!p->no_preamble)
        put_meta(&m, syntax);
    size_t begin = m.buf.size;
    m.is_explicit = strcmp(syntax, IMPLICIT) != 0;
    m.is_big_endian = strcmp(syntax, BIG) == 0;
    if (p->no_preamble)
        put_text(&m, 0x00080008, "CS", "ORIGINAL");
    put_shape(&m, p);
    if (p->more != NULL)
        p->more(&m);
    if (!p->no_pixels)
        put_pixels(&m, p);
    if (strcmp(syntax, DEFLATED) == 0)
        deflate_data_set(&m, begin);
    assert_false(m.buf.failed);
    *out = m.buf;
}

#endif
