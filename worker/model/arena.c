/* arena.c - memory for weights, cache and workspace, on huge pages where that helps.
 *
 * Weights are read from end to end in every step: with pages of 4 KiB the translation misses cost 5 to 20 % of the read
 * bandwidth (docs/PERFORMANCE.md), with pages of 2 MiB nothing that can be measured.
 * Two kinds: transparent ones, which the kernel gives where it has them and replaces by small ones where not; and
 * those of the pool that an administrator sets aside (hugetlbfs), which are certain but reserved: they are used only
 * when asked for.  A pool page that is promised may still be missing when it is touched (limits of control groups, a
 * pool on other NUMA nodes), and then the process would be killed; so they are all allocated at once by a call that can
 * fail, and given back if it does.
 * A page without access follows each arena: it catches overruns, and keeps the kernel from merging the mapping with a
 * neighbour, so that /proc/self/smaps tells of this arena alone. */
#include "worker/model/arena.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/size.h"
#include "worker/kernels/kern.h"

#define HUGE_BYTES ((size_t)2 << 20)

/* Smaller arenas stay on small pages: half of a huge page would be wasted on average. */
#define HUGE_MIN (4 * HUGE_BYTES)

bool model_huge_pages_find(const char *name, model_huge_pages *out)
{
    static const char *const names[] = {[MODEL_HUGE_AUTO] = "auto", [MODEL_HUGE_OFF] = "off", [MODEL_HUGE_ON] = "on"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (model_huge_pages)i;
            return true;
        }
    }
    return false;
}

void *model_arena_alloc(model_arena *arena, size_t n, size_t bytes)
{
    size_t size, end;
    if (!base_size_mul(n, bytes, &size) || !base_size_add(size, KERN_ALIGN - 1, &end) ||
        !base_size_add(arena->used, size / KERN_ALIGN * KERN_ALIGN + KERN_ALIGN, &end)) {
        arena->too_big = true;
        return NULL;
    }
    void *memory = arena->base != NULL ? arena->base + arena->used : NULL;
    arena->used += base_size_round_up(size, KERN_ALIGN);
    return memory;
}

/* --- mapping --- */

/* From the reserved pool, every page at once; false when it has not enough. */
static bool map_pool(model_arena *arena, size_t bytes)
{
    size_t mapped = base_size_round_up(bytes, HUGE_BYTES);
    void *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (base == MAP_FAILED)
        return false;
    if (madvise(base, mapped, MADV_POPULATE_WRITE) != 0) {
        munmap(base, mapped);
        return false;
    }
    *arena = (model_arena){.base = base, .mapped = base, .mapped_bytes = mapped};
    return true;
}

bool model_arena_map(model_arena *arena, size_t bytes, model_huge_pages huge)
{
    *arena = (model_arena){0};
    size_t page = (size_t)sysconf(_SC_PAGESIZE), mapped;
    if (bytes == 0)
        return true;
    if (!base_size_add(bytes, HUGE_BYTES + 2 * page, &mapped))
        return false;
    bool large = bytes >= HUGE_MIN;
    if (large && huge == MODEL_HUGE_ON && map_pool(arena, bytes))
        return true;
    char *start = mmap(NULL, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return false;
    char *base =
        start + (HUGE_BYTES - (uintptr_t)start % HUGE_BYTES) % HUGE_BYTES; /* a huge page starts where it must */
    size_t open = base_size_round_up(bytes, page);
    if (mprotect(base, open, PROT_READ | PROT_WRITE) != 0) {
        munmap(start, mapped);
        return false;
    }
    madvise(base, open, large && huge != MODEL_HUGE_OFF ? MADV_HUGEPAGE : MADV_NOHUGEPAGE); /* a hint */
    *arena = (model_arena){.base = base, .mapped = start, .mapped_bytes = mapped};
    return true;
}

void model_arena_unmap(model_arena *arena)
{
    if (arena->mapped != NULL)
        munmap(arena->mapped, arena->mapped_bytes);
    *arena = (model_arena){0};
}

/* --- pages --- */

/* Kernels before 5.14 have no call for it: rewrite a byte of the range on each page. */
static void rewrite_pages(const void *begin, size_t bytes, size_t page)
{
    volatile char *at = (volatile char *)(uintptr_t)begin;
    for (size_t i = 0; i < bytes; i += page - ((uintptr_t)at + i) % page)
        at[i] = at[i];
}

void model_pages_touch(const void *begin, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), before = (uintptr_t)begin % page;
    if (bytes > 0 && madvise((void *)((uintptr_t)begin - before), before + bytes, MADV_POPULATE_WRITE) != 0)
        rewrite_pages(begin, bytes, page);
}

/* --- what the system gave --- */

typedef struct share {
    unsigned long long resident_kb, huge_kb;
} share;

static void add_field(const char *line, share *sum)
{
    static const char *const huge[] = {"AnonHugePages:", "Private_Hugetlb:"};
    unsigned long long kb = 0;
    if (sscanf(line, "Rss: %llu kB", &kb) == 1)
        sum->resident_kb += kb;
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        size_t length = strlen(huge[i]);
        if (strncmp(line, huge[i], length) != 0 || sscanf(line + length, "%llu", &kb) != 1)
            continue;
        sum->huge_kb += kb;
        sum->resident_kb += i == 1 ? kb : 0; /* Rss leaves pool pages out */
    }
}

int model_arena_huge_percent(const model_arena *arena)
{
    FILE *file = arena->mapped_bytes >= HUGE_MIN + HUGE_BYTES ? fopen("/proc/self/smaps", "re") : NULL;
    char line[256];
    share sum = {0};
    bool inside = false;
    if (file == NULL)
        return -1; /* nothing mapped, or no /proc */
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long long begin, end;
        if (sscanf(line, "%llx-%llx ", &begin, &end) == 2)
            inside = begin >= (uintptr_t)arena->mapped && end <= (uintptr_t)arena->mapped + arena->mapped_bytes;
        else if (inside)
            add_field(line, &sum);
    }
    fclose(file);
    return sum.resident_kb > 0 ? (int)(sum.huge_kb * 100u / sum.resident_kb) : -1;
}
