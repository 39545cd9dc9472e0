#include "proto/base/grow.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"

enum { CAPACITY_MIN = 16 };

bool base_grow(void *array, size_t *capacity, size_t n, size_t item_bytes)
{
    if (n <= *capacity)
        return true;
    size_t wanted = CAPACITY_MIN, bytes;
    if (wanted < n)
        wanted = n;
    if (*capacity <= SIZE_MAX / 2 && wanted < *capacity * 2)
        wanted = *capacity * 2;
    if (!base_size_mul(wanted, item_bytes, &bytes))
        return false;
    void *items; /* a T * may not be read as a void * in place */
    memcpy(&items, array, sizeof items);
    items = realloc(items, bytes);
    if (items == NULL)
        return false;
    memcpy(array, &items, sizeof items);
    *capacity = wanted;
    return true;
}
