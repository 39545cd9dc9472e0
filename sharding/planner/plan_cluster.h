/* plan_cluster.h - a cluster as the planner sees it: what a node has, how fast its kernels and its network are.
 *
 * Typed in, or measured by `palmgrove plan --measure` and kept in a small JSON file. */
#ifndef PALMGROVE_PLANNER_CLUSTER_H
#define PALMGROVE_PLANNER_CLUSTER_H

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "sharding/pack/pack.h"

/* Speed of the kernels over one weight type, GFLOP/s of one core while all cores work, on matrices larger than the
 * caches; a weight and a row are 2 flops.  `rows_1`: one row of activations, `rows_64`: 64 rows.  `fixed`:
 * kern_linear_fixed. */
typedef struct plan_rates {
    double rows_1, rows_64, fixed_rows_1, fixed_rows_64;
} plan_rates;

/* A message between two ranks takes latency + bytes / bandwidth. */
typedef struct plan_wire {
    double latency_us, gb_per_s;
} plan_wire;

typedef struct plan_cluster {
    uint32_t nodes, ranks_per_node, cores_per_node;
    uint64_t memory_bytes;  /* of a node */
    double memory_gb_per_s; /* of a node: what all its cores together read */
    plan_rates rates[PACK_N_TYPES];
    double attention_gflops; /* of one core */
    double call_us;          /* of one kernel call: a team of threads starts and meets again */
    plan_wire local;         /* inside a node */
    plan_wire network;       /* a node's link, each direction */
    char kernels[16];        /* the kernel variant that was measured, or "assumed" */
} plan_cluster;

/* 16 nodes as sites buy them; what each figure is taken from stands in docs/PLANNING.md. */
plan_cluster plan_cluster_default(void);

/* Rates for a core that does `gflops` with f32 weights and 64 rows: the ratios measured with the AVX-512 kernels. */
void plan_cluster_set_flops(plan_cluster *cluster, double gflops);

/* Errors: BASE_ENOTFOUND, BASE_EIO, BASE_EFORMAT with the field. */
base_status plan_cluster_read(const char *path, plan_cluster *out, base_error *error);
/* The JSON text that plan_cluster_read reads, appended to `out`. */
base_status plan_cluster_write(const plan_cluster *cluster, base_buf *out, base_error *error);

#endif
