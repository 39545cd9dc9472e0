/* task_answer_match.c - which class an answer names.
 *
 *     exact        trimmed answer = name or synonym, with or without the form's end, byte for byte
 *     normalised   names and synonyms of all classes, then the letters "b", "(b)", "(b) name"
 *     leading      normalised; else the longest name, synonym or "(b)" that the answer begins with
 *
 * The last two compare in lower case (of ASCII letters), runs of white space as one, ends trimmed, a final period
 * dropped; next_character does that while reading, so nothing is copied and an answer of any length needs no memory. */
#include <ctype.h>
#include <string.h>

#include "coordinator/task/task_int.h"

/* ---- words ---- */

typedef struct words {
    const char *at, *end;
} words;

static bool is_blank(char c)
{
    return isspace((unsigned char)c) != 0;
}

static words trimmed(const char *begin, const char *end)
{
    while (begin < end && is_blank(*begin))
        begin++;
    while (begin < end && is_blank(end[-1]))
        end--;
    return (words){begin, end};
}

static words words_of(const char *begin, const char *end)
{
    words w = trimmed(begin, end);
    return w.at < w.end && w.end[-1] == '.' ? trimmed(w.at, w.end - 1) : w;
}

static words words_of_text(const char *text)
{
    return words_of(text, text + strlen(text));
}

/* The next character, a space for any run of white space; -1 at the end. */
static int next_character(words *w)
{
    if (w->at == w->end)
        return -1;
    if (!is_blank(*w->at))
        return tolower((unsigned char)*w->at++);
    while (w->at < w->end && is_blank(*w->at))
        w->at++;
    return ' ';
}

static bool same(words a, words b)
{
    int c;
    do {
        c = next_character(&a);
        if (c != next_character(&b))
            return false;
    } while (c >= 0);
    return true;
}

/* True if `w` begins with `front`, followed by no letter, digit or '_'. */
static bool begins(words w, words front)
{
    while (front.at < front.end)
        if (next_character(&w) != next_character(&front))
            return false;
    int after = next_character(&w);
    return after < 0 || (after < 0x80 && !isalnum(after) && after != '_');
}

bool task_same_words(const char *a, const char *b)
{
    return same(words_of_text(a), words_of_text(b));
}

/* ---- classes and options ---- */

/* Option `i` of a request in the order of the task's option fields; NULL: there are fewer.  *n, if not NULL: their
 * number. */
static const char *option_at(const task *t, const task_field *fields, size_t n_fields, size_t i, size_t *n)
{
    size_t count = 0;
    const char *found = NULL;
    for (size_t of = 0; of < t->answer.n_option_fields; of++)
        for (size_t at = 0; at < n_fields; at++)
            if (strcmp(fields[at].name, t->answer.option_fields[of]) == 0)
                found = count++ == i ? fields[at].value : found;
    if (n != NULL)
        *n = count;
    return found;
}

size_t task_class_count(const task *t, const task_field *fields, size_t n_fields)
{
    size_t n = t->answer.n_classes;
    if (t->answer.form == TASK_ANSWER_CHOICE)
        option_at(t, fields, n_fields, 0, &n);
    return n;
}

const char *task_class_name(const task *t, const task_field *fields, size_t n_fields, size_t i)
{
    return t->answer.form == TASK_ANSWER_CHOICE ? option_at(t, fields, n_fields, i, NULL) : t->answer.classes[i].name;
}

void task_class_answer(const task *t, const task_field *fields, size_t n_fields, size_t i, base_buf *out)
{
    const char *name = task_class_name(t, fields, n_fields, i);
    base_buf_put(out, name, strlen(name));
    base_buf_put(out, t->answer.end, strlen(t->answer.end));
}

/* ---- matching ---- */

/* Word `j` of class `i`: its name, then its synonyms; NULL: it has no more. */
static const char *word_of(const task *t, const task_field *fields, size_t n_fields, size_t i, size_t j)
{
    if (j == 0)
        return task_class_name(t, fields, n_fields, i);
    if (t->answer.form == TASK_ANSWER_CHOICE || j > t->answer.classes[i].n_synonyms)
        return NULL;
    return t->answer.classes[i].synonyms[j - 1];
}

/* True for the bytes of a class's answer, with or without the form's end. */
static bool is_exact(const task *t, words answer, const char *word)
{
    size_t size = (size_t)(answer.end - answer.at), length = strlen(word), end = strlen(t->answer.end);
    if (size != length && size != length + end)
        return false;
    return memcmp(answer.at, word, length) == 0 && memcmp(answer.at + length, t->answer.end, size - length) == 0;
}

/* "b", "(b)" and "(b) name" for class 1. */
static bool is_letter(words answer, size_t i, const char *name)
{
    enum { BRACKETED = 3 };
    if (i >= TASK_OPTIONS_MAX)
        return false;
    const char letter = (char)('a' + (char)i), bare[] = {letter, '\0'}, bracketed[] = {'(', letter, ')', '\0'};
    if (same(answer, words_of_text(bare)) || same(answer, words_of_text(bracketed)))
        return true;
    if (answer.end - answer.at <= BRACKETED ||
        !same((words){answer.at, answer.at + BRACKETED}, words_of_text(bracketed)))
        return false;
    return same(words_of(answer.at + BRACKETED, answer.end), words_of_text(name));
}

typedef struct matcher {
    const task *t;
    const task_field *fields;
    size_t n_fields, n_classes;
} matcher;

/* Names and synonyms of all classes come before letters: a class may be called "A". */
static bool find_normalised(const matcher *m, words answer, size_t *out)
{
    const char *word;
    for (size_t i = 0; i < m->n_classes; i++)
        for (size_t k = 0; (word = word_of(m->t, m->fields, m->n_fields, i, k)) != NULL; k++)
            if (same(answer, words_of_text(word))) {
                *out = i;
                return true;
            }
    for (size_t i = 0; i < m->n_classes && m->t->answer.form != TASK_ANSWER_LABELS; i++)
        if (is_letter(answer, i, task_class_name(m->t, m->fields, m->n_fields, i))) {
            *out = i;
            return true;
        }
    return false;
}

static bool find_exact(const matcher *m, words answer, size_t *out)
{
    const char *word;
    for (size_t i = 0; i < m->n_classes; i++)
        for (size_t k = 0; (word = word_of(m->t, m->fields, m->n_fields, i, k)) != NULL; k++)
            if (is_exact(m->t, answer, word)) {
                *out = i;
                return true;
            }
    return false;
}

static bool find_leading(const matcher *m, words answer, size_t *out)
{
    size_t longest = 0;
    const char *word;
    for (size_t i = 0; i < m->n_classes; i++) {
        char bracketed[] = {'(', (char)('a' + (char)(i % TASK_OPTIONS_MAX)), ')', '\0'};
        for (size_t k = 0; (word = word_of(m->t, m->fields, m->n_fields, i, k)) != NULL; k++)
            if (strlen(word) > longest && begins(answer, words_of_text(word))) {
                longest = strlen(word);
                *out = i;
            }
        if (longest == 0 && i < TASK_OPTIONS_MAX && begins(answer, words_of_text(bracketed))) {
            longest = 1;
            *out = i;
        }
    }
    return longest > 0;
}

static bool find(const matcher *m, const char *begin, const char *end, size_t *out)
{
    if (m->t->answer.match == TASK_MATCH_EXACT)
        return find_exact(m, trimmed(begin, end), out);
    if (find_normalised(m, words_of(begin, end), out))
        return true;
    return m->t->answer.match == TASK_MATCH_LEADING && find_leading(m, trimmed(begin, end), out);
}

size_t task_answer_labels(const task *t, const char *answer, bool *said)
{
    matcher m = {.t = t, .n_classes = t->answer.n_classes};
    size_t n_unknown = 0;
    for (size_t i = 0; i < m.n_classes; i++)
        said[i] = false;
    for (const char *at = answer; *at != '\0'; at += strspn(at, ",;\n")) {
        const char *end = at + strcspn(at, ",;\n");
        words piece = words_of(at, end);
        size_t found;
        if (find(&m, at, end, &found))
            said[found] = true;
        else
            n_unknown += piece.at < piece.end;
        at = end;
    }
    return n_unknown;
}

bool task_answer_class(const task *t, const task_field *fields, size_t n_fields, const char *answer, size_t *out)
{
    matcher m = {.t = t, .fields = fields, .n_fields = n_fields, .n_classes = task_class_count(t, fields, n_fields)};
    if (t->answer.form != TASK_ANSWER_LABELS)
        return find(&m, answer, answer + strlen(answer), out);
    bool said[TASK_CLASSES_MAX];
    size_t n = 0, last = 0;
    bool whole = task_answer_labels(t, answer, said) == 0;
    for (size_t i = 0; i < m.n_classes; i++)
        if (said[i]) {
            n++;
            last = i;
        }
    if (!whole || n != 1)
        return false;
    *out = last;
    return true;
}
