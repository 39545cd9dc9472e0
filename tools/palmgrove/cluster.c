#include "tools/palmgrove/cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"

extern char **environ;

enum { POLL_US = 50000, DRAIN_S = 30, KILL_S = 15, DIR_BYTES = 80 /* a socket's path may have 107 */ };

#define READY_PREFIX "ready"

struct cluster {
    char dir[DIR_BYTES];
    char endpoint[DIR_BYTES + 32];
    char log_path[DIR_BYTES + 16];
    pid_t mpirun; /* 0: none runs */
    int exit_status;
    FILE *log;
};

base_status cluster_create(cluster **out, base_error *error)
{
    const char *tmp = getenv("TMPDIR");
    cluster *c = calloc(1, sizeof *c);
    if (c == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory");
    int n = snprintf(c->dir, sizeof c->dir, "%s/palmgrove-XXXXXX", tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (n < 0 || (size_t)n >= sizeof c->dir)
        snprintf(c->dir, sizeof c->dir, "/tmp/palmgrove-XXXXXX"); /* a longer one could hold no socket */
    if (mkdtemp(c->dir) == NULL) {
        base_error_set(error, BASE_EIO, "cannot make folder '%s': %s", c->dir, strerror(errno));
        free(c);
        return BASE_EIO;
    }
    snprintf(c->endpoint, sizeof c->endpoint, "ipc://%s/gateway", c->dir);
    snprintf(c->log_path, sizeof c->log_path, "%s/log", c->dir);
    /* Open MPI keeps its session files there too, so that they go with the folder whatever happens. */
    setenv("TMPDIR", c->dir, 1);
    if (geteuid() == 0) { /* Open MPI asks for two confirmations before it works as root, as in a container */
        setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
        setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    }
    *out = c;
    return BASE_OK;
}

const char *cluster_endpoint(const cluster *c)
{
    return c->endpoint;
}

static base_status spawn_mpirun(cluster *c, char *const argv[], base_error *error)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, c->log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int failure = posix_spawnp(&c->mpirun, "mpirun", &files, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (failure == 0)
        return BASE_OK;
    c->mpirun = 0;
    return base_fail(error, failure == ENOENT ? BASE_ENOTFOUND : BASE_EIO,
                     "cannot start 'mpirun': %s; is openmpi-bin installed?", strerror(failure));
}

base_status cluster_start(cluster *c, const char *model, uint32_t tp, uint32_t pp, base_error *error)
{
    char self[PATH_MAX], ranks[24], tp_text[16], pp_text[16];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return base_fail(error, BASE_EIO, "cannot find this program's own file: %s", strerror(errno));
    self[n] = '\0';
    snprintf(ranks, sizeof ranks, "%llu", (unsigned long long)tp * pp);
    snprintf(tp_text, sizeof tp_text, "%u", tp);
    snprintf(pp_text, sizeof pp_text, "%u", pp);
    const char *const arguments[] = {
        "mpirun",    "-n",
        ranks,       "--oversubscribe", /* more ranks than cores is fine for a demonstration */
        "--bind-to", "none",            /* the ranks bind their threads themselves */
        "--mca",     "mpi_yield_when_idle",
        "1", /* ... and let each other run */
        "--mca",     "btl_vader_single_copy_mechanism",
        "none", /* ptrace is forbidden in many containers */
        self,        "serve",
        model,       "--tp",
        tp_text,     "--pp",
        pp_text,     "--endpoint",
        c->endpoint, NULL};
    char *argv[sizeof arguments / sizeof arguments[0]];
    memcpy(argv, arguments, sizeof arguments); /* posix_spawn takes char *const[] and writes to nothing */

    int fd = open(c->log_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    c->log = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (c->log == NULL) {
        if (fd >= 0)
            close(fd);
        return base_fail(error, BASE_EIO, "cannot write '%s': %s", c->log_path, strerror(errno));
    }
    return spawn_mpirun(c, argv, error);
}

/* Has mpirun ended?  Then its status is kept. */
static bool has_ended(cluster *c)
{
    if (c->mpirun != 0 && waitpid(c->mpirun, &c->exit_status, WNOHANG) == c->mpirun)
        c->mpirun = 0;
    return c->mpirun == 0;
}

/* Hand on the whole lines that the log has gained; true when one of them says ready. */
static bool read_lines(cluster *c, void (*line)(const char *text))
{
    char text[1024];
    for (;;) {
        long start = ftell(c->log);
        if (fgets(text, sizeof text, c->log) == NULL || strchr(text, '\n') == NULL) {
            if (start >= 0)
                fseek(c->log, start, SEEK_SET); /* half a line: the rest comes later; this also clears end-of-file */
            return false;
        }
        text[strcspn(text, "\n")] = '\0';
        line(text);
        if (strncmp(text, READY_PREFIX, strlen(READY_PREFIX)) == 0)
            return true;
    }
}

base_status cluster_wait(cluster *c, uint32_t timeout_s, void (*line)(const char *text), bool (*is_canceled)(void),
                         base_error *error)
{
    uint64_t end_us = base_clock_us() + (uint64_t)timeout_s * 1000000u;
    for (;;) {
        bool ended = has_ended(c); /* looked at first: the last lines are read in any case */
        if (read_lines(c, line))
            return BASE_OK;
        if (is_canceled())
            return base_fail(error, BASE_ECANCELED, "interrupted");
        if (ended)
            return base_fail(error, BASE_EINTERNAL, "the cluster ended before it was ready; its own words are above");
        if (base_clock_us() > end_us)
            return base_fail(error, BASE_EDEADLINE, "the cluster was not ready after %u s", timeout_s);
        base_clock_nap(POLL_US);
    }
}

static bool wait_for_end(cluster *c, uint32_t seconds)
{
    uint64_t end_us = base_clock_us() + (uint64_t)seconds * 1000000u;
    while (!has_ended(c) && base_clock_us() < end_us)
        base_clock_nap(POLL_US);
    return has_ended(c);
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)about, (void)kind, (void)place;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

bool cluster_destroy(cluster **pointer)
{
    cluster *c = *pointer;
    *pointer = NULL;
    if (c == NULL)
        return true;
    bool clean = true;
    if (c->mpirun != 0 && !has_ended(c)) {
        kill(c->mpirun, SIGUSR1); /* mpirun hands it to the ranks; rank 0 drains */
        clean = wait_for_end(c, DRAIN_S);
        if (!clean)
            kill(c->mpirun, SIGTERM);
        if (!wait_for_end(c, KILL_S)) {
            kill(-c->mpirun, SIGKILL);
            waitpid(c->mpirun, &c->exit_status, 0);
        }
    }
    clean = clean && c->exit_status == 0;
    if (c->log != NULL)
        fclose(c->log);
    nftw(c->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(c);
    return clean;
}
