#include "tools/ask/ask.h"

#include <string.h>

void ask_add_task(const ask_task *asked, pg_request *request)
{
    pg_request_add_task(request, asked->task->name);
    for (size_t i = 0; i < asked->n_fields; i++)
        pg_request_add_field(request, asked->fields[i].name, asked->fields[i].value);
}

bool ask_score_class(const ask_task *asked, size_t i, const char *begin, pg_request *request)
{
    base_buf answer = {0};
    base_buf_put(&answer, begin, strlen(begin));
    task_class_answer(asked->task, asked->fields, asked->n_fields, i, &answer);
    base_buf_put_u8(&answer, 0);
    bool made = !answer.failed;
    if (made)
        pg_request_set_answer(request, (const char *)answer.data);
    base_buf_release(&answer);
    return made;
}

double ask_score(const pg_result *result)
{
    double sum = 0.0;
    for (size_t k = 0; k < result->n_logprobs; k++)
        sum += (double)result->logprobs[k];
    return sum;
}
