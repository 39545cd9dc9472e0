/* cmd_health.c - `health` and `stats`: two questions about the server itself. */
#include <string.h>

#include "tools/palmgrove/console.h"

typedef struct ask_values {
    console_values client;
} ask_values;

static const option_row rows[] = {CONSOLE_ROWS(ask_values)};

static int run_health(void *opaque)
{
    const ask_values *values = opaque;
    pg_client *client = console_open(&values->client);
    if (client == NULL)
        return EXIT_FAILED;
    pg_health *health = NULL;
    pg_error error = {0};
    int code = EXIT_DONE;
    if (pg_client_health(client, &health, &error) == PG_OK) {
        printf("%s: palmgrove %s, model %s, %s, up %.0f s\n", health->state, health->version, health->model,
               health->layout, health->uptime_s);
        code = strcmp(health->state, "ready") == 0 ? EXIT_DONE : EXIT_FAILED;
        pg_health_destroy(&health);
    } else {
        code = console_fail(&values->client, &error);
    }
    console_close(&client);
    return code;
}

static void print_stats(const pg_stats *s)
{
    const struct {
        const char *name;
        uint64_t value;
    } lines[] = {
        {"requests_admitted", s->requests_admitted},
        {"requests_finished", s->requests_finished},
        {"requests_failed", s->requests_failed},
        {"requests_refused", s->requests_refused},
        {"requests_canceled", s->requests_canceled},
        {"queued", s->queued},
        {"running", s->running},
        {"prompt_tokens", s->prompt_tokens},
        {"completion_tokens", s->completion_tokens},
        {"steps", s->steps},
        {"kv_blocks_total", s->kv_blocks_total},
        {"kv_blocks_free", s->kv_blocks_free},
        {"malformed_messages", s->malformed_messages},
        {"resident_bytes", s->resident_bytes},
        {"prefix_requests", s->prefix_requests},
        {"prefix_tokens", s->prefix_tokens},
        {"drafted_tokens", s->drafted_tokens},
        {"accepted_tokens", s->accepted_tokens},
        {"kv_blocks_kept", s->kv_blocks_kept},
        {"images_reused", s->images_reused},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        printf("%-20s %llu\n", lines[i].name, (unsigned long long)lines[i].value);
}

static int run_stats(void *opaque)
{
    const ask_values *values = opaque;
    pg_client *client = console_open(&values->client);
    if (client == NULL)
        return EXIT_FAILED;
    pg_stats stats;
    pg_error error = {0};
    int code = EXIT_DONE;
    if (pg_client_stats(client, &stats, &error) == PG_OK)
        print_stats(&stats);
    else
        code = console_fail(&values->client, &error);
    console_close(&client);
    return code;
}

const command command_health = {"health",
                                "[options]",
                                "say whether a server is ready",
                                "Print the state of a server in one line. Exits with 0 when it is ready, 1 when it is "
                                "starting, draining or failed, 3 when nobody "
                                "answers.",
                                {rows, sizeof rows / sizeof rows[0]},
                                sizeof(ask_values),
                                run_health};

const command command_stats = {"stats",
                               "[options]",
                               "print a server's counters",
                               "Print the counters of a server, a name and a number a line.",
                               {rows, sizeof rows / sizeof rows[0]},
                               sizeof(ask_values),
                               run_stats};
