/* cmd_report.c - a report about an image, or about several views of one study: a task that answers in text, with its
 * fields. */
#include "tools/palmgrove/console_task.h"

#include <stdlib.h>

typedef struct report_values {
    console_values client;
    console_answer_values answer;
    console_task_values task;
    option_list images, views;
    const char *indication;
} report_values;

static const option_row rows[] = {
    {"image", "IMAGE", OPTION_LIST, offsetof(report_values, images), NULL,
     "an image file; several when the task takes several", OPTION_POSITIONAL | OPTION_REQUIRED | OPTION_NO_ENVIRONMENT},
    {"indication", "TEXT", OPTION_TEXT, offsetof(report_values, indication), NULL, "the reason for the study",
     OPTION_NO_ENVIRONMENT},
    {"view", "VIEW", OPTION_LIST, offsetof(report_values, views), NULL,
     "how the image was taken: PA, AP; one for each image", OPTION_NO_ENVIRONMENT},
    CONSOLE_IMAGE_ROWS(report_values),
    CONSOLE_TASK_ROWS(report_values, "report"),
    CONSOLE_ROWS(report_values),
    CONSOLE_ANSWER_ROWS(report_values),
};

static int run(void *opaque)
{
    const report_values *values = opaque;
    size_t n = 1 + values->views.n;
    task_field *extra = calloc(n, sizeof *extra);
    if (extra == NULL) {
        command_complain("out of memory");
        return EXIT_FAILED;
    }
    extra[0] = (task_field){"indication", values->indication};
    for (size_t i = 1; i < n; i++)
        extra[i] = (task_field){"view", values->views.items[i - 1].value};
    console_task asked;
    int code = console_task_open(&values->task, extra, n, &asked);
    if (code == EXIT_DONE)
        code = console_task_answer(&asked, &values->client, &values->answer, values->images.items, values->images.n);
    console_task_release(&asked);
    free(extra);
    return code;
}

const command command_report = {
    "report",
    "IMAGE... [options]",
    "write a report about an image",
    "Send an image, or several views of one study, to a server and print the report as it is written:\n\n"
    "    palmgrove report chest.png --indication \"shortness of breath\"\n"
    "    palmgrove report pa.png lateral.png --task mimic-cxr-report --view PA --view LATERAL\n"
    "    palmgrove report study.dcm --field-from-dicom indication=0032,1030 --field-from-dicom view=ViewPosition\n\n"
    "--indication and --view are the fields of these names. Nothing of a DICOM header's texts gets into the "
    "prompt but the elements that are named so.",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(report_values),
    run};
