/* pileup_site.c - candidate sites: one as text, many as a VCF. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <htslib/hts_log.h>
#include <htslib/vcf.h>

#include "coordinator/genomics/pileup.h"

void pileup_site_release(pileup_site *site)
{
    for (size_t i = 0; i < site->n_alts; i++)
        free(site->alts[i]);
    free(site->alts);
    free(site->contig);
    free(site->ref);
    *site = (pileup_site){0};
}

/* NULL when memory is out. */
static char *upper_copy(const char *text, size_t size)
{
    char *copy = strndup(text, size);
    for (char *c = copy; c != NULL && *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
    return copy;
}

static bool is_sequence(const char *allele)
{
    return *allele != '\0' && strspn(allele, "ACGTN") == strlen(allele);
}

/* Takes over `allele`, which may be NULL for lack of memory; false then, or when the list cannot grow. */
static bool push_alt(pileup_site *site, char *allele)
{
    char **alts = allele == NULL ? NULL : realloc(site->alts, (site->n_alts + 1) * sizeof *alts);
    if (alts == NULL) {
        free(allele);
        return false;
    }
    site->alts = alts;
    alts[site->n_alts++] = allele;
    return true;
}

/* ---- as text ---- */

/* Cut "contig:position:ref:alts" at its last three colons; false when there are fewer. */
static bool find_colons(const char *text, const char *colons[3])
{
    const char *end = text + strlen(text);
    for (int i = 2; i >= 0; i--) {
        while (end > text && end[-1] != ':')
            end--;
        if (end == text)
            return false;
        colons[i] = --end;
    }
    return colons[0] > text;
}

static bool parse_position(const char *from, const char *to, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = isdigit((unsigned char)*from) ? strtoll(from, &end, 10) : 0;
    if (value < 1 || errno != 0 || end != to)
        return false;
    *out = value - 1;
    return true;
}

static base_status parse_alts(const char *text, pileup_site *site, base_error *error)
{
    for (;;) {
        size_t size = strcspn(text, ",");
        if (!push_alt(site, upper_copy(text, size)))
            return base_fail(error, BASE_ENOMEM, "no memory for an allele of %zu bases", size);
        const char *alt = site->alts[site->n_alts - 1];
        if (!is_sequence(alt) || strcmp(alt, site->ref) == 0)
            return base_fail(error, BASE_EINVAL,
                             "'%.40s' is no alternative allele of '%.40s': bases of A, C, G, T, N that differ from it",
                             alt, site->ref);
        if (text[size] == '\0')
            return BASE_OK;
        text += size + 1;
    }
}

static base_status fill_site(const char *text, pileup_site *site, base_error *error)
{
    const char *colons[3];
    if (!find_colons(text, colons) || !parse_position(colons[0] + 1, colons[1], &site->position))
        return base_fail(error, BASE_EINVAL, "'%.80s' is no site; write chr20:1000:A:G", text);
    if (strlen(colons[1]) > 2 * PILEUP_ALLELE_MAX)
        return base_fail(error, BASE_ETOOBIG, "the alleles of a site may have %d bases", PILEUP_ALLELE_MAX);
    site->contig = strndup(text, (size_t)(colons[0] - text));
    site->ref = upper_copy(colons[1] + 1, (size_t)(colons[2] - colons[1] - 1));
    if (site->contig == NULL || site->ref == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a site");
    if (!is_sequence(site->ref))
        return base_fail(error, BASE_EINVAL, "'%.40s' is no reference allele: bases of A, C, G, T, N", site->ref);
    return parse_alts(colons[2] + 1, site, error);
}

base_status pileup_site_parse(const char *text, pileup_site *out, base_error *error)
{
    pileup_site site = {0};
    base_status status = fill_site(text, &site, error);
    if (status == BASE_OK)
        *out = site;
    else
        pileup_site_release(&site);
    return status;
}

/* ---- from a VCF ---- */

struct pileup_vcf {
    char *path;
    htsFile *file;
    bcf_hdr_t *header;
    bcf1_t *record;
    unsigned long long n; /* records read */
};

static base_status open_vcf(pileup_vcf *vcf, base_error *error)
{
    errno = 0;
    vcf->file = bcf_open(vcf->path, "r");
    if (vcf->file == NULL && errno != ENOEXEC && errno != 0)
        return base_fail(error, BASE_EIO, "cannot open '%s': %s", vcf->path, strerror(errno));
    if (vcf->file == NULL || hts_get_format(vcf->file)->category != variant_data)
        return base_fail(error, BASE_EFORMAT, "'%s' is no VCF", vcf->path);
    vcf->header = bcf_hdr_read(vcf->file);
    return vcf->header != NULL ? BASE_OK : base_fail(error, BASE_EFORMAT, "the header of '%s' is damaged", vcf->path);
}

base_status pileup_vcf_open(const char *path, pileup_vcf **out, base_error *error)
{
    hts_set_log_level(HTS_LOG_OFF);
    pileup_vcf *vcf = calloc(1, sizeof *vcf);
    if (vcf != NULL) {
        vcf->path = strdup(path);
        vcf->record = bcf_init();
    }
    bool has_memory = vcf != NULL && vcf->path != NULL && vcf->record != NULL;
    base_status status =
        has_memory ? open_vcf(vcf, error) : base_fail(error, BASE_ENOMEM, "no memory to open '%s'", path);
    if (status == BASE_OK)
        *out = vcf;
    else
        pileup_vcf_close(&vcf);
    return status;
}

void pileup_vcf_close(pileup_vcf **vcf)
{
    pileup_vcf *v = *vcf;
    *vcf = NULL;
    if (v == NULL)
        return;
    if (v->record != NULL)
        bcf_destroy(v->record);
    if (v->header != NULL)
        bcf_hdr_destroy(v->header);
    if (v->file != NULL)
        bcf_close(v->file);
    free(v->path);
    free(v);
}

static base_status fill_from_record(const pileup_vcf *vcf, pileup_site *site, base_error *error)
{
    bcf1_t *record = vcf->record;
    const char *contig = bcf_hdr_id2name(vcf->header, record->rid);
    if (contig == NULL || record->pos < 0 || record->n_allele < 1)
        return base_fail(error, BASE_EFORMAT, "record %llu of '%s' has no place or no reference allele", vcf->n,
                         vcf->path);
    site->position = record->pos;
    site->contig = strdup(contig);
    site->ref = upper_copy(record->d.allele[0], strlen(record->d.allele[0]));
    bool has_memory = site->contig != NULL && site->ref != NULL;
    for (uint32_t i = 1; has_memory && i < record->n_allele; i++) {
        char *alt = upper_copy(record->d.allele[i], strlen(record->d.allele[i]));
        if (alt != NULL && (!is_sequence(alt) || strcmp(alt, site->ref) == 0 || strlen(alt) > PILEUP_ALLELE_MAX))
            free(alt);
        else
            has_memory = push_alt(site, alt);
    }
    if (!has_memory)
        return base_fail(error, BASE_ENOMEM, "no memory for record %llu of '%s'", vcf->n, vcf->path);
    if (!is_sequence(site->ref) || strlen(site->ref) > PILEUP_ALLELE_MAX)
        return base_fail(error, BASE_EFORMAT,
                         "the reference allele of record %llu of '%s' is not 1 to %d bases of A, C, G, T, N", vcf->n,
                         vcf->path, PILEUP_ALLELE_MAX);
    return BASE_OK;
}

base_status pileup_vcf_next(pileup_vcf *vcf, pileup_site *out, bool *more, base_error *error)
{
    int found = bcf_read(vcf->file, vcf->header, vcf->record);
    *more = found == 0;
    if (found == -1)
        return BASE_OK;
    vcf->n++;
    const int harmless = BCF_ERR_CTG_UNDEF | BCF_ERR_TAG_UNDEF; /* many tools leave lines out of the header */
    if (found < -1 || (vcf->record->errcode & ~harmless) != 0 || bcf_unpack(vcf->record, BCF_UN_STR) != 0)
        return base_fail(error, BASE_EFORMAT, "record %llu of '%s' is damaged", vcf->n, vcf->path);
    pileup_site site = {0};
    base_status status = fill_from_record(vcf, &site, error);
    if (status == BASE_OK)
        *out = site;
    else
        pileup_site_release(&site);
    return status;
}
