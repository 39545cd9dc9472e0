/* pileup_allele.c - the allele that a read shows at the site.
 *
 * As DeepVariant's allele counter: each aligned base is an allele at its own position; an insertion, deletion or soft
 * clip is an allele at the base before it, its anchor, and replaces that base's.  Inserted and aligned bases count only
 * when all of them are A, C, G or T of sufficient quality; a deletion has no quality.  The allele is then spelled out
 * over the site's whole reference allele and compared with the alternatives:
 *
 *     base b                   b + ref[1..]
 *     anchor b, inserted s     b s + ref[1..]
 *     anchor b, n deleted      b + ref[1 + n..]
 *
 * The anchor is the read's base, or the reference's where the read begins with the insertion or deletion. */
#include <string.h>

#include "coordinator/genomics/pileup_int.h"

typedef struct shown_allele {
    bool is_known;
    char anchor;
    int64_t inserted_at; /* in the read */
    size_t n_inserted;
    size_t ref_from; /* the part of the reference allele that follows */
} shown_allele;

bool pileup_is_canonical(char base)
{
    return base == 'A' || base == 'C' || base == 'G' || base == 'T';
}

static char base_at(const bam1_t *read, int64_t i)
{
    return seq_nt16_str[bam_seqi(bam_get_seq(read), i)];
}

static bool are_usable(const bam1_t *read, int64_t at, int64_t n, uint32_t min_quality)
{
    for (int64_t i = at; i < at + n; i++)
        if (!pileup_is_canonical(base_at(read, i)) || bam_get_qual(read)[i] < min_quality)
            return false;
    return true;
}

static bool are_canonical(const char *bases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!pileup_is_canonical(bases[i]))
            return false;
    return true;
}

/* The reference after the site, as far as the image shows it. */
static bool is_deletion_canonical(const pileup_view *view, int64_t n)
{
    int64_t from = view->site->position + 1 - view->start, room = PILEUP_WIDTH - from;
    return are_canonical(view->bases + from, (size_t)(n < room ? n : room));
}

/* An operation of `n` bases whose anchor is the site; *allele stays when its bases do not count. */
static void take_anchored(const bam1_t *read, const pileup_view *view, int op, int64_t read_i, int64_t n,
                          shown_allele *allele)
{
    const char *ref = view->site->ref;
    size_t ref_size = strlen(ref), n_deleted = op == BAM_CDEL ? (size_t)n : 0;
    char anchor = read_i == 0 ? ref[0] : base_at(read, read_i - 1);
    if (!pileup_is_canonical(anchor))
        return;
    bool fits = n_deleted < ref_size; /* a longer deletion is another allele */
    if (op == BAM_CDEL ? !is_deletion_canonical(view, n) : !are_usable(read, read_i, n, view->rules->min_base_quality))
        return;
    *allele = (shown_allele){.is_known = fits && op != BAM_CSOFT_CLIP,
                             .anchor = anchor,
                             .inserted_at = read_i,
                             .n_inserted = op == BAM_CINS ? (size_t)n : 0,
                             .ref_from = 1 + n_deleted};
}

/* `n` aligned bases from `position` on. */
static void take_aligned(const bam1_t *read, const pileup_view *view, int64_t position, int64_t read_i, int64_t n,
                         shown_allele *allele)
{
    int64_t ahead = view->site->position - position;
    if (ahead >= 0 && ahead < n && are_usable(read, read_i + ahead, 1, view->rules->min_base_quality))
        *allele = (shown_allele){.is_known = true, .anchor = base_at(read, read_i + ahead), .ref_from = 1};
}

static shown_allele find_allele(const bam1_t *read, const pileup_view *view)
{
    shown_allele allele = {0};
    int64_t position = read->core.pos, read_i = 0;
    const uint32_t *cigar = bam_get_cigar(read);
    for (uint32_t k = 0; k < read->core.n_cigar; k++) {
        int op = (int)bam_cigar_op(cigar[k]), moves = bam_cigar_type(op);
        int64_t n = bam_cigar_oplen(cigar[k]);
        if (moves == 3)
            take_aligned(read, view, position, read_i, n, &allele);
        else if (n > 0 && position - 1 == view->site->position &&
                 (op == BAM_CINS || op == BAM_CDEL || op == BAM_CSOFT_CLIP))
            take_anchored(read, view, op, read_i, n, &allele);
        read_i += (moves & 1) != 0 ? n : 0;
        position += (moves & 2) != 0 ? n : 0;
    }
    return allele;
}

static bool spells(const bam1_t *read, const shown_allele *allele, const char *ref, const char *alt)
{
    const char *rest = ref + allele->ref_from;
    size_t size = strlen(alt);
    if (size != 1 + allele->n_inserted + strlen(rest) || alt[0] != allele->anchor)
        return false;
    for (size_t i = 0; i < allele->n_inserted; i++)
        if (alt[1 + i] != base_at(read, allele->inserted_at + (int64_t)i))
            return false;
    return strcmp(alt + 1 + allele->n_inserted, rest) == 0;
}

bool pileup_supports(const bam1_t *read, const pileup_view *view)
{
    const pileup_site *site = view->site;
    shown_allele allele = find_allele(read, view);
    return allele.is_known && (spells(read, &allele, site->ref, site->alts[view->first]) ||
                               spells(read, &allele, site->ref, site->alts[view->second]));
}
