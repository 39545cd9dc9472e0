/* main.c - palmgrove, one program with subcommands.
 *
 * main picks the command's row, lets the option table fill its values, and runs it.  Nothing else in the program exits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/nearest.h"
#include "tools/palmgrove/command.h"
#include "tools/palmgrove/help.h"
#include "tools/palmgrove/launch.h"

static const command *const commands[] = {&command_serve,    &command_report,     &command_ask,
                                          &command_classify, &command_variants,   &command_task,
                                          &command_generate, &command_demo,       &command_eval,
                                          &command_health,   &command_stats,      &command_plan,
                                          &command_shard,    &command_inspect,    &command_render,
                                          &command_tokenize, &command_perplexity, &command_calibrate,
                                          &command_bench,    &command_pileup,     &command_compare_variants,
                                          &command_version,  &command_help,       NULL};

const command *const *command_list(void)
{
    return commands;
}

const command *command_find(const char *name)
{
    for (size_t i = 0; commands[i] != NULL; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

void command_complain(const char *text)
{
    fprintf(stderr, "palmgrove: error: %s\n", text);
}

static int unknown_command(const char *name)
{
    const char *names[sizeof commands / sizeof commands[0]];
    size_t n = 0;
    while (commands[n] != NULL) {
        names[n] = commands[n]->name;
        n++;
    }
    const char *nearest = base_nearest(name, names, n);
    if (nearest != NULL)
        fprintf(stderr, "palmgrove: error: unknown command '%s'; did you mean '%s'?\n", name, nearest);
    else
        fprintf(stderr, "palmgrove: error: unknown command '%s'; see 'palmgrove help'\n", name);
    return EXIT_USAGE;
}

static int run_command(const command *c, int argc, char **argv)
{
    void *values = calloc(1, c->values_bytes);
    if (values == NULL) {
        command_complain("out of memory");
        return EXIT_FAILED;
    }
    bool help = false;
    base_error error = {0};
    int code = EXIT_USAGE;
    if (option_parse(&c->options, argc, argv, values, &help, &error) != BASE_OK) {
        /* Every rank reads the same command line; one of them says what is wrong with it. */
        if (launch_is_first_rank())
            fprintf(stderr, "palmgrove %s: error: %s; see 'palmgrove help %s'\n", c->name, error.text, c->name);
    } else if (help) {
        help_print_command(stdout, c);
        code = EXIT_DONE;
    } else {
        code = c->run(values);
    }
    option_release(&c->options, values);
    free(values);
    return code;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help_print_overview(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    const command *c = command_find(name);
    return c != NULL ? run_command(c, argc - 2, argv + 2) : unknown_command(name);
}
