#include "sharding/planner/plan_layouts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double gb(uint64_t bytes)
{
    return (double)bytes * 1e-9;
}

/* --- does it fit --- */

/* Sums over the node that holds most. */
typedef struct node_sum {
    uint64_t weights, workspace, kv;
} node_sum;

static void add_rank(node_sum *node, const plan_bytes *rank)
{
    node->weights += rank->weights;
    node->workspace += rank->workspace;
    node->kv += rank->kv;
}

static uint64_t node_total(const node_sum *node)
{
    return node->weights + node->workspace + node->kv;
}

/* The first of weights, workspace and cache that does not fit; "" when all do. */
static void check_memory(const node_sum *node, const plan_cluster *cluster, const plan_demand *demand, plan_layout *out)
{
    double available = (double)cluster->memory_bytes * PLAN_MEMORY_SHARE;
    uint64_t fixed = node->weights + node->workspace;
    size_t size = sizeof out->refusal;
    if ((double)node->weights > available)
        snprintf(out->refusal, size, "memory: weights of %.1f GB on a node, %.1f GB (95 %%) may be used",
                 gb(node->weights), available * 1e-9);
    else if ((double)fixed > available)
        snprintf(out->refusal, size,
                 "memory: workspace of %.1f GB beside %.1f GB of weights on a node, %.1f GB may be used; fewer "
                 "sequences or step tokens need less",
                 gb(node->workspace), gb(node->weights), available * 1e-9);
    else if ((double)node_total(node) > available)
        snprintf(out->refusal, size,
                 "memory: KV cache of %.1f GB (%u x %u positions) beside %.1f GB on a node, %.1f GB may be used; "
                 "there is room for %.0f sequences",
                 gb(node->kv), demand->batch, demand->context, gb(fixed), available * 1e-9,
                 (available - (double)fixed) / ((double)node->kv / demand->batch));
    out->fits = out->refusal[0] == '\0';
}

/* The words of shard_split_of without its advice. */
static void refuse_grid(plan_layout *out, const base_error *error)
{
    const char *end = strchr(error->text, ';');
    int n = (int)(end != NULL ? (size_t)(end - error->text) : strlen(error->text));
    snprintf(out->refusal, sizeof out->refusal, "%.*s", n, error->text);
}

static void weigh_layout(const plan_model *model, const plan_cluster *cluster, const plan_demand *demand,
                         plan_layout *out)
{
    const link_limits limits = plan_limits_of(demand);
    node_sum node = {0}, fullest = {0};
    base_error error = {0};
    for (uint32_t rank = 0; rank < out->tp * out->pp; rank++) {
        plan_bytes bytes;
        if (plan_rank_bytes(model, out->tp, out->pp, rank % out->tp, rank / out->tp, &limits, &bytes, &error) !=
            BASE_OK) {
            refuse_grid(out, &error);
            return;
        }
        if (rank % cluster->ranks_per_node == 0)
            node = (node_sum){0};
        add_rank(&node, &bytes);
        if (node_total(&node) > node_total(&fullest))
            fullest = node;
        if (plan_bytes_total(&bytes) > plan_bytes_total(&out->largest))
            out->largest = bytes;
    }
    out->node_bytes = node_total(&fullest);
    check_memory(&fullest, cluster, demand, out);
    if (model->only_tp != 0 && (out->tp != model->only_tp || out->pp != model->only_pp)) {
        out->fits = false;
        snprintf(out->refusal, sizeof out->refusal, "these shards were written for tp %u x pp %u", model->only_tp,
                 model->only_pp);
    }
}

/* --- which one --- */

double plan_goal_us(const plan_layout *layout, const plan_demand *demand, plan_goal goal)
{
    const plan_speed *s = &layout->speed;
    if (goal == PLAN_LATENCY)
        return plan_time_total(&s->prefill) + demand->answer * plan_time_total(&s->decode);
    return s->prefill_full_us + demand->answer * s->decode_full_us;
}

/* What most of a token's time goes to. */
static const char *binding_part(const plan_time *t, double *share)
{
    const struct {
        const char *what;
        double us;
    } parts[] = {{"reading weights", t->memory_us},
                 {"computing with weights", t->matrix_us - t->memory_us},
                 {"attention", t->attention_us},
                 {"reductions", t->reduce_us},
                 {"hops between stages", t->hop_us}};
    size_t most = 0;
    for (size_t i = 1; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].us > parts[most].us)
            most = i;
    *share = 100.0 * parts[most].us / plan_time_total(t);
    return parts[most].what;
}

static void give_reason(plan_table *table, size_t second, const plan_demand *demand, plan_goal goal)
{
    const plan_layout *best = &table->layouts[table->chosen];
    double share, us = plan_goal_us(best, demand, goal);
    const char *part = binding_part(&best->speed.decode, &share);
    char requests[48] = "one request", next[96] = "; nothing else fits";
    if (goal == PLAN_THROUGHPUT)
        snprintf(requests, sizeof requests, "%u requests together", demand->batch);
    if (second != PLAN_NONE)
        snprintf(next, sizeof next, "; next is tp %u x pp %u with %.3g s", table->layouts[second].tp,
                 table->layouts[second].pp, plan_goal_us(&table->layouts[second], demand, goal) * 1e-6);
    snprintf(table->reason, sizeof table->reason,
             "tp %u x pp %u: %s (%u tokens in, %u out) in %.3g s, the least%s. Of a token's %.3g ms (one sequence) "
             "%.0f %% go to %s",
             best->tp, best->pp, requests, demand->prompt, demand->answer, us * 1e-6, next,
             plan_time_total(&best->speed.decode) * 1e-3, share, part);
}

/* Nothing fits: the layout that needs least of a node tells how far off it is. */
static void give_regret(plan_table *table, const plan_cluster *cluster)
{
    const plan_layout *least = NULL;
    for (size_t i = 0; i < table->n; i++) {
        const plan_layout *l = &table->layouts[i];
        if (l->node_bytes != 0 && (least == NULL || l->node_bytes < least->node_bytes))
            least = l;
    }
    if (least == NULL)
        snprintf(table->reason, sizeof table->reason, "no layout of %u ranks holds this model; use fewer ranks",
                 cluster->nodes * cluster->ranks_per_node);
    else
        snprintf(table->reason, sizeof table->reason,
                 "nothing fits: the least is tp %u x pp %u with %.1f GB on a node of %.1f GB; use more nodes, fewer "
                 "sequences, a "
                 "shorter context or smaller weights (--weights int8, int4)",
                 least->tp, least->pp, gb(least->node_bytes), gb(cluster->memory_bytes));
}

static void choose(plan_table *table, const plan_cluster *cluster, const plan_demand *demand, plan_goal goal)
{
    size_t second = PLAN_NONE;
    table->chosen = PLAN_NONE;
    for (size_t i = 0; i < table->n; i++) {
        if (!table->layouts[i].fits)
            continue;
        double us = plan_goal_us(&table->layouts[i], demand, goal);
        if (table->chosen == PLAN_NONE || us < plan_goal_us(&table->layouts[table->chosen], demand, goal)) {
            second = table->chosen;
            table->chosen = i;
        } else if (second == PLAN_NONE || us < plan_goal_us(&table->layouts[second], demand, goal)) {
            second = i;
        }
    }
    if (table->chosen != PLAN_NONE)
        give_reason(table, second, demand, goal);
    else
        give_regret(table, cluster);
}

/* --- the whole --- */

static base_status check_demand(const arch *a, const plan_cluster *cluster, const plan_demand *demand,
                                base_error *error)
{
    uint32_t positions = a->decoder.max_positions;
    uint64_t n_ranks = (uint64_t)cluster->nodes * cluster->ranks_per_node;
    if (n_ranks == 0 || n_ranks > (1u << 16))
        return base_fail(error, BASE_EINVAL,
                         "%u nodes of %u ranks are not a cluster that can be planned; 1 to 65536 ranks are",
                         cluster->nodes, cluster->ranks_per_node);
    if (demand->context == 0 || demand->batch == 0 || demand->prompt == 0 || demand->step_tokens == 0)
        return base_fail(error, BASE_EINVAL, "context, batch, prompt and step tokens must be at least 1");
    if (demand->context > positions)
        return base_fail(error, BASE_EINVAL, "a context of %u is more than the model's %u positions", demand->context,
                         positions);
    if ((uint64_t)demand->prompt + demand->answer > demand->context)
        return base_fail(error, BASE_EINVAL,
                         "a prompt of %u and an answer of %u tokens are more than the context of %u", demand->prompt,
                         demand->answer, demand->context);
    return BASE_OK;
}

base_status plan_table_make(const plan_model *model, const plan_cluster *cluster, const plan_demand *demand,
                            plan_goal goal, plan_table *out, base_error *error)
{
    base_status status = check_demand(model->a, cluster, demand, error);
    if (status != BASE_OK)
        return status;
    uint32_t n_ranks = cluster->nodes * cluster->ranks_per_node;
    plan_table table = {.layouts = calloc(n_ranks, sizeof *table.layouts)};
    if (table.layouts == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for the layouts of %u ranks", n_ranks);
    for (uint32_t tp = n_ranks; tp > 0 && status == BASE_OK; tp--) {
        if (n_ranks % tp != 0)
            continue;
        plan_layout *layout = &table.layouts[table.n++];
        *layout = (plan_layout){.tp = tp, .pp = n_ranks / tp, .traffic = plan_traffic_of(model, tp, n_ranks / tp)};
        weigh_layout(model, cluster, demand, layout);
        if (layout->fits)
            status = plan_speed_of(model, cluster, tp, layout->pp, demand, &layout->speed, error);
    }
    if (status != BASE_OK) {
        plan_table_release(&table);
        return status;
    }
    choose(&table, cluster, demand, goal);
    *out = table;
    return BASE_OK;
}

void plan_table_release(plan_table *table)
{
    free(table->layouts);
    *table = (plan_table){.chosen = PLAN_NONE};
}
