/* fuzz_gguf.c - any bytes as a GGUF file: what is accepted lies inside them, and every value and tensor of it can be
 * read. */
#include <stdlib.h>
#include <string.h>

#include "sharding/formats/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* The bytes are read, so that the address sanitizer sees them. */
static void touch(gguf_string text)
{
    volatile char sink = 0;
    for (size_t i = 0; i < text.size; i++)
        sink = (char)(sink ^ text.bytes[i]);
}

static void touch_array(const gguf_file *file, const char *key)
{
    size_t n = gguf_array_size(file, key);
    const size_t places[] = {0, n / 2, n - 1};
    gguf_string text;
    double number;
    int64_t integer;
    for (size_t i = 0; n > 0 && i < 3; i++) {
        if (gguf_array_string(file, key, places[i], &text))
            touch(text);
        else
            require(gguf_array_f64(file, key, places[i], &number) || gguf_array_i64(file, key, places[i], &integer));
    }
    require(!gguf_array_string(file, key, n, &text) && !gguf_array_f64(file, key, n, &number) &&
            !gguf_array_i64(file, key, n, &integer));
}

static void touch_pairs(const gguf_file *file)
{
    gguf_string name, text;
    char value[80], key[256];
    uint64_t integer;
    double number;
    bool flag;
    for (size_t i = 0; gguf_describe(file, i, &name, value, sizeof value); i++) {
        require(strlen(value) < sizeof value);
        if (name.size >= sizeof key)
            continue;
        memcpy(key, name.bytes, name.size);
        key[name.size] = '\0';
        require(gguf_has(file, key));
        int n_kinds = gguf_get_f64(file, key, &number) + gguf_get_bool(file, key, &flag);
        if (gguf_get_string(file, key, &text)) {
            touch(text);
            n_kinds++;
        }
        if (gguf_get_u64(file, key, &integer))
            require(gguf_get_f64(file, key, &number));
        require(n_kinds <= 1);
        touch_array(file, key);
    }
}

static void touch_tensor(const shard_tensor *tensor, const uint8_t *bytes, size_t size)
{
    const uint8_t *data = tensor->data;
    require(data >= bytes && tensor->bytes > 0 && tensor->bytes <= size && data + tensor->bytes <= bytes + size);
    require(tensor->n_dims >= 1 && tensor->n_dims <= GGUF_MAX_DIMS);
    if (tensor->n_dims > 2 || tensor->type == SHARD_OTHER)
        return;
    float value;
    uint64_t width = tensor->shape[tensor->n_dims - 1];
    shard_tensor_read(tensor, 0, 0, 1, &value);
    shard_tensor_read(tensor, tensor->n_dims == 2 ? tensor->shape[0] - 1 : 0, width - 1, 1, &value);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    gguf_file *file = NULL;
    base_error error = {0};
    if (gguf_open_bytes("fuzz", bytes, size, &file, &error) != BASE_OK) {
        require(file == NULL && error.text[0] != '\0');
        return 0;
    }
    touch_pairs(file);
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        gguf_string name;
        shard_tensor tensor;
        gguf_tensor(file, i, &name, &tensor);
        touch(name);
        touch_tensor(&tensor, bytes, size);
    }
    gguf_close(&file);
    return 0;
}
