/* cmocka.h - as much of cmocka's interface (https://api.cmocka.org) as the kernels' tests use, for a machine that the
 * build machine only emulates: Debian has the library for that machine only when a foreign architecture is added to the
 * system, which a test should not do. Included after <setjmp.h>, <stdarg.h> and <stddef.h>, as the original.  A failed
 * assertion ends the program. */
#ifndef PALMGROVE_STAND_IN_CMOCKA_H
#define PALMGROVE_STAND_IN_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

#define cmocka_unit_test(function) \
    {                              \
#function, function        \
    }

static inline void stand_in_assert(int holds, const char *what, const char *file, int line)
{
    if (holds)
        return;
    printf("[  FAILED  ] %s:%d: %s\n", file, line, what);
    exit(1);
}

#define assert_true(c)             stand_in_assert((c) ? 1 : 0, #c, __FILE__, __LINE__)
#define assert_false(c)            stand_in_assert((c) ? 0 : 1, "not " #c, __FILE__, __LINE__)
#define assert_non_null(p)         stand_in_assert((p) != NULL, #p " is not NULL", __FILE__, __LINE__)
#define assert_null(p)             stand_in_assert((p) == NULL, #p " is NULL", __FILE__, __LINE__)
#define assert_int_equal(a, b)     stand_in_assert((long long)(a) == (long long)(b), #a " == " #b, __FILE__, __LINE__)
#define assert_int_not_equal(a, b) stand_in_assert((long long)(a) != (long long)(b), #a " != " #b, __FILE__, __LINE__)
#define assert_string_equal(a, b)  stand_in_assert(strcmp(a, b) == 0, #a " is " #b, __FILE__, __LINE__)
#define assert_memory_equal(a, b, n) \
    stand_in_assert(memcmp(a, b, n) == 0, #a " has the bytes of " #b, __FILE__, __LINE__)

static inline int stand_in_run(const struct CMUnitTest *tests, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        printf("[ RUN      ] %s\n", tests[i].name);
        fflush(stdout);
        tests[i].run(NULL);
        printf("[       OK ] %s\n", tests[i].name);
    }
    printf("[  PASSED  ] %zu tests\n", n);
    return 0;
}

#define print_error(...) printf(__VA_ARGS__)

#define cmocka_run_group_tests(tests, set_up, tear_down) \
    ((void)(set_up), (void)(tear_down), stand_in_run(tests, sizeof(tests) / sizeof *(tests)))
#define cmocka_run_group_tests_name(name, tests, set_up, tear_down) cmocka_run_group_tests(tests, set_up, tear_down)

#endif
