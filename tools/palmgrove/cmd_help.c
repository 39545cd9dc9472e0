#include <stdio.h>
#include <string.h>

#include "tools/palmgrove/command.h"
#include "tools/palmgrove/help.h"

typedef struct help_values {
    const char *topic;
    const char *format;
} help_values;

static const option_row rows[] = {
    {"command", "COMMAND", OPTION_TEXT, offsetof(help_values, topic), NULL, "the command to explain",
     OPTION_POSITIONAL | OPTION_NO_ENVIRONMENT},
    {"format", "FORMAT", OPTION_TEXT, offsetof(help_values, format), "text",
     "text, or everything as markdown (docs/CONFIG.md), man (the manual page) or bash (completion)",
     OPTION_NO_ENVIRONMENT},
};

static int run(void *opaque)
{
    const help_values *values = opaque;
    if (strcmp(values->format, "markdown") == 0) {
        help_print_markdown(stdout);
    } else if (strcmp(values->format, "man") == 0) {
        help_print_man(stdout);
    } else if (strcmp(values->format, "bash") == 0) {
        help_print_bash(stdout);
    } else if (strcmp(values->format, "text") != 0) {
        fprintf(stderr, "palmgrove help: error: unknown format '%s'; known are text, markdown, man, bash\n",
                values->format);
        return EXIT_USAGE;
    } else if (values->topic == NULL) {
        help_print_overview(stdout);
    } else {
        const command *c = command_find(values->topic);
        if (c == NULL) {
            fprintf(stderr, "palmgrove help: error: unknown command '%s'; see 'palmgrove help'\n", values->topic);
            return EXIT_USAGE;
        }
        help_print_command(stdout, c);
    }
    return EXIT_DONE;
}

const command command_help = {"help",
                              "[COMMAND] [options]",
                              "explain a command",
                              "Explain a command and its options, or list the commands.",
                              {rows, sizeof rows / sizeof rows[0]},
                              sizeof(help_values),
                              run};
