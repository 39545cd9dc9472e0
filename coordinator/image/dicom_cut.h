/* dicom_cut.h - one frame of a DICOM file as a file of its own, so that the others need not be read or sent. */
#ifndef PALMGROVE_DICOM_CUT_H
#define PALMGROVE_DICOM_CUT_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"

/* Append to `out` the file's header with one frame and the functional groups that belong to it; NumberOfFrames is 1.
 * Decoding it gives the pixels that frame `frame` (from 0) of the whole file gives.  Of `bytes`, which may be a mapped
 * file, only the header, the frame and, of compressed files, the heads of fragments are touched.  *n_frames: how many
 * the whole file has.
 * Errors, `out` untouched: BASE_EUNSUPPORTED not a DICOM file, a deflated one, or one whose frames are not read here;
 * BASE_EINVAL no such frame; BASE_EFORMAT truncated or damaged; BASE_ENOMEM. */
base_status dicom_cut_frame(const void *bytes, size_t size, uint32_t frame, uint32_t *n_frames, base_buf *out,
                            base_error *error);

#endif
