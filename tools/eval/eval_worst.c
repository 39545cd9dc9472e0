/* eval_worst.c - the cases of a task that went worst, as cards with their images.
 *
 * Worst first: by the main metric where it has a value for each case; otherwise by how likely the model found the true
 * class; those that are right are left out.  Images are shown small, re-encoded here, so that nothing of a file's
 * header reaches the page. */
#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/image/image.h"
#include "tools/eval/eval_html.h"

enum { N_WORST = 6, SIDE_MAX = 280, PIXELS_MAX = 1 << 28, TEXT_MAX = 1500 };

typedef struct ranked {
    double good; /* the worst is the least */
    size_t item;
} ranked;

static bool is_same(const eval_scored *s, size_t i)
{
    const metric_case *m = &s->items[i];
    if (m->predicted_labels != NULL)
        return memcmp(m->predicted_labels, m->true_labels, s->input.n_classes * sizeof(bool)) == 0;
    if (m->truth >= 0)
        return m->predicted == m->truth;
    for (size_t k = 0; k < m->n_references; k++)
        if (strcmp(m->references[k], m->prediction) == 0)
            return true;
    return false;
}

static double goodness(const eval_scored *s, size_t i)
{
    const double *per_case = s->n_metrics > 0 ? s->metrics[0].result.per_case : NULL;
    if (per_case != NULL && !isnan(per_case[i]))
        return per_case[i];
    if (s->items[i].scores != NULL && s->items[i].truth >= 0)
        return (is_same(s, i) ? 1.0 : 0.0) + eval_share(s, i, (uint32_t)s->items[i].truth);
    return is_same(s, i) ? 1.0 : 0.0;
}

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->good != y->good)
        return x->good < y->good ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

/* ---- images ---- */

static void put_base64(const base_buf *bytes, base_buf *out)
{
    size_t size = sodium_base64_encoded_len(bytes->size, sodium_base64_VARIANT_ORIGINAL);
    if (!base_buf_reserve(out, size))
        return;
    sodium_bin2base64((char *)out->data + out->size, size, bytes->data, bytes->size, sodium_base64_VARIANT_ORIGINAL);
    out->size += size - 1; /* without its end */
}

static base_status encode_small(const base_buf *file, uint32_t frame, base_buf *png, uint32_t *width, uint32_t *height,
                                base_error *error)
{
    image whole = {0}, small = {0};
    const image_options options = {.max_pixels = PIXELS_MAX, .frame = frame};
    base_status status = image_decode_frame(file->data, file->size, &options, &whole, error);
    if (status != BASE_OK)
        return status;
    uint32_t longer = whole.width > whole.height ? whole.width : whole.height;
    double scale = longer > SIDE_MAX ? (double)SIDE_MAX / longer : 1.0;
    *width = (uint32_t)fmax(1.0, round(whole.width * scale));
    *height = (uint32_t)fmax(1.0, round(whole.height * scale));
    status = image_resize(&whole, *width, *height, &small, error);
    if (status == BASE_OK)
        status = image_encode_png(small.pixels, *width, *height, small.channels, 8, png, error);
    image_release(&whole);
    image_release(&small);
    return status;
}

static void put_image(const eval_scored *s, const eval_image *image_of, size_t number, base_buf *out)
{
    base_buf file = {0}, png = {0};
    base_error error = {0};
    uint32_t width = 0, height = 0;
    base_status status = eval_image_read(s->cases, image_of, &file, &error);
    if (status == BASE_OK)
        status = encode_small(&file, image_of->frame, &png, &width, &height, &error);
    if (status == BASE_OK) {
        html_put(out, "<img width=\"%u\" height=\"%u\" alt=\"image %zu of the case\" src=\"data:image/png;base64,",
                 width, height, number);
        put_base64(&png, out);
        html_put(out, "\">");
    } else {
        html_put(out, "<p class=\"missing\">image %zu cannot be shown: ", number);
        html_text(out, error.text);
        html_put(out, "</p>");
    }
    base_buf_release(&file);
    base_buf_release(&png);
}

/* ---- a card ---- */

static void put_texts(const eval_scored *s, size_t item, base_buf *out)
{
    const eval_case *c = &s->cases->cases[s->index[item]];
    html_put(out, "<dl>");
    for (size_t i = 0; i < c->n_fields; i++) {
        html_put(out, "<dt>");
        html_text_cut(out, c->fields[i].name, 60);
        html_put(out, "</dt><dd>");
        html_text_cut(out, c->fields[i].value, TEXT_MAX);
        html_put(out, "</dd>");
    }
    html_put(out, "<dt>reference</dt><dd class=\"truth\">");
    for (size_t i = 0; i < c->n_answers; i++) {
        html_put(out, i > 0 ? " <small>or</small> " : "");
        html_text_cut(out, c->answers[i], TEXT_MAX);
    }
    html_put(out, "</dd><dt>answer</dt><dd class=\"said\">");
    html_text_cut(out, s->items[item].prediction, TEXT_MAX);
    html_put(out, "</dd>");
    if (s->items[item].scores != NULL && s->items[item].truth >= 0)
        html_put(out, "<dt>true class</dt><dd>probability %.3f</dd>",
                 eval_share(s, item, (uint32_t)s->items[item].truth));
    html_put(out, "</dl>");
}

static void put_card(const eval_scored *s, const ranked *r, base_buf *out)
{
    const eval_case *c = &s->cases->cases[s->index[r->item]];
    html_put(out, "<article class=\"card\"><header><code>");
    html_text_cut(out, c->id, 60);
    html_put(out, "</code><span class=\"tag\">differs</span></header>");
    if (c->n_images > 0) {
        html_put(out, "<div class=\"images\">");
        for (size_t i = 0; i < c->n_images; i++)
            put_image(s, &c->images[i], i + 1, out);
        html_put(out, "</div>");
    }
    put_texts(s, r->item, out);
    html_put(out, "</article>\n");
}

base_status html_worst(const eval_scored *s, base_buf *out, base_error *error)
{
    ranked *order = calloc(s->n_items + 1, sizeof *order);
    if (order == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for the worst cases");
    for (size_t i = 0; i < s->n_items; i++)
        order[i] = (ranked){goodness(s, i), i};
    qsort(order, s->n_items, sizeof *order, compare_ranked);
    size_t n = 0;
    html_put(out, "<h3>Worst cases</h3><div class=\"cards\">");
    for (size_t i = 0; i < s->n_items && n < N_WORST; i++)
        if (!is_same(s, order[i].item)) {
            put_card(s, &order[i], out);
            n++;
        }
    html_put(out, "</div>%s\n", n == 0 ? "<p class=\"about\">No answer differs from its reference.</p>" : "");
    free(order);
    return BASE_OK;
}
