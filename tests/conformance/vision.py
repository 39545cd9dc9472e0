"""Vision towers against transformers: random small checkpoints of odd sizes in every published layout of names, vectors and logits.

    vision.py [--only NAME]... [--quick]

Families: LLaVA (CLIP, projector, Mistral or Llama) as LlavaForConditionalGeneration with the names of transformers 5, 4.52 and before, as the
authors' directory with its tower beside it or inside, and with LLaVA 1.0's single matrix; Gemma 3 (SigLIP, pooling, both-way images) with the names
of all ages; both as GGUF with an mmproj file; PaLM-E's ViT-22B and ViT-e against a reading of the papers written here.  Two images in a prompt.

Each is held to 1e-4 of the largest element, fixed before the first run (families.py gives the reason); chunks and layouts to equal bits."""

import json
import pathlib
import sys

import numpy as np
import safetensors.torch
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import checkpoints  # noqa: E402
import engine  # noqa: E402
import gguf_forms  # noqa: E402
import mmproj_forms  # noqa: E402
import vit_reading  # noqa: E402
from checkpoints import sizes  # noqa: E402
from families import check_ways, run_checks  # noqa: E402

LAYOUTS = ((2, 1), (1, 2), (3, 1), (2, 2))
IMAGE_TOKEN = 100  # of a vocabulary of 101; never in the texts


def draw(net, seed, plus_one=False):
    """Weights that leave nothing unseen: attention is not uniform, gains differ from 1, biases from 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in net.named_parameters():
        values = torch.randn(p.shape, generator=generator)
        of_tower = "vision_tower" in name
        if "norm" in name and name.endswith("weight"):
            p.copy_(values * 0.2 + (0.0 if plus_one and not of_tower else 1.0))
        elif name.endswith("bias"):
            p.copy_(values * 0.3)
        elif name.endswith(("class_embedding", "position_embedding.weight")):
            p.copy_(values * 0.5)
        elif "embed_tokens" in name:
            p.copy_(values * (0.2 if plus_one else 1.0))
        else:
            fan_in = p.shape[0] if name.endswith("input_projection_weight") else p[0].numel()
            p.copy_(values * (1.5 if "q_proj" in name or "k_proj" in name else 1.0) / fan_in**0.5)


def vision(d, h, f, layers, image, patch=14):
    return {"hidden_size": d, "num_attention_heads": h, "intermediate_size": f, "num_hidden_layers": layers, "image_size": image, "patch_size": patch}


def text_config(kind, arguments):
    return {"mistral": transformers.MistralConfig, "llama": transformers.LlamaConfig, "gemma3": transformers.Gemma3TextConfig}[kind](**arguments)


LLAVA = {
    "llava_mistral": ("mistral", vision(36, 3, 150, 4, 42), sizes(40, 5, 1, 145, 3, 101, head_dim=12, sliding_window=None) | checkpoints.rope(1e6)),
    "llava_llama": ("llama", vision(40, 4, 133, 3, 60, patch=12), sizes(42, 3, 3, 140, 2, 101) | checkpoints.rope(1e4)),
}  # fmt: skip
GEMMA = {  # tokens an image: below and above the window
    "gemma3_4": (4, vision(30, 3, 133, 3, 56), sizes(36, 3, 3, 150, 7, 101, head_dim=16, query_pre_attn_scalar=16, sliding_window=13) | checkpoints.gemma_rope(8.0)),
    "gemma3_9": (9, vision(36, 3, 150, 2, 60, patch=10), sizes(44, 4, 1, 188, 6, 101, head_dim=18, query_pre_attn_scalar=20, sliding_window=5) | checkpoints.gemma_rope(None)),
    "gemma3_25": (25, vision(45, 5, 150, 2, 70, patch=7), sizes(36, 3, 1, 150, 2, 101, head_dim=16, query_pre_attn_scalar=16, sliding_window=40) | checkpoints.gemma_rope(None)),
}  # fmt: skip


def build_llava(name, seed=5, image_token=IMAGE_TOKEN, **changes):
    kind, eye, text = LLAVA[name]
    config = transformers.LlavaConfig(vision_config=transformers.CLIPVisionConfig(**eye), text_config=text_config(kind, text | changes), image_token_index=image_token)
    net = transformers.LlavaForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    draw(net, seed)
    return net


def build_gemma(name, seed=6, image_token=IMAGE_TOKEN, **changes):
    tokens, eye, text = GEMMA[name]
    config = transformers.Gemma3Config(
        vision_config=transformers.SiglipVisionConfig(**eye, vision_use_head=False), text_config=text_config("gemma3", text | changes), mm_tokens_per_image=tokens,
        image_token_index=image_token, boi_token_index=98, eoi_token_index=99,
    )  # fmt: skip
    net = transformers.Gemma3ForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    draw(net, seed, plus_one=True)
    return net


# --- prompts and what the reference makes of them ---

def pictures(n, side, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def pixel_values(images, mean, std):
    values = torch.from_numpy(images).float() / 255
    return ((values - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2).contiguous()


def prompt(vectors, n_images, seed=9, vocab=98):
    """Ids with rows of images as the engine takes them."""
    generator = np.random.default_rng(seed)
    ids, row = [], 0
    for i in range(n_images):
        ids += generator.integers(3, vocab, 5 + 11 * i).tolist() + [-1 - (row + r) for r in range(vectors)]
        row += vectors
    return ids + generator.integers(3, vocab, 30).tolist()


def reference(net, ids, pixels):
    """(vectors, logits) in one forward pass."""
    with_tokens = torch.tensor([[IMAGE_TOKEN if i < 0 else i for i in ids]])
    more = {"token_type_ids": (with_tokens == IMAGE_TOKEN).long()} if "Gemma" in type(net).__name__ else {}
    seen = {}
    hook = net.model.multi_modal_projector.register_forward_hook(lambda _m, _i, out: seen.update(vectors=out))
    logits = net(input_ids=with_tokens, pixel_values=pixels, use_cache=False, **more).logits[0].float()
    hook.remove()
    return seen["vectors"].reshape(-1).numpy(), logits.numpy()


# --- directories ---

def write(folder, config, tensors, dtype=torch.float32):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | {"dtype": str(dtype).removeprefix("torch.")}, indent=1) + "\n")
    safetensors.torch.save_file({name: t.to(dtype).contiguous().clone() for name, t in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})


def config_of(net):
    config = json.loads(net.config.to_json_string(use_diff=False))
    config["architectures"] = [type(net).__name__]
    return config


def named(net, layout):
    """The state dict under the names of transformers "5" (in memory), "4.52" and "4"."""
    tied = {"lm_head.weight"} if net.config.tie_word_embeddings else set()
    out = {}
    for name, tensor in net.state_dict().items():
        if name in tied or ".head." in name:
            continue
        if layout != "5":
            name = name.replace("vision_tower.", "vision_tower.vision_model.")
        if layout == "4":
            name = name.replace("model.language_model.", "language_model.model.").replace("lm_head", "language_model.lm_head").removeprefix("model.")
        out[name] = tensor
    return out


def write_llava_original(net, folder, beside, linear=False, dtype=torch.float32):
    """The authors' directory; its tower `beside` it, or a copy inside and a wrong one nowhere."""
    state = net.state_dict()
    config = config_of(net)
    kind = config["text_config"]["model_type"]
    flat = config["text_config"] | {
        "model_type": "llava_mistral" if kind == "mistral" else "llava_llama", "mm_vision_tower": "openai/clip-vit-tiny", "mm_hidden_size": 1,
        "mm_projector_type": "linear" if linear else "mlp2x_gelu", "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False, "image_aspect_ratio": "pad", "mm_patch_merge_type": "flat",
    }  # fmt: skip
    tensors = {"lm_head.weight": state["lm_head.weight"]}
    for name, tensor in state.items():
        if name.startswith("model.language_model."):
            tensors["model." + name.removeprefix("model.language_model.")] = tensor
    projector = {"model.mm_projector.": "model.multi_modal_projector."} if linear else {
        "model.mm_projector.0.": "model.multi_modal_projector.linear_1.", "model.mm_projector.2.": "model.multi_modal_projector.linear_2."}
    for ours, theirs in projector.items():
        tensors |= {ours + part: state[theirs + part] for part in ("weight", "bias")}
    eye = {name.removeprefix("model.vision_tower."): t for name, t in state.items() if name.startswith("model.vision_tower.")}
    if beside:
        write(folder / "openai/clip-vit-tiny", {"model_type": "clip", "vision_config": config["vision_config"]}, {"vision_model." + n: t for n, t in eye.items()}, dtype)
        eye = {n: t + 1 for n, t in eye.items()}  # the copy that the authors' loader does not take
    else:
        flat["vision_config"] = config["vision_config"]
    tensors |= {"model.vision_tower.vision_tower.vision_model." + n: t for n, t in eye.items()}
    write(folder, flat, tensors, dtype)


# --- checks ---

def check(tally, name, folder, ids, images, expected, ways):
    vectors, logits = expected
    vocab = logits.shape[1]
    try:
        every, ours = engine.run(folder, ids, vocab, every=True, images=images, vectors=True)
        tally.compare(name + ", vectors", ours[None], vectors[None])
        tally.compare(name, every, logits)
        if ways:
            rows = sum(i < 0 for i in ids) // len(images)
            check_ways(tally, name, folder, ids, every, LAYOUTS, lambda chunk: ends(ids, chunk, rows), images)
    except engine.EngineError as error:
        tally.line(name, False, str(error))


def ends(ids, chunk, whole):
    """Positions that end a chunk as logits_tool makes them: with whole images behind an image that would be cut."""
    out, pos = [], 0
    while pos < len(ids):
        end = min(pos + (chunk or len(ids)), len(ids))
        while end < len(ids) and ids[end - 1] < 0 and ids[end] == ids[end - 1] - 1 and (-1 - ids[end]) % whole != 0:
            end += 1
        out.append(end - 1)
        pos = end
    return out


OPENAI = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])


def check_llava(tally, name, folder, quick):
    net = build_llava(name)
    eye = net.config.vision_config
    images = pictures(2, eye.image_size)
    ids = prompt((eye.image_size // eye.patch_size) ** 2, 2)
    expected = reference(net, ids, pixel_values(images, *OPENAI))
    for layout in ("5", "4.52", "4"):
        write(folder / layout, config_of(net), named(net, layout))
        check(tally, f"{name}, names of transformers {layout}", folder / layout, ids, images, expected, ways=not quick and layout == "4")
    for form, beside in (("beside", True), ("inside", False)):
        write_llava_original(net, folder / form, beside)
        check(tally, f"{name}, authors' directory, tower {form}", folder / form, ids, images, expected, ways=False)
    net.model.multi_modal_projector = Linear(net.model.multi_modal_projector.linear_1)
    write_llava_original(net, folder / "linear", True, linear=True)
    check(tally, f"{name}, one matrix", folder / "linear", ids, images, reference(net, ids, pixel_values(images, *OPENAI)), ways=False)


class Linear(torch.nn.Module):
    """LLaVA 1.0's projector."""

    def __init__(self, linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight, self.bias)


def check_gemma(tally, name, folder, quick):
    net = build_gemma(name)
    images = pictures(2, net.config.vision_config.image_size)
    ids = prompt(net.config.mm_tokens_per_image, 2)
    expected = reference(net, ids, pixel_values(images, [0.5] * 3, [0.5] * 3))
    for layout in ("5", "4.52", "4"):
        write(folder / layout, config_of(net), named(net, layout))
        check(tally, f"{name}, names of transformers {layout}", folder / layout, ids, images, expected, ways=not quick and layout == "4")


def check_palm_e(tally, name, folder, quick):
    net = vit_reading.CASES[name]()
    eye = net.vision
    images = pictures(2, eye["image_size"])
    ids = prompt((eye["image_size"] // eye["patch_size"]) ** 2, 2)
    write(folder / "f32", net.config(), net.tensors())
    vectors, logits = net.run(ids, pixel_values(images, eye["image_mean"], eye["image_std"]))
    check(tally, name, folder / "f32", ids, images, (vectors.reshape(-1).numpy(), logits.numpy()), ways=not quick)


TEXT_CLASSES = {"mistral": transformers.MistralForCausalLM, "llama": transformers.LlamaForCausalLM, "gemma3": transformers.Gemma3ForCausalLM}


def text_net(net, kind):
    """The decoder alone, as gguf_forms writes it."""
    alone = TEXT_CLASSES[kind](net.config.text_config).eval()
    state = {name.replace("model.language_model.", "model."): t for name, t in net.state_dict().items() if "language_model" in name or name == "lm_head.weight"}
    alone.load_state_dict(state)
    return alone


def in_half(net):
    """The tower's and projector's matrices as f16 holds them."""
    for name, p in net.named_parameters():
        if ("vision_tower" in name or "projector" in name) and p.ndim == 2 and "position" not in name:
            p.copy_(p.half().float())


def check_mmproj(tally, name, folder, quick):
    is_gemma = name.startswith("gemma3")
    kind = "gemma3" if is_gemma else LLAVA[name][0]
    mean, std = ([0.5] * 3, [0.5] * 3) if is_gemma else OPENAI
    for form, dtype, swapped in (("f32", np.float32, False), ("f16, swapped", np.float16, True)):
        net = build_gemma(name) if is_gemma else build_llava(name)
        if dtype == np.float16:
            in_half(net)
        eye = net.config.vision_config
        rows = net.config.mm_tokens_per_image if is_gemma else (eye.image_size // eye.patch_size) ** 2
        images, ids = pictures(2, eye.image_size), prompt(rows, 2)
        model, tower = folder / f"{form[:3]}.gguf", folder / f"mmproj-{form[:3]}.gguf"
        gguf_forms.write(text_net(net, kind), "gemma3_text" if is_gemma else kind, model, ("F32",))
        mmproj_forms.write(net, tower, "gemma3" if is_gemma else "mlp", mean, std, eye.num_hidden_layers - (not is_gemma), dtype, swapped)
        expected = reference(net, ids, pixel_values(images, mean, std))
        check(tally, f"{name}, mmproj {form}", f"{model},mmproj={tower}", ids, images, expected, ways=not quick and swapped)


def main():
    kinds = ((check_llava, LLAVA), (check_gemma, GEMMA), (check_palm_e, vit_reading.CASES), (check_mmproj, ("llava_mistral", "llava_llama", "gemma3_4")))
    return run_checks(__doc__, [(name, check, name) for check, names in kinds for name in names])


if __name__ == "__main__":
    sys.exit(main())
