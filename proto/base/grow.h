/* grow.h - growing a heap array by doubling.  Safe from any thread. */
#ifndef PALMGROVE_BASE_GROW_H
#define PALMGROVE_BASE_GROW_H

#include <stdbool.h>
#include <stddef.h>

/* Make room for at least `n` items of `item_bytes` in a heap array: base_grow(&list->rows, &list->capacity,
 * list->n + 1, sizeof *list->rows).  array: the address of the pointer (a T **), NULL and capacity 0 at first; new
 * items are not initialised.  The capacity at least doubles when it grows, so pushing n items copies O(n). False when
 * memory is out or the size does not fit; array and capacity are then unchanged. */
bool base_grow(void *array, size_t *capacity, size_t n, size_t item_bytes);

#endif
