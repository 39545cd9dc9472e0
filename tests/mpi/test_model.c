/* test_model.c - the same request gives the same bits in any layout, chunking, company and kernel set.
 *
 * A prompt of text, an image, vectors of three kinds and text again is prefilled and decoded on a tiny checkpoint; the
 * digests of all sampled logits and the tokens are folded into one number.  Every way of running it must give the
 * golden number below, which was printed by `mpirun -np 1 mpi_test_model print`.  The kernels fix the order of every
 * operation, so the number is the same on every machine. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/mpi/check.h"
#include "tests/mpi/tiny_checkpoint.h"
#include "worker/kernels/kern.h"
#include "worker/model/model.h"
#include "worker/model/stack.h"
#include "worker/par/channels.h"
#include "worker/par/collectives.h"
#include "worker/par/par_testing.h"

enum { N_TEXT_BEFORE = 5, N_IMAGE = 49, N_VECTORS = 4, N_TEXT_AFTER = 3, N_DECODED = 12 };
enum { VECTORS_AT = N_TEXT_BEFORE + N_IMAGE, TEXT_AT = VECTORS_AT + N_VECTORS, N_PROMPT = TEXT_AT + N_TEXT_AFTER };
enum { SLOT = 1, N_SLOTS = 2, IMAGE_SIDE = 98, MAX_TOKENS = 128, CROWD = 31, MAX_SEQS = 1 + CROWD };

typedef struct golden {
    bool bf16; /* the checkpoint's type; else f32 */
    recipe_kind weights;
    model_numerics numerics;
    bool sampled;
    uint64_t digest;
} golden;

#define NUMERICS(a, k)                                           \
    {                                                            \
        .activations = MODEL_ACTIVATIONS_##a, .kv = MODEL_KV_##k \
    }

static const golden goldens[] = {
    {true, RECIPE_AUTO, NUMERICS(F32, F32), false, UINT64_C(0xb95b8bbb526bd4df)},
    {true, RECIPE_AUTO, NUMERICS(F32, F32), true, UINT64_C(0x9128f186fff1ee15)},
    {false, RECIPE_AUTO, NUMERICS(F32, F32), false, UINT64_C(0x0c95baea8745885f)},
    {false, RECIPE_AUTO, NUMERICS(F32, F32), true, UINT64_C(0xb190f5d3d2e2df47)},
    {false, RECIPE_F16, NUMERICS(F32, F32), false, UINT64_C(0xb33d5d510e113000)},
    {false, RECIPE_INT8, NUMERICS(F32, F32), false, UINT64_C(0x5d5146d8b8d541b7)},
    {false, RECIPE_INT4, NUMERICS(F32, F32), false, UINT64_C(0x2486763ee43b681b)},
    {false, RECIPE_INT8, NUMERICS(INT8, F32), false, UINT64_C(0xddf699b2322ff660)},
    {false, RECIPE_INT8, NUMERICS(INT8, F32), true, UINT64_C(0x513b675dd9b4fdbf)},
    {false, RECIPE_INT4, NUMERICS(INT8, F32), false, UINT64_C(0x8cb017fb07db60ec)},
    {false, RECIPE_INT4, NUMERICS(INT8, BF16), true, UINT64_C(0xaec346ac97a90e97)},
    {true, RECIPE_AUTO, NUMERICS(F32, BF16), false, UINT64_C(0x94f0fa950b857fbe)},
    {true, RECIPE_AUTO, NUMERICS(F32, INT8), true, UINT64_C(0x9b25cc97fcb3ff10)},
    {true, RECIPE_AUTO, NUMERICS(INT8, F32), false, UINT64_C(0xd2f77ecb123a886d)},
    {true, RECIPE_AUTO, NUMERICS(INT8, F32), true, UINT64_C(0x839c987ae2282eb1)},
};
enum { N_GOLDENS = sizeof goldens / sizeof *goldens };

/* How one run differs from another; none of it may show in the digest. */
typedef struct way {
    uint32_t chunk;   /* prompt tokens a plan */
    uint32_t n_mates; /* other sequences in every plan: one with as many tokens, or a crowd that decodes */
} way;

typedef struct run {
    par_grid *grid;
    model *m;
    uint64_t step, digest;
    uint32_t crowd_pos; /* where the crowd's sequences are */
    uint8_t pixels[IMAGE_SIDE * IMAGE_SIDE * 3];
    link_token tokens[MAX_SEQS];
    base_buf message;
} run;

/* --- the prompt and its plans --- */

static int32_t prompt_token(uint32_t i)
{
    static const int32_t before[N_TEXT_BEFORE] = {1, 17, 33, 149, 5}, after[N_TEXT_AFTER] = {7, 90, 42};
    if (i < N_TEXT_BEFORE)
        return before[i];
    if (i < N_TEXT_BEFORE + N_IMAGE)
        return -1 - (int32_t)(SLOT * N_IMAGE + i - N_TEXT_BEFORE);
    return after[i - TEXT_AT];
}

/* Vector v of the prompt: both encoders of the checkpoint and an embedding. */
static link_vector prompt_vector(uint32_t v)
{
    enum { STATE = LINK_VECTOR_ENCODERS, PULSE, WIDTH_MAX = 44 };
    static const link_vector shapes[N_VECTORS] = {
        {STATE, 7, NULL}, {LINK_VECTOR_EMBEDDING, WIDTH_MAX, NULL}, {PULSE, 3, NULL}, {STATE, 7, NULL}};
    static float values[N_VECTORS][WIDTH_MAX];
    for (uint32_t i = 0; i < shapes[v].width; i++)
        values[v][i] = (float)((int32_t)(((v * 64 + i) * 2654435761u) >> 20) - 2048) / 1024.0f;
    return (link_vector){shapes[v].kind, shapes[v].width, values[v]};
}

typedef struct plan_memory {
    link_plan plan;
    link_slice slices[MAX_SEQS];
    int32_t tokens[MAX_TOKENS];
    uint32_t blocks[MAX_SEQS * 4];
    link_image image;
    link_vector vectors[N_VECTORS];
} plan_memory;

/* Block b of a sequence: scattered for the request and its one mate, one block each for a crowd. */
static uint32_t block_of(uint32_t seq, uint32_t b)
{
    static const uint32_t scattered[2][4] = {{5, 0, 7, 2}, {1, 6, 3, 4}};
    return seq < 2 ? scattered[seq][b] : 6 + seq;
}

static void add_slice(plan_memory *p, uint32_t seq, uint32_t pos, uint32_t n, uint32_t n_sampled, uint32_t flags,
                      bool sampled)
{
    link_plan *plan = &p->plan;
    plan->slices[plan->n_slices++] = (link_slice){
        .seq = seq,
        .pos = pos,
        .n_tokens = n,
        .first_token = plan->n_tokens,
        .first_block = plan->n_blocks,
        .n_sampled = n_sampled,
        .flags = flags,
        .sampling = {.temperature = sampled ? 1.5f : 0.0f, .top_k = 40, .top_p = 0.95f, .seed = 77},
    };
    for (uint32_t b = 0; b * LINK_KV_BLOCK_TOKENS < pos + n; b++)
        plan->blocks[plan->n_blocks++] = block_of(seq, b);
}

static void add_prompt_slice(plan_memory *p, uint32_t pos, uint32_t n, bool is_last, bool sampled)
{
    add_slice(p, 0, pos, n, is_last, is_last ? LINK_SLICE_DIGEST : 0, sampled);
    for (uint32_t i = pos; i < pos + n; i++) {
        bool is_vector = i >= VECTORS_AT && i < TEXT_AT;
        p->plan.tokens[p->plan.n_tokens++] =
            is_vector ? -1 - (int32_t)(N_SLOTS * N_IMAGE + p->plan.n_vectors) : prompt_token(i);
        if (is_vector)
            p->plan.vectors[p->plan.n_vectors++] = prompt_vector(i - VECTORS_AT);
    }
}

static void add_mate_slice(plan_memory *p, uint32_t seq, uint32_t pos, uint32_t n)
{
    add_slice(p, seq, pos, n, 1, 0, true);
    for (uint32_t i = 0; i < n; i++)
        p->plan.tokens[p->plan.n_tokens++] = (int32_t)((pos + i) * 31 + seq - 1) % 150;
}

/* One mate has n tokens at `pos` as the request; each of a crowd has its next token. */
static void add_mates(run *r, plan_memory *p, uint32_t n_mates, uint32_t pos, uint32_t n)
{
    if (n_mates == 1)
        add_mate_slice(p, 1, pos, n);
    for (uint32_t i = 0; n_mates > 1 && i < n_mates; i++)
        add_mate_slice(p, 1 + i, r->crowd_pos, 1);
    r->crowd_pos++;
}

static void start_plan(run *r, plan_memory *p)
{
    *p = (plan_memory){0};
    p->plan = (link_plan){.step = ++r->step,
                          .slices = p->slices,
                          .tokens = p->tokens,
                          .blocks = p->blocks,
                          .images = &p->image,
                          .vectors = p->vectors};
}

static uint64_t fold(uint64_t digest, uint64_t value)
{
    return (digest ^ value) * UINT64_C(0x100000001b3);
}

/* Run a plan on this rank and bring its tokens to stage 0, as the worker does. */
static void run_plan(run *r, const link_plan *plan)
{
    par_place place = par_grid_place(r->grid);
    link_result result = {.tokens = r->tokens};
    model_step(r->m, plan, &result);
    if (place.stage + 1 == place.pp && place.tp_rank == 0) {
        base_buf_clear(&r->message);
        base_buf_put(&r->message, result.tokens, result.n_tokens * sizeof *result.tokens);
        par_result_send(r->grid, r->message.data, r->message.size);
    }
    if (place.stage != 0)
        return;
    while (!par_result_poll(r->grid, &r->message))
        par_idle(r->grid);
    size_t n = r->message.size / sizeof(link_token);
    memcpy(r->tokens, r->message.data, n * sizeof *r->tokens);
    for (size_t i = 0; i < n; i++) {
        model_set_feedback(r->m, r->tokens[i].seq, r->tokens[i].token);
        if (r->tokens[i].seq == 0)
            r->digest = fold(fold(r->digest, r->tokens[i].logits_digest), (uint64_t)r->tokens[i].token);
    }
}

static void prefill(run *r, const way *w, bool sampled)
{
    for (uint32_t pos = 0; pos < N_PROMPT; pos += w->chunk) {
        plan_memory p;
        start_plan(r, &p);
        uint32_t n = N_PROMPT - pos < w->chunk ? N_PROMPT - pos : w->chunk;
        if (pos == 0) {
            p.plan.n_images = 1;
            p.image = (link_image){SLOT, r->pixels};
        }
        add_mates(r, &p, w->n_mates, pos, n);
        add_prompt_slice(&p, pos, n, pos + n == N_PROMPT, sampled);
        run_plan(r, &p.plan);
    }
}

static void decode(run *r, const way *w, bool sampled)
{
    for (uint32_t i = 0; i < N_DECODED; i++) {
        plan_memory p;
        start_plan(r, &p);
        add_slice(&p, 0, N_PROMPT + i, 1, 1, LINK_SLICE_DIGEST | LINK_SLICE_FEEDBACK, sampled);
        p.plan.tokens[p.plan.n_tokens++] = 0;
        add_mates(r, &p, w->n_mates, N_PROMPT + i, 1);
        run_plan(r, &p.plan);
    }
}

/* --- running it --- */

static const link_limits limits = {.max_seqs = MAX_SEQS,
                                   .max_positions = 128,
                                   .max_step_tokens = MAX_TOKENS,
                                   .n_kv_blocks = 8 + CROWD,
                                   .n_image_slots = N_SLOTS};

static bool open_model(run *r, const char *dir, const golden *g, uint32_t n_threads, base_error *error)
{
    shard_checkpoint *checkpoint = NULL;
    const shard_recipe recipe = {.kind = g->weights};
    model_options options = {.limits = limits, .numerics = g->numerics, .n_threads = n_threads, .crowded = true};
    bool ok = shard_checkpoint_open(dir, &checkpoint, error) == BASE_OK &&
              model_create(checkpoint, &recipe, r->grid, &options, &r->m, error) == BASE_OK;
    shard_checkpoint_close(&checkpoint);
    return ok && par_grid_reserve(r->grid, MAX_TOKENS * 45, 1 << 16, 1 << 12, error) == BASE_OK;
}

/* The digest of the request run in one way; on ranks outside stage 0 it stays the start value. */
static uint64_t digest_of(run *r, const way *w, bool sampled)
{
    r->digest = UINT64_C(0xcbf29ce484222325);
    r->crowd_pos = 0;
    prefill(r, w, sampled);
    decode(r, w, sampled);
    return r->digest;
}

/* Large and small chunks: sequence-parallel and not. */
enum { LARGE_CHUNK = 33 };
static const way ways[] = {{LARGE_CHUNK, 1}, {MAX_TOKENS / 2, 0}, {1, 0}, {7, 1}, {LARGE_CHUNK, CROWD}};
enum { N_WAYS = sizeof ways / sizeof *ways };

/* Run the first n_ways of running a request in one layout, with teams of n_threads. */
static void run_layout(par_world *world, const char *dir, uint32_t tp, uint32_t pp, const golden *g, const char *isa,
                       size_t n_ways, uint32_t n_threads)
{
    base_error error = {0};
    run r = {0};
    CHECK(kern_select(isa, &error) == BASE_OK);
    CHECK(par_grid_create(world, tp, pp, &r.grid, &error) == BASE_OK);
    for (size_t i = 0; i < sizeof r.pixels; i++)
        r.pixels[i] = (uint8_t)(i * 2654435761u >> 13);
    bool ok = open_model(&r, dir, g, n_threads, &error);
    if (!ok)
        fprintf(stderr, "layout %u x %u: %s\n", tp, pp, error.text);
    CHECK(ok);
    for (size_t i = 0; ok && i < n_ways; i++) {
        uint64_t digest = digest_of(&r, &ways[i], g->sampled);
        bool equal = digest == g->digest || par_grid_place(r.grid).stage != 0;
        if (!equal)
            fprintf(stderr, "tp %u pp %u %s, %u threads, chunk %u%s: digest %016llx\n", tp, pp, isa, n_threads,
                    ways[i].chunk, ways[i].n_mates > 0 ? ", in company" : "", (unsigned long long)digest);
        CHECK(equal);
    }
    model_destroy(&r.m);
    par_grid_destroy(&r.grid);
    base_buf_release(&r.message);
}

static void for_each_golden(par_world *world, void (*check)(par_world *world, const char *dir, const golden *g))
{
    for (size_t i = 0; i < N_GOLDENS; i++) {
        char dir[64];
        CHECK(tiny_checkpoint_create(world, goldens[i].bf16, dir));
        check(world, dir, &goldens[i]);
        tiny_checkpoint_remove(world, dir);
    }
}

/* The checkpoint has 4 groups of MLP columns and 4 layers. */
enum { GRID_MAX = 4 };
_Static_assert(LARGE_CHUNK >= GRID_MAX * MODEL_ROWS_DIVIDED && 7 < 2 * MODEL_ROWS_DIVIDED,
               "the chunks meet both paths");

static void check_layouts(par_world *world, const char *dir, const golden *g)
{
    uint32_t n = (uint32_t)par_world_size(world);
    for (uint32_t tp = 1; tp <= n; tp++)
        if (n % tp == 0 && tp <= GRID_MAX && n / tp <= GRID_MAX)
            run_layout(world, dir, tp, n / tp, g, "auto", N_WAYS, 1);
}

static void check_kernel_sets(par_world *world, const char *dir, const golden *g)
{
    uint32_t n = (uint32_t)par_world_size(world);
    const kern_table *usable[KERN_VARIANTS];
    size_t n_usable = kern_usable(usable);
    for (size_t i = 0; i < n_usable; i++)
        run_layout(world, dir, n, 1, g, usable[i]->name, 1, 1);
}

static void check_threads(par_world *world, const char *dir, const golden *g)
{
    uint32_t n = (uint32_t)par_world_size(world);
    for (uint32_t n_threads = 2; n_threads <= 3; n_threads++)
        run_layout(world, dir, n, 1, g, "auto", 2, n_threads);
}

static bool divide_alike(par_world *world, uint32_t tp)
{
    base_error error = {0};
    par_grid *grid = NULL;
    CHECK(par_grid_create(world, tp, (uint32_t)par_world_size(world) / tp, &grid, &error) == BASE_OK);
    bool alike = par_rows_same_on_all_stages(grid);
    par_grid_destroy(&grid);
    return alike;
}

/* Two stages of three ranks whose tensor groups lie on nodes in the same way or not (ranks a node; the whole group):
 * their rows may then be divided differently. */
static void check_nodes(par_world *world, const char *dir, const golden *g)
{
    static const uint32_t node_ranks[][2] = {{1, 1}, {2, 2}, {1, 2}, {2, 3}};
    uint32_t tp = (uint32_t)par_world_size(world) / 2, stage = (uint32_t)par_world_rank(world) / tp;
    for (size_t i = 0; i < sizeof node_ranks / sizeof node_ranks[0]; i++) {
        par_world_pretend_nodes(world, node_ranks[i][stage]);
        CHECK(divide_alike(world, tp) == (node_ranks[i][0] == node_ranks[i][1]));
        run_layout(world, dir, tp, 2, g, "auto", 2, 1);
    }
    par_world_pretend_nodes(world, 0);
}

static void case_nodes(par_world *world)
{
    for_each_golden(world, check_nodes);
}

static void case_layouts(par_world *world)
{
    for_each_golden(world, check_layouts);
}

static void case_threads(par_world *world)
{
    for_each_golden(world, check_threads);
}

static void case_kernels(par_world *world)
{
    for_each_golden(world, check_kernel_sets);
}

/* Print the golden table. */
static void print_digest(par_world *world, const char *dir, const golden *g)
{
    base_error error = {0};
    run r = {0};
    CHECK(par_grid_create(world, 1, 1, &r.grid, &error) == BASE_OK);
    for (size_t i = 0; i < sizeof r.pixels; i++)
        r.pixels[i] = (uint8_t)(i * 2654435761u >> 13);
    CHECK(open_model(&r, dir, g, 1, &error));
    static const char *const kinds[RECIPE_N_KINDS] = {"AUTO", "F32", "F16", "BF16", "INT8", "INT4"};
    static const char *const activations[MODEL_N_ACTIVATIONS] = {"F32", "INT8"}, *const kvs[MODEL_N_KV_TYPES] = {
                                                                                     "F32", "BF16", "INT8"};
    printf("    {%s, RECIPE_%s, NUMERICS(%s, %s), %s, UINT64_C(0x%016llx)},\n", g->bf16 ? "true" : "false",
           kinds[g->weights], activations[g->numerics.activations], kvs[g->numerics.kv], g->sampled ? "true" : "false",
           (unsigned long long)digest_of(&r, &ways[0], g->sampled));
    model_destroy(&r.m);
    par_grid_destroy(&r.grid);
    base_buf_release(&r.message);
}

static void case_print(par_world *world)
{
    for_each_golden(world, print_digest);
}

int main(int argc, char **argv)
{
    const check_case cases[] = {{"layouts", case_layouts},
                                {"threads", case_threads},
                                {"kernels", case_kernels},
                                {"nodes", case_nodes},
                                {"print", case_print}};
    return check_main(argc, argv, cases, sizeof cases / sizeof *cases);
}
