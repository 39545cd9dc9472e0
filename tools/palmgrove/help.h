/* help.h - everything that is said about the commands is printed from their tables: help, docs/CONFIG.md, the man page,
 * completion. */
#ifndef PALMGROVE_HELP_H
#define PALMGROVE_HELP_H

#include <stdio.h>

#include "tools/palmgrove/command.h"

/* All commands with their one-line summaries. */
void help_print_overview(FILE *out);

/* One command with its options, for a terminal. */
void help_print_command(FILE *out, const command *c);

/* docs/CONFIG.md, docs/man/palmgrove.1 and the bash completion, whole. */
void help_print_markdown(FILE *out);
void help_print_man(FILE *out);
void help_print_bash(FILE *out);

#endif
