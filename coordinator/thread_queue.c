#include "coordinator/thread_queue.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

thread_message *thread_message_create(message_kind kind, uint64_t number)
{
    thread_message *m = calloc(1, sizeof *m);
    if (m != NULL) {
        m->kind = kind;
        m->number = number;
    }
    return m;
}

void thread_message_destroy(thread_message **m)
{
    if (*m != NULL && !(*m)->is_embedded) {
        base_buf_release(&(*m)->bytes);
        free(*m);
    }
    *m = NULL;
}

base_status thread_queue_init(thread_queue *box, base_error *error)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return base_fail(error, BASE_EIO, "cannot open an eventfd: %s", strerror(errno));
    if (pthread_mutex_init(&box->lock, NULL) != 0) {
        close(fd);
        return base_fail(error, BASE_ENOMEM, "no memory for a mutex");
    }
    box->fd = fd;
    box->first = box->last = NULL;
    return BASE_OK;
}

void thread_queue_release(thread_queue *box)
{
    pthread_mutex_destroy(&box->lock);
    close(box->fd);
}

void thread_queue_push(thread_queue *box, thread_message *m)
{
    m->next = NULL;
    pthread_mutex_lock(&box->lock);
    if (box->first == NULL) {
        box->first = m;
        eventfd_write(box->fd, 1);
    } else {
        box->last->next = m;
    }
    box->last = m;
    pthread_mutex_unlock(&box->lock);
}

thread_message *thread_queue_pop(thread_queue *box)
{
    pthread_mutex_lock(&box->lock);
    thread_message *m = box->first;
    if (m != NULL) {
        box->first = m->next;
        eventfd_t count;
        if (box->first == NULL)
            eventfd_read(box->fd, &count);
    }
    pthread_mutex_unlock(&box->lock);
    return m;
}

thread_message *thread_queue_wait(thread_queue *box)
{
    for (;;) {
        thread_message *m = thread_queue_pop(box);
        if (m != NULL)
            return m;
        struct pollfd item = {.fd = box->fd, .events = POLLIN};
        poll(&item, 1, -1);
    }
}
