/* Shards written by all ranks together: each its files, rank 0 the manifest; the same set whatever the number of ranks.
 */
#include "tests/mpi/check.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "sharding/shards/shard_write.h"
#include "tests/mpi/tiny_checkpoint.h"

static void remove_all(const char *dir)
{
    DIR *list = opendir(dir);
    for (struct dirent *entry = list != NULL ? readdir(list) : NULL; entry != NULL; entry = readdir(list)) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        unlink(path);
    }
    if (list != NULL)
        closedir(list);
    rmdir(dir);
}

static const shard_recipe recipe = {.kind = RECIPE_INT8};

static shard_write_options options_of(const char *dir)
{
    return (shard_write_options){.dir = dir,
                                 .tp = 3,
                                 .pp = 2,
                                 .recipe = &recipe,
                                 .max_memory = 128u << 20,
                                 .n_threads = 1,
                                 .made_by = "palmgrove test"};
}

static base_status write_together(par_world *world, const shard_checkpoint *from, const char *dir, base_error *error)
{
    uint32_t rank = (uint32_t)par_world_rank(world), n = (uint32_t)par_world_size(world);
    shard_write_options options = options_of(dir);
    shard_writer *writer = NULL;
    base_status status = par_world_agree(world, shard_writer_open(from, &options, &writer, error), error);
    if (status == BASE_OK)
        status = par_world_agree(world, rank == 0 ? shard_writer_prepare(writer, error) : BASE_OK, error);
    if (status == BASE_OK)
        status = par_world_agree(world, shard_writer_run(writer, rank, n, error), error);
    if (status == BASE_OK)
        status = par_world_agree(world, rank == 0 ? shard_writer_finish(writer, error) : BASE_OK, error);
    shard_writer_close(&writer);
    return status;
}

static void print_fault(void *context, const char *text)
{
    (void)context;
    fprintf(stderr, "%s\n", text);
}

/* The digest of a set that this process writes by itself. */
static void write_alone(const shard_checkpoint *from, const char *dir, char digest[65])
{
    shard_write_options options = options_of(dir);
    shard_writer *writer = NULL;
    shard_set *set = NULL;
    CHECK(shard_writer_open(from, &options, &writer, NULL) == BASE_OK);
    CHECK(writer != NULL && shard_writer_prepare(writer, NULL) == BASE_OK &&
          shard_writer_run(writer, 0, 1, NULL) == BASE_OK && shard_writer_finish(writer, NULL) == BASE_OK);
    CHECK(shard_set_open(dir, &set, NULL) == BASE_OK);
    if (set != NULL)
        shard_set_digest(set, digest);
    shard_set_close(&set);
    shard_writer_close(&writer);
}

static void case_writes(par_world *world)
{
    char root[64], together[80], alone[80], digest[65] = "", expected[65] = "?";
    CHECK(tiny_checkpoint_create(world, true, root));
    snprintf(together, sizeof together, "%s/together", root);
    snprintf(alone, sizeof alone, "%s/alone", root);
    shard_checkpoint *from = NULL;
    base_error error = {0};
    base_status status = par_world_agree(world, shard_checkpoint_open(root, &from, &error), &error);
    if (status == BASE_OK)
        status = write_together(world, from, together, &error);
    CHECK(status == BASE_OK);
    if (status != BASE_OK)
        fprintf(stderr, "%s\n", error.text);

    shard_set *set = NULL; /* every rank sees the whole set */
    CHECK(shard_set_open(together, &set, NULL) == BASE_OK);
    if (set != NULL)
        shard_set_digest(set, digest);
    shard_set_close(&set);
    if (par_world_rank(world) == 0) {
        CHECK(shard_set_verify(together, NULL, print_fault, NULL, NULL) == BASE_OK);
        write_alone(from, alone, expected);
        CHECK(strcmp(digest, expected) == 0);
    }
    shard_checkpoint_close(&from);
    (void)par_world_agree(world, BASE_OK, NULL);
    if (par_world_rank(world) == 0) {
        remove_all(together);
        remove_all(alone);
    }
    tiny_checkpoint_remove(world, root);
}

int main(int argc, char **argv)
{
    const check_case cases[] = {{"writes", case_writes}};
    return check_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
