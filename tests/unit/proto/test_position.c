/* proto/link/position.h: the two numberings of what fills a position. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/link/position.h"

static void check_position(link_position seen, link_position_kind kind, uint32_t index)
{
    assert_int_equal(seen.kind, kind);
    assert_int_equal(seen.index, index);
}

/* The numbers are the wire form: they never change. */
static void numbers_never_change(void **state)
{
    (void)state;
    assert_int_equal(link_image_row(0), -1);
    assert_int_equal(link_image_row(70), -71);
    assert_int_equal(link_plan_vector(0, 6), -7);
    assert_int_equal(link_plan_vector(2, 0), -3);
    assert_int_equal(link_request_vector(0), INT32_MIN + 1);
    const uint32_t indices[] = {0, 1, 5, 77, 65535, (1u << 30) - 2};
    for (size_t i = 0; i < sizeof indices / sizeof *indices; i++) {
        uint32_t index = indices[i];
        check_position(link_position_in_request((int32_t)index), LINK_POSITION_TOKEN, index);
        check_position(link_position_in_request(link_image_row(index)), LINK_POSITION_IMAGE_ROW, index);
        check_position(link_position_in_request(link_request_vector(index)), LINK_POSITION_VECTOR, index);
        check_position(link_position_in_plan((int32_t)index, 6), LINK_POSITION_TOKEN, index);
        check_position(link_position_in_plan(link_image_row(index), index + 1), LINK_POSITION_IMAGE_ROW, index);
        check_position(link_position_in_plan(link_plan_vector(index, 6), 6), LINK_POSITION_VECTOR, index);
    }
    check_position(link_position_in_plan(INT32_MIN, 6), LINK_POSITION_VECTOR, INT32_MAX - 6u);
    check_position(link_position_in_request(INT32_MIN), LINK_POSITION_VECTOR, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_never_change)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
