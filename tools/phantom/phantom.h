/* phantom.h - drawings that look like chest radiographs, and the texts that go with them.
 *
 * One 64-bit seed gives one case: its facts, its drawing, its reference report and its questions.  The training, the
 * `demo` command, the scorer and the tests all use this library, so a drawing means the same everywhere.
 * Sides are the patient's: the patient's right is on the left of the picture, as on a radiograph.
 * Pure: no files, no globals, no libm beyond sqrt.  These are drawings, not patients; nothing here is medical advice.
 */
#ifndef PALMGROVE_PHANTOM_H
#define PALMGROVE_PHANTOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

/* ------------------------------------------------------------------------------------------------ seeds */

/* The namespace sits in a seed's top byte, so a held-out case can never be a training case. */
typedef enum phantom_namespace {
    PHANTOM_TRAIN = 1,
    PHANTOM_VALIDATION = 2,
    PHANTOM_HELD_OUT = 3,
} phantom_namespace;

/* Seed number `index` (below 2^56; higher bits are dropped) of a namespace. */
uint64_t phantom_seed(phantom_namespace space, uint64_t index);

/* splitmix64 (Steele, Lea, Flood 2014): the state is a counter, so streams never need warming up. */
typedef struct phantom_rng {
    uint64_t state;
} phantom_rng;

/* The stream `stream` of a seed; different streams of one seed are independent. */
phantom_rng phantom_rng_open(uint64_t seed, uint64_t stream);
uint64_t phantom_rng_next(phantom_rng *rng);
/* Uniform in [0, n), n > 0. */
uint32_t phantom_rng_below(phantom_rng *rng, uint32_t n);
/* Uniform in [low, high). */
float phantom_rng_between(phantom_rng *rng, float low, float high);

/* ------------------------------------------------------------------------------------------------ facts */

typedef enum phantom_view { PHANTOM_PA, PHANTOM_AP } phantom_view;
typedef enum phantom_side { PHANTOM_NO_SIDE, PHANTOM_RIGHT, PHANTOM_LEFT } phantom_side;
typedef enum phantom_zone { PHANTOM_UPPER, PHANTOM_MIDDLE, PHANTOM_LOWER } phantom_zone;
/* Sizes of findings; NONE means absent.  Nodule and pneumothorax: SMALL, LARGE.  Effusion: all.
 * Heart: SMALL reads "mildly enlarged", LARGE "markedly enlarged". */
typedef enum phantom_size { PHANTOM_NONE, PHANTOM_SMALL, PHANTOM_MODERATE, PHANTOM_LARGE } phantom_size;

/* What is to be seen on one drawing.  Bytes, so that other languages can read the struct. */
typedef struct phantom_case {
    uint64_t seed;
    uint8_t view;          /* phantom_view */
    uint8_t tube;          /* endotracheal tube: 0 or 1 */
    uint8_t line;          /* central line: phantom_side */
    uint8_t pacemaker;     /* phantom_side */
    uint8_t consolidation; /* phantom_side */
    uint8_t consolidation_zone;
    uint8_t nodule; /* phantom_side */
    uint8_t nodule_zone;
    uint8_t nodule_size;
    uint8_t effusion_right; /* phantom_size */
    uint8_t effusion_left;
    uint8_t pneumothorax; /* phantom_side */
    uint8_t pneumothorax_size;
    uint8_t heart;      /* phantom_size: enlargement */
    uint8_t fracture;   /* phantom_side */
    uint8_t indication; /* index into the reasons for the study */
} phantom_case;

/* Draw the facts of a case from its seed. */
void phantom_case_init(phantom_case *facts, uint64_t seed);

/* A finding label: finding and, where it has one, side.  One bit each in a uint32_t set. */
#define PHANTOM_LABEL_LIST(X)                              \
    X(PHANTOM_TUBE, "endotracheal tube")                   \
    X(PHANTOM_LINE_RIGHT, "central line, right")           \
    X(PHANTOM_LINE_LEFT, "central line, left")             \
    X(PHANTOM_PACEMAKER_RIGHT, "pacemaker, right")         \
    X(PHANTOM_PACEMAKER_LEFT, "pacemaker, left")           \
    X(PHANTOM_CONSOLIDATION_RIGHT, "consolidation, right") \
    X(PHANTOM_CONSOLIDATION_LEFT, "consolidation, left")   \
    X(PHANTOM_NODULE_RIGHT, "nodule, right")               \
    X(PHANTOM_NODULE_LEFT, "nodule, left")                 \
    X(PHANTOM_EFFUSION_RIGHT, "pleural effusion, right")   \
    X(PHANTOM_EFFUSION_LEFT, "pleural effusion, left")     \
    X(PHANTOM_PNEUMOTHORAX_RIGHT, "pneumothorax, right")   \
    X(PHANTOM_PNEUMOTHORAX_LEFT, "pneumothorax, left")     \
    X(PHANTOM_CARDIOMEGALY, "cardiomegaly")                \
    X(PHANTOM_FRACTURE_RIGHT, "rib fracture, right")       \
    X(PHANTOM_FRACTURE_LEFT, "rib fracture, left")

typedef enum phantom_label {
#define X(name, text) name,
    PHANTOM_LABEL_LIST(X)
#undef X
        PHANTOM_N_LABELS
} phantom_label;

/* The label's name, static; NULL outside the list. */
const char *phantom_label_text(uint32_t label);

/* The set of labels that are true of a case. */
uint32_t phantom_case_labels(const phantom_case *facts);

/* ---------------------------------------------------------------------------------------------- drawing */

typedef struct phantom_image {
    uint16_t *pixels; /* [height][width] grey, owned */
    uint32_t *labels; /* [height][width] which findings touch the pixel (dense supervision), owned */
    uint32_t width, height;
    uint32_t max_value; /* white: 255 or 4095 */
} phantom_image;

/* Draw a case.  Errors: BASE_ENOMEM (*out untouched). */
base_status phantom_case_draw(const phantom_case *facts, phantom_image *out);
void phantom_image_release(phantom_image *image);

/* Scale to the full range of 8 or 16 bits, rounded to nearest.  out: [height][width]. */
void phantom_image_to_u8(const phantom_image *image, uint8_t *out);
void phantom_image_to_u16(const phantom_image *image, uint16_t *out);

/* Which labels touch each patch once the drawing is fitted, centred, into a `grid` x `grid` square of patches.
 * out: [grid][grid].  A label counts where it covers at least 4 % of the patch. */
void phantom_image_patch_labels(const phantom_image *image, uint32_t grid, uint32_t *out);

/* ------------------------------------------------------------------------------------------------ texts */

enum { PHANTOM_REPORT_BYTES = 768, PHANTOM_TEXT_BYTES = 96, PHANTOM_MAX_OPTIONS = 4 };

/* "PA" or "AP", and the reason for the study; static. */
const char *phantom_case_view(const phantom_case *facts);
const char *phantom_case_indication(const phantom_case *facts);

/* The reference findings text.  Order: lines and tubes, lungs, pleura, heart, bones. */
void phantom_case_report(const phantom_case *facts, char out[PHANTOM_REPORT_BYTES]);

/* Read a report back into a set of labels.  Any text is accepted; sentences that are not understood add nothing.
 * Inverts phantom_case_report exactly. */
uint32_t phantom_report_findings(const char *report);

typedef enum phantom_question_kind {
    PHANTOM_OPEN,
    PHANTOM_CLOSED,
    PHANTOM_CLASSIFY,
    PHANTOM_CHOICE
} phantom_question_kind;

typedef struct phantom_question {
    char text[PHANTOM_TEXT_BYTES];                         /* the question; for PHANTOM_CLASSIFY the condition */
    char options[PHANTOM_MAX_OPTIONS][PHANTOM_TEXT_BYTES]; /* for PHANTOM_CHOICE */
    char answer[PHANTOM_TEXT_BYTES];                       /* choice and classify: option text with a final period */
    uint32_t n_options;
} phantom_question;

/* Question number `index` of a kind.  Every index gives a question (they repeat sooner or later); questions on presence
 * are drawn so that "yes" and "no" are about equally frequent. */
void phantom_case_question(const phantom_case *facts, phantom_question_kind kind, uint64_t index,
                           phantom_question *out);

#endif
