/* mail.h - how the coordinator's threads talk: owned messages in mailboxes, and nothing else.
 *
 *     gateway --REQUEST, CANCEL, QUERY--> engine --REPLY, END--> gateway
 *     engine --PREPARE, STOP--> intake threads --PREPARED--> engine
 *     any thread --DRAIN--> engine           every thread --STARTED--> coord_start
 *
 * A mail belongs to whoever holds it; pushing gives it away.  A mailbox is a list under a mutex with an eventfd that is
 * readable exactly while the box is not empty, so a thread waits for mail and sockets in one zmq_poll.  (ZeroMQ's own
 * inproc sockets would do too, but pointers handed through them are invisible to the thread sanitizer.)  Boxes have no
 * limit of their own: the gateway bounds the requests that are open, and everything else is a consequence of one. */
#ifndef PALMGROVE_COORD_MAIL_H
#define PALMGROVE_COORD_MAIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "proto/wire/msg.h"

typedef struct session session;

typedef enum mail_kind {
    MAIL_REQUEST,  /* session: a Generate that was decoded */
    MAIL_PREPARE,  /* session */
    MAIL_PREPARED, /* session */
    MAIL_CANCEL,   /* number; text: why */
    MAIL_QUERY,    /* number, query, request_id, n_malformed, n_refused: Health or Stats */
    MAIL_REPLY,    /* number, bytes, is_last */
    MAIL_DRAIN,    /* is_last: cancel what runs */
    MAIL_STOP,     /* the receiving thread ends */
    MAIL_STARTED,  /* error: how it went */
} mail_kind;

typedef struct mail {
    struct mail *next; /* private to the box */
    mail_kind kind;
    bool is_embedded; /* part of a larger object: mail_destroy leaves it alone */
    bool is_last;
    uint64_t number; /* the request at the gateway (clients.h) */
    session *session;
    base_buf bytes;
    wire_request_kind query;
    char request_id[WIRE_REQUEST_ID_BYTES_MAX + 1];
    uint64_t n_malformed, n_refused;
    const char *text; /* static */
    base_error error;
} mail;

/* NULL when memory is out. */
mail *mail_create(mail_kind kind, uint64_t number);
/* Free a mail and its bytes, not its session.  NULL and embedded ones are fine. */
void mail_destroy(mail **m);

typedef struct mailbox {
    pthread_mutex_t lock;
    int fd;
    mail *first, *last;
} mailbox;

/* Errors: BASE_EIO no file descriptor is left, BASE_ENOMEM. */
base_status mailbox_init(mailbox *box, base_error *error);
/* The box is empty and nobody uses it any more. */
void mailbox_release(mailbox *box);

/* Give a mail away.  Any thread; never fails. */
void mailbox_push(mailbox *box, mail *m);
/* The oldest mail, NULL when there is none. */
mail *mailbox_take(mailbox *box);
/* The oldest mail, waiting for one.  Several threads may wait at one box. */
mail *mailbox_wait(mailbox *box);

#endif
