#include "sharding/shards/shard_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sharding/model_file.h"
#include "sharding/shards/shard_output.h"

typedef struct journal_line {
    unsigned long index;
    char sum[SHARD_SUM_TEXT];
} journal_line;

static int head_line(const char *set, char out[96])
{
    return snprintf(out, 96, SHARD_FORMAT " %s\n", set);
}

static void put_line(const char *set, size_t index, const char *sum, char out[160])
{
    char text[128], check[SHARD_SUM_TEXT];
    int n = snprintf(text, sizeof text, "%s %zu %s", set, index, sum);
    shard_sum_of(text, (size_t)n, check);
    snprintf(out, 160, "%zu %s %s\n", index, sum, check);
}

/* Read one line of at most `left` bytes; its length, or 0 when it is not a whole, sound line. */
static size_t read_line(const char *at, size_t left, const char *set, journal_line *out)
{
    char text[160], expected[160];
    const char *end = memchr(at, '\n', left < sizeof text - 1 ? left : sizeof text - 1);
    if (end == NULL)
        return 0;
    size_t n = (size_t)(end - at) + 1;
    memcpy(text, at, n);
    text[n] = '\0';
    if (sscanf(text, "%lu %32s", &out->index, out->sum) != 2)
        return 0;
    put_line(set, out->index, out->sum, expected);
    return strcmp(text, expected) == 0 ? n : 0;
}

static base_status read_text(const char *dir, const char *name, base_buf *out, base_error *error)
{
    char journal[128];
    snprintf(journal, sizeof journal, "%.100s" SHARD_JOURNAL_TAIL, name);
    return shard_file_read(dir, journal, out, error);
}

static bool begins_with_head(const base_buf *text, const char *set)
{
    char head[96];
    size_t n = (size_t)head_line(set, head);
    return text->size >= n && memcmp(text->data, head, n) == 0;
}

bool shard_journal_is_of(const char *dir, const char *name, const char *set)
{
    base_buf text = {0};
    bool is_of = read_text(dir, name, &text, NULL) == BASE_OK && begins_with_head(&text, set);
    base_buf_release(&text);
    return is_of;
}

/* The sums of all sound lines; returns where they end. */
static size_t take_lines(const base_buf *text, const char *set, shard_file *file)
{
    char head[96];
    size_t at = (size_t)head_line(set, head);
    for (;;) {
        journal_line line;
        size_t n = read_line((const char *)text->data + at, text->size - at, set, &line);
        if (n == 0 || line.index >= file->n_records)
            return at;
        memcpy(file->records[line.index].sum, line.sum, sizeof line.sum);
        at += n;
    }
}

base_status shard_journal_read(const char *dir, const char *set, shard_file *file, bool *found, base_error *error)
{
    base_buf text = {0};
    base_status status = read_text(dir, file->name, &text, error);
    *found = status == BASE_OK && begins_with_head(&text, set);
    if (*found) {
        char path[4096];
        size_t end = take_lines(&text, set, file);
        status = shard_output_path(dir, file->name, SHARD_JOURNAL_TAIL, path, error);
        if (status == BASE_OK && end < text.size && truncate(path, (off_t)end) != 0)
            status = base_fail(error, BASE_EIO, "cannot cut '%s': %s", path, strerror(errno));
    } else if (status == BASE_ENOTFOUND) {
        status = BASE_OK;
    }
    base_buf_release(&text);
    return status;
}

base_status shard_journal_start(const char *dir, const char *set, const shard_file *file, base_error *error)
{
    char head[96];
    char name[128];
    snprintf(name, sizeof name, "%s" SHARD_JOURNAL_TAIL, file->name);
    return shard_output_put(dir, name, head, (size_t)head_line(set, head), error);
}

static base_status append(const char *path, const base_buf *text, base_error *error)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return base_fail(error, BASE_EIO, "cannot open '%s': %s", path, strerror(errno));
    bool good = write(fd, text->data, text->size) == (ssize_t)text->size && fdatasync(fd) == 0;
    int why = errno;
    close(fd);
    return good ? BASE_OK : base_fail(error, BASE_EIO, "cannot write '%s': %s", path, strerror(why));
}

base_status shard_journal_append(const char *dir, const char *set, const shard_file *file, bool *journaled,
                                 base_error *error)
{
    base_buf text = {0};
    char path[4096], line[160];
    for (size_t i = 0; i < file->n_records; i++) {
        if (journaled[i] || file->records[i].sum[0] == '\0')
            continue;
        put_line(set, i, file->records[i].sum, line);
        base_buf_put(&text, line, strlen(line));
    }
    base_status status = text.failed ? base_fail(error, BASE_ENOMEM, "no memory for a journal") : BASE_OK;
    if (status == BASE_OK && text.size > 0)
        status = shard_output_path(dir, file->name, SHARD_JOURNAL_TAIL, path, error);
    if (status == BASE_OK && text.size > 0)
        status = append(path, &text, error);
    for (size_t i = 0; i < file->n_records && status == BASE_OK; i++)
        journaled[i] = file->records[i].sum[0] != '\0';
    base_buf_release(&text);
    return status;
}
