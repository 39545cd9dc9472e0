/* worker.c - a rank's life, in the order of start-up:
 *
 *     1. read     the checkpoint's headers, the layout, the draft model's headers; rank 0 starts to digest the weights
 *                 on a thread of its own
 *     2. pin      the rank grid; cores, threads and memory policy
 *     3. budget   limits that fit into the nodes' memory; one line for each rank: where it is and what it will take
 *     4. load     this rank's rows
 *     5. greet    message buffers; rank 0 connects to the coordinator and says hello
 *     6. run      step_loop.c
 *
 * After each of them all ranks agree that all of them succeeded, or all leave with the first failing rank's error.
 *
 * Signals: mpirun passes SIGTERM and SIGINT on to every rank.  The coordinator, in rank 0's process or at the link's
 * other end, decides what they mean (finish what is admitted, then STOP), so the other ranks ignore them while they
 * work. */
#include "worker/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/link/link.h"
#include "sharding/importance.h"
#include "sharding/shards/shard_set.h"
#include "worker/kv_budget.h"
#include "worker/draft_model.h"
#include "worker/kernels/blas/openblas.h"
#include "worker/kernels/kern.h"
#include "worker/model/model.h"
#include "worker/core_pinning.h"
#include "worker/step_loop.h"
#include "worker/topo/topo.h"
#include "worker/trace_file.h"

/* Digesting reads every byte of the checkpoint: on rank 0 only, while the model loads. */
typedef struct digest_job {
    pthread_t thread;
    bool running;
    const shard_checkpoint *checkpoint;
    const shard_recipe *recipe;
    char digest[65];
    base_status status;
    base_error error;
} digest_job;

typedef struct progress {
    bool shown; /* rank 0 */
    uint64_t start_us, last_us;
} progress;

typedef struct worker {
    par_world *world;
    const worker_options *options;
    uint32_t tp, pp;
    shard_checkpoint *checkpoint;
    shard_importance *importance;
    shard_recipe recipe;
    draft_model draft;
    digest_job digest;
    par_grid *grid;
    topo_machine *machine;
    topo_plan *plan;
    char remark[TOPO_TEXT_MAX]; /* what pinning could not do */
    link_limits limits;
    model_memory memory;
    progress loading;
    model *m;
    worker_trace *trace;
    step_loop *loop;
    link_end *link;
} worker;

static bool is_rank_0(const worker *w)
{
    return par_world_rank(w->world) == 0;
}

/* --- 1. read --- */

static void *digest_run(void *context)
{
    digest_job *job = context;
    job->status = shard_checkpoint_digest(job->checkpoint, job->digest, &job->error);
    if (job->status == BASE_OK)
        shard_recipe_digest(job->recipe, job->digest);
    return NULL;
}

static base_status digest_start(worker *w, base_error *error)
{
    digest_job *job = &w->digest;
    job->checkpoint = w->checkpoint;
    job->recipe = &w->recipe;
    job->running = pthread_create(&job->thread, NULL, digest_run, job) == 0;
    return job->running ? BASE_OK : base_fail(error, BASE_ENOMEM, "cannot start the thread that digests the weights");
}

static base_status digest_finish(digest_job *job, base_error *error)
{
    if (job->running)
        pthread_join(job->thread, NULL);
    job->running = false;
    return job->status == BASE_OK ? BASE_OK : base_fail(error, job->status, "%s", job->error.text);
}

/* The layout asked for, or the one that fits; shards know theirs. */
static base_status choose_layout(worker *w, base_error *error)
{
    w->tp = w->options->tp;
    w->pp = w->options->pp;
    if (w->checkpoint->shards != NULL && w->tp == 0 && w->pp == 0) {
        shard_set_layout(w->checkpoint->shards, &w->tp, &w->pp);
        uint64_t n = (uint64_t)w->tp * w->pp;
        if (n != (uint64_t)par_world_size(w->world))
            return base_fail(error, BASE_EINVAL,
                             "'%s' holds shards for --tp %u --pp %u, %llu ranks, but %d were started; start that many, "
                             "or shard again",
                             w->options->model, w->tp, w->pp, (unsigned long long)n, par_world_size(w->world));
    }
    return shard_layout_choose(&w->checkpoint->a, (uint32_t)par_world_size(w->world), &w->tp, &w->pp, error);
}

static base_status read_recipe(worker *w, base_error *error)
{
    w->recipe = w->options->recipe;
    if (w->checkpoint->shards != NULL && w->recipe.kind != RECIPE_AUTO)
        return base_fail(error, BASE_EINVAL, "'%s' is packed already; --weights is for `palmgrove shard` then",
                         w->options->model);
    if (w->options->importance == NULL)
        return BASE_OK;
    base_status status = shard_importance_open(w->options->importance, &w->checkpoint->a, &w->importance, error);
    w->recipe.importance = w->importance;
    return status;
}

/* Needs no grid: a rank's place follows from its number (grid.h). */
static base_status read_draft(worker *w, base_error *error)
{
    uint32_t rank = (uint32_t)par_world_rank(w->world);
    const par_place place = {.rank = rank, .tp = w->tp, .pp = w->pp, .tp_rank = rank % w->tp, .stage = rank / w->tp};
    return draft_model_open(w->options, &place, &w->draft, error);
}

/* A rank with another OpenBLAS would compute other bits of the same answer.  Every rank comes to the same verdict. */
static base_status compare_kernels(worker *w, base_error *error)
{
    if (w->options->numerics.products == MODEL_PRODUCTS_OWN)
        return BASE_OK;
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (const char *at = kern_openblas_name(); *at != '\0'; at++)
        hash = (hash ^ (uint8_t)*at) * 0x100000001b3u;
    if (par_world_max(w->world, hash) == ~par_world_max(w->world, ~hash))
        return BASE_OK;
    return base_fail(error, BASE_EUNSUPPORTED,
                     "--products openblas: ranks loaded different versions or cores of OpenBLAS (rank %d: %s); install "
                     "the same one, or set OPENBLAS_CORETYPE to a core that every node has",
                     par_world_rank(w->world), kern_openblas_name());
}

static base_status read_checkpoint(worker *w, base_error *error)
{
    const worker_options *options = w->options;
    base_status status = kern_select(options->isa != NULL ? options->isa : "auto", error);
    if (status == BASE_OK && options->numerics.products == MODEL_PRODUCTS_OPENBLAS)
        status = kern_openblas_open(error);
    if (status == BASE_OK)
        status = shard_checkpoint_open(options->model, &w->checkpoint, error);
    if (status == BASE_OK)
        status = choose_layout(w, error);
    if (status == BASE_OK)
        status = read_recipe(w, error);
    if (status == BASE_OK)
        status = read_draft(w, error);
    if (status == BASE_OK && is_rank_0(w))
        status = digest_start(w, error); /* before pinning: a thread inherits the cores of its creator */
    status = par_world_agree(w->world, status, error);
    return status == BASE_OK ? compare_kernels(w, error) : status;
}

/* --- 2. pin --- */

static bool rounds_sums(const worker *w)
{
    return par_world_wire(w->world) != PAR_WIRE_EXACT && par_grid_n_nodes(w->grid) > 1;
}

static void log_wire(const worker *w)
{
    const char *name = par_wire_name(par_world_wire(w->world));
    if (rounds_sums(w))
        base_log_info(
            "--wire %s: sums are rounded between %u nodes, so answers depend on the layout; model_digest names it",
            name, par_grid_n_nodes(w->grid));
    else if (par_world_wire(w->world) != PAR_WIRE_EXACT)
        base_log_info("--wire %s changes nothing here: each tensor group lies on one node", name);
}

static base_status pin_rank(worker *w, base_error *error)
{
    base_status status = par_grid_create(w->world, w->tp, w->pp, &w->grid, error);
    if (status != BASE_OK)
        return status;
    if (is_rank_0(w))
        log_wire(w);
    const worker_options *options = w->options;
    const topo_request request = {.n_threads = options->n_threads,
                                  .smt = options->smt ? TOPO_SMT_ALL : TOPO_SMT_CORES,
                                  .kinds = options->slow_cores ? TOPO_KINDS_ALL : TOPO_KINDS_FAST,
                                  .spare_cores = options->spare_cores};
    return worker_pin_cores(w->world, &request, options->pin, &w->machine, &w->plan, w->remark, error);
}

/* --- 3. budget --- */

static void log_line(void *context, int rank, const char *text)
{
    (void)context;
    (void)rank;
    base_log_info("%s", text);
}

/* "rank 2 (stage 1, tensor 0) host vm: cores 1, NUMA 0, 1 thread; weights 5.1 MB, KV cache 10 MB, workspace 3 MB" from
 * every rank. */
static void report_places(worker *w)
{
    char host[128] = "", where[TOPO_TEXT_MAX], line[PAR_TEXT_MAX];
    char weights[WORKER_SIZE_TEXT], kv[WORKER_SIZE_TEXT], workspace[WORKER_SIZE_TEXT];
    par_place place = par_grid_place(w->grid);
    gethostname(host, sizeof host - 1);
    topo_plan_describe(w->plan, w->options->pin, where);
    int n = snprintf(line, sizeof line,
                     "rank %u (stage %u, tensor %u) host %s: %s; weights %s, KV cache %s, workspace %s", place.rank,
                     place.stage, place.tp_rank, host, where, worker_size_text(w->memory.weights_bytes, weights),
                     worker_size_text(w->memory.kv_bytes, kv), worker_size_text(w->memory.workspace_bytes, workspace));
    if (w->remark[0] != '\0' && n > 0 && (size_t)n < sizeof line)
        snprintf(line + n, sizeof line - (size_t)n, "; %s", w->remark);
    par_world_collect_text(w->world, line, log_line, NULL);
}

static base_status budget_memory(worker *w, base_error *error)
{
    par_place place = par_grid_place(w->grid);
    base_status status = worker_budget_memory(w->world, &place, w->checkpoint, &w->recipe, &w->draft, w->options,
                                              topo_plan_threads(w->plan), &w->limits, &w->memory, error);
    if (status == BASE_OK)
        report_places(w);
    return status;
}

/* --- 4. load --- */

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    progress *p = context;
    uint64_t now_us = base_clock_us();
    if (!p->shown || now_us - p->last_us < 1000000 || total == 0)
        return;
    char size[WORKER_SIZE_TEXT];
    p->last_us = now_us;
    base_log_info("loading: %.0f %% of %s on rank 0", 100.0 * (double)done / (double)total,
                  worker_size_text(total, size));
}

static base_status load_model(worker *w, base_error *error)
{
    uint64_t now_us = base_clock_us();
    w->loading = (progress){.shown = is_rank_0(w), .start_us = now_us, .last_us = now_us};
    model_options options = {.limits = w->limits,
                             .numerics = w->options->numerics,
                             .n_threads = topo_plan_threads(w->plan),
                             .crowded = topo_plan_is_crowded(w->plan),
                             .huge_pages = w->options->huge_pages,
                             .touch_cache = worker_touches_cache(w->world, w->options, &w->memory),
                             .progress = show_progress,
                             .progress_context = &w->loading};
    base_status status = model_create(w->checkpoint, &w->recipe, w->grid, &options, &w->m, error);
    if (status == BASE_OK)
        status = draft_model_load(&w->draft, w->grid, &options, w->checkpoint->a.decoder.vocab_size, error);
    status = par_world_agree(w->world, status, error);
    if (status != BASE_OK)
        return status;
    if (is_rank_0(w) && w->draft.checkpoint != NULL)
        base_log_info("draft model '%s', %u layers, on the %u rank%s of stage 0", w->options->draft,
                      w->draft.checkpoint->a.decoder.stack.n_layers, w->tp, w->tp == 1 ? "" : "s");
    char size[WORKER_SIZE_TEXT], huge[64] = "";
    uint64_t largest = par_world_max(w->world, w->memory.weights_bytes);
    int percent = model_huge_percent(w->m);
    uint64_t small =
        par_world_max(w->world, percent < 0 ? UINT64_MAX : 100u - (uint64_t)percent); /* of the worst rank */
    if (small <= 100)
        snprintf(huge, sizeof huge, ", %s%u %% of them in huge pages", par_world_size(w->world) > 1 ? "at least " : "",
                 100u - (unsigned)small);
    if (is_rank_0(w))
        base_log_info("loaded in %.1f s, at most %s of weights on a rank%s", (double)(base_clock_us() - now_us) * 1e-6,
                      worker_size_text(largest, size), huge);
    return BASE_OK;
}

/* --- 5. greet --- */

/* Rank 0's part of the greeting; maxima over the ranks in `hello` are known to all. */
static base_status say_hello(worker *w, const link_hello *hello, base_error *error)
{
    base_buf message = {0};
    base_status status = link_connect(w->options->zmq, w->options->link, &w->link, error);
    if (status == BASE_OK) {
        link_hello_encode(hello, &message);
        status = link_send(w->link, &message, error);
    }
    base_buf_release(&message);
    return status;
}

static void close_checkpoint(worker *w)
{
    shard_importance_close(&w->importance);
    shard_checkpoint_close(&w->checkpoint);
    draft_model_close_checkpoint(&w->draft);
}

/* Mix choices that change answers into the model digest: numerics other than the default, and the layout if sums are
 * rounded between nodes. */
static void digest_choices(worker *w)
{
    const model_numerics *numerics = &w->options->numerics;
    char choice[96];
    if (numerics->products == MODEL_PRODUCTS_OPENBLAS) { /* its sums depend on how tensor parallelism splits them */
        snprintf(choice, sizeof choice, "products %s, tp %u", kern_openblas_name(), w->tp);
        shard_choice_digest(choice, w->digest.digest);
    }
    if (rounds_sums(w)) {
        snprintf(choice, sizeof choice, "wire %s, tp %u on %u nodes", par_wire_name(par_world_wire(w->world)), w->tp,
                 par_grid_n_nodes(w->grid));
        shard_choice_digest(choice, w->digest.digest);
    }
    if (numerics->activations != MODEL_ACTIVATIONS_INT8) {
        snprintf(choice, sizeof choice, "activations %s", model_activations_name(numerics->activations));
        shard_choice_digest(choice, w->digest.digest);
    }
    if (numerics->kv != MODEL_KV_F32) {
        snprintf(choice, sizeof choice, "kv %s", model_kv_type_name(numerics->kv));
        shard_choice_digest(choice, w->digest.digest);
    }
}

static base_status greet(worker *w, base_error *error)
{
    size_t stage_floats = (size_t)w->limits.max_step_tokens *
                          ((size_t)w->checkpoint->a.decoder.stack.d + 1); /* a row and its overflow flag */
    base_status status = step_loop_create(w->world, w->grid, w->m, w->draft.proposer, stage_floats, &w->loop, error);
    if (status != BASE_OK)
        return status;
    link_hello hello = {.protocol = LINK_PROTOCOL,
                        .tp = w->tp,
                        .pp = w->pp,
                        .limits = *model_limits(w->m),
                        .n_threads = topo_plan_threads(w->plan),
                        .weights_bytes_max = par_world_max(w->world, w->memory.weights_bytes),
                        .kv_bytes_max = par_world_max(w->world, w->memory.kv_bytes),
                        .workspace_bytes_max = par_world_max(w->world, w->memory.workspace_bytes)};
    model_kernels_name(&w->options->numerics, hello.isa);
    status = digest_finish(&w->digest, error);
    close_checkpoint(w);
    digest_choices(w);
    memcpy(hello.model_digest, w->digest.digest, sizeof hello.model_digest);
    if (status == BASE_OK && is_rank_0(w))
        status = say_hello(w, &hello, error);
    return par_world_agree(w->world, status, error);
}

/* --- the trace --- */

static base_status start_trace(worker *w, base_error *error)
{
    par_place place = par_grid_place(w->grid);
    return worker_trace_open(w->world, &place, w->options->trace, &w->trace, error);
}

static void log_trace(void *context, int rank, const char *text)
{
    (void)context;
    (void)rank;
    base_log_info("trace: %s", text);
}

/* --- the whole --- */

static base_status start(worker *w, base_error *error)
{
    base_status status = read_checkpoint(w, error);
    if (status == BASE_OK)
        status = pin_rank(w, error);
    if (status == BASE_OK)
        status = budget_memory(w, error);
    if (status == BASE_OK)
        status = load_model(w, error);
    if (status == BASE_OK)
        status = start_trace(w, error);
    if (status == BASE_OK)
        status = greet(w, error);
    return status;
}

/* In reverse order of start; every part may be missing. */
static void stop(worker *w)
{
    worker_trace_abandon(&w->trace);
    link_close(&w->link);
    step_loop_destroy(&w->loop);
    draft_model_release(&w->draft);
    model_destroy(&w->m);
    topo_plan_destroy(&w->plan);
    topo_machine_close(&w->machine);
    par_grid_destroy(&w->grid);
    digest_finish(&w->digest, NULL);
    close_checkpoint(w);
}

base_status worker_run(par_world *world, const worker_options *options, base_error *error)
{
    worker w = {.world = world, .options = options};
    struct sigaction ignore = {.sa_handler = SIG_IGN}, term_before, int_before;
    if (!is_rank_0(&w)) {
        sigaction(SIGTERM, &ignore, &term_before);
        sigaction(SIGINT, &ignore, &int_before);
    }
    base_status status = start(&w, error);
    if (status == BASE_OK)
        status = step_loop_run(w.loop, w.link, error);
    if (status == BASE_OK)
        status = worker_trace_close(&w.trace, log_trace, NULL, error);
    stop(&w);
    if (!is_rank_0(&w)) {
        sigaction(SIGTERM, &term_before, NULL);
        sigaction(SIGINT, &int_before, NULL);
    }
    return status;
}
