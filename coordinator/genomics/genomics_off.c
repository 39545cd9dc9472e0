/* genomics_off.c - what a build with -DPALMGROVE_GENOMICS=OFF has in place of the files that need htslib: BAM, CRAM,
 * FASTA, VCF and BED are refused with an error that names the option. */
#include "coordinator/genomics/calls.h"
#include "coordinator/genomics/pileup.h"

static base_status refuse(const char *path, base_error *error)
{
    return base_fail(error, BASE_EUNSUPPORTED,
                     "cannot read '%.200s': this build has no genomics; build it with -DPALMGROVE_GENOMICS=ON (htslib)",
                     path);
}

pileup_rules pileup_rules_default(void)
{
    return (pileup_rules){0};
}

base_status pileup_open(const char *alignments, const char *reference, pileup_source **out, base_error *error)
{
    (void)reference;
    (void)out;
    return refuse(alignments, error);
}

void pileup_close(pileup_source **source)
{
    *source = NULL;
}

base_status pileup_draw(pileup_source *source, const pileup_site *site, size_t first, size_t second,
                        const pileup_rules *rules, uint8_t *out, base_error *error)
{
    (void)source;
    (void)first;
    (void)second;
    (void)rules;
    (void)out;
    return refuse(site->contig, error);
}

base_status pileup_vcf_open(const char *path, pileup_vcf **out, base_error *error)
{
    (void)out;
    return refuse(path, error);
}

void pileup_vcf_close(pileup_vcf **vcf)
{
    *vcf = NULL;
}

base_status pileup_vcf_next(pileup_vcf *vcf, pileup_site *out, bool *more, base_error *error)
{
    (void)vcf;
    (void)out;
    *more = false;
    return refuse("VCF", error);
}

base_status calls_compare(const char *calls, const char *truth, const char *confident, const char *reference,
                          calls_comparison *out, base_error *error)
{
    (void)truth;
    (void)confident;
    (void)reference;
    (void)out;
    return refuse(calls, error);
}

void calls_release(calls_comparison *comparison)
{
    *comparison = (calls_comparison){0};
}
