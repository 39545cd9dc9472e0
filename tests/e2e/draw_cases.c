/* draw_cases DIR FIRST N: write held-out drawings FIRST .. FIRST+N-1 as DIR/<index>.png and print a line for each:
 * index, view, indication, reference report, an open question, its answer; separated by tabs. */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/image/image.h"
#include "tools/phantom/phantom.h"

static int write_drawing(const phantom_case *facts, const char *path)
{
    phantom_image drawing;
    if (phantom_case_draw(facts, &drawing) != BASE_OK)
        return 1;
    uint32_t bits = drawing.max_value > 255 ? 16 : 8;
    void *samples = calloc((size_t)drawing.width * drawing.height, bits / 8);
    base_buf png = {0};
    base_error error = {0};
    int failed = samples == NULL;
    if (!failed) {
        if (bits == 16)
            phantom_image_to_u16(&drawing, samples);
        else
            phantom_image_to_u8(&drawing, samples);
        failed = image_encode_png(samples, drawing.width, drawing.height, 1, bits, &png, &error) != BASE_OK;
    }
    FILE *file = failed ? NULL : fopen(path, "wb");
    failed = file == NULL || fwrite(png.data, 1, png.size, file) != png.size;
    if (file != NULL && fclose(file) != 0)
        failed = 1;
    base_buf_release(&png);
    free(samples);
    phantom_image_release(&drawing);
    return failed;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: draw_cases DIR FIRST N\n");
        return 2;
    }
    unsigned long first = strtoul(argv[2], NULL, 10), n = strtoul(argv[3], NULL, 10);
    for (unsigned long i = first; i < first + n; i++) {
        char path[512], report[PHANTOM_REPORT_BYTES];
        phantom_case facts;
        phantom_question question;
        snprintf(path, sizeof path, "%s/%lu.png", argv[1], i);
        phantom_case_init(&facts, phantom_seed(PHANTOM_HELD_OUT, i));
        phantom_case_report(&facts, report);
        phantom_case_question(&facts, PHANTOM_OPEN, 0, &question);
        if (write_drawing(&facts, path) != 0) {
            fprintf(stderr, "draw_cases: cannot write '%s'\n", path);
            return 1;
        }
        printf("%lu\t%s\t%s\t%s\t%s\t%s\n", i, phantom_case_view(&facts), phantom_case_indication(&facts), report,
               question.text, question.answer);
    }
    return 0;
}
