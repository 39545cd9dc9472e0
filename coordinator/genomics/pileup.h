/* pileup.h - the reads around a candidate variant as an image, drawn as DeepVariant draws it for Illumina genomes.
 *
 * A pileup is [PILEUP_HEIGHT][PILEUP_WIDTH][PILEUP_CHANNELS] u8.  Its middle column is the first base of the variant's
 * reference allele; rows 0 to 4 show the reference, the rows below one read each, unused rows are black.  Channels:
 * read base, base quality, mapping quality, strand, read supports the variant, base differs from the reference.
 * docs/GENOMICS.md has the encoding, its sources and every choice made.
 *
 * Files are hostile: damage is an error, never a partly drawn image.  A source belongs to one thread at a time.
 * Opening one turns off htslib's own messages, for the whole process: errors say what happened. */
#ifndef PALMGROVE_PILEUP_H
#define PALMGROVE_PILEUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/image/image.h"
#include "proto/base/buf.h"
#include "proto/base/status.h"

enum {
    PILEUP_REFERENCE_ROWS = 5,
    PILEUP_HEIGHT = 100,
    PILEUP_WIDTH = 221,
    PILEUP_CHANNELS = 6,
    PILEUP_BYTES = PILEUP_HEIGHT * PILEUP_WIDTH * PILEUP_CHANNELS,
    PILEUP_IMAGE_SIDE = 224,
    PILEUP_ALLELE_MAX = 10000,  /* bases of an allele */
    PILEUP_READS_MAX = 1 << 20, /* reads that overlap one site */
};

/* ---- sites ---- */

/* A place where the sample may differ from the reference.  Alleles are upper-case ACGTN and begin at `position`. */
typedef struct pileup_site {
    char *contig;     /* owned, as the strings below */
    int64_t position; /* of the reference allele's first base, from 0 */
    char *ref;
    char **alts; /* [n_alts], none equal to ref */
    size_t n_alts;
} pileup_site;

/* Free the strings; the site is empty afterwards. */
void pileup_site_release(pileup_site *site);

/* "chr20:1000:A:G": contig (which may hold colons), position from 1, reference allele, alternative alleles separated by
 * commas.  Errors, `out` untouched: BASE_EINVAL, BASE_ETOOBIG an allele, BASE_ENOMEM. */
base_status pileup_site_parse(const char *text, pileup_site *out, base_error *error);

/* The records of a VCF or BCF (plain or compressed), one after the other; no index is needed. */
typedef struct pileup_vcf pileup_vcf;

/* Errors: BASE_EIO it cannot be opened; BASE_EFORMAT no VCF, or a damaged header; BASE_ENOMEM. */
base_status pileup_vcf_open(const char *path, pileup_vcf **out, base_error *error);
/* Free and set *vcf to NULL. */
void pileup_vcf_close(pileup_vcf **vcf);

/* The next record; *more is false at the end and `out` is untouched then.  Alternative alleles that are no sequence
 * ("<DEL>", "*", breakends) are left out, so n_alts may be 0.  Errors, `out` untouched: BASE_EFORMAT a damaged record;
 * BASE_ENOMEM. */
base_status pileup_vcf_next(pileup_vcf *vcf, pileup_site *out, bool *more, base_error *error);

/* ---- drawing ---- */

/* The choices left open.  pileup_rules_default() has what DeepVariant's make_examples uses. */
typedef struct pileup_rules {
    uint32_t min_base_quality;    /* a read of lower quality at the site is left out; bases of lower quality support no
                                     allele */
    uint32_t min_mapping_quality; /* reads of lower quality are left out */
    uint32_t seed;                /* of the choice among too many reads */
    bool by_haplotype;            /* order rows by the HP tag first */
} pileup_rules;

/* Base quality 10, mapping quality 5, seed 2101079370, no haplotypes. */
pileup_rules pileup_rules_default(void);

/* Reads in a sorted, indexed BAM or CRAM, and the indexed FASTA file that they were aligned to. */
typedef struct pileup_source pileup_source;

/* Errors: BASE_EIO a file cannot be opened; BASE_ENOTFOUND an index is missing (says which command makes it);
 * BASE_EFORMAT neither BAM nor CRAM, or damaged; BASE_ENOMEM. */
base_status pileup_open(const char *alignments, const char *reference, pileup_source **out, base_error *error);
/* Free and set *source to NULL. */
void pileup_close(pileup_source **source);

/* Draw `site` for its alternative alleles `first` and `second` (the same index twice: for one), into out[PILEUP_BYTES].
 * Errors, `out` undefined: BASE_ENOTFOUND the contig is not in both files; BASE_EINVAL the site lies beyond its contig,
 * the reference allele is not what the FASTA file has, or the contig's lengths differ; BASE_EUNSUPPORTED the window of
 * PILEUP_WIDTH bases does not fit the contig, or there is no such alternative allele; BASE_ETOOBIG more than
 * PILEUP_READS_MAX reads; BASE_EFORMAT damaged reads, or a CRAM of another reference; BASE_EIO; BASE_ENOMEM. */
base_status pileup_draw(pileup_source *source, const pileup_site *site, size_t first, size_t second,
                        const pileup_rules *rules, uint8_t *out, base_error *error);

/* ---- arrays and images ---- */

/* An array as numpy.save writes it: u1, C order, of exactly the shape of a pileup.  out[PILEUP_BYTES].
 * Errors, `out` untouched: BASE_EFORMAT. */
base_status pileup_read_npy(const void *bytes, size_t size, uint8_t *out, base_error *error);

/* Append the file that numpy.load reads.  Check buf->failed. */
void pileup_write_npy(const uint8_t *pileup, base_buf *out);

typedef enum pileup_padding {
    PILEUP_PAD_RIGHT_BELOW,
    PILEUP_PAD_CENTRE, /* an odd pixel goes to the right or below */
    PILEUP_PAD_LEFT_ABOVE,
} pileup_padding;

/* What the description of Med-PaLM M's image of 224 x 224 leaves open; zero is the default. */
typedef struct pileup_layout {
    bool first_channels_below; /* channels 1 to 3 below channels 4 to 6 */
    pileup_padding padding;
    uint8_t pad_value; /* of the padding's three channels */
} pileup_layout;

/* Channels 1 to 3 as RGB above channels 4 to 6 as RGB, 200 x 221, padded to PILEUP_IMAGE_SIDE a side; nothing is scaled
 * (Med-PaLM M, appendix on genomics).  Errors, `out` untouched: BASE_ENOMEM. */
base_status pileup_to_image(const uint8_t *pileup, const pileup_layout *layout, image *out, base_error *error);

/* The same as a PNG, appended.  Errors: BASE_ENOMEM. */
base_status pileup_to_png(const uint8_t *pileup, const pileup_layout *layout, base_buf *out, base_error *error);

#endif
