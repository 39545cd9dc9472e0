#include "worker/model/arena.h"

#include <sys/mman.h>

#include "proto/base/size.h"
#include "worker/kernels/kern.h"

void *model_arena_take(model_arena *arena, size_t n, size_t bytes)
{
    size_t size, end;
    if (!base_size_mul(n, bytes, &size) || !base_size_add(size, KERN_ALIGN - 1, &end) ||
        !base_size_add(arena->used, size / KERN_ALIGN * KERN_ALIGN + KERN_ALIGN, &end)) {
        arena->too_big = true;
        return NULL;
    }
    void *taken = arena->base != NULL ? arena->base + arena->used : NULL;
    arena->used += base_size_round_up(size, KERN_ALIGN);
    return taken;
}

bool model_arena_map(model_arena *arena, size_t bytes)
{
    *arena = (model_arena){0};
    if (bytes == 0)
        return true;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return false;
    madvise(base, bytes, MADV_HUGEPAGE); /* a wish: small pages work as well */
    arena->base = base;
    return true;
}

void model_arena_unmap(model_arena *arena, size_t bytes)
{
    if (arena->base != NULL)
        munmap(arena->base, bytes);
    *arena = (model_arena){0};
}
