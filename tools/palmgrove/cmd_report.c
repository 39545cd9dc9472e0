/* cmd_report.c - a report about one image: the "report" task with its fields. */
#include "tools/palmgrove/console.h"

typedef struct report_values {
    console_values client;
    console_answer_values answer;
    const char *image, *indication, *view;
} report_values;

static const option_row rows[] = {
    {"image", "IMAGE", OPTION_TEXT, offsetof(report_values, image), NULL, "a JPEG or PNG file",
     OPTION_POSITIONAL | OPTION_REQUIRED | OPTION_NO_ENVIRONMENT},
    {"indication", "TEXT", OPTION_TEXT, offsetof(report_values, indication), NULL, "the reason for the study",
     OPTION_NO_ENVIRONMENT},
    {"view", "VIEW", OPTION_TEXT, offsetof(report_values, view), NULL, "how the image was taken: PA, AP",
     OPTION_NO_ENVIRONMENT},
    CONSOLE_ROWS(report_values),
    CONSOLE_ANSWER_ROWS(report_values),
};

static int run(void *opaque)
{
    const report_values *values = opaque;
    pg_request *request = pg_request_create();
    pg_client *client = console_open(&values->client);
    int code = EXIT_FAILED;
    if (request != NULL && client != NULL) {
        pg_request_add_task(request, "report");
        if (values->indication != NULL)
            pg_request_add_field(request, "indication", values->indication);
        if (values->view != NULL)
            pg_request_add_field(request, "view", values->view);
        pg_request_add_image_file(request, values->image);
        code = console_answer(client, &values->client, &values->answer, request);
    }
    console_close(&client);
    pg_request_destroy(&request);
    return code;
}

const command command_report = {"report",
                                "IMAGE [options]",
                                "write a report about an image",
                                "Send an image to a server and print the report as it is written.",
                                {rows, sizeof rows / sizeof rows[0]},
                                sizeof(report_values),
                                run};
