/* Memory for weights, cache and workspace: what is counted is what is taken, at the right places, with the pages asked
 * for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/kernels/kern.h"
#include "worker/model/arena.h"

#define LARGE ((size_t)20 << 20)

static void counting_is_taking(void **state)
{
    (void)state;
    model_arena counting = {0}, arena;
    static const size_t sizes[] = {1, 64, 65, 0, 4096, 3};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_null(model_arena_alloc(&counting, sizes[i], 1));
    assert_true(model_arena_map(&arena, counting.used, MODEL_HUGE_AUTO));
    char *end = arena.base;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *taken = model_arena_alloc(&arena, sizes[i], 1);
        assert_true((uintptr_t)taken % KERN_ALIGN == 0 && taken >= end);
        for (size_t b = 0; b < sizes[i]; b++)
            assert_int_equal(taken[b], 0);
        memset(taken, 1, sizes[i]);
        end = taken + sizes[i];
    }
    assert_int_equal(arena.used, counting.used);
    assert_false(counting.too_big);
    assert_null(model_arena_alloc(&counting, SIZE_MAX / 2, 3));
    assert_true(counting.too_big);
    model_arena_unmap(&arena);
    assert_null(arena.base);
    model_arena_unmap(&arena); /* twice is harmless */
    assert_true(model_arena_map(&arena, 0, MODEL_HUGE_ON));
    assert_null(arena.base);
    assert_false(model_arena_map(&arena, SIZE_MAX - 5, MODEL_HUGE_AUTO));
}

/* Resident pages of a range. */
static size_t resident(const char *base, size_t bytes)
{
    static unsigned char pages[LARGE / 4096];
    size_t n = 0, page = (size_t)sysconf(_SC_PAGESIZE);
    assert_int_equal(mincore((void *)(uintptr_t)base, bytes, pages), 0);
    for (size_t i = 0; i < bytes / page; i++)
        n += pages[i] & 1;
    return n;
}

static void pages_are_taken_when_told(void **state)
{
    (void)state;
    model_arena arena;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    assert_true(model_arena_map(&arena, LARGE, MODEL_HUGE_OFF));
    assert_int_equal(resident(arena.base, LARGE), 0);
    arena.base[5 * page] = 'x';
    model_pages_touch(arena.base + 3 * page + 100, 4 * page); /* ends inside a page */
    assert_int_equal(resident(arena.base, LARGE), 5);
    assert_int_equal(arena.base[5 * page], 'x');
    model_pages_touch(arena.base, 0);
    assert_int_equal(resident(arena.base, LARGE), 5);
    model_pages_touch(arena.base, LARGE);
    assert_int_equal(resident(arena.base, LARGE), LARGE / page);
    assert_int_equal(model_arena_huge_percent(&arena), 0);
    model_arena_unmap(&arena);
}

static bool has_transparent_pages(void)
{
    char text[64] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    bool there = file != NULL && fgets(text, sizeof text, file) != NULL && strstr(text, "[never]") == NULL;
    if (file != NULL)
        fclose(file);
    return there;
}

/* A hint: the system may be short of them, but what it reports must be possible. */
static void large_arenas_wish_for_huge_pages(void **state)
{
    (void)state;
    static const model_huge_pages wishes[] = {MODEL_HUGE_AUTO, MODEL_HUGE_ON};
    for (size_t i = 0; i < 2; i++) {
        model_arena arena;
        assert_true(model_arena_map(&arena, LARGE + 4096, wishes[i]));
        assert_int_equal((uintptr_t)arena.base % ((size_t)2 << 20), 0);
        model_pages_touch(arena.base, LARGE + 4096);
        arena.base[LARGE + 4095] = 1;
        int percent = model_arena_huge_percent(&arena);
        assert_true(percent >= -1 && percent <= 100);
        if (wishes[i] == MODEL_HUGE_AUTO && !has_transparent_pages())
            assert_true(percent <= 0);
        printf("%d %% of %zu bytes in huge pages\n", percent, LARGE);
        model_arena_unmap(&arena);
    }
}

/* A byte past the last page ends the process that writes it. */
static void overruns_are_caught(void **state)
{
    (void)state;
    model_arena arena;
    assert_true(model_arena_map(&arena, LARGE, MODEL_HUGE_AUTO));
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        *(volatile char *)(arena.base + LARGE) = 1;
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    model_arena_unmap(&arena);
}

static void names_of_wishes(void **state)
{
    (void)state;
    model_huge_pages huge = MODEL_HUGE_AUTO;
    assert_true(model_huge_pages_find("off", &huge) && huge == MODEL_HUGE_OFF);
    assert_true(model_huge_pages_find("on", &huge) && huge == MODEL_HUGE_ON);
    assert_true(model_huge_pages_find("auto", &huge) && huge == MODEL_HUGE_AUTO);
    assert_false(model_huge_pages_find("yes", &huge));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counting_is_taking),
        cmocka_unit_test(pages_are_taken_when_told),
        cmocka_unit_test(large_arenas_wish_for_huge_pages),
        cmocka_unit_test(overruns_are_caught),
        cmocka_unit_test(names_of_wishes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
