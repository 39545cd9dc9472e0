/* What the launcher's variables and signals mean, and paragraphs that are wrapped while they stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/palmgrove/launch.h"
#include "tools/output/terminal.h"

static void forget_launchers(void)
{
    unsetenv("OMPI_COMM_WORLD_RANK");
    unsetenv("PMIX_RANK");
    unsetenv("SLURM_PROCID");
    unsetenv("OMPI_MCA_orte_forward_job_control");
}

static void first_rank_is_found_without_mpi(void **state)
{
    (void)state;
    forget_launchers();
    assert_true(launch_is_first_rank()); /* nobody launched it */
    setenv("SLURM_PROCID", "3", 1);
    assert_false(launch_is_first_rank());
    setenv("OMPI_COMM_WORLD_RANK", "0", 1); /* mpirun inside a Slurm job: the inner launcher knows */
    assert_true(launch_is_first_rank());
    forget_launchers();
}

static bool waits_for(int signal_number)
{
    sigset_t set;
    launch_stop_signals(&set);
    return sigismember(&set, signal_number) == 1;
}

static void continue_counts_under_mpirun_only(void **state)
{
    (void)state;
    forget_launchers();
    assert_true(waits_for(SIGTERM) && waits_for(SIGINT) && waits_for(SIGUSR1));
    assert_false(waits_for(SIGCONT)); /* a shell's fg must not stop a server */
    setenv("OMPI_COMM_WORLD_RANK", "0", 1);
    assert_true(waits_for(SIGCONT));
    setenv("OMPI_MCA_orte_forward_job_control", "1", 1); /* then mpirun's SIGCONT may mean fg as well */
    assert_false(waits_for(SIGCONT));
    forget_launchers();

    siginfo_t info = {.si_signo = SIGCONT};
    info.si_pid = getppid();
    assert_true(launch_is_stop(&info));
    info.si_pid = getpid(); /* anybody else's */
    assert_false(launch_is_stop(&info));
    info.si_signo = SIGTERM;
    assert_true(launch_is_stop(&info));
}

/* One rank, whose sibling is killed by pid `other`; 0 when it saw all that it should. */
static int watch(pid_t other)
{
    launch_ranks ranks;
    launch_ranks_find(&ranks);
    int code = ranks.n != 1 || ranks.pids[0] != other ? 1 : launch_ranks_have_died(&ranks) ? 2 : 0;
    kill(other, SIGKILL);
    for (int i = 0; code == 0 && !launch_ranks_have_died(&ranks); i++) { /* a zombie counts */
        usleep(1000);
        code = i > 10000 ? 3 : 0;
    }
    launch_ranks_release(&ranks);
    return launch_ranks_have_died(&ranks) ? 4 : code; /* released: none */
}

/* The launcher: two ranks, one of which dies and is not reaped yet. */
static void dead_ranks_of_the_node_are_seen(void **state)
{
    (void)state;
    pid_t launcher = fork();
    if (launcher == 0) {
        pid_t other = fork();
        if (other == 0) {
            pause();
            _exit(0);
        }
        pid_t rank = fork();
        if (rank == 0)
            _exit(watch(other));
        int status = -1;
        waitpid(rank, &status, 0);
        kill(other, SIGKILL);
        waitpid(other, NULL, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 100);
    }
    int status = -1;
    assert_int_equal(waitpid(launcher, &status, 0), launcher);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void wrap(const char *const *pieces, size_t width, char *out, size_t size)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    terminal_paragraph p = terminal_paragraph_open(file, 2);
    p.width = width;
    for (size_t i = 0; pieces[i] != NULL; i++)
        terminal_paragraph_write(&p, pieces[i]);
    terminal_paragraph_close(&p);
    rewind(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void streamed_words_stay_whole(void **state)
{
    (void)state;
    char whole[256], pieces[256];
    wrap((const char *const[]){"The lungs are clear. No effusion.", NULL}, 16, whole, sizeof whole);
    assert_string_equal(whole, "  The lungs are\n  clear. No\n  effusion.\n");
    wrap((const char *const[]){"Th", "e lun", "gs ", "are cl", "ear", ". No effu", "sion.", NULL}, 16, pieces,
         sizeof pieces);
    assert_string_equal(pieces, whole); /* however it was cut */
    wrap((const char *const[]){"\xc3\xa4\xc3\xa4\xc3\xa4 \xc3\xb6\xc3\xb6", NULL}, 8, pieces, sizeof pieces);
    assert_string_equal(pieces, "  \xc3\xa4\xc3\xa4\xc3\xa4 \xc3\xb6\xc3\xb6\n"); /* columns, not bytes */
    wrap((const char *const[]){NULL}, 16, pieces, sizeof pieces);
    assert_string_equal(pieces, "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_rank_is_found_without_mpi),
        cmocka_unit_test(continue_counts_under_mpirun_only),
        cmocka_unit_test(dead_ranks_of_the_node_are_seen),
        cmocka_unit_test(streamed_words_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
