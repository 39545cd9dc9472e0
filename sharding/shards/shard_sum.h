/* shard_sum.h - checksums of shards: XXH3, 128 bits (https://github.com/Cyan4973/xxHash), as 32 lower-case hex digits.
 *
 * They find accidents (cut, flipped, swapped bytes) at the speed of memory; they are not meant against forgers. */
#ifndef PALMGROVE_SHARD_SUM_H
#define PALMGROVE_SHARD_SUM_H

#include <stdbool.h>
#include <stddef.h>

#define SHARD_SUM_TEXT 33u /* with the NUL */

typedef struct shard_sum shard_sum;

/* An empty sum; NULL when memory is out. */
shard_sum *shard_sum_create(void);
void shard_sum_destroy(shard_sum **sum);
void shard_sum_reset(shard_sum *sum);
void shard_sum_update(shard_sum *sum, const void *bytes, size_t size);
void shard_sum_text(const shard_sum *sum, char out[SHARD_SUM_TEXT]);

/* The sum of one range. */
void shard_sum_of(const void *bytes, size_t size, char out[SHARD_SUM_TEXT]);

/* True for 32 lower-case hex digits. */
bool shard_sum_is_text(const char *text);

#endif
