/* bench_report.c - the results for people and for programs.  The JSON's fields are documented in docs/PERFORMANCE.md;
 * programs rely on them. */
#include <string.h>

#include "tools/palmgrove/bench/bench.h"
#include "tools/output/json_text.h"

static double percent(double share)
{
    return 100.0 * share;
}

/* --- text --- */

static void print_machine(const bench_machine *m, FILE *out)
{
    fprintf(out, "palmgrove %s bench, %s\n", m->version, m->date);
    fprintf(out, "  machine   %s, %s\n", m->cpu, m->system);
    fprintf(out, "  ranks     %u on %u node%s, %u thread%s each%s; rank 0: %s\n", m->ranks, m->nodes,
            m->nodes == 1 ? "" : "s", m->threads, m->threads == 1 ? "" : "s", m->pinned ? ", pinned" : ", not pinned",
            m->places);
    fprintf(out, "  kernels   %s\n", m->isa);
    if (m->billions > 0.0)
        fprintf(out,
                "  model     %s: %.3f billion parameters; weights %s, activations %s, KV cache %s; tp %u x pp %u\n",
                m->model, m->billions, m->weights, m->activations, m->kv, m->tp, m->pp);
}

static void print_limits(const bench_limits *l, FILE *out)
{
    fprintf(out, "  limits    read %.1f GB/s (", l->read_gb_s);
    for (size_t i = 0; i < l->n_by_threads; i++)
        fprintf(out, "%s%u thread%s %.1f", i == 0 ? "" : ", ", l->by_threads[i].threads,
                l->by_threads[i].threads == 1 ? "" : "s", l->by_threads[i].read_gb_s);
    fprintf(out, "), f32 %.0f Gop/s, int8 %.0f Gop/s (%s)\n", l->f32_gop_s, l->int8_gop_s, l->int8_name);
}

static void print_engine(const bench_results *r, FILE *out)
{
    fprintf(out, "\n  engine     tokens  batch  depth   tokens/s  (quartiles)            MB/token  of read   Gop/token "
                 " of peak\n");
    for (size_t i = 0; i < r->n_engine; i++) {
        const bench_engine_row *row = &r->engine[i];
        char spread[48];
        snprintf(spread, sizeof spread, "(%.1f to %.1f)", row->tokens_per_s.low, row->tokens_per_s.high);
        fprintf(out, "  %-9s %7u %6u %6u %10.1f  %-20s %10.1f %6.1f %% %11.3f %6.1f %%\n",
                row->decode ? "decode" : "prefill", row->tokens, row->batch, row->depth, row->tokens_per_s.median,
                spread, row->bytes_per_token * 1e-6, percent(row->read_share), row->ops_per_token * 1e-9,
                percent(row->peak_share));
    }
}

static void print_kernels(const bench_results *r, FILE *out)
{
    fprintf(out, "\n  kernels    weights  activations   rows      GB/s     Gop/s   share of\n");
    for (size_t i = 0; i < r->n_kernels; i++) {
        const bench_kernel_row *row = &r->kernels[i];
        fprintf(out, "  %-10s %-8s %-11s %6u %9.1f %9.1f %6.1f %% %s\n", row->what, row->type, row->activations,
                row->rows, row->gb_s, row->gop_s, percent(row->share), bench_bound_name(row->bound));
    }
}

static void print_collectives(const bench_results *r, FILE *out)
{
    fprintf(out, "\n  sums            bytes  ranks     ours us      MPI us   times\n");
    for (size_t i = 0; i < r->n_collectives; i++) {
        const bench_collective_row *row = &r->collectives[i];
        fprintf(out, "  %19zu %6u %11.1f %11.1f %7.2f\n", row->bytes, row->ranks, row->own_us, row->mpi_us,
                row->mpi_us / row->own_us);
    }
}

static void print_products(const bench_results *r, FILE *out)
{
    fprintf(out, "\n  products   weights  own activations   rows   own Gop/s  %s Gop/s   times\n", r->provider);
    for (size_t i = 0; i < r->n_products; i++) {
        const bench_products_row *row = &r->products[i];
        fprintf(out, "  %-10s %-8s %-15s %6u %11.1f %*.1f %7.2f\n", row->what, row->type, row->activations, row->rows,
                row->own_gop_s, (int)strlen(r->provider) + 7, row->openblas_gop_s, row->ratio);
    }
}

void bench_print(const bench_results *r, FILE *out)
{
    print_machine(&r->machine, out);
    if (r->has_limits)
        print_limits(&r->limits, out);
    if (r->has_load)
        fprintf(out, "  load      %.2f GB of weights in %.2f s: %.2f GB/s\n", (double)r->load.bytes * 1e-9,
                r->load.seconds, (double)r->load.bytes * 1e-9 / r->load.seconds);
    if (r->n_engine > 0)
        print_engine(r, out);
    if (r->n_kernels > 0)
        print_kernels(r, out);
    if (r->n_products > 0)
        print_products(r, out);
    if (r->n_collectives > 0)
        print_collectives(r, out);
}

/* --- JSON --- */

static void put_machine(json_text *j, const bench_machine *m)
{
    json_text_open(j, "machine", '{');
    json_text_string(j, "date", m->date);
    json_text_string(j, "version", m->version);
    json_text_string(j, "cpu", m->cpu);
    json_text_string(j, "system", m->system);
    json_text_string(j, "isa", m->isa);
    json_text_count(j, "nodes", m->nodes);
    json_text_count(j, "ranks", m->ranks);
    json_text_count(j, "threads", m->threads);
    json_text_bool(j, "pinned", m->pinned);
    json_text_string(j, "wire", m->wire);
    json_text_string(j, "places", m->places);
    if (m->billions > 0.0) {
        json_text_count(j, "tp", m->tp);
        json_text_count(j, "pp", m->pp);
        json_text_string(j, "model", m->model);
        json_text_real(j, "parameters", m->billions * 1e9);
        json_text_string(j, "weights", m->weights);
        json_text_string(j, "activations", m->activations);
        json_text_string(j, "kv", m->kv);
    }
    json_text_close(j, '}');
}

static void put_limits(json_text *j, const bench_limits *l)
{
    json_text_open(j, "limits", '{');
    json_text_real(j, "read_gb_s", l->read_gb_s);
    json_text_real(j, "f32_gop_s", l->f32_gop_s);
    json_text_real(j, "int8_gop_s", l->int8_gop_s);
    json_text_string(j, "int8_instruction", l->int8_name);
    json_text_open(j, "read_by_threads", '[');
    for (size_t i = 0; i < l->n_by_threads; i++) {
        json_text_open(j, NULL, '{');
        json_text_count(j, "threads", l->by_threads[i].threads);
        json_text_real(j, "read_gb_s", l->by_threads[i].read_gb_s);
        json_text_close(j, '}');
    }
    json_text_close(j, ']');
    json_text_close(j, '}');
}

static void put_engine(json_text *j, const bench_engine_row *row)
{
    json_text_open(j, NULL, '{');
    json_text_string(j, "what", row->decode ? "decode" : "prefill");
    json_text_count(j, "tokens", row->tokens);
    json_text_count(j, "batch", row->batch);
    json_text_count(j, "depth", row->depth);
    json_text_open(j, "tokens_per_s", '{');
    json_text_real(j, "median", row->tokens_per_s.median);
    json_text_real(j, "low", row->tokens_per_s.low);
    json_text_real(j, "high", row->tokens_per_s.high);
    json_text_close(j, '}');
    json_text_real(j, "bytes_per_token", row->bytes_per_token);
    json_text_real(j, "ops_per_token", row->ops_per_token);
    json_text_real(j, "read_share", row->read_share);
    json_text_real(j, "peak_share", row->peak_share);
    json_text_close(j, '}');
}

static void put_kernel(json_text *j, const bench_kernel_row *row)
{
    json_text_open(j, NULL, '{');
    json_text_string(j, "type", row->type);
    json_text_string(j, "activations", row->activations);
    json_text_string(j, "what", row->what);
    json_text_count(j, "rows", row->rows);
    json_text_real(j, "gb_s", row->gb_s);
    json_text_real(j, "gop_s", row->gop_s);
    json_text_real(j, "share", row->share);
    json_text_string(j, "bound", bench_bound_name(row->bound));
    json_text_close(j, '}');
}

static void put_collective(json_text *j, const bench_collective_row *row)
{
    json_text_open(j, NULL, '{');
    json_text_count(j, "bytes", row->bytes);
    json_text_count(j, "ranks", row->ranks);
    json_text_real(j, "own_us", row->own_us);
    json_text_real(j, "mpi_us", row->mpi_us);
    json_text_close(j, '}');
}

static void put_products(json_text *j, const bench_results *r)
{
    json_text_open(j, "products", '{');
    json_text_string(j, "provider", r->provider);
    json_text_open(j, "rows", '[');
    for (size_t i = 0; i < r->n_products; i++) {
        const bench_products_row *row = &r->products[i];
        json_text_open(j, NULL, '{');
        json_text_string(j, "what", row->what);
        json_text_string(j, "type", row->type);
        json_text_string(j, "own_activations", row->activations);
        json_text_count(j, "rows", row->rows);
        json_text_real(j, "own_gop_s", row->own_gop_s);
        json_text_real(j, "openblas_gop_s", row->openblas_gop_s);
        json_text_real(j, "ratio", row->ratio);
        json_text_close(j, '}');
    }
    json_text_close(j, ']');
    json_text_close(j, '}');
}

static void put_load(json_text *j, const bench_load *load)
{
    json_text_open(j, "load", '{');
    json_text_real(j, "seconds", load->seconds);
    json_text_count(j, "bytes", load->bytes);
    json_text_real(j, "gb_s", (double)load->bytes * 1e-9 / load->seconds);
    json_text_close(j, '}');
}

base_status bench_json(const bench_results *r, base_buf *out, base_error *error)
{
    json_text j = {.out = out};
    json_text_open(&j, NULL, '{');
    put_machine(&j, &r->machine);
    if (r->has_limits)
        put_limits(&j, &r->limits);
    json_text_open(&j, "engine", '[');
    for (size_t i = 0; i < r->n_engine; i++)
        put_engine(&j, &r->engine[i]);
    json_text_close(&j, ']');
    json_text_open(&j, "kernels", '[');
    for (size_t i = 0; i < r->n_kernels; i++)
        put_kernel(&j, &r->kernels[i]);
    json_text_close(&j, ']');
    json_text_open(&j, "collectives", '[');
    for (size_t i = 0; i < r->n_collectives; i++)
        put_collective(&j, &r->collectives[i]);
    json_text_close(&j, ']');
    if (r->n_products > 0)
        put_products(&j, r);
    if (r->has_load)
        put_load(&j, &r->load);
    json_text_close(&j, '}');
    return out->failed ? base_fail(error, BASE_ENOMEM, "no memory for the results") : BASE_OK;
}
