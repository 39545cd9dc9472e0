/* fuzz_safetensors.c - any bytes as a safetensors file: what is accepted lies inside them. */
#include <stdlib.h>

#include "sharding/formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    safetensors_entry *entries = NULL;
    size_t n = 0;
    base_error error = {0};
    if (safetensors_parse("fuzz", bytes, size, &entries, &n, &error) != BASE_OK)
        return 0;
    for (size_t i = 0; i < n; i++) {
        const shard_tensor *tensor = &entries[i].tensor;
        const uint8_t *data = tensor->data;
        if (data < bytes || tensor->bytes > size || data + tensor->bytes > bytes + size)
            abort();
        /* One read at either end, seen by the address sanitizer. */
        if (tensor->bytes > 0 && (tensor->n_dims == 1 || tensor->n_dims == 2) && tensor->type != SHARD_OTHER) {
            float value;
            uint64_t width = tensor->shape[tensor->n_dims - 1];
            shard_tensor_read(tensor, 0, 0, 1, &value);
            shard_tensor_read(tensor, tensor->n_dims == 2 ? tensor->shape[0] - 1 : 0, width - 1, 1, &value);
        }
    }
    safetensors_release(&entries, n);
    return 0;
}
