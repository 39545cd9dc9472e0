/* cmd_bench.c - what this machine reaches of what it could: palmgrove bench.
 *
 * Order: threads placed as in service; limits and kernels over memory of their own, which is kept for measuring limits
 * again beside the model. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "tools/palmgrove/bench/bench.h"
#include "tools/palmgrove/build_info.h"
#include "tools/palmgrove/command.h"
#include "tools/palmgrove/teacher.h"
#include "worker/kernels/blas/openblas.h"
#include "worker/kernels/kern.h"
#include "worker/core_pinning.h"
#include "worker/worker.h"

#define PROMPT_MAX (1u << 20)
#define MEMORY_MAX (1u << 20) /* MiB */

typedef struct bench_values {
    const char *model, *only;
    uint32_t prompt, generate, repeat, step_tokens;
    const char *batch, *depth;
    uint32_t tp, pp, threads, memory;
    const char *weights, *importance, *activations, *products, *kv_type, *wire, *isa, *huge_pages, *json, *plot, *trace;
    bool no_pin, smt, slow_cores, quiet;
    uint32_t spare_cores;
} bench_values;

#define AT(field) offsetof(bench_values, field)

static const option_row rows[] = {
    {"model", "MODEL", OPTION_TEXT, AT(model), NULL,
     "what to load for engine and load: a checkpoint, a .gguf file, or synthetic:NAME (synthetic:llama-1b)",
     OPTION_POSITIONAL},
    {"only", "PARTS", OPTION_TEXT, AT(only), NULL,
     "of engine, kernels, collectives, load, all, those named here with commas between, or products, our kernels "
     "against OpenBLAS; without it engine and load",
     OPTION_NO_ENVIRONMENT},
    {"prompt", "N", OPTION_U32, AT(prompt), "512", "tokens of a prompt; 0: no prefill", OPTION_NO_ENVIRONMENT},
    {"generate", "N", OPTION_U32, AT(generate), "128", "tokens to decode for each sequence; 0: no decoding",
     OPTION_NO_ENVIRONMENT},
    {"batch", "LIST", OPTION_TEXT, AT(batch), "1", "numbers of sequences, such as 1,4,16", OPTION_NO_ENVIRONMENT},
    {"depth", "LIST", OPTION_TEXT, AT(depth), "0", "tokens already in the cache, such as 0,1024",
     OPTION_NO_ENVIRONMENT},
    {"repeat", "N", OPTION_U32, AT(repeat), "5", "runs of each; median and quartiles are told", OPTION_NO_ENVIRONMENT},
    {"step-tokens", "N", OPTION_U32, AT(step_tokens), "0", "tokens of one step; 0: 512, with several stages 128", 0},
    {"tp", "N", OPTION_U32, AT(tp), "0", "tensor-parallel ranks of a stage; 0: as many as fit", 0},
    {"pp", "N", OPTION_U32, AT(pp), "0", "pipeline stages; 0: what is left of the ranks", 0},
    {"threads", "N", OPTION_U32, AT(threads), "0", "threads of a rank; 0: its share of the allowed cores", 0},
    {"weights", "TYPE", OPTION_TEXT, AT(weights), "auto",
     "type of the matrices: auto (the checkpoint's own), f32, f16, bf16, int8, int4", 0},
    {"importance", "FILE", OPTION_TEXT, AT(importance), NULL, "what palmgrove calibrate measured, for better int4", 0},
    {"activations", "TYPE", OPTION_TEXT, AT(activations), "int8",
     "what weights are multiplied with: int8 (faster: 8 bits before int8 and int4 weights, bf16 before bf16 ones) or "
     "f32; docs/QUANTISATION.md has the price",
     0},
    {"products", "NAME", OPTION_TEXT, AT(products), "own",
     "who multiplies prompts and images with f32, f16 and bf16 weights: own, or openblas: answers then depend on how "
     "prompts are cut; docs/PERFORMANCE.md has the price",
     0},
    {"kv-type", "TYPE", OPTION_TEXT, AT(kv_type), "f32",
     "how keys and values are kept: f32, bf16 (half the memory) or int8 (a quarter); docs/QUANTISATION.md has the "
     "price",
     0},
    {"wire", "TYPE", OPTION_TEXT, AT(wire), "exact",
     "how sums travel between nodes: exact, or bf16: fewer bytes, but answers then depend on the layout; "
     "docs/OPERATIONS.md",
     0},
    {"isa", "NAME", OPTION_TEXT, AT(isa), "auto", "kernel set: auto, ref, avx2, avx512, avx512-bf16, neon, neon-dot",
     0},
    {"smt", NULL, OPTION_FLAG, AT(smt), NULL, "a thread for each hardware thread instead of one for each core", 0},
    {"slow-cores", NULL, OPTION_FLAG, AT(slow_cores), NULL, "use the slower cores of a hybrid processor too", 0},
    {"spare-cores", "N", OPTION_U32, AT(spare_cores), "0",
     "cores of each node left to MPI; they are taken from the node's first ranks", 0},
    {"memory", "MIB", OPTION_U32, AT(memory), "1024",
     "memory of a node that limits and kernels are measured over: several times its caches", OPTION_NO_ENVIRONMENT},
    {"huge-pages", "WHEN", OPTION_TEXT, AT(huge_pages), "auto",
     "memory in huge pages: auto (transparent ones), on (the reserved pool first), off", 0},
    {"no-pin", NULL, OPTION_FLAG, AT(no_pin), NULL, "do not bind threads and memory to cores", 0},
    {"json", "FILE", OPTION_TEXT, AT(json), NULL,
     "write the results as JSON (docs/PERFORMANCE.md has the fields); -: to stdout instead of the tables",
     OPTION_NO_ENVIRONMENT},
    {"plot", "FILE", OPTION_TEXT, AT(plot), NULL, "write an SVG picture: a roofline of the kernels, bars of the engine",
     OPTION_NO_ENVIRONMENT},
    {"trace", "FILE", OPTION_TEXT, AT(trace), NULL, "write what every rank did when, for Perfetto or chrome://tracing",
     OPTION_NO_ENVIRONMENT},
    {"quiet", NULL, OPTION_FLAG, AT(quiet), NULL, "do not tell on stderr what is being measured",
     OPTION_NO_ENVIRONMENT},
};

/* --- what to measure --- */

typedef struct parts {
    bool engine, kernels, collectives, load, products;
} parts;

static base_status add_part(const char *name, size_t size, parts *out, base_error *error)
{
    const struct {
        const char *name;
        bool *wanted;
    } known[] = {{"engine", &out->engine},
                 {"kernels", &out->kernels},
                 {"collectives", &out->collectives},
                 {"load", &out->load},
                 {"products", &out->products}};
    bool all = size == 3 && memcmp(name, "all", 3) == 0, found = all;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if ((all && known[i].wanted != &out->products) ||
            (strlen(known[i].name) == size && memcmp(known[i].name, name, size) == 0))
            found = *known[i].wanted = true;
    return found ? BASE_OK
                 : base_fail(error, BASE_EINVAL,
                             "--only: unknown part '%.*s'; known are engine, kernels, collectives, load, all, products",
                             (int)(size < 40 ? size : 40), name);
}

static base_status read_parts(const bench_values *values, parts *out, base_error *error)
{
    *out = (parts){.engine = values->only == NULL, .load = values->only == NULL};
    base_status status = BASE_OK;
    for (const char *at = values->only; status == BASE_OK && at != NULL;) {
        size_t size = strcspn(at, ",");
        status = add_part(at, size, out, error);
        at = at[size] == ',' ? at + size + 1 : NULL;
    }
    if (status == BASE_OK && (out->engine || out->load) && values->model == NULL)
        return base_fail(error, BASE_EINVAL, "which MODEL? (kernels and collectives need none: --only kernels)");
    return status;
}

/* Check what can be checked before anything takes time; the same on every rank. */
static base_status read_options(const bench_values *values, bench_engine_options *out, base_error *error)
{
    *out = (bench_engine_options){.model = values->model,
                                  .importance = values->importance,
                                  .trace = values->trace,
                                  .tp = values->tp,
                                  .pp = values->pp,
                                  .prompt = values->prompt,
                                  .generate = values->generate,
                                  .repeats = values->repeat,
                                  .step_tokens = values->step_tokens};
    if (!recipe_kind_find(values->weights, &out->recipe.kind))
        return base_fail(error, BASE_EINVAL, "unknown weights '%.40s'; known are auto, f32, f16, bf16, int8, int4",
                         values->weights);
    if (!model_activations_find(values->activations, &out->numerics.activations))
        return base_fail(error, BASE_EINVAL, "unknown activations '%.40s'; known are f32, int8", values->activations);
    if (!model_kv_type_find(values->kv_type, &out->numerics.kv))
        return base_fail(error, BASE_EINVAL, "unknown kv-type '%.40s'; known are f32, bf16, int8", values->kv_type);
    if (!model_huge_pages_find(values->huge_pages, &out->huge_pages))
        return base_fail(error, BASE_EINVAL, "unknown huge-pages '%.40s'; known are auto, on, off", values->huge_pages);
    if (values->prompt > PROMPT_MAX || values->generate > PROMPT_MAX || values->step_tokens > WORKER_STEP_TOKENS_MAX)
        return base_fail(error, BASE_EINVAL, "--prompt and --generate are at most %u, --step-tokens %u", PROMPT_MAX,
                         WORKER_STEP_TOKENS_MAX);
    if (values->memory < 1 || values->memory > MEMORY_MAX)
        return base_fail(error, BASE_EINVAL, "--memory %u: 1 to %u MiB are possible", values->memory, MEMORY_MAX);
    base_status status = bench_list_read("--batch", values->batch, 1, WORKER_SEQS_MAX, &out->batches, error);
    if (status == BASE_OK)
        status = bench_list_read("--depth", values->depth, 0, PROMPT_MAX, &out->depths, error);
    if (status == BASE_OK)
        status = kern_select(values->isa, error);
    if (status == BASE_OK)
        status = model_products_choose(values->products, &out->numerics.products, error);
    return status;
}

/* --- the machine --- */

/* "model name : AMD EPYC ..." of /proc/cpuinfo (x86); the machine's kind where there is no such line. */
static void name_cpu(char out[BENCH_TEXT], const char *otherwise)
{
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(out, BENCH_TEXT, "%.*s", (int)BENCH_TEXT - 1, otherwise);
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *value = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (value == NULL)
            continue;
        value += strspn(value, ": \t");
        snprintf(out, BENCH_TEXT, "%.*s", (int)strcspn(value, "\n"), value);
        break;
    }
    if (file != NULL)
        fclose(file);
}

static void describe_machine(const bench_values *values, const model_numerics *numerics, par_world *world,
                             const topo_plan *plan, bench_machine *out)
{
    struct utsname system = {0};
    struct tm now = {0};
    time_t seconds = time(NULL);
    char place[TOPO_TEXT_MAX];
    uname(&system);
    gmtime_r(&seconds, &now);
    topo_plan_describe(plan, !values->no_pin, place);
    *out = (bench_machine){
        .ranks = (uint32_t)par_world_size(world), .threads = topo_plan_threads(plan), .pinned = !values->no_pin};
    out->nodes = out->ranks / (uint32_t)par_world_local_size(world);
    snprintf(out->wire, sizeof out->wire, "%s", par_wire_name(par_world_wire(world)));
    strftime(out->date, sizeof out->date, "%Y-%m-%dT%H:%M:%SZ", &now);
    snprintf(out->version, sizeof out->version, "%s", BUILD_INFO_VERSION);
    snprintf(out->system, sizeof out->system, "%.60s %.60s, %s %s", system.sysname, system.release, BUILD_INFO_COMPILER,
             BUILD_INFO_TYPE);
    model_kernels_name(numerics, out->isa);
    snprintf(out->places, sizeof out->places, "%.*s", (int)sizeof out->places - 1, place);
    name_cpu(out->cpu, system.machine);
}

/* --- output --- */

static base_status write_file(const char *path, const base_buf *bytes, base_error *error)
{
    FILE *file = fopen(path, "w");
    bool ok = file != NULL && fwrite(bytes->data, 1, bytes->size, file) == bytes->size;
    if (file != NULL)
        ok &= fclose(file) == 0;
    return ok ? BASE_OK : base_fail(error, BASE_EIO, "cannot write '%s': %s", path, strerror(errno));
}

static base_status write_results(const bench_values *values, const bench_results *results, base_error *error)
{
    base_buf json = {0}, plot = {0};
    bool to_stdout = values->json != NULL && strcmp(values->json, "-") == 0;
    base_status status = bench_json(results, &json, error);
    if (status == BASE_OK && to_stdout)
        fwrite(json.data, 1, json.size, stdout);
    else if (status == BASE_OK)
        bench_print(results, stdout);
    if (status == BASE_OK && values->json != NULL && !to_stdout)
        status = write_file(values->json, &json, error);
    if (status == BASE_OK && values->plot != NULL)
        status = bench_plot(results, &plot, error);
    if (status == BASE_OK && values->plot != NULL)
        status = write_file(values->plot, &plot, error);
    base_buf_release(&json);
    base_buf_release(&plot);
    return status;
}

/* --- the whole --- */

static base_status measure_parts(bench_rank *rank, const bench_values *values, const parts *wanted,
                                 const bench_engine_options *options, bench_results *results, base_error *error)
{
    base_status status = BASE_OK;
    if (wanted->engine || wanted->kernels || wanted->products) {
        bench_say(rank, "limits ...");
        status = bench_memory_take(rank, (size_t)values->memory << 20, error);
        if (status == BASE_OK)
            bench_limits_measure(rank, &results->limits);
        results->has_limits = status == BASE_OK;
    }
    if (status == BASE_OK && wanted->kernels)
        status = bench_kernels_measure(rank, results, error);
    if (status == BASE_OK && wanted->products)
        status = bench_products_measure(rank, results, error);
    if (status == BASE_OK && wanted->collectives)
        status = bench_collectives_measure(rank, results, error);
    if (status == BASE_OK && (wanted->engine || wanted->load))
        status = bench_engine_measure(rank, options, !wanted->engine, results, error);
    bench_memory_release(rank);
    return status;
}

static base_status measure_placed(const bench_values *values, const parts *wanted, const bench_engine_options *options,
                                  par_world *world, const topo_plan *plan, base_error *error)
{
    bench_results *results = calloc(1, sizeof *results);
    bench_rank rank = {.world = world,
                       .n_threads = topo_plan_threads(plan),
                       .crowded = topo_plan_is_crowded(plan),
                       .quiet = values->quiet,
                       .huge_pages = options->huge_pages};
    base_status status = results != NULL ? team_create(rank.n_threads, rank.crowded, &rank.team, error)
                                         : base_fail(error, BASE_ENOMEM, "out of memory");
    status = par_world_agree(world, status, error);
    if (status == BASE_OK) {
        describe_machine(values, &options->numerics, world, plan, &results->machine);
        status = measure_parts(&rank, values, wanted, options, results, error);
    }
    base_status written = BASE_OK;
    if (status == BASE_OK && par_world_rank(world) == 0)
        written = write_results(values, results, error);
    if (status == BASE_OK)
        status = par_world_agree(world, written, error);
    team_destroy(&rank.team);
    if (results != NULL)
        free(results->engine);
    free(results);
    return status;
}

static base_status bench(par_world *world, void *opaque, base_error *error)
{
    const bench_values *values = opaque;
    parts wanted;
    bench_engine_options options;
    topo_machine *machine = NULL;
    topo_plan *plan = NULL;
    char remark[TOPO_TEXT_MAX];
    base_status status = read_parts(values, &wanted, error);
    if (status == BASE_OK)
        status = read_options(values, &options, error);
    if (status == BASE_OK && wanted.products) /* before any thread is started (openblas.h) */
        status = kern_openblas_open(error);
    par_wire wire = PAR_WIRE_EXACT;
    if (status == BASE_OK && !par_wire_find(values->wire, &wire))
        status = base_fail(error, BASE_EINVAL, "unknown wire '%.40s'; known are exact, bf16", values->wire);
    status = par_world_agree(world, status, error);
    if (status != BASE_OK)
        return status;
    par_world_set_wire(world, wire);
    const topo_request request = {.n_threads = values->threads,
                                  .smt = values->smt ? TOPO_SMT_ALL : TOPO_SMT_CORES,
                                  .kinds = values->slow_cores ? TOPO_KINDS_ALL : TOPO_KINDS_FAST,
                                  .spare_cores = values->spare_cores};
    status = worker_pin_cores(world, &request, !values->no_pin, &machine, &plan, remark, error);
    if (status == BASE_OK)
        status = measure_placed(values, &wanted, &options, world, plan, error);
    topo_plan_destroy(&plan);
    topo_machine_close(&machine);
    return status;
}

static int run(void *values)
{
    return teacher_main(bench, values);
}

const command command_bench = {
    "bench",
    "[MODEL] [options]",
    "measure speed and hold it against the machine's limits; under mpirun with several ranks",
    "Measure prefill and decode of a model on this machine, in tokens a second with quartiles, and say what part of "
    "the measured memory bandwidth and arithmetic peak that is. Started as\n\n"
    "    mpirun -n 2 --bind-to none palmgrove bench MODEL --batch 1,4,16 --depth 0,1024\n\n"
    "it runs the real engine with plans of its own, without a server. --only kernels measures the matrix products and "
    "attention alone, --only collectives the sums over ranks against MPI_Allreduce, --only load the loading. All ranks "
    "measure at the same time and rates are those of all of them together.",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(bench_values),
    run};
