/* metrics_tool.c - tools/metrics for tests/conformance/metrics.py: one request a line, one value a line.
 *
 *     {"metric": NAME, "n_classes": C, "positive": P, "cases": [{"prediction": S, "references": [S], "predicted": I,
 * "truth": I, "kind": 0|1|2, "scores": [D], "predicted_labels": [B], "true_labels": [B]}]}
 *
 * Answers VALUE, or "error: TEXT".  Memory goes with the process. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/metrics/metrics.h"

static int32_t integer(const json_t *object, const char *key, int32_t otherwise)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? (int32_t)json_integer_value(value) : otherwise;
}

static const bool *read_labels(const json_t *list)
{
    bool *labels = json_is_array(list) ? calloc(json_array_size(list) + 1, sizeof *labels) : NULL;
    for (size_t i = 0; labels != NULL && i < json_array_size(list); i++)
        labels[i] = json_is_true(json_array_get(list, i));
    return labels;
}

static const double *read_scores(const json_t *list)
{
    double *scores = json_is_array(list) ? calloc(json_array_size(list) + 1, sizeof *scores) : NULL;
    for (size_t i = 0; scores != NULL && i < json_array_size(list); i++)
        scores[i] = json_number_value(json_array_get(list, i));
    return scores;
}

static metric_case read_case(const json_t *object)
{
    const json_t *references = json_object_get(object, "references");
    const char **list = calloc(json_array_size(references) + 1, sizeof *list);
    for (size_t i = 0; list != NULL && i < json_array_size(references); i++)
        list[i] = json_string_value(json_array_get(references, i));
    return (metric_case){.prediction = json_string_value(json_object_get(object, "prediction")),
                         .references = list,
                         .n_references = list == NULL ? 0 : json_array_size(references),
                         .predicted = integer(object, "predicted", -1),
                         .truth = integer(object, "truth", 0),
                         .kind = (metric_variant)integer(object, "kind", 0),
                         .scores = read_scores(json_object_get(object, "scores")),
                         .predicted_labels = read_labels(json_object_get(object, "predicted_labels")),
                         .true_labels = read_labels(json_object_get(object, "true_labels"))};
}

static void answer(const json_t *request)
{
    const json_t *list = json_object_get(request, "cases");
    size_t n = json_array_size(list);
    metric_case *cases = calloc(n + 1, sizeof *cases);
    base_error error = {.text = "no such metric"};
    metric_result result;
    const char *name = json_string_value(json_object_get(request, "metric"));
    const metric *m = name == NULL ? NULL : metric_find(name);
    for (size_t i = 0; cases != NULL && i < n; i++)
        cases[i] = read_case(json_array_get(list, i));
    const metric_input input = {.cases = cases,
                                .n_cases = n,
                                .n_classes = (uint32_t)integer(request, "n_classes", 0),
                                .positive = integer(request, "positive", -1)};
    if (m == NULL || cases == NULL || metric_compute(m, &input, NULL, &result, &error) != BASE_OK)
        printf("error: %s\n", error.text);
    else
        printf("%.17g\n", result.value);
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        json_t *request = json_loads(line, 0, NULL);
        answer(request);
        fflush(stdout);
    }
    free(line);
    return 0;
}
