/* image_pnm.c - PGM and PPM, binary (P5, P6) and ASCII (P2, P3), of 8 and 16 bits.
 *
 * "P5", then width, height and maxval as decimals separated by blanks and "# comments", one blank, the samples: bytes,
 * or big-endian words when maxval is above 255.  P2 and P3 write samples as decimals.  (netpbm's pgm(5), ppm(5).) */
#include <stdbool.h>

#include "coordinator/image/image_int.h"

typedef struct pnm_reader {
    const uint8_t *at, *end;
    bool is_cut;
} pnm_reader;

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_blanks(pnm_reader *r)
{
    bool in_comment = false;
    for (; r->at < r->end && (in_comment || is_blank(*r->at) || *r->at == '#'); r->at++)
        in_comment = in_comment ? *r->at != '\n' : *r->at == '#';
}

/* The next decimal; false when there is none, or it exceeds `max`. */
static bool next_number(pnm_reader *r, uint32_t max, uint32_t *out)
{
    skip_blanks(r);
    uint64_t value = 0;
    const uint8_t *begin = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9' && value <= max; r->at++)
        value = value * 10 + (uint64_t)(*r->at - '0');
    r->is_cut = r->at == r->end;
    *out = (uint32_t)value;
    return r->at > begin && value <= max;
}

static base_status refuse(const pnm_reader *r, base_error *error)
{
    return base_fail(error, BASE_EFORMAT, "%s",
                     r->is_cut ? "truncated PGM or PPM: it ends early; was it sent whole?"
                               : "damaged PGM or PPM: a number is missing or out of range");
}

static bool next_sample(pnm_reader *r, bool is_text, uint32_t max, uint32_t *out)
{
    if (is_text)
        return next_number(r, max, out);
    size_t n = max > 255 ? 2 : 1;
    r->is_cut = (size_t)(r->end - r->at) < n;
    if (r->is_cut)
        return false;
    *out = n == 2 ? (uint32_t)r->at[0] << 8 | r->at[1] : r->at[0];
    r->at += n;
    return *out <= max;
}

/* Fewest bytes that the samples can take: in ASCII a digit and a blank each. */
static uint64_t min_bytes(bool is_text, uint32_t max, uint64_t n_samples)
{
    return is_text ? 2 * n_samples - 1 : n_samples * (max > 255 ? 2 : 1);
}

base_status image_decode_pnm(const uint8_t *bytes, size_t size, uint64_t max_pixels, image *out, base_error *error)
{
    bool is_text = bytes[1] == '2' || bytes[1] == '3';
    uint32_t channels = bytes[1] == '3' || bytes[1] == '6' ? 3 : 1, width, height, max;
    pnm_reader r = {.at = bytes + 2, .end = bytes + size};
    if (!next_number(&r, INT32_MAX, &width) || !next_number(&r, INT32_MAX, &height) || !next_number(&r, 65535, &max) ||
        max == 0 || r.at == r.end || !is_blank(*r.at))
        return refuse(&r, error);
    r.at++;
    uint64_t n = (uint64_t)width * height * channels;
    if ((uint64_t)width * height <= max_pixels && n > 0 && min_bytes(is_text, max, n) > (uint64_t)(r.end - r.at)) {
        r.is_cut = true;
        return refuse(&r, error);
    }
    base_status status = image_alloc("PGM or PPM", width, height, channels, max_pixels, out, error);
    for (uint64_t i = 0; i < n && status == BASE_OK; i++) {
        uint32_t sample;
        if (!next_sample(&r, is_text, max, &sample))
            status = refuse(&r, error);
        else
            out->pixels[i] = (uint8_t)((sample * 510u + max) / (2 * max));
    }
    return status;
}
