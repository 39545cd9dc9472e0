#include "tests/mpi/alloc_count.h"

#include <link.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"

/* glibc's own, under the names that it exports for this purpose. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

/* --- whose code --- */

enum { RANGES_MAX = 512 };

typedef struct code_range {
    uintptr_t begin, end;
    count_owner owner;
    bool is_libc;
} code_range;

static struct {
    code_range ranges[RANGES_MAX];
    unsigned n_ranges;
    pid_t threads[COUNT_THREADS_MAX];
    atomic_uint n_threads;
    count_stage *stage;
    count_result *result;
    pid_t tracer;
} counting;

static _Thread_local bool is_followed;

static bool is_named(const char *name, const char *const *parts)
{
    for (; *parts != NULL; parts++) {
        if (strstr(name, *parts) != NULL)
            return true;
    }
    return false;
}

static count_owner owner_of(const char *name)
{
    static const char *const zmq[] = {"libzmq", "libsodium", "libstdc++", NULL}; /* nothing else here is C++ */
    static const char *const mpi[] = {"libmpi", "libopen-", "libpmix", "/mca_", "libevent", "openmpi", NULL};
    static const char *const openmp[] = {"libgomp", "libomp", NULL};
    if (name[0] == '\0') /* the program itself */
        return COUNT_OURS;
    return is_named(name, zmq)      ? COUNT_ZMQ
           : is_named(name, mpi)    ? COUNT_MPI
           : is_named(name, openmp) ? COUNT_OPENMP
                                    : COUNT_OTHERS;
}

static int note_code(struct dl_phdr_info *info, size_t size, void *context)
{
    static const char *const libc[] = {"libc.so", "ld-linux", "libpthread", "linux-vdso", NULL};
    (void)size;
    (void)context;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0 || counting.n_ranges == RANGES_MAX)
            continue;
        uintptr_t begin = info->dlpi_addr + part->p_vaddr;
        counting.ranges[counting.n_ranges++] = (code_range){.begin = begin,
                                                            .end = begin + part->p_memsz,
                                                            .owner = owner_of(info->dlpi_name),
                                                            .is_libc = is_named(info->dlpi_name, libc)};
    }
    return 0;
}

static const code_range *range_of(uintptr_t address)
{
    for (unsigned i = 0; i < counting.n_ranges; i++) {
        if (address >= counting.ranges[i].begin && address < counting.ranges[i].end)
            return &counting.ranges[i];
    }
    return NULL;
}

/* Could a call have returned here?  The code is the same in the tracer: it is a fork. */
static bool is_after_call(const code_range *range, uintptr_t address)
{
#if defined(__x86_64__)
    const unsigned char *at = (const unsigned char *)address;
    if (address < range->begin + 8)
        return false;
    if (at[-5] == 0xe8 || (at[-6] == 0xff && at[-5] == 0x15))
        return true;
    for (int length = 2; length <= 7; length++) { /* call through a register or memory */
        if (at[-length] == 0xff && (at[-length + 1] & 0x38) == 0x10)
            return true;
    }
    return false;
#else
    return address > range->begin;
#endif
}

enum { STACK_WORDS = 256 };

/* The allocator's entries below stand between a library and libc: what libc does in them, such as waiting for an arena,
 * is the library's. */
#define FRONT __attribute__((section("count_front"), noinline))
extern const char __start_count_front[], __stop_count_front[]; /* the linker's */

static bool is_front(uintptr_t address)
{
    return address >= (uintptr_t)__start_count_front && address < (uintptr_t)__stop_count_front;
}

/* The nearest caller outside of libc: where the call itself is, or what the stack [n] tells. */
static count_owner caller_of(uintptr_t instruction, const uintptr_t *stack, size_t n)
{
    const code_range *range = range_of(instruction);
    if (range != NULL && !range->is_libc)
        return range->owner;
    for (size_t i = 0; i < n; i++) {
        range = range_of(stack[i]);
        if (range != NULL && !range->is_libc && !is_front(stack[i]) && is_after_call(range, stack[i]))
            return range->owner;
    }
    return COUNT_OTHERS;
}

/* --- allocations --- */

/* frame: of the allocator's entry; the words above it are its callers'. */
static void note_request(count_request request, const void *caller, const void *frame)
{
    if (!is_followed || counting.stage == NULL || atomic_load(&counting.stage->phase) != COUNT_NOW)
        return;
    count_owner owner = caller_of((uintptr_t)caller, frame, STACK_WORDS);
    atomic_fetch_add(&counting.result->requests[owner][request], 1);
}

FRONT void *malloc(size_t size)
{
    note_request(COUNT_TAKE, __builtin_return_address(0), __builtin_frame_address(0));
    return __libc_malloc(size);
}

FRONT void *calloc(size_t n, size_t size)
{
    note_request(COUNT_TAKE, __builtin_return_address(0), __builtin_frame_address(0));
    return __libc_calloc(n, size);
}

FRONT void *realloc(void *old, size_t size)
{
    note_request(COUNT_TAKE, __builtin_return_address(0), __builtin_frame_address(0));
    return __libc_realloc(old, size);
}

FRONT void *aligned_alloc(size_t alignment, size_t size)
{
    note_request(COUNT_TAKE, __builtin_return_address(0), __builtin_frame_address(0));
    return __libc_memalign(alignment, size);
}

FRONT int posix_memalign(void **out, size_t alignment, size_t size)
{
    note_request(COUNT_TAKE, __builtin_return_address(0), __builtin_frame_address(0));
    *out = __libc_memalign(alignment, size);
    return *out == NULL ? 12 /* ENOMEM */ : 0;
}

FRONT void free(void *memory)
{
    if (memory != NULL)
        note_request(COUNT_FREE, __builtin_return_address(0), __builtin_frame_address(0));
    __libc_free(memory);
}

/* --- system calls --- */

void count_follow(void)
{
    unsigned i = atomic_fetch_add(&counting.n_threads, 1);
    if (i < COUNT_THREADS_MAX)
        counting.threads[i] = (pid_t)syscall(SYS_gettid);
    is_followed = true;
}

static void note_call(pid_t thread)
{
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) <= 0 || info.op != PTRACE_SYSCALL_INFO_ENTRY ||
        atomic_load(&counting.stage->phase) != COUNT_NOW)
        return;
    uintptr_t words[STACK_WORDS];
    struct iovec here = {words, sizeof words}, there = {(void *)(uintptr_t)info.stack_pointer, sizeof words};
    ssize_t n = process_vm_readv(thread, &here, 1, &there, 1, 0);
    count_owner owner = caller_of((uintptr_t)info.instruction_pointer, words, n > 0 ? (size_t)n / sizeof *words : 0);
    uint64_t number = info.entry.nr < COUNT_CALLS_MAX ? info.entry.nr : COUNT_CALLS_MAX - 1;
    atomic_fetch_add(&counting.result->calls[owner][number], 1);
}

static bool attach(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (ptrace(PTRACE_SEIZE, counting.threads[i], NULL, (void *)(uintptr_t)PTRACE_O_TRACESYSGOOD) != 0 ||
            ptrace(PTRACE_INTERRUPT, counting.threads[i], NULL, NULL) != 0)
            return false;
    }
    return true;
}

/* In the child.  Ending detaches, and resumes the threads that are stopped. */
static void trace(void)
{
    unsigned n = atomic_load(&counting.n_threads);
    n = n < COUNT_THREADS_MAX ? n : COUNT_THREADS_MAX;
    while (atomic_load(&counting.stage->phase) == COUNT_NOT_YET)
        base_clock_nap(1000);
    bool attached = attach(n);
    atomic_store(&counting.result->refused, !attached);
    atomic_fetch_add(&counting.stage->n_ready, 1);
    while (attached && atomic_load(&counting.stage->phase) != COUNT_OVER) {
        int status;
        pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0)
            return;
        if (!WIFSTOPPED(status))
            continue;
        bool is_call = WSTOPSIG(status) == (SIGTRAP | 0x80), is_signal = !is_call && status >> 16 == 0;
        if (is_call)
            note_call(thread);
        ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(uintptr_t)(is_signal ? (unsigned)WSTOPSIG(status) : 0u));
    }
}

const count_result *count_start(count_stage *stage)
{
    counting.n_ranges = 0;
    dl_iterate_phdr(note_code, NULL);
    counting.result = mmap(NULL, sizeof *counting.result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counting.result == MAP_FAILED)
        return NULL;
    counting.stage = stage;
    counting.tracer = fork();
    if (counting.tracer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        trace();
        _exit(0);
    }
    prctl(PR_SET_PTRACER, counting.tracer, 0, 0, 0); /* where only descendants may be traced */
    return counting.tracer > 0 ? counting.result : NULL;
}

void count_finish(void)
{
    waitpid(counting.tracer, NULL, 0);
}

/* --- telling --- */

static bool is_wait(unsigned call)
{
    return call == SYS_sched_yield || call == SYS_nanosleep || call == SYS_clock_nanosleep;
}

static uint64_t sum_calls(const count_result *result, count_owner owner, bool waits)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < COUNT_CALLS_MAX; i++)
        sum += is_wait(i) == waits ? atomic_load(&result->calls[owner][i]) : 0;
    return sum;
}

uint64_t count_calls(const count_result *result, count_owner owner)
{
    return sum_calls(result, owner, false);
}

uint64_t count_waits(const count_result *result, count_owner owner)
{
    return sum_calls(result, owner, true);
}

uint64_t count_requests(const count_result *result, count_owner owner)
{
    return atomic_load(&result->requests[owner][COUNT_TAKE]) + atomic_load(&result->requests[owner][COUNT_FREE]);
}

static const char *call_name(unsigned call, char *number, size_t size)
{
    static const struct {
        unsigned call;
        const char *name;
    } known[] = {{SYS_read, "read"},
                 {SYS_write, "write"},
                 {SYS_writev, "writev"},
                 {SYS_readv, "readv"},
                 {SYS_mmap, "mmap"},
                 {SYS_munmap, "munmap"},
                 {SYS_brk, "brk"},
                 {SYS_futex, "futex"},
                 {SYS_madvise, "madvise"},
                 {SYS_nanosleep, "nanosleep"},
                 {SYS_getpid, "getpid"},
                 {SYS_sched_yield, "sched_yield"},
                 {SYS_clock_nanosleep, "clock_nanosleep"},
                 {SYS_clock_gettime, "clock_gettime"},
                 {SYS_process_vm_readv, "process_vm_readv"},
                 {SYS_epoll_pwait, "epoll_pwait"},
                 {SYS_restart_syscall, "restart_syscall"},
#ifdef SYS_poll
                 {SYS_poll, "poll"},
                 {SYS_epoll_wait, "epoll_wait"},
#endif
                 {SYS_ppoll, "ppoll"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].call == call)
            return known[i].name;
    }
    snprintf(number, size, "call %u", call);
    return number;
}

__attribute__((format(printf, 4, 5))) static unsigned add(char *text, unsigned size, unsigned at, const char *format,
                                                          ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = at < size ? vsnprintf(text + at, size - at, format, arguments) : 0;
    va_end(arguments);
    return at + (n > 0 ? (unsigned)n : 0u);
}

void count_describe(const count_result *result, char *text, unsigned size)
{
    static const char *const owners[] = {"ours", "libzmq", "MPI", "OpenMP", "others"};
    unsigned at = 0;
    for (unsigned owner = 0; owner < COUNT_N_OWNERS; owner++) {
        const atomic_ulong *requests = result->requests[owner];
        at = add(text, size, at, "%s%s: take %lu, free %lu", owner > 0 ? "; " : "", owners[owner],
                 atomic_load(&requests[COUNT_TAKE]), atomic_load(&requests[COUNT_FREE]));
        for (unsigned call = 0; call < COUNT_CALLS_MAX; call++) {
            unsigned long n = atomic_load(&result->calls[owner][call]);
            char number[24];
            if (n > 0)
                at = add(text, size, at, ", %s %lu", call_name(call, number, sizeof number), n);
        }
    }
}
