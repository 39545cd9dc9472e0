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

base_status thread_queue_init(thread_queue *queue, base_error *error)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return base_fail(error, BASE_EIO, "cannot open an eventfd: %s", strerror(errno));
    if (pthread_mutex_init(&queue->lock, NULL) != 0) {
        close(fd);
        return base_fail(error, BASE_ENOMEM, "no memory for a mutex");
    }
    queue->fd = fd;
    queue->first = queue->last = NULL;
    return BASE_OK;
}

void thread_queue_release(thread_queue *queue)
{
    pthread_mutex_destroy(&queue->lock);
    close(queue->fd);
}

void thread_queue_push(thread_queue *queue, thread_message *m)
{
    m->next = NULL;
    pthread_mutex_lock(&queue->lock);
    if (queue->first == NULL) {
        queue->first = m;
        eventfd_write(queue->fd, 1);
    } else {
        queue->last->next = m;
    }
    queue->last = m;
    pthread_mutex_unlock(&queue->lock);
}

thread_message *thread_queue_pop(thread_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    thread_message *m = queue->first;
    if (m != NULL) {
        queue->first = m->next;
        eventfd_t count;
        if (queue->first == NULL)
            eventfd_read(queue->fd, &count);
    }
    pthread_mutex_unlock(&queue->lock);
    return m;
}

thread_message *thread_queue_wait(thread_queue *queue)
{
    for (;;) {
        thread_message *m = thread_queue_pop(queue);
        if (m != NULL)
            return m;
        struct pollfd item = {.fd = queue->fd, .events = POLLIN};
        poll(&item, 1, -1);
    }
}
