/* console_image.c - image files of the command line into requests.
 *
 * Files are mapped: of a large DICOM file only the header and the wanted frame are ever read. */
#include "tools/palmgrove/console_image.h"

#include "coordinator/image/dicom_cut.h"
#include "sharding/mapped_file.h"

/* What is no DICOM file of several frames is left to the client library, with all its errors. */
static bool add_frame(pg_request *request, const mapped_file *file, uint32_t frame)
{
    uint32_t n_frames = 0;
    base_buf cut = {0};
    base_error error = {0};
    bool is_cut = dicom_cut_frame(file->map, file->bytes, frame, &n_frames, &cut, &error) == BASE_OK && n_frames > 1;
    if (is_cut)
        pg_request_add_image(request, cut.data, cut.size);
    base_buf_release(&cut);
    return is_cut;
}

void console_add_image(pg_request *request, const char *path, uint32_t frame)
{
    mapped_file file = {0};
    base_error error = {0};
    bool is_added = mapped_file_open(path, &file, &error) == BASE_OK && add_frame(request, &file, frame);
    mapped_file_close(&file);
    if (!is_added)
        pg_request_add_image_file_frame(request, path, frame);
}
