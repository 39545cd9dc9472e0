/* pileup_shuffle.c - the order of numpy's legacy generator, so that a site with too many reads shows the same ones as
 * DeepVariant 1.3 would: MT19937 (Matsumoto and Nishimura 1998) seeded with one integer, a Fisher-Yates shuffle from
 * the end, and indices drawn by masking to the next power of two and rejecting. */
#include "coordinator/genomics/pileup_int.h"

enum { TWISTER_WORDS = 624, TWISTER_MIDDLE = 397 };

typedef struct twister {
    uint32_t words[TWISTER_WORDS];
    size_t used;
} twister;

static void twister_seed(twister *t, uint32_t seed)
{
    t->words[0] = seed;
    for (uint32_t i = 1; i < TWISTER_WORDS; i++)
        t->words[i] = 1812433253u * (t->words[i - 1] ^ (t->words[i - 1] >> 30)) + i;
    t->used = TWISTER_WORDS;
}

static void twister_refill(twister *t)
{
    for (size_t i = 0; i < TWISTER_WORDS; i++) {
        uint32_t y = (t->words[i] & 0x80000000u) | (t->words[(i + 1) % TWISTER_WORDS] & 0x7FFFFFFFu);
        t->words[i] = t->words[(i + TWISTER_MIDDLE) % TWISTER_WORDS] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908B0DFu : 0);
    }
    t->used = 0;
}

static uint32_t twister_next(twister *t)
{
    if (t->used == TWISTER_WORDS)
        twister_refill(t);
    uint32_t y = t->words[t->used++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9D2C5680u;
    y ^= (y << 15) & 0xEFC60000u;
    return y ^ (y >> 18);
}

/* 0 to `max`, uniformly. */
static uint32_t twister_below(twister *t, uint32_t max)
{
    uint32_t mask = max, value;
    for (unsigned shift = 1; shift < 32; shift *= 2)
        mask |= mask >> shift;
    do
        value = twister_next(t) & mask;
    while (value > max);
    return value;
}

void pileup_shuffle(bam1_t **reads, size_t n, uint32_t seed)
{
    twister t;
    twister_seed(&t, seed);
    for (size_t i = n; i-- > 1;) {
        uint32_t other = twister_below(&t, (uint32_t)i);
        bam1_t *swapped = reads[i];
        reads[i] = reads[other];
        reads[other] = swapped;
    }
}
