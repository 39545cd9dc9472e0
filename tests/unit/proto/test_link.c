/* proto/link: plans, results and hellos as bytes, what the decoder refuses, and the two ends over inproc and ipc. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/base/clock.h"
#include "proto/link/link.h"

/* ---- a plan to play with: a chunk of a prompt with an image, a decoding token, a token by feedback ---- */

enum { IMAGE_SIZE = 4, PIXEL_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3 };

static const link_limits limits = {
    .max_seqs = 4,
    .max_positions = 128,
    .max_step_tokens = 16,
    .n_kv_blocks = 10,
    .n_image_slots = 2,
    .rows_per_image = 3,
    .image_size = IMAGE_SIZE,
    .vocab_size = 100,
    .n_draft_blocks = 7,
    .draft_positions = 96,
};

typedef struct sample {
    link_plan plan;
    link_slice slices[3];
    int32_t tokens[7];
    uint32_t blocks[6];
    link_image images[2]; /* the plan has the first; the second is for a test */
    uint8_t pixels[PIXEL_BYTES];
    link_draft drafts[2];
    int32_t draft_inputs[3];
    uint32_t draft_blocks[3];
} sample;

/* The draft model reads one token for the first slice, and for the second two, after which it drafts two. */
static void sample_add_drafts(sample *s)
{
    s->slices[1].n_tokens = 3;
    s->slices[1].n_sampled = 3;
    s->slices[1].pos = 30;
    s->plan.n_slices = 2;
    s->plan.n_tokens = 7;
    s->drafts[0] = (link_draft){.slice = 0, .pos = 31, .n_tokens = 1, .first_token = 0, .first_block = 0};
    s->drafts[1] =
        (link_draft){.slice = 1, .pos = 29, .n_tokens = 2, .first_token = 1, .first_block = 2, .n_drafted = 2};
    memcpy(s->draft_inputs, (int32_t[]){99, 1, 2}, sizeof s->draft_inputs);
    memcpy(s->draft_blocks, (uint32_t[]){6, 0, 5}, sizeof s->draft_blocks);
    s->plan.n_drafts = 2;
    s->plan.n_draft_inputs = s->plan.n_draft_blocks = 3;
    s->plan.drafts = s->drafts;
    s->plan.draft_inputs = s->draft_inputs;
    s->plan.draft_blocks = s->draft_blocks;
}

static void sample_init(sample *s)
{
    *s = (sample){
        .slices = {{.seq = 3, .pos = 30, .n_tokens = 4, .first_token = 0, .first_block = 0},
                   {.seq = 0,
                    .pos = 32,
                    .n_tokens = 1,
                    .first_token = 4,
                    .first_block = 2,
                    .n_sampled = 1,
                    .flags = LINK_SLICE_DIGEST,
                    .sampling = {.temperature = 0.7f, .top_k = 5, .top_p = 0.5f, .seed = 99}},
                   {.seq = 1,
                    .pos = 63,
                    .n_tokens = 1,
                    .first_token = 5,
                    .first_block = 4,
                    .n_sampled = 1,
                    .flags = LINK_SLICE_FEEDBACK | LINK_SLICE_GIVEN,
                    .sampling = {.top_p = 1.0f},
                    .given = 77}},
        .tokens = {99, -4, -5, -6, 0, 0},
        .blocks = {9, 8, 7, 6, 5, 4},
        .images = {{.slot = 1}, {.slot = 1}},
    };
    for (size_t i = 0; i < PIXEL_BYTES; i++)
        s->pixels[i] = (uint8_t)i;
    s->images[0].pixels = s->images[1].pixels = s->pixels;
    s->plan = (link_plan){.step = 42,
                          .n_slices = 3,
                          .n_tokens = 6,
                          .n_blocks = 6,
                          .n_images = 1,
                          .image_size = IMAGE_SIZE,
                          .slices = s->slices,
                          .tokens = s->tokens,
                          .blocks = s->blocks,
                          .images = s->images};
}

/* Encode, decode from memory of exactly that size, and release. */
static base_status plan_again(const link_plan *plan, base_error *error)
{
    base_buf bytes = {0};
    link_plan_encode(plan, &bytes);
    assert_false(bytes.failed);
    link_plan out;
    base_status status = link_plan_decode(bytes.data, bytes.size, &limits, &out, error);
    /* and into memory of the largest size */
    size_t memory_bytes;
    assert_true(link_plan_memory_bytes(&limits, &memory_bytes));
    void *memory = malloc(memory_bytes);
    link_plan into;
    assert_int_equal(link_plan_decode_into(bytes.data, bytes.size, &limits, memory, &into, NULL), status);
    if (status == BASE_OK) {
        base_buf first = {0}, second = {0};
        link_plan_encode(&out, &first);
        link_plan_encode(&into, &second);
        assert_int_equal(first.size, second.size);
        assert_memory_equal(first.data, second.data, first.size);
        base_buf_release(&first);
        base_buf_release(&second);
        link_plan_release(&out);
    }
    free(memory);
    base_buf_release(&bytes);
    return status;
}

static void test_plan_round_trip(void **state)
{
    (void)state;
    sample s;
    sample_init(&s);
    base_buf bytes = {0};
    link_plan_encode(&s.plan, &bytes);
    assert_int_equal(link_message_type(bytes.data, bytes.size), LINK_PLAN);
    link_plan out;
    base_error error = {0};
    if (link_plan_decode(bytes.data, bytes.size, &limits, &out, &error) != BASE_OK)
        fail_msg("%s", error.text);
    assert_int_equal(out.step, 42);
    assert_int_equal(out.n_slices, 3);
    assert_int_equal(out.slices[0].pos, 30);
    assert_int_equal(out.slices[1].flags, LINK_SLICE_DIGEST);
    assert_int_equal(out.slices[1].n_sampled, 1);
    assert_true(out.slices[1].sampling.temperature == 0.7f && out.slices[1].sampling.top_p == 0.5f);
    assert_true(out.slices[1].sampling.top_k == 5 && out.slices[1].sampling.seed == 99);
    assert_int_equal(out.slices[2].first_block, 4);
    assert_int_equal(out.slices[2].given, 77);
    assert_memory_equal(out.tokens, s.tokens, 6 * sizeof *s.tokens);
    assert_memory_equal(out.blocks, s.blocks, sizeof s.blocks);
    assert_int_equal(out.images[0].slot, 1);
    assert_memory_equal(out.images[0].pixels, s.pixels, PIXEL_BYTES);
    assert_true(out.images[0].pixels > bytes.data && out.images[0].pixels < bytes.data + bytes.size); /* borrowed */
    link_plan_release(&out);
    assert_null(out.slices);
    base_buf_release(&bytes);
}

/* Guesses left open: the draft model's tokens and blocks arrive, placeholders are cleared. */
static void test_drafts_round_trip(void **state)
{
    (void)state;
    sample s;
    sample_init(&s);
    sample_add_drafts(&s);
    s.tokens[5] = 55;
    base_error error = {0};
    if (plan_again(&s.plan, &error) != BASE_OK)
        fail_msg("%s", error.text);
    base_buf bytes = {0};
    link_plan out;
    link_plan_encode(&s.plan, &bytes);
    assert_int_equal(link_plan_decode(bytes.data, bytes.size, &limits, &out, NULL), BASE_OK);
    assert_int_equal(out.n_drafts, 2);
    assert_memory_equal(out.drafts, s.drafts, sizeof s.drafts);
    assert_memory_equal(out.draft_inputs, s.draft_inputs, sizeof s.draft_inputs);
    assert_memory_equal(out.draft_blocks, s.draft_blocks, sizeof s.draft_blocks);
    assert_int_equal(out.tokens[5] + out.tokens[6], 0);
    assert_true(link_draft_end(&out.drafts[0]) == 32 && link_draft_end(&out.drafts[1]) == 32);
    link_plan_release(&out);
    link_limits none = limits; /* a replica without a draft model takes no drafts */
    none.n_draft_blocks = none.draft_positions = 0;
    assert_int_equal(link_plan_decode(bytes.data, bytes.size, &none, &out, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "n_drafts is 2"));
    base_buf_release(&bytes);
}

/* A caller's memory is as large as the limits say, so a plan may not hold more, even if no slice uses it. */
static void test_plan_into_memory(void **state)
{
    (void)state;
    sample s;
    sample_init(&s);
    assert_int_equal(plan_again(&s.plan, NULL), BASE_OK);
    uint32_t n_most = (limits.max_positions + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS * limits.max_seqs;
    uint32_t *blocks = calloc(n_most + 1, sizeof *blocks);
    s.plan.blocks = blocks;
    s.plan.n_blocks = n_most;
    assert_int_equal(plan_again(&s.plan, NULL), BASE_OK);
    s.plan.n_blocks = n_most + 1;
    base_buf bytes = {0};
    base_error error = {0};
    link_plan out;
    size_t memory_bytes;
    assert_true(link_plan_memory_bytes(&limits, &memory_bytes));
    void *memory = malloc(memory_bytes);
    link_plan_encode(&s.plan, &bytes);
    assert_int_equal(link_plan_decode_into(bytes.data, bytes.size, &limits, memory, &out, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "n_blocks"));
    base_buf_release(&bytes);
    free(memory);
    free(blocks);
}

/* One thing made wrong in a good plan, and the words that must name it. */
static void assert_plan_refused(void (*spoil)(sample *), const char *word)
{
    sample s;
    sample_init(&s);
    spoil(&s);
    base_error error = {0};
    assert_int_equal(plan_again(&s.plan, &error), BASE_EFORMAT);
    if (strstr(error.text, word) == NULL)
        fail_msg("'%s' does not name '%s'", error.text, word);
}

/* clang-format off */
static void spoil_no_slices(sample *s) { s->plan.n_slices = 0; }
static void spoil_seq(sample *s) { s->slices[1].seq = 4; }
static void spoil_seq_twice(sample *s) { s->slices[2].seq = 3; }
static void spoil_empty_slice(sample *s) { s->slices[0].n_tokens = 0; }
static void spoil_slice_tokens(sample *s) { s->slices[2].n_tokens = 2; }
static void spoil_gap(sample *s) { s->slices[1].first_token = 3; }
static void spoil_unused_tokens(sample *s) { s->plan.n_slices = 2; }
static void spoil_position(sample *s) { s->slices[1].pos = 128; }
static void spoil_position_wrap(sample *s) { s->slices[1].pos = UINT32_MAX; }
static void spoil_slice_blocks(sample *s) { s->slices[2].first_block = 5; }
static void spoil_block_wrap(sample *s) { s->slices[2].first_block = UINT32_MAX; }
static void spoil_slice_end(sample *s) { s->slices[2].pos = 64; }
static void spoil_flags(sample *s) { s->slices[0].flags = 1u << 3; }
static void spoil_digest(sample *s) { s->slices[0].flags = LINK_SLICE_DIGEST; }
static void spoil_n_sampled(sample *s) { s->slices[1].n_sampled = 2; }
static void spoil_results(sample *s) { s->slices[0].n_sampled = 3; s->slices[0].sampling.top_p = 1.0f; }
static void spoil_given(sample *s)
{
    s->slices[1].flags = LINK_SLICE_GIVEN;
    s->slices[1].given = (int32_t)limits.vocab_size;
}
static void spoil_given_sign(sample *s) { s->slices[1].flags = LINK_SLICE_GIVEN; s->slices[1].given = -1; }
static void spoil_given_unsampled(sample *s) { s->slices[0].flags = LINK_SLICE_GIVEN; }
static void spoil_temperature(sample *s) { s->slices[1].sampling.temperature = NAN; }
static void spoil_temperature_sign(sample *s) { s->slices[1].sampling.temperature = -1.0f; }
static void spoil_temperature_inf(sample *s) { s->slices[1].sampling.temperature = INFINITY; }
static void spoil_top_p(sample *s) { s->slices[1].sampling.top_p = NAN; }
static void spoil_top_p_zero(sample *s) { s->slices[1].sampling.top_p = 0.0f; }
static void spoil_token(sample *s) { s->tokens[0] = 100; }
static void spoil_row(sample *s) { s->tokens[1] = -7; }
static void spoil_row_min(sample *s) { s->tokens[1] = INT32_MIN; }
static void spoil_block(sample *s) { s->blocks[3] = 10; }
static void spoil_slot(sample *s) { s->images[0].slot = 2; }
static void spoil_slot_twice(sample *s) { s->plan.n_images = 2; }
static void spoil_image_size(sample *s) { s->plan.image_size = 3; }
static void spoil_draft_slice(sample *s) { s->drafts[1].slice = 0; }
static void spoil_draft_slice_end(sample *s) { s->drafts[1].slice = 2; }
static void spoil_draft_gap(sample *s) { s->drafts[1].first_token = 2; }
static void spoil_draft_empty(sample *s) { s->drafts[0].n_tokens = 0; }
static void spoil_draft_tokens(sample *s) { s->drafts[1].n_tokens = 3; }
static void spoil_draft_unused(sample *s) { s->drafts[1].n_tokens = 1; }
static void spoil_draft_position(sample *s) { s->drafts[0].pos = 96; }
static void spoil_draft_wrap(sample *s) { s->drafts[1].pos = UINT32_MAX; }
static void spoil_draft_blocks(sample *s) { s->drafts[0].pos = 80; s->drafts[0].first_block = 1; }
static void spoil_draft_block_wrap(sample *s) { s->drafts[0].first_block = UINT32_MAX; }
static void spoil_draft_guesses(sample *s) { s->drafts[1].n_drafted = 1; }
static void spoil_draft_unsampled(sample *s) { s->drafts[0].n_drafted = UINT32_MAX; }
static void spoil_draft_given(sample *s) { s->slices[1].flags |= LINK_SLICE_GIVEN; s->slices[1].given = 1; }
static void spoil_draft_token(sample *s) { s->draft_inputs[2] = 100; }
static void spoil_draft_row(sample *s) { s->draft_inputs[0] = -1; }
static void spoil_draft_block(sample *s) { s->draft_blocks[1] = 7; }
static void spoil_placeholder(sample *s) { s->tokens[6] = -4; }
/* clang-format on */

static void test_draft_refusals(void **state)
{
    (void)state;
    static const struct {
        void (*spoil)(sample *);
        const char *word;
    } cases[] = {
        {spoil_draft_slice, "drafts[1].slice is 0"},
        {spoil_draft_slice_end, "drafts[1].slice is 2"},
        {spoil_draft_gap, "drafts[1] has tokens 2"},
        {spoil_draft_empty, "drafts[0] has tokens 0, 0 of them"},
        {spoil_draft_tokens, "drafts[1] has tokens 1, 3 of them"},
        {spoil_draft_unused, "n_draft_inputs is 3, but the drafts have 2"},
        {spoil_draft_position, "drafts[0] ends at position 97"},
        {spoil_draft_wrap, "drafts[1] ends at position 4294967298"},
        {spoil_draft_blocks, "drafts[0] needs blocks from 1"},
        {spoil_draft_block_wrap, "drafts[0] needs blocks"},
        {spoil_draft_guesses, "drafts[1].n_drafted is 1; slices[1] verifies 3 of 3"},
        {spoil_draft_unsampled, "drafts[0].n_drafted is"},
        {spoil_draft_given, "drafts[1].n_drafted is 2"},
        {spoil_draft_token, "draft_inputs[2] is 100"},
        {spoil_draft_row, "draft_inputs[0] is 4294967295"},
        {spoil_draft_block, "draft_blocks[1] is 7"},
        {spoil_placeholder, "tokens[6] is -4, but the draft model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sample s;
        base_error error = {0};
        sample_init(&s);
        sample_add_drafts(&s);
        cases[i].spoil(&s);
        assert_int_equal(plan_again(&s.plan, &error), BASE_EFORMAT);
        if (strstr(error.text, cases[i].word) == NULL)
            fail_msg("'%s' does not name '%s'", error.text, cases[i].word);
    }
}

static void test_plan_refusals(void **state)
{
    (void)state;
    static const struct {
        void (*spoil)(sample *);
        const char *word;
    } cases[] = {
        {spoil_no_slices, "n_slices is 0"},
        {spoil_seq, "slices[1].seq is 4"},
        {spoil_seq_twice, "slices[2].seq 3 has a slice already"},
        {spoil_empty_slice, "slices[0].n_tokens is 0"},
        {spoil_slice_tokens, "slices[2].n_tokens is 2"},
        {spoil_gap, "slices[1].first_token is 3"},
        {spoil_unused_tokens, "n_tokens is 6, but the slices have 5"},
        {spoil_position, "slices[1] ends at position 129"},
        {spoil_position_wrap, "slices[1] ends at position 4294967296"},
        {spoil_slice_blocks, "slices[2] needs blocks"},
        {spoil_block_wrap, "slices[2] needs blocks"},
        {spoil_slice_end, "slices[2] needs blocks"},
        {spoil_flags, "slices[0].flags has unknown bits"},
        {spoil_digest, "slices[0].flags asks for a digest"},
        {spoil_n_sampled, "slices[1].n_sampled is 2 of 1"},
        {spoil_given, "slices[1].given is"},
        {spoil_given_sign, "slices[1].given is -1"},
        {spoil_given_unsampled, "for 0 samples"},
        {spoil_results, "sample 5 tokens"},
        {spoil_temperature, "slices[1].temperature"},
        {spoil_temperature_sign, "slices[1].temperature"},
        {spoil_temperature_inf, "slices[1].temperature"},
        {spoil_top_p, "slices[1].top_p"},
        {spoil_top_p_zero, "slices[1].top_p"},
        {spoil_token, "tokens[0] is 100"},
        {spoil_row, "tokens[1] is -7"},
        {spoil_row_min, "tokens[1] is -2147483648"},
        {spoil_block, "blocks[3] is 10"},
        {spoil_slot, "images[0].slot is 2"},
        {spoil_slot_twice, "images[1].slot 1 has an image already"},
        {spoil_image_size, "image_size is 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_plan_refused(cases[i].spoil, cases[i].word);
}

static void test_plan_count_limits(void **state)
{
    (void)state;
    sample s;
    sample_init(&s);
    base_buf bytes = {0};
    link_plan_encode(&s.plan, &bytes);
    link_plan out;
    /* n_slices, n_tokens, n_blocks, n_images stand at 9, 13, 17, 21 */
    for (size_t at = 9; at <= 41;
         at += at == 21 ? 12 : 4) { /* and n_drafts, n_draft_inputs, n_draft_blocks at 33, 37, 41 */
        uint32_t saved, huge = UINT32_MAX;
        memcpy(&saved, bytes.data + at, sizeof saved);
        memcpy(bytes.data + at, &huge, sizeof huge);
        assert_int_equal(link_plan_decode(bytes.data, bytes.size, &limits, &out, NULL), BASE_EFORMAT);
        memcpy(bytes.data + at, &saved, sizeof saved);
    }
    link_limits no_tower = limits;
    no_tower.rows_per_image = 0;
    assert_int_equal(link_plan_decode(bytes.data, bytes.size, &no_tower, &out, NULL), BASE_EFORMAT);
    base_buf_release(&bytes);

    sample_init(&s);
    s.plan.image_size = 0;
    link_plan_encode(&s.plan, &bytes); /* images without a size cannot be written */
    assert_true(bytes.failed);
    base_buf_release(&bytes);
}

/* A placeholder's value does not matter, and a rank never sees it. */
static void test_feedback_placeholder(void **state)
{
    (void)state;
    sample s;
    sample_init(&s);
    s.tokens[5] = INT32_MIN;
    base_buf bytes = {0};
    link_plan_encode(&s.plan, &bytes);
    link_plan out;
    assert_int_equal(link_plan_decode(bytes.data, bytes.size, &limits, &out, NULL), BASE_OK);
    assert_int_equal(out.tokens[5], 0);
    link_plan_release(&out);
    base_buf_release(&bytes);
}

/* What ranks rely on, checked independently of the decoder. */
static void assert_plan_is_safe(const link_plan *plan)
{
    uint64_t n_tokens = 0;
    assert_true(plan->n_slices >= 1 && plan->n_slices <= limits.max_seqs);
    for (uint32_t i = 0; i < plan->n_slices; i++) {
        const link_slice *slice = &plan->slices[i];
        uint64_t end = (uint64_t)slice->pos + slice->n_tokens;
        assert_true(slice->seq < limits.max_seqs && end <= limits.max_positions);
        assert_true((uint64_t)slice->first_token + slice->n_tokens <= plan->n_tokens);
        assert_true(slice->first_block + (end + 31) / 32 <= plan->n_blocks);
        n_tokens += slice->n_tokens;
    }
    assert_true(n_tokens == plan->n_tokens && n_tokens <= limits.max_step_tokens);
    for (uint32_t i = 0; i < plan->n_drafts; i++) {
        const link_draft *draft = &plan->drafts[i];
        assert_true(draft->slice < plan->n_slices &&
                    (uint64_t)draft->first_token + draft->n_tokens <= plan->n_draft_inputs);
        assert_true(draft->n_drafted < plan->slices[draft->slice].n_tokens &&
                    link_draft_end(draft) <= limits.draft_positions);
        assert_true(draft->first_block + (link_draft_end(draft) + 31) / 32 <= plan->n_draft_blocks);
    }
    for (uint32_t i = 0; i < plan->n_draft_inputs; i++)
        assert_in_range(plan->draft_inputs[i], 0, 99);
    for (uint32_t i = 0; i < plan->n_draft_blocks; i++)
        assert_true(plan->draft_blocks[i] < limits.n_draft_blocks);
    for (uint32_t i = 0; i < plan->n_tokens; i++)
        assert_true(plan->tokens[i] < 100 && plan->tokens[i] >= -6);
    for (uint32_t i = 0; i < plan->n_blocks; i++)
        assert_true(plan->blocks[i] < limits.n_kv_blocks);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < plan->n_images; i++) {
        assert_true(plan->images[i].slot < limits.n_image_slots);
        for (size_t j = 0; j < PIXEL_BYTES; j++)
            sum += plan->images[i].pixels[j];
    }
    assert_true(sum <= 255u * PIXEL_BYTES * limits.n_image_slots);
}

static void cut_and_mutate(const sample *s)
{
    base_buf whole = {0};
    link_plan out;
    link_plan_encode(&s->plan, &whole);
    for (size_t size = 0; size < whole.size; size++) {
        uint8_t *cut = malloc(size + (size == 0));
        assert_non_null(cut);
        memcpy(cut, whole.data, size);
        assert_int_equal(link_plan_decode(cut, size, &limits, &out, NULL), BASE_EFORMAT);
        free(cut);
    }
    base_buf_put_u8(&whole, 0);
    assert_int_equal(link_plan_decode(whole.data, whole.size, &limits, &out, NULL), BASE_EFORMAT); /* a byte too many */
    whole.size--;

    static const uint32_t values[] = {0, 1, 2, 31, 32, 127, 128, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFA, 0xFFFFFFFF};
    for (size_t at = 0; at + 4 <= whole.size; at++) {
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            uint8_t *copy = malloc(whole.size);
            assert_non_null(copy);
            memcpy(copy, whole.data, whole.size);
            memcpy(copy + at, &values[i], sizeof values[i]);
            if (link_plan_decode(copy, whole.size, &limits, &out, NULL) == BASE_OK) {
                assert_plan_is_safe(&out);
                link_plan_release(&out);
            }
            free(copy);
        }
    }
    base_buf_release(&whole);
}

static void test_plan_cuts_and_mutations(void **state)
{
    (void)state;
    sample s;
    sample_init(&s);
    cut_and_mutate(&s);
    sample_add_drafts(&s);
    cut_and_mutate(&s);
}

/* ---- results, hellos, failures ---- */

static void test_result_round_trip(void **state)
{
    (void)state;
    link_token tokens[] = {{.seq = 1, .pos = 2, .token = 3, .logprob = -0.5f, .logits_digest = 4},
                           {.seq = 5, .token = INT32_MAX}};
    int32_t draft_tokens[] = {12, INT32_MAX};
    link_result result = {.step = 7,
                          .n_tokens = 2,
                          .n_draft_tokens = 1,
                          .tokens = tokens,
                          .draft_tokens = draft_tokens},
                out;
    base_buf bytes = {0};
    link_result_encode(&result, &bytes);
    assert_int_equal(link_result_decode(bytes.data, bytes.size, &out, NULL), BASE_OK);
    assert_true(out.step == 7 && out.n_tokens == 2 && out.n_draft_tokens == 1 && out.draft_tokens[0] == 12);
    assert_true(out.tokens[0].pos == 2 && out.tokens[0].logprob == -0.5f && out.tokens[0].logits_digest == 4);
    assert_int_equal(out.tokens[1].token, INT32_MAX);
    link_token memory[2];
    int32_t more[2] = {0};
    link_result into;
    assert_int_equal(link_result_decode_into(bytes.data, bytes.size, memory, more, 2, &into, NULL), BASE_OK);
    assert_true(into.tokens == memory && into.n_tokens == 2);
    assert_memory_equal(memory, out.tokens, sizeof memory);
    assert_int_equal(more[0], 12);
    assert_int_equal(link_result_decode_into(bytes.data, bytes.size, memory, more, 1, &into, NULL), BASE_EFORMAT);
    assert_int_equal(link_result_decode_into(bytes.data, bytes.size - 1, memory, more, 2, &into, NULL), BASE_EFORMAT);
    link_result_release(&out);
    for (size_t size = 0; size < bytes.size; size++)
        assert_int_equal(link_result_decode(bytes.data, size, &out, NULL), BASE_EFORMAT);
    memset(bytes.data + bytes.size - 28 + 8, 0xff, 4);
    assert_int_equal(link_result_decode(bytes.data, bytes.size, &out, NULL), BASE_OK);
    assert_int_equal(out.tokens[1].token, LINK_TOKEN_OVERFLOW);
    link_result_release(&out);
    bytes.data[bytes.size - 28 + 8] = 0xfe; /* any other negative token is refused */
    base_error error = {0};
    assert_int_equal(link_result_decode(bytes.data, bytes.size, &out, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "tokens[1]"));
    bytes.data[bytes.size - 28 + 8] = 0xff;
    bytes.data[bytes.size - 1] = 0xff; /* as is a negative draft token */
    assert_int_equal(link_result_decode(bytes.data, bytes.size, &out, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "draft_tokens[0]"));
    base_buf_clear(&bytes);
    result = (link_result){.step = 8};
    link_result_encode(&result, &bytes);
    assert_int_equal(link_result_decode(bytes.data, bytes.size, &out, NULL), BASE_OK);
    assert_true(out.step == 8 && out.n_tokens == 0);
    link_result_release(&out);
    base_buf_release(&bytes);
}

static link_hello good_hello(void)
{
    link_hello hello = {.protocol = LINK_PROTOCOL,
                        .tp = 2,
                        .pp = 3,
                        .limits = limits,
                        .isa = "avx512",
                        .n_threads = 8,
                        .weights_bytes_max = 1ull << 40,
                        .kv_bytes_max = 2,
                        .workspace_bytes_max = 3};
    memset(hello.model_digest, 'a', 64);
    return hello;
}

static base_status hello_again(const link_hello *hello, link_hello *out, base_error *error)
{
    base_buf bytes = {0};
    link_hello_encode(hello, &bytes);
    base_status status = link_hello_decode(bytes.data, bytes.size, out, error);
    for (size_t size = 0; size < bytes.size; size++)
        assert_true(link_hello_decode(bytes.data, size, out, NULL) != BASE_OK);
    base_buf_release(&bytes);
    return status;
}

static void test_hello(void **state)
{
    (void)state;
    link_hello hello = good_hello(), out;
    base_error error = {0};
    assert_int_equal(hello_again(&hello, &out, &error), BASE_OK);
    assert_memory_equal(&out.limits, &limits, sizeof limits);
    assert_true(out.tp == 2 && out.pp == 3 && out.n_threads == 8 && out.weights_bytes_max == 1ull << 40);
    assert_string_equal(out.model_digest, hello.model_digest);
    assert_string_equal(out.isa, "avx512");

    snprintf(hello.isa, sizeof hello.isa, "avx512-bf16+openblas-0.3.21-Cooperlake");
    assert_int_equal(hello_again(&hello, &out, &error), BASE_OK);
    assert_string_equal(out.isa, hello.isa);
    assert_true(out.workspace_bytes_max == 3);

    hello.protocol = LINK_PROTOCOL + 1;
    assert_int_equal(hello_again(&hello, &out, &error), BASE_EUNSUPPORTED);
    hello = good_hello();
    hello.tp = 0;
    assert_int_equal(hello_again(&hello, &out, &error), BASE_EFORMAT);
    hello = good_hello();
    hello.limits.n_kv_blocks = 0;
    assert_int_equal(hello_again(&hello, &out, &error), BASE_EFORMAT);
    hello = good_hello();
    hello.limits.vocab_size = 0x80000000;
    assert_int_equal(hello_again(&hello, &out, &error), BASE_EFORMAT);
    hello = good_hello();
    hello.limits.image_size = 0;
    assert_int_equal(hello_again(&hello, &out, &error), BASE_EFORMAT);
    hello = good_hello();
    hello.model_digest[63] = 'G';
    assert_int_equal(hello_again(&hello, &out, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "model_digest"));
}

static void test_failed_and_stop(void **state)
{
    (void)state;
    base_buf bytes = {0};
    base_error cause, error = {0};
    link_failed_encode(BASE_ENOMEM, "rank 3: out of memory", &bytes);
    assert_int_equal(link_message_type(bytes.data, bytes.size), LINK_FAILED);
    assert_int_equal(link_failed_decode(bytes.data, bytes.size, &cause, &error), BASE_OK);
    assert_int_equal(cause.status, BASE_ENOMEM);
    assert_string_equal(cause.text, "rank 3: out of memory");
    assert_int_equal(link_failed_decode(bytes.data, 4, &cause, &error), BASE_EFORMAT);
    base_buf_clear(&bytes);
    link_failed_encode((base_status)77, "", &bytes);
    assert_int_equal(link_failed_decode(bytes.data, bytes.size, &cause, &error), BASE_OK);
    assert_int_equal(cause.status, BASE_EINTERNAL);
    assert_string_equal(cause.text, "");
    base_buf_clear(&bytes);
    link_stop_encode(&bytes);
    assert_int_equal(link_message_type(bytes.data, bytes.size), LINK_STOP);
    assert_int_equal(link_message_type("\x63", 1), 0);
    assert_int_equal(link_message_type(NULL, 0), 0);
    base_buf_release(&bytes);
}

/* ---- the two ends ---- */

static void put_hello(base_buf *out)
{
    link_hello hello = good_hello();
    base_buf_clear(out);
    link_hello_encode(&hello, out);
}

static void assert_receives(link_end *end, base_buf *buf, link_type type)
{
    base_error error = {0};
    if (link_receive(end, buf, 2000, &error) != BASE_OK)
        fail_msg("nothing came: %s", error.text);
    assert_int_equal(link_message_type(buf->data, buf->size), type);
}

/* HELLO, PLAN, RESULT, a second replica taking over, STOP. */
static void converse(void *zmq, const char *endpoint)
{
    link_end *coordinator, *replica, *second;
    base_buf buf = {0}, plan = {0};
    base_error error = {0};
    assert_int_equal(link_bind(zmq, endpoint, &coordinator, &error), BASE_OK);
    assert_int_equal(link_connect(zmq, endpoint, &replica, &error), BASE_OK);
    assert_non_null(link_socket(replica));

    sample s;
    sample_init(&s);
    link_plan_encode(&s.plan, &plan);
    assert_int_equal(link_receive(coordinator, &buf, 0, &error), BASE_EDEADLINE);
    assert_int_equal(link_send(coordinator, &plan, &error), BASE_EIO); /* no peer yet */
    put_hello(&buf);
    assert_int_equal(link_send(replica, &buf, &error), BASE_OK);
    assert_receives(coordinator, &buf, LINK_HELLO);
    assert_int_equal(link_send(coordinator, &plan, &error), BASE_OK);
    assert_receives(replica, &buf, LINK_PLAN);
    assert_int_equal(buf.size, plan.size);
    assert_memory_equal(buf.data, plan.data, plan.size);

    /* A stranger's result is dropped until it says hello; then the first one is the stranger. */
    base_buf result = {0};
    link_result_encode(&(link_result){.step = 1}, &result);
    assert_int_equal(link_connect(zmq, endpoint, &second, &error), BASE_OK);
    assert_int_equal(link_send(second, &result, &error), BASE_OK);
    assert_int_equal(link_receive(coordinator, &buf, 100, &error), BASE_EDEADLINE);
    put_hello(&buf);
    assert_int_equal(link_send(second, &buf, &error), BASE_OK);
    assert_receives(coordinator, &buf, LINK_HELLO);
    assert_int_equal(link_send(replica, &result, &error), BASE_OK);
    assert_int_equal(link_receive(coordinator, &buf, 100, &error), BASE_EDEADLINE);
    base_buf_clear(&buf);
    link_stop_encode(&buf);
    assert_int_equal(link_send(coordinator, &buf, &error), BASE_OK);
    assert_receives(second, &buf, LINK_STOP);

    /* The replica goes: what is sent to it fails, at the latest when ZeroMQ has noticed. */
    link_close(&replica);
    link_close(&second);
    assert_null(second);
    base_status status = BASE_OK;
    for (int i = 0; i < 200 && status == BASE_OK; i++) {
        status = link_send(coordinator, &plan, &error);
        base_clock_nap(5000);
    }
    assert_int_equal(status, BASE_EIO);
    link_close(&coordinator);
    base_buf_release(&buf);
    base_buf_release(&plan);
    base_buf_release(&result);
}

static void test_ends_inproc(void **state)
{
    (void)state;
    void *zmq = zmq_ctx_new();
    converse(zmq, "inproc://link");
    zmq_ctx_term(zmq);
}

static void test_ends_ipc(void **state)
{
    (void)state;
    char folder[] = "/tmp/palmgrove-proto-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char endpoint[128];
    snprintf(endpoint, sizeof endpoint, "ipc://%s/link", folder);
    void *zmq = zmq_ctx_new();
    converse(zmq, endpoint);

    link_end *first, *second = NULL;
    base_error error = {0};
    assert_int_equal(link_bind(zmq, endpoint, &first, &error), BASE_OK);
    assert_int_equal(link_bind(zmq, endpoint, &second, &error), BASE_EBUSY);
    assert_non_null(strstr(error.text, endpoint));
    assert_null(second);
    link_close(&first);
    zmq_ctx_term(zmq);
    assert_int_equal(rmdir(folder), 0); /* no socket file stays */
}

static void test_end_errors(void **state)
{
    (void)state;
    void *zmq = zmq_ctx_new();
    link_end *end = NULL;
    base_error error = {0};
    assert_int_equal(link_bind(zmq, "nonsense", &end, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "'nonsense'"));
    assert_int_equal(link_connect(zmq, "carrier://pigeon", &end, &error), BASE_EINVAL);
    assert_null(end);
    assert_int_equal(link_bind(zmq, "tcp://127.0.0.1:*", &end, &error), BASE_OK);
    char bound[128];
    size_t size = sizeof bound;
    assert_int_equal(zmq_getsockopt(link_socket(end), ZMQ_LAST_ENDPOINT, bound, &size), 0);
    link_end *second = NULL;
    assert_int_equal(link_bind(zmq, bound, &second, &error), BASE_EBUSY);
    base_buf broken = {.failed = true};
    assert_int_equal(link_send(end, &broken, &error), BASE_ENOMEM);
    link_close(&end);
    link_close(&end);
    zmq_ctx_term(zmq);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_round_trip),
        cmocka_unit_test(test_plan_into_memory),
        cmocka_unit_test(test_drafts_round_trip),
        cmocka_unit_test(test_plan_refusals),
        cmocka_unit_test(test_draft_refusals),
        cmocka_unit_test(test_plan_count_limits),
        cmocka_unit_test(test_feedback_placeholder),
        cmocka_unit_test(test_plan_cuts_and_mutations),
        cmocka_unit_test(test_result_round_trip),
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_failed_and_stop),
        cmocka_unit_test(test_ends_inproc),
        cmocka_unit_test(test_ends_ipc),
        cmocka_unit_test(test_end_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
