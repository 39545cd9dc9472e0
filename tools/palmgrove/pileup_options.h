/* pileup_options.h - how pileups are drawn and laid out, for the commands that draw them. */
#ifndef PALMGROVE_PILEUP_OPTIONS_H
#define PALMGROVE_PILEUP_OPTIONS_H

#include "coordinator/genomics/pileup.h"
#include "tools/palmgrove/options.h"

/* A member of the values of such a command, named `pileup`. */
typedef struct pileup_options {
    const char *first_channels, *pad;
    uint32_t pad_value, min_mapping_quality, min_base_quality, seed;
    bool by_haplotype;
} pileup_options;

#define PILEUP_AT(type, field) offsetof(type, pileup) + offsetof(pileup_options, field)
/* clang-format off */
#define PILEUP_ROWS(type) \
    {"first-channels", "PLACE", OPTION_TEXT, PILEUP_AT(type, first_channels), "above", \
     "above or below: where channels 1 to 3 go in the image", OPTION_NO_ENVIRONMENT}, \
    {"pad", "PLACE", OPTION_TEXT, PILEUP_AT(type, pad), "right-below", \
     "right-below, centre or left-above: where the padding to 224 x 224 goes", OPTION_NO_ENVIRONMENT}, \
    {"pad-value", "N", OPTION_U32, PILEUP_AT(type, pad_value), "0", \
     "grey level of the padding, 0 to 255", OPTION_NO_ENVIRONMENT}, \
    {"min-mapping-quality", "N", OPTION_U32, PILEUP_AT(type, min_mapping_quality), "5", \
     "leave out reads of lower mapping quality", OPTION_NO_ENVIRONMENT}, \
    {"min-base-quality", "N", OPTION_U32, PILEUP_AT(type, min_base_quality), "10", \
     "leave out reads of lower base quality at the site", OPTION_NO_ENVIRONMENT}, \
    {"seed", "N", OPTION_U32, PILEUP_AT(type, seed), "2101079370", \
     "of the random choice among more than 95 reads", OPTION_NO_ENVIRONMENT}, \
    {"sort-by-haplotype", NULL, OPTION_FLAG, PILEUP_AT(type, by_haplotype), NULL, \
     "order rows by the HP tag first", OPTION_NO_ENVIRONMENT}
/* clang-format on */

/* NULL, or what is wrong with the values: a text for the user. */
const char *pileup_options_read(const pileup_options *values, pileup_rules *rules, pileup_layout *layout);

#endif
