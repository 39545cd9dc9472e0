/* image_warn.h - what a reader of the answer should know about an image that was decoded all the same.
 *
 * Warnings are data: a kind, whose number and name never change, and one sentence for people.  A sentence quotes
 * nothing of a header but words of closed vocabularies (modalities, body parts, views) and numbers. */
#ifndef PALMGROVE_IMAGE_WARN_H
#define PALMGROVE_IMAGE_WARN_H

#include <stddef.h>

/*    kind                        number name */
#define IMAGE_WARNINGS(X)                                                                                       \
    X(IMAGE_WARN_MODALITY, 1, "modality")               /* not one that was expected */                         \
    X(IMAGE_WARN_BODY_PART, 2, "body_part")             /* likewise */                                          \
    X(IMAGE_WARN_VIEW, 3, "view")                       /* likewise */                                          \
    X(IMAGE_WARN_ANNOTATION, 4, "burned_in_annotation") /* the file says that text is burned into its pixels */ \
    X(IMAGE_WARN_FRAMES, 5, "frames")                   /* the file has several; one was read */                \
    X(IMAGE_WARN_LOSSY, 6, "lossy")                     /* the pixels were compressed with loss */              \
    X(IMAGE_WARN_FLAT, 7, "flat")                       /* nearly all pixels have one grey level */             \
    X(IMAGE_WARN_WINDOW, 8, "window")                   /* a window is incomplete, or narrower than 1 */        \
    X(IMAGE_WARN_SYNTAX, 9, "transfer_syntax")          /* the data set is not encoded as the file says */      \
    X(IMAGE_WARN_PIXEL_DATA, 10, "pixel_data")          /* its length or colours are not what the header says */

typedef enum image_warning_kind {
#define X(kind, number, name) kind = number,
    IMAGE_WARNINGS(X)
#undef X
} image_warning_kind;

enum { IMAGE_WARNINGS_MAX = 10, IMAGE_WARNING_TEXT_MAX = 200 };

typedef struct image_warning {
    image_warning_kind kind;
    char text[IMAGE_WARNING_TEXT_MAX]; /* one sentence, without a full stop */
} image_warning;

/* Of one image, at most one of a kind, in the order in which they were found.  {0} is empty. */
typedef struct image_warnings {
    image_warning list[IMAGE_WARNINGS_MAX];
    size_t n;
} image_warnings;

/* "burned_in_annotation"; static.  "unknown" for other numbers. */
const char *image_warning_name(image_warning_kind kind);

/* Add a warning, unless `warnings` is NULL or has one of this kind. */
void image_warn(image_warnings *warnings, image_warning_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
