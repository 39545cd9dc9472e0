/* From the likelihoods of answers to genotypes and their lines, against figures worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/genomics/genotype.h"

static void assert_near(double is, double expected)
{
    if (!(fabs(is - expected) <= 1e-12 * fmax(1.0, fabs(expected))))
        fail_msg("%.17g instead of %.17g", is, expected);
}

static void scores_become_shares(void **state)
{
    (void)state;
    double copies[3];
    genotype_copies((const double[]){log(0.2), log(0.4), log(0.2)},
                    copies); /* of all text, not of three answers only */
    assert_near(copies[0], 0.25);
    assert_near(copies[1], 0.5);
    genotype_copies((const double[]){-4000.0, -5000.0, -4000.0}, copies);
    assert_near(copies[0], 0.5);
    assert_true(copies[1] == 0.0);
}

static void one_alternative_is_its_image(void **state)
{
    (void)state;
    genotype_call call;
    const genotype_pileup image = {0, 0, {0.009, 0.99, 0.001}};
    genotype_merge(1, &image, 1, &call);
    assert_int_equal(call.a, 0);
    assert_int_equal(call.b, 1);
    assert_near(call.probability[0], 0.009);
    assert_near(call.probability[2], 0.001);
    assert_int_equal(genotype_quality(&call), 20);
}

/* 1/2 in VCF's order 0/0 0/1 1/1 0/2 1/2 2/2: one copy of each, two of either. */
static void two_alternatives_take_the_least(void **state)
{
    (void)state;
    genotype_call call;
    const genotype_pileup images[] = {{0, 0, {0.1, 0.8, 0.1}}, {0, 1, {0.02, 0.08, 0.9}}, {1, 1, {0.2, 0.7, 0.1}}};
    genotype_merge(2, images, 3, &call);
    static const double least[] = {0.02, 0.08, 0.1, 0.08, 0.7, 0.1}; /* sum 1.08 */
    for (size_t i = 0; i < 6; i++)
        assert_near(call.probability[i], least[i] / 1.08);
    assert_int_equal(call.a, 1);
    assert_int_equal(call.b, 2);
}

static void certainty_has_bounds(void **state)
{
    (void)state;
    genotype_call call;
    const genotype_pileup sure = {0, 0, {1.0, 0.0, 0.0}}, torn = {0, 0, {1.0 / 3, 1.0 / 3, 1.0 / 3}};
    genotype_merge(1, &sure, 1, &call);
    assert_int_equal(genotype_quality(&call), GENOTYPE_QUALITY_MAX);
    genotype_merge(1, &torn, 1, &call);
    assert_int_equal(call.b, 0); /* the first among equals */
    assert_int_equal(genotype_quality(&call), 2);
}

static void lines_are_vcf(void **state)
{
    (void)state;
    base_buf text = {0};
    genotype_call call;
    char a[] = "A", ca[] = "CA", *alts[] = {a, ca};
    genotype_merge(1, &(genotype_pileup){0, 0, {0.009, 0.99, 0.001}}, 1, &call);
    genotype_write_record("chr1", 77, "G", alts, 1, &call, &text);
    genotype_merge(1, &(genotype_pileup){0, 0, {1.0, 0.0, 0.0}}, 1, &call);
    genotype_write_record("chr1", 78, "G", alts, 1, &call, &text);
    genotype_write_record("chr1", 79, "G", alts, 2, NULL, &text);
    genotype_write_record("chr1", 80, "G", NULL, 0, NULL, &text);
    base_buf_put_u8(&text, 0);
    assert_string_equal((char *)text.data, "chr1\t77\t.\tG\tA\t20.5\tPASS\t.\tGT:GQ:PL\t0/1:20:20,0,30\n"
                                           "chr1\t78\t.\tG\tA\t0.0\tRefCall\t.\tGT:GQ:PL\t0/0:99:0,990,990\n"
                                           "chr1\t79\t.\tG\tA,CA\t.\tNotDrawn\t.\tGT\t./.\n"
                                           "chr1\t80\t.\tG\t.\t.\tNotDrawn\t.\tGT\t./.\n");
    base_buf_release(&text);
}

static void the_header_lists_contigs(void **state)
{
    (void)state;
    base_buf text = {0};
    genotype_write_header("chr1\t600\t6\t60\t61\nHLA:01\t5\t1\t1\t1\nno length\n\tx\n", "palmgrove x", "S", &text);
    base_buf_put_u8(&text, 0);
    const char *written = (char *)text.data;
    assert_ptr_equal(strstr(written, "##fileformat=VCFv4.2\n##source=palmgrove x\n"), written);
    assert_non_null(strstr(written, "\n##contig=<ID=chr1,length=600>\n##contig=<ID=HLA:01,length=5>\n#"
                                    "CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS\n"));
    base_buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_become_shares),
        cmocka_unit_test(one_alternative_is_its_image),
        cmocka_unit_test(two_alternatives_take_the_least),
        cmocka_unit_test(certainty_has_bounds),
        cmocka_unit_test(lines_are_vcf),
        cmocka_unit_test(the_header_lists_contigs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
