/* Pinning plans on synthetic machines: the machine at hand need not have what is planned for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "worker/topo/topo.h"

#define BIG "Package:2 NUMANode:4 Core:8 PU:2" /* 8 NUMA nodes of 8 cores of 2 CPUs: core c has CPUs 2c, 2c + 1 */

typedef struct expected {
    const char *cpus, *cores, *nodes, *first, *last;
    uint32_t n_threads;
    bool shared;
} expected;

static void check_plan(const char *synthetic, topo_request request, expected want)
{
    base_error error = {0};
    topo_machine *machine = NULL;
    topo_plan *plan = NULL;
    char text[TOPO_TEXT_MAX];
    assert_int_equal(topo_machine_open(synthetic, &machine, &error), BASE_OK);
    assert_int_equal(topo_plan_create(machine, &request, &plan, &error), BASE_OK);
    topo_plan_cpus(plan, text);
    assert_string_equal(text, want.cpus);
    topo_plan_cores(plan, text);
    assert_string_equal(text, want.cores);
    topo_plan_nodes(plan, text);
    assert_string_equal(text, want.nodes);
    assert_int_equal(topo_plan_threads(plan), want.n_threads);
    topo_plan_thread_cpus(plan, 0, text);
    assert_string_equal(text, want.first);
    topo_plan_thread_cpus(plan, want.n_threads - 1, text);
    assert_string_equal(text, want.last);
    assert_int_equal(topo_plan_is_shared(plan), want.shared);
    topo_plan_destroy(&plan);
    topo_machine_close(&machine);
}

static void one_rank_takes_all(void **state)
{
    (void)state;
    check_plan(BIG, (topo_request){.count = 1},
               (expected){"0-127", "0-63", "0-7", .first = "0-1", .last = "126-127", .n_threads = 64});
    check_plan(BIG, (topo_request){.count = 1, .smt = TOPO_SMT_ALL},
               (expected){"0-127", "0-63", "0-7", .first = "0", .last = "127", .n_threads = 128});
}

static void eight_ranks_get_a_numa_node_each(void **state)
{
    (void)state;
    check_plan(BIG, (topo_request){.index = 0, .count = 8},
               (expected){"0-15", "0-7", "0", .first = "0-1", .last = "14-15", .n_threads = 8});
    check_plan(BIG, (topo_request){.index = 5, .count = 8},
               (expected){"80-95", "40-47", "5", .first = "80-81", .last = "94-95", .n_threads = 8});
}

static void uneven_ranks_cover_every_core_once(void **state)
{
    (void)state;
    check_plan(BIG, (topo_request){.index = 0, .count = 3},
               (expected){"0-41", "0-20", "0-2", .first = "0-1", .last = "40-41", .n_threads = 21});
    check_plan(BIG, (topo_request){.index = 1, .count = 3},
               (expected){"42-83", "21-41", "2-5", .first = "42-43", .last = "82-83", .n_threads = 21});
    check_plan(BIG, (topo_request){.index = 2, .count = 3},
               (expected){"84-127", "42-63", "5-7", .first = "84-85", .last = "126-127", .n_threads = 22});
}

static void what_the_launcher_gave_is_kept(void **state)
{
    (void)state;
    check_plan(BIG, (topo_request){.allowed = "16-23", .count = 1},
               (expected){"16-23", "8-11", "1", .first = "16-17", .last = "22-23", .n_threads = 4});
    /* two ranks bound to the same node */
    check_plan(BIG, (topo_request){.allowed = "16-31", .index = 1, .count = 2},
               (expected){"24-31", "12-15", "1", .first = "24-25", .last = "30-31", .n_threads = 4});
}

static void odd_masks_are_never_left(void **state)
{
    (void)state;
    /* half cores and holes; CPU 500 does not exist */
    check_plan(BIG, (topo_request){.allowed = "1,3,6-7,33,500", .index = 0, .count = 2},
               (expected){"1,3", "0-1", "0", .first = "1", .last = "3", .n_threads = 2});
    check_plan(BIG, (topo_request){.allowed = "1,3,6-7,33,500", .index = 1, .count = 2},
               (expected){"6-7,33", "3,16", "0,2", .first = "6-7", .last = "33", .n_threads = 2});
}

static void wanted_threads_are_spread(void **state)
{
    (void)state;
    check_plan(BIG, (topo_request){.allowed = "0-7", .count = 1, .n_threads = 2},
               (expected){"0-7", "0-3", "0", .first = "0-1", .last = "2-3", .n_threads = 2});
    /* more threads than cores: single CPUs, second ones after all first ones, then round again */
    check_plan(BIG, (topo_request){.allowed = "0-7", .count = 1, .n_threads = 5},
               (expected){"0-7", "0-3", "0", .first = "0", .last = "1", .n_threads = 5});
    check_plan(BIG, (topo_request){.allowed = "0-3", .count = 1, .n_threads = 5},
               (expected){"0-3", "0-1", "0", .first = "0", .last = "0", .n_threads = 5});
}

static void one_core(void **state)
{
    (void)state;
    check_plan("Core:1 PU:1", (topo_request){.count = 1},
               (expected){"0", "0", "0", .first = "0", .last = "0", .n_threads = 1});
    check_plan("Core:1 PU:1", (topo_request){.index = 3, .count = 4},
               (expected){"0", "0", "0", .first = "0", .last = "0", .n_threads = 1, .shared = true});
}

static void more_ranks_than_cores_share(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        check_plan("Core:2 PU:1", (topo_request){.index = i, .count = 4},
                   (expected){"0-1", "0-1", "0", .first = "0-1", .last = "0-1", .n_threads = 1, .shared = true});
    /* on a big machine they stay in the NUMA node where their part would lie */
    check_plan(
        BIG, (topo_request){.index = 99, .count = 100},
        (expected){"112-127", "56-63", "7", .first = "112-127", .last = "112-127", .n_threads = 1, .shared = true});
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    base_error error = {0};
    topo_machine *machine = NULL;
    topo_plan *plan = NULL;
    assert_int_equal(topo_machine_open("Core:banana", &machine, &error), BASE_EINVAL);
    assert_int_equal(topo_machine_open("Core:2 PU:1", &machine, &error), BASE_OK);
    assert_int_equal(topo_plan_create(machine, &(topo_request){.index = 2, .count = 2}, &plan, &error), BASE_EINVAL);
    assert_int_equal(topo_plan_create(machine, &(topo_request){.count = 1, .allowed = "7-9"}, &plan, &error),
                     BASE_EINVAL);
    assert_int_equal(topo_plan_create(machine, &(topo_request){.count = 1, .allowed = "x"}, &plan, &error),
                     BASE_EINVAL);
    assert_int_equal(topo_plan_create(machine, &(topo_request){.count = 1, .n_threads = 99999}, &plan, &error),
                     BASE_EINVAL);
    assert_null(plan);
    topo_machine_close(&machine);
}

static void description_is_for_people(void **state)
{
    (void)state;
    base_error error = {0};
    topo_machine *machine = NULL;
    topo_plan *plan = NULL;
    char text[TOPO_TEXT_MAX];
    assert_int_equal(topo_machine_open("Core:2 PU:1", &machine, &error), BASE_OK);
    assert_int_equal(topo_plan_create(machine, &(topo_request){.index = 1, .count = 2}, &plan, &error), BASE_OK);
    topo_plan_describe(plan, true, text);
    assert_string_equal(text, "cores 1, NUMA 0, 1 thread");
    topo_plan_destroy(&plan);
    assert_int_equal(topo_plan_create(machine, &(topo_request){.index = 1, .count = 4, .n_threads = 2}, &plan, &error),
                     BASE_OK);
    topo_plan_describe(plan, false, text);
    assert_string_equal(text, "cores 0-1 shared not pinned, NUMA 0, 2 threads");
    topo_plan_destroy(&plan);
    topo_machine_close(&machine);
}

/* On the real machine: whatever it is, the plan stays inside the process's set and can be applied. */
static void this_machine(void **state)
{
    (void)state;
    base_error error = {0};
    topo_machine *machine = NULL;
    topo_plan *plan = NULL;
    char before[TOPO_TEXT_MAX], after[TOPO_TEXT_MAX], cpus[TOPO_TEXT_MAX], remark[TOPO_TEXT_MAX];
    assert_int_equal(topo_machine_open(NULL, &machine, &error), BASE_OK);
    topo_machine_allowed(machine, before);
    uint64_t key = topo_machine_allowed_key(machine);
    assert_int_equal(topo_plan_create(machine, &(topo_request){.count = 1}, &plan, &error), BASE_OK);
    topo_plan_cpus(plan, cpus);
    assert_string_equal(cpus, before);
    topo_plan_destroy(&plan);

    assert_int_equal(topo_plan_create(machine, &(topo_request){.count = 1, .n_threads = 1}, &plan, &error), BASE_OK);
    topo_plan_thread_cpus(plan, 0, cpus);
    topo_plan_apply(plan, false, remark);
    topo_machine_allowed(machine, after);
    assert_string_equal(after, before);
    topo_plan_apply(plan, true, remark);
    topo_machine_allowed(machine, after);
    if (strstr(remark, "threads") == NULL) {
        assert_string_equal(after, cpus);
        assert_int_equal(topo_machine_allowed_key(machine) == key, strcmp(before, cpus) == 0);
    }
    topo_plan_destroy(&plan);
    topo_machine_close(&machine);
}

static void memory_texts(void **state)
{
    (void)state;
    uint64_t value = 7;
    const char *meminfo = "MemTotal:       24684092 kB\nMemAvailable:   20000000 kB\n";
    assert_true(topo_text_field(meminfo, "MemAvailable", &value));
    assert_int_equal(value, 20000000);
    assert_true(topo_text_field("anon 5\ninactive_file 4096\n", "inactive_file", &value));
    assert_int_equal(value, 4096);
    assert_false(topo_text_field("total_inactive_file 1\n", "inactive_file", &value));
    assert_false(topo_text_field("inactive_file\n", "inactive_file", &value));
    assert_false(topo_text_field("", "x", &value));

    char path[64];
    bool version1;
    assert_true(topo_text_cgroup("0::/user.slice/a\n", &version1, path, sizeof path));
    assert_false(version1);
    assert_string_equal(path, "/user.slice/a");
    assert_true(topo_text_cgroup("3:cpu,memory:/slurm/job1\n0::/x\n", &version1, path, sizeof path));
    assert_true(version1);
    assert_string_equal(path, "/slurm/job1");
    assert_false(topo_text_cgroup("3:memoryx:/a\n", &version1, path, sizeof path));
    assert_false(topo_text_cgroup("nonsense", &version1, path, sizeof path));
    assert_false(topo_text_cgroup("", &version1, path, sizeof path));
    assert_true(topo_memory_available() > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rank_takes_all),
        cmocka_unit_test(eight_ranks_get_a_numa_node_each),
        cmocka_unit_test(uneven_ranks_cover_every_core_once),
        cmocka_unit_test(what_the_launcher_gave_is_kept),
        cmocka_unit_test(odd_masks_are_never_left),
        cmocka_unit_test(wanted_threads_are_spread),
        cmocka_unit_test(one_core),
        cmocka_unit_test(more_ranks_than_cores_share),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(description_is_for_people),
        cmocka_unit_test(this_machine),
        cmocka_unit_test(memory_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
