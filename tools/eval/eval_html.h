/* eval_html.h - a small writer of HTML, and the drawings of the report.
 *
 * Every text that comes from outside goes through html_text: it is escaped, bytes that are not UTF-8 become '?',
 * control characters are left out.  Drawings are inline SVG whose colours are the page's variables, so that they follow
 * its light or dark scheme; each is a <figure> with a caption and a description for those who cannot see it.  Failures
 * of memory stick in the buffer. */
#ifndef PALMGROVE_EVAL_HTML_H
#define PALMGROVE_EVAL_HTML_H

#include "tools/eval/eval_results.h"

/* printf into the page; nothing is escaped. */
void html_put(base_buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

void html_text(base_buf *out, const char *text);

/* The same, at most `max` bytes, an ellipsis behind what is cut. */
void html_text_cut(base_buf *out, const char *text, size_t max);

/* "87.41", or a dash for NAN. */
void html_number(base_buf *out, double value);

/* ---- drawings ---- */

/* ROC curves of up to eight classes, the area in the caption.  Nothing when no curve is defined. */
void plot_roc(const eval_scored *scored, base_buf *out);

/* Nothing for tasks with more than 12 classes, or none. */
void plot_confusion(const eval_scored *scored, base_buf *out);

/* Nothing without scores. */
void plot_calibration(const eval_scored *scored, base_buf *out);

/* Times and lengths of a task's answers. */
void plot_latency(const eval_scored *scored, base_buf *out);
void plot_lengths(const eval_scored *scored, base_buf *out);

/* A figure, its interval and published figures on one axis from 0 to `most`: a strip for a table's cell. */
void plot_strip(const eval_figure *figure, const task_published *published, double most, base_buf *out);

/* ---- cases ---- */

/* The cases that went worst, with their images.  Errors: BASE_ENOMEM. */
base_status html_worst(const eval_scored *scored, base_buf *out, base_error *error);

#endif
