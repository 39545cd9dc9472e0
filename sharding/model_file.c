#include "sharding/model_file.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/file.h"

base_status shard_file_read(const char *dir, const char *name, base_buf *out, base_error *error)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return base_fail(error, BASE_EINVAL, "the path '%.80s...' is too long", dir);
    base_status status = base_file_read(path, SHARD_FILE_MAX_BYTES, out, error);
    return status != BASE_ENOTFOUND ? status
                                    : base_fail(error, status, "no file '%s'; is this a model directory?", path);
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
