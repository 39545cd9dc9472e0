/* After "ready" the step loop makes no allocation and no system call of its own.
 *
 * A replica decodes four sequences, plans dispatched ahead as a coordinator does, new sequences now and then, and a
 * fifth for which a draft model proposes tokens; over 1,000 steps every request to the allocator and every system call
 * of its main thread and team is counted and charged to the code that made it (alloc_count.h).  Ours must be none.
 * Waiting (sched_yield, naps) is counted apart: with a core for each thread there is almost none of it under load, but
 * a test machine has other work too. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/base/clock.h"
#include "proto/link/link.h"
#include "tests/mpi/check.h"
#include "tests/mpi/alloc_count.h"
#include "tests/mpi/tiny_checkpoint.h"
#include "worker/model/stack.h"
#include "worker/worker.h"

#define ENDPOINT "inproc://test-no-alloc"

enum {
    N_SEQS = 4,
    N_DRAFTED = 2,     /* for one more sequence, in every plan */
    PROMPT = 48,       /* tokens: enough to be sequence-parallel on 3 ranks */
    LIFE = 200,        /* steps of a sequence */
    BLOCKS_OF_SEQ = 8, /* (PROMPT + LIFE) / 32 rounded up */
    N_AHEAD = 3,
    N_WARM = 300, /* more than one life */
    N_COUNTED = 1000,
    RECEIVE_MS = 20000,
    ATTACH_MS = 5000,
};

_Static_assert(PROMPT >= 3 * MODEL_ROWS_DIVIDED, "prompts are sequence-parallel");

typedef struct coordinator {
    void *zmq;
    link_end *link;
    pthread_t thread;
    count_stage *stage;
    int n_ranks;
    uint32_t n_sent, n_results;
} coordinator;

/* --- the coordinator's side --- */

/* The sequences' lives are shifted against each other, so that prompts meet decoding. */
static link_slice slice_of(uint32_t seq, uint32_t step)
{
    uint32_t age = (step + seq * (LIFE / N_SEQS)) % LIFE;
    bool starts = age == 0 || step == 0;
    link_slice slice = {.seq = seq, .pos = starts ? 0 : PROMPT - 1 + age, .n_tokens = starts ? PROMPT : 1};
    slice.n_sampled = 1;
    slice.flags = starts ? 0u : LINK_SLICE_FEEDBACK;
    slice.sampling = (link_sampling){.temperature = 1.0f, .top_k = 40, .top_p = 0.9f, .seed = seq};
    return slice;
}

/* The fifth: the draft model reads a token and proposes, and the slice verifies; whether its tokens are accepted does
 * not matter here. */
static void add_drafted(link_plan *plan, link_draft *draft, uint32_t step)
{
    uint32_t pos = step % (LIFE - N_DRAFTED);
    plan->slices[plan->n_slices] = (link_slice){.seq = N_SEQS,
                                                .pos = pos,
                                                .n_tokens = 1 + N_DRAFTED,
                                                .n_sampled = 1 + N_DRAFTED,
                                                .first_token = plan->n_tokens,
                                                .first_block = plan->n_blocks,
                                                .sampling = {.top_p = 1.0f}};
    *draft = (link_draft){.slice = plan->n_slices++, .pos = pos, .n_tokens = 1, .n_drafted = N_DRAFTED};
    for (uint32_t i = 0; i < 1 + N_DRAFTED; i++)
        plan->tokens[plan->n_tokens++] = i == 0 ? 9 : 0;
    for (uint32_t b = 0; b < BLOCKS_OF_SEQ; b++)
        plan->blocks[plan->n_blocks++] = N_SEQS * BLOCKS_OF_SEQ + b;
    plan->n_drafts = plan->n_draft_inputs = 1;
    plan->drafts = draft;
}

static void send_plan(coordinator *f, base_buf *message)
{
    static uint32_t draft_blocks[BLOCKS_OF_SEQ] = {7, 6, 5, 4, 3, 2, 1, 0};
    link_slice slices[N_SEQS + 1];
    link_draft draft;
    int32_t tokens[N_SEQS * PROMPT + 1 + N_DRAFTED], read = 9;
    uint32_t blocks[(N_SEQS + 1) * BLOCKS_OF_SEQ], step = f->n_sent++;
    link_plan plan = {.step = step + 1, .slices = slices, .tokens = tokens, .blocks = blocks};
    for (uint32_t s = 0; s < N_SEQS; s++) {
        slices[s] = slice_of(s, step);
        slices[s].first_token = plan.n_tokens;
        slices[s].first_block = plan.n_blocks;
        for (uint32_t i = 0; i < slices[s].n_tokens; i++)
            tokens[plan.n_tokens++] = (int32_t)(3 + s + i);
        for (uint32_t b = 0; b < BLOCKS_OF_SEQ; b++)
            blocks[plan.n_blocks++] = s * BLOCKS_OF_SEQ + b;
        plan.n_slices++;
    }
    add_drafted(&plan, &draft, step);
    plan.draft_inputs = &read;
    plan.draft_blocks = draft_blocks;
    plan.n_draft_blocks = BLOCKS_OF_SEQ;
    base_buf_clear(message);
    link_plan_encode(&plan, message);
    CHECK(link_send(f->link, message, NULL) == BASE_OK);
}

/* All tracers attached before the first counted step. */
static void begin_counting(coordinator *f)
{
    uint64_t start_us = base_clock_us();
    atomic_store(&f->stage->phase, COUNT_ATTACH);
    while (atomic_load(&f->stage->n_ready) < f->n_ranks && base_clock_us() - start_us < ATTACH_MS * 1000u)
        base_clock_nap(1000);
    CHECK(atomic_load(&f->stage->n_ready) == f->n_ranks);
    atomic_store(&f->stage->phase, COUNT_NOW);
}

static void *coordinator_run(void *context)
{
    coordinator *f = context;
    base_buf message = {0};
    CHECK(link_receive(f->link, &message, RECEIVE_MS, NULL) == BASE_OK);
    CHECK(link_message_type(message.data, message.size) == LINK_HELLO);
    while (f->n_sent < N_AHEAD)
        send_plan(f, &message);
    while (f->n_results < N_WARM + N_COUNTED && link_receive(f->link, &message, RECEIVE_MS, NULL) == BASE_OK) {
        CHECK(link_message_type(message.data, message.size) == LINK_RESULT);
        if (++f->n_results == N_WARM)
            begin_counting(f);
        send_plan(f, &message);
    }
    CHECK(f->n_results == N_WARM + N_COUNTED);
    atomic_store(&f->stage->phase, COUNT_OVER);
    base_buf_clear(&message);
    link_stop_encode(&message);
    CHECK(link_send(f->link, &message, NULL) == BASE_OK);
    base_buf_release(&message);
    return NULL;
}

/* --- both sides --- */

/* A file's first page as memory of all ranks; they are on one machine. */
static count_stage *map_stage(const char *path)
{
    int file = open(path, O_RDWR);
    void *memory =
        file >= 0 ? mmap(NULL, sizeof(count_stage), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
    if (file >= 0)
        close(file);
    CHECK(memory != MAP_FAILED);
    return memory == MAP_FAILED ? NULL : memory;
}

static void print_line(void *context, int rank, const char *text)
{
    printf("%s rank %d: %s\n", (const char *)context, rank, text);
}

static void report(par_world *world, const count_result *result, uint32_t tp, uint32_t pp, uint32_t n_threads)
{
    char what[64], text[PAR_TEXT_MAX];
    snprintf(what, sizeof what, "%d steps, tp %u x pp %u, %u threads,", N_COUNTED, tp, pp, n_threads);
    count_describe(result, text, sizeof text);
    par_world_collect_text(
        world, atomic_load(&result->refused) ? "tracing is not allowed here: system calls were not counted" : text,
        print_line, what);
    CHECK(count_requests(result, COUNT_OURS) == 0);
    CHECK(count_calls(result, COUNT_OURS) == 0);
}

static void run(par_world *world, const char *dir, count_stage *stage, uint32_t tp, uint32_t pp, uint32_t n_threads)
{
    coordinator f = {.stage = stage, .n_ranks = par_world_size(world)};
    worker_options options = {.model = dir,
                              .draft = dir,
                              .tp = tp,
                              .pp = pp,
                              .n_threads = n_threads,
                              .max_seqs = N_SEQS + 1 + N_DRAFTED,
                              .max_step_tokens = 2 * N_SEQS * PROMPT,
                              .n_image_slots = 1,
                              .isa = "auto",
                              .link = ENDPOINT};
    bool is_rank_0 = par_world_rank(world) == 0;
    const count_result *result = count_start(stage);
    CHECK(result != NULL);
    if (is_rank_0) {
        f.zmq = options.zmq = zmq_ctx_new();
        CHECK(link_bind(f.zmq, ENDPOINT, &f.link, NULL) == BASE_OK);
        CHECK(pthread_create(&f.thread, NULL, coordinator_run, &f) == 0);
    }
    base_error error = {0};
    base_status status = worker_run(world, &options, &error);
    CHECK(status == BASE_OK);
    if (status != BASE_OK)
        fprintf(stderr, "%s\n", error.text);
    if (is_rank_0) {
        pthread_join(f.thread, NULL);
        link_close(&f.link);
        zmq_ctx_term(f.zmq);
    }
    count_finish();
    if (result != NULL)
        report(world, result, tp, pp, n_threads);
}

/* Run one layout in a directory of its own.  The team's threads are those that OpenMP keeps for this number. */
static void count_layout(par_world *world, uint32_t tp, uint32_t pp, uint32_t n_threads)
{
    char dir[64], path[80];
    CHECK(tiny_checkpoint_create(world, true, dir));
    snprintf(path, sizeof path, "%s/stage", dir);
    if (par_world_rank(world) == 0) {
        int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
        CHECK(file >= 0 && ftruncate(file, sizeof(count_stage)) == 0);
        close(file);
    }
    par_world_agree(world, BASE_OK, NULL); /* the file is there */
    count_stage *stage = map_stage(path);
#pragma omp parallel num_threads((int)n_threads)
    count_follow();
    if (par_world_max(world, stage == NULL) == 0)
        run(world, dir, stage, tp, pp, n_threads);
    tiny_checkpoint_remove(world, dir);
}

static void case_tensor(par_world *world)
{
    count_layout(world, (uint32_t)par_world_size(world), 1, 1);
}

static void case_stages(par_world *world)
{
    count_layout(world, 1, (uint32_t)par_world_size(world), 1);
}

static void case_threads(par_world *world)
{
    count_layout(world, (uint32_t)par_world_size(world), 1, 2);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {{"tensor", case_tensor}, {"stages", case_stages}, {"threads", case_threads}};
    return check_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
