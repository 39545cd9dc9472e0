/* metric_words.c - the words of a text, by the rules of rouge-score, SQuAD's script, sacrebleu and pycocoevalcap.
 *
 * Each rule is a pass over code points or bytes that writes words with single blanks between; what counts as a blank or
 * as part of a word is what Python's str and re say, as the originals are Python. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "tools/metrics/metric_words.h"

/* ---- code points ---- */

/* The next code point; damaged bytes are U+FFFD, one byte each. */
static uint32_t next_point(const uint8_t **at, const uint8_t *end)
{
    utf8proc_int32_t point = -1;
    utf8proc_ssize_t n = utf8proc_iterate(*at, end - *at, &point);
    *at += n > 0 ? n : 1;
    return n > 0 ? (uint32_t)point : 0xFFFD;
}

static void put_point(base_buf *out, uint32_t point)
{
    uint8_t bytes[4];
    utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)point, bytes);
    base_buf_put(out, bytes, (size_t)n);
}

/* str.isspace() */
static bool is_blank(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* \w of Python's re: letters, numbers, the underscore. */
static bool is_word(uint32_t c)
{
    utf8proc_category_t kind = utf8proc_category((utf8proc_int32_t)c);
    return c == '_' || (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO) ||
           (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO);
}

static bool is_ascii_punctuation(uint32_t c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

/* Lower case: code point by code point, but U+0130, which becomes two.  A capital sigma at the end of a word becomes
 * the common small sigma, where Python writes the final one. */
static void put_lower(base_buf *out, uint32_t point)
{
    if (point == 0x130) {
        put_point(out, 'i');
        put_point(out, 0x307);
    } else
        put_point(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)point));
}

static void lower(const char *text, base_buf *out)
{
    const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
    while (at < end)
        put_lower(out, next_point(&at, end));
}

/* Single blanks, none at the ends. */
static void collapse(const uint8_t *at, size_t size, base_buf *out)
{
    if (size == 0)
        return;
    const uint8_t *end = at + size;
    bool pending = false;
    size_t from = out->size;
    while (at < end) {
        uint32_t point = next_point(&at, end);
        if (is_blank(point)) {
            pending = out->size > from;
            continue;
        }
        if (pending)
            base_buf_put_u8(out, ' ');
        pending = false;
        put_point(out, point);
    }
}

/* ---- rules ---- */

static void write_rouge(const base_buf *text, base_buf *out)
{
    base_buf spaced = {0};
    for (size_t i = 0; i < text->size; i++) {
        uint8_t c = text->data[i];
        bool keeps = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        base_buf_put_u8(&spaced, keeps ? c : ' ');
    }
    collapse(spaced.data, spaced.size, out);
    out->failed = out->failed || spaced.failed;
    base_buf_release(&spaced);
}

static bool is_article(const base_buf *word)
{
    return (word->size == 1 && memcmp(word->data, "a", 1) == 0) ||
           (word->size == 2 && memcmp(word->data, "an", 2) == 0) ||
           (word->size == 3 && memcmp(word->data, "the", 3) == 0);
}

/* \b(a|an|the)\b becomes a blank: a run of \w that is an article. */
static void drop_articles(const base_buf *text, base_buf *out)
{
    if (text->size == 0)
        return;
    const uint8_t *at = text->data, *end = at + text->size;
    base_buf word = {0};
    while (at < end || word.size > 0) {
        uint32_t point = at < end ? next_point(&at, end) : ' ';
        if (is_word(point)) {
            put_point(&word, point);
            continue;
        }
        if (is_article(&word))
            base_buf_put_u8(out, ' ');
        else
            base_buf_put(out, word.data, word.size);
        base_buf_clear(&word);
        put_point(out, point);
    }
    out->failed = out->failed || word.failed;
    base_buf_release(&word);
}

static void write_squad(const base_buf *text, base_buf *out)
{
    base_buf bare = {0}, open = {0};
    for (size_t i = 0; i < text->size; i++)
        if (!is_ascii_punctuation(text->data[i]))
            base_buf_put_u8(&bare, text->data[i]);
    drop_articles(&bare, &open);
    collapse(open.data, open.size, out);
    out->failed = out->failed || bare.failed || open.failed;
    base_buf_release(&bare);
    base_buf_release(&open);
}

static void write_coco(const base_buf *text, base_buf *out)
{
    base_buf spaced = {0};
    for (size_t i = 0; i < text->size; i++) {
        if (text->data[i] == '.')
            base_buf_put_u8(&spaced, ' ');
        base_buf_put_u8(&spaced, text->data[i]);
    }
    collapse(spaced.data, spaced.size, out);
    out->failed = out->failed || spaced.failed;
    base_buf_release(&spaced);
}

/* ---- sacrebleu's 13a: five substitutions, one after the other, each over the result of the last ---- */

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* [\{-\~\[-\` -\&\(-\+\:-\@\/] */
static bool is_13a_symbol(uint8_t c)
{
    return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') ||
           (c >= ':' && c <= '@') || c == '/';
}

static bool is_13a_stop(uint8_t c)
{
    return c == '.' || c == ',';
}

static void replace_all(base_buf *text, const char *what, const char *with)
{
    size_t size = strlen(what);
    base_buf out = {0};
    for (size_t i = 0; i < text->size;) {
        if (text->size - i >= size && memcmp(text->data + i, what, size) == 0) {
            base_buf_put(&out, with, strlen(with));
            i += size;
        } else
            base_buf_put_u8(&out, text->data[i++]);
    }
    out.failed = out.failed || text->failed;
    base_buf_release(text);
    *text = out;
}

typedef enum stops_rule { STOP_AFTER_NONDIGIT, STOP_BEFORE_NONDIGIT, DASH_AFTER_DIGIT } stops_rule;

/* Is there a match of two bytes at `c`? */
static bool matches_pair(stops_rule rule, const uint8_t *c)
{
    switch (rule) {
    case STOP_AFTER_NONDIGIT:
        return !is_digit(c[0]) && is_13a_stop(c[1]);
    case STOP_BEFORE_NONDIGIT:
        return is_13a_stop(c[0]) && !is_digit(c[1]);
    default:
        return is_digit(c[0]) && c[1] == '-';
    }
}

/* A pair "ab" becomes "a b " or " a b". */
static void part_pairs(base_buf *text, stops_rule rule)
{
    base_buf out = {0};
    for (size_t i = 0; i < text->size;) {
        if (i + 1 < text->size && matches_pair(rule, text->data + i)) {
            const uint8_t *c = text->data + i;
            uint8_t after[4] = {c[0], ' ', c[1], ' '}, before[4] = {' ', c[0], ' ', c[1]};
            base_buf_put(&out, rule == STOP_BEFORE_NONDIGIT ? before : after, 4);
            i += 2;
        } else
            base_buf_put_u8(&out, text->data[i++]);
    }
    out.failed = out.failed || text->failed;
    base_buf_release(text);
    *text = out;
}

static void part_symbols(base_buf *text)
{
    base_buf out = {0};
    for (size_t i = 0; i < text->size; i++) {
        uint8_t c = text->data[i], apart[3] = {' ', c, ' '};
        if (is_13a_symbol(c))
            base_buf_put(&out, apart, 3);
        else
            base_buf_put_u8(&out, c);
    }
    out.failed = out.failed || text->failed;
    base_buf_release(text);
    *text = out;
}

/* str.rstrip() */
static size_t stripped_size(const char *text)
{
    const uint8_t *start = (const uint8_t *)text, *at = start, *end = at + strlen(text);
    size_t size = 0;
    while (at < end)
        if (!is_blank(next_point(&at, end)))
            size = (size_t)(at - start);
    return size;
}

static void write_13a(const char *source, base_buf *out)
{
    static const char *const marks[][2] = {{"<skipped>", ""}, {"-\n", ""},   {"\n", " "},  {"&quot;", "\""},
                                           {"&amp;", "&"},    {"&lt;", "<"}, {"&gt;", ">"}};
    base_buf text = {0};
    base_buf_put_u8(&text, ' ');
    base_buf_put(&text, source, stripped_size(source));
    base_buf_put_u8(&text, ' ');
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        replace_all(&text, marks[i][0], marks[i][1]);
    part_symbols(&text);
    part_pairs(&text, STOP_AFTER_NONDIGIT);
    part_pairs(&text, STOP_BEFORE_NONDIGIT);
    part_pairs(&text, DASH_AFTER_DIGIT);
    collapse(text.data, text.size, out);
    out->failed = out->failed || text.failed;
    base_buf_release(&text);
}

void metric_words_write(metric_rule rule, const char *text, base_buf *out)
{
    if (rule == METRIC_RULE_13A || rule == METRIC_RULE_PLAIN) {
        if (rule == METRIC_RULE_13A)
            write_13a(text, out);
        else
            collapse((const uint8_t *)text, strlen(text), out);
        return;
    }
    base_buf small = {0};
    lower(text, &small);
    if (rule == METRIC_RULE_ROUGE)
        write_rouge(&small, out);
    else if (rule == METRIC_RULE_SQUAD)
        write_squad(&small, out);
    else
        write_coco(&small, out);
    out->failed = out->failed || small.failed;
    base_buf_release(&small);
}

/* ---- vocabulary: open addressing over FNV-1a ---- */

typedef struct entry {
    uint64_t hash;
    char *word; /* owned; NULL: free */
    size_t size;
    uint32_t id;
} entry;

struct metric_vocabulary {
    entry *entries;
    size_t capacity; /* a power of two, at most half full */
    uint32_t n;
};

metric_vocabulary *metric_vocabulary_create(void)
{
    metric_vocabulary *v = calloc(1, sizeof *v);
    if (v == NULL)
        return NULL;
    v->capacity = 1024;
    v->entries = calloc(v->capacity, sizeof *v->entries);
    if (v->entries == NULL)
        metric_vocabulary_destroy(&v);
    return v;
}

void metric_vocabulary_destroy(metric_vocabulary **v)
{
    if (*v == NULL)
        return;
    for (size_t i = 0; (*v)->entries != NULL && i < (*v)->capacity; i++)
        free((*v)->entries[i].word);
    free((*v)->entries);
    free(*v);
    *v = NULL;
}

static uint64_t hash_of(const uint8_t *word, size_t size)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ word[i]) * 1099511628211u;
    return hash;
}

/* The entry of the word, or the free one where it belongs. */
static entry *seek(entry *entries, size_t capacity, const uint8_t *word, size_t size, uint64_t hash)
{
    size_t i = (size_t)hash & (capacity - 1);
    while (entries[i].word != NULL &&
           (entries[i].hash != hash || entries[i].size != size || memcmp(entries[i].word, word, size) != 0))
        i = (i + 1) & (capacity - 1);
    return &entries[i];
}

static bool grow(metric_vocabulary *v)
{
    size_t capacity = v->capacity * 2;
    entry *entries = calloc(capacity, sizeof *entries);
    if (entries == NULL)
        return false;
    for (size_t i = 0; i < v->capacity; i++)
        if (v->entries[i].word != NULL)
            *seek(entries, capacity, (const uint8_t *)v->entries[i].word, v->entries[i].size, v->entries[i].hash) =
                v->entries[i];
    free(v->entries);
    v->entries = entries;
    v->capacity = capacity;
    return true;
}

/* 0: out of memory. */
static uint32_t intern(metric_vocabulary *v, const uint8_t *word, size_t size)
{
    uint64_t hash = hash_of(word, size);
    entry *found = seek(v->entries, v->capacity, word, size, hash);
    if (found->word != NULL)
        return found->id;
    if (v->n == UINT32_MAX || ((size_t)v->n + 1 > v->capacity / 2 && !grow(v)))
        return 0;
    found = seek(v->entries, v->capacity, word, size, hash);
    char *copy = malloc(size + 1);
    if (copy == NULL)
        return 0;
    memcpy(copy, word, size);
    copy[size] = '\0';
    *found = (entry){hash, copy, size, ++v->n};
    return found->id;
}

void metric_words_release(metric_words *words)
{
    free(words->ids);
    *words = (metric_words){0};
}

static size_t count_words(const base_buf *text)
{
    size_t n = text->size > 0;
    for (size_t i = 0; i < text->size; i++)
        n += text->data[i] == ' ';
    return n;
}

static bool read_words(metric_vocabulary *v, const base_buf *text, metric_words *out)
{
    metric_words words = {.ids = malloc((count_words(text) + 1) * sizeof *words.ids)};
    if (words.ids == NULL)
        return false;
    for (size_t from = 0; from < text->size;) {
        const uint8_t *end = memchr(text->data + from, ' ', text->size - from);
        size_t size = end == NULL ? text->size - from : (size_t)(end - text->data) - from;
        uint32_t id = intern(v, text->data + from, size);
        if (id == 0) {
            metric_words_release(&words);
            return false;
        }
        words.ids[words.n++] = id;
        from += size + 1;
    }
    *out = words;
    return true;
}

bool metric_words_read(metric_vocabulary *v, metric_rule rule, const char *text, metric_words *out)
{
    base_buf written = {0};
    metric_words_write(rule, text, &written);
    bool ok = !written.failed && read_words(v, &written, out);
    base_buf_release(&written);
    return ok;
}
