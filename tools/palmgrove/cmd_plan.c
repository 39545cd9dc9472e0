/* cmd_plan.c - what will fit and how fast it will be, before anyone asks Slurm for nodes.
 *
 * Three uses: a plan from figures (typed in, read from a file, or assumed); --measure, on the machines at hand, which
 * writes such a file;
 * --check, which measures, runs the model here and compares.  The last two run under mpirun. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sharding/planner/plan_report.h"
#include "sharding/planner/presets.h"
#include "tools/palmgrove/command.h"
#include "tools/palmgrove/launch.h"
#include "tools/palmgrove/plan_check.h"
#include "tools/palmgrove/plan_measure.h"
#include "worker/kernels/kern.h"
#include "worker/model/numerics.h"
#include "worker/core_pinning.h"

typedef struct plan_values {
    const char *model, *cluster, *weights, *kv_type, *goal, *sbatch, *launcher, *isa;
    uint32_t nodes, ranks_per_node, cores, threads, tp, pp;
    float memory, memory_bandwidth, flops, network_bandwidth, network_latency;
    uint32_t context, batch, prompt, answer, step_tokens, image_slots;
    bool measure, check, json, presets;
} plan_values;

#define AT(field) offsetof(plan_values, field)

static const option_row rows[] = {
    {"model", "MODEL", OPTION_TEXT, AT(model), NULL,
     "a checkpoint, or a published model by name (--presets lists them)", OPTION_POSITIONAL},
    {"presets", NULL, OPTION_FLAG, AT(presets), NULL, "list the models known by name", OPTION_NO_ENVIRONMENT},
    {"cluster", "FILE", OPTION_TEXT, AT(cluster), "",
     "what the machines can do, as --measure wrote it; options beside it win", 0},
    {"nodes", "N", OPTION_U32, AT(nodes), "0", "nodes; 0: the cluster file's, or 16", 0},
    {"ranks-per-node", "N", OPTION_U32, AT(ranks_per_node), "0",
     "ranks of a node, best one for each NUMA domain; 0: the file's, or 2", 0},
    {"cores", "N", OPTION_U32, AT(cores), "0", "cores of a node; 0: the file's, or 64", 0},
    {"memory", "GB", OPTION_REAL, AT(memory), "0", "memory of a node; 0: the file's, or 512", 0},
    {"memory-bandwidth", "GB/S", OPTION_REAL, AT(memory_bandwidth), "0",
     "what a node's cores read together; 0: the file's, or 400", 0},
    {"flops", "GFLOP/S", OPTION_REAL, AT(flops), "0", "of one core, f32; 0: the file's kernel rates, or 80", 0},
    {"network-bandwidth", "GB/S", OPTION_REAL, AT(network_bandwidth), "0",
     "of a node's link (100 Gbit/s: 12.5); 0: the file's, or 12.5", 0},
    {"network-latency", "US", OPTION_REAL, AT(network_latency), "0", "of one message; 0: the file's, or 5", 0},
    {"context", "N", OPTION_U32, AT(context), "0", "positions of a sequence; 0: the model's, at most 2048", 0},
    {"batch", "N", OPTION_U32, AT(batch), "16", "sequences at the same time", 0},
    {"prompt", "N", OPTION_U32, AT(prompt), "0", "tokens of a prompt; 0: a third of the context", 0},
    {"answer", "N", OPTION_U32, AT(answer), "0", "tokens of an answer; 0: an eighth of the context", 0},
    {"step-tokens", "N", OPTION_U32, AT(step_tokens), "512", "tokens of one step", 0},
    {"image-slots", "N", OPTION_U32, AT(image_slots), "32", "encoded images kept at the same time", 0},
    {"weights", "TYPE", OPTION_TEXT, AT(weights), "auto",
     "auto (as they are; published models: bf16), f32, f16, bf16, int8 or int4", 0},
    {"kv-type", "TYPE", OPTION_TEXT, AT(kv_type), "f32", "how keys and values are kept: f32, bf16 or int8", 0},
    {"goal", "GOAL", OPTION_TEXT, AT(goal), "latency",
     "what the choice is best at: latency (one request) or throughput (a batch)", 0},
    {"sbatch", "FILE", OPTION_TEXT, AT(sbatch), "", "write a batch script for the choice", OPTION_NO_ENVIRONMENT},
    {"launcher", "NAME", OPTION_TEXT, AT(launcher), "srun", "how the script starts ranks: srun (PMIx) or mpirun", 0},
    {"json", NULL, OPTION_FLAG, AT(json), NULL, "print one JSON object", 0},
    {"measure", NULL, OPTION_FLAG, AT(measure), NULL, "under mpirun: measure these machines and print a cluster file",
     OPTION_NO_ENVIRONMENT},
    {"check", NULL, OPTION_FLAG, AT(check), NULL,
     "under mpirun: measure, run MODEL on these ranks and compare with its plan", OPTION_NO_ENVIRONMENT},
    {"tp", "N", OPTION_U32, AT(tp), "0", "with --check: tensor-parallel ranks; 0: as many as fit", 0},
    {"pp", "N", OPTION_U32, AT(pp), "0", "with --check: pipeline stages; 0: what is left of the ranks", 0},
    {"threads", "N", OPTION_U32, AT(threads), "0",
     "with --measure and --check: threads of a rank; 0: its share of the cores", 0},
    {"isa", "NAME", OPTION_TEXT, AT(isa), "auto", "with --measure and --check: kernel set, as for serve", 0},
};

static int complain(base_status status, const base_error *error)
{
    if (launch_is_first_rank())
        command_complain(error->text);
    return status == BASE_EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

/* --- the model and the demand --- */

/* Something to plan for: a preset's architecture, or a checkpoint opened. */
typedef struct subject {
    arch a;
    shard_checkpoint *checkpoint; /* owned; NULL for a preset */
    plan_model model;
} subject;

static base_status subject_open(const char *name, recipe_kind recipe, subject *out, base_error *error)
{
    base_error unknown = {0};
    if (preset_arch(name, &out->a, &unknown) != BASE_OK) {
        base_status status = shard_checkpoint_open(name, &out->checkpoint, error);
        if (status == BASE_ENOTFOUND && strchr(name, '/') == NULL && strchr(name, ':') == NULL)
            return base_fail(error, status, "%s; and no model is there", unknown.text);
        if (status != BASE_OK)
            return status;
        out->a = out->checkpoint->a;
    }
    return plan_model_init(&out->model, &out->a, out->checkpoint, recipe, error);
}

static void subject_close(subject *s)
{
    shard_checkpoint_close(&s->checkpoint);
}

static plan_demand demand_of(const plan_values *v, const arch *a)
{
    uint32_t most = a->decoder.max_positions < 2048 ? a->decoder.max_positions : 2048;
    plan_demand d = {.context = v->context != 0 ? v->context : most,
                     .batch = v->batch,
                     .step_tokens = v->step_tokens,
                     .image_slots = a->has_tower ? v->image_slots : 0};
    d.prompt = v->prompt != 0 ? v->prompt : d.context / 3 + (d.context < 3);
    d.answer = v->answer != 0 ? v->answer : d.context / 8;
    return d;
}

/* --- the cluster --- */

static void take_figure(float given, double *figure)
{
    if (given > 0)
        *figure = given;
}

static void take_count(uint32_t given, uint32_t *count)
{
    if (given > 0)
        *count = given;
}

/* The file, or what sites usually have; then what was typed in. */
static base_status cluster_of(const plan_values *v, plan_cluster *out, base_error *error)
{
    *out = plan_cluster_default();
    base_status status = v->cluster[0] != '\0' ? plan_cluster_read(v->cluster, out, error) : BASE_OK;
    if (status != BASE_OK)
        return status;
    if (v->flops > 0)
        plan_cluster_set_flops(out, v->flops);
    take_count(v->nodes, &out->nodes);
    take_count(v->ranks_per_node, &out->ranks_per_node);
    take_count(v->cores, &out->cores_per_node);
    take_figure(v->memory_bandwidth, &out->memory_gb_per_s);
    take_figure(v->network_bandwidth, &out->network.gb_per_s);
    take_figure(v->network_latency, &out->network.latency_us);
    if (v->memory > 0)
        out->memory_bytes = (uint64_t)((double)v->memory * 1e9);
    return BASE_OK;
}

/* --- planning --- */

static base_status write_text(const char *path, const base_buf *text, base_error *error)
{
    FILE *file = fopen(path, "w");
    bool ok = file != NULL && fwrite(text->data, 1, text->size, file) == text->size;
    if (file != NULL && fclose(file) != 0)
        ok = false;
    return ok ? BASE_OK : base_fail(error, BASE_EIO, "cannot write '%s': %s", path, strerror(errno));
}

static base_status write_script(const plan_values *v, const plan_report *report, base_error *error)
{
    plan_launcher launcher = strcmp(v->launcher, "mpirun") == 0 ? PLAN_MPIRUN : PLAN_SRUN;
    base_buf text = {0};
    base_status status = plan_sbatch(report, launcher, &text, error);
    if (status == BASE_OK)
        status = write_text(v->sbatch, &text, error);
    base_buf_release(&text);
    return status;
}

static base_status print_report(const plan_values *v, const plan_report *report, base_error *error)
{
    base_buf text = {0};
    base_status status = BASE_OK;
    if (!v->json)
        plan_report_print(report, stdout);
    else
        status = plan_report_json(report, &text, error);
    if (status == BASE_OK && v->json)
        fwrite(text.data, 1, text.size, stdout);
    base_buf_release(&text);
    return status;
}

/* A relative path means something else to the script, which starts in another folder. */
static const char *name_for_script(const subject *s, const char *name, char resolved[PATH_MAX])
{
    const char *path =
        s->checkpoint != NULL && s->checkpoint->format != CHECKPOINT_SYNTHETIC ? realpath(name, resolved) : NULL;
    return path != NULL ? path : name;
}

static base_status plan(const plan_values *v, recipe_kind recipe, plan_goal goal, base_error *error)
{
    static subject s; /* large: a type for every layer */
    plan_cluster cluster;
    plan_table table = {.chosen = PLAN_NONE};
    char resolved[PATH_MAX];
    s = (subject){.checkpoint = NULL};
    base_status status = cluster_of(v, &cluster, error);
    if (status == BASE_OK)
        status = subject_open(v->model, recipe, &s, error);
    pack_type_find(v->kv_type, &s.model.kv_type); /* check_words knows it */
    plan_demand demand = demand_of(v, &s.a);
    if (status == BASE_OK)
        status = plan_table_make(&s.model, &cluster, &demand, goal, &table, error);
    if (status == BASE_OK) {
        const char *as_stored = s.checkpoint != NULL ? "as they are" : "bf16";
        const plan_report report = {.name = name_for_script(&s, v->model, resolved),
                                    .is_preset = s.checkpoint == NULL,
                                    .weights = recipe != RECIPE_AUTO ? v->weights : as_stored,
                                    .is_packing = recipe != RECIPE_AUTO,
                                    .model = &s.model,
                                    .cluster = &cluster,
                                    .demand = &demand,
                                    .goal = goal,
                                    .table = &table};
        status = print_report(v, &report, error);
        if (status == BASE_OK && v->sbatch[0] != '\0')
            status = write_script(v, &report, error);
    }
    bool found = table.chosen != PLAN_NONE;
    plan_table_release(&table);
    subject_close(&s);
    return status == BASE_OK && !found ? BASE_ETOOBIG : status;
}

/* --- under mpirun --- */

static void say(const char *line)
{
    fprintf(stderr, "palmgrove: %s\n", line);
}

static base_status measure(const plan_values *v, par_world *world, uint32_t n_threads, base_error *error)
{
    plan_cluster cluster;
    base_buf text = {0};
    base_status status = par_world_agree(world, cluster_of(v, &cluster, error), error);
    if (status == BASE_OK)
        status = plan_measure(world, n_threads, say, &cluster, error);
    if (status == BASE_OK)
        status = plan_cluster_write(&cluster, &text, error);
    if (status == BASE_OK && par_world_rank(world) == 0)
        fwrite(text.data, 1, text.size, stdout);
    base_buf_release(&text);
    return status;
}

static base_status check(const plan_values *v, recipe_kind recipe, par_world *world, uint32_t n_threads,
                         base_error *error)
{
    plan_cluster cluster;
    base_status status = par_world_agree(world, cluster_of(v, &cluster, error), error);
    plan_check_options options = {
        .model = v->model, .recipe = recipe, .tp = v->tp, .pp = v->pp, .prompt = v->prompt, .json = v->json};
    model_kv_type_find(v->kv_type, &options.kv_type); /* check_words knows it */
    return status == BASE_OK ? plan_check(world, n_threads, &cluster, &options, say, error) : status;
}

static base_status run_ranks(const plan_values *v, recipe_kind recipe, base_error *error)
{
    par_world *world = NULL;
    topo_machine *machine = NULL;
    topo_plan *place = NULL;
    char remark[TOPO_TEXT_MAX] = "";
    int argc = 0;
    char **argv = NULL;
    base_status status = par_world_open(&argc, &argv, &world, error);
    if (status != BASE_OK)
        return status;
    status = par_world_agree(world, kern_select(v->isa, error), error);
    if (status == BASE_OK)
        status =
            worker_pin_cores(world, &(topo_request){.n_threads = v->threads}, true, &machine, &place, remark, error);
    if (status == BASE_OK && v->measure)
        status = measure(v, world, topo_plan_threads(place), error);
    else if (status == BASE_OK)
        status = check(v, recipe, world, topo_plan_threads(place), error);
    topo_plan_destroy(&place);
    topo_machine_close(&machine);
    par_world_close(&world);
    return status;
}

/* --- the command --- */

static int print_presets(void)
{
    const char *name, *about;
    for (size_t i = 0; preset_list(i, &name, &about); i++)
        printf("%-16s %s\n", name, about);
    return EXIT_DONE;
}

static base_status check_words(const plan_values *v, recipe_kind *recipe, plan_goal *goal, base_error *error)
{
    if (v->model == NULL && !v->measure)
        return base_fail(error, BASE_EINVAL, "no model; name a checkpoint or one of --presets");
    if (!recipe_kind_find(v->weights, recipe))
        return base_fail(error, BASE_EINVAL, "unknown weights '%s'; known are auto, f32, f16, bf16, int8, int4",
                         v->weights);
    model_kv_type kv_type;
    if (!model_kv_type_find(v->kv_type, &kv_type))
        return base_fail(error, BASE_EINVAL, "unknown kv-type '%s'; known are f32, bf16, int8", v->kv_type);
    if (strcmp(v->goal, "latency") != 0 && strcmp(v->goal, "throughput") != 0)
        return base_fail(error, BASE_EINVAL, "unknown goal '%s'; known are latency, throughput", v->goal);
    if (strcmp(v->launcher, "srun") != 0 && strcmp(v->launcher, "mpirun") != 0)
        return base_fail(error, BASE_EINVAL, "unknown launcher '%s'; known are srun, mpirun", v->launcher);
    *goal = strcmp(v->goal, "latency") == 0 ? PLAN_LATENCY : PLAN_THROUGHPUT;
    return BASE_OK;
}

static int run(void *opaque)
{
    const plan_values *v = opaque;
    recipe_kind recipe = RECIPE_AUTO;
    plan_goal goal = PLAN_LATENCY;
    base_error error = {0};
    if (v->presets)
        return print_presets();
    base_status status = check_words(v, &recipe, &goal, &error);
    if (status != BASE_OK)
        return complain(BASE_EINVAL, &error);
    status = v->measure || v->check ? run_ranks(v, recipe, &error) : plan(v, recipe, goal, &error);
    if (status == BASE_OK)
        return EXIT_DONE;
    return error.text[0] != '\0' ? complain(status, &error) : EXIT_FAILED; /* nothing fits: the report said so */
}

const command command_plan = {
    "plan",
    "MODEL [options]",
    "what a model needs on a cluster, in every layout, and which layout to take",
    "Print for every split of the ranks into tensor-parallel groups and pipeline stages what the largest rank "
    "holds, what is sent for each token, and how long a prompt and a token take, for one sequence and for a "
    "full batch; then the choice, its reason, and why the others were refused.\n\n"
    "    palmgrove plan palm-540b --weights int4 --nodes 16 --memory 512\n"
    "    mpirun -n 32 palmgrove plan --measure > cluster.json\n"
    "    palmgrove plan MODEL --cluster cluster.json --sbatch run.sh\n\n"
    "Figures that nobody gave are assumed and printed. The formulas stand in docs/PLANNING.md. Exits with 1 "
    "when nothing fits.",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(plan_values),
    run};
