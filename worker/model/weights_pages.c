/* weights_pages.c - weights on the NUMA node that reads them.
 *
 * The kernel puts a page on the NUMA node of the thread that touches it first.  A step divides the panels of matrices
 * that share their input, one after the other, into equal parts, one for each member of the team (team_take over
 * kern_linear's tiles); here each member touches the pages of its part, before they are packed by whichever thread
 * comes first.  On a rank within one NUMA node it only saves the packers the page faults.  A huge page with panels of
 * two members goes to one of them. */
#include "worker/model/weights.h"

/* This member's part of the panels of n matrices that are divided as one row. */
static void touch_group(team_member *me, const pack_matrix *const *group, size_t n)
{
    size_t total = 0, before = 0, begin, end;
    for (size_t i = 0; i < n; i++)
        total += pack_n_panels(group[i]->n);
    team_part(me, total, 1, &begin, &end);
    for (size_t i = 0; i < n; i++) {
        const pack_matrix *m = group[i];
        size_t panels = pack_n_panels(m->n), bytes = panels > 0 ? pack_panel_bytes(m->type, m->k, m->unit) : 0;
        size_t first = begin > before ? begin - before : 0, last = end > before ? end - before : 0;
        last = last < panels ? last : panels;
        if (first < last)
            model_pages_touch((const char *)m->data + first * bytes, (last - first) * bytes);
        before += panels;
    }
}

static void touch_matrix(team_member *me, const pack_matrix *matrix)
{
    touch_group(me, &matrix, 1);
}

static void touch_layers(team_member *me, const model_layer *layers, uint32_t n, bool parallel)
{
    for (const model_layer *l = layers; l < layers + n; l++) {
        const pack_matrix *inputs[] = {&l->q, &l->k, &l->v, &l->gate, &l->up};
        touch_group(me, inputs, parallel ? 5 : 3);
        if (!parallel)
            touch_group(me, inputs + 3, 2);
        touch_matrix(me, &l->o);
        touch_matrix(me, &l->down);
    }
}

void model_weights_touch_pages(team_member *me, const model_weights *w, const arch *a, const shard_split *split)
{
    touch_layers(me, w->layers, shard_range_width(split->layers), a->decoder.stack.block == ARCH_BLOCK_PARALLEL);
    if (a->has_tower)
        touch_layers(me, w->tower, a->tower.stack.n_layers, a->tower.stack.block == ARCH_BLOCK_PARALLEL);
    const pack_matrix *others[] = {&w->embedding, &w->output, &w->patch, &w->projector, &w->projector_2};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        touch_matrix(me, others[i]);
    for (uint32_t e = 0; e < a->n_encoders; e++) {
        touch_matrix(me, &w->encoders[e].in);
        touch_matrix(me, &w->encoders[e].out);
    }
}
