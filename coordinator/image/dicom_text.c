/* dicom_text.c - one element of a DICOM header as UTF-8 text.
 *
 * The walk of dicom_read.c finds the element; here its kind, its character set and its characters are checked, and what
 * passes is rewritten as UTF-8 without control characters. */
#include "coordinator/image/dicom_text.h"

#include <stdio.h>
#include <string.h>

#include "coordinator/image/dicom_int.h"
#include "proto/base/utf8.h"

/* A deflated file may grow to this: large images and their headers. */
#define MAX_INFLATED ((size_t)1 << 30)

enum { MAX_NAME = 64, ESCAPE = 0x1B, DELETE = 0x7F };

/* ---- names ---- */

typedef struct keyword {
    const char *name;
    uint32_t tag;
    char vr[3]; /* for implicit data sets, which do not say */
} keyword;

static const keyword keywords[] = {
    {"Modality", 0x00080060, "CS"},
    {"StudyDescription", 0x00081030, "LO"},
    {"SeriesDescription", 0x0008103E, "LO"},
    {"AdmittingDiagnosesDescription", 0x00081080, "LO"},
    {"PatientSex", 0x00100040, "CS"},
    {"PatientAge", 0x00101010, "AS"},
    {"AdditionalPatientHistory", 0x001021B0, "LT"},
    {"BodyPartExamined", 0x00180015, "CS"},
    {"ViewPosition", 0x00185101, "CS"},
    {"Laterality", 0x00200060, "CS"},
    {"ImageLaterality", 0x00200062, "CS"},
    {"ImageComments", 0x00204000, "LT"},
    {"ReasonForStudy", 0x00321030, "LO"},
    {"RequestedProcedureDescription", 0x00321060, "LO"},
    {"ReasonForTheRequestedProcedure", 0x00401002, "LO"},
};
enum { N_KEYWORDS = sizeof keywords / sizeof keywords[0] };

static const keyword *find_tag(uint32_t tag)
{
    for (size_t i = 0; i < N_KEYWORDS; i++)
        if (keywords[i].tag == tag)
            return &keywords[i];
    return NULL;
}

static base_status unknown_name(const char *name, base_error *error)
{
    char known[N_KEYWORDS * 34];
    size_t at = 0;
    for (size_t i = 0; i < N_KEYWORDS; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i == 0 ? "" : ", ", keywords[i].name);
    return base_fail(error, BASE_EINVAL, "'%.*s' is no DICOM element; write its tag (0008,1030), or one of: %s",
                     MAX_NAME, name, known);
}

static bool is_tag(const char *name)
{
    static const char digits[] = "0123456789ABCDEFabcdef";
    return strlen(name) == 9 && strspn(name, digits) == 4 && name[4] == ',' && strspn(name + 5, digits) == 4;
}

base_status dicom_tag_parse(const char *name, uint32_t *out, base_error *error)
{
    unsigned group, element;
    for (size_t i = 0; i < N_KEYWORDS; i++)
        if (strcmp(name, keywords[i].name) == 0) {
            *out = keywords[i].tag;
            return BASE_OK;
        }
    if (!is_tag(name) || sscanf(name, "%4x,%4x", &group, &element) != 2)
        return unknown_name(name, error);
    if (group <= 2 || group == 0x7FE0 || group >= 0xFFFE)
        return base_fail(error, BASE_EINVAL, "the DICOM element (%s) is none of the data set's texts", name);
    *out = group << 16 | element;
    return BASE_OK;
}

/* "PatientAge (0010,1010)", for errors. */
typedef struct tag_name {
    char text[MAX_NAME];
} tag_name;

static tag_name name_of(uint32_t tag)
{
    tag_name name;
    const keyword *known = find_tag(tag);
    snprintf(name.text, sizeof name.text, "%s%s(%04X,%04X)", known != NULL ? known->name : "", known != NULL ? " " : "",
             (unsigned)(tag >> 16), (unsigned)(tag & 0xFFFF));
    return name;
}

/* ---- what the value is ---- */

static bool is_one_of(const char vr[2], const char *vrs)
{
    for (; vrs[0] != '\0'; vrs += 2)
        if (memcmp(vr, vrs, 2) == 0)
            return true;
    return false;
}

/* Implicit data sets and UN do not tell the VR: take it from the table where it is known. */
static void complete_vr(dicom_query *query)
{
    const keyword *known = find_tag(query->tag);
    if (is_one_of(query->vr, "UN"))
        memset(query->vr, 0, sizeof query->vr);
    if (query->vr[0] == '\0' && known != NULL)
        memcpy(query->vr, known->vr, sizeof query->vr);
}

static dicom_bytes trimmed(dicom_bytes value)
{
    while (value.size > 0 && (value.at[value.size - 1] == ' ' || value.at[value.size - 1] == 0))
        value.size--;
    while (value.size > 0 && value.at[0] == ' ') {
        value.at++;
        value.size--;
    }
    return value;
}

static base_status check_kind(const dicom_query *query, dicom_bytes value, base_error *error)
{
    const tag_name name = name_of(query->tag);
    if (query->is_sequence || (query->vr[0] != '\0' && !is_one_of(query->vr, "AEASCSDADSDTISLOLTPNSHSTTMUCUIURUT")))
        return base_fail(error, BASE_EFORMAT, "the DICOM element %s holds no text", name.text);
    if (value.size == 0)
        return base_fail(error, BASE_ENOTFOUND, "the DICOM header has no value for %s", name.text);
    if (value.size > DICOM_TEXT_BYTES_MAX)
        return base_fail(error, BASE_ETOOBIG, "the DICOM element %s has more than %d bytes", name.text,
                         DICOM_TEXT_BYTES_MAX);
    if (!is_one_of(query->vr, "LTSTURUT") && memchr(value.at, '\\', value.size) != NULL)
        return base_fail(error, BASE_EINVAL, "the DICOM element %s has several values; give the one that is meant",
                         name.text);
    return BASE_OK;
}

/* ---- characters ---- */

/* How bytes past ASCII are read. */
typedef enum characters { ASCII_ONLY, LATIN_1, UTF_8 } characters;

static characters characters_of(const dicom_file *file)
{
    if (dicom_text_equals(file, DICOM_CHARACTERS, "ISO_IR 192"))
        return UTF_8;
    return dicom_text_equals(file, DICOM_CHARACTERS, "ISO_IR 100") ? LATIN_1 : ASCII_ONLY;
}

static bool is_readable(dicom_bytes value, characters set)
{
    bool is_ascii = true;
    for (size_t i = 0; i < value.size; i++) {
        is_ascii = is_ascii && value.at[i] < 0x80;
        if (value.at[i] == ESCAPE) /* ISO 2022 */
            return false;
    }
    return is_ascii || set == LATIN_1 || (set == UTF_8 && base_utf8_is_valid(value.at, value.size));
}

static bool has_controls(dicom_bytes value, characters set)
{
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.at[i];
        if ((c < 0x20 && strchr("\t\n\f\r", c) == NULL) || c == 0 || c == DELETE ||
            (set == LATIN_1 && c >= 0x80 && c < 0xA0))
            return true;
    }
    return false;
}

static void put_characters(dicom_bytes value, characters set, base_buf *out)
{
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.at[i];
        if (c == '\r' && i + 1 < value.size && value.at[i + 1] == '\n')
            continue;
        if (c >= 0x80 && set == LATIN_1) {
            base_buf_put_u8(out, (uint8_t)(0xC0 | c >> 6));
            base_buf_put_u8(out, 0x80 | (c & 0x3F));
        } else {
            base_buf_put_u8(out, c == '\r' || c == '\f' ? '\n' : c);
        }
    }
}

/* "045Y": its digits without leading zeros. */
static base_status age_in_years(dicom_bytes *value, base_error *error)
{
    size_t n = value->size;
    bool is_age = n == 4 && value->at[3] == 'Y';
    for (size_t i = 0; is_age && i < 3; i++)
        is_age = value->at[i] >= '0' && value->at[i] <= '9';
    if (!is_age)
        return base_fail(error, BASE_EINVAL, "the age in the DICOM header is not in years; give the one that is meant");
    value->size = 3;
    for (; value->size > 1 && value->at[0] == '0'; value->size--)
        value->at++;
    return BASE_OK;
}

static base_status convert(const dicom_file *file, base_buf *out, base_error *error)
{
    const dicom_query *query = file->query;
    dicom_bytes value = trimmed(query->value);
    characters set = characters_of(file);
    base_status status = check_kind(query, value, error);
    if (status != BASE_OK)
        return status;
    const tag_name name = name_of(query->tag);
    if (!is_readable(value, set))
        return base_fail(error, BASE_EUNSUPPORTED,
                         "the DICOM element %s is written in a character set that is not read (ISO_IR 100 and 192 are)",
                         name.text);
    if (has_controls(value, set))
        return base_fail(error, BASE_EFORMAT, "the DICOM element %s holds no text", name.text);
    if (is_one_of(query->vr, "AS"))
        status = age_in_years(&value, error);
    if (status != BASE_OK)
        return status;
    if (!base_buf_reserve(out, 2 * value.size))
        return base_fail(error, BASE_ENOMEM, "no memory for an element of a DICOM header");
    put_characters(value, set, out);
    return BASE_OK;
}

base_status dicom_text_read(const void *bytes, size_t size, uint32_t tag, base_buf *out, base_error *error)
{
    if (!image_is_dicom(bytes, size))
        return base_fail(error, BASE_EUNSUPPORTED, "not a DICOM file, so it has no header to take %s from",
                         name_of(tag).text);
    dicom_query query = {.tag = tag};
    dicom_file file = {.query = &query};
    base_status status = dicom_file_read(&file, bytes, size, 0, MAX_INFLATED, error);
    complete_vr(&query);
    if (status == BASE_OK)
        status = convert(&file, out, error);
    dicom_file_release(&file);
    return status;
}
