/* link_messages.c - HELLO, FAILED and STOP as little-endian messages (PLAN and RESULT: plan.c, plan_result.c).
 *
 *     HELLO   type u8 | protocol tp pp u32 | link_limits u32 ... | model_digest [64] isa [15] | n_threads u32
 *             | weights_bytes_max kv_bytes_max workspace_bytes_max u64
 *     FAILED  type u8 | status u32 | text to the end of the message
 *     STOP    type u8 */
#include "proto/link/link.h"

#include <string.h>

/* Of the kernel set's name; where it ends in a '+', a provider of products is named at the end of the hello. */
#define ISA_CHARS      15u
#define PROVIDER_CHARS 40u

/* At most `most` bytes of a text in a fixed field of `size` bytes, padded with zeros. */
static void put_text(base_buf *out, const char *text, size_t most, size_t size)
{
    char field[64] = {0};
    size_t length = strnlen(text, most);
    memcpy(field, text, length);
    base_buf_put(out, field, size);
}

void link_hello_encode(const link_hello *hello, base_buf *out)
{
    const link_limits *limits = &hello->limits;
    base_buf_put_u8(out, LINK_HELLO);
    base_buf_put_u32(out, hello->protocol);
    base_buf_put_u32(out, hello->tp);
    base_buf_put_u32(out, hello->pp);
    base_buf_put_u32(out, limits->max_seqs);
    base_buf_put_u32(out, limits->max_positions);
    base_buf_put_u32(out, limits->max_step_tokens);
    base_buf_put_u32(out, limits->n_kv_blocks);
    base_buf_put_u32(out, limits->n_image_slots);
    base_buf_put_u32(out, limits->rows_per_image);
    base_buf_put_u32(out, limits->image_size);
    base_buf_put_u32(out, limits->vocab_size);
    base_buf_put_u32(out, limits->whole_images);
    for (int kind = 0; kind < LINK_VECTOR_KINDS; kind++)
        base_buf_put_u32(out, limits->vector_widths[kind]);
    base_buf_put_u32(out, limits->n_draft_blocks);
    base_buf_put_u32(out, limits->draft_positions);
    put_text(out, hello->model_digest, sizeof hello->model_digest - 1, sizeof hello->model_digest - 1);
    const char *plus = strchr(hello->isa, '+');
    put_text(out, hello->isa, plus != NULL ? (size_t)(plus + 1 - hello->isa) : ISA_CHARS, ISA_CHARS);
    base_buf_put_u32(out, hello->n_threads);
    base_buf_put_u64(out, hello->weights_bytes_max);
    base_buf_put_u64(out, hello->kv_bytes_max);
    base_buf_put_u64(out, hello->workspace_bytes_max);
    if (plus != NULL)
        put_text(out, plus + 1, PROVIDER_CHARS, PROVIDER_CHARS);
}

static void get_text(base_reader *reader, char *out, size_t size)
{
    const void *field = base_reader_take(reader, size);
    if (field != NULL)
        memcpy(out, field, size);
    out[size] = '\0';
}

static bool is_hex_digest(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

#define VECTOR_WIDTH_MAX (1u << 20) /* far above any model's */

/* Sizes that the scheduler multiplies must be in range: token ids and image rows are int32, an image's bytes fit in
 * memory.
 */
static base_status check_hello(const link_hello *hello, base_error *error)
{
    const link_limits *limits = &hello->limits;
    if (hello->tp == 0 || hello->pp == 0)
        return base_fail(error, BASE_EFORMAT, "HELLO message: layout is tp %u x pp %u", hello->tp, hello->pp);
    if (limits->max_seqs == 0 || limits->max_positions == 0 || limits->max_step_tokens == 0 || limits->n_kv_blocks == 0)
        return base_fail(error, BASE_EFORMAT,
                         "HELLO message: a limit is 0 (sequences %u, positions %u, step tokens %u, blocks %u)",
                         limits->max_seqs, limits->max_positions, limits->max_step_tokens, limits->n_kv_blocks);
    if (limits->vocab_size == 0 || limits->vocab_size > INT32_MAX)
        return base_fail(error, BASE_EFORMAT, "HELLO message: vocab_size is %u", limits->vocab_size);
    if ((limits->rows_per_image == 0) != (limits->image_size == 0) || limits->image_size > 16384 ||
        (uint64_t)limits->n_image_slots * limits->rows_per_image + limits->max_step_tokens > INT32_MAX)
        return base_fail(error, BASE_EFORMAT, "HELLO message: %u image slots of %u rows, %u pixels a side, cannot be",
                         limits->n_image_slots, limits->rows_per_image, limits->image_size);
    if (limits->whole_images > 1 ||
        (limits->whole_images == 1 && limits->n_image_slots > 0 && limits->max_step_tokens < limits->rows_per_image))
        return base_fail(error, BASE_EFORMAT, "HELLO message: whole_images is %u, with %u rows an image in steps of %u",
                         limits->whole_images, limits->rows_per_image, limits->max_step_tokens);
    for (int kind = 0; kind < LINK_VECTOR_KINDS; kind++)
        if (limits->vector_widths[kind] > VECTOR_WIDTH_MAX)
            return base_fail(error, BASE_EFORMAT, "HELLO message: vectors of kind %d have %u numbers; the limit is %u",
                             kind, limits->vector_widths[kind], VECTOR_WIDTH_MAX);
    if ((limits->n_draft_blocks == 0) != (limits->draft_positions == 0))
        return base_fail(error, BASE_EFORMAT, "HELLO message: the draft model has %u blocks for %u positions",
                         limits->n_draft_blocks, limits->draft_positions);
    if (!is_hex_digest(hello->model_digest))
        return base_fail(error, BASE_EFORMAT, "HELLO message: model_digest is not 64 lower-case hex digits");
    return BASE_OK;
}

base_status link_hello_decode(const void *bytes, size_t size, link_hello *out, base_error *error)
{
    link_hello hello = {0};
    link_limits *limits = &hello.limits;
    base_reader reader = base_reader_over(bytes, size);
    uint8_t type = base_reader_u8(&reader);
    hello.protocol = base_reader_u32(&reader);
    if (!reader.failed && type == LINK_HELLO && hello.protocol != LINK_PROTOCOL)
        return base_fail(
            error, BASE_EUNSUPPORTED,
            "HELLO message: the replica speaks link protocol %u, this coordinator %u; install the same version",
            hello.protocol, LINK_PROTOCOL);
    hello.tp = base_reader_u32(&reader);
    hello.pp = base_reader_u32(&reader);
    limits->max_seqs = base_reader_u32(&reader);
    limits->max_positions = base_reader_u32(&reader);
    limits->max_step_tokens = base_reader_u32(&reader);
    limits->n_kv_blocks = base_reader_u32(&reader);
    limits->n_image_slots = base_reader_u32(&reader);
    limits->rows_per_image = base_reader_u32(&reader);
    limits->image_size = base_reader_u32(&reader);
    limits->vocab_size = base_reader_u32(&reader);
    limits->whole_images = base_reader_u32(&reader);
    for (int kind = 0; kind < LINK_VECTOR_KINDS; kind++)
        limits->vector_widths[kind] = base_reader_u32(&reader);
    limits->n_draft_blocks = base_reader_u32(&reader);
    limits->draft_positions = base_reader_u32(&reader);
    get_text(&reader, hello.model_digest, sizeof hello.model_digest - 1);
    get_text(&reader, hello.isa, ISA_CHARS);
    hello.n_threads = base_reader_u32(&reader);
    hello.weights_bytes_max = base_reader_u64(&reader);
    hello.kv_bytes_max = base_reader_u64(&reader);
    hello.workspace_bytes_max = base_reader_u64(&reader);
    size_t isa_chars = strlen(hello.isa);
    if (isa_chars > 0 && hello.isa[isa_chars - 1] == '+')
        get_text(&reader, hello.isa + isa_chars, PROVIDER_CHARS);
    if (reader.failed || type != LINK_HELLO || base_reader_left(&reader) != 0)
        return base_fail(error, BASE_EFORMAT, "HELLO message: bad length %zu", size);
    base_status status = check_hello(&hello, error);
    if (status == BASE_OK)
        *out = hello;
    return status;
}

void link_failed_encode(base_status status, const char *text, base_buf *out)
{
    base_buf_put_u8(out, LINK_FAILED);
    base_buf_put_u32(out, (uint32_t)status);
    base_buf_put(out, text, strlen(text));
}

base_status link_failed_decode(const void *bytes, size_t size, base_error *out, base_error *error)
{
    base_reader reader = base_reader_over(bytes, size);
    uint8_t type = base_reader_u8(&reader);
    uint32_t status = base_reader_u32(&reader);
    if (reader.failed || type != LINK_FAILED || status == BASE_OK)
        return base_fail(error, BASE_EFORMAT, "FAILED message: bad length %zu", size);
    size_t length = base_reader_left(&reader);
    if (length > sizeof out->text - 1)
        length = sizeof out->text - 1;
    out->status = status <= BASE_EINTERNAL ? (base_status)status : BASE_EINTERNAL;
    memset(out->text, 0, sizeof out->text);
    if (length > 0)
        memcpy(out->text, base_reader_take(&reader, length), length);
    return BASE_OK;
}

void link_stop_encode(base_buf *out)
{
    base_buf_put_u8(out, LINK_STOP);
}

link_type link_message_type(const void *bytes, size_t size)
{
    uint8_t type = size > 0 ? *(const uint8_t *)bytes : 0;
    return type >= LINK_HELLO && type <= LINK_STOP ? (link_type)type : (link_type)0;
}
