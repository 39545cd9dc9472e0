/* demo_cases.c - held-out drawings as a data directory.  The drawings of all tasks are the same; each task has its own
 * copy, as links where the file system has them. */
#include "proto/base/file.h"
#include "tools/palmgrove/demo_cases.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/image/image.h"
#include "tools/eval/eval_cases.h"
#include "tools/output/json_text.h"

enum { N_TASKS = 4, TASK_REPORT = 0, TASK_VQA, TASK_CLASSIFY, TASK_CHOICE, N_CONDITIONS = 2 };

static const char *const names[N_TASKS] = {"report", "vqa", "classify", "choice"};

base_status demo_encode_drawing(const phantom_image *drawing, base_buf *out, base_error *error)
{
    uint32_t bits = drawing->max_value > 255 ? 16 : 8;
    void *samples = calloc((size_t)drawing->width * drawing->height, bits / 8);
    if (samples == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for a drawing");
    if (bits == 16)
        phantom_image_to_u16(drawing, samples);
    else
        phantom_image_to_u8(drawing, samples);
    base_status status = image_encode_png(samples, drawing->width, drawing->height, 1, bits, out, error);
    free(samples);
    return status;
}

/* ---- a line ---- */

static void begin_case(json_text *j, uint64_t index, const char *suffix)
{
    char text[64];
    j->depth = 0;
    j->begun[0] = false;
    json_text_open(j, NULL, '{');
    snprintf(text, sizeof text, "phantom-%llu%s", (unsigned long long)index, suffix);
    json_text_string(j, "id", text);
    snprintf(text, sizeof text, "phantom-%llu", (unsigned long long)index);
    json_text_string(j, "group", text);
    json_text_open(j, "images", '[');
    snprintf(text, sizeof text, "images/%llu.png", (unsigned long long)index);
    json_text_string(j, NULL, text);
    json_text_close(j, ']');
    json_text_open(j, "fields", '{');
}

static void end_case(json_text *j, const phantom_case *facts, const char *slice, const char *value, const char *answer)
{
    json_text_close(j, '}');
    json_text_open(j, "slices", '{');
    json_text_string(j, "view", phantom_case_view(facts));
    json_text_string(j, slice, value);
    json_text_close(j, '}');
    json_text_string(j, "answer", answer);
    json_text_close(j, '}');
}

static void put_report(json_text *j, const phantom_case *facts, uint64_t index)
{
    char report[PHANTOM_REPORT_BYTES];
    phantom_case_report(facts, report);
    begin_case(j, index, "");
    json_text_string(j, "view", phantom_case_view(facts));
    json_text_string(j, "indication", phantom_case_indication(facts));
    int n = __builtin_popcount(phantom_case_labels(facts));
    end_case(j, facts, "findings", n == 0 ? "none" : n == 1 ? "one" : "several", report);
}

static void put_question(json_text *j, const phantom_case *facts, uint64_t index, phantom_question_kind kind)
{
    phantom_question q;
    const char *type = kind == PHANTOM_OPEN ? "open" : "closed";
    phantom_case_question(facts, kind, 0, &q);
    begin_case(j, index, kind == PHANTOM_OPEN ? "-open" : "-closed");
    json_text_string(j, "question", q.text);
    json_text_string(j, "type", type);
    end_case(j, facts, "type", type, q.answer);
}

static void put_condition(json_text *j, const phantom_case *facts, uint64_t index, uint32_t number)
{
    phantom_question q;
    char suffix[16];
    phantom_case_question(facts, PHANTOM_CLASSIFY, number, &q);
    snprintf(suffix, sizeof suffix, "-%u", number);
    begin_case(j, index, suffix);
    json_text_string(j, "condition", q.text);
    json_text_string(j, "view", phantom_case_view(facts));
    end_case(j, facts, "condition", q.text, q.answer);
}

static void put_choice(json_text *j, const phantom_case *facts, uint64_t index)
{
    static const char *const fields[PHANTOM_MAX_OPTIONS] = {"option_a", "option_b", "option_c", "option_d"};
    phantom_question q;
    char count[16];
    phantom_case_question(facts, PHANTOM_CHOICE, 0, &q);
    begin_case(j, index, "");
    json_text_string(j, "question", q.text);
    for (uint32_t i = 0; i < q.n_options; i++)
        json_text_string(j, fields[i], q.options[i]);
    snprintf(count, sizeof count, "%u", q.n_options);
    end_case(j, facts, "options", count, q.answer);
}

static void put_lines(base_buf *lines, const phantom_case *facts, uint64_t index)
{
    json_text j[N_TASKS];
    for (size_t t = 0; t < N_TASKS; t++)
        j[t] = (json_text){.out = &lines[t], .one_line = true};
    put_report(&j[TASK_REPORT], facts, index);
    put_question(&j[TASK_VQA], facts, index, PHANTOM_OPEN);
    put_question(&j[TASK_VQA], facts, index, PHANTOM_CLOSED);
    for (uint32_t k = 0; k < N_CONDITIONS; k++)
        put_condition(&j[TASK_CLASSIFY], facts, index, k);
    put_choice(&j[TASK_CHOICE], facts, index);
}

/* ---- files ---- */

static bool path_of(char out[PATH_MAX], const char *dir, size_t t, const char *name)
{
    return (size_t)snprintf(out, PATH_MAX, "%s/%s/%s", dir, names[t], name) < PATH_MAX;
}

static base_status write_drawing(const char *dir, const phantom_case *facts, uint64_t index, base_error *error)
{
    phantom_image drawing;
    base_buf png = {0};
    char name[64], first[PATH_MAX], path[PATH_MAX];
    if (phantom_case_draw(facts, &drawing) != BASE_OK)
        return base_fail(error, BASE_ENOMEM, "out of memory for a drawing");
    base_status status = demo_encode_drawing(&drawing, &png, error);
    phantom_image_release(&drawing);
    snprintf(name, sizeof name, "images/%llu.png", (unsigned long long)index);
    for (size_t t = 0; status == BASE_OK && t < N_TASKS; t++) {
        if (!path_of(path, dir, t, name))
            status = base_fail(error, BASE_ETOOBIG, "'%.200s' is too long a name", dir);
        else if (t == 0 || (unlink(path), link(first, path) != 0))
            status = base_file_replace(path, &png, error);
        if (t == 0)
            memcpy(first, path, sizeof first);
    }
    base_buf_release(&png);
    return status;
}

static base_status make_dirs(const char *dir, base_error *error)
{
    char path[PATH_MAX];
    bool made = mkdir(dir, 0777) == 0 || errno == EEXIST;
    for (size_t t = 0; made && t < N_TASKS; t++) {
        made = path_of(path, dir, t, "") && (mkdir(path, 0777) == 0 || errno == EEXIST);
        made = made && path_of(path, dir, t, "images") && (mkdir(path, 0777) == 0 || errno == EEXIST);
    }
    return made ? BASE_OK : base_fail(error, BASE_EIO, "cannot make folders in '%.200s': %s", dir, strerror(errno));
}

static base_status write_texts(const char *dir, const base_buf *lines, base_error *error)
{
    static const char about[] = "{\"name\": \"Phantom, held-out drawings\", \"version\": \"1\", \"source\": \"drawn by "
                                "palmgrove demo --cases; drawings, not patients\", "
                                "\"made_by\": \"palmgrove demo\"}\n";
    char path[PATH_MAX];
    base_status status = BASE_OK;
    for (size_t t = 0; status == BASE_OK && t < N_TASKS; t++)
        status = path_of(path, dir, t, "cases.jsonl")
                     ? base_file_replace(path, &lines[t], error)
                     : base_fail(error, BASE_ETOOBIG, "'%.200s' is too long a name", dir);
    base_buf text = {0};
    base_buf_put(&text, about, sizeof about - 1);
    if (status == BASE_OK && (size_t)snprintf(path, sizeof path, "%s/dataset.json", dir) >= sizeof path)
        status = base_fail(error, BASE_ETOOBIG, "'%.200s' is too long a name", dir);
    if (status == BASE_OK)
        status = base_file_replace(path, &text, error);
    base_buf_release(&text);
    return status;
}

base_status demo_write_cases(const char *dir, uint64_t first, uint32_t n, base_error *error)
{
    base_buf lines[N_TASKS] = {{0}};
    base_status status = make_dirs(dir, error);
    for (uint64_t i = first; status == BASE_OK && i < first + n; i++) {
        phantom_case facts;
        phantom_case_init(&facts, phantom_seed(PHANTOM_HELD_OUT, i));
        status = write_drawing(dir, &facts, i, error);
        put_lines(lines, &facts, i);
    }
    if (status == BASE_OK)
        status = write_texts(dir, lines, error);
    for (size_t t = 0; t < N_TASKS; t++)
        base_buf_release(&lines[t]);
    return status;
}
