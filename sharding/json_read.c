#include "sharding/json_read.h"

#include <stdio.h>
#include <string.h>

base_status shard_json_parse(const char *file, const void *bytes, size_t size, json_t **out, base_error *error)
{
    json_error_t why;
    json_t *root = json_loadb(size > 0 ? bytes : "", size, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL)
        return base_fail(error, BASE_EFORMAT, "'%s' is not valid JSON: line %d, column %d", file, why.line, why.column);
    if (!json_is_object(root)) {
        json_decref(root);
        return base_fail(error, BASE_EFORMAT, "'%s' does not hold a JSON object", file);
    }
    *out = root;
    return BASE_OK;
}

shard_json shard_json_over(const json_t *object, const char *file, const char *path, base_error *error)
{
    return (shard_json){.object = object, .file = file, .path = path, .error = error, .status = BASE_OK};
}

bool shard_json_has(const shard_json *json, const char *field)
{
    const json_t *value = json_object_get(json->object, field);
    return value != NULL && !json_is_null(value);
}

void shard_json_fail(shard_json *json, const char *field, const char *expected)
{
    if (json->status != BASE_OK)
        return;
    const char *problem = json_object_get(json->object, field) == NULL ? "is missing" : "is wrong";
    json->status = base_fail(json->error, BASE_EFORMAT, "'%s': field '%s%s' %s: expected %s", json->file, json->path,
                             field, problem, expected);
}

uint32_t shard_json_u32(shard_json *json, const char *field, uint32_t min, uint32_t max)
{
    const json_t *value = json_object_get(json->object, field);
    if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        if (number >= (json_int_t)min && number <= (json_int_t)max)
            return (uint32_t)number;
    }
    char expected[64];
    snprintf(expected, sizeof expected, "an integer from %u to %u", min, max);
    shard_json_fail(json, field, expected);
    return min;
}

double shard_json_number(shard_json *json, const char *field, double min, double max)
{
    const json_t *value = json_object_get(json->object, field);
    if (json_is_number(value)) {
        double number = json_number_value(value);
        if (number >= min && number <= max)
            return number;
    }
    char expected[96];
    snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    shard_json_fail(json, field, expected);
    return min;
}

bool shard_json_bool(shard_json *json, const char *field)
{
    const json_t *value = json_object_get(json->object, field);
    if (!json_is_boolean(value))
        shard_json_fail(json, field, "true or false");
    return json_is_true(value);
}

const char *shard_json_text(shard_json *json, const char *field)
{
    const char *text = json_string_value(json_object_get(json->object, field));
    if (text != NULL && shard_name_is_plain(text, 63))
        return text;
    shard_json_fail(json, field, "a short text");
    return "";
}

void shard_json_numbers(shard_json *json, const char *field, size_t n, double min, double max, float *out)
{
    const json_t *array = json_object_get(json->object, field);
    bool good = json_is_array(array) && json_array_size(array) == n;
    for (size_t i = 0; i < n; i++) {
        const json_t *value = good ? json_array_get(array, i) : NULL;
        double number = json_number_value(value);
        good = good && json_is_number(value) && number >= min && number <= max;
        out[i] = (float)(good ? number : min);
    }
    char expected[96];
    snprintf(expected, sizeof expected, "%zu numbers from %g to %g", n, min, max);
    if (!good)
        shard_json_fail(json, field, expected);
}

uint32_t shard_json_u32_or(shard_json *json, const char *field, uint32_t min, uint32_t max, uint32_t otherwise)
{
    return shard_json_has(json, field) ? shard_json_u32(json, field, min, max) : otherwise;
}

double shard_json_number_or(shard_json *json, const char *field, double min, double max, double otherwise)
{
    return shard_json_has(json, field) ? shard_json_number(json, field, min, max) : otherwise;
}

bool shard_json_bool_or(shard_json *json, const char *field, bool otherwise)
{
    return shard_json_has(json, field) ? shard_json_bool(json, field) : otherwise;
}

const char *shard_json_text_or(shard_json *json, const char *field, const char *otherwise)
{
    return shard_json_has(json, field) ? shard_json_text(json, field) : otherwise;
}

bool shard_name_is_plain(const char *name, size_t max)
{
    size_t n = strlen(name);
    if (n == 0 || n > max)
        return false;
    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] > '~')
            return false;
    return true;
}
