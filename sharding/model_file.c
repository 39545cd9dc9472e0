#include "sharding/model_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static base_status read_all(int fd, const char *dir, const char *name, size_t size, base_buf *out, base_error *error)
{
    if (!base_buf_reserve(out, size))
        return base_fail(error, BASE_ENOMEM, "no memory for the %zu bytes of '%s/%s'", size, dir, name);
    while (size > 0) {
        ssize_t n = read(fd, out->data + out->size, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return base_fail(error, BASE_EIO, "cannot read '%s/%s': %s", dir, name, strerror(errno));
        if (n == 0)
            return base_fail(error, BASE_EIO, "'%s/%s' became shorter while it was read", dir, name);
        out->size += (size_t)n;
        size -= (size_t)n;
    }
    return BASE_OK;
}

static base_status check_regular(int fd, const char *dir, const char *name, size_t *size, base_error *error)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return base_fail(error, BASE_EIO, "cannot inspect '%s/%s': %s", dir, name, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return base_fail(error, BASE_EIO, "'%s/%s' is not a regular file", dir, name);
    if (st.st_size > (off_t)SHARD_FILE_MAX_BYTES)
        return base_fail(error, BASE_ETOOBIG, "'%s/%s' has %lld bytes; at most %u are read", dir, name,
                         (long long)st.st_size, SHARD_FILE_MAX_BYTES);
    *size = (size_t)st.st_size;
    return BASE_OK;
}

base_status shard_file_read(const char *dir, const char *name, base_buf *out, base_error *error)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return base_fail(error, BASE_EINVAL, "the path '%.80s...' is too long", dir);
    /* O_NONBLOCK: a FIFO in the place of the file must not hang the start. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return base_fail(error, BASE_ENOTFOUND, "no file '%s/%s'; is this a model directory?", dir, name);
    if (fd < 0)
        return base_fail(error, BASE_EIO, "cannot open '%s/%s': %s", dir, name, strerror(errno));
    size_t size = 0;
    base_status status = check_regular(fd, dir, name, &size, error);
    if (status == BASE_OK)
        status = read_all(fd, dir, name, size, out, error);
    close(fd);
    return status;
}

int shard_find_gguf(const char *dir, bool mmproj, char *path, size_t size)
{
    DIR *listing = opendir(dir);
    if (listing == NULL)
        return -1;
    int n = 0;
    for (const struct dirent *entry = readdir(listing); entry != NULL && n >= 0; entry = readdir(listing)) {
        size_t length = strlen(entry->d_name);
        if (length <= 5 || entry->d_name[0] == '.' || strcmp(entry->d_name + length - 5, ".gguf") != 0)
            continue;
        if ((strstr(entry->d_name, "mmproj") != NULL) != mmproj || n++ > 0)
            continue;
        int written = snprintf(path, size, "%s/%s", dir, entry->d_name);
        if (written < 0 || (size_t)written >= size)
            n = -1;
    }
    closedir(listing);
    return n;
}
