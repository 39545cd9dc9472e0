/* task.h - tasks as data: what a model is asked, in which words, and how its answer is scored.
 *
 * A task is a JSON file (docs/TASKS.md).  All 14 of MultiMedBench (Med-PaLM M, arXiv 2307.14334) and the demo's four
 * are built in; a directory of a site's own files adds to them and replaces those of the same name.
 *
 * Rendering a task gives the prompt's ordered parts, texts and image slots, in the order of the paper's Tables A.9 to
 * A.13: "Instructions: ..." - text-only exemplars, in which an image is the literal string <img> - the query, whose
 * <img> become image slots.  Exemplars are training examples of the model at hand, so those that come with the model
 * (exemplars.json) replace those of the file.
 *
 * A set and its tasks do not change after they are opened: any thread may read them.  Not here: tokenizing
 * (coordinator/text), metrics (tools/metrics; a task only names them). */
#ifndef PALMGROVE_TASK_H
#define PALMGROVE_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"

enum {
    TASK_FILE_BYTES_MAX = 256 << 10,
    TASK_FIELDS_MAX = 32,  /* of a task */
    TASK_IMAGES_MAX = 16,  /* of a prompt */
    TASK_OPTIONS_MAX = 26, /* letters (A) to (Z) */
    TASK_CLASSES_MAX = 256,
};

/* ---- what a task is; all strings UTF-8, borrowed from the set ---- */

typedef enum task_field_kind {
    TASK_FIELD_TEXT,
    TASK_FIELD_CHOICE,  /* one of `choices` */
    TASK_FIELD_NUMBER,  /* a decimal number from `least` to `most` */
    TASK_FIELD_OPTIONS, /* one value per option, in order; printed as (A) first (B) second */
} task_field_kind;

typedef struct task_field_spec {
    const char *name, *about; /* about: "" when the file says nothing */
    task_field_kind kind;
    bool required;
    bool each;            /* one value per image, in their order */
    const char *fallback; /* its value when none is given; NULL: none */
    const char **choices; /* [n_choices] */
    size_t n_choices;
    double least, most; /* NUMBER */
} task_field_spec;

typedef enum task_answer_form {
    TASK_ANSWER_TEXT,     /* free text, compared with a reference by the metrics */
    TASK_ANSWER_CLASS,    /* one of `classes` */
    TASK_ANSWER_LABELS,   /* any number of `classes`, separated by commas or semicolons */
    TASK_ANSWER_CHOICE,   /* one of the options that the request lists */
    TASK_ANSWER_GENOTYPE, /* copies of the alternative allele: the classes 0, 1, 2 */
} task_answer_form;

/* How an answer is matched with a class.
 * EXACT: the same bytes but for blanks at the ends and the form's end ("Yes.").
 * NORMALISED: in any case, blanks collapsed, a final period dropped: the name, a synonym, the letter "B" or "(B)", or
 * "(B) name". LEADING: as normalised, or the answer begins with one of these, followed by no letter or digit; the
 * longest wins. */
typedef enum task_match { TASK_MATCH_EXACT, TASK_MATCH_NORMALISED, TASK_MATCH_LEADING } task_match;

typedef struct task_class {
    const char *name;
    const char **synonyms; /* [n_synonyms] */
    size_t n_synonyms;
} task_class;

typedef struct task_answer {
    task_answer_form form;
    task_match match;
    const char *end;     /* what ends a class's answer: "." in Med-PaLM M */
    task_class *classes; /* [n_classes] CLASS, LABELS, GENOTYPE */
    size_t n_classes;
    const char **option_fields; /* [n_option_fields] CHOICE: the fields that hold the options, in order */
    size_t n_option_fields;
    const char *positive; /* name of the class that a two-class AUC is of; NULL: every class against the rest */
    const char
        *per; /* name of the field whose values are tasks of their own: metrics are means over them; NULL: none */
} task_answer;

typedef struct task_decoding {
    float temperature;   /* 0: greedy */
    uint32_t top_k;      /* 0: off */
    float top_p;         /* 1: off */
    uint32_t max_tokens; /* 0: the server's default */
    const char **stops;  /* [n_stops] */
    size_t n_stops;
} task_decoding;

/* A figure that Med-PaLM M's paper prints, in its own unit (percent); NAN where it has none. */
typedef struct task_published {
    const char *metric; /* one of task_metric_names() */
    double size_12b, size_84b, size_562b;
    double best_before; /* the prior state of the art, as printed */
    const char *note;   /* what is not known of the figure; "": nothing */
} task_published;

typedef struct task_step task_step; /* private: the parsed query */

/* An example in front of the query: the same template, filled in, and its answer. */
typedef struct task_exemplar {
    const char *answer;
    struct task_field *fields; /* [n_fields] */
    size_t n_fields;
} task_exemplar;

typedef struct task {
    const char *name, *title, *about, *dataset, *modality, *reference; /* about: "" when the file says nothing */
    uint32_t n_test_cases;                                             /* of the paper's test split; 0: not stated */
    bool paper_wording; /* instruction and query are the paper's, else ours */
    bool builtin;
    const char *source; /* the file's path, or "built in" */
    const char *json;   /* the file itself */

    const char *instruction; /* "": no such line */
    const char *query;
    task_field_spec *fields; /* [n_fields] */
    size_t n_fields;
    task_exemplar *exemplars; /* [n_exemplars] */
    size_t n_exemplars;
    uint32_t min_images, max_images;
    const char *between_images;
    /* What the header of a DICOM image should say, words separated by blanks; NULL: anything.  Others are warned of. */
    const char *modalities, *body_parts, *views;

    task_answer answer;
    task_decoding decoding;
    const char **metrics; /* [n_metrics] the first is the main one */
    size_t n_metrics;
    task_published *published; /* [n_published] */
    size_t n_published;

    task_step *steps; /* [n_steps] private */
    size_t n_steps;
    void *owner; /* private: what the strings are borrowed from */
} task;

/* "text", "class", "labels", "choice", "genotype"; "exact", "normalised", "leading"; "text", "choice", "number",
 * "options". */
const char *task_form_name(task_answer_form form);
const char *task_match_name(task_match match);
const char *task_kind_name(task_field_kind kind);

/* The names of all metrics that a task may ask for, NULL-terminated, static (tools/metrics computes them). */
const char *const *task_metric_names(void);

/* ---- sets of tasks ---- */

typedef struct task_set task_set;

/* The built-in tasks, and those of every *.json in `dir` (NULL: none), which replace built-in ones of the same name.
 * Errors, naming the file, and where the fault is in one "FILE:LINE:COLUMN: cause": BASE_EFORMAT; BASE_ETOOBIG;
 * BASE_EINVAL two files of `dir` have the same name; BASE_EIO; BASE_ENOMEM. */
base_status task_set_open(const char *dir, task_set **out, base_error *error);
void task_set_close(task_set **set);

/* In the order of names. */
size_t task_set_count(const task_set *set);
const task *task_set_at(const task_set *set, size_t i);

/* BASE_ENOTFOUND: the text lists the known ones. */
base_status task_set_find(const task_set *set, const char *name, const task **out, base_error *error);

/* One task from memory (`file` is for errors and `source`), or from a file.  Errors as task_set_open's; *out untouched.
 */
base_status task_parse(const char *file, const void *bytes, size_t size, task **out, base_error *error);
base_status task_load(const char *file, task **out, base_error *error);
void task_destroy(task **t);

/* ---- a request ---- */

/* A value of a field.  Fields of kind OPTIONS, and those that each image has, are given several times. */
typedef struct task_field {
    const char *name;  /* borrowed */
    const char *value; /* borrowed; inserted verbatim */
} task_field;

typedef struct task_part {
    bool is_image; /* the next image of the request goes here; text is NULL then */
    char *text;    /* owned */
} task_part;

typedef struct task_prompt {
    task_part *parts; /* owned */
    size_t n_parts;
} task_prompt;

/* Are these the fields and the number of images that the task takes?
 * Errors: BASE_EINVAL a required field is missing, a field is unknown, its value none of its kind, or given more often
 * than it may (named), or another number of images. */
base_status task_check(const task *t, const task_field *fields, size_t n_fields, uint32_t n_images, base_error *error);

/* Render `t` with `fields` (missing ones take their defaults) for `n_images` and the model's `exemplar` (NULL or "":
 * the task's own). Field values are text: an `<img>` inside a value stays literal text. Errors: task_check's;
 * BASE_ENOMEM.  On error *out is untouched. */
base_status task_render(const task *t, const task_field *fields, size_t n_fields, uint32_t n_images,
                        const char *exemplar, task_prompt *out, base_error *error);

/* Free the parts; the prompt is empty afterwards. */
void task_prompt_release(task_prompt *prompt);

/* ---- an answer ---- */

/* How many classes an answer may fall into: the task's own, or the options among `fields`; 0 for free text. */
size_t task_class_count(const task *t, const task_field *fields, size_t n_fields);

/* The name of class `i` < task_class_count, borrowed from the task or from `fields`. */
const char *task_class_name(const task *t, const task_field *fields, size_t n_fields, size_t i);

/* Append the answer that says class `i`, as a model is trained to give it ("Yes."): its log-likelihood is the class's
 * score. Check out->failed. */
void task_class_answer(const task *t, const task_field *fields, size_t n_fields, size_t i, base_buf *out);

/* The class that `answer` says by the task's matching rule; false when none.  LABELS: false unless it says exactly one.
 */
bool task_answer_class(const task *t, const task_field *fields, size_t n_fields, const char *answer, size_t *out);

/* LABELS: said[i] whether `answer` says class i, [task_class_count].  Returns how many pieces of the answer are no
 * class. */
size_t task_answer_labels(const task *t, const char *answer, bool *said);

#endif
