/* main_filter.h - "gateway_x" runs all cases, "gateway_x CASE" one: CTest lists every case by name. */
#ifndef PALMGROVE_TESTS_MAIN_FILTER_H
#define PALMGROVE_TESTS_MAIN_FILTER_H

#include <stdio.h>
#include <string.h>

/* A name that no case has is a failure, not zero cases passed. */
#define RUN_CASES(tests)                                                           \
    int main(int argc, char **argv)                                                \
    {                                                                              \
        bool is_known = argc < 2;                                                  \
        for (size_t i = 0; !is_known && i < sizeof(tests) / sizeof(tests)[0]; i++) \
            is_known = strcmp((tests)[i].name, argv[1]) == 0;                      \
        if (!is_known) {                                                           \
            fprintf(stderr, "no case '%s'\n", argv[1]);                            \
            return 2;                                                              \
        }                                                                          \
        if (argc > 1)                                                              \
            cmocka_set_test_filter(argv[1]);                                       \
        return cmocka_run_group_tests(tests, NULL, NULL);                          \
    }

#endif
