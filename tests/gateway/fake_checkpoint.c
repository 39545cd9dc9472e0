#include "tests/gateway/fake_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "tests/gateway/fake_model.h"

/* sentencepiece_model.proto: types of pieces, field numbers. */
enum { PIECE_UNKNOWN = 2, PIECE_CONTROL = 3, PIECE_BYTE = 6 };

static void write_file(const char *dir, const char *name, const void *bytes, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        abort();
}

static void put_varint(base_buf *buf, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        base_buf_put_u8(buf, (uint8_t)(value | 0x80));
    base_buf_put_u8(buf, (uint8_t)value);
}

static void put_number(base_buf *buf, uint32_t field, uint64_t value)
{
    put_varint(buf, field << 3);
    put_varint(buf, value);
}

static void put_bytes(base_buf *buf, uint32_t field, const void *bytes, size_t size)
{
    put_varint(buf, field << 3 | 2);
    put_varint(buf, size);
    base_buf_put(buf, bytes, size);
}

static void put_piece(base_buf *model, const char *text, uint32_t type)
{
    base_buf piece = {0};
    put_bytes(&piece, 1, text, strlen(text));
    put_varint(&piece, 2 << 3 | 5);
    base_buf_put_f32(&piece, 0.0f);
    put_number(&piece, 3, type);
    put_bytes(model, 1, piece.data, piece.size);
    base_buf_release(&piece);
}

static void write_tokenizer(const char *dir)
{
    base_buf model = {0}, trainer = {0}, normalizer = {0};
    put_piece(&model, "<unk>", PIECE_UNKNOWN);
    put_piece(&model, "<s>", PIECE_CONTROL);
    put_piece(&model, "</s>", PIECE_CONTROL);
    for (unsigned c = 0; c < 256; c++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", c);
        put_piece(&model, text, PIECE_BYTE);
    }
    put_number(&trainer, 3, 2); /* BPE */
    put_number(&trainer, 4, FAKE_VOCAB);
    put_number(&trainer, 35, 1); /* byte fallback */
    put_number(&trainer, 40, 0);
    put_number(&trainer, 41, FAKE_BOS);
    put_number(&trainer, 42, FAKE_EOS);
    put_bytes(&model, 2, trainer.data, trainer.size);
    put_bytes(&normalizer, 1, "identity", 8);
    put_number(&normalizer, 3, 0); /* no dummy prefix */
    put_number(&normalizer, 4, 0); /* blanks are kept */
    put_number(&normalizer, 5, 0); /* and not escaped */
    put_bytes(&model, 3, normalizer.data, normalizer.size);
    write_file(dir, "tokenizer.model", model.data, model.size);
    base_buf_release(&model);
    base_buf_release(&trainer);
    base_buf_release(&normalizer);
}

void fake_checkpoint_write(const char *dir)
{
    static const char config[] =
        "{\"architectures\": [\"PalmEForConditionalGeneration\"], \"model_type\": \"palm_e\", \"torch_dtype\": "
        "\"bfloat16\",\n"
        " \"text_config\": {\"model_type\": \"palm\", \"vocab_size\": 259, \"hidden_size\": 8, \"num_hidden_layers\": "
        "2,\n"
        "  \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"head_dim\": 4, \"intermediate_size\": 64,\n"
        "  \"max_position_embeddings\": 4096, \"rope_theta\": 10000.0, \"rope_interleaved\": false, \"norm_type\": "
        "\"layernorm\",\n"
        "  \"norm_eps\": 1e-6, \"hidden_act\": \"silu\", \"tie_word_embeddings\": true, \"logit_scale\": 0.35,\n"
        "  \"bos_token_id\": 1, \"eos_token_id\": 2},\n"
        " \"vision_config\": {\"model_type\": \"vit_22b\", \"image_size\": 28, \"patch_size\": 14, \"num_channels\": "
        "3,\n"
        "  \"hidden_size\": 8, \"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"head_dim\": 4, "
        "\"intermediate_size\": 16,\n"
        "  \"norm_eps\": 1e-6, \"hidden_act\": \"gelu_tanh\", \"image_mean\": [0.5, 0.5, 0.5], \"image_std\": [0.5, "
        "0.5, 0.5]},\n"
        " \"projector_config\": {\"type\": \"affine\"}}\n";
    static const char exemplars[] = "{\"report\": \"Given <img>: all is well.\"}\n";
    write_tokenizer(dir);
    write_file(dir, "config.json", config, sizeof config - 1);
    write_file(dir, "exemplars.json", exemplars, sizeof exemplars - 1);
}
