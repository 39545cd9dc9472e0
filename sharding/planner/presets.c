/* presets.c - the table of published models.
 *
 * A row holds what differs between models of one style; `fill_*` adds what a style has in common.  Sources: PaLM arXiv
 * 2204.02311 table 1; PaLM-E arXiv 2303.03378; ViT-22B arXiv 2302.05442; ViT-e: big_vision's decode_variant("e"), arXiv
 * 2209.06794; Gemma 3 arXiv 2503.19786 and google/gemma_pytorch; the others: config.json of the published checkpoints.
 */
#include "sharding/planner/presets.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/nearest.h"

typedef enum style { STYLE_PALM, STYLE_LLAMA, STYLE_QWEN2, STYLE_GEMMA3 } style;
typedef enum eye { EYE_NONE, EYE_VIT_E, EYE_VIT_22B, EYE_CLIP, EYE_SIGLIP } eye;

typedef struct preset {
    const char *name, *about;
    style style;
    uint32_t n_layers, d, h, kv, dh, f, vocab, positions;
    bool tied;
    double theta;       /* of global layers */
    double rope_factor; /* Llama: llama3 scaling, Gemma: linear; 1: none */
    eye eye;
    uint32_t window;        /* Gemma: of five layers out of six */
    double embedding_scale; /* Gemma: sqrt(d) in bf16 */
    double scale_width;     /* Gemma: attn_scale is 1 / sqrt of this (query_pre_attn_scalar) */
} preset;

static const preset presets[] = {
    {"palm-8b", "PaLM 8B", STYLE_PALM, 32, 4096, 16, 1, 256, 16384, 256000, 2048, true, 1e4, 1, EYE_NONE, 0, 0, 0},
    {"palm-62b", "PaLM 62B", STYLE_PALM, 64, 8192, 32, 1, 256, 32768, 256000, 2048, true, 1e4, 1, EYE_NONE, 0, 0, 0},
    {"palm-540b", "PaLM 540B", STYLE_PALM, 118, 18432, 48, 1, 256, 73728, 256000, 2048, true, 1e4, 1, EYE_NONE, 0, 0,
     0},
    {"palm-e-12b", "PaLM 8B with ViT-e (4B)", STYLE_PALM, 32, 4096, 16, 1, 256, 16384, 256000, 2048, true, 1e4, 1,
     EYE_VIT_E, 0, 0, 0},
    {"palm-e-84b", "PaLM 62B with ViT-22B", STYLE_PALM, 64, 8192, 32, 1, 256, 32768, 256000, 2048, true, 1e4, 1,
     EYE_VIT_22B, 0, 0, 0},
    {"palm-e-562b", "PaLM 540B with ViT-22B (the size of Med-PaLM M)", STYLE_PALM, 118, 18432, 48, 1, 256, 73728,
     256000, 2048, true, 1e4, 1, EYE_VIT_22B, 0, 0, 0},
    {"medgemma-4b", "MedGemma 4B with its SigLIP tower", STYLE_GEMMA3, 34, 2560, 8, 4, 256, 10240, 262208, 131072, true,
     1e6, 8, EYE_SIGLIP, 1024, 50.5, 256},
    {"medgemma-27b", "MedGemma 27B text", STYLE_GEMMA3, 62, 5376, 32, 16, 128, 21504, 262144, 131072, true, 1e6, 8,
     EYE_NONE, 1024, 73.5, 168},
    {"gemma-3-270m", "Gemma 3 270M", STYLE_GEMMA3, 18, 640, 4, 1, 256, 2048, 262144, 32768, true, 1e6, 1, EYE_NONE, 512,
     25.25, 256},
    {"gemma-3-1b", "Gemma 3 1B", STYLE_GEMMA3, 26, 1152, 4, 1, 256, 6912, 262144, 32768, true, 1e6, 1, EYE_NONE, 512,
     34, 256},
    {"gemma-3-12b", "Gemma 3 12B with its SigLIP tower", STYLE_GEMMA3, 48, 3840, 16, 8, 256, 15360, 262208, 131072,
     true, 1e6, 8, EYE_SIGLIP, 1024, 62, 256},
    {"llama-3.1-8b", "Llama 3.1 8B", STYLE_LLAMA, 32, 4096, 32, 8, 128, 14336, 128256, 131072, false, 5e5, 8, EYE_NONE,
     0, 0, 0},
    {"llama-3.1-70b", "Llama 3.1 70B", STYLE_LLAMA, 80, 8192, 64, 8, 128, 28672, 128256, 131072, false, 5e5, 8,
     EYE_NONE, 0, 0, 0},
    {"llama-3.1-405b", "Llama 3.1 405B", STYLE_LLAMA, 126, 16384, 128, 8, 128, 53248, 128256, 131072, false, 5e5, 8,
     EYE_NONE, 0, 0, 0},
    {"llama-3.2-1b", "Llama 3.2 1B", STYLE_LLAMA, 16, 2048, 32, 8, 64, 8192, 128256, 131072, true, 5e5, 32, EYE_NONE, 0,
     0, 0},
    {"llama-1b", "not published, for benchmarks: Llama 3.2 1B with half the vocabulary and an output matrix of its own",
     STYLE_LLAMA, 16, 2048, 32, 8, 64, 8192, 64000, 131072, false, 5e5, 32, EYE_NONE, 0, 0, 0},
    {"mistral-7b", "Mistral 7B v0.2 (LLaVA-Med's decoder)", STYLE_LLAMA, 32, 4096, 32, 8, 128, 14336, 32000, 32768,
     false, 1e6, 1, EYE_NONE, 0, 0, 0},
    {"llava-med-7b", "LLaVA-Med 1.5, Mistral 7B with CLIP ViT-L/14 at 336 pixels", STYLE_LLAMA, 32, 4096, 32, 8, 128,
     14336, 32000, 32768, false, 1e6, 1, EYE_CLIP, 0, 0, 0},
    {"qwen2.5-0.5b", "Qwen 2.5 0.5B", STYLE_QWEN2, 24, 896, 14, 2, 64, 4864, 151936, 32768, true, 1e6, 1, EYE_NONE, 0,
     0, 0},
    {"qwen2.5-7b", "Qwen 2.5 7B", STYLE_QWEN2, 28, 3584, 28, 4, 128, 18944, 152064, 32768, false, 1e6, 1, EYE_NONE, 0,
     0, 0},
    {"qwen2.5-72b", "Qwen 2.5 72B", STYLE_QWEN2, 80, 8192, 64, 8, 128, 29568, 152064, 32768, false, 1e6, 1, EYE_NONE, 0,
     0, 0},
    {"smollm2-135m", "SmolLM2 135M", STYLE_LLAMA, 30, 576, 9, 3, 64, 1536, 49152, 8192, true, 1e5, 1, EYE_NONE, 0, 0,
     0},
};

#define N_PRESETS (sizeof presets / sizeof presets[0])

/* Begin and end of text, by style; ids differ within the Llama style (SmolLM2 and Mistral: SentencePiece-like 1 and 2).
 */
static void fill_ids(const preset *p, arch_decoder *out)
{
    out->bos_id = 1;
    out->eos_id = 2;
    if (p->vocab == 128256) {
        out->bos_id = 128000;
        out->eos_id = 128001;
    } else if (p->style == STYLE_QWEN2) {
        out->bos_id = 151643;
        out->eos_id = 151645;
    } else if (p->style == STYLE_GEMMA3) {
        out->bos_id = 2;
        out->eos_id = 1;
    }
    out->stop_ids[0] = out->eos_id;
    out->n_stop_ids = 1;
}

/* Sizes, and what all styles share. */
static void fill_decoder(const preset *p, arch_decoder *out)
{
    *out = (arch_decoder){
        .stack = {.n_layers = p->n_layers,
                  .d = p->d,
                  .h = p->h,
                  .kv = p->kv,
                  .dh = p->dh,
                  .f = p->f,
                  .block = ARCH_BLOCK_SERIAL,
                  .norm = ARCH_NORM_RMS,
                  .norm_eps = 1e-6f,
                  .mlp = ARCH_MLP_SWIGLU,
                  .causal = true,
                  .rope = true,
                  .attn_scale = (float)(1.0 / sqrt(p->dh)),
                  .rope_global = {.theta = p->theta, .scaling = ARCH_ROPE_PLAIN, .factor = 1, .attention_factor = 1}},
        .vocab_size = p->vocab,
        .max_positions = p->positions,
        .tied_embeddings = p->tied,
        .embedding_scale = 1.0f,
        .logit_scale = 1.0f,
    };
    fill_ids(p, out);
}

static void fill_palm(const preset *p, arch_decoder *out)
{
    out->stack.block = ARCH_BLOCK_PARALLEL;
    out->stack.norm = ARCH_NORM_LAYERNORM;
    out->logit_scale = (float)(1.0 / sqrt(p->d));
}

static void fill_llama(const preset *p, arch_decoder *out)
{
    out->stack.norm_eps = 1e-5f;
    if (p->rope_factor == 1)
        return;
    arch_rope *rope = &out->stack.rope_global;
    rope->scaling = ARCH_ROPE_LLAMA3;
    rope->factor = p->rope_factor;
    rope->low_factor = 1;
    rope->high_factor = 4;
    rope->original_positions = 8192;
}

static void fill_gemma3(const preset *p, arch_decoder *out)
{
    arch_stack *s = &out->stack;
    s->block = ARCH_BLOCK_POST_NORM;
    s->mlp = ARCH_MLP_GEGLU_TANH;
    s->qk_norm = true;
    s->norm_plus_one = true;
    s->attn_scale = (float)(1.0 / sqrt(p->scale_width));
    s->rope_local = (arch_rope){.theta = 1e4, .scaling = ARCH_ROPE_PLAIN, .factor = 1, .attention_factor = 1};
    s->rope_global.scaling = p->rope_factor == 1 ? ARCH_ROPE_PLAIN : ARCH_ROPE_LINEAR;
    s->rope_global.factor = p->rope_factor;
    s->window = p->window;
    for (uint32_t il = 0; il < s->n_layers; il++)
        if (il % 6 != 5)
            s->local_layers[il / 64] |= UINT64_C(1) << (il % 64);
    out->embedding_scale = (float)p->embedding_scale;
}

/* Widths, and what every ordinary ViT is. */
static void fill_vit(arch_stack *s, uint32_t n_layers, uint32_t d, uint32_t h, uint32_t f)
{
    s->n_layers = n_layers, s->d = d, s->h = s->kv = h, s->dh = d / h, s->f = f;
    s->block = ARCH_BLOCK_SERIAL;
    s->norm = ARCH_NORM_LAYERNORM;
    s->qkv_bias = s->o_bias = s->norm_bias = s->mlp_bias = true;
    s->attn_scale = (float)(1.0 / sqrt(s->dh));
}

/* As the families' readers of published configurations fill them (families/llava.c, families/gemma3.c). */
static void fill_clip(arch *out)
{
    arch_tower *t = &out->tower;
    *t = (arch_tower){.image_size = 336,
                      .patch_size = 14,
                      .n_patches = 576,
                      .pool = 1,
                      .class_token = true,
                      .pre_norm = true,
                      .projector = ARCH_PROJECTOR_MLP2,
                      .image_mean = ARCH_CLIP_MEAN,
                      .image_std = ARCH_CLIP_STD,
                      .fit = {.kind = ARCH_FIT_SQUARE, .filter = ARCH_FILTER_BICUBIC, .pad_value = {122, 116, 104}},
                      .close = "\n"};
    fill_vit(&t->stack, 23, 1024, 16, 4096);
    t->stack.norm_eps = 1e-5f;
    t->stack.mlp = ARCH_MLP_QUICK_GELU;
    snprintf(out->family, sizeof out->family, "llava_original");
    snprintf(out->tower_prefix, sizeof out->tower_prefix, "model.vision_tower.vision_tower.vision_model.");
    snprintf(out->projector_prefix, sizeof out->projector_prefix, "model.mm_projector.0.");
}

static void fill_siglip(arch *out)
{
    arch_tower *t = &out->tower;
    *t = (arch_tower){.image_size = 896,
                      .patch_size = 14,
                      .n_patches = 4096,
                      .pool = 4,
                      .patch_bias = true,
                      .final_norm = true,
                      .projector = ARCH_PROJECTOR_GEMMA3,
                      .projector_plus_one = true,
                      .image_mean = {0.5f, 0.5f, 0.5f},
                      .image_std = {0.5f, 0.5f, 0.5f},
                      .fit = {.kind = ARCH_FIT_STRETCH, .filter = ARCH_FILTER_BILINEAR},
                      .images_see_all = true,
                      .open = "\n\n<start_of_image>",
                      .close = "<end_of_image>\n\n"};
    fill_vit(&t->stack, 27, 1152, 16, 4304);
    t->stack.norm_eps = 1e-6f;
    t->stack.mlp = ARCH_MLP_GELU_TANH;
    snprintf(out->tower_prefix, sizeof out->tower_prefix, "vision_tower.vision_model.");
    snprintf(out->projector_prefix, sizeof out->projector_prefix, "multi_modal_projector.");
}

/* 224 x 224 pixels in patches of 14: 256 vectors an image, both towers of PaLM-E. */
static void fill_palm_tower(eye kind, arch_tower *out)
{
    *out = (arch_tower){.image_size = 224,
                        .patch_size = 14,
                        .n_patches = 256,
                        .pool = 1,
                        .patch_bias = true,
                        .final_norm = true,
                        .image_mean = {0.5f, 0.5f, 0.5f},
                        .image_std = {0.5f, 0.5f, 0.5f}};
    out->stack = (arch_stack){.norm_eps = 1e-6f, .mlp = ARCH_MLP_GELU_TANH, .mlp_bias = true};
    arch_stack *s = &out->stack;
    if (kind == EYE_VIT_22B) {
        s->n_layers = 48, s->d = 6144, s->h = 48, s->kv = 48, s->dh = 128, s->f = 24576;
        s->block = ARCH_BLOCK_PARALLEL;
        s->norm = ARCH_NORM_RMS;
        s->qk_norm = true;
    } else {
        fill_vit(s, 56, 1792, 16, 15360);
    }
    s->attn_scale = (float)(1.0 / sqrt(s->dh));
}

static void fill_preset(const preset *p, arch *out)
{
    static const char *const families[] = {
        [STYLE_PALM] = "palm_e", [STYLE_LLAMA] = "llama", [STYLE_QWEN2] = "qwen2", [STYLE_GEMMA3] = "gemma3"};
    *out = (arch){.has_tower = p->eye != EYE_NONE};
    snprintf(out->family, sizeof out->family, "%s", families[p->style]);
    snprintf(out->prefix, sizeof out->prefix, "%s", p->style == STYLE_PALM ? "language_model." : "model.");
    fill_decoder(p, &out->decoder);
    if (p->style == STYLE_PALM)
        fill_palm(p, &out->decoder);
    else if (p->style == STYLE_LLAMA)
        fill_llama(p, &out->decoder);
    else if (p->style == STYLE_QWEN2)
        out->decoder.stack.qkv_bias = true;
    else
        fill_gemma3(p, &out->decoder);
    if (p->eye == EYE_CLIP)
        fill_clip(out);
    else if (p->eye == EYE_SIGLIP)
        fill_siglip(out);
    else if (p->eye != EYE_NONE)
        fill_palm_tower(p->eye, &out->tower);
}

static base_status unknown_preset(const char *name, base_error *error)
{
    const char *names[N_PRESETS];
    char all[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < N_PRESETS; i++) {
        names[i] = presets[i].name;
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i == 0 ? "" : ", ", names[i]);
    }
    const char *nearest = base_nearest(name, names, N_PRESETS);
    if (nearest != NULL)
        return base_fail(error, BASE_ENOTFOUND, "unknown model '%.40s'; did you mean '%s'? known: %s", name, nearest,
                         all);
    return base_fail(error, BASE_ENOTFOUND, "unknown model '%.40s'; known: %s", name, all);
}

base_status preset_arch(const char *name, arch *out, base_error *error)
{
    for (size_t i = 0; i < N_PRESETS; i++)
        if (strcmp(presets[i].name, name) == 0) {
            fill_preset(&presets[i], out);
            return BASE_OK;
        }
    return unknown_preset(name, error);
}

bool preset_list(size_t i, const char **name, const char **about)
{
    if (i >= N_PRESETS)
        return false;
    *name = presets[i].name;
    *about = presets[i].about;
    return true;
}
