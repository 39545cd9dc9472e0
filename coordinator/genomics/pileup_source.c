/* pileup_source.c - reads and reference of a site, through htslib.
 *
 * Reads are taken in the order of the file, those that overlap the reference allele and 5 bases to either side, without
 * duplicates, failed, secondary, supplementary, unmapped and badly paired ones and those mapped too uncertainly: what
 * DeepVariant's reader keeps.  The index is never made here: that is the user's decision and his disk. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <htslib/faidx.h>
#include <htslib/hts_log.h>
#include <htslib/sam.h>

#include "coordinator/genomics/pileup_int.h"
#include "proto/base/grow.h"

enum { READ_MARGIN = 5, HALF_WIDTH = (PILEUP_WIDTH - 1) / 2 };

struct pileup_source {
    char *alignments, *reference; /* their paths, for errors */
    htsFile *file;
    sam_hdr_t *header;
    hts_idx_t *index;
    faidx_t *fasta;
    bam1_t **reads; /* [capacity], of which n hold the last site's */
    size_t n, capacity;
};

/* ---- opening ---- */

static base_status open_reference(pileup_source *s, base_error *error)
{
    s->fasta = fai_load3(s->reference, NULL, NULL, 0);
    if (s->fasta != NULL)
        return BASE_OK;
    FILE *file = fopen(s->reference, "rb");
    if (file == NULL)
        return base_fail(error, BASE_EIO, "cannot open the reference '%s': %s", s->reference, strerror(errno));
    fclose(file);
    return base_fail(error, BASE_ENOTFOUND,
                     "the reference '%s' has no index that can be read; make it with samtools faidx", s->reference);
}

static base_status open_alignments(pileup_source *s, base_error *error)
{
    errno = 0;
    s->file = sam_open(s->alignments, "r");
    if (s->file == NULL)
        return base_fail(error, errno == ENOEXEC || errno == 0 ? BASE_EFORMAT : BASE_EIO, "cannot open '%s': %s",
                         s->alignments, errno == ENOEXEC || errno == 0 ? "neither BAM nor CRAM" : strerror(errno));
    const htsFormat *format = hts_get_format(s->file);
    if (format->format != bam && format->format != cram)
        return base_fail(error, BASE_EFORMAT, "'%s' is neither BAM nor CRAM; convert it with samtools sort",
                         s->alignments);
    if (format->format == cram && hts_set_opt(s->file, CRAM_OPT_REFERENCE, s->reference) != 0)
        return base_fail(error, BASE_EFORMAT, "the CRAM file '%s' cannot be read with the reference '%s'",
                         s->alignments, s->reference);
    s->header = sam_hdr_read(s->file);
    if (s->header == NULL)
        return base_fail(error, BASE_EFORMAT, "the header of '%s' is damaged", s->alignments);
    s->index = sam_index_load3(s->file, s->alignments, NULL, HTS_IDX_SILENT_FAIL);
    return s->index != NULL
               ? BASE_OK
               : base_fail(error, BASE_ENOTFOUND, "'%s' has no index that can be read; make it with samtools index",
                           s->alignments);
}

base_status pileup_open(const char *alignments, const char *reference, pileup_source **out, base_error *error)
{
    hts_set_log_level(HTS_LOG_OFF);
    pileup_source *s = calloc(1, sizeof *s);
    if (s != NULL) {
        s->alignments = strdup(alignments);
        s->reference = strdup(reference);
    }
    base_status status = BASE_OK;
    if (s == NULL || s->alignments == NULL || s->reference == NULL)
        status = base_fail(error, BASE_ENOMEM, "no memory to open '%s'", alignments);
    if (status == BASE_OK)
        status = open_reference(s, error);
    if (status == BASE_OK)
        status = open_alignments(s, error);
    if (status == BASE_OK)
        *out = s;
    else
        pileup_close(&s);
    return status;
}

void pileup_close(pileup_source **source)
{
    pileup_source *s = *source;
    *source = NULL;
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->capacity; i++)
        bam_destroy1(s->reads[i]);
    free(s->reads);
    hts_idx_destroy(s->index);
    sam_hdr_destroy(s->header);
    if (s->file != NULL)
        sam_close(s->file);
    if (s->fasta != NULL)
        fai_destroy(s->fasta);
    free(s->alignments);
    free(s->reference);
    free(s);
}

/* ---- the reads of a site ---- */

/* DeepVariant's "properly placed": single, marked proper, mate unmapped, or mate on the same contig. */
static bool is_placed(const bam1_core_t *core)
{
    return (core->flag & BAM_FPAIRED) == 0 || (core->flag & BAM_FPROPER_PAIR) != 0 || (core->flag & BAM_FMUNMAP) != 0 ||
           core->mtid < 0 || core->mtid == core->tid;
}

/* A read without bases or qualities cannot be drawn. */
static bool is_wanted(const bam1_t *read, const pileup_rules *rules)
{
    const bam1_core_t *core = &read->core;
    const unsigned unwanted = BAM_FUNMAP | BAM_FDUP | BAM_FQCFAIL | BAM_FSECONDARY | BAM_FSUPPLEMENTARY;
    return (core->flag & unwanted) == 0 && is_placed(core) && core->qual >= rules->min_mapping_quality &&
           core->n_cigar > 0 && core->l_qseq > 0 && bam_get_qual(read)[0] != 0xFF;
}

static bool is_sound(const bam1_t *read)
{
    const uint32_t *cigar = bam_get_cigar(read);
    int64_t length = 0;
    for (uint32_t k = 0; k < read->core.n_cigar; k++) {
        if (bam_cigar_op(cigar[k]) > BAM_CDIFF)
            return false;
        length += (bam_cigar_type(bam_cigar_op(cigar[k])) & 1) != 0 ? (int64_t)bam_cigar_oplen(cigar[k]) : 0;
    }
    return length == read->core.l_qseq;
}

/* A free read at the end of the list, kept from site to site. */
static bam1_t *next_read(pileup_source *s)
{
    size_t before = s->capacity;
    if (!base_grow(&s->reads, &s->capacity, s->n + 1, sizeof *s->reads))
        return NULL;
    memset(s->reads + before, 0, (s->capacity - before) * sizeof *s->reads);
    if (s->reads[s->n] == NULL)
        s->reads[s->n] = bam_init1();
    return s->reads[s->n];
}

static base_status take_reads(pileup_source *s, hts_itr_t *iterator, const pileup_site *site, const pileup_rules *rules,
                              base_error *error)
{
    const char *contig = site->contig;
    long long position = (long long)site->position + 1;
    for (s->n = 0;;) {
        bam1_t *read = next_read(s);
        if (read == NULL)
            return base_fail(error, BASE_ENOMEM, "no memory for the %zu reads at %s:%lld", s->n, contig, position);
        int found = sam_itr_next(s->file, iterator, read);
        if (found == -1)
            return BASE_OK;
        if (found < 0)
            return base_fail(error, BASE_EFORMAT,
                             "cannot read the reads of '%s' at %s:%lld: the file is damaged, or a CRAM of another "
                             "reference than '%s'",
                             s->alignments, contig, position, s->reference);
        if (!is_wanted(read, rules))
            continue;
        if (!is_sound(read))
            return base_fail(error, BASE_EFORMAT, "damaged read in '%s' at %s:%lld: its CIGAR does not fit its bases",
                             s->alignments, contig, position);
        if (++s->n > PILEUP_READS_MAX)
            return base_fail(error, BASE_ETOOBIG, "more than %d reads of '%s' overlap %s:%lld", PILEUP_READS_MAX,
                             s->alignments, contig, position);
    }
}

static base_status query_reads(pileup_source *s, int tid, const pileup_site *site, const pileup_rules *rules,
                               base_error *error)
{
    int64_t start = site->position - READ_MARGIN, end = site->position + (int64_t)strlen(site->ref) + READ_MARGIN;
    hts_itr_t *iterator = sam_itr_queryi(s->index, tid, start, end);
    if (iterator == NULL)
        return base_fail(error, BASE_EFORMAT, "the index of '%s' is damaged; make it again with samtools index",
                         s->alignments);
    base_status status = take_reads(s, iterator, site, rules, error);
    hts_itr_destroy(iterator);
    return status;
}

/* ---- the reference of a site ---- */

static base_status find_contig(const pileup_source *s, const pileup_site *site, int *tid, int64_t *length,
                               base_error *error)
{
    *tid = sam_hdr_name2tid(s->header, site->contig);
    if (*tid < 0)
        return base_fail(error, BASE_ENOTFOUND, "'%s' has no contig '%s'; are 'chr20' and '20' mixed up?",
                         s->alignments, site->contig);
    if (!faidx_has_seq(s->fasta, site->contig))
        return base_fail(error, BASE_ENOTFOUND, "the reference '%s' has no contig '%s'", s->reference, site->contig);
    *length = sam_hdr_tid2len(s->header, *tid);
    int64_t expected = faidx_seq_len(s->fasta, site->contig);
    if (*length != expected)
        return base_fail(
            error, BASE_EINVAL,
            "contig '%s' has %lld bases in '%s' but %lld in '%s'; were the reads aligned to another reference?",
            site->contig, (long long)*length, s->alignments, (long long)expected, s->reference);
    return BASE_OK;
}

static base_status check_site(const pileup_site *site, size_t first, size_t second, int64_t length, base_error *error)
{
    long long position = (long long)site->position + 1;
    if (first >= site->n_alts || second >= site->n_alts)
        return base_fail(error, BASE_EUNSUPPORTED, "%s:%lld has no such alternative allele that is a sequence",
                         site->contig, position);
    if (site->position < 0 || site->position >= length || (int64_t)strlen(site->ref) > length - site->position)
        return base_fail(error, BASE_EINVAL, "%s:%lld lies beyond the contig, which has %lld bases", site->contig,
                         position, (long long)length);
    if (site->position < HALF_WIDTH || site->position + HALF_WIDTH >= length)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "%s:%lld is too near to the end of the contig: a pileup shows %d bases on either side",
                         site->contig, position, HALF_WIDTH);
    return BASE_OK;
}

/* `n` bases from `start` on, upper case; the caller frees them. */
static base_status fetch_bases(const pileup_source *s, const char *contig, int64_t start, int64_t n, char **out,
                               base_error *error)
{
    hts_pos_t got = 0;
    char *bases = faidx_fetch_seq64(s->fasta, contig, start, start + n - 1, &got);
    if (bases == NULL || got != n) {
        free(bases);
        return base_fail(error, BASE_EIO, "cannot read %s:%lld of the reference '%s'; does its index belong to it?",
                         contig, (long long)start + 1, s->reference);
    }
    for (int64_t i = 0; i < n; i++)
        bases[i] = (char)toupper((unsigned char)bases[i]);
    *out = bases;
    return BASE_OK;
}

static base_status check_ref(const pileup_source *s, const pileup_site *site, base_error *error)
{
    char *bases = NULL;
    base_status status = fetch_bases(s, site->contig, site->position, (int64_t)strlen(site->ref), &bases, error);
    if (status != BASE_OK)
        return status;
    if (strcmp(bases, site->ref) != 0)
        status = base_fail(
            error, BASE_EINVAL,
            "the reference allele at %s:%lld is '%.40s', but '%s' has '%.40s' there; is it the right reference?",
            site->contig, (long long)site->position + 1, site->ref, s->reference, bases);
    free(bases);
    return status;
}

pileup_rules pileup_rules_default(void)
{
    return (pileup_rules){.min_base_quality = 10, .min_mapping_quality = 5, .seed = 2101079370u};
}

base_status pileup_draw(pileup_source *source, const pileup_site *site, size_t first, size_t second,
                        const pileup_rules *rules, uint8_t *out, base_error *error)
{
    int tid = 0;
    int64_t length = 0;
    base_status status = find_contig(source, site, &tid, &length, error);
    if (status == BASE_OK)
        status = check_site(site, first, second, length, error);
    if (status == BASE_OK)
        status = check_ref(source, site, error);
    if (status == BASE_OK)
        status = query_reads(source, tid, site, rules, error);
    char *bases = NULL;
    pileup_view view = {
        .site = site, .first = first, .second = second, .rules = rules, .start = site->position - HALF_WIDTH};
    if (status == BASE_OK)
        status = fetch_bases(source, site->contig, view.start, PILEUP_WIDTH, &bases, error);
    if (status != BASE_OK)
        return status;
    view.bases = bases;
    pileup_draw_rows(&view, source->reads, source->n, out);
    free(bases);
    return BASE_OK;
}
