/* test_source.c - safetensors directories: read back what was written, refuse what is hostile or broken. */
#include <fcntl.h>
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
#include "sharding/formats/safetensors.h"
#include "sharding/pack/half.h"
#include "sharding/source.h"
#include "sharding/source_entries.h"

/* --- a directory that goes away again --- */

static char dir[32];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/palmgrove-source-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static void file_path(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", dir, name);
}

static int remove_dir(void **state)
{
    (void)state;
    const char *names[] = {"config.json", "model.safetensors", "model.safetensors.index.json", "a.safetensors",
                           "b.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        file_path(names[i], path);
        unlink(path);
    }
    return rmdir(dir);
}

static void write_file(const char *name, const void *bytes, size_t size)
{
    char path[128];
    file_path(name, path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

static void put_safetensors(base_buf *out, const char *header, const void *data, size_t size)
{
    base_buf_put_u64(out, strlen(header));
    base_buf_put(out, header, strlen(header));
    base_buf_put(out, data, size);
}

static void write_safetensors(const char *name, const char *header, const void *data, size_t size)
{
    base_buf file = {0};
    put_safetensors(&file, header, data, size);
    write_file(name, file.data, file.size);
    base_buf_release(&file);
}

static shard_source *open_source(void)
{
    shard_source *source = NULL;
    base_error error = {0};
    if (shard_source_open(dir, &source, &error) != BASE_OK)
        fail_msg("%s", error.text);
    return source;
}

static void assert_open_fails(base_status status, const char *why)
{
    shard_source *source = NULL;
    base_error error = {0};
    base_status found = shard_source_open(dir, &source, &error);
    assert_null(source);
    if (found != status || strstr(error.text, why) == NULL)
        fail_msg("'%s' is not in '%s' (status %d)", why, error.text, (int)found);
}

/* --- reading --- */

static void elements_are_read_as_f32(void **state)
{
    (void)state;
    uint8_t data[36];
    const float f32[4] = {1.5f, -2.0f, 0.1f, 3e38f};
    const uint16_t bf16[6] = {0x3f80, 0xc000, 0x7f80, 0x0001, 0x4049, 0x8000};
    const uint16_t f16[4] = {0x3c00, 0xfbff, 0x0001, 0x83ff};
    memcpy(data, f32, 16);
    memcpy(data + 16, bf16, 12);
    memcpy(data + 28, f16, 8);
    write_safetensors(
        "model.safetensors",
        "{\"__metadata__\":{\"format\":\"pt\"},\"h\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[28,36]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[3,2],\"data_offsets\":[16,28]},"
        "\"f\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}",
        data, sizeof data);
    shard_source *source = open_source();
    shard_tensor t;
    float out[6];

    assert_int_equal(shard_source_find(source, "f", &t, NULL), BASE_OK);
    assert_int_equal(t.type, SHARD_F32);
    assert_int_equal(t.n_dims, 2);
    shard_tensor_read(&t, 1, 0, 2, out);
    assert_true(out[0] == 0.1f && out[1] == 3e38f);

    assert_int_equal(shard_source_find(source, "b", &t, NULL), BASE_OK);
    shard_tensor_read(&t, 0, 1, 1, out);
    assert_true(out[0] == -2.0f);
    shard_tensor_read(&t, 1, 0, 2, out);
    assert_true(out[0] > 3.4e38f && out[1] == 0x1p-133f);
    shard_tensor_read(&t, 2, 0, 2, out);
    assert_true(half_bits_of_f32(out[0]) == 0x40490000u && half_bits_of_f32(out[1]) == 0x80000000u);

    assert_int_equal(shard_source_find(source, "h", &t, NULL), BASE_OK);
    shard_tensor_read(&t, 0, 0, 4, out);
    assert_true(out[0] == 1.0f && out[1] == -65504.0f && out[2] == 0x1p-24f && out[3] == -1023 * 0x1p-24f);

    base_error error = {0};
    assert_int_equal(shard_source_find(source, "g", &t, &error), BASE_ENOTFOUND);
    assert_non_null(strstr(error.text, "tensor 'g' is missing"));
    shard_source_close(&source);
    assert_null(source);
    shard_source_close(&source);
}

static void every_f16_is_exact(void **state)
{
    (void)state;
    uint16_t all[65536];
    float *out = malloc(65536 * sizeof *out);
    assert_non_null(out);
    for (uint32_t i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    shard_tensor t = {.type = SHARD_F16, .n_dims = 1, .shape = {65536}, .data = all, .bytes = sizeof all};
    shard_tensor_read(&t, 0, 0, 65536, out);
    for (uint32_t i = 0; i < 65536; i++) {
        int exponent = (int)(i >> 10 & 31);
        if (exponent == 31) {
            assert_true((i & 1023) == 0 ? out[i] > 3.4e38f || out[i] < -3.4e38f : out[i] != out[i]);
            continue;
        }
        double fraction = (i & 1023) / 1024.0 + (exponent > 0 ? 1.0 : 0.0);
        for (int e = exponent > 0 ? exponent - 15 : -14; e != 0; e += e < 0 ? 1 : -1)
            fraction *= e < 0 ? 0.5 : 2.0;
        assert_true((double)out[i] == (i >> 15 != 0 ? -fraction : fraction));
    }
    free(out);
}

/* --- hostile headers --- */

static void assert_refused(const char *header, size_t data_bytes, base_status status, const char *why)
{
    uint8_t data[64] = {0};
    base_buf file = {0};
    put_safetensors(&file, header, data, data_bytes);
    safetensors_entry *entries = NULL;
    size_t n = 0;
    base_error error = {0};
    base_status found = safetensors_parse("x.safetensors", file.data, file.size, &entries, &n, &error);
    assert_null(entries);
    if (found != status || strstr(error.text, why) == NULL)
        fail_msg("%s: '%s' is not in '%s' (status %d)", header, why, error.text, (int)found);
    base_buf_release(&file);
}

#define T(name, dtype, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void hostile_headers_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *header;
        size_t data_bytes;
        const char *why;
    } cases[] = {
        {"", 0, "not valid JSON"},
        {"[]", 0, "does not hold a JSON object"},
        {"{\"a\":3}", 0, "'a' is not described by an object"},
        {"{" T("a", "F32", "[1]", "0", "4") "," T("a", "F32", "[1]", "4", "8") "}", 8, "not valid JSON"},
        {"{" T("", "F32", "[1]", "0", "4") "}", 4, "name is empty"},
        {"{" T("a\\nb", "F32", "[1]", "0", "4") "}", 4, "not plain ASCII"},
        {"{" T("a", "F32", "3", "0", "4") "}", 4, "'a' has no shape"},
        {"{" T("a", "F32", "[-1]", "0", "4") "}", 4, "dimension that is not a size"},
        {"{" T("a", "F32", "[1.0]", "0", "4") "}", 4, "dimension that is not a size"},
        {"{" T("a", "F32", "[4294967296,4294967296]", "0", "4") "}", 4, "exceeds 64 bits"},
        {"{" T("a", "F32", "[4611686018427387904]", "0", "0") "}", 0, "exceeds 64 bits"},
        {"{" T("a", "F32", "[1]", "4", "0") "}", 4, "wrong data_offsets"},
        {"{" T("a", "F32", "[1]", "-4", "0") "}", 4, "wrong data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "wrong data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "wrong data_offsets"},
        {"{" T("a", "F32", "[2]", "0", "8") "}", 4, "is cut short: tensor 'a' ends at byte 8 of the data, which has 4"},
        {"{" T("a", "F32", "[2]", "0", "9223372036854775807") "}", 4, "is cut short"},
        {"{" T("a", "F32", "[2]", "0", "4") "}", 4, "'a' needs 8 bytes by its shape but its data_offsets span 4"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[2]", "4", "12") "}", 12, "tensors 'a' and 'b' overlap"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[2]", "0", "8") "}", 8, "overlap"},
        {"{" T("a", "F32", "[1]", "0", "4") "," T("b", "F32", "[1]", "8", "12") "}", 12,
         "4 bytes before tensor 'b' belong to no"},
        {"{" T("a", "F32", "[1]", "0", "4") "}", 9, "5 bytes behind the last tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].header, cases[i].data_bytes, BASE_EFORMAT, cases[i].why);
    assert_refused("{" T("a", "F7", "[1]", "0", "4") "}", 4, BASE_EUNSUPPORTED, "missing or unknown dtype");
    assert_refused("{" T("a", "U8", "[1,1,1,1,1]", "0", "1") "}", 1, BASE_ETOOBIG, "5 dimensions");
}

static void headers_longer_than_the_file_are_refused(void **state)
{
    (void)state;
    const struct {
        uint64_t length;
        base_status status;
    } cases[] = {{10, BASE_EFORMAT}, {100000000, BASE_EFORMAT}, {100000001, BASE_ETOOBIG}, {UINT64_MAX, BASE_ETOOBIG}};
    for (size_t i = 0; i < 4; i++) {
        safetensors_entry *entries = NULL;
        size_t n;
        uint8_t file[10] = {0};
        memcpy(file, &cases[i].length, 8);
        assert_int_equal(safetensors_parse("x", file, sizeof file, &entries, &n, NULL), cases[i].status);
    }
}

static const char two[] =
    "{" T("a", "BF16", "[2,3]", "0", "12") "," T("b", "F32", "[]", "12", "16") "," T("c", "U8", "[0]", "16", "16") "}";

static void cut_and_flipped_files_are_survived(void **state)
{
    (void)state;
    uint8_t data[16] = {1, 2, 3};
    base_buf file = {0};
    safetensors_entry *entries = NULL;
    size_t n;
    put_safetensors(&file, two, data, sizeof data);
    assert_int_equal(safetensors_parse("x", file.data, file.size, &entries, &n, NULL), BASE_OK);
    assert_int_equal(n, 3);
    safetensors_release(&entries, n);
    for (size_t size = 0; size < file.size; size++) {
        uint8_t *copy = malloc(size > 0 ? size : 1);
        assert_non_null(copy);
        memcpy(copy, file.data, size);
        assert_int_equal(safetensors_parse("x", copy, size, &entries, &n, NULL), BASE_EFORMAT);
        free(copy);
    }
    for (size_t bit = 0; bit < file.size * 8; bit++) {
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (safetensors_parse("x", file.data, file.size, &entries, &n, NULL) == BASE_OK) {
            for (size_t i = 0; i < n; i++) /* what was accepted lies inside the file */
                assert_true((const uint8_t *)entries[i].tensor.data + entries[i].tensor.bytes <= file.data + file.size);
            safetensors_release(&entries, n);
        }
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    base_buf_release(&file);
}

/* --- directories --- */

static void missing_and_odd_files_are_named(void **state)
{
    (void)state;
    assert_open_fails(BASE_ENOTFOUND, "neither 'model.safetensors' nor a readable 'model.safetensors.index.json'");
    write_file("model.safetensors", "", 0);
    assert_open_fails(BASE_EFORMAT, "model.safetensors' is empty");
    write_file("model.safetensors", "12345", 5);
    assert_open_fails(BASE_EFORMAT, "has 5 bytes, too few");
    write_safetensors("model.safetensors", "{}", "", 0);
    assert_open_fails(BASE_EFORMAT, "holds no tensors");
    char path[128];
    file_path("model.safetensors", path);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_open_fails(BASE_EIO, "not a regular file"); /* and it did not hang */
}

static const char file_a[] = "{" T("x", "F32", "[1]", "0", "4") "," T("y", "F32", "[1]", "4", "8") "}";
static const char file_b[] = "{" T("z", "F32", "[2]", "0", "8") "}";

static void write_index(const char *text)
{
    write_file("model.safetensors.index.json", text, strlen(text));
}

static void several_files_are_one_source(void **state)
{
    (void)state;
    const float data[2] = {3.0f, 4.0f};
    write_safetensors("a.safetensors", file_a, data, 8);
    write_safetensors("b.safetensors", file_b, data, 8);
    write_index(
        "{\"metadata\":{},\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"a.safetensors\",\"z\":\"b.safetensors\"}}");
    shard_source *source = open_source();
    shard_tensor t;
    float out[2];
    assert_int_equal(shard_source_find(source, "z", &t, NULL), BASE_OK);
    shard_tensor_read(&t, 0, 0, 2, out);
    assert_true(out[0] == 3.0f && out[1] == 4.0f);
    assert_int_equal(shard_source_find(source, "y", &t, NULL), BASE_OK);
    shard_source_close(&source);
}

static void hostile_indexes_are_refused(void **state)
{
    (void)state;
    const float data[2] = {3.0f, 4.0f};
    write_safetensors("a.safetensors", file_a, data, 8);
    write_safetensors("b.safetensors", file_a, data, 8);
    const struct {
        const char *index;
        base_status status;
        const char *why;
    } cases[] = {
        {"{}", BASE_EFORMAT, "no weight_map"},
        {"{\"weight_map\":{\"x\":\"a.safetensors\"", BASE_EFORMAT, "not valid JSON"},
        {"{\"weight_map\":{}}", BASE_EFORMAT, "holds no tensors"},
        {"{\"weight_map\":{\"x\":3}}", BASE_EFORMAT, "plain name of a .safetensors file"},
        {"{\"weight_map\":{\"x\":\"../a.safetensors\"}}", BASE_EFORMAT, "plain name of a .safetensors file"},
        {"{\"weight_map\":{\"x\":\"/etc/a.safetensors\"}}", BASE_EFORMAT, "plain name of a .safetensors file"},
        {"{\"weight_map\":{\"x\":\".safetensors\"}}", BASE_EFORMAT, "plain name of a .safetensors file"},
        {"{\"weight_map\":{\"x\":\".a.safetensors\"}}", BASE_EFORMAT, "plain name of a .safetensors file"},
        {"{\"weight_map\":{\"x\":\"passwd\"}}", BASE_EFORMAT, "plain name of a .safetensors file"},
        {"{\"weight_map\":{\"x\":\"c.safetensors\"}}", BASE_ENOTFOUND, "no file"},
        {"{\"weight_map\":{\"z\":\"a.safetensors\"}}", BASE_EFORMAT, "tensor 'z' is in 'a.safetensors', but it is not"},
        {"{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}", BASE_EFORMAT, "is in both"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_index(cases[i].index);
        assert_open_fails(cases[i].status, cases[i].why);
    }
}

/* --- a whole model --- */

static const arch small = {
    .family = "palm_e",
    .prefix = "language_model.",
    .decoder = {.stack = {.n_layers = 2, .d = 4, .h = 2, .kv = 1, .dh = 2, .f = 3},
                .vocab_size = 5,
                .tied_embeddings = true},
};

/* All tensors of a decoder, but `skipped`; `odd` gets one element more in its first dimension. */
static void write_model(const arch *a, const char *skipped, const char *odd, const char *dtype)
{
    base_buf header = {0};
    uint64_t at = 0;
    base_buf_put(&header, "{", 1);
    for (int role = 0; role < ARCH_N_ROLES; role++)
        for (uint32_t il = 0; il < (arch_role_is_layer((arch_role)role) ? a->decoder.stack.n_layers : 1); il++) {
            char name[256], entry[512];
            uint64_t shape[2];
            if (!arch_tensor_name(a, ARCH_DECODER, (arch_role)role, il, name, sizeof name) ||
                strcmp(name, skipped) == 0)
                continue;
            int n_dims = arch_tensor_shape(a, ARCH_DECODER, (arch_role)role, shape);
            shape[0] += strcmp(name, odd) == 0;
            uint64_t end = at + shape[0] * shape[1] * 2;
            char dims[64];
            snprintf(dims, sizeof dims, n_dims == 2 ? "%llu,%llu" : "%llu", (unsigned long long)shape[0],
                     (unsigned long long)shape[1]);
            int n =
                snprintf(entry, sizeof entry, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}",
                         at > 0 ? "," : "", name, dtype, dims, (unsigned long long)at, (unsigned long long)end);
            base_buf_put(&header, entry, (size_t)n);
            at = end;
        }
    base_buf_put(&header, "}", 2);
    uint8_t *data = calloc(1, at);
    assert_non_null(data);
    write_safetensors("model.safetensors", (const char *)header.data, data, at);
    free(data);
    base_buf_release(&header);
}

static void assert_check(base_status status, const char *why)
{
    shard_source *source = open_source();
    base_error error = {0};
    base_status found = shard_source_check(source, &small, &error);
    if (found != status || strstr(error.text, why) == NULL)
        fail_msg("'%s' is not in '%s' (status %d)", why, error.text, (int)found);
    shard_source_close(&source);
}

static void models_are_checked(void **state)
{
    (void)state;
    write_model(&small, "", "", "BF16");
    assert_check(BASE_OK, "");
    write_model(&small, "language_model.layers.1.attn.o_proj.weight", "", "BF16");
    assert_check(BASE_ENOTFOUND, "tensor 'language_model.layers.1.attn.o_proj.weight' is missing");
    write_model(&small, "", "language_model.layers.0.mlp.up_proj.weight", "F16");
    assert_check(
        BASE_EFORMAT,
        "'language_model.layers.0.mlp.up_proj.weight' has shape [4, 4]; the model's description asks for [3, 4]");
    write_model(&small, "", "language_model.norm.weight", "F16");
    assert_check(BASE_EFORMAT, "'language_model.norm.weight' has shape [5]; the model's description asks for [4]");
    write_model(&small, "", "", "I16");
    assert_check(BASE_EUNSUPPORTED, "not computed with; known: floats of 8 to 64 bits");
}

/* --- tensors that somebody else lists --- */

/* A source of n tensors of these names, or why not. */
static void assert_listed(const char *const *names, size_t n, base_status status, const char *why)
{
    source_entry *entries = calloc(n + 1, sizeof *entries);
    assert_non_null(entries);
    for (size_t i = 0; i < n; i++)
        entries[i].parsed =
            (safetensors_entry){.name = strdup(names[i]), .dtype = "F32", .tensor = {.n_dims = (int)i + 1}};
    shard_source *source = NULL;
    base_error error = {0};
    base_status found = shard_source_from_entries(entries, n, &source, &error);
    if (found != status || strstr(error.text, why) == NULL)
        fail_msg("'%s' is not in '%s' (status %d)", why, error.text, (int)found);
    for (size_t i = 0; i < n && status == BASE_OK; i++) {
        shard_tensor tensor;
        assert_int_equal(shard_source_find(source, names[i], &tensor, &error), BASE_OK);
        assert_int_equal(tensor.n_dims, (int)i + 1);
    }
    shard_source_close(&source);
}

static void lists_are_sources(void **state)
{
    (void)state;
    const char *const names[] = {"b", "a", "c"}, *const twice[] = {"b", "a", "b"}, *const blank[] = {"b", "a b"};
    assert_listed(names, 3, BASE_OK, "");
    assert_listed(names, 0, BASE_EFORMAT, "holds no tensors");
    assert_listed(twice, 3, BASE_EFORMAT, "tensor 'b' is in both");
    assert_listed(blank, 2, BASE_EFORMAT, "not plain ASCII");
}

/* --- the digest --- */

static void digest_of(const char *config, char out[65])
{
    shard_source *source = open_source();
    base_error error = {0};
    if (shard_source_digest(source, config, strlen(config), out, &error) != BASE_OK)
        fail_msg("%s", error.text);
    shard_source_close(&source);
}

/* The same tensors in one file or two, in any order: the same digest; one other bit anywhere: another. */
static void digest_names_the_weights(void **state)
{
    (void)state;
    float data[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    char digest[65], other[65];
    write_safetensors(
        "model.safetensors",
        "{" T("x", "F32", "[1]", "0", "4") "," T("y", "F32", "[1]", "4", "8") "," T("z", "F32", "[2]", "8", "16") "}",
        data, 16);
    digest_of("{}", digest);
    /* Computed by another program (Python's hashlib) from the description in digest.c. */
    assert_string_equal(digest, "7d6cd78d1778eafdf6332e7250cc7f5472cb841bd7b23035f7c6482551252101");

    data[0] = 1.5f;
    write_safetensors(
        "model.safetensors",
        "{" T("x", "F32", "[1]", "0", "4") "," T("y", "F32", "[1]", "4", "8") "," T("z", "F32", "[2]", "8", "16") "}",
        data, 16);
    digest_of("{}", other);
    assert_string_not_equal(digest, other);
    data[0] = 1.0f;

    char path[128];
    file_path("model.safetensors", path);
    unlink(path);
    write_safetensors("a.safetensors", file_a, data, 8);
    write_safetensors("b.safetensors", file_b, data + 2, 8);
    write_index("{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"a.safetensors\",\"z\":\"b.safetensors\"}}");
    digest_of("{}", other);
    assert_string_equal(digest, other);

    digest_of("{ }", other);
    assert_string_not_equal(digest, other);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(elements_are_read_as_f32),
        cmocka_unit_test(every_f16_is_exact),
        cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(headers_longer_than_the_file_are_refused),
        cmocka_unit_test(cut_and_flipped_files_are_survived),
        IN_DIR(missing_and_odd_files_are_named),
        IN_DIR(several_files_are_one_source),
        IN_DIR(hostile_indexes_are_refused),
        IN_DIR(models_are_checked),
        cmocka_unit_test(lists_are_sources),
        IN_DIR(digest_names_the_weights),
    };
    return cmocka_run_group_tests_name("source", tests, NULL, NULL);
}
