/* cmd_ask.c - a question about an image: the task "vqa", or another that has a field called question. */
#include "tools/palmgrove/console_task.h"

typedef struct ask_values {
    console_values client;
    console_answer_values answer;
    console_task_values task;
    option_list words; /* images, then the question */
} ask_values;

static const option_row rows[] = {
    {"words", "IMAGE... QUESTION", OPTION_LIST, offsetof(ask_values, words), NULL,
     "image files, and the question as the last word", OPTION_POSITIONAL | OPTION_REQUIRED | OPTION_NO_ENVIRONMENT},
    CONSOLE_IMAGE_ROWS(ask_values),
    CONSOLE_TASK_ROWS(ask_values, "vqa"),
    CONSOLE_ROWS(ask_values),
    CONSOLE_ANSWER_ROWS(ask_values),
};

static int run(void *opaque)
{
    const ask_values *values = opaque;
    const task_field question = {"question", values->words.items[values->words.n - 1].value};
    console_task asked;
    int code = console_task_open(&values->task, &question, 1, &asked);
    if (code == EXIT_DONE)
        code = console_task_answer(&asked, &values->client, &values->answer, values->words.items, values->words.n - 1);
    console_task_release(&asked);
    return code;
}

const command command_ask = {
    "ask",
    "IMAGE... QUESTION [options]",
    "answer a question about an image",
    "Send an image and a question to a server and print the answer:\n\n"
    "    palmgrove ask chest.png \"Is there a pneumothorax?\" --field type=closed\n"
    "    palmgrove ask --task medqa \"Which vitamin ...?\" --field options=\"Vitamin A\" --field options=\"Vitamin "
    "C\"\n\n"
    "The task must have a field called question; `palmgrove task show NAME` prints its fields.",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(ask_values),
    run};
