/* dicom_syntax.c - transfer syntaxes: how a data set and its pixels are encoded (PS3.5 section 10, PS3.6 annex A).
 *
 * Group 0002 names the syntax.  Some writers name another one than they write: the first element of the data set shows
 * whether there are VRs, and the byte order, and is believed. */
#include <string.h>

#include "coordinator/image/dicom_int.h"

enum { MAX_UID = 64 };

#define UID_ROOT "1.2.840.10008.1.2"

typedef struct syntax_row {
    const char *uid;
    dicom_coding coding;
    bool is_explicit, is_big_endian, is_deflated, is_lossy;
} syntax_row;

static const syntax_row syntaxes[] = {
    {UID_ROOT, DICOM_NATIVE, .is_explicit = false},
    {UID_ROOT ".1", DICOM_NATIVE, .is_explicit = true},
    {UID_ROOT ".1.99", DICOM_NATIVE, .is_explicit = true, .is_deflated = true},
    {UID_ROOT ".2", DICOM_NATIVE, .is_explicit = true, .is_big_endian = true},
    {UID_ROOT ".5", DICOM_RLE, .is_explicit = true},
    {UID_ROOT ".4.50", DICOM_JPEG, .is_explicit = true, .is_lossy = true}, /* baseline */
    {UID_ROOT ".4.51", DICOM_JPEG, .is_explicit = true, .is_lossy = true}, /* extended, 12 bits */
    {UID_ROOT ".4.57", DICOM_JPEG, .is_explicit = true},                   /* lossless */
    {UID_ROOT ".4.70", DICOM_JPEG, .is_explicit = true},                   /* lossless, first predictor */
    {UID_ROOT ".4.80", DICOM_JPEGLS, .is_explicit = true},                 /* lossless */
    {UID_ROOT ".4.81", DICOM_JPEGLS, .is_explicit = true},                 /* near-lossless, or lossless */
    {UID_ROOT ".4.90", DICOM_JPEG2000, .is_explicit = true},               /* reversible */
    {UID_ROOT ".4.91", DICOM_JPEG2000, .is_explicit = true},               /* either */
};

/* The UID as a text, if it looks like one; a wrong field may hold anything. */
static bool read_uid(dicom_bytes value, char out[MAX_UID + 1])
{
    size_t n = value.size;
    while (n > 0 && (value.at[n - 1] == 0 || value.at[n - 1] == ' '))
        n--;
    if (n == 0 || n > MAX_UID)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (value.at[i] != '.' && (value.at[i] < '0' || value.at[i] > '9'))
            return false;
        out[i] = (char)value.at[i];
    }
    out[n] = 0;
    return true;
}

base_status dicom_syntax_set(dicom_file *file, dicom_bytes value, base_error *error)
{
    char uid[MAX_UID + 1];
    if (!read_uid(value, uid))
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: TransferSyntaxUID (0002,0010) is not a UID");
    for (size_t i = 0; i < sizeof syntaxes / sizeof syntaxes[0]; i++)
        if (strcmp(uid, syntaxes[i].uid) == 0) {
            const syntax_row *row = &syntaxes[i];
            file->coding = row->coding;
            file->is_explicit = row->is_explicit;
            file->is_big_endian = row->is_big_endian;
            file->is_deflated = row->is_deflated;
            file->is_lossy = row->is_lossy;
            return BASE_OK;
        }
    bool is_standard =
        strncmp(uid, UID_ROOT ".", sizeof UID_ROOT) == 0; /* others may name an institution or an image */
    return base_fail(error, BASE_EUNSUPPORTED,
                     "the DICOM transfer syntax %s is not read here; convert the file to explicit VR little endian "
                     "(" UID_ROOT ".1)",
                     is_standard ? uid : "of a private kind");
}

/* PS3.5 6.2 */
static bool is_known_vr(const uint8_t *at)
{
    static const char known[] = "AEASATCSDADSDTFDFLISLOLTOBODOFOLOVOWPNSHSLSQSSSTSVTMUCUIULUNURUSUTUV";
    for (size_t i = 0; i + 1 < sizeof known; i += 2)
        if (memcmp(at, known + i, 2) == 0)
            return true;
    return false;
}

/* The first element of a data set shows whether there are VRs, and, by its small group number, the byte order.  False
 * if it does not. */
static bool observe_encoding(dicom_bytes data, bool *is_explicit, bool *is_big_endian)
{
    if (data.size < 8 || (data.at[0] == 0) == (data.at[1] == 0))
        return false;
    *is_explicit = is_known_vr(data.at + 4);
    *is_big_endian = data.at[0] == 0;
    return true;
}

void dicom_syntax_guess(dicom_file *file, dicom_bytes data)
{
    file->coding = DICOM_NATIVE;
    (void)observe_encoding(data, &file->is_explicit, &file->is_big_endian);
}

static const char *encoding_name(bool is_explicit, bool is_big_endian)
{
    return is_explicit ? (is_big_endian ? "explicit VR big endian" : "explicit VR little endian")
                       : (is_big_endian ? "implicit VR big endian" : "implicit VR little endian");
}

void dicom_syntax_check(dicom_file *file, dicom_bytes data)
{
    bool is_explicit, is_big_endian;
    if (file->coding != DICOM_NATIVE || !observe_encoding(data, &is_explicit, &is_big_endian) ||
        (is_explicit == file->is_explicit && is_big_endian == file->is_big_endian))
        return;
    image_warn(file->warnings, IMAGE_WARN_SYNTAX, "the transfer syntax says %s, but the data set is %s: read as it is",
               encoding_name(file->is_explicit, file->is_big_endian), encoding_name(is_explicit, is_big_endian));
    file->is_explicit = is_explicit;
    file->is_big_endian = is_big_endian;
}
