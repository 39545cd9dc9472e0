/* cmd_shard.c - cut a model of any size into packed files, one per rank; check such files.
 *
 * Alone, or under mpirun: then every process writes its own files and rank 0 the manifest. */
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "sharding/shards/shard_write.h"
#include "tools/palmgrove/build_info.h"
#include "tools/palmgrove/command.h"
#include "tools/palmgrove/launch.h"
#include "worker/par/world.h"

typedef struct shard_values {
    const char *model, *mmproj, *output, *weights, *importance, *max_memory;
    char joined[SHARD_MODEL_NAME_BYTES]; /* model and mmproj */
    uint32_t tp, pp, threads;
    bool verify, quiet;
} shard_values;

#define AT(field) offsetof(shard_values, field)

static const option_row rows[] = {
    {"model", "MODEL", OPTION_TEXT, AT(model), NULL,
     "a Hugging Face directory, a GGUF file, synthetic:NAME[,layers=N]; with --verify alone, a directory of shards",
     OPTION_POSITIONAL | OPTION_REQUIRED},
    {"mmproj", "FILE", OPTION_TEXT, AT(mmproj), NULL,
     "the vision tower of a GGUF decoder; a directory's only *mmproj*.gguf is taken unasked", 0},
    {"output", "DIR", OPTION_TEXT, AT(output), NULL, "where the shards go; made when it is not there",
     OPTION_NO_ENVIRONMENT},
    {"tp", "N", OPTION_U32, AT(tp), "1", "tensor-parallel ranks of a stage", 0},
    {"pp", "N", OPTION_U32, AT(pp), "1", "pipeline stages", 0},
    {"weights", "TYPE", OPTION_TEXT, AT(weights), "auto", "auto (as they are), f32, f16, bf16, int8 or int4", 0},
    {"importance", "FILE", OPTION_TEXT, AT(importance), NULL,
     "what palmgrove calibrate measured, for better int8 and int4", 0},
    {"max-memory", "SIZE", OPTION_TEXT, AT(max_memory), "2GiB", "memory that a process may use: 512MiB, 2GiB ...", 0},
    {"threads", "N", OPTION_U32, AT(threads), "0",
     "threads that pack; 0: the allowed cores, shared among the processes", 0},
    {"verify", NULL, OPTION_FLAG, AT(verify), NULL,
     "read everything back and compare the checksums; without --output, that only", OPTION_NO_ENVIRONMENT},
    {"quiet", NULL, OPTION_FLAG, AT(quiet), NULL, "no progress", 0},
};

/* --- who does what --- */

/* NULL without a launcher: then this process is all there is. */
static base_status open_world(par_world **out, base_error *error)
{
    *out = NULL;
    if (getenv("OMPI_COMM_WORLD_RANK") == NULL && getenv("PMIX_RANK") == NULL)
        return BASE_OK;
    int argc = 0;
    char **argv = NULL;
    return par_world_open(&argc, &argv, out, error);
}

static base_status agree(par_world *world, base_status mine, base_error *error)
{
    return world != NULL ? par_world_agree(world, mine, error) : mine;
}

/* --- progress --- */

typedef struct progress {
    bool shown, has_terminal;
    const char *what;
    uint64_t begun_us, begun_at, shown_us;
} progress;

static void print_time(double seconds)
{
    if (seconds >= 3600)
        fprintf(stderr, "%.0f h %.0f min", (double)(long)(seconds / 3600),
                (seconds - 3600 * (double)(long)(seconds / 3600)) / 60);
    else if (seconds >= 60)
        fprintf(stderr, "%.0f min %.0f s", (double)(long)(seconds / 60), seconds - 60 * (double)(long)(seconds / 60));
    else
        fprintf(stderr, "%.0f s", seconds);
}

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    progress *p = context;
    uint64_t now = base_clock_us();
    if (p->begun_us == 0) {
        p->begun_us = p->shown_us = now;
        p->begun_at = done;
    }
    if (!p->shown || (now - p->shown_us < (p->has_terminal ? 500000u : 10000000u) && done < total))
        return;
    p->shown_us = now;
    double seconds = (double)(now - p->begun_us) / 1e6, rate = seconds > 0 ? (double)(done - p->begun_at) / seconds : 0;
    fprintf(stderr, "%s%s %.2f of %.2f GB, %.0f %%, %.0f MB/s", p->has_terminal ? "\r\033[K" : "", p->what,
            (double)done / 1e9, (double)total / 1e9, total > 0 ? 100.0 * (double)done / (double)total : 100.0,
            rate / 1e6);
    if (rate > 0 && done < total) {
        fprintf(stderr, ", ");
        print_time((double)(total - done) / rate);
        fprintf(stderr, " left");
    }
    fputs(p->has_terminal && done < total ? "" : "\n", stderr);
}

static progress progress_of(const shard_values *values, const char *what)
{
    return (progress){
        .shown = !values->quiet && launch_is_first_rank(), .has_terminal = isatty(STDERR_FILENO) != 0, .what = what};
}

static void print_note(void *context, const char *text)
{
    (void)context;
    fprintf(stderr, "palmgrove shard: %s\n", text);
}

/* --- checking --- */

static void print_fault(void *context, const char *text)
{
    progress *p = context;
    fprintf(stderr, "%s%s\n", p->shown && p->has_terminal ? "\r\033[K" : "", text);
}

static int verify(const shard_values *values, const char *dir)
{
    base_error error = {0};
    progress p = progress_of(values, "verified");
    if (shard_set_verify(dir, show_progress, print_fault, &p, &error) != BASE_OK) {
        command_complain(error.text);
        return EXIT_FAILED;
    }
    printf("%s: every checksum matches\n", dir);
    return EXIT_DONE;
}

/* --- writing --- */

/* "2GiB", "512MiB", "1000000". */
static base_status read_size(const char *text, uint64_t *out, base_error *error)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}, {"MB", 1e6}, {"GB", 1e9}};
    char *end = NULL;
    double value = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (end != text && strcmp(end, units[i].name) == 0 && value > 0 && value * units[i].bytes < 1e18) {
            *out = (uint64_t)(value * units[i].bytes);
            return BASE_OK;
        }
    return base_fail(error, BASE_EINVAL, "--max-memory '%.40s' is not a size; write 512MiB or 2GiB", text);
}

static uint32_t default_threads(const par_world *world)
{
    cpu_set_t allowed;
    int cores = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
    int processes = world != NULL ? par_world_local_size(world) : 1;
    return cores > processes ? (uint32_t)(cores / processes) : 1;
}

/* The steps that rank 0 does alone stand between agreements: nobody runs ahead of it. */
static base_status write_set(par_world *world, shard_writer *writer, base_error *error)
{
    uint32_t rank = world != NULL ? (uint32_t)par_world_rank(world) : 0,
             n = world != NULL ? (uint32_t)par_world_size(world) : 1;
    base_status status = agree(world, rank == 0 ? shard_writer_prepare(writer, error) : BASE_OK, error);
    if (status == BASE_OK)
        status = agree(world, shard_writer_run(writer, rank, n, error), error);
    if (status == BASE_OK)
        status = agree(world, rank == 0 ? shard_writer_finish(writer, error) : BASE_OK, error);
    return status;
}

static void print_plan(const shard_values *values, const shard_writer *writer)
{
    if (values->quiet || !launch_is_first_rank())
        return;
    fprintf(stderr, "%u files, %.2f GB; at most %.0f MiB of memory and %u thread%s a process\n",
            values->tp * values->pp, (double)shard_writer_bytes(writer) / 1e9,
            (double)shard_writer_memory(writer) / 1048576.0, shard_writer_threads(writer),
            shard_writer_threads(writer) == 1 ? "" : "s");
}

static base_status shard_model(const shard_values *values, par_world *world, const shard_checkpoint *from,
                               shard_recipe *recipe, base_error *error)
{
    progress p = progress_of(values, "written");
    shard_write_options options = {.dir = values->output,
                                   .tp = values->tp,
                                   .pp = values->pp,
                                   .recipe = recipe,
                                   .importance_file = values->importance,
                                   .n_threads = values->threads != 0 ? values->threads : default_threads(world),
                                   .made_by = "palmgrove " BUILD_INFO_VERSION,
                                   .note = print_note,
                                   .progress = show_progress,
                                   .context = &p};
    shard_writer *writer = NULL;
    base_status status = read_size(values->max_memory, &options.max_memory, error);
    if (status == BASE_OK)
        status = shard_writer_open(from, &options, &writer, error);
    status = agree(world, status, error);
    if (status == BASE_OK) {
        print_plan(values, writer);
        status = write_set(world, writer, error);
    }
    shard_writer_close(&writer);
    return status;
}

static base_status open_all(const shard_values *values, shard_checkpoint **from, shard_importance **importance,
                            shard_recipe *recipe, base_error *error)
{
    if (!recipe_kind_find(values->weights, &recipe->kind))
        return base_fail(error, BASE_EINVAL, "unknown type '%.40s'; --weights takes auto, f32, f16, bf16, int8 or int4",
                         values->weights);
    base_status status = shard_checkpoint_open(values->model, from, error);
    if (status == BASE_OK && values->importance != NULL)
        status = shard_importance_open(values->importance, &(*from)->a, importance, error);
    recipe->importance = *importance;
    return status;
}

static base_status shard_all(const shard_values *values, par_world *world, base_error *error)
{
    shard_checkpoint *from = NULL;
    shard_importance *importance = NULL;
    shard_recipe recipe = {0};
    base_status status = agree(world, open_all(values, &from, &importance, &recipe, error), error);
    if (status == BASE_OK)
        status = shard_model(values, world, from, &recipe, error);
    shard_importance_close(&importance);
    shard_checkpoint_close(&from);
    return status;
}

static int run(void *opaque)
{
    shard_values *values = opaque;
    values->model = shard_checkpoint_join(values->model, values->mmproj, values->joined);
    base_error error = {0};
    par_world *world = NULL;
    if (values->output == NULL && !values->verify) {
        if (launch_is_first_rank())
            command_complain(
                "--output DIR says where the shards go (or --verify that MODEL is a directory of shards to check)");
        return EXIT_USAGE;
    }
    base_status status = open_world(&world, &error);
    if (status == BASE_OK && values->output != NULL)
        status = shard_all(values, world, &error);
    int code = status == BASE_OK ? EXIT_DONE : EXIT_FAILED;
    if (launch_is_first_rank()) {
        if (status != BASE_OK)
            command_complain(error.text);
        else if (values->verify)
            code = verify(values, values->output != NULL ? values->output : values->model);
        else if (!values->quiet)
            printf("%s is ready: mpirun -n %u palmgrove serve %s --tp %u --pp %u\n", values->output,
                   values->tp * values->pp, values->output, values->tp, values->pp);
    }
    par_world_close(&world);
    return code;
}

const command command_shard = {
    "shard",
    "MODEL --output DIR [options]",
    "cut a model into packed files, one per rank",
    "Write a model of any size as packed weights, one file per rank of a layout, through bounded memory, with a "
    "manifest and the "
    "tokenizer beside them. A rank maps its file and computes from it. An interrupted run goes on where it stopped "
    "when the same command "
    "is given again; the manifest is written last, so an unfinished set is never taken for a whole one.\n\n"
    "    palmgrove shard MODEL --tp 2 --pp 4 --weights int4 --output DIR\n"
    "    palmgrove shard DIR --verify\n\n"
    "Under mpirun the processes share the files among them; --max-memory then holds for each.",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(shard_values),
    run};
