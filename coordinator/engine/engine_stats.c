/* engine_stats.c - answers to Health and Stats. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/engine/engine_int.h"
#include "proto/base/log.h"
#include "proto/base/quote.h"

static uint64_t resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static wire_stats stats_of(const engine *e, const thread_message *m)
{
    wire_stats stats = e->counts;
    stats.requests_refused += m->n_refused;
    stats.malformed_messages = m->n_malformed;
    stats.resident_bytes = resident_bytes();
    if (e->sched != NULL) {
        sched_stats numbers = sched_stats_of(e->sched);
        stats.queued = numbers.n_waiting;
        stats.running = numbers.n_running;
        stats.kv_blocks_total = numbers.kv_blocks_total;
        stats.kv_blocks_free = numbers.kv_blocks_free;
        stats.kv_blocks_kept = numbers.kv_blocks_cached;
        stats.steps = numbers.steps;
        stats.prefix_requests = numbers.prefix_requests;
        stats.prefix_tokens = numbers.prefix_tokens;
        stats.drafted_tokens = numbers.drafted_tokens;
        stats.accepted_tokens = numbers.accepted_tokens;
        stats.images_reused = numbers.images_reused;
    }
    return stats;
}

void engine_answer_query(engine *e, const thread_message *m)
{
    static const char *const names[] = {[ENGINE_STARTING] = "starting",
                                        [ENGINE_READY] = "ready",
                                        [ENGINE_DRAINING] = "draining",
                                        [ENGINE_FAILED] = "failed"};
    wire_reply reply = {.version = WIRE_VERSION};
    base_buf bytes = {0};
    memcpy(reply.request_id, m->request_id, sizeof reply.request_id);
    if (m->query == WIRE_REQUEST_HEALTH) {
        reply.kind = WIRE_REPLY_HEALTH;
        reply.health = (wire_health){.state = names[e->state],
                                     .build = PALMGROVE_VERSION,
                                     .model = e->parts.model,
                                     .layout = e->layout,
                                     .uptime_s = (double)(engine_now_us(e) - e->started_us) / 1e6};
    } else {
        reply.kind = WIRE_REPLY_STATS;
        reply.stats = stats_of(e, m);
    }
    if (wire_reply_encode(&reply, &bytes, NULL) != BASE_OK)
        bytes.failed = true;
    if (!engine_push_reply(e, m->number, &bytes, true))
        base_log_error("query %s cannot be answered: out of memory", base_quote(m->request_id).text);
}
