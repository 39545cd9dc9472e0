/* thread_queue.h - how the coordinator's threads communicate: owned messages in queues, and nothing else.
 *
 *     gateway --REQUEST, CANCEL, QUERY--> engine --REPLY, STOP--> gateway
 *     engine --PREPARE, STOP--> intake threads --PREPARED--> engine
 *     any thread --DRAIN--> engine           every thread --STARTED--> coord_start
 *
 * A message belongs to the thread that holds it; a push gives it away.  A queue is a list under a mutex with an eventfd
 * that is readable exactly while the queue is not empty, so a thread waits for messages and sockets in one zmq_poll.
 * (ZeroMQ's own inproc sockets would do too, but the thread sanitizer cannot see pointers handed through them.)  Queues
 * are unbounded: the gateway bounds the requests that are open, and every other message follows from one. */
#ifndef PALMGROVE_COORD_THREAD_QUEUE_H
#define PALMGROVE_COORD_THREAD_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "proto/wire/msg.h"

typedef struct session session;

typedef enum message_kind {
    MESSAGE_REQUEST,  /* session: a Generate that was decoded */
    MESSAGE_PREPARE,  /* session */
    MESSAGE_PREPARED, /* session */
    MESSAGE_CANCEL,   /* number; text: why */
    MESSAGE_QUERY,    /* number, query, request_id, n_malformed, n_refused: Health or Stats */
    MESSAGE_REPLY,    /* number, bytes, is_last */
    MESSAGE_DRAIN,    /* is_last: cancel what runs */
    MESSAGE_LOST,     /* text: how the replica is known to be gone */
    MESSAGE_STOP,     /* the receiving thread ends */
    MESSAGE_STARTED,  /* error: how it went */
} message_kind;

typedef struct thread_message {
    struct thread_message *next; /* private to the queue */
    message_kind kind;
    bool is_embedded; /* part of a larger object: thread_message_destroy leaves it alone */
    bool is_last;
    uint64_t number; /* the request at the gateway (open_requests.h) */
    session *session;
    base_buf bytes;
    wire_request_kind query;
    char request_id[WIRE_REQUEST_ID_BYTES_MAX + 1];
    uint64_t n_malformed, n_refused;
    const char *text; /* static */
    base_error error;
} thread_message;

/* NULL when memory is out. */
thread_message *thread_message_create(message_kind kind, uint64_t number);
/* Free a message and its bytes, not its session.  NULL and embedded ones are fine. */
void thread_message_destroy(thread_message **m);

typedef struct thread_queue {
    pthread_mutex_t lock;
    int fd;
    thread_message *first, *last;
} thread_queue;

/* Errors: BASE_EIO no file descriptor is left, BASE_ENOMEM. */
base_status thread_queue_init(thread_queue *queue, base_error *error);
/* The queue is empty and no longer in use. */
void thread_queue_release(thread_queue *queue);

/* Give a message away.  Any thread; never fails. */
void thread_queue_push(thread_queue *queue, thread_message *m);
/* The oldest message, NULL when there is none. */
thread_message *thread_queue_pop(thread_queue *queue);
/* The oldest message, waiting for one.  Several threads may wait for one queue. */
thread_message *thread_queue_wait(thread_queue *queue);

#endif
