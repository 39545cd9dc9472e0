/* Pinning plans on synthetic machines: the machine at hand need not have what is planned for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <hwloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/topo/topo.h"

#define BIG "Package:2 NUMANode:4 Core:8 PU:2" /* 8 NUMA nodes of 8 cores of 2 CPUs: core c has CPUs 2c, 2c + 1 */

typedef struct expected {
    const char *cpus, *cores, *nodes, *first, *last;
    uint32_t n_threads;
    bool shared, crowded;     /* shared is always crowded */
    const char *spare, *note; /* NULL: none, not looked at */
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
    assert_int_equal(topo_plan_is_crowded(plan), want.shared || want.crowded);
    topo_plan_spare_cpus(plan, text);
    assert_string_equal(text, want.spare != NULL ? want.spare : "");
    topo_plan_describe(plan, true, text);
    if (want.note != NULL && strstr(text, want.note) == NULL)
        fail_msg("'%s' does not say '%s'", text, want.note);
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
               (expected){"0-3", "0-1", "0", .first = "0", .last = "0", .n_threads = 5, .crowded = true});
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

/* One node mask word holds 64 nodes. */
static void eighty_numa_nodes(void **state)
{
    (void)state;
    static const char machine[] = "Package:2 NUMANode:40 Core:2 PU:1";
    check_plan(machine, (topo_request){.count = 1},
               (expected){"0-159", "0-159", "0-79", .first = "0", .last = "159", .n_threads = 160});
    check_plan(machine, (topo_request){.index = 79, .count = 80},
               (expected){"158-159", "158-159", "79", .first = "158", .last = "159", .n_threads = 2});
    check_plan(machine, (topo_request){.index = 63, .count = 81},
               (expected){"124-125", "124-125", "62", .first = "124", .last = "125", .n_threads = 2});
    check_plan(machine, (topo_request){.allowed = "127-130", .count = 1},
               (expected){"127-130", "127-130", "63-65", .first = "127", .last = "130", .n_threads = 4});
}

static void eight_nodes_of_sixteen_cores_with_smt(void **state)
{
    (void)state;
    static const char machine[] = "NUMANode:8 Core:16 PU:2";
    check_plan(machine, (topo_request){.index = 7, .count = 8},
               (expected){"224-255", "112-127", "7", .first = "224-225", .last = "254-255", .n_threads = 16});
    check_plan(machine, (topo_request){.index = 7, .count = 8, .smt = TOPO_SMT_ALL},
               (expected){"224-255", "112-127", "7", .first = "224", .last = "255", .n_threads = 32});
}

static void spare_cores_are_the_first(void **state)
{
    (void)state;
    check_plan(BIG, (topo_request){.count = 1, .spare_cores = 2},
               (expected){"4-127", "2-63", "0-7", .first = "4-5", .last = "126-127", .n_threads = 62, .spare = "0-3",
                          .note = "other threads on cpus 0-3"});
    check_plan(BIG, (topo_request){.index = 1, .count = 2, .allowed = "0-15", .spare_cores = 1},
               (expected){"8-15", "4-7", "0", .first = "8-9", .last = "14-15", .n_threads = 4, .spare = "0-1"});
    /* what is left may be less than the ranks */
    check_plan(
        "Core:4 PU:1", (topo_request){.index = 2, .count = 4, .spare_cores = 1},
        (expected){"1-3", "1-3", "0", .first = "1-3", .last = "1-3", .n_threads = 1, .shared = true, .spare = "0"});
}

static void quotas_limit_threads_and_unbind_them(void **state)
{
    (void)state;
    check_plan(BIG, (topo_request){.count = 1, .quota_milli = 4500},
               (expected){"0-127", "0-63", "0-7", .first = "0-127", .last = "0-127", .n_threads = 4,
                          .note = "quota of 4.5 CPUs"});
    check_plan("Core:2 PU:1", (topo_request){.index = 1, .count = 2, .quota_milli = 500},
               (expected){"1", "1", "0", .first = "1", .last = "1", .n_threads = 1, .crowded = true});
    check_plan("Core:8 PU:1", (topo_request){.count = 1, .quota_milli = 2000, .n_threads = 3},
               (expected){"0-7", "0-7", "0", .first = "0-7", .last = "0-7", .n_threads = 3, .crowded = true});
    /* a quota as large as the share is no limit */
    check_plan("Core:8 PU:1", (topo_request){.count = 1, .quota_milli = 8000},
               (expected){"0-7", "0-7", "0", .first = "0", .last = "7", .n_threads = 8});
}

static topo_request share_of(const char *synthetic, const uint64_t *sets, uint32_t n_words, uint32_t n_ranks,
                             uint32_t me)
{
    base_error error = {0};
    topo_machine *machine = NULL;
    topo_request request = {0};
    assert_int_equal(topo_machine_open(synthetic, &machine, &error), BASE_OK);
    topo_request_share(machine, sets, n_words, n_ranks, me, &request);
    topo_machine_close(&machine);
    return request;
}

static void who_shares_what(void **state)
{
    (void)state;
    /* two ranks with one set, one with its own */
    const uint64_t pairs[] = {0x0f, 0x0f, 0xf0};
    topo_request r = share_of("Core:8 PU:1", pairs, 1, 3, 1);
    assert_int_equal(r.index, 1);
    assert_int_equal(r.count, 2);
    assert_int_equal(r.fair_cores, 0);
    r = share_of("Core:8 PU:1", pairs, 1, 3, 2);
    assert_int_equal(r.index, 0);
    assert_int_equal(r.count, 1);
    /* overlapping: cores 0-5 and 2-7 share four */
    const uint64_t overlapping[] = {0x3f, 0xfc};
    r = share_of("Core:8 PU:1", overlapping, 1, 2, 0);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.fair_cores, 4);
    check_plan("Core:8 PU:1", (topo_request){.allowed = "0-5", .count = 1, .fair_cores = 4},
               (expected){"0-5", "0-5", "0", .first = "0-5", .last = "0-5", .n_threads = 4, .note = "overlaps"});
    /* the hardware threads of one core given to two ranks: no CPUs overlap */
    const uint64_t siblings[] = {0x55, 0xaa};
    assert_int_equal(share_of("Core:4 PU:2", siblings, 1, 2, 0).fair_cores, 0);
    /* a second word counts */
    const uint64_t wide[] = {1, 1, 1, 2};
    r = share_of("Core:128 PU:1", wide, 2, 2, 1);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.fair_cores, 1);
}

static void words_of_a_set(void **state)
{
    (void)state;
    base_error error = {0};
    topo_machine *machine = NULL;
    uint64_t words[4] = {7, 7, 7, 7};
    assert_int_equal(topo_machine_open("Core:65 PU:2", &machine, &error), BASE_OK);
    assert_int_equal(topo_machine_allowed_words(machine, words, 4), 3);
    assert_true(words[0] == UINT64_MAX && words[1] == UINT64_MAX && words[2] == 3 && words[3] == 0);
    topo_machine_close(&machine);
}

/* --- hybrid processors: synthetic descriptions cannot tell kinds, so hwloc is asked to write the machine down --- */

typedef struct kind {
    const char *cpus, *type, *mhz;
} kind;

static void register_kind(hwloc_topology_t topology, const kind *k)
{
    struct hwloc_info_s infos[2];
    unsigned n = 0;
    if (k->type != NULL)
        infos[n++] = (struct hwloc_info_s){.name = (char *)"CoreType", .value = (char *)k->type};
    if (k->mhz != NULL)
        infos[n++] = (struct hwloc_info_s){.name = (char *)"FrequencyMaxMHz", .value = (char *)k->mhz};
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    assert_int_equal(hwloc_bitmap_list_sscanf(set, k->cpus), 0);
    assert_int_equal(hwloc_cpukinds_register(topology, set, -1, n, infos, 0), 0);
    hwloc_bitmap_free(set);
}

static void check_hybrid(const char *synthetic, const kind *kinds, size_t n, topo_request request, expected want)
{
    char path[] = "/tmp/palmgrove-topo-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    hwloc_topology_t topology;
    assert_int_equal(hwloc_topology_init(&topology), 0);
    assert_int_equal(hwloc_topology_set_synthetic(topology, synthetic), 0);
    assert_int_equal(hwloc_topology_load(topology), 0);
    for (size_t i = 0; i < n; i++)
        register_kind(topology, &kinds[i]);
    assert_int_equal(hwloc_topology_export_xml(topology, path, 0), 0);
    hwloc_topology_destroy(topology);
    setenv("HWLOC_XMLFILE", path, 1);
    check_plan(NULL, request, want);
    unsetenv("HWLOC_XMLFILE");
    unlink(path);
}

/* 6 fast cores of 2 CPUs (0-11), 6 slow ones (12-23) */
#define HYBRID "Core:12 PU:2"
static const kind hybrid[] = {{"12-23", "IntelAtom", "3900"}, {"0-11", "IntelCore", "5200"}};

static void slower_cores_are_left_out(void **state)
{
    (void)state;
    check_hybrid(HYBRID, hybrid, 2, (topo_request){.count = 1},
                 (expected){"0-11", "0-5", "0", .first = "0-1", .last = "10-11", .n_threads = 6,
                            .note = "6 slower cores left out"});
    check_hybrid(HYBRID, hybrid, 2, (topo_request){.index = 1, .count = 2},
                 (expected){"6-11", "3-5", "0", .first = "6-7", .last = "10-11", .n_threads = 3});
    /* they are spare cores before a fast one is */
    check_hybrid(HYBRID, hybrid, 2, (topo_request){.count = 1, .spare_cores = 1},
                 (expected){"0-11", "0-5", "0", .first = "0-1", .last = "10-11", .n_threads = 6, .spare = "12-23"});
    check_hybrid(HYBRID, hybrid, 2, (topo_request){.count = 1, .spare_cores = 7},
                 (expected){"2-11", "1-5", "0", .first = "2-3", .last = "10-11", .n_threads = 5, .spare = "0-1,12-23"});
    /* a launcher that gave only slow cores is obeyed */
    check_hybrid(HYBRID, hybrid, 2, (topo_request){.allowed = "14-17", .count = 1},
                 (expected){"14-17", "7-8", "0", .first = "14-15", .last = "16-17", .n_threads = 2});
}

static void slower_cores_are_used_when_wanted(void **state)
{
    (void)state;
    check_hybrid(HYBRID, hybrid, 2, (topo_request){.count = 1, .kinds = TOPO_KINDS_ALL},
                 (expected){"0-23", "0-11", "0", .first = "0-1", .last = "22-23", .n_threads = 12,
                            .note = "6 of the threads on slower cores"});
    check_hybrid(HYBRID, hybrid, 2, (topo_request){.count = 1, .n_threads = 7},
                 (expected){"0-23", "0-11", "0", .first = "0-1", .last = "12-13", .n_threads = 7,
                            .note = "1 of the threads on slower cores"});
    check_hybrid(HYBRID, hybrid, 2, (topo_request){.index = 6, .count = 7},
                 (expected){"20-23", "10-11", "0", .first = "20-21", .last = "22-23", .n_threads = 2});
    /* numbered the other way round: fast cores come first all the same */
    const kind reversed[] = {{"12-23", "IntelCore", NULL}, {"0-11", "IntelAtom", NULL}};
    check_hybrid(HYBRID, reversed, 2, (topo_request){.count = 1, .n_threads = 7},
                 (expected){"0-23", "0-11", "0", .first = "12-13", .last = "0-1", .n_threads = 7});
}

static void favoured_cores_are_no_other_kind(void **state)
{
    (void)state;
    const kind turbo[] = {{"0-3", NULL, "5700"}, {"4-7", NULL, "5000"}};
    check_hybrid("Core:8 PU:1", turbo, 2, (topo_request){.count = 1},
                 (expected){"0-7", "0-7", "0", .first = "0", .last = "7", .n_threads = 8});
    const kind big_little[] = {{"0-3", NULL, "1800"}, {"4-7", NULL, "3000"}};
    check_hybrid("Core:8 PU:1", big_little, 2, (topo_request){.count = 1},
                 (expected){"4-7", "4-7", "0", .first = "4", .last = "7", .n_threads = 4});
}

/* A container without /sys, on a machine that cannot be asked by other means either: CPUs without cores. */
static void without_sysfs(void **state)
{
    (void)state;
    char root[] = "/tmp/palmgrove-root-XXXXXX", allowed[TOPO_TEXT_MAX], text[TOPO_TEXT_MAX], remark[TOPO_TEXT_MAX];
    base_error error = {0};
    topo_machine *machine = NULL;
    topo_plan *plan = NULL;
    assert_non_null(mkdtemp(root));
    setenv("HWLOC_FSROOT", root, 1);
    setenv("HWLOC_COMPONENTS", "-x86", 1);
    setenv("HWLOC_THISSYSTEM", "1", 1);
    assert_int_equal(topo_machine_open(NULL, &machine, &error), BASE_OK);
    topo_machine_allowed(machine, allowed);
    assert_int_equal(topo_plan_create(machine, &(topo_request){.count = 1}, &plan, &error), BASE_OK);
    topo_plan_cpus(plan, text);
    assert_string_equal(text, allowed);
    assert_true(topo_plan_threads(plan) >= 1);
    topo_plan_apply(plan, true, remark);
    topo_plan_thread_cpus(plan, 0, text);
    topo_machine_allowed(machine, allowed);
    if (strstr(remark, "threads") == NULL)
        assert_string_equal(text, allowed);
    topo_plan_destroy(&plan);
    topo_machine_close(&machine);
    unsetenv("HWLOC_FSROOT");
    unsetenv("HWLOC_COMPONENTS");
    unsetenv("HWLOC_THISSYSTEM");
    rmdir(root);
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
    assert_int_equal(topo_plan_create(machine, &(topo_request){.count = 1, .spare_cores = 2}, &plan, &error),
                     BASE_EINVAL);
    assert_non_null(strstr(error.text, "--spare-cores"));
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

/* --- on the real machine; what binds this thread gives it back --- */

static cpu_set_t bound_before;

static int remember_binding(void **state)
{
    (void)state;
    sched_getaffinity(0, sizeof bound_before, &bound_before);
    return 0;
}

static int restore_binding(void **state)
{
    (void)state;
    sched_setaffinity(0, sizeof bound_before, &bound_before);
    return 0;
}

static void *rest_until(void *opaque)
{
    atomic_bool *over = opaque;
    while (!atomic_load(over))
        usleep(1000);
    return NULL;
}

static void other_threads_go_to_the_spare_cores(void **state)
{
    (void)state;
    base_error error = {0};
    topo_machine *machine = NULL;
    topo_plan *plan = NULL;
    char remark[TOPO_TEXT_MAX], spare[TOPO_TEXT_MAX], *list = NULL;
    assert_int_equal(topo_machine_open(NULL, &machine, &error), BASE_OK);
    if (topo_plan_create(machine, &(topo_request){.count = 1, .spare_cores = 1}, &plan, &error) != BASE_OK) {
        topo_machine_close(&machine);
        skip(); /* one core */
    }
    atomic_bool over = false;
    pthread_t thread;
    cpu_set_t set;
    assert_int_equal(pthread_create(&thread, NULL, rest_until, &over), 0);
    topo_plan_apply(plan, true, remark);
    assert_int_equal(pthread_getaffinity_np(thread, sizeof set, &set), 0);
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    topo_plan_spare_cpus(plan, spare);
    hwloc_bitmap_t bits = hwloc_bitmap_alloc();
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set))
            hwloc_bitmap_set(bits, cpu);
    }
    hwloc_bitmap_list_asprintf(&list, bits);
    if (remark[0] == '\0')
        assert_string_equal(list, spare);
    free(list);
    hwloc_bitmap_free(bits);
    topo_plan_destroy(&plan);
    topo_machine_close(&machine);
}

static void cores_of_a_set(void **state)
{
    (void)state;
    topo_machine *machine = NULL;
    assert_int_equal(topo_machine_open("NUMANode:2 Core:40 PU:2", &machine, NULL),
                     BASE_OK); /* core c: CPUs 2c, 2c + 1 */
    assert_int_equal(topo_machine_n_cores(machine, NULL, 0), 80);
    const uint64_t one[] = {1}, both_cpus[] = {3}, far[] = {2, 0, 1}, none[] = {0, 0, 0};
    assert_int_equal(topo_machine_n_cores(machine, one, 1), 1);
    assert_int_equal(topo_machine_n_cores(machine, both_cpus, 1), 1);
    assert_int_equal(topo_machine_n_cores(machine, far, 3), 2);
    assert_int_equal(topo_machine_n_cores(machine, none, 3), 0);
    topo_machine_close(&machine);
}

/* Whatever it is, the plan stays inside the process's set and can be applied. */
static void this_machine(void **state)
{
    (void)state;
    base_error error = {0};
    topo_machine *machine = NULL;
    topo_plan *plan = NULL;
    char before[TOPO_TEXT_MAX], after[TOPO_TEXT_MAX], cpus[TOPO_TEXT_MAX], remark[TOPO_TEXT_MAX];
    assert_int_equal(topo_machine_open(NULL, &machine, &error), BASE_OK);
    topo_machine_allowed(machine, before);
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
    if (strstr(remark, "threads") == NULL)
        assert_string_equal(after, cpus);
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
    assert_true(topo_text_cgroup("0::/user.slice/a\n", "memory", &version1, path, sizeof path));
    assert_false(version1);
    assert_string_equal(path, "/user.slice/a");
    assert_true(topo_text_cgroup("3:cpu,memory:/slurm/job1\n0::/x\n", "memory", &version1, path, sizeof path));
    assert_true(version1);
    assert_string_equal(path, "/slurm/job1");
    assert_false(topo_text_cgroup("3:memoryx:/a\n", "memory", &version1, path, sizeof path));
    assert_false(topo_text_cgroup("nonsense", "memory", &version1, path, sizeof path));
    assert_false(topo_text_cgroup("", "memory", &version1, path, sizeof path));
    assert_true(topo_text_cgroup("2:cpuacct:/b\n1:cpu:/a\n", "cpu", &version1, path, sizeof path));
    assert_string_equal(path, "/a");
    assert_true(topo_memory_available() > 0);
}

static void quota_texts(void **state)
{
    (void)state;
    uint32_t milli = 0;
    assert_true(topo_text_quota("150000 100000\n", &milli));
    assert_int_equal(milli, 1500);
    assert_true(topo_text_quota("1 100000\n", &milli)); /* never rounded down to "no limit" */
    assert_int_equal(milli, 1);
    assert_false(topo_text_quota("max 100000\n", &milli));
    assert_false(topo_text_quota("-1 100000\n", &milli));
    assert_false(topo_text_quota("100000\n", &milli));
    assert_false(topo_text_quota("100000 0\n", &milli));
    assert_false(topo_text_quota("", &milli));

    setenv("SLURM_CPUS_ON_NODE", "1", 1);
    uint32_t with_slurm = topo_cpu_quota();
    assert_true(with_slurm > 0 && with_slurm <= 1000);
    unsetenv("SLURM_CPUS_ON_NODE");
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
        cmocka_unit_test(eighty_numa_nodes),
        cmocka_unit_test(eight_nodes_of_sixteen_cores_with_smt),
        cmocka_unit_test(spare_cores_are_the_first),
        cmocka_unit_test(quotas_limit_threads_and_unbind_them),
        cmocka_unit_test(who_shares_what),
        cmocka_unit_test(words_of_a_set),
        cmocka_unit_test(slower_cores_are_left_out),
        cmocka_unit_test(slower_cores_are_used_when_wanted),
        cmocka_unit_test(favoured_cores_are_no_other_kind),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(description_is_for_people),
        cmocka_unit_test_setup_teardown(this_machine, remember_binding, restore_binding),
        cmocka_unit_test(cores_of_a_set),
        cmocka_unit_test(memory_texts),
        cmocka_unit_test(quota_texts),
        cmocka_unit_test_setup_teardown(without_sysfs, remember_binding, restore_binding),
        cmocka_unit_test_setup_teardown(other_threads_go_to_the_spare_cores, remember_binding, restore_binding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
