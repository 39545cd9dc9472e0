/* eval_cases.h - the cases of one task from a data directory in the neutral layout (docs/EVALUATION.md).
 *
 *     DATA/TASK/cases.jsonl     one case a line
 *     DATA/TASK/images/...      what its "images" name
 *
 * Everything is checked before the first request is sent: keys, ids, fields and number of images against the task,
 * answers against its classes, that image files are there.  An error names file and line.  A set of cases does not
 * change after it was opened: any thread may read it. */
#ifndef PALMGROVE_EVAL_CASES_H
#define PALMGROVE_EVAL_CASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/task/task.h"
#include "proto/base/buf.h"
#include "proto/base/status.h"

enum {
    EVAL_LINE_BYTES_MAX = 4 << 20,   /* of a case */
    EVAL_CASES_MAX = 1 << 24,        /* of a task */
    EVAL_ID_BYTES_MAX = 200,         /* of a case's id or group */
    EVAL_IMAGE_BYTES_MAX = 64 << 20, /* of an image file: what a request may carry */
    EVAL_DIGEST_CHARS = 65,          /* SHA-256 in hex, with its end */
};

typedef struct eval_image {
    const char *file; /* relative to the task's directory */
    uint32_t frame;   /* of a DICOM file of several */
} eval_image;

typedef struct eval_slice {
    const char *name, *value;
} eval_slice;

typedef struct eval_variant {
    const char *contig, *ref, *kind; /* kind: "snp", "indel" */
    const char **alts;               /* [n_alts] */
    size_t n_alts;
    int64_t position; /* from 1, as in a VCF */
} eval_variant;

/* All strings are UTF-8 and borrowed from the set. */
typedef struct eval_case {
    const char *id, *group; /* group: the id when the line has none */
    task_field *fields;     /* [n_fields] a field of several values stands several times */
    size_t n_fields;
    eval_image *images; /* [n_images] */
    size_t n_images;
    const char **answers; /* [n_answers] accepted; the labels of a multi-label task */
    size_t n_answers;
    eval_slice *slices; /* [n_slices] */
    size_t n_slices;
    eval_variant variant; /* contig NULL: none */
    size_t line;          /* of the file, from 1 */
} eval_case;

typedef struct eval_cases {
    char *dir; /* DATA/TASK; "" when parsed from memory */
    eval_case *cases;
    size_t n;
    char digest[EVAL_DIGEST_CHARS]; /* over the lines and, for images, their names and sizes */
    size_t *order;                  /* private: by id */
    void **lines;                   /* private: what strings are borrowed from */
} eval_cases;

/* Parse `size` bytes of JSON Lines; `file` is for errors.  `t`: the task that the cases are of; NULL: only the layout
 * is checked. Errors, "FILE:LINE: cause": BASE_EFORMAT; BASE_ETOOBIG a limit above; BASE_EINVAL the case is none of its
 * task; BASE_ENOMEM. */
base_status eval_cases_parse(const char *file, const void *bytes, size_t size, const task *t, eval_cases *out,
                             base_error *error);

/* Read DATA/TASK/cases.jsonl, at most `limit` cases (0: all), and look at the image files.
 * Errors: eval_cases_parse's; BASE_ENOTFOUND no such file; BASE_EIO. */
base_status eval_cases_open(const char *data, const task *t, size_t limit, eval_cases *out, base_error *error);

void eval_cases_release(eval_cases *cases);

/* The case of this id; false when there is none. */
bool eval_cases_find(const eval_cases *cases, const char *id, size_t *out);

/* Append the bytes of an image's file, of whichever frame.  Errors: those of base_file_read, BASE_ETOOBIG a path. */
base_status eval_image_read(const eval_cases *cases, const eval_image *image, base_buf *out, base_error *error);

/* SHA-256 of some bytes in hex. */
void eval_digest(const void *bytes, size_t size, char out[EVAL_DIGEST_CHARS]);

#endif
