/* tower_fit.c - from a model's description to the image library's fit: both list the same kinds in the same order. */
#include "coordinator/tower_fit.h"

_Static_assert((int)ARCH_FIT_CROP == (int)IMAGE_FIT_CROP && (int)ARCH_FILTER_BICUBIC == (int)IMAGE_FILTER_BICUBIC &&
                   (int)ARCH_PAD_BEFORE == (int)IMAGE_PAD_BEFORE,
               "the model's description and the image library list the same kinds");

image_fit coord_tower_fit(const arch_tower *tower)
{
    const arch_fit *fit = &tower->fit;
    image_fit out = {.kind = (image_fit_kind)fit->kind,
                     .filter = (image_filter)fit->filter,
                     .pad_side = (image_pad_side)fit->pad_side};
    for (int i = 0; i < 3; i++)
        out.pad_value[i] = (uint8_t)fit->pad_value[i];
    return out;
}
