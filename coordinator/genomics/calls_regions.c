/* calls_regions.c - the regions of a BED file: zero-based, half open. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <htslib/hts.h>
#include <htslib/kstring.h>

#include "coordinator/genomics/calls_int.h"
#include "proto/base/grow.h"

typedef struct region {
    char *contig; /* owned */
    int64_t begin, end;
} region;

struct calls_regions {
    region *all; /* sorted, joined where they touch */
    size_t n, capacity;
};

static int compare(const void *left, const void *right)
{
    const region *a = left, *b = right;
    int order = strcmp(a->contig, b->contig);
    return order != 0 ? order : (a->begin > b->begin) - (a->begin < b->begin);
}

static bool parse_place(const char *text, const char **end, int64_t *out)
{
    char *stop;
    errno = 0;
    long long value = *text >= '0' && *text <= '9' ? strtoll(text, &stop, 10) : -1;
    if (value < 0 || errno != 0)
        return false;
    *out = value;
    *end = stop;
    return true;
}

static bool is_comment(const char *line)
{
    return line[strspn(line, " \t\r")] == '\0' || line[0] == '#' || strncmp(line, "track", 5) == 0 ||
           strncmp(line, "browser", 7) == 0;
}

static base_status add_line(calls_regions *regions, const char *line, const char *path, unsigned long long number,
                            base_error *error)
{
    region found = {0};
    size_t size = strcspn(line, "\t");
    const char *at = line + size, *end = at;
    bool good = size > 0 && *at == '\t' && parse_place(at + 1, &end, &found.begin) && *end == '\t' &&
                parse_place(end + 1, &end, &found.end) && (*end == '\0' || *end == '\t' || *end == '\r') &&
                found.begin <= found.end;
    if (!good)
        return base_fail(error, BASE_EFORMAT,
                         "'%.200s', line %llu: no region; a BED line is contig, begin and end, with tabs between", path,
                         number);
    bool has_room = base_grow(&regions->all, &regions->capacity, regions->n + 1, sizeof *regions->all);
    found.contig = has_room ? strndup(line, size) : NULL;
    if (found.contig == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the regions of '%.200s'", path);
    regions->all[regions->n++] = found;
    return BASE_OK;
}

static void join_regions(calls_regions *regions)
{
    size_t n = 0;
    if (regions->n > 0)
        qsort(regions->all, regions->n, sizeof *regions->all, compare);
    for (size_t i = 0; i < regions->n; i++) {
        region *last = n > 0 ? &regions->all[n - 1] : NULL, *next = &regions->all[i];
        if (last != NULL && strcmp(last->contig, next->contig) == 0 && next->begin <= last->end) {
            last->end = next->end > last->end ? next->end : last->end;
            free(next->contig);
        } else {
            regions->all[n++] = *next;
        }
    }
    regions->n = n;
}

base_status calls_regions_read(const char *path, calls_regions **out, base_error *error)
{
    errno = 0;
    htsFile *file = hts_open(path, "r");
    calls_regions *regions = calloc(1, sizeof *regions);
    kstring_t line = {0};
    base_status status = BASE_OK;
    int got = -1;
    if (file == NULL)
        status = base_fail(error, errno == ENOENT ? BASE_ENOTFOUND : BASE_EIO, "cannot open '%.200s': %s", path,
                           strerror(errno));
    else if (regions == NULL)
        status = base_fail(error, BASE_ENOMEM, "no memory for the regions of '%.200s'", path);
    for (unsigned long long number = 1; status == BASE_OK && (got = hts_getline(file, '\n', &line)) >= 0; number++)
        if (!is_comment(line.s))
            status = add_line(regions, line.s, path, number, error);
    if (status == BASE_OK && got < -1)
        status = base_fail(error, BASE_EFORMAT, "'%.200s' is damaged", path);
    free(line.s);
    if (file != NULL)
        hts_close(file);
    if (status == BASE_OK) {
        join_regions(regions);
        *out = regions;
    } else {
        calls_regions_release(&regions);
    }
    return status;
}

void calls_regions_release(calls_regions **regions)
{
    calls_regions *r = *regions;
    *regions = NULL;
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++)
        free(r->all[i].contig);
    free(r->all);
    free(r);
}

bool calls_regions_hold(const calls_regions *regions, const char *contig, int64_t begin, int64_t end)
{
    size_t low = 0, high = regions->n;
    while (low < high) { /* the first that begins after `begin` */
        size_t middle = low + (high - low) / 2;
        const region *r = &regions->all[middle];
        int order = strcmp(r->contig, contig);
        if (order > 0 || (order == 0 && r->begin > begin))
            high = middle;
        else
            low = middle + 1;
    }
    return low > 0 && strcmp(regions->all[low - 1].contig, contig) == 0 && end <= regions->all[low - 1].end;
}
