/* cmd_pileup.c - candidate variants to the pictures that a variant-calling request carries; no server, no weights.
 *
 * One site or array gives one file.  A VCF gives a folder: for each record one picture per alternative allele and,
 * where there are several, one per pair of them, as DeepVariant asks about them; pileups.tsv says which is which.
 * Records that cannot be drawn for what they are (too near to the end of a contig, no alternative allele that is a
 * sequence) are counted; records that contradict the files end the run. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/palmgrove/command.h"
#include "tools/palmgrove/pileup_options.h"

typedef struct pileup_values {
    const char *bam, *reference, *site, *vcf, *array, *output, *out_dir, *format;
    pileup_options pileup;
} pileup_values;

#define AT(field) offsetof(pileup_values, field)

static const option_row rows[] = {
    {"bam", "FILE", OPTION_TEXT, AT(bam), NULL, "sorted, indexed BAM or CRAM", OPTION_NO_ENVIRONMENT},
    {"reference", "FILE", OPTION_TEXT, AT(reference), NULL,
     "the FASTA file that the reads were aligned to, with its .fai", 0},
    {"site", "CHROM:POS:REF:ALT", OPTION_TEXT, AT(site), NULL,
     "a candidate as a VCF would write it; two alternatives as G,T: both count as support", OPTION_NO_ENVIRONMENT},
    {"vcf", "FILE", OPTION_TEXT, AT(vcf), NULL, "every record of a VCF or BCF", OPTION_NO_ENVIRONMENT},
    {"array", "FILE", OPTION_TEXT, AT(array), NULL, "instead of reads: a .npy array of uint8 [100][221][6]",
     OPTION_NO_ENVIRONMENT},
    {"output", "FILE", OPTION_TEXT, AT(output), NULL, "where the picture of --site or --array goes",
     OPTION_NO_ENVIRONMENT},
    {"out-dir", "DIR", OPTION_TEXT, AT(out_dir), NULL, "where the pictures of --vcf and their list, pileups.tsv, go",
     OPTION_NO_ENVIRONMENT},
    {"format", "FORMAT", OPTION_TEXT, AT(format), "png", "png: 224 x 224, for a model; npy: the array",
     OPTION_NO_ENVIRONMENT},
    PILEUP_ROWS(pileup_values),
};

typedef struct pileup_run {
    const pileup_values *values;
    pileup_rules rules;
    pileup_layout layout;
    bool as_array;
    pileup_source *source;
    FILE *list; /* pileups.tsv */
    unsigned long long n_records, n_pictures, n_undrawn;
    base_error first_undrawn;
    uint8_t pileup[PILEUP_BYTES];
} pileup_run;

/* ---- files ---- */

static base_status write_file(const char *path, const base_buf *bytes, base_error *error)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return base_fail(error, BASE_EIO, "cannot write '%s': %s", path, strerror(errno));
    bool good = fwrite(bytes->data, 1, bytes->size, file) == bytes->size;
    good = fclose(file) == 0 && good;
    return good ? BASE_OK : base_fail(error, BASE_EIO, "cannot write '%s': %s", path, strerror(errno));
}

static base_status encode(const pileup_run *run, base_buf *out, base_error *error)
{
    if (run->as_array) {
        pileup_write_npy(run->pileup, out);
        return out->failed ? base_fail(error, BASE_ENOMEM, "no memory for an array") : BASE_OK;
    }
    return pileup_to_png(run->pileup, &run->layout, out, error);
}

static base_status save(const pileup_run *run, const char *path, base_error *error)
{
    base_buf bytes = {0};
    base_status status = encode(run, &bytes, error);
    if (status == BASE_OK)
        status = write_file(path, &bytes, error);
    base_buf_release(&bytes);
    return status;
}

/* ---- one array, one site ---- */

static base_status read_array(pileup_run *run, base_error *error)
{
    enum { FILE_MAX = PILEUP_BYTES + 4096 };
    const char *path = run->values->array;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return base_fail(error, BASE_EIO, "cannot open '%s': %s", path, strerror(errno));
    uint8_t *bytes = malloc(FILE_MAX);
    size_t size = bytes == NULL ? 0 : fread(bytes, 1, FILE_MAX, file);
    base_status status = bytes == NULL ? base_fail(error, BASE_ENOMEM, "no memory for '%s'", path)
                                       : pileup_read_npy(bytes, size, run->pileup, error);
    if (bytes != NULL)
        base_error_prefix(error, "'%s': ", path);
    free(bytes);
    fclose(file);
    return status;
}

static base_status draw_site(pileup_run *run, base_error *error)
{
    pileup_site site = {0};
    base_status status = pileup_site_parse(run->values->site, &site, error);
    if (status == BASE_OK && site.n_alts > 2)
        status = base_fail(error, BASE_EINVAL,
                           "a picture shows the support of one or two alternative alleles, not of %zu", site.n_alts);
    if (status == BASE_OK)
        status = pileup_draw(run->source, &site, 0, site.n_alts - 1, &run->rules, run->pileup, error);
    pileup_site_release(&site);
    return status;
}

/* ---- a VCF ---- */

enum { NAME_MAX_BYTES = 128, PATH_MAX_BYTES = 4096 };

/* "000001-chr20-1000-1.png", or "-1-2" for a pair of alternatives; a contig may hold any character, a name may not. */
static void name_picture(const pileup_run *run, const pileup_site *site, size_t first, size_t second,
                         char out[NAME_MAX_BYTES])
{
    char contig[33], pair[24] = "";
    snprintf(contig, sizeof contig, "%s", site->contig);
    for (char *c = contig; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '.')
            *c = '_';
    if (second != first)
        snprintf(pair, sizeof pair, "-%zu", second + 1);
    snprintf(out, NAME_MAX_BYTES, "%06llu-%s-%lld-%zu%s.%s", run->n_records, contig, (long long)site->position + 1,
             first + 1, pair, run->as_array ? "npy" : "png");
}

static base_status draw_alternatives(pileup_run *run, const pileup_site *site, size_t first, size_t second,
                                     base_error *error)
{
    char name[NAME_MAX_BYTES], path[PATH_MAX_BYTES];
    name_picture(run, site, first, second, name);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", run->values->out_dir, name) >= sizeof path)
        return base_fail(error, BASE_ETOOBIG, "the path '%.80s...' is too long", path);
    base_status status = pileup_draw(run->source, site, first, second, &run->rules, run->pileup, error);
    if (status == BASE_OK)
        status = save(run, path, error);
    if (status != BASE_OK)
        return status;
    run->n_pictures++;
    fprintf(run->list, "%s\t%s\t%lld\t%s\t%s", name, site->contig, (long long)site->position + 1, site->ref,
            site->alts[first]);
    fprintf(run->list, second != first ? ",%s\n" : "\n", site->alts[second]);
    return BASE_OK;
}

static base_status draw_record(pileup_run *run, const pileup_site *site, base_error *error)
{
    base_status status = BASE_OK;
    for (size_t i = 0; status == BASE_OK && i < (site->n_alts == 0 ? 1 : site->n_alts); i++)
        status = draw_alternatives(run, site, i, i, error);
    for (size_t i = 0; status == BASE_OK && i < site->n_alts; i++)
        for (size_t j = i + 1; status == BASE_OK && j < site->n_alts; j++)
            status = draw_alternatives(run, site, i, j, error);
    if (status != BASE_EUNSUPPORTED)
        return status;
    if (run->n_undrawn++ == 0)
        run->first_undrawn = *error;
    *error = (base_error){0};
    return BASE_OK;
}

static base_status draw_records(pileup_run *run, pileup_vcf *vcf, base_error *error)
{
    for (;;) {
        pileup_site site = {0};
        bool more = false;
        base_status status = pileup_vcf_next(vcf, &site, &more, error);
        if (status != BASE_OK || !more)
            return status;
        run->n_records++;
        status = draw_record(run, &site, error);
        pileup_site_release(&site);
        if (status != BASE_OK)
            return status;
    }
}

static base_status open_list(pileup_run *run, base_error *error)
{
    char path[PATH_MAX_BYTES];
    const char *dir = run->values->out_dir;
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return base_fail(error, BASE_EIO, "cannot make the folder '%s': %s", dir, strerror(errno));
    if ((size_t)snprintf(path, sizeof path, "%s/pileups.tsv", dir) >= sizeof path)
        return base_fail(error, BASE_ETOOBIG, "the path '%.80s...' is too long", path);
    run->list = fopen(path, "w");
    if (run->list == NULL)
        return base_fail(error, BASE_EIO, "cannot write '%s': %s", path, strerror(errno));
    fputs("file\tchrom\tpos\tref\talt\n", run->list);
    return BASE_OK;
}

static base_status draw_vcf(pileup_run *run, base_error *error)
{
    pileup_vcf *vcf = NULL;
    base_status status = pileup_vcf_open(run->values->vcf, &vcf, error);
    if (status == BASE_OK)
        status = open_list(run, error);
    if (status == BASE_OK)
        status = draw_records(run, vcf, error);
    pileup_vcf_close(&vcf);
    if (run->list != NULL && (ferror(run->list) | fclose(run->list)) != 0 && status == BASE_OK)
        status = base_fail(error, BASE_EIO, "cannot write the list in '%s'", run->values->out_dir);
    if (status == BASE_OK)
        printf("%llu pictures of %llu records\n", run->n_pictures, run->n_records);
    if (status == BASE_OK && run->n_undrawn > 0)
        fprintf(stderr, "palmgrove: warning: %llu records were not drawn; the first: %s\n", run->n_undrawn,
                run->first_undrawn.text);
    return status;
}

/* ---- the command line ---- */

static const char *problem_of(const pileup_values *v)
{
    int n_inputs = (v->site != NULL) + (v->vcf != NULL) + (v->array != NULL);
    if (n_inputs != 1)
        return "give one of --site, --vcf and --array";
    if (v->array == NULL && (v->bam == NULL || v->reference == NULL))
        return "--site and --vcf need --bam and --reference";
    if (v->vcf != NULL ? v->out_dir == NULL : v->output == NULL)
        return v->vcf != NULL ? "--vcf needs --out-dir" : "--site and --array need --output";
    return NULL;
}

static const char *read_choices(pileup_run *run)
{
    run->as_array = strcmp(run->values->format, "npy") == 0;
    if (!run->as_array && strcmp(run->values->format, "png") != 0)
        return "--format is png or npy";
    return pileup_options_read(&run->values->pileup, &run->rules, &run->layout);
}

static base_status work(pileup_run *run, base_error *error)
{
    const pileup_values *v = run->values;
    base_status status =
        v->array != NULL ? read_array(run, error) : pileup_open(v->bam, v->reference, &run->source, error);
    if (status == BASE_OK && v->vcf != NULL)
        return draw_vcf(run, error);
    if (status == BASE_OK && v->site != NULL)
        status = draw_site(run, error);
    return status == BASE_OK ? save(run, v->output, error) : status;
}

static int run_pileup(void *opaque)
{
    const pileup_values *v = opaque;
    pileup_run run = {.values = v};
    const char *problem = problem_of(v);
    if (problem == NULL)
        problem = read_choices(&run);
    if (problem != NULL) {
        command_complain(problem);
        return EXIT_USAGE;
    }
    base_error error = {0};
    base_status status = work(&run, &error);
    pileup_close(&run.source);
    if (status != BASE_OK)
        command_complain(error.text);
    return status == BASE_OK ? EXIT_DONE : EXIT_FAILED;
}

const command command_pileup = {
    "pileup",
    "--bam FILE --reference FILE --site CHROM:POS:REF:ALT --output FILE [options]",
    "reads around a candidate variant as a picture",
    "Draw the reads around a candidate variant as DeepVariant does (100 x 221 x 6) and lay them out as the "
    "picture of 224 x 224 pixels that a variant-calling request carries. With --vcf and --out-dir, do so for "
    "every record. docs/GENOMICS.md says what is drawn.",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(pileup_values),
    run_pileup};
