/* pileup_vcf.c - candidate sites from the records of a VCF or BCF, one after the other; no index is needed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <htslib/hts_log.h>
#include <htslib/vcf.h>

#include "coordinator/genomics/site_int.h"

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
    site->ref = site_upper_copy(record->d.allele[0], strlen(record->d.allele[0]));
    bool has_memory = site->contig != NULL && site->ref != NULL;
    for (uint32_t i = 1; has_memory && i < record->n_allele; i++) {
        char *alt = site_upper_copy(record->d.allele[i], strlen(record->d.allele[i]));
        if (alt != NULL && (!site_is_sequence(alt) || strcmp(alt, site->ref) == 0 || strlen(alt) > PILEUP_ALLELE_MAX))
            free(alt);
        else
            has_memory = site_push_alt(site, alt);
    }
    if (!has_memory)
        return base_fail(error, BASE_ENOMEM, "no memory for record %llu of '%s'", vcf->n, vcf->path);
    if (!site_is_sequence(site->ref) || strlen(site->ref) > PILEUP_ALLELE_MAX)
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
