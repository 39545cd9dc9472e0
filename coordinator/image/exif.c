/* exif.c - the orientation tag of an EXIF block, and what it asks for.
 *
 * Block: ["Exif\0\0",] a TIFF header ("II*\0" or "MM\0*" and the offset of the first directory, counted from the
 * header), a directory: u16 count, entries of 12 bytes (u16 tag, u16 type, u32 count, 4 bytes of value).  Orientation:
 * tag 0x0112, a SHORT; some cameras write a LONG. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/image/image_int.h"

enum { TYPE_SHORT = 3, TYPE_LONG = 4 };

typedef struct tiff {
    const uint8_t *bytes;
    size_t size;
    bool is_big_endian;
} tiff;

/* A field of 2 or 4 bytes; 0 beyond the end. */
static uint32_t tiff_field(const tiff *t, size_t at, size_t n)
{
    if (at > t->size || n > t->size - at)
        return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | t->bytes[at + (t->is_big_endian ? i : n - 1 - i)];
    return value;
}

uint32_t image_exif_orientation(const uint8_t *bytes, size_t size)
{
    size_t prefix = size >= 6 && memcmp(bytes, "Exif\0\0", 6) == 0 ? 6 : 0;
    tiff t = {.bytes = bytes + prefix, .size = size - prefix};
    if (t.size < 8)
        return 1;
    t.is_big_endian = t.bytes[0] == 'M';
    if (memcmp(t.bytes, t.is_big_endian ? "MM\0*" : "II*\0", 4) != 0)
        return 1;
    size_t directory = tiff_field(&t, 4, 4);
    uint32_t n = tiff_field(&t, directory, 2);
    for (uint32_t i = 0; i < n; i++) {
        size_t entry = directory + 2 + (size_t)i * 12;
        uint32_t type = tiff_field(&t, entry + 2, 2);
        if (tiff_field(&t, entry, 2) == 0x0112 && (type == TYPE_SHORT || type == TYPE_LONG)) {
            uint32_t orientation = tiff_field(&t, entry + 8, type == TYPE_SHORT ? 2 : 4);
            return orientation >= 1 && orientation <= 8 ? orientation : 1;
        }
    }
    return 1;
}

/* How pixel (x, y) of the upright image maps to the stored one. */
typedef struct placement {
    bool swaps;            /* rows are columns */
    bool flips_x, flips_y; /* after swapping */
} placement;

static const placement placements[9] = {
    [1] = {false, false, false}, [2] = {false, true, false}, [3] = {false, true, true}, [4] = {false, false, true},
    [5] = {true, false, false},  [6] = {true, false, true},  [7] = {true, true, true},  [8] = {true, true, false},
};

base_status image_orient(image *img, uint32_t orientation, base_error *error)
{
    if (orientation <= 1 || orientation > 8)
        return BASE_OK;
    const placement *p = &placements[orientation];
    uint32_t width = p->swaps ? img->height : img->width, height = p->swaps ? img->width : img->height;
    image turned;
    base_status status = image_alloc("image", width, height, img->channels, UINT64_MAX, &turned, error);
    if (status != BASE_OK)
        return status;
    uint8_t *to = turned.pixels;
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++, to += img->channels) {
            uint32_t sx = p->swaps ? y : x, sy = p->swaps ? x : y;
            sx = p->flips_x ? img->width - 1 - sx : sx;
            sy = p->flips_y ? img->height - 1 - sy : sy;
            memcpy(to, img->pixels + ((size_t)sy * img->width + sx) * img->channels, img->channels);
        }
    image_release(img);
    *img = turned;
    return BASE_OK;
}
