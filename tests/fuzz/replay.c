/* replay.c - drive a libFuzzer harness without libFuzzer: `replay_<name> FOLDER`.
 *
 * Every file of the folder is given to the harness as it is, cut short at many lengths, and with bytes overwritten by
 * awkward values, each time in memory of exactly its size, so that a sanitizer sees a read past the end.  What is tried
 * is the same on every run.  Fails when the folder holds nothing. */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20, MUTATIONS = 2000, CUTS = 500 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Run the harness over a private copy in which `width` bytes at `at` are `value`. */
static void run_changed(const uint8_t *bytes, size_t size, size_t at, uint64_t value, size_t width)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL)
        return;
    if (size > 0)
        memcpy(copy, bytes, size);
    if (width <= size)
        memcpy(copy + at % (size - width + 1), &value, width);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_file(const uint8_t *bytes, size_t size)
{
    static const uint64_t values[] = {
        0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FF0000000000000, 0x7FFFFFFFFFFFFFFF, UINT64_MAX};
    uint64_t random = 88172645463325252u; /* xorshift64, fixed start */
    run_changed(bytes, size, 0, 0, 0);
    size_t stride = size / CUTS + 1;
    for (size_t cut = 0; cut < size; cut += stride)
        run_changed(bytes, cut, 0, 0, 0);
    for (unsigned i = 0; i < MUTATIONS; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        size_t at = (size_t)(random >> 16), width = (size_t)1 << (random & 3);
        /* Headers are at the front: half of the changes go there. */
        if (i % 2 == 0)
            at %= 256;
        uint64_t value = i % 3 == 0 ? random >> 8 : values[(random >> 4) % (sizeof values / sizeof *values)];
        run_changed(bytes, size, at, value, width);
    }
}

static bool run_path(const char *folder, const char *name)
{
    static uint8_t bytes[FILE_BYTES_MAX];
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "cannot open '%s'\n", path);
        return false;
    }
    size_t size = fread(bytes, 1, sizeof bytes, file);
    bool whole = !ferror(file) && feof(file);
    fclose(file);
    if (!whole) {
        fprintf(stderr, "cannot read '%s', or it is beyond %d bytes\n", path, FILE_BYTES_MAX);
        return false;
    }
    run_file(bytes, size);
    return true;
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (folder == NULL) {
        fprintf(stderr, "usage: %s FOLDER (of inputs)\n", argv[0]);
        return 2;
    }
    unsigned n_files = 0;
    bool good = true;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (entry->d_name[0] == '.')
            continue;
        n_files++;
        good = run_path(argv[1], entry->d_name) && good;
    }
    closedir(folder);
    printf("%u inputs replayed\n", n_files);
    return good && n_files > 0 ? 0 : 1;
}
