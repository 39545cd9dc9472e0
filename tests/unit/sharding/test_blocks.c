/* test_blocks.c - elements of every type as f32: equal to gguf-py's and PyTorch's, bit for bit
 * (tests/golden/gguf/make_goldens.py).
 *
 * Exact because the arithmetic is: each value is one product, or a product of products minus another, every operation
 * rounded once in a stated order, on both sides. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "sharding/formats/blocks.h"
#include "sharding/formats/gguf.h"
#include "sharding/formats/safetensors.h"
#include "sharding/mapped_file.h"
#include "sharding/pack/half.h"

#define GOLDENS PALMGROVE_SOURCE_DIR "/tests/golden/gguf/"

enum { MAX_WIDTH = 768 };

static gguf_file *file;
static mapped_file values_file;
static safetensors_entry *values;
static size_t n_values;

static int open_goldens(void **state)
{
    (void)state;
    base_error error = {0};
    if (gguf_open(GOLDENS "all_types.gguf", &file, &error) == BASE_OK &&
        mapped_file_open(GOLDENS "all_types.safetensors", &values_file, &error) == BASE_OK &&
        safetensors_parse("all_types.safetensors", values_file.map, values_file.bytes, &values, &n_values, &error) ==
            BASE_OK)
        return 0;
    fprintf(stderr, "%s\n", error.text);
    return -1;
}

static int close_goldens(void **state)
{
    (void)state;
    safetensors_release(&values, n_values);
    mapped_file_close(&values_file);
    gguf_close(&file);
    return 0;
}

/* The golden values of a name, f32. */
static const shard_tensor *expected_of(gguf_string name)
{
    for (size_t i = 0; i < n_values; i++)
        if (strlen(values[i].name) == name.size && memcmp(values[i].name, name.bytes, name.size) == 0)
            return &values[i].tensor;
    return NULL;
}

static const shard_tensor *expected_named(const char *name)
{
    const shard_tensor *found = expected_of((gguf_string){name, strlen(name)});
    assert_non_null(found);
    return found;
}

static void find_tensor(const char *wanted, shard_tensor *out)
{
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        gguf_string name;
        gguf_tensor(file, i, &name, out);
        if (name.size == strlen(wanted) && memcmp(name.bytes, wanted, name.size) == 0)
            return;
    }
    fail_msg("the golden has no tensor '%s'", wanted);
}

/* --- every type --- */

/* Columns [column, column + n) of a row against the golden, bits alike; nothing is written behind them. */
static void check_range(const shard_tensor *tensor, const shard_tensor *expected, uint64_t row, uint64_t column,
                        uint64_t n)
{
    static float got[MAX_WIDTH + 1], want[MAX_WIDTH];
    got[n] = 12345.0f;
    shard_tensor_read(tensor, row, column, n, got);
    shard_tensor_read(expected, row, column, n, want);
    assert_memory_equal(got, want, n * sizeof(float));
    assert_true(got[n] == 12345.0f);
}

static void check_tensor(const shard_tensor *tensor, const shard_tensor *expected)
{
    static const uint64_t odd[] = {0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 95, 127, 255, 256, 257, 500, 511, 767};
    size_t n_odd = sizeof odd / sizeof odd[0];
    uint64_t n_rows = tensor->n_dims == 2 ? tensor->shape[0] : 1, width = tensor->shape[tensor->n_dims - 1];
    assert_true(width <= MAX_WIDTH);
    for (uint64_t row = 0; row < n_rows; row++) {
        check_range(tensor, expected, row, 0, width);
        check_range(tensor, expected, row, width, 0);
        for (size_t i = 0; i < n_odd && odd[i] < width; i++)
            for (size_t j = 0; j < n_odd && odd[j] < width - odd[i]; j++)
                check_range(tensor, expected, row, odd[i], odd[j] + 1);
    }
}

static void test_every_type(void **state)
{
    (void)state;
    bool seen[SHARD_OTHER + 1] = {false};
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        gguf_string name;
        shard_tensor tensor;
        gguf_tensor(file, i, &name, &tensor);
        const shard_tensor *expected = expected_of(name);
        if (expected == NULL || tensor.n_dims > 2)
            continue;
        assert_int_equal(tensor.n_dims, expected->n_dims);
        assert_memory_equal(tensor.shape, expected->shape, sizeof tensor.shape);
        check_tensor(&tensor, expected);
        seen[tensor.type] = true;
    }
    for (int type = 0; type < SHARD_SYNTHETIC; type++)
        if (type != SHARD_F8_E4M3 && type != SHARD_F8_E5M2 && !seen[type])
            fail_msg("no golden of type %s", shard_type_name((shard_type)type));
}

/* Every byte as PyTorch reads it. */
static void check_8_bits(shard_type type, const shard_tensor *expected)
{
    uint8_t bytes[256];
    float got[256], want[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (uint8_t)i;
    shard_tensor tensor = {.type = type, .n_dims = 2, .shape = {2, 128}, .data = bytes, .bytes = sizeof bytes};
    shard_tensor_read(&tensor, 0, 0, 128, got);
    shard_tensor_read(&tensor, 1, 0, 128, got + 128);
    shard_tensor_read(expected, 0, 0, 256, want);
    for (int i = 0; i < 256; i++)
        if (isnan(want[i]) ? !isnan(got[i]) : half_bits_of_f32(got[i]) != half_bits_of_f32(want[i]))
            fail_msg("%s of 0x%02x is %g, not %g", shard_type_name(type), i, (double)got[i], (double)want[i]);
}

static void test_8_bits(void **state)
{
    (void)state;
    check_8_bits(SHARD_F8_E4M3, expected_named("f8_e4m3"));
    check_8_bits(SHARD_F8_E5M2, expected_named("f8_e5m2"));
    const uint8_t ends[] = {0x7e, 0x7f, 0xff, 0x80, 0x01};
    float got[5];
    shard_tensor tensor = {.type = SHARD_F8_E4M3, .n_dims = 1, .shape = {5}, .data = ends, .bytes = sizeof ends};
    shard_tensor_read(&tensor, 0, 0, 5, got);
    assert_true(got[0] == 448.0f && isnan(got[1]) && isnan(got[2]) && got[3] == 0.0f && signbit(got[3]) &&
                got[4] == 0x1p-9f);
}

/* The specification's own arithmetic, once by hand, so that a wrong golden is seen too. */
static void test_by_hand(void **state)
{
    (void)state;
    uint8_t block[34] = {0x00, 0x38}; /* f16 0.5 */
    float out[32];
    block[2] = 0x80;  /* -128 */
    block[33] = 0x7f; /* 127 */
    blocks_read(SHARD_Q8_0, block, 1, out);
    assert_true(out[0] == -64.0f && out[1] == 0.0f && out[31] == 63.5f);
    memset(block + 2, 0x88, 16);
    block[3] = 0x2f;
    blocks_read(SHARD_Q4_0, block, 1, out);
    assert_true(out[0] == 0.0f && out[1] == 3.5f && out[17] == -3.0f && out[31] == 0.0f);
}

/* Dimensions, names and sizes of blocks, of ggml-common.h and the safetensors page. */
static void test_type_table(void **state)
{
    (void)state;
    static const struct {
        shard_type type;
        const char *name;
        uint32_t n_elements, n_bytes;
    } rows[] = {
        {SHARD_F64, "F64", 1, 8},       {SHARD_F32, "F32", 1, 4},         {SHARD_F16, "F16", 1, 2},
        {SHARD_BF16, "BF16", 1, 2},     {SHARD_F8_E4M3, "F8_E4M3", 1, 1}, {SHARD_F8_E5M2, "F8_E5M2", 1, 1},
        {SHARD_Q8_0, "Q8_0", 32, 34},   {SHARD_Q4_0, "Q4_0", 32, 18},     {SHARD_Q4_1, "Q4_1", 32, 20},
        {SHARD_Q5_0, "Q5_0", 32, 22},   {SHARD_Q5_1, "Q5_1", 32, 24},     {SHARD_Q2_K, "Q2_K", 256, 84},
        {SHARD_Q3_K, "Q3_K", 256, 110}, {SHARD_Q4_K, "Q4_K", 256, 144},   {SHARD_Q5_K, "Q5_K", 256, 176},
        {SHARD_Q6_K, "Q6_K", 256, 210},
    };
    assert_int_equal(sizeof rows / sizeof rows[0], SHARD_SYNTHETIC);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t n_elements, n_bytes;
        shard_type_block(rows[i].type, &n_elements, &n_bytes);
        assert_int_equal(n_elements, rows[i].n_elements);
        assert_int_equal(n_bytes, rows[i].n_bytes);
        assert_string_equal(shard_type_name(rows[i].type), rows[i].name);
        assert_int_equal(blocks_is_quantised(rows[i].type), rows[i].n_elements > 1);
    }
    assert_false(blocks_is_quantised(SHARD_SYNTHETIC));
    assert_false(blocks_is_quantised(SHARD_OTHER));
}

/* --- safetensors's names of the types --- */

static void check_dtype(const char *dtype, shard_type type, unsigned bytes)
{
    uint8_t file_bytes[160] = {0};
    char *header = (char *)file_bytes + 8;
    int length = snprintf(header, sizeof file_bytes - 8,
                          "{\"t\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%u]}}", dtype, 3 * bytes);
    file_bytes[0] = (uint8_t)length;
    safetensors_entry *entries = NULL;
    size_t n = 0, size = 8 + (size_t)length + 3 * bytes;
    assert_true(size <= sizeof file_bytes);
    assert_int_equal(safetensors_parse("t.safetensors", file_bytes, size, &entries, &n, NULL), BASE_OK);
    assert_int_equal(n, 1);
    assert_int_equal(entries[0].tensor.type, type);
    assert_int_equal(entries[0].tensor.bytes, 3 * bytes);
    safetensors_release(&entries, n);
}

static void test_dtypes(void **state)
{
    (void)state;
    check_dtype("F64", SHARD_F64, 8);
    check_dtype("F32", SHARD_F32, 4);
    check_dtype("F16", SHARD_F16, 2);
    check_dtype("BF16", SHARD_BF16, 2);
    check_dtype("F8_E4M3", SHARD_F8_E4M3, 1);
    check_dtype("F8_E5M2", SHARD_F8_E5M2, 1);
    check_dtype("I64", SHARD_OTHER, 8);
    check_dtype("U16", SHARD_OTHER, 2);
    check_dtype("BOOL", SHARD_OTHER, 1);
}

/* --- groups --- */

/* scale * q is the value, for whole rows and for the last group alone. */
static void check_groups(const char *name, int least, int most)
{
    shard_tensor tensor;
    find_tensor(name, &tensor);
    const shard_tensor *expected = expected_named(name);
    uint64_t width = tensor.shape[1];
    uint16_t scales[4];
    int8_t q[96];
    float want[96];
    for (uint64_t row = 0; row < tensor.shape[0]; row++)
        for (uint64_t column = 0; column < width; column += 32) {
            uint64_t n = width - column;
            shard_tensor_read_groups(&tensor, row, column, n, scales, q);
            shard_tensor_read(expected, row, column, n, want);
            for (uint64_t i = 0; i < n; i++) {
                assert_in_range(q[i] - least, 0, most - least);
                float value = half_from_f16(scales[i / 32]) * (float)q[i];
                assert_memory_equal(&value, &want[i], sizeof value);
            }
        }
}

static void test_groups(void **state)
{
    (void)state;
    check_groups("Q8_0.weight", -128, 127);
    check_groups("Q4_0.weight", -8, 7);
}

/* --- forgetting --- */

static size_t resident_pages(const uint8_t *map, size_t n_pages, size_t page)
{
    size_t n = 0;
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_non_null(f);
    char text[256];
    unsigned long begin = 0, end = 0, kib;
    while (fgets(text, sizeof text, f) != NULL) {
        if (sscanf(text, "%lx-%lx ", &begin, &end) == 2)
            continue;
        if (begin >= (uintptr_t)map && end <= (uintptr_t)map + n_pages * page && sscanf(text, "Rss: %lu kB", &kib) == 1)
            n += kib * 1024 / page;
    }
    fclose(f);
    return n;
}

/* Rows of a mapped file leave memory and come back with the same bytes; neighbours that share a page stay. */
static void test_forget(void **state)
{
    (void)state;
    enum { N_PAGES = 64 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = N_PAGES * page;
    char path[] = "/tmp/palmgrove-forget-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    float *row = malloc(bytes);
    assert_non_null(row);
    for (size_t i = 0; i < bytes / 4; i++)
        row[i] = (float)i;
    assert_int_equal(write(fd, row, bytes), bytes);
    close(fd);
    mapped_file mapped;
    assert_int_equal(mapped_file_open(path, &mapped, NULL), BASE_OK);
    unlink(path);
    /* Rows of half a page from the middle of the first page on. */
    uint64_t width = page / 8;
    shard_tensor tensor = {.type = SHARD_F32,
                           .n_dims = 2,
                           .shape = {N_PAGES * 2 - 1, width},
                           .data = (const uint8_t *)mapped.map + page / 2,
                           .bytes = bytes - page / 2};
    assert_int_equal(madvise(mapped.map, bytes, MADV_RANDOM), 0); /* no fault-around: pages are counted */
    for (uint64_t i = 0; i < tensor.shape[0]; i++)
        shard_tensor_read(&tensor, i, 0, width, row);
    assert_int_equal(resident_pages(mapped.map, N_PAGES, page), N_PAGES);

    shard_tensor_forget(&tensor, 0, 1); /* less than a page */
    assert_int_equal(resident_pages(mapped.map, N_PAGES, page), N_PAGES);
    shard_tensor_forget(&tensor, 2, 20); /* rows 2-21: half of page 1, pages 2-10 whole, half of page 11 */
    assert_int_equal(resident_pages(mapped.map, N_PAGES, page), N_PAGES - 9);
    shard_tensor_read(&tensor, 5, 0, width, row);
    assert_true(row[0] == (float)(page / 8 + 5 * width));
    shard_tensor_forget(&tensor, 0, tensor.shape[0]);
    assert_int_equal(resident_pages(mapped.map, N_PAGES, page), 1);

    shard_tensor none = {.type = SHARD_SYNTHETIC, .n_dims = 2, .shape = {1000, 1000}};
    shard_tensor_forget(&none, 0, 1000);
    mapped_file_close(&mapped);
    free(row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type), cmocka_unit_test(test_8_bits), cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_type_table), cmocka_unit_test(test_dtypes), cmocka_unit_test(test_groups),
        cmocka_unit_test(test_forget),
    };
    return cmocka_run_group_tests_name("blocks", tests, open_goldens, close_goldens);
}
