/* main_filter.h - "test_x" runs all cases, "test_x CASE" one: CTest lists every case by name. */
#ifndef PALMGROVE_TESTS_MAIN_FILTER_H
#define PALMGROVE_TESTS_MAIN_FILTER_H

#define RUN_CASES(tests)                                                      \
    int main(int argc, char **argv)                                           \
    {                                                                         \
        if (argc > 1)                                                         \
            cmocka_set_test_filter(argv[1]);                                  \
        return cmocka_run_group_tests(tests, NULL, NULL);                     \
    }

#endif
