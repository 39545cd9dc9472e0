/* tower_fit.h - how a model's vision tower wants images, in the image library's terms. */
#ifndef PALMGROVE_TOWER_FIT_H
#define PALMGROVE_TOWER_FIT_H

#include "coordinator/image/preprocess.h"
#include "sharding/arch.h"

image_fit coord_tower_fit(const arch_tower *tower);

#endif
