/* cmd_demo.c - the whole product in one command: a cluster of four ranks, three drawings, a report for each, two
 * questions.
 *
 * The drawings are made here from held-out seeds (tools/phantom): the model was never trained on them.  The first three
 * that show, in this order, several findings, one finding and none are taken, counting from --first. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/palmgrove/build_info.h"
#include "tools/palmgrove/console.h"
#include "tools/palmgrove/cluster.h"
#include "tools/palmgrove/demo_cases.h"
#include "tools/output/terminal.h"
#include "tools/phantom/phantom.h"

enum { N_CASES = 3, N_QUESTIONS = 2, START_S = 120, SILENCE_MS = 60000 };

typedef struct demo_values {
    const char *model, *out, *cases;
    uint32_t tp, pp, n_cases;
    uint64_t first;
} demo_values;

static const option_row rows[] = {
    {"model", "DIR", OPTION_TEXT, offsetof(demo_values, model), NULL,
     "the checkpoint; otherwise the phantom model that comes along", 0},
    {"out", "DIR", OPTION_TEXT, offsetof(demo_values, out), "palmgrove-demo", "where the drawings are written",
     OPTION_NO_ENVIRONMENT},
    {"tp", "N", OPTION_U32, offsetof(demo_values, tp), "2", "tensor-parallel ranks of a stage", OPTION_NO_ENVIRONMENT},
    {"pp", "N", OPTION_U32, offsetof(demo_values, pp), "2", "pipeline stages", OPTION_NO_ENVIRONMENT},
    {"first", "N", OPTION_U64, offsetof(demo_values, first), "0", "held-out drawing to begin with",
     OPTION_NO_ENVIRONMENT},
    {"cases", "DIR", OPTION_TEXT, offsetof(demo_values, cases), NULL,
     "start nothing: write held-out drawings with their true answers for `palmgrove eval`", OPTION_NO_ENVIRONMENT},
    {"n", "N", OPTION_U32, offsetof(demo_values, n_cases), "100", "drawings for --cases", OPTION_NO_ENVIRONMENT},
};

typedef struct demo_case {
    uint64_t index;
    phantom_case facts;
    char path[512];
} demo_case;

/* ---- the drawings ---- */

static unsigned n_labels(uint32_t labels)
{
    return (unsigned)__builtin_popcount(labels);
}

/* The case at or after `index` whose number of findings is as wanted: 2 stands for several. */
static void find_case(uint64_t index, unsigned wanted, demo_case *out)
{
    for (;; index++) {
        phantom_case_init(&out->facts, phantom_seed(PHANTOM_HELD_OUT, index));
        unsigned n = n_labels(phantom_case_labels(&out->facts));
        if (n == wanted || (wanted == 2 && n > 2)) {
            out->index = index;
            return;
        }
    }
}

static base_status write_file(const char *path, const base_buf *bytes, base_error *error)
{
    FILE *file = fopen(path, "wb");
    bool written = file != NULL && fwrite(bytes->data, 1, bytes->size, file) == bytes->size;
    if (file != NULL && fclose(file) != 0)
        written = false;
    return written ? BASE_OK : base_fail(error, BASE_EIO, "cannot write '%s': %s", path, strerror(errno));
}

static base_status draw_case(const char *dir, demo_case *c, base_error *error)
{
    phantom_image drawing;
    if (phantom_case_draw(&c->facts, &drawing) != BASE_OK)
        return base_fail(error, BASE_ENOMEM, "out of memory for a drawing");
    base_buf png = {0};
    base_status status = demo_encode_drawing(&drawing, &png, error);
    int n = snprintf(c->path, sizeof c->path, "%s/phantom-%llu.png", dir, (unsigned long long)c->index);
    if (status == BASE_OK && (n < 0 || (size_t)n >= sizeof c->path))
        status = base_fail(error, BASE_EINVAL, "folder '%s' has too long a name", dir);
    if (status == BASE_OK)
        status = write_file(c->path, &png, error);
    base_buf_release(&png);
    phantom_image_release(&drawing);
    return status;
}

static base_status draw_cases(const demo_values *values, demo_case *cases, base_error *error)
{
    static const unsigned wanted[N_CASES] = {2, 1, 0};
    if (mkdir(values->out, 0777) != 0 && errno != EEXIST)
        return base_fail(error, BASE_EIO, "cannot make folder '%s': %s", values->out, strerror(errno));
    for (size_t i = 0; i < N_CASES; i++) {
        find_case(values->first, wanted[i], &cases[i]);
        base_status status = draw_case(values->out, &cases[i], error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

/* ---- the conversation ---- */

static bool stream_paragraph(void *context, const char *delta)
{
    terminal_paragraph_write(context, delta);
    return true;
}

/* Run a request, its answer streamed under `label`.  NULL with a complaint when it failed. */
static pg_result *ask(pg_client *client, const console_values *values, pg_request *request, const char *label)
{
    terminal_print(stdout, TERMINAL_BOLD, "  %s\n", label);
    terminal_paragraph paragraph = terminal_paragraph_open(stdout, 4);
    pg_result *result = NULL;
    pg_error error = {0};
    pg_status status = request != NULL
                           ? pg_client_generate(client, request, stream_paragraph, &paragraph, &result, &error)
                           : PG_ENOMEM;
    terminal_paragraph_close(&paragraph);
    if (request == NULL)
        command_complain("out of memory");
    else if (status != PG_OK)
        console_fail(values, &error);
    return result;
}

static void print_reference(const char *label, const char *text)
{
    terminal_print(stdout, TERMINAL_DIM, "  %s\n", label);
    terminal_paragraph paragraph = terminal_paragraph_open(stdout, 4);
    terminal_paragraph_write(&paragraph, text);
    terminal_paragraph_close(&paragraph);
}

/* How the findings that the report states compare with those that were drawn. */
static void print_agreement(const phantom_case *facts, const char *report)
{
    uint32_t drawn = phantom_case_labels(facts), stated = phantom_report_findings(report);
    if (drawn == stated) {
        terminal_print(stdout, TERMINAL_GREEN, "  findings: %s\n",
                       drawn == 0 ? "none was drawn, none is stated"
                                  : "all that were drawn are stated, none is invented");
        return;
    }
    printf("  findings: %u of %u drawn are stated", n_labels(drawn & stated), n_labels(drawn));
    for (uint32_t label = 0; label < PHANTOM_N_LABELS; label++) {
        if ((drawn >> label & 1u) != (stated >> label & 1u))
            printf("; %s: %s", (drawn >> label & 1u) != 0 ? "missed" : "invented", phantom_label_text(label));
    }
    printf("\n");
}

static bool show_report(pg_client *client, const console_values *values, const demo_case *c, size_t number)
{
    char reference[PHANTOM_REPORT_BYTES];
    phantom_case_report(&c->facts, reference);
    terminal_print(stdout, TERMINAL_BOLD, "\n%zu. %s", number, c->path);
    printf("  (%s view; indication: %s)\n", phantom_case_view(&c->facts), phantom_case_indication(&c->facts));

    pg_request *request = pg_request_create();
    pg_request_add_task(request, "report");
    pg_request_add_field(request, "indication", phantom_case_indication(&c->facts));
    pg_request_add_field(request, "view", phantom_case_view(&c->facts));
    pg_request_add_image_file(request, c->path);
    pg_result *result = ask(client, values, request, "the model's report");
    pg_request_destroy(&request);
    if (result == NULL)
        return false;
    print_reference("what was drawn", reference);
    print_agreement(&c->facts, result->text);
    console_print_account(stdout, "  ", result);
    pg_result_destroy(&result);
    return true;
}

static bool show_question(pg_client *client, const console_values *values, const demo_case *c,
                          phantom_question_kind kind)
{
    phantom_question question;
    phantom_case_question(&c->facts, kind, 0, &question);
    char label[PHANTOM_TEXT_BYTES + 16];
    snprintf(label, sizeof label, "Q: %s", question.text);

    pg_request *request = pg_request_create();
    pg_request_add_task(request, "vqa");
    pg_request_add_field(request, "question", question.text);
    pg_request_add_field(request, "type", kind == PHANTOM_CLOSED ? "closed" : "open");
    pg_request_add_image_file(request, c->path);
    pg_result *result = ask(client, values, request, label);
    pg_request_destroy(&request);
    if (result == NULL)
        return false;
    printf("    (drawn: %s)\n", question.answer);
    pg_result_destroy(&result);
    return true;
}

static int show_all(pg_client *client, const console_values *values, const demo_case *cases)
{
    static const phantom_question_kind kinds[N_QUESTIONS] = {PHANTOM_OPEN, PHANTOM_CLOSED};
    for (size_t i = 0; i < N_CASES; i++)
        if (console_is_interrupted() || !show_report(client, values, &cases[i], i + 1))
            return console_is_interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
    terminal_print(stdout, TERMINAL_BOLD, "\nTwo questions about %s\n", cases[0].path);
    for (size_t i = 0; i < N_QUESTIONS; i++)
        if (console_is_interrupted() || !show_question(client, values, &cases[0], kinds[i]))
            return console_is_interrupted() ? EXIT_INTERRUPTED : EXIT_FAILED;
    return EXIT_DONE;
}

/* ---- the whole ---- */

static const char *find_model(const demo_values *values)
{
    static const char *const places[] = {BUILD_INFO_SOURCE_MODEL, BUILD_INFO_SHARED_MODEL};
    if (values->model != NULL)
        return values->model;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (access(places[i], R_OK) == 0)
            return places[i];
    return NULL;
}

static void print_line(const char *text)
{
    terminal_print(stdout, TERMINAL_DIM, "  | %s\n", text);
    fflush(stdout);
}

/* Start the cluster and talk to it; it is stopped by the caller. */
static int converse(cluster *c, const char *model, const demo_values *values, const demo_case *cases)
{
    const console_values server = {.endpoint = cluster_endpoint(c), .timeout_ms = SILENCE_MS};
    base_error error = {0};
    pg_client *client = console_open(&server); /* first, so that Ctrl-C is caught from here on */
    if (client == NULL)
        return EXIT_FAILED;
    int code = EXIT_FAILED;
    terminal_print(stdout, TERMINAL_BOLD, "\nStarting %u ranks: %u tensor-parallel x %u stages\n",
                   values->tp * values->pp, values->tp, values->pp);
    fflush(stdout);
    base_status status = cluster_start(c, model, values->tp, values->pp, &error);
    if (status == BASE_OK)
        status = cluster_wait(c, START_S, print_line, console_is_interrupted, &error);
    if (status == BASE_OK)
        code = show_all(client, &server, cases);
    else if (status == BASE_ECANCELED)
        code = EXIT_INTERRUPTED;
    else
        command_complain(error.text);
    console_close(&client);
    return code;
}

static int write_cases(const demo_values *values)
{
    base_error error = {0};
    if (values->n_cases == 0 || values->n_cases > 100000) {
        command_complain("--n must be from 1 to 100000");
        return EXIT_USAGE;
    }
    if (demo_write_cases(values->cases, values->first, values->n_cases, &error) != BASE_OK) {
        command_complain(error.text);
        return EXIT_FAILED;
    }
    printf("%u held-out drawings with their true answers are in %s; `palmgrove eval %s` asks a server about them\n",
           values->n_cases, values->cases, values->cases);
    return EXIT_DONE;
}

static int run(void *opaque)
{
    const demo_values *values = opaque;
    if (values->cases != NULL)
        return write_cases(values);
    const char *model = find_model(values);
    if (model == NULL) {
        command_complain("no model: '" BUILD_INFO_SOURCE_MODEL "' is not there; name one with --model DIR");
        return EXIT_FAILED;
    }
    if (values->tp == 0 || values->pp == 0 || values->tp > 64 || values->pp > 64) {
        command_complain("--tp and --pp must be from 1 to 64");
        return EXIT_USAGE;
    }
    terminal_print(stdout, TERMINAL_BOLD, "palmgrove %s", BUILD_INFO_VERSION);
    printf(" - this model interprets drawings; it is not a medical device\nmodel %s\n", model);

    demo_case cases[N_CASES];
    cluster *c = NULL;
    base_error error = {0};
    if (draw_cases(values, cases, &error) != BASE_OK || cluster_create(&c, &error) != BASE_OK) {
        command_complain(error.text);
        return EXIT_FAILED;
    }
    int code = converse(c, model, values, cases);
    terminal_print(stdout, TERMINAL_BOLD, "\nStopping the cluster\n");
    fflush(stdout);
    bool clean = cluster_destroy(&c);
    if (code == EXIT_DONE && !clean) {
        command_complain("the cluster did not end cleanly");
        code = EXIT_FAILED;
    }
    if (code == EXIT_DONE)
        printf("  all ranks ended, nothing is left behind; the drawings are in %s\n", values->out);
    return code;
}

const command command_demo = {"demo",
                              "[options]",
                              "start a 2 x 2 cluster here, report on three drawings, answer two questions, stop",
                              "Show the whole product: start four ranks on this machine, draw three chest phantoms "
                              "that the model has never seen, stream a report "
                              "about each beside what was drawn, answer two questions about one of them, print timings "
                              "and provenance, and stop everything. "
                              "The model interprets drawings; it is not a medical device.",
                              {rows, sizeof rows / sizeof rows[0]},
                              sizeof(demo_values),
                              run};
