/* fuzz_wire.c - any bytes as a Request and as a Reply: an error with words, or a message that is within its limits and
 * comes back the same after encoding. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/utf8.h"
#include "proto/wire/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void require_text(const char *text)
{
    require(text != NULL && base_utf8_is_valid(text, strlen(text)));
}

static void require_limits(const wire_generate *g)
{
    uint32_t sum = 0;
    require(g->n_parts >= 1 && g->n_parts <= WIRE_PARTS_MAX && g->n_stop <= WIRE_STOP_MAX);
    require(g->sampling.temperature >= 0.0f && g->sampling.temperature <= 10.0f);
    require(g->sampling.top_p > 0.0f && g->sampling.top_p <= 1.0f);
    for (size_t i = 0; i < g->n_parts; i++) {
        const wire_part *part = &g->parts[i];
        if (part->kind == WIRE_PART_TEXT)
            require_text(part->text);
        if (part->kind == WIRE_PART_TASK)
            require_text(part->task);
        for (size_t j = 0; j < part->n_fields; j++) {
            require_text(part->fields[j].name);
            require_text(part->fields[j].value);
        }
        for (size_t j = 0; j < part->image_bytes; j++)
            sum += part->image[j];
    }
    for (size_t i = 0; i < g->n_stop; i++)
        require_text(g->stop[i]);
    require(sum != UINT32_MAX); /* the bytes were read */
}

static void try_request(const uint8_t *bytes, size_t size)
{
    wire_request request, again;
    base_error error = {0};
    base_status status = wire_request_decode(bytes, size, &request, &error);
    require(request.request_id[WIRE_REQUEST_ID_BYTES_MAX] == '\0');
    if (status != BASE_OK) {
        require(error.status == status && error.text[0] != '\0' && request.owner == NULL);
        return;
    }
    if (request.kind == WIRE_REQUEST_GENERATE)
        require_limits(&request.generate);

    base_buf first = {0}, second = {0};
    require(wire_request_encode(&request, &first, NULL) == BASE_OK);
    require(wire_request_decode(first.data, first.size, &again, &error) == BASE_OK);
    require(wire_request_encode(&again, &second, NULL) == BASE_OK);
    require(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    wire_request_release(&request);
    wire_request_release(&again);
    base_buf_release(&first);
    base_buf_release(&second);
}

static void try_reply(const uint8_t *bytes, size_t size)
{
    wire_reply reply;
    base_error error = {0};
    if (wire_reply_decode(bytes, size, &reply, &error) != BASE_OK) {
        require(error.text[0] != '\0' && reply.owner == NULL);
        return;
    }
    base_buf out = {0};
    require(wire_reply_encode(&reply, &out, NULL) == BASE_OK);
    wire_reply_release(&reply);
    base_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    try_request(bytes, size);
    try_reply(bytes, size);
    return 0;
}
