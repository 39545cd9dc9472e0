/* command.h - the subcommands, like git's: a row each with its options and its function. */
#ifndef PALMGROVE_COMMAND_H
#define PALMGROVE_COMMAND_H

#include "tools/palmgrove/options.h"

/* What the process exits with (docs/OPERATIONS.md). */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,      /* the request was refused or failed, or the server could not start or stopped on a failure */
    EXIT_USAGE = 2,       /* the command line is wrong */
    EXIT_UNREACHABLE = 3, /* no server answers at the endpoint */
    EXIT_INTERRUPTED = 130, /* ended by Ctrl-C */
};

/* Where a server listens and a client asks when nobody says otherwise: this machine only. */
#define COMMAND_ENDPOINT "tcp://127.0.0.1:7401"

typedef struct command {
    const char *name;
    const char *synopsis;    /* what follows the name, without options */
    const char *summary;     /* one line */
    const char *description; /* paragraphs, for help and the manual */
    option_table options;
    size_t values_bytes;      /* of the struct that the options fill */
    int (*run)(void *values); /* returns the exit code */
} command;

extern const command command_serve, command_report, command_ask, command_classify, command_variants, command_task,
    command_generate, command_demo, command_eval, command_health, command_stats, command_plan, command_shard,
    command_inspect, command_render, command_tokenize, command_perplexity, command_calibrate, command_bench,
    command_pileup, command_compare_variants, command_version, command_help;

/* All commands in the order of help, NULL-terminated. */
const command *const *command_list(void);

/* NULL when there is no such command. */
const command *command_find(const char *name);

/* "palmgrove: error: TEXT" on stderr. */
void command_complain(const char *text);

#endif
