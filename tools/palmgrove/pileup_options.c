#include "tools/palmgrove/pileup_options.h"

#include <string.h>

/* The index of `word` among `words`, or -1. */
static int choice(const char *word, const char *const *words)
{
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    return -1;
}

const char *pileup_options_read(const pileup_options *values, pileup_rules *rules, pileup_layout *layout)
{
    static const char *const places[] = {"above", "below", NULL}, *const paddings[] = {"right-below", "centre",
                                                                                       "left-above", NULL};
    int place = choice(values->first_channels, places), padding = choice(values->pad, paddings);
    if (place < 0)
        return "--first-channels is above or below";
    if (padding < 0)
        return "--pad is right-below, centre or left-above";
    if (values->pad_value > 255)
        return "--pad-value is 0 to 255";
    *rules = (pileup_rules){values->min_base_quality, values->min_mapping_quality, values->seed, values->by_haplotype};
    *layout = (pileup_layout){place == 1, (pileup_padding)padding, (uint8_t)values->pad_value};
    return NULL;
}
