/* test_genomics_off.c - a build without htslib refuses its files by naming the option; arrays and sites are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/genomics/calls.h"
#include "coordinator/genomics/pileup.h"

static void expect_refusal(base_status status, const base_error *error)
{
    assert_int_equal(status, BASE_EUNSUPPORTED);
    assert_non_null(strstr(error->text, "PALMGROVE_GENOMICS"));
}

static void the_option_is_named(void **state)
{
    (void)state;
    pileup_source *source = NULL;
    pileup_vcf *vcf = NULL;
    calls_comparison comparison = {0};
    base_error error = {0};
    expect_refusal(pileup_open("reads.bam", "genome.fa", &source, &error), &error);
    expect_refusal(pileup_vcf_open("sites.vcf", &vcf, &error), &error);
    expect_refusal(calls_compare("calls.vcf", "truth.vcf", NULL, NULL, &comparison, &error), &error);
    assert_null(source);
    assert_null(vcf);
    pileup_close(&source);
    pileup_vcf_close(&vcf);
    calls_release(&comparison);
}

static void sites_and_arrays_are_read(void **state)
{
    (void)state;
    static uint8_t drawn[PILEUP_BYTES], again[PILEUP_BYTES];
    for (size_t i = 0; i < PILEUP_BYTES; i++)
        drawn[i] = (uint8_t)(i * 7);
    pileup_site site = {0};
    base_buf file = {0};
    base_error error = {0};
    assert_int_equal(pileup_site_parse("chr20:1000:A:G", &site, &error), BASE_OK);
    assert_int_equal(site.position, 999);
    pileup_site_release(&site);
    pileup_write_npy(drawn, &file);
    assert_int_equal(pileup_read_npy(file.data, file.size, again, &error), BASE_OK);
    assert_memory_equal(drawn, again, PILEUP_BYTES);
    base_buf_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_option_is_named),
        cmocka_unit_test(sites_and_arrays_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
