"""Tiny checkpoints of every family and the logits that their references give; run in the environment of tests/conformance:

    tests/conformance/run tests/golden/families/make_goldens.py

A folder each: the checkpoint (config.json and model.safetensors, model.gguf, or model.pt for tools/convert), prompt.json ({"tokens",
"positions"}: the rows kept) and logits.f32, [positions][V] little-endian.  check.py compares."""

import json
import pathlib
import shutil
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "conformance"))

import checkpoints  # noqa: E402
import families  # noqa: E402
import gguf_forms  # noqa: E402
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
PALM = checkpoints.PalmCase("palm", {"vocab": 67, "d": 30, "n_layers": 2, "heads": 3, "head_dim": 10, "f": 130}, torch.float16)


def keep(folder, ids, logits):
    (folder / "prompt.json").write_text(json.dumps({"tokens": ids.tolist(), "positions": POSITIONS}) + "\n")
    (folder / "logits.f32").write_bytes(logits[POSITIONS].numpy().astype("<f4").tobytes())


def fresh(name):
    shutil.rmtree(HERE / name, ignore_errors=True)
    (HERE / name).mkdir()
    return HERE / name


def main():
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


if __name__ == "__main__":
    main()
