/* arena.h - one block of memory handed out once, in order.
 *
 * The same code lays memory out twice: first over an arena without a base, which only counts, then over one with the
 * counted bytes.  What is measured is therefore what is taken. */
#ifndef PALMGROVE_MODEL_ARENA_H
#define PALMGROVE_MODEL_ARENA_H

#include <stdbool.h>
#include <stddef.h>

typedef struct model_arena {
    char *base; /* NULL: counting */
    size_t used;
    bool too_big; /* a size did not fit a size_t */
} model_arena;

/* The next n x bytes on a cache line; NULL while counting.  Memory is zero when the arena is fresh. */
void *model_arena_take(model_arena *arena, size_t n, size_t bytes);

/* Map `bytes` of zeroed memory, huge pages wished for; false when the system has none. */
bool model_arena_map(model_arena *arena, size_t bytes);
void model_arena_unmap(model_arena *arena, size_t bytes);

#endif
