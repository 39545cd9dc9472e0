/* test_attention.c - attention over the paged cache: the reference against double arithmetic, every variant against the
 * reference and every way of dividing the work against one row alone, to the bit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sharding/pack/half.h"
#include "tests/helpers/kern_helpers.h"
#include "worker/kernels/kern.h"
#include "worker/model/attend.h"

/* Scores of up to 256 products of numbers below 1, scaled: 2^-24 x 256 x 0.7 each; a weight takes over their
 * error, 1.1e-5 relative.  Answers are means of values below 1.  A factor 2 to spare. */
#define TOLERANCE 2.2e-5

#define MAX_POSITIONS 1100u
#define MAX_BLOCKS    (MAX_POSITIONS / KERN_PANEL + 1)

/* --- a cache with one sequence in it --- */

typedef struct cache {
    model_kv kv;
    model_arena arena;
    size_t bytes;
    uint32_t blocks[MAX_BLOCKS]; /* scattered */
    uint32_t n_positions;
    float *k, *v; /* [n_positions][n_heads][dh] as the cache holds them, in f32 */
} cache;

/* x [n], a group, as int8 keeps it. */
static void round_int8(float *x, size_t n)
{
    float most = 0.0f;
    for (size_t i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    float scale = half_from_f16(half_to_f16(most / 127.0f));
    for (size_t i = 0; i < n; i++) {
        float code = rintf(x[i] * (1.0f / scale));
        assert_true(fabsf(code) <= 127.0f);
        assert_true(fabs((double)(code * scale) - (double)x[i]) <=
                    0.57 * (double)scale); /* half, and 127 x 2^-11 by which a scale is too small */
        x[i] = code * scale;
    }
}

static void round_as_stored(model_kv_type type, float *x, size_t n, size_t dh)
{
    for (size_t i = 0; i < n && type == MODEL_KV_BF16; i++)
        x[i] = half_from_bf16(half_to_bf16(x[i]));
    for (size_t i = 0; i < n && type == MODEL_KV_INT8; i += dh)
        for (size_t c = 0; c < dh; c += PACK_GROUP)
            round_int8(x + i + c, dh - c < PACK_GROUP ? dh - c : PACK_GROUP);
}

/* `stale`: what lies in the cache where nothing was stored. */
static void cache_fill(cache *c, model_kv_type type, uint32_t n_heads, uint32_t dh, uint32_t n_positions, int stale)
{
    *c = (cache){.n_positions = n_positions};
    uint32_t n_blocks = n_positions / KERN_PANEL + 1;
    size_t n = (size_t)n_positions * n_heads * dh;
    model_kv_layout(&c->kv, type, 1, n_heads, n_blocks, dh, &c->arena);
    c->bytes = c->arena.used;
    c->arena = (model_arena){.base = aligned_zeros(c->bytes)};
    memset(c->arena.base, stale, c->bytes);
    model_kv_layout(&c->kv, type, 1, n_heads, n_blocks, dh, &c->arena);
    for (uint32_t b = 0; b < n_blocks; b++)
        c->blocks[b] = (b + n_blocks / 2) % n_blocks;
    c->k = random_floats(n);
    c->v = random_floats(n);
    for (uint32_t pos = 0; pos < n_positions; pos++)
        model_kv_store(&c->kv, 0, c->blocks, pos, c->k + (size_t)pos * n_heads * dh, c->v + (size_t)pos * n_heads * dh);
    round_as_stored(type, c->k, n, dh);
    round_as_stored(type, c->v, n, dh);
}

static void cache_release(cache *c)
{
    free(c->arena.base), free(c->k), free(c->v);
}

/* --- one call, split by split --- */

static const kern_table *reference(void)
{
    const kern_table *kern[KERN_VARIANTS];
    kern_usable(kern);
    return kern[0];
}

static void attend(const kern_table *kern, kern_attention *call)
{
    size_t part_floats = KERN_ATTENTION_ROWS * kern_partial_floats(call->dh);
    call->scratch = aligned_zeros(kern_attention_scratch(call->dh) * sizeof(float));
    float *sums = aligned_zeros(2 * part_floats * sizeof *sums), *part = sums + part_floats;
    uint32_t last = 0, first = UINT32_MAX, n_rows = call->n_tokens * call->n_heads;
    for (uint32_t t = 0; t < call->n_tokens; t++) {
        uint32_t from = call->first != NULL ? call->first[t] : 0;
        first = from < first ? from : first;
        last = call->n_visible[t] > last ? call->n_visible[t] : last;
    }
    kern->attention_partial(call, first / KERN_SPLIT, sums);
    for (uint32_t split = first / KERN_SPLIT + 1; split * KERN_SPLIT < last; split++) {
        kern->attention_partial(call, split, part);
        kern->attention_merge(sums, part, n_rows, call->dh);
    }
    kern->attention_normalise(call, sums);
    free(call->scratch), free(sums);
}

/* One row in double. */
static void attend_double(const cache *c, const float *q, float scale, uint32_t first, uint32_t n_visible, double *out)
{
    uint32_t dh = c->kv.dh;
    double *scores = malloc(n_visible * sizeof *scores), max = -1e300, total = 0;
    assert_non_null(scores);
    for (uint32_t j = first; j < n_visible; j++) {
        scores[j] = 0;
        for (uint32_t i = 0; i < dh; i++)
            scores[j] += (double)q[i] * (double)c->k[(size_t)j * dh + i];
        scores[j] *= (double)scale;
        max = scores[j] > max ? scores[j] : max;
    }
    memset(out, 0, dh * sizeof *out);
    for (uint32_t j = first; j < n_visible; j++) {
        double p = exp(scores[j] - max);
        total += p;
        for (uint32_t i = 0; i < dh; i++)
            out[i] += p * (double)c->v[(size_t)j * dh + i];
    }
    for (uint32_t i = 0; i < dh; i++)
        out[i] /= total;
    free(scores);
}

/* Numbers of visible positions around every border. */
static const uint32_t borders[] = {1,   2,   31,  32,  33,  63,  64,  65,  100,  255,  256,
                                   257, 287, 288, 289, 511, 512, 513, 700, 1024, 1025, 1100};
enum { N_BORDERS = sizeof borders / sizeof *borders };

static const uint32_t windows[] = {0, 1, 7, 32, 33, 256, 300, 512};
enum { N_WINDOWS = sizeof windows / sizeof *windows };

/* All borders as the rows of one call, in every variant; each row alone; against double. */
static void check_borders(const cache *c, uint32_t window)
{
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern), n = (size_t)N_BORDERS * c->kv.dh, dh = c->kv.dh;
    float *q = random_floats(n), *expected = random_floats(n), *out = random_floats(n);
    uint32_t first[N_BORDERS];
    for (uint32_t r = 0; r < N_BORDERS; r++)
        first[r] = window != 0 && borders[r] > window ? borders[r] - window : 0;
    kern_attention call = {.type = c->kv.type,
                           .base = model_kv_head(&c->kv, 0, 0),
                           .blocks = c->blocks,
                           .dh = c->kv.dh,
                           .scale = 0.7f,
                           .q = q,
                           .out = expected,
                           .ldq = dh,
                           .ldo = dh,
                           .n_tokens = N_BORDERS,
                           .n_heads = 1,
                           .n_visible = borders,
                           .first = window != 0 ? first : NULL};
    attend(kern[0], &call);
    call.out = out;
    for (size_t v = 1; v < n_variants; v++) {
        attend(kern[v], &call);
        assert_memory_equal(out, expected, n * sizeof *out);
    }
    for (uint32_t r = 0; r < N_BORDERS; r++) {
        double exact[KERN_HEAD_DIM_MAX];
        attend_double(c, q + r * dh, call.scale, first[r], borders[r], exact);
        for (uint32_t i = 0; i < dh; i++)
            assert_true(fabs(exact[i] - (double)expected[r * dh + i]) <= TOLERANCE);
        kern_attention alone = call;
        alone.q += r * dh, alone.out += r * dh, alone.n_visible += r, alone.n_tokens = 1;
        alone.first = call.first != NULL ? first + r : NULL;
        memset(alone.out, 0, dh * sizeof *out);
        attend(kern[n_variants - 1], &alone);
    }
    assert_memory_equal(out, expected, n * sizeof *out);
    free(q), free(expected), free(out);
}

static void rows_alone_and_together(void **unused)
{
    (void)unused;
    const uint32_t dims[] = {2, 10, 40, 64, 80, 128, 256};
    for (int type = 0; type < MODEL_N_KV_TYPES; type++)
        for (size_t id = 0; id < sizeof dims / sizeof *dims; id++) {
            cache c;
            cache_fill(&c, (model_kv_type)type, 1, dims[id], MAX_POSITIONS, 0);
            for (size_t iw = 0; iw < N_WINDOWS; iw++)
                if (iw == 0 || dims[id] == 64 || dims[id] == 40)
                    check_borders(&c, windows[iw]);
            cache_release(&c);
        }
}

/* --- model_attend: batches, tiles, teams --- */

#define N_KV   2u
#define N_HEAD 6u
#define DH     64u

/* Slices of the one sequence: a long decode row, prefill chunks, a row that sees one position. */
static const uint32_t slices[][2] = {{1099, 1}, {0, 70}, {0, 1}, {250, 13}, {500, 1}, {1020, 80}, {767, 2}};
enum { N_SLICES = sizeof slices / sizeof *slices, N_ROWS = 1 + 70 + 1 + 13 + 1 + 80 + 2 };

typedef struct bench {
    cache c;
    model_batch batch;
    model_attention at;
    model_attend_rows rows;
    bool windowed;
} bench;

static void take_batch(bench *b, uint32_t window, link_plan *plan, link_slice *all)
{
    model_arena arena = {0};
    model_batch_layout(&b->batch, N_ROWS, N_HEAD, window, &arena);
    arena = (model_arena){.base = aligned_zeros(arena.used)};
    model_batch_layout(&b->batch, N_ROWS, N_HEAD, window, &arena);
    *plan = (link_plan){.slices = all, .blocks = b->c.blocks};
    for (size_t i = 0; i < N_SLICES; i++)
        all[i] = (link_slice){.pos = slices[i][0], .n_tokens = slices[i][1]};
}

static void attend_by_member(void *context, team_member *me)
{
    bench *b = context;
    if (me->index == 0)
        model_attention_prepare(&b->at, &b->batch);
    team_barrier(me);
    model_attend(me, &b->at, &b->batch, &b->c.kv, 0, b->windowed, &b->rows);
    team_barrier(me);
}

/* Every query of the batch by itself, in the reference. */
static void attend_alone(const bench *b, float *out)
{
    for (uint32_t r = 0; r < b->batch.n_rows; r++)
        for (uint32_t h = 0; h < N_HEAD; h++) {
            size_t at = r * b->rows.ld + (size_t)h * DH;
            kern_attention call = {.type = b->c.kv.type,
                                   .base = model_kv_head(&b->c.kv, 0, h / (N_HEAD / N_KV)),
                                   .blocks = b->c.blocks,
                                   .dh = DH,
                                   .scale = b->rows.scale,
                                   .q = b->rows.q + at,
                                   .out = out + at,
                                   .ldq = DH,
                                   .ldo = DH,
                                   .n_tokens = 1,
                                   .n_heads = 1,
                                   .n_visible = b->batch.n_visible + r,
                                   .first = b->windowed ? b->batch.first + r : NULL};
            attend(reference(), &call);
        }
}

static const link_limits no_images;

static void check_teams(bench *b, const link_plan *plan)
{
    const model_heads heads = {{0, N_HEAD}, {0, N_KV}, N_HEAD / N_KV};
    size_t n_floats = (size_t)plan->n_tokens * N_HEAD * DH;
    float *expected = random_floats(n_floats);
    model_batch_from_plan(&b->batch, plan, &no_images, &heads);
    assert_int_equal(b->batch.n_rows, plan->n_tokens);
    attend_alone(b, expected);
    for (uint32_t n = 1; n <= 4; n++) {
        team *members;
        base_error error;
        assert_int_equal(team_create(n, true, &members, &error), BASE_OK);
        char *memory = aligned_zeros(model_attention_bytes(DH, n));
        model_attention_init(&b->at, DH, n, memory);
        b->batch.tiles_wanted = n == 3 ? 1000 : 4 * n; /* low tiles too */
        model_batch_from_plan(&b->batch, plan, &no_images, &heads);
        memset(b->rows.o, 0, n_floats * sizeof(float));
        team_run(members, attend_by_member, b);
        assert_memory_equal(b->rows.o, expected, n_floats * sizeof(float));
        if (plan->n_tokens == 1) /* one long row: split by every team but the one of one */
            assert_true(((b->windowed ? b->at.windowed : b->at.full).n_split_tiles > 0) == (n > 1));
        free(memory);
        team_destroy(&members);
    }
    free(expected);
}

/* Rows of an image see it to its end; a vector, which plans number after the encoder cache, sees none ahead. */
static void only_image_rows_see_ahead(void **unused)
{
    (void)unused;
    const model_heads heads = {{0, N_HEAD}, {0, N_KV}, N_HEAD / N_KV};
    const link_limits limits = {.n_image_slots = 2, .rows_per_image = 4, .whole_images = 1};
    int32_t tokens[] = {5, -1, -2, -3, -4, -9, -10, 6};
    const uint32_t visible[] = {1, 5, 5, 5, 5, 6, 7, 8};
    bench b = {0};
    link_slice all[N_SLICES];
    link_plan plan;
    take_batch(&b, 0, &plan, all);
    all[0] = (link_slice){.n_tokens = 8};
    plan.n_slices = 1, plan.n_tokens = 8, plan.tokens = tokens;
    model_batch_from_plan(&b.batch, &plan, &limits, &heads);
    assert_memory_equal(b.batch.n_visible, visible, sizeof visible);
    free(b.batch.pos); /* the arena begins with it */
}

static void teams_leave_no_trace(void **unused)
{
    (void)unused;
    base_error error;
    assert_int_equal(kern_select("auto", &error), BASE_OK);
    for (int type = 0; type < MODEL_N_KV_TYPES; type++)
        for (uint32_t window = 0; window <= 300; window += 300) {
            bench b = {.windowed = window != 0};
            link_slice all[N_SLICES];
            link_plan plan;
            size_t n = (size_t)N_ROWS * N_HEAD * DH;
            cache_fill(&b.c, (model_kv_type)type, N_KV, DH, MAX_POSITIONS, 0);
            take_batch(&b, window, &plan, all);
            float *q = random_floats(n), *o = random_floats(n);
            b.rows = (model_attend_rows){.q = q, .o = o, .ld = N_HEAD * DH, .scale = 0.2f};
            plan.n_slices = N_SLICES, plan.n_tokens = N_ROWS;
            check_teams(&b, &plan);
            plan.n_slices = plan.n_tokens = 1;
            check_teams(&b, &plan);
            free(q), free(o);
            free(b.batch.pos); /* the arena begins with it */
            cache_release(&b.c);
        }
}

/* --- what a row does not see --- */

/* 0xff in every byte is a NaN in f32, bf16 and the scales of int8: blocks of a sequence that failed. */
static void stale_blocks_leave_no_trace(void **unused)
{
    (void)unused;
    const uint32_t visible[] = {1, 33, 290, 300};
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (int type = 0; type < MODEL_N_KV_TYPES; type++)
        for (size_t variant = 0; variant < n_variants; variant++) {
            float *q = random_floats(4 * DH), out[2][4 * DH];
            for (int stale = 0; stale < 2; stale++) {
                cache c;
                random_state = 77;
                cache_fill(&c, (model_kv_type)type, 1, DH, 300, stale ? 0xff : 0);
                kern_attention call = {.type = c.kv.type,
                                       .base = model_kv_head(&c.kv, 0, 0),
                                       .blocks = c.blocks,
                                       .dh = DH,
                                       .scale = 0.7f,
                                       .q = q,
                                       .out = out[stale],
                                       .ldq = DH,
                                       .ldo = DH,
                                       .n_tokens = 4,
                                       .n_heads = 1,
                                       .n_visible = visible};
                attend(kern[variant], &call);
                cache_release(&c);
            }
            assert_memory_equal(out[0], out[1], sizeof out[0]);
            free(q);
        }
}

/* Keys or values of position 40 that are not finite: rows that see them are not numbers, the others are as before. */
static void what_is_not_finite_is_seen(void **unused)
{
    (void)unused;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    const uint32_t visible[] = {40, 41};
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (int type = 0; type < MODEL_N_KV_TYPES; type++)
        for (size_t i = 0; i < 6 * n_variants; i++) {
            cache c;
            float q[2 * DH], out[2 * DH];
            cache_fill(&c, (model_kv_type)type, 1, DH, 60, 0);
            float *k = c.k + 40 * DH, *v = c.v + 40 * DH;
            *(i % 2 == 0 ? k : v) = bad[i % 6 / 2];
            model_kv_store(&c.kv, 0, c.blocks, 40, k, v);
            for (size_t j = 0; j < 2 * DH; j++)
                q[j] = 0.1f; /* an infinite key times it is infinite, and minus infinity is left out by a softmax */
            kern_attention call = {.type = c.kv.type,
                                   .base = model_kv_head(&c.kv, 0, 0),
                                   .blocks = c.blocks,
                                   .dh = DH,
                                   .scale = 0.7f,
                                   .q = q,
                                   .out = out,
                                   .ldq = DH,
                                   .ldo = DH,
                                   .n_tokens = 2,
                                   .n_heads = 1,
                                   .n_visible = visible};
            attend(kern[i / 6], &call);
            bool left_out = i % 2 == 0 && bad[i % 6 / 2] < 0 && type != MODEL_KV_INT8;
            assert_true(isfinite(out[0]));
            assert_true(left_out || !isfinite(out[DH]));
            cache_release(&c);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_alone_and_together),    cmocka_unit_test(only_image_rows_see_ahead),
        cmocka_unit_test(teams_leave_no_trace),       cmocka_unit_test(stale_blocks_leave_no_trace),
        cmocka_unit_test(what_is_not_finite_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
