/* Sums over tensor groups that lie on several nodes: neighbouring ranks play a node, evenly and not, so all that
 * messages do between nodes is done here on one machine; exact bytes on the wire, or bf16. */
#include "tests/mpi/check.h"
#include "worker/par/collectives.h"
#include "worker/par/par_testing.h"

#include <stdlib.h>

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t h = (a + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u + b * 0x94d049bb133111ebu;
    h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
    return h ^ (h >> 32);
}

/* Of all widths in turns, blocks of zeros among them, and now and then the largest of both signs, whose sums wrap. */
static int64_t value_of(size_t i, uint32_t rank, uint64_t round)
{
    static const unsigned shifts[] = {64, 40, 33, 30, 25, 20, 17, 10, 0};
    uint64_t h = mix(i + round * 1000003, rank);
    unsigned shift = shifts[(i / 256 + round) % (sizeof shifts / sizeof shifts[0])];
    if (h % 1000 == 0)
        return h % 3000 == 0 ? INT64_MIN : INT64_MAX;
    return shift == 64 ? 0 : (int64_t)h >> shift;
}

static uint32_t bits_of(size_t i, uint64_t round)
{
    return i / 300 % 3 == 0 ? 0 : (uint32_t)mix(i, round);
}

typedef struct job {
    par_grid *grid;
    int64_t *sums;
    uint32_t *bits;
    size_t n;
} job;

static void run_job(void *context, team_member *me)
{
    job *j = context;
    par_allreduce_sum_i64(j->grid, me, j->sums, j->n);
    par_allreduce_or_u32(j->grid, me, j->bits, j->n);
}

static void reduce_exactly(par_grid *grid, team *t, size_t n, uint64_t round)
{
    par_place place = par_grid_place(grid);
    job j = {grid, malloc((n + 1) * sizeof *j.sums), malloc((n + 1) * sizeof *j.bits), n};
    for (size_t i = 0; i < n; i++) {
        j.sums[i] = value_of(i, place.tp_rank, round);
        j.bits[i] = i / 7 % place.tp == place.tp_rank ? bits_of(i, round) : 0;
    }
    j.sums[n] = 77; /* nothing past the vectors changes */
    j.bits[n] = 78;
    team_run(t, run_job, &j);
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t sum = 0;
        for (uint32_t r = 0; r < place.tp; r++)
            sum += (uint64_t)value_of(i, r, round);
        wrong += (uint64_t)j.sums[i] != sum || j.bits[i] != bits_of(i, round);
    }
    CHECK(wrong == 0);
    CHECK(j.sums[n] == 77 && j.bits[n] == 78);
    free(j.bits);
    free(j.sums);
}

static par_grid *make_grid(par_world *world, uint32_t tp)
{
    base_error error = {0};
    par_grid *grid = NULL;
    CHECK(par_grid_create(world, tp, (uint32_t)par_world_size(world) / tp, &grid, &error) == BASE_OK);
    return grid;
}

/* Ranks outnumber cores here, so waiting members offer theirs. */
static team *make_team(uint32_t n)
{
    base_error error = {0};
    team *t = NULL;
    CHECK(team_create(n, true, &t, &error) == BASE_OK);
    return t;
}

/* Nodes of every size: of 5 ranks, for instance, 1 + 1 + 1 + 1 + 1, 2 + 2 + 1, 3 + 2, 4 + 1. */
static void each_node_size(par_world *world, void (*run)(par_world *world, par_grid *grid))
{
    uint32_t n = (uint32_t)par_world_size(world);
    for (uint32_t node = 1; node <= n; node++) {
        par_world_pretend_nodes(world, node);
        par_grid *grid = make_grid(world, n);
        run(world, grid);
        par_grid_destroy(&grid);
    }
    par_world_pretend_nodes(world, 0);
}

static void run_sizes(par_world *world, par_grid *grid)
{
    static const size_t sizes[] = {0, 1, 2, 31, 1000, 2049, 5003, 40001, 131072, 131073, 400003};
    team *t = make_team(1 + (uint32_t)par_world_rank(world) % 3);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        reduce_exactly(grid, t, sizes[i], i);
    team_destroy(&t);
}

static void case_nodes(par_world *world)
{
    each_node_size(world, run_sizes);
}

static void run_large(par_world *world, par_grid *grid)
{
    (void)world;
    team *t = make_team(2);
    reduce_exactly(grid, t, 3000001, 1);
    team_destroy(&t);
}

static void case_large(par_world *world)
{
    each_node_size(world, run_large);
}

/* One right after the other, of all lengths: a buffer that is used too early shows here. */
static void run_many(par_world *world, par_grid *grid)
{
    (void)world;
    team *t = make_team(1 + (uint32_t)par_world_size(world) % 2);
    for (uint64_t i = 0; i < 1000; i++)
        reduce_exactly(grid, t, 1 + mix(i, 5) % (i % 50 == 0 ? 150000 : i % 5 == 0 ? 9000 : 300), i);
    team_destroy(&t);
}

static void case_many(par_world *world)
{
    each_node_size(world, run_many);
}

/* --- sequence parallelism: rows divided among the group --- */

enum { N_PARTS = 3 };

/* Sums and their column of flags, and what owners gather: rows of odd sizes. */
typedef struct division {
    par_grid *grid;
    size_t n_rows, width;
    par_matrix sums[2], bits, parts[N_PARTS];
    int64_t *owners; /* [n_rows] how many ranks own a row */
    uint64_t round;
} division;

static const size_t part_bytes[N_PARTS] = {1, 37, 4096};

static uint8_t part_byte(size_t part, size_t i, uint64_t round)
{
    return (uint8_t)mix(i + part * 7919, round);
}

static void divide(void *context, team_member *me)
{
    division *v = context;
    par_reduce_scatter_sum_i64(v->grid, me, v->sums, 2, v->n_rows);
    par_reduce_scatter_or_u32(v->grid, me, &v->bits, 1, v->n_rows);
    par_rows own = par_rows_owned(v->grid, v->n_rows);
    for (size_t p = 0; p < N_PARTS; p++) { /* the owner of a row alone knows what it becomes */
        uint8_t *bytes = v->parts[p].rows;
        for (size_t i = own.begin * part_bytes[p]; me->index == 0 && i < own.end * part_bytes[p]; i++)
            bytes[i] = part_byte(p, i, v->round);
    }
    par_all_gather_rows(v->grid, me, v->parts, N_PARTS, v->n_rows);
    par_allreduce_sum_i64(v->grid, me, v->owners, v->n_rows);
}

/* Row by row the vectors of reduce_exactly, the flags after them. */
static void fill_division(division *v)
{
    uint32_t rank = par_grid_place(v->grid).tp_rank;
    par_rows own = par_rows_owned(v->grid, v->n_rows);
    size_t n = v->n_rows * v->width;
    int64_t *sums = malloc((n + v->n_rows + 1) * sizeof *sums);
    for (size_t i = 0; i < n + v->n_rows; i++)
        sums[i] = value_of(i, rank, v->round);
    v->sums[0] = (par_matrix){sums, v->width * sizeof *sums};
    v->sums[1] = (par_matrix){sums + n, sizeof *sums};
    v->bits = (par_matrix){malloc((n + 1) * sizeof(uint32_t)), v->width * sizeof(uint32_t)};
    for (size_t i = 0; i < n; i++)
        ((uint32_t *)v->bits.rows)[i] = i / 7 % par_grid_place(v->grid).tp == rank ? bits_of(i, v->round) : 0;
    for (size_t p = 0; p < N_PARTS; p++)
        v->parts[p] = (par_matrix){malloc(v->n_rows * part_bytes[p] + 1), part_bytes[p]};
    for (size_t p = 0; p < N_PARTS; p++)
        memset(v->parts[p].rows, 0x5a, v->n_rows * part_bytes[p] + 1);
    v->owners = calloc(v->n_rows + 1, sizeof *v->owners);
    for (size_t r = own.begin; r < own.end; r++)
        v->owners[r] = 1;
}

/* Own rows' sums, all ranks' parts, one owner for each row, and nothing written past the end. */
static size_t count_wrong(const division *v)
{
    par_rows own = par_rows_owned(v->grid, v->n_rows);
    const int64_t *sums = v->sums[0].rows;
    size_t wrong = 0, n = v->n_rows * v->width;
    for (size_t i = 0; i < n + v->n_rows; i++) {
        size_t row = i < n ? i / v->width : i - n;
        uint64_t sum = 0;
        for (uint32_t r = 0; r < par_grid_place(v->grid).tp; r++)
            sum += (uint64_t)value_of(i, r, v->round);
        bool is_own = row >= own.begin && row < own.end;
        wrong += is_own && (uint64_t)sums[i] != sum;
        wrong += is_own && i < n && ((const uint32_t *)v->bits.rows)[i] != bits_of(i, v->round);
    }
    for (size_t p = 0; p < N_PARTS; p++) {
        const uint8_t *bytes = v->parts[p].rows;
        for (size_t i = 0; i < v->n_rows * part_bytes[p]; i++)
            wrong += bytes[i] != part_byte(p, i, v->round);
        wrong += bytes[v->n_rows * part_bytes[p]] != 0x5a;
    }
    for (size_t r = 0; r < v->n_rows; r++)
        wrong += v->owners[r] != 1;
    return wrong;
}

static void divide_rows(par_grid *grid, team *t, size_t n_rows, size_t width, uint64_t round)
{
    division v = {.grid = grid, .n_rows = n_rows, .width = width, .round = round};
    fill_division(&v);
    team_run(t, divide, &v);
    CHECK(count_wrong(&v) == 0);
    for (size_t p = 0; p < N_PARTS; p++)
        free(v.parts[p].rows);
    free(v.sums[0].rows);
    free(v.bits.rows);
    free(v.owners);
}

/* Of no row, fewer rows than ranks, and enough for several windows; teams of 1 to 3 threads. */
static void run_rows(par_world *world, par_grid *grid)
{
    static const size_t sizes[][2] = {{0, 44}, {1, 44}, {2, 1}, {5, 300}, {33, 44}, {64, 257}, {500, 31}, {700, 600}};
    team *t = make_team(1 + (uint32_t)par_world_rank(world) % 3);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        divide_rows(grid, t, sizes[i][0], sizes[i][1], i);
    team_destroy(&t);
}

static void case_rows(par_world *world)
{
    each_node_size(world, run_rows);
    par_world_use_shared(world, false);
    each_node_size(world, run_rows);
}

/* In turns with whole sums, which use the same slots and messages. */
static void run_many_rows(par_world *world, par_grid *grid)
{
    (void)world;
    team *t = make_team(1 + (uint32_t)par_world_size(world) % 2);
    for (uint64_t i = 0; i < 300; i++) {
        divide_rows(grid, t, mix(i, 3) % (i % 10 == 0 ? 90 : 9), 1 + mix(i, 4) % (i % 50 == 0 ? 3000 : 90), i);
        if (i % 3 == 0)
            reduce_exactly(grid, t, 1 + mix(i, 5) % 3000, i);
    }
    team_destroy(&t);
}

static void case_many_rows(par_world *world)
{
    each_node_size(world, run_many_rows);
}

/* --- bf16 --- */

/* Every rank ends with the same bits; they are as near as N roundings to 8 bits, and one of the sum, allow. */
static void combine_rounded(par_grid *grid, team *t, size_t n)
{
    par_place place = par_grid_place(grid);
    job j = {grid, malloc((n + 1) * sizeof *j.sums), calloc(n + 1, sizeof *j.bits), n};
    for (size_t i = 0; i < n; i++)
        j.sums[i] = (int64_t)mix(i, place.tp_rank) >> 24;
    team_run(t, run_job, &j);
    size_t far = 0;
    for (size_t i = 0; i < n; i++) {
        double sum = 0.0, sizes = 0.0;
        for (uint32_t r = 0; r < place.tp; r++) {
            double value = (double)((int64_t)mix(i, r) >> 24);
            sum += value;
            sizes += value < 0 ? -value : value;
        }
        double off =
            (double)j.sums[i] -
            sum; /* each value passes at most 4 roundings of 2^-9: recursive doubling among 6, two of them folded in */
        far += (off < 0 ? -off : off) > sizes * 4.5 / 512.0;
        j.bits[i] = (uint32_t)mix((uint64_t)j.sums[i], 0);
    }
    CHECK(far == 0);
    uint32_t *mine = malloc((n + 1) * sizeof *mine);
    memcpy(mine, j.bits, (n + 1) * sizeof *mine);
    team_run(t, run_job, &j); /* the or of equal bits is equal */
    CHECK(memcmp(mine, j.bits, n * sizeof *mine) == 0);
    free(mine);
    free(j.bits);
    free(j.sums);
}

/* Rounded sums differ between layouts, but in one layout the same values give the same bits, in whatever order messages
 * arrive; and where no message is sent nothing is rounded. */
static void combine_rounded_again(par_grid *grid, team *t, size_t n)
{
    par_place place = par_grid_place(grid);
    job j = {grid, malloc((n + 1) * sizeof *j.sums), calloc(n + 1, sizeof *j.bits), n};
    int64_t *first = malloc((n + 1) * sizeof *first);
    size_t rounded = 0;
    for (int repeat = 0; repeat < 10; repeat++) {
        for (size_t i = 0; i < n; i++)
            j.sums[i] = value_of(i, place.tp_rank, 0);
        team_run(t, run_job, &j);
        if (repeat == 0)
            memcpy(first, j.sums, n * sizeof *first);
        CHECK(memcmp(first, j.sums, n * sizeof *first) == 0);
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t sum = 0;
        for (uint32_t r = 0; r < place.tp; r++)
            sum += (uint64_t)value_of(i, r, 0);
        rounded += (uint64_t)first[i] != sum;
    }
    CHECK(par_grid_n_nodes(grid) > 1 ? rounded > 0 : rounded == 0);
    free(first);
    free(j.bits);
    free(j.sums);
}

static void divide_rounded(void *context, team_member *me)
{
    job *j = context;
    const par_matrix row = {j->sums, sizeof *j->sums};
    par_reduce_scatter_sum_i64(j->grid, me, &row, 1, j->n);
}

/* Between two nodes a rounded sum has the same bits whether rows are divided or not: a prompt's chunks must not show.
 */
static void compare_rounded(par_grid *grid, team *t, size_t n)
{
    job whole = {grid, malloc((n + 1) * sizeof *whole.sums), calloc(n + 1, sizeof *whole.bits), n}, divided = whole;
    divided.sums = malloc((n + 1) * sizeof *divided.sums);
    for (size_t i = 0; i < n; i++)
        whole.sums[i] = divided.sums[i] = value_of(i, par_grid_place(grid).tp_rank, 3);
    team_run(t, run_job, &whole);
    team_run(t, divide_rounded, &divided);
    par_rows own = par_rows_owned(grid, n);
    CHECK(par_grid_n_nodes(grid) > 2 ||
          memcmp(whole.sums + own.begin, divided.sums + own.begin, (own.end - own.begin) * sizeof *whole.sums) == 0);
    free(divided.sums);
    free(whole.sums);
    free(whole.bits);
}

static void run_rounded(par_world *world, par_grid *grid)
{
    (void)world;
    static const size_t sizes[] = {1, 500, 1500, 2500, 30000, 300001};
    team *t = make_team(2);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        combine_rounded(grid, t, sizes[i]);
    combine_rounded_again(grid, t, 2500);
    combine_rounded_again(grid, t, 70001);
    compare_rounded(grid, t, 300);
    compare_rounded(grid, t, 300001);
    team_destroy(&t);
}

static void case_bf16(par_world *world)
{
    par_world_set_wire(world, PAR_WIRE_BF16);
    each_node_size(world, run_rounded);

    base_error error = {0}; /* a wire that differs is refused by all */
    par_grid *grid = NULL;
    uint32_t n = (uint32_t)par_world_size(world);
    par_world_set_wire(world, par_world_rank(world) == 0 ? PAR_WIRE_BF16 : PAR_WIRE_EXACT);
    par_world_pretend_nodes(world, 1);
    base_status status = par_grid_create(world, n, 1, &grid, &error);
    CHECK(n == 1 ? status == BASE_OK : status == BASE_EINVAL && grid == NULL && strstr(error.text, "--wire") != NULL);
    par_grid_destroy(&grid);
}

/* --- columns --- */

static void gather(par_grid *grid, size_t n_rows, uint32_t most)
{
    par_place place = par_grid_place(grid);
    uint32_t columns[16];
    size_t total = 0, first = 0;
    for (uint32_t r = 0; r < place.tp; r++) {
        columns[r] = (uint32_t)mix(r, most) % (most + 1);
        first += r < place.tp_rank ? columns[r] : 0;
        total += columns[r];
    }
    size_t width = columns[place.tp_rank];
    float *local = malloc((n_rows * width + 1) * sizeof *local), *full = calloc(n_rows * total + 1, sizeof *full);
    for (size_t i = 0; i < n_rows; i++)
        for (size_t c = 0; c < width; c++)
            local[i * width + c] = (float)(i * 1000000 + first + c);
    par_gather_columns(grid, local, columns, n_rows, full);
    size_t wrong = 0;
    for (size_t i = 0; i < n_rows; i++)
        for (size_t c = 0; c < total; c++)
            wrong += full[i * total + c] != (place.tp_rank == 0 ? (float)(i * 1000000 + c) : 0.0f);
    CHECK(wrong == 0);
    free(full);
    free(local);
}

/* Before the first sum and between sums. */
static void run_columns(par_world *world, par_grid *grid)
{
    (void)world;
    team *t = make_team(2);
    gather(grid, 3, 5);
    gather(grid, 2, 100000);
    for (uint32_t i = 0; i < 200; i++) {
        reduce_exactly(grid, t, 1 + mix(i, 1) % 3000, i);
        gather(grid, i % 3, i % 40 == 0 ? 90000 : 50);
    }
    team_destroy(&t);
}

static void case_columns(par_world *world)
{
    each_node_size(world, run_columns);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"nodes", case_nodes},         {"large", case_large}, {"many", case_many},       {"rows", case_rows},
        {"many_rows", case_many_rows}, {"bf16", case_bf16},   {"columns", case_columns},
    };
    return check_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
