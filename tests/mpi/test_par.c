/* The rank grid and everything that crosses ranks, on every layout that the number of ranks allows. */
#include "tests/mpi/check.h"

#include <sched.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "worker/par/channels.h"
#include "worker/par/collectives.h"
#include "worker/par/par_testing.h"
#include "worker/par/wait_int.h"

static int64_t hash_of(uint64_t a, uint64_t b)
{
    uint64_t h = (a + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u + b * 0x94d049bb133111ebu;
    h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
    return (int64_t)(h ^ (h >> 32));
}

/* --- how long a wait spins --- */

static bool at_once(void *context)
{
    (void)context;
    return true;
}

static bool is_past(void *context)
{
    return base_clock_us() >= *(const uint64_t *)context;
}

/* One CPU for ranks 0 and 1, as if they ran in containers that cannot see each other. */
static bool share_core(cpu_set_t *before)
{
    cpu_set_t one;
    if (sched_getaffinity(0, sizeof *before, before) != 0)
        return false;
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, before))
            CPU_SET(cpu, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0;
}

enum { WAIT_US = 10000, WORK_US = 50, MEET_US = 2000000, SPIN_MAX = 1000 };

/* Work a little, then yield, as a rank does that has to wait itself. */
static void be_a_fellow(uint64_t until_us)
{
    while (!is_past(&until_us)) {
        uint64_t done_us = base_clock_us() + WORK_US;
        while (!is_past(&done_us))
            continue;
        sched_yield();
    }
}

/* Waits that end while spinning let the limit grow to its most; a wait in which a fellow rank took the core cuts it. */
static void case_spins(par_world *world)
{
    par_spin spin = {.turns = 4, .max_turns = SPIN_MAX};
    const par_waiter waiter = {.spin = &spin};
    for (int i = 0; i < SPIN_MAX; i++) {
        uint32_t before = spin.turns;
        par_wait_until(&waiter, at_once, NULL, PAR_AWAKE_US);
        CHECK(spin.turns > before || spin.turns == SPIN_MAX);
    }
    CHECK(spin.turns == SPIN_MAX);

    int rank = par_world_rank(world);
    cpu_set_t before;
    bool shared = rank < 2 && share_core(&before);
    bool meets = par_world_size(world) > 1 && par_world_max(world, rank < 2 && !shared) == 0;
    uint64_t end_us = base_clock_us() + MEET_US;
    if (rank == 1 && meets)
        be_a_fellow(end_us);
    if (rank == 0 && meets) {
        bool was_cut = false; /* other programs may take the yields at first */
        while (!was_cut && base_clock_us() + WAIT_US < end_us) {
            uint64_t until_us = base_clock_us() + WAIT_US;
            par_wait_until(&waiter, is_past, &until_us, PAR_TRANSFER_US);
            was_cut = spin.turns < SPIN_MAX;
        }
        CHECK(was_cut);
    }
    if (shared)
        sched_setaffinity(0, sizeof before, &before);
}

/* --- the world --- */

static void case_agree(par_world *world)
{
    base_error error = {0};
    int rank = par_world_rank(world), size = par_world_size(world);
    CHECK(par_world_agree(world, BASE_OK, &error) == BASE_OK);
    CHECK(error.text[0] == '\0');

    /* only the last rank fails: all ranks return its error */
    base_status mine = rank == size - 1 ? base_fail(&error, BASE_EFORMAT, "file %d is cut short", rank) : BASE_OK;
    CHECK(par_world_agree(world, mine, &error) == BASE_EFORMAT);
    char expected[64];
    snprintf(expected, sizeof expected, size > 1 ? "rank %d: file %d is cut short" : "file %d is cut short", size - 1,
             size - 1);
    CHECK(strcmp(error.text, expected) == 0 && error.status == BASE_EFORMAT);

    /* two fail: the first one's cause; a missing text is replaced by the status's name */
    error = (base_error){0};
    mine = rank == 0 ? BASE_ENOMEM : rank == size - 1 ? BASE_EIO : BASE_OK;
    CHECK(par_world_agree(world, mine, &error) == BASE_ENOMEM);
    CHECK(strstr(error.text, "out_of_memory") != NULL);
    CHECK(par_world_agree(world, BASE_OK, NULL) == BASE_OK);
    CHECK(par_world_agree(world, mine, NULL) == BASE_ENOMEM);
    CHECK(par_world_max(world, (uint64_t)rank + 5) == (uint64_t)size + 4);
    CHECK(par_world_max(world, UINT64_MAX - (uint64_t)rank) == UINT64_MAX);
}

static void take_line(void *context, int rank, const char *text)
{
    int *next = context;
    char expected[32];
    snprintf(expected, sizeof expected, "text of %d", rank);
    CHECK(rank == *next);
    CHECK(rank == 1 ? strlen(text) == PAR_TEXT_MAX - 1 : rank == 2 ? text[0] == '\0' : strcmp(text, expected) == 0);
    ++*next;
}

static void case_texts(par_world *world)
{
    int rank = par_world_rank(world), lines = 0;
    char text[2 * PAR_TEXT_MAX];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    if (rank != 1)
        snprintf(text, sizeof text, "text of %d", rank);
    par_world_collect_text(world, rank == 2 ? NULL : text, take_line, &lines);
    CHECK(lines == (rank == 0 ? par_world_size(world) : 0));
}

static void case_broadcast(par_world *world)
{
    static const size_t sizes[] = {0, 1, 100000, ((size_t)16 << 20) * 2 + 5}; /* the last goes in pieces */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        base_error error = {0};
        base_buf buf = {0};
        if (par_world_rank(world) == 0) {
            for (size_t at = 0; at < sizes[i]; at++)
                base_buf_put_u8(&buf, (uint8_t)(at * 7 + at / 251));
        } else {
            base_buf_put(&buf, "old content", 11);
        }
        CHECK(par_world_broadcast(world, &buf, &error) == BASE_OK);
        CHECK(buf.size == sizes[i]);
        size_t wrong = 0;
        for (size_t at = 0; at < buf.size; at++)
            wrong += buf.data[at] != (uint8_t)(at * 7 + at / 251);
        CHECK(wrong == 0);
        base_buf_release(&buf);
    }
}

static void case_node(par_world *world)
{
    uint64_t values[64] = {0};
    int n = par_world_local_size(world), index = par_world_local_rank(world);
    CHECK(n == par_world_size(world) && n <= 64); /* one node here */
    CHECK(index >= 0 && index < n);
    par_world_local_gather(world, (uint64_t)par_world_rank(world) + 100, values);
    CHECK(values[index] == (uint64_t)par_world_rank(world) + 100);
    for (int i = 1; i < n; i++)
        CHECK(values[i] == values[i - 1] + 1);
}

/* --- tensor groups --- */

/* One vector of each kind, filled and checked by member 0, reduced by the team. */
typedef struct vectors {
    par_grid *grid;
    size_t n;
    int64_t *sums;
    uint32_t *bits;
} vectors;

static void combine(void *context, team_member *me)
{
    vectors *v = context;
    par_allreduce_sum_i64(v->grid, me, v->sums, v->n);
    par_allreduce_or_u32(v->grid, me, v->bits, v->n);
}

static void sum_and_or(par_grid *grid, team *t, size_t n)
{
    par_place place = par_grid_place(grid);
    vectors v = {grid, n, calloc(n + 1, sizeof *v.sums), calloc(n + 1, sizeof *v.bits)};
    for (size_t i = 0; i < n; i++) {
        v.sums[i] = hash_of(i, place.rank) >> 4; /* large of both signs: no overflow with up to 8 ranks */
        v.bits[i] = i % place.tp == place.tp_rank ? (uint32_t)hash_of(i, place.stage) : 0;
    }
    team_run(t, combine, &v);
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t sum = 0;
        for (uint32_t other = 0; other < place.tp; other++)
            sum += hash_of(i, place.stage * place.tp + other) >> 4;
        wrong += v.sums[i] != sum || v.bits[i] != (uint32_t)hash_of(i, place.stage);
    }
    CHECK(wrong == 0);
    free(v.bits);
    free(v.sums);
}

/* A team of n threads; ranks outnumber cores here. */
static team *make_team(uint32_t n)
{
    base_error error = {0};
    team *t = NULL;
    CHECK(team_create(n, true, &t, &error) == BASE_OK);
    return t;
}

static void run_sum(par_world *world, par_grid *grid)
{
    (void)world;
    static const size_t sizes[] = {0, 1, 7, 1024, 100003, ((size_t)1 << 20) + 3}; /* the last goes in pieces */
    team *t = make_team(1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        sum_and_or(grid, t, sizes[i]);
    team_destroy(&t);
}

/* Teams of several threads, and of different sizes on different ranks: the smallest decides how many take part. */
static void run_sum_teams(par_world *world, par_grid *grid)
{
    static const size_t sizes[] = {1, 2049, 5000, 99999, 300001};
    team *t = make_team(1 + (uint32_t)par_world_rank(world) % 2 + 1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        sum_and_or(grid, t, sizes[i]);
    team_destroy(&t);
}

/* Thousands of sums one right after the other: a slot that is written too early shows here. */
static void run_many_sums(par_world *world, par_grid *grid)
{
    (void)world;
    team *t = make_team(1);
    for (size_t i = 0; i < 3000; i++)
        sum_and_or(grid, t, 1 + (uint64_t)hash_of(i, 0) % (i % 100 == 0 ? 60000 : 97));
    team_destroy(&t);
}

static void case_sum_teams(par_world *world)
{
    check_each_layout(world, run_sum_teams);
}

static void case_many_sums(par_world *world)
{
    check_each_layout(world, run_many_sums);
}

static void case_sum_messages(par_world *world)
{
    par_world_use_shared(world, false);
    check_each_layout(world, run_sum);
    check_each_layout(world, run_sum_teams);
}

static void case_sum(par_world *world)
{
    check_each_layout(world, run_sum);
}

static void gather(par_grid *grid, const uint32_t *columns, size_t n_rows)
{
    par_place place = par_grid_place(grid);
    size_t total = 0, first = 0;
    for (uint32_t t = 0; t < place.tp; t++) {
        first += t < place.tp_rank ? columns[t] : 0;
        total += columns[t];
    }
    size_t width = columns[place.tp_rank];
    float *local = malloc((n_rows * width + 1) * sizeof *local), *full = calloc(n_rows * total + 1, sizeof *full);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < width; c++)
            local[r * width + c] = (float)(r * 100000 + first + c);
    par_gather_columns(grid, local, columns, n_rows, full);
    size_t wrong = 0;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < total; c++)
            wrong += full[r * total + c] != (place.tp_rank == 0 ? (float)(r * 100000 + c) : 0.0f);
    CHECK(wrong == 0);
    free(full);
    free(local);
}

static void run_columns(par_world *world, par_grid *grid)
{
    (void)world;
    gather(grid, (const uint32_t[]){5, 0, 17, 1}, 3); /* uneven, one rank without any */
    gather(grid, (const uint32_t[]){0, 3, 2, 2}, 9);
    gather(grid, (const uint32_t[]){8064, 8032, 8064, 8032}, 12);
    gather(grid, (const uint32_t[]){4, 4, 4, 4}, 0);
}

static void case_columns(par_world *world)
{
    check_each_layout(world, run_columns);
}

/* --- channels --- */

enum { PLAN_BYTES = 300000, RESULT_BYTES = 20000, STAGE_FLOATS = 300000 };

static void reserve(par_grid *grid)
{
    base_error error = {0};
    CHECK(par_grid_reserve(grid, STAGE_FLOATS, PLAN_BYTES, RESULT_BYTES, &error) == BASE_OK);
}

/* Message k of a kind: its size is drawn from k, small or large, and its bytes from k and their place. */
static size_t message_make(uint64_t k, size_t limit, uint8_t *out)
{
    uint64_t h = (uint64_t)hash_of(k, limit);
    size_t size = k == 0 ? 0 : k == 1 ? limit : (size_t)(h >> 8) % (h % 5 == 0 ? limit : limit / 100);
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(k * 31 + i * 7 + i / 255);
    return size;
}

static bool message_is(uint64_t k, size_t limit, const base_buf *got)
{
    static uint8_t expected[PLAN_BYTES];
    size_t size = message_make(k, limit, expected);
    return got->size == size && (size == 0 || memcmp(got->data, expected, size) == 0);
}

/* Every stage changes the vector and passes it on; the first stage is fast, the second slow to take: both buffers
 * fill. */
static void run_stages(par_world *world, par_grid *grid)
{
    (void)world;
    par_place place = par_grid_place(grid);
    reserve(grid);
    float *values = malloc(STAGE_FLOATS * sizeof *values);
    for (uint32_t k = 0; k < 12; k++) {
        size_t n = k == 0 ? 0 : k == 1 ? STAGE_FLOATS : (size_t)k * k * 37;
        if (place.stage == 1 && k < 4)
            base_clock_nap(3000);
        for (size_t i = 0; i < n; i++)
            values[i] = (float)(i + k + place.tp_rank);
        if (place.stage > 0) {
            memset(values, 0, n * sizeof *values);
            par_stage_receive(grid, values, n);
        }
        size_t wrong = 0;
        for (size_t i = 0; i < n; i++)
            wrong += values[i]++ != (float)(i + k + place.tp_rank + place.stage);
        CHECK(wrong == 0);
        if (place.stage + 1 < place.pp)
            par_stage_send(grid, values, n);
    }
    free(values);
}

static void case_stages(par_world *world)
{
    check_each_layout(world, run_stages);
}

static void run_plans(par_world *world, par_grid *grid)
{
    static uint8_t bytes[PLAN_BYTES];
    reserve(grid);
    base_buf plan = {0};
    /* as many as may be in flight, all before any rank takes one: rank 0 must not be held up */
    uint32_t n = par_grid_plans_max(grid);
    for (uint32_t k = 0; k < n && par_world_rank(world) == 0; k++)
        par_plan_send(grid, bytes, message_make(k, PLAN_BYTES, bytes));
    CHECK(par_world_max(world, 1) == 1);
    for (uint32_t k = 0; k < n && par_world_rank(world) != 0; k++) {
        while (!par_plan_poll(grid, &plan))
            par_idle(grid);
        par_idle_reset(grid);
        CHECK(message_is(k, PLAN_BYTES, &plan));
    }
    CHECK(par_world_rank(world) == 0 || !par_plan_poll(grid, &plan));
    base_buf_release(&plan);
}

static void case_plans(par_world *world)
{
    check_each_layout(world, run_plans);
}

static void run_results(par_world *world, par_grid *grid)
{
    (void)world;
    static uint8_t bytes[RESULT_BYTES];
    par_place place = par_grid_place(grid);
    reserve(grid);
    base_buf result = {0};
    uint32_t n = par_grid_plans_max(grid);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t k = 0; k < n && place.stage == place.pp - 1 && place.tp_rank == 0; k++)
            par_result_send(grid, bytes, message_make(k + round, RESULT_BYTES, bytes));
        for (uint32_t k = 0; k < n && place.stage == 0; k++) {
            while (!par_result_poll(grid, &result))
                par_idle(grid);
            par_idle_reset(grid);
            CHECK(message_is(k + round, RESULT_BYTES, &result));
        }
    }
    CHECK(!par_result_poll(grid, &result));
    base_buf_release(&result);
}

static void case_results(par_world *world)
{
    check_each_layout(world, run_results);
}

/* The step loop in small: plans ahead, reductions, stages and results all at once, for long enough that every ring goes
 * round, with ranks that dawdle in turn.  A cycle of waits would show as a time-out. */
typedef struct pipeline {
    par_grid *grid;
    par_place place;
    uint64_t n_sent, n_run, n_results;
    base_buf message;
    float *values;
    team *team;
} pipeline;

typedef struct few {
    par_grid *grid;
    int64_t *sums; /* [64] */
} few;

static void combine_few(void *context, team_member *me)
{
    few *f = context;
    par_allreduce_sum_i64(f->grid, me, f->sums, 64);
}

static void pipeline_step(pipeline *p)
{
    static uint8_t bytes[RESULT_BYTES];
    uint64_t k = p->n_run;
    int64_t sums[64];
    if (hash_of(k, p->place.rank) % 17 == 0)
        base_clock_nap(2500);
    size_t n = 100 + (size_t)(k * 977 % 50000);
    for (size_t i = 0; i < n; i++)
        p->values[i] = (float)k;
    if (p->place.stage > 0)
        par_stage_receive(p->grid, p->values, n);
    CHECK(p->values[0] == (float)(k + p->place.stage) && p->values[n - 1] == (float)(k + p->place.stage));
    for (size_t i = 0; i < 64; i++)
        sums[i] = (int64_t)(k + i);
    team_run(p->team, combine_few, &(few){p->grid, sums});
    CHECK(sums[63] == (int64_t)((k + 63) * p->place.tp));
    for (size_t i = 0; i < n; i++)
        p->values[i] += 1.0f;
    if (p->place.stage + 1 < p->place.pp)
        par_stage_send(p->grid, p->values, n);
    else if (p->place.tp_rank == 0)
        par_result_send(p->grid, bytes, message_make(k, RESULT_BYTES, bytes));
    p->n_run++;
}

static bool pipeline_turn(pipeline *p, uint64_t n_plans)
{
    static uint8_t bytes[PLAN_BYTES];
    uint64_t window = par_grid_plans_max(p->grid);
    bool busy = false;
    while (p->place.stage == 0 && par_result_poll(p->grid, &p->message)) {
        CHECK(message_is(p->n_results, RESULT_BYTES, &p->message));
        p->n_results++;
        busy = true;
    }
    while (p->place.rank == 0 && p->n_sent < n_plans && p->n_sent < p->n_results + window) {
        par_plan_send(p->grid, bytes, message_make(p->n_sent, PLAN_BYTES, bytes));
        p->n_sent++;
        busy = true;
    }
    if (p->place.stage == 0 && p->n_run >= p->n_results + window)
        return busy;
    bool have = p->n_run < n_plans && (p->place.rank == 0 ? p->n_run < p->n_sent : par_plan_poll(p->grid, &p->message));
    if (!have)
        return busy;
    CHECK(p->place.rank == 0 || message_is(p->n_run, PLAN_BYTES, &p->message));
    pipeline_step(p);
    return true;
}

static void run_pipeline(par_world *world, par_grid *grid)
{
    (void)world;
    const uint64_t n_plans = 150;
    pipeline p = {.grid = grid,
                  .team = make_team(1),
                  .place = par_grid_place(grid),
                  .values = malloc(STAGE_FLOATS * sizeof(float))};
    reserve(grid);
    while (p.n_run < n_plans || (p.place.stage == 0 && p.n_results < n_plans)) {
        if (pipeline_turn(&p, n_plans))
            par_idle_reset(grid);
        else
            par_idle(grid);
    }
    free(p.values);
    team_destroy(&p.team);
    base_buf_release(&p.message);
}

static void case_pipeline(par_world *world)
{
    check_each_layout(world, run_pipeline);
}

static void case_refused(par_world *world)
{
    base_error error = {0};
    par_grid *grid = NULL;
    CHECK(par_grid_create(world, 7, 3, &grid, &error) == BASE_EINVAL && grid == NULL);
    CHECK(strstr(error.text, "21 ranks") != NULL);
    CHECK(par_grid_create(world, 0, 1, &grid, &error) == BASE_EINVAL);
    CHECK(par_grid_create(world, UINT32_MAX, UINT32_MAX, &grid, &error) == BASE_EINVAL && grid == NULL);

    uint32_t n = (uint32_t)par_world_size(world);
    CHECK(par_grid_create(world, 1, n, &grid, &error) == BASE_OK);
    CHECK(par_grid_reserve(grid, SIZE_MAX / 2, 1, 1, &error) == BASE_ETOOBIG);
    par_grid_destroy(&grid);
    CHECK(par_grid_create(world, n, 1, &grid, &error) == BASE_OK);
    CHECK(par_grid_reserve(grid, 1, (size_t)1 << 40, 1, &error) == BASE_ETOOBIG);
    par_grid_destroy(&grid);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"agree", case_agree},
        {"texts", case_texts},
        {"broadcast", case_broadcast},
        {"node", case_node},
        {"sum_teams", case_sum_teams},
        {"many_sums", case_many_sums},
        {"sum_messages", case_sum_messages},
        {"sum", case_sum},
        {"columns", case_columns},
        {"stages", case_stages},
        {"plans", case_plans},
        {"results", case_results},
        {"pipeline", case_pipeline},
        {"refused", case_refused},
        {"spins", case_spins},
    };
    return check_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
