/* console_image.h - image files of the command line into requests. */
#ifndef PALMGROVE_CONSOLE_IMAGE_H
#define PALMGROVE_CONSOLE_IMAGE_H

#include <stdint.h>

#include "proto/client/palmgrove.h"

/* Add the file as the request's next image.  Of a DICOM file of several frames only `frame` is read and sent, so that
 * the file may be larger than a message.  A failure stays with the request. */
void console_add_image(pg_request *request, const char *path, uint32_t frame);

#endif
