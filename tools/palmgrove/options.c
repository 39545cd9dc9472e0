#include "tools/palmgrove/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/nearest.h"

enum { WORD_MAX = 48 }; /* of an option's name in an error */

static void *slot_of(const option_row *row, void *values)
{
    return (char *)values + row->offset;
}

void option_environment_name(const option_row *row, char out[64])
{
    out[0] = '\0';
    if ((row->flags & OPTION_NO_ENVIRONMENT) != 0)
        return;
    snprintf(out, 64, "PALMGROVE_%s", row->name);
    for (char *c = out; *c != '\0'; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
}

/* ---- one value ---- */

static base_status parse_unsigned(const char *text, uint64_t limit, uint64_t *out)
{
    if (!isdigit((unsigned char)text[0]))
        return BASE_EINVAL;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value > limit)
        return BASE_EINVAL;
    *out = value;
    return BASE_OK;
}

static base_status parse_flag(const char *text, bool *out)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off", ""};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        if (strcmp(text, yes[i]) == 0) {
            *out = true;
            return BASE_OK;
        }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        if (strcmp(text, no[i]) == 0) {
            *out = false;
            return BASE_OK;
        }
    return BASE_EINVAL;
}

static base_status parse_real(const char *text, float *out)
{
    char *end;
    errno = 0;
    float value = strtof(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !isfinite(value) || value < 0)
        return BASE_EINVAL;
    *out = value;
    return BASE_OK;
}

static base_status append(option_list *list, const option_row *row, const char *value, base_error *error)
{
    option_item *items = realloc(list->items, (list->n + 1) * sizeof *items);
    if (items == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for option '--%s'", row->name);
    items[list->n] = (option_item){row, value};
    list->items = items;
    list->n++;
    return BASE_OK;
}

/* `source` is what to blame: "option '--tp'", "variable 'PALMGROVE_TP'". */
static base_status assign(const option_row *row, void *values, const char *text, const char *source, base_error *error)
{
    void *slot = slot_of(row, values);
    uint64_t number = 0;
    switch (row->kind) {
    case OPTION_FLAG:
        if (parse_flag(text, slot) != BASE_OK)
            return base_fail(error, BASE_EINVAL, "%s is '%s': expected 1 or 0", source, text);
        return BASE_OK;
    case OPTION_TEXT:
        *(const char **)slot = text;
        return BASE_OK;
    case OPTION_U32:
        if (parse_unsigned(text, UINT32_MAX, &number) != BASE_OK)
            return base_fail(error, BASE_EINVAL, "%s is '%s': expected a whole number from 0 to 4294967295", source,
                             text);
        *(uint32_t *)slot = (uint32_t)number;
        return BASE_OK;
    case OPTION_U64:
        if (parse_unsigned(text, UINT64_MAX, &number) != BASE_OK)
            return base_fail(error, BASE_EINVAL, "%s is '%s': expected a whole number from 0 to 18446744073709551615",
                             source, text);
        *(uint64_t *)slot = number;
        return BASE_OK;
    case OPTION_REAL:
        if (parse_real(text, slot) != BASE_OK)
            return base_fail(error, BASE_EINVAL, "%s is '%s': expected a number of 0 or more", source, text);
        return BASE_OK;
    case OPTION_LIST:
        return append(slot, row, text, error);
    }
    return base_fail(error, BASE_EINTERNAL, "%s has no kind", source);
}

/* ---- the sources, weakest first: default, environment, command line ---- */

static base_status set_initial(const option_table *table, void *values, base_error *error)
{
    for (size_t i = 0; i < table->n_rows; i++) {
        const option_row *row = &table->rows[i];
        char variable[64], source[96];
        option_environment_name(row, variable);
        const char *text = variable[0] != '\0' ? getenv(variable) : NULL;
        snprintf(source, sizeof source, text != NULL ? "variable '%s'" : "default of '%s'",
                 text != NULL ? variable : row->name);
        if (text == NULL)
            text = row->initial;
        if (text == NULL)
            continue;
        base_status status = assign(row, values, text, source, error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

static const option_row *find_row(const option_table *table, const char *name, size_t length)
{
    for (size_t i = 0; i < table->n_rows; i++) {
        const option_row *row = &table->rows[i];
        if ((row->flags & OPTION_POSITIONAL) == 0 && strlen(row->name) == length &&
            strncmp(row->name, name, length) == 0)
            return row;
    }
    return NULL;
}

static base_status unknown_option(const option_table *table, const char *name, size_t length, base_error *error)
{
    char word[WORD_MAX + 1];
    snprintf(word, sizeof word, "%.*s", (int)(length < WORD_MAX ? length : WORD_MAX), name);
    const char **names = malloc((table->n_rows + 1) * sizeof *names);
    const char *nearest = NULL;
    if (names != NULL) {
        size_t n = 0;
        for (size_t i = 0; i < table->n_rows; i++)
            if ((table->rows[i].flags & OPTION_POSITIONAL) == 0)
                names[n++] = table->rows[i].name;
        nearest = base_nearest(word, names, n);
        free(names);
    }
    if (nearest != NULL)
        return base_fail(error, BASE_EINVAL, "unknown option '--%s'; did you mean '--%s'?", word, nearest);
    return base_fail(error, BASE_EINVAL, "unknown option '--%s'", word);
}

/* The first item from the command line replaces what the environment or the default put there. */
static void claim_list(const option_row *row, void *values)
{
    option_list *list = slot_of(row, values);
    if (row->kind == OPTION_LIST && !list->given) {
        list->n = 0;
        list->given = true;
    }
}

/* Take the option at argv[*i], and its value where that is the next word. */
static base_status take_option(const option_table *table, int argc, char **argv, int *i, void *values,
                               base_error *error)
{
    const char *name = argv[*i] + 2;
    const char *equals = strchr(name, '=');
    size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const option_row *row = find_row(table, name, length);
    if (row == NULL)
        return unknown_option(table, name, length, error);

    const char *text = equals != NULL ? equals + 1 : NULL;
    if (row->kind == OPTION_FLAG) {
        if (text == NULL)
            text = "1";
    } else if (text == NULL) {
        if (*i + 1 >= argc)
            return base_fail(error, BASE_EINVAL, "option '--%s' needs a value (%s)", row->name, row->argument);
        text = argv[++*i];
    }
    char source[64];
    snprintf(source, sizeof source, "option '--%s'", row->name);
    claim_list(row, values);
    return assign(row, values, text, source, error);
}

static base_status take_positional(const option_table *table, size_t place, const char *text, void *values,
                                   base_error *error)
{
    for (size_t i = 0; i < table->n_rows; i++) {
        const option_row *row = &table->rows[i];
        if ((row->flags & OPTION_POSITIONAL) == 0 || (place-- != 0 && row->kind != OPTION_LIST))
            continue;
        char source[64];
        snprintf(source, sizeof source, "argument %s", row->argument);
        claim_list(row, values);
        return assign(row, values, text, source, error);
    }
    return base_fail(error, BASE_EINVAL, "unexpected argument '%s'", text);
}

static bool is_missing(const option_row *row, void *values)
{
    if ((row->flags & OPTION_REQUIRED) == 0)
        return false;
    if (row->kind == OPTION_LIST)
        return ((const option_list *)slot_of(row, values))->n == 0;
    return row->kind == OPTION_TEXT && *(const char **)slot_of(row, values) == NULL;
}

static base_status check_required(const option_table *table, void *values, base_error *error)
{
    for (size_t i = 0; i < table->n_rows; i++) {
        const option_row *row = &table->rows[i];
        if (!is_missing(row, values))
            continue;
        if ((row->flags & OPTION_POSITIONAL) != 0)
            return base_fail(error, BASE_EINVAL, "argument %s is missing (%s)", row->argument, row->help);
        return base_fail(error, BASE_EINVAL, "option '--%s %s' is missing (%s)", row->name, row->argument, row->help);
    }
    return BASE_OK;
}

base_status option_parse(const option_table *table, int argc, char **argv, void *values, bool *help, base_error *error)
{
    bool only_positionals = false;
    size_t place = 0;
    *help = false;
    base_status status = set_initial(table, values, error);
    for (int i = 0; i < argc && status == BASE_OK; i++) {
        if (!only_positionals && strcmp(argv[i], "--") == 0) {
            only_positionals = true;
        } else if (!only_positionals && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            *help = true;
            return BASE_OK;
        } else if (!only_positionals && strncmp(argv[i], "--", 2) == 0) {
            status = take_option(table, argc, argv, &i, values, error);
        } else if (!only_positionals && argv[i][0] == '-' && argv[i][1] != '\0') {
            status =
                base_fail(error, BASE_EINVAL, "unknown option '%s'; options have long names, as in '--help'", argv[i]);
        } else {
            status = take_positional(table, place++, argv[i], values, error);
        }
    }
    return status == BASE_OK ? check_required(table, values, error) : status;
}

void option_release(const option_table *table, void *values)
{
    for (size_t i = 0; i < table->n_rows; i++) {
        if (table->rows[i].kind != OPTION_LIST)
            continue;
        option_list *list = slot_of(&table->rows[i], values);
        free(list->items);
        *list = (option_list){0};
    }
}
