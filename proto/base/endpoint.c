#include "proto/base/endpoint.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool base_endpoint_in_use(const char *endpoint)
{
    static const char scheme[] = "ipc://";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strncmp(endpoint, scheme, sizeof scheme - 1) != 0)
        return false;
    const char *path = endpoint + sizeof scheme - 1;
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address.sun_path)
        return false;
    memcpy(address.sun_path, path, length + 1);

    /* Non-blocking: a full backlog (EAGAIN) means that somebody is there. */
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return false;
    bool in_use = connect(probe, (const struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN;
    close(probe);
    return in_use;
}
