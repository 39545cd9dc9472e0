/* cmd_render.c - an image exactly as a model's vision tower sees it, as a PNG: decoded, windowed and fitted by the
 * functions that a server calls.  Neither server nor weights are needed. */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/image/preprocess.h"
#include "coordinator/tower_fit.h"
#include "proto/base/file.h"
#include "sharding/checkpoint.h"
#include "sharding/mapped_file.h"
#include "tools/palmgrove/command.h"

typedef struct render_values {
    const char *image, *model, *mmproj, *output;
    uint32_t frame;
    uint64_t image_pixels;
    bool strict;
    char joined[SHARD_MODEL_NAME_BYTES]; /* model and mmproj */
} render_values;

#define AT(field) offsetof(render_values, field)

static const option_row rows[] = {
    {"image", "IMAGE", OPTION_TEXT, AT(image), NULL, "a JPEG, PNG, TIFF, PGM, PPM or DICOM file",
     OPTION_POSITIONAL | OPTION_REQUIRED},
    {"model", "MODEL", OPTION_TEXT, AT(model), NULL, "directory of a model or of shards, or a .gguf file",
     OPTION_REQUIRED},
    {"mmproj", "FILE", OPTION_TEXT, AT(mmproj), NULL,
     "the vision tower of a GGUF decoder; found automatically if the directory has exactly one *mmproj*.gguf", 0},
    {"output", "FILE", OPTION_TEXT, AT(output), NULL, "where the PNG goes", OPTION_REQUIRED | OPTION_NO_ENVIRONMENT},
    {"frame", "N", OPTION_U32, AT(frame), "0", "which frame of a DICOM file, from 0", OPTION_NO_ENVIRONMENT},
    {"strict", NULL, OPTION_FLAG, AT(strict), NULL, "write nothing and fail if there are warnings",
     OPTION_NO_ENVIRONMENT},
    {"image-pixels", "N", OPTION_U64, AT(image_pixels), "67108864", "largest image", 0},
};

static base_status describe(render_values *values, arch *out, base_error *error)
{
    const char *model = shard_checkpoint_join(values->model, values->mmproj, values->joined);
    base_status status = shard_checkpoint_describe(model, out, error);
    if (status == BASE_OK && !out->has_tower)
        status = base_fail(error, BASE_EUNSUPPORTED, "'%.200s' has no vision tower: it sees no images", values->model);
    return status;
}

static base_status load(const render_values *values, const arch_tower *tower, image_warnings *warnings, uint8_t **out,
                        base_error *error)
{
    mapped_file file = {0};
    base_status status = mapped_file_open(values->image, &file, error);
    if (status != BASE_OK)
        return status;
    const image_options options = {.max_pixels = values->image_pixels, .frame = values->frame, .warnings = warnings};
    const image_fit fit = coord_tower_fit(tower);
    status = image_load_square(file.map, file.bytes, &options, &fit, tower->image_size, out, error);
    if (status != BASE_OK)
        base_error_prefix(error, "'%.200s': ", values->image);
    mapped_file_close(&file);
    return status;
}

static base_status save(const render_values *values, const uint8_t *pixels, uint32_t side, base_error *error)
{
    base_buf png = {0};
    base_status status = image_encode_png(pixels, side, side, 3, 8, &png, error);
    if (status == BASE_OK)
        status = base_file_replace(values->output, &png, error);
    base_buf_release(&png);
    return status;
}

static base_status render(render_values *values, base_error *error)
{
    arch model;
    image_warnings warnings = {0};
    uint8_t *pixels = NULL;
    base_status status = describe(values, &model, error);
    if (status == BASE_OK)
        status = load(values, &model.tower, &warnings, &pixels, error);
    if (status != BASE_OK)
        return status;
    for (size_t i = 0; i < warnings.n; i++)
        fprintf(stderr, "palmgrove: warning: %s\n", warnings.list[i].text);
    if (values->strict && warnings.n > 0)
        status =
            base_fail(error, BASE_EINVAL, "'%.200s' has %zu warnings; nothing is written", values->image, warnings.n);
    if (status == BASE_OK)
        status = save(values, pixels, model.tower.image_size, error);
    free(pixels);
    if (status == BASE_OK)
        printf("%s: %u x %u pixels\n", values->output, model.tower.image_size, model.tower.image_size);
    return status;
}

static int run(void *opaque)
{
    base_error error = {0};
    if (render(opaque, &error) == BASE_OK)
        return EXIT_DONE;
    command_complain(error.text);
    return EXIT_FAILED;
}

const command command_render = {"render",
                                "IMAGE --model MODEL --output FILE [options]",
                                "write an image exactly as a model's vision tower sees it",
                                "Decode an image as a server does (frame, window, orientation, square pixels), fit it "
                                "into the square of the model's "
                                "vision tower, and write these pixels as a PNG. Only the description of the model is "
                                "read, no weights. What a server "
                                "would warn of is printed:\n\n"
                                "    palmgrove render chest.dcm --model models/phantom --output seen.png",
                                {rows, sizeof rows / sizeof rows[0]},
                                sizeof(render_values),
                                run};
