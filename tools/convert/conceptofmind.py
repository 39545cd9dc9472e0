#!/usr/bin/python3
"""conceptofmind's public PaLM checkpoints (https://github.com/conceptofmind/PaLM) to a directory that palmgrove reads.

    tools/convert/conceptofmind.py palm_410m_8k_v0.pt OUT_DIR [--gamma plain|plus-one] [--positions 8192]

Writes OUT_DIR/config.json and OUT_DIR/model.safetensors (docs/PALM_E_CHECKPOINT.md, text only), in the stored float type, one piece of a
tensor at a time; needs Python alone.  The tokenizer is not in the .pt file: put tokenizer.json of EleutherAI/gpt-neox-20b into OUT_DIR.

What differs from PaLM as published, all of it from the module tree of palm_rlhf_pytorch.PaLM:

    layers.N.fn.fused_attn_ff_proj.weight  rows q (h*dh) | k (dh) | v (dh) | value (f) | gate (f); the product is silu(gate) * value
    layers.N.fn.ff_out.2.weight            [d][f]
    layers.N.fn.rotary_emb.scale           there: queries and keys carry xPos scales, base 512 (arXiv 2212.10554)
    norm.gamma, layers.N.fn.norm.gamma     gains of layer norms with eps 1e-5; their betas are buffers of zeros
    to_logits.weight                       token_emb.weight again; logits are not scaled

Two traps.  The package multiplies by gamma + 1 since January 2025, the public files are older and hold gamma itself: a file saved by a newer
package needs --gamma plus-one, and gains that average under a half are refused unless --gamma says what they are.  Before April 2023 the package computed logits without
the final norm; the public files are younger, and a file that has no norm.gamma is refused."""
import argparse
import json
import math
import os
import pathlib
import re
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import torch_file  # noqa: E402
from torch_file import Refused  # noqa: E402

NORM_EPS = 1e-5  # torch.nn.functional.layer_norm's
ROPE_THETA = 10000.0
XPOS_BASE = 512.0
LAYER = re.compile(r"layers\.(\d+)\.fn\.(.+)")
IN_LAYER = ("norm.gamma", "fused_attn_ff_proj.weight", "attn_out.weight", "ff_out.2.weight")


# --- numbers of the three float types ---

def floats(data, dtype):
    """Little-endian bytes to a list of Python floats."""
    if dtype == "F32":
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    if dtype == "F16":
        return list(struct.unpack(f"<{len(data) // 2}e", data))
    return list(struct.unpack(f"<{len(data) // 2}f", b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))))


def small(pt, tensor):
    return floats(b"".join(pt.pieces(tensor)), tensor.storage.dtype)


# --- what the file says of the model ---

class Model:
    """Sizes read off the tensors' shapes; everything that does not fit is refused by name."""

    def __init__(self, pt):
        self.pt = pt
        self.vocab, self.d = self.shape("token_emb.weight", 2)
        layers = {int(m[1]) for m in map(LAYER.fullmatch, pt.tensors) if m}
        self.n_layers = len(layers)
        if layers != set(range(self.n_layers)) or not layers:
            raise Refused(f"its layers are numbered {sorted(layers)[:8]}..., not 0, 1, 2 ...")
        _, self.q_rows = self.shape("layers.0.fn.attn_out.weight", 2)
        _, self.f = self.shape("layers.0.fn.ff_out.2.weight", 2)
        fused, _ = self.shape("layers.0.fn.fused_attn_ff_proj.weight", 2)
        self.head_dim, odd = divmod(fused - self.q_rows - 2 * self.f, 2)
        if odd or self.head_dim < 2 or self.head_dim % 2 or self.q_rows % self.head_dim:
            raise Refused(f"{fused} fused rows are not {self.q_rows} of q, k and v of one head, and twice {self.f}: not a PaLM of this layout")
        self.xpos = "layers.0.fn.rotary_emb.scale" in pt.tensors
        self.check_shapes()
        self.check_buffers()
        self.check_equal_embeddings()

    def shape(self, name, n_dims):
        if name not in self.pt.tensors:
            raise Refused(f"tensor '{name}' is missing")
        shape = self.pt.tensors[name].shape
        if len(shape) != n_dims:
            raise Refused(f"tensor '{name}' has shape {shape}, not {n_dims} dimensions")
        return shape

    def shapes(self):
        """Every name the layout has and its shape."""
        out = {"token_emb.weight": (self.vocab, self.d), "norm.gamma": (self.d,), "to_logits.weight": (self.vocab, self.d), "norm.beta": (self.d,)}
        fused = self.q_rows + 2 * self.head_dim + 2 * self.f
        for il in range(self.n_layers):
            base = f"layers.{il}.fn."
            out |= {base + "norm.gamma": (self.d,), base + "norm.beta": (self.d,), base + "fused_attn_ff_proj.weight": (fused, self.d),
                    base + "attn_out.weight": (self.d, self.q_rows), base + "ff_out.2.weight": (self.d, self.f),
                    base + "rotary_emb.inv_freq": (self.head_dim // 2,)}
            if self.xpos:
                out[base + "rotary_emb.scale"] = (self.head_dim // 2,)
        return out

    def needed(self):
        return ["token_emb.weight", "norm.gamma"] + [f"layers.{il}.fn.{name}" for il in range(self.n_layers) for name in IN_LAYER]

    def check_shapes(self):
        expected = self.shapes()
        for name in self.needed():
            self.shape(name, len(expected[name]))
        for name, tensor in self.pt.tensors.items():
            if name not in expected:
                raise Refused(f"tensor '{name}' belongs to no PaLM of this layout")
            if tensor.shape != expected[name]:
                raise Refused(f"tensor '{name}' has shape {tensor.shape}, expected {expected[name]}")
        kinds = {tensor.storage.dtype for name, tensor in self.pt.tensors.items() if "rotary_emb" not in name}
        if len(kinds) != 1:
            raise Refused(f"its tensors are of several types: {', '.join(sorted(kinds))}")
        self.dtype = kinds.pop()

    def check_buffers(self):
        """Buffers hold what the engine computes itself; if they hold something else, the model is another one."""
        half = self.head_dim // 2
        frequencies = [ROPE_THETA ** (-i / half) for i in range(half)]
        scales = [(2 * i + 0.4 * self.head_dim) / (1.4 * self.head_dim) for i in range(half)]
        for name, tensor in self.pt.tensors.items():
            expected = frequencies if name.endswith(".inv_freq") else scales if name.endswith("rotary_emb.scale") else None
            if expected is not None:
                if any(abs(a - b) > 0.01 * b + 1e-6 for a, b in zip(small(self.pt, tensor), expected)):
                    raise Refused(f"'{name}' does not hold the values of rotary base {ROPE_THETA:g} for heads of {self.head_dim}")
            elif name.endswith(".beta") and any(small(self.pt, tensor)):
                raise Refused(f"'{name}' is not zero: these norms have no bias")

    def check_equal_embeddings(self):
        pt = self.pt
        head = pt.tensors.get("to_logits.weight")
        body = pt.tensors["token_emb.weight"]
        if head is not None and head != body and any(a != b for a, b in zip(pt.pieces(head), pt.pieces(body))):
            raise Refused("'to_logits.weight' differs from 'token_emb.weight': the embeddings are not tied")

    def mean_gain(self):
        gains = [small(self.pt, self.pt.tensors[name]) for name in self.needed() if name.endswith("norm.gamma")]
        return sum(map(sum, gains)) / sum(map(len, gains))


# --- what is written ---

class Part:
    """One tensor of the output: rows of one tensor of the input."""

    def __init__(self, model, name, source, first, shape, plus_one=False):
        self.name, self.first, self.shape, self.plus_one = name, first, shape, plus_one
        self.source = model.pt.tensors[source]
        self.dtype = "F32" if plus_one else model.dtype  # a half type would round gamma + 1

    def bytes(self):
        return math.prod(self.shape) * (4 if self.dtype == "F32" else 2)

    def pieces(self, pt):
        for piece in pt.pieces(self.source, self.first, self.shape[0]):
            if self.plus_one:
                gains = floats(piece, self.source.storage.dtype)
                piece = struct.pack(f"<{len(gains)}f", *(gain + 1.0 for gain in gains))
            yield piece


def parts_of(model, plus_one):
    d, f, dh, q = model.d, model.f, model.head_dim, model.q_rows
    yield Part(model, "language_model.embed_tokens.weight", "token_emb.weight", 0, (model.vocab, d))
    for il in range(model.n_layers):
        here, there = f"layers.{il}.fn.", f"language_model.layers.{il}."
        yield Part(model, there + "norm.weight", here + "norm.gamma", 0, (d,), plus_one)
        first = 0
        for name, rows in (("attn.q_proj", q), ("attn.k_proj", dh), ("attn.v_proj", dh), ("mlp.up_proj", f), ("mlp.gate_proj", f)):
            yield Part(model, f"{there}{name}.weight", here + "fused_attn_ff_proj.weight", first, (rows, d))
            first += rows
        yield Part(model, there + "attn.o_proj.weight", here + "attn_out.weight", 0, (d, q))
        yield Part(model, there + "mlp.down_proj.weight", here + "ff_out.2.weight", 0, (d, f))
    yield Part(model, "language_model.norm.weight", "norm.gamma", 0, (d,), plus_one)


def config_of(model, positions):
    text = {
        "model_type": "palm", "vocab_size": model.vocab, "hidden_size": model.d, "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.q_rows // model.head_dim, "num_key_value_heads": 1, "head_dim": model.head_dim,
        "intermediate_size": model.f, "max_position_embeddings": positions, "rope_theta": ROPE_THETA, "rope_interleaved": False,
        "norm_type": "layernorm", "norm_eps": NORM_EPS, "hidden_act": "silu", "tie_word_embeddings": True, "logit_scale": 1.0,
        "bos_token_id": 0, "eos_token_id": 0,  # <|endoftext|> of gpt-neox-20b
    }
    if model.xpos:
        text["xpos_scale_base"] = XPOS_BASE
    kind = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[model.dtype]
    return {"architectures": ["PalmEForConditionalGeneration"], "model_type": "palm_e", "torch_dtype": kind, "text_config": text}


def header_of(parts):
    entries, at = {}, 0
    for part in parts:
        entries[part.name] = {"dtype": part.dtype, "shape": list(part.shape), "data_offsets": [at, at + part.bytes()]}
        at += part.bytes()
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)  # the data begins aligned
    return struct.pack("<Q", len(text)) + text


def write_tensors(pt, parts, path):
    """Through a file of another name, so that no broken run leaves one that looks whole."""
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as out:
            out.write(header_of(parts))
            for part in parts:
                for piece in part.pieces(pt):
                    out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def convert(path, folder, gamma, positions):
    """The model that was written to `folder`."""
    pt = torch_file.TorchFile(path)
    model = Model(pt)
    mean = model.mean_gain()
    if gamma is None and mean < 0.5:
        raise Refused(f"its norms' gains are {mean:.3f} on average; say --gamma plus-one if a package since January 2025 saved it, else --gamma plain")
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(pt, list(parts_of(model, gamma == "plus-one")), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config_of(model, positions), indent=2) + "\n")
    pt.close()
    return model


def main():
    cli = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_argument("file", type=pathlib.Path, help="the .pt file, a state dict")
    cli.add_argument("folder", type=pathlib.Path, help="where config.json and model.safetensors are written")
    cli.add_argument("--gamma", choices=("plain", "plus-one"), help="what the file's gains hold")
    cli.add_argument("--positions", type=int, default=8192, help="positions the model was trained on (8192)")
    args = cli.parse_args()
    try:
        model = convert(args.file, args.folder, args.gamma, args.positions)
    except (Refused, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.folder}: {model.n_layers} layers of {model.d}, {model.q_rows // model.head_dim} heads of {model.head_dim}, vocabulary "
          f"{model.vocab}, {model.dtype}{', xPos' if model.xpos else ''}")
    if not (args.folder / "tokenizer.json").exists():
        print(f"put tokenizer.json of EleutherAI/gpt-neox-20b into {args.folder}; the .pt file holds none")
    return 0


if __name__ == "__main__":
    sys.exit(main())
