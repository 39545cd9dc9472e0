/* An idle cluster sleeps. */
#include <sys/resource.h>

#include "proto/base/clock.h"
#include "tests/mpi/check.h"
#include "worker/par/channels.h"
#include "worker/team/team.h"

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

/* A rank that has long waited, in the step loop or inside a receive, takes nearly no processor time, the threads of its
 * team among it: they wait for the next step inside OpenMP's library.  The design allows
 * 2 % for the ranks of a server together; a single rank gets 1 % here because other programs on the machine make each
 * wake-up dearer. */
#define IDLE_SHARE 0.01
enum { FALL_ASLEEP_US = 4200000, SLEEP_US = 1500000, RECEIVE_US = 2200000 };

typedef struct asleep {
    uint64_t start_us;
    double start_cpu;
} asleep;

static asleep sleep_begin(void)
{
    return (asleep){base_clock_us(), cpu_seconds()};
}

static void sleep_end(const char *what, asleep start)
{
    double share = (cpu_seconds() - start.start_cpu) / ((double)(base_clock_us() - start.start_us) * 1e-6);
    printf("%s: %.2f %% of a core\n", what, share * 100);
    CHECK(share < IDLE_SHARE);
}

static void idle_for(par_grid *grid, uint64_t us)
{
    par_place place = par_grid_place(grid);
    base_buf message = {0};
    uint64_t start_us = base_clock_us();
    while (base_clock_us() - start_us < us) {
        CHECK(place.rank == 0 || !par_plan_poll(grid, &message));
        CHECK(place.stage != 0 || !par_result_poll(grid, &message));
        par_idle(grid);
    }
    base_buf_release(&message);
}

static void run_waiting(par_world *world, par_grid *grid)
{
    (void)world;
    par_place place = par_grid_place(grid);
    float value = 1.0f;
    CHECK(par_grid_reserve(grid, 16, 16, 16, NULL) == BASE_OK);
    idle_for(grid, FALL_ASLEEP_US);
    asleep start = sleep_begin();
    idle_for(grid, SLEEP_US);
    sleep_end("idle turns", start);
    if (place.pp == 1)
        return;

    /* the first second of a receive naps 1 ms at a time, so here the sum counts */
    if (place.stage == 0) {
        base_clock_nap(RECEIVE_US);
    } else {
        start = sleep_begin();
        par_stage_receive(grid, &value, 1);
        printf("inside a receive: %.3f s of a core\n", cpu_seconds() - start.start_cpu);
        CHECK(cpu_seconds() - start.start_cpu < 0.1);
    }
    if (place.stage + 1 < place.pp)
        par_stage_send(grid, &value, 1);
}

static void work(void *context, team_member *me)
{
    (void)context;
    team_barrier(me);
}

/* Two threads a rank have worked; the second one's time counts too. */
static void case_waiting(par_world *world)
{
    team *threads = NULL;
    CHECK(team_create(2, true, &threads, NULL) == BASE_OK);
    if (par_world_max(world, threads == NULL) != 0)
        return;
    team_run(threads, work, NULL);
    check_each_layout(world, run_waiting);
    team_destroy(&threads);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {{"waiting", case_waiting}};
    return check_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
