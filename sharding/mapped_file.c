#include "sharding/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static base_status map_fd(int fd, const char *path, mapped_file *out, base_error *error)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return base_fail(error, BASE_EIO, "cannot inspect '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return base_fail(error, BASE_EIO, "'%s' is not a regular file", path);
    if (st.st_size == 0)
        return base_fail(error, BASE_EFORMAT, "'%s' is empty; is the download complete?", path);
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return base_fail(error, BASE_EIO, "cannot map '%s': %s", path, strerror(errno));
    *out = (mapped_file){.map = map, .bytes = (size_t)st.st_size};
    return BASE_OK;
}

base_status mapped_file_open(const char *path, mapped_file *out, base_error *error)
{
    /* O_NONBLOCK: a FIFO in the place of the file must not hang the start. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return base_fail(error, BASE_ENOTFOUND, "no file '%s'; is the download complete?", path);
    if (fd < 0)
        return base_fail(error, BASE_EIO, "cannot open '%s': %s", path, strerror(errno));
    base_status status = map_fd(fd, path, out, error);
    close(fd);
    return status;
}

void mapped_file_close(mapped_file *file)
{
    if (file->map != NULL)
        munmap(file->map, file->bytes);
    *file = (mapped_file){0};
}
