/* stop_strings.c - the stop-string matcher.
 *
 *     stops "\nQ:"      delta  "yes.\n"    out "yes."    held "\n"
 *                       delta  "Q"         out ""        held "\nQ"
 *                       delta  ": why"     stop: held and what follows are dropped
 *
 * `held` is the tail of the text that may still become a stop string; after every push it is shorter than the longest
 * of them.  A match begins in it or in the new bytes, so searching both together finds each, wherever deltas are cut.
 */
#include <string.h>

#include "coordinator/text/text.h"

void text_stop_init(text_stop *stop, const char *const *strings, size_t n_strings)
{
    *stop = (text_stop){.strings = strings, .n_strings = n_strings};
}

void text_stop_release(text_stop *stop)
{
    base_buf_release(&stop->held);
    *stop = (text_stop){0};
}

/* The length of the longest stop string that the first `n` held bytes end with; 0 when there is none. */
static size_t match_at(const text_stop *stop, size_t n)
{
    size_t longest = 0;
    for (size_t i = 0; i < stop->n_strings; i++) {
        size_t length = strlen(stop->strings[i]);
        if (length > longest && length <= n && memcmp(stop->held.data + n - length, stop->strings[i], length) == 0)
            longest = length;
    }
    return longest;
}

/* How many bytes at the end of `held` begin a stop string. */
static size_t may_begin(const text_stop *stop)
{
    size_t longest = 0;
    for (size_t i = 0; i < stop->n_strings; i++) {
        size_t length = strlen(stop->strings[i]);
        size_t n = length - 1 < stop->held.size ? length - 1 : stop->held.size;
        for (; n > longest; n--)
            if (memcmp(stop->held.data + stop->held.size - n, stop->strings[i], n) == 0)
                longest = n;
    }
    return longest;
}

/* Release the first n held bytes. */
static void release_held(text_stop *stop, size_t n, base_buf *out)
{
    base_buf_put(out, stop->held.data, n);
    if (n > 0)
        memmove(stop->held.data, stop->held.data + n, stop->held.size - n);
    stop->held.size -= n;
}

bool text_stop_push(text_stop *stop, const void *delta, size_t size, base_buf *out)
{
    if (stop->stopped)
        return true;
    size_t before = stop->held.size;
    base_buf_put(&stop->held, delta, size);
    if (stop->held.failed) {
        out->failed = true;
        return false;
    }
    for (size_t n = before + 1; n <= stop->held.size; n++) {
        size_t length = match_at(stop, n);
        if (length > 0) {
            release_held(stop, n - length, out);
            base_buf_clear(&stop->held);
            stop->stopped = true;
            return true;
        }
    }
    release_held(stop, stop->held.size - may_begin(stop), out);
    return false;
}

void text_stop_finish(text_stop *stop, base_buf *out)
{
    release_held(stop, stop->held.size, out);
}
