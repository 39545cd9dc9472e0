#include "tools/palmgrove/console.h"

#include <signal.h>
#include <string.h>

#include "tools/output/json_text.h"

/* A signal handler can reach nothing but globals: the client whose call Ctrl-C cancels. */
static pg_client *volatile running;
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
    pg_client *client = running;
    if (client != NULL)
        pg_client_cancel(client);
}

bool console_is_interrupted(void)
{
    return interrupted != 0;
}

pg_client *console_open(const console_values *values)
{
    pg_client *client = NULL;
    pg_error error;
    if (pg_client_open(values->endpoint, values->timeout_ms, &client, &error) != PG_OK) {
        command_complain(error.text);
        return NULL;
    }
    running = client;
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return client;
}

void console_close(pg_client **client)
{
    running = NULL;
    pg_client_close(client);
}

int console_fail(const console_values *values, const pg_error *error)
{
    if (error->status == PG_ECANCELED && console_is_interrupted())
        return EXIT_INTERRUPTED;
    if (error->status == PG_EUNREACHABLE) {
        fprintf(stderr, "palmgrove: error: no server answers at '%s': %s\n", values->endpoint, error->text);
        return EXIT_UNREACHABLE;
    }
    fprintf(stderr, "palmgrove: error: %s: %s\n", pg_status_text(error->status), error->text);
    return EXIT_FAILED;
}

/* ---- the answer ---- */

static const char *finish_text(pg_finish finish)
{
    static const char *const texts[] = {"unknown", "eos", "stop", "length"};
    return finish >= PG_FINISH_UNKNOWN && finish <= PG_FINISH_LENGTH ? texts[finish] : texts[0];
}

void console_print_account(FILE *out, const char *indent, const pg_result *result)
{
    double decode_ms = result->total_ms - result->first_token_ms;
    fprintf(out, "%s%u prompt tokens (%u of images), %u answered; first token after %.0f ms, all after %.0f ms", indent,
            result->prompt_tokens, result->image_tokens, result->completion_tokens, result->first_token_ms,
            result->total_ms);
    if (result->completion_tokens > 1 && decode_ms > 0)
        fprintf(out, " (%.0f tokens/s)", (result->completion_tokens - 1) * 1000.0 / decode_ms);
    if (result->reused_tokens > 0)
        fprintf(out, "; %u prompt tokens reused", result->reused_tokens);
    if (result->drafted_tokens > 0)
        fprintf(out, "; %u of %u guesses right", result->accepted_tokens, result->drafted_tokens);
    fprintf(out, "\n%smodel %s %.16s, palmgrove %s, %s, %s, seed %llu", indent, result->model, result->model_digest,
            result->version, result->layout, result->isa, (unsigned long long)result->seed);
    if (result->logits_digest[0] != '\0')
        fprintf(out, ", logits %s", result->logits_digest);
    fputc('\n', out);
}

void console_print_json_string(const char *text)
{
    base_buf quoted = {0};
    json_text_quote(&quoted, text);
    fwrite(quoted.data, 1, quoted.size, stdout);
    base_buf_release(&quoted);
}

static void print_json_field(const char *name, const char *text)
{
    printf(",\"%s\":", name);
    console_print_json_string(text);
}

static void print_json_warnings(const pg_result *r)
{
    printf(",\"warnings\":[");
    for (size_t i = 0; i < r->n_warnings; i++) {
        const pg_warning *w = &r->warnings[i];
        printf("%s{\"code\":%u,\"image\":%u", i == 0 ? "" : ",", w->code, w->image);
        print_json_field("name", w->name);
        print_json_field("message", w->message);
        printf("}");
    }
    printf("]");
}

static void print_json(const pg_result *r)
{
    printf("{\"text\":");
    console_print_json_string(r->text);
    print_json_field("finish", finish_text(r->finish));
    printf(",\"ids\":[");
    for (size_t i = 0; i < r->n_ids; i++)
        printf("%s%u", i == 0 ? "" : ",", r->ids[i]);
    printf("],\"prompt_tokens\":%u,\"image_tokens\":%u,\"completion_tokens\":%u", r->prompt_tokens, r->image_tokens,
           r->completion_tokens);
    printf(",\"prepare_ms\":%.3f,\"queue_ms\":%.3f,\"first_token_ms\":%.3f,\"total_ms\":%.3f", r->prepare_ms,
           r->queue_ms, r->first_token_ms, r->total_ms);
    printf(",\"reused_tokens\":%u,\"drafted_tokens\":%u,\"accepted_tokens\":%u", r->reused_tokens, r->drafted_tokens,
           r->accepted_tokens);
    print_json_field("request_id", r->request_id);
    print_json_field("model", r->model);
    print_json_field("model_digest", r->model_digest);
    print_json_field("version", r->version);
    print_json_field("layout", r->layout);
    print_json_field("isa", r->isa);
    printf(",\"seed\":%llu", (unsigned long long)r->seed);
    print_json_field("logits_digest", r->logits_digest);
    print_json_warnings(r);
    printf("}\n");
}

static bool print_delta(void *context, const char *delta)
{
    (void)context;
    fputs(delta, stdout);
    fflush(stdout);
    return !ferror(stdout); /* nobody reads any more: cancel */
}

void console_apply(const console_answer_values *answer, pg_request *request)
{
    pg_request_set_sampling(request, answer->temperature, answer->top_k, answer->top_p, answer->seed);
    pg_request_set_max_tokens(request, answer->max_tokens);
    pg_request_set_deadline_ms(request, answer->deadline_ms);
    pg_request_set_stat(request, answer->urgent);
    pg_request_set_logits_digest(request, answer->logits_digest);
    pg_request_set_strict_images(request, answer->strict);
}

int console_answer(pg_client *client, const console_values *values, const console_answer_values *answer,
                   pg_request *request)
{
    console_apply(answer, request);
    bool stream = !answer->json && !answer->whole;
    pg_result *result = NULL;
    pg_error error = {0};
    if (pg_client_generate(client, request, stream ? print_delta : NULL, NULL, &result, &error) != PG_OK) {
        if (stream)
            fputc('\n', stdout); /* what was streamed ends its line */
        fflush(stdout);
        return console_fail(values, &error);
    }
    if (answer->json)
        print_json(result);
    else
        printf("%s\n", stream ? "" : result->text);
    fflush(stdout);
    for (size_t i = 0; !answer->json && i < result->n_warnings; i++)
        fprintf(stderr, "palmgrove: warning: image %u: %s\n", result->warnings[i].image + 1,
                result->warnings[i].message);
    if (!answer->json && !answer->quiet)
        console_print_account(stderr, "", result);
    pg_result_destroy(&result);
    return ferror(stdout) ? EXIT_FAILED : EXIT_DONE;
}
