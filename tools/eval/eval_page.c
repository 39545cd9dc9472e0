/* eval_page.c - the report: one HTML file that needs no network, no script and no other file.  Light or dark as the
 * reader's system is. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/eval/eval_html.h"

static const char style[] =
    ":root{color-scheme:light "
    "dark;--page:#f6f7f5;--card:#fff;--ink:#1b2420;--soft:#5d6a64;--grid:#dfe4e0;--line:#d3dad5;--accent:#0b7a66;--"
    "wash:#e7f2ee;"
    "--bad:#b3372b;--s0:#0b7a66;--s1:#b4541a;--s2:#3b5bb5;--s3:#9a2f6d;--s4:#6b7a12;--s5:#7a4fb0;--s6:#a8321f;--s7:#"
    "2b7f9e}"
    "@media(prefers-color-scheme:dark){:root{--page:#101513;--card:#18201d;--ink:#e6ece8;--soft:#9aa9a1;--grid:#2b3632;"
    "--line:#33403b;--accent:#42c3a5;"
    "--wash:#16302a;--bad:#f08a7b;--s0:#42c3a5;--s1:#f0a15e;--s2:#8fa8ff;--s3:#ef8cc4;--s4:#c3d45a;--s5:#c2a1f5;--s6:#"
    "ff9c8a;--s7:#74cdec}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 "
    "system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    "main{max-width:1120px;margin:0 auto;padding:2rem 1.25rem 4rem}h1{font-size:1.9rem;line-height:1.2;margin:0 0 "
    ".4rem;letter-spacing:-.01em}"
    "h2{font-size:1.35rem;margin:0}h3{font-size:1.02rem;margin:1.8rem 0 .7rem}h4{font-size:.9rem;margin:0 0 "
    ".5rem;font-weight:600}p{margin:.4rem 0;max-width:75ch}"
    ".soft,figcaption,small,.about{color:var(--soft)}a{color:var(--accent)}code{font:.86em "
    "ui-monospace,SFMono-Regular,Menlo,monospace;overflow-wrap:anywhere}"
    ".facts{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:1.1rem 0 1.6rem;padding:0;list-style:none}.facts "
    "b{display:block;font-size:1.25rem;font-weight:600}"
    ".facts span{color:var(--soft);font-size:.82rem}.wide{overflow-x:auto;background:var(--card);border:1px solid "
    "var(--line);border-radius:10px}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}th,td{padding:.45rem "
    ".8rem;text-align:right;white-space:nowrap}"
    "th{font-weight:600;color:var(--soft);font-size:.8rem}th:first-child,td:first-child{text-align:left}tbody "
    "tr{border-top:1px solid var(--line)}"
    "tr.task td{background:var(--wash);font-weight:600}td.value{font-weight:700}td "
    ".note{color:var(--soft);font-weight:400;font-size:.82rem}"
    ".strip{display:block}section.task{margin-top:2.6rem;padding-top:1.6rem;border-top:2px solid var(--line)}"
    ".plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(310px,100%),1fr));gap:1rem;margin-top:1rem}."
    "plot{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;"
    "padding:.9rem 1rem;min-width:0}.plot svg{max-width:100%;height:auto;display:block;margin:0 "
    "auto}figcaption{font-size:.82rem;margin-top:.4rem}th.strips{text-align:left}"
    ".key{white-space:nowrap;margin-right:.5rem}.key "
    "i{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.3em}"
    ".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:1rem}.card{background:var(--"
    "card);border:1px solid var(--line);"
    "border-radius:10px;overflow:hidden;min-width:0}.card "
    "header{display:flex;justify-content:space-between;gap:1rem;padding:.6rem .9rem;align-items:center}"
    ".tag{font-size:.75rem;padding:.05rem .55rem;border-radius:99px;border:1px solid}.tag{color:var(--bad)}"
    ".images{display:flex;flex-wrap:wrap;gap:4px;justify-content:center;background:#000;padding:6px}.images "
    "img{max-width:100%;height:auto;display:block}"
    "dl{margin:0;padding:.7rem .9rem "
    "1rem;font-size:.88rem}dt{color:var(--soft);font-size:.76rem;margin-top:.45rem}dd{margin:0;white-space:pre-wrap;"
    "overflow-wrap:anywhere}.truth{border-left:3px solid var(--accent);padding-left:.5rem}.said{border-left:3px solid "
    "var(--s1);padding-left:.5rem}"
    ".warn{border-left:4px solid var(--bad);background:var(--card);padding:.6rem "
    ".9rem;border-radius:6px}.missing{color:var(--bad);padding:.4rem}"
    ".images .missing{color:#f0a59a}nav a{margin-right:1rem;white-space:nowrap}@media "
    "print{.card,.plot{break-inside:avoid}}";

/* ---- head ---- */

static void put_fact(base_buf *out, const char *what, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void put_fact(base_buf *out, const char *what, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    html_put(out, "<li><span>%s</span><b>", what);
    html_text(out, text);
    html_put(out, "</b></li>");
}

static void put_head(const eval_report *r, base_buf *out)
{
    static const char begin[] = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
                                "name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src "
                                "data:; style-src 'unsafe-inline'\">"
                                "<title>palmgrove evaluation</title><style>";
    const eval_model *model = &r->tasks[0].journal->model;
    size_t n = 0, n_failed = 0;
    for (size_t i = 0; i < r->n_tasks; i++) {
        n += r->tasks[i].cases->n;
        n_failed += r->tasks[i].n_failed;
    }
    base_buf_put(out, begin, sizeof begin - 1);
    base_buf_put(out, style, sizeof style - 1);
    html_put(out, "</style></head><body><main><h1>Evaluation of ");
    html_text(out, model->digest[0] != '\0' ? model->name : "no model: nothing was answered");
    html_put(out, "</h1><p class=\"soft\">");
    html_text(out, r->dataset.name[0] != '\0' ? r->dataset.name : "Data without a dataset.json");
    if (r->dataset.version[0] != '\0') {
        html_put(out, ", version ");
        html_text(out, r->dataset.version);
    }
    if (r->dataset.source[0] != '\0') {
        html_put(out, ". Source: ");
        html_text(out, r->dataset.source);
    }
    html_put(out, "</p><ul class=\"facts\">");
    put_fact(out, "tasks", "%zu", r->n_tasks);
    put_fact(out, "cases", "%zu", n);
    put_fact(out, "failed", "%zu", n_failed);
    put_fact(out, "layout", "%s", model->layout);
    put_fact(out, "palmgrove", "%s", r->version);
    html_put(out, "</ul><p class=\"soft\">Model digest <code>");
    html_text(out, model->digest);
    html_put(out, "</code></p>");
    if (n_failed > 0)
        html_put(out,
                 "<p class=\"warn\">%zu of %zu cases failed. They are in no figure below; the same command asks them "
                 "again.</p>",
                 n_failed, n);
}

/* ---- the summary ---- */

static void put_published(base_buf *out, const task_published *p)
{
    const double sizes[] = {p != NULL ? p->size_12b : (double)NAN, p != NULL ? p->size_84b : (double)NAN,
                            p != NULL ? p->size_562b : (double)NAN};
    for (size_t i = 0; i < 3; i++) {
        html_put(out, "<td>");
        html_number(out, sizes[i]);
        html_put(out, "</td>");
    }
}

static void put_metric_row(const eval_report *r, const eval_scored *s, const eval_metric *m, base_buf *out)
{
    double unit = eval_unit(m->metric);
    eval_figure figure = {m->result.value * unit, m->result.low * unit, m->result.high * unit};
    html_put(out, "<tr><td title=\"");
    html_text(out, metric_about(m->metric));
    html_put(out, "\">%s</td><td class=\"value\">", metric_name(m->metric));
    html_number(out, figure.value);
    html_put(out, "</td><td>");
    if (m->missing != NULL)
        html_put(out, "<span class=\"note\">%s</span>", m->missing);
    else if (!isnan(figure.low))
        html_put(out, "%.2f &ndash; %.2f", figure.low, figure.high);
    html_put(out, "</td><td>");
    plot_strip(&figure, m->published,
               metric_most(m->metric) * unit > 100.0 && figure.value <= 100.0 ? 100.0 : metric_most(m->metric) * unit,
               out);
    html_put(out, "</td><td>%zu</td>", m->result.n_used);
    put_published(out, m->published);
    for (size_t i = 0; i < r->n_others; i++) {
        eval_figure other = eval_other_figure(&r->others[i], s->task->name, metric_name(m->metric));
        html_put(out, "<td>");
        html_number(out, other.value * unit);
        if (!isnan(other.low))
            html_put(out, "<br><span class=\"note\">%.2f &ndash; %.2f</span>", other.low * unit, other.high * unit);
        html_put(out, "</td>");
    }
    html_put(out, "</tr>\n");
}

static void put_summary(const eval_report *r, base_buf *out)
{
    html_put(out,
             "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"summary\"><table><thead><tr><th "
             "scope=\"col\">metric</th><th scope=\"col\">this run</th>"
             "<th scope=\"col\">%.0f %% interval</th><th scope=\"col\" class=\"strips\">0 to best</th><th "
             "scope=\"col\">cases</th><th scope=\"col\">12B</th><th scope=\"col\">84B</th>"
             "<th scope=\"col\">562B</th>",
             r->bootstrap.level * 100);
    for (size_t i = 0; i < r->n_others; i++) {
        html_put(out, "<th scope=\"col\">");
        html_text(out, r->others[i].label);
        html_put(out, "</th>");
    }
    html_put(out, "</tr></thead><tbody>");
    for (size_t i = 0; i < r->n_tasks; i++) {
        const eval_scored *s = &r->tasks[i];
        html_put(out, "<tr class=\"task\"><td colspan=\"%zu\"><a href=\"#task-%zu\">", 8 + r->n_others, i);
        html_text(out, s->task->title);
        html_put(out, "</a> <span class=\"note\"><code>%s</code>, %zu cases</span></td></tr>\n", s->task->name,
                 s->cases->n);
        for (size_t k = 0; k < s->n_metrics; k++)
            put_metric_row(r, s, &s->metrics[k], out);
    }
    html_put(out,
             "</tbody></table></div><p class=\"about\">Dot and bar: this run and its interval; ticks, thin to bold: "
             "Med-PaLM M 12B, 84B and 562B as published "
             "(arXiv 2307.14334), on the paper&rsquo;s data and in percent. Intervals: percentile bootstrap over "
             "groups of cases, %u resamples, seed %llu.</p>\n",
             r->bootstrap.n_resamples, (unsigned long long)r->bootstrap.seed);
}

/* ---- a task ---- */

static void put_slices(const eval_scored *s, base_buf *out)
{
    if (s->n_slices == 0 || s->n_metrics == 0)
        return;
    double unit = eval_unit(s->metrics[0].metric);
    html_put(out,
             "<h3>Slices</h3><div class=\"wide\" tabindex=\"0\" role=\"region\" "
             "aria-label=\"slices\"><table><thead><tr><th>slice</th><th>cases</th><th>%s</th>"
             "<th>interval</th><th class=\"strips\">0 to best</th></tr></thead><tbody>",
             metric_name(s->metrics[0].metric));
    for (size_t i = 0; i < s->n_slices; i++) {
        const eval_slice_figure *one = &s->slices[i];
        eval_figure figure = {one->figure * unit, one->low * unit, one->high * unit};
        html_put(out, "<tr><td>");
        html_text(out, one->name);
        html_put(out, ": <b>");
        html_text(out, one->value);
        html_put(out, "</b></td><td>%zu</td><td class=\"value\">", one->n);
        html_number(out, figure.value);
        html_put(out, "</td><td>");
        if (!isnan(figure.low))
            html_put(out, "%.2f &ndash; %.2f", figure.low, figure.high);
        html_put(out, "</td><td>");
        plot_strip(&figure, NULL, 100.0, out);
        html_put(out, "</td></tr>\n");
    }
    html_put(out, "</tbody></table></div>%s",
             s->slices_cut ? "<p class=\"about\">There are more slices than are shown.</p>" : "");
}

static void put_failures(const eval_scored *s, base_buf *out)
{
    enum { SHOWN = 10 };
    size_t n = 0;
    if (s->n_failed == 0)
        return;
    html_put(out, "<div class=\"warn\"><b>%zu cases failed</b><ul>", s->n_failed);
    for (size_t i = 0; i < s->cases->n && n < SHOWN; i++) {
        const eval_answer *a = &s->journal->answers[i];
        if (a->error == NULL || a->text != NULL)
            continue;
        html_put(out, "<li><code>");
        html_text(out, s->cases->cases[i].id);
        html_put(out, "</code> ");
        html_text_cut(out, a->error, 200);
        html_put(out, "</li>");
        n++;
    }
    html_put(out, "</ul>%s</div>", s->n_failed > SHOWN ? "<p>The others are in results.json.</p>" : "");
}

static base_status put_task(const eval_report *r, size_t i, base_buf *out, base_error *error)
{
    const eval_scored *s = &r->tasks[i];
    html_put(out, "<section class=\"task\" id=\"task-%zu\"><h2>", i);
    html_text(out, s->task->title);
    html_put(out, "</h2><p class=\"about\"><code>%s</code> &middot; %zu cases, %zu answered", s->task->name,
             s->cases->n, s->n_items);
    if (s->input.n_classes > 0 && s->labels == NULL)
        html_put(out, ", %zu of the answers say no class (%s match)", s->n_no_class,
                 task_match_name(s->task->answer.match));
    html_put(out, "</p>");
    put_failures(s, out);
    html_put(out, "<div class=\"plots\">");
    plot_roc(s, out);
    plot_confusion(s, out);
    plot_calibration(s, out);
    plot_latency(s, out);
    plot_lengths(s, out);
    html_put(out, "</div>");
    put_slices(s, out);
    base_status status = r->cases ? html_worst(s, out, error) : BASE_OK;
    html_put(out, "</section>\n");
    return status;
}

base_status eval_page_write(const eval_report *r, base_buf *out, base_error *error)
{
    base_status status = BASE_OK;
    put_head(r, out);
    put_summary(r, out);
    for (size_t i = 0; status == BASE_OK && i < r->n_tasks; i++)
        status = put_task(r, i, out, error);
    html_put(
        out,
        "<footer class=\"about\"><p>%s No answer of a model is medical advice.</p></footer></main></body></html>\n",
        r->cases ? "This page holds texts and images of cases: treat it as you treat the data."
                 : "This page holds figures only, no texts and no images of cases (--no-cases); failed cases are named "
                   "by their ids.");
    if (status == BASE_OK && out->failed)
        status = base_fail(error, BASE_ENOMEM, "out of memory for the report");
    return status;
}
