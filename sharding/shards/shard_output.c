#include "sharding/shards/shard_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "proto/base/write.h"

base_status shard_output_path(const char *dir, const char *name, const char *tail, char out[4096], base_error *error)
{
    int n = snprintf(out, 4096, "%s/%s%s", dir, name, tail);
    if (n < 0 || n >= 4096)
        return base_fail(error, BASE_EINVAL, "the path '%.80s...' is too long", dir);
    return BASE_OK;
}

bool shard_output_size(const char *dir, const char *name, const char *tail, uint64_t *bytes, uint64_t *allocated)
{
    char path[4096];
    struct stat st;
    if (shard_output_path(dir, name, tail, path, NULL) != BASE_OK || stat(path, &st) != 0)
        return false;
    *bytes = (uint64_t)st.st_size;
    *allocated = (uint64_t)st.st_blocks * 512;
    return true;
}

/* --- room --- */

static uint64_t room_in(const char *dir)
{
    struct statvfs fs;
    return statvfs(dir, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
}

static base_status fail_full(const char *dir, uint64_t needed, base_error *error)
{
    return base_fail(
        error, BASE_EIO,
        "no room in '%s': %llu more bytes are needed, %llu are available; make room and run the same command again",
        dir, (unsigned long long)needed, (unsigned long long)room_in(dir));
}

base_status shard_output_check_room(const char *dir, uint64_t needed, base_error *error)
{
    return needed > room_in(dir) ? fail_full(dir, needed, error) : BASE_OK;
}

static base_status fail_write(const char *dir, const char *name, uint64_t needed, int why, base_error *error)
{
    if (why == ENOSPC || why == EDQUOT)
        return fail_full(dir, needed, error);
    return base_fail(error, BASE_EIO, "cannot write '%s/%s' (%llu bytes): %s", dir, name, (unsigned long long)needed,
                     strerror(why));
}

/* --- small files --- */

base_status shard_output_put(const char *dir, const char *name, const void *bytes, size_t size, base_error *error)
{
    char path[4096];
    base_status status = shard_output_path(dir, name, "", path, error);
    if (status != BASE_OK)
        return status;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return base_fail(error, BASE_EIO, "cannot create '%s': %s", path, strerror(errno));
    bool good = base_write_at(fd, 0, bytes, size) && fsync(fd) == 0;
    int why = errno;
    close(fd);
    return good ? BASE_OK : fail_write(dir, name, size, why, error);
}

static base_status sync_dir(const char *dir, base_error *error)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0)
        close(fd);
    return good ? BASE_OK : base_fail(error, BASE_EIO, "cannot write the directory '%s': %s", dir, strerror(why));
}

base_status shard_output_rename(const char *dir, const char *name, base_error *error)
{
    char from[4096], to[4096];
    base_status status = shard_output_path(dir, name, SHARD_PARTIAL_TAIL, from, error);
    if (status == BASE_OK)
        status = shard_output_path(dir, name, "", to, error);
    if (status == BASE_OK && rename(from, to) != 0)
        status = base_fail(error, BASE_EIO, "cannot rename '%s': %s", from, strerror(errno));
    return status != BASE_OK ? status : sync_dir(dir, error);
}

/* --- large files --- */

/* All blocks at once: a disk that is too small is found before the work, not after it. */
static bool reserve(int fd, uint64_t bytes)
{
    if (fallocate(fd, 0, 0, (off_t)bytes) == 0)
        return true;
    return (errno == EOPNOTSUPP || errno == ENOSYS) && ftruncate(fd, (off_t)bytes) == 0;
}

base_status shard_output_open(const char *dir, const char *name, uint64_t bytes, bool fresh, int *out,
                              base_error *error)
{
    char path[4096];
    base_status status = shard_output_path(dir, name, SHARD_PARTIAL_TAIL, path, error);
    if (status != BASE_OK)
        return status;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return base_fail(error, BASE_EIO, "cannot create '%s': %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) /* file systems without locks go without */
        status = base_fail(error, BASE_EBUSY, "'%s' is being written by another process", path);
    else if ((fresh && ftruncate(fd, 0) != 0) || !reserve(fd, bytes))
        status = fail_write(dir, name, bytes, errno, error);
    if (status == BASE_OK)
        *out = fd;
    else
        close(fd);
    return status;
}

static base_status wait_oldest(shard_flush *flush, const char *dir, base_error *error)
{
    int fd = flush->ranges[flush->first].fd;
    off_t offset = (off_t)flush->ranges[flush->first].offset, bytes = (off_t)flush->ranges[flush->first].bytes;
    flush->waiting -= flush->ranges[flush->first].bytes;
    flush->first = (flush->first + 1) % SHARD_FLUSH_RANGES;
    flush->n--;
    const unsigned all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    if (sync_file_range(fd, offset, bytes, all) != 0 && errno != ENOSYS && errno != ESPIPE && errno != EINVAL)
        return fail_write(dir, "shards", (uint64_t)bytes, errno, error);
    (void)posix_fadvise(fd, offset, bytes, POSIX_FADV_DONTNEED);
    return BASE_OK;
}

base_status shard_output_drain(shard_flush *flush, const char *dir, base_error *error)
{
    base_status status = BASE_OK;
    while (flush->n > 0 && status == BASE_OK)
        status = wait_oldest(flush, dir, error);
    return status;
}

base_status shard_output_write(shard_flush *flush, const char *dir, const char *name, int fd, uint64_t offset,
                               const void *bytes, size_t size, base_error *error)
{
    if (!base_write_at(fd, offset, bytes, size))
        return fail_write(dir, name, size, errno, error);
    (void)sync_file_range(fd, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WRITE); /* a hint; waiting finds the errors */
    base_status status = BASE_OK;
    while (status == BASE_OK && flush->n > 0 &&
           (flush->n == SHARD_FLUSH_RANGES || flush->waiting + size > flush->limit))
        status = wait_oldest(flush, dir, error);
    if (status != BASE_OK)
        return status;
    size_t last = (flush->first + flush->n) % SHARD_FLUSH_RANGES;
    flush->ranges[last].fd = fd;
    flush->ranges[last].offset = offset;
    flush->ranges[last].bytes = size;
    flush->n++;
    flush->waiting += size;
    return BASE_OK;
}
