#include "sharding/shards/shard_sum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct shard_sum {
    XXH3_state_t *state;
};

shard_sum *shard_sum_create(void)
{
    shard_sum *sum = calloc(1, sizeof *sum);
    if (sum == NULL)
        return NULL;
    sum->state = XXH3_createState();
    if (sum->state == NULL) {
        free(sum);
        return NULL;
    }
    shard_sum_reset(sum);
    return sum;
}

void shard_sum_destroy(shard_sum **sum)
{
    if (*sum == NULL)
        return;
    XXH3_freeState((*sum)->state);
    free(*sum);
    *sum = NULL;
}

void shard_sum_reset(shard_sum *sum)
{
    XXH3_128bits_reset(sum->state);
}

void shard_sum_update(shard_sum *sum, const void *bytes, size_t size)
{
    XXH3_128bits_update(sum->state, bytes, size);
}

static void put_hash(XXH128_hash_t hash, char out[SHARD_SUM_TEXT])
{
    snprintf(out, SHARD_SUM_TEXT, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

void shard_sum_text(const shard_sum *sum, char out[SHARD_SUM_TEXT])
{
    put_hash(XXH3_128bits_digest(sum->state), out);
}

void shard_sum_of(const void *bytes, size_t size, char out[SHARD_SUM_TEXT])
{
    put_hash(XXH3_128bits(bytes, size), out);
}

bool shard_sum_is_text(const char *text)
{
    return strlen(text) == SHARD_SUM_TEXT - 1 && strspn(text, "0123456789abcdef") == SHARD_SUM_TEXT - 1;
}
