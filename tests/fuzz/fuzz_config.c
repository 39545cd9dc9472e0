/* fuzz_config.c - any bytes as a config.json: an error, or a model whose every dimension is usable. */
#include <stdlib.h>

#include "sharding/arch.h"
#include "sharding/split.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_stack(const arch_stack *stack)
{
    if (stack->d == 0 || stack->h == 0 || stack->kv == 0 || stack->dh == 0 || stack->f == 0 || stack->n_layers == 0 ||
        stack->h % stack->kv != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    arch a;
    base_error error = {0};
    if (arch_parse("fuzz", bytes, size, &a, &error) != BASE_OK)
        return 0;
    check_stack(&a.decoder.stack);
    if (a.has_tower)
        check_stack(&a.tower.stack);
    uint64_t shape[2];
    char name[256];
    for (int role = 0; role < ARCH_N_ROLES; role++)
        if (arch_tensor_shape(&a, ARCH_DECODER, (arch_role)role, shape) > 0 &&
            (!arch_tensor_name(&a, ARCH_DECODER, (arch_role)role, 0, name, sizeof name) || shape[0] == 0 ||
             shape[1] == 0))
            abort();
    uint32_t tp = 0, pp = 0;
    shard_split split;
    if (shard_layout_choose(&a, 6, &tp, &pp, &error) == BASE_OK &&
        shard_split_of(&a, tp, pp, tp - 1, pp - 1, &split, &error) != BASE_OK)
        abort();
    return 0;
}
