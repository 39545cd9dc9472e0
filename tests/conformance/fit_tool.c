/* fit_tool.c - image_preprocess for tests/conformance/preprocess.py, many images in one process.
 *
 * Asks on stdin: ten u32, kind, filter, padding side, value red, green, blue, size, width, height, channels, then the
 * pixels.  Answers on stdout: u32 status, then size * size * 3 bytes when it is 0.  Native byte order. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/image/preprocess.h"

static int answer(const uint32_t *head, uint8_t *pixels)
{
    const image img = {.width = head[7], .height = head[8], .channels = head[9], .pixels = pixels};
    const image_fit fit = {.kind = (image_fit_kind)head[0],
                           .filter = (image_filter)head[1],
                           .pad_side = (image_pad_side)head[2],
                           .pad_value = {(uint8_t)head[3], (uint8_t)head[4], (uint8_t)head[5]}};
    size_t n = (size_t)head[6] * head[6] * 3;
    uint8_t *out = malloc(n > 0 ? n : 1);
    uint32_t status = out != NULL ? (uint32_t)image_preprocess(&img, &fit, head[6], out, NULL) : BASE_ENOMEM;
    bool good = fwrite(&status, sizeof status, 1, stdout) == 1 &&
                (status != BASE_OK || fwrite(out, 1, n, stdout) == n) && fflush(stdout) == 0;
    free(out);
    return good ? 0 : 1;
}

int main(void)
{
    uint32_t head[10];
    while (fread(head, sizeof head, 1, stdin) == 1) {
        size_t n = (size_t)head[7] * head[8] * head[9];
        uint8_t *pixels = malloc(n > 0 ? n : 1); /* of its size: a sanitizer sees a read past the end */
        int code = pixels == NULL || fread(pixels, 1, n, stdin) != n || answer(head, pixels) != 0;
        free(pixels);
        if (code != 0)
            return code;
    }
    return 0;
}
