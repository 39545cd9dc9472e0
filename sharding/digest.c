/* digest.c - a name for the weights.
 *
 * SHA-256 over this byte string (integers little-endian), which does not depend on how the tensors are spread over
 * files:
 *
 *     "palmgrove weights 1\n"
 *     u64 size of the description, its bytes as they are in the file (config.json; the metadata of a GGUF file)
 *     for every tensor, sorted by name (bytewise):
 *         u32 length of the name, the name
 *         u32 length of the dtype, the dtype as its format writes it ("BF16", "Q4_K")
 *         u32 number of dimensions, then each as u64
 *         u64 size of the data, the data
 *         SYNTHETIC only, which has no data: u64 seed, u32 the bits of the spread
 */
#include <sodium.h>
#include <string.h>

#include "proto/base/buf.h"
#include "sharding/recipe.h"
#include "sharding/source_entries.h"

static const char magic[] = "palmgrove weights 1\n";

static void put_text(base_buf *buf, const char *text)
{
    base_buf_put_u32(buf, (uint32_t)strlen(text));
    base_buf_put(buf, text, strlen(text));
}

static base_status hash_buf(crypto_hash_sha256_state *hash, base_buf *buf, base_error *error)
{
    if (buf->failed)
        return base_fail(error, BASE_ENOMEM, "no memory to digest the weights");
    crypto_hash_sha256_update(hash, buf->data, buf->size);
    base_buf_clear(buf);
    return BASE_OK;
}

static base_status hash_config(crypto_hash_sha256_state *hash, const void *config, size_t config_bytes, base_buf *buf,
                               base_error *error)
{
    base_buf_put(buf, magic, sizeof magic - 1);
    base_buf_put_u64(buf, config_bytes);
    base_buf_put(buf, config, config_bytes);
    return hash_buf(hash, buf, error);
}

static base_status hash_tensor(crypto_hash_sha256_state *hash, const safetensors_entry *entry, base_buf *buf,
                               base_error *error)
{
    const shard_tensor *tensor = &entry->tensor;
    put_text(buf, entry->name);
    put_text(buf, entry->dtype);
    base_buf_put_u32(buf, (uint32_t)tensor->n_dims);
    for (int i = 0; i < tensor->n_dims; i++)
        base_buf_put_u64(buf, tensor->shape[i]);
    base_buf_put_u64(buf, tensor->bytes);
    if (tensor->type == SHARD_SYNTHETIC) {
        uint32_t spread;
        memcpy(&spread, &tensor->spread, sizeof spread);
        base_buf_put_u64(buf, tensor->seed);
        base_buf_put_u32(buf, spread);
    }
    base_status status = hash_buf(hash, buf, error);
    if (status == BASE_OK && tensor->bytes > 0)
        crypto_hash_sha256_update(hash, tensor->data, tensor->bytes);
    return status;
}

static void finish(crypto_hash_sha256_state *hash, char hex[65])
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(hash, digest);
    sodium_bin2hex(hex, 65, digest, sizeof digest);
}

base_status shard_source_digest(const shard_source *source, const void *config, size_t config_bytes, char out[65],
                                base_error *error)
{
    size_t n;
    const source_entry *entries = shard_source_entries(source, &n);
    crypto_hash_sha256_state hash;
    crypto_hash_sha256_init(&hash);
    base_buf buf = {0};
    base_status status = hash_config(&hash, config, config_bytes, &buf, error);
    for (size_t i = 0; i < n && status == BASE_OK; i++)
        status = hash_tensor(&hash, &entries[i].parsed, &buf, error);
    base_buf_release(&buf);
    if (status != BASE_OK)
        return status;
    finish(&hash, out);
    return BASE_OK;
}

void shard_choice_digest(const char *choice, char digest[65])
{
    static const char label[] = "palmgrove choice 1\n";
    crypto_hash_sha256_state hash;
    crypto_hash_sha256_init(&hash);
    crypto_hash_sha256_update(&hash, (const unsigned char *)label, sizeof label - 1);
    crypto_hash_sha256_update(&hash, (const unsigned char *)digest, 64);
    crypto_hash_sha256_update(&hash, (const unsigned char *)choice, strlen(choice) + 1);
    finish(&hash, digest);
}

void shard_recipe_digest(const shard_recipe *recipe, char digest[65])
{
    if (recipe->kind == RECIPE_AUTO && recipe->importance == NULL)
        return;
    static const char label[] = "palmgrove recipe 1\n";
    const char *name = recipe_kind_name(recipe->kind);
    crypto_hash_sha256_state hash;
    crypto_hash_sha256_init(&hash);
    crypto_hash_sha256_update(&hash, (const unsigned char *)label, sizeof label - 1);
    crypto_hash_sha256_update(&hash, (const unsigned char *)digest, 64);
    crypto_hash_sha256_update(&hash, (const unsigned char *)name, strlen(name) + 1);
    shard_importance_row row;
    for (size_t i = 0; recipe->importance != NULL && shard_importance_row_at(recipe->importance, i, &row); i++) {
        crypto_hash_sha256_update(&hash, (const unsigned char *)row.name, strlen(row.name) + 1);
        crypto_hash_sha256_update(&hash, (const unsigned char *)row.values, row.width * sizeof *row.values);
    }
    finish(&hash, digest);
}
