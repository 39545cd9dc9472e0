/* intake.h - the threads that turn requests into tokens and pixels, so that a large image delays no other request's
 * tokens. */
#ifndef PALMGROVE_COORD_INTAKE_H
#define PALMGROVE_COORD_INTAKE_H

#include <stdatomic.h>

#include "coordinator/thread_queue.h"
#include "coordinator/session/prompt.h"

typedef struct intake intake;

/* Start n threads that pop MESSAGE_PREPARE (and MESSAGE_STOP) from `queue` and push MESSAGE_PREPARED to `engine`.
 * `env` is complete before the first message is pushed, and then never changes.  `payload_bytes` shrinks by what a
 * request's message held.  All are borrowed.  Errors: BASE_ENOMEM, BASE_EIO (a thread cannot be started; none is left
 * running). */
base_status intake_start(uint32_t n_threads, thread_queue *queue, thread_queue *engine, const prompt_env *env,
                         atomic_size_t *payload_bytes, intake **out, base_error *error);

/* Let every thread end after the messages pushed before this call, and wait for that. */
void intake_stop(intake **in);

#endif
