/* dicom_tool.c - image_decode_frame for tests/conformance/dicom.py, many files in one process.
 *
 * Asks on stdin: u32 frame, u32 size, the file's bytes.  Answers on stdout: u32 status, u32 width, height, channels (0 on
 * failure), u32 n and n bytes: pixels, or the error's text.  Native byte order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/image/image.h"

enum { MAX_PIXELS = 1 << 24 };

static int answer(uint32_t frame, const uint8_t *bytes, uint32_t size)
{
    image img = {0};
    base_error error = {0};
    base_status status =
        image_decode_frame(bytes, size, &(image_options){.max_pixels = MAX_PIXELS, .frame = frame}, &img, &error);
    uint32_t n = status == BASE_OK ? img.width * img.height * img.channels : (uint32_t)strlen(error.text);
    uint32_t head[] = {status, img.width, img.height, img.channels, n};
    const void *body = status == BASE_OK ? (const void *)img.pixels : error.text;
    bool good = fwrite(head, sizeof head, 1, stdout) == 1 && fwrite(body, 1, n, stdout) == n && fflush(stdout) == 0;
    image_release(&img);
    return good ? 0 : 1;
}

int main(void)
{
    uint32_t head[2];
    while (fread(head, sizeof head, 1, stdin) == 1) {
        uint8_t *bytes = malloc(head[1] > 0 ? head[1] : 1); /* of its size: a sanitizer sees a read past the end */
        int code = bytes == NULL || fread(bytes, 1, head[1], stdin) != head[1] || answer(head[0], bytes, head[1]) != 0;
        free(bytes);
        if (code != 0)
            return code;
    }
    return 0;
}
