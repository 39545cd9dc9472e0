/* dicom_tool.c - image_decode_frame, dicom_text_read and dicom_cut_frame for tests/conformance/dicom.py, many files in
 * one process.
 *
 * Asks on stdin: u32 what (0 the image, 1 the stored samples of a DICOM file, 2 the text of an element, 3 a frame as a
 * file of its own), u32 frame (2: the tag), u32 size, the file's bytes.  Answers on stdout: u32 status, u32 width,
 * height, channels (0 on failure, for texts and files), u32 n and n bytes: pixels (u8), samples (u16), UTF-8, a file,
 * or the error's text.  Native byte order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/image/dicom_cut.h"
#include "coordinator/image/dicom_int.h"
#include "coordinator/image/dicom_text.h"

enum { MAX_PIXELS = 1 << 24 };

static int answer(base_status status, const image *img, const void *body, size_t n, const base_error *error)
{
    if (status != BASE_OK) {
        body = error->text;
        n = strlen(error->text);
    }
    uint32_t head[] = {status, img->width, img->height, img->channels, (uint32_t)n};
    return fwrite(head, sizeof head, 1, stdout) == 1 && fwrite(body, 1, n, stdout) == n && fflush(stdout) == 0 ? 0 : 1;
}

static int answer_image(uint32_t frame, const uint8_t *bytes, uint32_t size)
{
    image img = {0};
    base_error error = {0};
    const image_options options = {.max_pixels = MAX_PIXELS, .frame = frame};
    base_status status = image_decode_frame(bytes, size, &options, &img, &error);
    int code = answer(status, &img, img.pixels, (size_t)img.width * img.height * img.channels, &error);
    image_release(&img);
    return code;
}

static int answer_samples(uint32_t frame, const uint8_t *bytes, uint32_t size)
{
    dicom_file file = {0};
    dicom_geometry geometry = {0};
    dicom_raster raster = {0};
    base_error error = {0};
    base_status status = dicom_file_read(&file, bytes, size, frame, (size_t)MAX_PIXELS * 8, &error);
    if (status == BASE_OK)
        status = dicom_geometry_read(&file, frame, MAX_PIXELS, &geometry, &error);
    if (status == BASE_OK) {
        raster = (dicom_raster){.rows = geometry.rows, .columns = geometry.columns, .samples = geometry.samples};
        raster.out = calloc((size_t)geometry.rows * geometry.columns * geometry.samples, sizeof *raster.out);
        status = raster.out != NULL ? dicom_frame_read(&file, &geometry, frame, &raster, &error) : BASE_ENOMEM;
    }
    size_t n = (size_t)raster.rows * raster.columns * raster.samples;
    for (size_t i = 0; i < n && status == BASE_OK; i++)
        raster.out[i] &= (uint16_t)((1u << geometry.bits_stored) - 1);
    const image sizes = {.width = raster.columns, .height = raster.rows, .channels = raster.samples};
    int code = answer(status, &sizes, raster.out, n * sizeof *raster.out, &error);
    free(raster.out);
    dicom_file_release(&file);
    return code;
}

static int answer_text(uint32_t tag, const uint8_t *bytes, uint32_t size)
{
    base_buf text = {0};
    base_error error = {0};
    base_status status = dicom_text_read(bytes, size, tag, &text, &error);
    int code = answer(status, &(image){0}, text.data, text.size, &error);
    base_buf_release(&text);
    return code;
}

static int answer_cut(uint32_t frame, const uint8_t *bytes, uint32_t size)
{
    base_buf cut = {0};
    base_error error = {0};
    uint32_t n_frames;
    base_status status = dicom_cut_frame(bytes, size, frame, &n_frames, &cut, &error);
    int code = answer(status, &(image){0}, cut.data, cut.size, &error);
    base_buf_release(&cut);
    return code;
}

int main(void)
{
    static int (*const answers[])(uint32_t, const uint8_t *, uint32_t) = {answer_image, answer_samples, answer_text,
                                                                          answer_cut};
    uint32_t head[3];
    while (fread(head, sizeof head, 1, stdin) == 1) {
        uint8_t *bytes = malloc(head[2] > 0 ? head[2] : 1); /* of its size: a sanitizer sees a read past the end */
        int code = bytes == NULL || head[0] > 3 || fread(bytes, 1, head[2], stdin) != head[2];
        if (code == 0)
            code = answers[head[0]](head[1], bytes, head[2]);
        free(bytes);
        if (code != 0)
            return code;
    }
    return 0;
}
