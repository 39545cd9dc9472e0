/* eval_plots.c - the report's drawings: inline SVG in the page's colours.
 *
 *      +--------------------------------+
 *      |  LEFT  TOP                     |      a plot's frame is SIDE x SIDE, or WIDE x LOW for histograms
 *      |     y |~~~~~~~~~~~~~|          |
 *      |       +-------------+ x        |
 *      +--------------------------------+ */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/eval/eval_html.h"
#include "tools/output/svg.h"

enum {
    SIDE = 260,
    WIDE = 300,
    LOW = 180,
    LEFT = 46,
    TOP = 12,
    RIGHT = 14,
    BOTTOM = 42,
    N_CURVES = 8,
    N_BINS = 20,
    N_CONFUSED = 12,
    POINTS_MAX = 400
};

#define INK    "var(--ink)"
#define SOFT   "var(--soft)"
#define GRID   "var(--grid)"
#define ACCENT "var(--accent)"

typedef struct frame {
    base_buf *out;
    double width, height; /* of the plotted area */
    double x_most, y_most;
} frame;

static double at_x(const frame *f, double x)
{
    return LEFT + x / f->x_most * f->width;
}

static double at_y(const frame *f, double y)
{
    return TOP + (1.0 - y / f->y_most) * f->height;
}

static void figure_begin(base_buf *out, const char *title, const char *description, double width, double height)
{
    html_put(out, "<figure class=\"plot\"><h4>%s</h4>", title);
    html_put(out, "<svg viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" role=\"img\" aria-label=\"", width,
             height, width, height);
    html_text(out, description);
    html_put(out, "\">\n");
}

static void figure_end(base_buf *out)
{
    html_put(out, "</svg>");
}

static void caption_begin(base_buf *out)
{
    html_put(out, "<figcaption>");
}

static void caption_end(base_buf *out)
{
    html_put(out, "</figcaption></figure>\n");
}

static void draw_axes(const frame *f, const char *x_name, const char *y_name, const char *number)
{
    char text[32];
    for (int i = 0; i <= 4; i++) {
        double x = f->x_most * i / 4, y = f->y_most * i / 4;
        svg_line(f->out, LEFT, at_y(f, y), LEFT + f->width, at_y(f, y), GRID, 1);
        snprintf(text, sizeof text, number, y);
        svg_text(f->out, LEFT - 6, at_y(f, y) + 4, 11, SVG_RIGHT, SOFT, text);
        snprintf(text, sizeof text, number, x);
        svg_text(f->out, at_x(f, x), TOP + f->height + 16, 11, SVG_MIDDLE, SOFT, text);
    }
    svg_text(f->out, LEFT + f->width / 2, TOP + f->height + 34, 11, SVG_MIDDLE, SOFT, x_name);
    html_put(f->out,
             "<text transform=\"translate(11 %.0f) rotate(-90)\" font-size=\"11\" font-family=\"sans-serif\" "
             "text-anchor=\"middle\" fill=\"" SOFT "\">%s</text>",
             TOP + f->height / 2, y_name);
}

static frame square(base_buf *out)
{
    return (frame){out, SIDE, SIDE - 40, 1.0, 1.0};
}

/* ---- ROC ---- */

static void draw_curve(const frame *f, const metric_point *points, size_t n, size_t colour)
{
    size_t step = n > POINTS_MAX ? n / POINTS_MAX : 1;
    html_put(f->out,
             "<polyline fill=\"none\" stroke=\"var(--s%zu)\" stroke-width=\"2\" stroke-linejoin=\"round\" points=\"",
             colour);
    for (size_t i = 0; i < n; i += step)
        html_put(f->out, "%.1f,%.1f ", at_x(f, points[i].x), at_y(f, points[i].y));
    html_put(f->out, "%.1f,%.1f\"/>\n", at_x(f, 1), at_y(f, 1));
}

static double area_of(const metric_point *points, size_t n)
{
    double area = 0.0;
    for (size_t i = 1; i < n; i++)
        area += (points[i].x - points[i - 1].x) * (points[i].y + points[i - 1].y) / 2;
    return area;
}

static const char *class_name(const eval_scored *s, uint32_t c)
{
    const eval_case *first = &s->cases->cases[s->index[0]];
    if (c < s->task->answer.n_classes)
        return s->task->answer.classes[c].name;
    return c < task_class_count(s->task, first->fields, first->n_fields)
               ? task_class_name(s->task, first->fields, first->n_fields, c)
               : "?";
}

static void draw_class(const eval_scored *s, const frame *f, uint32_t c, size_t *n_drawn, base_buf *legend)
{
    metric_point *points = NULL;
    size_t n = 0;
    base_error error = {0};
    if (metric_roc(&s->input, c, &points, &n, &error) != BASE_OK || n == 0) {
        free(points);
        return;
    }
    draw_curve(f, points, n, *n_drawn);
    html_put(legend, "<span class=\"key\"><i style=\"background:var(--s%zu)\"></i>", *n_drawn);
    html_text_cut(legend, class_name(s, c), 40);
    html_put(legend, " <b>%.3f</b></span> ", area_of(points, n));
    ++*n_drawn;
    free(points);
}

void plot_roc(const eval_scored *s, base_buf *out)
{
    if (s->n_scored == 0 || s->task->answer.form == TASK_ANSWER_CHOICE)
        return;
    base_buf drawing = {0}, legend = {0};
    frame f = square(&drawing);
    size_t n_drawn = 0;
    draw_axes(&f, "false positive rate", "true positive rate", "%.2g");
    html_put(&drawing,
             "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"" SOFT "\" stroke-dasharray=\"4 4\"/>",
             at_x(&f, 0), at_y(&f, 0), at_x(&f, 1), at_y(&f, 1));
    for (uint32_t c = 0; c < s->input.n_classes && n_drawn < N_CURVES; c++)
        if (s->input.positive < 0 || (uint32_t)s->input.positive == c)
            draw_class(s, &f, c, &n_drawn, &legend);
    if (n_drawn > 0) {
        figure_begin(out, "ROC", "ROC curves, true over false positive rate; areas in the caption",
                     LEFT + f.width + RIGHT, TOP + f.height + BOTTOM);
        base_buf_put(out, drawing.data, drawing.size);
        figure_end(out);
        caption_begin(out);
        html_put(out, "Area under the curve, all cases together: ");
        base_buf_put(out, legend.data, legend.size);
        caption_end(out);
    }
    out->failed |= drawing.failed || legend.failed;
    base_buf_release(&drawing);
    base_buf_release(&legend);
}

/* ---- confusion ---- */

static void draw_cell(base_buf *out, double x, double y, double size, size_t n, size_t n_row)
{
    char text[24];
    double share = n_row > 0 ? (double)n / (double)n_row : 0.0;
    html_put(out,
             "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"3\" fill=\"" ACCENT
             "\" fill-opacity=\"%.3f\"/>",
             x + 1, y + 1, size - 2, size - 2, 0.04 + 0.56 * share);
    snprintf(text, sizeof text, "%zu", n);
    svg_text(out, x + size / 2, y + size / 2 + 4, size > 34 ? 13 : 10, SVG_MIDDLE, INK, text);
}

static void short_name(const eval_scored *s, uint32_t c, char out[16])
{
    if (c >= s->input.n_classes)
        snprintf(out, 16, "none");
    else if (s->task->answer.form == TASK_ANSWER_CHOICE)
        snprintf(out, 16, "(%c)", (char)('A' + c % 26));
    else
        snprintf(out, 16, strlen(class_name(s, c)) > 9 ? "%.8s." : "%.9s", class_name(s, c));
}

static void draw_confusion(const eval_scored *s, const size_t *counts, uint32_t n, base_buf *out)
{
    double left = 84, top = 34, size = n <= 3 ? 66 : n <= 6 ? 42 : 26;
    char name[16];
    figure_begin(out, "Confusion", "Confusion matrix, rows are the truth, columns what was answered",
                 left + size * (n + 1) + 8, top + size * n + 12);
    svg_text(out, left + size * (n + 1) / 2, 12, 11, SVG_MIDDLE, SOFT, "answered");
    for (uint32_t row = 0; row < n; row++) {
        size_t n_row = 0;
        for (uint32_t k = 0; k <= n; k++)
            n_row += counts[row * (n + 1) + k];
        short_name(s, row, name);
        svg_text(out, left - 8, top + size * (row + 0.5) + 4, 11, SVG_RIGHT, INK, name);
        for (uint32_t k = 0; k <= n; k++)
            draw_cell(out, left + size * k, top + size * row, size, counts[row * (n + 1) + k], n_row);
    }
    for (uint32_t k = 0; k <= n; k++) {
        short_name(s, k, name);
        svg_text(out, left + size * (k + 0.5), top - 6, size < 40 ? 8 : 11, SVG_MIDDLE, INK, name);
    }
    figure_end(out);
    caption_begin(out);
    html_put(out, "Rows: the truth; shade: share of the row. &ldquo;none&rdquo;: the answer says no class.");
    caption_end(out);
}

void plot_confusion(const eval_scored *s, base_buf *out)
{
    uint32_t n = s->input.n_classes;
    if (n == 0 || n > N_CONFUSED || s->labels != NULL || s->n_items == 0)
        return;
    size_t *counts = calloc((size_t)n * (n + 1), sizeof *counts);
    if (counts == NULL) {
        out->failed = true;
        return;
    }
    for (size_t i = 0; i < s->n_items; i++)
        if (s->items[i].truth >= 0)
            counts[(uint32_t)s->items[i].truth * (n + 1) +
                   (s->items[i].predicted < 0 ? n : (uint32_t)s->items[i].predicted)]++;
    draw_confusion(s, counts, n, out);
    free(counts);
}

/* ---- calibration ---- */

void plot_calibration(const eval_scored *s, base_buf *out)
{
    eval_calibration c;
    if (!eval_calibrate(s, &c))
        return;
    frame f = square(out);
    figure_begin(out, "Reliability", "Reliability curve: how often the model is right against how sure it is",
                 LEFT + f.width + RIGHT, TOP + f.height + BOTTOM);
    draw_axes(&f, c.of_positive ? "probability of the positive class" : "probability of the likeliest class",
              "share that is so", "%.2g");
    html_put(out,
             "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"" SOFT "\" stroke-dasharray=\"4 4\"/>",
             at_x(&f, 0), at_y(&f, 0), at_x(&f, 1), at_y(&f, 1));
    html_put(out, "<polyline fill=\"none\" stroke=\"" ACCENT "\" stroke-width=\"2\" points=\"");
    for (size_t b = 0; b < EVAL_BINS; b++)
        if (c.n[b] > 0)
            html_put(out, "%.1f,%.1f ", at_x(&f, c.sure[b]), at_y(&f, c.right[b]));
    html_put(out, "\"/>\n");
    for (size_t b = 0; b < EVAL_BINS; b++)
        if (c.n[b] > 0)
            svg_dot(out, at_x(&f, c.sure[b]), at_y(&f, c.right[b]), 3 + 7 * sqrt((double)c.n[b] / (double)s->n_scored),
                    ACCENT);
    figure_end(out);
    caption_begin(out);
    html_put(out,
             "Dots: tenths of probability, their area the number of cases. Expected calibration error <b>%.3f</b>.",
             c.error);
    caption_end(out);
}

/* ---- histograms ---- */

/* The end of an axis of whole numbers with four steps: each a whole number, few different ones. */
static double whole_axis(size_t most)
{
    static const double steps[] = {1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0};
    double least = (double)most / 4, unit = least > 1.0 ? pow(10.0, floor(log10(least))) : 1.0;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (least <= steps[i] * unit && steps[i] * unit == floor(steps[i] * unit))
            return 4 * steps[i] * unit;
    return 4 * ceil(least);
}

static double round_up(double most)
{
    double unit = most > 0 ? pow(10.0, floor(log10(most))) : 1.0;
    for (int k = 1; k <= 10; k++)
        if (most <= unit * k)
            return unit * k;
    return 10 * unit;
}

/* Twenty bins from 0 to the largest value, of whole numbers as wide as a whole number; the caption is left open. */
static void draw_histogram(const char *title, const char *unit, const double *values, size_t n, bool is_whole,
                           base_buf *out)
{
    size_t bins[N_BINS] = {0}, highest = 0;
    double most = 0.0;
    for (size_t i = 0; i < n; i++)
        most = values[i] > most ? values[i] : most;
    most = is_whole ? N_BINS * (floor(most / N_BINS) + 1) : round_up(most);
    for (size_t i = 0; i < n; i++) {
        size_t b = values[i] > 0 ? (size_t)(values[i] / most * N_BINS) : 0;
        bins[b < N_BINS ? b : N_BINS - 1]++;
    }
    for (size_t b = 0; b < N_BINS; b++)
        highest = bins[b] > highest ? bins[b] : highest;
    frame f = {out, WIDE, LOW - 20, most, whole_axis(highest)};
    figure_begin(out, title, title, LEFT + f.width + RIGHT, TOP + f.height + BOTTOM);
    draw_axes(&f, unit, "cases", "%.4g");
    for (size_t b = 0; b < N_BINS; b++)
        if (bins[b] > 0)
            html_put(out,
                     "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"2\" fill=\"" ACCENT
                     "\"><title>%.4g to %.4g %s: %zu</title></rect>",
                     at_x(&f, most * (double)b / N_BINS) + 1, at_y(&f, (double)bins[b]), f.width / N_BINS - 2,
                     at_y(&f, 0) - at_y(&f, (double)bins[b]), most * (double)b / N_BINS,
                     most * (double)(b + 1) / N_BINS, unit, bins[b]);
    figure_end(out);
    caption_begin(out);
}

static void plot_answers(const eval_scored *s, bool is_time, const char *title, const char *unit,
                         const eval_spread *spread, base_buf *out)
{
    double *values = calloc(s->n_items + 1, sizeof *values);
    if (values == NULL || s->n_items == 0) {
        out->failed |= values == NULL;
        free(values);
        return;
    }
    for (size_t i = 0; i < s->n_items; i++) {
        const eval_answer *a = &s->journal->answers[s->index[i]];
        values[i] = is_time ? a->total_ms / 1e3 : (double)a->tokens;
    }
    double scale = is_time ? 1e-3 : 1.0;
    draw_histogram(title, unit, values, s->n_items, !is_time, out);
    html_put(out, "Median <b>%.3g</b>, 90 %% within <b>%.3g</b>, 99 %% within <b>%.3g</b> %s.", spread->p50 * scale,
             spread->p90 * scale, spread->p99 * scale, unit);
    caption_end(out);
    free(values);
}

void plot_latency(const eval_scored *s, base_buf *out)
{
    plot_answers(s, true, "Latency", "seconds", &s->latency_ms, out);
}

void plot_lengths(const eval_scored *s, base_buf *out)
{
    plot_answers(s, false, "Length of answers", "tokens", &s->tokens, out);
}

/* ---- a strip ---- */

void plot_strip(const eval_figure *figure, const task_published *published, double most, base_buf *out)
{
    enum { LENGTH = 200, HIGH = 22 };
    const double sizes[] = {published != NULL ? published->size_12b : (double)NAN,
                            published != NULL ? published->size_84b : (double)NAN,
                            published != NULL ? published->size_562b : (double)NAN};
    double unit = (LENGTH - 12) / most;
    html_put(out,
             "<svg class=\"strip\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"figure "
             "and interval beside the published ones\">",
             LENGTH, HIGH, LENGTH, HIGH);
    svg_line(out, 6, HIGH / 2.0, LENGTH - 6, HIGH / 2.0, GRID, 1);
    for (size_t i = 0; i < 3; i++)
        if (!isnan(sizes[i]))
            svg_line(out, 6 + sizes[i] * unit, 4, 6 + sizes[i] * unit, HIGH - 4, SOFT, 1 + (double)i * 0.7);
    if (!isnan(figure->low))
        svg_line(out, 6 + figure->low * unit, HIGH / 2.0, 6 + figure->high * unit, HIGH / 2.0, ACCENT, 4);
    if (!isnan(figure->value))
        svg_dot(out, 6 + figure->value * unit, HIGH / 2.0, 5, ACCENT);
    html_put(out, "</svg>");
}
