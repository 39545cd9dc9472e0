/* utf8_repair.c - an incremental UTF-8 decoder, and malformed UTF-8 turned into U+FFFD.
 *
 * Two rules are in use for malformed bytes.  SentencePiece shows U+FFFD for each byte.  Byte-level tokenizers, Python
 * and the Unicode standard show one for each maximal subpart: the longest prefix of a character, or a single byte that
 * begins none.
 *
 *     E2 82 41      per byte: U+FFFD U+FFFD A      per subpart: U+FFFD A */
#include <string.h>

#include "coordinator/text/tokenizer_int.h"
#include "proto/base/utf8.h"

/* U+FFFD */
static const char replacement[] = "\xef\xbf\xbd";

static void put_replacement(base_buf *out)
{
    base_buf_put(out, replacement, sizeof replacement - 1);
}

/* Bytes of a character that begins with `lead`; 0 when none does. */
static size_t character_bytes(uint8_t lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef)
        return 3;
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

/* Are these bytes, fewer than their lead asks for, the prefix of a character?  Padded with the lowest or the highest
 * continuation byte, one of the two is valid if any padding is. */
static bool may_become_character(const uint8_t *bytes, size_t n, size_t needed)
{
    uint8_t low[4], high[4];
    memset(low, 0x80, sizeof low);
    memset(high, 0xbf, sizeof high);
    memcpy(low, bytes, n);
    memcpy(high, bytes, n);
    return base_utf8_is_valid(low, needed) || base_utf8_is_valid(high, needed);
}

/* How many of these bytes, which do not begin with a character, make one U+FFFD. */
static size_t broken_bytes(const uint8_t *bytes, size_t n, bool by_subpart)
{
    size_t needed = character_bytes(bytes[0]), broken = 1;
    while (by_subpart && broken + 1 < n && broken + 1 < needed && may_become_character(bytes, broken + 1, needed))
        broken++;
    return broken;
}

void text_utf8_push(uint8_t *pending, size_t *n_pending, uint8_t byte, bool by_subpart, base_buf *out)
{
    pending[(*n_pending)++] = byte;
    while (*n_pending > 0) {
        size_t n = *n_pending, needed = character_bytes(pending[0]), used;
        if (needed > n && may_become_character(pending, n, needed))
            return;
        if (needed > 0 && needed <= n && base_utf8_is_valid(pending, needed)) {
            used = needed;
            base_buf_put(out, pending, used);
        } else {
            used = broken_bytes(pending, n, by_subpart);
            put_replacement(out);
        }
        memmove(pending, pending + used, n - used);
        *n_pending -= used;
    }
}

void text_utf8_finish(size_t *n_pending, bool by_subpart, base_buf *out)
{
    size_t n = by_subpart && *n_pending > 0 ? 1 : *n_pending; /* what waits is the beginning of one character */
    for (; n > 0; n--)
        put_replacement(out);
    *n_pending = 0;
}

void text_repair(const void *text, size_t size, base_buf *out)
{
    if (base_utf8_is_valid(text, size)) {
        base_buf_put(out, text, size);
        return;
    }
    uint8_t pending[4];
    size_t n_pending = 0;
    for (size_t i = 0; i < size; i++)
        text_utf8_push(pending, &n_pending, ((const uint8_t *)text)[i], true, out);
    text_utf8_finish(&n_pending, true, out);
}
