/* calls_read.c - the variants of a VCF: one entry for each alternative allele of a genotype. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <htslib/hts_log.h>
#include <htslib/vcf.h>

#include "coordinator/genomics/calls_int.h"
#include "coordinator/genomics/pileup.h"
#include "proto/base/grow.h"

typedef struct reading {
    const char *path;
    htsFile *file;
    bcf_hdr_t *header;
    bcf1_t *record;
    unsigned long long number; /* of the record */
    int32_t *genotype;         /* of all samples */
    int n_genotype;
    faidx_t *reference;
    calls_list *list;
} reading;

/* ---- the list ---- */

int calls_compare_alleles(const calls_allele *a, const calls_allele *b)
{
    int order = strcmp(a->contig, b->contig);
    order = order != 0 ? order : (a->position > b->position) - (a->position < b->position);
    order = order != 0 ? order : strcmp(a->ref, b->ref);
    return order != 0 ? order : strcmp(a->alt, b->alt);
}

static int compare(const void *a, const void *b)
{
    return calls_compare_alleles(a, b);
}

void calls_list_release(calls_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->alleles[i].ref);
    for (size_t i = 0; i < list->n_contigs; i++)
        free(list->contigs[i]);
    free(list->alleles);
    free(list->contigs);
    *list = (calls_list){0};
}

/* Sort; equal entries are merged and their copies added, to at most two. */
static void sort_and_merge(calls_list *list)
{
    size_t n = 0;
    if (list->n > 0)
        qsort(list->alleles, list->n, sizeof *list->alleles, compare);
    for (size_t i = 0; i < list->n; i++) {
        calls_allele *last = n > 0 ? &list->alleles[n - 1] : NULL, *next = &list->alleles[i];
        if (last != NULL && calls_compare_alleles(last, next) == 0) {
            last->copies = last->copies + next->copies > 2 ? 2 : (uint8_t)(last->copies + next->copies);
            free(next->ref);
        } else {
            list->alleles[n++] = *next;
        }
    }
    list->n = n;
}

static base_status no_memory(const reading *r, base_error *error)
{
    return base_fail(error, BASE_ENOMEM, "no memory for record %llu of '%.200s'", r->number, r->path);
}

/* The list's own copy of a name; records of a contig mostly follow one another. */
static const char *intern(calls_list *list, const char *name)
{
    for (size_t i = list->n_contigs; i-- > 0;)
        if (strcmp(list->contigs[i], name) == 0)
            return list->contigs[i];
    char **contigs = realloc(list->contigs, (list->n_contigs + 1) * sizeof *contigs);
    if (contigs == NULL)
        return NULL;
    list->contigs = contigs;
    contigs[list->n_contigs] = strdup(name);
    return contigs[list->n_contigs] != NULL ? contigs[list->n_contigs++] : NULL;
}

/* `ref` and `alt` of n_ref and n_alt bases, upper-cased; room for both to take the length of the longer, as moving them
 * needs. */
static base_status push(reading *r, const char *contig, int64_t position, const char *ref, size_t n_ref,
                        const char *alt, size_t n_alt, uint8_t copies, base_error *error)
{
    calls_list *list = r->list;
    char *memory = calloc(2, n_ref + n_alt + 1);
    calls_allele allele = {.contig = intern(list, contig),
                           .position = position,
                           .ref = memory,
                           .alt = memory + n_ref + n_alt + 1,
                           .copies = copies};
    if (memory == NULL || allele.contig == NULL ||
        !base_grow(&list->alleles, &list->capacity, list->n + 1, sizeof *list->alleles)) {
        free(memory);
        return no_memory(r, error);
    }
    for (size_t i = 0; i < n_ref; i++)
        allele.ref[i] = (char)toupper((unsigned char)ref[i]);
    for (size_t i = 0; i < n_alt; i++)
        allele.alt[i] = (char)toupper((unsigned char)alt[i]);
    base_status status = calls_normalise(&allele, r->reference, error);
    if (status != BASE_OK) {
        base_error_prefix(error, "record %llu of '%.200s': ", r->number, r->path);
        free(memory);
        return status;
    }
    list->alleles[list->n++] = allele;
    return BASE_OK;
}

/* ---- records ---- */

static bool is_sequence(const char *allele)
{
    size_t n = strspn(allele, "ACGTNacgtn");
    return n > 0 && allele[n] == '\0' && n <= PILEUP_ALLELE_MAX;
}

/* One alternative allele; alleles of equal length are substitutions base by base. */
static base_status add_allele(reading *r, const char *alt, uint8_t copies, base_error *error)
{
    const char *ref = r->record->d.allele[0], *contig = bcf_hdr_id2name(r->header, r->record->rid);
    size_t n_ref = strlen(ref), n_alt = strlen(alt);
    base_status status = BASE_OK;
    if (n_ref != n_alt)
        return push(r, contig, r->record->pos, ref, n_ref, alt, n_alt, copies, error);
    for (size_t i = 0; i < n_ref && status == BASE_OK; i++)
        if (toupper((unsigned char)ref[i]) != toupper((unsigned char)alt[i]))
            status = push(r, contig, r->record->pos + (int64_t)i, ref + i, 1, alt + i, 1, copies, error);
    return status;
}

/* The first sample's copies of each allele; false: it has no genotype.  A single allele, as on a male's X, counts
 * twice. */
static bool count_copies(const reading *r, int ploidy, uint8_t *copies)
{
    int n = 0, last = 0;
    for (int i = 0; i < ploidy && r->genotype[i] != bcf_int32_vector_end; i++) {
        if (bcf_gt_is_missing(r->genotype[i]) || bcf_gt_allele(r->genotype[i]) >= r->record->n_allele)
            return false;
        last = bcf_gt_allele(r->genotype[i]);
        copies[last]++;
        n++;
    }
    if (n == 1)
        copies[last] = 2;
    return n > 0;
}

static base_status add_genotype(reading *r, int ploidy, base_error *error)
{
    calls_list *list = r->list;
    uint8_t *copies = calloc(r->record->n_allele + 1u, 1);
    base_status status = copies != NULL ? BASE_OK : no_memory(r, error);
    bool is_known = copies != NULL && is_sequence(r->record->d.allele[0]) && count_copies(r, ploidy, copies);
    list->left_out.n_no_genotype += copies != NULL && !is_known;
    for (uint32_t i = 1; is_known && i < r->record->n_allele && status == BASE_OK; i++) {
        if (copies[i] == 0)
            continue;
        if (is_sequence(r->record->d.allele[i]))
            status = add_allele(r, r->record->d.allele[i], copies[i], error);
        else
            list->left_out.n_no_sequence++;
    }
    free(copies);
    return status;
}

static bool has_passed(const reading *r)
{
    const bcf1_t *record = r->record;
    return record->d.n_flt == 0 ||
           (record->d.n_flt == 1 && strcmp(bcf_hdr_int2id(r->header, BCF_DT_ID, record->d.flt[0]), "PASS") == 0);
}

static base_status add_record(reading *r, bool only_passed, base_error *error)
{
    const int harmless = BCF_ERR_CTG_UNDEF | BCF_ERR_TAG_UNDEF; /* many tools leave lines out of the header */
    if ((r->record->errcode & ~harmless) != 0 || bcf_unpack(r->record, BCF_UN_ALL) != 0 || r->record->pos < 0 ||
        r->record->n_allele < 1 || bcf_hdr_id2name(r->header, r->record->rid) == NULL)
        return base_fail(error, BASE_EFORMAT, "record %llu of '%.200s' is damaged", r->number, r->path);
    if (only_passed && !has_passed(r)) {
        r->list->left_out.n_filtered++;
        return BASE_OK;
    }
    int n = bcf_get_genotypes(r->header, r->record, &r->genotype, &r->n_genotype),
        ploidy = n > 0 ? n / bcf_hdr_nsamples(r->header) : 0;
    if (n == -4)
        return no_memory(r, error);
    if (ploidy > 2)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "record %llu of '%.200s' has genotypes of %d alleles; one and two are counted", r->number,
                         r->path, ploidy);
    return add_genotype(r, ploidy, error);
}

static base_status open_file(reading *r, base_error *error)
{
    errno = 0;
    r->file = bcf_open(r->path, "r");
    if (r->file == NULL && errno != ENOEXEC && errno != 0)
        return base_fail(error, errno == ENOENT ? BASE_ENOTFOUND : BASE_EIO, "cannot open '%.200s': %s", r->path,
                         strerror(errno));
    if (r->file == NULL || hts_get_format(r->file)->category != variant_data)
        return base_fail(error, BASE_EFORMAT, "'%.200s' is no VCF", r->path);
    r->header = bcf_hdr_read(r->file);
    r->record = bcf_init();
    if (r->header == NULL)
        return base_fail(error, BASE_EFORMAT, "the header of '%.200s' is damaged", r->path);
    if (r->record == NULL)
        return no_memory(r, error);
    if (bcf_hdr_nsamples(r->header) < 1)
        return base_fail(error, BASE_EFORMAT, "'%.200s' has no sample, so no genotypes", r->path);
    return BASE_OK;
}

base_status calls_read(const char *path, faidx_t *reference, bool only_passed, calls_list *out, base_error *error)
{
    calls_list list = {0};
    reading r = {.path = path, .reference = reference, .list = &list};
    int found = -1;
    hts_set_log_level(HTS_LOG_OFF);
    base_status status = open_file(&r, error);
    while (status == BASE_OK && (found = bcf_read(r.file, r.header, r.record)) == 0) {
        r.number++;
        status = add_record(&r, only_passed, error);
    }
    if (status == BASE_OK && found < -1)
        status = base_fail(error, BASE_EFORMAT, "record %llu of '%.200s' is damaged", r.number + 1, path);
    free(r.genotype);
    if (r.record != NULL)
        bcf_destroy(r.record);
    if (r.header != NULL)
        bcf_hdr_destroy(r.header);
    if (r.file != NULL)
        bcf_close(r.file);
    sort_and_merge(&list);
    if (status == BASE_OK)
        *out = list;
    else
        calls_list_release(&list);
    return status;
}
