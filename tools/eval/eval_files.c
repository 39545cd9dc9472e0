/* eval_files.c - files whole: read within a limit, written so that nobody sees half of one; and digests of bytes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/write.h"
#include "tools/eval/eval_cases.h"

void eval_digest(const void *bytes, size_t size, char out[EVAL_DIGEST_CHARS])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, bytes, size);
    sodium_bin2hex(out, EVAL_DIGEST_CHARS, hash, sizeof hash);
}

base_status eval_file_read(const char *path, size_t max, base_buf *out, base_error *error)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return base_fail(error, errno == ENOENT ? BASE_ENOTFOUND : BASE_EIO, "cannot open '%.256s': %s", path,
                         strerror(errno));
    char block[1 << 14];
    size_t total = 0;
    for (size_t n; total <= max && (n = fread(block, 1, sizeof block, file)) > 0; total += n)
        base_buf_put(out, block, n);
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed)
        return base_fail(error, BASE_EIO, "cannot read '%.256s'", path);
    if (total > max)
        return base_fail(error, BASE_ETOOBIG, "'%.256s' is larger than %zu bytes", path, max);
    return out->failed ? base_fail(error, BASE_ENOMEM, "out of memory for '%.256s'", path) : BASE_OK;
}

base_status eval_file_write(const char *path, const base_buf *bytes, base_error *error)
{
    char part[PATH_MAX];
    if (bytes->failed)
        return base_fail(error, BASE_ENOMEM, "out of memory for '%.256s'", path);
    if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part)
        return base_fail(error, BASE_ETOOBIG, "'%.256s' is too long a name", path);
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
