#include "tests/gateway/fake_replica.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "tests/gateway/fake_model.h"

static void say_hello(const fake_replica *r, link_end *end, base_buf *message)
{
    link_hello hello = {.protocol = LINK_PROTOCOL,
                        .tp = 2,
                        .pp = r->options.pp,
                        .limits = r->options.limits,
                        .isa = "fake",
                        .n_threads = 1,
                        .weights_bytes_max = 5 << 20,
                        .kv_bytes_max = 2 << 20,
                        .workspace_bytes_max = 1};
    memset(hello.model_digest, 'a', 64);
    base_buf_clear(message);
    link_hello_encode(&hello, message);
    if (link_send(end, message, NULL) != BASE_OK)
        abort();
}

static void run_plan(fake_replica *r, fake_model *model, link_end *end, base_buf *message)
{
    link_plan plan;
    link_result result;
    base_error error;
    if (link_plan_decode(message->data, message->size, &r->options.limits, &plan, &error) != BASE_OK) {
        fprintf(stderr, "fake replica: %s\n", error.text);
        abort();
    }
    if (atomic_load(&r->step_us) > 0)
        base_clock_nap(atomic_load(&r->step_us));
    fake_model_step(model, &plan, &result);
    uint64_t step = plan.step;
    link_plan_release(&plan);
    base_buf_clear(message);
    if (r->options.silent_from != 0 && step >= r->options.silent_from)
        return;
    for (uint32_t i = 0; step == r->options.overflow_at && i < result.n_tokens; i++)
        result.tokens[i].token = LINK_TOKEN_OVERFLOW;
    if (r->options.fail_from != 0 && step >= r->options.fail_from)
        link_failed_encode(BASE_EIO, "rank 1 died", message);
    else
        link_result_encode(&result, message);
    link_send(end, message, NULL); /* a coordinator that has left does not mind */
}

static void *run(void *argument)
{
    fake_replica *r = argument;
    fake_model model;
    base_buf message = {0};
    link_end *end;
    fake_model_init(&model, &r->options.limits, r->options.eos_every);
    if (link_connect(r->zmq, r->link, &end, NULL) != BASE_OK)
        abort();
    base_clock_nap(r->options.hello_delay_ms * 1000);
    say_hello(r, end, &message);
    while (!atomic_load(&r->abandon)) {
        if (link_receive(end, &message, 50, NULL) != BASE_OK)
            continue;
        if (link_message_type(message.data, message.size) == LINK_STOP) {
            atomic_store(&r->was_stopped, true);
            break;
        }
        run_plan(r, &model, end, &message);
    }
    link_close(&end);
    base_buf_release(&message);
    fake_model_release(&model);
    return NULL;
}

void fake_replica_start(fake_replica *r, const fake_replica_options *options, void *zmq, const char *link)
{
    memset(r, 0, sizeof *r);
    r->options = *options;
    r->zmq = zmq;
    r->link = link;
    atomic_store(&r->step_us, options->step_us);
    if (pthread_create(&r->thread, NULL, run, r) != 0)
        abort();
}

void fake_replica_join(fake_replica *r)
{
    pthread_join(r->thread, NULL);
}
