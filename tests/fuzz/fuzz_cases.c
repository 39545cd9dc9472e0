/* fuzz_cases.c - any bytes as cases.jsonl: an error, or cases whose strings, fields and answers can be walked. */
#include <stdlib.h>
#include <string.h>

#include "tools/eval/eval_cases.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void walk(const eval_cases *cases, size_t size)
{
    size_t found;
    for (size_t i = 0; i < cases->n; i++) {
        const eval_case *c = &cases->cases[i];
        if (c->id[0] == '\0' || c->n_images > TASK_IMAGES_MAX || !eval_cases_find(cases, c->id, &found) || found != i)
            abort();
        for (size_t k = 0; k < c->n_fields; k++)
            if (strlen(c->fields[k].name) + strlen(c->fields[k].value) > size)
                abort();
        for (size_t k = 0; k < c->n_images; k++)
            if (c->images[k].file[0] == '/')
                abort();
        for (size_t k = 0; k < c->n_answers; k++)
            if (strlen(c->answers[k]) > size)
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static task_set *set;
    static const char *const names[] = {"classify", "medqa", "precisionfda-variant-calling"};
    base_error error = {0};
    eval_cases cases = {0};
    if (set == NULL && task_set_open(NULL, &set, &error) != BASE_OK)
        abort();
    for (size_t i = 0; i <= sizeof names / sizeof names[0]; i++) {
        const task *t = NULL;
        if (i > 0 && task_set_find(set, names[i - 1], &t, &error) != BASE_OK)
            abort();
        if (eval_cases_parse("fuzz", bytes, size, t, &cases, &error) != BASE_OK)
            continue;
        walk(&cases, size);
        eval_cases_release(&cases);
    }
    return 0;
}
