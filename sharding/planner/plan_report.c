#include "sharding/planner/plan_report.h"

#include <stdlib.h>

#include "sharding/planner/plan_json.h"

static double gb(uint64_t bytes)
{
    return (double)bytes * 1e-9;
}

/* Tokens a second of `batch` sequences that decode together. */
static double tokens_per_s(const plan_layout *layout, const plan_demand *demand)
{
    return demand->batch / (layout->speed.decode_full_us * 1e-6);
}

/* --- for people --- */

static void print_head(const plan_report *r, FILE *out)
{
    plan_parameters n = plan_parameters_of(r->model->a);
    const plan_cluster *c = r->cluster;
    const plan_demand *d = r->demand;
    fprintf(out, "model     %s: %.3f billion parameters", r->name, (double)n.decoder * 1e-9);
    if (n.tower > 0)
        fprintf(out, " and %.3f billion of its vision tower", (double)n.tower * 1e-9);
    fprintf(out, "; weights %s, KV cache %s\n", r->weights, pack_type_name(r->model->kv_type));
    fprintf(out, "demand    %u sequences of %u positions; prompt %u, answer %u tokens; steps of %u\n", d->batch,
            d->context, d->prompt, d->answer, d->step_tokens);
    fprintf(out, "cluster   %u nodes x %u ranks; a node: %u cores, %.4g GB memory read at %.4g GB/s\n", c->nodes,
            c->ranks_per_node, c->cores_per_node, gb(c->memory_bytes), c->memory_gb_per_s);
    fprintf(out, "          network %.4g GB/s, %.4g us; inside a node %.4g GB/s, %.4g us\n", c->network.gb_per_s,
            c->network.latency_us, c->local.gb_per_s, c->local.latency_us);
    fprintf(out, "          kernels (%s), GFLOP/s of a core at 1 / 64 rows:", c->kernels);
    for (int type = 0; type < PACK_N_TYPES; type++)
        fprintf(out, " %s %.3g / %.3g", pack_type_name((pack_type)type), c->rates[type].rows_1, c->rates[type].rows_64);
    fprintf(out, "\n\n");
}

static void print_layout(const plan_report *r, size_t i, FILE *out)
{
    const plan_layout *l = &r->table->layouts[i];
    fprintf(out, "%c %4u x %-4u", i == r->table->chosen ? '*' : ' ', l->tp, l->pp);
    if (!l->fits) {
        fprintf(out, "  %s\n", l->refusal);
        return;
    }
    fprintf(out, "%9.2f %7.2f %7.2f %8.1f %10.3g %9.4g %9.4g %8.4g %9.3g %7.3g %6.3g\n", gb(l->largest.weights),
            gb(l->largest.kv), gb(l->largest.workspace), gb(l->node_bytes), plan_time_total(&l->speed.prefill) * 1e-6,
            plan_time_total(&l->speed.decode) * 1e-3, l->speed.decode_full_us * 1e-3, tokens_per_s(l, r->demand),
            (double)l->traffic.reduce_bytes * 1e-6, (double)l->traffic.prompt_bytes * 1e-6,
            (double)l->traffic.hop_bytes * 1e-6);
}

/* Where the time of the chosen layout goes. */
static void print_parts(const char *what, const plan_time *t, FILE *out)
{
    double all = plan_time_total(t);
    fprintf(out,
            "%s %.4g ms: weights read %.0f %%, weights computed %.0f %%, attention %.0f %%, reductions %.0f %%, hops "
            "%.0f %%\n",
            what, all * 1e-3, 100 * t->memory_us / all, 100 * (t->matrix_us - t->memory_us) / all,
            100 * t->attention_us / all, 100 * t->reduce_us / all, 100 * t->hop_us / all);
}

void plan_report_print(const plan_report *r, FILE *out)
{
    print_head(r, out);
    fprintf(out, "              largest rank: GB               node     prompt     token     token   tokens   sent by "
                 "a rank: MB/token\n");
    fprintf(out, "    tp x pp   weights      KV    work       GB     alone s  alone ms   full ms full /s  reduction  "
                 "prompt    hop\n");
    for (size_t i = 0; i < r->table->n; i++)
        print_layout(r, i, out);
    fprintf(out, "\n");
    if (r->table->chosen != PLAN_NONE) {
        const plan_speed *s = &r->table->layouts[r->table->chosen].speed;
        print_parts("token    ", &s->decode, out);
        print_parts("prompt   ", &s->prefill, out);
        if (s->image_us > 0)
            fprintf(out, "image     %.4g ms\n", s->image_us * 1e-3);
    }
    fprintf(out, "%s  %s\n", r->table->chosen != PLAN_NONE ? "choice  " : "no plan ", r->table->reason);
}

/* --- for machines --- */

static json_t *time_json(const plan_time *t)
{
    return json_pack("{sf sf sf sf sf sf}", "us", plan_time_total(t), "weights_us", t->matrix_us, "weights_read_us",
                     t->memory_us, "attention_us", t->attention_us, "reductions_us", t->reduce_us, "hops_us",
                     t->hop_us);
}

static json_t *layout_json(const plan_layout *l, const plan_demand *demand)
{
    json_t *json =
        json_pack("{si si sb si sI sI sI sI sI sI sI sI}", "tp", (int)l->tp, "pp", (int)l->pp, "fits", l->fits, "ranks",
                  (int)(l->tp * l->pp), "weights_bytes", (json_int_t)l->largest.weights, "kv_bytes",
                  (json_int_t)l->largest.kv, "workspace_bytes", (json_int_t)l->largest.workspace, "node_bytes",
                  (json_int_t)l->node_bytes, "reduce_bytes_per_token", (json_int_t)l->traffic.reduce_bytes,
                  "prompt_reduce_bytes_per_token", (json_int_t)l->traffic.prompt_bytes, "hop_bytes_per_token",
                  (json_int_t)l->traffic.hop_bytes, "reductions_per_token", (json_int_t)l->traffic.n_reductions);
    if (!l->fits) {
        json_object_set_new(json, "refusal", json_string(l->refusal));
        return json;
    }
    json_object_set_new(json, "decode", time_json(&l->speed.decode));
    json_object_set_new(json, "decode_full_us", json_real(l->speed.decode_full_us));
    json_object_set_new(json, "tokens_per_s", json_real(tokens_per_s(l, demand)));
    json_object_set_new(json, "prefill", time_json(&l->speed.prefill));
    json_object_set_new(json, "prefill_full_us", json_real(l->speed.prefill_full_us));
    if (l->speed.image_us > 0)
        json_object_set_new(json, "image_us", json_real(l->speed.image_us));
    return json;
}

static json_t *demand_json(const plan_demand *d)
{
    return json_pack("{si si si si si si}", "context", (int)d->context, "batch", (int)d->batch, "prompt",
                     (int)d->prompt, "answer", (int)d->answer, "step_tokens", (int)d->step_tokens, "image_slots",
                     (int)d->image_slots);
}

base_status plan_report_json(const plan_report *r, base_buf *out, base_error *error)
{
    plan_parameters n = plan_parameters_of(r->model->a);
    json_t *layouts = json_array();
    for (size_t i = 0; i < r->table->n; i++)
        json_array_append_new(layouts, layout_json(&r->table->layouts[i], r->demand));
    json_t *choice = json_null();
    if (r->table->chosen != PLAN_NONE)
        choice = json_integer((json_int_t)r->table->chosen);
    json_t *json = json_pack("{ss ss ss sI sI so so ss so so ss}", "model", r->name, "weights", r->weights, "kv_type",
                             pack_type_name(r->model->kv_type), "decoder_parameters", (json_int_t)n.decoder,
                             "tower_parameters", (json_int_t)n.tower, "demand", demand_json(r->demand), "cluster",
                             plan_cluster_json(r->cluster), "goal", r->goal == PLAN_LATENCY ? "latency" : "throughput",
                             "layouts", layouts, "choice", choice, "reason", r->table->reason);
    return plan_json_put(json, out, error);
}
