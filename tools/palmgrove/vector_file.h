/* vector_file.h - vectors of numbers from a text file, as a part of a request (docs/PROTOCOL.md, Vectors). */
#ifndef PALMGROVE_TOOLS_VECTOR_FILE_H
#define PALMGROVE_TOOLS_VECTOR_FILE_H

#include "proto/base/status.h"
#include "proto/client/palmgrove.h"

/* `what` is "ENCODER=FILE", or "FILE" for embeddings of the decoder.  A line is a vector, numbers apart by blanks or
 * commas; empty lines and what follows a '#' do not count. Errors: those of base_file_read; BASE_EFORMAT no number
 * (line named), or lines of different lengths; the request keeps its own. */
base_status vector_file_add(pg_request *request, const char *what, base_error *error);

#endif
