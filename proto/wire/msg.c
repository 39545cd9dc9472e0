/* msg.c - between the typed messages of msg.h and the generated structures of protobuf-c, which no other file sees.
 *
 *     encode:  wire_request -> generated tree of borrowed pointers -> packed into the buffer
 *     decode:  bytes -> scan.c (structure, UTF-8, counts) -> unpacked tree -> typed arrays that point into it
 *              -> wire_limits.c (ranges)
 *
 * The typed arrays borrow the tree's strings and image bytes, so images and vectors are copied once, from the socket's
 * message.  The owner holds the tree and the arrays. */
#include "proto/wire/msg.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"
#include "proto/wire/palmgrove.pb-c.h"
#include "proto/wire/scan_int.h"

typedef struct message_owner {
    ProtobufCMessage *tree;
    wire_part *parts; /* requests only; they and the fields share one allocation */
    wire_field *fields;
    wire_warning *warnings; /* replies only */
} message_owner;

static void owner_destroy(void **opaque)
{
    message_owner *owner = *opaque;
    if (owner == NULL)
        return;
    protobuf_c_message_free_unpacked(owner->tree, NULL);
    free(owner->parts);
    free(owner->warnings);
    free(owner);
    *opaque = NULL;
}

/* ---- both directions ---- */

static base_status pack(const ProtobufCMessage *message, base_buf *out, base_error *error)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    if (!base_buf_reserve(out, size))
        return base_fail(error, BASE_ENOMEM, "out of memory for a message of %zu bytes", size);
    out->size += protobuf_c_message_pack(message, out->data + out->size);
    return BASE_OK;
}

/* The unpacker's malloc.  It cannot report why it failed, so `failed` records that memory ran out. */
static void *note_alloc(void *failed, size_t size)
{
    void *memory = malloc(size > 0 ? size : 1);
    if (memory == NULL)
        *(bool *)failed = true;
    return memory;
}

static void plain_free(void *unused, void *memory)
{
    (void)unused;
    free(memory);
}

/* Scan and unpack; *out owns the tree. */
static base_status unpack(const ProtobufCMessageDescriptor *type, const void *bytes, size_t size, message_owner **out,
                          base_error *error)
{
    if (size > WIRE_MESSAGE_BYTES_MAX)
        return base_fail(error, BASE_ETOOBIG, "message has %zu bytes; the limit is %d", size, WIRE_MESSAGE_BYTES_MAX);
    base_status status = scan_message(type, bytes, size, error);
    if (status != BASE_OK)
        return status;

    bool failed = false;
    ProtobufCAllocator allocator = {.alloc = note_alloc, .free = plain_free, .allocator_data = &failed};
    message_owner *owner = calloc(1, sizeof *owner);
    if (owner == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for a message");
    owner->tree = protobuf_c_message_unpack(type, &allocator, size, bytes);
    if (owner->tree == NULL) {
        free(owner);
        return failed ? base_fail(error, BASE_ENOMEM, "out of memory for a message of %zu bytes", size)
                      : base_fail(error, BASE_EFORMAT, "message is not a protobuf %s", type->short_name);
    }
    *out = owner;
    return BASE_OK;
}

static base_status check_version(uint32_t version, base_error *error)
{
    if (version == WIRE_VERSION)
        return BASE_OK;
    return base_fail(error, BASE_EUNSUPPORTED, "protocol version %u is not spoken here; use version %u", version,
                     WIRE_VERSION);
}

/* Unpack a message whose head said `version`.  A later version's other fields may mean other things: they are not
 * looked at. */
static base_status unpack_version(const ProtobufCMessageDescriptor *type, const void *bytes, size_t size,
                                  uint32_t version, message_owner **out, base_error *error)
{
    base_status status = version > WIRE_VERSION ? check_version(version, error) : BASE_OK;
    if (status == BASE_OK)
        status = unpack(type, bytes, size, out, error);
    return status == BASE_OK ? check_version(version, error) : status;
}

/* End a decode: what was unpacked goes to *kept, or is freed on failure. */
static base_status keep_or_destroy(base_status status, void *owner, void **kept)
{
    if (status == BASE_OK)
        *kept = owner;
    else
        owner_destroy(&owner);
    return status;
}

static base_status no_memory(base_error *error)
{
    return base_fail(error, BASE_ENOMEM, "out of memory for a message");
}

/* The generated structures have `char *` and no const; nothing writes through them while packing.  NULL packs as "". */
static char *unconst(const char *text)
{
    return (char *)text;
}

/* ---- request, encoding ---- */

/* The generated nodes of a prompt: parts[i] points at nodes[i], a task node at tasks[i], vectors at vectors[i], a
 * task's fields follow one another in fields. */
typedef struct part_nodes {
    Palmgrove__V1__Part **parts;
    Palmgrove__V1__Part *nodes;
    Palmgrove__V1__TaskCall *tasks;
    Palmgrove__V1__Vectors *vectors;
    Palmgrove__V1__Field **field_list;
    Palmgrove__V1__Field *fields;
} part_nodes;

static void part_nodes_release(part_nodes *nodes)
{
    free(nodes->parts);
    free(nodes->nodes);
    free(nodes->tasks);
    free(nodes->vectors);
    free(nodes->field_list);
    free(nodes->fields);
}

static bool part_nodes_init(part_nodes *nodes, const wire_generate *generate)
{
    size_t n = generate->n_parts, n_fields = 0;
    for (size_t i = 0; i < n; i++)
        if (generate->parts[i].kind == WIRE_PART_TASK)
            n_fields += generate->parts[i].n_fields;
    nodes->parts = calloc(n + 1, sizeof *nodes->parts);
    nodes->nodes = calloc(n + 1, sizeof *nodes->nodes);
    nodes->tasks = calloc(n + 1, sizeof *nodes->tasks);
    nodes->vectors = calloc(n + 1, sizeof *nodes->vectors);
    nodes->field_list = calloc(n_fields + 1, sizeof *nodes->field_list);
    nodes->fields = calloc(n_fields + 1, sizeof *nodes->fields);
    return nodes->parts != NULL && nodes->nodes != NULL && nodes->tasks != NULL && nodes->vectors != NULL &&
           nodes->field_list != NULL && nodes->fields != NULL;
}

/* Fill task node i; returns how many field nodes are used after it. */
static size_t fill_task(part_nodes *nodes, size_t i, const wire_part *part, size_t used)
{
    Palmgrove__V1__TaskCall *task = &nodes->tasks[i];
    palmgrove__v1__task_call__init(task);
    task->name = unconst(part->task);
    task->n_fields = part->n_fields;
    task->fields = nodes->field_list + used;
    for (size_t j = 0; j < part->n_fields; j++, used++) {
        palmgrove__v1__field__init(&nodes->fields[used]);
        nodes->fields[used].name = unconst(part->fields[j].name);
        nodes->fields[used].value = unconst(part->fields[j].value);
        nodes->field_list[used] = &nodes->fields[used];
    }
    return used;
}

static base_status fill_parts(part_nodes *nodes, const wire_generate *generate, base_error *error)
{
    size_t used = 0;
    for (size_t i = 0; i < generate->n_parts; i++) {
        const wire_part *part = &generate->parts[i];
        Palmgrove__V1__Part *node = &nodes->nodes[i];
        palmgrove__v1__part__init(node);
        nodes->parts[i] = node;
        switch (part->kind) {
        case WIRE_PART_TEXT:
            node->part_case = PALMGROVE__V1__PART__PART_TEXT;
            node->text = unconst(part->text != NULL ? part->text : "");
            break;
        case WIRE_PART_IMAGE:
            node->part_case = PALMGROVE__V1__PART__PART_IMAGE;
            node->image = (ProtobufCBinaryData){.len = part->image_bytes, .data = (uint8_t *)part->image};
            node->image_frame = part->image_frame;
            break;
        case WIRE_PART_TASK:
            node->part_case = PALMGROVE__V1__PART__PART_TASK;
            node->task = &nodes->tasks[i];
            used = fill_task(nodes, i, part, used);
            break;
        case WIRE_PART_VECTORS:
            node->part_case = PALMGROVE__V1__PART__PART_VECTORS;
            node->vectors = &nodes->vectors[i];
            palmgrove__v1__vectors__init(node->vectors);
            node->vectors->encoder = unconst(part->encoder != NULL ? part->encoder : "");
            node->vectors->width = part->width;
            node->vectors->n_values = part->n_values;
            node->vectors->values = (float *)part->values;
            break;
        default:
            return base_fail(error, BASE_EINVAL, "part %zu has no kind", i);
        }
    }
    return BASE_OK;
}

static base_status encode_generate(const wire_generate *generate, Palmgrove__V1__Request *request, base_buf *out,
                                   base_error *error)
{
    Palmgrove__V1__Sampling sampling = PALMGROVE__V1__SAMPLING__INIT;
    sampling.temperature = generate->sampling.temperature;
    sampling.top_k = generate->sampling.top_k;
    sampling.top_p = generate->sampling.top_p;
    sampling.seed = generate->sampling.seed;

    Palmgrove__V1__Generate body = PALMGROVE__V1__GENERATE__INIT;
    part_nodes nodes = {0};
    base_status status = part_nodes_init(&nodes, generate) ? fill_parts(&nodes, generate, error) : no_memory(error);
    if (status == BASE_OK) {
        body.n_parts = generate->n_parts;
        body.parts = nodes.parts;
        body.sampling = &sampling;
        body.max_tokens = generate->max_tokens;
        body.n_stop = generate->n_stop;
        body.stop = (char **)generate->stop;
        body.stream = generate->stream;
        body.deadline_ms = generate->deadline_ms;
        body.priority = (Palmgrove__V1__Priority)generate->priority;
        body.logits_digest = generate->logits_digest;
        body.strict_images = generate->strict_images;
        body.n_resume_ids = generate->n_resume_ids;
        body.resume_ids = (uint32_t *)generate->resume_ids;
        body.answer = unconst(generate->answer);
        request->body_case = PALMGROVE__V1__REQUEST__BODY_GENERATE;
        request->generate = &body;
        status = pack(&request->base, out, error);
    }
    part_nodes_release(&nodes);
    return status;
}

base_status wire_request_encode(const wire_request *request, base_buf *out, base_error *error)
{
    Palmgrove__V1__Request tree = PALMGROVE__V1__REQUEST__INIT;
    Palmgrove__V1__Cancel cancel = PALMGROVE__V1__CANCEL__INIT;
    Palmgrove__V1__HealthQuery health = PALMGROVE__V1__HEALTH_QUERY__INIT;
    Palmgrove__V1__StatsQuery stats = PALMGROVE__V1__STATS_QUERY__INIT;
    tree.version = request->version;
    tree.request_id = unconst(request->request_id);
    switch (request->kind) {
    case WIRE_REQUEST_GENERATE:
        return encode_generate(&request->generate, &tree, out, error);
    case WIRE_REQUEST_CANCEL:
        tree.body_case = PALMGROVE__V1__REQUEST__BODY_CANCEL;
        tree.cancel = &cancel;
        break;
    case WIRE_REQUEST_HEALTH:
        tree.body_case = PALMGROVE__V1__REQUEST__BODY_HEALTH;
        tree.health = &health;
        break;
    case WIRE_REQUEST_STATS:
        tree.body_case = PALMGROVE__V1__REQUEST__BODY_STATS;
        tree.stats = &stats;
        break;
    default:
        return base_fail(error, BASE_EINVAL, "a request without a kind cannot be encoded");
    }
    return pack(&tree.base, out, error);
}

/* ---- request, decoding ---- */

/* Lay wire_part and wire_field arrays over the tree's.  The scan bounded both counts. */
static base_status convert_parts(message_owner *owner, const Palmgrove__V1__Generate *body, wire_generate *out,
                                 base_error *error)
{
    size_t n_fields = 0;
    for (size_t i = 0; i < body->n_parts; i++)
        if (body->parts[i]->part_case == PALMGROVE__V1__PART__PART_TASK)
            n_fields += body->parts[i]->task->n_fields;
    owner->parts = calloc(1, (body->n_parts + 1) * sizeof(wire_part) + n_fields * sizeof(wire_field));
    if (owner->parts == NULL)
        return no_memory(error);
    owner->fields = (wire_field *)(void *)(owner->parts + body->n_parts + 1);

    wire_field *field = owner->fields;
    for (size_t i = 0; i < body->n_parts; i++) {
        const Palmgrove__V1__Part *from = body->parts[i];
        wire_part *to = &owner->parts[i];
        switch (from->part_case) {
        case PALMGROVE__V1__PART__PART_TEXT:
            *to = (wire_part){.kind = WIRE_PART_TEXT, .text = from->text};
            break;
        case PALMGROVE__V1__PART__PART_IMAGE:
            *to = (wire_part){.kind = WIRE_PART_IMAGE,
                              .image = from->image.data,
                              .image_bytes = from->image.len,
                              .image_frame = from->image_frame};
            break;
        case PALMGROVE__V1__PART__PART_TASK:
            *to = (wire_part){
                .kind = WIRE_PART_TASK, .task = from->task->name, .fields = field, .n_fields = from->task->n_fields};
            for (size_t j = 0; j < to->n_fields; j++, field++)
                *field = (wire_field){.name = from->task->fields[j]->name, .value = from->task->fields[j]->value};
            break;
        case PALMGROVE__V1__PART__PART_VECTORS:
            *to = (wire_part){.kind = WIRE_PART_VECTORS,
                              .encoder = from->vectors->encoder,
                              .width = from->vectors->width,
                              .values = from->vectors->values,
                              .n_values = from->vectors->n_values};
            break;
        default:
            return base_fail(
                error, BASE_EUNSUPPORTED,
                "generate.parts[%zu] is of no kind known to protocol version %u; send text, image, vectors or task", i,
                WIRE_VERSION);
        }
    }
    out->parts = owner->parts;
    out->n_parts = body->n_parts;
    return BASE_OK;
}

static base_status convert_generate(message_owner *owner, const Palmgrove__V1__Generate *body, wire_generate *out,
                                    base_error *error)
{
    base_status status = convert_parts(owner, body, out, error);
    if (status != BASE_OK)
        return status;
    if (body->sampling != NULL) {
        out->sampling.temperature = body->sampling->temperature;
        out->sampling.top_k = body->sampling->top_k;
        out->sampling.top_p = body->sampling->top_p;
        out->sampling.seed = body->sampling->seed;
    }
    if (out->sampling.top_p == 0.0f)
        out->sampling.top_p = 1.0f;
    out->max_tokens = body->max_tokens;
    out->stop = (const char *const *)body->stop;
    out->n_stop = body->n_stop;
    out->stream = body->stream;
    out->deadline_ms = body->deadline_ms;
    out->priority = (wire_priority)body->priority;
    out->logits_digest = body->logits_digest;
    out->strict_images = body->strict_images;
    out->resume_ids = body->resume_ids;
    out->n_resume_ids = body->n_resume_ids;
    out->answer = body->answer;
    return wire_limits_check(out, error);
}

static base_status convert_request(message_owner *owner, wire_request *out, base_error *error)
{
    const Palmgrove__V1__Request *tree = (const Palmgrove__V1__Request *)owner->tree;
    switch (tree->body_case) {
    case PALMGROVE__V1__REQUEST__BODY_GENERATE:
        out->kind = WIRE_REQUEST_GENERATE;
        return convert_generate(owner, tree->generate, &out->generate, error);
    case PALMGROVE__V1__REQUEST__BODY_CANCEL:
        out->kind = WIRE_REQUEST_CANCEL;
        return BASE_OK;
    case PALMGROVE__V1__REQUEST__BODY_HEALTH:
        out->kind = WIRE_REQUEST_HEALTH;
        return BASE_OK;
    case PALMGROVE__V1__REQUEST__BODY_STATS:
        out->kind = WIRE_REQUEST_STATS;
        return BASE_OK;
    default:
        return base_fail(
            error, BASE_EUNSUPPORTED,
            "body is missing or of no kind known to protocol version %u; send generate, cancel, health or stats",
            WIRE_VERSION);
    }
}

base_status wire_request_decode(const void *bytes, size_t size, wire_request *out, base_error *error)
{
    wire_request head = {0};
    scan_head(bytes, size, &head.version, head.request_id, sizeof head.request_id);
    *out = head;

    message_owner *owner = NULL;
    wire_request request = head;
    base_status status = unpack_version(&palmgrove__v1__request__descriptor, bytes, size, head.version, &owner, error);
    if (status == BASE_OK && head.request_id[0] == '\0')
        status = base_fail(error, BASE_EINVAL, "request_id must be 1 to %d printable ASCII characters",
                           WIRE_REQUEST_ID_BYTES_MAX);
    if (status == BASE_OK)
        status = convert_request(owner, &request, error);
    if (status == BASE_OK)
        *out = request;
    return keep_or_destroy(status, owner, &out->owner);
}

void wire_request_release(wire_request *request)
{
    owner_destroy(&request->owner);
    *request = (wire_request){0};
}

/* ---- reply, encoding ---- */

/* The generated structures of the warnings, and pointers to them, in one allocation that the caller frees. */
static Palmgrove__V1__Warning **warning_trees(const wire_result *result)
{
    size_t n = result->n_warnings + 1;
    Palmgrove__V1__Warning **all = calloc(n, sizeof *all + sizeof **all);
    Palmgrove__V1__Warning *trees = all == NULL ? NULL : (Palmgrove__V1__Warning *)(void *)(all + n);
    for (size_t i = 0; all != NULL && i < result->n_warnings; i++) {
        palmgrove__v1__warning__init(&trees[i]);
        trees[i].code = result->warnings[i].code;
        trees[i].name = unconst(result->warnings[i].name);
        trees[i].image = result->warnings[i].image;
        trees[i].message = unconst(result->warnings[i].message);
        all[i] = &trees[i];
    }
    return all;
}

static base_status encode_result(const wire_result *result, Palmgrove__V1__Reply *tree, base_buf *out,
                                 base_error *error)
{
    Palmgrove__V1__Usage usage = PALMGROVE__V1__USAGE__INIT;
    usage.prompt_tokens = result->prompt_tokens;
    usage.image_tokens = result->image_tokens;
    usage.completion_tokens = result->completion_tokens;

    Palmgrove__V1__Timings timings = PALMGROVE__V1__TIMINGS__INIT;
    timings.prepare_ms = result->prepare_ms;
    timings.queue_ms = result->queue_ms;
    timings.first_token_ms = result->first_token_ms;
    timings.total_ms = result->total_ms;
    timings.reused_tokens = result->reused_tokens;
    timings.drafted_tokens = result->drafted_tokens;
    timings.accepted_tokens = result->accepted_tokens;

    Palmgrove__V1__Provenance provenance = PALMGROVE__V1__PROVENANCE__INIT;
    provenance.model = unconst(result->model);
    provenance.model_digest = unconst(result->model_digest);
    provenance.version = unconst(result->build);
    provenance.layout = unconst(result->layout);
    provenance.isa = unconst(result->isa);
    provenance.seed = result->seed;
    provenance.logits_digest = unconst(result->logits_digest);

    Palmgrove__V1__Result body = PALMGROVE__V1__RESULT__INIT;
    body.text = unconst(result->text);
    body.finish = (Palmgrove__V1__FinishReason)result->finish;
    body.usage = &usage;
    body.timings = &timings;
    body.provenance = &provenance;
    body.n_ids = result->n_ids;
    body.ids = (uint32_t *)result->ids;
    body.n_logprobs = result->n_logprobs;
    body.logprobs = (float *)result->logprobs;
    body.n_warnings = result->n_warnings;
    body.warnings = warning_trees(result);
    if (body.warnings == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for the warnings of a result");
    tree->body_case = PALMGROVE__V1__REPLY__BODY_RESULT;
    tree->result = &body;
    base_status status = pack(&tree->base, out, error);
    free(body.warnings);
    return status;
}

static base_status encode_token(const wire_token *token, Palmgrove__V1__Reply *tree, base_buf *out, base_error *error)
{
    Palmgrove__V1__TokenEvent body = PALMGROVE__V1__TOKEN_EVENT__INIT;
    body.index = token->index;
    body.n_ids = token->n_ids;
    body.ids = (uint32_t *)token->ids;
    body.text = unconst(token->text);
    tree->body_case = PALMGROVE__V1__REPLY__BODY_TOKEN;
    tree->token = &body;
    return pack(&tree->base, out, error);
}

static base_status encode_error(const wire_error *cause, Palmgrove__V1__Reply *tree, base_buf *out, base_error *error)
{
    Palmgrove__V1__Error body = PALMGROVE__V1__ERROR__INIT;
    body.code = cause->code;
    body.name = unconst(base_status_text((base_status)cause->code));
    body.message = unconst(cause->message);
    tree->body_case = PALMGROVE__V1__REPLY__BODY_ERROR;
    tree->error = &body;
    return pack(&tree->base, out, error);
}

static base_status encode_health(const wire_health *health, Palmgrove__V1__Reply *tree, base_buf *out,
                                 base_error *error)
{
    Palmgrove__V1__Health body = PALMGROVE__V1__HEALTH__INIT;
    body.state = unconst(health->state);
    body.version = unconst(health->build);
    body.model = unconst(health->model);
    body.layout = unconst(health->layout);
    body.uptime_s = health->uptime_s;
    tree->body_case = PALMGROVE__V1__REPLY__BODY_HEALTH;
    tree->health = &body;
    return pack(&tree->base, out, error);
}

/* The names are the same on both sides, so both directions come from one list. */
/* clang-format off */
#define STATS_FIELDS(X)                                                                                        \
    X(requests_admitted) X(requests_finished) X(requests_failed) X(requests_refused) X(requests_canceled)      \
    X(queued) X(running) X(prompt_tokens) X(completion_tokens) X(steps) X(kv_blocks_total) X(kv_blocks_free)   \
    X(malformed_messages) X(resident_bytes) X(prefix_requests) X(prefix_tokens) X(drafted_tokens)              \
    X(accepted_tokens) X(kv_blocks_kept) X(images_reused)
/* clang-format on */

static base_status encode_stats(const wire_stats *stats, Palmgrove__V1__Reply *tree, base_buf *out, base_error *error)
{
    Palmgrove__V1__Stats body = PALMGROVE__V1__STATS__INIT;
#define X(field) body.field = stats->field;
    STATS_FIELDS(X)
#undef X
    tree->body_case = PALMGROVE__V1__REPLY__BODY_STATS;
    tree->stats = &body;
    return pack(&tree->base, out, error);
}

base_status wire_reply_encode(const wire_reply *reply, base_buf *out, base_error *error)
{
    Palmgrove__V1__Reply tree = PALMGROVE__V1__REPLY__INIT;
    tree.version = reply->version;
    tree.request_id = unconst(reply->request_id);
    switch (reply->kind) {
    case WIRE_REPLY_TOKEN:
        return encode_token(&reply->token, &tree, out, error);
    case WIRE_REPLY_RESULT:
        return encode_result(&reply->result, &tree, out, error);
    case WIRE_REPLY_ERROR:
        return encode_error(&reply->error, &tree, out, error);
    case WIRE_REPLY_HEALTH:
        return encode_health(&reply->health, &tree, out, error);
    case WIRE_REPLY_STATS:
        return encode_stats(&reply->stats, &tree, out, error);
    default:
        return base_fail(error, BASE_EINVAL, "a reply without a kind cannot be encoded");
    }
}

/* ---- reply, decoding ---- */

static base_status convert_warnings(message_owner *owner, const Palmgrove__V1__Result *body, wire_result *out,
                                    base_error *error)
{
    owner->warnings = calloc(body->n_warnings + 1, sizeof *owner->warnings);
    if (owner->warnings == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for the warnings of a result");
    for (size_t i = 0; i < body->n_warnings; i++) {
        const Palmgrove__V1__Warning *from = body->warnings[i];
        owner->warnings[i] =
            (wire_warning){.code = from->code, .name = from->name, .message = from->message, .image = from->image};
    }
    out->warnings = owner->warnings;
    out->n_warnings = body->n_warnings;
    return BASE_OK;
}

static void convert_result(const Palmgrove__V1__Result *body, wire_result *out)
{
    static const Palmgrove__V1__Usage no_usage = PALMGROVE__V1__USAGE__INIT;
    static const Palmgrove__V1__Timings no_timings = PALMGROVE__V1__TIMINGS__INIT;
    static const Palmgrove__V1__Provenance no_provenance = PALMGROVE__V1__PROVENANCE__INIT;
    const Palmgrove__V1__Usage *usage = body->usage != NULL ? body->usage : &no_usage;
    const Palmgrove__V1__Timings *timings = body->timings != NULL ? body->timings : &no_timings;
    const Palmgrove__V1__Provenance *from = body->provenance != NULL ? body->provenance : &no_provenance;
    bool known = (uint32_t)body->finish <= WIRE_FINISH_LENGTH;
    *out = (wire_result){
        .text = body->text,
        .finish = known ? (wire_finish)body->finish : WIRE_FINISH_UNKNOWN,
        .ids = body->ids,
        .n_ids = body->n_ids,
        .logprobs = body->logprobs,
        .n_logprobs = body->n_logprobs,
        .prompt_tokens = usage->prompt_tokens,
        .image_tokens = usage->image_tokens,
        .completion_tokens = usage->completion_tokens,
        .prepare_ms = timings->prepare_ms,
        .queue_ms = timings->queue_ms,
        .first_token_ms = timings->first_token_ms,
        .total_ms = timings->total_ms,
        .reused_tokens = timings->reused_tokens,
        .drafted_tokens = timings->drafted_tokens,
        .accepted_tokens = timings->accepted_tokens,
        .model = from->model,
        .model_digest = from->model_digest,
        .build = from->version,
        .layout = from->layout,
        .isa = from->isa,
        .seed = from->seed,
        .logits_digest = from->logits_digest,
    };
}

static base_status convert_reply(message_owner *owner, wire_reply *out, base_error *error)
{
    const Palmgrove__V1__Reply *tree = (const Palmgrove__V1__Reply *)owner->tree;
    switch (tree->body_case) {
    case PALMGROVE__V1__REPLY__BODY_TOKEN:
        out->kind = WIRE_REPLY_TOKEN;
        out->token = (wire_token){.index = tree->token->index,
                                  .ids = tree->token->ids,
                                  .n_ids = tree->token->n_ids,
                                  .text = tree->token->text};
        return BASE_OK;
    case PALMGROVE__V1__REPLY__BODY_RESULT:
        out->kind = WIRE_REPLY_RESULT;
        convert_result(tree->result, &out->result);
        return convert_warnings(owner, tree->result, &out->result, error);
    case PALMGROVE__V1__REPLY__BODY_ERROR:
        out->kind = WIRE_REPLY_ERROR;
        out->error =
            (wire_error){.code = tree->error->code, .name = tree->error->name, .message = tree->error->message};
        return BASE_OK;
    case PALMGROVE__V1__REPLY__BODY_HEALTH:
        out->kind = WIRE_REPLY_HEALTH;
        out->health = (wire_health){.state = tree->health->state,
                                    .build = tree->health->version,
                                    .model = tree->health->model,
                                    .layout = tree->health->layout,
                                    .uptime_s = tree->health->uptime_s};
        return BASE_OK;
    case PALMGROVE__V1__REPLY__BODY_STATS:
        out->kind = WIRE_REPLY_STATS;
#define X(field) out->stats.field = tree->stats->field;
        STATS_FIELDS(X)
#undef X
        return BASE_OK;
    default:
        return base_fail(error, BASE_EUNSUPPORTED, "reply is of no kind known to protocol version %u", WIRE_VERSION);
    }
}

base_status wire_reply_decode(const void *bytes, size_t size, wire_reply *out, base_error *error)
{
    wire_reply head = {0};
    scan_head(bytes, size, &head.version, head.request_id, sizeof head.request_id);
    *out = head;

    message_owner *owner = NULL;
    wire_reply reply = head;
    base_status status = unpack_version(&palmgrove__v1__reply__descriptor, bytes, size, head.version, &owner, error);
    if (status == BASE_OK)
        status = convert_reply(owner, &reply, error);
    if (status == BASE_OK)
        *out = reply;
    return keep_or_destroy(status, owner, &out->owner);
}

void wire_reply_release(wire_reply *reply)
{
    owner_destroy(&reply->owner);
    *reply = (wire_reply){0};
}
