#include "worker/place.h"

#include <stdlib.h>

/* Which ranks share this one's set of CPUs?  If the launcher bound each to its own, only this one. */
static base_status count_sharers(par_world *world, const topo_machine *machine, topo_request *request, base_error *error)
{
    int n = par_world_local_size(world), me = par_world_local_rank(world);
    uint64_t *keys = calloc((size_t)n, sizeof *keys);
    base_status status = keys != NULL ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory to place %d ranks", n);
    status = par_world_agree(world, status, error);
    if (status == BASE_OK) {
        par_world_local_gather(world, topo_machine_allowed_key(machine), keys);
        request->index = request->count = 0;
        for (int i = 0; i < n; i++) {
            request->index += i < me && keys[i] == keys[me];
            request->count += keys[i] == keys[me];
        }
    }
    free(keys);
    return status;
}

base_status worker_place(par_world *world, uint32_t n_threads, bool pin, topo_machine **machine, topo_plan **plan,
                         char remark[TOPO_TEXT_MAX], base_error *error)
{
    base_status status = par_world_agree(world, topo_machine_open(NULL, machine, error), error);
    if (status != BASE_OK)
        return status;
    topo_request request = {.n_threads = n_threads, .smt = TOPO_SMT_CORES};
    status = count_sharers(world, *machine, &request, error);
    if (status != BASE_OK)
        return status;
    status = par_world_agree(world, topo_plan_create(*machine, &request, plan, error), error);
    if (status == BASE_OK)
        topo_plan_apply(*plan, pin, remark);
    return status;
}
