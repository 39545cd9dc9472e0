/* sbatch.c - the batch script of a plan.
 *
 * One task a rank, one rank for each NUMA domain of the plan, each with its share of the cores; PMIx joins them
 * (Debian's Open MPI knows no PMI-2).  Slurm sends USR1 to the script some minutes before the time ends; it passes the
 * signal on, the server finishes what was admitted and exits with 0 (docs/OPERATIONS.md).  TERM it only ignores:
 * scancel sends it to the ranks too, and a second signal would cancel what they are finishing. */
#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include "sharding/planner/plan_report.h"

/* Memory of a node to ask for besides what the plan counts: MPI's buffers, the coordinator, the program itself. */
#define OTHER_MB 2000u
#define DRAIN_S  180u

static void put(base_buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(base_buf *out, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (n < 0 || (size_t)n >= sizeof text)
        out->failed = true;
    else
        base_buf_put(out, text, (size_t)n);
}

/* A model's name goes into the script between single quotes. */
static bool is_quotable(const char *name)
{
    for (const char *c = name; *c != '\0'; c++)
        if (*c == '\'' || iscntrl((unsigned char)*c))
            return false;
    return strlen(name) < 512;
}

/* "palm-540b" from a path or a preset; only letters that a job's name may have. */
static void job_name(const char *model, char name[32])
{
    const char *slash = strrchr(model, '/');
    size_t n = 0;
    for (const char *c = slash != NULL && slash[1] != '\0' ? slash + 1 : model; *c != '\0' && n < 31; c++)
        name[n++] = (char)(isalnum((unsigned char)*c) || *c == '.' || *c == '-' ? *c : '-');
    name[n] = '\0';
}

static void put_resources(const plan_report *r, const plan_layout *l, base_buf *out)
{
    const plan_cluster *c = r->cluster;
    uint32_t cores = c->cores_per_node > c->ranks_per_node ? c->cores_per_node / c->ranks_per_node : 1;
    char name[32];
    job_name(r->name, name);
    put(out,
        "#!/bin/bash\n"
        "# %s, tp %u x pp %u on %u nodes; written by `palmgrove plan`\n",
        name, l->tp, l->pp, c->nodes);
    put(out, "#SBATCH --job-name=palmgrove-%s\n#SBATCH --nodes=%u\n#SBATCH --ntasks=%u\n#SBATCH --ntasks-per-node=%u\n",
        name, c->nodes, l->tp * l->pp, c->ranks_per_node);
    put(out, "#SBATCH --cpus-per-task=%u\n#SBATCH --hint=nomultithread\n#SBATCH --mem=%lluM\n", cores,
        (unsigned long long)(l->node_bytes / 1000000 + OTHER_MB));
    put(out, "#SBATCH --time=24:00:00\n#SBATCH --signal=B:USR1@%u\n#SBATCH --output=palmgrove-%%j.log\n\n", DRAIN_S);
}

static void put_server(const plan_report *r, const plan_layout *l, const char *launcher, base_buf *out)
{
    const plan_demand *d = r->demand;
    if (r->is_preset)
        put(out, "# A published model's name: put the path of its checkpoint here.\n");
    put(out, "model='%s'\n\n", r->name);
    put(out, "%s \\\n    palmgrove serve \"$model\" --tp %u --pp %u", launcher, l->tp, l->pp);
    put(out, " \\\n    --max-seqs %u --context %u --kv-tokens %llu --step-tokens %u", d->batch, d->context,
        (unsigned long long)d->batch * d->context, d->step_tokens);
    if (d->image_slots != 0)
        put(out, " --image-slots %u", d->image_slots);
    if (r->is_packing)
        put(out, " --weights %s", r->weights);
    if (r->model->kv_type != PACK_F32)
        put(out, " --kv-type %s", pack_type_name(r->model->kv_type));
    put(out, " \\\n    --endpoint tcp://127.0.0.1:7401 &\n");
}

base_status plan_sbatch(const plan_report *r, plan_launcher launcher, base_buf *out, base_error *error)
{
    static const char *const starts[] = {
        /* since Slurm 22.05 srun does not take over the job's --cpus-per-task: a rank would get one core */
        [PLAN_SRUN] = "srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task=\"$SLURM_CPUS_PER_TASK\" --cpu-bind=cores "
                      "--distribution=block:block",
        [PLAN_MPIRUN] =
            "mpirun -n \"$SLURM_NTASKS\" --map-by \"ppr:$SLURM_NTASKS_PER_NODE:node:PE=$SLURM_CPUS_PER_TASK\" "
            "--mca odls_base_sigkill_timeout 30",
    };
    if (r->table->chosen == PLAN_NONE)
        return base_fail(error, BASE_EINVAL, "no script: %s", r->table->reason);
    if (!is_quotable(r->name))
        return base_fail(error, BASE_EINVAL,
                         "no script: the model's name holds quotes, control characters or over 511 bytes");
    const plan_layout *l = &r->table->layouts[r->table->chosen];
    put_resources(r, l, out);
    put_server(r, l, starts[launcher], out);
    put(out, "server=$!\n\n"
             "# Before the time ends (or on scancel --signal=USR1 --batch) finish what was admitted.\n"
             "drain() { kill -USR1 \"$server\"; }\n"
             "trap drain USR1\n"
             "# scancel sends TERM to the ranks itself; only wait for them.\n"
             "trap : TERM\n"
             "wait \"$server\"; code=$?\n"
             "while kill -0 \"$server\" 2>/dev/null; do wait \"$server\"; code=$?; done\n"
             "exit \"$code\"\n");
    return !out->failed ? BASE_OK : base_fail(error, BASE_ENOMEM, "out of memory for the script");
}
