/* dicom_text.h - one element of a DICOM header as text, for a caller that names it.
 *
 * The only path from a header into a prompt: nothing else in this tree reads a header's texts.  Bytes are hostile, as
 * in image.h; pure and reentrant.  Format: DICOM PS3.5 section 6 (values, character sets), PS3.6 (the keywords). */
#ifndef PALMGROVE_DICOM_TEXT_H
#define PALMGROVE_DICOM_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"

enum { DICOM_TEXT_BYTES_MAX = 64 << 10 };

/* Parse a name to its tag: "GGGG,EEEE" in hexadecimal, or one of the keywords that the error lists.
 * Errors: BASE_EINVAL neither, or an element that is no part of a data set's texts (group 2, pixels). */
base_status dicom_tag_parse(const char *name, uint32_t *out, base_error *error);

/* Append the value of the element `tag` of the file's own data set, before its pixels, to `out`: as UTF-8, blanks
 * at the ends dropped, line ends as "\n", an age in years ("045Y") as its number ("45"). Errors, `out` untouched, none
 * quotes the value: BASE_EUNSUPPORTED not a DICOM file, a transfer syntax or a character set that is not read (ASCII,
 * ISO_IR 100 and ISO_IR 192 are); BASE_ENOTFOUND no such element, or an empty one; BASE_EINVAL several values, an age
 * that is not in years; BASE_EFORMAT no text, damaged; BASE_ETOOBIG beyond DICOM_TEXT_BYTES_MAX; BASE_ENOMEM. */
base_status dicom_text_read(const void *bytes, size_t size, uint32_t tag, base_buf *out, base_error *error);

#endif
