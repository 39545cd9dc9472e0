/* test_shards.c - shard directories: the bytes that loading would have made, in any layout; resumed after a kill at any
 * point; a full disk, damage and mix-ups refused by name. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sharding/arch_json.h"
#include "sharding/pack/half.h"
#include "sharding/pack_slice.h"
#include "sharding/shards/shard_output.h"
#include "sharding/shards/shard_sum.h"
#include "sharding/shards/shard_write.h"

/* Towers with a class token, a projector of two matrices, one that is turned round ... */
#define GOLDEN  PALMGROVE_SOURCE_DIR "/tests/golden/families/"
#define VECTORS PALMGROVE_SOURCE_DIR "/tests/golden/palm_e/tiny_state"
#define PHANTOM PALMGROVE_SOURCE_DIR "/models/phantom" /* bf16; 4 layers, 6 heads, one key/value head, a tower */

/* --- directories that go away again --- */

static char root[32], set_dir[64], other_dir[64];

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/palmgrove-shards-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    snprintf(set_dir, sizeof set_dir, "%s/set", root);
    snprintf(other_dir, sizeof other_dir, "%s/other", root);
    return 0;
}

static void empty(const char *dir)
{
    DIR *list = opendir(dir);
    if (list == NULL)
        return;
    for (struct dirent *entry = readdir(list); entry != NULL; entry = readdir(list)) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        unlink(path);
    }
    closedir(list);
    rmdir(dir);
}

static int remove_root(void **state)
{
    (void)state;
    empty(set_dir);
    empty(other_dir);
    return rmdir(root);
}

static void path_of(const char *dir, const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", dir, name);
}

static bool is_there(const char *dir, const char *name)
{
    char path[256];
    path_of(dir, name, path);
    return access(path, F_OK) == 0;
}

/* --- writing --- */

typedef struct witness {
    uint64_t kill_at;    /* per mille; 0: never */
    uint64_t first_done; /* of the first report */
    bool reported;
    char notes[512];
} witness;

static void watch(void *context, uint64_t done, uint64_t total)
{
    witness *w = context;
    if (!w->reported)
        w->first_done = done;
    w->reported = true;
    if (w->kill_at != 0 && done * 1000 >= total * w->kill_at)
        raise(SIGKILL);
}

static void keep_note(void *context, const char *text)
{
    witness *w = context;
    strncat(w->notes, text, sizeof w->notes - strlen(w->notes) - 1);
}

typedef struct order {
    const char *model, *dir;
    uint32_t tp, pp;
    recipe_kind kind;
    uint32_t n_parts; /* processes, played one after the other */
    uint64_t max_memory;
    bool leave_unfinished; /* all data, no manifest */
} order;

/* No assertions: also called in children. */
static base_status write_set(const order *o, witness *w, base_error *error)
{
    shard_checkpoint *from = NULL;
    shard_writer *writer = NULL;
    shard_recipe recipe = {.kind = o->kind};
    shard_write_options options = {.dir = o->dir,
                                   .tp = o->tp,
                                   .pp = o->pp,
                                   .recipe = &recipe,
                                   .max_memory = o->max_memory != 0 ? o->max_memory : UINT64_C(256) << 20,
                                   .n_threads = w->kill_at != 0 ? 1 : 2, /* OpenMP's threads do not survive a fork */
                                   .commit_bytes = 1,
                                   .made_by = "palmgrove test",
                                   .note = keep_note,
                                   .progress = watch,
                                   .context = w};
    base_status status = shard_checkpoint_open(o->model, &from, error);
    if (status == BASE_OK)
        status = shard_writer_open(from, &options, &writer, error);
    if (status == BASE_OK)
        status = shard_writer_prepare(writer, error);
    uint32_t n_parts = o->n_parts != 0 ? o->n_parts : 1;
    for (uint32_t part = 0; part < n_parts && status == BASE_OK; part++)
        status = shard_writer_run(writer, part, n_parts, error);
    if (status == BASE_OK && !o->leave_unfinished)
        status = shard_writer_finish(writer, error);
    shard_writer_close(&writer);
    shard_checkpoint_close(&from);
    return status;
}

static witness write_well(const order *o)
{
    witness w = {0};
    base_error error = {0};
    if (write_set(o, &w, &error) != BASE_OK)
        fail_msg("%s", error.text);
    return w;
}

/* --- checking --- */

static char faults[4096];

static void keep_fault(void *context, const char *text)
{
    (void)context;
    size_t n = strlen(faults);
    snprintf(faults + n, sizeof faults - n, "%s\n", text);
}

static base_status verify(const char *dir)
{
    base_error error = {0};
    faults[0] = '\0';
    base_status status = shard_set_verify(dir, NULL, keep_fault, NULL, &error);
    if (status != BASE_OK && faults[0] == '\0')
        keep_fault(NULL, error.text);
    return status;
}

static shard_set *open_set(const char *dir)
{
    shard_set *set = NULL;
    base_error error = {0};
    if (shard_set_open(dir, &set, &error) != BASE_OK)
        fail_msg("%s", error.text);
    return set;
}

typedef struct comparing {
    const shard_checkpoint *from;
    const shard_recipe *recipe;
    const shard_rank_file *file;
    size_t n;
} comparing;

static base_status find_tensor(const comparing *c, const shard_slice *slice, shard_tensor *out)
{
    return shard_source_find_role(c->from->source, &c->from->a, slice->part, slice->role, slice->layer, out, NULL);
}

static void compare_matrix(const comparing *c, const shard_slice *slice, const shard_tensor *tensor)
{
    pack_matrix stored, fresh = shard_pack_matrix(&c->from->a, slice, tensor, c->recipe);
    assert_int_equal(shard_rank_file_matrix(c->file, slice, &stored, NULL), BASE_OK);
    assert_int_equal(stored.type, fresh.type);
    assert_int_equal(stored.n, fresh.n);
    assert_int_equal(stored.k, fresh.k);
    assert_int_equal(stored.unit, fresh.unit);
    assert_int_equal((uintptr_t)stored.data % 64, 0);
    size_t bytes = pack_bytes(fresh.type, fresh.n, fresh.k, fresh.unit);
    shard_pack_scratch scratch;
    fresh.data = malloc(bytes);
    assert_non_null(fresh.data);
    assert_int_equal(shard_pack_scratch_init(&scratch, fresh.k, NULL), BASE_OK);
    base_status status = shard_pack_slice(slice, tensor, c->recipe, &fresh, 0, pack_n_panels(fresh.n), &scratch, NULL);
    assert_int_equal(status, BASE_OK);
    assert_memory_equal(stored.data, fresh.data, bytes);
    shard_pack_scratch_release(&scratch);
    free(fresh.data);
}

static base_status compare_slice(void *context, const shard_slice *slice, base_error *error)
{
    (void)error;
    comparing *c = context;
    shard_tensor tensor;
    assert_int_equal(find_tensor(c, slice, &tensor), BASE_OK);
    c->n++;
    if (slice->is_matrix) {
        compare_matrix(c, slice, &tensor);
        return BASE_OK;
    }
    size_t n = (size_t)shard_range_width(slice->rows) * shard_range_width(slice->columns);
    float *stored, *fresh = calloc(n, sizeof *fresh);
    assert_non_null(fresh);
    assert_int_equal(shard_rank_file_vector(c->file, slice, &stored, NULL), BASE_OK);
    assert_int_equal((uintptr_t)stored % 64, 0);
    shard_read_vector(&c->from->a, slice, &tensor, fresh);
    assert_memory_equal(stored, fresh, n * sizeof *fresh);
    free(fresh);
    return BASE_OK;
}

/* By what is written of them: the bytes between members may be anything. */
static void assert_same_arch(const arch *a, const arch *b)
{
    json_t *left = arch_to_json(a), *right = arch_to_json(b);
    assert_non_null(left);
    assert_true(json_equal(left, right));
    json_decref(left);
    json_decref(right);
}

/* Every rank's file holds what the rank would have packed by itself. */
static void check_set(const order *o)
{
    shard_set *set = open_set(o->dir);
    shard_recipe recipe = {.kind = o->kind};
    comparing c = {.recipe = &recipe};
    shard_checkpoint *from = NULL;
    assert_int_equal(shard_checkpoint_open(o->model, &from, NULL), BASE_OK);
    c.from = from;
    assert_same_arch(shard_set_arch(set), &from->a);
    for (uint32_t rank = 0; rank < o->tp * o->pp; rank++) {
        shard_rank_file *file = NULL;
        shard_split split;
        base_error error = {0};
        if (shard_rank_file_open(set, o->tp, o->pp, rank % o->tp, rank / o->tp, &file, &error) != BASE_OK)
            fail_msg("%s", error.text);
        assert_int_equal(shard_split_of(&from->a, o->tp, o->pp, rank % o->tp, rank / o->tp, &split, NULL), BASE_OK);
        c.file = file;
        assert_int_equal(shard_slices_visit(&from->a, &split, compare_slice, &c, NULL), BASE_OK);
        assert_int_equal(shard_rank_file_load(file, NULL, NULL, NULL), BASE_OK);
        assert_int_equal(shard_rank_file_bytes(file), shard_set_rank_bytes(set, rank % o->tp, rank / o->tp));
        shard_rank_file_close(&file);
    }
    assert_true(c.n > 0);
    shard_checkpoint_close(&from);
    shard_set_close(&set);
    if (verify(o->dir) != BASE_OK)
        fail_msg("%s", faults);
}

/* --- what is written --- */

static void test_same_bytes_as_loading(void **unused)
{
    (void)unused;
    const order orders[] = {{PHANTOM, set_dir, 1, 1, RECIPE_AUTO, 1, 0, false},
                            {PHANTOM, set_dir, 3, 1, RECIPE_INT4, 1, 0, false},
                            {PHANTOM, set_dir, 2, 2, RECIPE_INT8, 1, 0, false},
                            {PHANTOM, set_dir, 4, 1, RECIPE_F32, 1, 0, false},
                            {PHANTOM, set_dir, 1, 3, RECIPE_F16, 1, 0, false},
                            {PHANTOM, set_dir, 4, 3, RECIPE_INT4, 5, 0, false},
                            {GOLDEN "llava_original", set_dir, 3, 1, RECIPE_AUTO, 1, 0, false},
                            {GOLDEN "gemma3_vision", set_dir, 2, 2, RECIPE_INT8, 1, 0, false},
                            {GOLDEN "gemma3_mmproj", set_dir, 1, 3, RECIPE_AUTO, 1, 0, false},
                            {GOLDEN "vit_e", set_dir, 3, 2, RECIPE_INT4, 2, 0, false},
                            {VECTORS, set_dir, 2, 2, RECIPE_INT4, 1, 0, false}};
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        write_well(&orders[i]);
        check_set(&orders[i]);
        empty(set_dir);
    }
}

/* 9 heads that read 3 key/value heads, over 4 ranks: some ranks share a head, one holds two. */
static void test_shared_heads(void **unused)
{
    (void)unused;
    const order o = {"synthetic:smollm2-135m,layers=1", set_dir, 4, 1, RECIPE_INT4, 2, 0, false};
    write_well(&o);
    check_set(&o);
    empty(set_dir);
}

static void test_files_beside(void **unused)
{
    (void)unused;
    const order o = {PHANTOM, set_dir, 1, 1, RECIPE_AUTO, 1, 0, false};
    write_well(&o);
    assert_true(is_there(set_dir, "tokenizer.model"));
    assert_true(is_there(set_dir, "exemplars.json"));
    assert_false(is_there(set_dir, "rank-0-0-of-1x1.safetensors.journal"));
    empty(set_dir);
}

/* Codes of the checkpoint's own 32-wide groups come through where ours fall together with them, -128 and odd slices by
 * their values. */
static void test_codes_are_kept(void **unused)
{
    (void)unused;
    enum { ROWS = 33, GROUPS = 3, COLUMNS = GROUPS * 32, BLOCK = 34 };
    static uint8_t blocks[ROWS][GROUPS][BLOCK];
    for (int row = 0; row < ROWS; row++)
        for (int g = 0; g < GROUPS; g++) {
            uint16_t scale = half_to_f16(0.01f * (float)(1 + row + g));
            memcpy(blocks[row][g], &scale, sizeof scale);
            for (int i = 0; i < 32; i++)
                blocks[row][g][2 + i] = (uint8_t)(int8_t)((row * 7 + g * 31 + i * 13) % 255 - 127);
        }
    blocks[4][1][2] = 0x80; /* -128 */
    shard_tensor tensor = {
        .type = SHARD_Q8_0, .n_dims = 2, .shape = {ROWS, COLUMNS}, .data = blocks, .bytes = sizeof blocks};
    shard_slice slice = {
        .role = ARCH_LAYER_Q, .rows = {1, ROWS}, .columns = {32, COLUMNS}, .is_matrix = true, .unit = 64};
    shard_recipe recipe = {.kind = RECIPE_AUTO};
    static const arch a;
    static _Alignas(64) char data[8192];
    float expected[64], got[64];
    shard_pack_scratch scratch;
    pack_matrix matrix = shard_pack_matrix(&a, &slice, &tensor, &recipe);
    matrix.data = data;
    assert_int_equal(matrix.type, PACK_INT8);
    assert_int_equal(shard_pack_scratch_init(&scratch, 64, NULL), BASE_OK);
    assert_int_equal(shard_pack_slice(&slice, &tensor, &recipe, &matrix, 0, 1, &scratch, NULL), BASE_OK);
    for (uint32_t row = 0; row < 32; row++) {
        shard_tensor_read(&tensor, 1 + row, 32, 64, expected);
        pack_row_get(&matrix, row, got);
        for (int i = 0; i < 64; i++)
            if (row == 3 && i < 32) /* the group with -128: nearest codes of a new scale, half a step away at most */
                assert_float_equal(got[i], expected[i], 0.51f * 128.0f / 127.0f * 0.06f);
            else
                assert_true(got[i] == expected[i]);
    }
    slice.columns.end = COLUMNS + 1;
    assert_int_equal(shard_pack_slice(&slice, &tensor, &recipe, &matrix, 0, 1, &scratch, NULL), BASE_EFORMAT);
    shard_pack_scratch_release(&scratch);
}

static void test_memory_is_bounded(void **unused)
{
    (void)unused;
    witness w = {0};
    base_error error = {0};
    order o = {PHANTOM, set_dir, 1, 1, RECIPE_AUTO, 1, 8u << 20, false};
    assert_int_equal(write_set(&o, &w, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "--max-memory"));
    o.max_memory = UINT64_C(96) << 20;
    write_well(&o);
    check_set(&o);
    empty(set_dir);
}

/* --- interruptions --- */

static void kill_at(const order *o, uint64_t per_mille)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        witness w = {.kill_at = per_mille};
        (void)write_set(o, &w, NULL);
        raise(SIGKILL); /* behind the data, before the manifest, when it came that far */
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void sum_file(const char *dir, const char *name, char out[SHARD_SUM_TEXT])
{
    char path[256];
    struct stat st;
    path_of(dir, name, path);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    char *bytes = malloc((size_t)st.st_size);
    assert_non_null(bytes);
    assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
    shard_sum_of(bytes, (size_t)st.st_size, out);
    free(bytes);
    close(fd);
}

static void test_resume(void **unused)
{
    (void)unused;
    order o = {PHANTOM, set_dir, 2, 1, RECIPE_INT4, 1, 0, true},
          whole = {PHANTOM, other_dir, 2, 1, RECIPE_INT4, 1, 0, false};
    const uint64_t points[] = {1, 200, 500, 990, 2000};
    const char *const names[] = {"palmgrove.json", "rank-0-0-of-1x2.safetensors", "rank-0-1-of-1x2.safetensors"};
    write_well(&whole);
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        shard_set *set = NULL;
        o.leave_unfinished = true;
        kill_at(&o, points[i]);
        assert_int_equal(shard_set_open(set_dir, &set, NULL), BASE_ENOTFOUND);
        o.leave_unfinished = false;
        witness w = write_well(&o);
        assert_string_equal(w.notes, "");
        if (points[i] >= 500 && w.reported)
            assert_true(w.first_done > 100000); /* of about 2 MB: it did not begin anew */
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            char resumed[SHARD_SUM_TEXT], expected[SHARD_SUM_TEXT];
            sum_file(set_dir, names[k], resumed);
            sum_file(other_dir, names[k], expected);
            assert_string_equal(resumed, expected);
        }
        check_set(&o);
        empty(set_dir);
    }
    empty(other_dir);
}

static void test_other_options_begin_afresh(void **unused)
{
    (void)unused;
    order o = {PHANTOM, set_dir, 2, 1, RECIPE_INT4, 1, 0, false};
    kill_at(&o, 500);
    o.kind = RECIPE_INT8;
    witness w = write_well(&o);
    assert_non_null(strstr(w.notes, "afresh"));
    check_set(&o);

    /* Finished: once more is nothing to do, other options are not let at it. */
    w = write_well(&o);
    assert_non_null(strstr(w.notes, "finished already"));
    assert_false(w.reported);
    base_error error = {0};
    o.kind = RECIPE_F32;
    assert_int_equal(write_set(&o, &w, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, set_dir));
    o.kind = RECIPE_INT8;
    check_set(&o);
    empty(set_dir);
}

/* A journal that was cut or damaged costs the tensors behind the damage, no more. */
static void test_damaged_journal(void **unused)
{
    (void)unused;
    order o = {PHANTOM, set_dir, 1, 1, RECIPE_INT8, 1, 0, false};
    char path[256];
    struct stat st;
    for (int cut = 0; cut < 2; cut++) {
        kill_at(&o, 600);
        path_of(set_dir, "rank-0-0-of-1x1.safetensors.journal", path);
        assert_int_equal(stat(path, &st), 0);
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        assert_int_equal(cut ? ftruncate(fd, st.st_size - 5) : pwrite(fd, "x", 1, st.st_size / 2), cut ? 0 : 1);
        close(fd);
        write_well(&o);
        check_set(&o);
        empty(set_dir);
    }
}

/* --- a full disk --- */

static void test_full_disk(void **unused)
{
    (void)unused;
    order o = {PHANTOM, set_dir, 1, 1, RECIPE_F32, 1, 0, false};
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* a limit on the size of files stands for the disk's end */
        struct rlimit limit = {1u << 20, 1u << 20};
        base_error error = {0};
        witness w = {0};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        bool refused = write_set(&o, &w, &error) == BASE_EIO && strstr(error.text, "rank-0-0-of-1x1") != NULL;
        _exit(refused && !w.reported ? 0 : 1);
    }
    int how = 0;
    shard_set *set = NULL;
    base_error error = {0};
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    assert_int_equal(shard_set_open(set_dir, &set, NULL), BASE_ENOTFOUND);
    write_well(&o);
    check_set(&o);
    empty(set_dir);

    assert_int_equal(shard_output_check_room(root, UINT64_C(1) << 60, &error), BASE_EIO);
    assert_non_null(strstr(error.text, "1152921504606846976 more bytes are needed"));
    assert_int_equal(shard_output_check_room(root, 1, &error), BASE_OK);
}

static void test_one_writer(void **unused)
{
    (void)unused;
    int fd = -1, second = -1;
    base_error error = {0};
    assert_int_equal(shard_output_open(root, "rank", 4096, true, &fd, &error), BASE_OK);
    assert_int_equal(shard_output_open(root, "rank", 4096, true, &second, &error), BASE_EBUSY);
    assert_int_equal(second, -1);
    close(fd);
    assert_int_equal(shard_output_open(root, "rank", 4096, true, &second, &error), BASE_OK);
    close(second);
    char path[256];
    path_of(root, "rank.partial", path);
    unlink(path);
}

/* --- damage and mix-ups --- */

static void change_byte(const char *dir, const char *name, off_t at)
{
    char path[256], byte;
    path_of(dir, name, path);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    if (at < 0)
        at += lseek(fd, 0, SEEK_END);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (char)(byte ^ 0x10);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void move(const char *from_dir, const char *from, const char *to_dir, const char *to)
{
    char a[256], b[256];
    path_of(from_dir, from, a);
    path_of(to_dir, to, b);
    assert_int_equal(rename(a, b), 0);
}

#define RANK_0 "rank-0-0-of-1x2.safetensors"
#define RANK_1 "rank-0-1-of-1x2.safetensors"

/* Opening rank 0 fails and names the file; so does the verification. */
static void check_refused(base_status expected, const char *reason)
{
    shard_set *set = open_set(set_dir);
    shard_rank_file *file = NULL;
    base_error error = {0};
    assert_int_equal(shard_rank_file_open(set, 2, 1, 0, 0, &file, &error), expected);
    assert_null(file);
    if (strstr(error.text, RANK_0) == NULL || strstr(error.text, reason) == NULL)
        fail_msg("'%s' does not name the file and '%s'", error.text, reason);
    shard_set_close(&set);
    assert_int_equal(verify(set_dir), BASE_EFORMAT);
    assert_non_null(strstr(faults, RANK_0));
}

static void test_damage_is_named(void **unused)
{
    (void)unused;
    const order o = {PHANTOM, set_dir, 2, 1, RECIPE_INT8, 1, 0, false},
                foreign = {PHANTOM, other_dir, 2, 1, RECIPE_INT4, 1, 0, false};
    char path[256];
    struct stat st;
    write_well(&o);
    write_well(&foreign);
    path_of(set_dir, RANK_0, path);
    assert_int_equal(stat(path, &st), 0);

    /* one bit of a tensor: opening reads headers only, loading finds it */
    change_byte(set_dir, RANK_0, -100);
    shard_set *set = open_set(set_dir);
    shard_rank_file *file = NULL;
    base_error error = {0};
    assert_int_equal(shard_rank_file_open(set, 2, 1, 0, 0, &file, NULL), BASE_OK);
    assert_int_equal(shard_rank_file_load(file, NULL, NULL, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, RANK_0 "' is damaged: the checksum of tensor 'decoder.final_norm'"));
    shard_rank_file_close(&file);
    shard_set_close(&set);
    assert_int_equal(verify(set_dir), BASE_EFORMAT);
    assert_non_null(strstr(faults, "decoder.final_norm"));
    change_byte(set_dir, RANK_0, -100);
    assert_int_equal(verify(set_dir), BASE_OK);

    /* one bit of the words about itself, which the format's parser does not look at */
    change_byte(set_dir, RANK_0, 8 + 180);
    check_refused(BASE_EFORMAT, "header");
    change_byte(set_dir, RANK_0, 8 + 180);

    /* cut, and cut at the end of a tensor */
    assert_int_equal(truncate(path, st.st_size - 64), 0);
    check_refused(BASE_EFORMAT, "cut short");
    assert_int_equal(truncate(path, 3), 0);
    check_refused(BASE_EFORMAT, "too few");

    /* missing; another rank's; another set's */
    assert_int_equal(unlink(path), 0);
    check_refused(BASE_ENOTFOUND, "no file");
    move(set_dir, RANK_1, set_dir, RANK_0);
    check_refused(BASE_EFORMAT, "tensor rank 1");
    move(set_dir, RANK_0, set_dir, RANK_1);
    move(other_dir, RANK_0, set_dir, RANK_0);
    check_refused(BASE_EFORMAT, "another set");
    empty(set_dir);
    empty(other_dir);
}

/* The digit of "palmgrove-shard-2" in a manifest. */
static void write_format_digit(const char *path, char digit)
{
    char text[512];
    int fd = open(path, O_RDWR);
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    assert_true(fd >= 0 && n > 0);
    text[n] = '\0';
    const char *format = strstr(text, "palmgrove-shard-");
    assert_non_null(format);
    assert_int_equal(pwrite(fd, &digit, 1, format - text + (off_t)strlen("palmgrove-shard-")), 1);
    close(fd);
}

static void test_manifest_is_checked(void **unused)
{
    (void)unused;
    const order o = {PHANTOM, set_dir, 2, 1, RECIPE_INT8, 1, 0, false},
                foreign = {PHANTOM, other_dir, 2, 1, RECIPE_INT4, 1, 0, false};
    write_well(&o);
    write_well(&foreign);
    struct stat st;
    char path[256];
    path_of(set_dir, "palmgrove.json", path);
    assert_int_equal(stat(path, &st), 0);

    /* Any single byte: refused, or harmless (blanks between the fields), never another model. */
    shard_set *sound = open_set(set_dir), *set = NULL;
    for (off_t at = 0; at < st.st_size; at += 97) {
        change_byte(set_dir, "palmgrove.json", at);
        if (shard_set_open(set_dir, &set, NULL) == BASE_OK) {
            assert_memory_equal(shard_set_arch(set), shard_set_arch(sound), sizeof(arch));
            shard_set_close(&set);
        }
        change_byte(set_dir, "palmgrove.json", at);
    }
    shard_set_close(&sound);
    assert_int_equal(verify(set_dir), BASE_OK);

    /* the layout is the files' own */
    set = open_set(set_dir);
    shard_rank_file *file = NULL;
    base_error error = {0};
    assert_int_equal(shard_rank_file_open(set, 1, 2, 0, 0, &file, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "--tp 2 --pp 1"));
    shard_set_close(&set);

    /* shards whose panels lie as they did before */
    write_format_digit(path, '1');
    assert_int_equal(shard_set_open(set_dir, &set, &error), BASE_EUNSUPPORTED);
    assert_non_null(strstr(error.text, "palmgrove-shard-1"));
    assert_non_null(strstr(error.text, "run 'palmgrove shard' again"));
    write_format_digit(path, '2');

    /* the manifest of another set over these files */
    move(other_dir, "palmgrove.json", set_dir, "palmgrove.json");
    check_refused(BASE_EFORMAT, "another set");
    change_byte(set_dir, "tokenizer.model", 100);
    assert_int_equal(verify(set_dir), BASE_EFORMAT);
    assert_non_null(strstr(faults, "tokenizer.model"));
    empty(set_dir);
    empty(other_dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes_as_loading),
        cmocka_unit_test(test_shared_heads),
        cmocka_unit_test(test_files_beside),
        cmocka_unit_test(test_codes_are_kept),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_other_options_begin_afresh),
        cmocka_unit_test(test_damaged_journal),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_one_writer),
        cmocka_unit_test(test_damage_is_named),
        cmocka_unit_test(test_manifest_is_checked),
    };
    return cmocka_run_group_tests_name("shards", tests, make_root, remove_root);
}
