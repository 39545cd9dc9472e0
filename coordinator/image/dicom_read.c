/* dicom_read.c - the DICOM data set: a walk over its elements that keeps those of the table in dicom_int.h.
 *
 *     file:     128 bytes | "DICM" | group 0002: transfer syntax | data set in that syntax
 *     element:  u16 group | u16 element | [VR: two letters, explicit syntaxes] | length, 2 or 4 bytes | value
 *
 * Files that begin at group 0002 or at the data set are read as well; without group 0002 the first element shows the
 * syntax.  Group 0002 is always explicit little endian.  Length 0xFFFFFFFF means items up to a delimiter.  The walk
 * stays inside the bytes and goes at most MAX_DEPTH items deep, so its cost is linear in the file's size. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "coordinator/image/dicom_int.h"

enum { MAX_DEPTH = 16, MAX_DECIMAL = 64 };

#define UNDEFINED 0xFFFFFFFFu

typedef struct field_row {
    uint32_t tag;
    unsigned scopes;
    const char *name;
} field_row;

static const field_row rows[DICOM_N_FIELDS] = {
#define X(field, group, element, scopes, name) \
    [field] = {0x##group##element, scopes, name " (" #group "," #element ")"},
    DICOM_FIELDS(X)
#undef X
};

const char *dicom_field_name(dicom_field field)
{
    return rows[field].name;
}

/* --- elements --- */

typedef struct cursor {
    const uint8_t *at, *end;
    bool is_explicit, is_big_endian;
} cursor;

typedef struct element {
    uint32_t tag, length;
    char vr[2]; /* {0} in implicit */
} element;

static size_t remaining(const cursor *c)
{
    return (size_t)(c->end - c->at);
}

static uint32_t field_at(const uint8_t *at, size_t n, bool is_big_endian)
{
    uint32_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | at[is_big_endian ? i : n - 1 - i];
    return value;
}

static base_status truncated(base_error *error)
{
    return base_fail(error, BASE_EFORMAT, "truncated DICOM: an element ends beyond the file; was it sent whole?");
}

static bool is_letter(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z';
}

static bool is_vr(const char *vr, const char *one)
{
    return memcmp(vr, one, 2) == 0;
}

/* VRs with two reserved bytes and a length of four. */
static bool has_long_length(const char *vr)
{
    static const char longs[] = "OBODOFOLOVOWSQSVUCUNURUTUV";
    for (size_t i = 0; i + 1 < sizeof longs; i += 2)
        if (is_vr(vr, longs + i))
            return true;
    return false;
}

/* Read an element's head; the value follows.  An element without a VR inside an explicit data set is read as implicit:
 * some writers leave private ones so. */
static base_status next_element(cursor *c, element *out, base_error *error)
{
    if (remaining(c) < 8)
        return truncated(error);
    out->tag = field_at(c->at, 2, c->is_big_endian) << 16 | field_at(c->at + 2, 2, c->is_big_endian);
    memset(out->vr, 0, sizeof out->vr);
    bool has_vr = c->is_explicit && out->tag >> 16 != 0xFFFE && is_letter(c->at[4]) && is_letter(c->at[5]);
    if (!has_vr) {
        out->length = field_at(c->at + 4, 4, c->is_big_endian);
        c->at += 8;
        return BASE_OK;
    }
    memcpy(out->vr, c->at + 4, 2);
    if (!has_long_length(out->vr)) {
        out->length = field_at(c->at + 6, 2, c->is_big_endian);
        c->at += 8;
        return BASE_OK;
    }
    if (remaining(c) < 12)
        return truncated(error);
    out->length = field_at(c->at + 8, 4, c->is_big_endian);
    c->at += 12;
    return BASE_OK;
}

/* The items of a sequence of fragments, up to its delimiter, as one range. */
static base_status take_fragments(cursor *c, dicom_bytes *out, base_error *error)
{
    const uint8_t *begin = c->at;
    for (;;) {
        element e;
        const uint8_t *at = c->at;
        base_status status = next_element(c, &e, error);
        if (status != BASE_OK)
            return status;
        if (e.tag == DICOM_SEQUENCE_END) {
            *out = (dicom_bytes){begin, (size_t)(at - begin)};
            return BASE_OK;
        }
        if (e.tag != DICOM_ITEM)
            return base_fail(error, BASE_EFORMAT, "damaged DICOM: its pixel data are not a sequence of fragments");
        if (e.length > remaining(c))
            return truncated(error);
        c->at += e.length;
    }
}

/* --- the walk --- */

typedef struct walk {
    dicom_file *file;
    uint32_t frame;
    base_error *error;
} walk;

static void keep(dicom_file *file, uint32_t tag, unsigned scope, dicom_bytes value)
{
    for (size_t i = 0; i < DICOM_N_FIELDS; i++)
        if (rows[i].tag == tag && (rows[i].scopes & scope) != 0)
            file->values[i] = value;
}

/* Like `keep`, for the element that the caller queries. */
static void keep_query(dicom_file *file, const element *e, unsigned scope, dicom_bytes value)
{
    dicom_query *query = file->query;
    if (query == NULL || scope != DICOM_DATA_SET || e->tag != query->tag)
        return;
    query->is_sequence = e->length == UNDEFINED || is_vr(e->vr, "SQ");
    memcpy(query->vr, e->vr, sizeof query->vr);
    query->value = value;
}

/* The scope of item `i` of the sequence `tag`, which lies in `scope`. */
static unsigned item_scope(const walk *w, uint32_t tag, unsigned scope, uint32_t i)
{
    if (scope == DICOM_DATA_SET && tag == DICOM_PER_FRAME_GROUPS)
        return i == w->frame ? DICOM_FUNCTIONAL_GROUPS : DICOM_IGNORED;
    if (i != 0)
        return DICOM_IGNORED;
    if (scope == DICOM_DATA_SET && tag == 0x00283000)
        return DICOM_OF_MODALITY;
    if (scope == DICOM_DATA_SET && tag == 0x00283010)
        return DICOM_OF_VOI;
    if (scope == DICOM_DATA_SET && tag == 0x52009229)
        return DICOM_FUNCTIONAL_GROUPS;
    if (scope == DICOM_FUNCTIONAL_GROUPS && (tag == 0x00289110 || tag == 0x00289132 || tag == 0x00289145))
        return DICOM_OF_FRAME;
    return DICOM_IGNORED;
}

static bool is_walked_sequence(uint32_t tag, unsigned scope)
{
    bool is_top = tag == 0x00283000 || tag == 0x00283010 || tag == 0x52009229 || tag == DICOM_PER_FRAME_GROUPS;
    bool is_group = tag == 0x00289110 || tag == 0x00289132 || tag == 0x00289145;
    return (scope == DICOM_DATA_SET && is_top) || (scope == DICOM_FUNCTIONAL_GROUPS && is_group);
}

static base_status walk_elements(walk *w, cursor *c, unsigned scope, unsigned depth, bool has_end_mark);

/* One item: it ends by its length, or at a delimiter. */
static base_status walk_item(walk *w, cursor *c, uint32_t length, unsigned scope, unsigned depth)
{
    if (length == UNDEFINED)
        return walk_elements(w, c, scope, depth, true);
    if (length > remaining(c))
        return truncated(w->error);
    cursor inside = *c;
    inside.end = c->at + length;
    c->at += length;
    return scope == DICOM_IGNORED ? BASE_OK : walk_elements(w, &inside, scope, depth, false);
}

/* The items of a sequence, up to the end of `c` or, with `has_end_mark`, to its delimiter. */
static base_status walk_items(walk *w, cursor *c, uint32_t tag, unsigned scope, unsigned depth, bool has_end_mark)
{
    if (depth == MAX_DEPTH)
        return base_fail(w->error, BASE_EFORMAT, "damaged DICOM: sequences are nested more than %d deep", MAX_DEPTH);
    for (uint32_t i = 0; has_end_mark || remaining(c) > 0; i++) {
        element e;
        const uint8_t *at = c->at;
        base_status status = next_element(c, &e, w->error);
        if (status != BASE_OK)
            return status;
        if (e.tag == DICOM_SEQUENCE_END)
            return BASE_OK;
        if (e.tag != DICOM_ITEM)
            return base_fail(w->error, BASE_EFORMAT, "damaged DICOM: a sequence holds something that is not an item");
        status = walk_item(w, c, e.length, item_scope(w, tag, scope, i), depth + 1);
        if (status != BASE_OK)
            return status;
        if (scope == DICOM_DATA_SET && tag == DICOM_PER_FRAME_GROUPS && i == w->frame)
            w->file->frame_item = (dicom_bytes){at, (size_t)(c->at - at)};
    }
    return BASE_OK;
}

/* The value of `e`, of undefined length: fragments, or a sequence. */
static base_status walk_undefined(walk *w, cursor *c, const element *e, unsigned scope, unsigned depth)
{
    if (e->tag == DICOM_PIXEL_DATA) { /* an icon's in a nested data set, too */
        dicom_bytes fragments = {0};
        base_status status = take_fragments(c, &fragments, w->error);
        if (status == BASE_OK && scope == DICOM_DATA_SET) {
            keep(w->file, e->tag, scope, fragments);
            w->file->has_fragments = true;
        }
        return status;
    }
    if (!is_vr(e->vr, "UN"))
        return walk_items(w, c, e->tag, scope, depth, true);
    cursor implicit = {.at = c->at, .end = c->end}; /* PS3.5 6.2.2: unknown sequences are implicit little endian */
    base_status status = walk_items(w, &implicit, e->tag, DICOM_IGNORED, depth, true);
    c->at = implicit.at;
    return status;
}

static base_status walk_value(walk *w, cursor *c, const element *e, unsigned scope, unsigned depth)
{
    if (e->length == UNDEFINED) {
        keep_query(w->file, e, scope, (dicom_bytes){0});
        return walk_undefined(w, c, e, scope, depth);
    }
    if (e->length > remaining(c))
        return truncated(w->error);
    cursor inside = *c;
    inside.end = c->at + e->length;
    c->at += e->length;
    if (is_walked_sequence(e->tag, scope))
        return walk_items(w, &inside, e->tag, scope, depth, false);
    keep(w->file, e->tag, scope, (dicom_bytes){inside.at, e->length});
    keep_query(w->file, e, scope, (dicom_bytes){inside.at, e->length});
    if (scope == DICOM_DATA_SET && e->tag == DICOM_PIXEL_DATA)
        w->file->has_words = is_vr(e->vr, "OW");
    return BASE_OK;
}

/* The elements of a data set.  The walk over the file's own ends at its pixel data: nothing after them matters. */
static base_status walk_elements(walk *w, cursor *c, unsigned scope, unsigned depth, bool has_end_mark)
{
    while (has_end_mark || remaining(c) > 0) {
        element e;
        const uint8_t *at = c->at;
        base_status status = next_element(c, &e, w->error);
        if (status != BASE_OK || (has_end_mark && e.tag == DICOM_ITEM_END))
            return status;
        if (scope == DICOM_DATA_SET && e.tag == DICOM_PIXEL_DATA)
            w->file->pixels_head = (dicom_bytes){at, (size_t)(c->at - at)};
        status = walk_value(w, c, &e, scope, depth);
        if (status != BASE_OK)
            return status;
        if (scope == DICOM_DATA_SET && e.tag == DICOM_PER_FRAME_GROUPS)
            w->file->per_frame = (dicom_bytes){at, (size_t)(c->at - at)};
        if (scope == DICOM_DATA_SET && e.tag >> 16 == DICOM_PIXEL_DATA >> 16 && w->file->pixels_at == NULL)
            w->file->pixels_at = at;
        if (scope == DICOM_DATA_SET && e.tag == DICOM_PIXEL_DATA)
            return BASE_OK;
    }
    return BASE_OK;
}

/* --- the file --- */

static dicom_bytes rest_of(const cursor *c)
{
    return (dicom_bytes){c->at, remaining(c)};
}

static base_status read_meta(dicom_file *file, cursor *c, base_error *error)
{
    dicom_bytes uid = {0};
    while (remaining(c) >= 2 && c->at[0] == 2 && c->at[1] == 0) {
        element e;
        base_status status = next_element(c, &e, error);
        if (status != BASE_OK)
            return status;
        if (e.length > remaining(c))
            return truncated(error);
        if (e.tag == 0x00020010)
            uid = (dicom_bytes){c->at, e.length};
        c->at += e.length;
    }
    if (uid.at != NULL)
        return dicom_syntax_set(file, uid, error);
    dicom_syntax_guess(file, rest_of(c));
    return BASE_OK;
}

static base_status inflate_all(z_stream *stream, base_buf *out, size_t max_bytes, base_error *error)
{
    for (int code = Z_OK; code != Z_STREAM_END;) {
        size_t room = max_bytes - out->size < 1 << 16 ? max_bytes - out->size : 1 << 16;
        if (room == 0)
            return base_fail(error, BASE_ETOOBIG, "the deflated DICOM grows beyond %zu bytes: send a smaller image",
                             max_bytes);
        if (!base_buf_reserve(out, room))
            return base_fail(error, BASE_ENOMEM, "no memory to inflate the DICOM");
        stream->next_out = out->data + out->size;
        stream->avail_out = (uInt)room;
        code = inflate(stream, Z_NO_FLUSH);
        out->size += room - stream->avail_out;
        if (code == Z_MEM_ERROR)
            return base_fail(error, BASE_ENOMEM, "no memory to inflate the DICOM");
        if (code != Z_OK && code != Z_STREAM_END)
            return base_fail(error, BASE_EFORMAT,
                             "truncated or damaged DICOM: it does not inflate; was it sent whole?");
    }
    return BASE_OK;
}

static base_status inflate_data_set(dicom_file *file, cursor *c, size_t max_bytes, base_error *error)
{
    if (remaining(c) > UINT32_MAX)
        return base_fail(error, BASE_ETOOBIG, "the deflated DICOM has more than 4 GiB");
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)c->at, .avail_in = (uInt)remaining(c)};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
        return base_fail(error, BASE_ENOMEM, "no memory to inflate the DICOM");
    base_status status = inflate_all(&stream, &file->inflated, max_bytes, error);
    inflateEnd(&stream);
    c->at = file->inflated.data;
    c->end = file->inflated.data + file->inflated.size;
    return status;
}

base_status dicom_file_read(dicom_file *file, const uint8_t *bytes, size_t size, uint32_t frame, size_t max_inflated,
                            base_error *error)
{
    cursor c = {.at = bytes, .end = bytes + size, .is_explicit = true};
    if (size >= 132 && memcmp(bytes + 128, "DICM", 4) == 0)
        c.at += 132;
    base_status status = read_meta(file, &c, error);
    if (status == BASE_OK && file->is_deflated)
        status = inflate_data_set(file, &c, max_inflated, error);
    if (status != BASE_OK)
        return status;
    dicom_syntax_check(file, rest_of(&c));
    c.is_explicit = file->is_explicit;
    c.is_big_endian = file->is_big_endian;
    walk w = {.file = file, .frame = frame, .error = error};
    return walk_elements(&w, &c, DICOM_DATA_SET, 0, false);
}

void dicom_file_release(dicom_file *file)
{
    base_buf_release(&file->inflated);
    *file = (dicom_file){0};
}

/* --- values --- */

bool dicom_word(const dicom_file *file, dicom_field field, size_t i, uint16_t *out)
{
    dicom_bytes value = file->values[field];
    if (value.at == NULL || value.size / 2 <= i)
        return false;
    *out = (uint16_t)field_at(value.at + 2 * i, 2, file->is_big_endian);
    return true;
}

base_status dicom_decimal(const dicom_file *file, dicom_field field, unsigned i, double *out, bool *is_given,
                          base_error *error)
{
    dicom_bytes value = file->values[field];
    const uint8_t *at = value.at, *end = at == NULL ? NULL : at + value.size;
    *is_given = false;
    for (; at != NULL && i > 0; i--) {
        at = memchr(at, '\\', (size_t)(end - at));
        at = at == NULL ? NULL : at + 1;
    }
    char text[MAX_DECIMAL + 1];
    size_t n = 0;
    for (; at != NULL && at < end && *at != '\\' && n < MAX_DECIMAL; at++)
        if (*at != ' ' && *at != 0)
            text[n++] = (char)*at;
    text[n] = 0;
    if (n == 0)
        return BASE_OK;
    char *rest = text;
    double number = strspn(text, "0123456789+-.eE") == n ? strtod(text, &rest) : NAN;
    if (*rest != 0 || !isfinite(number))
        return base_fail(error, BASE_EFORMAT,
                         "damaged DICOM: %s is not a finite number with a decimal point: correct it, or remove it",
                         dicom_field_name(field));
    *out = number;
    *is_given = true;
    return BASE_OK;
}

bool dicom_text_equals(const dicom_file *file, dicom_field field, const char *text)
{
    dicom_bytes value = file->values[field];
    if (value.at == NULL)
        return text[0] == 0;
    while (value.size > 0 && (value.at[value.size - 1] == ' ' || value.at[value.size - 1] == 0))
        value.size--;
    while (value.size > 0 && value.at[0] == ' ') {
        value.at++;
        value.size--;
    }
    return value.size == strlen(text) && memcmp(value.at, text, value.size) == 0;
}
