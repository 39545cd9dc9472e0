/* Calls against the truth: small files whose counts are known by hand.  tests/e2e/checks_calls.py has many drawn ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <htslib/faidx.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/genomics/calls.h"

static char dir[] = "/tmp/palmgrove-calls-XXXXXX";
/*                             123456789012345678901234567890 */
#define CONTIG "ACGTCACACACACAGGTTTTTTACGATCGA"

static const char *path_of(const char *name)
{
    static char paths[64][128];
    static int next;
    char *path = paths[next++ % 64];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static const char *put(const char *name, const char *text)
{
    const char *path = path_of(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    return path;
}

/* Records are "POS REF ALT FILTER GT" with blanks. */
static const char *put_vcf(const char *name, const char *const *records)
{
    static char text[1 << 16];
    size_t n = (size_t)snprintf(text, sizeof text,
                                "##fileformat=VCFv4.2\n##contig=<ID=c>\n##FILTER=<ID=low,Description=\"l\">\n"
                                "##FORMAT=<ID=GT,Number=1,Type=String,Description=\"g\">\n"
                                "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts\n");
    for (; *records != NULL; records++) {
        char pos[16], ref[64], alt[64], filter[16], gt[16];
        assert_int_equal(sscanf(*records, "%15s %63s %63s %15s %15s", pos, ref, alt, filter, gt), 5);
        n += (size_t)snprintf(text + n, sizeof text - n, "c\t%s\t.\t%s\t%s\t.\t%s\t.\tGT\t%s\n", pos, ref, alt, filter,
                              gt);
    }
    return put(name, text);
}

typedef struct counts {
    int snp_tp, snp_fp, snp_fn, indel_tp, indel_fp, indel_fn;
} counts;

static counts count(const calls_comparison *found)
{
    counts c = {0};
    for (size_t i = 0; i < found->n_pairs; i++) {
        const calls_pair *p = &found->pairs[i];
        bool right = p->called == p->truth, fp = p->called > 0 && !right, fn = p->truth > 0 && !right;
        p->is_snp ? (c.snp_tp += right, c.snp_fp += fp, c.snp_fn += fn)
                  : (c.indel_tp += right, c.indel_fp += fp, c.indel_fn += fn);
    }
    return c;
}

static void expect(const char *const *calls, const char *const *truth, const char *bed, bool with_reference,
                   counts expected)
{
    calls_comparison found = {0};
    base_error error = {0};
    const char *regions = bed != NULL ? put("r.bed", bed) : NULL, *reference = with_reference ? path_of("r.fa") : NULL;
    if (calls_compare(put_vcf("calls.vcf", calls), put_vcf("truth.vcf", truth), regions, reference, &found, &error) !=
        BASE_OK)
        fail_msg("%s", error.text);
    counts c = count(&found);
    assert_memory_equal(&c, &expected, sizeof c);
    calls_release(&found);
}

#define LIST(...)         \
    (const char *const[]) \
    {                     \
        __VA_ARGS__, NULL \
    }

static void test_genotypes(void **unused)
{
    (void)unused;
    expect(LIST("2 C T . 0/1"), LIST("2 C T PASS 1|0"), NULL, false, (counts){.snp_tp = 1});
    expect(LIST("2 C T . 1/1"), LIST("2 C T . 0/1"), NULL, false, (counts){.snp_fp = 1, .snp_fn = 1});
    expect(LIST("2 C T . 0/0"), LIST("2 C T . 0/1"), NULL, false, (counts){.snp_fn = 1});
    expect(LIST("2 C T . ./."), LIST("2 C T . 0/1"), NULL, false, (counts){.snp_fn = 1});
    expect(LIST("2 C T low 0/1"), LIST("2 C T low 0/1"), NULL, false, (counts){.snp_fn = 1});
    expect(LIST("2 C T . 1"), LIST("2 C T . 1/1"), NULL, false, (counts){.snp_tp = 1});
    expect(LIST("2 C G . 0/1"), LIST("2 C T . 0/1"), NULL, false, (counts){.snp_fp = 1, .snp_fn = 1});
}

static void test_alleles(void **unused)
{
    (void)unused;
    /* one record with two alternatives, and each by itself */
    expect(LIST("2 C T,CA . 1/2"), LIST("2 C T . 0/1", "2 C CA . 0/1"), NULL, false,
           (counts){.snp_tp = 1, .indel_tp = 1});
    expect(LIST("2 C T,G . 1/2"), LIST("2 C T . 0/1", "2 C G . 0/1"), NULL, false, (counts){.snp_tp = 2});
    /* a block of substitutions, and each by itself; the base between is not one */
    expect(LIST("2 CGT TGA . 0/1"), LIST("2 C T . 0/1", "4 T A . 0/1"), NULL, false, (counts){.snp_tp = 2});
    /* untrimmed at both ends */
    expect(LIST("1 ACGT ATGT . 0/1", "13 CAGG CATGG . 1/1"), LIST("2 C T . 0/1", "14 A AT . 1/1"), NULL, false,
           (counts){.snp_tp = 1, .indel_tp = 1});
    expect(LIST("2 C <DEL>,T . 1/2"), LIST("2 c t . 0/1"), NULL, false, (counts){.snp_tp = 1});
    expect(LIST("2 C T . 0/1", "2 C T . 0/1"), LIST("2 C T . 1/1"), NULL, false, (counts){.snp_tp = 1});
}

static void test_repeats(void **unused)
{
    (void)unused;
    /* CACACACACA at 5: one CA less, written at the end and at the beginning; one T more in TTTTTT */
    expect(LIST("12 ACA A . 0/1"), LIST("4 TCA T . 0/1"), NULL, true, (counts){.indel_tp = 1});
    expect(LIST("12 ACA A . 0/1"), LIST("4 TCA T . 0/1"), NULL, false, (counts){.indel_fp = 1, .indel_fn = 1});
    expect(LIST("22 T TT . 1/1"), LIST("16 G GT . 1/1"), NULL, true, (counts){.indel_tp = 1});
    expect(LIST("22 T TTT . 1/1"), LIST("16 G GT . 1/1"), NULL, true, (counts){.indel_fp = 1, .indel_fn = 1});
    expect(LIST("5 CA A . 0/1"), LIST("4 TC T . 0/1"), NULL, true,
           (counts){.indel_tp = 1}); /* the shared base comes after */
    expect(LIST("1 AC C . 0/1"), LIST("1 AC C . 0/1"), NULL, true,
           (counts){.indel_tp = 1}); /* nothing precedes the contig */
    expect(LIST("5 CA C . 0/1"), LIST("4 TCA TC . 0/1"), NULL, true, (counts){.indel_tp = 1});
}

static void test_regions(void **unused)
{
    (void)unused;
    const char *const *both = LIST("2 C T . 0/1", "14 A AT . 0/1", "26 ATC A . 1/1");
    expect(both, both, "c\t0\t30\n", false, (counts){.snp_tp = 1, .indel_tp = 2});
    expect(both, both, "# head\ntrack x\nc\t1\t2\tname\n\nc\t13\t14\r\n", false, (counts){.snp_tp = 1, .indel_tp = 1});
    expect(both, both, "c\t2\t13\nd\t0\t30\n", false, (counts){0});
    expect(both, both, "c\t25\t27\n", false, (counts){0});                        /* a part of the deletion */
    expect(both, both, "c\t27\t28\nc\t25\t27\n", false, (counts){.indel_tp = 1}); /* regions that touch */
    expect(both, LIST("2 C T . 1/1"), "c\t1\t2\n", false, (counts){.snp_fp = 1, .snp_fn = 1});
}

static void test_left_out_is_told(void **unused)
{
    (void)unused;
    calls_comparison found = {0};
    const char *calls = put_vcf("calls.vcf", LIST("2 C T low 0/1", "3 G A . ./1", "5 C <DEL> . 0/1", "20 T C . 0/1"));
    assert_int_equal(calls_compare(calls, put_vcf("truth.vcf", LIST("20 T C . 0/1", "4 T A . 0/1")),
                                   put("r.bed", "c\t0\t10\n"), NULL, &found, NULL),
                     BASE_OK);
    assert_int_equal(found.n_pairs, 1);
    assert_int_equal(found.calls.n_filtered, 1);
    assert_int_equal(found.calls.n_no_genotype, 1);
    assert_int_equal(found.calls.n_no_sequence, 1);
    assert_int_equal(found.calls.n_outside, 1);
    assert_int_equal(found.truth.n_outside, 1);
    calls_release(&found);
}

static void test_bad_files(void **unused)
{
    (void)unused;
    const char *good = put_vcf("good.vcf", LIST("2 C T . 0/1")),
               *triploid = put_vcf("three.vcf", LIST("2 C T . 0/1/1"));
    const char *other = put_vcf("other.vcf", LIST("2 G T . 0/1")),
               *beyond = put_vcf("beyond.vcf", LIST("400 G T . 0/1"));
    const char *text = put("text", "hello\n");
    const char *sites = put("sites.vcf", "##fileformat=VCFv4.2\n##contig=<ID=c>\n#"
                                         "CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\nc\t2\t.\tC\tT\t.\t.\t.\n");
    const struct {
        const char *calls, *bed, *reference;
        base_status status;
        const char *word;
    } rows[] = {
        {path_of("absent"), NULL, NULL, BASE_ENOTFOUND, "absent"},
        {text, NULL, NULL, BASE_EFORMAT, "no VCF"},
        {sites, NULL, NULL, BASE_EFORMAT, "sample"},
        {triploid, NULL, NULL, BASE_EUNSUPPORTED, "3 alleles"},
        {other, NULL, path_of("r.fa"), BASE_EFORMAT, "c:2"},
        {beyond, NULL, path_of("r.fa"), BASE_EFORMAT, "400"},
        {good, NULL, path_of("absent.fa"), BASE_ENOTFOUND, "samtools faidx"},
        {good, "c\t5\t4\n", NULL, BASE_EFORMAT, "line 1"},
        {good, "c\t1\t2\nc 3 4\n", NULL, BASE_EFORMAT, "line 2"},
        {good, "c\t-1\t2\n", NULL, BASE_EFORMAT, "line 1"},
        {good, "c\t1\t99999999999999999999\n", NULL, BASE_EFORMAT, "line 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        calls_comparison found = {0};
        base_error error = {0};
        const char *bed = rows[i].bed != NULL ? put("bad.bed", rows[i].bed) : NULL;
        assert_int_equal(calls_compare(rows[i].calls, path_of("good.vcf"), bed, rows[i].reference, &found, &error),
                         rows[i].status);
        if (strstr(error.text, rows[i].word) == NULL)
            fail_msg("'%s' does not say '%s'", error.text, rows[i].word);
        assert_null(found.pairs);
    }
}

static int make_files(void **unused)
{
    (void)unused;
    if (mkdtemp(dir) == NULL)
        return -1;
    put("r.fa", ">c\n" CONTIG "\n");
    return fai_build(path_of("r.fa"));
}

static int remove_files(void **unused)
{
    (void)unused;
    static const char *const names[] = {"r.fa",     "r.fa.fai",  "r.bed",     "bad.bed",    "calls.vcf", "truth.vcf",
                                        "good.vcf", "three.vcf", "other.vcf", "beyond.vcf", "text",      "sites.vcf"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_genotypes), cmocka_unit_test(test_alleles),          cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_regions),   cmocka_unit_test(test_left_out_is_told), cmocka_unit_test(test_bad_files),
    };
    return cmocka_run_group_tests_name("calls", tests, make_files, remove_files);
}
