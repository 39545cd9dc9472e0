#include "coordinator/sched/gain.h"

#define COST_WEIGHT 0.125f    /* of a new measurement */
#define COST_OUTLIER 4.0f     /* a plan that took so many times as long as usual met something else */
#define FADE_ALL 0.995f
#define FADE_OWN 0.9f
#define PRIOR_TRIES 4.0f      /* what the record of all weighs beside a sequence's own */
#define ROW_GUESS 0.03f       /* cost of a row that was never measured, in plans of one row */
#define CHANCE_LEAST 0.25f

enum { REFUSALS = 64 };

void gain_take_cost(gain *g, uint32_t n_rows, uint64_t us)
{
    if (n_rows == 0 || n_rows > GAIN_ROWS_MAX)
        return;
    float now = (float)us, *cost = &g->cost_us[n_rows];
    if (*cost == 0.0f || now < *cost / COST_OUTLIER)
        *cost = now;
    else if (now < *cost * COST_OUTLIER)
        *cost += COST_WEIGHT * (now - *cost);
    else
        *cost += COST_WEIGHT * (COST_OUTLIER - 1.0f) * *cost;
}

/* Measured, or the nearest measured one of fewer rows and a little for each row more. */
static float cost_of(const gain *g, uint32_t n_rows)
{
    uint32_t known = n_rows;
    while (known > 1 && g->cost_us[known] == 0.0f)
        known--;
    float cost = g->cost_us[known] != 0.0f ? g->cost_us[known] : 1.0f;
    return cost * (1.0f + ROW_GUESS * (float)(n_rows - known));
}

/* Own leads 0 to 3, the history's 4 to 7, by tokens that agreed: 2, 3, 4 to 7, more. */
static uint32_t kind_of(const draft_lead *lead)
{
    uint32_t n = lead->n_matched, by_length = n <= 2 ? 0 : n == 3 ? 1 : n < 8 ? 2 : 3;
    return by_length + (lead->source == DRAFT_HISTORY ? GAIN_KINDS / 2 : 0);
}

static void take(gain_record *record, uint32_t kind, float fade, bool hit)
{
    record->hits[kind] = record->hits[kind] * fade + (hit ? 1.0f : 0.0f);
    record->tries[kind] = record->tries[kind] * fade + 1.0f;
}

void gain_take_guess(gain *g, gain_record *own, const draft_lead *lead, bool hit)
{
    if (lead->source == DRAFT_NO_LEAD)
        return;
    take(&g->all, kind_of(lead), FADE_ALL, hit);
    take(own, kind_of(lead), FADE_OWN, hit);
}

/* A kind that was never tried counts as one in two. */
float gain_chance(const gain *g, const gain_record *own, const draft_lead *lead)
{
    if (lead->source == DRAFT_NO_LEAD)
        return 0.0f;
    uint32_t kind = kind_of(lead);
    float all = (g->all.hits[kind] + 1.0f) / (g->all.tries[kind] + 2.0f);
    return (own->hits[kind] + PRIOR_TRIES * all) / (own->tries[kind] + PRIOR_TRIES);
}

uint32_t gain_draft_length(const gain *g, float chance, uint32_t n_rows, float n_tokens, uint32_t most)
{
    if (chance < CHANCE_LEAST || most == 0 || n_rows >= GAIN_ROWS_MAX)
        return 0;
    uint32_t best = 0;
    float best_rate = n_tokens / cost_of(g, n_rows), expected = chance;
    for (uint32_t n = 1; n <= most && n_rows + n <= GAIN_ROWS_MAX; n++, expected *= chance) {
        n_tokens += expected;
        float rate = n_tokens / cost_of(g, n_rows + n);
        if (rate > best_rate) {
            best_rate = rate;
            best = n;
        }
    }
    return best;
}

bool gain_refuse(gain *g)
{
    g->n_refused++;
    return g->n_refused < REFUSALS;
}

void gain_settle(gain *g)
{
    g->n_refused = 0;
}
