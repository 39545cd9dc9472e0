#include "coordinator/sched/speculate/spec_policy.h"

#define COST_WEIGHT  0.125f /* of a new measurement */
#define COST_OUTLIER 4.0f   /* a plan that took so many times as long as usual met something else */
#define FADE_ALL     0.995f
#define FADE_OWN     0.9f
#define PRIOR_TRIES  4.0f  /* what the record of all weighs beside a sequence's own */
#define ROW_GUESS    0.03f /* cost of a row that was never measured, in plans of one row */
#define CHANCE_LEAST 0.25f

#define PASS_GUESS 0.1f   /* cost of a token of the draft model that was never measured, in plans of one row */
#define READ_GUESS 0.005f /* the same of a token that it reads */

#define PASS_LEAST 0.05f /* below that part of a plan of one row, measurements of passes are taken as they come */

enum { REFUSALS = 64, DRAFTS = 64, READ_FEW = 4 };

static void blend(float *cost, float now)
{
    if (*cost == 0.0f || now < *cost / COST_OUTLIER)
        *cost = now;
    else if (now < *cost * COST_OUTLIER)
        *cost += COST_WEIGHT * (now - *cost);
    else
        *cost += COST_WEIGHT * (COST_OUTLIER - 1.0f) * *cost;
}

void spec_policy_observe_step_cost(spec_policy *g, uint32_t n_rows, uint64_t us)
{
    if (n_rows > 0 && n_rows <= SPEC_ROWS_MAX)
        blend(&g->cost_us[n_rows], (float)us);
}

/* Measured, or the nearest measured one of fewer rows and a little for each row more. */
static float cost_of(const spec_policy *g, uint32_t n_rows)
{
    uint32_t known = n_rows;
    while (known > 1 && g->cost_us[known] == 0.0f)
        known--;
    float cost = g->cost_us[known] != 0.0f ? g->cost_us[known] : 1.0f;
    return cost * (1.0f + ROW_GUESS * (float)(n_rows - known));
}

static float pass_cost(const spec_policy *g)
{
    return g->pass_us != 0.0f ? g->pass_us : PASS_GUESS * cost_of(g, 1);
}

static bool knows_cost(const spec_policy *g, uint32_t n_rows)
{
    uint32_t known = n_rows;
    while (known > 0 && g->cost_us[known] == 0.0f)
        known--;
    return known > 0;
}

/* A cost that is what others leave of a measurement, and as uncertain. */
static void blend_rest(float *cost, float now, float least)
{
    float most = COST_OUTLIER * (*cost > least ? *cost : least);
    now = now < 0.0f ? 0.0f : now > most && *cost != 0.0f ? most : now;
    *cost = *cost == 0.0f ? now : *cost + COST_WEIGHT * (now - *cost);
    *cost = *cost < 1e-3f ? 1e-3f : *cost; /* 0 says that it was never measured */
}

/* Where rows are dearer than is known, passes look dearer too: more rows come with more passes, so the sum is right
 * again. */
void spec_policy_observe_draft_cost(spec_policy *g, uint32_t n_rows, uint32_t n_passes, uint32_t n_read, uint64_t us)
{
    if (n_rows == 0 || n_rows > SPEC_ROWS_MAX || !knows_cost(g, n_rows))
        return;
    float left = (float)us - cost_of(g, n_rows), least = PASS_LEAST * cost_of(g, 1);
    if (n_read <= READ_FEW * n_passes)
        blend_rest(&g->pass_us, left / (float)n_passes, least);
    else
        blend_rest(&g->read_us, (left - (float)n_passes * pass_cost(g)) / (float)n_read, least);
}

/* Own leads 0 to 3, the history's 4 to 7, by tokens that agreed: 2, 3, 4 to 7, more; the draft model's 8 and 9. */
static uint32_t kind_of(const ngram_match *lead)
{
    if (lead->source == DRAFT_MODEL)
        return 8 + (lead->n_matched > 0);
    uint32_t n = lead->n_matched, by_length = n <= 2 ? 0 : n == 3 ? 1 : n < 8 ? 2 : 3;
    return by_length + (lead->source == DRAFT_HISTORY ? 4 : 0);
}

static void take(acceptance_record *record, uint32_t kind, float fade, bool hit)
{
    record->hits[kind] = record->hits[kind] * fade + (hit ? 1.0f : 0.0f);
    record->tries[kind] = record->tries[kind] * fade + 1.0f;
}

void spec_policy_observe_acceptance(spec_policy *g, acceptance_record *own, const ngram_match *lead, bool hit)
{
    if (lead->source == DRAFT_NONE)
        return;
    take(&g->all, kind_of(lead), FADE_ALL, hit);
    take(own, kind_of(lead), FADE_OWN, hit);
}

/* A kind that was never tried counts as one in two. */
float spec_policy_acceptance_rate(const spec_policy *g, const acceptance_record *own, const ngram_match *lead)
{
    if (lead->source == DRAFT_NONE)
        return 0.0f;
    uint32_t kind = kind_of(lead);
    float all = (g->all.hits[kind] + 1.0f) / (g->all.tries[kind] + 2.0f);
    return (own->hits[kind] + PRIOR_TRIES * all) / (own->tries[kind] + PRIOR_TRIES);
}

/* Of the plan with n more rows, which the draft model has guessed or not. */
static float cost_with(const spec_policy *g, draft_source source, const spec_step *plan, uint32_t n)
{
    uint32_t n_passes = source == DRAFT_MODEL && n > plan->n_passes ? n : plan->n_passes;
    return cost_of(g, plan->n_rows + n) + (n_passes > 0 ? (float)n_passes * pass_cost(g) : 0.0f);
}

uint32_t spec_policy_draft_length(const spec_policy *g, draft_source source, float chance, const spec_step *plan,
                                  uint32_t most, float *rate)
{
    uint32_t best = 0;
    *rate = plan->n_tokens / cost_with(g, source, plan, 0);
    if (chance < CHANCE_LEAST || (source == DRAFT_MODEL && !knows_cost(g, plan->n_rows)))
        return 0;
    float n_tokens = plan->n_tokens, expected = chance;
    for (uint32_t n = 1; n <= most && plan->n_rows + n <= SPEC_ROWS_MAX; n++, expected *= chance) {
        n_tokens += expected;
        float now = n_tokens / cost_with(g, source, plan, n);
        if (now > *rate) {
            *rate = now;
            best = n;
        }
    }
    return best;
}

bool spec_policy_prefill_pays(const spec_policy *g, const spec_step *plan, float rate, uint32_t n_unread,
                              uint32_t n_left)
{
    float read = g->read_us != 0.0f ? g->read_us : READ_GUESS * cost_of(g, 1);
    float without = plan->n_tokens / cost_with(g, DRAFT_MODEL, plan, 0);
    float won = (float)n_left * plan->n_tokens * (1.0f / without - 1.0f / rate);
    return (float)n_unread * read <= won;
}

bool spec_policy_should_skip(spec_policy *g)
{
    g->n_refused++;
    return g->n_refused < REFUSALS;
}

void spec_policy_draft_made(spec_policy *g)
{
    g->n_refused = 0;
}

bool spec_policy_should_measure_baseline(spec_policy *g)
{
    g->n_model = g->n_model < DRAFTS ? g->n_model + 1 : 0;
    return g->n_model == 0;
}
