/* byte_level.c - the inverse of bytes_to_unicode, computed instead of tabled: see the header for the mapping. */
#include "coordinator/text/byte_level_int.h"

/* The bytes that are not printable: 0..0x20, 0x7F..0xA0, 0xAD. */
static int shifted_byte(unsigned place)
{
    if (place <= 0x20)
        return (int)place;
    place -= 0x21;
    if (place <= 0xA0 - 0x7F)
        return (int)(0x7F + place);
    return place == 0xA0 - 0x7F + 1 ? 0xAD : -1;
}

/* The byte that a character below U+0200 writes, or -1. */
static int byte_of(unsigned character)
{
    if (character >= 0x100)
        return shifted_byte(character - 0x100);
    bool is_printable = (character > 0x20 && character < 0x7F) || (character > 0xA0 && character != 0xAD);
    return is_printable ? (int)character : -1;
}

bool byte_level_read(const char *text, size_t size, base_buf *out)
{
    size_t before = out->size;
    for (size_t i = 0; i < size; i++) {
        unsigned lead = (uint8_t)text[i];
        int byte = -1;
        if (lead < 0x80)
            byte = byte_of(lead);
        else if (lead >= 0xC2 && lead < 0xC8 && i + 1 < size && ((uint8_t)text[i + 1] & 0xC0) == 0x80)
            byte = byte_of((lead & 0x1Fu) << 6 | ((uint8_t)text[++i] & 0x3Fu));
        if (byte < 0) {
            out->size = before;
            return false;
        }
        base_buf_put_u8(out, (uint8_t)byte);
    }
    return true;
}
