/* pileup_npy.c - a pileup as a .npy file, the format of numpy.save
 * (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): magic, version, the length of a Python
 * dictionary as text, the dictionary, the bytes.  Only the dictionary of a pileup is accepted, with any blanks. */
#include <stdio.h>
#include <string.h>

#include "coordinator/genomics/pileup.h"

static const uint8_t magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

enum { DICTIONARY_MAX = 1024, HEADER_BYTES = 128, PREAMBLE_BYTES = 10 };

static void squeeze(const char *text, size_t size, char *out)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] != ' ' && text[i] != '\n')
            *out++ = text[i];
    *out = '\0';
}

static bool describes_pileup(const char *dictionary, size_t size)
{
    char squeezed[DICTIONARY_MAX + 1], shape[64];
    squeeze(dictionary, size, squeezed);
    snprintf(shape, sizeof shape, "'shape':(%d,%d,%d)", PILEUP_HEIGHT, PILEUP_WIDTH, PILEUP_CHANNELS);
    return strstr(squeezed, "'descr':'|u1'") != NULL && strstr(squeezed, "'fortran_order':False") != NULL &&
           strstr(squeezed, shape) != NULL;
}

base_status pileup_read_npy(const void *bytes, size_t size, uint8_t *out, base_error *error)
{
    base_reader reader = base_reader_over(bytes, size);
    const uint8_t *found = base_reader_take(&reader, sizeof magic);
    if (found == NULL || memcmp(found, magic, sizeof magic) != 0)
        return base_fail(error, BASE_EFORMAT, "not a .npy file");
    uint8_t major = base_reader_u8(&reader);
    base_reader_u8(&reader);
    size_t length = base_reader_u8(&reader);
    length |= (size_t)base_reader_u8(&reader) << 8;
    if (major > 1) {
        length |= (size_t)base_reader_u8(&reader) << 16;
        length |= (size_t)base_reader_u8(&reader) << 24;
    }
    const char *dictionary = length > DICTIONARY_MAX ? NULL : base_reader_take(&reader, length);
    if (reader.failed || dictionary == NULL || !describes_pileup(dictionary, length))
        return base_fail(error, BASE_EFORMAT, "the array is not a pileup: uint8 in C order, of shape (%d, %d, %d)",
                         PILEUP_HEIGHT, PILEUP_WIDTH, PILEUP_CHANNELS);
    if (base_reader_left(&reader) != PILEUP_BYTES)
        return base_fail(error, BASE_EFORMAT,
                         "the .npy file has %zu bytes of samples instead of %d: it is cut short or damaged",
                         base_reader_left(&reader), PILEUP_BYTES);
    memcpy(out, reader.at, PILEUP_BYTES);
    return BASE_OK;
}

void pileup_write_npy(const uint8_t *pileup, base_buf *out)
{
    char header[HEADER_BYTES - PREAMBLE_BYTES], dictionary[HEADER_BYTES - PREAMBLE_BYTES];
    int n = snprintf(dictionary, sizeof dictionary, "{'descr': '|u1', 'fortran_order': False, 'shape': (%d, %d, %d), }",
                     PILEUP_HEIGHT, PILEUP_WIDTH, PILEUP_CHANNELS);
    const uint8_t version_and_length[4] = {1, 0, sizeof header, 0};
    memset(header, ' ', sizeof header);
    memcpy(header, dictionary, (size_t)n);
    header[sizeof header - 1] = '\n';
    base_buf_put(out, magic, sizeof magic);
    base_buf_put(out, version_and_length, sizeof version_and_length);
    base_buf_put(out, header, sizeof header);
    base_buf_put(out, pileup, PILEUP_BYTES);
}
