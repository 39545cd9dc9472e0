/* The ring of spans: what is kept, what is summed, and the text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "worker/trace/trace.h"

/* The encoded objects as an array. */
static json_t *encoded(int64_t shift_us)
{
    base_buf text = {0};
    json_error_t error;
    base_buf_put(&text, "[", 1);
    trace_encode(shift_us, "stage 1, tensor 0", &text);
    base_buf_put(&text, "null]", 5);
    json_t *array = json_loadb((const char *)text.data, text.size, 0, &error);
    if (array == NULL)
        print_error("%s at %d\n", error.text, error.position);
    assert_non_null(array);
    base_buf_release(&text);
    return array;
}

static int64_t number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static void spans_are_json(void **state)
{
    (void)state;
    base_error error = {0};
    assert_int_equal(trace_start(7, 16, &error), BASE_OK);
    uint64_t begin_us = trace_begin();
    for (int kind = 0; kind < TRACE_N_KINDS; kind++)
        trace_end((trace_kind)kind, begin_us, 100 + (uint64_t)kind);
    json_t *array = encoded(1000);
    assert_int_equal(json_array_size(array), 2 + TRACE_N_KINDS + 1);
    const json_t *process = json_array_get(array, 0);
    assert_string_equal(json_string_value(json_object_get(process, "ph")), "M");
    assert_string_equal(json_string_value(json_object_get(json_object_get(process, "args"), "name")),
                        "rank 7 (stage 1, tensor 0)");
    for (size_t kind = 0; kind < TRACE_N_KINDS; kind++) {
        const json_t *span = json_array_get(array, 2 + kind);
        assert_string_equal(json_string_value(json_object_get(span, "ph")), "X");
        assert_int_equal(number(span, "pid"), 7);
        assert_int_equal(number(span, "ts"), (int64_t)begin_us + 1000);
        assert_true(number(span, "dur") >= 0);
        const json_t *arguments = json_object_get(span, "args");
        assert_int_equal(arguments != NULL, kind != TRACE_IDLE);
        if (arguments != NULL) {
            void *first = json_object_iter((json_t *)(uintptr_t)arguments);
            assert_int_equal(json_integer_value(json_object_iter_value(first)), 100 + (int64_t)kind);
        }
    }
    json_decref(array);
    trace_stop();
}

static void the_oldest_are_lost(void **state)
{
    (void)state;
    base_error error = {0};
    assert_int_equal(trace_start(0, 4, &error), BASE_OK);
    for (uint64_t i = 0; i < 11; i++)
        trace_end(TRACE_STEP, trace_begin(), i);
    json_t *array = encoded(0);
    assert_int_equal(json_array_size(array), 2 + 4 + 1);
    for (size_t i = 0; i < 4; i++) /* 7, 8, 9, 10: in the order of their ends */
        assert_int_equal(number(json_object_get(json_array_get(array, 2 + i), "args"), "rows"), 7 + (int64_t)i);
    trace_totals totals = trace_totals_get();
    assert_int_equal(totals.n_steps, 11);
    assert_int_equal(totals.n_lost, 7);
    json_decref(array);
    trace_stop();
}

/* Spans that began in the past have lengths that are known to within what the test itself takes. */
static void totals_are_of_the_steps(void **state)
{
    (void)state;
    base_error error = {0};
    assert_int_equal(trace_start(0, 4, &error), BASE_OK);
    uint64_t now_us = base_clock_us();
    trace_record(TRACE_IDLE, now_us - 900000, 0); /* before the first step: not counted */
    trace_record(TRACE_REDUCE, now_us - 300000, 0);
    trace_record(TRACE_RECEIVE, now_us - 100000, 0);
    trace_record(TRACE_STEP, now_us - 500000, 0);
    uint64_t slack_us = base_clock_us() - now_us;
    trace_totals totals = trace_totals_get();
    assert_int_equal(totals.kind_us[TRACE_IDLE], 0);
    assert_in_range(totals.kind_us[TRACE_REDUCE], 300000, 300000 + slack_us);
    assert_in_range(totals.total_us, 500000, 500000 + slack_us);
    assert_in_range(totals.compute_us, 100000 - 2 * slack_us, 100000 + slack_us);
    trace_record(TRACE_IDLE, now_us, 0);
    assert_true(trace_totals_get().kind_us[TRACE_IDLE] <= base_clock_us() - now_us);
    trace_stop();
}

static void off_costs_and_says_nothing(void **state)
{
    (void)state;
    base_buf text = {0};
    trace_stop();
    assert_int_equal(trace_begin(), 0);
    trace_end(TRACE_STEP, 0, 1);
    trace_encode(0, "", &text);
    assert_int_equal(text.size, 0);
    assert_int_equal(trace_totals_get().n_steps, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_are_json),
        cmocka_unit_test(the_oldest_are_lost),
        cmocka_unit_test(totals_are_of_the_steps),
        cmocka_unit_test(off_costs_and_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
