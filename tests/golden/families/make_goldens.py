"""Tiny checkpoints of every family and the logits that their references give; run in the environment of tests/conformance:

    tests/conformance/run tests/golden/families/make_goldens.py            (-- vision: those with a tower alone)

A folder each: the checkpoint (config.json and model.safetensors, model.gguf, or model.pt for tools/convert), prompt.json ({"tokens",
"positions"}: the rows kept) and logits.f32, [positions][V] little-endian.  Those with a tower have images.u8 too, raw pixels, and "rows_per_image".
check.py compares."""

import json
import pathlib
import shutil
import sys

import numpy
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "conformance"))

import checkpoints  # noqa: E402
import families  # noqa: E402
import gguf_forms  # noqa: E402
import mmproj_forms  # noqa: E402
import vision  # noqa: E402
import vit_reading  # noqa: E402
from checkpoints import Case, sizes  # noqa: E402

TOKENS = 96
POSITIONS = [0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 95]  # about KV blocks, windows of 17 and the 32 positions of LLAMA3's training
LLAMA3 = checkpoints.LLAMA3 | {"original_max_position_embeddings": 32}

CASES = {
    "llama": (Case("llama", "llama", sizes(36, 6, 2, 130, 2, 67, head_dim=8) | checkpoints.rope(5e5, **LLAMA3)), torch.bfloat16, False),
    "mistral": (Case("mistral", "mistral", sizes(30, 3, 1, 141, 2, 67, sliding_window=17) | checkpoints.rope(1e4)), torch.float16, False),
    "qwen2": (Case("qwen2", "qwen2", sizes(30, 5, 1, 135, 2, 67) | checkpoints.rope(1e6)), torch.float32, False),
    "gemma3": (Case("gemma3", "gemma3_text", sizes(21, 3, 1, 133, 7, 67, head_dim=14, query_pre_attn_scalar=9, sliding_window=17) | checkpoints.gemma_rope(8.0)),
               torch.bfloat16, True),
}  # fmt: skip
GGUF_CASES = {
    "llama_gguf": (Case("llama_gguf", "llama", sizes(32, 4, 2, 160, 2, 67, head_dim=32) | checkpoints.rope(5e5, **LLAMA3)), ("F16", "Q8_0", "BF16")),
    "qwen2_gguf": (Case("qwen2_gguf", "qwen2", sizes(32, 3, 1, 160, 2, 67, head_dim=32) | checkpoints.rope(1e6)), ("Q4_0", "Q8_0", "F32")),
    "gemma3_gguf": (Case("gemma3_gguf", "gemma3_text", sizes(21, 3, 1, 133, 6, 67, head_dim=14, query_pre_attn_scalar=14, sliding_window=17) | checkpoints.gemma_rope(None)),
                    ("F16",)),
}  # fmt: skip
# name: family, the case of vision.py
VISION_CASES = {"llava": ("llava", "llava_mistral"), "llava_original": ("llava", "llava_llama"), "gemma3_vision": ("gemma3", "gemma3_9"),
                "vit_e": ("palm_e", "palm_e_vit_e"), "llava_mmproj": ("llava", "llava_llama"), "gemma3_mmproj": ("gemma3", "gemma3_4")}  # fmt: skip
PALM = checkpoints.PalmCase("palm", {"vocab": 67, "d": 30, "n_layers": 2, "heads": 3, "head_dim": 10, "f": 130}, torch.float16)


def keep(folder, ids, logits):
    (folder / "prompt.json").write_text(json.dumps({"tokens": ids.tolist(), "positions": POSITIONS}) + "\n")
    (folder / "logits.f32").write_bytes(logits[POSITIONS].numpy().astype("<f4").tobytes())


def fresh(name):
    shutil.rmtree(HERE / name, ignore_errors=True)
    (HERE / name).mkdir()
    return HERE / name


def in_f16(net):
    """Matrices as F16 files hold them; vectors, patches and positions stay f32 there."""
    for name, p in net.named_parameters():
        if p.ndim == 2 and "position" not in name:
            p.copy_(p.half().float())
    return net


def write_mmproj(folder, net, family, case):
    """LLaVA's as older converters name it."""
    is_gemma = family == "gemma3"
    kind = "gemma3" if is_gemma else vision.LLAVA[case][0]
    gguf_forms.write(vision.text_net(net, kind), "gemma3_text" if is_gemma else kind, folder / "model.gguf", ("F16",))
    mmproj_forms.write(net, folder / "mmproj.gguf", "gemma3" if is_gemma else "mlp", *([[0.5] * 3] * 2 if is_gemma else vision.OPENAI),
                       net.config.vision_config.num_hidden_layers - (not is_gemma), numpy.float16, not is_gemma)  # fmt: skip


def keep_vision(folder, family, case):
    """Two images in a prompt; weights in bf16."""
    if family == "palm_e":
        net = vit_reading.CASES[case]()
        net.t = {name: t.bfloat16().float() for name, t in net.t.items()}
        eye = net.vision
        vision.write(folder, net.config(), net.tensors(), torch.bfloat16)
        rows, images = (eye["image_size"] // eye["patch_size"]) ** 2, vision.pictures(2, eye["image_size"])
        ids = vision.prompt(rows, 2)
        logits = net.run(ids, vision.pixel_values(images, eye["image_mean"], eye["image_std"]))[1].numpy()
    else:
        dtype = torch.float16 if folder.name.endswith("_mmproj") else torch.bfloat16
        net = vision.build_llava(case) if family == "llava" else vision.build_gemma(case)
        net = in_f16(net) if dtype == torch.float16 else checkpoints.rounded(net, dtype)
        eye = net.config.vision_config
        rows = net.config.mm_tokens_per_image if family == "gemma3" else (eye.image_size // eye.patch_size) ** 2
        ids, images = vision.prompt(rows, 2), vision.pictures(2, eye.image_size)
        logits = vision.reference(net, ids, vision.pixel_values(images, *([[0.5] * 3] * 2 if family == "gemma3" else vision.OPENAI)))[1]
        if folder.name.endswith("_mmproj"):
            write_mmproj(folder, net, family, case)
        elif folder.name == "llava_original":
            vision.write_llava_original(net, folder, True, dtype=torch.bfloat16)
        else:
            vision.write(folder, vision.config_of(net), vision.named(net, "4"), torch.bfloat16)
    positions = [0, 4, 5, 4 + rows, 5 + rows, len(ids) - 31, len(ids) - 30, len(ids) - 1]
    (folder / "images.u8").write_bytes(images.tobytes())
    (folder / "prompt.json").write_text(json.dumps({"tokens": ids, "positions": positions, "rows_per_image": rows}) + "\n")
    (folder / "logits.f32").write_bytes(logits[positions].astype("<f4").tobytes())


def main():
    if sys.argv[1:] == ["vision"]:
        return main_vision()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    for name, (case, dtype, as_old) in CASES.items():
        case.tokens, folder = TOKENS, fresh(name)
        net = checkpoints.rounded(checkpoints.build(case), dtype)
        checkpoints.save(net, folder, dtype, as_old)
        keep(folder, checkpoints.prompt(case), checkpoints.logits(net, checkpoints.prompt(case)))
    for name, (case, types) in GGUF_CASES.items():
        case.tokens, folder = TOKENS, fresh(name)
        net = families.with_weights(case, gguf_forms.write(checkpoints.build(case), case.kind, folder / "model.gguf", types))
        keep(folder, checkpoints.prompt(case), checkpoints.logits(net, checkpoints.prompt(case)))
    PALM.tokens, folder = TOKENS, fresh("palm")
    net = checkpoints.build_palm(PALM)
    checkpoints.save_palm(net, PALM, folder / "model.pt")
    keep(folder, checkpoints.palm_prompt(PALM), net(checkpoints.palm_prompt(PALM)))
    main_vision()


def main_vision():
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    for name, (family, case) in VISION_CASES.items():
        keep_vision(fresh(name), family, case)


if __name__ == "__main__":
    main()
