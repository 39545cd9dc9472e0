/* plan.c - step plans as little-endian messages: encoding, and decoding that trusts nothing.
 *
 *     type u8 | step u64 | n_slices n_tokens n_blocks n_images image_size n_vectors n_drafts n_draft_inputs
 *     n_draft_blocks u32
 *     | slices: seq pos n_tokens first_token first_block n_sampled flags u32, temperature f32, top_k u32, top_p f32,
 *               seed u64, given i32
 *     | tokens i32 | blocks u32
 *     | drafts: slice pos n_tokens first_token first_block n_drafted u32
 *     | draft_inputs i32 | draft_blocks u32
 *     | images: slot u32, pixels u8 [image_size * image_size * 3]
 *     | vectors: kind u32, values f32 [vector_widths[kind]]
 *
 * The decoder is the last check before ranks index memory with these numbers, so even the coordinator is not trusted:
 * the counts are compared with the limits and with the size of the message before memory is allocated, then every
 * index. The parts are read in the order of the message: slices and tokens in plan_slices.c, drafts in plan_draft.c. */
#include "proto/link/plan.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"
#include "proto/link/link.h"
#include "proto/link/plan_int.h"

/* ---- encoding ---- */

void link_plan_encode(const link_plan *plan, base_buf *out)
{
    size_t pixel_bytes = (size_t)plan->image_size * plan->image_size * 3;
    if (plan->n_images > 0 && pixel_bytes == 0) {
        out->failed = true;
        return;
    }
    base_buf_put_u8(out, LINK_PLAN);
    base_buf_put_u64(out, plan->step);
    base_buf_put_u32(out, plan->n_slices);
    base_buf_put_u32(out, plan->n_tokens);
    base_buf_put_u32(out, plan->n_blocks);
    base_buf_put_u32(out, plan->n_images);
    base_buf_put_u32(out, plan->n_images > 0 ? plan->image_size : 0);
    base_buf_put_u32(out, plan->n_vectors);
    base_buf_put_u32(out, plan->n_drafts);
    base_buf_put_u32(out, plan->n_draft_inputs);
    base_buf_put_u32(out, plan->n_draft_blocks);
    for (uint32_t i = 0; i < plan->n_slices; i++)
        plan_put_slice(out, &plan->slices[i]);
    base_buf_put(out, plan->tokens, (size_t)plan->n_tokens * PLAN_ID_BYTES);
    base_buf_put(out, plan->blocks, (size_t)plan->n_blocks * PLAN_ID_BYTES);
    plan_put_drafts(out, plan);
    for (uint32_t i = 0; i < plan->n_images; i++) {
        base_buf_put_u32(out, plan->images[i].slot);
        base_buf_put(out, plan->images[i].pixels, pixel_bytes);
    }
    for (uint32_t i = 0; i < plan->n_vectors; i++) {
        base_buf_put_u32(out, plan->vectors[i].kind);
        base_buf_put(out, plan->vectors[i].values, plan->vectors[i].width * sizeof(float));
    }
}

/* ---- decoding: counts and memory ---- */

static base_status check_count(const char *what, uint32_t value, uint32_t limit, base_error *error)
{
    if (value <= limit)
        return BASE_OK;
    return base_fail(error, BASE_EFORMAT, "PLAN message: %s is %u; the limit is %u", what, value, limit);
}

/* Read the fixed fields and compare the counts with the limits. */
static base_status read_header(base_reader *reader, const link_limits *limits, link_plan *plan, base_error *error)
{
    uint8_t type = base_reader_u8(reader);
    plan->step = base_reader_u64(reader);
    plan->n_slices = base_reader_u32(reader);
    plan->n_tokens = base_reader_u32(reader);
    plan->n_blocks = base_reader_u32(reader);
    plan->n_images = base_reader_u32(reader);
    plan->image_size = base_reader_u32(reader);
    plan->n_vectors = base_reader_u32(reader);
    plan->n_drafts = base_reader_u32(reader);
    plan->n_draft_inputs = base_reader_u32(reader);
    plan->n_draft_blocks = base_reader_u32(reader);
    if (reader->failed || type != LINK_PLAN)
        return base_fail(error, BASE_EFORMAT, "PLAN message: truncated or malformed header");
    if (plan->n_slices == 0)
        return base_fail(error, BASE_EFORMAT, "PLAN message: n_slices is 0");

    base_status status = check_count("n_slices", plan->n_slices, limits->max_seqs, error);
    if (status == BASE_OK)
        status = check_count("n_tokens", plan->n_tokens, limits->max_step_tokens, error);
    if (status == BASE_OK)
        status = check_count("n_images", plan->n_images, limits->rows_per_image > 0 ? limits->n_image_slots : 0, error);
    if (status == BASE_OK)
        status = check_count("n_vectors", plan->n_vectors, plan->n_tokens, error);
    if (status == BASE_OK)
        status = check_count("n_drafts", plan->n_drafts, limits->n_draft_blocks > 0 ? plan->n_slices : 0, error);
    if (status == BASE_OK)
        status = check_count("n_draft_inputs", plan->n_draft_inputs, limits->max_step_tokens, error);
    if (status != BASE_OK)
        return status;
    if (plan->image_size != (plan->n_images > 0 ? limits->image_size : 0))
        return base_fail(error, BASE_EFORMAT, "PLAN message: image_size is %u; the model's is %u", plan->image_size,
                         limits->image_size);
    return BASE_OK;
}

/* *pixel_bytes: of one image.  False when the sizes do not fit in size_t or the message is not exactly as long; with
 * vectors, whose sizes differ, when it is shorter than any of them would be. */
static bool has_size(const base_reader *reader, const link_plan *plan, size_t *pixel_bytes)
{
    size_t slices, tokens, blocks, drafts, images, total;
    return base_size_mul(plan->image_size, plan->image_size, pixel_bytes) &&
           base_size_mul(*pixel_bytes, 3, pixel_bytes) && base_size_add(*pixel_bytes, 4, &images) &&
           base_size_mul(images, plan->n_images, &images) && base_size_mul(plan->n_slices, PLAN_SLICE_BYTES, &slices) &&
           base_size_mul(plan->n_tokens, PLAN_ID_BYTES, &tokens) &&
           base_size_mul(plan->n_blocks, PLAN_ID_BYTES, &blocks) && base_size_add(slices, tokens, &total) &&
           base_size_add(total, blocks, &total) && base_size_add(total, images, &total) &&
           base_size_mul((size_t)plan->n_drafts, PLAN_DRAFT_BYTES, &drafts) && base_size_add(total, drafts, &total) &&
           base_size_mul((size_t)plan->n_draft_inputs + plan->n_draft_blocks, PLAN_ID_BYTES, &drafts) &&
           base_size_add(total, drafts, &total) &&
           base_size_add(total, (size_t)plan->n_vectors * PLAN_VECTOR_BYTES_MIN, &total) &&
           (plan->n_vectors > 0 ? base_reader_left(reader) >= total : base_reader_left(reader) == total);
}

static size_t n_marks(const link_limits *limits)
{
    return limits->max_seqs > limits->n_image_slots ? limits->max_seqs : limits->n_image_slots;
}

/* The counts were found to be in the message, or are within the limits, so the sums cannot wrap. */
static size_t memory_bytes(const link_plan *plan, const link_limits *limits)
{
    return plan->n_slices * sizeof(link_slice) + plan->n_images * sizeof(link_image) +
           plan->n_vectors * sizeof(link_vector) + plan->n_drafts * sizeof(link_draft) +
           ((size_t)plan->n_tokens + plan->n_draft_inputs) * PLAN_ID_BYTES +
           ((size_t)plan->n_blocks + plan->n_draft_blocks) * PLAN_ID_BYTES + n_marks(limits);
}

/* Blocks that a plan's slices can need, and its drafts: those of full sequences in all slots. */
static bool blocks_max(const link_limits *limits, size_t *out, size_t *of_drafts)
{
    uint32_t draft_positions = limits->n_draft_blocks > 0 ? limits->draft_positions : 0;
    return base_size_mul(link_kv_blocks(limits->max_positions), limits->max_seqs, out) &&
           base_size_mul(link_kv_blocks(draft_positions), limits->max_seqs, of_drafts) && *out <= UINT32_MAX &&
           *of_drafts <= UINT32_MAX;
}

bool link_plan_memory_bytes(const link_limits *limits, size_t *out)
{
    size_t blocks, draft_blocks;
    if (!blocks_max(limits, &blocks, &draft_blocks))
        return false;
    bool drafts = limits->n_draft_blocks > 0;
    *out = memory_bytes(&(link_plan){.n_slices = limits->max_seqs,
                                     .n_images = limits->n_image_slots,
                                     .n_tokens = limits->max_step_tokens,
                                     .n_vectors = limits->max_step_tokens,
                                     .n_blocks = (uint32_t)blocks,
                                     .n_drafts = drafts ? limits->max_seqs : 0,
                                     .n_draft_inputs = drafts ? limits->max_step_tokens : 0,
                                     .n_draft_blocks = (uint32_t)draft_blocks},
                        limits);
    return true;
}

/* The next `bytes` of the memory. */
static void *next_part(uint8_t **memory, size_t bytes)
{
    uint8_t *part = *memory;
    *memory += bytes;
    return part;
}

/* Divide the memory: slices | images | vectors | drafts | tokens, blocks, those of drafts | one mark per sequence slot,
 * cleared, which *marks points at. */
static void divide(uint8_t *memory, link_plan *plan, const link_limits *limits, uint8_t **marks)
{
    plan->slices = next_part(&memory, plan->n_slices * sizeof(link_slice));
    plan->images = next_part(&memory, plan->n_images * sizeof(link_image));
    plan->vectors = next_part(&memory, plan->n_vectors * sizeof(link_vector));
    plan->drafts = next_part(&memory, plan->n_drafts * sizeof(link_draft));
    plan->tokens = next_part(&memory, (size_t)plan->n_tokens * PLAN_ID_BYTES);
    plan->blocks = next_part(&memory, (size_t)plan->n_blocks * PLAN_ID_BYTES);
    plan->draft_inputs = next_part(&memory, (size_t)plan->n_draft_inputs * PLAN_ID_BYTES);
    plan->draft_blocks = next_part(&memory, (size_t)plan->n_draft_blocks * PLAN_ID_BYTES);
    *marks = memory;
    memset(*marks, 0, n_marks(limits));
}

/* ---- decoding: contents ---- */

base_status plan_read_ids(base_reader *reader, const char *what, uint32_t *ids, uint32_t n, uint32_t limit,
                          base_error *error)
{
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = base_reader_u32(reader);
        if (ids[i] >= limit)
            return base_fail(error, BASE_EFORMAT, "PLAN message: %s[%u] is %u; it must be below %u", what, i, ids[i],
                             limit);
    }
    return BASE_OK;
}

static base_status read_images(base_reader *reader, link_plan *plan, const link_limits *limits, size_t pixel_bytes,
                               uint8_t *seen, base_error *error)
{
    for (uint32_t i = 0; i < plan->n_images; i++) {
        uint32_t slot = base_reader_u32(reader);
        if (slot >= limits->n_image_slots)
            return base_fail(error, BASE_EFORMAT, "PLAN message: images[%u].slot is %u; there are %u image slots", i,
                             slot, limits->n_image_slots);
        if (seen[slot])
            return base_fail(error, BASE_EFORMAT, "PLAN message: images[%u].slot %u has an image already", i, slot);
        seen[slot] = 1;
        plan->images[i] = (link_image){.slot = slot, .pixels = base_reader_take(reader, pixel_bytes)};
    }
    return BASE_OK;
}

/* The last part of the message. */
static base_status read_vectors(base_reader *reader, link_plan *plan, const link_limits *limits, base_error *error)
{
    for (uint32_t i = 0; i < plan->n_vectors; i++) {
        uint32_t kind = base_reader_u32(reader), width = kind < LINK_VECTOR_KINDS ? limits->vector_widths[kind] : 0;
        if (reader->failed || width == 0)
            return base_fail(error, BASE_EFORMAT,
                             "PLAN message: vectors[%u] is truncated, or of kind %u, which the model does not have", i,
                             kind);
        plan->vectors[i] =
            (link_vector){.kind = kind, .width = width, .values = base_reader_take(reader, width * sizeof(float))};
    }
    if (reader->failed || base_reader_left(reader) > 0)
        return base_fail(error, BASE_EFORMAT, "PLAN message: the vectors are truncated, or %zu bytes follow them",
                         base_reader_left(reader));
    return BASE_OK;
}

/* What both decoders read first: header, counts, size of the message; no memory is allocated. */
static base_status read_counts(base_reader *reader, const link_limits *limits, link_plan *plan, size_t *pixel_bytes,
                               base_error *error)
{
    base_status status = read_header(reader, limits, plan, error);
    if (status == BASE_OK && !has_size(reader, plan, pixel_bytes))
        status =
            base_fail(error, BASE_EFORMAT, "PLAN message: %zu bytes follow the header, which do not match its counts",
                      base_reader_left(reader));
    return status;
}

static base_status read_contents(base_reader *reader, const link_limits *limits, void *memory, link_plan *plan,
                                 size_t pixel_bytes, base_error *error)
{
    uint8_t *marks;
    divide(memory, plan, limits, &marks);
    base_status status = plan_read_slices(reader, plan, limits, marks, error);
    if (status == BASE_OK)
        status = plan_read_tokens(reader, plan, limits, error);
    if (status == BASE_OK)
        status = plan_read_ids(reader, "blocks", plan->blocks, plan->n_blocks, limits->n_kv_blocks, error);
    if (status == BASE_OK)
        status = plan_read_drafts(reader, plan, limits, error);
    memset(marks, 0, limits->n_image_slots);
    if (status == BASE_OK)
        status = read_images(reader, plan, limits, pixel_bytes, marks, error);
    if (status == BASE_OK)
        status = read_vectors(reader, plan, limits, error);
    return status;
}

base_status link_plan_decode(const void *bytes, size_t size, const link_limits *limits, link_plan *out,
                             base_error *error)
{
    link_plan plan = {0};
    size_t pixel_bytes;
    base_reader reader = base_reader_over(bytes, size);
    base_status status = read_counts(&reader, limits, &plan, &pixel_bytes, error);
    if (status != BASE_OK)
        return status;
    void *memory = malloc(memory_bytes(&plan, limits));
    if (memory == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for a plan of %zu bytes", size);
    status = read_contents(&reader, limits, memory, &plan, pixel_bytes, error);
    if (status != BASE_OK)
        free(memory);
    else
        *out = plan;
    return status;
}

base_status link_plan_decode_into(const void *bytes, size_t size, const link_limits *limits, void *memory,
                                  link_plan *out, base_error *error)
{
    link_plan plan = {0};
    size_t pixel_bytes, most = 0, most_of_drafts = 0;
    base_reader reader = base_reader_over(bytes, size);
    base_status status = read_counts(&reader, limits, &plan, &pixel_bytes, error);
    if (status == BASE_OK &&
        (!blocks_max(limits, &most, &most_of_drafts) || plan.n_blocks > most || plan.n_draft_blocks > most_of_drafts))
        status = base_fail(error, BASE_EFORMAT,
                           "PLAN message: n_blocks is %u, n_draft_blocks %u; all sequences together have %zu, %zu",
                           plan.n_blocks, plan.n_draft_blocks, most, most_of_drafts);
    if (status == BASE_OK)
        status = read_contents(&reader, limits, memory, &plan, pixel_bytes, error);
    if (status == BASE_OK)
        *out = plan;
    return status;
}

void link_plan_release(link_plan *plan)
{
    free(plan->slices); /* the start of the one allocation */
    *plan = (link_plan){0};
}
