/* fake_replica.h - a thread that obeys the link protocol with the arithmetic of fake_model.h, as fast or as badly as a
 * test wants. */
#ifndef PALMGROVE_TESTS_FAKE_REPLICA_H
#define PALMGROVE_TESTS_FAKE_REPLICA_H

#include <pthread.h>
#include <stdatomic.h>

#include "proto/link/link.h"

typedef struct fake_replica_options {
    link_limits limits;
    uint32_t pp;
    uint32_t eos_every; /* fake_model.h */
    uint32_t step_us;   /* a plan takes so long */
    uint32_t hello_delay_ms;
    uint64_t silent_from, fail_from, overflow_at; /* step numbers; 0: never */
} fake_replica_options;

typedef struct fake_replica {
    fake_replica_options options;
    void *zmq;
    const char *link;
    pthread_t thread;
    atomic_bool abandon; /* leave without being told to */
    atomic_bool was_stopped;
    atomic_uint step_us;
} fake_replica;

void fake_replica_start(fake_replica *r, const fake_replica_options *options, void *zmq, const char *link);
/* Wait until it has been told to stop (or was abandoned). */
void fake_replica_join(fake_replica *r);

#endif
