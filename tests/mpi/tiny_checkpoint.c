#include "tests/mpi/tiny_checkpoint.h"

#include <dirent.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sharding/arch.h"

static const char config[] =
    "{\"architectures\": [\"PalmEForConditionalGeneration\"], \"model_type\": \"palm_e\", \"torch_dtype\": "
    "\"bfloat16\",\n"
    " \"text_config\": {\"model_type\": \"palm\", \"vocab_size\": 150, \"hidden_size\": 44, \"num_hidden_layers\": 4,\n"
    "  \"num_attention_heads\": 5, \"num_key_value_heads\": 1, \"head_dim\": 10, \"intermediate_size\": 200,\n"
    "  \"max_position_embeddings\": 256, \"rope_theta\": 10000.0, \"rope_interleaved\": false, \"norm_type\": "
    "\"layernorm\",\n"
    "  \"norm_eps\": 1e-6, \"hidden_act\": \"silu\", \"tie_word_embeddings\": true, \"logit_scale\": 0.15075567,\n"
    "  \"bos_token_id\": 1, \"eos_token_id\": 2},\n"
    " \"vision_config\": {\"model_type\": \"vit_22b\", \"image_size\": 98, \"patch_size\": 14, \"num_channels\": 3,\n"
    "  \"hidden_size\": 36, \"num_hidden_layers\": 2, \"num_attention_heads\": 5, \"head_dim\": 12, "
    "\"intermediate_size\": 250,\n"
    "  \"norm_eps\": 1e-6, \"hidden_act\": \"gelu_tanh\", \"image_mean\": [0.5, 0.5, 0.5], \"image_std\": [0.5, 0.5, "
    "0.5]},\n"
    " \"projector_config\": {\"type\": \"affine\"},\n"
    " \"vector_encoders\": [{\"name\": \"state\", \"input_size\": 7, \"hidden_size\": 50, \"hidden_act\": "
    "\"gelu_tanh\"},\n"
    "  {\"name\": \"pulse\", \"input_size\": 3, \"hidden_size\": 33, \"hidden_act\": \"gelu_tanh\"}]}\n";

typedef struct writer {
    FILE *header, *data;
    uint64_t offset, state;
    bool bf16, first;
} writer;

static bool write_text(const char *dir, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return false;
    bool ok = fwrite(text, 1, strlen(text), file) == strlen(text);
    return fclose(file) == 0 && ok;
}

/* One weight: uniform with standard deviation 1/sqrt(fan in); gains lie around 1. */
static void write_weight(writer *w, float scale, float centre)
{
    w->state = w->state * 6364136223846793005u + 1442695040888963407u;
    float value = centre + scale * (float)((double)(w->state >> 40) / 8388608.0 - 1.0) * 1.7320508f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t half = (uint16_t)(bits >> 16);
    if (w->bf16)
        fwrite(&half, sizeof half, 1, w->data);
    else
        fwrite(&value, sizeof value, 1, w->data);
}

static void write_tensor(writer *w, const arch *a, arch_part part, arch_role role, uint32_t layer)
{
    char name[128];
    uint64_t shape[2] = {1, 1};
    if (!arch_tensor_name(a, part, role, layer, name, sizeof name))
        return;
    int n_dims = arch_tensor_shape(a, part, role, shape);
    uint64_t n = n_dims == 2 ? shape[0] * shape[1] : shape[0], bytes = n * (w->bf16 ? 2 : 4);
    fprintf(w->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%llu", w->first ? "" : ",", name,
            w->bf16 ? "BF16" : "F32", (unsigned long long)shape[0]);
    if (n_dims == 2)
        fprintf(w->header, ",%llu", (unsigned long long)shape[1]);
    fprintf(w->header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)w->offset,
            (unsigned long long)(w->offset + bytes));
    bool gain = strstr(name, "norm") != NULL, embedding = role == ARCH_EMBEDDING;
    float scale = gain ? 0.2f : embedding ? 1.0f : 1.0f / sqrtf((float)(n_dims == 2 ? shape[1] : 16));
    for (uint64_t i = 0; i < n; i++)
        write_weight(w, scale, gain ? 1.0f : 0.0f);
    w->offset += bytes;
    w->first = false;
}

static void write_tensors(writer *w, const arch *a)
{
    for (int role = 0; role < ARCH_N_ROLES; role++) {
        bool of_layer = role >= ARCH_LAYER_NORM && role <= ARCH_LAYER_DOWN_BIAS;
        uint32_t n_decoder = of_layer ? a->decoder.stack.n_layers : 1, n_tower = of_layer ? a->tower.stack.n_layers : 1;
        for (uint32_t il = 0; il < n_decoder; il++)
            write_tensor(w, a, ARCH_DECODER, (arch_role)role, il);
        for (uint32_t il = 0; il < n_tower; il++)
            write_tensor(w, a, ARCH_TOWER, (arch_role)role, il);
        for (int part = ARCH_ENCODERS; part < ARCH_N_PARTS; part++)
            write_tensor(w, a, (arch_part)part, (arch_role)role, 0);
    }
}

static bool write_checkpoint(const char *dir, bool bf16)
{
    arch a;
    char path[512], *header = NULL, *data = NULL;
    size_t header_size = 0, data_size = 0;
    if (!write_text(dir, "config.json", config) || arch_load(dir, &a, NULL) != BASE_OK)
        return false;
    writer w = {.header = open_memstream(&header, &header_size),
                .data = open_memstream(&data, &data_size),
                .state = 42,
                .bf16 = bf16,
                .first = true};
    if (w.header == NULL || w.data == NULL)
        return false;
    fputc('{', w.header);
    write_tensors(&w, &a);
    fputc('}', w.header);
    bool ok = fclose(w.header) == 0 && fclose(w.data) == 0;

    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    FILE *file = fopen(path, "wb");
    uint64_t length = header_size;
    ok = ok && file != NULL && fwrite(&length, sizeof length, 1, file) == 1 &&
         fwrite(header, 1, header_size, file) == header_size && fwrite(data, 1, data_size, file) == data_size;
    ok = file != NULL && fclose(file) == 0 && ok;
    free(header);
    free(data);
    return ok;
}

bool tiny_checkpoint_create(par_world *world, bool bf16, char dir[64])
{
    base_buf path = {0};
    bool written = true;
    if (par_world_rank(world) == 0) {
        snprintf(dir, 64, "/tmp/palmgrove-test-XXXXXX");
        written = mkdtemp(dir) != NULL && write_checkpoint(dir, bf16);
        base_buf_put(&path, dir, strlen(dir) + 1);
    }
    written = par_world_broadcast(world, &path, NULL) == BASE_OK && written;
    snprintf(dir, 64, "%s", path.data != NULL ? (const char *)path.data : "");
    base_buf_release(&path);
    return par_world_max(world, !written) == 0;
}

void tiny_checkpoint_remove(par_world *world, const char *dir)
{
    char path[512];
    par_world_agree(world, BASE_OK, NULL); /* no rank reads it any more */
    DIR *files = par_world_rank(world) == 0 ? opendir(dir) : NULL;
    if (files == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(files)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        unlink(path);
    }
    closedir(files);
    rmdir(dir);
}
