/* test_gguf.c - GGUF files: what gguf-py writes is read back, and each rule of the header refuses the file that breaks
 * it alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "sharding/formats/gguf.h"

#define GOLDEN PALMGROVE_SOURCE_DIR "/tests/golden/gguf/all_types.gguf"

/* The format's numbers, written out here so that the test does not share a mistake with the code. */
enum { U8 = 0, U32 = 4, BOOL = 7, STRING = 8, ARRAY = 9, U64 = 10, F64 = 12 };
enum { T_F32 = 0, T_Q8_0 = 8, T_IQ4_XS = 23, T_I32 = 26 };

/* --- a file being built --- */

static void put_string(base_buf *out, const char *text)
{
    base_buf_put_u64(out, strlen(text));
    base_buf_put(out, text, strlen(text));
}

static void put_start(base_buf *out, uint32_t version, uint64_t n_tensors, uint64_t n_pairs)
{
    base_buf_put(out, "GGUF", 4);
    base_buf_put_u32(out, version);
    base_buf_put_u64(out, n_tensors);
    base_buf_put_u64(out, n_pairs);
}

static void put_key(base_buf *out, const char *key, uint32_t kind)
{
    put_string(out, key);
    base_buf_put_u32(out, kind);
}

static void put_u32_pair(base_buf *out, const char *key, uint32_t value)
{
    put_key(out, key, U32);
    base_buf_put_u32(out, value);
}

static void put_array(base_buf *out, const char *key, uint32_t kind, uint64_t n)
{
    put_key(out, key, ARRAY);
    base_buf_put_u32(out, kind);
    base_buf_put_u64(out, n);
}

static void put_info(base_buf *out, const char *name, uint64_t rows, uint64_t columns, uint32_t type, uint64_t offset)
{
    put_string(out, name);
    base_buf_put_u32(out, 2);
    base_buf_put_u64(out, columns); /* ne[0] is the fastest */
    base_buf_put_u64(out, rows);
    base_buf_put_u32(out, type);
    base_buf_put_u64(out, offset);
}

/* Padding to 32, then `n` bytes of data. */
static void put_data(base_buf *out, size_t n)
{
    while (out->size % 32 != 0)
        base_buf_put_u8(out, 0);
    for (size_t i = 0; i < n; i++)
        base_buf_put_u8(out, (uint8_t)i);
}

/* Open the bytes in memory of exactly their size, so that a sanitizer sees a read past the end; the buffer is emptied.
 */
static void *held; /* of the file that is open */
static base_status open_buf(base_buf *bytes, gguf_file **out, base_error *error)
{
    assert_false(bytes->failed);
    size_t size = bytes->size;
    held = malloc(size > 0 ? size : 1);
    assert_non_null(held);
    if (size > 0)
        memcpy(held, bytes->data, size);
    base_buf_release(bytes);
    base_status status = gguf_open_bytes("model.gguf", held, size, out, error);
    if (status != BASE_OK)
        free(held);
    return status;
}

static void close_buf(gguf_file **file)
{
    gguf_close(file);
    free(held);
}

/* The bytes are refused with this status, and the error names the file and `words`. */
static void refuse(base_buf *bytes, base_status expected, const char *words)
{
    gguf_file *file = NULL;
    base_error error = {0};
    base_status status = open_buf(bytes, &file, &error);
    if (status != expected || strstr(error.text, words) == NULL || strstr(error.text, "model.gguf") == NULL)
        fail_msg("status %d (expected %d), text \"%s\" (expected \"%s\")", status, expected, error.text, words);
    assert_null(file);
}

/* --- what gguf-py wrote --- */

static void check_integers(const gguf_file *file)
{
    static const struct {
        const char *key;
        bool fits;
        uint64_t value;
        double number;
    } rows[] = {
        {"int.u8", true, 255, 255},
        {"int.i8", false, 0, -128},
        {"int.u16", true, 65535, 65535},
        {"int.i16", false, 0, -32768},
        {"int.u32", true, UINT32_MAX, 4294967295.0},
        {"int.i32", false, 0, -2147483648.0},
        {"int.u64", true, UINT64_MAX, 18446744073709551616.0},
        {"int.i64", false, 0, -9223372036854775808.0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t value = 0;
        double number = 0.0;
        assert_int_equal(gguf_get_u64(file, rows[i].key, &value), rows[i].fits);
        assert_true(value == rows[i].value);
        assert_true(gguf_get_f64(file, rows[i].key, &number) && number == rows[i].number);
    }
}

static void check_arrays(const gguf_file *file)
{
    static const char *const words[] = {"", "a", "\u2581the", "<0x0A>", "\U0001f9ec"};
    gguf_string text;
    double number;
    int64_t integer;
    assert_int_equal(gguf_array_size(file, "words"), 5);
    for (size_t i = 5; i-- > 0;) {
        assert_true(gguf_array_string(file, "words", i, &text));
        assert_int_equal(text.size, strlen(words[i]));
        assert_memory_equal(text.bytes, words[i], text.size);
    }
    assert_false(gguf_array_string(file, "words", 5, &text));
    assert_false(gguf_array_i64(file, "words", 0, &integer));
    assert_true(gguf_array_f64(file, "scores", 1, &number) && number == -1.25);
    assert_false(gguf_array_f64(file, "scores", 3, &number));
    assert_false(gguf_array_i64(file, "scores", 0, &integer));
    assert_true(gguf_array_i64(file, "types", 1, &integer) && integer == -2);
    assert_true(gguf_array_f64(file, "types", 1, &number) && number == -2.0);
    assert_true(gguf_array_i64(file, "flags", 0, &integer) && integer == 1);
    assert_true(gguf_array_i64(file, "flags", 1, &integer) && integer == 0);
    assert_int_equal(gguf_array_size(file, "missing"), 0);
    assert_int_equal(gguf_array_size(file, "int.u8"), 0);
}

static void test_metadata(void **state)
{
    (void)state;
    gguf_file *file = NULL;
    base_error error = {0};
    if (gguf_open(GOLDEN, &file, &error) != BASE_OK)
        fail_msg("%s", error.text);
    check_integers(file);
    check_arrays(file);
    double number;
    bool flag = false;
    gguf_string text;
    uint64_t value;
    assert_true(gguf_get_f64(file, "float.f32", &number) && number == (double)1e-6f);
    assert_true(gguf_get_f64(file, "float.f64", &number) && number == 0.1);
    assert_true(gguf_get_bool(file, "flag", &flag) && flag);
    assert_true(gguf_get_string(file, "general.architecture", &text) && text.size == 4);
    assert_memory_equal(text.bytes, "test", 4);
    /* Another kind, a part of a key, nothing. */
    assert_false(gguf_get_u64(file, "float.f64", &value));
    assert_false(gguf_get_u64(file, "flag", &value));
    assert_false(gguf_get_u64(file, "types", &value));
    assert_false(gguf_get_bool(file, "int.u8", &flag));
    assert_false(gguf_get_f64(file, "text", &number));
    assert_false(gguf_get_string(file, "words", &text));
    assert_true(gguf_has(file, "words"));
    assert_false(gguf_has(file, "word"));
    assert_false(gguf_has(file, ""));
    gguf_close(&file);
    assert_null(file);
}

static void test_describe(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
    } rows[] = {
        {"general.architecture", "\"test\""},
        {"general.alignment", "64"},
        {"int.u8", "255"},
        {"int.i8", "-128"},
        {"int.u16", "65535"},
        {"int.i16", "-32768"},
        {"int.u32", "4294967295"},
        {"int.i32", "-2147483648"},
        {"int.u64", "18446744073709551615"},
        {"int.i64", "-9223372036854775808"},
        {"float.f32", "1e-06"},
        {"float.f64", "0.1"},
        {"flag", "true"},
        {"text", "\"two\\nlines, Stra\u00dfe, \u6771\u4eac, \U0001f9ec\""},
        {"words", "array of 5 string"},
        {"scores", "array of 3 f32"},
        {"types", "array of 3 i32"},
        {"flags", "array of 3 bool"},
    };
    gguf_file *file = NULL;
    assert_int_equal(gguf_open(GOLDEN, &file, NULL), BASE_OK);
    gguf_string key;
    char value[128];
    size_t n = sizeof rows / sizeof rows[0];
    for (size_t i = 0; i < n; i++) {
        assert_true(gguf_describe(file, i, &key, value, sizeof value));
        assert_int_equal(key.size, strlen(rows[i].key));
        assert_memory_equal(key.bytes, rows[i].key, key.size);
        assert_string_equal(value, rows[i].value);
    }
    assert_false(gguf_describe(file, n, &key, value, sizeof value));
    /* Cut between characters, whatever the room. */
    for (size_t size = 1; size < 60; size++) {
        memset(value, '#', sizeof value);
        assert_true(gguf_describe(file, 13, &key, value, size));
        assert_true(strlen(value) < size);
        assert_true(value[size] == '#');
    }
    assert_true(gguf_describe(file, 13, &key, value, 33));
    assert_string_equal(value, "\"two\\nlines, Stra\u00dfe, \u6771...\"");
    gguf_close(&file);
}

/* What a terminal would obey, or cannot show, is written out. */
static void test_describe_foreign_bytes(void **state)
{
    (void)state;
    base_buf b = {0};
    put_start(&b, 3, 0, 2);
    put_key(&b, "controls", STRING);
    put_string(&b, "\x1b[2J\x7f\xc2\x9b\t\xc3\xa9");
    put_key(&b, "bytes", STRING);
    put_string(&b, "\xff\xc3\xa9z");
    gguf_file *file = NULL;
    assert_int_equal(open_buf(&b, &file, NULL), BASE_OK);
    gguf_string key;
    char value[64];
    assert_true(gguf_describe(file, 0, &key, value, sizeof value));
    assert_string_equal(value, "\"\\x1b[2J\\x7f\\xc2\\x9b\\x09\xc3\xa9\"");
    assert_true(gguf_describe(file, 1, &key, value, sizeof value));
    assert_string_equal(value, "\"\\xff\\xc3\\xa9z\"");
    close_buf(&file);
}

static void find_tensor(const gguf_file *file, const char *wanted, shard_tensor *out)
{
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        gguf_string name;
        gguf_tensor(file, i, &name, out);
        if (name.size == strlen(wanted) && memcmp(name.bytes, wanted, name.size) == 0)
            return;
    }
    fail_msg("no tensor '%s'", wanted);
}

static void test_tensors(void **state)
{
    (void)state;
    gguf_file *file = NULL;
    assert_int_equal(gguf_open(GOLDEN, &file, NULL), BASE_OK);
    assert_int_equal(gguf_n_tensors(file), 17);
    shard_tensor tensor;
    gguf_string name;
    gguf_tensor(file, 0, &name, &tensor);
    assert_int_equal(name.size, strlen("Q8_0.weight"));
    assert_memory_equal(name.bytes, "Q8_0.weight", name.size);
    assert_int_equal(tensor.bytes, 3 * 3 * 34);
    find_tensor(file, "F32.weight", &tensor);
    assert_true(tensor.type == SHARD_F32 && tensor.n_dims == 2 && tensor.shape[0] == 3 && tensor.shape[1] == 7);
    find_tensor(file, "vector", &tensor);
    assert_true(tensor.n_dims == 1 && tensor.shape[0] == 7 && tensor.bytes == 28);
    find_tensor(file, "cube", &tensor);
    assert_true(tensor.n_dims == 3 && tensor.shape[0] == 2 && tensor.shape[1] == 3 && tensor.shape[2] == 4);
    float first_and_last[2];
    memcpy(&first_and_last[0], tensor.data, 4);
    memcpy(&first_and_last[1], (const char *)tensor.data + 23 * 4, 4);
    assert_true(first_and_last[0] == 0.0f && first_and_last[1] == 23.0f);
    find_tensor(file, "integers", &tensor);
    assert_true(tensor.type == SHARD_OTHER && tensor.bytes == 20);

    const void *bytes;
    size_t size;
    gguf_metadata(file, &bytes, &size);
    assert_memory_equal(bytes, "GGUF", 4);
    /* The first info follows: the length of its name, the name. */
    assert_memory_equal((const char *)bytes + size, "\x0b\0\0\0\0\0\0\0Q8_0.weight", 19);
    gguf_close(&file);
}

/* --- what is accepted --- */

/* A good file: alignment 32, one Q8_0 matrix, one f32 matrix behind it. */
static void put_good(base_buf *b, uint32_t version)
{
    put_start(b, version, 2, 1);
    put_u32_pair(b, "a.b", 7);
    put_info(b, "blk.0.q", 2, 32, T_Q8_0, 0);
    put_info(b, "blk.0.f", 1, 3, T_F32, 96);
    put_data(b, 96 + 12);
}

static void test_versions(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        base_buf b = {0};
        put_good(&b, version);
        gguf_file *file = NULL;
        uint64_t value;
        assert_int_equal(open_buf(&b, &file, NULL), BASE_OK);
        assert_int_equal(gguf_n_tensors(file), 2);
        assert_true(gguf_get_u64(file, "a.b", &value) && value == 7);
        close_buf(&file);
    }
    for (uint32_t version = 0; version < 6; version += version == 1 ? 3 : 1) {
        base_buf b = {0};
        put_good(&b, version);
        refuse(&b, BASE_EUNSUPPORTED, "version");
    }
    base_buf b = {0};
    put_good(&b, 0x03000000);
    refuse(&b, BASE_EUNSUPPORTED, "big-endian");
}

/* A vocabulary alone; arrays without elements; values at the very end of the file. */
static void test_no_tensors(void **state)
{
    (void)state;
    base_buf b = {0};
    put_start(&b, 3, 0, 3);
    put_array(&b, "none", STRING, 0);
    put_array(&b, "nothing", F64, 0);
    put_array(&b, "last", STRING, 2);
    put_string(&b, "x");
    put_string(&b, "");
    gguf_file *file = NULL;
    gguf_string text;
    base_error error = {0};
    if (open_buf(&b, &file, &error) != BASE_OK)
        fail_msg("%s", error.text);
    assert_true(gguf_has(file, "none"));
    assert_int_equal(gguf_array_size(file, "none"), 0);
    assert_false(gguf_array_string(file, "none", 0, &text));
    assert_true(gguf_array_string(file, "last", 1, &text) && text.size == 0);
    assert_int_equal(gguf_n_tensors(file), 0);
    close_buf(&file);
}

/* --- what is refused: one rule at a time --- */

static void test_every_cut(void **state)
{
    (void)state;
    base_buf whole = {0};
    put_good(&whole, 3);
    for (size_t size = 0; size < whole.size; size++) {
        base_buf b = {0};
        gguf_file *file = NULL;
        base_error error = {0};
        base_buf_put(&b, whole.data, size);
        assert_int_equal(open_buf(&b, &file, &error), BASE_EFORMAT);
        assert_non_null(strstr(error.text, "model.gguf"));
    }
    base_buf_release(&whole);
}

static void test_start(void **state)
{
    (void)state;
    base_buf b = {0};
    base_buf_put(&b, "GGML\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    refuse(&b, BASE_EFORMAT, "not a GGUF file");
    /* Counts that the bytes cannot hold, up to those whose product wraps. */
    static const uint64_t counts[] = {3, 1000, UINT32_MAX, UINT64_MAX / 33 + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        put_start(&b, 3, counts[i], 0);
        refuse(&b, BASE_EFORMAT, "tensors");
        put_start(&b, 3, 0, counts[i]);
        refuse(&b, BASE_EFORMAT, "metadata keys");
    }
}

/* More items than any model has, although the bytes are there. */
static void test_too_many(void **state)
{
    (void)state;
    base_buf b = {0};
    put_start(&b, 3, 0, (1u << 20) + 1);
    assert_true(base_buf_reserve(&b, ((1u << 20) + 1) * (size_t)14));
    put_data(&b, ((1u << 20) + 1) * (size_t)14);
    refuse(&b, BASE_ETOOBIG, "1048577 metadata keys");
}

static void test_keys(void **state)
{
    (void)state;
    base_buf b = {0};
    static const char *const wrong[] = {"", "with blank", "new\nline", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put_start(&b, 3, 0, 1);
        put_u32_pair(&b, wrong[i], 1);
        put_data(&b, 64);
        refuse(&b, BASE_EFORMAT, "metadata key 0");
    }
    put_start(&b, 3, 0, 2);
    put_u32_pair(&b, "same", 1);
    put_key(&b, "same", U8);
    base_buf_put_u8(&b, 2);
    refuse(&b, BASE_EFORMAT, "'same' is there twice");
    put_start(&b, 3, 0, 1);
    base_buf_put_u64(&b, UINT64_MAX); /* the length of the key */
    put_data(&b, 64);
    refuse(&b, BASE_EFORMAT, "metadata key 0");
    char *long_key = calloc(1, 65537);
    assert_non_null(long_key);
    memset(long_key, 'k', 65536);
    put_start(&b, 3, 0, 1);
    put_u32_pair(&b, long_key, 1);
    refuse(&b, BASE_EFORMAT, "too long");
    long_key[65535] = '\0'; /* the longest that is allowed */
    put_start(&b, 3, 0, 1);
    put_key(&b, long_key, BOOL);
    base_buf_put_u8(&b, 9);
    refuse(&b, BASE_EFORMAT, "boolean");
    free(long_key);
}

static void test_values(void **state)
{
    (void)state;
    base_buf b = {0};
    put_start(&b, 3, 0, 1);
    put_key(&b, "odd", 13);
    put_data(&b, 64);
    refuse(&b, BASE_EFORMAT, "'odd' has the unknown value type 13");
    put_start(&b, 3, 0, 1);
    put_array(&b, "odd", 13, 1);
    put_data(&b, 64);
    refuse(&b, BASE_EFORMAT, "'odd' has the unknown value type 13");
    put_start(&b, 3, 0, 1);
    put_array(&b, "nested", ARRAY, 1);
    put_data(&b, 64);
    refuse(&b, BASE_EFORMAT, "'nested' is an array of arrays");
    put_start(&b, 3, 0, 1);
    put_key(&b, "flag", BOOL);
    base_buf_put_u8(&b, 2);
    refuse(&b, BASE_EFORMAT, "'flag' has a boolean");
    put_start(&b, 3, 0, 1);
    put_array(&b, "flags", BOOL, 2);
    base_buf_put(&b, "\1\2", 2);
    refuse(&b, BASE_EFORMAT, "'flags' has a boolean");
    put_start(&b, 3, 0, 1);
    put_key(&b, "text", STRING);
    base_buf_put_u64(&b, 65);
    put_data(&b, 32);
    refuse(&b, BASE_EFORMAT, "'text' has a string");
}

static void test_array_lengths(void **state)
{
    (void)state;
    base_buf b = {0};
    static const uint64_t lengths[] = {9, UINT64_MAX / 8 + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        put_start(&b, 3, 0, 1);
        put_array(&b, "many", STRING, lengths[i]);
        base_buf_put(&b, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
        refuse(&b, BASE_EFORMAT, "'many'");
        put_start(&b, 3, 0, 1);
        put_array(&b, "many", U64, lengths[i]);
        base_buf_put(&b, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
        refuse(&b, BASE_EFORMAT, "'many'");
    }
    /* The count fits, the second string does not. */
    put_start(&b, 3, 0, 1);
    put_array(&b, "many", STRING, 2);
    put_string(&b, "good");
    base_buf_put_u64(&b, 1);
    refuse(&b, BASE_EFORMAT, "'many' has a string that runs past the end");
    /* The file ends inside the length of the last string: not an empty string (found by fuzzing). */
    for (size_t left = 0; left < 8; left++) {
        put_start(&b, 3, 0, 1);
        put_array(&b, "many", STRING, 2);
        put_string(&b, "12345678");
        base_buf_put(&b, "\0\0\0\0\0\0\0", left);
        refuse(&b, BASE_EFORMAT, "'many' has a string that runs past the end");
    }
}

static void test_alignment(void **state)
{
    (void)state;
    base_buf b = {0};
    static const uint32_t wrong[] = {0, 3, 48, UINT32_MAX, 1u << 31};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put_start(&b, 3, 0, 1);
        put_u32_pair(&b, "general.alignment", wrong[i]);
        refuse(&b, BASE_EFORMAT, "general.alignment");
    }
    put_start(&b, 3, 0, 1);
    put_key(&b, "general.alignment", STRING);
    put_string(&b, "32");
    refuse(&b, BASE_EFORMAT, "general.alignment");
    put_start(&b, 3, 1, 1);
    put_u32_pair(&b, "general.alignment", 128);
    put_info(&b, "t", 1, 1, T_F32, 32);
    put_data(&b, 512);
    refuse(&b, BASE_EFORMAT, "tensor 't' has offset 32, not a multiple of 128");
}

static void test_names(void **state)
{
    (void)state;
    base_buf b = {0};
    char long_name[257];
    memset(long_name, 'n', 256);
    long_name[256] = '\0';
    const char *const wrong[] = {"", "with blank", "esc\x1b", long_name};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put_start(&b, 3, 1, 0);
        put_info(&b, wrong[i], 1, 1, T_F32, 0);
        put_data(&b, 64);
        refuse(&b, BASE_EFORMAT, "the name of tensor 0");
    }
    put_start(&b, 3, 2, 0);
    put_info(&b, "same", 1, 1, T_F32, 0);
    put_info(&b, "same", 1, 1, T_F32, 32);
    put_data(&b, 64);
    refuse(&b, BASE_EFORMAT, "tensor 'same' is there twice");
}

static void put_dims(base_buf *b, const char *name, uint32_t n_dims, const uint64_t *ne, uint32_t type)
{
    put_start(b, 3, 1, 0);
    put_string(b, name);
    base_buf_put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims && i < 8; i++)
        base_buf_put_u64(b, ne[i]);
    base_buf_put_u32(b, type);
    base_buf_put_u64(b, 0);
    put_data(b, 256);
}

static void test_shapes(void **state)
{
    (void)state;
    base_buf b = {0};
    static const uint64_t ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    static const uint32_t wrong[] = {0, 5, 8, UINT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put_dims(&b, "t", wrong[i], ones, T_F32);
        refuse(&b, BASE_EFORMAT, "tensor 't' has");
    }
    static const uint64_t zero[2] = {4, 0};
    put_dims(&b, "t", 2, zero, T_F32);
    refuse(&b, BASE_EFORMAT, "tensor 't' has a dimension of 0");
    /* 2^64 elements, which wraps to none; 2^62 elements of four bytes, which wraps as well. */
    static const uint64_t square[2] = {UINT64_C(1) << 32, UINT64_C(1) << 32};
    put_dims(&b, "t", 2, square, T_F32);
    refuse(&b, BASE_EFORMAT, "tensor 't' has a shape whose size");
    static const uint64_t line[1] = {UINT64_C(1) << 62};
    put_dims(&b, "t", 1, line, T_F32);
    refuse(&b, BASE_EFORMAT, "tensor 't' has a shape whose size");
    static const uint64_t part[2] = {48, 2};
    put_dims(&b, "t", 2, part, T_Q8_0);
    refuse(&b, BASE_EFORMAT, "tensor 't' has rows of 48 elements, not a multiple of Q8_0's 32");
}

static void test_types(void **state)
{
    (void)state;
    base_buf b = {0};
    static const uint64_t ne[1] = {256};
    put_dims(&b, "t", 1, ne, T_IQ4_XS);
    refuse(&b, BASE_EUNSUPPORTED, "tensor 't' has type IQ4_XS");
    static const uint32_t unknown[] = {4, 5, 31, 36, 42, UINT32_MAX};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        put_dims(&b, "t", 1, ne, unknown[i]);
        refuse(&b, BASE_EUNSUPPORTED, "tensor 't' has the unknown type number");
    }
}

static void test_places(void **state)
{
    (void)state;
    base_buf b = {0};
    static const struct {
        uint64_t offset;
        const char *words;
    } rows[] = {
        {17, "tensor 't' has offset 17"},
        {96, "cut short: tensor 't'"}, /* begins in the data and ends behind it */
        {128, "cut short: tensor 't'"},
        {UINT64_MAX - 31, "cut short: tensor 't'"}, /* offset + bytes wraps */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put_start(&b, 3, 1, 0);
        put_info(&b, "t", 4, 4, T_F32, rows[i].offset);
        put_data(&b, 128);
        refuse(&b, BASE_EFORMAT, rows[i].words);
    }
    put_start(&b, 3, 2, 0);
    put_info(&b, "second", 1, 8, T_F32, 32);
    put_info(&b, "first", 1, 9, T_F32, 0); /* four bytes into the other */
    put_data(&b, 64);
    refuse(&b, BASE_EFORMAT, "tensors 'first' and 'second' overlap");
    put_start(&b, 3, 2, 0);
    put_info(&b, "one", 1, 8, T_F32, 32);
    put_info(&b, "two", 1, 1, T_I32, 32);
    put_data(&b, 64);
    refuse(&b, BASE_EFORMAT, "overlap");
}

/* --- the file itself --- */

static void test_files(void **state)
{
    (void)state;
    gguf_file *file = NULL;
    base_error error = {0};
    assert_int_equal(gguf_open("/nonexistent/model.gguf", &file, &error), BASE_ENOTFOUND);
    assert_non_null(strstr(error.text, "/nonexistent/model.gguf"));
    assert_int_equal(gguf_open("/tmp", &file, &error), BASE_EIO);
    assert_non_null(strstr(error.text, "not a regular file"));
    char path[] = "/tmp/palmgrove-gguf-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(gguf_open(path, &file, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "is empty"));
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not wait for a writer */
    assert_int_equal(gguf_open(path, &file, &error), BASE_EIO);
    unlink(path);
    assert_null(file);
    gguf_close(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_describe_foreign_bytes),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_no_tensors),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_array_lengths),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
