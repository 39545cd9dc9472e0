#include "sharding/split.h"

#include <stdbool.h>

shard_range shard_range_of(uint32_t n, uint32_t n_parts, uint32_t part)
{
    uint32_t each = n / n_parts, more = n % n_parts;
    uint32_t begin = part * each + (part < more ? part : more);
    return (shard_range){.begin = begin, .end = begin + each + (part < more ? 1 : 0)};
}

static uint32_t groups_of(uint32_t n, uint32_t group)
{
    return n / group + (n % group != 0);
}

/* A part's share of n things that stay together in groups. */
static shard_range grouped_range(uint32_t n, uint32_t group, uint32_t n_parts, uint32_t part)
{
    shard_range groups = shard_range_of(groups_of(n, group), n_parts, part);
    uint32_t begin = groups.begin * group, end = groups.end * group;
    return (shard_range){.begin = begin < n ? begin : n, .end = end < n ? end : n};
}

/* The KV heads that query heads [begin, end) read: query head i reads KV head i / (h / kv). */
static shard_range kv_range(const arch_stack *stack, shard_range heads)
{
    uint32_t share = stack->h / stack->kv;
    if (heads.begin == heads.end)
        return (shard_range){0, 0};
    return (shard_range){.begin = heads.begin / share, .end = (heads.end - 1) / share + 1};
}

shard_stack_split shard_stack_split_of(const arch_stack *stack, uint32_t tp, uint32_t tp_rank)
{
    shard_stack_split split = {.heads = shard_range_of(stack->h, tp, tp_rank),
                               .mlp = grouped_range(stack->f, SHARD_MLP_GROUP, tp, tp_rank)};
    split.kv_heads = kv_range(stack, split.heads);
    return split;
}

/* The most tensor ranks a model can use, and what sets that bound. */
typedef struct tp_limit {
    uint32_t n;
    const char *what;
} tp_limit;

static void lower_limit(tp_limit *limit, uint32_t n, const char *what)
{
    if (n < limit->n)
        *limit = (tp_limit){n, what};
}

static tp_limit tp_limit_of(const arch *a)
{
    tp_limit limit = {a->decoder.stack.h, "attention heads"};
    lower_limit(&limit, groups_of(a->decoder.stack.f, SHARD_MLP_GROUP), "groups of 64 MLP columns");
    lower_limit(&limit, groups_of(a->decoder.vocab_size, SHARD_VOCAB_GROUP), "groups of 32 vocabulary rows");
    if (a->has_tower) {
        lower_limit(&limit, a->tower.stack.h, "attention heads of the vision tower");
        lower_limit(&limit, groups_of(a->tower.stack.f, SHARD_MLP_GROUP),
                    "groups of 64 MLP columns of the vision tower");
    }
    return limit;
}

/* The layout of exactly n ranks with the largest tp; tp and pp are kept when they are not 0. */
static bool layout_of(uint32_t n, uint32_t max_tp, uint32_t max_pp, uint32_t *tp, uint32_t *pp)
{
    uint32_t from = *tp != 0 ? *tp : (n < max_tp ? n : max_tp);
    uint32_t to = *tp != 0 ? *tp : 1;
    for (uint32_t t = from; t >= to; t--) {
        bool fits = t <= max_tp && n % t == 0 && n / t <= max_pp;
        if (fits && (*pp == 0 || *pp == n / t)) {
            *tp = t;
            *pp = n / t;
            return true;
        }
    }
    return false;
}

/* The layout of the most ranks, at most n, that fits; 1 x 1 always does. */
static void nearest_layout(uint64_t n, uint32_t max_tp, uint32_t max_pp, uint32_t *tp, uint32_t *pp)
{
    uint64_t most = (uint64_t)max_tp * max_pp;
    uint32_t at = (uint32_t)(n < most ? n : most);
    for (; at > 1; at--) {
        *tp = *pp = 0;
        if (layout_of(at, max_tp, max_pp, tp, pp))
            return;
    }
    *tp = *pp = 1;
}

static base_status check_grid(const arch *a, uint32_t tp, uint32_t pp, base_error *error)
{
    tp_limit limit = tp_limit_of(a);
    uint32_t layers = a->decoder.stack.n_layers;
    uint32_t near_tp, near_pp;
    if (tp == 0 || pp == 0)
        return base_fail(error, BASE_EINVAL, "a layout of %u x %u ranks is empty", tp, pp);
    nearest_layout((uint64_t)tp * pp, limit.n, layers, &near_tp, &near_pp);
    if (tp > limit.n)
        return base_fail(
            error, BASE_EINVAL,
            "--tp %u is more than the model's %u %s; the nearest layout that fits is --tp %u --pp %u (%u ranks)", tp,
            limit.n, limit.what, near_tp, near_pp, near_tp * near_pp);
    if (pp > layers)
        return base_fail(
            error, BASE_EINVAL,
            "--pp %u is more than the model's %u layers; the nearest layout that fits is --tp %u --pp %u (%u ranks)",
            pp, layers, near_tp, near_pp, near_tp * near_pp);
    return BASE_OK;
}

base_status shard_split_of(const arch *a, uint32_t tp, uint32_t pp, uint32_t tp_rank, uint32_t stage, shard_split *out,
                           base_error *error)
{
    base_status status = check_grid(a, tp, pp, error);
    if (status != BASE_OK)
        return status;
    if (tp_rank >= tp || stage >= pp)
        return base_fail(error, BASE_EINVAL, "tensor rank %u, stage %u is outside the grid of %u x %u", tp_rank, stage,
                         tp, pp);
    shard_split split = {.layers = shard_range_of(a->decoder.stack.n_layers, pp, stage),
                         .decoder = shard_stack_split_of(&a->decoder.stack, tp, tp_rank)};
    if (stage == 0 && a->has_tower)
        split.tower = shard_stack_split_of(&a->tower.stack, tp, tp_rank);
    if (stage == 0 || stage == pp - 1)
        split.vocab = grouped_range(a->decoder.vocab_size, SHARD_VOCAB_GROUP, tp, tp_rank);
    *out = split;
    return BASE_OK;
}

base_status shard_layout_choose(const arch *a, uint32_t n_ranks, uint32_t *tp, uint32_t *pp, base_error *error)
{
    tp_limit limit = tp_limit_of(a);
    uint32_t layers = a->decoder.stack.n_layers;
    if (n_ranks == 0)
        return base_fail(error, BASE_EINVAL, "a layout needs at least one rank");
    if (layout_of(n_ranks, limit.n, layers, tp, pp))
        return BASE_OK;
    if ((*tp != 0 && n_ranks % *tp != 0) || (*pp != 0 && n_ranks % *pp != 0) ||
        (*tp != 0 && *pp != 0 && (uint64_t)*tp * *pp != n_ranks))
        return base_fail(error, BASE_EINVAL,
                         "--tp %u --pp %u (0: free) does not make %u ranks; tp x pp must be the rank count", *tp, *pp,
                         n_ranks);
    uint32_t near_tp, near_pp;
    nearest_layout(n_ranks, limit.n, layers, &near_tp, &near_pp);
    return base_fail(
        error, BASE_EINVAL,
        "no layout of %u ranks fits: tp is at most %u (%s), pp at most %u (layers); the largest that does is --tp %u "
        "--pp %u (%u ranks)",
        n_ranks, limit.n, limit.what, layers, near_tp, near_pp, near_tp * near_pp);
}
