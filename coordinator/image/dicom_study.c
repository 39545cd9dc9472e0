/* dicom_study.c - warnings about what was imaged: modality, body part, view, burned-in text, frames, lossy compression.
 *
 * A header's texts may hold anything, names of persons too.  So a value goes into a warning only if it is one of the
 * terms below, which describe no person; any other is called "another one". */
#include <ctype.h>
#include <string.h>

#include "coordinator/image/dicom_int.h"

/* PS3.3 C.7.3.1.1.1 */
static const char modalities[] = "AU BI BMD CR CT DG DX ECG EPS ES FID GM HC HD IO IVOCT IVUS KER KO LEN LS MG MR NM "
                                 "OAM OCT OP OPM OPT OPV OSS OT PT PX RF RG RTIMAGE SC SM SR TG US VA XA XC";
/* PS3.16 annex L, the frequent ones */
static const char body_parts[] = "ABDOMEN ABDOMENPELVIS ANKLE ARM BLADDER BRAIN BREAST CALCANEUS CHEST CHESTABDOMEN "
                                 "CLAVICLE COLON CSPINE ELBOW EXTREMITY EYE FEMUR FINGER FOOT FOREARM HAND HEAD "
                                 "HEADNECK HEART HIP HUMERUS JAW KIDNEY KNEE LEG LIVER LSPINE LUNG NECK ORBIT PANCREAS "
                                 "PELVIS PROSTATE RIBS SACRUM SCAPULA SHOULDER SKULL SPINE STERNUM THIGH THORAX "
                                 "THYROID TOE TSPINE UTERUS WHOLEBODY WRIST";
/* PS3.3 C.8.4.5.1.1, C.8.7.1.1.1, C.8.11.7 */
static const char views[] = "AP PA LL RL LLD LLO RLD RLO LAT LATERAL CC MLO ML LM LMO XCCL XCCM SIO FB OBL";

/* The next word of letters and digits from *at on, upper-cased into `out`; false at the end.  Longer words are cut. */
static bool next_word(const char **at, const char *end, char out[17])
{
    size_t n = 0;
    while (*at < end && !isalnum((unsigned char)**at))
        (*at)++;
    for (; *at < end && isalnum((unsigned char)**at); (*at)++)
        if (n < 16)
            out[n++] = (char)toupper((unsigned char)**at);
    out[n] = 0;
    return n > 0;
}

static bool is_listed(const char *word, const char *list)
{
    const char *at = list, *end = list + strlen(list);
    char one[17];
    while (next_word(&at, end, one))
        if (strcmp(one, word) == 0)
            return true;
    return false;
}

/* Warn if none of the value's words is among the expected ones. */
static void check_term(const dicom_file *file, dicom_field field, const char *expected, const char *known,
                       image_warning_kind kind, const char *what)
{
    dicom_bytes value = file->values[field];
    if (expected == NULL || value.at == NULL)
        return;
    const char *at = (const char *)value.at, *end = at + value.size;
    char word[17], shown[17] = "";
    bool has_word = false;
    while (next_word(&at, end, word)) {
        if (is_listed(word, expected))
            return;
        if (!has_word && is_listed(word, known))
            memcpy(shown, word, sizeof shown);
        has_word = true;
    }
    if (has_word)
        image_warn(file->warnings, kind, "the %s is %s; expected is %.80s", what, shown[0] != 0 ? shown : "another one",
                   expected);
}

/* The greatest of the ratios of successive compressions; 0 where none can be read. */
static double lossy_ratio(const dicom_file *file)
{
    double greatest = 0, ratio = 0;
    bool is_given = true;
    for (unsigned i = 0; i < 8 && is_given; i++) {
        if (dicom_decimal(file, DICOM_LOSSY_RATIO, i, &ratio, &is_given, NULL) != BASE_OK)
            return 0;
        greatest = is_given && ratio > greatest ? ratio : greatest;
    }
    return greatest;
}

static void check_lossy(const dicom_file *file)
{
    if (!file->is_lossy && !dicom_text_equals(file, DICOM_LOSSY, "01"))
        return;
    double ratio = lossy_ratio(file);
    if (ratio > 0 && ratio < 100000)
        image_warn(file->warnings, IMAGE_WARN_LOSSY, "the pixels were compressed with loss, at a ratio of %.1f", ratio);
    else
        image_warn(file->warnings, IMAGE_WARN_LOSSY, "the pixels were compressed with loss, at an unknown ratio");
}

/* Of a file that was cut: how many frames there were, and which this was. */
static void read_origin(const dicom_file *file, uint32_t *n_frames, uint32_t *frame)
{
    double n = 0, k = 0;
    bool is_given;
    if (!dicom_text_equals(file, DICOM_CUT_CREATOR, DICOM_CREATOR) ||
        dicom_decimal(file, DICOM_CUT_FRAMES, 0, &n, &is_given, NULL) != BASE_OK ||
        dicom_decimal(file, DICOM_CUT_FRAMES, 1, &k, &is_given, NULL) != BASE_OK)
        return;
    if (n >= 1 && n <= INT32_MAX && k >= 0 && k < n) {
        *n_frames = (uint32_t)n;
        *frame = (uint32_t)k;
    }
}

void dicom_warn_of_study(const dicom_file *file, const dicom_geometry *geometry, uint32_t frame,
                         const image_expected *expected)
{
    if (expected != NULL) {
        check_term(file, DICOM_MODALITY_NAME, expected->modalities, modalities, IMAGE_WARN_MODALITY, "modality");
        check_term(file, DICOM_BODY_PART, expected->body_parts, body_parts, IMAGE_WARN_BODY_PART, "body part");
        check_term(file, DICOM_VIEW, expected->views, views, IMAGE_WARN_VIEW, "view");
    }
    if (dicom_text_equals(file, DICOM_ANNOTATION, "YES"))
        image_warn(file->warnings, IMAGE_WARN_ANNOTATION, "text is burned into the pixels, and the model sees it");
    uint32_t n_frames = geometry->frames;
    read_origin(file, &n_frames, &frame);
    if (n_frames > 1)
        image_warn(file->warnings, IMAGE_WARN_FRAMES, "the file has %u frames; only frame %u, counted from 0, was read",
                   n_frames, frame);
    check_lossy(file);
}
