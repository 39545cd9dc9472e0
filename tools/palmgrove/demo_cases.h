/* demo_cases.h - held-out drawings with their true answers as a data directory for `palmgrove eval`. */
#ifndef PALMGROVE_DEMO_CASES_H
#define PALMGROVE_DEMO_CASES_H

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "tools/phantom/phantom.h"

/* Append a drawing as a PNG: of 8 bits, or of 16 where it has more greys.  Errors: BASE_ENOMEM. */
base_status demo_encode_drawing(const phantom_image *drawing, base_buf *out, base_error *error);

/* Write `n` drawings from number `first` on into `dir` in the neutral layout (docs/EVALUATION.md): tasks report, vqa
 * (an open and a closed question for each), classify (two for each) and choice.  Errors: BASE_EIO; BASE_ENOMEM;
 * BASE_ETOOBIG. */
base_status demo_write_cases(const char *dir, uint64_t first, uint32_t n, base_error *error);

#endif
