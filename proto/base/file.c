#include "proto/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/write.h"

enum { PATH_BYTES_MAX = 4096 };

static base_status read_all(int fd, const char *path, size_t size, base_buf *out, base_error *error)
{
    if (!base_buf_reserve(out, size))
        return base_fail(error, BASE_ENOMEM, "no memory for the %zu bytes of '%.256s'", size, path);
    while (size > 0) {
        ssize_t n = read(fd, out->data + out->size, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return base_fail(error, BASE_EIO, "cannot read '%.256s': %s", path, strerror(errno));
        if (n == 0)
            return base_fail(error, BASE_EIO, "'%.256s' became shorter while it was read", path);
        out->size += (size_t)n;
        size -= (size_t)n;
    }
    return BASE_OK;
}

static base_status check_regular(int fd, const char *path, size_t max, size_t *size, base_error *error)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return base_fail(error, BASE_EIO, "cannot inspect '%.256s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return base_fail(error, BASE_EIO, "'%.256s' is not a regular file", path);
    if ((uintmax_t)st.st_size > max)
        return base_fail(error, BASE_ETOOBIG, "'%.256s' has %lld bytes; at most %zu are read", path,
                         (long long)st.st_size, max);
    *size = (size_t)st.st_size;
    return BASE_OK;
}

base_status base_file_read(const char *path, size_t max, base_buf *out, base_error *error)
{
    /* O_NONBLOCK: to open a FIFO must not wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return base_fail(error, errno == ENOENT || errno == ENOTDIR ? BASE_ENOTFOUND : BASE_EIO,
                         "cannot open '%.256s': %s", path, strerror(errno));
    size_t size = 0;
    base_status status = check_regular(fd, path, max, &size, error);
    if (status == BASE_OK)
        status = read_all(fd, path, size, out, error);
    close(fd);
    return status;
}

base_status base_file_replace(const char *path, const base_buf *bytes, base_error *error)
{
    char part[PATH_BYTES_MAX];
    if (bytes->failed)
        return base_fail(error, BASE_ENOMEM, "no memory to write '%.256s'", path);
    int n = snprintf(part, sizeof part, "%s.part", path);
    if (n < 0 || (size_t)n >= sizeof part)
        return base_fail(error, BASE_EINVAL, "the path '%.64s...' is too long", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool good = fd >= 0 && base_write_at(fd, 0, bytes->data, bytes->size) && fsync(fd) == 0;
    if (fd >= 0 && close(fd) != 0)
        good = false;
    if (good && rename(part, path) == 0)
        return BASE_OK;
    base_status status = base_fail(error, BASE_EIO, "cannot write '%.256s': %s", path, strerror(errno));
    if (fd >= 0)
        unlink(part);
    return status;
}
