/* nearest.h - the closest known word to an unknown one, for "did you mean".  Safe from any thread. */
#ifndef PALMGROVE_BASE_NEAREST_H
#define PALMGROVE_BASE_NEAREST_H

#include <stddef.h>

/* The candidate nearest to `word` by edit distance (a swap of neighbours counts once); NULL when none is near (more
 * than a third of the letters differ). */
const char *base_nearest(const char *word, const char *const *candidates, size_t n);

#endif
