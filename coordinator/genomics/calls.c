/* calls.c - called variants against the truth.
 *
 *     calls VCF --calls_read.c, calls_normalise.c--> sorted list --+
 *                                                                  +--> one merge walk --> pairs, counts
 *     truth VCF --calls_read.c, calls_normalise.c--> sorted list --+      inside the BED's regions (calls_regions.c)
 *
 * Both lists hold each variant in its one normal form, so equal variants meet in the walk and everything else is only
 * called or only true. */
#include "coordinator/genomics/calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/genomics/calls_int.h"

typedef struct inputs {
    calls_regions *regions; /* NULL: everywhere */
    faidx_t *reference;     /* NULL: none */
    calls_list calls, truth;
} inputs;

static void inputs_release(inputs *in)
{
    calls_regions_release(&in->regions);
    if (in->reference != NULL)
        fai_destroy(in->reference);
    calls_list_release(&in->calls);
    calls_list_release(&in->truth);
}

static base_status open_reference(const char *path, faidx_t **out, base_error *error)
{
    *out = fai_load3(path, NULL, NULL, 0);
    if (*out != NULL)
        return BASE_OK;
    return base_fail(error, BASE_ENOTFOUND, "cannot open '%.200s' with its index; `samtools faidx` makes one", path);
}

static bool is_snp(const calls_allele *a)
{
    return a->ref[1] == '\0' && a->alt[1] == '\0';
}

static bool is_inside(const inputs *in, const calls_allele *a)
{
    return in->regions == NULL ||
           calls_regions_hold(in->regions, a->contig, a->position, a->position + (int64_t)strlen(a->ref));
}

/* Both lists are sorted alike: one walk over both. */
static void match(const inputs *in, calls_comparison *out)
{
    for (size_t c = 0, t = 0; c < in->calls.n || t < in->truth.n;) {
        const calls_allele *call = c < in->calls.n ? &in->calls.alleles[c] : NULL,
                           *truth = t < in->truth.n ? &in->truth.alleles[t] : NULL;
        int order = call == NULL ? 1 : truth == NULL ? -1 : calls_compare_alleles(call, truth);
        const calls_allele *one = order <= 0 ? call : truth;
        calls_pair pair = {
            .is_snp = is_snp(one), .called = order <= 0 ? call->copies : 0, .truth = order >= 0 ? truth->copies : 0};
        c += order <= 0;
        t += order >= 0;
        if (is_inside(in, one)) {
            out->pairs[out->n_pairs++] = pair;
            continue;
        }
        out->calls.n_outside += pair.called > 0;
        out->truth.n_outside += pair.truth > 0;
    }
}

base_status calls_compare(const char *calls, const char *truth, const char *confident, const char *reference,
                          calls_comparison *out, base_error *error)
{
    inputs in = {0};
    calls_comparison found = {0};
    base_status status = reference != NULL ? open_reference(reference, &in.reference, error) : BASE_OK;
    if (status == BASE_OK && confident != NULL)
        status = calls_regions_read(confident, &in.regions, error);
    if (status == BASE_OK)
        status = calls_read(calls, in.reference, true, &in.calls, error);
    if (status == BASE_OK)
        status = calls_read(truth, in.reference, false, &in.truth, error);
    if (status == BASE_OK) {
        found.calls = in.calls.left_out;
        found.truth = in.truth.left_out;
        found.pairs = calloc(in.calls.n + in.truth.n + 1, sizeof *found.pairs);
        if (found.pairs == NULL)
            status = base_fail(error, BASE_ENOMEM, "no memory for %zu variants", in.calls.n + in.truth.n);
    }
    if (status == BASE_OK) {
        match(&in, &found);
        *out = found;
    }
    inputs_release(&in);
    return status;
}

void calls_release(calls_comparison *comparison)
{
    free(comparison->pairs);
    *comparison = (calls_comparison){0};
}
