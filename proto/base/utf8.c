#include "proto/base/utf8.h"

#include <stdint.h>

/* The length of the character that starts with `lead` (0: none does), and the range of its second byte: that range
 * alone tells overlong forms, surrogates and code points beyond U+10FFFF apart from text (RFC 3629, section 4). */
static size_t character_length(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    *high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xC2 && lead <= 0xDF)
        return 2;
    if (lead >= 0xE0 && lead <= 0xEF)
        return 3;
    if (lead >= 0xF0 && lead <= 0xF4)
        return 4;
    return 0;
}

size_t base_utf8_next(const void *bytes, size_t size)
{
    const uint8_t *text = bytes;
    uint8_t low, high;
    size_t length = character_length(text[0], &low, &high);
    if (length > size)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if (text[i] < low || text[i] > high)
            return 0;
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

bool base_utf8_is_valid(const void *bytes, size_t size)
{
    const uint8_t *text = bytes;
    for (size_t at = 0, length; at < size; at += length) {
        length = base_utf8_next(text + at, size - at);
        if (length == 0)
            return false;
    }
    return true;
}

size_t base_utf8_cut(const void *bytes, size_t size)
{
    const uint8_t *text = bytes;
    size_t lead = size;
    while (lead > 0 && size - lead < 3 && (text[lead - 1] & 0xC0) == 0x80)
        lead--;
    if (lead == 0)
        return size;
    uint8_t low, high;
    return character_length(text[lead - 1], &low, &high) > size - (lead - 1) ? lead - 1 : size;
}
