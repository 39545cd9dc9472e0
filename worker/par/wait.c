/* wait.c - spin, yield, nap, sleep; and learning how long to spin. */
#include "worker/par/wait_int.h"

#include <sched.h>
#include <stdio.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "worker/team/team.h"

enum {
    SPIN_LEAST = 4, /* turns */
    SPIN_CUT = 4,
    SPIN_GROWTH = 8,
    YIELD_TAKEN_US = 3, /* more than 2 us; a yield on a free core takes 0.3 to 1 */
    YIELD_FOREIGN_US = 1000,
    TURNS_A_ROUND = 8, /* between two calls of `progress` while awake */
    NAP_PART = 16,     /* of the time waited */
    NAP_MAX_US = 1000,
    SLEEP_AFTER_US = 1000000,
    SLEEP_PART = 200,
    SLEEP_MAX_US = 20000,
};

void par_must(int mpi_code, const char *what)
{
    if (mpi_code == MPI_SUCCESS)
        return;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(mpi_code, text, &length);
    base_log_error("%s failed: %s; all ranks end", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

int par_count(size_t n)
{
    if (n > PAR_COUNT_MAX)
        par_must(MPI_ERR_COUNT, "a message longer than was reserved");
    return (int)n;
}

uint32_t par_rest_us(uint64_t waited_us)
{
    if (waited_us < PAR_AWAKE_US)
        return 0;
    bool asleep = waited_us >= SLEEP_AFTER_US;
    uint64_t nap = waited_us / (asleep ? SLEEP_PART : NAP_PART), longest = asleep ? SLEEP_MAX_US : NAP_MAX_US;
    return (uint32_t)(nap < longest ? nap : longest);
}

/* What the yields of a wait showed: a fellow rank ran; another program ran. */
typedef struct witness {
    bool taken, foreign;
} witness;

static void yield_core(witness *seen)
{
    uint64_t start_us = base_clock_us();
    sched_yield();
    uint64_t took_us = base_clock_us() - start_us;
    if (took_us >= YIELD_FOREIGN_US)
        seen->foreign = true;
    else if (took_us >= YIELD_TAKEN_US)
        seen->taken = true;
}

static bool spin_until(const par_waiter *waiter, bool (*is_done)(void *context), void *context)
{
    uint32_t turns = waiter->crowded || waiter->spin == NULL ? 1 : waiter->spin->turns;
    for (uint32_t turn = 0; turn < turns || turn < 1; turn++) {
        if (is_done(context))
            return true;
        team_relax();
    }
    return false;
}

static void learn(par_spin *spin, witness seen)
{
    if (seen.foreign && !seen.taken)
        return;
    uint32_t turns = seen.taken ? spin->turns / SPIN_CUT : spin->turns + spin->turns / SPIN_GROWTH + 1;
    if (turns < SPIN_LEAST)
        turns = SPIN_LEAST;
    if (turns > spin->max_turns)
        turns = spin->max_turns;
    if (turns != spin->turns) /* threads' limits lie side by side: write only what is new */
        spin->turns = turns;
}

void par_wait_until(const par_waiter *waiter, bool (*is_done)(void *context), void *context, uint64_t awake_us)
{
    if (spin_until(waiter, is_done, context)) {
        if (waiter->spin != NULL)
            learn(waiter->spin, (witness){0});
        return;
    }
    uint64_t start_us = base_clock_us(), waited_us = 0;
    witness seen = {0};
    bool test_yields = waiter->spin != NULL && waiter->spin->test_yields;
    for (uint32_t turn = 1; !is_done(context); turn++) {
        if (waited_us >= awake_us)
            base_clock_nap(par_rest_us(waited_us));
        else if (!test_yields || turn % TURNS_A_ROUND == 0)
            yield_core(&seen);
        waited_us = base_clock_us() - start_us;
        if (waiter->progress != NULL && (turn % TURNS_A_ROUND == 0 || waited_us >= awake_us))
            waiter->progress(waiter->context);
    }
    if (waiter->spin != NULL && waited_us < awake_us) /* after a nap nothing is known of the core */
        learn(waiter->spin, seen);
}

typedef struct request_set {
    MPI_Request *requests;
    size_t n;
} request_set;

static bool all_done(void *context)
{
    request_set *set = context;
    int done = 0;
    if (set->n == 1)
        par_must(MPI_Test(set->requests, &done, MPI_STATUS_IGNORE), "MPI_Test");
    else
        par_must(MPI_Testall(par_count(set->n), set->requests, &done, MPI_STATUSES_IGNORE), "MPI_Testall");
    return done != 0;
}

void par_wait(const par_waiter *waiter, MPI_Request *requests, size_t n)
{
    request_set set = {requests, n};
    par_wait_until(waiter, all_done, &set, PAR_AWAKE_US);
}

void par_wait_transfer(const par_waiter *waiter, MPI_Request *requests, size_t n)
{
    request_set set = {requests, n};
    par_wait_until(waiter, all_done, &set, PAR_TRANSFER_US);
}
