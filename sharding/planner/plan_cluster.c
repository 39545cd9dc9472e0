#include "sharding/planner/plan_cluster.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sharding/json_read.h"
#include "sharding/model_file.h"
#include "sharding/planner/plan_json.h"

#define FORMAT "palmgrove-cluster-1"

/* Ranges of the file's numbers: generous for any machine, and no quotient of them leaves a double. */
#define MAX_COUNT  (1u << 20)
#define MIN_FIGURE 1e-6
#define MAX_FIGURE 1e9

/* What a core does with each type, as a share of its rate with f32 weights and 64 rows.  Measured with the AVX-512
 * kernels on one core of an AMD EPYC 9004 (117 GFLOP/s), the matrix in its second cache: a row alone waits for its own
 * sums and pays for unpacking, 64 rows share both. */
static const plan_rates shares[PACK_N_TYPES] = {
    [PACK_F32] = {0.45, 1.00, 0.44, 0.88},  [PACK_F16] = {0.42, 0.88, 0.40, 0.79},
    [PACK_BF16] = {0.43, 0.91, 0.40, 0.80}, [PACK_INT8] = {0.42, 0.87, 0.40, 0.78},
    [PACK_INT4] = {0.40, 0.83, 0.38, 0.75},
};
#define ATTENTION_SHARE 0.54

void plan_cluster_set_flops(plan_cluster *cluster, double gflops)
{
    for (int type = 0; type < PACK_N_TYPES; type++) {
        const plan_rates *share = &shares[type];
        cluster->rates[type] = (plan_rates){share->rows_1 * gflops, share->rows_64 * gflops,
                                            share->fixed_rows_1 * gflops, share->fixed_rows_64 * gflops};
    }
    cluster->attention_gflops = ATTENTION_SHARE * gflops;
    snprintf(cluster->kernels, sizeof cluster->kernels, "assumed");
}

plan_cluster plan_cluster_default(void)
{
    plan_cluster cluster = {
        .nodes = 16,
        .ranks_per_node = 2,
        .cores_per_node = 64,
        .memory_bytes = UINT64_C(512000000000),
        .memory_gb_per_s = 400,
        .call_us = 5,
        .local = {1.5, 8},
        .network = {5, 12.5},
    };
    plan_cluster_set_flops(&cluster, 80);
    return cluster;
}

/* --- reading --- */

static double figure(shard_json *json, const char *field)
{
    return shard_json_number(json, field, MIN_FIGURE, MAX_FIGURE);
}

/* The object `field` of `json`, read with a scope of its own whose failure becomes the outer one's. */
static shard_json inner(const shard_json *json, const char *field, const char *path)
{
    return shard_json_over(json_object_get(json->object, field), json->file, path, json->error);
}

static void take_status(shard_json *json, const shard_json *from)
{
    if (json->status == BASE_OK)
        json->status = from->status;
}

static void read_rates(shard_json *json, plan_rates rates[PACK_N_TYPES])
{
    const json_t *kernels = json_object_get(json->object, "kernels");
    for (int type = 0; type < PACK_N_TYPES && json->status == BASE_OK; type++) {
        char path[48];
        const char *name = pack_type_name((pack_type)type);
        snprintf(path, sizeof path, "kernels.%s.", name);
        shard_json one = shard_json_over(json_object_get(kernels, name), json->file, path, json->error);
        rates[type].rows_1 = figure(&one, "rows_1_gflops");
        rates[type].rows_64 = figure(&one, "rows_64_gflops");
        rates[type].fixed_rows_1 = figure(&one, "fixed_rows_1_gflops");
        rates[type].fixed_rows_64 = figure(&one, "fixed_rows_64_gflops");
        take_status(json, &one);
    }
}

static void read_wire(shard_json *json, const char *field, const char *path, plan_wire *out)
{
    if (json->status != BASE_OK)
        return;
    shard_json wire = inner(json, field, path);
    out->latency_us = figure(&wire, "latency_us");
    out->gb_per_s = figure(&wire, "gb_per_s");
    take_status(json, &wire);
}

static base_status read_cluster(const json_t *root, const char *path, plan_cluster *out, base_error *error)
{
    shard_json json = shard_json_over(root, path, "", error);
    plan_cluster c = {0};
    const char *format = shard_json_text(&json, "format");
    if (json.status == BASE_OK && strcmp(format, FORMAT) != 0)
        return base_fail(error, BASE_EFORMAT,
                         "'%s': format is '%s', expected '%s'; measure the cluster again with plan --measure", path,
                         format, FORMAT);
    c.nodes = shard_json_u32(&json, "nodes", 1, MAX_COUNT);
    c.ranks_per_node = shard_json_u32(&json, "ranks_per_node", 1, MAX_COUNT);
    c.cores_per_node = shard_json_u32(&json, "cores_per_node", 1, MAX_COUNT);
    c.memory_bytes = (uint64_t)(shard_json_number(&json, "memory_gb", 1e-3, MAX_FIGURE) * 1e9);
    c.memory_gb_per_s = figure(&json, "memory_gb_per_s");
    c.attention_gflops = figure(&json, "attention_gflops");
    c.call_us = figure(&json, "call_us");
    read_rates(&json, c.rates);
    read_wire(&json, "local", "local.", &c.local);
    read_wire(&json, "network", "network.", &c.network);
    if (json.status == BASE_OK)
        snprintf(c.kernels, sizeof c.kernels, "%s", shard_json_text(&json, "kernel_set"));
    if (json.status == BASE_OK)
        *out = c;
    return json.status;
}

base_status plan_cluster_read(const char *path, plan_cluster *out, base_error *error)
{
    base_buf text = {0};
    json_t *root = NULL;
    const char *slash = strrchr(path, '/');
    char folder[4096];
    int n = slash != NULL ? snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path)
                          : snprintf(folder, sizeof folder, ".");
    if (n < 0 || (size_t)n >= sizeof folder)
        return base_fail(error, BASE_EINVAL, "the name of the cluster file is longer than %zu bytes", sizeof folder);
    base_status status = shard_file_read(folder, slash != NULL ? slash + 1 : path, &text, error);
    if (status == BASE_ENOTFOUND)
        base_error_set(error, status, "no cluster file '%s'; write one with: mpirun palmgrove plan --measure", path);
    if (status == BASE_OK)
        status = shard_json_parse(path, text.data, text.size, &root, error);
    if (status == BASE_OK)
        status = read_cluster(root, path, out, error);
    json_decref(root);
    base_buf_release(&text);
    return status;
}

/* --- writing --- */

static json_t *rates_json(const plan_rates *rates)
{
    return json_pack("{so so so so}", "rows_1_gflops", json_real(rates->rows_1), "rows_64_gflops",
                     json_real(rates->rows_64), "fixed_rows_1_gflops", json_real(rates->fixed_rows_1),
                     "fixed_rows_64_gflops", json_real(rates->fixed_rows_64));
}

static json_t *wire_json(const plan_wire *wire)
{
    return json_pack("{so so}", "latency_us", json_real(wire->latency_us), "gb_per_s", json_real(wire->gb_per_s));
}

json_t *plan_cluster_json(const plan_cluster *c)
{
    json_t *kernels = json_object();
    for (int type = 0; type < PACK_N_TYPES; type++)
        json_object_set_new(kernels, pack_type_name((pack_type)type), rates_json(&c->rates[type]));
    return json_pack("{ss si si si so so ss so so so so so}", "format", FORMAT, "nodes", (int)c->nodes,
                     "ranks_per_node", (int)c->ranks_per_node, "cores_per_node", (int)c->cores_per_node, "memory_gb",
                     json_real((double)c->memory_bytes * 1e-9), "memory_gb_per_s", json_real(c->memory_gb_per_s),
                     "kernel_set", c->kernels, "kernels", kernels, "attention_gflops", json_real(c->attention_gflops),
                     "call_us", json_real(c->call_us), "local", wire_json(&c->local), "network",
                     wire_json(&c->network));
}

base_status plan_json_put(json_t *json, base_buf *out, base_error *error)
{
    char *text = json != NULL ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(json);
    if (text != NULL) {
        base_buf_put(out, text, strlen(text));
        base_buf_put(out, "\n", 1);
    }
    bool is_whole = text != NULL && !out->failed;
    free(text);
    return is_whole ? BASE_OK : base_fail(error, BASE_ENOMEM, "out of memory for a JSON text");
}

base_status plan_cluster_write(const plan_cluster *cluster, base_buf *out, base_error *error)
{
    return plan_json_put(plan_cluster_json(cluster), out, error);
}
