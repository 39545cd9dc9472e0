/* PaLM-E's other inputs: vectors in requests, in step plans and in the scheduler. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "coordinator/sched/sched.h"
#include "proto/link/position.h"
#include "proto/link/link.h"
#include "proto/wire/msg.h"

/* ---- requests ---- */

static base_status round_trip(const char *encoder, uint32_t width, const float *values, size_t n, wire_request *out,
                              base_error *error)
{
    const wire_part parts[] = {
        {.kind = WIRE_PART_TEXT, .text = "state: "},
        {.kind = WIRE_PART_VECTORS, .encoder = encoder, .width = width, .values = values, .n_values = n}};
    wire_request request = {.version = WIRE_VERSION,
                            .request_id = "r",
                            .kind = WIRE_REQUEST_GENERATE,
                            .generate = {.parts = parts, .n_parts = 2, .sampling = {.top_p = 1.0f}}};
    base_buf bytes = {0};
    assert_int_equal(wire_request_encode(&request, &bytes, error), BASE_OK);
    base_status status = wire_request_decode(bytes.data, bytes.size, out, error);
    base_buf_release(&bytes);
    return status;
}

static void test_requests_carry_vectors(void **unused)
{
    (void)unused;
    const float values[] = {1.0f, -0.0f, 3.4e38f, 1e-45f, 5.0f, 6.0f};
    wire_request request = {0};
    assert_int_equal(round_trip("state", 3, values, 6, &request, NULL), BASE_OK);
    const wire_part *part = &request.generate.parts[1];
    assert_int_equal(part->kind, WIRE_PART_VECTORS);
    assert_string_equal(part->encoder, "state");
    assert_int_equal(part->width, 3);
    assert_int_equal(part->n_values, 6);
    assert_memory_equal(part->values, values, sizeof values);
    wire_request_release(&request);
}

static void test_requests_refuse_vectors(void **unused)
{
    (void)unused;
    static float many[WIRE_VECTORS_MAX + 1];
    const float good[] = {1.0f, 2.0f}, nan_inside[] = {1.0f, NAN}, infinite[] = {INFINITY, 0.0f};
    char long_name[WIRE_NAME_BYTES_MAX + 2];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    const struct {
        const char *encoder;
        uint32_t width;
        const float *values;
        size_t n;
        base_status status;
        const char *word;
    } rows[] = {
        {"", 0, good, 2, BASE_EINVAL, "width 0"},
        {"", 3, good, 2, BASE_EINVAL, "width 3"},
        {"", 2, good, 0, BASE_EINVAL, "0 values"},
        {"", 2, nan_inside, 2, BASE_EINVAL, "values[1]"},
        {"", 1, infinite, 2, BASE_EINVAL, "values[0]"},
        {long_name, 2, good, 2, BASE_ETOOBIG, "encoder"},
        {"", 1, many, WIRE_VECTORS_MAX + 1, BASE_ETOOBIG, "65537"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        wire_request request = {0};
        base_error error = {0};
        assert_int_equal(round_trip(rows[i].encoder, rows[i].width, rows[i].values, rows[i].n, &request, &error),
                         rows[i].status);
        assert_non_null(strstr(error.text, rows[i].word));
        assert_non_null(strstr(error.text, "parts[1]"));
    }
}

/* ---- plans: three tokens and two vectors, of which the first is an embedding ---- */

enum { N_IMAGE_ROWS = 6, D = 4, STATE = LINK_VECTOR_ENCODERS, STATE_WIDTH = 2 };

static const link_limits limits = {.max_seqs = 4,
                                   .max_positions = 128,
                                   .max_step_tokens = 40,
                                   .n_kv_blocks = 12,
                                   .n_image_slots = 2,
                                   .rows_per_image = 3,
                                   .image_size = 4,
                                   .vocab_size = 100,
                                   .vector_widths = {[LINK_VECTOR_EMBEDDING] = D, [STATE] = STATE_WIDTH}};
static const float embedding[D] = {1.0f, 2.0f, 3.0f, 4.0f}, state[STATE_WIDTH] = {-5.0f, 6.0f};

typedef struct sample {
    link_plan plan;
    link_slice slice;
    int32_t tokens[5];
    uint32_t block;
    link_vector vectors[2];
} sample;

static void make_sample(sample *s)
{
    *s = (sample){.slice = {.n_tokens = 5, .n_sampled = 1, .sampling = {.top_p = 1.0f}},
                  .tokens = {7, -1 - N_IMAGE_ROWS, 8, -2 - N_IMAGE_ROWS, 9},
                  .vectors = {{LINK_VECTOR_EMBEDDING, D, embedding}, {STATE, STATE_WIDTH, state}}};
    s->plan = (link_plan){.step = 1,
                          .n_slices = 1,
                          .n_tokens = 5,
                          .n_blocks = 1,
                          .n_vectors = 2,
                          .slices = &s->slice,
                          .tokens = s->tokens,
                          .blocks = &s->block,
                          .vectors = s->vectors};
}

static void test_plans_carry_vectors(void **unused)
{
    (void)unused;
    sample s;
    base_buf bytes = {0};
    link_plan plan;
    size_t memory_bytes;
    make_sample(&s);
    link_plan_encode(&s.plan, &bytes);
    assert_int_equal(link_plan_decode(bytes.data, bytes.size, &limits, &plan, NULL), BASE_OK);
    assert_int_equal(plan.n_vectors, 2);
    assert_int_equal(plan.vectors[1].kind, STATE);
    assert_memory_equal(plan.vectors[0].values, embedding, sizeof embedding);
    assert_memory_equal(plan.vectors[1].values, state, sizeof state);
    link_plan_release(&plan);
    assert_true(link_plan_memory_bytes(&limits, &memory_bytes));
    void *memory = test_malloc(memory_bytes);
    assert_int_equal(link_plan_decode_into(bytes.data, bytes.size, &limits, memory, &plan, NULL), BASE_OK);
    assert_memory_equal(plan.vectors[1].values, state, sizeof state);
    test_free(memory);
    base_buf_release(&bytes);
}

static void break_kind(sample *s)
{
    s->vectors[1].kind = STATE + 1;
}
static void break_kind_far(sample *s)
{
    s->vectors[0].kind = UINT32_MAX;
}
static void break_order(sample *s)
{
    s->tokens[1] = -2 - N_IMAGE_ROWS, s->tokens[3] = -1 - N_IMAGE_ROWS;
}
static void break_twice(sample *s)
{
    s->tokens[3] = s->tokens[1];
}
static void break_missing(sample *s)
{
    s->tokens[3] = 5;
}
static void break_beyond(sample *s)
{
    s->tokens[4] = -3 - N_IMAGE_ROWS;
}
static void break_lowest(sample *s)
{
    s->tokens[4] = INT32_MIN;
}
static void break_too_many(sample *s)
{
    s->plan.n_vectors = 1;
}

static void test_plans_refuse_vectors(void **unused)
{
    (void)unused;
    void (*const breaks[])(sample *) = {break_kind,    break_kind_far, break_order,  break_twice,
                                        break_missing, break_beyond,   break_lowest, break_too_many};
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
        sample s;
        base_buf bytes = {0};
        base_error error = {0};
        link_plan plan;
        make_sample(&s);
        breaks[i](&s);
        link_plan_encode(&s.plan, &bytes);
        assert_int_equal(link_plan_decode(bytes.data, bytes.size, &limits, &plan, &error), BASE_EFORMAT);
        assert_non_null(strstr(error.text, "PLAN message: "));
        base_buf_release(&bytes);
    }
}

/* Truncated anywhere or with trailing bytes, a plan is refused. */
static void test_plans_are_whole(void **unused)
{
    (void)unused;
    sample s;
    base_buf bytes = {0};
    link_plan plan;
    make_sample(&s);
    link_plan_encode(&s.plan, &bytes);
    for (size_t size = 0; size < bytes.size; size++)
        assert_int_equal(link_plan_decode(bytes.data, size, &limits, &plan, NULL), BASE_EFORMAT);
    base_buf_put_u8(&bytes, 0);
    assert_int_equal(link_plan_decode(bytes.data, bytes.size, &limits, &plan, NULL), BASE_EFORMAT);
    base_buf_release(&bytes);
}

/* ---- the scheduler: a prompt of text and 36 vectors, then text ---- */

enum { N_VECTORS = 36, N_PROMPT = 70, FIRST_VECTOR = 20 };

typedef struct asked {
    int32_t tokens[N_PROMPT];
    content_vector vectors[N_VECTORS];
    sched_seq *seq;
} asked;

/* `name`: of the vectors, in their digests. */
static base_status ask(sched *s, asked *a, unsigned char name, base_error *error)
{
    for (uint32_t i = 0; i < N_PROMPT; i++) {
        bool is_vector = i >= FIRST_VECTOR && i < FIRST_VECTOR + N_VECTORS;
        a->tokens[i] = is_vector ? link_request_vector(i - FIRST_VECTOR) : (int32_t)i;
    }
    for (uint32_t v = 0; v < N_VECTORS; v++) {
        a->vectors[v] = v % 2 == 0 ? (content_vector){.kind = STATE, .width = STATE_WIDTH, .values = state}
                                   : (content_vector){.kind = LINK_VECTOR_EMBEDDING, .width = D, .values = embedding};
        memset(a->vectors[v].digest, (int)(v + 1), sizeof a->vectors[v].digest);
        a->vectors[v].digest[0] = name;
    }
    const sched_request request = {.user = a,
                                   .tokens = a->tokens,
                                   .n_tokens = N_PROMPT,
                                   .vectors = a->vectors,
                                   .n_vectors = N_VECTORS,
                                   .max_tokens = 2,
                                   .sampling = {.top_p = 1.0f}};
    assert_int_equal(sched_reserve(s, NULL), BASE_OK);
    return sched_submit(s, &request, 1, &a->seq, error);
}

static sched *open_sched(void)
{
    const sched_options options = {
        .limits = limits, .n_stages = 1, .max_queue = 4, .policy = &sched_policy_fcfs, .reuse_prefixes = true};
    sched *s = NULL;
    assert_int_equal(sched_create(&options, &s, NULL), BASE_OK);
    return s;
}

/* Run all that is queued, as ranks that sample token 3; how many vectors the plans had, each checked. */
static uint32_t run(sched *s)
{
    uint32_t n_vectors = 0;
    for (const link_plan *plan; (plan = sched_next_plan(s, 2)) != NULL;) {
        base_buf bytes = {0};
        link_plan decoded;
        link_plan_encode(plan, &bytes);
        assert_int_equal(link_plan_decode(bytes.data, bytes.size, &limits, &decoded, NULL), BASE_OK);
        for (uint32_t v = 0; v < decoded.n_vectors; v++) {
            bool is_state = decoded.vectors[v].kind == STATE;
            assert_memory_equal(decoded.vectors[v].values, is_state ? state : embedding,
                                is_state ? sizeof state : sizeof embedding);
        }
        n_vectors += decoded.n_vectors;
        link_token tokens[4];
        link_result result = {.step = plan->step, .tokens = tokens};
        for (uint32_t i = 0; i < decoded.n_slices; i++)
            for (uint32_t k = decoded.slices[i].n_sampled; k > 0; k--)
                tokens[result.n_tokens++] = (link_token){.seq = decoded.slices[i].seq,
                                                         .pos = decoded.slices[i].pos + decoded.slices[i].n_tokens - k,
                                                         .token = 3};
        link_plan_release(&decoded);
        base_buf_release(&bytes);
        assert_int_equal(sched_process_result(s, &result, 3, NULL), BASE_OK);
        sched_event event;
        while (sched_next_event(s, &event))
            assert_int_not_equal(event.finish, SCHED_FAILED);
    }
    return n_vectors;
}

static void test_sched_plans_vectors(void **unused)
{
    (void)unused;
    sched *s = open_sched();
    asked first, same, other;
    assert_int_equal(ask(s, &first, 1, NULL), BASE_OK);
    assert_int_equal(run(s), N_VECTORS);
    assert_int_equal(ask(s, &same, 1, NULL), BASE_OK); /* two blocks of 32 are there: all its vectors are in them */
    assert_int_equal(run(s), 0);
    assert_int_equal(sched_stats_of(s).prefix_tokens, 64);
    assert_int_equal(ask(s, &other, 2, NULL), BASE_OK); /* the same tokens, other vectors */
    assert_int_equal(run(s), N_VECTORS);
    assert_int_equal(sched_stats_of(s).prefix_tokens, 64);
    sched_destroy(&s);
}

/* Canceled while its plan is under way, a request's blocks are still named, after its owner has let go of everything.
 */
static void test_sched_outlives_requests(void **unused)
{
    (void)unused;
    sched *s = open_sched();
    asked *gone = test_malloc(sizeof *gone), same;
    assert_int_equal(ask(s, gone, 1, NULL), BASE_OK);
    const link_plan *plan = sched_next_plan(s, 2);
    assert_non_null(plan);
    assert_int_equal(plan->slices[0].n_tokens, limits.max_step_tokens);
    link_result result = {.step = plan->step};
    sched_cancel(s, gone->seq);
    memset(gone, 0xff, sizeof *gone);
    test_free(gone);
    assert_int_equal(sched_process_result(s, &result, 3, NULL), BASE_OK);
    assert_int_equal(ask(s, &same, 1, NULL), BASE_OK);
    assert_int_equal(run(s), N_VECTORS - (LINK_KV_BLOCK_TOKENS - FIRST_VECTOR)); /* one block was whole */
    assert_int_equal(sched_stats_of(s).prefix_tokens, LINK_KV_BLOCK_TOKENS);
    sched_destroy(&s);
}

static void test_sched_refuses_vectors(void **unused)
{
    (void)unused;
    sched *s = open_sched();
    asked a;
    base_error error = {0};
    assert_int_equal(ask(s, &a, 1, NULL), BASE_OK);
    const sched_request whole = {.user = &a,
                                 .tokens = a.tokens,
                                 .n_tokens = N_PROMPT,
                                 .vectors = a.vectors,
                                 .n_vectors = N_VECTORS,
                                 .max_tokens = 2,
                                 .sampling = {.top_p = 1.0f}};
    sched_request request = whole;
    request.n_vectors--;
    assert_int_equal(sched_reserve(s, NULL), BASE_OK);
    assert_int_equal(sched_submit(s, &request, 1, &a.seq, &error), BASE_EINVAL);
    request = whole;
    a.vectors[5].width = 3;
    assert_int_equal(sched_reserve(s, NULL), BASE_OK);
    assert_int_equal(sched_submit(s, &request, 1, &a.seq, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "vector 5"));
    a.vectors[5].width = D;
    a.tokens[FIRST_VECTOR] = link_request_vector(1);
    assert_int_equal(sched_reserve(s, NULL), BASE_OK);
    assert_int_equal(sched_submit(s, &request, 1, &a.seq, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "order"));
    sched_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_carry_vectors),  cmocka_unit_test(test_requests_refuse_vectors),
        cmocka_unit_test(test_plans_carry_vectors),     cmocka_unit_test(test_plans_refuse_vectors),
        cmocka_unit_test(test_plans_are_whole),         cmocka_unit_test(test_sched_plans_vectors),
        cmocka_unit_test(test_sched_outlives_requests), cmocka_unit_test(test_sched_refuses_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
