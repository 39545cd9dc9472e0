/* arena.h - one block of memory handed out once, in order.
 *
 * The same code lays memory out twice: first over an arena without a base, which only counts, then over one with the
 * counted bytes.  What is measured is therefore what is allocated. */
#ifndef PALMGROVE_MODEL_ARENA_H
#define PALMGROVE_MODEL_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct model_arena {
    char *base; /* NULL: counting */
    size_t used;
    bool too_big; /* a size did not fit a size_t */
    char *mapped; /* what the system was asked for: [mapped_bytes] around base */
    size_t mapped_bytes;
} model_arena;

typedef enum model_huge_pages {
    MODEL_HUGE_AUTO, /* transparent huge pages, where the arena is larger than a few of them */
    MODEL_HUGE_OFF,  /* small pages, even where the system would use huge ones by default */
    MODEL_HUGE_ON,   /* from the pool that the administrator reserved (vm.nr_hugepages) while it lasts; else as AUTO */
} model_huge_pages;

/* "auto", "off", "on"; false for another name. */
bool model_huge_pages_find(const char *name, model_huge_pages *out);

/* The next n x bytes on a cache line; NULL while counting.  Memory is zero when the arena is fresh. */
void *model_arena_alloc(model_arena *arena, size_t n, size_t bytes);

/* Map `bytes` of zeroed memory; false when the system has none.  Pages are allocated when they are first touched. */
bool model_arena_map(model_arena *arena, size_t bytes, model_huge_pages huge);
void model_arena_unmap(model_arena *arena);

/* Parts of a range that several threads touch at once: multiples of this share no huge page when the range starts on
 * one. */
#define MODEL_PAGES_GRAIN ((size_t)2 << 20)

/* Allocate the pages of a range now, under the calling thread's memory policy; its content stays as it is. */
void model_pages_touch(const void *begin, size_t bytes);

/* How many of the bytes that lie in memory, in this arena's mapping, lie in huge pages, in percent; -1: unknown,
 * nothing was touched yet, or it is too small for them.  Reads /proc: not for the step loop. */
int model_arena_huge_percent(const model_arena *arena);

#endif
