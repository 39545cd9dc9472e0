/* alloc_count.h - counting what chosen threads ask of the allocator and of the system, and on whose behalf.
 *
 * Allocations: this program defines malloc and its family itself and passes on to glibc's.  System calls: a child
 * process traces the threads (ptrace) and looks at each call on its way in.  Either is charged to the code it comes
 * from: the nearest caller outside of libc. */
#ifndef PALMGROVE_TESTS_MPI_ALLOC_COUNT_H
#define PALMGROVE_TESTS_MPI_ALLOC_COUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum count_owner { COUNT_OURS, COUNT_ZMQ, COUNT_MPI, COUNT_OPENMP, COUNT_OTHERS, COUNT_N_OWNERS } count_owner;
typedef enum count_request { COUNT_TAKE, COUNT_FREE, COUNT_N_REQUESTS } count_request;

enum { COUNT_CALLS_MAX = 512, COUNT_THREADS_MAX = 64 };

/* In memory that all ranks share. */
typedef struct count_stage {
    atomic_int phase; /* below */
    atomic_int n_ready;
} count_stage;
enum { COUNT_NOT_YET, COUNT_ATTACH, COUNT_NOW, COUNT_OVER };

typedef struct count_result {
    atomic_bool refused; /* tracing is not allowed here: no system call was counted */
    atomic_ulong calls[COUNT_N_OWNERS][COUNT_CALLS_MAX];
    atomic_ulong requests[COUNT_N_OWNERS][COUNT_N_REQUESTS];
} count_result;

/* The calling thread is one of those to be counted. */
void count_follow(void);

/* Start the tracer, which attaches in phase COUNT_ATTACH, adds 1 to n_ready, and leaves soon after COUNT_OVER.  One
 * thread a process may do this.  NULL on failure. */
const count_result *count_start(count_stage *stage);
/* Wait for the tracer. */
void count_finish(void);

/* One line of everything above zero: "libzmq: take 12, free 12, poll 3; ..." into text [size]. */
void count_describe(const count_result *result, char *text, unsigned size);
uint64_t count_requests(const count_result *result, count_owner owner);
/* System calls other than waiting (sched_yield, naps), and those. */
uint64_t count_calls(const count_result *result, count_owner owner);
uint64_t count_waits(const count_result *result, count_owner owner);

#endif
