/* cmd_serve.c - one rank of a serving cluster; rank 0 is the front as well.
 *
 * Every rank runs this same function.  The order matters:
 *     1. the stop signals are blocked before MPI or anything else starts a thread, so that only the signal thread of
 * rank 0 ever sees them; the other ranks leave when rank 0's coordinator says stop
 *     2. MPI starts; all ranks can now agree on a failure
 *     3. rank 0 starts the coordinator: tokenizer read, endpoints bound; all ranks learn how it went
 *     4. worker_run on the main thread of every rank, until the coordinator says stop
 *     5. rank 0 ends the coordinator, all ranks stop MPI
 * The worker of rank 0 and the coordinator meet at an inproc endpoint of one ZeroMQ context. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "coordinator/coordinator.h"
#include "proto/base/log.h"
#include "sharding/checkpoint.h"
#include "tools/palmgrove/command.h"
#include "tools/palmgrove/launch.h"
#include "worker/worker.h"

#define LINK_ENDPOINT "inproc://palmgrove-link"

typedef struct serve_values {
    const char *model, *mmproj;
    char joined[SHARD_MODEL_NAME_BYTES]; /* both */
    option_list endpoints;
    uint32_t tp, pp, threads;
    uint32_t max_seqs, context, kv_tokens, step_tokens, image_slots;
    uint32_t queue, plans, intake_threads;
    uint32_t message_bytes;
    uint64_t image_pixels;
    const char *task_dir, *chat, *weights, *importance, *activations, *products, *kv_type, *wire, *isa, *log_level,
        *trace;
    bool insecure, log_content, no_pin, smt, slow_cores;
    uint32_t spare_cores;
    const char *huge_pages;
    const char *prefix_cache, *speculate, *draft, *draft_weights;
} serve_values;

#define AT(field) offsetof(serve_values, field)

static const option_row rows[] = {
    {"model", "MODEL", OPTION_TEXT, AT(model), NULL, "directory of the checkpoint",
     OPTION_POSITIONAL | OPTION_REQUIRED},
    {"mmproj", "FILE", OPTION_TEXT, AT(mmproj), NULL,
     "the vision tower of a GGUF decoder; a directory's only *mmproj*.gguf is taken unasked", 0},
    {"tp", "N", OPTION_U32, AT(tp), "0", "tensor-parallel ranks of a stage; 0: as many as fit", 0},
    {"pp", "N", OPTION_U32, AT(pp), "0", "pipeline stages; 0: what is left of the ranks", 0},
    {"threads", "N", OPTION_U32, AT(threads), "0", "threads of a rank; 0: its share of the allowed cores", 0},
    {"endpoint", "ADDRESS", OPTION_LIST, AT(endpoints), COMMAND_ENDPOINT,
     "where clients connect: tcp://ADDRESS:PORT or ipc:///PATH", 0},
    {"max-seqs", "N", OPTION_U32, AT(max_seqs), "16", "requests that run at the same time", 0},
    {"context", "N", OPTION_U32, AT(context), "0",
     "tokens of one sequence at most, prompt and answer; 0: what the model allows", 0},
    {"kv-tokens", "N", OPTION_U32, AT(kv_tokens), "0",
     "tokens that the key/value cache holds; 0: enough for max-seqs full contexts", 0},
    {"step-tokens", "N", OPTION_U32, AT(step_tokens), "512",
     "tokens of one step: larger serves more at once, smaller answers sooner", 0},
    {"image-slots", "N", OPTION_U32, AT(image_slots), "32", "encoded images kept at the same time", 0},
    {"queue", "N", OPTION_U32, AT(queue), "256", "requests that may wait; further ones are refused as busy", 0},
    {"plans", "N", OPTION_U32, AT(plans), "0", "steps under way at the same time; 0: stages + 1", 0},
    {"prefix-cache", "WHEN", OPTION_TEXT, AT(prefix_cache), "on",
     "keep what was computed for a prompt, for others that begin alike: on, off; answers are the same", 0},
    {"speculate", "TOKENS", OPTION_TEXT, AT(speculate), "auto",
     "guess tokens ahead and verify them in one step: auto (as many as pay), off, or so many at most; answers are the "
     "same",
     0},
    {"draft", "MODEL", OPTION_TEXT, AT(draft), NULL,
     "a small model with the same vocabulary that guesses for --speculate where looking up finds less; it takes memory "
     "of the ranks of stage 0",
     0},
    {"draft-weights", "TYPE", OPTION_TEXT, AT(draft_weights), "auto", "type of its matrices, as --weights", 0},
    {"intake-threads", "N", OPTION_U32, AT(intake_threads), "1", "threads that decode images and text of requests", 0},
    {"message-bytes", "N", OPTION_U32, AT(message_bytes), "33554432", "largest request", 0},
    {"image-pixels", "N", OPTION_U64, AT(image_pixels), "67108864", "largest image", 0},
    {"task-dir", "DIR", OPTION_TEXT, AT(task_dir), NULL,
     "a directory of the site's own task files, beside the built-in ones", 0},
    {"chat", "NAME", OPTION_TEXT, AT(chat), "auto",
     "chat template: auto (the model's own), chatml, llama3, gemma, mistral, mistral-v3, llama2, none", 0},
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
    {"insecure", NULL, OPTION_FLAG, AT(insecure), NULL, "allow an endpoint that other machines can reach, unencrypted",
     0},
    {"log-content", NULL, OPTION_FLAG, AT(log_content), NULL,
     "allow prompts and replies in the log (they may be patient data)", 0},
    {"log-level", "LEVEL", OPTION_TEXT, AT(log_level), "info", "error, warn, info or debug", 0},
    {"smt", NULL, OPTION_FLAG, AT(smt), NULL, "a thread for each hardware thread instead of one for each core", 0},
    {"slow-cores", NULL, OPTION_FLAG, AT(slow_cores), NULL, "use the slower cores of a hybrid processor too", 0},
    {"spare-cores", "N", OPTION_U32, AT(spare_cores), "0",
     "cores of each node left to the coordinator and to MPI; they are taken from the node's first ranks", 0},
    {"huge-pages", "WHEN", OPTION_TEXT, AT(huge_pages), "auto",
     "memory in huge pages: auto (transparent ones), on (the reserved pool first), off", 0},
    {"trace", "FILE", OPTION_TEXT, AT(trace), NULL,
     "at the end write what every rank did when, for Perfetto or chrome://tracing, and log where each rank's time went",
     0},
    {"no-pin", NULL, OPTION_FLAG, AT(no_pin), NULL, "do not bind threads and memory to cores", 0},
};

static void print_ready(void *context, const char *line)
{
    (void)context;
    printf("%s\n", line);
    fflush(stdout);
}

/* Check what can be checked without MPI: the same on every rank. */
static base_status set_log_level(const char *name, base_error *error)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) {
            base_log_set_level((base_log_level)i);
            return BASE_OK;
        }
    return base_fail(error, BASE_EINVAL, "unknown log level '%s'; known are error, warn, info, debug", name);
}

/* ---- the front, on rank 0 ---- */

typedef struct front {
    void *zmq;
    coord *coordinator;
    pthread_t signals;
    bool has_signals;
    launch_ranks ranks; /* the others of this node */
    atomic_bool ended;
} front;

/* Wait for requests to stop: the first drains, a second one cancels.  mpirun sends the same signals when a rank died.
 */
static void *signal_thread(void *opaque)
{
    front *f = opaque;
    sigset_t signals;
    launch_stop_signals(&signals);
    bool now = false;
    while (!atomic_load(&f->ended)) {
        siginfo_t info;
        if (sigwaitinfo(&signals, &info) < 0 || atomic_load(&f->ended) || !launch_is_stop(&info))
            continue;
        if (launch_is_under_mpirun() && launch_ranks_have_died(&f->ranks)) {
            coord_replica_lost(f->coordinator, "a rank of the model died, and mpirun ends the job");
            coord_drain(f->coordinator, false);
            continue;
        }
        base_log_info(now ? "asked again to stop: canceling what still runs"
                          : "asked to stop: no new requests, finishing the admitted ones");
        coord_drain(f->coordinator, now);
        now = true;
    }
    return NULL;
}

/* What the coordinator may spare the ranks. */
static base_status read_reuse(const serve_values *values, coord_options *options, base_error *error)
{
    options->no_prefix_cache = strcmp(values->prefix_cache, "off") == 0;
    if (!options->no_prefix_cache && strcmp(values->prefix_cache, "on") != 0)
        return base_fail(error, BASE_EINVAL, "unknown prefix-cache '%.40s'; known are on, off", values->prefix_cache);
    char *end = NULL;
    unsigned long n = strtoul(values->speculate, &end, 10);
    if (strcmp(values->speculate, "auto") == 0)
        options->speculate = COORD_SPECULATE_AUTO;
    else if (values->speculate[0] >= '1' && values->speculate[0] <= '9' && *end == '\0' && n <= COORD_SPECULATE_MAX)
        options->speculate = (uint32_t)n;
    else if (strcmp(values->speculate, "off") != 0)
        return base_fail(error, BASE_EINVAL, "unknown speculate '%.40s'; known are auto, off, 1 to %u",
                         values->speculate, COORD_SPECULATE_MAX);
    if (options->speculate == 0 && values->draft != NULL)
        return base_fail(error, BASE_EINVAL,
                         "--draft '%.100s' guesses nothing with --speculate off; leave one of them out", values->draft);
    return BASE_OK;
}

static base_status front_start(front *f, const serve_values *values, base_error *error)
{
    const char **endpoints = calloc(values->endpoints.n + 1, sizeof *endpoints);
    if (endpoints == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for %zu endpoints", values->endpoints.n);
    for (size_t i = 0; i < values->endpoints.n; i++)
        endpoints[i] = values->endpoints.items[i].value;
    coord_options options = {
        .model_dir = values->model,
        .draft_model = values->draft,
        .endpoints = endpoints,
        .n_endpoints = values->endpoints.n,
        .link = LINK_ENDPOINT,
        .task_dir = values->task_dir,
        .chat = values->chat,
        .insecure = values->insecure,
        .max_queue = values->queue,
        .max_plans = values->plans,
        .step_tokens = values->step_tokens,
        .max_message_bytes = values->message_bytes,
        .max_image_pixels = values->image_pixels,
        .intake_threads = values->intake_threads,
        .log_content = values->log_content,
        .ready = print_ready,
    };
    base_status status = read_reuse(values, &options, error);
    if (status == BASE_OK)
        status = coord_start(&options, f->zmq, &f->coordinator, error);
    free(endpoints);
    if (status != BASE_OK)
        return status;
    launch_ranks_find(&f->ranks);
    f->has_signals = pthread_create(&f->signals, NULL, signal_thread, f) == 0;
    return f->has_signals ? BASE_OK : base_fail(error, BASE_ENOMEM, "cannot start the signal thread");
}

/* End the coordinator, at once when the worker failed.  Returns why the coordinator ended. */
static base_status front_stop(front *f, bool failed, base_error *error)
{
    base_status status = BASE_OK;
    if (f->coordinator != NULL && failed) {
        coord_drain(f->coordinator, false);
        coord_replica_lost(f->coordinator, "the model's ranks ended");
        coord_drain(f->coordinator, true);
    }
    if (f->has_signals) { /* it may hold the coordinator, so it goes first */
        if (!failed)
            coord_drain(f->coordinator, false);
        atomic_store(&f->ended, true);
        pthread_kill(f->signals, SIGUSR1);
        pthread_join(f->signals, NULL);
    }
    if (f->coordinator != NULL)
        status = coord_finish(&f->coordinator, error);
    launch_ranks_release(&f->ranks);
    if (f->zmq != NULL)
        zmq_ctx_term(f->zmq);
    return status;
}

/* ---- every rank ---- */

static base_status run_worker(par_world *world, const serve_values *values, model_products products, void *zmq,
                              base_error *error)
{
    shard_recipe recipe = {0}, draft_recipe = {0};
    if (!recipe_kind_find(values->weights, &recipe.kind)) /* the same on every rank */
        return base_fail(error, BASE_EINVAL, "unknown weights '%.40s'; known are auto, f32, f16, bf16, int8, int4",
                         values->weights);
    if (!recipe_kind_find(values->draft_weights, &draft_recipe.kind))
        return base_fail(error, BASE_EINVAL,
                         "unknown draft-weights '%.40s'; known are auto, f32, f16, bf16, int8, int4",
                         values->draft_weights);
    model_numerics numerics = {.products = products};
    if (!model_activations_find(values->activations, &numerics.activations))
        return base_fail(error, BASE_EINVAL, "unknown activations '%.40s'; known are f32, int8", values->activations);
    if (!model_kv_type_find(values->kv_type, &numerics.kv))
        return base_fail(error, BASE_EINVAL, "unknown kv-type '%.40s'; known are f32, bf16, int8", values->kv_type);
    par_wire wire;
    if (!par_wire_find(values->wire, &wire))
        return base_fail(error, BASE_EINVAL, "unknown wire '%.40s'; known are exact, bf16", values->wire);
    par_world_set_wire(world, wire);
    model_huge_pages huge_pages;
    if (!model_huge_pages_find(values->huge_pages, &huge_pages)) /* the same on every rank */
        return base_fail(error, BASE_EINVAL, "unknown huge-pages '%.40s'; known are auto, on, off", values->huge_pages);
    const worker_options options = {
        .model = values->model,
        .importance = values->importance,
        .recipe = recipe,
        .draft = values->draft,
        .draft_recipe = draft_recipe,
        .numerics = numerics,
        .context = values->context,
        .tp = values->tp,
        .pp = values->pp,
        .n_threads = values->threads,
        .max_seqs = values->max_seqs,
        .max_step_tokens = values->step_tokens,
        .kv_tokens = values->kv_tokens,
        .n_image_slots = values->image_slots,
        .isa = values->isa,
        .pin = !values->no_pin,
        .smt = values->smt,
        .slow_cores = values->slow_cores,
        .spare_cores = values->spare_cores,
        .huge_pages = huge_pages,
        .trace = values->trace,
        .zmq = zmq,
        .link = LINK_ENDPOINT,
    };
    return worker_run(world, &options, error);
}

/* Steps 3 to 5.  A failure comes back on every rank: worker_run's is agreed upon inside, rank 0's own is here. */
static base_status serve(par_world *world, const serve_values *values, base_error *error)
{
    front f = {0};
    base_status status = BASE_OK;
    bool is_front = par_world_rank(world) == 0;
    model_products products;
    status = par_world_agree(world, model_products_choose(values->products, &products, error), error);
    if (status != BASE_OK)
        return status;
    if (is_front) {
        f.zmq = zmq_ctx_new();
        status = f.zmq != NULL ? front_start(&f, values, error) : base_fail(error, BASE_ENOMEM, "no ZeroMQ context");
    }
    status = par_world_agree(world, status, error);
    if (status == BASE_OK)
        status = run_worker(world, values, products, f.zmq, error);

    base_error ending = {0};
    base_status ended = is_front ? front_stop(&f, status != BASE_OK, &ending) : BASE_OK;
    ended = par_world_agree(world, status == BASE_OK ? ended : BASE_OK, &ending);
    if (status == BASE_OK && ended != BASE_OK)
        *error = ending;
    return status != BASE_OK ? status : ended;
}

static int run(void *opaque)
{
    serve_values *values = opaque;
    values->model = shard_checkpoint_join(values->model, values->mmproj, values->joined);
    sigset_t signals;
    launch_stop_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN); /* a reader of our stdout that went away is no reason to end */

    base_error error = {0};
    base_status status = set_log_level(values->log_level, &error);
    if (status != BASE_OK) {
        if (launch_is_first_rank())
            command_complain(error.text);
        return EXIT_USAGE;
    }
    par_world *world = NULL;
    int argc = 0;
    char **argv = NULL;
    status = par_world_open(&argc, &argv, &world, &error);
    if (status != BASE_OK) {
        command_complain(error.text);
        return EXIT_FAILED;
    }
    status = serve(world, values, &error);
    if (status != BASE_OK && par_world_rank(world) == 0)
        base_log_error("%s", error.text);
    par_world_close(&world);
    return status == BASE_OK ? EXIT_DONE : EXIT_FAILED;
}

const command command_serve = {"serve",
                               "MODEL [options]",
                               "serve a model; run it under mpirun, one process per rank",
                               "Hold a model split over the ranks of an MPI job and answer requests. Started as\n\n"
                               "    mpirun -n 4 --bind-to none palmgrove serve MODEL --tp 2 --pp 2\n\n"
                               "each rank reads its own part of the weights from MODEL; rank 0 also listens for "
                               "clients. When all is loaded rank 0 prints one "
                               "line that starts with \"ready\". SIGTERM, SIGINT or SIGUSR1 end the server after the "
                               "requests that were admitted; a second one "
                               "cancels them. Only addresses of this machine are allowed unless --insecure is said.",
                               {rows, sizeof rows / sizeof rows[0]},
                               sizeof(serve_values),
                               run};
