/* test_pileup.c - pileups of small files made here: every kind of CIGAR operation, support, order, the choice among too
 * many reads, and files that contradict each other.  tests/conformance/pileup.py has the random ones. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <htslib/faidx.h>
#include <htslib/sam.h>

#include "coordinator/genomics/pileup.h"

enum { CONTIG_BASES = 600, SITE = 300, HALF = 110 }; /* SITE from 0 */

static char folder[64];
static char contig[CONTIG_BASES + 1];

static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(in_folder(name), "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* ACGT over and over, so that position p has base "ACGT"[p % 4]; the site (300) is an A. */
static void make_reference(const char *name)
{
    char text[CONTIG_BASES + 64];
    for (int i = 0; i < CONTIG_BASES; i++)
        contig[i] = "ACGT"[i % 4];
    contig[250] = 'a'; /* soft-masked: 250 would be a G */
    snprintf(text, sizeof text, ">chr1\n%s\n", contig);
    contig[250] = 'A';
    write_text(name, text);
    assert_int_equal(fai_build(in_folder(name)), 0);
}

/* ---- a SAM as text, to BAM or CRAM by htslib ---- */

static char sam_text[1 << 18];

static void begin_sam(int contig_bases)
{
    snprintf(sam_text, sizeof sam_text, "@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:chr1\tLN:%d\n", contig_bases);
}

/* A read from `start` (from 0); `quality` is of all bases; `tags` begins with a tab or is empty. */
static void add_read(const char *name, unsigned flags, int start, int mapq, const char *cigar, const char *bases,
                     int quality, const char *tags)
{
    size_t used = strlen(sam_text), size = strlen(bases);
    char qualities[1024];
    memset(qualities, quality + 33, size);
    qualities[size] = '\0';
    int n = snprintf(sam_text + used, sizeof sam_text - used, "%s\t%u\tchr1\t%d\t%d\t%s\t*\t0\t0\t%s\t%s%s\n", name,
                     flags, start + 1, mapq, cigar, bases, qualities, tags);
    assert_true(n > 0 && (size_t)n < sizeof sam_text - used);
}

/* Of the last read, which has no tags. */
static void set_quality(size_t n_bases, size_t i, int quality)
{
    sam_text[strlen(sam_text) - 1 - n_bases + i] = (char)(quality + 33);
}

static void add_matching(const char *name, unsigned flags, int start, int mapq, int size, int quality, const char *tags)
{
    char bases[512], cigar[16];
    snprintf(bases, sizeof bases, "%.*s", size, contig + start);
    snprintf(cigar, sizeof cigar, "%dM", size);
    add_read(name, flags, start, mapq, cigar, bases, quality, tags);
}

static void write_alignments(const char *name, const char *mode, bool with_index)
{
    write_text("reads.sam", sam_text);
    samFile *in = sam_open(in_folder("reads.sam"), "r"), *out = sam_open(in_folder(name), mode);
    assert_non_null(in);
    assert_non_null(out);
    if (mode[1] == 'c')
        assert_int_equal(hts_set_opt(out, CRAM_OPT_REFERENCE, in_folder("ref.fa")), 0);
    sam_hdr_t *header = sam_hdr_read(in);
    assert_non_null(header);
    assert_int_equal(sam_hdr_write(out, header), 0);
    bam1_t *read = bam_init1();
    while (sam_read1(in, header, read) >= 0)
        assert_true(sam_write1(out, header, read) >= 0);
    bam_destroy1(read);
    sam_hdr_destroy(header);
    assert_int_equal(sam_close(in), 0);
    assert_int_equal(sam_close(out), 0);
    if (with_index)
        assert_int_equal(sam_index_build(in_folder(name), 0), 0);
}

/* ---- drawing ---- */

static uint8_t drawn[PILEUP_BYTES];

static base_status draw_with(const char *file, const char *reference, const char *site_text, const pileup_rules *rules,
                             base_error *error)
{
    pileup_source *source = NULL;
    pileup_site site = {0};
    base_status status = pileup_site_parse(site_text, &site, error);
    if (status == BASE_OK)
        status = pileup_open(in_folder(file), in_folder(reference), &source, error);
    if (status == BASE_OK)
        status = pileup_draw(source, &site, 0, site.n_alts - 1, rules, drawn, error);
    pileup_close(&source);
    pileup_site_release(&site);
    return status;
}

static void draw(const char *site_text, const pileup_rules *rules)
{
    base_error error = {0};
    pileup_rules defaults = pileup_rules_default();
    write_alignments("reads.bam", "wb", true);
    base_status status = draw_with("reads.bam", "ref.fa", site_text, rules != NULL ? rules : &defaults, &error);
    if (status != BASE_OK)
        fail_msg("%s", error.text);
}

static const uint8_t *pixel(int row, int position)
{
    return drawn + ((size_t)row * PILEUP_WIDTH + (size_t)(position - (SITE - HALF))) * PILEUP_CHANNELS;
}

static void expect_pixel(int row, int position, uint8_t base, uint8_t quality, uint8_t mapping, uint8_t strand,
                         uint8_t support, uint8_t differs)
{
    const uint8_t expected[PILEUP_CHANNELS] = {base, quality, mapping, strand, support, differs};
    assert_memory_equal(pixel(row, position), expected, sizeof expected);
}

static void expect_black(int row, int position)
{
    expect_pixel(row, position, 0, 0, 0, 0, 0, 0);
}

static bool is_row_black(int row)
{
    for (int i = 0; i < PILEUP_WIDTH * PILEUP_CHANNELS; i++)
        if (drawn[row * PILEUP_WIDTH * PILEUP_CHANNELS + i] != 0)
            return false;
    return true;
}

enum { A = 250, G = 180, T = 100, C = 30, YES = 254, NO = 152, SAME = 50, OTHER = 254, AHEAD = 70, BACK = 240 };

static void test_reference_and_matches(void **state)
{
    (void)state;
    begin_sam(CONTIG_BASES);
    add_matching("r", 0, 290, 30, 20, 20, "");
    draw("chr1:301:A:G", NULL);
    for (int row = 0; row < PILEUP_REFERENCE_ROWS; row++) {
        expect_pixel(row, SITE - HALF, G, 254, 254, AHEAD, NO, SAME); /* 190 */
        expect_pixel(row, SITE + HALF, G, 254, 254, AHEAD, NO, SAME);
        expect_pixel(row, 250, A, 254, 254, AHEAD, NO, SAME); /* lower case in the file */
    }
    expect_black(5, 289);
    expect_pixel(5, 290, G, 127, 127, AHEAD, NO, SAME); /* 20 of 40, 30 of 60 */
    expect_pixel(5, 300, A, 127, 127, AHEAD, NO, SAME);
    expect_pixel(5, 309, C, 127, 127, AHEAD, NO, SAME);
    expect_black(5, 310);
    assert_true(is_row_black(6) && is_row_black(99));
}

static void test_mismatch_strand_and_caps(void **state)
{
    (void)state;
    begin_sam(CONTIG_BASES);
    add_read("r", BAM_FREVERSE, 299, 70, "3M", "TGC", 60, "");
    add_read("n", 0, 299, 59, "1=1X1=", "TNC", 11, "");
    draw("chr1:301:A:G", NULL);
    expect_pixel(5, 299, T, 254, 254, BACK, YES, SAME);
    expect_pixel(5, 300, G, 254, 254, BACK, YES, OTHER);
    expect_pixel(6, 300, 0, 69, 249, AHEAD, NO, OTHER); /* an N has no colour; 69.85 and 249.77 are cut */
}

static void test_insertion_and_deletion_at_their_anchors(void **state)
{
    (void)state;
    begin_sam(CONTIG_BASES);
    add_read("i", 0, 298, 60, "3M2I2M", "GTACCCG", 40, "");
    add_read("d", 0, 298, 60, "3M2D2M", "GTATA", 40, "");
    draw("chr1:301:ACG:ACCCG", NULL);
    expect_pixel(5, 299, T, 254, 254, AHEAD, YES, SAME);
    expect_pixel(5, 300, 0, 254, 254, AHEAD, YES, OTHER);
    expect_pixel(5, 301, C, 254, 254, AHEAD, YES, SAME);
    expect_pixel(6, 300, 0, 254, 254, AHEAD, NO, OTHER);
    expect_black(6, 301);
    expect_black(6, 302);
    expect_pixel(6, 303, T, 254, 254, AHEAD, NO, SAME);
    draw("chr1:301:ACG:A", NULL);
    assert_int_equal(pixel(5, 300)[4], NO);
    assert_int_equal(pixel(6, 300)[4], YES);
    draw("chr1:301:AC:A", NULL); /* another deletion */
    assert_int_equal(pixel(6, 300)[4], NO);
    draw("chr1:301:ACG:A,ACCCG", NULL); /* either */
    assert_int_equal(pixel(5, 300)[4], YES);
    assert_int_equal(pixel(6, 300)[4], YES);
}

static void test_quality_at_anchors(void **state)
{
    (void)state;
    begin_sam(CONTIG_BASES);
    add_read("i", 0, 298, 60, "3M2I2M", "GTACCCG", 40, "");
    set_quality(7, 3, 20); /* the first inserted base */
    add_read("d", 0, 298, 60, "3M2D2M", "GTATA", 40, "");
    set_quality(5, 2, 10); /* the base before the deletion */
    add_read("p", 0, 298, 60, "3M2I2M", "GTACCCG", 40, "");
    set_quality(7, 4, 9); /* the other inserted base: no allele but the anchor's own base */
    add_read("o", 0, 298, 60, "3M2I2M", "GTACCCG", 40, "");
    set_quality(7, 3, 9); /* drawn at the site: left out */
    draw("chr1:301:A:ACC", NULL);
    expect_pixel(5, 300, 0, 127, 254, AHEAD, YES, OTHER);
    expect_pixel(6, 300, 0, 63, 254, AHEAD, NO, OTHER);
    expect_pixel(7, 300, 0, 254, 254, AHEAD, NO, OTHER);
    assert_true(is_row_black(8));
}

static void test_clips_and_skips(void **state)
{
    (void)state;
    begin_sam(CONTIG_BASES);
    add_read("clipped", 0, 299, 60, "2H3S4M2S", "CCCTACGGG", 40, "");
    add_read("skipped", 0, 299, 60, "2M10N2M", "TATA", 40, "");
    add_read("trailing", 0, 299, 60, "2M4S", "TGCCCC", 40, ""); /* the clip's anchor is the site: no allele is known */
    draw("chr1:301:A:G", NULL);
    expect_black(5, 298);
    expect_pixel(5, 299, T, 254, 254, AHEAD, NO, SAME);
    expect_pixel(5, 302, G, 254, 254, AHEAD, NO, SAME);
    expect_black(5, 303);
    expect_pixel(6, 300, A, 254, 254, AHEAD, NO, SAME);
    expect_black(6, 301);
    expect_pixel(6, 311, T, 254, 254, AHEAD, NO, SAME);
    expect_pixel(7, 300, G, 254, 254, AHEAD, NO, OTHER);
}

static void test_poor_and_unwanted_reads_are_left_out(void **state)
{
    (void)state;
    begin_sam(CONTIG_BASES);
    add_matching("poor", 0, 280, 60, 40, 9, "");
    add_matching("vague", 0, 281, 4, 40, 40, "");
    add_matching("copy", BAM_FDUP, 282, 60, 40, 40, "");
    add_matching("failed", BAM_FQCFAIL, 283, 60, 40, 40, "");
    add_matching("second", BAM_FSECONDARY, 284, 60, 40, 40, "");
    add_matching("more", BAM_FSUPPLEMENTARY, 285, 60, 40, 40, "");
    add_matching("enough", 0, 286, 5, 40, 10, "");
    add_matching("elsewhere", 0, 310, 60, 40, 9, ""); /* beyond the margin of 5 */
    draw("chr1:301:A:G", NULL);
    expect_pixel(5, 286, G, 63, 21, AHEAD, NO, SAME);
    assert_true(is_row_black(6));
    pileup_rules rules = {.min_base_quality = 0, .min_mapping_quality = 0};
    draw("chr1:301:A:G", &rules);
    expect_pixel(5, 280, A, 57, 254, AHEAD, NO, SAME);
    expect_pixel(6, 281, C, 254, 16, AHEAD, NO, SAME);
    expect_pixel(7, 286, G, 63, 21, AHEAD, NO, SAME);
    assert_true(is_row_black(8));
}

static void test_order_of_rows(void **state)
{
    (void)state;
    begin_sam(CONTIG_BASES);
    add_matching("a", 0, 280, 10, 40, 40, "\tHP:i:2");
    add_matching("b", 0, 281, 20, 40, 40, "\tHP:i:1");
    add_matching("d", 0, 281, 40, 40, 40, "\tHP:Z:1");
    add_matching("c", 0, 282, 30, 40, 40, "\tHP:i:-3");
    draw("chr1:301:A:G", NULL);
    const uint8_t by_position[] = {42, 84, 169, 127}, by_haplotype[] = {169, 127, 84, 42};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pixel(5 + i, SITE)[2], by_position[i]);
    pileup_rules rules = pileup_rules_default();
    rules.by_haplotype = true;
    draw("chr1:301:A:G", &rules);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pixel(5 + i, SITE)[2], by_haplotype[i]);
}

/* Which of 120 reads are not shown:  list = list(range(120)); numpy.random.RandomState(seed).shuffle(list);
 * sorted(list[95:]) */
typedef struct shuffle_golden {
    uint32_t seed;
    int left_out[25];
} shuffle_golden;

static const shuffle_golden shuffle_goldens[] = {
    {2101079370u,
     {3, 5, 9, 14, 16, 17, 23, 26, 27, 35, 41, 44, 45, 46, 61, 66, 70, 77, 88, 103, 105, 108, 113, 114, 117}},
    {7u, {0, 7, 8, 14, 23, 25, 39, 42, 44, 47, 48, 55, 57, 67, 68, 72, 75, 83, 89, 90, 92, 102, 103, 114, 118}},
};

static void test_the_choice_among_many_is_numpys(void **state)
{
    (void)state;
    begin_sam(CONTIG_BASES);
    for (int i = 0; i < 120; i++)
        add_matching("many", 0, 195 + i / 2, 60, 130, 11 + 20 * (i % 2), "");
    for (size_t g = 0; g < sizeof shuffle_goldens / sizeof shuffle_goldens[0]; g++) {
        pileup_rules rules = pileup_rules_default();
        rules.seed = shuffle_goldens[g].seed;
        draw("chr1:301:A:G", &rules);
        int shown_at[60][2] = {0};
        for (int row = PILEUP_REFERENCE_ROWS; row < PILEUP_HEIGHT; row++) {
            int start = 190;
            while (pixel(row, start)[3] == 0)
                start++;
            shown_at[start - 195][pixel(row, start)[1] == 69 ? 0 : 1]++;
        }
        const int *next = shuffle_goldens[g].left_out;
        for (int i = 0; i < 120; i++) {
            bool is_left_out = next < shuffle_goldens[g].left_out + 25 && *next == i;
            assert_int_equal(shown_at[i / 2][i % 2], is_left_out ? 0 : 1);
            next += is_left_out;
        }
    }
}

static void test_cram_is_drawn_as_bam(void **state)
{
    (void)state;
    base_error error = {0};
    static uint8_t from_bam[PILEUP_BYTES];
    pileup_rules rules = pileup_rules_default();
    begin_sam(CONTIG_BASES);
    add_matching("a", 0, 280, 40, 40, 30, "");
    add_read("b", BAM_FREVERSE, 298, 50, "3M2I2M", "GTACCCG", 37, "");
    draw("chr1:301:A:ACC", NULL);
    memcpy(from_bam, drawn, PILEUP_BYTES);
    write_alignments("reads.cram", "wc", true);
    assert_int_equal(draw_with("reads.cram", "ref.fa", "chr1:301:A:ACC", &rules, &error), BASE_OK);
    assert_memory_equal(drawn, from_bam, PILEUP_BYTES);
    /* another reference of the same shape: the blocks' checksums do not fit */
    char text[CONTIG_BASES + 64];
    snprintf(text, sizeof text, ">chr1\n%s\n", contig);
    text[6 + 290] = 'T';
    write_text("other.fa", text);
    assert_int_equal(fai_build(in_folder("other.fa")), 0);
    assert_int_equal(draw_with("reads.cram", "other.fa", "chr1:301:A:ACC", &rules, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "CRAM of another reference"));
}

/* ---- hostile input ---- */

static void expect_refusal(const char *file, const char *reference, const char *site, base_status status,
                           const char *words)
{
    base_error error = {0};
    pileup_rules rules = pileup_rules_default();
    assert_int_equal(draw_with(file, reference, site, &rules, &error), status);
    if (strstr(error.text, words) == NULL)
        fail_msg("'%s' does not say '%s'", error.text, words);
}

static void test_contradictions_are_refused(void **state)
{
    (void)state;
    begin_sam(CONTIG_BASES);
    add_matching("a", 0, 280, 60, 40, 40, "");
    write_alignments("reads.bam", "wb", true);
    write_alignments("bare.bam", "wb", false);
    write_text("bare.fa", ">chr1\nACGT\n");
    write_text("short.fa", ">chr1\nACGT\n");
    write_text("foreign.fa", ">chr2\nACGT\n");
    assert_int_equal(fai_build(in_folder("short.fa")), 0);
    assert_int_equal(fai_build(in_folder("foreign.fa")), 0);
    expect_refusal("none.bam", "ref.fa", "chr1:301:A:G", BASE_EIO, "No such file");
    expect_refusal("reads.bam", "none.fa", "chr1:301:A:G", BASE_EIO, "No such file");
    expect_refusal("bare.bam", "ref.fa", "chr1:301:A:G", BASE_ENOTFOUND, "samtools index");
    expect_refusal("reads.bam", "bare.fa", "chr1:301:A:G", BASE_ENOTFOUND, "samtools faidx");
    expect_refusal("reads.sam", "ref.fa", "chr1:301:A:G", BASE_EFORMAT, "neither BAM nor CRAM");
    expect_refusal("ref.fa", "ref.fa", "chr1:301:A:G", BASE_EFORMAT, "neither BAM nor CRAM");
    expect_refusal("reads.bam", "ref.fa", "chr2:301:A:G", BASE_ENOTFOUND, "chr2");
    expect_refusal("reads.bam", "foreign.fa", "chr1:301:A:G", BASE_ENOTFOUND, "foreign.fa");
    expect_refusal("reads.bam", "short.fa", "chr1:301:A:G", BASE_EINVAL, "another reference");
    expect_refusal("reads.bam", "ref.fa", "chr1:601:A:G", BASE_EINVAL, "beyond the contig");
    expect_refusal("reads.bam", "ref.fa", "chr1:9000000000000000000:A:G", BASE_EINVAL, "beyond the contig");
    expect_refusal("reads.bam", "ref.fa", "chr1:599:GTA:G", BASE_EINVAL, "beyond the contig");
    expect_refusal("reads.bam", "ref.fa", "chr1:110:C:G", BASE_EUNSUPPORTED, "too near");
    expect_refusal("reads.bam", "ref.fa", "chr1:491:G:A", BASE_EUNSUPPORTED, "too near");
    expect_refusal("reads.bam", "ref.fa", "chr1:301:T:G", BASE_EINVAL, "'A' there");
}

static void cut(const char *from, const char *to, long size, long flipped)
{
    static char bytes[1 << 16];
    FILE *in = fopen(in_folder(from), "rb"), *out = fopen(in_folder(to), "wb");
    size_t n = fread(bytes, 1, sizeof bytes, in);
    if (flipped >= 0)
        bytes[(size_t)flipped % n] ^= 0x55;
    fwrite(bytes, 1, size < 0 ? n : (size_t)size % n, out);
    fclose(in);
    fclose(out);
}

/* Whatever comes of it, it comes without a crash, and most of it is an error. */
static void test_damaged_files_end_in_errors(void **state)
{
    (void)state;
    base_error error = {0};
    pileup_rules rules = pileup_rules_default();
    begin_sam(CONTIG_BASES);
    for (int i = 0; i < 50; i++)
        add_matching("a", 0, 200 + i, 60, 130, 40, "\tHP:i:1");
    write_alignments("reads.bam", "wb", true);
    write_alignments("reads.cram", "wc", true);
    int n_refused = 0;
    for (long i = 0; i < 300; i++) {
        const char *name = i % 2 == 0 ? "reads.bam" : "reads.cram", *damaged = i % 2 == 0 ? "hurt.bam" : "hurt.cram";
        cut(name, damaged, i % 3 == 0 ? i * 7 : -1, i % 3 == 0 ? -1 : i * 5);
        cut(i % 2 == 0 ? "reads.bam.bai" : "reads.cram.crai", i % 2 == 0 ? "hurt.bam.bai" : "hurt.cram.crai", -1,
            i % 5 == 4 ? i : -1);
        n_refused += draw_with(damaged, "ref.fa", "chr1:301:A:G", &rules, &error) != BASE_OK;
    }
    assert_true(n_refused > 100);
}

static void test_sites_as_text(void **state)
{
    (void)state;
    pileup_site site = {0};
    base_error error = {0};
    assert_int_equal(pileup_site_parse("HLA-A*01:01:7:ac:T,acg", &site, &error), BASE_OK);
    assert_string_equal(site.contig, "HLA-A*01:01");
    assert_int_equal(site.position, 6);
    assert_string_equal(site.ref, "AC");
    assert_int_equal(site.n_alts, 2);
    assert_string_equal(site.alts[1], "ACG");
    pileup_site_release(&site);
    static const char *const wrong[] = {"",           "chr1",           "chr1:5",      "chr1:5:A",
                                        ":5:A:G",     "chr1:0:A:G",     "chr1:-5:A:G", "chr1:5x:A:G",
                                        "chr1::A:G",  "chr1:5::G",      "chr1:5:A:",   "chr1:5:A:G,",
                                        "chr1:5:A:A", "chr1:5:A:<DEL>", "chr1:5:R:G",  "chr1:99999999999999999999:A:G"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(pileup_site_parse(wrong[i], &site, &error), BASE_EINVAL);
}

static void test_records_of_a_vcf(void **state)
{
    (void)state;
    base_error error = {0};
    pileup_vcf *vcf = NULL;
    pileup_site site = {0};
    bool more = false;
    write_text("sites.vcf",
               "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=600>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
               "chr1\t301\t.\ta\tG,<*>,AT\t.\t.\t.\nother\t302\t.\tC\t.\t.\t.\tUNDECLARED=1\nchr1\tx\n");
    assert_int_equal(pileup_vcf_open(in_folder("sites.vcf"), &vcf, &error), BASE_OK);
    assert_int_equal(pileup_vcf_next(vcf, &site, &more, &error), BASE_OK);
    assert_true(more);
    assert_int_equal(site.position, 300);
    assert_string_equal(site.ref, "A");
    assert_int_equal(site.n_alts, 2);
    assert_string_equal(site.alts[1], "AT");
    pileup_site_release(&site);
    assert_int_equal(pileup_vcf_next(vcf, &site, &more, &error), BASE_OK);
    assert_int_equal(site.n_alts, 0);
    assert_string_equal(site.contig, "other"); /* without its line in the header */
    pileup_site_release(&site);
    assert_int_equal(pileup_vcf_next(vcf, &site, &more, &error), BASE_EFORMAT);
    pileup_vcf_close(&vcf);
    assert_int_equal(pileup_vcf_open(in_folder("none.vcf"), &vcf, &error), BASE_EIO);
    assert_int_equal(pileup_vcf_open(in_folder("ref.fa"), &vcf, &error), BASE_EFORMAT);
}

/* ---- arrays and images ---- */

static void test_arrays_round_trip(void **state)
{
    (void)state;
    static uint8_t found[PILEUP_BYTES];
    base_error error = {0};
    base_buf file = {0};
    for (int i = 0; i < PILEUP_BYTES; i++)
        drawn[i] = (uint8_t)(i * 31 / 7);
    pileup_write_npy(drawn, &file);
    assert_false(file.failed);
    assert_int_equal(file.size, 128 + PILEUP_BYTES);
    assert_int_equal(pileup_read_npy(file.data, file.size, found, &error), BASE_OK);
    assert_memory_equal(found, drawn, PILEUP_BYTES);
    for (size_t size = 0; size < file.size; size += size < 130 ? 1 : 4001)
        assert_int_equal(pileup_read_npy(file.data, size, found, &error), BASE_EFORMAT);
    for (size_t i = 0; i < 80; i++) { /* any byte but the minor version and blanks */
        file.data[i] ^= 0x10;
        base_status status = pileup_read_npy(file.data, file.size, found, &error);
        if (i != 7 && (file.data[i] ^ 0x10) != ' ' && i < 70 && strchr(",}{", file.data[i] ^ 0x10) == NULL)
            assert_int_equal(status, BASE_EFORMAT);
        file.data[i] ^= 0x10;
    }
    base_buf_release(&file);
}

static void expect_layout(pileup_layout layout, size_t left, size_t above, size_t first_at, size_t second_at)
{
    image img = {0};
    base_error error = {0};
    assert_int_equal(pileup_to_image(drawn, &layout, &img, &error), BASE_OK);
    assert_int_equal(img.width, 224);
    assert_int_equal(img.height, 224);
    assert_int_equal(img.channels, 3);
    size_t n_padding = 0;
    for (size_t y = 0; y < 224; y++)
        for (size_t x = 0; x < 224; x++) {
            const uint8_t *at = img.pixels + (y * 224 + x) * 3;
            bool is_inside = x >= left && x < left + 221 && y >= above && y < above + 200;
            n_padding += !is_inside;
            for (size_t c = 0; c < 3 && !is_inside; c++)
                assert_int_equal(at[c], layout.pad_value);
            size_t row = y - above, from = row < 100 ? first_at : second_at;
            if (is_inside)
                assert_memory_equal(at, drawn + ((row % 100) * 221 + x - left) * 6 + from, 3);
        }
    assert_int_equal(n_padding, 224 * 224 - 200 * 221);
    image_release(&img);
}

static void test_layouts(void **state)
{
    (void)state;
    for (int i = 0; i < PILEUP_BYTES; i++)
        drawn[i] = (uint8_t)(i * 37 / 5);
    expect_layout((pileup_layout){0}, 0, 0, 0, 3);
    expect_layout((pileup_layout){.first_channels_below = true, .pad_value = 128}, 0, 0, 3, 0);
    expect_layout((pileup_layout){.padding = PILEUP_PAD_CENTRE, .pad_value = 255}, 1, 12, 0, 3);
    expect_layout((pileup_layout){.padding = PILEUP_PAD_LEFT_ABOVE}, 3, 24, 0, 3);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/palmgrove-pileup-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    make_reference("ref.fa");
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"ref.fa",    "other.fa", "bare.fa",    "short.fa", "foreign.fa", "reads.sam",
                                        "reads.bam", "bare.bam", "reads.cram", "hurt.bam", "hurt.cram",  "sites.vcf"};
    static const char *const indices[] = {"", ".fai", ".bai", ".crai"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (size_t j = 0; j < sizeof indices / sizeof indices[0]; j++) {
            char name[64];
            snprintf(name, sizeof name, "%s%s", names[i], indices[j]);
            unlink(in_folder(name));
        }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_and_matches),
        cmocka_unit_test(test_mismatch_strand_and_caps),
        cmocka_unit_test(test_insertion_and_deletion_at_their_anchors),
        cmocka_unit_test(test_quality_at_anchors),
        cmocka_unit_test(test_clips_and_skips),
        cmocka_unit_test(test_poor_and_unwanted_reads_are_left_out),
        cmocka_unit_test(test_order_of_rows),
        cmocka_unit_test(test_the_choice_among_many_is_numpys),
        cmocka_unit_test(test_cram_is_drawn_as_bam),
        cmocka_unit_test(test_contradictions_are_refused),
        cmocka_unit_test(test_damaged_files_end_in_errors),
        cmocka_unit_test(test_sites_as_text),
        cmocka_unit_test(test_records_of_a_vcf),
        cmocka_unit_test(test_arrays_round_trip),
        cmocka_unit_test(test_layouts),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
