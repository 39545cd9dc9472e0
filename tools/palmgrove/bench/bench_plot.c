/* bench_plot.c - the results as a picture: a roofline for the kernels, bars for the engine, one under the other.
 *
 * Roofline (Williams, Waterman, Patterson 2009): operations a second over operations a byte, both on a logarithmic
 * scale.  Left of the bend memory bounds (the slope), right of it the cores (a line each for f32 and int8). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/palmgrove/bench/bench.h"
#include "tools/output/svg.h"

#define WIDTH 860.0
#define LEFT  70.0
#define RIGHT 190.0 /* of the legend */
#define HEAD  64.0
#define ROOF  420.0
#define BAR   22.0
#define INK   "#222222"
#define FAINT "#dddddd"

static const char *const type_colours[] = {"#7f7f7f", "#9467bd", "#1f77b4", "#2ca02c", "#d62728", "#ff7f0e", "#17becf"};

/* --- the roofline --- */

/* A logarithmic scale from `low` to `high` onto [from, to] of the picture. */
typedef struct scale {
    double low, high, from, to;
} scale;

static double place(const scale *s, double value)
{
    return s->from + (s->to - s->from) * log(value / s->low) / log(s->high / s->low);
}

static void draw_grid(base_buf *out, const scale *x, const scale *y)
{
    char label[32];
    for (double v = x->low; v <= x->high * 1.001; v *= 10.0) {
        svg_line(out, place(x, v), y->from, place(x, v), y->to, FAINT, 1);
        snprintf(label, sizeof label, "%g", v);
        svg_text(out, place(x, v), y->from + 16, 11, SVG_MIDDLE, INK, label);
    }
    for (double v = y->low; v <= y->high * 1.001; v *= 10.0) {
        svg_line(out, x->from, place(y, v), x->to, place(y, v), FAINT, 1);
        snprintf(label, sizeof label, "%g", v);
        svg_text(out, x->from - 6, place(y, v) + 4, 11, SVG_RIGHT, INK, label);
    }
    svg_text(out, (x->from + x->to) / 2, y->from + 34, 12, SVG_MIDDLE, INK,
             "operations for each byte of weights or cache");
    svg_text(out, x->from, y->to - 8, 12, SVG_LEFT, INK, "Gop/s");
}

/* The slope of memory up to a level of arithmetic. */
static void draw_roof(base_buf *out, const scale *x, const scale *y, double read_gb_s, double gop_s, const char *name)
{
    double bend = gop_s / read_gb_s, start = fmax(x->low, y->low / read_gb_s);
    svg_line(out, place(x, start), place(y, start * read_gb_s), place(x, bend), place(y, gop_s), INK, 1.5);
    svg_line(out, place(x, bend), place(y, gop_s), x->to, place(y, gop_s), INK, 1.5);
    char label[64];
    snprintf(label, sizeof label, "%s %.0f Gop/s", name, gop_s);
    svg_text(out, x->to + 6, place(y, gop_s) + 4, 11, SVG_LEFT, INK, label);
}

/* Weight types by f32 activations, then the quantised ones by int8. */
static size_t series_of(const bench_kernel_row *row)
{
    pack_type type = PACK_F32;
    pack_type_find(row->type, &type);
    return strcmp(row->activations, "int8") == 0 ? PACK_N_TYPES + (size_t)(type == PACK_INT4) : (size_t)type;
}

static void draw_kernels(const bench_results *r, const scale *x, const scale *y, base_buf *out)
{
    bool named[sizeof type_colours / sizeof type_colours[0]] = {false};
    double legend = y->from - 110;
    for (size_t i = 0; i < r->n_kernels; i++) {
        const bench_kernel_row *row = &r->kernels[i];
        size_t series = series_of(row);
        const char *colour = type_colours[series];
        svg_dot(out, place(x, fmin(fmax(row->gop_s / row->gb_s, x->low), x->high)), place(y, fmax(row->gop_s, y->low)),
                4, colour);
        if (named[series])
            continue;
        char label[64];
        snprintf(label, sizeof label, "%s x %s", row->type, row->activations);
        svg_dot(out, x->to + 14, legend - 4, 4, colour);
        svg_text(out, x->to + 24, legend, 11, SVG_LEFT, INK, label);
        named[series] = true;
        legend += 16;
    }
}

static double draw_roofline(const bench_results *r, double top, base_buf *out)
{
    double peak = fmax(r->limits.int8_gop_s, r->limits.f32_gop_s);
    const scale x = {0.1, 1e4, LEFT, WIDTH - RIGHT};
    const scale y = {1.0, pow(10.0, ceil(log10(fmax(peak, 10.0)) + 0.05)), top + ROOF, top + 20};
    draw_grid(out, &x, &y);
    draw_roof(out, &x, &y, r->limits.read_gb_s, r->limits.f32_gop_s, "f32");
    draw_roof(out, &x, &y, r->limits.read_gb_s, r->limits.int8_gop_s, "int8");
    char label[64];
    snprintf(label, sizeof label, "memory %.1f GB/s", r->limits.read_gb_s);
    svg_text(out, place(&x, 0.12), place(&y, fmax(0.5 * r->limits.read_gb_s, y.low * 2)), 11, SVG_LEFT, INK, label);
    draw_kernels(r, &x, &y, out);
    return top + ROOF + 60;
}

/* --- bars --- */

static double draw_bars(const bench_results *r, double top, base_buf *out)
{
    static const char *const colours[] = {"#1f77b4", "#2ca02c"}; /* prefill, decode: each has a scale of its own */
    double most[2] = {1e-9, 1e-9}, from = LEFT + 170, to = WIDTH - RIGHT - 20;
    for (size_t i = 0; i < r->n_engine; i++)
        most[r->engine[i].decode] = fmax(most[r->engine[i].decode], r->engine[i].tokens_per_s.high);
    for (size_t i = 0; i < r->n_engine; i++, top += BAR) {
        const bench_engine_row *row = &r->engine[i];
        double each = (to - from) / most[row->decode], middle = top + BAR / 2;
        char label[96];
        snprintf(label, sizeof label, "%s %u, batch %u, depth %u", row->decode ? "decode" : "prefill", row->tokens,
                 row->batch, row->depth);
        svg_text(out, from - 8, middle + 4, 11, SVG_RIGHT, INK, label);
        svg_box(out, from, top + 3, row->tokens_per_s.median * each, BAR - 6, colours[row->decode]);
        svg_line(out, from + row->tokens_per_s.low * each, middle, from + row->tokens_per_s.high * each, middle, INK,
                 2);
        snprintf(label, sizeof label, "%.1f tokens/s, %.0f %% of %s", row->tokens_per_s.median,
                 100.0 * fmax(row->read_share, row->peak_share), row->read_share > row->peak_share ? "read" : "peak");
        svg_text(out, to + 8, middle + 4, 11, SVG_LEFT, INK, label);
    }
    return top + 20;
}

base_status bench_plot(const bench_results *r, base_buf *out, base_error *error)
{
    const bench_machine *m = &r->machine;
    double height = HEAD + (r->n_kernels > 0 ? ROOF + 60 : 0) + (r->n_engine > 0 ? (double)r->n_engine * BAR + 20 : 0);
    char line[512];
    svg_begin(out, WIDTH, height);
    snprintf(line, sizeof line, "palmgrove %s bench: %s, %u rank%s of %u thread%s, %s kernels", m->version, m->cpu,
             m->ranks, m->ranks == 1 ? "" : "s", m->threads, m->threads == 1 ? "" : "s", m->isa);
    svg_text(out, 16, 24, 15, SVG_LEFT, INK, line);
    if (m->billions > 0.0)
        snprintf(line, sizeof line, "%s, weights %s, activations %s, tp %u x pp %u; %s", m->model, m->weights,
                 m->activations, m->tp, m->pp, m->date);
    else
        snprintf(line, sizeof line, "%s", m->date);
    svg_text(out, 16, 44, 12, SVG_LEFT, INK, line);
    double top = HEAD;
    if (r->n_kernels > 0)
        top = draw_roofline(r, top, out);
    if (r->n_engine > 0)
        draw_bars(r, top, out);
    svg_end(out);
    return out->failed ? base_fail(error, BASE_ENOMEM, "no memory for the picture") : BASE_OK;
}
