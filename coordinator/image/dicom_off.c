/* dicom_off.c - what a build with -DPALMGROVE_DICOM=OFF has in place of the DICOM reader: an error that names the
 * option. */
#include "coordinator/image/dicom_cut.h"
#include "coordinator/image/dicom_text.h"
#include "coordinator/image/image_int.h"

static base_status refuse(base_error *error)
{
    return base_fail(error, BASE_EUNSUPPORTED,
                     "this build does not read DICOM files: send a PNG, or build it with -DPALMGROVE_DICOM=ON");
}

base_status image_decode_dicom(const uint8_t *bytes, size_t size, const image_options *options, image *out,
                               base_error *error)
{
    (void)bytes;
    (void)size;
    (void)options;
    (void)out;
    return refuse(error);
}

base_status dicom_tag_parse(const char *name, uint32_t *out, base_error *error)
{
    (void)name;
    (void)out;
    return refuse(error);
}

base_status dicom_text_read(const void *bytes, size_t size, uint32_t tag, base_buf *out, base_error *error)
{
    (void)bytes;
    (void)size;
    (void)tag;
    (void)out;
    return refuse(error);
}

base_status dicom_cut_frame(const void *bytes, size_t size, uint32_t frame, uint32_t *n_frames, base_buf *out,
                            base_error *error)
{
    (void)bytes;
    (void)size;
    (void)frame;
    (void)n_frames;
    (void)out;
    return refuse(error);
}
