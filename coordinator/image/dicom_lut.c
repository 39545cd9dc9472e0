/* dicom_lut.c - DICOM's lookup tables: Modality LUT, VOI LUT and the three palettes have one form (PS3.3 C.11.1.1).
 *
 * Descriptor: number of entries (0: 65536), the input value of entry 0, bits of an entry.  An input below the first
 * entry or past the last takes that entry.  Entries are 16-bit words, or bytes where the data are too short for words;
 * bytes come in words of the file's byte order. */
#include <math.h>

#include "coordinator/image/dicom_int.h"

static dicom_field data_of(dicom_field descriptor)
{
    return descriptor < DICOM_MODALITY_DESCRIPTOR ? descriptor + (DICOM_RED - DICOM_RED_DESCRIPTOR) : descriptor + 1;
}

base_status dicom_lut_open(const dicom_file *file, dicom_field descriptor, bool is_signed, dicom_lut *out,
                           base_error *error)
{
    uint16_t n, first, bits;
    if (!dicom_word(file, descriptor, 0, &n) || !dicom_word(file, descriptor, 1, &first) ||
        !dicom_word(file, descriptor, 2, &bits) || bits < 1 || bits > 16)
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: %s is missing or damaged", dicom_field_name(descriptor));
    dicom_field data = data_of(descriptor);
    dicom_lut lut = {.file = file,
                     .data = data,
                     .n_entries = n == 0 ? DICOM_N_LEVELS : n,
                     .first = is_signed ? (int16_t)first : first,
                     .max_value = (double)((1u << bits) - 1)};
    size_t n_bytes = file->values[data].size;
    if (n_bytes == 0)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "the DICOM file has no %s (segmented tables are not read here): convert it to plain tables",
                         dicom_field_name(data));
    lut.is_bytes = n_bytes < 2 * (size_t)lut.n_entries;
    if (n_bytes < lut.n_entries || (lut.is_bytes && bits > 8))
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: %s has %zu bytes for %u entries", dicom_field_name(data),
                         n_bytes, lut.n_entries);
    *out = lut;
    return BASE_OK;
}

double dicom_lut_value(const dicom_lut *lut, double input)
{
    double i = input - lut->first;
    size_t at = !(i > 0) ? 0 : i >= lut->n_entries - 1 ? lut->n_entries - 1 : (size_t)i;
    uint16_t word = 0;
    if (!lut->is_bytes)
        (void)dicom_word(lut->file, lut->data, at, &word);
    else
        word = lut->file->values[lut->data].at[lut->file->is_big_endian && (at ^ 1) < lut->n_entries ? at ^ 1 : at];
    return word;
}

uint32_t dicom_sample_bits(const dicom_geometry *geometry, const dicom_raster *raster)
{
    return raster->bits < geometry->bits_stored ? raster->bits : geometry->bits_stored;
}

int32_t dicom_sample_value(uint32_t raw, uint32_t bits, bool is_signed)
{
    return is_signed && raw >> (bits - 1) != 0 ? (int32_t)raw - (1 << bits) : (int32_t)raw;
}

uint8_t dicom_to_byte(double value)
{
    return (uint8_t)rint(255.0 * (value > 0.0 ? value < 1.0 ? value : 1.0 : 0.0)); /* a NaN is 0 */
}
