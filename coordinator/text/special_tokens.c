/* special_tokens.c - binary search by one more byte at a time.
 *
 *     rows      </s>  <pad>  <s>  <start_of_turn>      text  <start_of_turn>user
 *     byte <    [0, 4)
 *     byte s    [2, 4)                                 no row ends here
 *     byte t    [3, 4) ...                             a row that ends on the way is a match; the last is the longest
 */
#include "coordinator/text/special_tokens_int.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/grow.h"

void specials_release(specials *s)
{
    free(s->rows);
    base_buf_release(&s->text);
    *s = (specials){0};
}

base_status specials_add(specials *s, const char *text, size_t size, int32_t id, const char *name, base_error *error)
{
    if (size == 0 || size > SPECIAL_BYTES_MAX)
        return base_fail(error, BASE_EFORMAT, "'%s': special token %d has a spelling of %zu bytes; 1 to %u are allowed",
                         name, id, size, SPECIAL_BYTES_MAX);
    special row = {.offset = (uint32_t)s->text.size, .size = (uint32_t)size, .id = id};
    base_buf_put(&s->text, text, size);
    base_buf_put_u8(&s->text, 0);
    if (s->text.failed || s->text.size > UINT32_MAX || !base_grow(&s->rows, &s->capacity, s->n + 1, sizeof *s->rows))
        return base_fail(error, BASE_ENOMEM, "no memory for the special tokens of '%s'", name);
    s->rows[s->n++] = row;
    s->starts[(uint8_t)text[0]] = true;
    return BASE_OK;
}

static const uint8_t *spelling(const specials *s, size_t i)
{
    return s->text.data + s->rows[i].offset;
}

static int compare_rows(const void *a, const void *b, void *context)
{
    const special *x = a, *y = b;
    const uint8_t *text = context;
    size_t n = x->size < y->size ? x->size : y->size;
    int order = memcmp(text + x->offset, text + y->offset, n);
    if (order == 0)
        order = (x->size > y->size) - (x->size < y->size);
    return order != 0 ? order : (x->id > y->id) - (x->id < y->id);
}

static bool is_same_spelling(const specials *s, size_t i, size_t j)
{
    return s->rows[i].size == s->rows[j].size && memcmp(spelling(s, i), spelling(s, j), s->rows[i].size) == 0;
}

void specials_sort(specials *s)
{
    if (s->n == 0)
        return;
    qsort_r(s->rows, s->n, sizeof *s->rows, compare_rows, s->text.data);
    size_t kept = 1;
    for (size_t i = 1; i < s->n; i++)
        if (!is_same_spelling(s, kept - 1, i))
            s->rows[kept++] = s->rows[i];
    s->n = kept;
}

/* The first row of [low, high) whose byte at `depth` is at least `byte`; rows that end before it come first. */
static size_t lower_bound(const specials *s, size_t low, size_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->rows[middle].size <= depth || spelling(s, middle)[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that the text begins with; its row, or NULL. */
static const special *match_here(const specials *s, const char *text, size_t size)
{
    const special *longest = NULL;
    size_t low = 0, high = s->n;
    for (size_t depth = 0; depth < size && low < high; depth++) {
        unsigned byte = (uint8_t)text[depth];
        low = lower_bound(s, low, high, depth, byte);
        high = lower_bound(s, low, high, depth, byte + 1);
        if (low < high && s->rows[low].size == depth + 1)
            longest = &s->rows[low];
    }
    return longest;
}

int32_t specials_find(const specials *s, const char *text, size_t size, size_t from, size_t *begin, size_t *bytes)
{
    for (size_t at = from; s->n > 0 && at < size; at++) {
        const special *found = s->starts[(uint8_t)text[at]] ? match_here(s, text + at, size - at) : NULL;
        if (found != NULL) {
            *begin = at;
            *bytes = found->size;
            return found->id;
        }
    }
    return -1;
}

const char *specials_spelling(const specials *s, int32_t id)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->rows[i].id == id)
            return (const char *)spelling(s, i);
    return NULL;
}
