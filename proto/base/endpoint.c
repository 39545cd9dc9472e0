#include "proto/base/endpoint.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The socket file of an ipc endpoint; NULL for other transports, and for abstract names ("ipc://@x") and wildcards,
 * which have none that is ours to look at. */
static const char *socket_path(const char *endpoint)
{
    static const char scheme[] = "ipc://";
    if (strncmp(endpoint, scheme, sizeof scheme - 1) != 0)
        return NULL;
    const char *path = endpoint + sizeof scheme - 1;
    return path[0] == '\0' || path[0] == '@' || path[0] == '*' ? NULL : path;
}

bool base_endpoint_in_use(const char *endpoint)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = socket_path(endpoint);
    if (path == NULL || strlen(path) >= sizeof address.sun_path)
        return false;
    memcpy(address.sun_path, path, strlen(path) + 1);

    /* Non-blocking: a full backlog (EAGAIN) means that a process listens. */
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return false;
    bool in_use = connect(probe, (const struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN;
    close(probe);
    return in_use;
}

void base_endpoint_remove(const char *endpoint)
{
    const char *path = socket_path(endpoint);
    if (path != NULL)
        unlink(path);
}
