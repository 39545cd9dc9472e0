#include "coordinator/gateway/address.h"

#include <arpa/inet.h>
#include <string.h>

#include "proto/base/endpoint.h"

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* The host of "tcp://HOST:PORT": localhost, 127.0.0.0/8, or [::1]. */
static bool is_loopback(const char *endpoint)
{
    char host[64] = "";
    const char *start = endpoint + strlen("tcp://"), *colon = strrchr(start, ':');
    size_t length = colon != NULL ? (size_t)(colon - start) : strlen(start);
    if (length == 0 || length >= sizeof host)
        return false;
    memcpy(host, start, length);
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return strcmp(host, "localhost") == 0 || strcmp(host, "lo") == 0 || strcmp(host, "[::1]") == 0 ||
           strcmp(host, "::1") == 0;
}

base_status address_check(const char *endpoint, bool insecure, base_error *error)
{
    bool is_tcp = starts_with(endpoint, "tcp://");
    if (!is_tcp && !starts_with(endpoint, "ipc://") && !starts_with(endpoint, "inproc://"))
        return base_fail(error, BASE_EINVAL, "endpoint '%s' is neither tcp://HOST:PORT nor ipc:///PATH", endpoint);
    if (is_tcp && !insecure && !is_loopback(endpoint))
        return base_fail(
            error, BASE_EINVAL,
            "'%s' can be reached by other machines and nothing authenticates them; use 127.0.0.1, an ipc path, or "
            "--insecure",
            endpoint);
    if (base_endpoint_in_use(endpoint))
        return base_fail(error, BASE_EBUSY, "'%s' is in use; is another server running? choose another path or stop it",
                         endpoint);
    return BASE_OK;
}
