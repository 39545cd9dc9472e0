/* cmd_variants.c - genotypes of candidate variants: a picture of the reads around each site (coordinator/genomics), the
 * likelihood of the answers "0", "1" and "2" copies after it, and a VCF.
 *
 * Workers with a connection and open files of their own take the sites in the order of the input VCF.  Their lines wait
 * in a ring, each in the place of its site, until all before them are written: the output has the order of the input,
 * however many are in flight.
 *
 *     sites:   written ... | next_write ... next_read |
 *     ring:    lines[site % RING]; a worker that is RING ahead of the first unwritten site waits
 *
 * The output is written beside its place and renamed at the end, so that a run that broke off leaves no half of a VCF.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/file.h"
#include "tools/palmgrove/console_task.h"
#include "coordinator/genomics/genotype.h"
#include "tools/palmgrove/pileup_options.h"

enum { WORKERS_MAX = 64, RING = 256, PATH_BYTES_MAX = 4096, FAI_BYTES_MAX = 64 << 20, N_COPIES = 3 };

typedef struct variants_values {
    console_values client;
    console_task_values task;
    pileup_options pileup;
    const char *bam, *reference, *vcf, *output, *sample, *answer_begin;
    uint32_t in_flight;
    bool quiet;
} variants_values;

#define AT(field) offsetof(variants_values, field)

static const option_row rows[] = {
    {"bam", "FILE", OPTION_TEXT, AT(bam), NULL, "sorted, indexed BAM or CRAM", OPTION_REQUIRED | OPTION_NO_ENVIRONMENT},
    {"reference", "FILE", OPTION_TEXT, AT(reference), NULL,
     "the FASTA file that the reads were aligned to, with its .fai", OPTION_REQUIRED},
    {"vcf", "FILE", OPTION_TEXT, AT(vcf), NULL, "the candidates, VCF or BCF; their genotypes are not read",
     OPTION_REQUIRED | OPTION_NO_ENVIRONMENT},
    {"output", "FILE", OPTION_TEXT, AT(output), NULL, "the VCF to write; otherwise standard output",
     OPTION_NO_ENVIRONMENT},
    {"sample", "NAME", OPTION_TEXT, AT(sample), "SAMPLE", "the sample's name in the VCF", OPTION_NO_ENVIRONMENT},
    {"in-flight", "N", OPTION_U32, AT(in_flight), "8", "sites that are asked about at the same time, 1 to 64", 0},
    {"answer-begin", "TEXT", OPTION_TEXT, AT(answer_begin), "",
     "what stands in front of an answer; a blank for models whose tokens carry the one in front of a word", 0},
    {"quiet", NULL, OPTION_FLAG, AT(quiet), NULL, "no counts at the end", OPTION_NO_ENVIRONMENT},
    CONSOLE_TASK_ROWS(variants_values, "precisionfda-variant-calling"),
    PILEUP_ROWS(variants_values),
    CONSOLE_ROWS(variants_values),
};

typedef struct line {
    base_buf text;
    bool is_done;
} line;

typedef struct variants_run {
    const variants_values *values;
    console_task asked;
    pileup_rules rules;
    pileup_layout layout;
    FILE *out;
    char part[PATH_BYTES_MAX]; /* where the output is until it is whole; "": standard output */

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t moved;
    pileup_vcf *vcf;
    line lines[RING];
    uint64_t next_read, next_write;
    uint64_t n_ref, n_het, n_alt, n_undrawn;
    bool at_end, stopped;
    int code;
} variants_run;

typedef struct worker {
    variants_run *run;
    pthread_t thread;
    pg_client *client;
    pileup_source *source;
    uint8_t pileup[PILEUP_BYTES];
} worker;

/* The first failure ends the run; later ones are its echo. */
static void stop(variants_run *run, int code, const char *text)
{
    pthread_mutex_lock(&run->lock);
    if (!run->stopped && text != NULL)
        command_complain(text);
    if (!run->stopped)
        run->code = code;
    run->stopped = true;
    pthread_cond_broadcast(&run->moved);
    pthread_mutex_unlock(&run->lock);
}

/* ---- one picture ---- */

static base_status encode_picture(worker *w, const pileup_site *site, size_t first, size_t second, base_buf *png,
                                  base_error *error)
{
    base_status status = pileup_draw(w->source, site, first, second, &w->run->rules, w->pileup, error);
    return status == BASE_OK ? pileup_to_png(w->pileup, &w->run->layout, png, error) : status;
}

static bool score(worker *w, pg_request *request, size_t i, double *out)
{
    ask_task asked = console_task_asked(&w->run->asked);
    pg_result *result = NULL;
    pg_error error = {.status = PG_ENOMEM, .text = "out of memory"};
    pg_status status = PG_ENOMEM;
    if (ask_score_class(&asked, i, w->run->values->answer_begin, request))
        status = pg_client_generate(w->client, request, NULL, NULL, &result, &error);
    if (status != PG_OK) {
        int code = console_fail(&w->run->values->client, &error);
        stop(w->run, code, NULL);
        return false;
    }
    *out = ask_score(result);
    pg_result_destroy(&result);
    return true;
}

/* Ask about one picture.  False: the run was stopped. */
static bool judge(worker *w, const base_buf *png, genotype_pileup *picture)
{
    double scores[N_COPIES] = {0};
    pg_request *request = pg_request_create();
    bool good = request != NULL;
    if (!good)
        stop(w->run, EXIT_FAILED, "out of memory");
    if (good) {
        console_task_add(&w->run->asked, NULL, 0, request);
        pg_request_add_image(request, png->data, png->size);
    }
    for (size_t i = 0; good && i < N_COPIES; i++)
        good = score(w, request, i, &scores[i]);
    pg_request_destroy(&request);
    if (good)
        genotype_copies(scores, picture->copies);
    return good;
}

/* ---- one site ---- */

/* Draw and judge one picture after the other.  BASE_EUNSUPPORTED: the site cannot be drawn; BASE_ECANCELED: the run was
 * stopped.
 */
static base_status judge_pictures(worker *w, const pileup_site *site, genotype_pileup *pictures, size_t *n,
                                  base_error *error)
{
    for (size_t first = 0; first < site->n_alts; first++)
        for (size_t second = first; second < site->n_alts; second++) {
            base_buf png = {0};
            base_status status = encode_picture(w, site, first, second, &png, error);
            pictures[*n] = (genotype_pileup){.first = first, .second = second};
            bool judged = status == BASE_OK && judge(w, &png, &pictures[*n]);
            base_buf_release(&png);
            if (status != BASE_OK)
                return status;
            if (!judged)
                return BASE_ECANCELED;
            ++*n;
        }
    return BASE_OK;
}

static void count(variants_run *run, const genotype_call *call)
{
    pthread_mutex_lock(&run->lock);
    run->n_undrawn += call == NULL;
    run->n_ref += call != NULL && call->b == 0;
    run->n_het += call != NULL && call->b > 0 && call->a != call->b;
    run->n_alt += call != NULL && call->b > 0 && call->a == call->b;
    pthread_mutex_unlock(&run->lock);
}

/* The line of a site into `out`.  False: the run was stopped. */
static bool call_site(worker *w, const pileup_site *site, base_buf *out)
{
    genotype_pileup pictures[GENOTYPE_PILEUPS_MAX];
    genotype_call call;
    size_t n = 0;
    base_error error = {0};
    base_status status = site->n_alts == 0 || site->n_alts > GENOTYPE_ALTS_MAX
                             ? BASE_EUNSUPPORTED
                             : judge_pictures(w, site, pictures, &n, &error);
    bool drawn = status == BASE_OK;
    if (!drawn && status != BASE_EUNSUPPORTED) {
        if (status != BASE_ECANCELED)
            stop(w->run, EXIT_FAILED, error.text);
        return false;
    }
    if (drawn)
        genotype_merge(site->n_alts, pictures, n, &call);
    count(w->run, drawn ? &call : NULL);
    genotype_write_record(site->contig, site->position + 1, site->ref, site->alts, site->n_alts, drawn ? &call : NULL,
                          out);
    if (out->failed)
        stop(w->run, EXIT_FAILED, "out of memory");
    return !out->failed;
}

/* ---- the order of sites ---- */

/* Take the next site and its number.  False: there is none, or the run was stopped. */
static bool take_site(variants_run *run, pileup_site *site, uint64_t *number)
{
    base_error error = {0};
    bool more = false;
    pthread_mutex_lock(&run->lock);
    while (!run->stopped && !run->at_end && run->next_read - run->next_write >= RING)
        pthread_cond_wait(&run->moved, &run->lock);
    base_status status = BASE_OK;
    if (!run->stopped && !run->at_end)
        status = pileup_vcf_next(run->vcf, site, &more, &error);
    if (more)
        *number = run->next_read++;
    else
        run->at_end = true;
    pthread_mutex_unlock(&run->lock);
    if (status != BASE_OK)
        stop(run, EXIT_FAILED, error.text);
    return more;
}

/* Put a line into its place and write what is whole from the first on. */
static bool give_line(variants_run *run, uint64_t number, base_buf *text)
{
    bool good = true;
    pthread_mutex_lock(&run->lock);
    run->lines[number % RING] = (line){.text = *text, .is_done = true};
    *text = (base_buf){0};
    for (line *first; good && (first = &run->lines[run->next_write % RING])->is_done; run->next_write++) {
        good = fwrite(first->text.data, 1, first->text.size, run->out) == first->text.size;
        base_buf_release(&first->text);
        first->is_done = false;
    }
    pthread_cond_broadcast(&run->moved);
    pthread_mutex_unlock(&run->lock);
    if (!good)
        stop(run, EXIT_FAILED, "cannot write the VCF");
    return good;
}

static void *work(void *opaque)
{
    worker *w = opaque;
    for (bool good = true; good;) {
        pileup_site site = {0};
        base_buf text = {0};
        uint64_t number = 0;
        if (console_is_interrupted())
            stop(w->run, EXIT_INTERRUPTED, NULL);
        if (!take_site(w->run, &site, &number))
            break;
        good = call_site(w, &site, &text) && give_line(w->run, number, &text);
        base_buf_release(&text);
        pileup_site_release(&site);
    }
    return NULL;
}

/* ---- before and after ---- */

static base_status read_fai(const char *reference, base_buf *out, base_error *error)
{
    char path[PATH_BYTES_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s.fai", reference) >= sizeof path)
        return base_fail(error, BASE_ETOOBIG, "the path of the reference is too long");
    base_status status = base_file_read(path, FAI_BYTES_MAX, out, error);
    if (status == BASE_ENOTFOUND)
        return base_fail(error, status, "there is no '%.200s'; make it with `samtools faidx`", path);
    base_buf_put_u8(out, 0);
    return status == BASE_OK && out->failed ? base_fail(error, BASE_ENOMEM, "out of memory for '%.200s'", path)
                                            : status;
}

static base_status open_output(variants_run *run, base_error *error)
{
    const char *output = run->values->output;
    run->out = stdout;
    if (output == NULL)
        return BASE_OK;
    if ((size_t)snprintf(run->part, sizeof run->part, "%s.part", output) >= sizeof run->part)
        return base_fail(error, BASE_ETOOBIG, "the path of the output is too long");
    run->out = fopen(run->part, "wb");
    return run->out != NULL ? BASE_OK
                            : base_fail(error, BASE_EIO, "cannot write '%.200s': %s", run->part, strerror(errno));
}

static base_status write_header(variants_run *run, base_error *error)
{
    base_buf contigs = {0}, header = {0};
    char source[64];
    snprintf(source, sizeof source, "palmgrove %s", pg_version());
    base_status status = read_fai(run->values->reference, &contigs, error);
    if (status == BASE_OK) {
        genotype_write_header((const char *)contigs.data, source, run->values->sample, &header);
        if (header.failed || fwrite(header.data, 1, header.size, run->out) != header.size)
            status = base_fail(error, BASE_EIO, "cannot write the VCF");
    }
    base_buf_release(&contigs);
    base_buf_release(&header);
    return status;
}

static base_status open_files(variants_run *run, worker *workers, base_error *error)
{
    const variants_values *v = run->values;
    base_status status = pileup_vcf_open(v->vcf, &run->vcf, error);
    for (uint32_t i = 0; status == BASE_OK && i < v->in_flight; i++)
        status = pileup_open(v->bam, v->reference, &workers[i].source, error);
    if (status == BASE_OK)
        status = open_output(run, error);
    return status == BASE_OK ? write_header(run, error) : status;
}

/* The first worker's connection is the one that Ctrl-C cancels; the others end with their site. */
static bool open_clients(variants_run *run, worker *workers)
{
    const console_values *client = &run->values->client;
    workers[0].client = console_open(client);
    bool good = workers[0].client != NULL;
    for (uint32_t i = 1; good && i < run->values->in_flight; i++) {
        pg_error error = {0};
        good = pg_client_open(client->endpoint, client->timeout_ms, &workers[i].client, &error) == PG_OK;
        if (!good)
            command_complain(error.text);
    }
    return good;
}

static void run_workers(variants_run *run, worker *workers)
{
    uint32_t n = 0;
    for (; n < run->values->in_flight; n++) {
        workers[n].run = run;
        if (pthread_create(&workers[n].thread, NULL, work, &workers[n]) != 0) {
            stop(run, EXIT_FAILED, "cannot start a thread");
            break;
        }
    }
    while (n > 0)
        pthread_join(workers[--n].thread, NULL);
}

/* Make the output whole, or take it away. */
static int close_output(variants_run *run, int code)
{
    bool good = run->out == NULL || fflush(run->out) == 0;
    if (run->out != NULL && run->out != stdout)
        good = fclose(run->out) == 0 && good;
    if (code == EXIT_DONE && good && run->part[0] != '\0')
        good = rename(run->part, run->values->output) == 0;
    else if (run->part[0] != '\0')
        unlink(run->part);
    if (code == EXIT_DONE && !good)
        command_complain("cannot write the VCF");
    return good ? code : EXIT_FAILED;
}

static void release(variants_run *run, worker *workers)
{
    for (uint32_t i = 0; i < run->values->in_flight; i++) {
        pileup_close(&workers[i].source);
        if (i > 0)
            pg_client_close(&workers[i].client);
    }
    console_close(&workers[0].client);
    for (size_t i = 0; i < RING; i++)
        base_buf_release(&run->lines[i].text);
    pileup_vcf_close(&run->vcf);
}

static int call_all(variants_run *run, worker *workers)
{
    base_error error = {0};
    uint64_t began_us = base_clock_us();
    if (open_files(run, workers, &error) != BASE_OK) {
        command_complain(error.text);
        return EXIT_FAILED;
    }
    if (!open_clients(run, workers))
        return EXIT_FAILED;
    run_workers(run, workers);
    if (run->code == EXIT_DONE && !run->values->quiet)
        fprintf(stderr, "%llu sites in %.1f s: %llu reference, %llu heterozygous, %llu homozygous, %llu not drawn\n",
                (unsigned long long)run->next_write, (double)(base_clock_us() - began_us) / 1e6,
                (unsigned long long)run->n_ref, (unsigned long long)run->n_het, (unsigned long long)run->n_alt,
                (unsigned long long)run->n_undrawn);
    return run->code;
}

static int call_variants(variants_run *run)
{
    worker *workers = calloc(run->values->in_flight, sizeof *workers);
    if (workers == NULL) {
        command_complain("out of memory");
        return EXIT_FAILED;
    }
    pthread_mutex_init(&run->lock, NULL);
    pthread_cond_init(&run->moved, NULL);
    int code = close_output(run, call_all(run, workers));
    release(run, workers);
    pthread_cond_destroy(&run->moved);
    pthread_mutex_destroy(&run->lock);
    free(workers);
    return code;
}

/* ---- the command line ---- */

static int check(variants_run *run)
{
    const variants_values *v = run->values;
    const char *problem = pileup_options_read(&v->pileup, &run->rules, &run->layout);
    if (problem == NULL && (v->in_flight == 0 || v->in_flight > WORKERS_MAX))
        problem = "--in-flight is 1 to 64";
    if (problem == NULL && (v->sample[0] == '\0' || strpbrk(v->sample, "\t\n\r") != NULL))
        problem = "--sample is a name without tabs and line breaks";
    if (problem == NULL && run->asked.task->answer.form != TASK_ANSWER_GENOTYPE)
        problem = "the answer of --task is no genotype";
    if (problem == NULL)
        return console_task_check(&run->asked, 1);
    command_complain(problem);
    return EXIT_USAGE;
}

static int run_variants(void *opaque)
{
    variants_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        command_complain("out of memory");
        return EXIT_FAILED;
    }
    run->values = opaque;
    int code = console_task_open(&run->values->task, NULL, 0, &run->asked);
    if (code == EXIT_DONE)
        code = check(run);
    if (code == EXIT_DONE)
        code = call_variants(run);
    console_task_release(&run->asked);
    free(run);
    return code;
}

const command command_variants = {"variants",
                                  "--bam FILE --reference FILE --vcf FILE [options]",
                                  "genotypes of candidate variants, as a VCF",
                                  "Draw the reads around each candidate (docs/GENOMICS.md), ask a server how many "
                                  "copies of the variant they show, and write a "
                                  "VCF:\n\n"
                                  "    palmgrove variants --bam hg002.bam --reference grch38.fa --vcf "
                                  "candidates.vcf.gz --output called.vcf --sample HG002\n\n"
                                  "GT is the likeliest genotype, GQ how sure the model is, PL the likelihood of each: "
                                  "the answers of 0, 1 and 2 copies are "
                                  "scored after the picture. Sites "
                                  "with several alternative alleles are asked about by each and by each pair. The "
                                  "output has the order of the input. Sites "
                                  "that cannot be drawn, or have "
                                  "more than 4 alternatives, keep their line without a genotype.",
                                  {rows, sizeof rows / sizeof rows[0]},
                                  sizeof(variants_values),
                                  run_variants};
