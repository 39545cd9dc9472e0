#include "tools/palmgrove/help.h"

#include <string.h>

enum { NAME_COLUMN = 28, LINE_WIDTH = 110 };

/* Print words of `text`, broken between words, each new line indented to `indent`; newlines in the text are kept. */
static void print_wrapped(FILE *out, const char *text, size_t column, size_t indent)
{
    while (*text != '\0') {
        if (*text == '\n') {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            for (text++; *text == ' '; text++) /* an example keeps its own indentation */
                fputc(' ', out);
            continue;
        }
        size_t word = strcspn(text, " \n");
        if (column > indent && column + 1 + word > LINE_WIDTH) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", (int)word, text);
        column += word;
        text += word;
        if (*text == ' ')
            text++;
    }
    fputc('\n', out);
}

static void print_row(FILE *out, const option_row *row)
{
    char left[96];
    if ((row->flags & OPTION_POSITIONAL) != 0)
        snprintf(left, sizeof left, "  %s", row->argument);
    else if (row->argument != NULL)
        snprintf(left, sizeof left, "  --%s %s", row->name, row->argument);
    else
        snprintf(left, sizeof left, "  --%s", row->name);
    char text[512];
    bool has_default = row->initial != NULL && row->initial[0] != '\0';
    snprintf(text, sizeof text, "%s%s%s%s%s", row->help, row->kind == OPTION_LIST ? " (may be repeated)" : "",
             has_default ? " [" : "", has_default ? row->initial : "", has_default ? "]" : "");
    if (strlen(left) < NAME_COLUMN)
        fprintf(out, "%-*s", NAME_COLUMN, left);
    else
        fprintf(out, "%s\n%*s", left, NAME_COLUMN, "");
    print_wrapped(out, text, NAME_COLUMN, NAME_COLUMN);
}

void help_print_overview(FILE *out)
{
    fprintf(out, "palmgrove serves multimodal biomedical decoders on CPU clusters over MPI.\n\n"
                 "usage: palmgrove COMMAND [arguments]\n\n");
    for (const command *const *c = command_list(); *c != NULL; c++)
        fprintf(out, "  %-10s %s\n", (*c)->name, (*c)->summary);
    fprintf(out, "\n'palmgrove help COMMAND' explains a command.  Start with 'palmgrove demo'.\n");
}

void help_print_command(FILE *out, const command *c)
{
    fprintf(out, "usage: palmgrove %s %s\n\n", c->name, c->synopsis);
    print_wrapped(out, c->description, 0, 0);
    fputc('\n', out);
    for (size_t i = 0; i < c->options.n_rows; i++)
        print_row(out, &c->options.rows[i]);
    fprintf(out,
            "  --help                    print this\n"
            "\nEvery long option that is a setting can also be given as an environment variable: PALMGROVE_<OPTION>\n"
            "(upper case, '-' as '_').  The command line wins.\n");
}

/* ---- docs/CONFIG.md ---- */

static void markdown_command(FILE *out, const command *c)
{
    fprintf(out, "\n## palmgrove %s %s\n\n%s\n", c->name, c->synopsis, c->description);
    if (c->options.n_rows == 0)
        return;
    fprintf(out, "\n| option | variable | default | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < c->options.n_rows; i++) {
        const option_row *row = &c->options.rows[i];
        char variable[64];
        option_environment_name(row, variable);
        bool positional = (row->flags & OPTION_POSITIONAL) != 0;
        fprintf(out, "| `%s%s%s%s` | ", positional ? "" : "--", positional ? row->argument : row->name,
                !positional && row->argument != NULL ? " " : "",
                !positional && row->argument != NULL ? row->argument : "");
        if (variable[0] != '\0')
            fprintf(out, "`%s`", variable);
        fprintf(out, " | ");
        if (row->initial != NULL && row->initial[0] != '\0')
            fprintf(out, "`%s`", row->initial);
        fprintf(out, " | %s%s |\n", row->help, row->kind == OPTION_LIST ? " (may be repeated)" : "");
    }
}

void help_print_markdown(FILE *out)
{
    fprintf(out,
            "# Configuration\n\n"
            "Written by `palmgrove help --format markdown` from the option tables in `tools/palmgrove/`; a test keeps "
            "it current.\n"
            "\nA setting comes from the command line, else from its environment variable, else it has its default.\n");
    for (const command *const *c = command_list(); *c != NULL; c++)
        markdown_command(out, *c);
}

/* ---- the manual page ---- */

/* roff text: a backslash and a leading dot are syntax, and a bare hyphen may be set as a dash. */
static void print_roff(FILE *out, const char *text)
{
    bool line_start = true;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\n' && c[1] == '\n') {
            fputs("\n.PP", out);
            continue;
        }
        if (line_start && (*c == '.' || *c == '\''))
            fputs("\\&", out);
        if (*c == '\\')
            fputs("\\e", out);
        else if (*c == '-')
            fputs("\\-", out);
        else
            fputc(*c, out);
        line_start = *c == '\n';
    }
}

static void man_row(FILE *out, const option_row *row)
{
    bool positional = (row->flags & OPTION_POSITIONAL) != 0;
    fprintf(out, ".TP\n");
    if (positional) {
        fprintf(out, "\\fI%s\\fR\n", row->argument);
    } else {
        fprintf(out, "\\fB\\-\\-");
        print_roff(out, row->name);
        fprintf(out, "\\fR");
        if (row->argument != NULL)
            fprintf(out, " \\fI%s\\fR", row->argument);
        fputc('\n', out);
    }
    print_roff(out, row->help);
    if (row->kind == OPTION_LIST)
        fprintf(out, " (may be repeated)");
    if (row->initial != NULL && row->initial[0] != '\0') {
        fprintf(out, "; default ");
        print_roff(out, row->initial);
    }
    fprintf(out, ".\n");
}

static const char manual_end[] =
    ".SH ENVIRONMENT\n"
    "Every long option that is a setting has a variable \\fBPALMGROVE_\\fR\\fIOPTION\\fR (upper case, \\- as _); the "
    "command line wins.\n"
    ".SH SIGNALS\n"
    "A server ends on SIGTERM, SIGINT or SIGUSR1 sent to rank 0, or on SIGUSR1 sent to mpirun: it refuses new "
    "requests, finishes the\n"
    "admitted ones, and leaves nothing behind. A second signal cancels what still runs.\n"
    "SIGTERM to mpirun works as well, but gives the ranks only twice the seconds of\n"
    "\\fB\\-\\-mca odls_base_sigkill_timeout\\fR (1 by default), and mpirun then exits with 1.\n"
    ".SH EXIT STATUS\n"
    ".TP\n\\fB0\\fR\nthe request was answered, or the server ended as it was told to\n"
    ".TP\n\\fB1\\fR\nthe request was refused or failed; the server could not start, or ended on a failure\n"
    ".TP\n\\fB2\\fR\nthe command line is wrong\n"
    ".TP\n\\fB3\\fR\nno server answers at the endpoint\n"
    ".TP\n\\fB130\\fR\ninterrupted\n"
    ".SH SEE ALSO\n"
    ".BR mpirun (1)\n";

void help_print_man(FILE *out)
{
    fprintf(out, ".\\\" Written by 'palmgrove help --format man'; a test keeps it current.\n"
                 ".TH PALMGROVE 1\n.SH NAME\n"
                 "palmgrove \\- serve multimodal biomedical decoders on CPU clusters over MPI\n"
                 ".SH SYNOPSIS\n");
    for (const command *const *c = command_list(); *c != NULL; c++) {
        fprintf(out, ".B palmgrove %s\n", (*c)->name);
        print_roff(out, (*c)->synopsis);
        fprintf(out, "\n.br\n");
    }
    fprintf(out, ".SH COMMANDS\n");
    for (const command *const *c = command_list(); *c != NULL; c++) {
        fprintf(out, ".SS %s\n", (*c)->name);
        print_roff(out, (*c)->description);
        fputc('\n', out);
        for (size_t i = 0; i < (*c)->options.n_rows; i++)
            man_row(out, &(*c)->options.rows[i]);
    }
    fputs(manual_end, out);
}

/* ---- bash completion ---- */

void help_print_bash(FILE *out)
{
    fprintf(out, "# bash completion for palmgrove; written by 'palmgrove help --format bash'\n"
                 "_palmgrove()\n{\n"
                 "    local word=${COMP_WORDS[COMP_CWORD]} options=\n"
                 "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                 "        COMPREPLY=($(compgen -W '");
    for (const command *const *c = command_list(); *c != NULL; c++)
        fprintf(out, "%s%s", c == command_list() ? "" : " ", (*c)->name);
    fprintf(out, "' -- \"$word\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n");
    for (const command *const *c = command_list(); *c != NULL; c++) {
        fprintf(out, "    %s) options='", (*c)->name);
        for (size_t i = 0; i < (*c)->options.n_rows; i++)
            if (((*c)->options.rows[i].flags & OPTION_POSITIONAL) == 0)
                fprintf(out, "--%s ", (*c)->options.rows[i].name);
        fprintf(out, "--help' ;;\n");
    }
    fprintf(out, "    esac\n"
                 "    case $word in\n"
                 "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
                 "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
                 "    esac\n}\ncomplete -o filenames -F _palmgrove palmgrove\n");
}
