#include "worker/par/wait.h"

#include <sched.h>
#include <stdio.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

enum { SPIN_TURNS = 1000, AWAKE_US = 2000, NAP_PART = 16, NAP_MAX_US = 1000, DEEP_US = 1000000, DEEP_NAP_US = 8000 };

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
    if (waited_us < AWAKE_US)
        return 0;
    if (waited_us >= DEEP_US)
        return DEEP_NAP_US;
    uint64_t nap = waited_us / NAP_PART;
    return nap < NAP_MAX_US ? (uint32_t)nap : NAP_MAX_US;
}

static bool all_done(MPI_Request *requests, size_t n)
{
    int done = 0;
    if (n == 1)
        par_must(MPI_Test(requests, &done, MPI_STATUS_IGNORE), "MPI_Test");
    else
        par_must(MPI_Testall(par_count(n), requests, &done, MPI_STATUSES_IGNORE), "MPI_Testall");
    return done != 0;
}

void par_wait(const par_waiter *waiter, MPI_Request *requests, size_t n)
{
    uint32_t spins = waiter->crowded ? 1 : SPIN_TURNS;
    while (spins-- > 0) {
        if (all_done(requests, n))
            return;
    }
    uint64_t start_us = base_clock_us();
    while (!all_done(requests, n)) {
        if (waiter->service != NULL)
            waiter->service(waiter->context);
        uint32_t rest_us = par_rest_us(base_clock_us() - start_us);
        if (rest_us > 0)
            base_clock_nap(rest_us);
        else
            sched_yield();
    }
}
