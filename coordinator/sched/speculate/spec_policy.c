/* spec_policy.c - the cost model and the acceptance record of speculative decoding.
 *
 *     cost(R)     measured for each number of rows R, a moving average with weight 1/8; between measured widths
 *                 ROW_DEFAULT more per row
 *     pass        (time of a plan with a draft - cost(R)) / passes; prefill likewise, from plans that prefill much
 *     p(kind)     (own accepted + 4 * p_all) / (own verified + 4);  p_all = (accepted + 1) / (verified + 2)
 *
 * A measurement counts at most COST_OUTLIER times the average (a plan that took longer met something else), but a much
 * smaller one replaces it at once: time is only ever added by disturbances. */
#include "coordinator/sched/speculate/spec_policy.h"

#define COST_WEIGHT    0.125f /* of a new measurement */
#define COST_OUTLIER   4.0f   /* times the average: the most that a measurement counts */
#define DECAY_ALL      0.995f
#define DECAY_OWN      0.9f
#define PRIOR_WEIGHT   4.0f  /* of the record of all, in tokens of a sequence's own */
#define ROW_DEFAULT    0.03f /* cost of a row that was never measured, in plans of one row */
#define ACCEPTANCE_MIN 0.25f

#define PASS_DEFAULT    0.1f   /* cost of a token of the draft model that was never measured, in plans of one row */
#define PREFILL_DEFAULT 0.005f /* the same of a token that it prefills */

#define PASS_MIN 0.05f /* in plans of one row: passes measured below it are not clipped as outliers */

/* One draft after SKIPS_MAX skipped; one skipped in BASELINE_EVERY of the draft model.  Up to PREFILL_FEW tokens per
 * pass the time of a draft counts as that of its passes. */
enum { SKIPS_MAX = 64, BASELINE_EVERY = 64, PREFILL_FEW = 4 };

static void blend(float *cost, float now)
{
    if (*cost == 0.0f || now < *cost / COST_OUTLIER)
        *cost = now;
    else if (now < *cost * COST_OUTLIER)
        *cost += COST_WEIGHT * (now - *cost);
    else
        *cost += COST_WEIGHT * (COST_OUTLIER - 1.0f) * *cost;
}

void spec_policy_observe_step_cost(spec_policy *p, uint32_t n_rows, uint64_t us)
{
    if (n_rows > 0 && n_rows <= SPEC_ROWS_MAX)
        blend(&p->cost_us[n_rows], (float)us);
}

/* Measured, or the nearest measured one of fewer rows and a little for each row more. */
static float cost_of(const spec_policy *p, uint32_t n_rows)
{
    uint32_t known = n_rows;
    while (known > 1 && p->cost_us[known] == 0.0f)
        known--;
    float cost = p->cost_us[known] != 0.0f ? p->cost_us[known] : 1.0f;
    return cost * (1.0f + ROW_DEFAULT * (float)(n_rows - known));
}

static float pass_cost(const spec_policy *p)
{
    return p->pass_us != 0.0f ? p->pass_us : PASS_DEFAULT * cost_of(p, 1);
}

static bool knows_cost(const spec_policy *p, uint32_t n_rows)
{
    uint32_t known = n_rows;
    while (known > 0 && p->cost_us[known] == 0.0f)
        known--;
    return known > 0;
}

/* For a cost that is the remainder of a measurement after others are subtracted, and as uncertain. */
static void blend_remainder(float *cost, float now, float least)
{
    float cap = COST_OUTLIER * (*cost > least ? *cost : least);
    now = now < 0.0f ? 0.0f : now > cap && *cost != 0.0f ? cap : now;
    *cost = *cost == 0.0f ? now : *cost + COST_WEIGHT * (now - *cost);
    *cost = *cost < 1e-3f ? 1e-3f : *cost; /* 0 means that it was never measured */
}

/* Where rows cost more than is known, passes seem to cost more too: more rows come with more passes, so the sum is
 * right again. */
void spec_policy_observe_draft_cost(spec_policy *p, uint32_t n_rows, uint32_t n_passes, uint32_t n_prefilled,
                                    uint64_t us)
{
    if (n_rows == 0 || n_rows > SPEC_ROWS_MAX || !knows_cost(p, n_rows))
        return;
    float remainder = (float)us - cost_of(p, n_rows), least = PASS_MIN * cost_of(p, 1);
    if (n_prefilled <= PREFILL_FEW * n_passes)
        blend_remainder(&p->pass_us, remainder / (float)n_passes, least);
    else
        blend_remainder(&p->prefill_us, (remainder - (float)n_passes * pass_cost(p)) / (float)n_prefilled, least);
}

/* Matches in the sequence 0 to 3, in the history 4 to 7, by tokens that agree: 2, 3, 4 to 7, more; the draft model 8
 * and 9. */
static uint32_t kind_of(const ngram_match *match)
{
    if (match->source == DRAFT_MODEL)
        return 8 + (match->n_matched > 0);
    uint32_t n = match->n_matched, by_length = n <= 2 ? 0 : n == 3 ? 1 : n < 8 ? 2 : 3;
    return by_length + (match->source == DRAFT_HISTORY ? 4 : 0);
}

static void count(acceptance_record *record, uint32_t kind, float decay, bool accepted)
{
    record->accepted[kind] = record->accepted[kind] * decay + (accepted ? 1.0f : 0.0f);
    record->verified[kind] = record->verified[kind] * decay + 1.0f;
}

void spec_policy_observe_acceptance(spec_policy *p, acceptance_record *own, const ngram_match *match, bool accepted)
{
    if (match->source == DRAFT_NONE)
        return;
    count(&p->all, kind_of(match), DECAY_ALL, accepted);
    count(own, kind_of(match), DECAY_OWN, accepted);
}

/* A kind that was never verified counts as one half. */
float spec_policy_acceptance_rate(const spec_policy *p, const acceptance_record *own, const ngram_match *match)
{
    if (match->source == DRAFT_NONE)
        return 0.0f;
    uint32_t kind = kind_of(match);
    float all = (p->all.accepted[kind] + 1.0f) / (p->all.verified[kind] + 2.0f);
    return (own->accepted[kind] + PRIOR_WEIGHT * all) / (own->verified[kind] + PRIOR_WEIGHT);
}

/* Cost of the plan with n more rows drafted from `source`. */
static float cost_with(const spec_policy *p, draft_source source, const spec_step *step, uint32_t n)
{
    uint32_t n_passes = source == DRAFT_MODEL && n > step->n_passes ? n : step->n_passes;
    return cost_of(p, step->n_rows + n) + (n_passes > 0 ? (float)n_passes * pass_cost(p) : 0.0f);
}

uint32_t spec_policy_draft_length(const spec_policy *p, draft_source source, float acceptance, const spec_step *step,
                                  uint32_t max, float *rate)
{
    uint32_t best = 0;
    *rate = step->n_tokens / cost_with(p, source, step, 0);
    if (acceptance < ACCEPTANCE_MIN || (source == DRAFT_MODEL && !knows_cost(p, step->n_rows)))
        return 0;
    float n_tokens = step->n_tokens, expected = acceptance;
    for (uint32_t n = 1; n <= max && step->n_rows + n <= SPEC_ROWS_MAX; n++, expected *= acceptance) {
        n_tokens += expected;
        float now = n_tokens / cost_with(p, source, step, n);
        if (now > *rate) {
            *rate = now;
            best = n;
        }
    }
    return best;
}

bool spec_policy_prefill_pays(const spec_policy *p, const spec_step *step, float rate, uint32_t n_unread,
                              uint32_t n_remaining)
{
    float prefill = p->prefill_us != 0.0f ? p->prefill_us : PREFILL_DEFAULT * cost_of(p, 1);
    float without = step->n_tokens / cost_with(p, DRAFT_MODEL, step, 0);
    float won = (float)n_remaining * step->n_tokens * (1.0f / without - 1.0f / rate);
    return (float)n_unread * prefill <= won;
}

bool spec_policy_should_skip(spec_policy *p)
{
    p->n_skipped++;
    return p->n_skipped < SKIPS_MAX;
}

void spec_policy_draft_made(spec_policy *p)
{
    p->n_skipped = 0;
}

bool spec_policy_should_measure_baseline(spec_policy *p)
{
    p->n_model_drafts = p->n_model_drafts < BASELINE_EVERY ? p->n_model_drafts + 1 : 0;
    return p->n_model_drafts == 0;
}
