/* cmd_tokenize.c - lines of text to lines of token ids, with a model's own tokenizer; no server, no weights.
 *
 * A line ends at a newline byte (or, --null, a NUL), which is not a part of it; other control characters are.  Bytes
 * that are not UTF-8 are read as U+FFFD (text_repair), as the reference tokenizers' callers do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/text.h"
#include "tools/palmgrove/command.h"

typedef struct tokenize_values {
    const char *model;
    bool special, pieces, start, null;
} tokenize_values;

#define AT(field) offsetof(tokenize_values, field)

static const option_row rows[] = {
    {"model", "MODEL", OPTION_TEXT, AT(model), NULL, "directory of a model, or a GGUF file",
     OPTION_POSITIONAL | OPTION_REQUIRED},
    {"special", NULL, OPTION_FLAG, AT(special), NULL,
     "read control tokens (\"<|im_end|>\") as such; else they are text", OPTION_NO_ENVIRONMENT},
    {"start", NULL, OPTION_FLAG, AT(start), NULL,
     "begin each line with what the model's prompts begin with (BOS), if anything", OPTION_NO_ENVIRONMENT},
    {"null", NULL, OPTION_FLAG, AT(null), NULL, "lines of input end with a NUL byte, so that they may hold newlines",
     OPTION_NO_ENVIRONMENT},
    {"pieces", NULL, OPTION_FLAG, AT(pieces), NULL, "print each id's piece too, as id=\"piece\"",
     OPTION_NO_ENVIRONMENT},
};

/* A quoted piece: what is no printable ASCII as \xNN, so that a line stays a line. */
static void print_piece(const text_tokenizer *tokenizer, int32_t id)
{
    size_t size;
    const char *bytes = text_piece_bytes(tokenizer, id, &size), *control = text_control_spelling(tokenizer, id);
    if (control != NULL) {
        bytes = control;
        size = strlen(control);
    }
    printf("%d=\"", id);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c >= 0x20 && c < 0x7F)
            putchar(c);
        else
            printf("\\x%02X", c);
    }
    putchar('"');
}

static base_status tokenize_line(const text_tokenizer *tokenizer, const tokenize_values *values, const char *line,
                                 size_t size, base_buf *text, text_ids *ids, base_error *error)
{
    base_buf_clear(text);
    text_repair(line, size, text);
    ids->n = 0;
    bool has_start = values->start && text_start_id(tokenizer) >= 0;
    if (text->failed || (has_start && !text_ids_push(ids, text_start_id(tokenizer))))
        return base_fail(error, BASE_ENOMEM, "no memory for a line of %zu bytes", size);
    text_part part = {.text = (const char *)text->data, .size = text->size, .is_trusted = values->special};
    return text_encode_parts(tokenizer, &part, 1, SIZE_MAX, ids, error);
}

static void print_ids(const text_tokenizer *tokenizer, const text_ids *ids, bool with_pieces)
{
    for (size_t i = 0; i < ids->n; i++) {
        if (i > 0)
            putchar(' ');
        if (with_pieces)
            print_piece(tokenizer, ids->ids[i]);
        else
            printf("%d", ids->ids[i]);
    }
    putchar('\n');
}

static base_status tokenize_input(const text_tokenizer *tokenizer, const tokenize_values *values, base_error *error)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    base_buf text = {0};
    text_ids ids = {0};
    base_status status = BASE_OK;
    char end = values->null ? '\0' : '\n';
    while (status == BASE_OK && (size = getdelim(&line, &capacity, end, stdin)) >= 0) {
        size_t length = (size_t)size - (size > 0 && line[size - 1] == end);
        status = tokenize_line(tokenizer, values, line, length, &text, &ids, error);
        if (status == BASE_OK)
            print_ids(tokenizer, &ids, values->pieces);
    }
    if (status == BASE_OK && (ferror(stdin) != 0 || fflush(stdout) != 0))
        status = base_fail(error, BASE_EIO, "cannot read the text, or write the ids");
    text_ids_release(&ids);
    base_buf_release(&text);
    free(line);
    return status;
}

static int run(void *opaque)
{
    const tokenize_values *values = opaque;
    text_tokenizer *tokenizer = NULL;
    base_error error = {0};
    base_status status = text_tokenizer_open(values->model, &tokenizer, &error);
    if (status == BASE_OK)
        status = tokenize_input(tokenizer, values, &error);
    if (status != BASE_OK)
        command_complain(error.text);
    text_tokenizer_close(&tokenizer);
    return status == BASE_OK ? EXIT_DONE : EXIT_FAILED;
}

const command command_tokenize = {"tokenize",
                                  "MODEL [options]",
                                  "turn lines of text into token ids",
                                  "Read lines from standard input and print the ids of each on a line, with the "
                                  "tokenizer of MODEL: tokenizer.model, tokenizer.json or "
                                  "the vocabulary of a GGUF file. Nothing is added to a line unless --start is said. "
                                  "Bytes that are not UTF-8 count as U+FFFD:\n\n"
                                  "    echo \"No pneumothorax.\" | palmgrove tokenize models/phantom --pieces",
                                  {rows, sizeof rows / sizeof rows[0]},
                                  sizeof(tokenize_values),
                                  run};
