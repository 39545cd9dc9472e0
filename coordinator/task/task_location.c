/* task_location.c - finds a value in a JSON text by its path: descend into the n-th member or element of each level,
 * skipping the earlier ones, then count lines and characters up to there. */
#include "coordinator/task/task_location_int.h"

typedef struct scan {
    const char *at, *end;
} scan;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(scan *s)
{
    while (s->at < s->end && is_blank(*s->at))
        s->at++;
}

/* Skip this character if it comes next. */
static bool take(scan *s, char c)
{
    skip_blanks(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static void skip_string(scan *s)
{
    s->at++;
    while (s->at < s->end && *s->at != '"')
        s->at += *s->at == '\\' && s->end - s->at > 1 ? 2 : 1;
    if (s->at < s->end)
        s->at++;
}

/* Skip a value: a string, a nested object or array, or anything up to a delimiter. */
static void skip_value(scan *s)
{
    size_t depth = 0;
    skip_blanks(s);
    while (s->at < s->end) {
        char c = *s->at;
        if (depth == 0 && (c == ',' || c == '}' || c == ']' || is_blank(c)))
            return;
        if (c == '"') {
            skip_string(s);
        } else {
            depth += c == '{' || c == '[';
            depth -= c == '}' || c == ']';
            s->at++;
        }
        if (depth == 0 && (c == '"' || c == '}' || c == ']'))
            return;
    }
}

static void skip_key(scan *s)
{
    skip_blanks(s);
    if (s->at < s->end && *s->at == '"')
        skip_string(s);
    take(s, ':');
    skip_blanks(s);
}

/* Enter the object or array that comes next, up to its member or element `number`; false when it has none. */
static bool descend(scan *s, size_t number, bool to_key)
{
    bool is_object = take(s, '{');
    if (!is_object && !take(s, '['))
        return false;
    for (size_t i = 0; i < number; i++) {
        if (is_object)
            skip_key(s);
        skip_value(s);
        if (!take(s, ','))
            return false;
    }
    skip_blanks(s);
    if (is_object && !to_key)
        skip_key(s);
    return true;
}

task_location task_location_find(const char *text, size_t size, const task_path *path, bool at_key)
{
    scan s = {text, text + size};
    skip_blanks(&s);
    for (size_t i = 0; i < path->n && i < TASK_PATH_MAX; i++)
        if (!descend(&s, path->steps[i], at_key && i + 1 == path->n))
            break;
    task_location place = {1, 1};
    for (const char *c = text; c < s.at; c++) {
        bool is_begin = ((unsigned char)*c & 0xC0) != 0x80; /* of a UTF-8 character */
        place.line += *c == '\n';
        place.column = *c == '\n' ? 1 : place.column + is_begin;
    }
    return place;
}
