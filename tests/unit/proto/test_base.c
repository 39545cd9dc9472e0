/* proto/base: statuses, buffers, sizes, arrays, UTF-8, endpoints, clock, log, invariants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/endpoint.h"
#include "proto/base/grow.h"
#include "proto/base/log.h"
#include "proto/base/size.h"
#include "proto/base/status.h"
#include "proto/base/utf8.h"

static void test_status_texts_are_those_of_the_wire(void **state)
{
    (void)state;
    assert_string_equal(base_status_text(BASE_OK), "ok");
    assert_string_equal(base_status_text(BASE_EINVAL), "invalid_argument");
    assert_string_equal(base_status_text(BASE_EINTERNAL), "internal");
    assert_string_equal(base_status_text((base_status)4711), "unknown");
    assert_int_equal(BASE_EDEADLINE, 9); /* values travel: they never change */
}

static void test_errors_are_filled_cut_and_prefixed(void **state)
{
    (void)state;
    base_error error = {0};
    base_error_prefix(&error, "shard %d: ", 3);
    assert_string_equal(error.text, ""); /* no failure, no words */

    assert_int_equal(base_fail(&error, BASE_EIO, "cannot read '%s'", "x"), BASE_EIO);
    base_error_prefix(&error, "shard %d: ", 3);
    assert_string_equal(error.text, "shard 3: cannot read 'x'");
    assert_int_equal(error.status, BASE_EIO);
    assert_int_equal(base_fail(NULL, BASE_EBUSY, "no listener"), BASE_EBUSY);
    errno = ENOENT; /* looked at twice */
    assert_int_equal(base_fail(&error, errno == ENOENT ? BASE_ENOTFOUND : BASE_EIO, "%.3f", 0.5), BASE_ENOTFOUND);
    assert_int_equal(errno, ENOENT);

    char long_text[2 * sizeof error.text];
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    base_error_set(&error, BASE_EINVAL, "%s", long_text);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    base_error_prefix(&error, "p");
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    assert_int_equal(error.text[0], 'p');
}

static void test_buf_round_trip(void **state)
{
    (void)state;
    base_buf buf = {0};
    base_buf_put_u8(&buf, 7);
    base_buf_put_u32(&buf, 0xDEADBEEF);
    base_buf_put_u64(&buf, 0x0123456789ABCDEFull);
    base_buf_put_f32(&buf, -1.5f);
    base_buf_put(&buf, "abc", 3);
    assert_false(buf.failed);
    assert_int_equal(buf.size, 1 + 4 + 8 + 4 + 3);
    assert_int_equal(buf.data[1], 0xEF); /* little-endian */

    base_reader reader = base_reader_over(buf.data, buf.size);
    assert_int_equal(base_reader_u8(&reader), 7);
    assert_int_equal(base_reader_u32(&reader), 0xDEADBEEF);
    assert_true(base_reader_u64(&reader) == 0x0123456789ABCDEFull);
    assert_true(base_reader_f32(&reader) == -1.5f);
    assert_memory_equal(base_reader_take(&reader, 3), "abc", 3);
    assert_int_equal(base_reader_left(&reader), 0);
    assert_false(reader.failed);

    assert_int_equal(base_reader_u8(&reader), 0);
    assert_true(reader.failed);
    base_buf_release(&buf);
    assert_null(buf.data);
}

static void test_reader_failure_sticks(void **state)
{
    (void)state;
    const uint8_t bytes[] = {1, 2, 3};
    base_reader reader = base_reader_over(bytes, sizeof bytes);
    assert_int_equal(base_reader_u32(&reader), 0);
    assert_true(reader.failed);
    assert_int_equal(base_reader_u8(&reader), 0);
    assert_null(base_reader_take(&reader, 1));

    base_reader empty = base_reader_over(NULL, 0);
    assert_int_equal(base_reader_left(&empty), 0);
    assert_null(base_reader_take(&empty, SIZE_MAX));
}

static void test_buf_refuses_what_cannot_be(void **state)
{
    (void)state;
    base_buf buf = {0};
    base_buf_put(&buf, "x", 1);
    assert_false(base_buf_reserve(&buf, SIZE_MAX)); /* the sum wraps */
    assert_true(buf.failed);
    base_buf_put(&buf, "y", 1);
    assert_int_equal(buf.size, 1);
    base_buf_clear(&buf);
    base_buf_put(&buf, "z", 1);
    assert_int_equal(buf.data[0], 'z');
    base_buf_release(&buf);
}

static void test_sizes_do_not_wrap(void **state)
{
    (void)state;
    size_t out = 5;
    assert_false(base_size_mul(SIZE_MAX / 2, 3, &out));
    assert_false(base_size_add(SIZE_MAX, 1, &out));
    assert_int_equal(out, 5);
    assert_true(base_size_mul(6, 7, &out));
    assert_int_equal(out, 42);
    assert_int_equal(base_size_round_up(0, 32), 0);
    assert_int_equal(base_size_round_up(33, 32), 64);
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        bool valid;
    } cases[] = {
        {"", 0, true},
        {"plain", 5, true},
        {"a\0b", 3, true},
        {"\xC3\xBC", 2, true},          /* u umlaut */
        {"\xE6\x97\xA5", 3, true},      /* a CJK character */
        {"\xF0\x9F\xA7\xAC", 4, true},  /* U+1F9EC */
        {"\xF4\x8F\xBF\xBF", 4, true},  /* U+10FFFF */
        {"\xEE\x80\x80", 3, true},      /* U+E000, just after the surrogates */
        {"\x80", 1, false},             /* continuation first */
        {"\xC0\x80", 2, false},         /* overlong NUL */
        {"\xC1\xBF", 2, false},         /* overlong */
        {"\xE0\x9F\xBF", 3, false},     /* overlong */
        {"\xF0\x8F\xBF\xBF", 4, false}, /* overlong */
        {"\xED\xA0\x80", 3, false},     /* surrogate */
        {"\xF4\x90\x80\x80", 4, false}, /* beyond U+10FFFF */
        {"\xF5\x80\x80\x80", 4, false},
        {"\xC3", 1, false}, /* cut */
        {"\xE6\x97", 2, false},
        {"\xF0\x9F\xA7", 3, false},
        {"\xE6\x97\x41", 3, false}, /* third byte is no continuation */
        {"\xFF", 1, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (base_utf8_is_valid(cases[i].bytes, cases[i].size) != cases[i].valid)
            fail_msg("case %zu", i);
}

static void test_endpoint_in_use(void **state)
{
    (void)state;
    char folder[] = "/tmp/palmgrove-proto-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", folder);
    char endpoint[128];
    snprintf(endpoint, sizeof endpoint, "ipc://%s/s", folder);
    assert_false(base_endpoint_in_use(endpoint));

    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_true(base_endpoint_in_use(endpoint));
    close(listener);
    assert_false(base_endpoint_in_use(endpoint)); /* the stale file stays */
    assert_false(base_endpoint_in_use("tcp://127.0.0.1:1"));
    assert_false(base_endpoint_in_use("ipc://*"));
    base_endpoint_remove("tcp://127.0.0.1:1");
    base_endpoint_remove(endpoint);
    assert_int_equal(rmdir(folder), 0);
}

static void test_clock_goes_forward(void **state)
{
    (void)state;
    uint64_t before = base_clock_us();
    base_clock_nap(2000);
    assert_true(base_clock_us() >= before + 1000);
    assert_true(base_clock_wall_ms() > 1600000000000);
}

/* What base_log writes to stderr, [size] terminated. */
static void captured_log(char *out, size_t size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    int saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    char long_text[3000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    base_log_set_name("rank 2");
    base_log_warn("%d of %d", 1, 2);
    base_log_debug("below the threshold");
    base_log_set_name("");
    base_log_info("%s", long_text);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    ssize_t n = read(ends[0], out, size - 1);
    close(ends[0]);
    out[n > 0 ? n : 0] = '\0';
}

static void test_log_lines_are_whole(void **state)
{
    (void)state;
    char text[4096];
    captured_log(text, sizeof text);
    static const char first[] = "palmgrove[rank 2] warn: 1 of 2\npalmgrove: xxx";
    assert_memory_equal(text, first, sizeof first - 1);
    assert_int_equal(text[strlen(text) - 1], '\n'); /* a long line is cut, its end is not */
    assert_null(strstr(text, "below"));
}

static void test_arrays_grow(void **state)
{
    (void)state;
    uint16_t *items = NULL;
    size_t capacity = 0, n_moves = 0;
    assert_true(base_grow(&items, &capacity, 0, sizeof *items));
    assert_null(items);
    for (size_t n = 0; n < 5000; n++) {
        size_t before = capacity;
        assert_true(base_grow(&items, &capacity, n + 1, sizeof *items));
        assert_true(capacity > n);
        n_moves += capacity != before;
        items[n] = (uint16_t)n;
    }
    assert_true(n_moves < 12);
    for (size_t n = 0; n < 5000; n++)
        assert_int_equal(items[n], (uint16_t)n);
    uint16_t *before = items;
    size_t capacity_before = capacity;
    assert_false(base_grow(&items, &capacity, SIZE_MAX / 2 + 1, sizeof *items)); /* the product wraps */
    assert_ptr_equal(items, before);
    assert_int_equal(capacity, capacity_before);
    free(items);
}

/* In a release too: the tests are built with NDEBUG there. */
static void test_broken_invariants_end_the_process(void **state)
{
    (void)state;
    int pipe_ends[2], status, n_evaluated = 0;
    base_check(++n_evaluated == 1);
    assert_int_equal(n_evaluated, 1);
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipe_ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        base_check(n_evaluated == 2);
        _exit(0);
    }
    close(pipe_ends[1]);
    char line[256] = {0};
    assert_true(read(pipe_ends[0], line, sizeof line - 1) > 0);
    close(pipe_ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(line, "error: defect: test_base.c:"));
    assert_non_null(strstr(line, "not true: n_evaluated == 2\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_texts_are_those_of_the_wire),
        cmocka_unit_test(test_errors_are_filled_cut_and_prefixed),
        cmocka_unit_test(test_buf_round_trip),
        cmocka_unit_test(test_reader_failure_sticks),
        cmocka_unit_test(test_buf_refuses_what_cannot_be),
        cmocka_unit_test(test_sizes_do_not_wrap),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_endpoint_in_use),
        cmocka_unit_test(test_clock_goes_forward),
        cmocka_unit_test(test_log_lines_are_whole),
        cmocka_unit_test(test_arrays_grow),
        cmocka_unit_test(test_broken_invariants_end_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
